/* SPDX-License-Identifier: MIT */
/*
 * The service of request rings: one device, or one queue of it, and up to 64
 * rings whose environments want it. It is written once, here, for every kind
 * of ring.
 *
 *   take    a ring's requests are taken in order, while the device has room
 *   block   a ring with requests left is marked, and its turn comes later
 *   resume  blocked rings are served in turn, a few requests each, until the
 *           device is full or the budget of one call or interrupt is used
 *   signal  rings to which something was given back are signalled at the end
 *
 * The caller holds the lock of the device or queue. The functions are inlined
 * with a constant `kind`, so that no call by pointer remains on a packet's way.
 */
#pragma once

#include "src/kern/turn.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVICE_INLINE static inline __attribute__((always_inline))

struct service {
    uint64_t blocked; /* rings that wait for room, or for their turn */
    uint64_t touched; /* rings to signal */
    uint32_t first;   /* the ring to serve first */
    bool more;        /* the budget, not the device, ended the last resume */
};

struct service_kind {
    uint32_t rings;  /* at most 64 */
    uint32_t turn;   /* requests of one ring before the next has its turn */
    uint32_t budget; /* requests of one call or interrupt */
    /* As how many requests one of the ring counts; NULL: as one. The last of
       a turn, or of a budget, may exceed it. */
    uint32_t (*weight)(void *device, uint32_t ring);
    /* Is the next slot of the ring a request that was not yet taken? */
    bool (*has)(void *device, uint32_t ring);
    /* Take that request, or refuse it. False: the device has no room now, and
       the request is still the next. */
    bool (*take)(void *device, uint32_t ring);
    /* Tell the device of what was taken. */
    void (*kick)(void *device);
    /* service_resume with this kind, which is large, once in the kernel. */
    uint32_t (*resume)(void *device);
};

/* Take requests of a ring that count as `limit`, and mark it if it has more.
   Returns as how many they count. */
SERVICE_INLINE uint32_t service_take(const struct service_kind *kind,
                                     struct service *s, void *device,
                                     uint32_t ring, uint32_t limit)
{
    uint32_t taken = 0;
    s->blocked &= ~(1ull << ring);
    while (kind->has(device, ring)) {
        if (taken >= limit || !kind->take(device, ring)) {
            s->blocked |= 1ull << ring;
            break;
        }
        taken += kind->weight != NULL ? kind->weight(device, ring) : 1;
    }
    return taken;
}

/*
 * Serve blocked rings in turn. Returns what the requests taken count as. If the
 * budget ended it (s->more), the device may still have room, and if all that
 * was taken is refused no interrupt will come: the caller sees to it that
 * service goes on.
 */
SERVICE_INLINE uint32_t service_resume(const struct service_kind *kind,
                                       struct service *s, void *device)
{
    uint32_t taken = 0;
    while (s->blocked != 0 && taken < kind->budget) {
        uint64_t from_first = s->blocked & ~((1ull << s->first) - 1);
        uint32_t ring = (uint32_t)__builtin_ctzll(from_first != 0 ? from_first
                                                                  : s->blocked);
        uint32_t got = service_take(kind, s, device, ring, kind->turn);
        taken += got;
        s->first = got > 0 ? (ring + 1) % kind->rings : ring;
        if (got < kind->turn && (s->blocked >> ring & 1) != 0) {
            break; /* no room */
        }
    }
    if (taken > 0) {
        kind->kick(device);
    }
    s->more = s->blocked != 0 && taken >= kind->budget;
    return taken;
}

/*
 * A call asks for service of `ring`, which waits in turn with others that do.
 * In turns of the call; t->done is one more than the requests taken.
 *
 * next  the ring's count of slots taken
 *
 * Returns what the call's handler returns: requests taken of this ring, or
 * that it wants another turn.
 */
SERVICE_INLINE int64_t service_call(const struct service_kind *kind,
                                    struct service *s, void *device,
                                    uint32_t ring, const uint64_t *next,
                                    struct turn *t)
{
    uint64_t before = *next, bit = 1ull << ring;
    s->blocked |= bit;
    uint32_t taken = kind->resume(device); /* of all rings */
    uint32_t mine = (uint32_t)(*next - before);
    mine += t->done > 0 ? t->done - 1 : 0;
    bool more = taken >= kind->budget && (s->blocked & bit) != 0;
    return more ? turn_again(t, mine + 1) : (int64_t)mine;
}
