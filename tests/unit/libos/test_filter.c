/* SPDX-License-Identifier: MIT */
/*
 * The filter builder: what it makes passes the verifier and accepts exactly
 * the packets that it says.
 */
#include "libos/libos/filter.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t us[4] = {10, 0, 2, 15};
static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static struct filter f;
static uint8_t packet[128];

static void *host_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void host_free(void *ctx, void *p, size_t size)
{
    (void)ctx;
    (void)size;
    free(p);
}

static const struct dpf_mem mem = {
    .alloc = host_alloc, .free = host_free, .engine = &dpf_engine_full};

static bool accepts(size_t len)
{
    struct dpf_program *p = NULL;
    struct dpf_error err;
    ck_assert_msg(
        dpf_program_create(&mem, DPF_FILTER, f.insn, f.count, &p, &err) == 0,
        "%s", err.text);
    uint64_t r = dpf_filter_run(p, packet, len);
    dpf_program_destroy(p);
    return r != 0;
}

/* A TCP segment from 10.0.2.2:1234 to us:80. */
static void segment(void)
{
    memset(packet, 0, sizeof(packet));
    memcpy(packet + 6, mac, 6);
    packet[12] = 8;
    packet[14] = 0x45;
    packet[23] = 6;
    memcpy(packet + 26, us, 4);
    memcpy(packet + 30, us, 4);
    packet[35] = 80;
    packet[37] = 80;
}

START_TEST(to_port)
{
    filter_begin(&f);
    filter_v4_to(&f, us, FILTER_TCP, 80);
    ck_assert_int_eq(filter_end(&f), 0);
    segment();
    ck_assert(accepts(64));
    ck_assert(accepts(38));
    ck_assert(!accepts(37)); /* the port is not there */
    ck_assert(!accepts(0));
    for (unsigned i = 0; i < 64; i++) {
        bool matters = (i >= 12 && i <= 14) || i == 20 || i == 21 || i == 23 ||
                       (i >= 30 && i <= 33) || i == 36 || i == 37;
        segment();
        packet[i] ^= 0x1f;
        ck_assert_msg(accepts(64) == !matters, "byte %u", i);
    }
}
END_TEST

/* RFC 1122 s3.2.1.8: with options the port is elsewhere, and what is in its
   usual place is no port. */
START_TEST(to_port_behind_options)
{
    for (unsigned words = 5; words < 16; words++) {
        unsigned at = 14 + 4 * words + 2;
        filter_begin(&f);
        filter_v4_to(&f, us, FILTER_TCP, 80);
        ck_assert_int_eq(filter_end(&f), 0);
        segment();
        packet[37] = 0;
        packet[14] = (uint8_t)(0x40 | words);
        ck_assert(!accepts(128));
        packet[at + 1] = 80;
        ck_assert(accepts(128));
        ck_assert(accepts(at + 2));
        ck_assert(!accepts(at + 1));
        packet[at] = 80;
        ck_assert(!accepts(128));
    }
}
END_TEST

START_TEST(from_port)
{
    filter_begin(&f);
    filter_v4_from(&f, mac, us, FILTER_TCP, 80);
    filter_or(&f);
    filter_arp_from(&f, mac, us);
    ck_assert_int_eq(filter_end(&f), 0);
    segment();
    ck_assert(accepts(64));
    packet[11] ^= 1;
    ck_assert(!accepts(64));
    segment();
    packet[35] = 81;
    ck_assert(!accepts(64));
    memset(packet, 0, sizeof(packet));
    memcpy(packet + 6, mac, 6);
    packet[12] = 8;
    packet[13] = 6;
    memcpy(packet + 22, mac, 6);
    memcpy(packet + 28, us, 4);
    ck_assert(accepts(42));
    packet[31] ^= 1; /* it speaks for somebody else */
    ck_assert(!accepts(42));
}
END_TEST

START_TEST(alternatives)
{
    filter_begin(&f);
    filter_icmp_errors(&f, us);
    ck_assert_int_eq(filter_end(&f), 0);
    for (unsigned type = 0; type < 256; type++) {
        segment();
        packet[23] = 1;
        bool error = type == 3 || type == 4 || type == 11 || type == 12;
        packet[34] = (uint8_t)type;
        ck_assert_msg(accepts(64) == error, "type %u", type);
        packet[14] = 0x46; /* one word of options */
        packet[34] = 3;
        packet[38] = (uint8_t)type;
        ck_assert_msg(accepts(64) == error, "type %u behind options", type);
    }
}
END_TEST

START_TEST(does_not_fit)
{
    filter_begin(&f);
    for (unsigned i = 0; i < FILTER_INSNS_MAX; i++) {
        filter_match(&f, 0, 1, i);
    }
    ck_assert_int_eq(filter_end(&f), -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("filter");
    TCase *t = tcase_create("filter");
    tcase_add_test(t, to_port);
    tcase_add_test(t, to_port_behind_options);
    tcase_add_test(t, from_port);
    tcase_add_test(t, alternatives);
    tcase_add_test(t, does_not_fit);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
