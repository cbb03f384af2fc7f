/* SPDX-License-Identifier: MIT */
/*
 * Reduced ordered diagrams: the unique table, the operations, the bases.
 * Traversals keep their own stack in the heap, because the depth of a
 * diagram is the embedder's packet size and the kernel's stack is small.
 */
#include "dpf/diagram/diagram.h"

#define NONE UINT32_MAX
#define EDGE_LIMIT_DEFAULT (1u << 19)
#define TABLE_FIRST 256u /* chains, and cached results, to begin with */

/* One node under construction by dd_apply. */
struct dd_frame {
    uint32_t f[3];  /* operands */
    uint32_t at[3]; /* cursor: index of the current edge, if it has var */
    uint32_t var, hi;
    uint32_t has;     /* which operands have var, as bits */
    uint32_t scratch; /* its first edge there */
};

struct dd_cached {
    uint32_t f[3];
    uint32_t result;
    uint32_t key; /* operation and age */
};

static bool grow(struct dd *d, void **array, uint32_t *cap, size_t elem,
                 uint32_t used, uint32_t need)
{
    if (need <= *cap) {
        return true;
    }
    if (heap_grow(d->heap, array, cap, elem, used, need)) {
        d->err = -DPF_E_MEM;
        return false;
    }
    return true;
}

/* ---------------------------------------------------------- unique table */

static uint32_t hash_node(uint32_t var, const struct dd_edge *e, uint32_t n)
{
    uint64_t h = var * 0x9e3779b97f4a7c15u + n;
    for (uint32_t i = 0; i < n; i++) {
        h ^= ((uint64_t)e[i].hi << 32) | e[i].child;
        h *= 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

static void free_tables(struct dd *d)
{
    heap_free(d->heap, d->cache,
              d->table_cap * (sizeof(*d->cache) + sizeof(*d->heads)));
}

/* Each chain begins with its newest node: see dd_release. */
static void chain_all(struct dd *d)
{
    __builtin_memset(d->heads, 0xff, d->table_cap * sizeof(*d->heads));
    for (uint32_t i = 0; i < d->node_count; i++) {
        uint32_t *head = &d->heads[d->nodes[i].hash & (d->table_cap - 1)];
        d->nodes[i].chain = *head;
        *head = i;
    }
}

/* Empty tables of `cap` chains, and as many results, for what there is. */
static int set_tables(struct dd *d, uint32_t cap)
{
    struct dd_cached *cache =
        heap_alloc(d->heap, cap * (sizeof(*d->cache) + sizeof(*d->heads)));

    if (cache == NULL) {
        return -DPF_E_MEM;
    }
    free_tables(d);
    __builtin_memset(cache, 0, cap * sizeof(*cache));
    d->cache = cache;
    d->cache_age = 1;
    d->heads = (uint32_t *)(void *)(cache + cap);
    d->table_cap = cap;
    chain_all(d);
    return 0;
}

/* All but the tables. */
static void free_arrays(struct dd *d)
{
    heap_free(d->heap, d->nodes, d->node_cap * sizeof(*d->nodes));
    heap_free(d->heap, d->edges, d->edge_cap * sizeof(*d->edges));
    heap_free(d->heap, d->scratch, d->scratch_cap * sizeof(*d->scratch));
    heap_free(d->heap, d->stack, d->stack_cap * sizeof(*d->stack));
}

int dd_init(struct dd *d, struct heap *heap)
{
    __builtin_memset(d, 0, sizeof(*d));
    d->heap = heap;
    d->edge_limit = EDGE_LIMIT_DEFAULT;
    d->base_limit = DD_BASES_MAX;
    d->base_end = 1;
    return set_tables(d, TABLE_FIRST);
}

void dd_finish(struct dd *d)
{
    if (d->heap != NULL) {
        free_arrays(d);
        free_tables(d);
    }
    __builtin_memset(d, 0, sizeof(*d));
}

void dd_reset(struct dd *d)
{
    dd_release(d, (struct dd_mark){0, 0});
    dd_bases_keep(d, 0);
    free_arrays(d);
    d->nodes = NULL;
    d->edges = d->scratch = NULL;
    d->stack = NULL;
    d->node_cap = d->edge_cap = d->scratch_cap = d->stack_cap = 0;
    if (d->table_cap != TABLE_FIRST) {
        (void)set_tables(d, TABLE_FIRST); /* or the large ones serve as well */
    }
}

void dd_release(struct dd *d, struct dd_mark m)
{
    d->err = 0;
    if (d->node_count == m.nodes) {
        return;
    }
    /* Newest first: a node of this range is then the head of its chain. */
    for (uint32_t i = d->node_count; i-- > m.nodes;) {
        d->heads[d->nodes[i].hash & (d->table_cap - 1)] = d->nodes[i].chain;
    }
    d->node_count = m.nodes;
    d->edge_count = m.edges;
    dd_forget(d);
}

void dd_forget(struct dd *d)
{
    if (++d->cache_age == 1u << 24) {
        __builtin_memset(d->cache, 0, d->table_cap * sizeof(*d->cache));
        d->cache_age = 1;
    }
}

/* What a node knows of those below it. */
static void inherit(const struct dd *d, struct dd_node *node)
{
    const struct dd_edge *e = &d->edges[node->edges];
    uint64_t bases = UINT64_C(1) << dd_var_base(node->var);
    uint32_t unsure = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        if (!dd_is_term(e[i].child)) {
            unsure |= d->nodes[e[i].child].unsure;
            bases |= d->nodes[e[i].child].bases;
        } else if (e[i].child == DD_MAYBE) {
            unsure = 1;
        }
    }
    node->bases = bases;
    node->unsure = unsure & 1;
}

/* A node of these edges that comes behind all of the first `before` nodes. */
static bool node_ok(const struct dd *d, uint32_t var, const struct dd_edge *e,
                    uint32_t n, uint32_t before)
{
    uint32_t base = dd_var_base(var);
    bool ok = base < DD_BASES_MAX && (!base || d->bases[base].count) &&
              (dd_var_is_len(var) || dd_var_off(var) <= DD_OFF_FAR) && n &&
              e[n - 1].hi == dd_var_max(var);
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = (!i || (e[i - 1].hi < e[i].hi && e[i - 1].child != e[i].child)) &&
             (dd_is_term(e[i].child) ||
              (e[i].child < before && dd_var(d, e[i].child) > var));
    }
    return ok;
}

bool dd_node_ok(const struct dd *d, uint32_t i)
{
    const struct dd_node *n = &d->nodes[i];
    return n->edges <= d->edge_count && n->count <= d->edge_count - n->edges &&
           node_ok(d, n->var, &d->edges[n->edges], n->count, i);
}

static uint32_t find_or_add(struct dd *d, uint32_t var, const struct dd_edge *e,
                            uint32_t n)
{
    uint32_t hash = hash_node(var, e, n);
    dpf_assert(node_ok(d, var, e, n, d->node_count));

    struct dd_node *node;
    for (uint32_t i = d->heads[hash & (d->table_cap - 1)];
         i != NONE && dd_work(d, 1); i = d->nodes[i].chain) {
        node = &d->nodes[i];
        if (node->hash == hash && node->var == var && node->count == n &&
            !__builtin_memcmp(&d->edges[node->edges], e, n * sizeof(*e))) {
            return i;
        }
    }
    if (d->edge_count + n > d->edge_limit) {
        d->err = d->err ? d->err : -DPF_E_TOO_BIG;
    }
    if (d->err) {
        return DD_NO;
    }
    if (!grow(d, (void **)&d->nodes, &d->node_cap, sizeof(*d->nodes),
              d->node_count, d->node_count + 1) ||
        !grow(d, (void **)&d->edges, &d->edge_cap, sizeof(*d->edges),
              d->edge_count, d->edge_count + n)) {
        return DD_NO;
    }
    if (d->node_count >= d->table_cap * 2 && set_tables(d, d->table_cap * 4)) {
        d->err = -DPF_E_MEM;
        return DD_NO;
    }
    node = &d->nodes[d->node_count];
    *node = (struct dd_node){.var = var,
                             .edges = d->edge_count,
                             .count = n & 0x7fffffff,
                             .hash = hash};
    __builtin_memcpy(&d->edges[d->edge_count], e, n * sizeof(*e));
    inherit(d, node);
    node->chain = d->heads[hash & (d->table_cap - 1)];
    d->heads[hash & (d->table_cap - 1)] = d->node_count;
    d->edge_count += n;
    return d->node_count++;
}

/*
 * A node under construction is the end of the scratch edges, those `from` on.
 * Values after the last edge, up to `hi`, lead to `child`.
 */
static void emit(struct dd *d, uint32_t from, uint32_t hi, uint32_t child)
{
    uint32_t n = d->scratch_count;
    (void)dd_work(d, 1);
    if (n > from && d->scratch[n - 1].child == child) {
        d->scratch[n - 1].hi = hi;
    } else if (grow(d, (void **)&d->scratch, &d->scratch_cap,
                    sizeof(*d->scratch), n, n + 1)) {
        d->scratch[d->scratch_count++] = (struct dd_edge){hi, child};
    }
}

static uint32_t finish(struct dd *d, uint32_t var, uint32_t from)
{
    uint32_t n = d->scratch_count - from;
    d->scratch_count = from;
    if (d->err) { /* there may be no edges, and no room for any */
        return DD_NO;
    }
    const struct dd_edge *e = &d->scratch[from];
    return n == 1 ? e->child : find_or_add(d, var, e, n);
}

uint32_t dd_node(struct dd *d, uint32_t var, const struct dd_edge *edges,
                 uint32_t count)
{
    uint32_t from = d->scratch_count;
    for (uint32_t i = 0; i < count; i++) {
        emit(d, from, edges[i].hi, edges[i].child);
    }
    return finish(d, var, from);
}

uint32_t dd_range(struct dd *d, uint32_t var, uint32_t lo, uint32_t hi,
                  uint32_t in, uint32_t out)
{
    uint32_t max = dd_var_max(var);
    const struct dd_edge e[3] = {
        {lo - 1, out}, {hi < max ? hi : max, in}, {max, out}};
    if (lo > hi || lo > max) {
        return out;
    }
    return dd_node(d, var, &e[lo == 0], 1u + (lo != 0) + (hi < max));
}

uint32_t dd_compare(struct dd *d, const struct dd_bits *b, uint32_t k,
                    const uint32_t out[3])
{
    uint32_t from = d->scratch_count, mask = (1u << b->len) - 1;
    if (b->src + b->len == 8 && !b->inverted) { /* the byte's order is theirs */
        uint32_t lo = k << b->src, hi = lo | ((1u << b->src) - 1);

        if (lo) {
            emit(d, from, lo - 1, out[0]);
        }
        emit(d, from, hi, out[1]);
        if (hi < 255) {
            emit(d, from, 255, out[2]);
        }
        return finish(d, b->var, from);
    }
    for (uint32_t x = 0; x < 256; x++) {
        uint32_t v = (x >> b->src & mask) ^ (b->inverted ? mask : 0);
        emit(d, from, x, out[(v >= k) + (v > k)]);
    }
    return finish(d, b->var, from);
}

uint32_t dd_byte_eq(struct dd *d, uint32_t var, uint32_t mask, uint32_t want,
                    uint32_t rest)
{
    uint32_t from = d->scratch_count, run = mask & -mask;
    uint32_t free = ~mask & (256 - run), other = 0;

    /* A run of values for each setting of the free bits above its own. */
    uint32_t end;
    do {
        uint32_t x = want | other;
        end = x + run - 1;
        if (x) {
            emit(d, from, x - 1, DD_NO);
        }
        emit(d, from, end, rest);
        other = (other - free) & free;
    } while (other);
    if (end < 255) {
        emit(d, from, 255, DD_NO);
    }
    return finish(d, var, from);
}

uint32_t dd_edge_for(const struct dd_edge *e, uint32_t count, uint32_t x)
{
    uint32_t lo = 0, hi = count - 1;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (e[mid].hi < x) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return e[lo].child;
}

uint32_t dd_child(const struct dd *d, uint32_t f, uint32_t x)
{
    return dd_edge_for(&d->edges[d->nodes[f].edges], d->nodes[f].count, x);
}

/* ------------------------------------------------------------- operations */

/* The result if it needs no descent. */
static bool settle(struct dd *d, enum dd_op op, const uint32_t f[3],
                   uint32_t *result)
{
    uint32_t a = f[0], b = f[1], c = f[2];
    switch (op) {
    case DD_ITE:
        if (dd_is_term(a)) {
            *result = a == DD_NO ? c : b;
        } else if (b == c) {
            *result = b;
        } else if (b == DD_YES && c == DD_NO) {
            *result = a;
        } else {
            return false;
        }
        return true;
    case DD_JOIN:
        if (a == b) {
            *result = a;
        } else if (a == DD_MAYBE || b == DD_MAYBE ||
                   (dd_is_term(a) && dd_is_term(b))) {
            *result = DD_MAYBE;
        } else {
            return false;
        }
        return true;
    case DD_MAY:
    case DD_MUST:
        if (!dd_is_term(a) && d->nodes[a].unsure) {
            return false;
        }
        *result = a != DD_MAYBE ? a : op == DD_MAY ? DD_YES : DD_NO;
        return true;
    case DD_MERGE:
        if (b == DD_NO) {
            *result = a;
        } else if (dd_is_term(a) && dd_is_term(b)) {
            *result = d->merge(d->merge_ctx, a, b);
        } else {
            return false;
        }
        return true;
    }
    return false;
}

static struct dd_cached *cache_slot(struct dd *d, enum dd_op op,
                                    const uint32_t f[3])
{
    uint64_t h = ((uint64_t)f[0] << 32 | f[1]) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29) ^ f[2] ^ ((uint64_t)op << 40)) * 0xff51afd7ed558ccdu;
    return &d->cache[(h >> 32) & (d->table_cap - 1)];
}

static bool cached(struct dd *d, enum dd_op op, const uint32_t f[3],
                   uint32_t *result)
{
    const struct dd_cached *c = cache_slot(d, op, f);
    if (c->key != (d->cache_age << 8 | op) || c->f[0] != f[0] ||
        c->f[1] != f[1] || c->f[2] != f[2]) {
        return false;
    }
    *result = c->result;
    return true;
}

static void remember(struct dd *d, enum dd_op op, const uint32_t f[3],
                     uint32_t result)
{
    *cache_slot(d, op, f) =
        (struct dd_cached){{f[0], f[1], f[2]}, result, d->cache_age << 8 | op};
}

/* Begin the node of f[]: its variable and a cursor into each operand. */
static bool push(struct dd *d, uint32_t depth, const uint32_t f[3])
{
    struct dd_frame *fr;
    if (!dd_work(d, 1) || !grow(d, (void **)&d->stack, &d->stack_cap,
                                sizeof(*fr), depth, depth + 1)) {
        return false;
    }
    fr = &d->stack[depth];
    fr->var = DD_VAR_TERM;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t v = dd_var(d, f[i]);
        fr->f[i] = f[i];
        if (v != DD_VAR_TERM && v <= fr->var) {
            fr->has = v < fr->var ? 1u << i : fr->has | 1u << i;
            fr->var = v;
            fr->at[i] = d->nodes[f[i]].edges;
        }
    }
    fr->scratch = d->scratch_count;
    return true;
}

/* The children for the frame's current interval, and where it ends. */
static void descend(struct dd *d, struct dd_frame *fr, uint32_t child[3])
{
    fr->hi = dd_var_max(fr->var);
    for (uint32_t i = 0; i < 3; i++) {
        child[i] = fr->f[i];
        if (fr->has >> i & 1) {
            const struct dd_edge *e = &d->edges[fr->at[i]];
            child[i] = e->child;
            fr->hi = e->hi < fr->hi ? e->hi : fr->hi;
        }
    }
}

/* Take the child for this interval. Returns true when it was the last. */
static bool advance(struct dd *d, struct dd_frame *fr, uint32_t child)
{
    emit(d, fr->scratch, fr->hi, child);
    if (fr->hi == dd_var_max(fr->var)) {
        return true;
    }
    for (uint32_t i = 0; i < 3; i++) {
        fr->at[i] += fr->has >> i & 1 && d->edges[fr->at[i]].hi == fr->hi;
    }
    return false;
}

/* A child is known: take it, and finish every node it ends. The result of
   the last one. */
static uint32_t unwind(struct dd *d, enum dd_op op, uint32_t *depth,
                       uint32_t result)
{
    while (*depth && advance(d, &d->stack[*depth - 1], result)) {
        struct dd_frame *fr = &d->stack[--*depth];
        result = finish(d, fr->var, fr->scratch);
        if (d->err) {
            break;
        }
        remember(d, op, fr->f, result);
    }
    return result;
}

uint32_t dd_apply(struct dd *d, enum dd_op op, uint32_t a, uint32_t b,
                  uint32_t c)
{
    uint32_t f[3] = {a, b, c}, result = DD_NO, depth = 0;
    uint32_t base = d->scratch_count;

    /* What is asked has an answer: as a condition, MAYBE would count as YES. */
    dpf_assert(op != DD_ITE ||
               (dd_is_term(a) ? a != DD_MAYBE : !d->nodes[a].unsure));
    while (!d->err) {
        if (!settle(d, op, f, &result) && !cached(d, op, f, &result)) {
            if (!push(d, depth++, f)) {
                break;
            }
        } else {
            result = unwind(d, op, &depth, result);
            if (!depth) {
                break;
            }
        }
        descend(d, &d->stack[depth - 1], f);
    }
    d->scratch_count = base;
    return d->err ? DD_NO : result;
}

/* ------------------------------------------------------------------ bases */

static uint32_t term_max(const struct dd_bits *t)
{
    return ((1u << t->len) - 1u) << t->dst;
}

/* A total order, so that one multiset of terms is one base. */
static int term_order(const struct dd_bits *a, const struct dd_bits *b)
{
    return a->var != b->var   ? (a->var < b->var ? -1 : 1)
           : a->src != b->src ? a->src - b->src
           : a->len != b->len ? a->len - b->len
                              : a->dst - b->dst;
}

uint32_t dd_base_of(struct dd *d, struct dd_bits *terms, uint32_t count)
{
    uint32_t least = 1, max = 0, depth = 1, slot = 0;
    if (count == 0 || count > DD_TERMS_MAX || !dd_work(d, 8)) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct dd_bits t = terms[i];
        uint32_t j = i;
        for (; j && term_order(&t, &terms[j - 1]) < 0; j--) {
            terms[j] = terms[j - 1];
        }
        terms[j] = t;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t after = dd_var_base(terms[i].var) + 1;
        if (terms[i].inverted || terms[i].dst + terms[i].len > 16) {
            return 0;
        }
        max += term_max(&terms[i]);
        least = after > least ? after : least;
        depth = d->bases[after - 1].depth >= depth
                    ? d->bases[after - 1].depth + 1u
                    : depth;
    }
    if (depth > DD_DEPTH_MAX || max > UINT16_MAX) {
        return 0;
    }
    for (uint32_t i = 1; i < d->base_limit && (!slot || i < d->base_end); i++) {
        if (d->bases[i].count == count &&
            !__builtin_memcmp(d->bases[i].terms, terms,
                              count * sizeof(*terms))) {
            return i;
        }
        if (!slot && i >= least && !d->bases[i].count) {
            slot = i;
        }
    }
    if (slot) {
        struct dd_base *b = &d->bases[slot];
        d->base_end = slot < d->base_end ? d->base_end : slot + 1;
        b->count = count;
        b->max = (uint16_t)max;
        b->depth = (uint16_t)depth;
        __builtin_memcpy(b->terms, terms, count * sizeof(*terms));
    }
    return slot;
}

bool dd_base_within(const struct dd *d, uint32_t c, uint32_t b)
{
    const struct dd_base *x = &d->bases[c], *y = &d->bases[b];
    uint32_t i = 0;
    for (uint32_t j = 0; i < x->count && j < y->count; j++) {
        i += term_order(&x->terms[i], &y->terms[j]) == 0;
    }
    return i == x->count;
}

bool dd_pos_add(struct dd *d, struct dd_pos *a, struct dd_pos b)
{
    uint32_t n = 0;
    a->k += b.k;
    if (!a->base || !b.base) {
        a->base += b.base;
        return true;
    }
    struct dd_bits terms[2 * DD_TERMS_MAX];
    for (uint32_t i = 0; i < d->bases[a->base].count; i++) {
        terms[n++] = d->bases[a->base].terms[i];
    }
    for (uint32_t i = 0; i < d->bases[b.base].count; i++) {
        terms[n++] = d->bases[b.base].terms[i];
    }
    a->base = dd_base_of(d, terms, n);
    return a->base != 0;
}

static uint64_t base_closure(const struct dd *d, uint64_t mask)
{
    /* A base depends on lower ones only. */
    for (uint32_t b = d->base_end; b-- > 1;) {
        for (uint32_t i = 0; mask >> b & 1 && i < d->bases[b].count; i++) {
            mask |= UINT64_C(1) << dd_var_base(d->bases[b].terms[i].var);
        }
    }
    return mask;
}

uint64_t dd_bases_used(const struct dd *d)
{
    uint64_t mask = 1;
    for (uint32_t b = 1; b < d->base_end; b++) {
        mask |= (uint64_t)(d->bases[b].count != 0) << b;
    }
    return mask;
}

void dd_bases_keep(struct dd *d, uint64_t mask)
{
    uint32_t end = 1;
    d->alike = NULL;
    mask = base_closure(d, mask);
    for (uint32_t b = 1; b < d->base_end; b++) {
        if (mask >> b & 1) {
            end = b + 1;
        } else {
            d->bases[b].count = 0;
        }
    }
    d->base_end = end;
}

void dd_mark_node(uint8_t *seen, uint32_t f)
{
    if (!dd_is_term(f)) {
        seen[f] = 1;
    }
}

void dd_close(const struct dd_node *nodes, const struct dd_edge *edges,
              uint8_t *seen, uint32_t count)
{
    while (count-- > 0) {
        const struct dd_node *node = &nodes[count];
        for (uint32_t e = 0; seen[count] && e < node->count; e++) {
            dd_mark_node(seen, edges[node->edges + e].child);
        }
    }
}

uint8_t *dd_below(struct dd *d, uint32_t f, uint32_t *edges)
{
    uint8_t *seen = NULL;
    uint32_t n = 0;
    if (dd_work(d, f / 8 + 1)) {
        seen = heap_alloc(d->heap, f + 1);
        d->err = seen != NULL ? d->err : -DPF_E_MEM;
    }
    if (seen == NULL) {
        return NULL;
    }
    __builtin_memset(seen, 0, f);
    seen[f] = 1;
    for (uint32_t i = f + 1; i-- > 0;) {
        const struct dd_node *node = &d->nodes[i];
        heap_pass(d->heap, seen[i] ? 1 + node->count / 8 : 1);
        for (uint32_t e = 0; seen[i] && e < node->count; e++) {
            dd_mark_node(seen, d->edges[node->edges + e].child);
        }
        n += seen[i] ? node->count : 0;
    }
    if (!dd_work(d, n / 4)) {
        heap_free(d->heap, seen, f + 1);
        return NULL;
    }
    if (edges != NULL) {
        *edges = n;
    }
    return seen;
}

uint64_t dd_bases(const struct dd *d, uint32_t f)
{
    return base_closure(d, 1 | (dd_is_term(f) ? 0 : d->nodes[f].bases));
}

size_t dd_base_at(const struct dd_base *bases, uint32_t base,
                  const uint8_t *packet, size_t len)
{
    /* A term's own base is lower, so that this settles them in order and
     * needs no recursion. */
    size_t at[DD_BASES_MAX];

    at[0] = 0;
    for (uint32_t b = 1; b <= base; b++) {
        const struct dd_base *def = &bases[b];
        at[b] = 0;
        for (uint32_t i = 0; i < def->count; i++) {
            const struct dd_bits *t = &def->terms[i];
            size_t from = at[dd_var_base(t->var)];
            size_t off = dd_var_off(t->var);
            if (from == SIZE_MAX || from + off >= len) {
                at[b] = SIZE_MAX;
                break;
            }
            at[b] +=
                (size_t)(packet[from + off] >> t->src & ((1u << t->len) - 1u))
                << t->dst;
        }
    }
    return at[base];
}

bool dd_look(struct dd_look *l, uint32_t var, uint32_t *x)
{
    if (dd_var_base(var) != l->base) {
        l->base = dd_var_base(var);
        l->at = dd_base_at(l->bases, l->base, l->packet, l->len);
    }
    size_t left = l->at <= l->len ? l->len - l->at : 0;
    if (dd_var_is_len(var)) {
        *x = left < DD_LEN_MAX ? (uint32_t)left : DD_LEN_MAX;
    } else if (dd_var_off(var) < left) {
        *x = l->packet[l->at + dd_var_off(var)];
    } else {
        return false;
    }
    return true;
}

uint32_t dd_eval(const struct dd *d, uint32_t f, const uint8_t *packet,
                 size_t len)
{
    struct dd_look l = {d->bases, packet, len, 0, 0};
    uint32_t x;
    while (!dd_is_term(f)) {
        const struct dd_node *n = &d->nodes[f];
        if (!dd_look(&l, n->var, &x)) {
            return DD_NO;
        }
        f = dd_edge_for(&d->edges[n->edges], n->count, x);
    }
    return f;
}
