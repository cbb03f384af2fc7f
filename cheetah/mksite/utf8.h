/* SPDX-License-Identifier: MIT */
/* Whether a stream of bytes is UTF-8 text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct utf8 {
    bool bad;       /* not UTF-8, or a control byte that text does not hold */
    unsigned need;  /* continuation bytes still expected */
    uint8_t lo, hi; /* bounds of the next one */
};

void utf8_add(struct utf8 *u, const uint8_t *p, size_t len);

/* The answer, after the last byte. */
static inline bool utf8_is_text(const struct utf8 *u)
{
    return !u->bad && u->need == 0;
}
