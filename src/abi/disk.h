/* SPDX-License-Identifier: MIT */
/*
 * The disk: ranges of blocks by capability, request rings with gather pieces.
 * Block numbers are the disk's own (physical names). Range 0 of each disk is
 * all of it, guarded by the root name.
 */
#pragma once

#include "src/abi/page.h"
#include <stdint.h>

#define DISK_BLOCK_SIZE 4096u
#define DISK_RING_SLOTS_MAX 1024u
#define DISK_PIECES_MAX 14u
#define DISK_COUNT_MAX 1024u /* blocks of one request */
#define DISK_RANGE_ALL 0u

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH };

/* Carve [start, start + count) out of a range. */
struct disk_range_args {
    uint32_t disk;
    uint32_t parent; /* range; the presented capability dominates its guard */
    uint32_t guard;  /* slot whose name becomes the new range's guard */
    uint32_t reserved;
    uint64_t start;
    uint64_t count;
};
_Static_assert(sizeof(struct disk_range_args) == 32, "abi");

/* A ring in frames [frame, frame + frames): slots from offset 0. */
struct disk_ring_args {
    uint32_t disk;
    uint32_t range;
    uint32_t slots; /* a power of two, at most DISK_RING_SLOTS_MAX */
    uint32_t frames;
    uint64_t frame;
    uint32_t event;  /* bit of uarea.pending */
    uint32_t memory; /* slot: capability over frames that pieces may name */
};
_Static_assert(sizeof(struct disk_ring_args) == 32, "abi");

#define DISK_OWNER_ENV 0u
#define DISK_OWNER_KERNEL 1u

struct disk_slot {
    uint32_t owner; /* written last by the environment */
    uint16_t op;    /* enum disk_op */
    uint16_t pieces;
    uint64_t block;  /* first block */
    uint32_t count;  /* blocks, at most DISK_COUNT_MAX; the pieces' sum */
    int32_t status;  /* set by the kernel: 0 or -E_* */
    uint64_t cookie; /* the environment's own */
    struct page_piece piece[DISK_PIECES_MAX]; /* multiples of 512 bytes, and so
                                                 aligned */
};
_Static_assert(sizeof(struct disk_slot) == 256, "abi");
