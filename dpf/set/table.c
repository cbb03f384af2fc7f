/* SPDX-License-Identifier: MIT */
/*
 * Tables of keys. The seed makes which keys meet in a bucket unpredictable to
 * those who choose keys; it need not be a secret of any strength, because a
 * long chain only makes the table grow.
 */
#include "dpf/set/table.h"

#define LINE 64u
#define SPARSE 1024u /* keys; up to here memory is spent on speed */
#define CHAIN_SPARSE 4u
#define CHAIN_DENSE 16u

enum { FREE, USED, WAITING };
#define ANY_WAITING 0xaau /* a bucket's states, one byte: WAITING or more */

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t word(const struct table *t, const uint8_t *key, uint32_t i)
{
    uint64_t w = 0;
    if (i < t->n8) {
        __builtin_memcpy(&w, key + 8 * i, 8);
    } else {
        __builtin_memcpy(&w, key + 8 * t->n8 + 4 * (i - t->n8), 4);
    }
    return w;
}

/* demux.c emits the same steps. */
static uint32_t bucket_of(const struct table *t, const uint8_t *key)
{
    uint32_t n = t->n8 + t->n4;
    uint64_t h = t->seed[0];
    for (uint32_t i = 0; i < n; i += 2) {
        h = mix(h ^ word(t, key, i),
                t->seed[1] ^ (i + 1 < n ? word(t, key, i + 1) : 0));
    }
    return (uint32_t)((unsigned __int128)h * t->buckets >> 64);
}

static size_t table_bytes(const struct table *t)
{
    /* The state takes 2 bits for each slot. */
    return sizeof(*t) + LINE + (size_t)table_slots(t) * t->entry +
           table_slots(t) / 4;
}

/* The key of entries that have none. */
static void filler(const struct table *t, uint8_t *key)
{
    for (uint32_t i = 0; i < table_key_bytes(t); i += 4) {
        uint64_t h = mix(t->seed[0] + i, t->seed[1]);
        __builtin_memcpy(key + i, &h, 4);
    }
}

static void destroy(struct heap *h, struct retired *r)
{
    table_destroy(h, (struct table *)(void *)r);
}

void table_destroy(struct heap *h, struct table *t)
{
    if (t != NULL) {
        heap_free(h, t, table_bytes(t));
    }
}

struct table *table_create(struct heap *h, uint32_t n8, uint32_t n4,
                           uint32_t room)
{
    struct table shape = {.n8 = n8, .n4 = n4, .entry = 8 * n8 + 4 * n4 + 4};

    /*
     * 4 entries in 9 are in use when `room` keys are in: one bucket in thirty
     * overflows. While small, tables are emptier: one in three hundred does.
     */
    shape.buckets = room < SPARSE ? room + 1 : (room / 16) * 9 + SPARSE / 2;
    shape.chain = room < SPARSE ? CHAIN_SPARSE : CHAIN_DENSE;
    struct table *t = heap_alloc(h, table_bytes(&shape));
    if (t == NULL) {
        return NULL;
    }
    *t = shape;
    t->retired.destroy = destroy;
    t->room = room;
    uintptr_t at = ((uintptr_t)(t + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1);
    t->slots = (uint8_t *)at;
    t->state = t->slots + (size_t)table_slots(t) * t->entry;
    __builtin_memset(t->state, 0, table_slots(t) / 4);
    t->seed[0] = mix((uint64_t)at, 0x9e3779b97f4a7c15u);
    t->seed[1] = mix((uint64_t)at + t->buckets, 0xd6e8feb86659fd93u) | 1;
    uint8_t key[TABLE_KEY_MAX];
    filler(t, key);
    for (uint32_t i = 0; i < table_slots(t); i++) {
        uint32_t none = DPF_NO_OWNER;
        heap_pass(h, 1);
        __builtin_memcpy(t->slots + (size_t)i * t->entry, key,
                         table_key_bytes(t));
        __builtin_memcpy(t->slots + (size_t)(i + 1) * t->entry - 4, &none, 4);
    }
    return t;
}

/* A slot holds a key, waits, or gave way to the next bucket. */
static uint32_t state(const struct table *t, uint32_t slot)
{
    return t->state[slot / 4] >> 2 * (slot % 4) & 3;
}

static void set_state(struct table *t, uint32_t slot, uint32_t s)
{
    uint8_t *b = &t->state[slot / 4];
    *b = (uint8_t)((*b & ~(3u << 2 * (slot % 4))) | s << 2 * (slot % 4));
}

static uint32_t *id_at(const struct table *t, uint32_t slot)
{
    return (uint32_t *)(void *)(t->slots + (size_t)(slot + 1) * t->entry - 4);
}

uint32_t table_id(const struct table *t, uint32_t slot)
{
    return __atomic_load_n(id_at(t, slot), __ATOMIC_ACQUIRE);
}

bool table_crowded(const struct table *t)
{
    return t->used + t->waiting >= t->room;
}

/* The slot with `key` from its bucket on, or TABLE_NONE; *id what is there. */
static uint32_t probe(const struct table *t, const uint8_t *key, uint32_t *id)
{
    uint32_t b = bucket_of(t, key), bytes = table_key_bytes(t);
    for (uint32_t n = 0; n < t->chain; n++, b++) {
        uint32_t slot = 0;
        for (uint32_t w = 0; w < TABLE_WAYS; w++) {
            slot = b * TABLE_WAYS + w;
            *id = table_id(t, slot);
            if (*id < TABLE_NEXT &&
                !__builtin_memcmp(table_key(t, slot), key, bytes)) {
                return slot;
            }
        }
        if (*id != TABLE_NEXT) {
            break;
        }
    }
    *id = DPF_NO_OWNER;
    return TABLE_NONE;
}

uint32_t table_match(const struct table *t, const uint8_t *key)
{
    uint32_t id;
    probe(t, key, &id);
    return id;
}

uint32_t table_find(const struct table *t, const uint8_t *key)
{
    uint32_t id;
    return probe(t, key, &id);
}

static void put(struct table *t, uint32_t slot, const uint8_t *key, uint32_t id)
{
    __builtin_memcpy(t->slots + (size_t)slot * t->entry, key,
                     table_key_bytes(t));
    set_state(t, slot, USED);
    __atomic_store_n(id_at(t, slot), id, __ATOMIC_RELEASE);
}

/* The removed entry of `key`, if it still waits in its chain. */
static uint32_t waiting_entry(const struct table *t, const uint8_t *key)
{
    uint32_t b = bucket_of(t, key);
    for (uint32_t n = 0; t->waiting && n < t->chain; n++, b++) {
        uint32_t last = b * TABLE_WAYS + TABLE_WAYS - 1;
        for (uint32_t slot = b * TABLE_WAYS; slot <= last; slot++) {
            if (state(t, slot) >= WAITING &&
                !__builtin_memcmp(table_key(t, slot), key,
                                  table_key_bytes(t))) {
                return slot;
            }
        }
        if (table_id(t, last) != TABLE_NEXT) {
            break;
        }
    }
    return TABLE_NONE;
}

/* A free slot in bucket b, or TABLE_NONE. */
static uint32_t free_in(const struct table *t, uint32_t b)
{
    for (uint32_t w = 0; w < TABLE_WAYS; w++) {
        if (state(t, b * TABLE_WAYS + w) == FREE) {
            return b * TABLE_WAYS + w;
        }
    }
    return TABLE_NONE;
}

/*
 * Move the entry in slot `last`, the last of its bucket, to the free slot
 * `to` of a later one, and make it say TABLE_NEXT. False if the entry's own
 * chain does not reach that far.
 */
static bool divert(struct table *t, uint32_t last, uint32_t to,
                   const struct table_watch *w)
{
    uint32_t id = table_id(t, last), home = bucket_of(t, table_key(t, last));
    if (to / TABLE_WAYS - home >= t->chain) {
        return false;
    }
    put(t, to, table_key(t, last), id);
    __atomic_store_n(id_at(t, last), TABLE_NEXT, __ATOMIC_RELEASE);
    if (w != NULL) {
        w->moved(w->ctx, id, last, to);
    }
    return true;
}

/*
 * A free slot in the `chain` buckets from b on that a lookup which begins at
 * b comes to, or TABLE_NONE. Where it has to, it makes full buckets lead on.
 */
static uint32_t make_room(struct table *t, uint32_t b, uint32_t chain,
                          const struct table_watch *w)
{
    uint32_t slot = free_in(t, b), last = b * TABLE_WAYS + TABLE_WAYS - 1;
    if (slot != TABLE_NONE || chain == 1) {
        return slot;
    }
    if (table_id(t, last) != TABLE_NEXT) {
        /* One that waits may be seen by a lookup: it cannot lead on yet. */
        slot = state(t, last) == USED ? make_room(t, b + 1, chain - 1, w)
                                      : TABLE_NONE;
        if (slot == TABLE_NONE || !divert(t, last, slot, w)) {
            return TABLE_NONE;
        }
    }
    return make_room(t, b + 1, chain - 1, w);
}

uint32_t table_add(struct table *t, const uint8_t *key, uint32_t id,
                   const struct table_watch *watch)
{
    uint32_t slot = waiting_entry(t, key);
    uint8_t none[TABLE_KEY_MAX];
    filler(t, none);
    if (!__builtin_memcmp(key, none, table_key_bytes(t))) {
        return TABLE_NONE;
    }
    if (slot != TABLE_NONE) {
        t->waiting--;
    } else {
        slot = make_room(t, bucket_of(t, key), t->chain, watch);
        if (slot == TABLE_NONE) {
            return TABLE_NONE;
        }
    }
    put(t, slot, key, id);
    t->used++;
    return slot;
}

void table_remove(struct table *t, uint32_t slot, uint64_t version)
{
    /* The younger of the two waiting generations takes it. */
    uint32_t g = t->waits[0] && t->waits[0] < version ? 1 : 0;

    t->waits[g] = version;
    set_state(t, slot, WAITING + g);
    __atomic_store_n(id_at(t, slot), DPF_NO_OWNER, __ATOMIC_RELEASE);
    t->used--;
    t->waiting++;
}

static void release(struct table *t, uint32_t generation)
{
    uint8_t none[TABLE_KEY_MAX];
    filler(t, none);
    for (uint32_t b = 0; t->waiting && b < table_slots(t) / TABLE_WAYS; b++) {
        if (!(t->state[b] & ANY_WAITING)) {
            continue;
        }
        for (uint32_t i = b * TABLE_WAYS; i < (b + 1) * TABLE_WAYS; i++) {
            if (state(t, i) == generation) {
                __builtin_memcpy(t->slots + (size_t)i * t->entry, none,
                                 table_key_bytes(t));
                set_state(t, i, FREE);
                t->waiting--;
            }
        }
    }
}

void table_reclaim(struct table *t, uint64_t version)
{
    for (uint32_t g = 0; g < 2; g++) {
        if (t->waits[g] && t->waits[g] <= version) {
            release(t, WAITING + g);
            t->waits[g] = 0;
        }
    }
}
