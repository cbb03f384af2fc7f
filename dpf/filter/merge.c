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

uint32_t chain_intern(struct dpf_set *s, const uint32_t *items, uint32_t n)
{
    struct chains *c = &s->chains;
    uint32_t *head;

    if (!n) {
        return DD_NO;
    }
    if (!c->cap) {
        __builtin_memset(c->heads, 0xff, sizeof(c->heads));
    }
    head = &c->heads[hash_items(items, n)];
    for (uint32_t i = *head; i != NO_CHAIN; i = c->list[i].next) {
        if (c->list[i].count == n &&
            !__builtin_memcmp(&c->items[c->list[i].first], items,
                              n * sizeof(*items))) {
            return CHAIN_FIRST + i;
        }
    }
    if (heap_grow(&s->heap, (void **)&c->list, &c->cap, sizeof(*c->list),
                  c->count, c->count + 1) ||
        heap_grow(&s->heap, (void **)&c->items, &c->item_cap, sizeof(*items),
                  c->item_count, c->item_count + n)) {
        s->dd.err = -DPF_E_MEM;
        return DD_NO;
    }
    c->list[c->count] = (struct chain){c->item_count, n, *head};
    *head = c->count;
    __builtin_memcpy(&c->items[c->item_count], items, n * sizeof(*items));
    c->item_count += n;
    return CHAIN_FIRST + c->count++;
}

/* Chains are sets, kept by id: no history shows. */
static uint32_t number_id(const struct dpf_set *s, uint32_t item)
{
    return s->bindings[item >> 1]->id;
}

/* Chain `a` with s->merging put in its place, or taken out. */
static uint32_t combine(struct dpf_set *s, uint32_t a, uint32_t item, bool add)
{
    const struct chain *c =
        a == DD_NO ? NULL : &s->chains.list[a - CHAIN_FIRST];
    uint32_t count = c ? c->count : 0, n = 0, result;
    uint32_t *items;
    bool done = !add;

    if (count == CHAIN_MAX) {
        s->dd.err = -DPF_E_TOO_BIG;
        return DD_NO;
    }
    items = heap_alloc(&s->heap, (count + 1) * sizeof(*items));
    if (!items) {
        s->dd.err = -DPF_E_MEM;
        return DD_NO;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t have = s->chains.items[c->first + i];

        if (!done && number_id(s, item) < number_id(s, have)) {
            items[n++] = item;
            done = true;
        }
        if (add || have >> 1 != item >> 1) {
            items[n++] = have;
        }
    }
    if (!done) {
        items[n++] = item;
    }
    result = chain_intern(s, items, n);
    heap_free(&s->heap, items, (count + 1) * sizeof(*items));
    return result;
}

static uint32_t merge_in(void *ctx, uint32_t a, uint32_t b)
{
    struct dpf_set *s = ctx;

    return combine(s, a, s->merging << 1 | (b == DD_MAYBE), true);
}

static uint32_t merge_out(void *ctx, uint32_t a, uint32_t b)
{
    struct dpf_set *s = ctx;

    (void)b;
    return combine(s, a, s->merging << 1, false);
}

static uint32_t edges_below(struct dd *d, uint32_t f)
{
    uint8_t *seen;
    uint32_t n = 0;

    if (dd_is_term(f)) {
        return 0;
    }
    seen = heap_alloc(d->heap, f + 1);
    if (!seen) {
        return UINT32_MAX;
    }
    __builtin_memset(seen, 0, f + 1);
    dd_reach(d, f, seen);
    for (uint32_t i = 0; i <= f; i++) {
        n += seen[i] ? d->nodes[i].count : 0;
    }
    heap_free(d->heap, seen, f + 1);
    return n;
}

static uint32_t merged(struct dpf_set *s, uint32_t root,
                       const struct binding *b,
                       uint32_t (*how)(void *, uint32_t, uint32_t))
{
    s->merging = b->number;
    s->dd.merge = how;
    s->dd.merge_ctx = s;
    /* Results of earlier merges mean other bindings. */
    dd_forget(&s->dd);
    root = dd_apply(&s->dd, DD_MERGE, root, b->exact, 0);
    dd_forget(&s->dd);
    return root;
}

int merge_add(struct dpf_set *s, struct binding *b)
{
    bool copies = (b->flags & (DPF_TAP | DPF_SHARED)) != 0;
    uint32_t size = edges_below(&s->dd, b->exact);

    for (uint32_t t = 0; t < TREES_MAX; t++) {
        struct tree *tree = &s->trees[t];
        uint32_t root, limit;

        if (tree->users && tree->copies != copies) {
            continue;
        }
        limit = edges_below(&s->dd, tree->root);
        limit = limit < UINT32_MAX / 4 ? limit + GROWTH * size : limit;
        limit = limit < GROWTH_FLOOR ? GROWTH_FLOOR : limit;
        root = merged(s, tree->users ? tree->root : DD_NO, b, merge_in);
        if (s->dd.err == -DPF_E_MEM) {
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

int merge_remove(struct dpf_set *s, struct binding *b)
{
    struct tree *tree = &s->trees[b->tree];
    uint32_t root = merged(s, tree->root, b, merge_out);

    if (s->dd.err) {
        return s->dd.err;
    }
    s->root_before = tree->root;
    tree->root = root;
    if (--tree->users == 0) {
        tree->root = DD_NO;
    }
    return 0;
}

/* Mark the nodes that anything in the set names, and their children. */
static void mark_live(struct dpf_set *s, uint8_t *keep)
{
    const struct dd *d = &s->dd;

    for (uint32_t i = 0; i < s->region_count; i++) {
        if (s->regions[i].id != DPF_NO_OWNER &&
            !dd_is_term(s->regions[i].must)) {
            keep[s->regions[i].must] = 1;
        }
    }
    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = s->bindings[i];

        if (b && !b->cube_count) {
            if (!dd_is_term(b->may)) {
                keep[b->may] = 1;
            }
            if (!dd_is_term(b->exact)) {
                keep[b->exact] = 1;
            }
        }
    }
    for (uint32_t t = 0; t < TREES_MAX; t++) {
        if (!dd_is_term(s->trees[t].root)) {
            keep[s->trees[t].root] = 1;
        }
    }
    for (uint32_t i = d->node_count; i-- > 0;) {
        for (uint32_t k = 0; keep[i] && k < d->nodes[i].count; k++) {
            uint32_t child = d->edges[d->nodes[i].edges + k].child;

            if (!dd_is_term(child)) {
                keep[child] = 1;
            }
        }
    }
}

/* Renumber the chains in use; terms[i] is what chain i becomes, or NO. */
static void compact_chains(struct dpf_set *s, const uint8_t *keep,
                           uint32_t *terms)
{
    struct chains *c = &s->chains;
    uint32_t n = 0, items = 0;

    for (uint32_t i = 0; i < c->count; i++) {
        terms[i] = DD_NO;
    }
    for (uint32_t t = 0; t < TREES_MAX; t++) {
        if (dd_is_term(s->trees[t].root) && s->trees[t].root >= CHAIN_FIRST) {
            terms[s->trees[t].root - CHAIN_FIRST] = CHAIN_FIRST;
        }
    }
    for (uint32_t i = 0; i < s->dd.node_count; i++) {
        for (uint32_t k = 0; keep[i] && k < s->dd.nodes[i].count; k++) {
            uint32_t child = s->dd.edges[s->dd.nodes[i].edges + k].child;

            if (dd_is_term(child) && child >= CHAIN_FIRST) {
                terms[child - CHAIN_FIRST] = CHAIN_FIRST;
            }
        }
    }
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

OUT_OF_LINE static void renumber(uint32_t *f, const uint32_t *now,
                                 const uint32_t *terms)
{
    if (!dd_is_term(*f)) {
        *f = now[*f];
    } else if (*f >= CHAIN_FIRST) {
        *f = terms[*f - CHAIN_FIRST];
    }
}

static void renumber_all(struct dpf_set *s, const uint32_t *now,
                         const uint32_t *terms)
{
    for (uint32_t i = 0; i < s->region_count; i++) {
        renumber(&s->regions[i].must, now, terms);
    }
    for (uint32_t i = 0; i < s->binding_count; i++) {
        if (s->bindings[i] && !s->bindings[i]->cube_count) {
            renumber(&s->bindings[i]->may, now, terms);
            renumber(&s->bindings[i]->exact, now, terms);
        }
    }
    for (uint32_t t = 0; t < TREES_MAX; t++) {
        renumber(&s->trees[t].root, now, terms);
    }
}

void merge_sweep(struct dpf_set *s)
{
    struct dd *d = &s->dd;
    uint32_t nodes = d->node_count, chains = s->chains.count;
    uint32_t *now, *terms;
    uint8_t *keep;

    if (d->edge_count / 2 < s->edges_after_sweep + SWEEP_FLOOR) {
        return;
    }
    keep = heap_alloc(&s->heap, nodes);
    now = heap_alloc(&s->heap, nodes * sizeof(*now));
    terms = heap_alloc(&s->heap, (chains + 1) * sizeof(*terms));
    if (keep && now && terms) { /* else later */
        __builtin_memset(keep, 0, nodes);
        mark_live(s, keep);
        compact_chains(s, keep, terms);
        dd_compact(d, keep, now, CHAIN_FIRST, terms);
        renumber_all(s, now, terms);
        s->edges_after_sweep = d->edge_count;
    }
    heap_free(&s->heap, keep, nodes);
    heap_free(&s->heap, now, nodes * sizeof(*now));
    heap_free(&s->heap, terms, (chains + 1) * sizeof(*terms));
}
