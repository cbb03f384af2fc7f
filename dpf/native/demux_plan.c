/* SPDX-License-Identifier: MIT */
/*
 * What native lookup asks of a packet: which bytes tell shapes apart, what
 * is checked for each shape besides, and the data in which the code finds
 * all that environments chose.
 */
#include "dpf/native/demux.h"

#define CLASS_OFF_MAX 128u /* bytes behind are checked per shape */
#define TREE_OFF_MAX 24u

/* ------------------------------------------------------------------- plan */

uint32_t demux_least_len(const struct cube *c, uint32_t base)
{
    for (uint32_t i = 0; i < c->len_count; i++) {
        if (c->lens[i].base == base) {
            return c->lens[i].min;
        }
    }
    return 0;
}

static bool classed(const struct demux *dx, uint32_t var)
{
    for (uint32_t i = 0; i < dx->byte_count; i++) {
        if (DD_VAR_BYTE(0, dx->bytes[i]) == var) {
            return true;
        }
    }
    return false;
}

static void want_byte(struct demux *dx, uint32_t off)
{
    if (!classed(dx, DD_VAR_BYTE(0, off)) && dx->byte_count < DEMUX_BYTES_MAX) {
        dx->bytes[dx->byte_count++] = off;
    }
}

/* The constants that no class table decides, as masked compares. */
static void plan_checks(const struct demux *dx, struct demux_shape *p)
{
    const struct cube *c = &p->shape->cube;

    for (uint32_t i = 0; i < c->count && !p->plain; i++) {
        const struct cube_byte *b = &c->bytes[i];
        uint32_t base = DD_VAR_BASE(b->var), off = DD_VAR_OFF(b->var);
        struct demux_check *k = p->checks, *end = k + p->check_count;

        if (b->varies || classed(dx, b->var)) {
            continue;
        }
        while (k < end &&
               (k->base != base || off < k->off || off >= k->off + k->width)) {
            k++;
        }
        if (k == end) {
            uint32_t len = demux_least_len(c, base), width = len < 8 ? 4 : 8;

            if (p->check_count == DEMUX_CHECKS_MAX || len < width) {
                p->plain = true;
                return;
            }
            *k = (struct demux_check){
                base, off < len - width ? off : len - width, width, 0, 0};
            p->check_count++;
        }
        k->mask |= (uint64_t)b->mask << 8 * (off - k->off);
        k->value |= (uint64_t)b->value << 8 * (off - k->off);
    }
}

/* Can its one base be computed from bytes that its length covers? */
static void plan_base(const struct demux *dx, struct demux_shape *p)
{
    const struct cube *c = &p->shape->cube;

    for (uint32_t i = 0; i < c->len_count; i++) {
        uint32_t base = c->lens[i].base;
        const struct dd_base *def = &dx->im->bases[base];

        if (!base) {
            continue;
        }
        if (p->base || c->lens[i].min > demux_least_len(c, 0)) {
            p->plain = true;
        }
        p->base = base;
        for (uint32_t t = 0; t < def->count; t++) {
            if (DD_VAR_BASE(def->terms[t].var) ||
                DD_VAR_OFF(def->terms[t].var) >= demux_least_len(c, 0)) {
                p->plain = true;
            }
        }
    }
    if (!demux_least_len(c, 0) || p->shape->word_count > DEMUX_WORDS_MAX) {
        p->plain = true;
    }
}

/* The constants of all shapes, by offset: masks (0: none) and values. */
struct constants {
    uint64_t any; /* shapes that have one */
    uint8_t mask[DEMUX_SHAPES_MAX], value[DEMUX_SHAPES_MAX];
};

static void collect(const struct demux *dx, struct constants *at)
{
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        const struct cube *c = &dx->shapes[i].shape->cube;

        for (uint32_t k = 0; k < c->count; k++) {
            uint32_t off = DD_VAR_OFF(c->bytes[k].var);

            if (!c->bytes[k].varies && DD_VAR_BASE(c->bytes[k].var) == 0 &&
                off < CLASS_OFF_MAX) {
                at[off].any |= UINT64_C(1) << i;
                at[off].mask[i] = c->bytes[k].mask;
                at[off].value[i] = c->bytes[k].value;
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

        n += (uint32_t)__builtin_popcountll(set);
        same[i] &= take ? ~set : UINT64_MAX;
    }
    return n;
}

/*
 * Take the bytes that tell shapes apart, the one that tells the most first,
 * until no byte tells more, and one at least. What is constant besides is
 * checked for each shape.
 */
static int choose_bytes(struct demux *dx)
{
    size_t size = CLASS_OFF_MAX * sizeof(struct constants);
    struct constants *at = heap_alloc(&dx->s->heap, size);
    uint64_t same[DEMUX_SHAPES_MAX]; /* [i]: those not yet told from shape i */
    uint32_t most = 1;

    if (!at) {
        return -DPF_E_MEM;
    }
    __builtin_memset(at, 0, size);
    __builtin_memset(same, 0xff, sizeof(same));
    collect(dx, at);
    while (most && dx->byte_count < DEMUX_BYTES_MAX) {
        uint32_t best = CLASS_OFF_MAX;

        most = 0;
        for (uint32_t off = 0; off < CLASS_OFF_MAX; off++) {
            uint32_t n = gain(&at[off], same, false);

            if (n > most ||
                (!dx->byte_count && best == CLASS_OFF_MAX && at[off].any)) {
                most = n;
                best = off;
            }
        }
        if (best < CLASS_OFF_MAX) {
            gain(&at[best], same, true);
            want_byte(dx, best);
        }
    }
    heap_free(&dx->s->heap, at, size);
    return 0;
}

/* Trees are told apart by the bytes they test first. */
static void choose_tree_bytes(struct demux *dx)
{
    const struct image *im = dx->im;

    for (uint32_t i = im->node_count; im->tree_count && i-- > 0;) {
        uint32_t var = im->nodes[i].var;

        if (!DD_VAR_IS_LEN(var) && DD_VAR_BASE(var) == 0 &&
            DD_VAR_OFF(var) < TREE_OFF_MAX) {
            want_byte(dx, DD_VAR_OFF(var));
        }
    }
}

/* Can a packet be in both shapes, as far as their constants say? */
static bool meet(const struct shape *a, const struct shape *b)
{
    for (uint32_t i = 0, j = 0; i < a->cube.count; i++) {
        const struct cube_byte *x = &a->cube.bytes[i], *y;

        while (j < b->cube.count && b->cube.bytes[j].var < x->var) {
            j++;
        }
        y = &b->cube.bytes[j];
        if (j < b->cube.count && y->var == x->var && !x->varies && !y->varies &&
            (x->value ^ y->value) & x->mask & y->mask) {
            return false;
        }
    }
    return true;
}

/* May another shape's owner go before or after this residual shape's? */
static bool is_unsure(const struct image *im, const struct shape *s)
{
    for (uint32_t k = 0; s->residual && k < im->shape_count; k++) {
        const struct shape *o = im->shapes[k];

        if (o != s && o->rank <= s->rank_high && o->rank_high > s->rank &&
            meet(s, o)) {
            return true;
        }
    }
    return false;
}

/* The highest rank of an owner in a merged tree. */
static uint32_t tree_rank(const struct dpf_set *s)
{
    uint32_t rank = 0;

    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = s->bindings[i];

        if (b && !b->cube_count && !b->residual &&
            !(b->flags & (DPF_TAP | DPF_SHARED)) && b->rank > rank) {
            rank = b->rank;
        }
    }
    return rank;
}

static void number_slots(struct demux *dx)
{
    const struct image *im = dx->im;
    uint32_t rank = tree_rank(dx->s), n = 0;
    bool asked = im->exclusive_trees == 0;

    dx->tree_slot = dx->rest_slot = DEMUX_NO_SLOT;
    for (uint32_t i = 0; i <= dx->shape_count; i++) {
        if (!asked && (i == dx->shape_count || im->shapes[i]->rank <= rank)) {
            dx->tree_slot = n++;
            asked = true;
        }
        if (i < dx->shape_count) {
            dx->shapes[i].slot = n++;
        }
    }
    if (im->shape_count > dx->shape_count) {
        dx->rest_slot = n++;
    }
    dx->slot_count = n + 1;
}

int demux_plan(struct demux *dx)
{
    const struct image *im = dx->im;
    uint32_t words;

    for (uint32_t i = 0; i < dx->shape_count; i++) {
        __builtin_memset(&dx->shapes[i], 0, sizeof(dx->shapes[i]));
        dx->shapes[i].shape = im->shapes[i];
        dx->shapes[i].unsure = is_unsure(im, im->shapes[i]);
    }
    dx->has_classes = im->shape_count != 1 || im->tree_count;
    if (dx->has_classes) {
        int r = choose_bytes(dx);

        if (r) {
            return r;
        }
        choose_tree_bytes(dx);
        number_slots(dx);
    }
    words = dx->byte_count * 256;
    dx->dispatch_at = words;
    words += dx->slot_count;
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        struct demux_shape *p = &dx->shapes[i];

        plan_base(dx, p);
        plan_checks(dx, p);
        p->check_at = words;
        words += 2 * p->check_count;
        p->mask_at = words;
        words += p->shape->word_count;
        p->table_at = words++;
    }
    dx->data_words = words + 1;
    dx->data = heap_alloc(&dx->s->heap, dx->data_words * sizeof(*dx->data));
    return dx->data ? 0 : -DPF_E_MEM;
}

/* ------------------------------------------------------------------- data */

/*
 * Values of byte `var` with which the tree can reach a chain, in set[]: all
 * if it can do so without testing var. `open` has a byte for each node.
 */
static void tree_values(const struct image *im, uint32_t root, uint32_t var,
                        uint8_t *open, uint64_t set[4])
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

static void fill_shape(struct demux *dx, const struct demux_shape *p)
{
    for (uint32_t k = 0; k < p->check_count; k++) {
        dx->data[p->check_at + 2 * k] = p->checks[k].mask;
        dx->data[p->check_at + 2 * k + 1] = p->checks[k].value;
    }
    dx->data[p->table_at] = (uint64_t)(uintptr_t)p->shape->table;
    for (uint32_t k = 0; k < p->shape->word_count; k++) {
        dx->data[p->mask_at + k] = p->shape->words[k].mask;
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
