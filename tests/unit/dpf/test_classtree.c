/* SPDX-License-Identifier: MIT */
/*
 * Class trees beside a list of the same items: a lookup visits every item
 * whose outline allows the packet, none twice, and few others; whatever comes
 * and goes, however little memory there is, and beside a writer.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "dpf/tree/classnode.h"
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 1200u
#define BYTES 64u

struct thing {
    struct ct_item item;
    bool in;
    uint32_t visits;
};

static struct dpf_mem mem;
static struct heap heap;
static struct classtree tree;
static struct thing things[ITEMS];
static uint64_t seed;
static uint32_t allocs_left; /* UINT32_MAX: no limit */

static uint32_t rnd(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed * 0x2545f4914f6cdd1du) >> 33) % below;
}

static void *few_alloc(void *ctx, size_t size)
{
    (void)ctx;
    if (allocs_left == 0) {
        return NULL;
    }
    allocs_left -= allocs_left != UINT32_MAX;
    return malloc(size);
}

static void few_free(void *ctx, void *p, size_t size)
{
    (void)ctx;
    (void)size;
    free(p);
}

static void reclaim(void)
{
    while (tree.gone != NULL) {
        struct retired *r = tree.gone;
        tree.gone = r->next;
        r->destroy(&heap, r);
    }
}

static void setup(void)
{
    mem = (struct dpf_mem){.alloc = few_alloc, .free = few_free};
    heap = (struct heap){.mem = &mem};
    allocs_left = UINT32_MAX;
    memset(&tree, 0, sizeof(tree));
    memset(things, 0, sizeof(things));
    seed = 88172645463325252u;
}

static void teardown(void)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (things[i].in) {
            ct_remove(&tree, &heap, &things[i].item);
        }
    }
    ck_assert_ptr_null(tree.root);
    ck_assert_uint_eq(tree.count, 0);
    reclaim();
    ck_assert_uint_eq(heap.bytes, 0);
}

static void row(struct outline *o, uint32_t key, uint32_t lo, uint32_t hi)
{
    outline_add(o, (struct outline_row){key, (uint8_t)lo, (uint8_t)hi,
                                        lo == hi ? 0xff : 0,
                                        lo == hi ? (uint8_t)lo : 0});
}

/* Like a rule of a firewall, out of small pools so that items overlap. */
static void make_rule(struct outline *o, uint32_t pool)
{
    uint32_t port = rnd(5);
    o->count = 0;
    row(o, dd_var_byte(0, 12), 8, 8);
    if (rnd(8) != 0) {
        row(o, dd_var_byte(0, 23), rnd(2) ? 6 : 17, 17);
    }
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t len = rnd(5);
        for (uint32_t i = 0; i < len; i++) {
            uint32_t x = rnd(pool);
            row(o, dd_var_byte(0, 26 + 4 * side + i), x, x);
        }
    }
    if (port > 0) {
        uint32_t lo = rnd(256), place = rnd(4) == 0;
        row(o, dd_var_byte(place, place ? 2 : 36), lo,
            lo + rnd(256 - lo) / (port * port));
    }
    if (rnd(4) == 0) {
        outline_add(o, (struct outline_row){dd_var_byte(0, 50), 0, 0xfe, 1, 0});
    }
}

static size_t make_packet(uint8_t *p, const struct outline *o, uint32_t pool)
{
    for (uint32_t i = 0; i < BYTES; i++) {
        p[i] = (uint8_t)rnd(i >= 26 && i < 34 ? pool : 256);
    }
    p[12] = 8;
    p[14] = 0x45;
    for (uint32_t i = 0; i < o->count && rnd(6) != 0; i++) {
        uint32_t at =
            dd_var_off(o->rows[i].key) + (dd_var_base(o->rows[i].key) ? 20 : 0);

        p[at] =
            (uint8_t)(o->rows[i].lo + rnd(o->rows[i].hi - o->rows[i].lo + 1u));
    }
    return rnd(8) == 0 ? rnd(BYTES) : BYTES;
}

static unsigned long visited, allowed;

static int visit(void *ctx, struct ct_item *item)
{
    struct thing *t = (struct thing *)(void *)item;
    (void)ctx;
    ck_assert(t->in);
    ck_assert_uint_eq(t->visits, 0);
    t->visits++;
    return 0;
}

static void check_packet(uint32_t pool)
{
    uint8_t *p = malloc(BYTES);
    size_t len = make_packet(p, &things[rnd(ITEMS)].item.outline, pool);
    uint8_t *exact = malloc(len + 1);
    memcpy(exact, p, len);
    struct outline_view v;
    outline_look(&v, exact, len);
    ck_assert_int_eq(ct_match(&tree, &v, visit, NULL), 0);
    for (uint32_t i = 0; i < ITEMS; i++) {
        struct thing *t = &things[i];
        bool yes = t->in && outline_allows(&t->item.outline, &v);
        allowed += yes;
        visited += t->visits;
        ck_assert(!yes || t->visits == 1);
        t->visits = 0;
    }
    free(exact);
    free(p);
}

static void check_query(uint32_t pool)
{
    struct outline o;
    make_rule(&o, pool);
    ck_assert_int_eq(ct_query(&tree, &heap, &o, visit, NULL), 0);
    for (uint32_t i = 0; i < ITEMS; i++) {
        struct thing *t = &things[i];
        bool yes = t->in && outline_meets(&t->item.outline, &o);
        ck_assert(yes == (t->visits == 1));
        t->visits = 0;
    }
}

/* 0 or -DPF_E_MEM. */
static int change(uint32_t i, uint32_t pool, bool insert)
{
    int r = 0;
    uint32_t chained;
    if (things[i].in) {
        ct_remove(&tree, &heap, &things[i].item);
        things[i].in = false;
    } else if (insert) {
        make_rule(&things[i].item.outline, pool);
        r = ct_insert(&tree, &heap, &things[i].item, &chained);
        things[i].in = r == 0;
    }
    return r;
}

static void churn(uint32_t pool)
{
    visited = allowed = 0;
    for (uint32_t step = 0; step < 6000; step++) {
        /* Fill, stay about full, empty. */
        bool insert = step < 3500 || rnd(3) == 0;
        uint32_t i = rnd(ITEMS);

        if (insert || things[i].in) {
            ck_assert_int_eq(change(i, pool, insert), 0);
        }
        if (rnd(16) == 0) {
            check_packet(pool);
        }
        if (rnd(64) == 0) {
            check_query(pool);
            reclaim();
        }
    }
    struct ct_shape shape;
    ct_measure(&tree, &shape);
    ck_assert_uint_lt(shape.depth, 6);
}

START_TEST(finds_what_a_list_finds)
{
    churn(200);
    /* Of items that are visited most accept. */
    ck_assert_uint_lt(visited, 2 * allowed);
}
END_TEST

START_TEST(finds_what_overlaps)
{
    churn(3);
}
END_TEST

/* What no byte tells apart hangs in a chain, and nothing else is near it. */
START_TEST(chains_what_is_the_same)
{
    uint32_t chained = 0;
    for (uint32_t i = 0; i < 500; i++) {
        struct outline *o = &things[i].item.outline;
        o->count = 0;
        row(o, dd_var_byte(0, 12), 8, 8);
        if (i % 100 == 7) {
            row(o, dd_var_byte(0, 23), i / 100, i / 100);
        }
        ck_assert_int_eq(ct_insert(&tree, &heap, &things[i].item, &chained), 0);
        things[i].in = true;
    }
    for (uint32_t n = 0; n < 50; n++) {
        check_packet(10);
    }
    ck_assert_uint_gt(chained, 400);
    for (uint32_t i = 0; i < 500; i += 3) {
        ct_remove(&tree, &heap, &things[i].item);
        things[i].in = false;
        check_packet(10);
    }
    for (uint32_t i = 0; i < 500; i += 3) {
        ck_assert_int_eq(ct_insert(&tree, &heap, &things[i].item, &chained), 0);
        things[i].in = true;
    }
    check_packet(10);
}
END_TEST

/* The n-th allocation of each change fails: then nothing has changed. */
START_TEST(survives_without_memory)
{
    uint32_t failed = 0;
    for (uint32_t step = 0; step < 4000; step++) {
        uint32_t i = rnd(ITEMS), before = tree.count;
        bool was = things[i].in;
        allocs_left = rnd(5);
        if (change(i, 30, true) != 0) {
            failed++;
            ck_assert_uint_eq(tree.count, before);
        } else {
            ck_assert(things[i].in != was);
        }
        allocs_left = UINT32_MAX;
        if (step % 32 == 0) {
            check_packet(30);
            reclaim();
        }
    }
    ck_assert_uint_gt(failed, 50);
}
END_TEST

/* ---------------------------------------------------------------- bounds */

/* Steps from the first cut to where the item hangs. */
static uint32_t way_to(const struct ct_item *item)
{
    const struct ct_node *leaf =
        item->leaf->chain != NULL ? item->leaf->chain->head : item->leaf;
    uint32_t n = 0;

    for (const struct ct_cut *c = leaf->cut; c->up != NULL; c = c->up) {
        n++;
    }
    return n;
}

/* Work of one change, without the way to the leaf, is bounded. */
static void change_in_bounds(uint32_t i)
{
    uint64_t before = heap.work;
    uint64_t work;
    if (things[i].in) {
        ct_remove(&tree, &heap, &things[i].item);
        things[i].in = false;
        work = heap.work - before;
        ck_assert_uint_le(work, CT_REMOVE_WORK);
    } else {
        uint32_t chained;
        ck_assert_int_eq(ct_insert(&tree, &heap, &things[i].item, &chained), 0);
        things[i].in = true;
        work = heap.work - before;
        ck_assert_uint_le(work, CT_INSERT_WORK + 2 * way_to(&things[i].item));
    }
    if (rnd(32) == 0) {
        reclaim();
    }
}

/* Rules that are meant to cost most. */
static void make_costly(struct outline *o, uint32_t kind, uint32_t i)
{
    o->count = 0;
    for (uint32_t k = 0; k < OUTLINE_ROWS_MAX; k++) {
        uint32_t byte = kind == 2 ? k * 2 + rnd(2) : k;
        uint32_t lo = rnd(100), hi = 155 + rnd(100);
        if (kind == 0) { /* each asks for a byte of its own: a long way */
            row(o, dd_var_byte(0, i), 7, 7);
            return;
        }
        if (kind == 1) { /* none can be told from another: a long chain */
            row(o, dd_var_byte(0, k), 3, 200);
        } else if (kind == 2 && rnd(2) != 0) { /* many bytes, bits far apart */
            outline_add(o, (struct outline_row){dd_var_byte(0, byte), 0, 255,
                                                0x15, (uint8_t)(rnd(8) & 5)});
        } else { /* wide, and different */
            row(o, dd_var_byte(0, byte), lo, hi);
        }
    }
}

/* Fill the tree, change it for a while, empty it. */
START_TEST(takes_bounded_work)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (_i == 4) { /* the next larger value each time */
            row(&things[i].item.outline, dd_var_byte(0, 30), i / 256, i / 256);
            row(&things[i].item.outline, dd_var_byte(0, 31), i % 256, i % 256);
        } else {
            make_costly(&things[i].item.outline, (uint32_t)_i, i);
        }
        change_in_bounds(i);
    }
    for (uint32_t n = 0; n < 2000; n++) {
        change_in_bounds(rnd(ITEMS));
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (things[i].in) {
            change_in_bounds(i);
        }
    }
}
END_TEST

/* A way that the caller does not allow is not gone, and nothing changes. */
START_TEST(takes_no_way_that_is_too_long)
{
    uint32_t chained;
    for (uint32_t i = 0; i < 600; i++) {
        make_costly(&things[i].item.outline, 0, i);
        ck_assert_int_eq(ct_insert(&tree, &heap, &things[i].item, &chained), 0);
        things[i].in = true;
    }
    make_costly(&things[600].item.outline, 0, 600);
    uint32_t count = tree.count;
    heap.limit = heap.work + 100;
    ck_assert_int_eq(ct_insert(&tree, &heap, &things[600].item, &chained),
                     -DPF_E_FUEL);
    ck_assert_uint_eq(tree.count, count);
    ct_remove(&tree, &heap, &things[0].item); /* out of fuel or not */
    things[0].in = false;
    heap.limit = 0;
    ck_assert_int_eq(ct_insert(&tree, &heap, &things[600].item, &chained), 0);
    things[600].in = true;
}
END_TEST

/* ------------------------------------------------------- beside a writer */

#define STAY 400u /* items that are there all the time */

static uint32_t stop_readers;

static int count_stayers(void *ctx, struct ct_item *item)
{
    uint8_t *seen = ctx;
    size_t i = (size_t)((struct thing *)(void *)item - things);
    if (i < STAY) {
        seen[i]++;
    }
    return 0;
}

/* Every item that stays and allows the packet is visited once. */
static void *reader(void *arg)
{
    uint64_t mine = *(const uint64_t *)arg, wrong = 0;
    uint8_t packet[BYTES], seen[STAY];
    while (!__atomic_load_n(&stop_readers, __ATOMIC_RELAXED)) {
        for (uint32_t i = 0; i < BYTES; i++) {
            mine = mine * 6364136223846793005u + 1442695040888963407u;
            packet[i] = (uint8_t)(mine >> 40) % 30;
        }
        packet[12] = 8;
        packet[14] = 0x45;
        packet[23] = mine >> 60 & 1 ? 6 : 17;
        struct outline_view v;
        outline_look(&v, packet, BYTES);
        memset(seen, 0, sizeof(seen));
        ct_match(&tree, &v, count_stayers, seen);
        for (uint32_t i = 0; i < STAY; i++) {
            bool yes = outline_allows(&things[i].item.outline, &v);
            wrong += seen[i] > 1 || (yes && seen[i] != 1);
        }
    }
    return (void *)(uintptr_t)wrong;
}

START_TEST(is_read_beside_a_writer)
{
    static const uint64_t seeds[2] = {11, 12};
    uint32_t i;
    for (i = 0; i < STAY; i++) {
        ck_assert_int_eq(change(i, 30, true), 0);
    }
    stop_readers = 0;
    pthread_t thread[2];
    for (i = 0; i < 2; i++) {
        ck_assert_int_eq(
            pthread_create(&thread[i], NULL, reader, (void *)&seeds[i]), 0);
    }
    /* No node is reclaimed meanwhile: readers announce nothing. */
    for (uint32_t step = 0; step < 8000; step++) {
        ck_assert_int_eq(change(STAY + rnd(800), 30, true), 0);
    }
    __atomic_store_n(&stop_readers, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 2; i++) {
        void *wrong;
        ck_assert_int_eq(pthread_join(thread[i], &wrong), 0);
        ck_assert_ptr_null(wrong);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("classtree");
    TCase *c = tcase_create("tree");
    SRunner *r = srunner_create(s);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, finds_what_a_list_finds);
    tcase_add_test(c, finds_what_overlaps);
    tcase_add_test(c, chains_what_is_the_same);
    tcase_add_test(c, survives_without_memory);
    tcase_add_loop_test(c, takes_bounded_work, 0, 5);
    tcase_add_test(c, takes_no_way_that_is_too_long);
    tcase_add_test(c, is_read_beside_a_writer);
    suite_add_tcase(s, c);
    srunner_set_tap(r, "-");
    srunner_run_all(r, CK_SILENT);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
