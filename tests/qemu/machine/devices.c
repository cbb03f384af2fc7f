/* SPDX-License-Identifier: MIT */
/*
 * Drivers against QEMU's devices: an ARP question to the user-mode network's
 * gateway, sectors of a disk that the test made.
 */
#include "src/abi/disk.h"
#include "src/abi/net.h"
#include "src/kern/rngdev.h"
#include "src/lib/string.h"
#include "tests/qemu/machine/machine.h"

#define FRAME NETDEV_HEADROOM /* where a frame begins in its page */

static struct rngdev *rng;
static struct netdev *net;
static struct blkdev *disk;
static unsigned received, sent, interrupts;
static uint8_t reply[64];
static int disk_status;
static unsigned disk_finished;

static struct {
    irq_handler *handler;
    void *arg;
} irqs[256];

int irq_alloc(unsigned cpu, irq_handler *handler, void *arg, uint64_t *address,
              uint32_t *data)
{
    int vector = arch_msi_alloc(cpu, address, data);
    if (vector >= 0) {
        irqs[vector].handler = handler;
        irqs[vector].arg = arg;
    }
    return vector;
}

void irq_dispatch(uint32_t vector)
{
    if (irqs[vector].handler != NULL) {
        irqs[vector].handler(irqs[vector].arg);
    }
}

void entropy_attach(struct rngdev *dev)
{
    rng = dev;
}

int net_attach(struct netdev *dev)
{
    net = dev;
    return 0;
}

void net_interrupt(struct netdev *dev, unsigned queue)
{
    (void)dev;
    (void)queue;
    interrupts++;
}

bool net_receive(struct netdev *dev, unsigned queue, const void *frame,
                 size_t len, uint32_t flags)
{
    (void)dev;
    (void)queue;
    const uint8_t *f = frame;

    (void)flags;
    /* Answers to ARP only: others speak unasked. */
    if (len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2) {
        memcpy(reply, f, 42);
        received++;
    }
    return true;
}

void net_starved(struct netdev *dev, unsigned queue)
{
    (void)dev;
    (void)queue;
}

void net_transmitted(struct netdev *dev, unsigned queue, uint32_t token)
{
    (void)dev;
    (void)queue;
    sent += token == 77;
}

int disk_attach(struct blkdev *dev)
{
    disk = dev;
    return 0;
}

void disk_interrupt(struct blkdev *dev)
{
    dev->ops->poll(dev);
}

void disk_done(struct blkdev *dev, uint32_t token, int status)
{
    (void)dev;
    disk_finished += token == 5;
    disk_status = status;
}

/* Who has 10.0.2.2? Tell 10.0.2.15. */
static void arp_question(uint8_t *frame)
{
    static const uint8_t rest[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
    memset(frame, 0xff, 6);
    memcpy(frame + 6, net->mac, 6);
    memcpy(frame + 12, rest, sizeof(rest));
    memcpy(frame + 22, net->mac, 6);
    memcpy(frame + 28, (const uint8_t[]){10, 0, 2, 15}, 4);
    memset(frame + 32, 0, 6);
    memcpy(frame + 38, (const uint8_t[]){10, 0, 2, 2}, 4);
}

/* The device may choose any receive queue. */
static void poll_all(void)
{
    for (unsigned q = 0; q < net->queues; q++) {
        (void)net->ops->poll(net, q, 16);
    }
}

static bool wait_for(const unsigned *count, unsigned until, bool poll)
{
    uint64_t end = arch_tsc() + 2000 * arch_tsc_khz();
    while (*(const volatile unsigned *)count < until && arch_tsc() < end) {
        if (poll) {
            poll_all();
        } else {
            arch_timer_arm(arch_tsc() + 10 * arch_tsc_khz());
            arch_idle();
        }
    }
    return *count >= until;
}

/* The frame's first 42 bytes as header, the rest in so many pieces: above
   VIRTQ_DIRECT_MAX in all, the indirect form is used. */
static void send(uint64_t frame, unsigned pieces)
{
    struct page_piece piece[NET_TX_PIECES_MAX];
    struct netdev_tx tx = {.header = (uint8_t *)arch_frame_ptr(frame) + FRAME,
                           .header_len = 42,
                           .piece = piece,
                           .pieces = (uint16_t)pieces,
                           .token = 77};
    uint64_t at = (frame << PAGE_SHIFT) + FRAME + tx.header_len;
    for (unsigned i = 0; i < pieces; i++) {
        uint32_t len = i + 1 < pieces ? 2 : 18 - 2 * (pieces - 1);
        piece[i] = (struct page_piece){.paddr = at, .len = len};
        at += len;
    }
    check(net->ops->transmit(net, 0, &tx) == 0, "a frame is taken");
    net->ops->kick(net, 0);
}

static void check_net(void)
{
    uint64_t frame = page_kalloc(1);
    unsigned taken = 0;
    arp_question((uint8_t *)arch_frame_ptr(frame) + FRAME);
    send(frame, 1);
    check(wait_for(&received, 1, true) && wait_for(&sent, 1, true),
          "polling: ARP is answered and the frame completed");
    check(reply[20] == 0 && reply[28] == 10 && reply[31] == 2,
          "it is the gateway's answer");
    while (net->ops->interrupts(net, 0, true)) {
        (void)net->ops->poll(net, 0, 16);
    }
    unsigned before = interrupts;
    send(frame, NET_TX_PIECES_MAX);
    check(wait_for(&interrupts, before + 1, false),
          "with interrupts on one comes");
    (void)net->ops->interrupts(net, 0, false);
    check(wait_for(&received, 2, true), "header and 7 pieces make one frame");
    /* Fill the queue without telling the device. */
    for (;;) {
        struct netdev_tx tx = {.header =
                                   (uint8_t *)arch_frame_ptr(frame) + FRAME,
                               .header_len = 60,
                               .token = 77};
        if (net->ops->transmit(net, 0, &tx) < 0) {
            break;
        }
        taken++;
    }
    before = sent;
    log_line("# %u frames fit", taken);
    net->ops->kick(net, 0);
    check(taken >= net->tx_depth / 2 && wait_for(&sent, before + taken, true),
          "a full queue refuses, then drains");
}

static int transfer(uint16_t op, uint64_t sector, uint64_t frame,
                    unsigned pieces)
{
    struct blkdev_req req = {
        .op = op, .pieces = (uint16_t)pieces, .token = 5, .sector = sector};
    unsigned before = disk_finished;
    for (unsigned i = 0; i < pieces; i++) {
        req.piece[i].paddr = (frame << PAGE_SHIFT) + i * 512;
        req.piece[i].len = 512;
    }
    if (disk->ops->submit(disk, &req) < 0) {
        return -1;
    }
    disk->ops->kick(disk);
    return wait_for(&disk_finished, before + 1, false) ? disk_status : -2;
}

static void check_disk(void)
{
    uint64_t frame = page_kalloc(4);
    uint64_t *data = arch_frame_ptr(frame);
    bool right = true;
    check(disk->sectors == 2048, "the disk is 1 MiB");
    check(transfer(DISK_READ, 3, frame, BLKDEV_PIECES_MAX) == 0,
          "fourteen sectors are read by interrupt");
    /* The test filled sector n with the number n. */
    for (unsigned i = 0; i < BLKDEV_PIECES_MAX; i++) {
        right = right && data[i * 64] == 3 + i && data[i * 64 + 63] == 3 + i;
    }
    check(right, "they are the right ones");
    data[0] = 0x600dda7a;
    check(transfer(DISK_WRITE, 100, frame, 1) == 0 &&
              transfer(DISK_FLUSH, 0, frame, 0) == 0,
          "a sector is written and flushed");
    data[0] = 0;
    check(transfer(DISK_READ, 100, frame, 1) == 0 && data[0] == 0x600dda7a,
          "and read back");
    check(transfer(DISK_READ, 1u << 20, frame, 1) < 0,
          "beyond the end is an error");
}

/* Twice the device's buffer, so that it is refilled; no word twice. */
static void check_entropy(void)
{
    uint64_t end = arch_tsc() + 2000 * arch_tsc_khz();
    unsigned n = 0, twice = 0;
    uint64_t word[64];
    while (n < 64 && arch_tsc() < end) {
        n += rng->read(rng, &word[n]);
    }
    for (unsigned i = 1; i < n; i++) {
        twice += word[i] == word[i - 1] || word[i] == 0;
    }
    check(n == 64 && twice == 0, "the entropy device gives fresh words");
}

void check_devices(void)
{
    if (rng != NULL) {
        check_entropy();
    }
    check(net != NULL && disk != NULL, "a network card and a disk");
    if (net != NULL && disk != NULL) {
        check_net();
        check_disk();
    }
}
