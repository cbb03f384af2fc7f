/* SPDX-License-Identifier: MIT */
/*
 * Packet rings: made of an environment's frames, which stay pinned while the
 * ring exists. The kernel keeps its own indices; the ring tells it nothing
 * but who owns a slot and what is in it.
 */
#include "src/abi/event.h"
#include "src/kern/demand.h"
#include "src/kern/net.h"
#include "src/kern/share.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"
#include "src/lib/string.h"

#define BINDINGS_AT_ONCE 8u
#define UNBIND_UNITS 160u /* of a turn, to remove so many */
#define REMOVE_UNITS 300u /* to unpin a ring's frames */

/* Bytes that the layout of abi/net.h needs. */
static uint64_t layout_bytes(enum net_ring_kind kind, uint64_t slots)
{
    uint64_t bytes = sizeof(struct net_ring_head);
    if (kind == NET_RING_TX) {
        return bytes + slots * sizeof(struct net_tx_slot);
    }
    return page_up(bytes + slots * sizeof(struct net_rx_slot)) +
           slots * NET_RX_BUFFER;
}

static int args_check(const struct net_ring_args *a, enum net_ring_kind kind)
{
    REFUSE_IF(net_at(a->device) == NULL, E_RANGE);
    REFUSE_IF(a->slots == 0 || (a->slots & (a->slots - 1)) != 0 ||
                  a->slots > NET_RING_SLOTS_MAX || a->event >= EVENT_BITS ||
                  a->frames > PAGE_RUN_MAX ||
                  (uint64_t)a->frames * PAGE_SIZE <
                      layout_bytes(kind, a->slots),
              E_INVAL);
    return 0;
}

/* Pin what the layout needs; more frames than that stay as they are. */
static int ring_pin(const struct cap *memory, const struct net_ring_args *a,
                    enum net_ring_kind kind)
{
    return page_pin_once(memory, a->frame,
                         page_frames(layout_bytes(kind, a->slots)));
}

static struct net_ring *find_free(struct net *n)
{
    uint32_t i = 0;
    while (n->ring[i].kind != NET_RING_NONE) {
        i++;
        assert(i < NET_RINGS_MAX); /* the table has room for all shares */
    }
    return &n->ring[i];
}

static void fill(struct net_ring *r, struct env *e,
                 const struct net_ring_args *a, enum net_ring_kind kind)
{
    r->env = e;
    r->event = a->event;
    r->head = arch_frame_ptr(a->frame);
    r->slots = r->head + 1;
    uint64_t table = sizeof(*r->head) + a->slots * sizeof(struct net_rx_slot);
    r->buffers = (uint8_t *)r->head + page_up(table);
    r->next = 0;
    r->done = 0;
    r->dropped = 0;
    r->mask = a->slots - 1;
    r->frames = page_frames(layout_bytes(kind, a->slots));
    r->bindings = NET_BINDINGS_MAX;
    r->head->done = 0;
    r->head->dropped = 0;
    r->kind = kind;
}

int64_t sys_net_rx_ring(struct env *e, const struct cap *k,
                        const struct net_ring_args *a)
{
    TRY(args_check(a, NET_RING_RX));
    struct net *n = net_at(a->device);
    struct net_region *region = net_region_get(n, 0, a->region);
    REFUSE_IF(region == NULL, E_NONE);
    REFUSE_IF(!cap_dominates(k, region->guard, CAP_READ), E_CAP);
    const struct cap *memory;
    TRY(cap_get(e, a->memory, &memory));
    REFUSE_IF(share_room(e, SHARE_NET_RINGS) == 0, E_QUOTA);
    TRY(ring_pin(memory, a, NET_RING_RX));
    share_take(e, SHARE_NET_RINGS);
    struct net_ring *ring = find_free(n);
    lock_acquire(&ring->lock);
    ring->by = *k;
    page_pass_init(&ring->pieces, memory, CAP_WRITE);
    fill(ring, e, a, NET_RING_RX);
    lock_release(&ring->lock);
    return ring - n->ring;
}

int64_t sys_net_tx_ring(struct env *e, const struct cap *k,
                        const struct net_ring_args *a)
{
    TRY(args_check(a, NET_RING_TX));
    struct net *n = net_at(a->device);
    struct net_region *region = net_region_get(n, 1, a->region);
    REFUSE_IF(region == NULL, E_NONE);
    REFUSE_IF(!cap_dominates(k, region->guard, CAP_WRITE), E_CAP);
    const struct cap *memory;
    TRY(cap_get(e, a->memory, &memory));
    REFUSE_IF(share_room(e, SHARE_NET_RINGS) == 0, E_QUOTA);
    TRY(ring_pin(memory, a, NET_RING_TX));
    share_take(e, SHARE_NET_RINGS);
    struct net_ring *ring = find_free(n);
    uint32_t queue = arch_cpu() % n->dev->queues;
    lock_acquire(&n->queue[queue].lock);
    ring->queue = queue;
    ring->region = a->region;
    net_region_filters(n, a->region, ring);
    ring->in_flight = 0;
    memset(ring->under_way, 0, sizeof(ring->under_way));
    ring->by = *k;
    page_pass_init(&ring->pieces, memory, CAP_READ);
    fill(ring, e, a, NET_RING_TX);
    lock_release(&n->queue[queue].lock);
    region->rings++;
    return ring - n->ring;
}

bool net_ring_empty(struct net *n, uint32_t id, struct turn *t)
{
    bool more = n->ring[id].kind == NET_RING_RX;
    while (more) {
        if (!turn_take(t, UNBIND_UNITS)) {
            return false;
        }
        more = net_unbind_ring(n, id, BINDINGS_AT_ONCE);
    }
    return turn_take(t, REMOVE_UNITS);
}

/* What the device still has keeps its pieces pinned, and nothing else. */
void net_ring_remove(struct net *n, uint32_t id)
{
    struct net_ring *r = &n->ring[id];
    struct net_queue *q = &n->queue[r->queue];
    if (r->kind == NET_RING_RX) {
        while (net_unbind_ring(n, id, BINDINGS_AT_ONCE)) {
        }
    } else {
        n->region[1][r->region].rings--;
    }
    share_refund(r->env->index, SHARE_NET_RINGS);
    lock_acquire(&q->lock);
    lock_acquire(&r->lock);
    r->kind = NET_RING_NONE;
    r->broken = false;
    r->generation++;
    q->service.blocked &= ~(1ull << id);
    lock_release(&r->lock);
    lock_release(&q->lock);
    page_pass_finish(&r->pieces);
    page_unpin(arch_ptr_paddr(r->head) / PAGE_SIZE, r->frames);
}

int64_t sys_net_ring_free(struct env *e, uint32_t device, uint32_t ring,
                          struct turn *t)
{
    if (net_space_changes()) {
        return turn_again(t, 1);
    }
    struct net *n = net_at(device);
    REFUSE_IF(n == NULL || ring >= NET_RINGS_MAX, E_RANGE);
    struct net_ring *r = &n->ring[ring];
    REFUSE_IF(r->kind == NET_RING_NONE || r->env != e, E_NONE);
    struct net_queue *q = &n->queue[r->queue];
    lock_acquire(&q->lock);
    bool busy = r->kind == NET_RING_TX && r->in_flight > 0;
    if (!busy) {
        q->service.blocked &= ~(1ull << ring); /* no processor sends another */
    }
    lock_release(&q->lock);
    REFUSE_IF(busy, E_BUSY);
    if (!net_ring_empty(n, ring, t)) {
        return turn_again(t, 1);
    }
    net_ring_remove(n, ring);
    return 0;
}

bool net_env_end(struct env *e, struct turn *t)
{
    struct net *n;
    for (uint32_t d = 0; (n = net_at(d)) != NULL; d++) {
        for (uint32_t i = 0; i < NET_RINGS_MAX; i++) {
            if (n->ring[i].kind == NET_RING_NONE || n->ring[i].env != e) {
                continue;
            }
            if (!net_ring_empty(n, i, t)) {
                return false;
            }
            net_ring_remove(n, i);
        }
        if (!net_space_env_end(n, e, t)) {
            return false;
        }
    }
    return true;
}
