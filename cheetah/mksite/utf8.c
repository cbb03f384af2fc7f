/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 well-formedness over a stream (Unicode 15, table 3-7), and the absence
 * of control bytes: what earns a body "charset=utf-8" or "text/plain".
 */
#include "cheetah/mksite/utf8.h"

/*
 * How many bytes follow, and the range of the next: narrower after some first
 * bytes, so that overlong forms, surrogates and numbers above U+10FFFF are not
 * text.
 */
static void first_byte(struct utf8 *u, uint8_t c)
{
    u->lo = 0x80;
    u->hi = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        u->need = 1;
    } else if (c >= 0xe0 && c <= 0xef) {
        u->need = 2;
        u->lo = c == 0xe0 ? 0xa0 : 0x80;
        u->hi = c == 0xed ? 0x9f : 0xbf;
    } else if (c >= 0xf0 && c <= 0xf4) {
        u->need = 3;
        u->lo = c == 0xf0 ? 0x90 : 0x80;
        u->hi = c == 0xf4 ? 0x8f : 0xbf;
    } else {
        u->bad = true;
    }
}

static bool is_control(uint8_t c)
{
    /* Tab, line and form feeds, backspace and escape occur in real text. */
    return c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' &&
           c != '\b' && c != 0x1b;
}

void utf8_add(struct utf8 *u, const uint8_t *p, size_t len)
{
    for (const uint8_t *end = p + len; p < end && !u->bad; p++) {
        if (u->need != 0) {
            u->bad = *p < u->lo || *p > u->hi;
            u->need--;
            u->lo = 0x80;
            u->hi = 0xbf;
        } else if (*p >= 0x80) {
            first_byte(u, *p);
        } else {
            u->bad = is_control(*p);
        }
    }
}
