/* SPDX-License-Identifier: MIT */
/*
 * Spinlocks and their order. The kernel runs with interrupts off, so a lock is
 * never taken twice by one processor; what waits turns in arch_pause, which
 * answers the translation-buffer requests of others; who waits for bind_lock
 * lets interrupts in too (span.h). A lock is a queue: a
 * processor draws the next number and waits until it is served, so that it
 * waits for each other processor at most once.
 *
 * Two times (Engler95 s3.2). Bind time: whatever makes, changes or
 * breaks a name, an authority or a binding holds bind_lock, which one
 * processor has at a time. Access time: the use of a binding takes only the
 * lock of the one queue and ring it touches, and environments change state by
 * compare and swap (env.h).
 *
 * The order; a processor that holds one takes only later ones:
 *   1. bind_lock              names, capabilities, page tables, vectors
 *   2. net_queue.lock         a queue pair of a network device
 *      disk.lock              a block device: queue, rings, ranges in use
 *   3. net_ring.lock          a packet ring
 *      env.predicate_lock     wakeup predicates of one environment
 *   4. heap_lock              the heap (kheap.c)
 *   5. guard_lock             names of guards
 *   6. page_lock              free frames
 *   7. console_lock           the serial line
 *      jitter_lock            the key that timing jitter made (entropy.c)
 * Levels 2 and 3: at most one lock of each level. arch_tlb_flush and
 * net_quiesce are called with nothing but bind_lock held. So is
 * quantum_forget, and it waits for other processors' contexts: who waits for
 * bind_lock has none loaded but that of what it runs.
 */
#pragma once

#include "src/arch.h"
#include <stdatomic.h>

#define CAPABILITY(x) __attribute__((capability(x)))
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define BEFORE(...) __attribute__((acquired_before(__VA_ARGS__)))
#define UNCHECKED __attribute__((no_thread_safety_analysis))

struct CAPABILITY("lock") lock {
    _Atomic uint32_t next;   /* number that the next to come draws */
    _Atomic uint32_t served; /* number whose turn it is */
};

extern struct lock console_lock;
extern struct lock page_lock BEFORE(console_lock);
extern struct lock guard_lock BEFORE(page_lock);
extern struct lock heap_lock BEFORE(guard_lock);
extern struct lock bind_lock BEFORE(heap_lock);

static inline void lock_acquire(struct lock *l) ACQUIRES(l) UNCHECKED
{
    uint32_t number =
        atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
    while (atomic_load_explicit(&l->served, memory_order_acquire) != number) {
        arch_pause();
    }
}

static inline void lock_release(struct lock *l) RELEASES(l) UNCHECKED
{
    uint32_t number = atomic_load_explicit(&l->served, memory_order_relaxed);
    atomic_store_explicit(&l->served, number + 1, memory_order_release);
}
