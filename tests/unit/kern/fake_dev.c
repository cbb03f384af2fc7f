/* SPDX-License-Identifier: MIT */
#include "tests/unit/kern/fake_dev.h"
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/sysinfo.h"
#include "src/arch.h"
#include "tests/unit/kern/fake_arch.h"
#include <stdlib.h>
#include <string.h>

struct fake_nic fake_nic;
struct fake_disk fake_disk;

static int transmit(struct netdev *dev, unsigned queue,
                    const struct netdev_tx *tx)
{
    (void)dev;
    (void)queue;
    if (fake_nic.sent_count >= fake_nic.room) {
        return -E_AGAIN;
    }
    fake_nic.sent[fake_nic.sent_count++] = *tx;
    return 0;
}

static void nic_kick(struct netdev *dev, unsigned queue)
{
    (void)dev;
    (void)queue;
    fake_nic.kicks++;
}

static unsigned nic_poll(struct netdev *dev, unsigned queue, unsigned budget)
{
    unsigned got = 0;
    if (fake_nic.polled != NULL) {
        fake_nic.polled();
    }
    unsigned complete = fake_nic.complete; /* others may set it meanwhile */
    fake_nic.complete = 0;
    while (complete > 0 && fake_nic.sent_count > 0) {
        uint32_t token = fake_nic.sent[0].token;
        complete--;
        fake_nic.sent_count--;
        memmove(fake_nic.sent, fake_nic.sent + 1,
                fake_nic.sent_count * sizeof(fake_nic.sent[0]));
        net_transmitted(dev, queue, token);
    }
    if (fake_nic.flood > 0) {
        fake_nic.flood--;
        (void)net_receive(dev, queue, fake_nic.frame[0], fake_nic.frame_len[0],
                          0);
        return 1;
    }
    for (bool more = true; more && got < budget && fake_nic.frames > 0; got++) {
        fake_nic.frames--;
        fake_tsc += fake_nic.ticks;
        more = net_receive(dev, queue, fake_nic.frame[got],
                           fake_nic.frame_len[got], 0);
    }
    for (unsigned i = 0; i < fake_nic.frames; i++) {
        fake_nic.frame[i] = fake_nic.frame[i + got];
        fake_nic.frame_len[i] = fake_nic.frame_len[i + got];
    }
    return got;
}

static bool nic_interrupts(struct netdev *dev, unsigned queue, bool on)
{
    (void)dev;
    (void)queue;
    fake_nic.interrupts = on;
    return on && fake_nic.frames > 0;
}

static const struct netdev_ops nic_ops = {transmit, nic_kick, nic_poll,
                                          nic_interrupts};

void fake_nic_attach(unsigned queues)
{
    fake_nic.dev =
        (struct netdev){.ops = &nic_ops,
                        .mac = {2, 0, 0, 0, 0, 1},
                        .mtu = 1500,
                        .features = SYSINFO_NET_CSUM | SYSINFO_NET_TSO4,
                        .queues = queues,
                        .tx_depth = 32};
    fake_nic.room = FAKE_SENT_MAX;
    if (net_attach(&fake_nic.dev) != 0) {
        abort();
    }
}

void fake_nic_arrive(const void *frame, size_t len)
{
    fake_nic.frame[fake_nic.frames] = frame;
    fake_nic.frame_len[fake_nic.frames] = len;
    fake_nic.frames++;
    if (fake_nic.interrupts) {
        net_interrupt(&fake_nic.dev, 0);
    }
}

void fake_nic_done(unsigned n)
{
    fake_nic.complete = n;
    if (fake_nic.interrupts) {
        net_interrupt(&fake_nic.dev, 0);
    }
}

static int submit(struct blkdev *dev, const struct blkdev_req *req)
{
    (void)dev;
    if (fake_disk.reqs >= fake_disk.room) {
        return -E_AGAIN;
    }
    fake_disk.req[fake_disk.reqs++] = *req;
    return 0;
}

static void disk_kick(struct blkdev *dev)
{
    (void)dev;
    fake_disk.kicks++;
}

static unsigned to_complete;

static void disk_poll(struct blkdev *dev)
{
    if (fake_disk.polled != NULL) {
        fake_disk.polled();
    }
    unsigned n = to_complete; /* others may set it meanwhile */
    to_complete = 0;
    for (; n > 0 && fake_disk.reqs > 0; n--) {
        struct blkdev_req r = fake_disk.req[0];
        uint8_t *at = fake_disk.data + r.sector * 512;
        for (unsigned i = 0; i < r.pieces && fake_disk.status == 0; i++) {
            uint8_t *m = (uint8_t *)arch_frame_ptr(r.piece[i].paddr / 4096) +
                         r.piece[i].paddr % 4096;
            if (r.op == DISK_READ) {
                memcpy(m, at, r.piece[i].len);
            } else {
                memcpy(at, m, r.piece[i].len);
            }
            at += r.piece[i].len;
        }
        fake_disk.reqs--;
        memmove(fake_disk.req, fake_disk.req + 1,
                fake_disk.reqs * sizeof(fake_disk.req[0]));
        disk_done(dev, r.token, fake_disk.status);
    }
}

static const struct blkdev_ops disk_ops = {submit, disk_kick, disk_poll};

void fake_disk_attach(void)
{
    fake_disk.dev = (struct blkdev){
        .ops = &disk_ops, .sectors = FAKE_BLOCKS * 8, .depth = 16};
    fake_disk.room = 64;
    if (disk_attach(&fake_disk.dev) != 0) {
        abort();
    }
}

void fake_disk_due(unsigned n)
{
    to_complete = n;
}

void fake_disk_swap(unsigned a, unsigned b)
{
    struct blkdev_req r = fake_disk.req[a];
    fake_disk.req[a] = fake_disk.req[b];
    fake_disk.req[b] = r;
}

void fake_disk_complete(unsigned n)
{
    fake_disk_due(n);
    disk_interrupt(&fake_disk.dev);
}
