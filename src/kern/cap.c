/* SPDX-License-Identifier: MIT */
/*
 * Capabilities and guards.
 *
 * Guards: names are unique (a number stands for exactly one name while it is
 * held), so two numbers are equal iff their names are, and a holder may
 * remember "this capability dominates guard g" for as long as it holds g.
 * Names and links change under guard_lock; a held guard's name does not.
 * Source: Mazieres97.
 */
#include "src/kern/cap.h"
#include "src/abi/pte.h"
#include "src/kern/demand.h"
#include "src/kern/env.h"
#include "src/kern/secret.h"
#include "src/kern/share.h"
#include "src/kern/sysinfo.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

#define CHUNK_FRAMES 16u
#define CHUNK_GUARDS (CHUNK_FRAMES * PAGE_SIZE / sizeof(struct guard))
#define CHUNKS (GUARD_MAX / CHUNK_GUARDS)
#define BUCKETS 4096u
#define UNIT_GUARDS 8u /* that one unit of a turn looks at */

struct guard {
    _Atomic uint32_t refs;
    uint32_t next;  /* in its bucket, or in the free list; 0 ends it */
    uint16_t owner; /* index of who pays for it; 0 the kernel or nobody */
    uint8_t len;
    uint8_t name[CAP_NAME_MAX];
    uint8_t pad;
};
_Static_assert(sizeof(struct guard) == 32, "chunks are whole frames");

struct lock guard_lock;
static struct guard *chunk[CHUNKS];
static uint32_t chunks GUARDED_BY(guard_lock);
static uint32_t free_list GUARDED_BY(guard_lock);
static uint32_t bucket[BUCKETS] GUARDED_BY(guard_lock);
static uint64_t hash_key[2] GUARDED_BY(guard_lock); /* made at first use */

static struct guard *guard_at(uint32_t guard)
{
    return &chunk[guard / CHUNK_GUARDS][guard % CHUNK_GUARDS];
}

static uint32_t *bucket_of(const uint8_t *name, uint32_t len)
    REQUIRES(guard_lock)
{
    /* Under a key: else an environment could choose names that all lie in
       one bucket, and make every search long. */
    if (hash_key[0] == 0) {
        hash_key[0] = secret_word() | 1;
        hash_key[1] = secret_word();
    }
    return &bucket[secret_hash(hash_key, name, len) % BUCKETS];
}

/* One more chunk of unused numbers. Number 0 is not in the list. */
static int grow(void) REQUIRES(guard_lock)
{
    REFUSE_IF(chunks == CHUNKS, E_QUOTA); /* shares end before */
    chunk[chunks] = page_kalloc_bytes(CHUNK_FRAMES * PAGE_SIZE);
    REFUSE_IF(chunk[chunks] == NULL, E_MEM);
    uint32_t first = chunks * (uint32_t)CHUNK_GUARDS;
    for (uint32_t i = (uint32_t)CHUNK_GUARDS; i-- > 0;) {
        if (first + i != GUARD_ROOT) {
            chunk[chunks][i].next = free_list;
            free_list = first + i;
        }
    }
    chunks++;
    return 0;
}

static int intern(struct env *e, const uint8_t *name, uint32_t len)
    REQUIRES(guard_lock)
{
    uint32_t *head = bucket_of(name, len);
    for (uint32_t g = *head; g != 0; g = guard_at(g)->next) {
        struct guard *known = guard_at(g);
        if (known->len == len &&
            __builtin_memcmp(known->name, name, len) == 0) {
            atomic_fetch_add(&known->refs, 1);
            return (int)g;
        }
    }
    if (free_list == 0) {
        TRY(grow());
    }
    TRY(e != NULL ? share_charge(e, SHARE_NAMES) : 0);
    uint32_t g = free_list;
    struct guard *made = guard_at(g);
    free_list = made->next;
    made->owner = (uint16_t)(e != NULL ? e->index : 0);
    made->len = (uint8_t)len;
    __builtin_memcpy(made->name, name, len);
    made->next = *head;
    *head = g;
    atomic_store(&made->refs, 1);
    return (int)g;
}

int guard_intern(struct env *e, const uint8_t *name, uint32_t len)
{
    if (len == 0) {
        return (int)GUARD_ROOT;
    }
    lock_acquire(&guard_lock);
    int r = intern(e, name, len);
    lock_release(&guard_lock);
    return r;
}

void guard_hold(uint32_t guard, uint32_t times)
{
    if (guard != GUARD_ROOT) {
        atomic_fetch_add(&guard_at(guard)->refs, times);
    }
}

void guard_drop(uint32_t guard)
{
    if (guard == GUARD_ROOT) {
        return;
    }
    lock_acquire(&guard_lock);
    struct guard *g = guard_at(guard);
    uint32_t before = atomic_fetch_sub(&g->refs, 1);
    assert(before != 0);
    if (before == 1) {
        uint32_t *link = bucket_of(g->name, g->len);
        while (*link != guard) {
            link = &guard_at(*link)->next;
        }
        *link = g->next;
        g->next = free_list;
        free_list = guard;
        share_refund(g->owner, SHARE_NAMES);
        g->owner = 0;
    }
    lock_release(&guard_lock);
}

bool guard_bequeath(uint32_t from, uint32_t to, uint32_t *seen, struct turn *t)
{
    const struct share_count *paid = &sysinfo_shares(from)[SHARE_NAMES];
    bool granted = true;
    lock_acquire(&guard_lock);
    for (; READ_ONCE(paid->used) > 0; ++*seen) {
        assert(*seen < chunks * CHUNK_GUARDS);
        granted = *seen % UNIT_GUARDS != 0 || turn_take(t, 1);
        if (!granted) {
            break;
        }
        if (guard_at(*seen)->owner == from) {
            guard_at(*seen)->owner = (uint16_t)to;
            share_move(from, to, SHARE_NAMES);
        }
    }
    lock_release(&guard_lock);
    return granted;
}

static bool prefix(const struct cap *k, const uint8_t *name, uint32_t len)
{
    return k->len <= len && __builtin_memcmp(k->name, name, k->len) == 0;
}

bool cap_dominates(const struct cap *k, uint32_t guard, uint32_t rights)
{
    if ((k->rights & rights) != rights || k->rights == 0) {
        return false;
    }
    if (guard == GUARD_ROOT) {
        return k->len == 0;
    }
    const struct guard *g = guard_at(guard);
    return prefix(k, g->name, g->len);
}

bool cap_revoked(const struct revocation *r, const struct cap *k,
                 const struct env *holder)
{
    const struct cap *name = &r->name;
    if (k->rights == 0 || k->len < name->len ||
        !prefix(name, k->name, k->len)) {
        return false;
    }
    return k->len > name->len ||
           (holder != r->by && (k->rights & ~name->rights) == 0);
}

bool guard_revoked(const struct revocation *r, uint32_t guard, uint32_t rights,
                   const struct env *holder)
{
    struct cap k = {.rights = (uint16_t)rights};
    if (guard != GUARD_ROOT) {
        k.len = guard_at(guard)->len;
        __builtin_memcpy(k.name, guard_at(guard)->name, k.len);
    }
    return cap_revoked(r, &k, holder);
}

int cap_get(const struct env *e, uint32_t slot, const struct cap **out)
{
    REFUSE_IF(slot >= CAP_SLOTS, E_RANGE);
    REFUSE_IF(e->cap[slot].rights == 0, E_CAP);
    *out = &e->cap[slot];
    return 0;
}

int cap_demand(const struct env *e, uint32_t slot, uint32_t guard,
               uint32_t rights)
{
    const struct cap *k;
    TRY(cap_get(e, slot, &k));
    return cap_dominates(k, guard, rights) ? 0 : -E_CAP;
}

int cap_guard(struct env *e, uint32_t slot, uint32_t rights)
{
    const struct cap *k;
    TRY(cap_get(e, slot, &k));
    REFUSE_IF((k->rights & rights) != rights, E_CAP);
    return guard_intern(e, k->name, k->len);
}

int64_t sys_cap_mint(struct env *e, const struct cap *from, uint32_t to,
                     uaddr suffix, uint32_t len, uint32_t rights)
{
    REFUSE_IF(to >= CAP_SLOTS, E_RANGE);
    REFUSE_IF(rights == 0 || (rights & ~CAP_ALL) != 0, E_INVAL);
    REFUSE_IF((rights & ~(uint32_t)from->rights) != 0, E_CAP);
    uint32_t room = CAP_NAME_MAX - (uint32_t)from->len;
    REFUSE_IF(len > 0 && len >= room, E_RANGE);
    REFUSE_IF(e->cap[to].rights != 0, E_BUSY);
    struct cap made = *from;
    if (len > 0) {
        made.name[made.len++] = (uint8_t)len;
        TRY(copy_in(e, made.name + made.len, suffix, len));
        made.len = (uint8_t)(made.len + len);
    }
    made.rights = (uint16_t)rights;
    e->cap[to] = made;
    return 0;
}

int64_t sys_cap_grant(struct env *e, uint32_t k, uint32_t env, uint32_t from,
                      uint32_t to)
{
    struct env *other = NULL;
    TRY(env_demand(e, k, env, CAP_WRITE, &other));
    const struct cap *given;
    TRY(cap_get(e, from, &given));
    REFUSE_IF((given->rights & CAP_GRANT) == 0 || cap_going(given, e), E_CAP);
    REFUSE_IF(to >= CAP_SLOTS, E_RANGE);
    REFUSE_IF(other->cap[to].rights != 0, E_BUSY);
    other->cap[to] = *given;
    return 0;
}

int64_t sys_cap_drop(struct env *e, uint32_t slot)
{
    const struct cap *dropped;
    TRY(cap_get(e, slot, &dropped));
    e->cap[slot] = (struct cap){0};
    return 0;
}
