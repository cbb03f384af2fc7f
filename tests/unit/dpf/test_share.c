/* SPDX-License-Identifier: MIT */
/*
 * Filters that are hard to tell apart, bound by the hundred by an author who
 * wants to shut others out. Ordinary filters beside them are not refused for
 * their sake, and cost no more work than they take by themselves.
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

static struct dpf_mem mem;
static struct dpf_set *set;
static struct dpf_error err;
static uint64_t seed;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
    seed = 1;
}

static void teardown(void)
{
    dpf_set_destroy(set);
    dpf_host_mem_finish(&mem);
}

static unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static struct dpf_program *make(const char *text)
{
    struct dpf_code code;
    int rc = dpf_from_expr(text, 1, 0, &code, &err);
    ck_assert_msg(rc == 0, "%s: %s", text, err.text);
    struct dpf_program *p;
    rc = dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err);
    ck_assert_msg(rc == 0, "%s: %s", text, err.text);
    dpf_code_finish(&code);
    return p;
}

static void region(uint32_t id, const char *text)
{
    struct dpf_program *p = make(text);
    ck_assert_int_eq(dpf_set_region_insert(set, id, 0, p, DPF_SHARED, &err), 0);
    dpf_program_destroy(p);
}

static int bind_in(uint32_t id, uint32_t in, const char *text, uint32_t flags)
{
    struct dpf_program *p = make(text);
    int rc = dpf_set_insert(set, id, in, p, flags, &err);
    struct dpf_set_stats st;
    dpf_set_stats(set, &st);
    ck_assert_uint_le(st.work, DPF_WORK_DEFAULT);
    dpf_program_destroy(p);
    dpf_set_reclaim(set, dpf_set_version(set));
    return rc;
}

/* Alternatives, ranges and masks of bytes at random. */
static void awkward(char *out, size_t size, const char *where)
{
    snprintf(out, size,
             "%s(ether[%u]=%u or ether[%u]=%u) and (ether[%u]>%u or "
             "ether[%u]<%u) and (ether[%u]&%u!=0 or ether[%u]=7)",
             where, rnd(60), rnd(256), rnd(60), rnd(256), rnd(60), rnd(256),
             rnd(60), rnd(256), rnd(60), 1u << rnd(8), rnd(60));
}

static const char *const ordinary[] = {
    "udp port 53",
    "arp",
    "ip host 10.0.0.1",
    "tcp and dst host 10.0.0.1 and dst port 80",
    "udp dst portrange 50-60",
    "ip6 and udp port 546",
};

/* 0: taps; 1: in a shared region; 2: exclusive ones that allow refinement. */
START_TEST(test_beside)
{
    region(1, "ether[0]&1=1");
    region(2, "ether[0]&1=0");
    char text[512];
    for (uint32_t i = 0; i < 120; i++) {
        awkward(text, sizeof(text), _i ? "ether[0]&1=1 and " : "");
        (void)bind_in(1000 + i, _i == 1, text,
                      _i == 0   ? DPF_TAP
                      : _i == 2 ? DPF_REFINE
                                : 0);
    }
    char mine[256];
    for (uint32_t i = 0; i < sizeof(ordinary) / sizeof(ordinary[0]); i++) {
        snprintf(mine, sizeof(mine), "ether[0]&1=0 and %s", ordinary[i]);
        int rc = bind_in(i, 0, mine, DPF_TAP);
        ck_assert_msg(rc == 0, "tap %s: %d %s", mine, rc, err.text);
        rc = bind_in(100 + i, 2, mine, 0);
        ck_assert_msg(rc == 0, "shared %s: %d %s", mine, rc, err.text);
    }
    for (uint32_t i = 1; i < 3; i++) {
        snprintf(mine, sizeof(mine), "ether[0]=%u and %s", 2 * i, ordinary[i]);
        ck_assert_msg(bind_in(200 + i, 0, mine, 0) == 0, "%s: %s", mine,
                      err.text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("share");
    TCase *c = tcase_create("share");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_beside, 0, 3);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
