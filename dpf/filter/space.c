/* SPDX-License-Identifier: MIT */
/*
 * Substitution of header lengths, satisfying packets.
 */
#include "dpf/filter/space.h"

#include "dpf/filter/cube.h"

#define LEVELS_MAX 8u
#define TRIES_MAX 4096u

/* What a base becomes once some bits of a byte are known. */
struct shift {
    uint32_t base[DD_BASES_MAX];
    uint32_t by[DD_BASES_MAX];
};

static bool same_bits(const struct dd_bits *a, const struct dd_bits *b)
{
    return a->var == b->var && a->src == b->src && a->len == b->len;
}

static uint32_t shift_var(const struct shift *s, uint32_t var)
{
    uint32_t b = DD_VAR_BASE(var);

    return DD_VAR_IS_LEN(var)
               ? DD_VAR_LEN(s->base[b])
               : DD_VAR_BYTE(s->base[b], DD_VAR_OFF(var) + s->by[b]);
}

/* The bases in `used` with the bits `t`, which lie in base 0, being `v`. */
static bool shift_bases(struct dd *d, struct dd_bits t, uint32_t v,
                        uint64_t used, struct shift *s)
{
    __builtin_memset(s, 0, sizeof(*s));
    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        struct dd_bits terms[DD_TERMS_MAX];
        uint32_t n = 0;

        if (!(used >> b & 1)) {
            continue;
        }
        for (uint32_t i = 0; i < d->bases[b].count; i++) {
            const struct dd_bits *term = &d->bases[b].terms[i];

            if (same_bits(term, &t)) {
                s->by[b] += v << term->dst;
            } else {
                terms[n] = *term;
                terms[n].var = shift_var(s, term->var);
                if (DD_VAR_OFF(terms[n].var) > DD_OFF_MAX) {
                    return false;
                }
                n++;
            }
        }
        s->base[b] = dd_base_of(d, terms, n);
        if (n && !s->base[b]) {
            return false;
        }
    }
    return true;
}

/* Node i with its edges led to now[] and its variable moved. */
static uint32_t rebuild(struct dd *d, uint32_t i, const struct shift *s,
                        const uint32_t *now)
{
    uint32_t var = shift_var(s, d->nodes[i].var), count = d->nodes[i].count;
    uint32_t by = DD_VAR_IS_LEN(var) ? s->by[DD_VAR_BASE(d->nodes[i].var)] : 0;
    uint32_t lo = 0, max = dd_var_max(var), r = DD_NO;

    for (uint32_t k = 0; k < count && !d->err; k++) {
        struct dd_edge e = d->edges[d->nodes[i].edges + k];
        uint32_t hi = e.hi < max - by ? e.hi + by : max;
        uint32_t child = dd_is_term(e.child) ? e.child : now[e.child];

        if (child != DD_NO) {
            r = dd_ite(d, dd_range(d, var, lo, hi, DD_YES, DD_NO), child, r);
        }
        lo = hi + 1;
    }
    return r;
}

/*
 * f where the bits `t` of a byte in base 0 are `v`, every base that depends
 * on them moved. Sets d->err when a slot for a base is missing.
 */
static uint32_t substitute(struct dd *d, uint32_t f, struct dd_bits t,
                           uint32_t v)
{
    uint32_t *now, size = f + 1, mask = ((1u << t.len) - 1u) << t.src;
    struct shift *s = heap_alloc(d->heap, sizeof(*s));
    uint8_t *seen = heap_alloc(d->heap, size);
    uint64_t used = dd_bases(d, f);

    now = heap_alloc(d->heap, size * sizeof(*now));
    if (!s || !seen || !now) {
        d->err = -DPF_E_MEM;
    } else if (!shift_bases(d, t, v, used, s)) {
        d->err = -DPF_E_TOO_BIG;
    } else {
        __builtin_memset(seen, 0, size);
        dd_reach(d, f, seen);
        for (uint32_t i = 0; i < size && !d->err; i++) {
            if (seen[i]) {
                now[i] = rebuild(d, i, s, now);
            }
        }
        f = dd_and(d, now[f], dd_byte_eq(d, t.var, mask, v << t.src, DD_YES));
        f = dd_and(d, f,
                   dd_range(d, DD_VAR_LEN(0), DD_VAR_OFF(t.var) + 1, DD_LEN_MAX,
                            DD_YES, DD_NO));
    }
    heap_free(d->heap, s, sizeof(*s));
    heap_free(d->heap, seen, size);
    heap_free(d->heap, now, size * sizeof(*now));
    return d->err ? DD_NO : f;
}

/* A packet on some path to a terminal but NO; bytes in base 0 only. */
static void path_packet(const struct dd *d, uint32_t f, struct witness *out)
{
    uint32_t len = 60; /* a frame's least, if the path allows it */

    __builtin_memset(out, 0, sizeof(*out));
    while (!dd_is_term(f)) {
        const struct dd_node *n = &d->nodes[f];
        uint32_t lo = 0, k = 0;

        while (d->edges[n->edges + k].child == DD_NO) {
            lo = d->edges[n->edges + k++].hi + 1;
        }
        if (DD_VAR_IS_LEN(n->var)) {
            uint32_t hi = d->edges[n->edges + k].hi;

            len = lo > len ? lo : hi < len ? hi : len;
        } else if (DD_VAR_OFF(n->var) < DPF_WITNESS_MAX) {
            out->packet[DD_VAR_OFF(n->var)] = (uint8_t)lo;
        }
        f = d->edges[n->edges + k].child;
    }
    out->len = len <= DPF_WITNESS_MAX ? len : 0;
}

static bool tests_var(const struct dd *d, uint32_t f, uint32_t var)
{
    for (uint32_t i = 0; i <= f; i++) {
        if (d->nodes[i].var == var) {
            return true; /* perhaps not below f: then hulls find nothing */
        }
    }
    return false;
}

/* Bits of base 0 that decide where a base of `f` lies. */
static bool deciding_bits(struct dd *d, uint32_t f, struct dd_bits *t)
{
    uint64_t used = dd_bases(d, f) & ~UINT64_C(1);

    if (!used) {
        return false;
    }
    *t = d->bases[__builtin_ctzll(used)].terms[0];
    return true;
}

/* Which slots for bases are in use. */
static uint64_t bases_used(const struct dd *d)
{
    uint64_t mask = 1;

    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        mask |= (uint64_t)(d->bases[b].count != 0) << b;
    }
    return mask;
}

int space_find(struct dd *d, uint32_t f, struct witness *out)
{
    struct {
        uint32_t f, next;
        struct dd_bits bits;
    } level[LEVELS_MAX];
    struct dd_mark m = dd_mark(d);
    uint64_t bases = bases_used(d);
    uint32_t depth = 0, tries = 0;
    bool unknown = false;
    int result = 0;

    while (f != DD_NO || depth) {
        if (f != DD_NO && !deciding_bits(d, f, &level[depth].bits)) {
            path_packet(d, f, out);
            result = 1;
            break;
        }
        if (f != DD_NO) {
            level[depth].f = f;
            level[depth].next = 0;
            if (depth + 1 == LEVELS_MAX) {
                unknown = true;
            } else {
                depth++;
            }
        }
        if (level[depth - 1].next >> level[depth - 1].bits.len) {
            depth--;
            f = DD_NO;
            continue;
        }
        /* An IP header is 5 words long more often than not: begin there. */
        f = substitute(d, level[depth - 1].f, level[depth - 1].bits,
                       (level[depth - 1].next++ + 5) &
                           ((1u << level[depth - 1].bits.len) - 1u));
        if (d->err == -DPF_E_TOO_BIG) {
            d->err = 0; /* this length is not known; another may do */
            f = DD_NO;
            unknown = true;
        }
        if (d->err || ++tries == TRIES_MAX) {
            result = d->err ? d->err : -DPF_E_TOO_BIG;
            break;
        }
    }
    dd_release(d, m);
    dd_bases_keep(d, bases);
    return result == 0 && unknown ? -DPF_E_TOO_BIG : result;
}

uint32_t space_settle(struct dd *d, uint32_t f)
{
    struct cube *hull = heap_alloc(d->heap, sizeof(*hull));
    struct dd_bits t;
    uint32_t may, i;

    if (!hull) {
        d->err = -DPF_E_MEM;
        return f;
    }
    while (!dd_is_term(f) && deciding_bits(d, f, &t) &&
           tests_var(d, f, t.var)) {
        uint32_t mask = ((1u << t.len) - 1u) << t.src, was = f;

        may = dd_apply(d, DD_MAY, f, 0, 0);
        if (d->err || cube_hull(d, may, hull)) {
            break;
        }
        for (i = 0; i < hull->count && hull->bytes[i].var != t.var; i++) {
        }
        if (i == hull->count || (hull->bytes[i].mask & mask) != mask) {
            break;
        }
        f = substitute(d, f, t,
                       (uint32_t)(hull->bytes[i].value & mask) >> t.src);
        if (d->err == -DPF_E_TOO_BIG) {
            d->err = 0;
            f = was;
            break;
        }
    }
    heap_free(d->heap, hull, sizeof(*hull));
    return f;
}
