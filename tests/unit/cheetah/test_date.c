/* SPDX-License-Identifier: MIT */
/* HTTP dates against the C library's calendar, and all that must be refused. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cheetah/site/date.h"

#ifdef NDEBUG
#error "tests need assert"
#endif

#define NOW 1700000000 /* 2023 */

static bool parse(const char *s, int64_t *out)
{
    return date_parse(s, strlen(s), NOW, out);
}

START_TEST(formats_like_libc)
{
    unsigned seed = 7;
    for (int i = 0; i < 20000; i++) {
        int64_t t = (int64_t)rand_r(&seed) * 146 - 62135596800;
        time_t tt = (time_t)t;
        char want[64], have[DATE_LEN + 1] = {0};
        struct tm tm;
        gmtime_r(&tt, &tm);
        /* %Y of early years has less than four digits. */
        char day[16], clock[16];
        strftime(day, sizeof(day), "%a, %d %b", &tm);
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        snprintf(want, sizeof(want), "%s %04d %s GMT", day, tm.tm_year + 1900,
                 clock);
        date_format(t, have);
        ck_assert_str_eq(want, have);
        int64_t back = -1;
        ck_assert(parse(have, &back));
        ck_assert_int_eq(back, t);
    }
}
END_TEST

START_TEST(clamps)
{
    char have[DATE_LEN + 1] = {0};
    date_format(-5, have);
    ck_assert_str_eq(have, "Wed, 31 Dec 1969 23:59:55 GMT");
    date_format(INT64_MIN, have);
    ck_assert_str_eq(have, "Mon, 01 Jan 0001 00:00:00 GMT");
    date_format(INT64_MAX, have);
    ck_assert_str_eq(have, "Fri, 31 Dec 9999 23:59:59 GMT");
}
END_TEST

START_TEST(three_forms)
{
    int64_t t;
    ck_assert(parse("Sun, 06 Nov 1994 08:49:37 GMT", &t));
    ck_assert_int_eq(t, 784111777);
    ck_assert(parse("Sunday, 06-Nov-94 08:49:37 GMT", &t));
    ck_assert_int_eq(t, 784111777);
    ck_assert(parse("Sun Nov  6 08:49:37 1994", &t));
    ck_assert_int_eq(t, 784111777);
    ck_assert(parse("Wednesday, 01-Jan-20 00:00:00 GMT", &t));
    ck_assert_int_eq(t, 1577836800);
    /* 2073 is 50 years ahead; 74 means 1974. */
    ck_assert(parse("Sunday, 01-Jan-73 00:00:00 GMT", &t));
    ck_assert_int_eq(t, INT64_C(3250454400));
    ck_assert(parse("Tuesday, 01-Jan-74 00:00:00 GMT", &t));
    ck_assert_int_eq(t, 126230400);
}
END_TEST

START_TEST(refusals)
{
    static const char *const bad[] = {
        "",
        "Sun",
        "Sun,",
        "now",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Xun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nob 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunda, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t t = 12345;
        ck_assert_msg(!parse(bad[i], &t), "accepted '%s'", bad[i]);
        ck_assert_int_eq(t, 12345);
    }
    /* Every prefix of a good date is refused, and read within its bounds. */
    const char *good = "Sunday, 06-Nov-94 08:49:37 GMT";
    for (size_t n = 0; n < strlen(good); n++) {
        char *copy = malloc(n + 1);
        memcpy(copy, good, n);
        int64_t t;
        ck_assert(!date_parse(copy, n, NOW, &t));
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("date");
    TCase *t = tcase_create("date");
    tcase_add_test(t, formats_like_libc);
    tcase_add_test(t, clamps);
    tcase_add_test(t, three_forms);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
