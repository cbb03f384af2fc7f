/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 page-table entry as it is: an exokernel exposes it. An
 * environment reads its own tables at UPT_VA and never writes them.
 * Source: SDM 3A s4.5 (4-level paging).
 */
#pragma once

#include <stdint.h>

#define PAGE_SHIFT 12u
#define PAGE_SIZE 4096u

/*
 * The number of pages that hold `bytes` bytes; the first page boundary at or
 * after `at`.
 */
static inline uint64_t page_frames(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

static inline uint64_t page_up(uint64_t at)
{
    return page_frames(at) * PAGE_SIZE;
}

#define PTE_P (1ull << 0)   /* present */
#define PTE_W (1ull << 1)   /* writable */
#define PTE_U (1ull << 2)   /* reachable from ring 3 */
#define PTE_PWT (1ull << 3) /* write-through */
#define PTE_PCD (1ull << 4) /* not cached */
#define PTE_A (1ull << 5)   /* accessed: set by the processor */
#define PTE_D (1ull << 6)   /* dirty: set by the processor */
#define PTE_PS (1ull << 7)  /* large page, in levels 2 and 3 */
#define PTE_G (1ull << 8)   /* global: kernel only */
#define PTE_NX (1ull << 63) /* not executable */
#define PTE_FRAME 0x000ffffffffff000ull

/*
 * The addressing context. Ring 3 has the lower half; its last entries belong
 * to the kernel's exposed state. Its first pages stay empty, so that a null
 * pointer with a small offset faults, in the kernel too.
 */
#define UADDR_BOTTOM 0x10000ull          /* first address that is bindable */
#define UADDR_TOP 0x00007f0000000000ull  /* first address not bindable */
#define UAREA_VA 0x00007f0000000000ull   /* struct uarea, read and write */
#define SYSINFO_VA 0x00007f0000200000ull /* struct sysinfo, read only */
#define UPT_VA 0x00007f8000000000ull     /* own page tables, read only */
#define UPT_SLOT 255u                    /* entry of the top table for it */
