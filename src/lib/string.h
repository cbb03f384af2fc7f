/* SPDX-License-Identifier: MIT */
/*
 * The four functions that compilers call by themselves, and a few on strings.
 * Standard meaning; freestanding C has no string.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A little-endian number where it may not be aligned. */
static inline uint32_t load_u32(const void *p)
{
    uint32_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t load_u64(const void *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

size_t str_len(const char *s);
/* Length of s, at most `max`; looks at no more than `max` bytes. */
size_t str_len_max(const char *s, size_t max);
/*
 * Copy s, cut to what fits, and fill the rest of `to` with zeros.
 *
 * size   bytes of `to`, not 0; the last is always zero
 */
void str_copy(char *to, size_t size, const char *s);
