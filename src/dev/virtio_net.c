/* SPDX-License-Identifier: MIT */
/*
 * Virtio network card. Queue pair i has receive queue 2i, transmit queue
 * 2i + 1, interrupt entry i and processor i. The kernel holds the pair's lock
 * around every operation.
 *
 * Receive: one buffer a frame, in the kernel's memory, given back to the
 * device as soon as net_receive returns. No offload that would need larger
 * frames is accepted. Transmit: pieces are read in place; completions are
 * collected by a poll or when room is short. They raise an interrupt only when
 * interrupts are on and most frames under way have been sent. Source: virtio
 * 1.1 s5.1.
 */
#include "src/abi/err.h"
#include "src/abi/net.h"
#include "src/abi/sysinfo.h"
#include "src/arch.h"
#include "src/dev/dev.h"
#include "src/dev/virtio.h"
#include "src/kern/netdev.h"
#include "src/lib/log.h"
#include "src/lib/string.h"

#define NETS_MAX SYSINFO_NETS_MAX
#define RX_BUFFER 2048u
#define MTU 1500u
#define TX_CHAIN_MAX (NET_TX_PIECES_MAX + 1u) /* headers, then pieces */
#define CONTROL_TURNS_MAX 10000000u

enum {
    NET_CSUM = 1 << 0,
    NET_GUEST_CSUM = 1 << 1,
    NET_MTU = 1 << 3,
    NET_MAC = 1 << 5,
    NET_HOST_TSO4 = 1 << 11,
    NET_HOST_TSO6 = 1 << 12,
    NET_STATUS = 1 << 16,
    NET_CTRL_VQ = 1 << 17,
    NET_MQ = 1 << 22,
};

static const struct virtio_feature known[] = {
    /* s5.1.3.1 */
    {NET_CSUM, "CSUM", 0},
    {NET_GUEST_CSUM, "GUEST_CSUM", 0},
    {NET_MTU, "MTU", 0},
    {NET_MAC, "MAC", 0},
    {NET_HOST_TSO4, "HOST_TSO4", NET_CSUM},
    {NET_HOST_TSO6, "HOST_TSO6", NET_CSUM},
    {NET_STATUS, "STATUS", 0},
    {NET_CTRL_VQ, "CTRL_VQ", 0},
    {NET_MQ, "MQ", NET_CTRL_VQ},
    VIRTIO_FEATURES,
    {0, NULL, 0},
};

/* Fields of the configuration. */
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_MTU = 10 };

/* Before every frame. */
struct header {
    uint8_t flags, gso_type;
    uint16_t header_len, gso_size, csum_start, csum_offset;
    uint16_t buffers;
};
_Static_assert(sizeof(struct header) == 12, "virtio 1.1 s5.1.6");
_Static_assert(sizeof(struct header) <= NETDEV_HEADROOM, "room for it");

enum { HEADER_NEEDS_CSUM = 1, HEADER_DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4 };

struct pair {
    struct virtio_net *net;
    uint32_t index;
    struct virtq rx, tx;
    uint8_t *rx_buffer; /* RX_BUFFER bytes for each head */
    uint64_t rx_paddr;
    uint32_t tx_token[VIRTQ_SIZE_MAX];
    bool interrupts; /* on, so that completions must raise one in the end */
};

struct virtio_net {
    struct virtio v;
    struct netdev dev;
    struct pair *pair[ARCH_CPUS_MAX];
    struct virtq control;
};

static struct virtio_net nets[NETS_MAX];
static unsigned nets_used;

static void post_buffer(struct pair *p)
{
    if (virtq_start(&p->rx, 1)) {
        virtq_piece(&p->rx, p->rx_paddr + (uint64_t)p->rx.head * RX_BUFFER,
                    RX_BUFFER, true);
        (void)virtq_finish(&p->rx);
    }
}

static void collect_sent(struct pair *p)
{
    int r;
    uint32_t len;
    uint16_t head;
    while ((r = virtq_take(&p->tx, &head, &len)) > 0) {
        net_transmitted(&p->net->dev, p->index, p->tx_token[head]);
    }
    if (r < 0) {
        virtio_fail(&p->net->v, "completed a frame that it was not given");
    }
}

/* Nothing will be sent any more: hand the frames under way back. */
static void abandon(struct pair *p)
{
    uint16_t head;
    while (virtq_abandon(&p->tx, &head)) {
        net_transmitted(&p->net->dev, p->index, p->tx_token[head]);
    }
    p->rx.broken = true;
}

static struct header make_header(const struct netdev_tx *tx)
{
    struct header h = {0};
    if ((tx->flags & NET_TX_CSUM) != 0) {
        h.flags = HEADER_NEEDS_CSUM;
        h.csum_start = tx->csum_start;
        h.csum_offset = tx->csum_offset;
    }
    if ((tx->flags & (NET_TX_TSO4 | NET_TX_TSO6)) != 0) {
        h.gso_type = (tx->flags & NET_TX_TSO4) != 0 ? GSO_TCPV4 : GSO_TCPV6;
        h.gso_size = tx->gso_size;
        h.header_len = tx->header_len;
    }
    return h;
}

/* The device's header and the frame's are one piece: s2.6.4 (any layout). */
static int transmit(struct netdev *dev, unsigned queue,
                    const struct netdev_tx *tx)
{
    struct virtio_net *net = dev->driver;
    struct pair *p = net->pair[queue];
    struct virtq *q = &p->tx;
    /*
     * The kernel leaves NETDEV_HEADROOM bytes before a frame's header, so that
     * the device's own header can stand there and needs no piece of its own.
     */
    uint8_t *start = tx->header - sizeof(struct header);
    const struct header h = make_header(tx);
    if (!virtq_start(q, tx->pieces + 1u)) {
        collect_sent(p);
        /*
         * Completions that were not collected may be all that fills the ring.
         */
        if (net->v.dead || !virtq_start(q, tx->pieces + 1u)) {
            return -E_AGAIN;
        }
    }
    __builtin_memcpy(start, &h, sizeof(h));
    p->tx_token[q->head] = tx->token;
    virtq_piece(q, arch_ptr_paddr(start), (uint32_t)sizeof(h) + tx->header_len,
                false);
    for (unsigned i = 0; i < tx->pieces; i++) {
        virtq_piece(q, tx->piece[i].paddr, tx->piece[i].len, false);
    }
    (void)virtq_finish(q);
    return 0;
}

/* Three quarters of the frames under way, so that one interrupt frees many. */
static uint16_t send_threshold(const struct pair *p)
{
    uint16_t under_way = (uint16_t)(p->tx.added - p->tx.taken);
    return (uint16_t)(under_way - under_way / 4);
}

static void virtio_net_kick(struct netdev *dev, unsigned queue)
{
    struct virtio_net *net = dev->driver;
    struct pair *p = net->pair[queue];
    if (net->v.dead) {
        return;
    }
    /*
     * The threshold moves with every batch. If the device passed it before it
     * was written, no interrupt will come: collect by hand then.
     */
    if (p->interrupts && virtq_interrupt(&p->tx, send_threshold(p))) {
        collect_sent(p);
    }
    virtio_kick(&p->tx);
}

/*
 * Hand one received frame to the kernel, and its buffer back to the device.
 * False: take no other now, because the kernel has no more time, or never,
 * because the device lied about the frame.
 */
static bool receive(struct pair *p, uint16_t head, uint32_t len)
{
    const uint8_t *buffer = p->rx_buffer + (size_t)head * RX_BUFFER;
    uint32_t flags = 0;
    /*
     * The length is the device's word. The kernel's filters read as far as it
     * says, so it must lie inside the buffer.
     */
    struct header h;
    if (len < sizeof(h) || len > RX_BUFFER) {
        virtio_fail(&p->net->v, "received a frame longer than its buffer");
        return false;
    }
    __builtin_memcpy(&h, buffer, sizeof(h));
    /*
     * A frame that needs its checksum filled in comes from a sender on this
     * host and never crossed a wire (s5.1.6.4): nothing can have damaged it.
     */
    if ((h.flags & (HEADER_NEEDS_CSUM | HEADER_DATA_VALID)) != 0) {
        flags |= NET_RX_CSUM_OK;
    }
    bool more = net_receive(&p->net->dev, p->index, buffer + sizeof(h),
                            len - sizeof(h), flags);
    post_buffer(p);
    return more;
}

static unsigned virtio_net_poll(struct netdev *dev, unsigned queue,
                                unsigned budget)
{
    struct virtio_net *net = dev->driver;
    struct pair *p = net->pair[queue];
    unsigned n = 0;
    int r = 1;
    collect_sent(p);
    /*
     * Every buffer is full, so the device has had nowhere to put frames for
     * some time. It may have dropped any number, and does not say so.
     */
    if (virtq_waiting(&p->rx) == p->rx.size) {
        net_starved(dev, queue);
    }
    uint32_t len;
    uint16_t head;
    while (n < budget && (r = virtq_take(&p->rx, &head, &len)) > 0) {
        n++;
        if (!receive(p, head, len)) {
            break;
        }
    }
    if (r < 0) {
        virtio_fail(&net->v, "filled a buffer that it was not given");
    }
    if (net->v.dead) {
        abandon(p);
    } else if (n > 0) {
        virtio_kick(&p->rx);
    }
    return n;
}

/*
 * Switch the pair's interrupts. True: frames or completions wait already, for
 * which none will be raised; the caller polls instead of sleeping.
 */
static bool interrupts(struct netdev *dev, unsigned queue, bool on)
{
    struct virtio_net *net = dev->driver;
    struct pair *p = net->pair[queue];
    if (net->v.dead) {
        return false;
    }
    p->interrupts = on;
    bool rx = virtq_interrupt(&p->rx, on ? 1 : 0);
    bool sent = virtq_interrupt(&p->tx, on ? send_threshold(p) : 0);
    return rx || sent;
}

static const struct netdev_ops ops = {transmit, virtio_net_kick,
                                      virtio_net_poll, interrupts};

static void virtio_net_interrupt(void *arg)
{
    struct pair *p = arg;
    net_interrupt(&p->net->dev, p->index);
}

static bool pair_init(struct virtio_net *net, unsigned index)
{
    struct pair *p = page_kalloc_bytes(sizeof(*p));
    if (p == NULL) {
        return false;
    }
    net->pair[index] = p;
    p->net = net;
    p->index = index;
    /*
     * Pair i interrupts processor i, so that receiving is spread over
     * processors as the device spreads frames over pairs.
     */
    if (pci_msix_bind(&net->v.pci, index, index, virtio_net_interrupt, p) < 0 ||
        !virtio_queue(&net->v, &p->rx, (uint16_t)(2 * index), VIRTQ_SIZE_MAX, 1,
                      (uint16_t)index) ||
        !virtio_queue(&net->v, &p->tx, (uint16_t)(2 * index + 1),
                      VIRTQ_SIZE_MAX, TX_CHAIN_MAX, (uint16_t)index)) {
        return false;
    }
    p->rx_buffer = page_kalloc_bytes(p->rx.size * RX_BUFFER);
    if (p->rx_buffer == NULL) {
        return false;
    }
    p->rx_paddr = arch_ptr_paddr(p->rx_buffer);
    for (unsigned i = 0; i < p->rx.size; i++) {
        post_buffer(p);
    }
    (void)virtq_interrupt(&p->rx, 0);
    (void)virtq_interrupt(&p->tx, 0);
    return true;
}

/* How many queue pairs: one a processor, as far as the device goes. */
static unsigned choose_pairs(const struct virtio_net *net)
{
    unsigned want = arch_cpu_count();
    unsigned vectors = net->v.pci.msix_count;
    unsigned have = (net->v.features & NET_MQ) != 0
                        ? virtio_config16(&net->v, CONFIG_PAIRS)
                        : 1;
    have = have < vectors ? have : vectors;
    have = have < want ? have : want;
    return have < 1 ? 1 : have;
}

/* Tell the device to use `pairs` pairs of queues; before that it uses one. */
static bool enable_pairs(struct virtio_net *net, unsigned pairs)
{
    struct {
        uint8_t class, command;
        uint16_t pairs;
        uint8_t ack;
    } *m = page_kalloc_bytes(sizeof(*m));
    if (m == NULL || !virtq_start(&net->control, 3)) {
        return false;
    }
    m->class = 4; /* VIRTIO_NET_CTRL_MQ */
    m->command = 0;
    m->pairs = (uint16_t)pairs;
    m->ack = 0xff;
    uint64_t paddr = arch_ptr_paddr(m);
    /*
     * Class and command are one piece by the text, then the data, then the
     * byte that the device answers (s5.1.6.5). The page is never freed: a
     * device that answers after we gave up still writes there.
     */
    virtq_piece(&net->control, paddr, 2, false);
    virtq_piece(&net->control, paddr + 2, 2, false);
    virtq_piece(&net->control, paddr + 4, 1, true);
    (void)virtq_finish(&net->control);
    virtio_kick(&net->control);
    uint32_t len;
    uint16_t head;
    for (unsigned i = 0; i < CONTROL_TURNS_MAX; i++) {
        if (virtq_take(&net->control, &head, &len) != 0) {
            return *(volatile uint8_t *)&m->ack == 0;
        }
        arch_pause();
    }
    return false;
}

/*
 * The card as the kernel and, in the exposed table, environments see it. A
 * device may state an MTU above ours, which buffers could not hold.
 */
static void describe(struct virtio_net *net, unsigned pairs)
{
    struct netdev *dev = &net->dev;
    uint64_t f = net->v.features;
    dev->ops = &ops;
    dev->driver = net;
    for (unsigned i = 0; i < 6; i++) {
        dev->mac[i] = virtio_config8(&net->v, CONFIG_MAC + i);
    }
    dev->mtu = MTU;
    if ((f & NET_MTU) != 0 && virtio_config16(&net->v, CONFIG_MTU) < MTU) {
        dev->mtu = virtio_config16(&net->v, CONFIG_MTU);
    }
    dev->queues = pairs;
    dev->tx_depth = net->pair[0]->tx.size;
    dev->features |= (f & NET_CSUM) != 0 ? SYSINFO_NET_CSUM : 0;
    dev->features |= (f & NET_HOST_TSO4) != 0 ? SYSINFO_NET_TSO4 : 0;
    dev->features |= (f & NET_HOST_TSO6) != 0 ? SYSINFO_NET_TSO6 : 0;
    dev->features |= (f & NET_GUEST_CSUM) != 0 ? SYSINFO_NET_RX_CSUM : 0;
    if ((f & NET_STATUS) == 0 ||
        (virtio_config16(&net->v, CONFIG_STATUS) & 1) != 0) {
        dev->features |= SYSINFO_NET_LINK;
    }
}

static bool virtio_net_start(struct virtio_net *net)
{
    unsigned pairs = choose_pairs(net);
    for (unsigned i = 0; i < pairs; i++) {
        if (!pair_init(net, i)) {
            return false;
        }
    }
    if (pairs > 1) {
        /*
         * The control queue stands behind all pairs that the device has, used
         * or not (s5.1.2).
         */
        uint16_t last = virtio_config16(&net->v, CONFIG_PAIRS);
        if (!virtio_queue(&net->v, &net->control, (uint16_t)(2 * last), 16, 3,
                          VIRTIO_NO_VECTOR)) {
            return false;
        }
    }
    describe(net, pairs);
    virtio_run(&net->v);
    if (pairs > 1 && !enable_pairs(net, pairs)) {
        log_line("%s: does not take %u queue pairs; going on with one",
                 net->v.pci.name, pairs);
        net->dev.queues = pairs = 1;
    }
    for (unsigned i = 0; i < pairs; i++) {
        virtio_kick(&net->pair[i]->rx);
    }
    return true;
}

void virtio_net_found(const struct pci_device *pci)
{
    struct virtio_net *net = &nets[nets_used];
    if (nets_used == NETS_MAX) {
        log_line("virtio-net: more than %u cards", NETS_MAX);
        return;
    }
    if (!virtio_open(&net->v, pci, "virtio-net") ||
        !virtio_negotiate(&net->v, known, NET_MAC)) {
        return;
    }
    if (!virtio_net_start(net)) {
        virtio_fail(&net->v, "cannot be started");
        return;
    }
    nets_used++;
    const uint8_t *mac = net->dev.mac;
    log_line("%s: %02x:%02x:%02x:%02x:%02x:%02x mtu %u, %u queue pair%s%s",
             net->v.pci.name, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
             net->dev.mtu, net->dev.queues, net->dev.queues == 1 ? "" : "s",
             (net->dev.features & SYSINFO_NET_LINK) != 0 ? "" : ", link down");
    if (net_attach(&net->dev) < 0) {
        virtio_fail(&net->v, "is not wanted by the kernel");
    }
}
