/* SPDX-License-Identifier: MIT */
/* One suite of Check tests as a program that speaks TAP. */
#pragma once

#ifdef NDEBUG
#error "tests need their assertions"
#endif

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TESTS(name, ...)                                                       \
    int main(void)                                                             \
    {                                                                          \
        const TTest *const all[] = {__VA_ARGS__};                              \
        Suite *s = suite_create(name);                                         \
        TCase *c = tcase_create(name);                                         \
        tcase_set_timeout(c, 30);                                              \
        suite_add_tcase(s, c);                                                 \
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {            \
            tcase_add_test(c, all[i]);                                         \
        }                                                                      \
        SRunner *r = srunner_create(s);                                        \
        srunner_run_all(r, CK_ENV);                                            \
        int failed = srunner_ntests_failed(r);                                 \
        srunner_free(r);                                                       \
        return failed != 0;                                                    \
    }
