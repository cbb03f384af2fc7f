/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own address space. Upper half of every addressing context:
 *
 *   entry 256    direct map of all RAM, never executable; the kernel's text,
 *                constants and sealed code are read-only there too
 *   entry 510    windows: device registers, stacks with guard pages between
 *                them, a private write window a processor for code memory
 *   entry 511    the kernel image (KERNEL_BASE) and code memory (CODE_BASE)
 *
 * With leak.kpti contexts have of all this only the pages that ring 3 needs to
 * come in: text and data of entry.S, and stacks for interrupts.
 *
 * Invariant: no page is writable and executable through one mapping, ever.
 */
#pragma once

#include "src/arch.h"
#include "src/x86_64/cpu.h"
#include <stdbool.h>
#include <stdint.h>

#define KERNEL_BASE 0xffffffff80000000ull
#define CODE_BASE 0xffffffffc0000000ull
#define CODE_PAGES 0x3f000ull /* the last pages of all stay unmapped */
#define DEVICE_BASE 0xffffff0000000000ull
#define DEVICE_SIZE (1ull << 30)
#define STACK_BASE 0xffffff2000000000ull
#define STACK_PAGES 8u     /* one stack, the guard page below not counted */
#define IST_PAGES 2u       /* the same of NMI, double fault, machine check */
#define STACK_AREA 0x40000 /* bytes of window for one processor */
#define WRITE_BASE 0xffffff4000000000ull
#define WRITE_PAGES 512u /* of one processor's write window */

/* Where processor `cpu` writes code; no other processor touches it. */
static inline uint64_t mmu_write_window(unsigned cpu)
{
    return WRITE_BASE + (uint64_t)cpu * WRITE_PAGES * 4096;
}

/* Protection of a kernel mapping. */
enum map_prot { MAP_R, MAP_RW, MAP_RX, MAP_DEVICE };

/*
 * Build the final tables and switch to them.
 *
 * ram    all ranges of RAM; each is widened to 2 MiB in the direct map
 */
void mmu_init(const struct boot_range *ram, unsigned rams);
/* Where page tables come from: before and after page_kalloc is usable. */
void mmu_frames_from(uint64_t (*alloc)(uint64_t count));
uint64_t mmu_root(void);

/* Map or unmap one page of the upper half; false if no frame for a table. */
bool mmu_map(uint64_t va, uint64_t paddr, enum map_prot prot);
void mmu_unmap(uint64_t va);
/*
 * Protection of one page of the direct map, which is split for it. The table
 * stays, so that at most one for 2 MiB, and one for 1 GiB, is ever made.
 */
bool mmu_direct_prot(uint64_t paddr, enum map_prot prot);
/* The entry that maps va, 0 if none; for tests and checks. */
uint64_t mmu_entry(uint64_t va);

/* The entry for va in the upper half of environments' contexts. */
uint64_t mmu_context_entry(uint64_t va);

/* Give a processor stacks with guard pages; false if out of memory. */
bool mmu_stacks(struct core *cpu);
bool mmu_is_guard(uint64_t va);

/* `root`, physical, is another context's than when it was loaded last. */
void mmu_context_is_new(uint64_t root);
/* Another processor asked to forget translations: do, and say so. */
void mmu_flush_answer(void);
/* Forget kernel translations on every processor. */
void mmu_flush_kernel(void);
