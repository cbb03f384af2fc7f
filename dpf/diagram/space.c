/* SPDX-License-Identifier: MIT */
/*
 * Substitution of header lengths, satisfying packets.
 */
#include "dpf/diagram/space.h"

#include "dpf/diagram/cube.h"

#define LEVELS_MAX 8u
#define TRIES_MAX 4096u
#define SEARCH_EDGES (1u << 20) /* made in all tries of one search */
#define TRY_FIRST 5u /* an IP header is 5 words long more often than not */

/* What a base becomes once some bits of a byte are known, or that it is not
   there. */
struct shift {
    uint64_t gone; /* bases that no packet has: no byte is counted from them */
    uint32_t base[DD_BASES_MAX];
    uint32_t by[DD_BASES_MAX];
};

static bool same_bits(const struct dd_bits *a, const struct dd_bits *b)
{
    return a->var == b->var && a->src == b->src && a->len == b->len;
}

static uint32_t shift_var(const struct shift *s, uint32_t var)
{
    uint32_t b = dd_var_base(var);
    return dd_var_is_len(var)
               ? dd_var_len(s->base[b])
               : dd_var_byte(s->base[b], dd_var_off(var) + s->by[b]);
}

/* The bases in `used` with the bits `t`, which lie in base 0, being `v`. */
static bool shift_bases(struct dd *d, struct dd_bits t, uint32_t v,
                        uint64_t used, struct shift *s)
{
    __builtin_memset(s, 0, sizeof(*s));
    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        uint32_t n = 0;
        if (!(used >> b & 1)) {
            continue;
        }
        struct dd_bits terms[DD_TERMS_MAX];
        for (uint32_t i = 0; i < d->bases[b].count; i++) {
            const struct dd_bits *term = &d->bases[b].terms[i];
            if (same_bits(term, &t)) {
                s->by[b] += v << term->dst;
                continue;
            }
            terms[n] = *term;
            terms[n].var = shift_var(s, term->var);
            if (dd_var_off(terms[n].var) > DD_OFF_MAX) {
                return false;
            }
            n++;
        }
        s->base[b] = dd_base_of(d, terms, n);
        if (n && !s->base[b]) {
            return false;
        }
    }
    return true;
}

/* The bases in `used` in packets without byte `var`: as they are, or gone. */
static void lose_bases(const struct dd *d, uint32_t var, uint64_t used,
                       struct shift *s)
{
    __builtin_memset(s, 0, sizeof(*s));
    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        const struct dd_base *base = &d->bases[b];
        s->base[b] = b;
        for (uint32_t i = 0; used >> b & 1 && i < base->count; i++) {
            uint32_t v = base->terms[i].var;
            if (v == var || (s->gone >> dd_var_base(v) & 1)) {
                s->gone |= UINT64_C(1) << b;
            }
        }
    }
}

/* Node i where its base is gone: nothing is there, as dd_eval has it. */
static uint32_t without(const struct dd *d, uint32_t i, const uint32_t *now)
{
    const struct dd_node *node = &d->nodes[i];
    return dd_var_is_len(node->var)
               ? dd_renumber(d->edges[node->edges].child, now)
               : DD_NO;
}

/*
 * Node i with its edges led to now[] and its variable moved; `edges` has room
 * for them. No packet is longer than the largest length, so that intervals
 * moved beyond it are left out.
 */
static uint32_t rebuild(struct dd *d, uint32_t i, const struct shift *s,
                        const uint32_t *now, struct dd_edge *edges)
{
    const struct dd_node *node = &d->nodes[i];
    uint32_t var = shift_var(s, node->var), max = dd_var_max(var);
    uint32_t by = dd_var_is_len(var) ? s->by[dd_var_base(node->var)] : 0;
    uint32_t n = 0, lo = 0, r = DD_NO;
    bool ordered = true; /* the children still come later */
    do {
        struct dd_edge e = d->edges[node->edges + n];
        e.child = dd_is_term(e.child) ? e.child : now[e.child];
        e.hi = e.hi < max - by ? e.hi + by : max;
        ordered = ordered && dd_var(d, e.child) > var;
        edges[n++] = e;
    } while (edges[n - 1].hi < max);
    if (ordered) {
        return dd_node(d, var, edges, n);
    }
    for (uint32_t k = 0; k < n && !d->err; k++) {
        r = dd_ite(d, dd_range(d, var, lo, edges[k].hi, DD_YES, DD_NO),
                   edges[k].child, r);
        lo = edges[k].hi + 1;
    }
    return r;
}

/* f with every node below it moved. Sets d->err. */
static uint32_t shifted(struct dd *d, uint32_t f, const struct shift *s)
{
    uint32_t size = f + 1, most = 0, r = DD_NO;
    uint8_t *seen = dd_below(d, f, NULL);
    uint32_t *now = heap_alloc(d->heap, size * sizeof(*now));
    struct dd_edge *edges = NULL;
    if (seen != NULL && now != NULL) {
        for (uint32_t i = 0; i < size; i++) {
            most =
                seen[i] && d->nodes[i].count > most ? d->nodes[i].count : most;
        }
        edges = heap_alloc(d->heap, most * sizeof(*edges));
    }
    if (edges == NULL) {
        d->err = d->err ? d->err : -DPF_E_MEM;
    }
    for (uint32_t i = 0; i < size && !d->err; i++) {
        if (seen[i]) {
            bool gone = s->gone >> dd_var_base(d->nodes[i].var) & 1;
            r = now[i] =
                gone ? without(d, i, now) : rebuild(d, i, s, now, edges);
        }
    }
    heap_free(d->heap, seen, size);
    heap_free(d->heap, now, size * sizeof(*now));
    heap_free(d->heap, edges, most * sizeof(*edges));
    return r;
}

/*
 * f where the bits `t` of a byte in base 0 are `v`, every base that depends
 * on them moved. Sets d->err when a slot for a base is missing.
 */
static uint32_t substitute(struct dd *d, uint32_t f, struct dd_bits t,
                           uint32_t v)
{
    uint32_t mask = ((1u << t.len) - 1u) << t.src;
    struct shift *s = heap_alloc(d->heap, sizeof(*s));
    if (s == NULL) {
        d->err = -DPF_E_MEM;
    } else if (!shift_bases(d, t, v, dd_bases(d, f), s)) {
        d->err = -DPF_E_TOO_BIG;
    } else {
        /* Before the move: most values are not in f, and the rest is small. */
        f = dd_and(d, dd_byte_eq(d, t.var, mask, v << t.src, DD_YES), f);
        f = dd_and(d,
                   dd_range(d, dd_var_len(0), dd_var_off(t.var) + 1, DD_LEN_MAX,
                            DD_YES, DD_NO),
                   f);
        f = dd_is_term(f) || d->err ? f : shifted(d, f, s);
    }
    heap_free(d->heap, s, sizeof(*s));
    return d->err ? DD_NO : f;
}

/*
 * f where byte `var` of base 0 is missing: no base that depends on it is
 * anywhere. With this, the values of the byte are all cases that there are.
 */
static uint32_t absent(struct dd *d, uint32_t f, uint32_t var)
{
    struct shift *s = heap_alloc(d->heap, sizeof(*s));
    if (s == NULL) {
        d->err = -DPF_E_MEM;
        return DD_NO;
    }
    lose_bases(d, var, dd_bases(d, f), s);
    f = dd_and(d, dd_range(d, dd_var_len(0), 0, dd_var_off(var), DD_YES, DD_NO),
               f);
    f = dd_is_term(f) || d->err ? f : shifted(d, f, s);
    heap_free(d->heap, s, sizeof(*s));
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
        if (dd_var_is_len(n->var)) {
            uint32_t hi = d->edges[n->edges + k].hi;
            len = lo > len ? lo : hi < len ? hi : len;
        } else if (dd_var_off(n->var) < DPF_WITNESS_MAX) {
            out->packet[dd_var_off(n->var)] = (uint8_t)lo;
        }
        f = d->edges[n->edges + k].child;
    }
    out->len = len <= DPF_WITNESS_MAX ? len : 0;
}

static bool tests_var(struct dd *d, uint32_t f, uint32_t var)
{
    if (!dd_work(d, f / 8)) {
        return false;
    }
    for (uint32_t i = 0; i <= f; i++) {
        heap_pass(d->heap, i % 8 == 0);
        if (d->nodes[i].var == var) {
            return true; /* perhaps not below f: then hulls find nothing */
        }
    }
    return false;
}

/* Bits of base 0 that decide where a base of `f` lies. */
static bool deciding_bits(const struct dd *d, uint32_t f, struct dd_bits *t)
{
    uint64_t used = dd_bases(d, f) & ~UINT64_C(1);
    if (!used) {
        return false;
    }
    *t = d->bases[__builtin_ctzll(used)].terms[0];
    return true;
}

/*
 * The search's way: at each level some bits of `f` take all their values, and
 * then their byte is missing.
 */
struct level {
    uint32_t f, next; /* the value tried next, counted from TRY_FIRST */
    struct dd_bits bits;
    struct dd_mark mark; /* what the tries below made comes after it */
    uint64_t bases;
};

struct search {
    struct dd *d;
    struct level level[LEVELS_MAX];
    uint32_t depth, tries;
    uint32_t edges; /* that it may still make */
    bool unknown;   /* some length could not be decided */
};

static void enter(struct search *q, uint32_t f, struct dd_bits bits)
{
    if (q->depth == LEVELS_MAX) {
        q->unknown = true;
        return;
    }
    q->level[q->depth++] =
        (struct level){f, 0, bits, dd_mark(q->d), dd_bases_used(q->d)};
}

/* Forget what the last try at this level made: it led nowhere. */
static void back(struct search *q, const struct level *l)
{
    q->edges -= q->d->edge_count - l->mark.edges;
    dd_release(q->d, l->mark);
    dd_bases_keep(q->d, l->bases);
}

/*
 * The innermost level's diagram with its next value, or without the byte;
 * DD_NO if that cannot be or is not known, or if the level has no more and was
 * left.
 */
static uint32_t try_next(struct search *q)
{
    struct level *l = &q->level[q->depth - 1];
    uint32_t values = 1u << l->bits.len;
    back(q, l);
    if (l->next > values) {
        q->depth--;
        return DD_NO;
    }
    q->d->edge_limit = l->mark.edges + q->edges;
    q->tries++;
    uint32_t f = l->next < values
                     ? substitute(q->d, l->f, l->bits,
                                  (l->next + TRY_FIRST) & (values - 1))
                     : absent(q->d, l->f, l->bits.var);
    l->next++;
    if (q->d->err == -DPF_E_TOO_BIG) {
        q->d->err = 0; /* this length is not known; another may do */
        q->unknown = true;
    }
    return f;
}

static int search(struct search *q, uint32_t f, struct witness *out)
{
    struct dd_bits bits;
    while (f != DD_NO || q->depth) {
        if (q->d->err || q->tries == TRIES_MAX) {
            return q->d->err ? q->d->err : -DPF_E_TOO_BIG;
        }
        if (f == DD_NO) {
            f = try_next(q);
        } else if (deciding_bits(q->d, f, &bits)) {
            enter(q, f, bits);
            f = DD_NO;
        } else {
            path_packet(q->d, f, out);
            return 1;
        }
    }
    return q->unknown ? -DPF_E_TOO_BIG : 0;
}

int space_find(struct dd *d, uint32_t f, struct witness *out)
{
    struct search *q = heap_alloc(d->heap, sizeof(*q));
    struct dd_mark m = dd_mark(d);
    uint64_t bases = dd_bases_used(d);
    uint32_t limit = d->edge_limit;
    if (q == NULL) {
        return -DPF_E_MEM;
    }
    q->d = d;
    q->depth = q->tries = 0;
    q->edges = SEARCH_EDGES;
    q->unknown = false;
    int result = search(q, f, out);
    heap_free(d->heap, q, sizeof(*q));
    dd_release(d, m);
    dd_bases_keep(d, bases);
    d->edge_limit = limit;
    return result;
}

uint32_t space_settle(struct dd *d, uint32_t f)
{
    struct cube *hull = heap_alloc(d->heap, sizeof(*hull));
    if (hull == NULL) {
        d->err = -DPF_E_MEM;
        return f;
    }
    uint32_t i;
    struct dd_bits t;
    while (!dd_is_term(f) && deciding_bits(d, f, &t) &&
           tests_var(d, f, t.var)) {
        uint32_t mask = ((1u << t.len) - 1u) << t.src, was = f;
        uint32_t may = dd_apply(d, DD_MAY, f, 0, 0);
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
        if (d->err == -DPF_E_TOO_BIG || d->err == -DPF_E_FUEL) {
            d->half_read = true;
            f = was;
            break;
        }
    }
    /* Out of room or of fuel: as far as it came. */
    d->err = d->err == -DPF_E_MEM ? d->err : 0;
    heap_free(d->heap, hull, sizeof(*hull));
    return f;
}
