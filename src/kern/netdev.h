/* SPDX-License-Identifier: MIT */
/*
 * What a network driver must offer, and what it may call. A driver moves
 * frames; it knows nothing of rings, regions or environments. One queue pair
 * per processor if the device has so many. The kernel holds the queue pair's
 * lock around every operation on it, and while it handles an interrupt; so a
 * driver takes no lock, and queue pairs run side by side.
 */
#pragma once

#include "src/abi/page.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes in front of a header that the driver may write its own into. */
#define NETDEV_HEADROOM 16u

/* A frame to send: the kernel's copy of its headers, then pieces in place. */
struct netdev_tx {
    uint8_t *header; /* header_len bytes, headroom in front */
    const struct page_piece *piece;
    uint16_t pieces; /* at most NET_TX_PIECES_MAX */
    uint16_t header_len;
    uint16_t flags; /* NET_TX_* of abi/net.h */
    uint16_t csum_start, csum_offset, gso_size;
    uint32_t token; /* handed to net_transmitted */
};

struct netdev;

struct netdev_ops {
    /*
     * Queue a frame. The driver does not tell the device until kick.
     * 0, or -E_AGAIN when the queue is full: net_transmitted of another frame
     * says when to try again.
     */
    int (*transmit)(struct netdev *dev, unsigned queue,
                    const struct netdev_tx *tx);
    void (*kick)(struct netdev *dev, unsigned queue);
    /*
     * Call net_receive for at most `budget` received frames and
     * net_transmitted for every completed one; stop early when net_receive
     * says so. Returns frames received; 0 means that the queue was empty.
     */
    unsigned (*poll)(struct netdev *dev, unsigned queue, unsigned budget);
    /*
     * Interrupts of a queue. on = true returns true if frames arrived
     * meanwhile, so that the caller polls again instead of losing them.
     */
    bool (*interrupts)(struct netdev *dev, unsigned queue, bool on);
};

struct netdev {
    const struct netdev_ops *ops;
    void *driver; /* the driver's own state */
    uint32_t index;
    uint8_t mac[6];
    uint16_t mtu;
    uint32_t features; /* SYSINFO_NET_* */
    uint32_t queues;
    uint32_t tx_depth; /* frames one queue can hold */
};

/* A driver found a device. Called at boot, before any environment runs. */
int net_attach(struct netdev *dev);
/* An interrupt of `queue`: the driver's handler calls this and nothing else. */
void net_interrupt(struct netdev *dev, unsigned queue);
/*
 * One received frame in kernel memory, valid during the call.
 * flags  NET_RX_* of abi/net.h
 * Returns false if this poll has taken so long that it must take no other.
 */
bool net_receive(struct netdev *dev, unsigned queue, const void *frame,
                 size_t len, uint32_t flags);
/* The device was found without a buffer for what it receives: it drops, and
   does not count what. */
void net_starved(struct netdev *dev, unsigned queue);
/* The device has read the frame with this token. */
void net_transmitted(struct netdev *dev, unsigned queue, uint32_t token);
