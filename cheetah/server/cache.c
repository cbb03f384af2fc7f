/* SPDX-License-Identifier: MIT */
/*
 * The file cache; see cache.h. Invariants, checked by cache_ok:
 *
 *   every frame is in exactly one place: free, lent, or in one of two queues;
 *   READING and VALID blocks are in the hash, each number once; DEAD ones (a
 *   failed read) are in a queue and not in the hash;
 *   nothing that is pinned, held or being read leaves its queue.
 */
#include "cheetah/server/cache.h"

#define SMALL_PERCENT 10u

static uint32_t round_up_pow2(uint32_t n)
{
    uint32_t p = 64;
    while (p < n) {
        p *= 2;
    }
    return p;
}

size_t cache_size(uint32_t frames)
{
    return frames * sizeof(struct cache_block) +
           2 * sizeof(uint32_t) * round_up_pow2(frames);
}

void cache_init(struct cache *c, void *mem, uint32_t frames,
                struct cache_disk *disk)
{
    uint32_t slots = round_up_pow2(frames);
    *c = (struct cache){.disk = disk, .room = frames, .mask = slots - 1};
    c->entry = mem;
    c->bucket = (uint32_t *)(void *)(c->entry + frames);
    c->ghost = c->bucket + slots;
    c->starved_end = &c->starved;
}

void cache_add(struct cache *c, void *va, uint64_t paddr, uint32_t count)
{
    for (uint32_t i = 0; i < count && c->frames < c->room; i++) {
        struct cache_block *b = &c->entry[c->frames++];
        b->va = (uint8_t *)va + (size_t)i * CACHE_BLOCK;
        b->paddr = paddr + (uint64_t)i * CACHE_BLOCK;
        b->queue_next = c->free;
        c->free = c->frames;
    }
}

static uint32_t index_of(const struct cache *c, const struct cache_block *b)
{
    return (uint32_t)(b - c->entry) + 1;
}

static uint32_t slot_of(const struct cache *c, uint32_t block)
{
    return (block * 0x9e3779b1u >> 7) & c->mask;
}

/* -------------------------------------------------------------------- hash */

static struct cache_block *find(const struct cache *c, uint32_t block)
{
    uint32_t i = c->bucket[slot_of(c, block)];
    while (i != 0 && c->entry[i - 1].block != block) {
        i = c->entry[i - 1].hash_next;
    }
    return i != 0 ? &c->entry[i - 1] : NULL;
}

static void hash_insert(struct cache *c, struct cache_block *b)
{
    uint32_t *head = &c->bucket[slot_of(c, b->block)];
    b->hash_next = *head;
    *head = index_of(c, b);
}

static void hash_remove(struct cache *c, struct cache_block *b)
{
    uint32_t *link = &c->bucket[slot_of(c, b->block)], me = index_of(c, b);
    while (*link != me) {
        link = &c->entry[*link - 1].hash_next;
    }
    *link = b->hash_next;
}

/* ------------------------------------------------------------------ queues */

static void push(struct cache *c, struct cache_queue *q, struct cache_block *b)
{
    uint32_t i = index_of(c, b);
    b->queue_next = 0;
    b->main = q == &c->main;
    if (q->head != 0) {
        c->entry[q->head - 1].queue_next = i;
    } else {
        q->tail = i;
    }
    q->head = i;
    q->count++;
}

static struct cache_block *pop(struct cache *c, struct cache_queue *q)
{
    struct cache_block *b = &c->entry[q->tail - 1];
    q->tail = b->queue_next;
    if (q->tail == 0) {
        q->head = 0;
    }
    q->count--;
    return b;
}

static bool busy(const struct cache_block *b)
{
    return b->pins != 0 || b->holds != 0 || b->state == CACHE_READING;
}

/* A direct-mapped memory of names: a collision forgets one, no more. */
static void remember(struct cache *c, uint32_t block)
{
    c->ghost[slot_of(c, block)] = block;
}

static bool remembered(struct cache *c, uint32_t block)
{
    uint32_t *g = &c->ghost[slot_of(c, block)];
    if (*g != block) {
        return false;
    }
    *g = 0;
    return true;
}

/* Look at the oldest of a queue: NULL if it moved on instead of leaving. */
static struct cache_block *consider(struct cache *c, struct cache_queue *q)
{
    struct cache_block *b = pop(c, q);
    if (b->state == CACHE_DEAD && b->pins == 0 && b->holds == 0) {
        return b;
    }
    if (busy(b)) {
        push(c, q, b);
    } else if (q == &c->small && b->uses > 1) {
        b->uses = 0;
        push(c, &c->main, b);
    } else if (q == &c->main && b->uses > 0) {
        b->uses--;
        push(c, &c->main, b);
    } else {
        if (q == &c->small) {
            remember(c, b->block);
        }
        return b;
    }
    return NULL;
}

/*
 * Search one queue. Bounded: the main queue is turned over at most once for
 * each use a block may have, and not again after a turn of busy blocks.
 */
static struct cache_block *search(struct cache *c, struct cache_queue *q)
{
    uint32_t steps = q->count * (CACHE_USES_MAX + 1), stuck = 0;
    for (; steps > 0 && q->count != 0 && stuck < q->count; steps--) {
        stuck = busy(&c->entry[q->tail - 1]) ? stuck + 1 : 0;
        struct cache_block *b = consider(c, q);
        if (b != NULL) {
            return b;
        }
    }
    return NULL;
}

static struct cache_block *evict(struct cache *c)
{
    bool small = c->small.count > c->frames * SMALL_PERCENT / 100;
    struct cache_block *b = search(c, small ? &c->small : &c->main);
    if (b == NULL) {
        b = search(c, small ? &c->main : &c->small);
    }
    if (b != NULL) {
        if (b->state == CACHE_VALID) {
            hash_remove(c, b);
            c->stats.evictions++;
        }
        b->state = CACHE_FREE;
    }
    return b;
}

/* A frame for a new block; with `press`, at the cost of somebody's holds. */
static struct cache_block *room(struct cache *c, bool press)
{
    if (c->free == 0 && c->frames < c->room && c->grow != NULL && !c->grow(c)) {
        c->room = c->frames;
    }
    if (c->free != 0) {
        struct cache_block *b = &c->entry[c->free - 1];
        c->free = b->queue_next;
        return b;
    }
    struct cache_block *b = evict(c);
    while (b == NULL && press && !c->in_pressure && c->pressure != NULL) {
        /* The owner releases holds from within; it must not come back here. */
        c->in_pressure = true;
        bool more = c->pressure(c->ctx);
        c->in_pressure = false;
        if (!more) {
            break;
        }
        c->stats.pressure++;
        b = evict(c);
    }
    return b;
}

static void put_free(struct cache *c, struct cache_block *b)
{
    b->state = CACHE_FREE;
    b->queue_next = c->free;
    c->free = index_of(c, b);
}

/* ----------------------------------------------------------------- reading */

/*
 * Read up to `count` missing blocks from `block`, which is missing. All frames
 * are found first; then the read is started; then the blocks enter the cache.
 */
static bool start_read(struct cache *c, uint32_t block, uint32_t count,
                       bool press)
{
    uint32_t n = 0;
    count = count < CACHE_READ_MAX ? count : CACHE_READ_MAX;
    uint64_t paddr[CACHE_READ_MAX];
    struct cache_block *b[CACHE_READ_MAX];
    while (n < count && (n == 0 || find(c, block + n) == NULL)) {
        b[n] = room(c, press && n == 0);
        if (b[n] == NULL) {
            break;
        }
        paddr[n] = b[n]->paddr;
        n++;
    }
    if (n == 0 || c->disk->read(c->disk, block, n, paddr, index_of(c, b[0]))) {
        while (n > 0) {
            put_free(c, b[--n]);
        }
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        b[i]->block = block + i;
        b[i]->state = CACHE_READING;
        b[i]->uses = 0;
        b[i]->judged = false;
        b[i]->read_next = i + 1 < n ? index_of(c, b[i + 1]) : 0;
        hash_insert(c, b[i]);
        bool back = remembered(c, block + i);
        c->stats.returns += back;
        push(c, back ? &c->main : &c->small, b[i]);
    }
    c->stats.reads++;
    c->stats.blocks_read += n;
    c->told = true;
    return true;
}

static void starve(struct cache *c, struct cache_waiter *w)
{
    c->stats.starved++;
    w->next = NULL;
    *c->starved_end = w;
    c->starved_end = &w->next;
}

struct cache_block *cache_get(struct cache *c, uint32_t block, uint32_t ahead,
                              struct cache_waiter *w)
{
    struct cache_block *b = find(c, block);
    if (b != NULL && b->state == CACHE_VALID) {
        c->stats.hits++;
        return b;
    }
    w->block = block;
    w->waiting = true;
    if (b == NULL) {
        c->stats.misses++;
        if (!start_read(c, block, 1 + ahead, true)) {
            starve(c, w);
            return NULL;
        }
        b = find(c, block);
    }
    w->next = b->waiters;
    b->waiters = w;
    return NULL;
}

struct cache_block *cache_peek(struct cache *c, uint32_t block)
{
    struct cache_block *b = find(c, block);
    return b != NULL && b->state == CACHE_VALID ? b : NULL;
}

void cache_ahead(struct cache *c, uint32_t block, uint32_t count)
{
    while (count > 0 && find(c, block) != NULL) {
        block++;
        count--;
    }
    if (count > 0) {
        start_read(c, block, count, false);
    }
}

static bool unlink_waiter(struct cache_waiter **list, struct cache_waiter *w)
{
    for (; *list != NULL; list = &(*list)->next) {
        if (*list == w) {
            *list = w->next;
            return true;
        }
    }
    return false;
}

void cache_cancel(struct cache *c, struct cache_waiter *w)
{
    if (!w->waiting) {
        return;
    }
    struct cache_block *b = find(c, w->block);
    w->waiting = false;
    if ((b != NULL && unlink_waiter(&b->waiters, w)) ||
        unlink_waiter(&c->woken, w)) {
        return;
    }
    if (c->starved_end == &w->next) {
        /* The last one: its predecessor becomes the end. */
        c->starved_end = &c->starved;
        while (*c->starved_end != w) {
            c->starved_end = &(*c->starved_end)->next;
        }
        *c->starved_end = NULL;
    } else {
        unlink_waiter(&c->starved, w);
    }
}

/*
 * Something became available: let those who starved try again, in turn, until
 * one of them finds nothing. `feeding` stops recursion through what they do.
 */
static void feed(struct cache *c)
{
    if (c->feeding || c->in_pressure) {
        return;
    }
    c->feeding = true;
    uint64_t before = c->stats.starved;
    while (c->starved != NULL && c->stats.starved == before) {
        struct cache_waiter *w = c->starved;
        c->starved = w->next;
        if (c->starved == NULL) {
            c->starved_end = &c->starved;
        }
        w->waiting = false;
        w->wake(w, 0);
    }
    c->feeding = false;
}

/* Move the waiters of one block to the list of those to be woken. */
static void collect(struct cache *c, struct cache_block *b)
{
    while (b->waiters != NULL) {
        struct cache_waiter *w = b->waiters;
        b->waiters = w->next;
        w->next = c->woken;
        c->woken = w;
    }
}

void cache_done(struct cache *c, uint64_t cookie, int status)
{
    uint32_t i = (uint32_t)cookie;
    c->stats.read_errors += status < 0;
    while (i != 0) {
        struct cache_block *b = &c->entry[i - 1];
        i = b->read_next;
        b->state = CACHE_VALID;
        if (status < 0) {
            hash_remove(c, b);
            b->state = CACHE_DEAD;
        }
        collect(c, b);
    }
    /* Whoever is woken may evict what was read, so no block is looked at. */
    while (c->woken != NULL) {
        struct cache_waiter *w = c->woken;
        c->woken = w->next;
        w->waiting = false;
        w->wake(w, status);
    }
    feed(c);
}

void cache_kick(struct cache *c)
{
    if (c->told) {
        c->told = false;
        if (c->disk->kick != NULL) {
            c->disk->kick(c->disk);
        }
    }
}

/* ------------------------------------------------------------------ claims */

static void freed(struct cache *c, const struct cache_block *b)
{
    if (b->pins == 0 && b->holds == 0 && c->starved != NULL) {
        feed(c);
    }
}

void cache_release(struct cache *c, struct cache_block *b)
{
    b->holds--;
    freed(c, b);
}

void cache_unpin(struct cache *c, struct cache_block *b)
{
    b->pins--;
    freed(c, b);
}

struct cache_block *cache_frame_take(struct cache *c)
{
    struct cache_block *b = room(c, true);
    if (b != NULL) {
        c->lent++;
    }
    return b;
}

void cache_frame_return(struct cache *c, struct cache_block *b)
{
    c->lent--;
    put_free(c, b);
    feed(c);
}

/* -------------------------------------------------------------- invariants */

static bool queue_ok(const struct cache *c, const struct cache_queue *q)
{
    uint32_t n = 0, last = 0;
    for (uint32_t i = q->tail; i != 0; i = c->entry[i - 1].queue_next) {
        const struct cache_block *b = &c->entry[i - 1];
        bool hashed = b->state == CACHE_READING || b->state == CACHE_VALID;
        if (++n > c->frames || b->main != (q == &c->main) ||
            b->state == CACHE_FREE || hashed != (find(c, b->block) == b)) {
            return false;
        }
        last = i;
    }
    return n == q->count && last == q->head;
}

bool cache_ok(const struct cache *c)
{
    uint32_t n = 0;
    for (uint32_t i = c->free; i != 0; i = c->entry[i - 1].queue_next) {
        const struct cache_block *b = &c->entry[i - 1];
        if (++n > c->frames || b->state != CACHE_FREE || b->pins != 0 ||
            b->holds != 0) {
            return false;
        }
    }
    return queue_ok(c, &c->small) && queue_ok(c, &c->main) &&
           n + c->small.count + c->main.count + c->lent == c->frames;
}
