/* SPDX-License-Identifier: MIT */
/*
 * The data that native lookup reads: which shapes each value of a byte
 * allows, and all that environments chose.
 */
#include "dpf/native/demux.h"

#include "dpf/compact.h"
/*
 * Values of byte `var` with which the tree can reach a chain, in set[]: all
 * if it can do so without testing var. `open` has a byte for each node.
 */
OUT_OF_LINE static void tree_values(const struct image *im, uint32_t root,
                                    uint32_t var, uint8_t *open,
                                    uint64_t set[4])
{
    bool all = dd_is_term(root) && root != DD_NO;

    set[0] = set[1] = set[2] = set[3] = 0;
    for (uint32_t i = 0; !dd_is_term(root) && i <= root; i++) {
        const struct dd_node *n = &im->nodes[i];
        uint32_t lo = 0;

        open[i] = 0;
        for (uint32_t k = 0; k < n->count; k++) {
            const struct dd_edge *e = &im->edges[n->edges + k];

            if (e->child == DD_NO) {
            } else if (n->var != var) {
                open[i] |= dd_is_term(e->child) || open[e->child];
            } else {
                for (uint32_t x = lo; x <= e->hi; x++) {
                    set[x / 64] |= UINT64_C(1) << x % 64;
                }
            }
            lo = e->hi + 1;
        }
        all = open[root] && i == root;
    }
    if (all) {
        set[0] = set[1] = set[2] = set[3] = UINT64_MAX;
    }
}

static int fill_tree_classes(struct demux *dx)
{
    const struct image *im = dx->im;
    uint8_t *open = heap_alloc(&dx->s->heap, im->node_count + 1);

    if (!open) {
        return -DPF_E_MEM;
    }
    for (uint32_t t = 0; t < im->tree_count; t++) {
        uint64_t bit = UINT64_C(1)
                       << (t < im->exclusive_trees ? dx->tree_slot
                                                   : DEMUX_COPIES_BIT);

        for (uint32_t b = 0; b < dx->byte_count; b++) {
            uint64_t set[4];

            tree_values(im, im->roots[t], DD_VAR_BYTE(0, dx->bytes[b]), open,
                        set);
            for (uint32_t x = 0; x < 256; x++) {
                dx->data[256 * b + x] |= set[x / 64] >> x % 64 & 1 ? bit : 0;
            }
        }
    }
    heap_free(&dx->s->heap, open, im->node_count + 1);
    return 0;
}

/* The values that the shape allows to each byte, as `bit` in its table. */
static void fill_classes(struct demux *dx, const struct shape *s, uint64_t bit)
{
    for (uint32_t b = 0; b < dx->byte_count; b++) {
        uint8_t mask = 0, value = 0;

        for (uint32_t k = 0; k < s->cube.count; k++) {
            const struct cube_byte *c = &s->cube.bytes[k];

            if (c->var == DD_VAR_BYTE(0, dx->bytes[b]) && !c->varies) {
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
    }
    for (uint32_t i = 0; i < 256 * dx->byte_count; i++) {
        dx->data[i] |= UINT64_C(1) << (dx->slot_count - 1);
    }
    return dx->byte_count && im->tree_count ? fill_tree_classes(dx) : 0;
}
