/* SPDX-License-Identifier: MIT */
/*
 * Strings: the memory functions that compilers call, formatting, and the
 * "key=value" words of a command line.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);

/*
 * Format into `out`, always zero-terminated when size > 0. Knows
 * %d %i %u %x %X %c %s %p %%, flags - and 0, width, .precision of %s (also
 * *), and the lengths hh h l ll z. Returns the bytes the whole text needs.
 */
size_t text_vformat(char *out, size_t size, const char *fmt, va_list args);
size_t text_format(char *out, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The value of word `key` in a line of words "key=value"; the last one wins.
 * A word without '=' has the empty value. False if there is none, or it does
 * not fit `size`.
 */
bool text_option(const char *line, const char *key, char *value, size_t size);

/*
 * A number at the start of `s`: decimal, or 0x hexadecimal, with a suffix K,
 * M or G. The end is where parsing stopped (may be NULL: then all of `s` must
 * be the number). False if there is no number or it overflows.
 */
bool text_number(const char *s, uint64_t *value, const char **end);

/* The same as a word: `fallback` when there is no such word or no number. */
uint64_t text_option_number(const char *line, const char *key,
                            uint64_t fallback);
