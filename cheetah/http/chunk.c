/* SPDX-License-Identifier: MIT */
/*
 * Reading past a chunked request body (RFC 9112 section 7.1), of which we use
 * nothing but its end. A state for each place between two bytes, so that the
 * body may come cut anywhere; strict for the reason given in http.c.
 */
#include "cheetah/http/http.h"

enum place {
    NOWHERE, /* not in a chunked body */
    SIZE,    /* before the first digit */
    DIGITS,  /* behind a digit */
    SPACE,   /* behind them, before ';' */
    EXT,     /* in an extension */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, /* at the start of a line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
};

void http_chunks_begin(struct http_chunks *k)
{
    *k = (struct http_chunks){.place = SIZE};
}

/* One more digit of a size; no size may pass what is left of the body. */
static int more_size(struct http_chunks *k, int digit)
{
    uint32_t size = k->left * 16 + (uint32_t)digit;
    k->left = size;
    k->place = DIGITS;
    return size <= HTTP_BODY_MAX - k->data ? 1 : -413;
}

static bool is_text(uint8_t c)
{
    return (c >= ' ' && c != 0x7f) || c == '\t';
}

static int want(struct http_chunks *k, bool good, enum place next)
{
    k->place = (uint8_t)next;
    return good ? 1 : -400;
}

/* A byte after the digits of a size, before its line feed. */
static int size_line(struct http_chunks *k, uint8_t c)
{
    if (c == '\r') {
        return want(k, k->place != SPACE, SIZE_LF);
    }
    if (k->place == EXT) {
        return is_text(c) ? 1 : -400;
    }
    if (c == ';') {
        return want(k, true, EXT);
    }
    return want(k, c == ' ' || c == '\t', SPACE);
}

/* One byte that is not data: 1, or the status of an error. */
static int step(struct http_chunks *k, uint8_t c)
{
    int digit = http_hex(c);
    if (++k->extra > HTTP_HEAD_MAX) {
        return -431;
    }
    switch (k->place) {
    case SIZE:
        k->left = 0;
        return digit >= 0 ? more_size(k, digit) : -400;
    case DIGITS:
        return digit >= 0 ? more_size(k, digit) : size_line(k, c);
    case SPACE:
    case EXT:
        return size_line(k, c);
    case SIZE_LF:
        return want(k, c == '\n', k->left != 0 ? DATA : TRAILER);
    case DATA_CR:
        return want(k, c == '\r', DATA_LF);
    case DATA_LF:
        return want(k, c == '\n', SIZE);
    case TRAILER:
        return c == '\r' ? want(k, true, LAST_LF)
                         : want(k, http_tchar(c), TRAILER_NAME);
    case TRAILER_NAME:
        return want(k, http_tchar(c) || c == ':',
                    c == ':' ? TRAILER_VALUE : TRAILER_NAME);
    case TRAILER_VALUE:
        return want(k, is_text(c) || c == '\r',
                    c == '\r' ? TRAILER_LF : TRAILER_VALUE);
    case TRAILER_LF:
        return want(k, c == '\n', TRAILER);
    default:
        return want(k, c == '\n', NOWHERE);
    }
}

int http_chunks_skip(struct http_chunks *k, const uint8_t *p, size_t len)
{
    size_t used = 0;
    while (used < len && k->place != NOWHERE) {
        if (k->place == DATA) {
            size_t n = k->left < len - used ? k->left : len - used;
            used += n;
            k->data += (uint32_t)n;
            k->left -= (uint32_t)n;
            k->place = k->left == 0 ? DATA_CR : DATA;
            continue;
        }
        int r = step(k, p[used]);
        if (r < 0) {
            return r;
        }
        used++;
    }
    return (int)used;
}
