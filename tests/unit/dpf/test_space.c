/* SPDX-License-Identifier: MIT */
/*
 * Packet space: whether a packet can be in a set, and which. Every witness is
 * evaluated; lengths at the end of their range and searches of many tries
 * are what once went wrong.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/filter/cube.h"
#include "dpf/filter/lift.h"
#include "dpf/filter/space.h"
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
    heap = (struct heap){&mem, 0};
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
    struct dpf_program *p;
    struct dpf_code code;
    struct dpf_error err;
    const struct dpf_insn *insns;
    uint32_t f = DD_NO;
    size_t count;

    ck_assert_msg(!dpf_from_expr(expr, 1, 0, &code, &err), "%s", err.text);
    ck_assert_int_eq(
        dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err),
        0);
    insns = dpf_program_insns(p, &count);
    ck_assert_int_eq(dd_lift(&d, insns, count, NULL, &f), 0);
    dpf_program_destroy(p);
    dpf_code_finish(&code);
    return dd_apply(&d, DD_MAY, f, 0, 0);
}

/* A byte counted from a header's end is the one counted from the start. */
START_TEST(test_alias)
{
    uint32_t b = ip_base(), f, g;
    struct witness w;

    f = dd_byte_eq(&d, dd_var_byte(b, 14), 0xff, 7, DD_YES);
    g = dd_byte_eq(&d, dd_var_byte(0, 34), 0xff, 8, DD_YES);
    check_found(dd_and(&d, f, g)); /* with a header of another length */
    g = dd_and(&d, g, dd_byte_eq(&d, IP_WORDS, 0x0f, 5, DD_YES));
    ck_assert_int_eq(space_find(&d, dd_and(&d, f, g), &w), 0);
}
END_TEST

/* An interval that a header's length moves beyond the largest length. */
START_TEST(test_longest)
{
    uint32_t b = ip_base(), len = dd_var_len(b), f;
    struct witness w;

    f = dd_range(&d, len, 20, DD_LEN_MAX - 1, DD_YES, DD_NO);
    check_found(f);
    f = dd_and(&d, dd_range(&d, len, DD_LEN_MAX - 1, DD_LEN_MAX, DD_YES, DD_NO),
               dd_byte_eq(&d, IP_WORDS, 0x0f, 5, DD_YES));
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
    struct cube hull;

    none.alloc = alloc_none;
    heap.mem = &none;
    ck_assert_int_eq(cube_hull(&d, DD_YES, &hull), 0);
    heap.mem = &mem;
    ck_assert_uint_eq(hull.count + hull.len_count, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("space");
    TCase *c = tcase_create("space");
    SRunner *r;
    int failed;

    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_alias);
    tcase_add_test(c, test_longest);
    tcase_add_test(c, test_released);
    tcase_add_test(c, test_hull_of_all);
    suite_add_tcase(s, c);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
