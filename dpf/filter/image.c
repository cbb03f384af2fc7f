/* SPDX-License-Identifier: MIT */
/*
 * The image: what one version of a set shows to lookups, laid out in one
 * allocation, and the plain lookup, which native code must agree with.
 *
 * An exclusive packet is accepted by bindings that contain one another. Of
 * shapes the first in order of rank that has the packet is the smallest;
 * of a chain the first that accepts it is. Between the two: a cube lies
 * strictly inside a diagram exactly if its rank is above that of the
 * diagram's hull (cube_rank).
 */
#include "dpf/filter/set.h"

static void destroy(struct heap *h, struct retired *r)
{
    (void)h;
    image_destroy((struct image *)(void *)r);
}

void image_destroy(struct image *im)
{
    if (im) {
        struct heap *h = &im->set->heap;

        demux_free(im->set, im);
        heap_free(h, im, im->bytes);
    }
}

/* Sizes of the parts of an image, and the marks of the nodes it takes. */
struct plan {
    uint8_t *keep; /* per node */
    uint32_t *now; /* per node: its number in the image */
    uint32_t nodes, edges, shapes, trees, bases;
    uint32_t chain_words;
};

/* Bases are defined by lower ones, so the highest says how many to take. */
static void plan_base(struct plan *p, uint32_t base)
{
    p->bases = base < p->bases ? p->bases : base + 1;
}

static void plan_nodes(const struct dpf_set *s, struct plan *p)
{
    const struct dd *d = &s->dd;

    for (uint32_t t = 0; t < TREES_MAX; t++) {
        if (!s->trees[t].users) {
            continue;
        }
        p->trees++;
        if (!dd_is_term(s->trees[t].root)) {
            p->keep[s->trees[t].root] = 1;
        }
    }
    for (uint32_t i = d->node_count; i-- > 0;) {
        const struct dd_node *n = &d->nodes[i];

        for (uint32_t k = 0; p->keep[i] && k < n->count; k++) {
            uint32_t child = d->edges[n->edges + k].child;

            if (!dd_is_term(child)) {
                p->keep[child] = 1;
            }
        }
        if (p->keep[i]) {
            plan_base(p, DD_VAR_BASE(n->var));
        }
        p->nodes += p->keep[i];
        p->edges += p->keep[i] ? n->count : 0;
    }
    for (uint32_t i = 0; i < s->shape_count; i++) {
        const struct cube *c = s->shapes[i] ? &s->shapes[i]->cube : NULL;

        p->shapes += c != NULL;
        for (uint32_t k = 0; c && k < c->len_count; k++) {
            plan_base(p, c->lens[k].base);
        }
    }
    p->chain_words = s->chains.item_count + s->chains.count;
}

/* Take `bytes` of the image's memory, 8-aligned; only counts if !at. */
static void *carve(uint8_t *at, size_t *used, size_t bytes)
{
    void *p = at ? at + *used : NULL;

    *used += (bytes + 7) & ~(size_t)7;
    return p;
}

struct parts {
    struct shape **shapes;
    struct dd_node *nodes;
    struct dd_edge *edges;
    struct dd_base *bases;
    uint32_t *chain_at, *chain_items;
    struct image_binding *bindings;
};

static size_t lay_out(const struct dpf_set *s, const struct plan *p, void *at,
                      struct parts *out)
{
    size_t used = 0;

    (void)carve(at, &used, sizeof(struct image));
    out->shapes = carve(at, &used, p->shapes * sizeof(void *));
    out->bases = carve(at, &used, p->bases * sizeof(struct dd_base));
    out->bindings =
        carve(at, &used, s->binding_count * sizeof(struct image_binding));
    out->nodes = carve(at, &used, p->nodes * sizeof(struct dd_node));
    out->edges = carve(at, &used, p->edges * sizeof(struct dd_edge));
    out->chain_at = carve(at, &used, s->chains.count * sizeof(*out->chain_at));
    out->chain_items =
        carve(at, &used, p->chain_words * sizeof(*out->chain_items));
    return used;
}

static void fill_nodes(const struct dpf_set *s, const struct plan *p,
                       struct parts *to)
{
    const struct dd *d = &s->dd;
    uint32_t n = 0, edges = 0;

    for (uint32_t i = 0; i < d->node_count; i++) {
        const struct dd_node *from = &d->nodes[i];

        if (!p->keep[i]) {
            continue;
        }
        to->nodes[n] = *from;
        to->nodes[n].edges = edges;
        for (uint32_t k = 0; k < from->count; k++) {
            struct dd_edge e = d->edges[from->edges + k];

            e.child = dd_is_term(e.child) ? e.child : p->now[e.child];
            to->edges[edges++] = e;
        }
        p->now[i] = n++;
    }
}

/* Is shape a looked at after b? See ordered() in judge.c. */
static bool later(const struct shape *a, const struct shape *b)
{
    return a->rank_high != b->rank_high ? a->rank_high < b->rank_high
                                        : b->residual && !a->residual;
}

static void fill_shapes(const struct dpf_set *s, struct parts *to)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->shape_count; i++) {
        uint32_t at = n;

        if (!s->shapes[i]) {
            continue;
        }
        for (; at && later(to->shapes[at - 1], s->shapes[i]); at--) {
            to->shapes[at] = to->shapes[at - 1];
        }
        to->shapes[at] = s->shapes[i];
        n++;
    }
}

static bool deeper(const struct dpf_set *s, uint32_t a, uint32_t b)
{
    const struct binding *x = s->bindings[a >> 1], *y = s->bindings[b >> 1];

    return x->depth != y->depth ? x->depth > y->depth : x->id < y->id;
}

/* Chains, the most specific binding first. */
static void fill_chains(const struct dpf_set *s, struct parts *to)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < s->chains.count; i++) {
        const struct chain *c = &s->chains.list[i];
        uint32_t *items = &to->chain_items[at + 1];
        uint32_t n = 0;

        to->chain_at[i] = at;
        for (uint32_t k = 0; k < c->count; k++) {
            uint32_t item = s->chains.items[c->first + k], put = n;

            if (!s->bindings[item >> 1]) {
                continue; /* a chain that no tree leads to any more */
            }
            for (; put && deeper(s, item, items[put - 1]); put--) {
                items[put] = items[put - 1];
            }
            items[put] = item;
            n++;
        }
        to->chain_items[at] = n;
        at += c->count + 1;
    }
}

static void fill_trees(const struct dpf_set *s, const struct plan *p,
                       struct image *im)
{
    for (int copies = 0; copies < 2; copies++) {
        for (uint32_t t = 0; t < TREES_MAX; t++) {
            uint32_t root = s->trees[t].root;

            if (!s->trees[t].users || s->trees[t].copies != (copies != 0)) {
                continue;
            }
            im->roots[im->tree_count++] =
                dd_is_term(root) ? root : p->now[root];
        }
        if (!copies) {
            im->exclusive_trees = im->tree_count;
        }
    }
}

static struct image *fill(struct dpf_set *s, const struct plan *p)
{
    struct parts to;
    size_t bytes = lay_out(s, p, NULL, &to);
    struct image *im = heap_alloc(&s->heap, bytes);

    if (!im) {
        return NULL;
    }
    lay_out(s, p, im, &to);
    __builtin_memset(im, 0, sizeof(*im));
    im->retired.destroy = destroy;
    im->bytes = bytes;
    im->set = s;
    im->owner = image_owner;
    im->shape_count = p->shapes;
    im->shapes = to.shapes;
    im->nodes = to.nodes;
    im->node_count = p->nodes;
    im->binding_count = s->binding_count;
    im->edges = to.edges;
    im->bases = to.bases;
    im->chain_at = to.chain_at;
    im->chain_items = to.chain_items;
    im->bindings = to.bindings;
    __builtin_memcpy(to.bases, s->dd.bases, p->bases * sizeof(*to.bases));
    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = s->bindings[i];

        to.bindings[i] = (struct image_binding){.tag = DPF_NO_OWNER};
        if (b) {
            to.bindings[i] = (struct image_binding){
                b->id,    b->rank,
                b->depth, b->residual ? b->tag : DPF_NO_OWNER,
                b->span,  b->program};
        }
    }
    fill_shapes(s, &to);
    fill_nodes(s, p, &to);
    fill_chains(s, &to);
    fill_trees(s, p, im);
    return im;
}

struct image *image_build(struct dpf_set *s)
{
    struct plan p = {.bases = 1};
    struct image *im = NULL;
    uint32_t n = s->dd.node_count;

    p.keep = heap_alloc(&s->heap, n + 1);
    p.now = heap_alloc(&s->heap, (n + 1) * sizeof(*p.now));
    if (p.keep && p.now) {
        __builtin_memset(p.keep, 0, n + 1);
        plan_nodes(s, &p);
        im = fill(s, &p);
    }
    heap_free(&s->heap, p.keep, n + 1);
    heap_free(&s->heap, p.now, (n + 1) * sizeof(*p.now));
    if (im && demux_compile(s, im)) {
        image_destroy(im);
        im = NULL;
    }
    return im;
}

/* ----------------------------------------------------------------- lookup */

static uint32_t step(const struct image *im, const struct dd_node *n,
                     uint32_t x)
{
    const struct dd_edge *e = &im->edges[n->edges];
    uint32_t lo = 0, hi = n->count - 1;

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

const uint32_t *image_walk(const struct image *im, uint32_t t,
                           const uint8_t *packet, size_t len, uint32_t *count)
{
    uint32_t f = im->roots[t], base = 0;
    size_t at = 0;

    while (!dd_is_term(f)) {
        const struct dd_node *n = &im->nodes[f];
        size_t left;

        if (DD_VAR_BASE(n->var) != base) {
            base = DD_VAR_BASE(n->var);
            at = dd_base_at(im->bases, base, packet, len);
        }
        left = at <= len ? len - at : 0;
        if (DD_VAR_IS_LEN(n->var)) {
            f = step(im, n, left < DD_LEN_MAX ? (uint32_t)left : DD_LEN_MAX);
        } else if (DD_VAR_OFF(n->var) < left) {
            f = step(im, n, packet[at + DD_VAR_OFF(n->var)]);
        } else {
            f = DD_NO;
        }
    }
    if (f < CHAIN_FIRST) {
        return NULL;
    }
    *count = im->chain_items[im->chain_at[f - CHAIN_FIRST]];
    return &im->chain_items[im->chain_at[f - CHAIN_FIRST] + 1];
}

/* Does the binding of this chain item take the packet? */
static bool accepts(const struct image *im, uint32_t item,
                    const uint8_t *packet, size_t len)
{
    const struct image_binding *b = &im->bindings[item >> 1];

    return !(item & 1) || dpf_filter_run(b->program, packet, len);
}

static size_t copy_ids(const struct image *im, const uint8_t *packet,
                       size_t len, uint32_t *copies, size_t max)
{
    size_t n = 0;

    for (uint32_t t = im->exclusive_trees; t < im->tree_count; t++) {
        uint32_t count;
        const uint32_t *items = image_walk(im, t, packet, len, &count);

        for (uint32_t i = 0; items && i < count && n < max; i++) {
            if (accepts(im, items[i], packet, len)) {
                copies[n++] = im->bindings[items[i] >> 1].id;
            }
        }
    }
    return n;
}

/* The deeper of two diagrams' bindings; either may be NULL. */
static const struct image_binding *deeper_one(const struct image_binding *a,
                                              const struct image_binding *b)
{
    return !a || (b && b->depth > a->depth) ? b : a;
}

/*
 * The residual binding with this tag, if it accepts the packet, which is in
 * its cube. A tag that the image does not know belongs to a newer version.
 */
static const struct image_binding *residual(const struct image *im,
                                            uint32_t tag, const uint8_t *packet,
                                            size_t len)
{
    uint32_t n = tag & NUMBER_MASK;
    const struct image_binding *b = &im->bindings[n];
    bool yes;

    if (n >= im->binding_count || b->tag != tag) {
        return NULL;
    }
    yes = b->span.bytes ? span_holds(&b->span, im->bases, packet, len)
                        : dpf_filter_run(b->program, packet, len) != 0;
    return yes ? b : NULL;
}

uint32_t image_owner(const uint8_t *packet, size_t len, const struct image *im)
{
    const struct image_binding *best = NULL;
    uint32_t rank = 0, id = DPF_NO_OWNER;

    for (uint32_t i = 0; i < im->shape_count; i++) {
        const struct shape *s = im->shapes[i];
        uint32_t got;

        if (!s->residual && id != DPF_NO_OWNER) {
            continue; /* of cubes the first has it */
        }
        got = shape_match(s, im->bases, packet, len);
        if (got == DPF_NO_OWNER) {
        } else if (!s->residual) {
            id = got;
            rank = s->rank;
        } else {
            best = deeper_one(best, residual(im, got, packet, len));
        }
    }
    for (uint32_t t = 0; t < im->exclusive_trees; t++) {
        uint32_t count;
        const uint32_t *items = image_walk(im, t, packet, len, &count);

        for (uint32_t i = 0; items && i < count; i++) {
            if (accepts(im, items[i], packet, len)) {
                best = deeper_one(best, &im->bindings[items[i] >> 1]);
                break;
            }
        }
    }
    return best && (id == DPF_NO_OWNER || best->rank >= rank) ? best->id : id;
}

uint32_t image_residual(const uint8_t *packet, size_t len,
                        const struct image *im, uint32_t tag)
{
    const struct image_binding *b = residual(im, tag, packet, len);

    return b ? b->id : image_owner(packet, len, im);
}

/* Apart, so that dpf_set_match saves no registers for sets without copies. */
static __attribute__((noinline)) uint32_t
match_copies(const struct image *im, const uint8_t *packet, size_t len,
             uint32_t *copies, size_t max, size_t *n_copies)
{
    if (!im->may_copy || im->may_copy(packet, len)) {
        *n_copies = copy_ids(im, packet, len, copies, max);
    }
    return im->owner(packet, len, im);
}

uint32_t dpf_set_match(const struct dpf_set *s, const void *packet, size_t len,
                       uint32_t *copies, size_t max, size_t *n_copies)
{
    const struct image *im = __atomic_load_n(&s->image, __ATOMIC_ACQUIRE);

    if (n_copies) {
        *n_copies = 0;
        if (im->tree_count > im->exclusive_trees) {
            return match_copies(im, packet, len, copies, max, n_copies);
        }
    }
    return im->owner(packet, len, im);
}
