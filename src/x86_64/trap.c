/* SPDX-License-Identifier: MIT */
/*
 * The gate table, and the split between what concerns an environment (handed
 * to kern_trap), what concerns the machine (a request to forget translations)
 * and what must never happen: a fault of the kernel itself.
 * Source: SDM 3A s6.11, s6.14.5, s6.15.
 */
#include "src/x86_64/trap.h"
#include "src/lib/log.h"
#include "src/x86_64/apic.h"
#include "src/x86_64/backtrace.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/leak.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/power.h"
#include "src/x86_64/smp.h"

enum {
    VECTOR_NMI = 2,
    VECTOR_BREAKPOINT = 3,
    VECTOR_OVERFLOW = 4,
    VECTOR_DOUBLE = 8,
    VECTOR_PAGE = 14,
    VECTOR_CHECK = 18,
    VECTOR_EXTERNAL = 32,
};

struct gate {
    uint16_t offset0;
    uint16_t selector;
    uint8_t ist, type;
    uint16_t offset16;
    uint32_t offset32, reserved;
};

static struct gate gates[256] ENTRY_DATA;
extern const char entry_stubs[], entry_stubs_kpti[];

static const char *const exception_name[32] = {
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range",
    "invalid opcode",
    "no coprocessor",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
};

void trap_init(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = (uint64_t)(leak.kpti ? entry_stubs_kpti : entry_stubs) +
                      v * STUB_SIZE;
        /* int3 and into are for programs; no other gate is reached by int n */
        unsigned ring = v == VECTOR_BREAKPOINT || v == VECTOR_OVERFLOW ? 3 : 0;

        gates[v] = (struct gate){
            .offset0 = (uint16_t)at,
            .selector = SEL_KERNEL_CODE,
            .ist = v == VECTOR_NMI      ? STACK_NMI
                   : v == VECTOR_DOUBLE ? STACK_DOUBLE
                   : v == VECTOR_CHECK  ? STACK_CHECK
                                        : 0,
            .type = (uint8_t)(0x8e | ring << 5),
            .offset16 = (uint16_t)(at >> 16),
            .offset32 = (uint32_t)(at >> 32),
        };
    }
}

void trap_load(void)
{
    struct table_ptr idt = {sizeof(gates) - 1, (uint64_t)gates};
    lidt(&idt);
}

static void report_registers(const struct frame *f)
{
    log_line("rip %016lx rsp %016lx rflags %08lx cs %lx", f->rip, f->rsp,
             f->rflags, f->cs);
    log_line("rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx,
             f->rcx, f->rdx);
    log_line("rsi %016lx rdi %016lx rbp %016lx r8  %016lx", f->rsi, f->rdi,
             f->rbp, f->r8);
    log_line("r9  %016lx r10 %016lx r11 %016lx r12 %016lx", f->r9, f->r10,
             f->r11, f->r12);
    log_line("r13 %016lx r14 %016lx r15 %016lx cr2 %016lx", f->r13, f->r14,
             f->r15, f->address);
    log_line("cr0 %lx cr3 %lx cr4 %lx", read_cr0(), read_cr3(), read_cr4());
}

/* Why the kernel faulted, in words. */
static const char *cause(const struct frame *f)
{
    if ((f->vector == VECTOR_PAGE || f->vector == VECTOR_DOUBLE) &&
        mmu_is_guard(f->address)) {
        return "kernel stack overflow";
    }
    if (f->vector != VECTOR_PAGE) {
        return "";
    }
    return (f->error & 1) == 0 ? "nothing mapped there"
           : f->error & 16     ? "not executable"
           : f->error & 2      ? "not writable"
                               : "not readable by the kernel";
}

void trap_fatal(struct frame *f)
{
    const char *name = f->vector < 32 && exception_name[f->vector] != NULL
                           ? exception_name[f->vector]
                           : "interrupt";
    smp_stop_others();
    kern_console_end();
    f->address = read_cr2();
    log_line("panic: kernel fault on cpu %u: %s (vector %lu, error %lx) at "
             "address %lx: %s",
             arch_cpu(), name, f->vector, f->error, f->address, cause(f));
    report_registers(f);
    backtrace_from(f->rip, f->rbp);
    arch_halt(1);
}

/*
 * NMIs from outside: a button, a management controller, a hypervisor's
 * monitor. They are counted here, where nothing may be waited for, and
 * reported by the next ordinary interrupt: the first, and each one that
 * doubles the count.
 */
static uint32_t nmis, nmis_reported;

#define PORT_SYSTEM_CONTROL 0x61u
#define MEMORY_OR_BUS_ERROR 0xc0u /* SERR# and IOCHK# */
#define NO_PORT 0xffu

void trap_nmi(struct frame *f)
{
    if (smp_stopping()) {
        for (;;) {
            hlt();
        }
    }
    uint8_t control = inb(PORT_SYSTEM_CONTROL);
    if ((control & MEMORY_OR_BUS_ERROR) != 0 && control != NO_PORT) {
        trap_fatal(f);
    }
    __atomic_fetch_add(&nmis, 1, __ATOMIC_RELAXED);
}

uint32_t trap_nmi_count(void)
{
    return __atomic_load_n(&nmis, __ATOMIC_RELAXED);
}

static void report_nmis(void)
{
    uint32_t seen = __atomic_load_n(&nmis, __ATOMIC_RELAXED);
    uint32_t told = __atomic_load_n(&nmis_reported, __ATOMIC_RELAXED);
    if (seen / 2 >= told && seen > told &&
        __atomic_compare_exchange_n(&nmis_reported, &told, seen, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        log_line("NMI from outside, %u so far: no error is reported by the "
                 "chipset; going on",
                 seen);
    }
}

struct frame *trap_interrupt(struct frame *f)
{
    if (nmis != nmis_reported) {
        report_nmis();
    }
    uint32_t vector = (uint32_t)f->vector;
    bool user = (f->cs & 3) != 0;
    if (vector == VECTOR_FLUSH) {
        apic_end();
        mmu_flush_answer();
        return f;
    }
    if (vector == VECTOR_SPURIOUS) {
        return f;
    }
    if (vector >= VECTOR_EXTERNAL) {
        if (!user && !cpu_self()->idle) {
            trap_fatal(f);
        }
        bool ours = vector != ARCH_VECTOR_POWER || power_pressed();
        apic_end();
        if (!ours) {
            return f;
        }
        struct frame *next = kern_trap(vector, user ? f : NULL);
        return user ? next : f;
    }
    if (!user) { /* a defect of ours */
        trap_fatal(f);
    }
    if (vector == VECTOR_PAGE) {
        f->address = read_cr2();
    }
    return kern_trap(vector, f);
}
