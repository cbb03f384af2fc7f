/* SPDX-License-Identifier: MIT */
/*
 * The data that native lookup reads: which shapes each value of a byte
 * allows, and all that environments chose.
 */
#include "dpf/native/demux.h"

#include "dpf/compact.h"
/* A diagram whose nodes are the image's, or the set's own. */
struct part {
    const struct dd_node *nodes;
    const struct dd_edge *edges;
    uint32_t root;
    uint8_t *below; /* a byte for each node: is it below the root? */
    uint8_t *open;  /* the same: see allow */
};

/* Set `bit` in to[] for each value of byte `var` that the diagram allows. */
static void allow(const struct part *p, uint32_t var, uint64_t *to,
                  uint64_t bit)
{
    bool term = dd_is_term(p->root), all = term && p->root != DD_NO;

    for (uint32_t i = 0; !term && i <= p->root; i++) {
        const struct dd_node *n = &p->nodes[i];
        uint32_t x, end = 0;

        /* Open: a terminal but NO is reached without testing var. */
        p->open[i] = 0;
        for (uint32_t k = 0; p->below[i] && k < n->count; k++) {
            const struct dd_edge *e = &p->edges[n->edges + k];

            x = end;
            end = e->hi + 1;
            if (e->child == DD_NO) {
                continue;
            }
            if (n->var != var) {
                p->open[i] |= dd_is_term(e->child) || p->open[e->child];
                continue;
            }
            for (; x < end; x++) {
                to[x] |= bit;
            }
        }
        all = p->open[i]; /* the root is the last */
    }
    for (uint32_t x = 0; all && x < 256; x++) {
        to[x] |= bit;
    }
}

/* Set bit number `bit` for what a diagram allows. */
static void fill_diagram(struct demux *dx, const struct part *p, uint32_t bit)
{
    if (!dd_is_term(p->root)) {
        __builtin_memset(p->below, 0, p->root);
        p->below[p->root] = 1;
        dd_close(p->nodes, p->edges, p->below, p->root + 1);
    }
    for (uint32_t b = 0; b < dx->byte_count; b++) {
        heap_breathe(&dx->s->heap);
        allow(p, dd_var_byte(0, dx->bytes[b]), &dx->data[256 * b],
              UINT64_C(1) << bit);
    }
}

/* The different diagrams that are copied, as far as there are bits for them. */
static uint32_t copied(const struct dpf_set *s, uint32_t may[DEMUX_COPIES_BITS])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = s->bindings[i];
        uint32_t k = 0;

        if (!b || b->gone || !(b->flags & (DPF_TAP | DPF_SHARED))) {
            continue;
        }
        while (k < n && may[k] != b->may) {
            k++;
        }
        if (k == DEMUX_COPIES_BITS) {
            return k + 1;
        }
        may[k] = b->may;
        n = k == n ? n + 1 : n;
    }
    return n;
}

/*
 * A tree allows each byte what any of its filters does: ARP and ICMP together
 * all of IPv4. So where filters that are copied are few, each has a bit of
 * its own.
 */
static int fill_tree_classes(struct demux *dx)
{
    const struct image *im = dx->im;
    const struct dd *d = &dx->s->dd;
    uint32_t size = im->node_count + d->node_count + 1;
    uint32_t may[DEMUX_COPIES_BITS], n = copied(dx->s, may);
    struct part p = {.nodes = im->nodes, .edges = im->edges};

    p.below = heap_alloc(&dx->s->heap, 2 * (size_t)size);
    if (!p.below) {
        return -DPF_E_MEM;
    }
    p.open = p.below + size;
    for (uint32_t t = 0; t < im->tree_count; t++) {
        bool copies = t >= im->exclusive_trees;

        if (!copies || n > DEMUX_COPIES_BITS) {
            p.root = im->roots[t];
            fill_diagram(dx, &p, copies ? DEMUX_COPIES_BIT : dx->tree_slot);
        }
    }
    p.nodes = d->nodes;
    p.edges = d->edges;
    for (uint32_t k = 0; n <= DEMUX_COPIES_BITS && k < n; k++) {
        p.root = may[k];
        fill_diagram(dx, &p, DEMUX_COPIES_BIT + k);
    }
    heap_free(&dx->s->heap, p.below, 2 * (size_t)size);
    return 0;
}

/* The values that the shape allows to each byte, as `bit` in its table. */
static void fill_classes(struct demux *dx, const struct shape *s, uint64_t bit)
{
    for (uint32_t b = 0; b < dx->byte_count; b++) {
        uint8_t mask = 0, value = 0;

        for (uint32_t k = 0; k < s->cube.count; k++) {
            const struct cube_byte *c = &s->cube.bytes[k];

            if (c->var == dd_var_byte(0, dx->bytes[b]) && !c->varies) {
                mask = c->mask;
                value = c->value;
            }
        }
        for (uint32_t x = 0; x < 256; x++) {
            dx->data[256 * b + x] |= (x & mask) == value ? bit : 0;
        }
    }
}

static void fill_check(struct demux *dx, const struct demux_shape *p,
                       uint32_t i, uint32_t at)
{
    dx->data[p->check_at + 2 * at] = p->checks[i].mask;
    dx->data[p->check_at + 2 * at + 1] = p->checks[i].value;
    if (p->narrow) {
        dx->data[p->check_at + at - DESC_CHECK + DESC_CHECK_OFF] =
            p->checks[i].off;
    }
}

OUT_OF_LINE static void fill_shape(struct demux *dx,
                                   const struct demux_shape *p)
{
    uint64_t *desc = &dx->data[dx->slots_at + p->slot * DESC_WORDS];
    uint32_t base_at = p->narrow ? DESC_CHECKS : p->check_count;

    for (uint32_t k = 0; k < p->check_count; k++) {
        fill_check(dx, p, k, k);
    }
    fill_check(dx, p, base_at, base_at);
    dx->data[p->table_at] = (uint64_t)(uintptr_t)p->shape->table;
    for (uint32_t k = 0; k < p->shape->word_count; k++) {
        const struct shape_word *w = &p->shape->words[k];

        dx->data[p->mask_at + k] = w->mask;
        if (p->narrow && w->off != SHAPE_NOWHERE) {
            desc[DESC_WORD_OFF + k] = w->off + (w->base ? p->usual : 0);
        }
    }
    if (p->narrow) {
        desc[DESC_LEAST] = p->least;
    }
}

int demux_fill(struct demux *dx)
{
    const struct image *im = dx->im;

    __builtin_memset(dx->data, 0, dx->data_words * sizeof(*dx->data));
    for (uint32_t i = 0; i < im->shape_count; i++) {
        uint32_t slot = dx->rest_slot;

        if (i < dx->shape_count) {
            fill_shape(dx, &dx->shapes[i]);
            slot = dx->shapes[i].slot;
        }
        fill_classes(dx, im->shapes[i], UINT64_C(1) << slot);
        heap_breathe(&dx->s->heap);
    }
    for (uint32_t i = 0; i < 256 * dx->byte_count; i++) {
        dx->data[i] |= UINT64_C(1) << (dx->slot_count - 1);
    }
    return dx->byte_count && im->tree_count ? fill_tree_classes(dx) : 0;
}
