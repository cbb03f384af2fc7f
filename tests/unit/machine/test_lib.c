/* SPDX-License-Identifier: MIT */
/*
 * src/lib: text formatting against the C library's, and the memory functions
 * (renamed, so that they do not replace the sanitizer's) against loops.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "src/lib/format.h"
#include "src/lib/log.h"
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *pv_memcpy(void *restrict to, const void *restrict from, size_t n);
void *pv_memmove(void *to, const void *from, size_t n);
void *pv_memset(void *to, int byte, size_t n);
int pv_memcmp(const void *a, const void *b, size_t n);
void str_copy(char *to, size_t size, const char *s);

#define SAME(...)                                                              \
    do {                                                                       \
        char mine[64], theirs[64];                                             \
        size_t m = format(mine, sizeof(mine), __VA_ARGS__);                    \
        int t = snprintf(theirs, sizeof(theirs), __VA_ARGS__);                 \
        ck_assert_str_eq(mine, theirs);                                        \
        ck_assert_uint_eq(m, (size_t)t);                                       \
    } while (0)

START_TEST(test_format_like_libc)
{
    SAME("plain");
    SAME("%d %d %u", -1, 2147483647, 4294967295u);
    SAME("%d", (int)0x80000000);
    SAME("%lld %llu", (long long)INT64_MIN, (unsigned long long)UINT64_MAX);
    SAME("%x %08x %8x|%08u", 0xabcu, 0xabcu, 0xabcu, 99u);
    SAME("%016llx", 0x123456789abcdefull);
    SAME("%zu %lx", (size_t)7, 0x55ul);
    SAME("%s|%5s|%5d|%d%%", "abc", "de", -42, 0);
}
END_TEST

START_TEST(test_format_cuts)
{
    char small[5] = "zzzz";
    ck_assert_uint_eq(format(small, sizeof(small), "%s", "longer"), 6);
    ck_assert_str_eq(small, "long");
    ck_assert_uint_eq(format(NULL, 0, "%d", 12345), 5);
    ck_assert_uint_eq(format(small, 1, "abc"), 3);
    ck_assert_str_eq(small, "");
}
END_TEST

START_TEST(test_memory)
{
    uint8_t a[200], b[200], want[200];
    for (size_t n = 0; n < 70; n++) {
        for (size_t to = 0; to < 40; to++) {
            for (size_t i = 0; i < sizeof(a); i++) {
                a[i] = b[i] = want[i] = (uint8_t)(i * 7 + n);
            }
            memmove(want + to, want + 20, n);
            pv_memmove(a + to, a + 20, n);
            ck_assert_mem_eq(a, want, sizeof(a));
            memset(want + to, 0x5a, n);
            pv_memset(a + to, 0x15a, n);
            ck_assert_mem_eq(a, want, sizeof(a));
            pv_memcpy(a + to, b + 100, n);
            memcpy(want + to, b + 100, n);
            ck_assert_mem_eq(a, want, sizeof(a));
        }
    }
    for (size_t n = 1; n < 40; n++) {
        memcpy(a, b, n);
        ck_assert_int_eq(pv_memcmp(a, b, n), 0);
        a[n - 1] ^= 0x80;
        ck_assert_int_eq(pv_memcmp(a, b, n) < 0, memcmp(a, b, n) < 0);
    }
}
END_TEST

static char logged[400];

static void keep(const char *text, size_t len)
{
    memcpy(logged, text, len);
    logged[len] = 0;
}

START_TEST(test_log)
{
    log_to(keep);
    log_line("%s %d", "disk", 3);
    ck_assert_str_eq(logged, "disk 3\n");
    char long_text[400];
    memset(long_text, 'x', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = 0;
    log_line("%s", long_text);
    ck_assert_uint_eq(strlen(logged), 256);
    ck_assert_int_eq(logged[255], '\n');
}
END_TEST

START_TEST(test_str_copy)
{
    char to[6];
    memset(to, 'z', sizeof(to));
    str_copy(to, sizeof(to), "ab");
    ck_assert_mem_eq(to, "ab\0\0\0\0", 6);
    str_copy(to, sizeof(to), "abcdefgh");
    ck_assert_str_eq(to, "abcde");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lib");
    TCase *t = tcase_create("lib");
    tcase_add_test(t, test_format_like_libc);
    tcase_add_test(t, test_format_cuts);
    tcase_add_test(t, test_memory);
    tcase_add_test(t, test_log);
    tcase_add_test(t, test_str_copy);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
