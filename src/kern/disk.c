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

static struct disk *disks[SYSINFO_DISKS_MAX];
static _Atomic uint32_t unserved; /* bit: a disk that disk_turn looks at */
_Static_assert(SYSINFO_DISKS_MAX <= 32, "a bit each");

struct disk *disk_at(uint32_t i)
{
    return i < SYSINFO_DISKS_MAX ? disks[i] : NULL;
}

int disk_attach(struct blkdev *dev)
{
    dev->index = sysinfo()->disks;
    REFUSE_IF(dev->index == SYSINFO_DISKS_MAX, E_LIMIT);
    struct disk *d = page_kalloc_bytes(
        sizeof(*d) + dev->depth * sizeof(struct disk_request));
    REFUSE_IF(d == NULL, E_MEM);
    d->dev = dev;
    for (uint32_t i = 0; i < dev->depth; i++) {
        d->request[i].next_free = i + 1;
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

/* Copy a slot's request and check it: 0, -E_INVAL, -E_RANGE, -E_CAP. */
static int take_slot(const struct disk_ring *r, const struct disk_slot *slot,
                     struct disk_request *to)
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
    REFUSE_IF(s.op != DISK_FLUSH && !disk_range_has(r->range, s.block, s.count),
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
    d->service.touched |= 1ull << ring;
}

static void count(struct disk *d, const struct disk_request *u, int status)
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
    struct disk_request *u = &d->request[token];
    page_unpin_pieces(u->req.piece, u->req.pieces);
    u->next_free = d->free;
    d->free = token;
}

void disk_done(struct blkdev *dev, uint32_t token, int status)
{
    struct disk *d = disks[dev->index];
    struct disk_request *u = &d->request[token];
    struct disk_ring *r = &d->ring[u->ring];
    count(d, u, status);
    if (r->generation == u->generation) {
        r->in_flight--;
        slots_drop(r->under_way, u->slot);
        give_back(d, u->ring, u->slot, status);
    }
    let_go(d, token);
}

/* Is the next slot of a ring a request that was not yet taken? */
static bool has_request(void *disk, uint32_t ring)
{
    const struct disk_ring *r = &((struct disk *)disk)->ring[ring];
    uint32_t slot = (uint32_t)r->next & r->mask;
    return !slots_have(r->under_way, slot) &&
           __atomic_load_n(&r->slots[slot].owner, __ATOMIC_ACQUIRE) ==
               DISK_OWNER_KERNEL;
}

/* Take the request in the next slot of a ring, or refuse it. */
static bool take_request(void *disk, uint32_t ring)
{
    struct disk *d = disk;
    if (d->free == d->dev->depth) {
        return false;
    }
    struct disk_ring *r = &d->ring[ring];
    uint32_t slot = (uint32_t)r->next & r->mask;
    uint32_t token = d->free;
    struct disk_request *u = &d->request[token];
    int e = take_slot(r, &r->slots[slot], u);
    e = e < 0 ? e : page_pin_pieces(&r->memory, u->req.piece, u->req.pieces);
    if (e < 0) {
        r->next++;
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
    r->next++;
    if (e < 0) {
        disk_done(d->dev, token, -E_IO);
    }
    return true;
}

static void kick(void *disk)
{
    struct blkdev *dev = ((struct disk *)disk)->dev;
    dev->ops->kick(dev);
}

static uint32_t resume(void *disk);

static const struct service_kind service = {
    .rings = DISK_RINGS_MAX,
    .turn = TURN,
    .budget = CALL_REQUESTS,
    .has = has_request,
    .take = take_request,
    .kick = kick,
    .resume = resume,
};

/* Serve rings that wait. What the budget leaves over is disk_turn's. */
static uint32_t resume(void *disk)
{
    struct disk *d = disk;
    uint32_t taken = service_resume(&service, &d->service, d);
    if (d->service.more) {
        atomic_fetch_or(&unserved, 1u << d->dev->index);
    }
    return taken;
}

static void signal(struct disk *d)
{
    uint64_t *touched = &d->service.touched;
    for (; *touched != 0; *touched &= *touched - 1) {
        struct disk_ring *r = &d->ring[__builtin_ctzll(*touched)];
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
    int64_t result = service_call(&service, &d->service, d, ring, &r->next, t);
    signal(d);
    lock_release(&d->lock);
    return result;
}

/* --------------------------------------------------------- revocation and end
 */

/* Look at one ring or range. */
static void revoke_one(struct disk *d, uint32_t i, const struct revocation *r)
    REQUIRES(bind_lock)
{
    if (i < DISK_RINGS_MAX) {
        struct disk_ring *ring = &d->ring[i];
        if (ring->env != NULL &&
            (cap_revoked(r, &ring->by, ring->env) ||
             cap_revoked(r, &ring->memory.cap, ring->env))) {
            disk_ring_break(d, ring);
        }
        return;
    }
    struct disk_range *g = &d->range[i - DISK_RINGS_MAX];
    if (g->used && cap_revoked(r, &g->by, env_at(g->owner))) {
        disk_range_break(d, g);
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
            disk_ring_remove(d, &d->ring[r]);
        }
        for (uint32_t g = 1; g < DISK_RANGES_MAX; g++) {
            if (!d->range[g].used || d->range[g].owner != e->index) {
                continue;
            }
            if (!turn_take(t, REVOKE_UNITS)) {
                return false;
            }
            disk_range_orphan(&d->range[g], e->parent);
        }
    }
    return true;
}
