/* SPDX-License-Identifier: MIT */
/*
 * Packet space: whether a packet can be in a set, and which. Every witness is
 * evaluated; lengths at the end of their range and searches of many tries
 * are what once went wrong.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/diagram/cube.h"
#include "dpf/diagram/lift.h"
#include "dpf/diagram/space.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include <check.h>
#include <stdlib.h>

#define IP_WORDS dd_var_byte(0, 14)

static struct dpf_mem mem;
static struct heap heap;
static struct dd d;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    heap = (struct heap){.mem = &mem};
    ck_assert_int_eq(dd_init(&d, &heap), 0);
}

static void teardown(void)
{
    dd_finish(&d);
    ck_assert_uint_eq(heap.bytes, 0);
    dpf_host_mem_finish(&mem);
}

/* The base behind an IPv4 header. */
static uint32_t ip_base(void)
{
    struct dd_bits term = {.var = IP_WORDS, .dst = 2, .src = 0, .len = 4};
    return dd_base_of(&d, &term, 1);
}

static void check_found(uint32_t f)
{
    struct witness w = {0};
    ck_assert_int_eq(space_find(&d, f, &w), 1);
    ck_assert_uint_gt(w.len, 0);
    ck_assert_uint_eq(dd_eval(&d, f, w.packet, w.len), DD_YES);
}

static uint32_t lift(const char *expr)
{
    uint32_t f = DD_NO;
    struct dpf_error err;
    struct dpf_code code;
    ck_assert_msg(!dpf_from_expr(expr, 1, 0, &code, &err), "%s", err.text);
    struct dpf_program *p;
    ck_assert_int_eq(
        dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err),
        0);
    size_t count;
    const struct dpf_insn *insns = dpf_program_insns(p, &count);
    ck_assert_int_eq(dd_lift(&d, insns, count, NULL, &f), 0);
    dpf_program_destroy(p);
    dpf_code_finish(&code);
    return dd_apply(&d, DD_MAY, f, 0, 0);
}

/* A byte counted from a header's end is the one counted from the start. */
START_TEST(test_alias)
{
    uint32_t b = ip_base();
    uint32_t f = dd_byte_eq(&d, dd_var_byte(b, 14), 0xff, 7, DD_YES);
    uint32_t g = dd_byte_eq(&d, dd_var_byte(0, 34), 0xff, 8, DD_YES);
    check_found(dd_and(&d, f, g)); /* with a header of another length */
    g = dd_and(&d, g, dd_byte_eq(&d, IP_WORDS, 0x0f, 5, DD_YES));
    struct witness w;
    ck_assert_int_eq(space_find(&d, dd_and(&d, f, g), &w), 0);
}
END_TEST

/* The base behind a chain: the field at `off` of base `in`, added to it. */
static uint32_t base_behind(uint32_t in, uint32_t off)
{
    uint32_t n = d.bases[in].count;
    struct dd_bits terms[DD_TERMS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        terms[i] = d.bases[in].terms[i];
    }
    terms[n] = (struct dd_bits){.var = dd_var_byte(in, off), .len = 8};
    return dd_base_of(&d, terms, n + 1);
}

/* Only a base whose terms another has lies before that one. */
START_TEST(test_order_of_bases)
{
    struct dd_bits field = {.len = 8};
    uint32_t ip = ip_base(), chain = base_behind(ip, 7);
    struct dd_pos a = {ip, 3}, b = {0, (uint64_t)-7};
    field.var = dd_var_byte(ip, 7);
    uint32_t restart =
        dd_base_of(&d, &field, 1); /* the same field, from byte 0 */
    uint32_t twice = base_behind(chain, 7);
    ck_assert(ip && chain && restart && twice && chain != restart);
    for (uint32_t x = 0; x <= twice; x++) {
        ck_assert(!d.bases[x].count || dd_base_within(&d, 0, x));
        ck_assert(!d.bases[x].count || !dd_base_within(&d, x, 0));
        ck_assert(dd_base_within(&d, x, x));
    }
    ck_assert(dd_base_within(&d, ip, chain) &&
              dd_base_within(&d, chain, twice));
    ck_assert(!dd_base_within(&d, chain, ip));
    ck_assert(!dd_base_within(&d, ip, restart));
    ck_assert(dd_base_within(&d, restart, chain));
    ck_assert(!dd_base_within(&d, chain, restart));

    /* Displacements may pass through what is negative; accesses may not. */
    ck_assert(dd_pos_add(&d, &a, b) && a.base == ip && a.k == (uint64_t)-4);
    struct dd_at at;
    ck_assert(!dd_at_make(a, 1, &at) && !dd_at_make(a, 8, &at));
    a.k += 4;
    ck_assert(dd_at_make(a, 1, &at) && at.base == ip && at.off == 0);
    a.k = DD_OFF_MAX - 2;
    ck_assert(dd_at_make(a, 2, &at) && at.off == DD_OFF_MAX - 2);
    ck_assert(!dd_at_make(a, 3, &at));
    a.k = (uint64_t)1 << 32;
    ck_assert(!dd_at_make(a, 1, &at));
}
END_TEST

/* A packet too short for the byte that decides where a base lies. */
START_TEST(test_missing)
{
    uint32_t words = dd_var_byte(0, 200);
    struct dd_bits term = {.var = words, .dst = 0, .src = 0, .len = 8};
    uint32_t base = dd_base_of(&d, &term, 1);
    uint32_t f = dd_byte_eq(&d, dd_var_byte(base, 4), 0xff, 9, DD_YES);
    f = dd_and(&d, f, dd_byte_eq(&d, words, 0xff, 0, DD_YES));
    f = dd_and(&d, f, dd_byte_eq(&d, dd_var_byte(0, 4), 0xff, 8, DD_YES));
    /* With the byte it is 0, and byte 4 from the base is the other one. */
    struct witness w;
    ck_assert_int_eq(space_find(&d, f, &w), 0);
    uint32_t g = dd_range(&d, dd_var_len(0), 100, DD_LEN_MAX, f, DD_YES);
    check_found(g);
    /* Where nothing lies, there are no bytes, and length 0. */
    g = dd_and(&d, dd_range(&d, dd_var_len(0), 0, 99, DD_YES, DD_NO),
               dd_range(&d, dd_var_len(base), 1, DD_LEN_MAX, DD_YES, DD_NO));
    ck_assert_int_eq(space_find(&d, g, &w), 0);
    g = dd_and(&d, dd_range(&d, dd_var_len(0), 0, 99, DD_YES, DD_NO),
               dd_range(&d, dd_var_len(base), 0, 0, DD_YES, DD_NO));
    check_found(g);
    /* The same where a base depends on one that is gone. */
    base = base_behind(base, 2);
    g = dd_range(&d, dd_var_len(base), 0, 0, DD_YES, DD_NO);
    check_found(
        dd_and(&d, g, dd_range(&d, dd_var_len(0), 0, 99, DD_YES, DD_NO)));
}
END_TEST

/* An interval that a header's length moves beyond the largest length. */
START_TEST(test_longest)
{
    uint32_t b = ip_base(), len = dd_var_len(b);
    uint32_t f = dd_range(&d, len, 20, DD_LEN_MAX - 1, DD_YES, DD_NO);
    check_found(f);
    f = dd_and(&d, dd_range(&d, len, DD_LEN_MAX - 1, DD_LEN_MAX, DD_YES, DD_NO),
               dd_byte_eq(&d, IP_WORDS, 0x0f, 5, DD_YES));
    struct witness w;
    ck_assert_int_eq(space_find(&d, f, &w), 0);
}
END_TEST

/* Nothing that a search made stays, be it found or not. */
START_TEST(test_released)
{
    uint32_t f = lift("mpls and portrange 80-8080 and not tcp[17:4] = 3");
    uint32_t g = lift("icmp[2:1] % 3 = 1 or portrange 22-65535");
    uint32_t diff = dd_ite(&d, g, DD_NO, f);
    struct dd_mark before = dd_mark(&d);
    uint64_t bases = dd_bases(&d, diff);
    uint32_t limit = d.edge_limit;
    struct witness w;
    ck_assert_int_ge(space_find(&d, diff, &w), 0);
    ck_assert_uint_eq(dd_mark(&d).nodes, before.nodes);
    ck_assert_uint_eq(dd_mark(&d).edges, before.edges);
    ck_assert_uint_eq(d.edge_limit, limit);
    ck_assert_uint_eq(dd_bases(&d, diff), bases);
}
END_TEST

static void *alloc_none(void *ctx, size_t size)
{
    (void)ctx;
    (void)size;
    return NULL;
}

/* All packets have no node to begin at: nothing is to be marked. */
START_TEST(test_hull_of_all)
{
    struct dpf_mem none = mem;
    none.alloc = alloc_none;
    heap.mem = &none;
    struct cube hull;
    ck_assert_int_eq(cube_hull(&d, DD_YES, &hull), 0);
    heap.mem = &mem;
    ck_assert_uint_eq(hull.count + hull.len_count, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("space");
    TCase *c = tcase_create("space");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_alias);
    tcase_add_test(c, test_order_of_bases);
    tcase_add_test(c, test_missing);
    tcase_add_test(c, test_longest);
    tcase_add_test(c, test_released);
    tcase_add_test(c, test_hull_of_all);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
