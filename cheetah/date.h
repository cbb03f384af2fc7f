/* SPDX-License-Identifier: MIT */
/* HTTP dates (RFC 9110 section 5.6.7). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATE_LEN 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */

/*
 * Write `t` as an IMF-fixdate, without a terminating zero.
 *
 * t    seconds since 1970; a value outside the years 1970 to 9999 is clamped
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
