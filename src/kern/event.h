/* SPDX-License-Identifier: MIT */
/*
 * Events and wakeup predicates.
 */
#pragma once

#include "src/abi/event.h"
#include "src/kern/env.h"

/*
 * Set a bit of uarea.pending and wake the environment if it waits for it. The
 * caller makes sure that `e` is not torn down meanwhile (it holds the lock of
 * a ring of `e`, or bind_lock).
 */
void event_signal(struct env *e, uint32_t bit);

/* Is the wait of `e` over, its predicate aside? */
bool event_due(const struct env *e, uint64_t now);
/*
 * Run the predicate that `e` waits for: does it wake it? `e` is in
 * ENV_RUNNING, claimed by the caller, who pays or charges for the time.
 */
bool event_predicate(struct env *e);
bool event_pending(const struct env *e);
struct turn;
#define EVENT_REVOKE_STEPS ENVS_MAX
/* Break predicates that rest on a revoked name; see disk_revoke. */
bool event_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
    REQUIRES(bind_lock);
/* Free the predicates of `e`. */
void event_env_end(struct env *e) REQUIRES(bind_lock);
