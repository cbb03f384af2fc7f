/* SPDX-License-Identifier: MIT */
/*
 * The contract between portable and machine code, both directions. Portable
 * rooms (src/kern, src/dev) reach the processor only through this header;
 * the host tests link a fake of the first half against the same portable
 * files.
 *
 * The kernel runs on one stack per processor with interrupts off; nothing in
 * it blocks. Ring 3 is entered only by returning a frame from kern_trap.
 */
#pragma once

#include "src/abi/uarea.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARCH_CPUS_MAX 64u
#define ARCH_DIRECT_MAP                                                        \
    0xffff800000000000ull /* physical 0 of the direct map                      \
                           */

/* ------------------------------------------- machine code offers (x86_64/) */

/* Processors: this one's index, and how many run. */
unsigned arch_cpu(void);
unsigned arch_cpu_count(void);
unsigned arch_cpu_id(unsigned cpu); /* its APIC id */
/* Make a processor enter the kernel soon; used to wake it from arch_idle. */
void arch_cpu_kick(unsigned cpu);
/*
 * Wait, interrupts on, until something may have happened; then off again. A
 * kick sent before the call ends it too. Interrupts meanwhile call kern_trap
 * with no frame, on the same stack.
 */
void arch_idle(void);
/*
 * Let in the interrupts that are pending, in the same way, and do not wait:
 * one turn of a loop that polls devices.
 */
void arch_breathe(void);
/*
 * One turn of every loop that waits for another processor. It also answers
 * arch_tlb_flush requests of others, since interrupts are off.
 */
void arch_pause(void);
/* Enter ring 3 at `f` on this processor, from kern_start; see kern_trap. */
_Noreturn void arch_resume(const struct frame *f);

/* Time: the invariant timestamp counter, and the one-shot timer on it. */
uint64_t arch_tsc(void);
uint64_t arch_tsc_khz(void);
uint64_t arch_boot_tsc(void);  /* when the first processor was entered */
uint64_t arch_boot_unix(void); /* seconds since 1970 UTC, from the clock chip */
void arch_timer_arm(uint64_t tsc); /* kern_trap with ARCH_VECTOR_TIMER then */

/* Memory: every frame is reachable through the direct map. */
void *arch_frame_ptr(uint64_t frame);
uint64_t arch_ptr_paddr(const void *direct); /* inverse */
/*
 * The kernel's half of a new top table, and the exposed entries of the lower
 * half (UPT_SLOT). `root` is a zeroed frame.
 */
void arch_aspace_init(uint64_t root);
/* Make this addressing context the current processor's; 0 = the kernel's own */
void arch_aspace_load(uint64_t root);
/*
 * Forget translations of [va, va + pages) of `root` on every processor; pages
 * of either size. On return none is in use. May be called holding bind_lock
 * and no other lock; waits in arch_pause for the processors that have `root`
 * loaded.
 */
void arch_tlb_flush(uint64_t root, uint64_t va, uint64_t pages);
/*
 * Map device registers [paddr, paddr + size), uncached. NULL if out of room.
 */
void *arch_device_map(uint64_t paddr, size_t size);
/*
 * Code memory: `frames` as a run of kernel address space that may execute
 * and not be written; the writable view of frames is the direct map, from
 * which arch_code_map takes write permission until arch_code_open. NULL if
 * there is no address space left, or no frame for a table.
 *
 * Tables stay, and are used again: at most one for each ARCH_TABLE_FRAMES
 * frames of RAM (the direct map is split there), one for as many frames of
 * code, one a processor, and ARCH_TABLES_MORE above these.
 */
#define ARCH_TABLE_FRAMES 512u
#define ARCH_TABLES_MORE 16u
void *arch_code_map(uint64_t frame, uint64_t frames);
/* Returns the first frame. */
uint64_t arch_code_unmap(void *rx, uint64_t frames);
void *arch_code_open(void *rx, size_t size);
void arch_code_seal(void *rx, void *rw, size_t size);

/* The floating-point registers of ring 3. */
#define ARCH_FPU_SIZE 512u /* bytes, 16-byte aligned */
void arch_fpu_init(void *area);
void arch_fpu_save(void *area);
void arch_fpu_load(const void *area);

/* A frame for ring 3, with the selectors and flags that ring 3 must have. */
void arch_frame_init(struct frame *f, uint64_t rip, uint64_t rsp);
/*
 * Make a frame from memory an environment could write harmless: selectors
 * and reserved flags forced; false if rip is not canonical.
 */
bool arch_frame_sanitize(struct frame *f);

/* Devices: port-mapped configuration space and message-signalled interrupts. */
uint32_t arch_pci_read(uint32_t bdf, uint32_t offset); /* 32 bits, aligned */
void arch_pci_write(uint32_t bdf, uint32_t offset, uint32_t value);
/* A vector on `cpu`, and what the device must write to raise it. */
int arch_msi_alloc(unsigned cpu, uint64_t *address, uint32_t *data);

/* Serial line, exit, entropy. */
void arch_console_write(const char *text, size_t len);
/* The same without waiting: how many bytes the line took now. */
size_t arch_console_put(const char *text, size_t len);
_Noreturn void arch_halt(uint32_t status); /* status 0: success */
/* RDSEED or RDRAND; false if the processor has neither or they failed. */
bool arch_entropy(uint64_t *out);
/*
 * How long a read of a device and of some memory took just now, in ticks of
 * the timestamp counter: raw, its low bits hard to predict. About a
 * microsecond.
 */
uint64_t arch_jitter(void);
/* Print the symbolised call chain of this processor. */
void arch_backtrace(void);

/* ------------------------------------------------ portable code offers (kern/)
 */

#define ARCH_VECTOR_PROTECTION 13u /* general protection */
#define ARCH_VECTOR_SYSCALL 0x100u
#define SYSCALL_BYTES 2u /* of the instruction that makes a call */
#define ARCH_VECTOR_TIMER 0xe0u
#define ARCH_VECTOR_KICK 0xe1u
#define ARCH_VECTOR_POWER 0xe3u /* the power button was pressed */
#define ARCH_VECTOR_MSI_FIRST 0x40u
#define ARCH_VECTOR_MSI_LAST 0xdfu

/*
 * Everything that enters the kernel from ring 3, and interrupts that come in
 * arch_idle or arch_breathe (then f is NULL, and so is the result: return
 * there).
 * Exceptions have vectors 0-31. Returns the frame to resume, which may be `f`
 * or lie anywhere in kernel memory; its addressing context and floating-point
 * registers are loaded.
 * A fault of the kernel itself never gets here: machine code panics.
 */
struct frame *kern_trap(uint32_t vector, struct frame *f);

/*
 * The machine ends, or a report of its end begins: what waits for the serial
 * line is written, and later lines of the log go straight to it. Takes no
 * lock; waits for the line, but not for one that stands still.
 */
void kern_console_end(void);

/*
 * Frames for the kernel itself (tables, queues, stacks), outside every quota:
 * physically contiguous and zeroed; FRAME_NONE if there are none. Usable once
 * kern_main has handed the boot ranges to page_init. Holds the page lock.
 */
#define FRAME_NONE UINT64_MAX
uint64_t page_kalloc(uint64_t count);
/* Frames for `bytes` bytes, in the direct map; NULL if none are free. */
void *page_kalloc_bytes(uint64_t bytes);
void page_kfree(uint64_t frame, uint64_t count);

/* The boot processor after machine set-up; and each other one. */
_Noreturn void kern_start(unsigned cpu);

/*
 * The boot loader's facts. Machine code fills them before it calls kern_main.
 */
#define BOOT_RAM_MAX 64u
#define BOOT_MODULES_MAX 16u

struct boot_range {
    uint64_t start, end; /* bytes, physical; end exclusive */
};

struct boot_module {
    struct boot_range at; /* page-aligned start */
    char name[48];
};

struct boot_info {
    struct boot_range ram[BOOT_RAM_MAX]; /* usable, sorted, disjoint,
                                            kernel and modules taken out */
    uint32_t rams;
    struct boot_module module[BOOT_MODULES_MAX];
    uint32_t modules;
    uint64_t top; /* end of the highest RAM range, modules included */
    char cmdline[1024];
};

/* main.c: runs on the boot processor's own stack, all of arch_* usable. */
_Noreturn void kern_main(const struct boot_info *info);

_Noreturn void panic(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
#define assert(x)                                                              \
    ((x) ? (void)0                                                             \
         : panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #x))
