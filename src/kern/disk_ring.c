/* SPDX-License-Identifier: MIT */
/*
 * Request rings of a disk: made over one range, and taken away.
 */
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/event.h"
#include "src/kern/share.h"
#include "src/kern/sysproto.h"
#include "src/lib/string.h"

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
    const struct disk_range *g = disk_range_at(d, a->range);
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

void disk_ring_remove(struct disk *d, struct disk_ring *r) REQUIRES(bind_lock)
{
    share_refund(r->env->index, SHARE_DISK_RINGS);
    lock_acquire(&d->lock);
    r->env = NULL;
    r->generation++;
    d->service.blocked &= ~(1ull << (r - d->ring));
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
        d->service.blocked &= ~(1ull << ring); /* no processor begins another */
    }
    lock_release(&d->lock);
    REFUSE_IF(busy, E_BUSY);
    disk_ring_remove(d, r);
    return 0;
}

/* What rested on a revoked name. Its owner looks and finds it gone. */
void disk_ring_break(struct disk *d, struct disk_ring *r) REQUIRES(bind_lock)
{
    event_signal(r->env, r->event);
    disk_ring_remove(d, r);
}
