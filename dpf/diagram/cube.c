/* SPDX-License-Identifier: MIT */
/*
 * Cubes out of diagrams and back, and walks restricted to a cube.
 */
#include "dpf/diagram/cube.h"

/*
 * Are the values over edge k of node n, or `all` that lead where it does,
 * those of one masked equality? Then *b is it.
 */
static bool masked(const struct dd *d, const struct dd_node *n, uint32_t k,
                   bool all, struct cube_byte *b)
{
    const struct dd_edge *e = &d->edges[n->edges];
    uint32_t ones = 0xff, any = 0, count = 0;
    for (uint32_t i = 0, lo = 0; i < n->count; lo = e[i++].hi + 1) {
        if (i != k && !(all && e[i].child == e[k].child)) {
            continue;
        }
        for (uint32_t x = lo; x <= e[i].hi; x++) {
            ones &= x;
            any |= x;
            count++;
        }
    }
    *b = (struct cube_byte){n->var, (uint8_t) ~(ones ^ any), (uint8_t)ones, 0,
                            0};
    return count == 1u << __builtin_popcount(ones ^ any);
}

bool cube_add_len(struct cube *c, uint32_t base, uint32_t min)
{
    struct cube_len *l = &c->lens[c->len_count];
    for (; l != c->lens && l[-1].base >= base; l--) {
        if (l[-1].base == base) {
            l[-1].min = min > l[-1].min ? min : l[-1].min;
            return true;
        }
    }
    if (c->len_count == CUBE_LENS_MAX) {
        return false;
    }
    for (struct cube_len *k = &c->lens[c->len_count++]; k != l; k--) {
        *k = k[-1];
    }
    *l = (struct cube_len){base, min};
    return true;
}

bool cube_add(struct cube *c, struct cube_byte b)
{
    struct cube_byte *at = &c->bytes[c->count];
    for (; at != c->bytes && at[-1].var >= b.var; at--) {
        if (at[-1].var == b.var) {
            if ((at[-1].value ^ b.value) & at[-1].mask & b.mask) {
                return false;
            }
            at[-1].mask |= b.mask;
            at[-1].value |= b.value;
            return true;
        }
    }
    if (c->count == CUBE_BYTES_MAX) {
        return false;
    }
    for (struct cube_byte *k = &c->bytes[c->count++]; k != at; k--) {
        *k = k[-1];
    }
    *at = b;
    return true;
}

/* A step of the enumeration: which edge of which node, and c before it. */
struct step {
    uint32_t node;
    uint16_t edge;
    uint8_t len_count, count;
};

/*
 * Extend c by the way from node s->node over edge s->edge, which does not
 * lead to NO. Returns 1, 0 if its child was already taken, -1 if it cannot
 * be part of a cube; `whole` if all ways to the child must be one test.
 */
static int take(struct dd *d, const struct step *s, struct cube *c, bool whole)
{
    const struct dd_node *n = &d->nodes[s->node];
    const struct dd_edge *e = &d->edges[n->edges];
    uint32_t child = e[s->edge].child;
    (void)dd_work(d, 4 + n->count / 5);
    if (dd_var_is_len(n->var)) {
        /* At the root cube_split has seen to what is longer. */
        bool up = !whole && !(s->len_count | s->count);

        return (up || e[s->edge].hi == DD_LEN_MAX) && s->edge &&
                       cube_add_len(c, dd_var_base(n->var),
                                    e[s->edge - 1].hi + 1)
                   ? 1
                   : -1;
    }
    struct cube_byte b;
    if (masked(d, n, s->edge, true, &b)) {
        for (uint32_t i = 0; i < s->edge; i++) {
            if (e[i].child == child) {
                return 0; /* its first interval stood for all */
            }
        }
    } else if (whole || !masked(d, n, s->edge, false, &b)) {
        return -1;
    }
    return cube_add(c, b) ? 1 : -1;
}

uint32_t cube_step(struct dd *d, uint32_t f, struct cube *c)
{
    const struct dd_node *n = &d->nodes[f];
    const struct dd_edge *e = &d->edges[n->edges];
    struct step s = {.node = f, .edge = e->child == DD_NO};
    uint32_t only = e[s.edge].child; /* neighbours differ */
    for (uint32_t i = 0; i < n->count; i++) {
        if (e[i].child != only && e[i].child != DD_NO) {
            return DD_NO;
        }
    }
    return take(d, &s, c, true) == 1 ? only : DD_NO;
}

/*
 * What else can be asked depends on the length, which is tested first: of
 * shorter packets IPv4, of longer ones IPv6 too. If packets of any length that
 * do what `shorter` asks do what `child` asks, both without the upper bound,
 * the rest of `child` is left to be asked. Else, or if that is not known,
 * false.
 */
static bool longer(struct dd *d, uint32_t shorter, uint32_t *child)
{
    bool all = dd_ite(d, *child, DD_NO, shorter) == DD_NO;
    *child = dd_ite(d, shorter, DD_NO, *child);
    all = all && !d->err;
    d->err = 0;
    return all;
}

uint32_t cube_split(struct dd *d, uint32_t f, struct cube *out, uint32_t max)
{
    struct cube *c = out;
    uint32_t depth = 0, n = 0;

    /* Where a program must be asked there is no cube. */
    if (dd_is_term(f) || !max || d->nodes[f].unsure) {
        return 0;
    }
    c->len_count = c->count = 0;
    struct step path[CUBE_BYTES_MAX + CUBE_LENS_MAX];
    path[depth++] = (struct step){f, 0, 0, 0};
    while (depth) {
        if (d->err) {
            return 0;
        }
        struct step *s = &path[depth - 1];

        if (s->edge == d->nodes[s->node].count) {
            depth--;
            continue;
        }
        const struct dd_edge *at = &d->edges[d->nodes[s->node].edges + s->edge];
        uint32_t child = at->child;
        if (depth == 1 && s->edge && dd_var_is_len(d->nodes[f].var) &&
            !longer(d, at[-1].child, &child)) {
            return 0;
        }
        if (child == DD_NO) {
            s->edge++;
            continue;
        }
        c->len_count = s->len_count;
        c->count = s->count;
        int took = take(d, s, c, false);
        s->edge++;
        if (took < 0 || (took && dd_is_term(child) && child != DD_YES)) {
            return 0;
        }
        if (!took) {
            continue;
        }
        if (child != DD_YES) {
            if (depth == sizeof(path) / sizeof(path[0])) {
                return 0;
            }
            path[depth++] = (struct step){child, 0, (uint8_t)c->len_count,
                                          (uint8_t)c->count};
            continue;
        }
        if (++n > max) {
            return 0;
        }
        __builtin_memcpy(&out[n], c, sizeof(*c));
        c = &out[n];
    }
    return n;
}

uint32_t cube_diagram(struct dd *d, const struct cube *c)
{
    uint32_t f = DD_YES, len = c->len_count;

    /* From the last variable up, so that each node is made once. */
    for (uint32_t i = c->count + 1; i-- > 0;) {
        uint32_t base = i ? dd_var_base(c->bytes[i - 1].var) : 0;
        while (len && (!i || c->lens[len - 1].base > base)) {
            const struct cube_len *l = &c->lens[--len];
            f = dd_range(d, dd_var_len(l->base), l->min, DD_LEN_MAX, f, DD_NO);
        }
        if (i) {
            const struct cube_byte *b = &c->bytes[i - 1];
            f = dd_byte_eq(d, b->var, b->mask, b->value, f);
        }
    }
    return f;
}

/* Beside 1 for a node that is below: a terminal but NO is reached from it
   without testing the variable. */
#define AVOIDS 2u

/* What a variable is in packets that are not refused at its nodes. */
struct values {
    uint32_t min;     /* of a length */
    uint8_t all, any; /* of a byte: bits that all have, that any has */
};

/* Add those that node i lets through, if it tests `var`; and set seen[i]. */
static void add_values(const struct dd *d, uint32_t i, uint32_t var,
                       uint8_t *seen, struct values *v)
{
    const struct dd_node *n = &d->nodes[i];
    uint32_t lo = 0;
    seen[i] = 1;
    uint32_t hi;
    for (uint32_t k = 0; k < n->count; k++, lo = hi + 1) {
        const struct dd_edge *e = &d->edges[n->edges + k];
        hi = e->hi;
        if (e->child == DD_NO) {
            continue;
        }
        if (n->var != var) {
            seen[i] |= dd_is_term(e->child) ? AVOIDS : seen[e->child];
            continue;
        }
        if (dd_var_is_len(var)) {
            v->min = lo < v->min ? lo : v->min;
            continue;
        }
        for (uint32_t x = lo; x <= hi; x++) {
            v->all &= (uint8_t)x;
            v->any |= (uint8_t)x;
        }
    }
}

int cube_hull(struct dd *d, uint32_t f, struct cube *out)
{
    uint32_t var = 0;
    out->len_count = out->count = 0;
    if (dd_is_term(f)) {
        return 0;
    }
    uint32_t edges;
    uint8_t *seen = dd_below(d, f, &edges);
    if (seen == NULL) {
        return d->err;
    }
    uint32_t next;
    for (; var != DD_VAR_TERM && dd_work(d, dd_pass(f, edges)); var = next) {
        struct values v = {DD_LEN_MAX, 0xff, 0};
        next = DD_VAR_TERM;
        for (uint32_t i = 0; i <= f; i++) {
            uint32_t at = d->nodes[i].var;
            heap_pass(d->heap, 1 + (seen[i] != 0) * d->nodes[i].count / 4);
            if (seen[i]) {
                next = at > var && at < next ? at : next;
                add_values(d, i, var, seen, &v);
            }
        }
        uint32_t same = (uint8_t) ~(v.all ^ v.any);
        if (seen[f] & AVOIDS) {
        } else if (dd_var_is_len(var)) {
            if (v.min) {
                (void)cube_add_len(out, dd_var_base(var), v.min);
            }
        } else if (same && v.all <= v.any &&
                   dd_var_off(var) < cube_len(out, dd_var_base(var))) {
            /* Where there was no room for the length, nor for its bytes. */
            (void)cube_add(out,
                           (struct cube_byte){var, (uint8_t)same,
                                              (uint8_t)(v.all & same), 0, 0});
        }
    }
    heap_free(d->heap, seen, f + 1);
    return d->err;
}

uint32_t cube_rank(const struct cube *c)
{
    uint32_t bits = 0, lens = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        bits += (uint32_t)__builtin_popcount(c->bytes[i].mask);
    }
    for (uint32_t i = 0; i < c->len_count; i++) {
        lens += c->lens[i].min;
    }
    return bits << 20 | (lens < 0xfffff ? lens : 0xfffff);
}

const struct cube_byte *cube_byte_of(const struct cube *c, uint32_t var)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->bytes[i].var == var) {
            return &c->bytes[i];
        }
    }
    return NULL;
}

uint32_t cube_len(const struct cube *c, uint32_t base)
{
    for (uint32_t i = 0; i < c->len_count; i++) {
        if (c->lens[i].base == base) {
            return c->lens[i].min;
        }
    }
    return 0;
}
