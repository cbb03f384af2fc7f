/* SPDX-License-Identifier: MIT */
/*
 * What of the network rests on a revoked name, device by device: rings first,
 * then bindings, then regions from the inside out. Whatever is about to go is
 * marked as broken before the first turn ends, so that nothing is made in it
 * meanwhile. If the caller never comes back, it stays broken until its owner
 * frees it or ends.
 */
#include "src/kern/event.h"
#include "src/kern/net.h"
#include "src/kern/turn.h"

#define RING_UNITS 4u   /* of a turn, to look at a ring */
#define MARK_UNITS 256u /* to look at all regions of a device */

/* Positions on one device: 0, then these. */
#define AT_RINGS 1u
#define AT_BINDINGS (AT_RINGS + NET_RINGS_MAX)

static bool ring_rests(const struct net *n, const struct net_ring *r,
                       const struct revocation *v)
{
    return r->kind != NET_RING_NONE &&
           (cap_revoked(v, &r->by, r->env) ||
            cap_revoked(v, &r->pieces.cap, r->env) ||
            (r->kind == NET_RING_TX && n->region[1][r->region].broken));
}

/* False: the turn ended before the ring was gone. */
static bool ring_break(struct net *n, uint32_t id, struct turn *t)
    REQUIRES(bind_lock)
{
    struct net_ring *r = &n->ring[id];
    r->broken = true;
    if (!net_ring_empty(n, id, t)) {
        return false;
    }
    event_signal(r->env, r->event); /* its owner looks, and finds it gone */
    net_ring_remove(n, id);
    return true;
}

/* `at` of one device. False: the turn ended first. */
static bool device_revoke(struct net *n, const struct revocation *v,
                          uint32_t *at, struct turn *t) REQUIRES(bind_lock)
{
    if (*at == 0) {
        if (!turn_take(t, MARK_UNITS)) {
            return false;
        }
        net_regions_break(n, v);
        *at = AT_RINGS;
    }
    for (; *at < AT_BINDINGS; ++*at) {
        uint32_t id = *at - AT_RINGS;
        if (!turn_take(t, RING_UNITS) ||
            (ring_rests(n, &n->ring[id], v) && !ring_break(n, id, t))) {
            return false;
        }
    }
    uint32_t id = *at - AT_BINDINGS;
    if (id < n->bindings_made) {
        id = net_bindings_break(n, v, id, t);
        *at = AT_BINDINGS + id;
        if (id < n->bindings_made) {
            return false;
        }
    }
    return net_regions_drop(n, t);
}

bool net_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
{
    if (net_space_changes()) {
        return false;
    }
    while (*at < NET_REVOKE_STEPS) {
        uint32_t device = *at / NET_REVOKE_DEVICE;
        uint32_t part = *at % NET_REVOKE_DEVICE;
        struct net *n = net_at(device);
        if (n == NULL) {
            return true;
        }
        if (!device_revoke(n, r, &part, t)) {
            *at = device * NET_REVOKE_DEVICE + part;
            return false;
        }
        *at = (device + 1) * NET_REVOKE_DEVICE;
    }
    return true;
}
