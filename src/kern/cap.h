/* SPDX-License-Identifier: MIT */
/*
 * Capabilities and guards. A guard is an interned name: a resource keeps its
 * number, and the name lives as long as somebody holds it.
 */
#pragma once

#include "src/abi/cap.h"
#include "src/kern/lock.h"
#include <stdbool.h>

struct env;

#define GUARD_ROOT 0u /* the empty name; never goes away */
#define GUARD_MAX (1u << 16)
/* What environments may hold of them; the kernel's own names are two. */
#define GUARDS_SHARED (GUARD_MAX - 2)

/*
 * The guard with this name, held once more.
 *
 * len  at most CAP_NAME_MAX
 * e    pays for it with its share of names if it is new; NULL: the kernel
 *
 * Returns its number, -E_QUOTA or -E_MEM.
 */
int guard_intern(struct env *e, const uint8_t *name, uint32_t len)
    EXCLUDES(guard_lock);
struct turn;
/*
 * What the environment at `from` pays for is paid by the one at `to` now, with
 * the share for it. `seen` counts the guards that were looked at, 0 at first:
 * it interns none meanwhile. False: the turn ended first.
 */
bool guard_bequeath(uint32_t from, uint32_t to, uint32_t *seen, struct turn *t)
    REQUIRES(bind_lock) EXCLUDES(guard_lock);
/* Hold `times` more a guard that somebody is known to hold. */
void guard_hold(uint32_t guard, uint32_t times);
void guard_drop(uint32_t guard) EXCLUDES(guard_lock);

/* Are the capability's components the guard's first, its rights enough? */
bool cap_dominates(const struct cap *k, uint32_t guard, uint32_t rights);

/*
 * A revocation under way: of this name and all longer ones, by `by`, whose
 * own slot with the name itself stays.
 */
struct revocation {
    struct cap name;
    const struct env *by;
};

/*
 * Does what `holder` made by presenting `k` rest on the revoked name? It does
 * if `k` is longer than it, or is the same name with no more rights in the
 * hands of another environment.
 */
bool cap_revoked(const struct revocation *r, const struct cap *k,
                 const struct env *holder);

/* The same of a capability that is kept as the guard of its name. */
bool guard_revoked(const struct revocation *r, uint32_t guard, uint32_t rights,
                   const struct env *holder);

/*
 * Does a revocation that is clearing lists (revoke.c) take `k` out of the list
 * of `holder`? Then it must not move on to one that was cleared already.
 */
bool cap_going(const struct cap *k, const struct env *holder)
    REQUIRES(bind_lock);
/* No revocation of `e` clears lists any more. */
void cap_going_end(struct env *e) REQUIRES(bind_lock);

/* The capability in a slot. 0, -E_RANGE (no such slot) or -E_CAP (empty). */
int cap_get(const struct env *e, uint32_t slot, const struct cap **out)
    REQUIRES(bind_lock);
/* 0 if the slot's capability dominates; -E_RANGE or -E_CAP. */
int cap_demand(const struct env *e, uint32_t slot, uint32_t guard,
               uint32_t rights) REQUIRES(bind_lock);
/* The name in a slot as a guard, held. Or -E_RANGE, -E_CAP, -E_QUOTA, -E_MEM */
int cap_guard(struct env *e, uint32_t slot, uint32_t rights)
    REQUIRES(bind_lock);
