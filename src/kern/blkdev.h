/* SPDX-License-Identifier: MIT */
/*
 * What a block driver must offer, and what it may call. Locking: the caller
 * of submit and poll holds the disk's lock (lock.h).
 */
#pragma once

#include "src/abi/page.h"
#include <stdint.h>

#define BLKDEV_PIECES_MAX 14u

struct blkdev_req {
    uint16_t op; /* enum disk_op of abi/disk.h */
    uint16_t pieces;
    uint32_t token;                             /* handed to disk_done */
    uint64_t sector;                            /* of 512 bytes */
    struct page_piece piece[BLKDEV_PIECES_MAX]; /* multiples of 512 bytes */
};

struct blkdev;

struct blkdev_ops {
    /* Queue a request: 0, or -E_AGAIN when the queue is full. */
    int (*submit)(struct blkdev *dev, const struct blkdev_req *req);
    void (*kick)(struct blkdev *dev);
    /* Call disk_done for every completed request. */
    void (*poll)(struct blkdev *dev);
};

struct blkdev {
    const struct blkdev_ops *ops;
    void *driver;
    uint32_t index;
    uint64_t sectors; /* of 512 bytes */
    uint32_t read_only;
    uint32_t depth; /* requests the queue can hold */
};

int disk_attach(struct blkdev *dev);
void disk_interrupt(struct blkdev *dev);
/* status 0 or -E_IO */
void disk_done(struct blkdev *dev, uint32_t token, int status);
