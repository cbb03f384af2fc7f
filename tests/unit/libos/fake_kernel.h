/* SPDX-License-Identifier: MIT */
/*
 * The kernel as libos's rings see it, and the memory and events of an
 * environment, on the host. Physical addresses are virtual ones. The kernel's
 * indices are its own, as in src/kern: it trusts nothing in the ring.
 */
#pragma once

#include "src/abi/disk.h"
#include "src/abi/net.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_kernel {
    struct net_ring_args rx, tx;
    struct disk_ring_args disk;
    uint32_t rx_next, tx_next; /* the kernel's indices */
    unsigned sends, submits, waits;
    bool complete_on_send;    /* the device is done at once */
    void (*on_wait)(void);    /* what happens while the caller sleeps */
    int64_t fail_rx, fail_tx; /* what ring calls return, if negative */
    int64_t fail_disk, fail_free;
    int fail_entropy;
    int allocs_left; /* mem_* calls that succeed; -1: all */
    unsigned live;   /* allocations */
    uint64_t events; /* bits reserved */
    unsigned rings;  /* not freed */
};
extern struct fake_kernel fk;

void fk_reset(void);

/* Deliver a packet of `len` bytes, all `fill`; false: the ring is full. */
bool fk_deliver(uint32_t len, uint8_t fill);

/* The device is done with up to `n` frames, in order; how many there were.
   owner: NET_OWNER_ENV or NET_OWNER_REFUSED. */
uint32_t fk_transmitted(uint32_t n, uint32_t owner);
const struct net_tx_slot *fk_tx_slot(uint32_t index);

/* Slot `index` of the disk ring, and its end. */
struct disk_slot *fk_disk_slot(uint32_t index);
void fk_disk_done(uint32_t index, int32_t status);
