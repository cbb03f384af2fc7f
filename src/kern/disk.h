/* SPDX-License-Identifier: MIT */
/*
 * Disks inside the kernel: disk.c (devices, requests), disk_range.c (ranges of
 * blocks by capability), disk_ring.c (request rings). One lock a disk covers
 * the driver, its requests and the rings.
 */
#pragma once

#include "src/abi/disk.h"
#include "src/kern/blkdev.h"
#include "src/kern/env.h"
#include "src/kern/page.h"
#include "src/kern/service.h"
#include "src/kern/slots.h"

#define DISK_RANGES_MAX 64u
#define DISK_RINGS_MAX 64u

struct disk_ring {
    struct env *env; /* NULL: unused; changes under bind_lock and the lock */
    bool writes;
    uint32_t generation; /* grows when the ring is freed */
    uint32_t event;
    uint32_t in_flight;
    uint32_t mask; /* slots - 1 */
    struct disk_range *range;
    struct disk_slot *slots; /* in the environment's frames, pinned */
    uint64_t next;           /* slots taken since creation */
    uint64_t under_way[SLOTS_WORDS(DISK_RING_SLOTS_MAX)]; /* see slots.h */
    struct page_pass memory; /* what pieces may name */
    uint64_t frames;
    struct cap by; /* what was presented for the range */
};

struct disk_range {
    bool used;
    uint32_t guard;
    uint32_t owner; /* index of an environment; 0: none */
    uint32_t rings;
    uint64_t start, count; /* blocks */
    struct cap by;         /* what was presented for the parent */
};

/* A request that the device has. */
struct disk_request {
    struct blkdev_req req;
    uint32_t next_free;
    uint32_t ring, generation, slot;
    uint64_t blocks;
};

struct disk {
    struct lock lock;
    struct blkdev *dev;
    struct sysinfo_disk *info;
    uint32_t free; /* first free request; dev->depth: none */
    struct service service;
    struct disk_range range[DISK_RANGES_MAX];
    struct disk_ring ring[DISK_RINGS_MAX];
    struct disk_request request[]; /* dev->depth */
};

/* The disk; NULL if there is none. */
struct disk *disk_at(uint32_t i);

/*
 * Begin requests that an interrupt or a call left behind because it had begun
 * enough: a bounded number again. False if there was none. The scheduler calls
 * it before each slice and does not go idle until it says false.
 */
bool disk_turn(void);

/* Free what `e` holds: rings, ranges. False: the turn ended first. */
bool disk_env_end(struct env *e, struct turn *t) REQUIRES(bind_lock);

#define DISK_REVOKE_STEPS                                                      \
    (SYSINFO_DISKS_MAX * (DISK_RINGS_MAX + DISK_RANGES_MAX))
/*
 * Break rings and ranges that rest on a revoked name. `at` counts what was
 * looked at, in this turn and before. False: the turn ended first.
 */
bool disk_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
    REQUIRES(bind_lock);

/* Its parts: see disk_range.c and disk_ring.c. */
struct disk_range *disk_range_at(struct disk *d, uint32_t range);
bool disk_range_has(const struct disk_range *g, uint64_t start, uint64_t count);
/* The owner is ending. A range that rings still use becomes the heir's; an
   unused one is removed. */
void disk_range_orphan(struct disk_range *g, uint32_t heir) REQUIRES(bind_lock);
/* Remove a range and the rings on it. */
void disk_range_break(struct disk *d, struct disk_range *g) REQUIRES(bind_lock);
void disk_ring_remove(struct disk *d, struct disk_ring *r) REQUIRES(bind_lock);
/* Remove a ring that rests on a revoked name, and signal its environment. */
void disk_ring_break(struct disk *d, struct disk_ring *r) REQUIRES(bind_lock);
