/* SPDX-License-Identifier: MIT */
/*
 * A split virtqueue, driver's side. Of what the device writes, nothing is
 * believed: an identifier must name a chain under way, a length is for the
 * caller to check. All bookkeeping is in memory that the device never sees.
 * One user at a time.
 *
 *   descriptors  size * 16 bytes; a chain uses several, or one that points to
 *                a table of its own (indirect)
 *   available    driver -> device: heads of chains
 *   used         device -> driver: heads and bytes written
 *
 * Source: virtio 1.1 s2.6.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTQ_SIZE_MAX 256u
/* Longer chains go into a table if there are any. */
#define VIRTQ_DIRECT_MAX 4u
#define VIRTQ_TABLE 32u /* descriptors in an indirect table */

struct virtq_desc {
    uint64_t paddr;
    uint32_t len;
    uint16_t flags, next;
};

struct virtq_avail {
    uint16_t flags, idx;
    uint16_t ring[]; /* size heads, then used_event */
};

struct virtq_used {
    uint16_t flags, idx;
    struct {
        uint32_t id, len;
    } ring[]; /* size entries, then avail_event */
};

struct virtq {
    struct virtq_desc *desc;
    struct virtq_avail *avail;
    struct virtq_used *used;
    struct virtq_desc *tables; /* size tables, or NULL */
    uint64_t tables_paddr;
    volatile uint16_t *notify;
    uint16_t size, index;
    bool event_idx;
    bool broken; /* the device broke the rules; nothing works any more */

    uint16_t free, free_head; /* descriptors; list in next[] */
    uint16_t added;           /* chains, as the ring counts; not all told */
    uint16_t told, taken;     /* avail->idx written; used->idx consumed */
    uint16_t head, tail;      /* of the chain being built */
    uint16_t build_left;
    struct virtq_desc *build; /* in a table; NULL: direct */
    uint16_t next[VIRTQ_SIZE_MAX];
    uint16_t under_way[VIRTQ_SIZE_MAX]; /* descriptors of the chain at a head */
};

/* Bytes of zeroed, page-aligned memory the three parts take. */
size_t virtq_bytes(uint16_t size);
/*
 * Prepare a queue in `memory`.
 *
 * tables  size * VIRTQ_TABLE descriptors, or NULL for no indirect ones
 */
void virtq_init(struct virtq *q, void *memory, uint16_t size,
                struct virtq_desc *tables, uint64_t tables_paddr);

/*
 * Build a chain: start, each piece, finish. start fails when there is no room
 * or the queue is broken; finish returns the head, which names the chain.
 */
bool virtq_start(struct virtq *q, unsigned pieces);
void virtq_piece(struct virtq *q, uint64_t paddr, uint32_t len,
                 bool device_writes);
uint16_t virtq_finish(struct virtq *q);

/* Show finished chains to the device; true if it wants to be notified. */
bool virtq_publish(struct virtq *q);

/* Completed chains that were not taken. */
uint16_t virtq_waiting(const struct virtq *q);

/*
 * Take one completed chain.
 * Returns 1, 0 if there is none, -1 if the device named one that is not under
 * way; then the queue is broken.
 */
int virtq_take(struct virtq *q, uint16_t *head, uint32_t *len);
/* After a reset: the chains that will never complete, one by one. */
bool virtq_abandon(struct virtq *q, uint16_t *head);

/*
 * Ask for an interrupt once `after` more chains are complete (0: none).
 * Returns true if completed chains wait already.
 */
bool virtq_interrupt(struct virtq *q, uint16_t after);
