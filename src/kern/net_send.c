/* SPDX-License-Identifier: MIT */
/*
 * Transmit. A slot is read once: its fields and header are copied into the
 * kernel's entry, checked there, and the device reads that copy; pieces are
 * pinned and read in place. Rings share a queue in turn when it is full.
 */
#include "src/kern/demand.h"
#include "src/kern/net.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

/* In frames that pass no filter, which each cost about 1,000 instructions: of
   one ring before the next has its turn, and of one turn of net_send or poll.
 */
#define TURN 8u
#define CALL_FRAMES 32u
#define ETHERNET_HEADER 14u
#define VLAN_TAG 4u
#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu
#define IPV4_HEADER_MIN 20u
#define IPV6_HEADER 40u
#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define TCP_CHECKSUM 16u /* offset in the header */
#define UDP_CHECKSUM 6u
#define GSO_MIN 256u /* smaller segments would flood the device */
#define FLAGS (NET_TX_CSUM | NET_TX_TSO4 | NET_TX_TSO6)
#define TSO (NET_TX_TSO4 | NET_TX_TSO6)

/* Bytes of a frame on the wire. */
static uint32_t frame_max(const struct net *n)
{
    return n->dev->mtu + ETHERNET_HEADER + VLAN_TAG;
}

static bool offload_ok(const struct net *n, const struct netdev_tx *t)
{
    uint32_t have = n->dev->features;
    uint32_t tso = t->flags & TSO;
    if ((t->flags & ~FLAGS) != 0 ||
        ((t->flags & NET_TX_CSUM) != 0 && (have & SYSINFO_NET_CSUM) == 0) ||
        ((tso & NET_TX_TSO4) != 0 && (have & SYSINFO_NET_TSO4) == 0) ||
        ((tso & NET_TX_TSO6) != 0 && (have & SYSINFO_NET_TSO6) == 0)) {
        return false;
    }
    if (tso != 0 &&
        (tso == TSO || (t->flags & NET_TX_CSUM) == 0 || t->gso_size < GSO_MIN ||
         (uint32_t)t->header_len + t->gso_size > frame_max(n))) {
        return false;
    }
    return (t->flags & NET_TX_CSUM) == 0 ||
           (uint32_t)t->csum_start + t->csum_offset + 2u <= t->header_len;
}

/*
 * The device writes the sum, and into segments what TCP needs, after the
 * region's filter has judged the frame. So it may do that only where the
 * header says that there is a checksum, and never in what is judged: else
 * another's ports and addresses could be made of those that are allowed.
 *
 * h  the copy, zero or not beyond t->header_len
 */
static bool csum_ok(const struct netdev_tx *t, const uint8_t *h)
{
    uint32_t type = (uint32_t)h[12] << 8 | h[13], ip, protocol, tso;
    if (type == ETHERTYPE_IPV4) {
        ip = (h[14] & 15u) * 4;
        protocol = ip < IPV4_HEADER_MIN ? 0 : h[23];
        tso = NET_TX_TSO4;
    } else if (type == ETHERTYPE_IPV6) {
        ip = IPV6_HEADER;
        protocol = h[20];
        tso = NET_TX_TSO6;
    } else {
        return false;
    }
    if (t->csum_start != ETHERNET_HEADER + ip || (t->flags & TSO & ~tso) != 0) {
        return false;
    }
    return (protocol == PROTOCOL_TCP && t->csum_offset == TCP_CHECKSUM) ||
           (protocol == PROTOCOL_UDP && t->csum_offset == UDP_CHECKSUM &&
            (t->flags & TSO) == 0);
}

/* Copy and check the shape of what the slot holds, and count its bytes.
   False: refuse it. */
static bool take_slot(const struct net *n, const struct net_tx_slot *s,
                      struct netdev_tx *t, struct net_sent *to, uint64_t *total)
{
    *t = (struct netdev_tx){
        .header = to->header,
        .piece = to->piece,
        .pieces = READ_ONCE(s->pieces),
        .header_len = READ_ONCE(s->header_len),
        .flags = READ_ONCE(s->flags),
        .csum_start = READ_ONCE(s->csum_start),
        .csum_offset = READ_ONCE(s->csum_offset),
        .gso_size = READ_ONCE(s->gso_size),
    };
    if (t->header_len < ETHERNET_HEADER || t->header_len > NET_TX_HEADER_MAX ||
        t->pieces > NET_TX_PIECES_MAX || !offload_ok(n, t)) {
        return false;
    }
    /* All of it: by a known size and this name it needs no call. */
    __builtin_memcpy(to->header, s->header, sizeof(to->header));
    if ((t->flags & NET_TX_CSUM) != 0 && !csum_ok(t, to->header)) {
        return false;
    }
    *total = t->header_len;
    for (uint32_t i = 0; i < t->pieces; i++) {
        to->piece[i] = s->piece[i];
        if (to->piece[i].len == 0) {
            return false;
        }
        *total += to->piece[i].len;
    }
    return *total <= ((t->flags & TSO) != 0 ? NET_TX_BYTES_MAX : frame_max(n));
}

static void give_back(struct net_ring *r, uint32_t slot, uint32_t owner)
{
    struct net_tx_slot *s = (struct net_tx_slot *)r->slots + slot;
    __atomic_store_n(&s->owner, owner, __ATOMIC_RELEASE);
    r->head->done = ++r->done;
}

/* Do the region and all around it let the frame out? */
static bool filters_pass(const struct net_ring *r, const uint8_t *header,
                         size_t len)
{
    for (uint32_t i = 0; i < r->filters; i++) {
        if (dpf_filter_run(r->filter[i], header, len) == 0) {
            return false;
        }
    }
    return true;
}

/* Is the next slot of a ring a frame to send? */
static bool has_frame(void *queue, uint32_t ring)
{
    const struct net_queue *q = queue;
    const struct net_ring *r = &q->net->ring[ring];
    uint32_t slot = (uint32_t)r->next & r->mask;
    const struct net_tx_slot *s = (const struct net_tx_slot *)r->slots + slot;
    return !slots_have(r->under_way, slot) &&
           __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) == NET_OWNER_KERNEL;
}

static bool have_room(struct net *n, struct net_queue *q, uint32_t queue)
{
    if (q->free_sent == q->depth) {
        n->dev->ops->poll(n->dev, queue, 0);
    }
    return q->free_sent != q->depth;
}

/* Send the frame in the next slot of a ring, or refuse it. */
static bool send_frame(void *queue, uint32_t ring)
{
    struct net_queue *q = queue;
    struct net *n = q->net;
    struct net_ring *r = &n->ring[ring];
    uint32_t slot = (uint32_t)r->next & r->mask;
    if (!have_room(n, q, r->queue)) {
        return false;
    }
    struct net_sent *s = &q->sent[q->free_sent];
    struct netdev_tx t;
    uint64_t bytes;
    bool ok =
        take_slot(n, (struct net_tx_slot *)r->slots + slot, &t, s, &bytes) &&
        filters_pass(r, s->header, t.header_len) &&
        page_pin_pieces(&r->pieces, s->piece, t.pieces) == 0;
    if (!ok) {
        r->next++;
        r->head->dropped = ++r->dropped;
        q->count.tx_refused++;
        q->service.touched |= 1ull << ring;
        give_back(r, slot, NET_OWNER_REFUSED);
        return true;
    }
    t.token = q->free_sent;
    s->ring = (uint8_t)ring;
    s->generation = r->generation;
    s->slot = slot;
    s->pieces = (uint8_t)t.pieces;
    q->free_sent = s->next_free;
    r->in_flight++;
    slots_add(r->under_way, slot);
    if (n->dev->ops->transmit(n->dev, r->queue, &t) < 0) {
        r->in_flight--;
        slots_drop(r->under_way, slot);
        s->next_free = (uint16_t)q->free_sent;
        q->free_sent = t.token;
        page_unpin_pieces(s->piece, t.pieces);
        return false;
    }
    r->next++;
    q->count.tx_packets++;
    q->count.tx_bytes += bytes;
    return true;
}

/* A frame runs the filters of its ring: see net_region_filters. */
static uint32_t frame_weight(void *queue, uint32_t ring)
{
    const struct net_queue *q = queue;
    return q->net->ring[ring].weight;
}

static void kick(void *queue)
{
    struct net_queue *q = queue;
    struct net *n = q->net;
    n->dev->ops->kick(n->dev, (uint32_t)(q - n->queue));
}

static uint32_t resume(void *queue);

static const struct service_kind service = {
    .rings = NET_RINGS_MAX,
    .turn = TURN,
    .budget = CALL_FRAMES,
    .weight = frame_weight,
    .has = has_frame,
    .take = send_frame,
    .kick = kick,
    .resume = resume,
};

static uint32_t resume(void *queue)
{
    struct net_queue *q = queue;
    return service_resume(&service, &q->service, q);
}

void net_send_resume(struct net_queue *q)
{
    (void)resume(q);
}

void net_transmitted(struct netdev *dev, unsigned queue, uint32_t token)
{
    struct net *n = net_at(dev->index);
    struct net_queue *q = &n->queue[queue];
    struct net_sent *s = &q->sent[token];
    struct net_ring *r = &n->ring[s->ring];
    page_unpin_pieces(s->piece, s->pieces);
    if (r->generation == s->generation) {
        slots_drop(r->under_way, s->slot);
        give_back(r, s->slot, NET_OWNER_ENV);
        r->in_flight--;
        q->service.touched |= 1ull << s->ring;
    }
    s->next_free = (uint16_t)q->free_sent;
    q->free_sent = token;
}

/* In turns; `done` is one more than the frames taken. */
int64_t sys_net_send(struct env *e, uint32_t device, uint32_t ring,
                     struct turn *t)
{
    struct net *n = net_at(device);
    REFUSE_IF(n == NULL || ring >= NET_RINGS_MAX, E_RANGE);
    struct net_ring *r = &n->ring[ring];
    uint32_t queue = READ_ONCE(r->queue);
    struct net_queue *q = &n->queue[queue];
    lock_acquire(&q->lock);
    /* It may have been broken just now, and be another's already. */
    if (r->kind != NET_RING_TX || r->env != e || r->queue != queue) {
        lock_release(&q->lock);
        return -E_NONE;
    }
    int64_t result = service_call(&service, &q->service, q, ring, &r->next, t);
    net_queue_flush(n, q);
    lock_release(&q->lock);
    return result;
}
