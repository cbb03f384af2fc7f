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
        dd_mark_node(p->keep, s->trees[t].root);
    }
    dd_close(d->nodes, d->edges, p->keep, d->node_count);
    for (uint32_t i = 0; i < d->node_count; i++) {
        if (p->keep[i]) {
            plan_base(p, dd_var_base(d->nodes[i].var));
            p->nodes++;
            p->edges += d->nodes[i].count;
        }
    }
    for (uint32_t i = 0; i < s->shape_count; i++) {
        const struct shape *sh = s->shapes[i];
        const struct cube *c = sh && !sh->leaving ? &sh->cube : NULL;

        p->shapes += c != NULL;
        for (uint32_t k = 0; c && k < c->len_count; k++) {
            plan_base(p, c->lens[k].base);
        }
    }
    p->chain_words = s->chains.item_count + s->chains.count;
}

/* Is shape a looked at after b? See ordered() in judge.c. */
static bool later(const struct shape *a, const struct shape *b)
{
    return a->rank_high != b->rank_high ? a->rank_high < b->rank_high
                                        : b->residual && !a->residual;
}

static void fill_shapes(const struct dpf_set *s, struct image *to)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->shape_count; i++) {
        uint32_t at = n;

        if (!s->shapes[i] || s->shapes[i]->leaving) {
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
static void fill_chains(const struct dpf_set *s, struct image *to)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < s->chains.count; i++) {
        const struct chain *c = &s->chains.list[i];
        uint32_t *items = &to->chain_items[at + 1];
        uint32_t n = 0;

        to->chain_at[i] = at;
        for (uint32_t k = 0; k < c->count; k++) {
            uint32_t item = s->chains.items[c->first + k], put = n;

            if (!s->bindings[item >> 1] || s->bindings[item >> 1]->gone) {
                continue; /* no tree leads to it any more, or none should */
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
    /* Twice round: first those of owners, then those of copies. */
    for (uint32_t i = 0; i < 2 * TREES_MAX; i++) {
        const struct tree *t = &s->trees[i % TREES_MAX];

        if (t->users && t->copies == i / TREES_MAX) {
            im->roots[im->tree_count++] = dd_renumber(t->root, p->now, NULL);
            im->exclusive_trees += !t->copies;
        }
    }
}

/* One after the other in one allocation, what is aligned most first. */
static struct image *lay_out(struct dpf_set *s, const struct plan *p)
{
    size_t bytes = sizeof(struct image) + p->shapes * sizeof(struct shape *) +
                   s->binding_count * sizeof(struct image_binding) +
                   p->nodes * sizeof(struct dd_node) +
                   p->edges * sizeof(struct dd_edge) +
                   p->bases * sizeof(struct dd_base) +
                   (s->chains.count + p->chain_words) * sizeof(uint32_t);
    struct image *im = heap_alloc(&s->heap, bytes);

    if (!im) {
        return NULL;
    }
    __builtin_memset(im, 0, sizeof(*im));
    im->bytes = bytes;
    im->shape_count = p->shapes;
    im->node_count = p->nodes;
    im->binding_count = s->binding_count;
    im->shapes = (struct shape **)(void *)(im + 1);
    im->bindings = (struct image_binding *)(void *)(im->shapes + p->shapes);
    im->nodes = (struct dd_node *)(void *)(im->bindings + s->binding_count);
    im->edges = (struct dd_edge *)(void *)(im->nodes + p->nodes);
    im->bases = (struct dd_base *)(void *)(im->edges + p->edges);
    im->chain_at = (uint32_t *)(void *)(im->bases + p->bases);
    im->chain_items = im->chain_at + s->chains.count;
    return im;
}

static struct image *fill(struct dpf_set *s, const struct plan *p)
{
    struct image *im = lay_out(s, p);

    if (!im) {
        return NULL;
    }
    im->retired.destroy = destroy;
    im->set = s;
    im->owner = image_owner;
    __builtin_memcpy(im->bases, s->dd.bases, p->bases * sizeof(*im->bases));
    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = s->bindings[i];

        im->bindings[i] = (struct image_binding){.tag = DPF_NO_OWNER};
        if (b && !b->gone) {
            im->bindings[i] = (struct image_binding){
                b->id,     b->rank,  b->residual ? b->tag : DPF_NO_OWNER,
                false,     b->depth, b->span,
                b->program};
        }
    }
    fill_shapes(s, im);
    dd_copy(&s->dd, p->keep, p->now, NULL, im->nodes, im->edges);
    fill_chains(s, im);
    fill_trees(s, p, im);
    return im;
}

struct image *image_build(struct dpf_set *s)
{
    struct plan p = {.bases = 1};
    struct image *im = NULL;
    uint32_t n = s->dd.node_count;
    size_t bytes = n * (sizeof(*p.now) + sizeof(*p.keep)) + 1;

    heap_breathe(&s->heap);
    p.now = heap_alloc(&s->heap, bytes);
    if (p.now) {
        p.keep = (uint8_t *)(p.now + n);
        __builtin_memset(p.keep, 0, n);
        plan_nodes(s, &p);
        im = fill(s, &p);
        heap_free(&s->heap, p.now, bytes);
    }
    heap_breathe(&s->heap);
    if (im && demux_compile(s, im)) {
        image_destroy(im);
        im = NULL;
    }
    return im;
}

/* ----------------------------------------------------------------- lookup */

const uint32_t *image_walk(const struct image *im, uint32_t t,
                           const uint8_t *packet, size_t len, uint32_t *count)
{
    uint32_t f =
        dd_walk(im->nodes, im->edges, im->bases, im->roots[t], packet, len);

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

    return !__atomic_load_n(&b->gone, __ATOMIC_ACQUIRE) &&
           (!(item & 1) || dpf_filter_run(b->program, packet, len));
}

static void give_copies(const struct image *im, const uint8_t *packet,
                        size_t len, dpf_copy *copy, void *ctx)
{
    for (uint32_t t = im->exclusive_trees; t < im->tree_count; t++) {
        uint32_t count;
        const uint32_t *items = image_walk(im, t, packet, len, &count);

        for (uint32_t i = 0; items && i < count; i++) {
            if (accepts(im, items[i], packet, len)) {
                copy(ctx, im->bindings[items[i] >> 1].id);
            }
        }
    }
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
             dpf_copy *copy, void *ctx)
{
    if (!im->may_copy || im->may_copy(packet, len)) {
        give_copies(im, packet, len, copy, ctx);
    }
    return im->owner(packet, len, im);
}

uint32_t dpf_set_match(const struct dpf_set *s, const void *packet, size_t len,
                       dpf_copy *copy, void *ctx)
{
    const struct image *im = __atomic_load_n(&s->image, __ATOMIC_ACQUIRE);

    if (copy && im->tree_count > im->exclusive_trees) {
        return match_copies(im, packet, len, copy, ctx);
    }
    return im->owner(packet, len, im);
}
