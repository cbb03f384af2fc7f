/* SPDX-License-Identifier: MIT */
/*
 * A range in a diagram: the ways along the least and the greatest values
 * say which range it could be; the diagram made from that is the same node
 * exactly if it is.
 */
#include "dpf/diagram/span.h"

/* The least or the greatest value of node f's byte that is not refused. */
static uint32_t extreme(const struct dd *d, uint32_t f, bool greatest,
                        uint32_t *child)
{
    const struct dd_node *n = &d->nodes[f];
    uint32_t lo = 0, at = 0;
    *child = DD_NO;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct dd_edge *e = &d->edges[n->edges + i];
        if (e->child != DD_NO && (greatest || *child == DD_NO)) {
            at = greatest ? e->hi : lo;
            *child = e->child;
        }
        lo = e->hi + 1;
    }
    return at;
}

/* The bytes at least lo's or at most hi's, as `least` says; then rest. */
static uint32_t half(struct dd *d, const struct span *s, bool least,
                     uint32_t rest)
{
    uint32_t f = rest;
    for (uint32_t k = s->bytes; k-- > 0;) {
        uint32_t x = (least ? s->lo : s->hi) >> 8 * (s->bytes - 1 - k) & 0xff;
        uint32_t n = 0;
        struct dd_edge e[3];
        if (x) {
            e[n++] = (struct dd_edge){x - 1, least ? DD_NO : rest};
        }
        e[n++] = (struct dd_edge){x, f};
        if (x < 255) {
            e[n++] = (struct dd_edge){255, least ? rest : DD_NO};
        }
        f = dd_node(d, s->var + k, e, n);
    }
    return f;
}

static uint32_t span_diagram(struct dd *d, const struct span *s, uint32_t rest)
{
    return dd_ite(d, half(d, s, false, DD_YES), half(d, s, true, rest), DD_NO);
}

/* A range that begins at node f; *rest is where it leads. */
static bool span_at(struct dd *d, uint32_t f, struct span *s, uint32_t *rest)
{
    uint32_t low = f, high = f;
    *s = (struct span){.var = d->nodes[f].var};
    while (s->bytes < SPAN_BYTES_MAX &&
           dd_var_off(s->var) + s->bytes <= DD_OFF_FAR) {
        uint32_t var = s->var + s->bytes, lo = 0, hi = 255;
        if (dd_var(d, low) == var) {
            lo = extreme(d, low, false, &low);
        }
        if (dd_var(d, high) == var) {
            hi = extreme(d, high, true, &high);
        }
        s->lo = s->lo << 8 | lo;
        s->hi = s->hi << 8 | hi;
        s->bytes++;
        if (low == high &&
            s->lo >> 8 * (s->bytes - 1) < s->hi >> 8 * (s->bytes - 1) &&
            span_diagram(d, s, low) == f && !d->err) {
            *rest = low;
            return true;
        }
    }
    return false;
}

static bool covered(const struct cube *c, const struct span *s)
{
    return dd_var_off(s->var) + s->bytes <= cube_len(c, dd_var_base(s->var));
}

bool spans_read(struct dd *d, uint32_t f, struct cube *cube, struct span *out,
                uint32_t max, uint32_t *count)
{
    *count = 0;
    cube->count = cube->len_count = 0;
    while (!dd_is_term(f)) {
        uint32_t next = cube_step(d, f, cube);
        if (next == DD_NO) {
            if (*count == max || dd_var_is_len(d->nodes[f].var) ||
                !span_at(d, f, &out[*count], &next)) {
                return false;
            }
            ++*count;
        }
        f = next;
    }
    for (uint32_t i = 0; i < *count; i++) {
        if (!covered(cube, &out[i])) {
            return false;
        }
    }
    return f == DD_YES && !d->err;
}

bool span_read(struct dd *d, uint32_t f, struct cube *cube, struct span *out)
{
    uint32_t count;
    if (!spans_read(d, f, cube, out, 1, &count) || !count) {
        out->bytes = 0;
        return false;
    }
    return true;
}

bool span_holds(const struct span *s, const uint8_t *from)
{
    const uint8_t *at = from + dd_var_off(s->var);
    uint32_t x = 0;
    for (uint32_t i = 0; i < s->bytes; i++) {
        x = x << 8 | at[i];
    }
    return x - s->lo <= s->hi - s->lo;
}
