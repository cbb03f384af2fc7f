/* SPDX-License-Identifier: MIT */
/*
 * Which addressing context each processor has, and forgetting translations
 * on all of them. The kernel runs with interrupts off, so a processor that
 * waits - for an answer here, for a lock in arch_pause - must answer others
 * meanwhile; else two of them would wait for each other.
 *
 * A processor loads a context by writing cpu->root before cr3, which orders
 * the two; one that changed an entry reads cpu->root after a fence. So either
 * the request reaches it, or it loads tables that have the change.
 * Source: SDM 3A s4.10.4, s4.10.5.
 */
#include "src/abi/pte.h"
#include "src/x86_64/apic.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/leak.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/trap.h"

#define FLUSH_NONE 0u
#define FLUSH_USER 1u
#define FLUSH_ALL 2u         /* kernel's global entries too */
#define INVLPG_PAGES_MAX 16u /* more is dearer than a reload of cr3 */
#define ROOT_ANY UINT64_MAX

static void forget(uint32_t what)
{
    if (what == FLUSH_ALL && !leak.kpti) {
        uint64_t cr4 = read_cr4();
        write_cr4(cr4 & ~CR4_PGE);
        write_cr4(cr4);
    } else if (what != FLUSH_NONE) { /* without global entries this is all */
        write_cr3(read_cr3());
    }
}

void mmu_flush_answer(void)
{
    struct core *self = cpu_self();
    uint32_t what = __atomic_load_n(&self->flush, __ATOMIC_ACQUIRE);
    if (what != FLUSH_NONE) {
        forget(what);
        /* A stronger request may have come meanwhile; it stays. */
        __atomic_compare_exchange_n(&self->flush, &what, FLUSH_NONE, false,
                                    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
}

/* Raise a request; never weaken one that is there. */
static void ask(struct core *c, uint32_t what)
{
    uint32_t old = __atomic_load_n(&c->flush, __ATOMIC_RELAXED);
    while (old < what &&
           !__atomic_compare_exchange_n(&c->flush, &old, what, true,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    }
    apic_send(c->apic_id, APIC_FIXED | VECTOR_FLUSH);
}

static void flush_others(uint64_t root, uint32_t what)
{
    struct core *self = cpu_self();
    uint64_t asked = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < cpus_known(); i++) {
        struct core *c = cpu_get(i);
        if (c != self && __atomic_load_n(&c->online, __ATOMIC_ACQUIRE) &&
            (root == ROOT_ANY ||
             __atomic_load_n(&c->root, __ATOMIC_ACQUIRE) == root)) {
            ask(c, what);
            asked |= 1ull << i;
        }
    }
    for (; asked != 0; asked &= asked - 1) {
        struct core *c = cpu_get((unsigned)__builtin_ctzll(asked));
        while (__atomic_load_n(&c->flush, __ATOMIC_ACQUIRE) != FLUSH_NONE) {
            arch_pause();
        }
    }
}

void arch_pause(void)
{
    cpu_relax();
    mmu_flush_answer();
}

void arch_tlb_flush(uint64_t root, uint64_t va, uint64_t pages)
{
    uint64_t paddr = root << PAGE_SHIFT;
    if (cpu_self()->root == paddr) {
        if (pages > INVLPG_PAGES_MAX) {
            forget(FLUSH_USER);
        } else {
            for (uint64_t i = 0; i < pages; i++) {
                invlpg(va + i * PAGE_SIZE);
            }
        }
    }
    flush_others(paddr, FLUSH_USER);
}

void mmu_flush_kernel(void)
{
    forget(FLUSH_ALL);
    flush_others(ROOT_ANY, FLUSH_ALL);
}

/* Another environment than the one that ran here last is to run: none trusts
   another, its maker included. */
static void barrier(struct core *self, uint64_t root)
{
    if (__atomic_exchange_n(&self->trained, root, __ATOMIC_RELAXED) != root) {
        leak_barrier();
    }
}

void mmu_context_is_new(uint64_t root)
{
    for (unsigned i = 0; i < cpus_known(); i++) {
        uint64_t was = root;
        __atomic_compare_exchange_n(&cpu_get(i)->trained, &was, 0, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

void arch_aspace_load(uint64_t root)
{
    uint64_t paddr = root == 0 ? mmu_root() : root << PAGE_SHIFT;
    struct core *self = cpu_self();
    if (self->root == paddr) {
        return;
    }
    __atomic_store_n(&self->root, paddr, __ATOMIC_SEQ_CST);
    if (leak.kpti) {
        self->user_cr3 = paddr; /* entry.S loads it on the way out */
    } else {
        write_cr3(paddr);
    }
    clear_selectors(); /* one environment's are not another's to read */
    if (root != 0 && leak.ibpb) {
        barrier(self, paddr);
    }
}
