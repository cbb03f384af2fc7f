/* SPDX-License-Identifier: MIT */
/*
 * Ranges of a disk's blocks, by capability. Range 0 is the whole disk, and the
 * root's; each other one lies in its parent.
 */
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/share.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

bool disk_range_has(const struct disk_range *g, uint64_t start, uint64_t count)
{
    return start >= g->start && count <= g->count &&
           start - g->start <= g->count - count;
}

struct disk_range *disk_range_at(struct disk *d, uint32_t range)
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
    const struct disk_range *parent = disk_range_at(d, a->parent);
    REFUSE_IF(parent == NULL, E_NONE);
    REFUSE_IF(!cap_dominates(k, parent->guard, CAP_CTL), E_CAP);
    REFUSE_IF(!disk_range_has(parent, a->start, a->count), E_RANGE);
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

void disk_range_orphan(struct disk_range *g, uint32_t heir) REQUIRES(bind_lock)
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
    struct disk_range *g = disk_range_at(d, range);
    REFUSE_IF(g == NULL, E_NONE);
    TRY(cap_demand(e, k, g->guard, CAP_CTL));
    REFUSE_IF(range == DISK_RANGE_ALL || g->rings > 0, E_BUSY);
    range_remove(g);
    return 0;
}

void disk_range_break(struct disk *d, struct disk_range *g) REQUIRES(bind_lock)
{
    for (uint32_t i = 0; i < DISK_RINGS_MAX && g->rings > 0; i++) {
        if (d->ring[i].env != NULL && d->ring[i].range == g) {
            disk_ring_break(d, &d->ring[i]);
        }
    }
    range_remove(g);
}
