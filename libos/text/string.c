/* SPDX-License-Identifier: MIT */
/*
 * The memory functions that compilers call. Long runs by string instructions
 * of eight bytes, short ones by words. Not `rep movsb`: QEMU emulates it byte
 * by byte (330 bytes: 503 ns against 47 ns by `rep movsq`). The empty asm
 * statements keep loops from being compiled into calls of what they define.
 */
#include "libos/libos/text.h"

#define LONG_RUN 64u /* bytes from which starting up `rep` pays */

/* Unaligned words: the attribute makes the access one plain instruction. */
struct word {
    uint64_t v;
} __attribute__((packed, may_alias));

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (n >= LONG_RUN) {
        size_t words = n / 8;
        __asm__ volatile("rep movsq"
                         : "+D"(d), "+S"(s), "+c"(words)
                         :
                         : "memory");
        n %= 8;
    }
    for (; n >= 8; n -= 8, d += 8, s += 8) {
        ((struct word *)d)->v = ((const struct word *)s)->v;
        __asm__ volatile("");
    }
    if (n > 0 && d - (uint8_t *)to >= 8) { /* the last word, again in part */
        ((struct word *)(d + n - 8))->v = ((const struct word *)(s + n - 8))->v;
        return to;
    }
    for (; n > 0; n--) {
        *d++ = *s++;
        __asm__ volatile("");
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    uint8_t *d = to;
    uint64_t fill = (uint8_t)byte * 0x0101010101010101ull;
    if (n >= LONG_RUN) {
        size_t words = n / 8;
        __asm__ volatile("rep stosq"
                         : "+D"(d), "+c"(words)
                         : "a"(fill)
                         : "memory");
        n %= 8;
    }
    for (; n >= 8; n -= 8, d += 8) {
        ((struct word *)d)->v = fill;
        __asm__ volatile("");
    }
    if (n > 0 && d - (uint8_t *)to >= 8) {
        ((struct word *)(d + n - 8))->v = fill;
        return to;
    }
    for (; n > 0; n--) {
        *d++ = (uint8_t)byte;
        __asm__ volatile("");
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= n && (uintptr_t)s - (uintptr_t)d >= n) {
        return memcpy(to, from, n);
    }
    if (d < s) { /* forward; but memcpy's last word reads bytes again */
        for (; n >= 8; n -= 8, d += 8, s += 8) {
            ((struct word *)d)->v = ((const struct word *)s)->v;
            __asm__ volatile("");
        }
        for (; n > 0; n--) {
            *d++ = *s++;
            __asm__ volatile("");
        }
        return to;
    }
    /* The ends overlap: from the last byte down. */
    d += n - 1;
    s += n - 1;
    __asm__ volatile("std\n\trep movsb\n\tcld"
                     : "+D"(d), "+S"(s), "+c"(n)
                     :
                     : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
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

size_t strlen(const char *s)
{
    const char *end = s;
    while (*end) {
        end++;
    }
    return (size_t)(end - s);
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}
