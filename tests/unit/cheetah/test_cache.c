/* SPDX-License-Identifier: MIT */
/*
 * The file cache against a disk that answers in any order, fails now and then
 * and is full at times: right bytes, kept promises, nobody left waiting.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/server/cache.h"

#ifdef NDEBUG
#error "tests need assert"
#endif

/* ck_assert writes a message each time; inner loops cannot afford that. */
#define EXPECT(x)                                                              \
    do {                                                                       \
        if (!(x)) {                                                            \
            ck_abort_msg("%s", #x);                                            \
        }                                                                      \
    } while (0)

#define FRAMES 96u
#define PENDING 8

struct read {
    uint32_t block, count;
    uint64_t paddr[CACHE_READ_MAX], cookie;
};

struct disk {
    struct cache_disk disk; /* first */
    struct read pending[PENDING];
    unsigned count, kicks;
    unsigned fail_percent;
};

static uint8_t *memory;
static struct disk disk;
static struct cache cache;
static void *tables;
static unsigned seed;

static int disk_read(struct cache_disk *d, uint32_t block, uint32_t count,
                     const uint64_t *paddr, uint64_t cookie)
{
    struct disk *k = (struct disk *)(void *)d;
    EXPECT(count >= 1 && count <= CACHE_READ_MAX);
    if (k->count == PENDING) {
        return -1;
    }
    struct read *r = &k->pending[k->count++];
    *r = (struct read){.block = block, .count = count, .cookie = cookie};
    memcpy(r->paddr, paddr, count * sizeof(*paddr));
    return 0;
}

static void disk_kick(struct cache_disk *d)
{
    ((struct disk *)(void *)d)->kicks++;
}

/* Complete one pending read. */
static void disk_answer(unsigned i, bool fail)
{
    struct read r = disk.pending[i];
    disk.pending[i] = disk.pending[--disk.count];
    for (uint32_t k = 0; k < r.count; k++) {
        uint32_t *word = (uint32_t *)(void *)(memory + r.paddr[k]);
        for (size_t n = 0; n < CACHE_BLOCK / 4; n++) {
            word[n] = r.block + k;
        }
    }
    cache_done(&cache, r.cookie, fail ? -1 : 0);
}

static void set_up(uint32_t frames)
{
    memory = calloc(frames, CACHE_BLOCK);
    tables = calloc(1, cache_size(frames));
    disk = (struct disk){.disk = {.read = disk_read, .kick = disk_kick}};
    cache_init(&cache, tables, frames, &disk.disk);
    cache_add(&cache, memory, 0, frames / 2);
    cache_add(&cache, memory + frames / 2 * CACHE_BLOCK,
              (uint64_t)frames / 2 * CACHE_BLOCK, frames);
    ck_assert_uint_eq(cache.frames, frames);
    seed = 1;
}

static void tear_down(void)
{
    free(memory);
    free(tables);
}

struct reader {
    struct cache_waiter w; /* first */
    int wakes, status;
};

static void woken(struct cache_waiter *w, int status)
{
    struct reader *r = (struct reader *)(void *)w;
    r->wakes++;
    r->status = status;
}

static bool right(const struct cache_block *b, uint32_t block)
{
    const uint32_t *w = (const uint32_t *)(const void *)b->va;
    return b->block == block && w[0] == block && w[1023] == block;
}

static struct cache_block *must_get(uint32_t block)
{
    struct reader r = {.w.wake = woken};
    struct cache_block *b = cache_get(&cache, block, 0, &r.w);
    while (b == NULL) {
        while (disk.count != 0) {
            disk_answer(0, false);
        }
        EXPECT(r.wakes == 1);
        r.wakes = 0;
        b = cache_get(&cache, block, 0, &r.w);
    }
    EXPECT(right(b, block));
    return b;
}

START_TEST(reads_once_for_many)
{
    set_up(FRAMES);
    struct reader r[5];
    for (int i = 0; i < 5; i++) {
        r[i] = (struct reader){.w.wake = woken};
        ck_assert_ptr_null(cache_get(&cache, 7, 3, &r[i].w));
    }
    ck_assert_uint_eq(disk.count, 1);
    ck_assert_uint_eq(disk.pending[0].count, 4);
    cache_cancel(&cache, &r[2].w);
    cache_kick(&cache);
    cache_kick(&cache);
    ck_assert_uint_eq(disk.kicks, 1);
    disk_answer(0, false);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(r[i].wakes, i != 2);
    }
    for (uint32_t b = 7; b <= 10; b++) {
        ck_assert(right(cache_peek(&cache, b), b));
    }
    ck_assert_ptr_null(cache_peek(&cache, 11));
    tear_down();
}
END_TEST

START_TEST(failure_reaches_the_waiter)
{
    struct reader r = {.w.wake = woken};
    set_up(FRAMES);
    ck_assert_ptr_null(cache_get(&cache, 7, 3, &r.w));
    disk_answer(0, true);
    ck_assert_int_eq(r.status, -1);
    ck_assert_ptr_null(cache_peek(&cache, 7));
    ck_assert(cache_ok(&cache));
    must_get(7);
    ck_assert_uint_eq(cache.stats.read_errors, 1);
    tear_down();
}
END_TEST

START_TEST(claims_are_kept)
{
    set_up(FRAMES);
    struct cache_block *pinned = must_get(1), *held = must_get(2);
    cache_pin(pinned);
    cache_hold(held);
    for (uint32_t i = 10; i < 2000; i++) {
        must_get(i);
        EXPECT(right(pinned, 1) && right(held, 2));
    }
    ck_assert(cache_ok(&cache));
    cache_unpin(&cache, pinned);
    cache_release(&cache, held);
    tear_down();
}
END_TEST

static struct cache_block *all_held[FRAMES];
static unsigned pressed;

static bool give_one_back(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < FRAMES; i++) {
        if (all_held[i] != NULL) {
            cache_release(&cache, all_held[i]);
            all_held[i] = NULL;
            pressed++;
            return true;
        }
    }
    return false;
}

START_TEST(pressure_asks_for_holds)
{
    set_up(FRAMES);
    cache.pressure = give_one_back;
    for (uint32_t i = 0; i < FRAMES; i++) {
        all_held[i] = must_get(100 + i);
        cache_hold(all_held[i]);
    }
    ck_assert_uint_eq(pressed, 0);
    must_get(5000);
    ck_assert_uint_eq(pressed, 1);
    /* Read-ahead is not worth anybody's holds. */
    uint64_t reads = cache.stats.reads;
    cache_ahead(&cache, 6000, 14);
    ck_assert_uint_le(cache.stats.reads - reads, 1);
    ck_assert_uint_eq(pressed, 1);
    ck_assert(cache_ok(&cache));
    tear_down();
}
END_TEST

START_TEST(starved_are_fed)
{
    set_up(FRAMES);
    struct cache_block *b[FRAMES];
    for (uint32_t i = 0; i < FRAMES; i++) {
        b[i] = must_get(100 + i);
        cache_pin(b[i]);
    }
    ck_assert_ptr_null(cache_frame_take(&cache));
    struct reader r[3];
    for (uint32_t i = 0; i < 3; i++) {
        r[i] = (struct reader){.w.wake = woken};
        ck_assert_ptr_null(cache_get(&cache, 500 + i, 9, &r[i].w));
    }
    ck_assert_uint_eq(disk.count, 0);
    cache_cancel(&cache, &r[2].w);
    cache_cancel(&cache, &r[0].w);
    struct reader again = {.w.wake = woken};
    ck_assert_ptr_null(cache_get(&cache, 900, 0, &again.w));
    cache_unpin(&cache, b[0]);
    ck_assert_int_eq(r[0].wakes, 0);
    ck_assert_int_eq(r[1].wakes, 1);
    ck_assert_int_eq(again.wakes, 1);
    ck_assert_int_eq(r[2].wakes, 0);
    ck_assert(cache_ok(&cache));
    tear_down();
}
END_TEST

/* Popular blocks survive a scan of many blocks that are used once. */
START_TEST(scan_resistant)
{
    set_up(FRAMES);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 40; i++) {
            cache_use(must_get(10 + i));
        }
    }
    for (uint32_t i = 0; i < 5000; i++) {
        cache_use(must_get(1000 + i));
    }
    unsigned kept = 0;
    for (uint32_t i = 0; i < 40; i++) {
        kept += cache_peek(&cache, 10 + i) != NULL;
    }
    ck_assert_uint_ge(kept, 36);
    tear_down();
}
END_TEST

#define READERS 40

struct actor {
    struct reader r; /* first */
    uint32_t want;
    struct cache_block *held, *pinned, *frame;
};

static struct actor actor[READERS];

static bool release_any(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < READERS; i++) {
        if (actor[i].held != NULL) {
            cache_release(&cache, actor[i].held);
            actor[i].held = NULL;
            return true;
        }
    }
    return false;
}

static void try_get(struct actor *a)
{
    struct cache_block *b =
        cache_get(&cache, a->want, (unsigned)rand_r(&seed) % 20, &a->r.w);
    if (b == NULL) {
        return;
    }
    EXPECT(right(b, a->want));
    a->want = 0;
    if (rand_r(&seed) % 2 != 0 && a->held == NULL) {
        a->held = b;
        cache_hold(b);
    } else if (a->pinned == NULL) {
        a->pinned = b;
        cache_pin(b);
    }
}

static void actor_woken(struct cache_waiter *w, int status)
{
    struct actor *a = (struct actor *)(void *)w;
    if (status < 0) {
        a->want = 0;
    } else {
        try_get(a); /* from within, as connections do */
    }
}

static void act(struct actor *a)
{
    switch (rand_r(&seed) % 8) {
    case 0:
        if (a->held != NULL) {
            struct cache_block *b = a->held;
            a->held = NULL;
            cache_release(&cache, b);
        }
        break;
    case 1:
    case 2:
        if (a->pinned != NULL) {
            struct cache_block *b = a->pinned;
            a->pinned = NULL;
            cache_unpin(&cache, b);
        }
        break;
    case 3:
        if (a->frame != NULL) {
            struct cache_block *b = a->frame;
            a->frame = NULL;
            cache_frame_return(&cache, b);
        } else if (rand_r(&seed) % 4 == 0) {
            a->frame = cache_frame_take(&cache);
        }
        break;
    case 4:
        if (rand_r(&seed) % 4 == 0) {
            cache_cancel(&cache, &a->r.w);
            a->want = 0;
        }
        break;
    default:
        if (!a->r.w.waiting) {
            a->want = 1 + (unsigned)rand_r(&seed) % 400;
            try_get(a);
        }
    }
}

START_TEST(random_walk)
{
    set_up(64);
    cache.pressure = release_any;
    seed = 12345;
    for (int i = 0; i < READERS; i++) {
        actor[i] = (struct actor){.r.w.wake = actor_woken};
    }
    for (int step = 0; step < 60000; step++) {
        act(&actor[rand_r(&seed) % READERS]);
        if (disk.count != 0 && rand_r(&seed) % 3 == 0) {
            disk_answer((unsigned)rand_r(&seed) % disk.count,
                        rand_r(&seed) % 20 == 0);
        }
        if (step % 16 == 0) {
            EXPECT(cache_ok(&cache));
        }
        for (int i = 0; i < READERS; i++) {
            struct actor *a = &actor[i];
            EXPECT(a->pinned == NULL || right(a->pinned, a->pinned->block));
            EXPECT(a->held == NULL || right(a->held, a->held->block));
        }
    }
    /* Let everything go: then everybody must be served. */
    for (int turn = 0; turn < 200; turn++) {
        for (int i = 0; i < READERS; i++) {
            struct actor *a = &actor[i];
            struct cache_block *p = a->pinned, *f = a->frame;
            a->pinned = NULL;
            a->frame = NULL;
            if (p != NULL) {
                cache_unpin(&cache, p);
            }
            if (f != NULL) {
                cache_frame_return(&cache, f);
            }
        }
        while (disk.count != 0) {
            disk_answer(0, false);
        }
    }
    for (int i = 0; i < READERS; i++) {
        ck_assert(!actor[i].r.w.waiting);
    }
    ck_assert(cache_ok(&cache));
    ck_assert_uint_gt(cache.stats.pressure, 0);
    ck_assert_uint_gt(cache.stats.starved, 0);
    ck_assert_uint_gt(cache.stats.returns, 0);
    tear_down();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("cache");
    tcase_add_test(t, reads_once_for_many);
    tcase_add_test(t, failure_reaches_the_waiter);
    tcase_add_test(t, claims_are_kept);
    tcase_add_test(t, pressure_asks_for_holds);
    tcase_add_test(t, starved_are_fed);
    tcase_add_test(t, scan_resistant);
    tcase_add_test(t, random_walk);
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
