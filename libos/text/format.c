/* SPDX-License-Identifier: MIT */
/*
 * Formatting into a bounded buffer. Counts what the whole text needs, writes
 * what fits, and always ends with a zero.
 */
#include "libos/libos/text.h"

struct out {
    char *buf;
    size_t size, need;
};

struct spec {
    bool left, zero;
    int width, precision; /* precision -1: none */
    int length;           /* 0 int, 1 long and longer, -1 short, -2 char */
};

static void put(struct out *o, char c)
{
    if (o->need + 1 < o->size) {
        o->buf[o->need] = c;
    }
    o->need++;
}

static void pad(struct out *o, char c, int n)
{
    while (n-- > 0) {
        put(o, c);
    }
}

static void put_text(struct out *o, const struct spec *s, const char *text,
                     int len)
{
    if (!s->left) {
        pad(o, ' ', s->width - len);
    }
    for (int i = 0; i < len; i++) {
        put(o, text[i]);
    }
    if (s->left) {
        pad(o, ' ', s->width - len);
    }
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
    int len = 0;
    if (text == NULL) {
        text = "(null)";
    }
    while ((s->precision < 0 || len < s->precision) && text[len]) {
        len++;
    }
    put_text(o, s, text, len);
}

/* base 16 with the digits of `digits`, else 10 */
static void put_number(struct out *o, const struct spec *s, uint64_t v,
                       bool negative, const char *digits)
{
    uint64_t base = digits != NULL ? 16 : 10;
    char text[24];
    int at = (int)sizeof(text);
    do {
        text[--at] = (digits != NULL ? digits : "0123456789")[v % base];
        v /= base;
    } while (v);
    if (s->zero && !s->left) {
        int room = s->width - (int)sizeof(text) + at - negative;
        if (negative) {
            put(o, '-');
        }
        pad(o, '0', room);
        put_text(o, &(struct spec){0}, text + at, (int)sizeof(text) - at);
        return;
    }
    if (negative) {
        text[--at] = '-';
    }
    put_text(o, s, text + at, (int)sizeof(text) - at);
}

static int parse_int(const char **fmt)
{
    int v = 0;
    while (**fmt >= '0' && **fmt <= '9') {
        v = v * 10 + (*(*fmt)++ - '0');
    }
    return v;
}

static const char *parse_flags(const char *fmt, struct spec *s)
{
    for (;; fmt++) {
        if (*fmt == '-') {
            s->left = true;
        } else if (*fmt == '0') {
            s->zero = true;
        } else {
            return fmt;
        }
    }
}

static const char *parse_length(const char *fmt, struct spec *s)
{
    for (;; fmt++) {
        if (*fmt == 'l' || *fmt == 'z') {
            s->length = 1;
        } else if (*fmt == 'h') {
            s->length--;
        } else {
            return fmt;
        }
    }
}

static void convert_signed(struct out *o, const struct spec *s, int64_t v)
{
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    put_number(o, s, magnitude, v < 0, NULL);
}

static uint64_t narrow(const struct spec *s, unsigned v)
{
    return s->length == -1 ? v & 0xffff : s->length < -1 ? v & 0xff : v;
}

size_t text_vformat(char *buf, size_t size, const char *fmt, va_list args)
{
    struct out o = {buf, size, 0};
    while (*fmt) {
        struct spec s = {.precision = -1};
        if (*fmt != '%') {
            put(&o, *fmt++);
            continue;
        }
        fmt = parse_flags(fmt + 1, &s);
        if (*fmt == '*') {
            s.width = va_arg(args, int);
            fmt++;
        } else {
            s.width = parse_int(&fmt);
        }
        if (*fmt == '.') {
            fmt++;
            if (*fmt == '*') {
                s.precision = va_arg(args, int);
                fmt++;
            } else {
                s.precision = parse_int(&fmt);
            }
        }
        fmt = parse_length(fmt, &s);
        switch (*fmt) {
        case 'd':
        case 'i':
            convert_signed(&o, &s,
                           s.length > 0 ? va_arg(args, int64_t)
                                        : va_arg(args, int));
            break;
        case 'u':
        case 'x':
        case 'X': {
            uint64_t v = s.length > 0 ? va_arg(args, uint64_t)
                                      : narrow(&s, va_arg(args, unsigned));

            put_number(&o, &s, v, false,
                       *fmt == 'u'   ? NULL
                       : *fmt == 'x' ? "0123456789abcdef"
                                     : "0123456789ABCDEF");
            break;
        }
        case 'p':
            put(&o, '0');
            put(&o, 'x');
            put_number(&o, &s, (uint64_t)va_arg(args, void *), false,
                       "0123456789abcdef");
            break;
        case 'c': {
            char c = (char)va_arg(args, int);

            put_text(&o, &s, &c, 1);
            break;
        }
        case 's':
            put_string(&o, &s, va_arg(args, const char *));
            break;
        case '\0':
            continue;
        default: /* "%%", or a conversion that does not exist */
            put(&o, *fmt);
        }
        fmt++;
    }
    if (size > 0) {
        buf[o.need < size ? o.need : size - 1] = '\0';
    }
    return o.need;
}

size_t text_format(char *out, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t need = text_vformat(out, size, fmt, args);
    va_end(args);
    return need;
}
