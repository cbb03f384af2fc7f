/* SPDX-License-Identifier: MIT */
/*
 * Stretches with interrupts off and stretches with bind_lock. A stretch ends
 * where an interrupt that waits comes in: at the way out, in arch_idle and in
 * arch_breathe. Whoever waits for bind_lock lets interrupts in: how long that
 * takes depends on how many processors there are, and is part of neither kind.
 */
#include "src/kern/span.h"
#include "src/abi/sysno.h"
#include "src/kern/sysinfo.h"

#define LONG_US 50u

static void longest(uint64_t *of, uint64_t from)
{
    uint64_t took = arch_tsc() - from;
    *of = took > *of ? took : *of;
}

void span_begin(struct cpu *c, uint32_t row)
{
    c->span = row;
    c->closed_from = arch_tsc();
}

void span_end(struct cpu *c)
{
    longest(&sysinfo_span(arch_cpu())[c->span].closed, c->closed_from);
}

uint32_t span_call(uint32_t number)
{
    uint32_t n = number - SYS_FIRST;
    return n < SYSINFO_SPANS - SPAN_CALLS ? SPAN_CALLS + n : SPAN_EXCEPTION;
}

void span_breathe(struct cpu *c)
{
    uint32_t row = c->span; /* an interrupt has one of its own */
    span_end(c);
    arch_breathe();
    span_begin(c, row);
}

void span_pause(struct cpu *c)
{
    if (arch_tsc() - c->closed_from >= arch_tsc_khz() * LONG_US / 1000) {
        span_breathe(c);
    }
}

/* lock_acquire, with interrupts let in. An interrupt may come when it is this
   processor's turn; it is short, and takes no bind_lock. */
void bind_acquire(void) UNCHECKED
{
    struct cpu *c = cpu_this();
    uint32_t number =
        atomic_fetch_add_explicit(&bind_lock.next, 1, memory_order_relaxed);
    while (atomic_load_explicit(&bind_lock.served, memory_order_acquire) !=
           number) {
        arch_pause();
        span_breathe(c);
    }
    c->locked_from = arch_tsc();
}

void bind_release(void) UNCHECKED
{
    struct cpu *c = cpu_this();
    longest(&sysinfo_span(arch_cpu())[c->span].locked, c->locked_from);
    lock_release(&bind_lock);
}
