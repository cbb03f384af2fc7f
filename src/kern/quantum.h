/* SPDX-License-Identifier: MIT */
/*
 * Processors and their vectors of slices. Each processor sweeps its own
 * vector; no policy lives here. One environment runs on one processor at a
 * time, whatever slices it has.
 */
#pragma once

#include "src/abi/quantum.h"
#include "src/kern/env.h"

enum quantum_leave { LEAVE_NOT, LEAVE_YIELD, LEAVE_SLEEP };

/* A processor; touched by itself only, but for the atomic fields. */
struct cpu {
    struct env *current; /* in ring 3, or doing a call; NULL: none */
    struct sysinfo_cpu *info;
    enum quantum_leave leave; /* set by a call: do this at its end */
    uint32_t yield_to;        /* LEAVE_YIELD: id, or 0 */
    unsigned slot;            /* of the current slice */
    bool over;                /* the slice is over, its owner was told */
    bool stretched;           /* a directed yield made it longer */
    bool looked;              /* a predicate was run in this sweep's step */
    uint64_t slice_end;       /* tsc */
    uint64_t charged_to;      /* tsc up to which time is accounted */
    uint64_t ran_from;        /* tsc at which `current` was entered */
    uint64_t timer;           /* tsc the timer is armed for; 0: it is not */

    _Atomic uint64_t vector_used;   /* slots with an owner */
    _Atomic uint32_t idle;          /* asks to be kicked */
    struct env *_Atomic loaded;     /* whose addressing context is loaded */
    const struct env *fpu;          /* whose registers are in the FPU */
    uint32_t span;                  /* span.h: the row that is measured */
    uint64_t closed_from;           /* tsc: since then interrupts are off */
    uint64_t locked_from;           /* tsc: since then it has bind_lock */
    bool console;                   /* console.c: text waits for the line */
    uint64_t net_polling;           /* net.c: devices to poll */
    _Atomic uint64_t poll_sequence; /* net.c: odd while demultiplexing */
} __attribute__((aligned(128)));

struct cpu *cpu_at(unsigned cpu);
static inline struct cpu *cpu_this(void)
{
    return cpu_at(arch_cpu());
}

/*
 * Leave the current environment if it is to be left (its call said so, it is
 * doomed, or `f` is NULL), and enter the next; else resume at `f`.
 */
struct frame *quantum_resume(struct cpu *c, struct frame *f)
    EXCLUDES(bind_lock);
/* The timer rang while `f` ran. */
struct frame *quantum_timer(struct cpu *c, struct frame *f);
/* Make sure that the timer rings no later than `tsc`. */
void quantum_arm(struct cpu *c, uint64_t tsc);

/* `e` may have become runnable: wake an idle processor that has a slice. */
void quantum_kick(const struct env *e);
/* Take every slice of `e` away. */
void quantum_env_end(struct env *e) REQUIRES(bind_lock);
/* Wait until no processor has the addressing context of `e` loaded. */
void quantum_forget(struct env *e) REQUIRES(bind_lock);
/* Give a slice: the core of sys_quantum_alloc, for the first environment. */
int quantum_give(unsigned cpu, uint32_t slot, struct env *e)
    REQUIRES(bind_lock);
