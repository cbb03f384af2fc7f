/* SPDX-License-Identifier: MIT */
/*
 * The Internet checksum (RFC 1071). Adds 64-bit words with end-around carry,
 * which sums four 16-bit columns at once.
 */
#include "libos/libos/csum.h"

static inline uint64_t add_carry(uint64_t a, uint64_t b)
{
    uint64_t s;
    return s = a + b, s + (s < b);
}

static inline uint64_t word(const uint8_t *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

uint16_t net_sum(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t a = 0, b = 0, tail = 0;
    for (; len >= 32; len -= 32, p += 32) {
        a = add_carry(a, word(p));
        b = add_carry(b, word(p + 8));
        a = add_carry(a, word(p + 16));
        b = add_carry(b, word(p + 24));
    }
    for (; len >= 8; len -= 8, p += 8) {
        a = add_carry(a, word(p));
    }
    for (size_t i = 0; i < len; i++) {
        tail |= (uint64_t)p[i] << (8 * i);
    }
    a = add_carry(a, tail);
    return net_sum_fold(add_carry(a, b));
}
