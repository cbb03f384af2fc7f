/* SPDX-License-Identifier: MIT */
/*
 * A processor, as the portable kernel sees it. Each processor touches its own
 * and nothing of another's but the atomic fields. Parts belong to the files
 * that are named beside them.
 */
#pragma once

#include "src/abi/quantum.h"
#include "src/arch.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct env;
struct sysinfo_cpu;

enum quantum_leave { LEAVE_NOT, LEAVE_YIELD, LEAVE_SLEEP };

struct cpu {
    struct env *current; /* in ring 3, or doing a call; NULL: none */
    struct sysinfo_cpu *info;
    enum quantum_leave leave; /* set by a call: do this at its end */
    uint32_t yield_to;        /* LEAVE_YIELD: id, or 0 */
    unsigned slot;            /* the current slice's number */
    bool over;                /* the slice is over, its owner was told */
    bool stretched;           /* a directed yield made it longer */
    bool looked;              /* a predicate was run in this sweep's step */
    uint64_t slice_end;       /* tsc */
    uint64_t charged_to;      /* tsc up to which time is accounted */
    uint64_t ran_from;        /* tsc at which `current` was entered */
    uint64_t timer;           /* tsc the timer is armed for; 0: it is not */

    _Atomic uint64_t vector_used; /* slices with an owner */
    /* For each slice those of the same owner, so that a sweep asks each owner
       once; changed under bind_lock, before vector_used grows. */
    _Atomic uint64_t vector_same[QUANTUM_SLOTS];
    _Atomic uint32_t idle;          /* asks to be kicked */
    struct env *_Atomic loaded;     /* whose addressing context is loaded */
    const struct env *fpu;          /* whose registers are in the FPU */
    uint32_t span;                  /* span.h: the row that is measured */
    uint64_t closed_from;           /* tsc: since then interrupts are off */
    uint64_t locked_from;           /* tsc: since then it has bind_lock */
    bool lends;                     /* code.h: bind_lock, at each breath */
    uint64_t heap_bytes;            /* kheap.h */
    bool console;                   /* console.c: text waits for the line */
    uint64_t net_polling;           /* net.c: devices to poll */
    _Atomic uint64_t poll_sequence; /* net.c: odd while demultiplexing */
} __attribute__((aligned(128)));

extern struct cpu cpu_table[ARCH_CPUS_MAX];

static inline struct cpu *cpu_at(unsigned cpu)
{
    return &cpu_table[cpu];
}

static inline struct cpu *cpu_this(void)
{
    return cpu_at(arch_cpu());
}
