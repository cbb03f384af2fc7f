/* SPDX-License-Identifier: MIT */
/*
 * Outlines: see the header.
 */
#include "dpf/diagram/outline.h"

#define NOWHERE (SIZE_MAX / 2) /* plus any offset it is beyond all packets */

uint32_t outline_place(const struct dd_base *b)
{
    const struct dd_bits *t = &b->terms[0];
    uint32_t tags = (t->var - dd_var_byte(0, OUTLINE_IP)) / OUTLINE_TAG;
    bool is_header_length = b->count == 1 && t->dst == 2 && t->src == 0 &&
                            t->len == 4 && !t->inverted;
    if (is_header_length && tags < OUTLINE_PLACES - 1 &&
        t->var == dd_var_byte(0, outline_decides(tags + 1))) {
        return tags + 1;
    }
    return OUTLINE_PLACES;
}

void outline_look(struct outline_view *v, const uint8_t *packet, size_t len)
{
    v->packet = packet;
    v->len = len;
    v->at[0] = 0;
    for (uint32_t i = 1; i < OUTLINE_PLACES; i++) {
        v->at[i] = outline_decides(i) < len ? outline_at(i, packet) : NOWHERE;
    }
}

const struct outline_row *outline_row(const struct outline *o, uint32_t key)
{
    for (uint32_t i = 0; i < o->count && o->rows[i].key <= key; i++) {
        if (o->rows[i].key == key) {
            return &o->rows[i];
        }
    }
    return NULL;
}

uint32_t outline_size(const struct outline_row *r)
{
    uint32_t range = r->hi - r->lo + 1u;
    uint32_t masked = 256u >> __builtin_popcount(r->mask);
    return range < masked ? range : masked;
}

bool outline_allows(const struct outline *o, const struct outline_view *v)
{
    for (uint32_t i = 0; i < o->count; i++) {
        if (!outline_has(&o->rows[i], outline_value(v, o->rows[i].key))) {
            return false;
        }
    }
    return true;
}

bool outline_meets(const struct outline *a, const struct outline *b)
{
    for (uint32_t i = 0, k = 0; i < a->count && k < b->count;) {
        const struct outline_row *x = &a->rows[i], *y = &b->rows[k];
        if (x->key == y->key &&
            (x->lo > y->hi || y->lo > x->hi ||
             ((x->value ^ y->value) & x->mask & y->mask) != 0)) {
            return false;
        }
        i += x->key <= y->key;
        k += y->key <= x->key;
    }
    return true;
}

/* Without an ask a row says nothing. */
static bool is_any(const struct outline_row *r)
{
    return r->lo == 0 && r->hi == 255 && r->mask == 0;
}

void outline_widen(struct outline *o, const struct outline *other)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->count; i++) {
        struct outline_row r = o->rows[i];
        const struct outline_row *x = outline_row(other, r.key);
        if (x == NULL) {
            continue;
        }
        r.lo = x->lo < r.lo ? x->lo : r.lo;
        r.hi = x->hi > r.hi ? x->hi : r.hi;
        r.mask = (uint8_t)(r.mask & x->mask & ~(r.value ^ x->value));
        r.value &= r.mask;
        if (!is_any(&r)) {
            o->rows[n++] = r;
        }
    }
    o->count = n;
}

/* The first of the rows that have the most values. */
static uint32_t widest(const struct outline *o)
{
    uint32_t most = 0;
    for (uint32_t i = 1; i < o->count; i++) {
        if (outline_size(&o->rows[i]) > outline_size(&o->rows[most])) {
            most = i;
        }
    }
    return most;
}

void outline_add(struct outline *o, struct outline_row r)
{
    if (is_any(&r)) {
        return;
    }
    uint32_t at;
    if (o->count == OUTLINE_ROWS_MAX) {
        at = widest(o);
        if (outline_size(&r) >= outline_size(&o->rows[at])) {
            return;
        }
        for (o->count--; at < o->count; at++) {
            o->rows[at] = o->rows[at + 1];
        }
    }
    for (at = o->count++; at > 0 && o->rows[at - 1].key > r.key; at--) {
        o->rows[at] = o->rows[at - 1];
    }
    o->rows[at] = r;
}

void outline_cube(struct outline *o, const struct cube *c,
                  const struct dd_base *bases)
{
    o->count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct cube_byte *b = &c->bytes[i];
        uint32_t base = dd_var_base(b->var);
        uint32_t place = base != 0 ? outline_place(&bases[base]) : 0;
        if (b->varies == 0 && place < OUTLINE_PLACES) {
            outline_add(o, (struct outline_row){
                               dd_var_byte(place, dd_var_off(b->var)), b->value,
                               (uint8_t)(b->value | (uint8_t)~b->mask), b->mask,
                               b->value});
        }
    }
}
