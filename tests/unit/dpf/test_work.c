/* SPDX-License-Identifier: MIT */
/*
 * The work of one call is bounded, whatever is bound beside whatever: with any
 * bound a set answers as it should, refuses what was not decided, and what it
 * holds can be taken out again.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/dpf.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dpf_mem mem;
static struct dpf_set *set;
static struct dpf_error err;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
}

static void teardown(void)
{
    dpf_set_destroy(set);
    dpf_host_mem_finish(&mem);
}

static struct dpf_program *make(const char *text)
{
    struct dpf_code code;
    int rc = dpf_from_asm(text, strlen(text), &code, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    struct dpf_program *p;
    rc = dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    dpf_code_finish(&code);
    return p;
}

static uint64_t work(void)
{
    struct dpf_set_stats st;
    dpf_set_stats(set, &st);
    return st.work;
}

/* Compares of eight bytes each, which overlap. */
static struct dpf_program *ladder(unsigned rungs, unsigned seed)
{
    static char text[400000];
    char *at = text;
    srand(seed);
    at += sprintf(at, "r0 = 0\n");
    for (unsigned i = 0; i < rungs; i++) {
        at += sprintf(at,
                      "r3 = *(u64 *)(r1 + %u)\n"
                      "r4 = 0x%08x%08x ll\n"
                      "if r3 %s r4 goto out\n",
                      i % 40 * 3 + (seed & 7), (unsigned)rand(),
                      (unsigned)rand(), rand() & 64 ? ">" : "<");
    }
    sprintf(at, "r0 = 1\nexit\nout:\nr0 = 0\nexit\n");
    return make(text);
}

START_TEST(test_ladder)
{
    static const unsigned rungs[] = {20, 60, 500, 1000};
    for (unsigned id = 0; id < 6; id++) {
        struct dpf_program *p = ladder(rungs[_i], id);
        int rc = dpf_set_insert(set, id, 0, p, 0, &err);
        ck_assert(rc == 0 || rc == -DPF_E_CONFLICT || rc == -DPF_E_FUEL);
        ck_assert_uint_le(work(), DPF_WORK_DEFAULT);
        if (rc == -DPF_E_FUEL) {
            ck_assert_ptr_nonnull(strstr(err.text, "not decided"));
        }
        dpf_program_destroy(p);
    }
}
END_TEST

static const char *const texts[] = {
    /* a port behind an IPv4 header */
    "r0 = 0\n"
    "if r2 < 34 goto out\n"
    "r3 = *(u16 *)(r1 + 12)\n"
    "if r3 != 8 goto out\n"
    "r3 = *(u8 *)(r1 + 14)\n"
    "r3 &= 15\n"
    "r3 <<= 2\n"
    "r6 = r1\n"
    "r6 += r3\n"
    "r3 = *(u16 *)(r6 + 16)\n"
    "r3 = be16 r3\n"
    "if r3 < 80 goto out\n"
    "if r3 > 90 goto out\n"
    "r0 = 1\n"
    "out:\n"
    "exit\n",
    /* the same port of one header's length, not written in that way */
    "r0 = 0\n"
    "r3 = *(u8 *)(r1 + 14)\n"
    "if r3 != 0x46 goto out\n"
    "r3 = *(u8 *)(r1 + 12)\n"
    "if r3 != 8 goto out\n"
    "r3 = *(u8 *)(r1 + 13)\n"
    "if r3 != 0 goto out\n"
    "r3 = *(u8 *)(r1 + 40)\n"
    "if r3 != 0 goto out\n"
    "r3 = *(u8 *)(r1 + 41)\n"
    "if r3 != 85 goto out\n"
    "r0 = 1\n"
    "out:\n"
    "exit\n",
    /* and with a product besides */
    "r0 = 0\n"
    "r3 = *(u32 *)(r1 + 12)\n"
    "r4 = *(u8 *)(r1 + 3)\n"
    "r3 &= 0xffff\n"
    "if r3 != 8 goto out\n"
    "r3 = *(u8 *)(r1 + 41)\n"
    "if r3 < 80 goto out\n"
    "r3 *= r4\n"
    "if r3 == 0 goto out\n"
    "r0 = 1\n"
    "out:\n"
    "exit\n",
    /* elsewhere */
    "r0 = 0\n"
    "r3 = *(u16 *)(r1 + 12)\n"
    "if r3 != 0x608 goto out\n"
    "r0 = 1\n"
    "out:\n"
    "exit\n",
};
#define TEXTS (sizeof(texts) / sizeof(texts[0]))

/* With each bound, two at a time: what both accept has one owner at most. */
START_TEST(test_any_bound)
{
    uint32_t first = (uint32_t)_i % TEXTS, second = (uint32_t)_i / TEXTS;
    struct dpf_program *p[2] = {make(texts[first]), make(texts[second])};
    uint8_t packet[64] = {[3] = 1, [12] = 8, [14] = 0x46, [41] = 85};
    unsigned bound = 0, tired = 0;
    struct dpf_set_stats empty;
    dpf_set_stats(set, &empty);
    for (uint64_t n = 1; n < 100000; n += n / 8 + 1) {
        bool mine = dpf_filter_run(p[0], packet, 64) != 0;
        bool theirs = dpf_filter_run(p[1], packet, 64) != 0;
        int rc[2];
        for (uint32_t i = 0; i < 2; i++) {
            dpf_set_work(set, i ? n : 0);
            rc[i] = dpf_set_insert(set, i, 0, p[i], 0, &err);
            ck_assert(rc[i] == 0 || (i && rc[i] == -DPF_E_CONFLICT) ||
                      (i && rc[i] == -DPF_E_FUEL && *err.text));
            tired += rc[i] == -DPF_E_FUEL;
        }
        ck_assert(!(mine && theirs && rc[1] == 0));
        uint32_t owner = dpf_set_match(set, packet, 64, NULL, NULL);
        ck_assert_uint_eq(owner, mine                   ? 0
                                 : theirs && rc[1] == 0 ? 1
                                                        : DPF_NO_OWNER);
        bound += rc[1] == 0;
        dpf_set_work(set, 1); /* not for removal */
        ck_assert_int_eq(dpf_set_remove(set, 0), 0);
        ck_assert_int_eq(dpf_set_remove(set, 1), rc[1] ? -DPF_E_NOT_FOUND : 0);
        dpf_set_reclaim(set, dpf_set_version(set));
    }
    ck_assert_uint_gt(tired, 0);
    ck_assert(bound > 0 || first != 3 || second == 3);
    struct dpf_set_stats st;
    dpf_set_stats(set, &st);
    ck_assert_uint_eq(st.bindings, 0);
    ck_assert_uint_le(st.bytes, empty.bytes);
    dpf_program_destroy(p[0]);
    dpf_program_destroy(p[1]);
}
END_TEST

/* Nor is a region taken to hold what was not looked at. */
START_TEST(test_region)
{
    struct dpf_program *outer = make(texts[0]), *inner = make(texts[1]),
                       *other = make(texts[3]);
    unsigned made = 0;
    ck_assert_int_eq(dpf_set_region_insert(set, 1, 0, outer, 0, &err), 0);
    for (uint64_t n = 1; n < 20000; n += n / 8 + 1) {
        dpf_set_work(set, n);
        int rc = dpf_set_region_insert(set, 2, 1, inner, 0, &err);
        ck_assert(rc == 0 || rc == -DPF_E_REGION || rc == -DPF_E_FUEL);
        made += rc == 0;
        ck_assert(rc || dpf_set_region_remove(set, 2) == 0);
        rc = dpf_set_region_insert(set, 2, 1, other, 0, &err);
        ck_assert(rc == -DPF_E_REGION || rc == -DPF_E_FUEL);
        rc = dpf_set_insert(set, 2, 1, other, 0, &err);
        ck_assert(rc == -DPF_E_REGION || rc == -DPF_E_FUEL);
    }
    ck_assert_uint_gt(made, 0);
    dpf_program_destroy(outer);
    dpf_program_destroy(inner);
    dpf_program_destroy(other);
}
END_TEST

/* ------------------------------------------------- answers, and none */

#define BYTE "r3 = *(u8 *)(r1 + 20)\nif r3 != 1 goto out\n"
#define END "r0 = 1\nexit\nout:\nr0 = 0\nexit\n"

/* The byte of BYTE behind more tests than can be read in one call. */
static struct dpf_program *long_filter(void)
{
    static char text[40000];
    char *at = text;

    at += sprintf(at, BYTE);
    for (unsigned i = 0; i < 300; i++) {
        at += sprintf(at,
                      "r3 = *(u64 *)(r1 + %u)\nr4 = *(u64 *)(r1 + %u)\n"
                      "r3 += r4\nr5 = %u\nif r3 > r5 goto out\n",
                      i % 40, i % 37 + 1, i);
    }
    sprintf(at, END);
    return make(text);
}

/* Bytes behind more headers of unknown lengths than are tried. */
static struct dpf_program *deep_filter(void)
{
    static char text[4000];
    char *at = text;

    for (unsigned i = 0; i < 9; i++) {
        at += sprintf(at,
                      "r3 = *(u8 *)(r1 + %u)\nr3 &= 3\nr6 = r1\nr6 += r3\n"
                      "r3 = *(u8 *)(r6 + %u)\nif r3 != 7 goto out\n",
                      i, 40 + 8 * i);
    }
    sprintf(at, END);
    return make(text);
}

static int refused(struct dpf_program *p, bool region, bool proved)
{
    int rc;

    memset(&err, 0xff, sizeof(err));
    rc = region ? dpf_set_region_insert(set, 9, 1, p, 0, &err)
                : dpf_set_insert(set, 9, 0, p, 0, &err);
    ck_assert_int_eq(err.code, rc);
    ck_assert_msg(rc == -DPF_E_MEM || (err.witness_len != 0) == proved, "%s",
                  err.text);
    ck_assert_uint_eq(err.other, rc && !region && rc != -DPF_E_MEM ? 5 : 0);
    return rc;
}

static void says(const char *text)
{
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

/*
 * A filter that leaves its region or meets another is refused with a packet;
 * one of which that is not found out is refused in other words.
 */
START_TEST(test_told_apart)
{
    struct dpf_program *byte = make(BYTE END), *is_long = long_filter(),
                       *deep = deep_filter(), *all = make("r0 = 1\nexit\n");

    ck_assert_int_eq(dpf_set_region_insert(set, 1, 0, byte, 0, &err), 0);
    ck_assert_int_eq(dpf_set_insert(set, 5, 0, byte, 0, &err), 0);

    ck_assert_int_eq(refused(all, false, true), -DPF_E_CONFLICT);
    says("the filter may accept packets of binding 5");
    ck_assert_int_eq(refused(all, true, true), -DPF_E_REGION);
    says("the filter may accept packets outside the region");

    /* Too long to be read. */
    dpf_set_work(set, 2000);
    ck_assert_int_eq(refused(is_long, false, false), -DPF_E_FUEL);
    says("not decided");
    says("packets of binding 5");
    ck_assert_int_eq(refused(is_long, true, false), -DPF_E_FUEL);
    says("not decided");
    says("inside its region");
    /* What a packet proves is proved, however little was read. */
    dpf_set_work(set, 400);
    ck_assert_int_eq(refused(all, false, true), -DPF_E_CONFLICT);

    /* With any amount of work: more lengths than are tried. */
    dpf_set_work(set, 0);
    ck_assert_int_eq(refused(deep, false, false), -DPF_E_FUEL);
    says("not decided with the header lengths tried");
    ck_assert_int_eq(refused(deep, true, false), -DPF_E_FUEL);
    says("not decided with the header lengths tried");
    dpf_program_destroy(byte);
    dpf_program_destroy(is_long);
    dpf_program_destroy(deep);
    dpf_program_destroy(all);
}
END_TEST

static void *(*real_alloc)(void *ctx, size_t size);
static int allocs_left = -1;

static void *few_alloc(void *ctx, size_t size)
{
    return allocs_left >= 0 && allocs_left-- == 0 ? NULL
                                                  : real_alloc(ctx, size);
}

/* Without memory for some step nothing was found out, either. */
START_TEST(test_memory_is_told)
{
    struct dpf_program *byte = make(BYTE END), *all = make("r0 = 1\nexit\n");
    unsigned starved = 0;
    int rc = -DPF_E_MEM;

    dpf_set_destroy(set);
    real_alloc = mem.alloc;
    mem.alloc = few_alloc;
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
    ck_assert_int_eq(dpf_set_region_insert(set, 1, 0, byte, 0, &err), 0);
    ck_assert_int_eq(dpf_set_insert(set, 5, 0, byte, 0, &err), 0);
    for (int n = 0; rc == -DPF_E_MEM; n++, starved++) {
        allocs_left = n;
        rc = refused(all, _i, true);
        if (rc == -DPF_E_MEM) {
            says("no memory");
        }
        allocs_left = -1;
    }
    ck_assert_int_eq(rc, _i ? -DPF_E_REGION : -DPF_E_CONFLICT);
    ck_assert_uint_gt(starved, 3);
    dpf_program_destroy(byte);
    dpf_program_destroy(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("work");
    TCase *c = tcase_create("work");
    tcase_set_timeout(c, 200);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_ladder, 0, 4);
    tcase_add_loop_test(c, test_any_bound, 0, TEXTS * TEXTS);
    tcase_add_test(c, test_region);
    tcase_add_test(c, test_told_apart);
    tcase_add_loop_test(c, test_memory_is_told, 0, 2);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
