/* SPDX-License-Identifier: MIT */
/*
 * Formatting and command-line words of libos against the host's C library.
 */
#include "libos/libos/text.h"
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define SAME(fmt, ...)                                                         \
    do {                                                                       \
        char a[128], b[128];                                                   \
        int want = snprintf(a, sizeof(a), fmt, __VA_ARGS__);                   \
        size_t got = text_format(b, sizeof(b), fmt, __VA_ARGS__);              \
                                                                               \
        ck_assert_str_eq(a, b);                                                \
        ck_assert_uint_eq((size_t)want, got);                                  \
    } while (0)

START_TEST(format_agrees_with_libc)
{
    SAME("%d %i %u", -1, INT_MIN, UINT_MAX);
    SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    SAME("%lld|%zu", LLONG_MAX, (size_t)7);
    SAME("%5d|%-5d|%05d|%05d", 42, 42, 42, -42);
    SAME("%8x|%-8x|%08X", 0xbeef, 0xbeef, 0xbeef);
    SAME("%s|%8s|%-8s|%.2s|%.*s", "abc", "abc", "abc", "abc", 1, "abc");
    SAME("%c%c%%", 'o', 'k');
    SAME("%hhu %hu", (unsigned char)0xff, (unsigned short)0xffff);
    SAME("%*d", 6, 12);
    SAME("%d", 0);
}
END_TEST

START_TEST(format_cuts_and_counts)
{
    char b[4] = "xyz";
    ck_assert_uint_eq(text_format(b, sizeof(b), "%s", "longer"), 6);
    ck_assert_str_eq(b, "lon");
    ck_assert_uint_eq(text_format(NULL, 0, "%d", 1234), 4);
    ck_assert_uint_eq(text_format(b, 1, "%d", 1), 1);
    ck_assert_str_eq(b, "");
}
END_TEST

START_TEST(option_words)
{
    const char *line = " ip=dhcp gw= quiet  cache=64M ip=10.0.0.2/24 ipx=1";
    char v[16];
    ck_assert(text_option(line, "ip", v, sizeof(v)));
    ck_assert_str_eq(v, "10.0.0.2/24");
    ck_assert(text_option(line, "gw", v, sizeof(v)));
    ck_assert_str_eq(v, "");
    ck_assert(text_option(line, "quiet", v, sizeof(v)));
    ck_assert_str_eq(v, "");
    ck_assert(!text_option(line, "i", v, sizeof(v)));
    ck_assert(!text_option(line, "ip", v, 4));
    ck_assert(!text_option("", "ip", v, sizeof(v)));
    ck_assert_uint_eq(text_option_number(line, "cache", 1), 64u << 20);
    ck_assert_uint_eq(text_option_number(line, "gw", 3), 3);
    ck_assert_uint_eq(text_option_number(line, "none", 5), 5);
}
END_TEST

START_TEST(numbers)
{
    uint64_t v;
    ck_assert(text_number("18446744073709551615", &v, NULL));
    ck_assert_uint_eq(v, UINT64_MAX);
    ck_assert(!text_number("18446744073709551616", &v, NULL));
    ck_assert(text_number("0xFFk", &v, NULL));
    ck_assert_uint_eq(v, 0xffu << 10);
    const char *end;
    ck_assert(text_number("10.1", &v, &end));
    ck_assert_str_eq(end, ".1");
    ck_assert(!text_number("10.1", &v, NULL));
    ck_assert(!text_number("", &v, NULL));
    ck_assert(!text_number("-1", &v, NULL));
    ck_assert(!text_number("0x", &v, NULL));
    ck_assert(!text_number("17179869184G", &v, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("text");
    TCase *t = tcase_create("text");
    tcase_add_test(t, format_agrees_with_libc);
    tcase_add_test(t, format_cuts_and_counts);
    tcase_add_test(t, option_words);
    tcase_add_test(t, numbers);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
