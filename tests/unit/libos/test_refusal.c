/* SPDX-License-Identifier: MIT */
/*
 * Packets in words, cut anywhere; and the test that a refused filter lacks, by
 * a kernel that here judges one packet with the filter itself.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "libos/sys/sys.h"
#include "src/abi/err.h"
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char said[2048];
static unsigned unbound;
static bool any_options; /* may the region's packets have IP options? */

void console_printf(const char *fmt, ...)
{
    size_t at = strlen(said);
    va_list args;
    va_start(args, fmt);
    vsnprintf(said + at, sizeof(said) - at, fmt, args);
    va_end(args);
}

const char *env_strerror(int64_t err)
{
    return err == -E_REGION ? "outside its region" : "?";
}

int64_t sys_net_unbind(uint32_t device, uint32_t id)
{
    (void)device;
    ck_assert_uint_eq(id, 11);
    unbound++;
    return 0;
}

/* UDP 10.0.2.2:1 > 10.0.2.15:53, with four bytes of options. */
static const uint8_t with_options[46] = {
    0x52, 0x54, 0, 0x12, 0x34, 0x56, 2,  0,  0, 0,  0,  2, 8, 0, 0x46, 0,
    0,    32,   0, 0,    0,    0,    64, 17, 0, 0,  10, 0, 2, 2, 10,   0,
    2,    15,   1, 1,    1,    0,    0,  1,  0, 53, 0,  8, 0, 0};

/* What the prefix of rx_ring_bind_said's trials tests, run by hand. */
static bool accepts(const struct dpf_insn *f, const uint8_t *p, size_t len)
{
    uint32_t r3 = 0;
    for (unsigned at = 0;; at++) {
        switch (f[at].opcode) {
        case 0x35: /* r2 >= imm */
            at += len >= (uint32_t)f[at].imm ? (unsigned)f[at].off : 0;
            break;
        case 0x71:
            r3 = p[f[at].off];
            break;
        case 0x69:
            r3 = (uint32_t)p[f[at].off] | (uint32_t)p[f[at].off + 1] << 8;
            break;
        case 0x54:
            r3 &= (uint32_t)f[at].imm;
            break;
        case 0x16:
            at += r3 == (uint32_t)f[at].imm ? (unsigned)f[at].off : 0;
            break;
        case 0xb7:
            return f[at].imm != 0;
        default:
            abort();
        }
    }
}

int64_t sys_net_bind(uint32_t k, const struct net_bind_args *args)
{
    const struct dpf_insn *f = (const void *)args->insns;
    struct net_refusal *why = (void *)args->refusal;
    (void)k;
    if (any_options || !accepts(f, with_options, sizeof(with_options))) {
        return 11;
    }
    if (why != NULL) {
        snprintf(why->text, sizeof(why->text), "too wide");
        memcpy(why->witness, with_options, sizeof(with_options));
        why->witness_len = sizeof(with_options);
    }
    return -E_REGION;
}

START_TEST(the_missing_test_is_named)
{
    struct rx_ring r = {.device = 0, .id = 5};
    static struct filter all = {.count = 2};
    all.insn[0] = (struct dpf_insn){.opcode = 0xb7, .imm = 1};
    all.insn[1] = (struct dpf_insn){.opcode = 0x95};
    ck_assert_int_eq(
        rx_ring_bind_said(&r, 1, 2, 0, &all, "netsvc", "a UDP port"),
        -E_REGION);
    ck_assert_msg(strstr(said, "netsvc: the filter for a UDP port was refused: "
                               "outside its region: too wide\n") != NULL,
                  "%s", said);
    ck_assert_msg(strstr(said, "10.0.2.2 > 10.0.2.15 with 4 bytes of options "
                               "(01010100), UDP port 1 > 53") != NULL,
                  "%s", said);
    ck_assert_msg(strstr(said, "has IP options") != NULL &&
                      strstr(said, "add ip[0] = 0x45\n") != NULL,
                  "%s", said);
    ck_assert_uint_eq(unbound, 1);
}
END_TEST

START_TEST(nothing_is_said_of_what_fits)
{
    struct rx_ring r = {.device = 0, .id = 5};
    static struct filter all = {.count = 2};
    any_options = true;
    all.insn[0] = (struct dpf_insn){.opcode = 0xb7, .imm = 1};
    ck_assert_int_eq(rx_ring_bind_said(&r, 1, 2, 0, &all, "x", "y"), 11);
    ck_assert_str_eq(said, "");
    all.count = FILTER_INSNS_MAX + 1;
    ck_assert_int_eq(rx_ring_bind_said(&r, 1, 2, 0, &all, "x", "y"), -E_LIMIT);
}
END_TEST

static void reads(const char *bytes, size_t len, const char *want)
{
    char out[512];
    size_t n = dpf_packet_text(out, sizeof(out), (const uint8_t *)bytes, len);
    ck_assert_msg(strstr(out, want) != NULL, "'%s' is not in '%s'", want, out);
    ck_assert_uint_eq(n, strlen(out));
}

#define ETH(type) "\2\0\0\0\0\1\2\0\0\0\0\2" type
#define IP(first, fragment, protocol)                                          \
    first "\0\0\50\0\0" fragment "\100" protocol "\0\0\12\0\0\1\12\0\0\2"

START_TEST(packets_in_words)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *want;
    } t[] = {
        {"", 0, "0 bytes, and ends inside the Ethernet header"},
        {ETH("\x88\xcc"), 14,
         "14 bytes: Ethernet 02:00:00:00:00:02 > 02:00:00:00:00:01, type "
         "0x88cc"},
        {ETH("\10\0"), 14, "IPv4 , and ends inside the IPv4 header"},
        {ETH("\10\0") IP("\x45", "\0\0", "\6") "\0\120\0\31", 38,
         "IPv4 10.0.0.1 > 10.0.0.2, TCP port 80 > 25"},
        {ETH("\10\0") IP("\x45", "\0\0", "\6"), 34,
         "TCP, and ends inside the header behind IP"},
        {ETH("\10\0") IP("\x45", "\0\1", "\21") "xxxx", 38,
         "a later fragment (at byte 8) of protocol 17"},
        {ETH("\10\0") IP("\x4f", "\0\0", "\21"), 34,
         "and ends inside the IP options"},
        {ETH("\10\0") IP("\x41", "\0\0", "\21"), 34,
         "an impossible header length of 4"},
        {ETH("\10\0") IP("\x65", "\0\0", "\21"), 34, "of version 6"},
        {ETH("\10\0") IP("\x45", "\0\0", "\1") "\3\1", 36,
         "ICMP type 3 code 1"},
        {ETH("\x81\0") "\0\7\x88\xcc", 18, "VLAN 7, type 0x88cc"},
        {ETH("\x86\xdd"), 14, "IPv6 , and ends inside the IPv6 header"},
        {ETH("\10\6") "\0\1\10\0\6\4\0\1mmmmmm\12\0\0\1xxxxxx\12\0\0\2", 42,
         "ARP request of 10.0.0.1 for 10.0.0.2"},
        {ETH("\10\6"), 14, "ARP, and ends inside the ARP message"},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        reads(t[i].bytes, t[i].len, t[i].want);
    }
}
END_TEST

/* Every length of random packets, and every room for the text. */
START_TEST(any_packet_fits)
{
    srand(1);
    for (unsigned round = 0; round < 20000; round++) {
        size_t len = (size_t)rand() % 80, size = (size_t)rand() % 300;
        uint8_t *p = malloc(len + !len);
        char *out = malloc(size + !size);
        for (size_t i = 0; i < len; i++) {
            p[i] = (uint8_t)rand();
        }
        if (len >= 16 && round % 4 != 0) {
            static const char type[4][3] = {"\10\0", "\10\6", "\x86\xdd",
                                            "\x81\0"};
            memcpy(p + 12, type[round / 4 % 4], 2);
            p[14] = (uint8_t)(0x40 | (p[14] & 15));
        }
        size_t n = dpf_packet_text(out, size, p, len);
        ck_assert(size == 0 || strlen(out) == (n < size ? n : size - 1));
        free(p);
        free(out);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("refusal");
    TCase *t = tcase_create("refusal");
    tcase_add_test(t, the_missing_test_is_named);
    tcase_add_test(t, nothing_is_said_of_what_fits);
    tcase_add_test(t, packets_in_words);
    tcase_add_test(t, any_packet_fits);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
