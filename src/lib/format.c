/* SPDX-License-Identifier: MIT */
#include "src/lib/format.h"
#include <stdbool.h>
#include <stdint.h>

struct out {
    char *to;
    size_t size, len;
};

/* One conversion, as parsed. */
struct spec {
    bool left, zero;
    size_t width, precision;
    unsigned longs; /* 0: int, 1 and more: 64 bits */
};

static void put(struct out *o, char c)
{
    if (o->len + 1 < o->size) {
        o->to[o->len] = c;
    }
    o->len++;
}

static void pad(struct out *o, char c, size_t len, size_t width)
{
    for (; len < width; len++) {
        put(o, c);
    }
}

static void put_text(struct out *o, const struct spec *s, const char *text,
                     size_t len)
{
    if (!s->left) {
        pad(o, ' ', len, s->width);
    }
    for (size_t i = 0; i < len; i++) {
        put(o, text[i]);
    }
    if (s->left) {
        pad(o, ' ', len, s->width);
    }
}

static void put_number(struct out *o, const struct spec *s, uint64_t v,
                       unsigned base, bool negative)
{
    char digits[24];
    size_t n = 0, len;

    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    len = n + negative;
    if (!s->left && !s->zero) {
        pad(o, ' ', len, s->width);
    }
    if (negative) {
        put(o, '-');
    }
    if (!s->left && s->zero) {
        pad(o, '0', len, s->width);
    }
    while (n > 0) {
        put(o, digits[--n]);
    }
    if (s->left) {
        pad(o, ' ', len, s->width);
    }
}

static const char *parse_size(const char *p, size_t *out, va_list *args)
{
    if (*p == '*') {
        int v = va_arg(*args, int);

        *out = v < 0 ? 0 : (size_t)v;
        return p + 1;
    }
    *out = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        *out = *out * 10 + (size_t)(*p - '0');
    }
    return p;
}

static const char *parse(const char *p, struct spec *s, va_list *args)
{
    *s = (struct spec){.precision = SIZE_MAX};
    for (;; p++) {
        if (*p == '-') {
            s->left = true;
        } else if (*p == '0') {
            s->zero = true;
        } else {
            break;
        }
    }
    p = parse_size(p, &s->width, args);
    if (*p == '.') {
        p = parse_size(p + 1, &s->precision, args);
    }
    for (; *p == 'l' || *p == 'z'; p++) {
        s->longs++;
    }
    return p;
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
    size_t len = 0;

    if (text == NULL) {
        text = "(null)";
    }
    while (len < s->precision && text[len] != 0) {
        len++;
    }
    put_text(o, s, text, len);
}

static uint64_t next_unsigned(const struct spec *s, va_list *args)
{
    return s->longs ? va_arg(*args, uint64_t) : va_arg(*args, unsigned);
}

static void put_signed(struct out *o, const struct spec *s, va_list *args)
{
    int64_t v = s->longs ? va_arg(*args, int64_t) : va_arg(*args, int);

    put_number(o, s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, v < 0);
}

/* One conversion; p is after the %. Returns what follows it. */
static const char *convert(struct out *o, const char *p, va_list *args)
{
    struct spec s;
    char c;

    p = parse(p, &s, args);
    switch (*p) {
    case 'c':
        c = (char)va_arg(*args, int);
        put_text(o, &s, &c, 1);
        break;
    case 's':
        put_string(o, &s, va_arg(*args, const char *));
        break;
    case 'd':
    case 'i':
        put_signed(o, &s, args);
        break;
    case 'u':
        put_number(o, &s, next_unsigned(&s, args), 10, false);
        break;
    case 'x':
        put_number(o, &s, next_unsigned(&s, args), 16, false);
        break;
    case 'p':
        put(o, '0');
        put(o, 'x');
        put_number(o, &s, (uintptr_t)va_arg(*args, void *), 16, false);
        break;
    case 0:
        return p;
    default:
        put(o, *p);
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
            put(&o, *fmt++);
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
    size_t n;

    va_start(args, fmt);
    n = format_list(to, size, fmt, args);
    va_end(args);
    return n;
}
