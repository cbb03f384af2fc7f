/* SPDX-License-Identifier: MIT */
/*
 * The file cache, which is also the retransmission pool: disk blocks in frames
 * that the network device reads in place.
 *
 * A block stays while it is pinned (a frame on its way refers to it) or held
 * (somebody sent bytes of it that are not acknowledged). Pins are the
 * device's and absolute. Holds are a claim that can be asked back: when no
 * block can be evicted the cache calls `pressure`, whose owner releases the
 * holds of one connection; what that one must send again is read again.
 *
 * Eviction is S3-FIFO (Yang23): a small queue for newcomers, a main queue
 * for what was asked for again, a memory of names that left the small queue
 * too early. Chosen over CLOCK since web sites mix a popular core with long
 * sequential bodies: a body that is read once passes through the small queue
 * and leaves the core in place. It needs no list surgery on a hit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_BLOCK 4096u
#define CACHE_READ_MAX 14u /* blocks in one read: DISK_PIECES_MAX */
#define CACHE_MIN 64u      /* frames; fewer cannot make progress */

#define CACHE_USES_MAX 3u

enum cache_state { CACHE_FREE, CACHE_READING, CACHE_VALID, CACHE_DEAD };

struct cache_block {
    uint8_t *va;
    uint64_t paddr;
    uint32_t block;      /* number on disk */
    uint32_t hash_next;  /* index + 1, 0 ends */
    uint32_t queue_next; /* index + 1, 0 ends */
    uint32_t read_next;  /* the next of the same read; index + 1, 0 ends */
    uint32_t pins, holds;
    struct cache_waiter *waiters; /* while it is being read */
    uint8_t state;                /* enum cache_state */
    uint8_t uses;                 /* since it entered its queue, at most 3 */
    bool main;                    /* which queue */
    bool judged; /* by its reader, who sets it: once for each time it is read */
};

/*
 * The way to the disk, embedded in its driver's object.
 *
 * read  start reading `count` blocks from `block` into the frames at
 *       paddr[]: 0, or negative when it must be tried again after the next
 *       cache_done. Answered by cache_done with this cookie
 * kick  reads were started
 */
struct cache_disk {
    int (*read)(struct cache_disk *d, uint32_t block, uint32_t count,
                const uint64_t *paddr, uint64_t cookie);
    void (*kick)(struct cache_disk *d);
};

/* Somebody who waits for a block; one block at a time. */
struct cache_waiter {
    struct cache_waiter *next;
    uint32_t block;
    bool waiting;
    /* 0: look again; negative: the disk could not read it. May call anything
       of the cache. */
    void (*wake)(struct cache_waiter *w, int status);
};

struct cache_queue {
    uint32_t head, tail; /* index + 1 of newest and oldest, 0: empty */
    uint32_t count;
};

#define CACHE_STATS(X)                                                         \
    X(hits, "blocks asked for and found")                                      \
    X(misses, "blocks asked for and read")                                     \
    X(reads, "requests to the disk")                                           \
    X(blocks_read, "blocks read, those ahead too")                             \
    X(read_errors, "requests the disk failed")                                 \
    X(evictions, "blocks that made room")                                      \
    X(returns, "blocks read again soon after they left")                       \
    X(pressure, "connections asked to release what they hold")                 \
    X(starved, "times a reader had to wait for a frame or the disk")

struct cache_stats {
#define CACHE_STAT_FIELD(name, text) uint64_t name;
    CACHE_STATS(CACHE_STAT_FIELD)
#undef CACHE_STAT_FIELD
};

struct cache {
    struct cache_block *entry;
    uint32_t *bucket; /* index + 1 of the first entry */
    uint32_t *ghost;  /* names that left the small queue; 0: free */
    uint32_t room;    /* entries */
    uint32_t frames;  /* entries that have a frame */
    uint32_t mask;    /* of bucket[] and ghost[] */
    uint32_t free;    /* index + 1 of the first unused entry */
    uint32_t lent;    /* frames given out by cache_frame_take */
    struct cache_queue small, main;
    struct cache_disk *disk;
    struct cache_waiter *woken;   /* about to be woken by cache_done */
    struct cache_waiter *starved; /* for a frame, or for room at the disk */
    struct cache_waiter **starved_end;
    bool (*grow)(struct cache *c); /* cache_add more; false: no more. Tried
                                      before anything is evicted; optional */
    bool (*pressure)(void *ctx); /* release some holds; false: there are none */
    void *ctx;
    bool in_pressure, feeding;
    bool told; /* reads were started since the last kick */
    struct cache_stats stats;
};

/* Memory for the tables of a cache of `frames`, in bytes. */
size_t cache_size(uint32_t frames);

/* `mem`: cache_size(frames) zeroed bytes, aligned to 64. */
void cache_init(struct cache *c, void *mem, uint32_t frames,
                struct cache_disk *disk);

/* Give `count` contiguous frames; more than the room are ignored. */
void cache_add(struct cache *c, void *va, uint64_t paddr, uint32_t count);

/*
 * Ask for a block. If it is not at hand it is read, with up to `ahead`
 * following ones, and `w` is woken when to look again.
 *
 * w  not waiting
 *
 * Returns the block, or NULL with `w` waiting.
 */
struct cache_block *cache_get(struct cache *c, uint32_t block, uint32_t ahead,
                              struct cache_waiter *w);

/* The block if it is at hand. */
struct cache_block *cache_peek(struct cache *c, uint32_t block);

/* Read ahead: those of `count` blocks that are missing, one request at most,
   and nothing if that would take pressure. */
void cache_ahead(struct cache *c, uint32_t block, uint32_t count);

/* Stop waiting; no effect if it does not wait. */
void cache_cancel(struct cache *c, struct cache_waiter *w);

/* A read is complete. status: 0 or negative. Not from within disk->read. */
void cache_done(struct cache *c, uint64_t cookie, int status);

/* Tell the disk what was asked since the last call. */
void cache_kick(struct cache *c);

/* Count a use: blocks used again since they were read are worth keeping. */
static inline void cache_use(struct cache_block *b)
{
    b->uses += b->uses < CACHE_USES_MAX;
}

/* Claims; only for a block that is at hand. A hold is a use. */
static inline void cache_hold(struct cache_block *b)
{
    b->holds++;
    cache_use(b);
}
void cache_release(struct cache *c, struct cache_block *b);
static inline void cache_pin(struct cache_block *b)
{
    b->pins++;
}
void cache_unpin(struct cache *c, struct cache_block *b);

/* Borrow a frame for other bytes that the device reads; NULL: none now. */
struct cache_block *cache_frame_take(struct cache *c);
void cache_frame_return(struct cache *c, struct cache_block *b);

/* Whether all invariants hold; for tests and assertions. Linear time. */
bool cache_ok(const struct cache *c);
