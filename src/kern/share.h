/* SPDX-License-Identifier: MIT */
/*
 * Shares of the kernel's tables (abi/share.h). Whatever takes an entry of a
 * table that all environments use charges it here first, and refunds it where
 * the entry becomes free.
 */
#pragma once

#include "src/abi/share.h"
#include "src/kern/lock.h"

struct env;

/* Entries that `e` may still take. */
uint32_t share_room(const struct env *e, enum share kind) REQUIRES(bind_lock);
/* One entry more for `e`. 0 or -E_QUOTA. Any time. */
int share_charge(struct env *e, enum share kind);
/* The same where share_room has just found room; `n` of them. */
void share_take(struct env *e, enum share kind) REQUIRES(bind_lock);
void share_take_many(struct env *e, enum share kind, uint32_t n)
    REQUIRES(bind_lock);
/* One entry fewer for the environment at `index`; 0 is nobody. Any time. */
void share_refund(uint32_t index, enum share kind);
void share_refund_many(uint32_t index, enum share kind, uint32_t n);

/* All that the tables have is the first environment's. */
void share_first(struct env *e) REQUIRES(bind_lock);
/* Can the parent give so much, and make one environment? 0 or -E_QUOTA. */
int share_check(const struct env *parent, const uint32_t give[SHARE_KINDS])
    REQUIRES(bind_lock);
/*
 * Give `give[kind]` of the parent's shares, which share_check found there, to
 * a new environment that has none yet, and charge the parent for it.
 */
void share_divide(struct env *parent, struct env *child,
                  const uint32_t give[SHARE_KINDS]) REQUIRES(bind_lock);
/* An entry that the one at `from` uses is used by the one at `to` now, which
   gets the share for it; 0 is nobody. */
void share_move(uint32_t from, uint32_t to, enum share kind)
    REQUIRES(bind_lock);
/*
 * `e` ends: its shares, and what others still use of what it made, go to
 * `heir`. NULL: nobody has them any more.
 */
void share_return(struct env *e, struct env *heir) REQUIRES(bind_lock);
