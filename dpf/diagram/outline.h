/* SPDX-License-Identifier: MIT */
/*
 * Outlines: the values that a filter allows to single bytes, each byte for
 * itself. An outline allows every packet that its filter accepts, and perhaps
 * others: it says where to look, never who owns.
 *
 * A byte is counted from a place: the packet's start, or the end of an IPv4
 * header behind Ethernet, behind one VLAN tag or behind two. A filter that
 * counts from elsewhere has no row for those bytes.
 */
#pragma once

#include "dpf/diagram/cube.h"

#define OUTLINE_ROWS_MAX 20u
#define OUTLINE_PLACES 4u
#define OUTLINE_MISSING 256u /* the value of a byte that a packet lacks */
#define OUTLINE_IP 14u       /* first byte of an IPv4 header behind Ethernet */
#define OUTLINE_TAG 4u       /* bytes of a VLAN tag */

/*
 * Values v of one byte with lo <= v <= hi and v & mask == value. A packet
 * that lacks the byte is not allowed.
 */
struct outline_row {
    uint32_t key; /* dd_var_byte(place, offset) */
    uint8_t lo, hi, mask, value;
};

struct outline {
    uint32_t count;
    struct outline_row rows[OUTLINE_ROWS_MAX]; /* ascending key */
};

/* A packet, and where its places are; SIZE_MAX / 2 where one is missing. */
struct outline_view {
    const uint8_t *packet;
    size_t len;
    size_t at[OUTLINE_PLACES];
};

/* The byte whose low half is the length, in words, of a place's header. */
static inline uint32_t outline_decides(uint32_t place)
{
    return OUTLINE_IP + OUTLINE_TAG * (place - 1);
}

/* The place that `b` is, or OUTLINE_PLACES if it is none. */
uint32_t outline_place(const struct dd_base *b);
/* The same of base `n` of `bases`; base 0 is the packet's start. */
static inline uint32_t outline_place_of(const struct dd_base *bases, uint32_t n)
{
    return n != 0 ? outline_place(&bases[n]) : 0;
}

/* Where a place is in a packet that has the byte that decides it. */
static inline size_t outline_at(uint32_t place, const uint8_t *packet)
{
    return place == 0 ? 0 : (size_t)(packet[outline_decides(place)] & 15) << 2;
}

void outline_look(struct outline_view *v, const uint8_t *packet, size_t len);

/* The byte with this key, or OUTLINE_MISSING. */
static inline uint32_t outline_value(const struct outline_view *v, uint32_t key)
{
    size_t at = v->at[dd_var_base(key)] + dd_var_off(key);

    return at < v->len ? v->packet[at] : OUTLINE_MISSING;
}

static inline bool outline_has(const struct outline_row *r, uint32_t x)
{
    return x >= r->lo && x <= r->hi && (x & r->mask) == r->value;
}

/* The row with this key, or NULL. */
const struct outline_row *outline_row(const struct outline *o, uint32_t key);

/* At least as many values as the row has, at most 256. */
uint32_t outline_size(const struct outline_row *r);

/* Does the outline allow the packet? */
bool outline_allows(const struct outline *o, const struct outline_view *v);

/* Can a packet be allowed by both? */
bool outline_meets(const struct outline *a, const struct outline *b);

/* Make `o` allow what `other` allows, too. */
void outline_widen(struct outline *o, const struct outline *other);

/*
 * Ask for one byte more, the one with the row's key. Of too many rows the
 * widest is left out. The rows come in any order, each key once.
 */
void outline_add(struct outline *o, struct outline_row r);

/* Of a cube whose bytes count from `bases`; bytes that vary are left out. */
void outline_cube(struct outline *o, const struct cube *c,
                  const struct dd_base *bases);
