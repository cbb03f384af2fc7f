/* SPDX-License-Identifier: MIT */
/*
 * Copying and comparing, eight bytes a step. Compiled with -fno-builtin, or
 * the compiler would turn each loop into a call of itself.
 */
#include "src/lib/string.h"
#include <stdint.h>

/* Unaligned words: the attribute makes the access one plain instruction. */
struct word {
    uint64_t v;
} __attribute__((packed, may_alias));

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    for (; n >= 32; n -= 32, d += 32, s += 32) {
        const struct word *w = (const struct word *)s;
        struct word *o = (struct word *)d;
        uint64_t a = w[0].v, b = w[1].v, c = w[2].v, e = w[3].v;
        o[0].v = a;
        o[1].v = b;
        o[2].v = c;
        o[3].v = e;
    }
    for (; n >= 8; n -= 8, d += 8, s += 8) {
        ((struct word *)d)->v = ((const struct word *)s)->v;
    }
    if (n > 0 && d - (uint8_t *)to >= 8) { /* the last word, again in part */
        ((struct word *)(d + n - 8))->v = ((const struct word *)(s + n - 8))->v;
        return to;
    }
    for (; n > 0; n--) {
        *d++ = *s++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= n) { /* forward is safe, memcpy not */
        for (; n >= 8; n -= 8, d += 8, s += 8) {
            ((struct word *)d)->v = ((const struct word *)s)->v;
        }
        for (; n > 0; n--) {
            *d++ = *s++;
        }
        return to;
    }
    while (n > 0) {
        n--;
        d[n] = s[n];
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    uint8_t *d = to;
    uint64_t fill = (uint8_t)byte * 0x0101010101010101ull;
    for (; n >= 32; n -= 32, d += 32) {
        struct word *o = (struct word *)d;
        o[0].v = fill;
        o[1].v = fill;
        o[2].v = fill;
        o[3].v = fill;
    }
    for (; n >= 8; n -= 8, d += 8) {
        ((struct word *)d)->v = fill;
    }
    for (; n > 0; n--) {
        *d++ = (uint8_t)byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    while (n >= 8 &&
           ((const struct word *)x)->v == ((const struct word *)y)->v) {
        x += 8;
        y += 8;
        n -= 8;
    }
    for (; n > 0; n--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}

size_t str_len(const char *s)
{
    return str_len_max(s, SIZE_MAX);
}

size_t str_len_max(const char *s, size_t max)
{
    size_t n = 0;
    while (n < max && s[n] != 0) {
        n++;
    }
    return n;
}

void str_copy(char *to, size_t size, const char *s)
{
    size_t n = str_len_max(s, size - 1);
    memcpy(to, s, n);
    memset(to + n, 0, size - n);
}
