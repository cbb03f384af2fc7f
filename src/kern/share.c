/* SPDX-License-Identifier: MIT */
/*
 * Shares of the kernel's tables.
 *
 * Invariants: used <= limit for each environment and kind; all limits of a
 * kind together are at most the smallest table of that kind. So a charge that
 * succeeds finds a free entry.
 * It does for every counted thing what env.c does for frames with the quota.
 */
#include "src/kern/share.h"
#include "src/abi/quantum.h"
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/env.h"
#include "src/kern/net.h"
#include "src/kern/sysinfo.h"

static struct share_count *count(const struct env *e, enum share kind)
{
    return &sysinfo_shares(e->index)[kind];
}

uint32_t share_room(const struct env *e, enum share kind)
{
    return count(e, kind)->limit - READ_ONCE(count(e, kind)->used);
}

static int charge(struct env *e, enum share kind, uint32_t n)
{
    struct share_count *c = count(e, kind);
    uint32_t used = READ_ONCE(c->used);
    do {
        uint32_t limit = READ_ONCE(c->limit);
        REFUSE_IF(used > limit || n > limit - used, E_QUOTA);
    } while (!__atomic_compare_exchange_n(&c->used, &used, used + n, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 0;
}

int share_charge(struct env *e, enum share kind)
{
    return charge(e, kind, 1);
}

void share_take_many(struct env *e, enum share kind, uint32_t n)
{
    int r = charge(e, kind, n);
    assert(r == 0);
}

void share_take(struct env *e, enum share kind)
{
    share_take_many(e, kind, 1);
}

void share_refund_many(uint32_t index, enum share kind, uint32_t n)
{
    if (index != 0) {
        uint32_t was = __atomic_fetch_sub(&count(env_at(index), kind)->used, n,
                                          __ATOMIC_RELAXED);
        assert(was >= n);
    }
}

void share_refund(uint32_t index, enum share kind)
{
    share_refund_many(index, kind, 1);
}

void share_first(struct env *e)
{
    const uint32_t all[SHARE_KINDS] = {
        [SHARE_ENVS] = ENVS_MAX - 2, /* without index 0 and itself */
        [SHARE_NAMES] = GUARDS_SHARED,
        [SHARE_SLICES] = arch_cpu_count() * QUANTUM_SLOTS,
        [SHARE_NET_RINGS] = NET_RINGS_MAX,
        [SHARE_NET_REGIONS] = NET_REGIONS_MAX - 1,
        [SHARE_NET_BINDINGS] = NET_BINDINGS_MAX,
        [SHARE_NET_FILTERS] = NET_FILTERS_MAX,
        [SHARE_NET_STEPS] = NET_STEPS_MAX,
        [SHARE_DISK_RANGES] = DISK_RANGES_MAX - 1,
        [SHARE_DISK_RINGS] = DISK_RINGS_MAX,
    };
    for (unsigned kind = 0; kind < SHARE_KINDS; kind++) {
        *count(e, kind) = (struct share_count){.limit = all[kind]};
    }
}

int share_check(const struct env *parent, const uint32_t give[SHARE_KINDS])
{
    for (unsigned kind = 0; kind < SHARE_KINDS; kind++) {
        uint64_t want = (uint64_t)give[kind] + (kind == SHARE_ENVS);
        REFUSE_IF(want > share_room(parent, kind), E_QUOTA);
    }
    return 0;
}

void share_divide(struct env *parent, struct env *child,
                  const uint32_t give[SHARE_KINDS])
{
    for (unsigned kind = 0; kind < SHARE_KINDS; kind++) {
        *count(child, kind) = (struct share_count){.limit = give[kind]};
        __atomic_store_n(&count(parent, kind)->limit,
                         count(parent, kind)->limit - give[kind],
                         __ATOMIC_RELAXED);
    }
    share_take(parent, SHARE_ENVS);
}

static void limit_add(struct share_count *c, uint32_t n)
{
    __atomic_store_n(&c->limit, c->limit + n, __ATOMIC_RELAXED);
}

void share_move(uint32_t from, uint32_t to, enum share kind)
{
    if (to != 0) { /* first the limit: nobody uses more than it has */
        struct share_count *c = count(env_at(to), kind);
        limit_add(c, 1);
        __atomic_fetch_add(&c->used, 1, __ATOMIC_RELAXED);
    }
    share_refund(from, kind);
    limit_add(count(env_at(from), kind), UINT32_MAX);
}

void share_return(struct env *e, struct env *heir)
{
    for (unsigned kind = 0; kind < SHARE_KINDS; kind++) {
        struct share_count *from = count(e, kind);
        if (heir != NULL) {
            struct share_count *to = count(heir, kind);
            limit_add(to, from->limit);
            __atomic_fetch_add(&to->used, READ_ONCE(from->used),
                               __ATOMIC_RELAXED);
        }
        *from = (struct share_count){0};
    }
    share_refund(heir != NULL ? heir->index : 0, SHARE_ENVS);
}
