/* SPDX-License-Identifier: MIT */
#include "src/lib/format.h"
#include "src/lib/string.h"
#include <stdbool.h>
#include <stdint.h>

struct out {
    char *to;
    size_t size, len;
};

/* One conversion, as parsed. */
struct spec {
    bool zero, wide; /* 64 bits, not an int */
    size_t width;
};

/* Counted beyond the end as well: callers learn the length that was needed. */
static void format_put(struct out *o, char c)
{
    if (o->len + 1 < o->size) {
        o->to[o->len] = c;
    }
    o->len++;
}

static void format_put_text(struct out *o, const struct spec *s,
                            const char *text, size_t len)
{
    for (size_t n = len; n < s->width; n++) {
        format_put(o, s->zero ? '0' : ' ');
    }
    for (size_t i = 0; i < len; i++) {
        format_put(o, text[i]);
    }
}

static void format_put_number(struct out *o, const struct spec *s, uint64_t v,
                              unsigned base, bool negative)
{
    char digits[24];
    size_t first = sizeof(digits);
    do {
        digits[--first] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    if (negative) {
        digits[--first] = '-';
    }
    format_put_text(o, s, digits + first, sizeof(digits) - first);
}

/*
 * The conversions that the kernel uses and no others: width, zeros in front,
 * and 'l' or 'z' for 64 bits.
 */
static const char *format_parse(const char *p, struct spec *s)
{
    *s = (struct spec){.zero = *p == '0'};
    for (; *p >= '0' && *p <= '9'; p++) {
        s->width = s->width * 10 + (size_t)(*p - '0');
    }
    for (; *p == 'l' || *p == 'z'; p++) {
        s->wide = true;
    }
    return p;
}

/* One conversion; p is after the %. Returns what follows it. */
static const char *convert(struct out *o, const char *p, va_list *args)
{
    struct spec s;
    p = format_parse(p, &s);
    switch (*p) {
    case 's': {
        const char *text = va_arg(*args, const char *);
        format_put_text(o, &s, text, str_len(text));
        break;
    }
    case 'd': {
        int64_t v = s.wide ? va_arg(*args, int64_t) : va_arg(*args, int);
        format_put_number(o, &s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10,
                          v < 0);
        break;
    }
    case 'u':
    case 'x': {
        uint64_t v = s.wide ? va_arg(*args, uint64_t) : va_arg(*args, unsigned);
        format_put_number(o, &s, v, *p == 'u' ? 10 : 16, false);
        break;
    }
    case 0:
        return p;
    default:
        format_put(o, *p);
    }
    return p + 1;
}

size_t format_list(char *to, size_t size, const char *fmt, va_list args)
{
    struct out o = {to, size, 0};
    va_list rest;
    va_copy(rest, args);
    while (*fmt != 0) {
        if (*fmt != '%') {
            format_put(&o, *fmt++);
        } else {
            fmt = convert(&o, fmt + 1, &rest);
        }
    }
    va_end(rest);
    if (size > 0) {
        to[o.len < size ? o.len : size - 1] = 0;
    }
    return o.len;
}

size_t format(char *to, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t n = format_list(to, size, fmt, args);
    va_end(args);
    return n;
}
