/* SPDX-License-Identifier: MIT */
/*
 * Messages without a C library: text appended to a fixed buffer that is
 * always terminated and silently cut at its end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct text {
    char *buf;
    size_t cap; /* bytes, at least 1 */
    size_t len; /* bytes used, without the terminator */
};

/* Start an empty text in `cap` bytes at `buf`; cap is at least 1. */
void text_init(struct text *t, char *buf, size_t cap);
void text_char(struct text *t, char c);
void text_str(struct text *t, const char *s);
void text_dec(struct text *t, int64_t v);
/* "0x" and the digits of `v`, without leading zeros. */
void text_hex(struct text *t, uint64_t v);
