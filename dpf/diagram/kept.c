/* SPDX-License-Identifier: MIT */
/*
 * Kept diagrams: made from a diagram, loaded into another, walked. Nodes are
 * in the order of their diagram: a node comes after all that it leads to.
 */
#include "dpf/diagram/kept.h"

#define VARS_MAX 48u /* that kept_outline looks at */

/* ------------------------------------------------------------------ making */

static struct kept *kept_alloc(struct heap *h, uint32_t nodes, uint32_t edges,
                               uint32_t bases)
{
    size_t bytes = sizeof(struct kept) + bases * sizeof(struct dd_base) +
                   (nodes + 1) * sizeof(struct kept_node) +
                   edges * sizeof(struct dd_edge);
    struct kept *k = heap_alloc(h, bytes);
    if (k != NULL) {
        *k = (struct kept){(uint32_t)bytes, DD_NO, nodes, edges, bases};
    }
    return k;
}

/* The bases of `mask`, numbered as they come, and how. */
static void copy_bases(const struct dd *d, uint64_t mask, struct dd_base *to,
                       struct base_map *map)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < DD_BASES_MAX; b++) {
        if (!(mask >> b & 1)) {
            continue;
        }
        to[n] = d->bases[b];
        for (uint32_t i = 0; i < to[n].count; i++) {
            to[n].terms[i].var = base_map_var(map, to[n].terms[i].var);
        }
        map->to[b] = (uint8_t)n++;
    }
}

/* Copy the nodes that seen[] marks; now[] receives their new numbers. */
static void copy_nodes(const struct dd *d, const uint8_t *seen, uint32_t f,
                       const struct base_map *map, struct kept *k,
                       uint32_t *now)
{
    struct kept_node *nodes = (struct kept_node *)(uintptr_t)kept_nodes(k);
    struct dd_edge *edges = (struct dd_edge *)(uintptr_t)kept_edges(k);
    uint32_t n = 0, at = 0;
    for (uint32_t i = 0; i <= f; i++) {
        const struct dd_node *from = &d->nodes[i];
        heap_pass(d->heap, 1 + seen[i] * from->count / 4);
        if (!seen[i]) {
            continue;
        }
        nodes[n] = (struct kept_node){base_map_var(map, from->var), at};
        for (uint32_t e = 0; e < from->count; e++, at++) {
            edges[at] = d->edges[from->edges + e];
            if (!dd_is_term(edges[at].child)) {
                edges[at].child = now[edges[at].child];
            }
        }
        now[i] = n++;
    }
    nodes[n] = (struct kept_node){DD_VAR_TERM, at};
    k->root = now[f];
}

static struct kept *keep_node(struct dd *d, uint32_t f, struct base_map *map)
{
    uint32_t nodes = 0, edges = 0;
    uint64_t mask = dd_bases(d, f);
    uint8_t *seen = dd_below(d, f, &edges);
    uint32_t *now = heap_alloc(d->heap, (f + 1) * sizeof(*now));
    struct kept *k = NULL;
    if (seen != NULL && now != NULL) {
        for (uint32_t i = 0; i <= f; i++) {
            nodes += seen[i];
        }
        k = kept_alloc(d->heap, nodes, edges,
                       (uint32_t)__builtin_popcountll(mask));
    }
    if (k != NULL) {
        copy_bases(d, mask, (struct dd_base *)(uintptr_t)kept_bases(k), map);
        copy_nodes(d, seen, f, map, k, now);
    }
    heap_free(d->heap, now, (f + 1) * sizeof(*now));
    heap_free(d->heap, seen, f + 1);
    return k;
}

struct kept *kept_make(struct dd *d, uint32_t f, struct base_map *map)
{
    if (!dd_is_term(f)) {
        return keep_node(d, f, map);
    }
    struct kept *k = kept_alloc(d->heap, 0, 0, 1);
    if (k != NULL) {
        k->root = f;
        *(struct dd_base *)(uintptr_t)kept_bases(k) = (struct dd_base){0};
    }
    return k;
}

void kept_free(struct heap *h, struct kept *k)
{
    if (k != NULL) {
        heap_free(h, k, k->bytes);
    }
}

/* ----------------------------------------------------------------- loading */

/*
 * Node `var` of the edges in d whose children may be earlier than it: built
 * from its ranges then.
 */
static uint32_t load_node(struct dd *d, uint32_t var, struct dd_edge *edges,
                          uint32_t count)
{
    uint32_t lo = 0, f = DD_NO;
    bool ordered = true;
    for (uint32_t i = 0; i < count; i++) {
        ordered = ordered && dd_var(d, edges[i].child) > var;
    }
    if (ordered) {
        return dd_node(d, var, edges, count);
    }
    for (uint32_t i = 0; i < count && d->err == 0; i++) {
        uint32_t in = dd_range(d, var, lo, edges[i].hi, DD_YES, DD_NO);
        f = dd_ite(d, in, edges[i].child, f);
        lo = edges[i].hi + 1;
    }
    return f;
}

uint32_t kept_load(struct dd *d, const struct kept *k)
{
    const struct kept_node *nodes = kept_nodes(k);
    size_t bytes = k->node_count * sizeof(uint32_t) +
                   k->edge_count * sizeof(struct dd_edge);
    uint32_t f = k->root;
    if (dd_is_term(f)) {
        return f;
    }
    struct base_map map;
    if (!bases_load(d, kept_bases(k), k->base_count, &map)) {
        d->err = d->err ? d->err : -DPF_E_TOO_BIG;
        return DD_NO;
    }
    struct dd_edge *edges = heap_alloc(d->heap, bytes);
    if (edges == NULL) {
        d->err = -DPF_E_MEM;
        return DD_NO;
    }
    uint32_t *now = (uint32_t *)(void *)(edges + k->edge_count);
    __builtin_memcpy(edges, kept_edges(k), k->edge_count * sizeof(*edges));
    for (uint32_t i = 0; i < k->node_count && d->err == 0; i++) {
        struct dd_edge *e = &edges[nodes[i].edges];
        uint32_t count = nodes[i + 1].edges - nodes[i].edges;
        heap_pass(d->heap, 1 + count / 4);
        for (uint32_t n = 0; n < count; n++) {
            e[n].child = dd_is_term(e[n].child) ? e[n].child : now[e[n].child];
        }
        now[i] = load_node(d, base_map_var(&map, nodes[i].var), e, count);
    }
    f = d->err != 0 ? DD_NO : now[f];
    heap_free(d->heap, edges, bytes);
    return f;
}

/* ----------------------------------------------------------------- walking */

uint32_t kept_walk(const struct kept *k, const uint8_t *packet, size_t len)
{
    struct dd_look l = {kept_bases(k), packet, len, 0, 0};
    const struct kept_node *nodes = kept_nodes(k);
    uint32_t f = k->root;
    uint32_t x;
    while (!dd_is_term(f)) {
        const struct kept_node *n = &nodes[f];
        if (!dd_look(&l, n->var, &x)) {
            return DD_NO;
        }
        f = dd_edge_for(&kept_edges(k)[n->edges], n[1].edges - n->edges, x);
    }
    return f;
}

/* ----------------------------------------------------------------- asking */

/* Can a byte in [lo, hi] have the value b asks for? */
static bool overlaps(const struct cube_byte *b, uint32_t lo, uint32_t hi)
{
    for (uint32_t x = lo; b != NULL && x <= hi; x++) {
        if ((x & b->mask) == b->value) {
            return true;
        }
    }
    return b == NULL;
}

/* Follow the edges of node i that packets of `c` may take. */
static void follow(const struct kept *k, uint32_t i, const struct cube *c,
                   uint8_t *seen, struct cube_walk *out)
{
    const struct kept_node *n = &kept_nodes(k)[i];
    const struct dd_edge *e = kept_edges(k) + n->edges;
    const struct dd_edge *end = kept_edges(k) + n[1].edges;
    const struct cube_byte *b = cube_byte_of(c, n->var);
    uint32_t lo = 0, min = 0;
    if (dd_var_is_len(n->var)) {
        min = cube_len(c, dd_var_base(n->var));
    }
    for (; e < end; e++) {
        if (e->hi >= min && overlaps(b, lo, e->hi)) {
            if (!dd_is_term(e->child)) {
                seen[e->child] = 1;
            } else if (e->child == DD_NO) {
                out->no = true;
            } else {
                out->other = true;
            }
        }
        lo = e->hi + 1;
    }
}

int kept_reach(const struct kept *k, struct dd *d, const struct cube *c,
               struct cube_walk *out)
{
    uint8_t small[256], *seen = small;
    *out = (struct cube_walk){k->root == DD_NO,
                              dd_is_term(k->root) && k->root != DD_NO};
    if (dd_is_term(k->root)) {
        return 0;
    }
    if (!dd_work(d, (k->node_count + k->edge_count) / 4 + 4)) {
        return d->err;
    }
    if (k->node_count > sizeof(small)) {
        seen = heap_alloc(d->heap, k->node_count);
        if (seen == NULL) {
            return -DPF_E_MEM;
        }
    }
    struct cube room;
    c = cube_seen(c, d->bases, kept_bases(k), k->base_count, &room);
    __builtin_memset(seen, 0, k->node_count);
    seen[k->root] = 1;
    for (uint32_t i = k->root + 1; i-- > 0;) {
        heap_pass(d->heap, 1);
        if (seen[i] != 0) {
            follow(k, i, c, seen, out);
        }
    }
    if (seen != small) {
        heap_free(d->heap, seen, k->node_count);
    }
    return 0;
}

/* Bits that all values of an interval have, and that any has. */
static void interval_bits(uint32_t lo, uint32_t hi, uint8_t *all, uint8_t *any)
{
    uint32_t below = 0;
    while ((lo | below) != (hi | below)) {
        below = below << 1 | 1;
    }
    *all = (uint8_t)(lo & ~below);
    *any = (uint8_t)(lo | below);
}

/*
 * The values of byte `var` that the diagram allows, as a row with that key;
 * open[] has a byte for each node. A node is open if a terminal but NO is
 * reached from it without a test of `var`. False if the root is.
 */
static bool row_of(const struct kept *k, uint32_t var, uint8_t *open,
                   struct outline_row *r)
{
    const struct kept_node *nodes = kept_nodes(k);
    const struct dd_edge *edges = kept_edges(k);
    uint8_t ones = 0xff, anys = 0;
    r->lo = 255;
    r->hi = 0;
    for (uint32_t i = 0; i <= k->root; i++) {
        uint32_t lo = 0;
        open[i] = 0;
        for (uint32_t e = nodes[i].edges; e < nodes[i + 1].edges; e++) {
            uint32_t hi = edges[e].hi, child = edges[e].child;
            uint8_t all, any;
            if (child == DD_NO) {
            } else if (nodes[i].var != var) {
                open[i] |= dd_is_term(child) || open[child];
            } else {
                interval_bits(lo, hi, &all, &any);
                ones &= all;
                anys |= any;
                r->lo = lo < r->lo ? (uint8_t)lo : r->lo;
                r->hi = hi > r->hi ? (uint8_t)hi : r->hi;
            }
            lo = hi + 1;
        }
    }
    r->mask = (uint8_t) ~(ones ^ anys);
    r->value = ones & r->mask;
    return open[k->root] == 0;
}

/* The different byte variables that count from a place, at most VARS_MAX. */
static uint32_t placed_vars(const struct kept *k, uint32_t *vars)
{
    const struct kept_node *nodes = kept_nodes(k);
    const struct dd_base *bases = kept_bases(k);
    uint32_t n = 0;

    /* From the root down: what is tested first tells the most. */
    for (uint32_t i = k->node_count; i-- > 0 && n < VARS_MAX;) {
        uint32_t base = dd_var_base(nodes[i].var), at = 0;
        while (at < n && vars[at] != nodes[i].var) {
            at++;
        }
        if (at == n && !dd_var_is_len(nodes[i].var) &&
            outline_place_of(bases, base) < OUTLINE_PLACES) {
            vars[n++] = nodes[i].var;
        }
    }
    return n;
}

int kept_outline(struct heap *h, const struct kept *k, struct outline *out)
{
    uint32_t count = 0;
    out->count = 0;
    if (dd_is_term(k->root)) {
        return 0;
    }
    uint8_t *open = heap_alloc(h, k->node_count);
    if (open == NULL) {
        return -DPF_E_MEM;
    }
    uint32_t vars[VARS_MAX];
    count = placed_vars(k, vars);
    for (uint32_t i = 0;
         i < count && heap_work(h, (k->node_count + k->edge_count) / 8 + 1);
         i++) {
        uint32_t base = dd_var_base(vars[i]);
        uint32_t place = outline_place_of(kept_bases(k), base);
        struct outline_row r = {dd_var_byte(place, dd_var_off(vars[i])), 0, 0,
                                0, 0};
        if (row_of(k, vars[i], open, &r)) {
            outline_add(out, r);
        }
    }
    heap_free(h, open, k->node_count);
    return 0;
}
