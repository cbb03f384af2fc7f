/* SPDX-License-Identifier: MIT */
/*
 * Class trees: lookups. How items come and go is in classgrow.c.
 */
#include "dpf/tree/classnode.h"

/* The items or nodes of `n` that may accept the packet. */
static uint64_t alive(const struct ct_node *n, const struct outline_view *v)
{
    uint64_t m = __atomic_load_n(&n->used, __ATOMIC_ACQUIRE);
    for (uint32_t r = 0; r < n->rows && m != 0; r++) {
        m &= __atomic_load_n(&n->row[r].word[outline_value(v, n->key[r])],
                             __ATOMIC_RELAXED);
    }
    return m;
}

/* As deep as the tree is: some logarithm of the leaves by 32. */
static int match(const struct ct_node *n, const struct outline_view *v,
                 ct_visit *visit, void *ctx)
{
    int r = 0;
    for (; n != NULL; n = __atomic_load_n(&n->more, __ATOMIC_ACQUIRE)) {
        for (uint64_t m = alive(n, v); m != 0; m &= m - 1) {
            void *kid =
                __atomic_load_n(&n->kid[__builtin_ctzll(m)], __ATOMIC_ACQUIRE);

            if (!n->leaf) {
                r = match(kid, v, visit, ctx);
            } else if (n->rows != 0 ||
                       outline_allows(&((struct ct_item *)kid)->outline, v)) {
                r = visit(ctx, kid);
            }
            if (r != 0) {
                return r;
            }
        }
    }
    return 0;
}

int ct_match(const struct classtree *t, const struct outline_view *v,
             ct_visit *visit, void *ctx)
{
    return match(__atomic_load_n(&t->root, __ATOMIC_ACQUIRE), v, visit, ctx);
}

/* The items or nodes of `n` that may meet the outline. */
static uint64_t meeting(const struct ct_node *n, const struct outline *o)
{
    uint64_t m = n->used;
    for (uint32_t r = 0; r < n->rows && m != 0; r++) {
        const struct outline_row *row = outline_row(o, n->key[r]);
        uint64_t any = 0;
        for (uint32_t x = row != NULL ? row->lo : 256;
             row != NULL && x <= row->hi; x++) {
            any |= outline_has(row, x) ? n->row[r].word[x] : 0;
        }
        m &= row != NULL ? any : UINT64_MAX;
    }
    return m;
}

static int query(const struct ct_node *n, struct heap *h,
                 const struct outline *o, ct_visit *visit, void *ctx)
{
    int r = 0;
    for (; n != NULL; n = n->more) {
        if (!heap_work(h, 4 + 16 * n->rows)) {
            return -DPF_E_FUEL;
        }
        for (uint64_t m = meeting(n, o); m != 0; m &= m - 1) {
            void *kid = n->kid[__builtin_ctzll(m)];
            if (!n->leaf) {
                r = query(kid, h, o, visit, ctx);
            } else if (outline_meets(&((struct ct_item *)kid)->outline, o)) {
                r = visit(ctx, kid);
            }
            if (r != 0) {
                return r;
            }
        }
    }
    return 0;
}

int ct_query(const struct classtree *t, struct heap *h, const struct outline *o,
             ct_visit *visit, void *ctx)
{
    return query(t->root, h, o, visit, ctx);
}

static void measure(const struct ct_node *n, uint32_t depth,
                    struct ct_shape *out)
{
    uint32_t behind = 0;
    out->depth = depth > out->depth ? depth : out->depth;
    for (; n != NULL; n = n->more) {
        out->nodes++;
        out->chained += behind ? n->count : 0;
        behind = 1;
        for (uint64_t m = n->leaf ? 0 : n->used; m != 0; m &= m - 1) {
            measure(n->kid[__builtin_ctzll(m)], depth + 1, out);
        }
    }
}

void ct_measure(const struct classtree *t, struct ct_shape *out)
{
    *out = (struct ct_shape){0};
    if (t->root != NULL) {
        measure(t->root, 1, out);
    }
}
