/* SPDX-License-Identifier: MIT */
/*
 * Merge: diagrams of many filters into few trees whose terminals say who
 * accepts. A tree is a function of the filters in it and not of the order in
 * which they came. A filter that would let a tree grow out of proportion
 * goes into another one; a lookup then walks both.
 */
#include "dpf/filter/set.h"

#include "dpf/compact.h"
#define CHAIN_MAX 4096u    /* bindings that meet in one packet */
#define GROWTH 4u          /* edges of a tree per edge of its filters */
#define GROWTH_FLOOR 4096u /* edges any tree may have */
#define SWEEP_FLOOR 8192u
#define NO_CHAIN UINT32_MAX

static uint32_t hash_items(const uint32_t *items, uint32_t n)
{
    uint32_t h = n;

    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ items[i]) * 0x85ebca6bu;
        h ^= h >> 13;
    }
    return h % 64;
}

/* Room for `n` more items behind those of the chains. */
static bool reserve(struct dpf_set *s, uint32_t n)
{
    struct chains *c = &s->chains;

    if (!c->cap) {
        __builtin_memset(c->heads, 0xff, sizeof(c->heads));
    }
    if (heap_grow(&s->heap, (void **)&c->list, &c->cap, sizeof(*c->list),
                  c->count, c->count + 1) ||
        heap_grow(&s->heap, (void **)&c->items, &c->item_cap, sizeof(*c->items),
                  c->item_count, c->item_count + n)) {
        s->dd.err = -DPF_E_MEM;
        return false;
    }
    return true;
}

/* The chain with the `n` items there. */
static uint32_t intern(struct chains *c, uint32_t n)
{
    const uint32_t *items = &c->items[c->item_count];
    uint32_t *head = &c->heads[hash_items(items, n)];

    if (!n) {
        return DD_NO;
    }
    for (uint32_t i = *head; i != NO_CHAIN; i = c->list[i].next) {
        if (c->list[i].count == n &&
            !__builtin_memcmp(&c->items[c->list[i].first], items,
                              n * sizeof(*items))) {
            return CHAIN_FIRST + i;
        }
    }
    c->list[c->count] = (struct chain){c->item_count, n, *head};
    *head = c->count;
    c->item_count += n;
    return CHAIN_FIRST + c->count++;
}

/* Chains are sets, kept by id: no history shows. */
static uint32_t number_id(const struct dpf_set *s, uint32_t item)
{
    return s->bindings[item >> 1]->id;
}

/* Chain `a` with `item` put in its place. */
static uint32_t combine(struct dpf_set *s, uint32_t a, uint32_t item)
{
    struct chains *c = &s->chains;
    struct chain from = {0};
    uint32_t n = 0, *items;
    bool done = false;

    if (a != DD_NO) {
        from = c->list[a - CHAIN_FIRST];
    }
    if (from.count == CHAIN_MAX) {
        s->dd.err = -DPF_E_TOO_BIG;
        return DD_NO;
    }
    if (!reserve(s, from.count + 1)) {
        return DD_NO;
    }
    items = &c->items[c->item_count];
    for (uint32_t i = 0; i < from.count; i++) {
        uint32_t have = c->items[from.first + i];

        if (!done && number_id(s, item) < number_id(s, have)) {
            items[n++] = item;
            done = true;
        }
        items[n++] = have;
    }
    if (!done) {
        items[n++] = item;
    }
    return intern(c, n);
}

static uint32_t merge_in(void *ctx, uint32_t a, uint32_t b)
{
    struct dpf_set *s = ctx;

    return combine(s, a, s->merging << 1 | (b == DD_MAYBE));
}

/* Chain `a` without the bindings that are gone. */
static uint32_t merge_out(void *ctx, uint32_t a, uint32_t b)
{
    struct dpf_set *s = ctx;
    struct chains *c = &s->chains;
    struct chain from;
    uint32_t n = 0;

    (void)b;
    if (a == DD_NO) {
        return a;
    }
    from = c->list[a - CHAIN_FIRST];
    if (!reserve(s, from.count)) {
        return DD_NO;
    }
    for (uint32_t i = 0; i < from.count; i++) {
        uint32_t have = c->items[from.first + i];

        if (!s->bindings[have >> 1]->gone) {
            c->items[c->item_count + n++] = have;
        }
    }
    return intern(c, n);
}

static uint32_t edges_below(struct dd *d, uint32_t f)
{
    uint8_t *seen;
    uint32_t n = 0;

    if (dd_is_term(f)) {
        return 0;
    }
    seen = dd_below(d, f, &n);
    if (!seen) {
        return UINT32_MAX;
    }
    heap_free(d->heap, seen, f + 1);
    return n;
}

static uint32_t merged(struct dpf_set *s, uint32_t root, uint32_t with,
                       uint32_t (*how)(void *, uint32_t, uint32_t))
{
    s->dd.merge = how;
    s->dd.merge_ctx = s;
    /* Results of earlier merges mean other bindings. */
    dd_forget(&s->dd);
    root = dd_apply(&s->dd, DD_MERGE, root, with, 0);
    dd_forget(&s->dd);
    return root;
}

int merge_add(struct dpf_set *s, struct binding *b)
{
    bool copies = (b->flags & (DPF_TAP | DPF_SHARED)) != 0;
    uint32_t size = edges_below(&s->dd, b->exact);

    s->merging = b->number;
    for (uint32_t t = 0; t < TREES_MAX; t++) {
        struct tree *tree = &s->trees[t];
        uint32_t root, limit;

        if (tree->users && tree->copies != copies) {
            continue;
        }
        limit = edges_below(&s->dd, tree->root);
        limit = limit < UINT32_MAX / 4 ? limit + GROWTH * size : limit;
        limit = limit < GROWTH_FLOOR ? GROWTH_FLOOR : limit;
        root = merged(s, tree->users ? tree->root : DD_NO, b->exact, merge_in);
        if (s->dd.err == -DPF_E_MEM || s->dd.err == -DPF_E_FUEL) {
            return s->dd.err;
        }
        if (s->dd.err || edges_below(&s->dd, root) > limit) {
            s->dd.err = 0;
            continue;
        }
        s->root_before = tree->root;
        tree->root = root;
        tree->users++;
        tree->copies = copies;
        b->tree = t;
        return 0;
    }
    return -DPF_E_TOO_BIG;
}

int merge_prune(struct dpf_set *s, uint32_t t, uint32_t *root)
{
    uint32_t now = merged(s, s->trees[t].root, DD_YES, merge_out);
    int r = s->dd.err;

    s->dd.err = 0;
    if (!r) {
        *root = now;
    }
    return r;
}

/* A sweep: first what is in use is marked, then it moves together. */
struct sweep {
    uint8_t *keep;   /* per node */
    uint32_t *now;   /* per node: its new number */
    uint32_t *terms; /* per chain: what it becomes; NO: it is not in use */
    bool moving;
};

/* A reference to a diagram. */
OUT_OF_LINE static void sweep_one(const struct sweep *w, uint32_t *f)
{
    if (w->moving) {
        *f = dd_renumber(*f, w->now, w->terms);
    } else if (!dd_is_term(*f)) {
        w->keep[*f] = 1;
    } else if (*f >= CHAIN_FIRST) {
        w->terms[*f - CHAIN_FIRST] = CHAIN_FIRST;
    }
}

/* All that the set has. */
OUT_OF_LINE static void sweep_all(struct dpf_set *s, const struct sweep *w)
{
    for (uint32_t i = 0; i < s->region_count; i++) {
        sweep_one(w, &s->regions[i].must); /* a free slot's is NO */
    }
    for (uint32_t i = 0; i < s->binding_count; i++) {
        if (s->bindings[i] && !s->bindings[i]->cube_count) {
            sweep_one(w, &s->bindings[i]->may);
            sweep_one(w, &s->bindings[i]->exact);
        }
    }
    for (uint32_t t = 0; t < TREES_MAX; t++) {
        sweep_one(w, &s->trees[t].root);
    }
}

/* Mark the nodes that anything in the set names, what is below, and chains. */
static void mark_live(struct dpf_set *s, const struct sweep *w)
{
    struct dd *d = &s->dd;

    __builtin_memset(w->keep, 0, d->node_count);
    for (uint32_t i = 0; i < s->chains.count; i++) {
        w->terms[i] = DD_NO;
    }
    sweep_all(s, w);
    for (uint32_t i = d->node_count; i-- > 0;) {
        const struct dd_node *n = &d->nodes[i];

        for (uint32_t k = 0; w->keep[i] && k < n->count; k++) {
            sweep_one(w, &d->edges[n->edges + k].child);
        }
    }
}

/* Renumber the chains in use. */
static void compact_chains(struct dpf_set *s, uint32_t *terms)
{
    struct chains *c = &s->chains;
    uint32_t n = 0, items = 0;

    __builtin_memset(c->heads, 0xff, sizeof(c->heads));
    for (uint32_t i = 0; i < c->count; i++) {
        struct chain was = c->list[i];
        uint32_t *head;

        if (terms[i] == DD_NO) {
            continue;
        }
        __builtin_memmove(&c->items[items], &c->items[was.first],
                          was.count * sizeof(*c->items));
        head = &c->heads[hash_items(&c->items[items], was.count)];
        c->list[n] = (struct chain){items, was.count, *head};
        *head = n;
        items += was.count;
        terms[i] = CHAIN_FIRST + n++;
    }
    c->count = n;
    c->item_count = items;
}

void merge_sweep(struct dpf_set *s)
{
    struct dd *d = &s->dd;
    uint32_t nodes = d->node_count, chains = s->chains.count;
    size_t bytes =
        (nodes + chains) * sizeof(uint32_t) + nodes * sizeof(uint8_t);
    struct sweep w = {.moving = false};

    if (d->edge_count / 2 < s->edges_after_sweep + SWEEP_FLOOR) {
        return;
    }
    w.now = heap_alloc(&s->heap, bytes);
    if (w.now) { /* else later */
        w.terms = w.now + nodes;
        w.keep = (uint8_t *)(w.terms + chains);
        mark_live(s, &w);
        compact_chains(s, w.terms);
        dd_compact(d, w.keep, w.now, w.terms);
        w.moving = true;
        sweep_all(s, &w);
        s->edges_after_sweep = d->edge_count;
        heap_free(&s->heap, w.now, bytes);
    }
}
