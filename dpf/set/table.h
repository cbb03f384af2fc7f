/* SPDX-License-Identifier: MIT */
/*
 * A bucketed hash table from fixed-size keys to binding ids, made for
 * lookups on other processors while one writer changes it.
 *
 *   bucket:  entry entry entry entry      4 entries, side by side
 *   entry:   8-byte words, 4-byte words of the key, then the id
 *
 * A lookup hashes, compares all four keys of one bucket and selects the id
 * that fits, without branching. A bucket that was full when one more came
 * gives up its last entry: that one's id says TABLE_NEXT, and a lookup that
 * finds nothing else goes on in the following bucket.
 *
 * No two entries of a chain have one key: entries without a key hold a
 * random one that is in no use (if it comes into use the table is replaced),
 * and a key that was removed is bound again in its old entry. Only an entry
 * that says TABLE_NEXT keeps the key it had: the others of its bucket go
 * before it.
 *
 * Concurrency. A key is written while its entry's id is DPF_NO_OWNER; the
 * store of the id publishes it. The entry of a removed key is not used again
 * before the embedder has declared a quiescent point (table_reclaim), so
 * that no lookup can compare one key and take another's id.
 */
#pragma once

#include "dpf/tree/retire.h"

#define TABLE_WAYS 4u
#define TABLE_NEXT (DPF_NO_OWNER - 1u) /* ids are below */
#define TABLE_NONE UINT32_MAX
#define TABLE_WORDS_MAX 16u
#define TABLE_KEY_MAX (8u * TABLE_WORDS_MAX)

struct table {
    struct retired retired;
    uint8_t *slots; /* on a cache line */
    uint8_t *state; /* writer's: per slot, 0 free, 1 used, 2 and 3 waiting */
    uint64_t seed[2];
    uint64_t buckets; /* that a key may hash to; those of chains follow */
    uint32_t chain;   /* buckets that a key may lie in, from its own on */
    uint32_t entry;   /* bytes */
    uint32_t n8, n4;  /* words of the key */
    uint32_t room;    /* keys, used and waiting, before it is crowded */
    uint32_t used, waiting;
    uint64_t waits[2]; /* version after which states 2 and 3 are free */
};

/*
 * A table that holds `room` keys of one word at least before it must be
 * replaced. NULL: memory.
 */
struct table *table_create(struct heap *h, uint32_t n8, uint32_t n4,
                           uint32_t room);
void table_destroy(struct heap *h, struct table *t);

/* Should a larger one replace it before one more key is added? */
bool table_crowded(const struct table *t);

/* Slots, those behind the last bucket that keys hash to included. */
static inline uint32_t table_slots(const struct table *t)
{
    return ((uint32_t)t->buckets + t->chain - 1) * TABLE_WAYS;
}

static inline uint32_t table_key_bytes(const struct table *t)
{
    return t->entry - 4;
}

/*
 * The id bound to `key`, or DPF_NO_OWNER. Any processor.
 */
uint32_t table_match(const struct table *t, const uint8_t *key);

/* The slot of `key`, or TABLE_NONE. Writer only, as all below. */
uint32_t table_find(const struct table *t, const uint8_t *key);

static inline const uint8_t *table_key(const struct table *t, uint32_t slot)
{
    return t->slots + (size_t)slot * t->entry;
}

/* The id in `slot`, or DPF_NO_OWNER, or TABLE_NEXT. */
uint32_t table_id(const struct table *t, uint32_t slot);

/* Is told of each entry that changes its slot. */
struct table_watch {
    void (*moved)(void *ctx, uint32_t id, uint32_t from, uint32_t to);
    void *ctx;
};

/*
 * Add a key that is not there; `watch` may be NULL. Returns the slot, or
 * TABLE_NONE if the table must be replaced.
 */
uint32_t table_add(struct table *t, const uint8_t *key, uint32_t id,
                   const struct table_watch *watch);

/* Remove; lookups of versions below `version` may still see it. */
void table_remove(struct table *t, uint32_t slot, uint64_t version);

/* No lookup of a version below `version` is running any more. */
void table_reclaim(struct table *t, uint64_t version);
