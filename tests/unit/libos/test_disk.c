/* SPDX-License-Identifier: MIT */
/*
 * Disk requests against a fake kernel: completions in any order, a full
 * queue, errors, and a queue that cannot be closed yet.
 */
#include "libos/libos/disk.h"
#include "src/abi/err.h"
#include "src/abi/pte.h"
#include "tests/unit/libos/fake_kernel.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

#define SLOTS 8u

static struct disk_queue q;

static void setup(void)
{
    fk_reset();
    ck_assert_int_eq(disk_open(&q, 2, 1, 4, SLOTS), 0);
}

static void teardown(void)
{
    ck_assert_int_eq(disk_close(&q), 0);
    ck_assert_uint_eq(fk.live, 0);
    ck_assert_uint_eq(fk.events, 0);
    ck_assert_uint_eq(fk.rings, 0);
}

static int put(uint64_t cookie)
{
    struct disk_request r = {.op = DISK_READ,
                             .block = 100 + cookie,
                             .count = 2,
                             .pieces = 2,
                             .cookie = cookie};
    r.piece[0] = (struct page_piece){.paddr = 4096, .len = 4096};
    r.piece[1] = (struct page_piece){.paddr = 16384, .len = 4096};
    return disk_put(&q, &r);
}

START_TEST(what_the_kernel_is_told)
{
    ck_assert_uint_eq(fk.disk.disk, 2);
    ck_assert_uint_eq(fk.disk.range, 4);
    ck_assert_uint_eq(fk.disk.slots, SLOTS);
    ck_assert_uint_eq(fk.disk.frame * PAGE_SIZE, q.run.paddr);
    ck_assert_int_eq(put(7), 0);
    const struct disk_slot *s = fk_disk_slot(0);
    ck_assert_uint_eq(s->owner, DISK_OWNER_KERNEL);
    ck_assert_uint_eq(s->op, DISK_READ);
    ck_assert_uint_eq(s->block, 107);
    ck_assert_uint_eq(s->count, 2);
    ck_assert_uint_eq(s->pieces, 2);
    ck_assert_uint_eq(s->piece[1].paddr, 16384);
    ck_assert_uint_eq(fk.submits, 0);
    disk_kick(&q);
    disk_kick(&q);
    ck_assert_uint_eq(fk.submits, 1);
    ck_assert_uint_eq(disk_pending(&q), 1);
}
END_TEST

START_TEST(a_full_queue_takes_no_more)
{
    for (uint64_t i = 0; i < SLOTS; i++) {
        ck_assert_int_eq(put(i), 0);
    }
    ck_assert_int_eq(put(99), -E_AGAIN);
    int status;
    uint64_t cookie;
    ck_assert(!disk_reap(&q, &cookie, &status));
    /* Slots are put in ring order: a later one that is done frees no room. */
    fk_disk_done(3, 0);
    ck_assert(disk_reap(&q, &cookie, &status) && cookie == 3 && status == 0);
    ck_assert_int_eq(put(99), -E_AGAIN);
    fk_disk_done(0, -E_IO);
    ck_assert(disk_reap(&q, &cookie, &status) && cookie == 0);
    ck_assert_int_eq(status, -E_IO);
    ck_assert_int_eq(put(99), 0);
    ck_assert_int_eq(put(98), -E_AGAIN);
    ck_assert_uint_eq(fk_disk_slot(0)->cookie, 99);
    ck_assert_uint_eq(fk_disk_slot(0)->status, 0);
    ck_assert_uint_eq(disk_pending(&q), SLOTS - 1);
}
END_TEST

/* Every request is reaped once, with its own cookie and status, whatever the
   order of their ends. */
START_TEST(any_order)
{
    int want[SLOTS]; /* the status with which each slot's request ends */
    uint64_t in_slot[SLOTS] = {0}, next = 1, reaped = 0;
    bool at_kernel[SLOTS] = {0}, done[SLOTS] = {0};
    srand(3);
    for (int round = 0; round < 20000; round++) {
        uint32_t i = (uint32_t)rand() % SLOTS, at = q.next % SLOTS;
        if (rand() % 2 != 0 && put(next) == 0) {
            ck_assert(!at_kernel[at] && !done[at]);
            at_kernel[at] = true;
            in_slot[at] = next++;
        }
        if (at_kernel[i]) {
            want[i] = rand() % 3 == 0 ? -E_IO : 0;
            fk_disk_done(i, want[i]);
            at_kernel[i] = false;
            done[i] = true;
        }
        int status;
        uint64_t cookie;
        if (rand() % 3 == 0 && disk_reap(&q, &cookie, &status)) {
            uint32_t k = 0;
            while (k < SLOTS && !(done[k] && in_slot[k] == cookie)) {
                k++;
            }
            ck_assert(k < SLOTS && status == want[k]);
            done[k] = false;
            reaped++;
        }
    }
    ck_assert_uint_gt(reaped, 2000);
    ck_assert_uint_eq(next - 1 - reaped, disk_pending(&q));
}
END_TEST

static int answer;

static void device_answers(void)
{
    if (fk.waits == 2) { /* woken once for nothing */
        fk_disk_done(q.next - 1, answer);
    }
}

START_TEST(reading_now_waits_and_can_be_tried_again)
{
    fk.on_wait = device_answers;
    answer = -E_IO;
    ck_assert_int_eq(disk_read_now(&q, 5, 1, 4096), -E_IO);
    ck_assert_uint_eq(fk.waits, 2);
    ck_assert_uint_eq(fk.submits, 1);
    fk.waits = 0;
    answer = 0;
    ck_assert_int_eq(disk_read_now(&q, 5, 1, 4096), 0);
    ck_assert_uint_eq(disk_pending(&q), 0);
}
END_TEST

START_TEST(a_busy_queue_stays_open)
{
    ck_assert_int_eq(put(1), 0);
    fk.fail_free = -E_BUSY;
    ck_assert_int_eq(disk_close(&q), -E_BUSY);
    fk_disk_done(0, 0);
    int status;
    uint64_t cookie;
    ck_assert(disk_reap(&q, &cookie, &status) && cookie == 1);
    fk.fail_free = 0;
}
END_TEST

START_TEST(a_failed_opening_leaves_nothing)
{
    unsigned live = fk.live, rings = fk.rings;
    uint64_t events = fk.events;
    fk.fail_disk = -E_CAP;
    struct disk_queue other;
    ck_assert_int_eq(disk_open(&other, 0, 1, 4, SLOTS), -E_CAP);
    fk.fail_disk = 0;
    fk.allocs_left = 0;
    ck_assert_int_eq(disk_open(&other, 0, 1, 4, SLOTS), -E_MEM);
    fk.allocs_left = -1;
    ck_assert_uint_eq(fk.events, events);
    fk.events = UINT64_MAX;
    ck_assert_int_eq(disk_open(&other, 0, 1, 4, SLOTS), -E_LIMIT);
    ck_assert_int_eq(disk_close(&other), 0);
    fk.events = events;
    ck_assert_uint_eq(fk.live, live);
    ck_assert_uint_eq(fk.rings, rings);
    ck_assert_uint_eq(fk.events, events);
    ck_assert_int_eq(disk_close(&other), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("disk");
    TCase *t = tcase_create("disk");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_the_kernel_is_told);
    tcase_add_test(t, a_full_queue_takes_no_more);
    tcase_add_test(t, any_order);
    tcase_add_test(t, reading_now_waits_and_can_be_tried_again);
    tcase_add_test(t, a_busy_queue_stays_open);
    tcase_add_test(t, a_failed_opening_leaves_nothing);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
