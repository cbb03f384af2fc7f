/* SPDX-License-Identifier: MIT */
/*
 * Network devices: polling, and the way of a packet from the device to its
 * owner's ring. Nothing is allocated for a packet, and what nobody wants, or
 * whose ring is full, is dropped before anything else is spent on it.
 *
 * Interrupts and polling: the first interrupt turns them off; the processor
 * then polls at every call, every POLL_US, and when it would go idle. When
 * idle finds the queue empty, interrupts are on again.
 */
#include "src/kern/net.h"
#include "src/kern/code.h"
#include "src/kern/demand.h"
#include "src/kern/event.h"
#include "src/kern/quantum.h"
#include "src/kern/span.h"
#include "src/kern/sysinfo.h"
#include "src/lib/string.h"

#define BUDGET 64u /* frames of one poll */
#define POLL_US 100u
#define POLL_LONG_US 200u /* a poll takes no frames after that */
#define DEMUX_SAMPLE 64u  /* one lookup in so many is timed */

static struct net *nets[NET_DEVICES_MAX];
/* Which queue of a device this processor polls. */
static uint16_t polled[ARCH_CPUS_MAX][NET_DEVICES_MAX];

struct net *net_at(uint32_t device)
{
    return device < NET_DEVICES_MAX ? nets[device] : NULL;
}

struct net_binding *net_binding_at(const struct net *n, uint32_t id)
{
    return &n->chunk[id / NET_CHUNK][id % NET_CHUNK];
}

/* ----------------------------------------------------------------- attach */

static int queue_init(struct net *n, struct net_queue *q, uint32_t depth)
{
    q->sent = page_kalloc_bytes(depth * sizeof(struct net_sent));
    REFUSE_IF(q->sent == NULL, E_MEM);
    q->net = n;
    q->depth = depth;
    for (uint32_t i = 0; i < depth; i++) {
        q->sent[i].next_free = (uint16_t)(i + 1);
    }
    return 0;
}

int net_attach(struct netdev *dev)
{
    dev->index = sysinfo()->nets;
    REFUSE_IF(dev->index == NET_DEVICES_MAX || dev->tx_depth > UINT16_MAX,
              E_LIMIT);
    struct net *n =
        page_kalloc_bytes(sizeof(*n) + dev->queues * sizeof(struct net_queue));
    REFUSE_IF(n == NULL, E_MEM);
    n->dev = dev;
    n->free_binding = NET_BINDINGS_MAX;
    for (uint32_t i = 0; i < dev->queues; i++) {
        REFUSE_IF(queue_init(n, &n->queue[i], dev->tx_depth) < 0, E_MEM);
    }
    REFUSE_IF(net_space_init(n) < 0, E_MEM);
    n->info = &sysinfo()->net[dev->index];
    memcpy(n->info->mac, dev->mac, sizeof(dev->mac));
    n->info->mtu = dev->mtu;
    n->info->features = dev->features;
    n->info->queues = dev->queues;
    nets[dev->index] = n;
    sysinfo()->nets++;
    /* Queue i is processor i's. All begin by polling, since what came before
       interrupts are on raises none. */
    for (uint32_t i = 0; i < dev->queues; i++) {
        polled[i][dev->index] = (uint16_t)i;
        cpu_at(i)->net_polling |= 1ull << dev->index;
    }
    return 0;
}

/* ---------------------------------------------------------------- receive */

/* Put a packet into a receive ring, or drop it. */
static void deliver(struct net *n, struct net_queue *q, uint32_t id,
                    const void *frame, size_t len, uint32_t flags)
{
    uint32_t ring = net_binding_at(n, id)->ring;
    struct net_ring *r = &n->ring[ring];
    lock_acquire(&r->lock);
    if (r->kind != NET_RING_RX) {
        q->count.rx_unowned++;
        lock_release(&r->lock);
        return;
    }
    uint32_t i = (uint32_t)r->next & r->mask;
    struct net_rx_slot *s = (struct net_rx_slot *)r->slots + i;
    if (len > NET_RX_BUFFER ||
        __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) != NET_OWNER_KERNEL) {
        r->head->dropped = ++r->dropped;
        q->count.rx_dropped++;
    } else {
        memcpy(r->buffers + (size_t)i * NET_RX_BUFFER, frame, len);
        s->len = (uint32_t)len;
        s->flags = flags;
        s->binding = id;
        s->tsc = q->now;
        __atomic_store_n(&s->owner, NET_OWNER_ENV, __ATOMIC_RELEASE);
        r->next++;
        r->head->done = ++r->done;
        q->service.touched |= 1ull << ring;
    }
    lock_release(&r->lock);
}

/*
 * The rings that get a copy, and of each the binding that was found first:
 * one copy a ring, however many of its bindings want the packet.
 */
struct copies {
    const struct net *n;
    uint64_t rings;
    uint32_t binding[NET_RINGS_MAX];
};
_Static_assert(NET_RINGS_MAX == 64, "copies.rings");

static void note_copy(void *ctx, uint32_t id)
{
    struct copies *c = ctx;
    uint32_t ring = net_binding_at(c->n, id)->ring;
    if ((c->rings >> ring & 1) == 0) {
        c->rings |= 1ull << ring;
        c->binding[ring] = id;
    }
}

/* Has this poll taken long? */
static bool is_long(const struct net_queue *q)
{
    return arch_tsc() - q->now >= arch_tsc_khz() * POLL_LONG_US / 1000;
}

bool net_receive(struct netdev *dev, unsigned queue, const void *frame,
                 size_t len, uint32_t flags)
{
    struct net *n = nets[dev->index];
    struct net_queue *q = &n->queue[queue];
    struct copies c;
    c.n = n;
    c.rings = 0;
    bool timed = q->count.rx_packets++ % DEMUX_SAMPLE == 0;
    uint64_t from = timed ? arch_tsc() : 0;
    uint32_t owner = dpf_set_match(n->set[0], frame, len, note_copy, &c);
    if (timed) {
        q->count.demux_ticks += (arch_tsc() - from) * DEMUX_SAMPLE;
    }
    q->count.rx_bytes += len;
    if (owner != DPF_NO_OWNER) {
        deliver(n, q, owner, frame, len, flags);
        c.rings &= ~(1ull << net_binding_at(n, owner)->ring);
    } else if (c.rings == 0) {
        q->count.rx_unowned++;
    }
    for (; c.rings != 0; c.rings &= c.rings - 1) {
        uint32_t ring = (uint32_t)__builtin_ctzll(c.rings);
        deliver(n, q, c.binding[ring], frame, len, flags);
    }
    return (q->count.rx_packets & READ_ONCE(n->unchecked)) != 0 || !is_long(q);
}

void net_starved(struct netdev *dev, unsigned queue)
{
    nets[dev->index]->queue[queue].count.rx_starved++;
}

/* ------------------------------------------------------------------ polls */

static void add(uint64_t *to, uint64_t *from)
{
    if (*from != 0) {
        __atomic_fetch_add(to, *from, __ATOMIC_RELAXED);
        *from = 0;
    }
}

void net_queue_flush(struct net *n, struct net_queue *q)
{
    uint64_t *touched = &q->service.touched;
    for (; *touched != 0; *touched &= *touched - 1) {
        struct net_ring *r = &n->ring[__builtin_ctzll(*touched)];
        lock_acquire(&r->lock);
        if (r->kind != NET_RING_NONE) {
            event_signal(r->env, r->event);
        }
        lock_release(&r->lock);
    }
    struct sysinfo_net *i = n->info;
    add(&i->rx_packets, &q->count.rx_packets);
    add(&i->rx_bytes, &q->count.rx_bytes);
    add(&i->rx_unowned, &q->count.rx_unowned);
    add(&i->rx_dropped, &q->count.rx_dropped);
    add(&i->rx_starved, &q->count.rx_starved);
    add(&i->tx_packets, &q->count.tx_packets);
    add(&i->tx_bytes, &q->count.tx_bytes);
    add(&i->tx_refused, &q->count.tx_refused);
    add(&i->demux_ticks, &q->count.demux_ticks);
}

/* Poll one queue; true if it is quiet and interrupts are on again. */
static bool poll_queue(struct net *n, uint32_t queue, enum net_poll_kind kind)
{
    struct net_queue *q = &n->queue[queue];
    bool quiet = false;
    lock_acquire(&q->lock);
    q->now = arch_tsc();
    unsigned got = n->dev->ops->poll(n->dev, queue, BUDGET);
    net_send_resume(q);
    net_queue_flush(n, q);
    /* No interrupt says that a ring waits which could be served now. */
    if (got == 0 && !q->service.more && kind != NET_POLL_CALL) {
        quiet = !n->dev->ops->interrupts(n->dev, queue, true);
        if (!quiet) { /* something came just now */
            n->dev->ops->interrupts(n->dev, queue, false);
        }
    }
    lock_release(&q->lock);
    return quiet;
}

void net_poll(struct cpu *c, enum net_poll_kind kind)
{
    span_pause(c);
    for (uint64_t left = c->net_polling; left != 0; left &= left - 1) {
        uint32_t device = (uint32_t)__builtin_ctzll(left);
        uint32_t queue = polled[arch_cpu()][device];
        atomic_fetch_add(&c->poll_sequence, 1); /* odd: lookups may run */
        if (poll_queue(nets[device], queue, kind)) {
            c->net_polling &= ~(1ull << device);
        }
        atomic_fetch_add(&c->poll_sequence, 1);
        span_pause(c);
    }
    if (c->net_polling != 0 && kind == NET_POLL_INTERRUPT) {
        quantum_arm(c, arch_tsc() + arch_tsc_khz() * POLL_US / 1000);
    }
}

void net_interrupt(struct netdev *dev, unsigned queue)
{
    struct cpu *c = cpu_this();
    struct net *n = net_at(dev->index);
    if (n == NULL || n->dev != dev || queue >= dev->queues) {
        return; /* it was refused when it was found */
    }
    struct net_queue *q = &n->queue[queue];
    polled[arch_cpu()][dev->index] = (uint16_t)queue;
    c->net_polling |= 1ull << dev->index;
    lock_acquire(&q->lock);
    dev->ops->interrupts(dev, queue, false);
    lock_release(&q->lock);
}

void net_quiesce(void)
{
    /* What was published is seen before a sequence is read: a lookup that is
       not seen to run sees it in turn. */
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; i < arch_cpu_count(); i++) {
        struct cpu *c = cpu_at(i);
        uint64_t seen = atomic_load(&c->poll_sequence);
        while (i != arch_cpu() && seen % 2 != 0 &&
               atomic_load(&c->poll_sequence) == seen) {
            arch_pause();
        }
    }
}
