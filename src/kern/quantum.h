/* SPDX-License-Identifier: MIT */
/*
 * Vectors of slices. Each processor sweeps its own vector; no policy lives
 * here. One environment runs on one processor at a time, whatever slices it
 * has.
 */
#pragma once

#include "src/abi/quantum.h"
#include "src/kern/cpu.h"
#include "src/kern/env.h"

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
