/* SPDX-License-Identifier: MIT */
/*
 * Disks. A request is read from its slot once, checked against the ring's
 * range, its pieces pinned until the device is done; the device moves the
 * data itself. A ring that is freed under way leaves its requests their pins.
 * Source: Xok's PXN (block ranges), virtio-blk's shape of requests.
 */
#include "src/kern/disk.h"
#include "src/kern/demand.h"
#include "src/kern/event.h"
#include "src/kern/page.h"
#include "src/kern/share.h"
#include "src/kern/slots.h"
#include "src/kern/sysinfo.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"
#include "src/lib/string.h"

#define SECTORS (DISK_BLOCK_SIZE / 512u) /* in one block */
#define CALL_REQUESTS 16u /* of one turn of disk_submit, one interrupt */
#define TURN 4u         /* requests of one ring before the next has its turn */
#define REVOKE_UNITS 8u /* of a turn, to look at a ring or break it */
#define END_UNITS 72u   /* to unpin a ring's frames */
_Static_assert(DISK_PIECES_MAX <= BLKDEV_PIECES_MAX, "a slot fits a request");

struct disk_ring {
    struct env *env; /* NULL: unused; changes under bind_lock and the lock */
    bool writes;
    uint32_t generation; /* grows when the ring is freed */
    uint32_t event;
    uint32_t in_flight;
    uint32_t mask; /* slots - 1 */
    struct disk_range *range;
    struct disk_slot *slots; /* in the environment's frames, pinned */
    uint64_t next;           /* slots taken since creation */
    uint64_t under_way[SLOTS_WORDS(DISK_RING_SLOTS_MAX)]; /* see slots.h */
    struct page_pass memory; /* what pieces may name */
    uint64_t frames;
    struct cap by; /* what was presented for the range */
};

struct disk_range {
    bool used;
    uint32_t guard;
    uint32_t owner; /* index of an environment; 0 nobody */
    uint32_t rings;
    uint64_t start, count; /* blocks */
    struct cap by;         /* what was presented for the parent */
};

/* A request that the device has. */
struct under_way {
    struct blkdev_req req;
    uint32_t next_free;
    uint32_t ring, generation, slot;
    uint64_t blocks;
};

struct disk {
    struct lock lock;
    struct blkdev *dev;
    struct sysinfo_disk *info;
    uint32_t free;    /* first free request; dev->depth: none */
    uint64_t blocked; /* rings that wait for room */
    uint64_t touched; /* rings to signal */
    uint32_t turn;
    struct disk_range range[DISK_RANGES_MAX];
    struct disk_ring ring[DISK_RINGS_MAX];
    struct under_way under_way[]; /* dev->depth */
};

static struct disk *disks[SYSINFO_DISKS_MAX];
static _Atomic uint32_t unserved; /* bit: a disk that disk_turn looks at */
_Static_assert(SYSINFO_DISKS_MAX <= 32, "a bit each");

static struct disk *disk_at(uint32_t i)
{
    return i < SYSINFO_DISKS_MAX ? disks[i] : NULL;
}

int disk_attach(struct blkdev *dev)
{
    dev->index = sysinfo()->disks;
    REFUSE_IF(dev->index == SYSINFO_DISKS_MAX, E_LIMIT);
    struct disk *d =
        page_kalloc_bytes(sizeof(*d) + dev->depth * sizeof(struct under_way));
    REFUSE_IF(d == NULL, E_MEM);
    d->dev = dev;
    for (uint32_t i = 0; i < dev->depth; i++) {
        d->under_way[i].next_free = i + 1;
    }
    d->range[DISK_RANGE_ALL] = (struct disk_range){
        .used = true, .guard = GUARD_ROOT, .count = dev->sectors / SECTORS};
    d->info = &sysinfo()->disk[dev->index];
    d->info->blocks = dev->sectors / SECTORS;
    d->info->read_only = dev->read_only != 0;
    disks[dev->index] = d;
    sysinfo()->disks++;
    return 0;
}

/* --------------------------------------------------------------- requests */

static bool inside(const struct disk_range *g, uint64_t start, uint64_t count)
{
    return start >= g->start && count <= g->count &&
           start - g->start <= g->count - count;
}

/* Copy a slot's request and check it: 0, -E_INVAL, -E_RANGE, -E_CAP. */
static int take_slot(const struct disk_ring *r, const struct disk_slot *slot,
                     struct under_way *to)
{
    struct disk_slot s;
    memcpy(&s, slot, sizeof(s));
    REFUSE_IF(s.op > DISK_FLUSH || s.pieces > DISK_PIECES_MAX ||
                  s.count > DISK_COUNT_MAX ||
                  (s.op == DISK_FLUSH) != (s.count == 0),
              E_INVAL);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s.pieces; i++) {
        REFUSE_IF(s.piece[i].len == 0 || s.piece[i].paddr % 512 != 0 ||
                      s.piece[i].len % 512 != 0 || s.piece[i].reserved != 0,
                  E_INVAL);
        bytes += s.piece[i].len;
        to->req.piece[i] = s.piece[i];
    }
    REFUSE_IF(bytes != (uint64_t)s.count * DISK_BLOCK_SIZE, E_INVAL);
    REFUSE_IF(s.op != DISK_FLUSH && !inside(r->range, s.block, s.count),
              E_RANGE);
    REFUSE_IF(s.op != DISK_READ && !r->writes, E_CAP);
    to->req.op = s.op;
    to->req.pieces = s.pieces;
    to->req.sector = s.op == DISK_FLUSH ? 0 : s.block * SECTORS;
    to->blocks = s.count;
    return 0;
}

static void give_back(struct disk *d, uint32_t ring, uint32_t slot, int status)
{
    struct disk_slot *s = &d->ring[ring].slots[slot];
    s->status = status;
    __atomic_store_n(&s->owner, DISK_OWNER_ENV, __ATOMIC_RELEASE);
    d->touched |= 1ull << ring;
}

static void count(struct disk *d, const struct under_way *u, int status)
{
    if (status < 0) {
        d->info->errors++;
    } else if (u->req.op == DISK_READ) {
        d->info->reads++;
        d->info->read_blocks += u->blocks;
    } else if (u->req.op == DISK_WRITE) {
        d->info->writes++;
        d->info->write_blocks += u->blocks;
    }
}

/* Entry `token` is free again, and what it held unpinned. */
static void let_go(struct disk *d, uint32_t token)
{
    struct under_way *u = &d->under_way[token];
    page_unpin_pieces(u->req.piece, u->req.pieces);
    u->next_free = d->free;
    d->free = token;
}

void disk_done(struct blkdev *dev, uint32_t token, int status)
{
    struct disk *d = disks[dev->index];
    struct under_way *u = &d->under_way[token];
    struct disk_ring *r = &d->ring[u->ring];
    count(d, u, status);
    if (r->generation == u->generation) {
        r->in_flight--;
        slots_drop(r->under_way, u->slot);
        give_back(d, u->ring, u->slot, status);
    }
    let_go(d, token);
}

/* Take one slot: false if there is no room for it now. */
static bool take_request(struct disk *d, uint32_t ring, uint32_t slot)
{
    if (d->free == d->dev->depth) {
        return false;
    }
    struct disk_ring *r = &d->ring[ring];
    uint32_t token = d->free;
    struct under_way *u = &d->under_way[token];
    int e = take_slot(r, &r->slots[slot], u);
    e = e < 0 ? e : page_pin_pieces(&r->memory, u->req.piece, u->req.pieces);
    if (e < 0) {
        give_back(d, ring, slot, e);
        return true;
    }
    u->req.token = token;
    u->ring = ring;
    u->generation = r->generation;
    u->slot = slot;
    r->in_flight++;
    slots_add(r->under_way, slot);
    d->free = u->next_free;
    e = d->dev->ops->submit(d->dev, &u->req);
    if (e == -E_AGAIN) {
        let_go(d, token);
        r->in_flight--;
        slots_drop(r->under_way, slot);
        return false;
    }
    if (e < 0) {
        disk_done(d->dev, token, -E_IO);
    }
    return true;
}

static bool has_request(const struct disk_ring *r, uint32_t slot)
{
    return !slots_have(r->under_way, slot) &&
           __atomic_load_n(&r->slots[slot].owner, __ATOMIC_ACQUIRE) ==
               DISK_OWNER_KERNEL;
}

/* Take at most `limit` requests of a ring. Marks it blocked if it has more. */
static uint32_t take_ring(struct disk *d, uint32_t ring, uint32_t limit)
{
    struct disk_ring *r = &d->ring[ring];
    uint32_t taken = 0;
    d->blocked &= ~(1ull << ring);
    for (;;) {
        uint32_t slot = (uint32_t)r->next & r->mask;
        if (!has_request(r, slot)) {
            return taken;
        }
        if (taken == limit || !take_request(d, ring, slot)) {
            d->blocked |= 1ull << ring;
            return taken;
        }
        r->next++;
        taken++;
    }
}

/*
 * Serve rings that wait, in turn, while there is room. Returns how many
 * requests were taken. CALL_REQUESTS of them end it: the others may still have
 * room, and if all that were taken are refused, no interrupt will come; so
 * disk_turn goes on.
 */
static uint32_t resume(struct disk *d)
{
    uint32_t taken = 0;
    while (d->blocked != 0 && taken < CALL_REQUESTS) {
        uint64_t from_turn = d->blocked & ~((1ull << d->turn) - 1);
        uint32_t ring =
            (uint32_t)__builtin_ctzll(from_turn != 0 ? from_turn : d->blocked);
        uint32_t got = take_ring(d, ring, TURN);
        taken += got;
        d->turn = got > 0 ? (ring + 1) % DISK_RINGS_MAX : ring;
        if (got < TURN && (d->blocked >> ring & 1) != 0) {
            break; /* no room */
        }
    }
    if (taken > 0) {
        d->dev->ops->kick(d->dev);
    }
    if (d->blocked != 0 && taken >= CALL_REQUESTS) {
        atomic_fetch_or(&unserved, 1u << d->dev->index);
    }
    return taken;
}

static void signal(struct disk *d)
{
    for (; d->touched != 0; d->touched &= d->touched - 1) {
        struct disk_ring *r = &d->ring[__builtin_ctzll(d->touched)];
        if (r->env != NULL) {
            event_signal(r->env, r->event);
        }
    }
}

void disk_interrupt(struct blkdev *dev)
{
    struct disk *d = disk_at(dev->index);
    if (d == NULL || d->dev != dev) {
        return; /* it was refused when it was found */
    }
    lock_acquire(&d->lock);
    dev->ops->poll(dev);
    (void)resume(d);
    signal(d);
    lock_release(&d->lock);
}

bool disk_turn(void)
{
    uint32_t left = atomic_load_explicit(&unserved, memory_order_relaxed);
    if (left == 0) {
        return false;
    }
    left = atomic_exchange(&unserved, 0);
    for (; left != 0; left &= left - 1) {
        struct disk *d = disks[__builtin_ctz(left)];
        lock_acquire(&d->lock);
        (void)resume(d);
        signal(d);
        lock_release(&d->lock);
    }
    return true;
}

/* In turns; `done` is one more than the requests taken. */
int64_t sys_disk_submit(struct env *e, uint32_t disk, uint32_t ring,
                        struct turn *t)
{
    struct disk *d = disk_at(disk);
    REFUSE_IF(d == NULL || ring >= DISK_RINGS_MAX, E_RANGE);
    struct disk_ring *r = &d->ring[ring];
    lock_acquire(&d->lock);
    if (r->env != e) { /* it may have been broken just now */
        lock_release(&d->lock);
        return -E_NONE;
    }
    uint64_t before = r->next;
    uint32_t taken; /* of all rings */
    if ((d->blocked & ~(1ull << ring)) != 0) {
        d->blocked |= 1ull << ring;
        taken = resume(d);
    } else if ((taken = take_ring(d, ring, CALL_REQUESTS)) > 0) {
        d->dev->ops->kick(d->dev);
    }
    bool more = taken >= CALL_REQUESTS && (d->blocked >> ring & 1) != 0;
    uint32_t mine = (uint32_t)(r->next - before);
    mine += t->done > 0 ? t->done - 1 : 0;
    signal(d);
    lock_release(&d->lock);
    return more ? turn_again(t, mine + 1) : (int64_t)mine;
}

/* ----------------------------------------------------------------- ranges */

static struct disk_range *range_at(struct disk *d, uint32_t range)
{
    return range < DISK_RANGES_MAX && d->range[range].used ? &d->range[range]
                                                           : NULL;
}

int64_t sys_disk_range(struct env *e, const struct cap *k,
                       const struct disk_range_args *a)
{
    struct disk *d = disk_at(a->disk);
    REFUSE_IF(d == NULL, E_RANGE);
    REFUSE_IF(a->reserved != 0 || a->count == 0, E_INVAL);
    const struct disk_range *parent = range_at(d, a->parent);
    REFUSE_IF(parent == NULL, E_NONE);
    REFUSE_IF(!cap_dominates(k, parent->guard, CAP_CTL), E_CAP);
    REFUSE_IF(!inside(parent, a->start, a->count), E_RANGE);
    REFUSE_IF(share_room(e, SHARE_DISK_RANGES) == 0, E_QUOTA);
    uint32_t id = 1;
    while (d->range[id].used) {
        id++;
        assert(id < DISK_RANGES_MAX); /* all shares together are one less */
    }
    int guard = cap_guard(e, a->guard, 0);
    TRY(guard);
    share_take(e, SHARE_DISK_RANGES);
    d->range[id] = (struct disk_range){.used = true,
                                       .guard = (uint32_t)guard,
                                       .owner = e->index,
                                       .start = a->start,
                                       .count = a->count,
                                       .by = *k};
    return id;
}

static void range_remove(struct disk_range *g) REQUIRES(bind_lock)
{
    guard_drop(g->guard);
    share_refund(g->owner, SHARE_DISK_RANGES);
    *g = (struct disk_range){0};
}

/* Its owner ends; what others still use stays, as the heir's. */
static void range_orphan(struct disk_range *g, uint32_t heir)
    REQUIRES(bind_lock)
{
    if (g->rings == 0) {
        range_remove(g);
    } else {
        g->owner = heir;
    }
}

int64_t sys_disk_range_free(struct env *e, uint32_t k, uint32_t disk,
                            uint32_t range)
{
    struct disk *d = disk_at(disk);
    REFUSE_IF(d == NULL, E_RANGE);
    struct disk_range *g = range_at(d, range);
    REFUSE_IF(g == NULL, E_NONE);
    TRY(cap_demand(e, k, g->guard, CAP_CTL));
    REFUSE_IF(range == DISK_RANGE_ALL || g->rings > 0, E_BUSY);
    range_remove(g);
    return 0;
}

/* ------------------------------------------------------------------ rings */

/* Frames that the slots take: those that stay pinned. */
static uint64_t ring_frames(const struct disk_ring_args *a)
{
    return page_frames(a->slots * sizeof(struct disk_slot));
}

static void ring_fill(struct disk *d, struct disk_ring *r, struct env *e,
                      const struct disk_ring_args *a, const struct cap *memory)
    REQUIRES(bind_lock)
{
    lock_acquire(&d->lock);
    r->event = a->event;
    r->range = &d->range[a->range];
    r->in_flight = 0;
    r->mask = a->slots - 1;
    r->env = e;
    r->slots = arch_frame_ptr(a->frame);
    r->next = 0;
    memset(r->under_way, 0, sizeof(r->under_way));
    page_pass_init(&r->memory, memory, CAP_WRITE);
    r->frames = ring_frames(a);
    lock_release(&d->lock);
    r->range->rings++;
}

int64_t sys_disk_ring(struct env *e, const struct cap *k,
                      const struct disk_ring_args *a)
{
    struct disk *d = disk_at(a->disk);
    REFUSE_IF(d == NULL, E_RANGE);
    REFUSE_IF(a->slots == 0 || (a->slots & (a->slots - 1)) != 0 ||
                  a->slots > DISK_RING_SLOTS_MAX || a->event >= EVENT_BITS ||
                  a->frames > PAGE_RUN_MAX || a->frames < ring_frames(a),
              E_INVAL);
    const struct disk_range *g = range_at(d, a->range);
    REFUSE_IF(g == NULL, E_NONE);
    REFUSE_IF(!cap_dominates(k, g->guard, CAP_READ), E_CAP);
    const struct cap *memory;
    TRY(cap_get(e, a->memory, &memory));
    REFUSE_IF(share_room(e, SHARE_DISK_RINGS) == 0, E_QUOTA);
    uint32_t id = 0;
    while (d->ring[id].env != NULL) {
        id++;
        assert(id < DISK_RINGS_MAX); /* the table has room for all shares */
    }
    TRY(page_pin_once(memory, a->frame, ring_frames(a)));
    share_take(e, SHARE_DISK_RINGS);
    d->ring[id].by = *k;
    d->ring[id].writes =
        d->dev->read_only == 0 && cap_dominates(k, g->guard, CAP_WRITE);
    ring_fill(d, &d->ring[id], e, a, memory);
    return id;
}

static void ring_remove(struct disk *d, struct disk_ring *r) REQUIRES(bind_lock)
{
    share_refund(r->env->index, SHARE_DISK_RINGS);
    lock_acquire(&d->lock);
    r->env = NULL;
    r->generation++;
    d->blocked &= ~(1ull << (r - d->ring));
    lock_release(&d->lock);
    page_pass_finish(&r->memory);
    r->range->rings--;
    page_unpin(arch_ptr_paddr(r->slots) / PAGE_SIZE, r->frames);
}

int64_t sys_disk_ring_free(struct env *e, uint32_t disk, uint32_t ring)
{
    struct disk *d = disk_at(disk);
    REFUSE_IF(d == NULL || ring >= DISK_RINGS_MAX, E_RANGE);
    struct disk_ring *r = &d->ring[ring];
    REFUSE_IF(r->env != e, E_NONE);
    lock_acquire(&d->lock);
    bool busy = r->in_flight > 0;
    if (!busy) {
        d->blocked &= ~(1ull << ring); /* lest other processors begin more */
    }
    lock_release(&d->lock);
    REFUSE_IF(busy, E_BUSY);
    ring_remove(d, r);
    return 0;
}

/* What rested on a revoked name. Its owner looks and finds it gone. */
static void ring_break(struct disk *d, struct disk_ring *r) REQUIRES(bind_lock)
{
    event_signal(r->env, r->event);
    ring_remove(d, r);
}

static void range_break(struct disk *d, struct disk_range *g)
    REQUIRES(bind_lock)
{
    for (uint32_t i = 0; i < DISK_RINGS_MAX && g->rings > 0; i++) {
        if (d->ring[i].env != NULL && d->ring[i].range == g) {
            ring_break(d, &d->ring[i]);
        }
    }
    range_remove(g);
}

/* Look at one ring or range. */
static void revoke_one(struct disk *d, uint32_t i, const struct revocation *r)
    REQUIRES(bind_lock)
{
    if (i < DISK_RINGS_MAX) {
        struct disk_ring *ring = &d->ring[i];
        if (ring->env != NULL &&
            (cap_revoked(r, &ring->by, ring->env) ||
             cap_revoked(r, &ring->memory.cap, ring->env))) {
            ring_break(d, ring);
        }
        return;
    }
    struct disk_range *g = &d->range[i - DISK_RINGS_MAX];
    if (g->used && cap_revoked(r, &g->by, env_at(g->owner))) {
        range_break(d, g);
    }
}

bool disk_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
{
    const uint32_t each = DISK_RINGS_MAX + DISK_RANGES_MAX;
    for (; *at < DISK_REVOKE_STEPS; ++*at) {
        struct disk *d = disk_at(*at / each);
        if (d == NULL) {
            return true;
        }
        if (!turn_take(t, REVOKE_UNITS)) {
            return false;
        }
        revoke_one(d, *at % each, r);
    }
    return true;
}

bool disk_env_end(struct env *e, struct turn *t)
{
    struct disk *d;
    for (uint32_t i = 0; (d = disk_at(i)) != NULL; i++) {
        for (uint32_t r = 0; r < DISK_RINGS_MAX; r++) {
            if (d->ring[r].env != e) {
                continue;
            }
            if (!turn_take(t, END_UNITS)) {
                return false;
            }
            ring_remove(d, &d->ring[r]);
        }
        for (uint32_t g = 1; g < DISK_RANGES_MAX; g++) {
            if (!d->range[g].used || d->range[g].owner != e->index) {
                continue;
            }
            if (!turn_take(t, REVOKE_UNITS)) {
                return false;
            }
            range_orphan(&d->range[g], e->parent);
        }
    }
    return true;
}
