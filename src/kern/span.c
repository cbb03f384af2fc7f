/* SPDX-License-Identifier: MIT */
/*
 * Stretches with interrupts off and stretches with bind_lock. A stretch ends
 * where an interrupt that waits comes in: at the way out, in arch_idle and in
 * arch_breathe. The waiting for bind_lock is part of the first kind and not of
 * the second.
 */
#include "src/kern/span.h"
#include "src/abi/sysno.h"
#include "src/kern/sysinfo.h"

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

void bind_acquire(void) UNCHECKED
{
    lock_acquire(&bind_lock);
    cpu_this()->locked_from = arch_tsc();
}

void bind_release(void) UNCHECKED
{
    struct cpu *c = cpu_this();
    longest(&sysinfo_span(arch_cpu())[c->span].locked, c->locked_from);
    lock_release(&bind_lock);
}
