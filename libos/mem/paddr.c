/* SPDX-License-Identifier: MIT */
/*
 * Physical addresses from our own page tables, which the kernel exposes
 * read-only at UPT_VA: entry UPT_SLOT of the top table points back at it, so
 * each level of the tables appears as one array.
 * Source: SDM 3A s4.5: the entry is at index va >> (12 + 9 * level).
 */
#include "libos/libos/mem.h"
#include "src/abi/pte.h"

#define SELF ((uint64_t)UPT_SLOT)
#define LEVEL1 UPT_VA
#define LEVEL2 (LEVEL1 | SELF << 30)
#define LEVEL3 (LEVEL2 | SELF << 21)
#define LEVEL4 (LEVEL3 | SELF << 12)

_Static_assert(SELF << 39 == UPT_VA, "the window is its own entry");

static uint64_t entry(uint64_t level, uint64_t va, unsigned shift)
{
    const volatile uint64_t *table = (const volatile uint64_t *)level;
    return table[va >> shift];
}

uint64_t mem_paddr(const void *p)
{
    uint64_t va = (uint64_t)p;
    if (va >= UADDR_TOP || !(entry(LEVEL4, va, 39) & PTE_P) ||
        !(entry(LEVEL3, va, 30) & PTE_P)) {
        return 0;
    }
    uint64_t e = entry(LEVEL2, va, 21);
    if (!(e & PTE_P)) {
        return 0;
    }
    if (e & PTE_PS) {
        return (e & PTE_FRAME & ~0x1fffffull) | (va & 0x1fffff);
    }
    e = entry(LEVEL1, va, 12);
    return e & PTE_P ? (e & PTE_FRAME) | (va & 0xfff) : 0;
}
