/* SPDX-License-Identifier: MIT */
/*
 * The data that native lookup reads: which shapes each value of a byte
 * allows, and all that environments chose.
 */
#include "dpf/demux/demux.h"

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

static void fill_shape(struct demux *dx, const struct demux_shape *p)
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

void demux_fill(struct demux *dx)
{
    const struct image *im = dx->im;
    __builtin_memset(dx->data, 0, dx->data_words * sizeof(*dx->data));
    for (uint32_t i = 0; i < im->shape_count; i++) {
        fill_shape(dx, &dx->shapes[i]);
        fill_classes(dx, im->shapes[i], UINT64_C(1) << dx->shapes[i].slot);
        heap_breathe(&dx->s->heap);
    }
    for (uint32_t i = 0; i < 256 * dx->byte_count; i++) {
        dx->data[i] |= UINT64_C(1) << (dx->slot_count - 1);
    }
}
