/* SPDX-License-Identifier: MIT */
/*
 * Packets for a crowd: as a recipe says, and nearly so.
 */
#include "tests/diff/dpf/crowd.h"

#include <string.h>

static void put16(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)(x >> 8);
    p[1] = (uint8_t)x;
}

/* An IPv4 header with options; returns its length. */
static size_t put_ip(const struct recipe *w, uint8_t *p)
{
    static const uint8_t options[16] = {1, 7, 3, 0, 148, 4};
    size_t len = 4u * w->words;

    p[0] = (uint8_t)(0x40 | w->words);
    put16(p + 2, 40);
    p[8] = 64;
    p[9] = w->protocol;
    p[12] = p[16] = 10;
    p[15] = w->source;
    p[19] = w->target;
    if (len > 20) {
        memcpy(p + 20, options + w->source % 4, len - 20);
    }
    return len;
}

/* An IPv6 header with others behind it; returns the length of all. */
static size_t put_ip6(const struct recipe *w, uint8_t *p)
{
    static const uint8_t kinds[] = {0, 60, 43};
    size_t len = 40;
    uint8_t *next = p + 6;

    p[0] = 0x60;
    put16(p + 4, 40);
    p[23] = w->source;
    p[39] = w->target;
    for (uint32_t i = 0; i < w->chain; i++) {
        *next = kinds[(i + w->source) % 3];
        next = p + len;
        p[len + 1] = (uint8_t)(w->target % 4 == i);
        len += 8u + 8u * p[len + 1];
    }
    *next = w->protocol;
    return len;
}

static size_t build(const struct recipe *w, uint8_t *p)
{
    size_t at = 12;

    memset(p, 0, CROWD_BYTES);
    for (uint32_t i = 0; i < w->tags; i++, at += 4) {
        put16(p + at, 0x8100);
        put16(p + at + 2, w->vlan + 0x2000u * i);
    }
    put16(p + at, w->version == 4 ? 0x800 : w->version == 6 ? 0x86dd : 0x806);
    at += 2;
    if (w->version == 0) {
        p[at + 24] = 10;
        p[at + 27] = w->target;
        return at + 28;
    }
    at += w->version == 4 ? put_ip(w, p + at) : put_ip6(w, p + at);
    put16(p + at, w->from);
    put16(p + at + 2, w->to);
    p[at + 12] = (uint8_t)(w->data_words << 4);
    p[at + 4 * w->data_words] = w->data;
    at += 4 * w->data_words + 4;
    return at;
}

/* Change a field of the recipe. */
static void change(struct rng *r, struct recipe *w)
{
    switch (rng_below(r, 9)) {
    case 0:
        w->words = (uint8_t)(5 + rng_below(r, 4));
        return;
    case 1:
        w->data_words = (uint8_t)(5 + rng_below(r, 3));
        return;
    case 2:
        w->source = (uint8_t)rng_below(r, 12);
        return;
    case 3:
        w->target = (uint8_t)rng_below(r, 12);
        return;
    case 4:
        w->from = (uint16_t)(w->from + rng_below(r, 8));
        return;
    case 5:
        w->to = (uint16_t)(w->to + rng_below(r, 8) - 2);
        return;
    case 6:
        w->chain = (uint8_t)rng_below(r, 4);
        return;
    case 7:
        w->data = (uint8_t)rng_below(r, 4);
        return;
    default:
        w->protocol = rng_below(r, 2) ? 6 : 17;
    }
}

size_t crowd_packet(struct rng *r, const struct crowd_filter *f, uint8_t *out)
{
    struct recipe w = f->want;
    size_t len;

    if (f->either && rng_below(r, 2)) {
        w.version = w.version == 4 ? 6 : 4;
    }
    while (rng_below(r, 3) == 0) {
        change(r, &w);
    }
    len = build(&w, out);
    while (rng_below(r, 5) == 0) {
        out[rng_below(r, 60)] ^= (uint8_t)(1u << rng_below(r, 8));
    }
    if (rng_below(r, 6) == 0) {
        len = rng_below(r, (uint32_t)len + 8);
    }
    return len < CROWD_BYTES ? len : CROWD_BYTES;
}
