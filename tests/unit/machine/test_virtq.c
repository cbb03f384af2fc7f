/* SPDX-License-Identifier: MIT */
/*
 * The ring against a device in this file, which plays by the rules, and then
 * one that does not.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "src/dev/virtq.h"
#include <assert.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 8u

static struct virtq q;
static void *memory;
static struct virtq_desc *tables;
static uint16_t seen; /* the device's place in the available ring */
static uint64_t seed = 7;

static uint32_t random32(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33);
}

static void setup(void)
{
    /* exact size: the sanitizer guards both ends */
    memory = aligned_alloc(64, (virtq_bytes(SIZE) + 63) & ~(size_t)63);
    memset(memory, 0, virtq_bytes(SIZE));
    tables = calloc(SIZE * VIRTQ_TABLE, sizeof(*tables));
    virtq_init(&q, memory, SIZE, tables, 0x100000);
    q.event_idx = true;
    seen = 0;
}

static void teardown(void)
{
    free(memory);
    free(tables);
}

static int add(unsigned pieces)
{
    if (!virtq_start(&q, pieces)) {
        return -1;
    }
    for (unsigned i = 0; i < pieces; i++) {
        virtq_piece(&q, 0x1000 * (i + 1), i + 1, i == pieces - 1);
    }
    return virtq_finish(&q);
}

/* The device takes a chain and checks it; returns its head, or -1. */
static int device_take(unsigned pieces)
{
    const struct virtq_desc *d = q.desc;
    if (q.avail->idx == seen) {
        return -1;
    }
    uint16_t head = q.avail->ring[seen++ % SIZE];
    uint16_t at = head;
    if ((d[at].flags & 4) != 0) {
        assert((d[at].len) == (pieces * 16));
        d = tables + (d[at].paddr - 0x100000) / 16;
        at = 0;
    }
    for (unsigned i = 0; i < pieces; i++) {
        assert((d[at].paddr) == (0x1000 * (i + 1)));
        assert((d[at].len) == (i + 1));
        assert((d[at].flags) ==
               ((i == pieces - 1 ? 2u : 0u) | (i < pieces - 1 ? 1u : 0u)));
        at = d[at].next;
    }
    return head;
}

static void device_complete(uint32_t id, uint32_t len)
{
    uint16_t at = q.used->idx % SIZE;
    q.used->ring[at].id = id;
    q.used->ring[at].len = len;
    q.used->idx++;
}

START_TEST(test_round_trip)
{
    int h = add(3);
    ck_assert_int_ge(h, 0);
    ck_assert_int_eq(device_take(3), -1); /* not published yet */
    ck_assert(virtq_publish(&q));
    ck_assert_int_eq(device_take(3), h);
    uint32_t len;
    uint16_t head;
    ck_assert_int_eq(virtq_take(&q, &head, &len), 0);
    device_complete((uint32_t)h, 99);
    ck_assert_int_eq(virtq_take(&q, &head, &len), 1);
    ck_assert_uint_eq(head, h);
    ck_assert_uint_eq(len, 99);
    ck_assert_uint_eq(q.free, SIZE);
    ck_assert_int_eq(virtq_take(&q, &head, &len), 0);
}
END_TEST

START_TEST(test_full)
{
    unsigned n = 0;
    q.tables = NULL;
    while (add(3) >= 0) {
        n++;
    }
    ck_assert_uint_eq(n, 2);
    ck_assert_int_ge(add(2), 0);
    ck_assert_int_eq(add(1), -1);
    ck_assert_int_eq(add(9), -1);
    ck_assert_int_eq(add(0), -1);
}
END_TEST

START_TEST(test_indirect)
{
    ck_assert_int_eq(add(SIZE + 1), -1); /* longer than the queue */
    for (unsigned i = 0; i < SIZE; i++) {
        int h = add(SIZE);
        ck_assert_int_ge(h, 0);
        (void)virtq_publish(&q);
        ck_assert_int_eq(device_take(SIZE), h);
    }
    ck_assert_int_eq(add(1), -1);
    uint16_t head;
    for (unsigned i = 0; i < SIZE; i++) {
        ck_assert(virtq_abandon(&q, &head));
    }
    ck_assert(!virtq_abandon(&q, &head));
}
END_TEST

START_TEST(test_events)
{
    uint16_t *avail_event = (uint16_t *)&q.used->ring[SIZE];
    *avail_event = 2; /* tell me after the third */
    (void)add(1);
    ck_assert(!virtq_publish(&q));
    (void)add(1);
    (void)add(1);
    ck_assert(virtq_publish(&q));
    ck_assert(!virtq_publish(&q)); /* nothing new */
    ck_assert(!virtq_interrupt(&q, 1));
    ck_assert_uint_eq(q.avail->ring[SIZE], 0);
    ck_assert(!virtq_interrupt(&q, 0));
    ck_assert_uint_eq(q.avail->ring[SIZE], 0xffff);
    int h = device_take(1);
    device_complete((uint32_t)h, 0);
    ck_assert(virtq_interrupt(&q, 1)); /* one waits already */
    uint32_t len;
    uint16_t head;
    ck_assert_int_eq(virtq_take(&q, &head, &len), 1);
    ck_assert(!virtq_interrupt(&q, 2));
    ck_assert_uint_eq(q.avail->ring[SIZE], 2);
}
END_TEST

START_TEST(test_lies)
{
    (void)add(2);
    (void)virtq_publish(&q);
    device_complete(SIZE, 0); /* no such chain */
    uint32_t len;
    uint16_t head;
    ck_assert_int_eq(virtq_take(&q, &head, &len), -1);
    ck_assert(q.broken);
    ck_assert_int_eq(add(1), -1);
    ck_assert_int_eq(virtq_take(&q, &head, &len), 0);
    ck_assert(virtq_abandon(&q, &head));
    ck_assert(!virtq_abandon(&q, &head));

    teardown();
    setup();
    int h = add(2);

    (void)virtq_publish(&q);
    device_complete((uint32_t)h, 0);
    device_complete((uint32_t)h, 0); /* twice */
    ck_assert_int_eq(virtq_take(&q, &head, &len), 1);
    ck_assert_int_eq(virtq_take(&q, &head, &len), -1);

    teardown();
    setup();
    h = add(2);
    (void)virtq_publish(&q);
    device_complete((uint32_t)h + 1, 0); /* the middle of a chain */
    ck_assert_int_eq(virtq_take(&q, &head, &len), -1);

    teardown();
    setup();
    q.used->idx = 30000; /* more than there is */
    ck_assert_int_eq(virtq_take(&q, &head, &len), -1);
}
END_TEST

/* Long runs in random order of completion; wraps the 16-bit indices. */
START_TEST(test_random)
{
    unsigned n = 0;
    uint32_t done = 0;
    unsigned pieces[SIZE];
    uint16_t under_way[SIZE];
    while (done < 200000) {
        unsigned want = random32() % 6 + 1;
        int h = random32() % 2 ? add(want) : -1;
        if (h >= 0) {
            (void)virtq_publish(&q);
            assert(device_take(want) == h);
            under_way[n] = (uint16_t)h;
            pieces[n++] = want;
        } else if (n > 0) {
            unsigned i = random32() % n;
            device_complete(under_way[i], pieces[i]);
            uint32_t len;
            uint16_t head;
            assert(virtq_take(&q, &head, &len) == 1);
            assert(head == under_way[i]);
            assert(len == pieces[i]);
            under_way[i] = under_way[--n];
            pieces[i] = pieces[n];
            done++;
        }
    }
    while (n > 0) {
        device_complete(under_way[--n], 0);
        uint32_t len;
        uint16_t head;
        assert(virtq_take(&q, &head, &len) == 1);
    }
    assert(q.free == SIZE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtq");
    TCase *t = tcase_create("virtq");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_round_trip);
    tcase_add_test(t, test_full);
    tcase_add_test(t, test_indirect);
    tcase_add_test(t, test_events);
    tcase_add_test(t, test_lies);
    tcase_add_test(t, test_random);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
