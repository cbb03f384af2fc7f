/* SPDX-License-Identifier: MIT */
/*
 * The image: what one version of a set shows to lookups, laid out in one
 * allocation, and the plain lookup, which native code must agree with.
 *
 * An exclusive packet is accepted by bindings that contain one another. Of
 * cubes the one of highest rank is the smallest, of diagrams the deepest.
 * Between the two: a cube lies strictly inside a diagram exactly if its rank
 * is above that of the diagram's hull (cube_rank).
 */
#include "dpf/set/set.h"
#include "dpf/vm/engine.h"

static void destroy(struct heap *h, struct retired *r)
{
    (void)h;
    image_destroy((struct image *)(void *)r);
}

void image_destroy(struct image *im)
{
    if (im != NULL) {
        struct heap *h = &im->set->heap;
        h->mem->engine->discard_lookup(im->set, im);
        heap_free(h, im, im->bytes);
    }
}

/* Is shape a looked at after b? See ordered() in judge.c. */
static bool later(const struct shape *a, const struct shape *b)
{
    return a->rank_high != b->rank_high ? a->rank_high < b->rank_high
                                        : b->residual && !a->residual;
}

/* Is the shape in slot i to be in the image? */
static bool wanted(const struct dpf_set *s, uint32_t i, bool all)
{
    return !s->spread && s->shapes[i] != NULL &&
           (all || s->shapes[i]->table->used);
}

static void fill_shapes(const struct dpf_set *s, bool all, struct image *to)
{
    for (uint32_t i = 0; i < s->shape_count; i++) {
        uint32_t at = to->shape_count;
        if (!wanted(s, i, all)) {
            continue;
        }
        for (; at && later(to->shapes[at - 1], s->shapes[i]); at--) {
            to->shapes[at] = to->shapes[at - 1];
        }
        to->shapes[at] = s->shapes[i];
        to->shape_count++;
    }
}

struct image *image_build(struct dpf_set *s, bool all)
{
    size_t bytes = sizeof(struct image);
    for (uint32_t i = 0; i < s->shape_count; i++) {
        bytes += wanted(s, i, all) ? sizeof(struct shape *) : 0;
    }
    struct image *im = heap_alloc(&s->heap, bytes);
    if (im == NULL) {
        return NULL;
    }
    __builtin_memset(im, 0, sizeof(*im));
    im->bytes = bytes;
    im->shapes = (struct shape **)(void *)(im + 1);
    im->retired.destroy = destroy;
    im->set = s;
    im->owner = image_owner;
    fill_shapes(s, all, im);
    heap_breathe(&s->heap);
    if (s->heap.mem->engine->compile_lookup(s, im)) {
        image_destroy(im);
        return NULL;
    }
    return im;
}

/* ----------------------------------------------------------------- lookup */

/* Who of those looked at so far owns the packet. */
struct best {
    struct outline_view view; /* the packet */
    const struct dpf_set *set;
    const struct binding *diagram; /* the deepest, or NULL */
    uint32_t id, rank;             /* the cube of highest rank */
};

/*
 * Does the diagram, or its program where it does not know, accept the packet?
 * A program never decides against its diagram, by which the binding was
 * judged.
 */
static bool accepts(const struct binding *b, const struct outline_view *v)
{
    if (b->has_pattern) {
        return pattern_holds(&b->pattern, v);
    }
    uint32_t f =
        b->is_lowered ? DD_MAYBE : kept_walk(b->kept, v->packet, v->len);
    return f == DD_YES ||
           (f == DD_MAYBE && dpf_filter_run(b->program, v->packet, v->len));
}

static void take_diagram(struct best *best, const struct binding *b)
{
    const struct binding *a = best->diagram;
    if (a == NULL || __atomic_load_n(&b->depth, __ATOMIC_ACQUIRE) >
                         __atomic_load_n(&a->depth, __ATOMIC_ACQUIRE)) {
        best->diagram = b;
    }
}

/*
 * The residual binding with this tag. NULL: it belongs to another version than
 * the list of bindings.
 */
static const struct binding *tagged(const struct dpf_set *s, uint32_t tag)
{
    const struct binding_list *l =
        __atomic_load_n(&s->bindings, __ATOMIC_ACQUIRE);
    uint32_t n = tag & NUMBER_MASK;
    const struct binding *b = l != NULL && n < l->cap
                                  ? __atomic_load_n(&l->at[n], __ATOMIC_ACQUIRE)
                                  : NULL;

    return b != NULL && b->tag == tag ? b : NULL;
}

/* The packet is in the binding's cube, which covers its range. */
static bool in_range(const struct binding *b, const uint8_t *packet, size_t len)
{
    size_t at = b->span_place < OUTLINE_PLACES
                    ? outline_at(b->span_place, packet)
                    : dd_base_at(kept_bases(b->kept), dd_var_base(b->span.var),
                                 packet, len);
    return span_holds(&b->span, packet + at);
}

/* That binding, if it accepts the packet, which is in its cube. */
static const struct binding *residual(const struct dpf_set *s, uint32_t tag,
                                      const struct outline_view *v)
{
    const struct binding *b = tagged(s, tag);
    bool yes = b != NULL &&
               (b->span.bytes ? in_range(b, v->packet, v->len) : accepts(b, v));

    return yes ? b : NULL;
}

static void take_shape(struct best *best, const struct shape *sh)
{
    uint32_t got = shape_match(sh, best->view.packet, best->view.len);
    if (got == DPF_NO_OWNER) {
        return;
    }
    if (!sh->residual) {
        if (best->id == DPF_NO_OWNER || sh->rank > best->rank) {
            best->id = got;
            best->rank = sh->rank;
        }
        return;
    }
    const struct binding *b = residual(best->set, got, &best->view);
    if (b != NULL) {
        take_diagram(best, b);
    }
}

static int take_item(void *ctx, struct ct_item *item)
{
    struct best *best = ctx;
    const struct set_item *hung = (const struct set_item *)(void *)item;
    if (hung->is_shape) {
        take_shape(best, (const struct shape *)(const void *)hung);
    } else {
        const struct binding *b = (const struct binding *)(const void *)hung;
        if (accepts(b, &best->view)) {
            take_diagram(best, b);
        }
    }
    return 0;
}

/* Of the shapes in the image. Of cubes the first has it. */
static void take_image(struct best *best, const struct image *im)
{
    for (uint32_t i = 0; i < im->shape_count; i++) {
        if (im->shapes[i]->residual || best->id == DPF_NO_OWNER ||
            im->shapes[i]->rank > best->rank) {
            take_shape(best, im->shapes[i]);
        }
    }
}

/* The diagram or the cube: see above. */
static uint32_t decide(const struct best *best)
{
    const struct binding *b = best->diagram;
    return b != NULL && (best->id == DPF_NO_OWNER || b->rank >= best->rank)
               ? b->id
               : best->id;
}

static void look(struct best *best, const struct image *im,
                 const uint8_t *packet, size_t len)
{
    outline_look(&best->view, packet, len);
    best->set = im->set;
    best->diagram = NULL;
    best->id = DPF_NO_OWNER;
    best->rank = 0;
}

uint32_t image_owner(const uint8_t *packet, size_t len, const struct image *im)
{
    struct best best;
    look(&best, im, packet, len);
    take_image(&best, im);
    return decide(&best);
}

uint32_t image_residual(const uint8_t *packet, size_t len,
                        const struct image *im, uint32_t tag)
{
    const struct binding *b = tagged(im->set, tag);
    if (b != NULL && b->span.bytes && in_range(b, packet, len)) {
        return b->id;
    }
    struct best best;
    look(&best, im, packet, len);
    if (b != NULL && !b->span.bytes && accepts(b, &best.view)) {
        return b->id;
    }
    take_image(&best, im);
    return decide(&best);
}

struct copies {
    const struct outline_view *view;
    dpf_copy *copy;
    void *ctx;
};

static int copy_item(void *ctx, struct ct_item *item)
{
    struct copies *c = ctx;
    const struct binding *b = (const struct binding *)(void *)item;
    if (accepts(b, c->view)) {
        c->copy(c->ctx, b->id);
    }
    return 0;
}

/* Apart, so that dpf_set_match saves no registers for sets without trees. */
static __attribute__((noinline)) uint32_t match_hung(const struct image *im,
                                                     const uint8_t *packet,
                                                     size_t len, dpf_copy *copy,
                                                     void *ctx)
{
    const struct dpf_set *s = im->set;
    struct best best;
    look(&best, im, packet, len);
    if (copy != NULL) {
        struct copies c = {&best.view, copy, ctx};
        ct_match(&s->tree[TREE_COPIES], &best.view, copy_item, &c);
    }
    ct_match(&s->tree[TREE_OWNERS], &best.view, take_item, &best);
    if (best.diagram != NULL || best.id != DPF_NO_OWNER) {
        take_image(&best, im);
        return decide(&best);
    }
    return im->owner(packet, len, im);
}

uint32_t dpf_set_match(const struct dpf_set *s, const void *packet, size_t len,
                       dpf_copy *copy, void *ctx)
{
    const struct image *im = __atomic_load_n(&s->image, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&s->hung, __ATOMIC_ACQUIRE)) {
        return match_hung(im, packet, len, copy, ctx);
    }
    return im->owner(packet, len, im);
}
