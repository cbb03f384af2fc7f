/* SPDX-License-Identifier: MIT */
/*
 * The memory functions of environments, under other names so that they do not
 * replace the sanitizer's, against the host's: all short lengths, whatever the
 * alignment and the overlap.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *os_memcpy(void *restrict to, const void *restrict from, size_t n);
void *os_memmove(void *to, const void *from, size_t n);
void *os_memset(void *to, int byte, size_t n);
int os_memcmp(const void *a, const void *b, size_t n);

#define LEN_MAX 150u
#define AT 24u /* where the middle lies, so that all overlaps are tried */

static uint8_t mine[LEN_MAX + 2 * AT], want[LEN_MAX + 2 * AT];

static void fill(void)
{
    for (size_t i = 0; i < sizeof(mine); i++) {
        mine[i] = want[i] = (uint8_t)(i * 7 + 1);
    }
}

START_TEST(moves_overlap)
{
    for (size_t n = 0; n < LEN_MAX; n++) {
        for (size_t to = 0; to < 2 * AT; to++) {
            fill();
            memmove(want + to, want + AT, n);
            ck_assert_ptr_eq(os_memmove(mine + to, mine + AT, n), mine + to);
            ck_assert_mem_eq(mine, want, sizeof(mine));
        }
    }
}
END_TEST

START_TEST(copies_and_fills_end_where_they_should)
{
    uint8_t from[LEN_MAX];
    for (size_t i = 0; i < sizeof(from); i++) {
        from[i] = (uint8_t)(200 - i);
    }
    for (size_t n = 0; n < LEN_MAX; n++) {
        for (size_t to = 0; to < 9; to++) {
            fill();
            memcpy(want + to, from, n);
            ck_assert_ptr_eq(os_memcpy(mine + to, from, n), mine + to);
            ck_assert_mem_eq(mine, want, sizeof(mine));
            memset(want + to, 0xa5, n);
            ck_assert_ptr_eq(os_memset(mine + to, 0x1a5, n), mine + to);
            ck_assert_mem_eq(mine, want, sizeof(mine));
        }
    }
}
END_TEST

START_TEST(comparisons_find_the_first_difference)
{
    for (size_t n = 1; n < 40; n++) {
        fill();
        ck_assert_int_eq(os_memcmp(mine, want, n), 0);
        for (size_t i = 0; i < n; i++) {
            fill();
            mine[i] ^= 0x80;
            mine[n] ^= 0x80; /* beyond the end */
            int w = memcmp(mine, want, n), m = os_memcmp(mine, want, n);
            ck_assert_int_eq(w < 0, m < 0);
            ck_assert_int_ne(m, 0);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("string");
    TCase *t = tcase_create("string");
    tcase_add_test(t, moves_overlap);
    tcase_add_test(t, copies_and_fills_end_where_they_should);
    tcase_add_test(t, comparisons_find_the_first_difference);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
