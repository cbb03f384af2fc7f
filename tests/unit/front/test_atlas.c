/* SPDX-License-Identifier: MIT */
/*
 * dpf/text/atlas.c and dpf/text/dot.c: every witness is a packet that shows
 * what it should, answers about pairs agree with running both filters on random
 * packets, and explanations end with the program's own answer.
 */
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "tests/diff/packets.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

static const char *const filters[] = {
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp port 53",
    "tcp port 80",
    "tcp dst port 80",
    "host 10.0.0.1",
    "src net 10.0.0.0/8",
    "tcp portrange 20-1024",
    "vlan 1 and ip",
    "not ip",
    "ether[12:2] <= 1500",
    "less 60",
    "tcp[tcpflags] & tcp-syn != 0",
    "ip[0] & 0xf > 5",
    "ip6 and udp",
    "icmp or icmp6",
    "ether multicast",
    "tcp src port 80 and host 10.0.0.2",
    "ip[2:2] * 3 > 100",
};
#define FILTERS (sizeof(filters) / sizeof(*filters))
#define PACKETS 2000

static struct dpf_mem mem;
static struct dpf_atlas *atlas;
static struct dpf_program *programs[FILTERS];

static void set_up(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_int_eq(dpf_atlas_create(&mem, &atlas), 0);
    for (size_t i = 0; i < FILTERS; i++) {
        struct dpf_error err;
        struct dpf_code code;
        ck_assert_int_eq(dpf_from_expr(filters[i], 1, 0, &code, &err), 0);
        ck_assert_int_eq(dpf_program_create(&mem, DPF_FILTER, code.insns,
                                            code.count, &programs[i], &err),
                         0);
        ck_assert_int_eq(dpf_atlas_add(atlas, filters[i], programs[i]), 0);
        dpf_code_finish(&code);
    }
}

static void tear_down(void)
{
    dpf_atlas_destroy(atlas);
    for (size_t i = 0; i < FILTERS; i++) {
        dpf_program_destroy(programs[i]);
    }
    dpf_host_mem_finish(&mem);
}

static bool accepts(size_t i, const struct dpf_error *w)
{
    return dpf_filter_run(programs[i], w->witness, w->witness_len) != 0;
}

START_TEST(witnesses_show_what_they_should)
{
    unsigned overlaps = 0;
    for (size_t i = 0; i < FILTERS; i++) {
        for (size_t k = 0; k < FILTERS; k++) {
            struct dpf_error w = {0};
            bool clear =
                !dpf_atlas_opaque(atlas, i) && !dpf_atlas_opaque(atlas, k);
            if (dpf_atlas_overlap(atlas, i, k, &w) == 1 && clear) {
                ck_assert_msg(accepts(i, &w) && accepts(k, &w), "%s and %s",
                              filters[i], filters[k]);
                overlaps++;
            }
            memset(&w, 0, sizeof(w));
            if (dpf_atlas_outside(atlas, i, k, &w) == 1 && clear) {
                ck_assert_msg(accepts(i, &w) && !accepts(k, &w),
                              "%s and not %s", filters[i], filters[k]);
            }
        }
    }
    ck_assert_uint_gt(overlaps, FILTERS);
}
END_TEST

START_TEST(what_is_denied_never_happens)
{
    static bool met[FILTERS][FILTERS], left[FILTERS][FILTERS];
    struct rng r = {7};
    uint8_t packet[PACKET_MAX];
    for (int n = 0; n < PACKETS; n++) {
        size_t len = random_packet(&r, packet);
        bool in[FILTERS];
        for (size_t i = 0; i < FILTERS; i++) {
            in[i] = dpf_filter_run(programs[i], packet, len) != 0;
        }
        for (size_t i = 0; i < FILTERS; i++) {
            for (size_t k = 0; k < FILTERS; k++) {
                met[i][k] |= in[i] && in[k];
                left[i][k] |= in[i] && !in[k];
            }
        }
    }
    for (size_t i = 0; i < FILTERS; i++) {
        for (size_t k = 0; k < FILTERS; k++) {
            ck_assert_msg(!met[i][k] ||
                              dpf_atlas_overlap(atlas, i, k, NULL) != 0,
                          "%s meets %s", filters[i], filters[k]);
            ck_assert_msg(!left[i][k] ||
                              dpf_atlas_outside(atlas, i, k, NULL) != 0,
                          "%s leaves %s", filters[i], filters[k]);
        }
    }
}
END_TEST

/* A filter is read as far beside thousands of others as alone. */
START_TEST(thousands_are_told_apart)
{
    enum { MANY = 4500 };
    static struct dpf_program *many[MANY];
    struct dpf_error err;
    struct dpf_code code;
    ck_assert_int_eq(dpf_from_expr("src host 10.9.8.7 and ip dst host 1.1.1.1 "
                                   "and tcp src port 77 and tcp dst port 80",
                                   1, 0, &code, &err),
                     0);
    size_t host = 0, port = 0;
    for (size_t i = 0; i < code.count; i++) {
        host = code.insns[i].imm == 0x0a090807 ? i : host;
        port = code.insns[i].imm == 77 ? i : port;
    }
    ck_assert(host != 0 && port != 0);
    for (size_t i = 0; i < MANY; i++) {
        code.insns[host].imm = 0x0a000000 + (int32_t)i;
        code.insns[port].imm = (int32_t)i;
        ck_assert_int_eq(dpf_program_create(&mem, DPF_FILTER, code.insns,
                                            code.count, &many[i], &err),
                         0);
        ck_assert_int_eq(dpf_atlas_add(atlas, "one of many", many[i]), 0);
    }
    ck_assert(!dpf_atlas_opaque(atlas, FILTERS + MANY - 1));
    ck_assert_int_eq(
        dpf_atlas_overlap(atlas, FILTERS, FILTERS + MANY - 1, NULL), 0);
    for (size_t i = 0; i < MANY; i++) {
        dpf_program_destroy(many[i]);
    }
    dpf_code_finish(&code);
}
END_TEST

START_TEST(explanations_end_with_the_answer)
{
    struct rng r = {9};
    uint8_t packet[PACKET_MAX];
    for (int n = 0; n < 100; n++) {
        size_t len = random_packet(&r, packet);
        for (size_t i = 0; i < FILTERS; i++) {
            char *text = NULL;
            size_t size = 0;
            FILE *f = open_memstream(&text, &size);
            bool said = dpf_atlas_explain(atlas, f, i, packet, len);
            bool is = dpf_filter_run(programs[i], packet, len) != 0;
            fclose(f);
            ck_assert_int_eq(said, is);
            /* a test that failed and the program that accepts: a lie */
            ck_assert_msg(!(is && strstr(text, " no: ") != NULL), "%s\n%s",
                          filters[i], text);
            ck_assert_ptr_nonnull(strstr(text, is ? "accepted" : "rejected"));
            free(text);
        }
    }
}
END_TEST

START_TEST(pictures_name_every_filter)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    ck_assert_int_eq(dpf_atlas_dot(atlas, f), 0);
    for (size_t i = 0; i < FILTERS; i++) {
        ck_assert_int_eq(dpf_atlas_print(atlas, f, i), 0);
    }
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "digraph"));
    ck_assert_ptr_nonnull(strstr(text, "[12:2]"));
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("atlas");
    TCase *t = tcase_create("all");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, witnesses_show_what_they_should);
    tcase_add_test(t, what_is_denied_never_happens);
    tcase_add_test(t, thousands_are_told_apart);
    tcase_add_test(t, explanations_end_with_the_answer);
    tcase_add_test(t, pictures_name_every_filter);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
