/* SPDX-License-Identifier: MIT */
/*
 * What native lookup asks of a packet: which bytes tell shapes apart, and what
 * is checked for each shape besides.
 */
#include "dpf/demux/demux.h"

#define CLASS_OFF_MAX 128u /* bytes behind are checked per shape */

static bool classed(const struct demux *dx, uint32_t var)
{
    for (uint32_t i = 0; i < dx->byte_count; i++) {
        if (dd_var_byte(0, dx->bytes[i]) == var) {
            return true;
        }
    }
    return false;
}

static void want_byte(struct demux *dx, uint32_t off)
{
    if (!classed(dx, dd_var_byte(0, off)) && dx->byte_count < DEMUX_BYTES_MAX) {
        dx->bytes[dx->byte_count++] = off;
    }
}

/* Can its one base be a field that its length covers? */
static bool plan_base(struct demux_shape *p)
{
    const struct cube *c = &p->shape->cube;
    uint32_t least = cube_len(c, 0);
    for (uint32_t i = 0; i < c->len_count; i++) {
        uint32_t base = c->lens[i].base;
        const struct dd_bits *t = &p->shape->bases[base].terms[0];
        if (!base) {
            continue;
        }
        if (p->base || p->shape->bases[base].count > 1 || dd_var_base(t->var) ||
            dd_var_off(t->var) >= least) {
            return false;
        }
        p->base = base;
        /* An IPv4 header has five words more often than not. */
        p->usual = (t->len == 4 ? 5u : 0u) << t->dst;
        p->least = p->usual + c->lens[i].min;
    }
    p->least = p->least > least ? p->least : least;
    return p->least && p->shape->word_count <= DEMUX_WORDS_MAX;
}

/* The compare of one byte, within a load that no packet is too short for. */
static struct demux_check check_of(const struct demux_shape *p, uint32_t off,
                                   uint8_t mask, uint8_t value)
{
    uint32_t width = p->least < 8 ? 4 : 8;
    uint32_t at = off < p->least - width ? off : p->least - width;
    uint32_t shift = 8 * (off - at);
    return (struct demux_check){at, width, (uint64_t)mask << shift,
                                (uint64_t)value << shift};
}

/* One more byte to compare. False: it cannot be. */
static bool add_check(struct demux_shape *p, uint32_t off, uint8_t mask,
                      uint8_t value)
{
    struct demux_check *k = p->checks, *end = k + p->check_count;
    while (k < end && (off < k->off || off >= k->off + k->width)) {
        k++;
    }
    if (k == DEMUX_CHECKS_MAX + p->checks || p->least < 4) {
        return false;
    }
    struct demux_check more = check_of(p, off, mask, value);
    if (k == end) {
        p->check_count++;
        *k = (struct demux_check){more.off, more.width, 0, 0};
    }
    more.mask = (uint64_t)mask << 8 * (off - k->off);
    more.value = (uint64_t)value << 8 * (off - k->off);
    if ((k->value ^ more.value) & k->mask & more.mask) {
        return false; /* its base is never the usual */
    }
    k->mask |= more.mask;
    k->value |= more.value;
    return true;
}

/*
 * The constants that no class table and no key decides, as masked compares;
 * with them, and again by itself behind them, what the base is taken to be.
 */
static bool plan_checks(const struct demux *dx, struct demux_shape *p)
{
    const struct cube *c = &p->shape->cube;
    const struct dd_bits *t = &p->shape->bases[p->base].terms[0];
    uint8_t mask = (uint8_t)(((1u << t->len) - 1u) << t->src);
    uint8_t value = (uint8_t)(p->usual >> t->dst << t->src);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct cube_byte *b = &c->bytes[i];
        uint32_t off = dd_var_off(b->var);
        off += dd_var_base(b->var) ? p->usual : 0;
        if (b->place == SHAPE_NO_PLACE && !classed(dx, b->var) &&
            !add_check(p, off, b->mask, b->value)) {
            return false;
        }
    }
    if (p->base && !add_check(p, dd_var_off(t->var), mask, value)) {
        return false;
    }
    if (p->base) {
        p->checks[p->check_count] =
            check_of(p, dd_var_off(t->var), mask, value);
    }
    return true;
}

/* Fewer bytes than the builtin, and rarely asked. */
static uint32_t bits_in(uint64_t x)
{
    uint32_t n = 0;
    for (; x; x &= x - 1) {
        n++;
    }
    return n;
}

/* The constants of all shapes, by offset: masks (0: none) and values. */
struct constants {
    uint64_t any;    /* shapes that have one */
    uint64_t checks; /* of these, whose key does not cover it */
    uint8_t mask[IMAGE_SHAPES_MAX], value[IMAGE_SHAPES_MAX];
};

static void collect(const struct demux *dx, struct constants *at)
{
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        const struct shape *s = dx->shapes[i].shape;
        for (uint32_t k = 0; k < s->cube.count; k++) {
            const struct cube_byte *b = &s->cube.bytes[k];
            if (!b->varies && b->var < dd_var_byte(0, CLASS_OFF_MAX)) {
                struct constants *c = &at[dd_var_off(b->var)];
                c->any |= UINT64_C(1) << i;
                c->checks |= (uint64_t)(b->place == SHAPE_NO_PLACE) << i;
                c->mask[i] = b->mask;
                c->value[i] = b->value;
            }
        }
    }
}

/* Which of `among` does this byte tell from shape i, which has a constant? */
static uint64_t told_apart(const struct constants *c, uint32_t i,
                           uint64_t among)
{
    uint64_t set = 0;
    for (uint64_t left = among & c->any; left; left &= left - 1) {
        uint32_t k = (uint32_t)__builtin_ctzll(left);
        if ((c->value[i] ^ c->value[k]) & c->mask[i] & c->mask[k]) {
            set |= UINT64_C(1) << k;
        }
    }
    return set;
}

/* How many pairs of same[] the byte tells apart; take: note that it does. */
static uint32_t gain(const struct constants *c, uint64_t *same, bool take)
{
    uint32_t n = 0;
    for (uint64_t left = c->any; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        uint64_t set = told_apart(c, i, same[i]);
        n += bits_in(set);
        same[i] &= take ? ~set : UINT64_MAX;
    }
    return n;
}

/*
 * Take the bytes that tell shapes apart, the one that tells the most first,
 * until no byte tells more, and one at least. A class table costs two
 * instructions and a check five, so a few bytes more are taken that several
 * shapes would check.
 */
static int choose_bytes(struct demux *dx)
{
    size_t size = CLASS_OFF_MAX * sizeof(struct constants);
    struct constants *at = heap_alloc(&dx->s->heap, size);
    uint64_t same[IMAGE_SHAPES_MAX]; /* [i]: those not yet told from shape i */
    uint32_t best;
    if (at == NULL) {
        return -DPF_E_MEM;
    }
    __builtin_memset(at, 0, size);
    __builtin_memset(same, 0xff, sizeof(same));
    collect(dx, at);
    do {
        uint32_t most = 1;
        best = CLASS_OFF_MAX;
        for (uint32_t off = 0; off < CLASS_OFF_MAX; off++) {
            uint32_t n = IMAGE_SHAPES_MAX * gain(&at[off], same, false);
            n += dx->byte_count < DEMUX_BYTES_CHECK ? bits_in(at[off].checks)
                                                    : 0;
            n += !dx->byte_count && at[off].any ? 2 : 0;
            if (n > most) {
                most = n;
                best = off;
            }
        }
        if (best < CLASS_OFF_MAX) {
            gain(&at[best], same, true);
            at[best].checks = 0;
            want_byte(dx, best);
        }
    } while (best < CLASS_OFF_MAX && dx->byte_count < DEMUX_BYTES_MAX);
    heap_free(&dx->s->heap, at, size);
    return 0;
}

/* Can a packet be in both shapes, as far as their constants say? */
static bool meet(const struct shape *a, const struct shape *b)
{
    struct outline x;
    outline_cube(&x, &a->cube, a->bases);
    struct outline y;
    outline_cube(&y, &b->cube, b->bases);
    return outline_meets(&x, &y);
}

/*
 * Unsure: another shape's owner may go before or after this residual one's. Of
 * two residual ones the depth decides, also where their ranks are the same.
 */
static enum demux_kind kind_of(const struct image *im, const struct shape *s)
{
    for (uint32_t k = 0; s->residual && k < im->shape_count; k++) {
        const struct shape *o = im->shapes[k];
        if (o != s && o->rank <= s->rank_high &&
            o->rank_high + o->residual > s->rank && meet(s, o)) {
            return DEMUX_UNSURE;
        }
    }
    return s->residual ? DEMUX_RESIDUAL : DEMUX_OWNER;
}

static void number_slots(struct demux *dx)
{
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        dx->shapes[i].slot = i;
    }
    dx->slot_count = dx->shape_count + 1;
}

/* Where the data of a shape lies; the first word behind them. */
static uint32_t plan_data(struct demux *dx, struct demux_shape *p,
                          uint32_t words)
{
    uint32_t desc = dx->slots_at + p->slot * DESC_WORDS;
    p->narrow = dx->has_classes && !p->plain && shape_is_narrow(p->shape) &&
                p->least >= 8 && p->check_count <= DESC_CHECKS;
    if (p->narrow) {
        p->checks[DESC_CHECKS] = p->checks[p->check_count];
        p->check_at = desc + DESC_CHECK;
        p->mask_at = desc + DESC_MASK;
        p->table_at = desc + DESC_TABLE;
        dx->narrow_checks = p->check_count > dx->narrow_checks
                                ? p->check_count
                                : dx->narrow_checks;
        return words;
    }
    p->check_at = words;
    p->mask_at = p->check_at + 2 * (p->check_count + 1);
    p->table_at = p->mask_at + p->shape->word_count;
    return p->table_at + 1;
}

int demux_plan(struct demux *dx)
{
    const struct image *im = dx->im;
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        dx->shapes[i].shape = im->shapes[i];
        dx->shapes[i].kind = kind_of(im, im->shapes[i]);
    }
    dx->has_classes = im->shape_count != 1;
    if (dx->has_classes) {
        int r = choose_bytes(dx);
        if (r) {
            return r;
        }
        number_slots(dx);
    }
    uint32_t words = dx->byte_count * 256;
    dx->slots_at = words;
    words += dx->slot_count * DESC_WORDS;
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        struct demux_shape *p = &dx->shapes[i];
        p->plain = !plan_base(p) || !plan_checks(dx, p);
        words = plan_data(dx, p, words);
    }
    dx->data_words = words + 1;
    dx->data = heap_alloc(&dx->s->heap, dx->data_words * sizeof(*dx->data));
    return dx->data != NULL ? 0 : -DPF_E_MEM;
}
