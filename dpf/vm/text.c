/* SPDX-License-Identifier: MIT */
/*
 * Messages without a C library, and the sentences of the error list.
 */
#include "dpf/vm/text.h"

#include "dpf/dpf.h"

void text_init(struct text *t, char *buf, size_t cap)
{
    t->buf = buf;
    t->cap = cap;
    t->len = 0;
    buf[0] = '\0';
}

void text_char(struct text *t, char c)
{
    if (t->len + 1 < t->cap) {
        t->buf[t->len++] = c;
        t->buf[t->len] = '\0';
    }
}

void text_str(struct text *t, const char *s)
{
    while (*s != '\0') {
        text_char(t, *s++);
    }
}

static void text_put_digits(struct text *t, uint64_t v, uint32_t radix)
{
    char digits[24];
    size_t n = sizeof(digits);
    digits[--n] = '\0';
    do {
        digits[--n] = "0123456789abcdef"[v % radix];
        v /= radix;
    } while (v != 0);
    text_str(t, digits + n);
}

void text_dec(struct text *t, int64_t v)
{
    uint64_t magnitude = (uint64_t)v;
    if (v < 0) {
        text_char(t, '-');
        magnitude = 0 - magnitude;
    }
    text_put_digits(t, magnitude, 10);
}

void text_hex(struct text *t, uint64_t v)
{
    text_str(t, "0x");
    text_put_digits(t, v, 16);
}

const char *dpf_strerror(int err)
{
    switch (-err) {
    case 0:
        return "success";
#define X(name, value, sentence)                                               \
    case value:                                                                \
        return sentence;
        DPF_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}
