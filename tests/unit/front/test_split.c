/* SPDX-License-Identifier: MIT */
/*
 * dpf/front/split.c: a list that is compiled in parts answers as libpcap's own
 * code for the whole, on whole packets and on packets cut anywhere; and what
 * is not surely a list of simple terms is not cut.
 */
#include "dpf/front/split.h"
#include "dpf/host.h"
#include "tests/diff/packets.h"

#include <check.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

#define TERMS 56u
#define PACKETS 1500u

/* The values are those of random_packet; "bare" terms take what came before. */
static void random_list(struct rng *r, char *out)
{
    static const char *const heads[] = {
        "host",         "src host", "dst host",     "ip host",  "port",
        "tcp dst port", "udp port", "src port",     "net",      "src net",
        "portrange",    "src",      "ip src host",  "arp host", "tcp port",
        "udp src port", "ip net",   "tcp portrange"};
    static const char *const lone[] = {"arp", "icmp", "ip6", "icmp6", "sctp"};
    uint32_t kind = 0; /* of the last head, for a bare value */
    char value[40];
    bool bare = false;
    *out = '\0';
    for (uint32_t i = 0; i < TERMS; i++) {
        if (i > 0) {
            strcat(out, rng_below(r, 4) ? " or " : " ||\n\t");
        }
        /* few: each would accept too much for the rest to matter */
        if (rng_below(r, 60) == 0) {
            strcat(out, lone[rng_below(r, sizeof(lone) / sizeof(*lone))]);
            bare = false;
            continue;
        }
        if (!bare || rng_below(r, 2) == 0) {
            kind = rng_below(r, sizeof(heads) / sizeof(*heads));
            strcat(strcat(out, heads[kind]), " ");
        }
        bare = true;
        uint32_t port = rng_below(r, 3) ? rng_below(r, 65000) : 80;
        uint32_t host = rng_below(r, 256);
        if (strstr(heads[kind], "portrange") != NULL) {
            snprintf(value, sizeof(value), "%u-%u", port, port + 9);
        } else if (strstr(heads[kind], "port") != NULL) {
            snprintf(value, sizeof(value), "%u", port);
        } else if (strstr(heads[kind], "net") != NULL) {
            snprintf(value, sizeof(value), "10.%u.0.0/16", host);
        } else {
            snprintf(value, sizeof(value), "10.0.0.%u", host);
        }
        strcat(out, value);
    }
}

static bool accepts(const void *insns, const uint8_t *packet, size_t len)
{
    return bpf_filter(insns, packet, (unsigned)len, (unsigned)len) != 0;
}

/*
 * libpcap's optimiser drops loads that would have ended the program, in the
 * whole and in the parts perhaps not the same: where its own two answers
 * differ, either will do for the optimised parts.
 */
static void agree(const char *expr, const struct bpf_program whole[2],
                  struct dpf_cbpf *const parts[2], const uint8_t *packet,
                  size_t len)
{
    bool plain = accepts(whole[0].bf_insns, packet, len);
    bool optimised = accepts(whole[1].bf_insns, packet, len);
    ck_assert_msg(accepts(parts[0], packet, len) == plain,
                  "plain: not %d on %zu bytes: %s", plain, len, expr);
    ck_assert_msg(plain != optimised || accepts(parts[1], packet, len) == plain,
                  "optimised: not %d on %zu bytes: %s", plain, len, expr);
}

/* _i is the seed. */
START_TEST(parts_answer_as_the_whole)
{
    struct rng r = {(uint64_t)_i * 7919 + 1};
    static char expr[TERMS * 64];
    struct dpf_error err = {0};
    pcap_t *p = pcap_open_dead(DLT_EN10MB, 262144);
    random_list(&r, expr);
    struct split s;
    ck_assert_int_eq(split_alternatives(expr, &s), 0);
    ck_assert_msg(s.count > 1, "not cut: %s", expr);
    split_finish(&s);
    size_t count[2];
    struct dpf_cbpf *parts[2];
    struct bpf_program whole[2];
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(
            pcap_compile(p, &whole[i], expr, (int)i, PCAP_NETMASK_UNKNOWN), 0);
        ck_assert_int_eq(dpf_expr_cbpf(expr, DLT_EN10MB, i ? 0 : DPF_EXPR_PLAIN,
                                       &parts[i], &count[i], &err),
                         0);
    }
    uint8_t packet[PACKET_MAX];
    for (unsigned i = 0; i < PACKETS; i++) {
        size_t len = random_packet(&r, packet);
        agree(expr, whole, parts, packet, len);
        agree(expr, whole, parts, packet, rng_below(&r, (uint32_t)len + 1));
    }
    pcap_freecode(&whole[0]);
    pcap_freecode(&whole[1]);
    pcap_close(p);
    free(parts[0]);
    free(parts[1]);
}
END_TEST

/* One of these among plain terms leaves the whole to libpcap. */
static const char *const odd[] = {
    "(port 1)",  "not port 1",       "port 1 and tcp", "src or dst port 1",
    "port http", "host example.org", "ip[0] = 1",      "vlan",
    "tcp or 7",  "less 60",          "port",           "ether host 1:2:3:4:5:6",
    "port 1 2",  "port 1 or",        "or port 1",      "tcp udp",
    "port -1",   "port 1)",          "mpls 3",         "port \\1",
};

START_TEST(doubt_is_left_to_libpcap)
{
    char expr[60 * 16] = "port 0";
    for (unsigned i = 1; i < 56; i++) {
        strcat(expr, " or port 7");
    }
    struct split s;
    ck_assert_int_eq(split_alternatives(expr, &s), 0);
    ck_assert_uint_eq(s.count, 4);
    split_finish(&s);
    char last[60 * 16];
    snprintf(last, sizeof(last), "%s or %s", expr, odd[_i]);
    ck_assert_int_eq(split_alternatives(last, &s), 0);
    ck_assert_msg(s.count == 0, "cut: %s", odd[_i]);
    snprintf(last, sizeof(last), "%s or %s", odd[_i], expr);
    ck_assert_int_eq(split_alternatives(last, &s), 0);
    ck_assert_msg(s.count == 0, "cut: %s", odd[_i]);
}
END_TEST

START_TEST(nothing_and_noise_are_no_lists)
{
    struct rng r = {4711};
    struct split s;
    ck_assert_int_eq(split_alternatives("", &s), 0);
    ck_assert_uint_eq(s.count, 0);
    char text[400];
    for (unsigned i = 0; i < 20000; i++) {
        static const char letters[] = "or  portc1.:/-|()& \n";
        size_t n = rng_below(&r, sizeof(text));
        for (size_t k = 0; k < n; k++) {
            text[k] = letters[rng_below(&r, sizeof(letters) - 1)];
        }
        text[n] = '\0';
        ck_assert_int_eq(split_alternatives(text, &s), 0);
        split_finish(&s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("split");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, parts_answer_as_the_whole, 0, 40);
    tcase_add_loop_test(t, doubt_is_left_to_libpcap, 0,
                        (int)(sizeof(odd) / sizeof(*odd)));
    tcase_add_test(t, nothing_and_noise_are_no_lists);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
