/* SPDX-License-Identifier: MIT */
/* HTTP dates (RFC 9110 section 5.6.7). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATE_LEN 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */

/* The first and last second that a date can say: of the years 1 and 9999. */
#define DATE_FIRST INT64_C(-62135596800)
#define DATE_LAST INT64_C(253402300799)

/*
 * Write `t` as an IMF-fixdate, without a terminating zero.
 *
 * t    seconds since 1970; clamped to DATE_FIRST and DATE_LAST
 * out  DATE_LEN bytes
 */
void date_format(int64_t t, char *out);

/*
 * Read any of the three forms a recipient must accept: IMF-fixdate, the
 * RFC 850 form and asctime's.
 *
 * now  seconds since 1970; a two-digit year more than 50 years after it is
 *      taken to lie in the past century
 * out  seconds since 1970
 *
 * Returns whether `s` is a date; if not, *out is unchanged.
 */
bool date_parse(const char *s, size_t len, int64_t now, int64_t *out);
