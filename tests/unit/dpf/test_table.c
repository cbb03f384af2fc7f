/* SPDX-License-Identifier: MIT */
/*
 * Tables of keys: every key that was added is found, at any load that the
 * table was made for, and removed entries are used again only after reclaim.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "dpf/set/shape.h"
#include "dpf/set/table.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 12000u

static struct dpf_mem mem;
static struct heap heap;
static uint32_t slot_of[KEYS];

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    heap = (struct heap){.mem = &mem};
}

static void teardown(void)
{
    ck_assert_uint_eq(heap.bytes, 0);
    dpf_host_mem_finish(&mem);
}

static void key_of(uint32_t id, uint8_t key[12])
{
    uint64_t h = (id + 1) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    memcpy(key, &h, 8);
    memcpy(key + 8, &id, 4);
}

static void moved(void *ctx, uint32_t id, uint32_t from, uint32_t to)
{
    ck_assert_ptr_eq(ctx, slot_of);
    ck_assert_uint_eq(slot_of[id], from);
    slot_of[id] = to;
}

static const struct table_watch watch = {moved, slot_of};

static void check_all(const struct table *t, uint32_t from, uint32_t count)
{
    uint8_t key[12];
    for (uint32_t id = from; id < count; id++) {
        key_of(id, key);
        ck_assert_uint_eq(table_match(t, key), id);
        ck_assert_uint_eq(table_find(t, key), slot_of[id]);
    }
}

/*
 * As many keys as a table was made for fit, though some buckets overflow; a
 * large one may have to be replaced a little before.
 */
START_TEST(test_full)
{
    static const uint32_t rooms[] = {1, 40, 1023, 1024, 3000, KEYS};
    uint32_t room = rooms[_i], next = 0;
    struct table *t = table_create(&heap, 1, 1, room);
    ck_assert_ptr_nonnull(t);
    uint8_t key[12];
    for (uint32_t id = 0; id < room; id++) {
        ck_assert(!table_crowded(t));
        key_of(id, key);
        slot_of[id] = table_add(t, key, id, &watch);
        if (slot_of[id] == TABLE_NONE) {
            ck_assert_uint_gt(id, room / 4 * 3);
            room = id;
        }
    }
    check_all(t, 0, room);
    for (uint32_t s = 0; s < table_slots(t); s++) {
        next += table_id(t, s) == TABLE_NEXT;
    }
    ck_assert(room < 3000 || next > 0); /* so that chains were tested */
    key_of(room, key);
    ck_assert_uint_eq(table_match(t, key), DPF_NO_OWNER);
    table_destroy(&heap, t);
}
END_TEST

START_TEST(test_reclaim)
{
    struct table *t = table_create(&heap, 1, 1, 64);
    ck_assert_ptr_nonnull(t);
    uint8_t key[12];
    for (uint32_t id = 0; id < 64; id++) {
        key_of(id, key);
        slot_of[id] = table_add(t, key, id, &watch);
    }
    for (uint32_t id = 0; id < 32; id++) {
        table_remove(t, slot_of[id], id < 16 ? 5 : 6);
    }
    ck_assert_uint_eq(t->waiting, 32);
    table_reclaim(t, 4);
    ck_assert_uint_eq(t->waiting, 32);
    /* What comes back takes its old entry. */
    key_of(3, key);
    ck_assert_uint_eq(table_add(t, key, 3, &watch), slot_of[3]);
    ck_assert_uint_eq(t->waiting, 31);
    table_reclaim(t, 5);
    ck_assert_uint_eq(t->waiting, 16);
    table_reclaim(t, 6);
    ck_assert_uint_eq(t->waiting, 0);
    ck_assert_uint_eq(table_match(t, key), 3);
    check_all(t, 32, 64);
    table_destroy(&heap, t);
}
END_TEST

/*
 * A shape's key has constants too as long as it stays narrow, the last bytes
 * first: here ports and addresses, but not what says that it is TCP.
 */
START_TEST(test_narrow_key)
{
    struct cube c = {.len_count = 1, .lens = {{0, 38}}};
    static const struct dd_base none;
    ck_assert(cube_add(&c, (struct cube_byte){.var = dd_var_byte(0, 23),
                                              .mask = 0xff,
                                              .value = 6}));
    for (uint32_t off = 26; off < 38; off++) {
        ck_assert(cube_add(&c, (struct cube_byte){.var = dd_var_byte(0, off),
                                                  .mask = 0xff,
                                                  .value = (uint8_t)off}));
    }
    int err;
    struct shape *sh = shape_create(&heap, &c, &none, 1, &err);
    ck_assert_ptr_nonnull(sh);
    ck_assert(shape_is_narrow(sh));
    for (uint32_t i = 0; i < sh->cube.count; i++) {
        ck_assert_int_eq(sh->cube.bytes[i].place == SHAPE_NO_PLACE, i == 0);
        ck_assert(!sh->cube.bytes[i].varies);
    }
    shape_destroy(&heap, sh);
    ck_assert_uint_eq(heap.bytes, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("table");
    TCase *c = tcase_create("table");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_full, 0, 6);
    tcase_add_test(c, test_reclaim);
    tcase_add_test(c, test_narrow_key);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
