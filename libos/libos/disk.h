/* SPDX-License-Identifier: MIT */
/*
 * Disk requests (src/abi/disk.h): a queue on one range of blocks. The device
 * reads and writes the caller's memory in place, so it stays allocated until
 * the request is done.
 */
#pragma once

#include "libos/libos/mem.h"
#include "src/abi/disk.h"
#include <stdbool.h>
#include <stdint.h>

struct disk_queue {
    struct mem_run run;
    struct disk_slot *slot;                  /* in run */
    uint64_t busy[DISK_RING_SLOTS_MAX / 64]; /* bit: slot not yet reaped */
    uint32_t slots, next, tail; /* running; slot index is modulo slots */
    uint32_t disk, id;
    int event;       /* bit that says: requests are done */
    uint32_t untold; /* requests put since disk_kick */
};

/*
 * Open a queue.
 *
 * k      slot: capability over the range
 * slots  a power of two, at most DISK_RING_SLOTS_MAX
 *
 * Returns 0 or -E_*.
 */
int disk_open(struct disk_queue *q, uint32_t disk, uint32_t k, uint32_t range,
              uint32_t slots);
/* Returns -E_BUSY while requests are under way. */
int disk_close(struct disk_queue *q);

struct disk_request {
    enum disk_op op;
    uint64_t block; /* the first, in the disk's own numbers */
    uint32_t count; /* blocks; the pieces add up to it */
    uint32_t pieces;
    struct page_piece piece[DISK_PIECES_MAX];
    uint64_t cookie; /* returned by disk_reap */
};

/* Queue a request: 0, or -E_AGAIN when no slot is free. */
int disk_put(struct disk_queue *q, const struct disk_request *r);
/* Tell the kernel what was put since the last call. */
void disk_kick(struct disk_queue *q);
/* One finished request, in any order: false if there is none. */
bool disk_reap(struct disk_queue *q, uint64_t *cookie, int *status);

/* Requests that were put and not yet reaped. */
uint32_t disk_pending(const struct disk_queue *q);

/* Read blocks now: put, kick, wait. For start-up. Returns 0 or -E_*. */
int disk_read_now(struct disk_queue *q, uint64_t block, uint32_t count,
                  uint64_t paddr);
