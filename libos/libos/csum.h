/* SPDX-License-Identifier: MIT */
/*
 * The Internet checksum as partial sums (RFC 1071).
 *
 * A partial sum is the one's complement sum of the 16-bit words of a byte
 * range as they lie in memory, folded to 16 bits and not inverted. The range
 * counts as if it began at an even offset; a last odd byte is padded with
 * zero. One's complement sums do not care for byte order, so nothing here
 * swaps, and the value may be stored into a packet as it is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The partial sum of `len` bytes at `data`. */
uint16_t net_sum(const void *data, size_t len);

/* The partial sum of two ranges that were summed apart. */
static inline uint16_t net_sum_add(uint16_t a, uint16_t b)
{
    uint32_t s = (uint32_t)a + b;

    return (uint16_t)(s + (s >> 16));
}

/* `a` without `b`, which was a part of it: one's complement subtraction. */
static inline uint16_t net_sum_sub(uint16_t a, uint16_t b)
{
    return net_sum_add(a, (uint16_t)~b);
}

/* The sum that a range has when it begins at an odd offset instead. */
static inline uint16_t net_sum_shift(uint16_t a)
{
    return __builtin_bswap16(a);
}

/* Fold a sum of 16- and 32-bit words to 16 bits. */
static inline uint16_t net_sum_fold(uint64_t s)
{
    s = (s >> 32) + (s & 0xffffffff);
    s = (s >> 32) + (s & 0xffffffff);
    s = (s >> 16) + (s & 0xffff);
    s = (s >> 16) + (s & 0xffff);
    return (uint16_t)s;
}
