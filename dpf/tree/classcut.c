/* SPDX-License-Identifier: MIT */
/*
 * Cuts of class trees: the writer's way from an outline to the leaf where it
 * belongs, and how a full leaf is cut in two.
 */
#include "dpf/tree/classnode.h"

/* Work, in units: of a step; to collect the keys of a leaf; to score one. */
#define CUT_WORK 2u
#define LIST_WORK 512u
#define SCORE_WORK 96u

/* Is an outline's set of a byte narrow? Then *low is its lowest value. */
static bool is_narrow(const struct outline *o, uint32_t key, uint32_t *low)
{
    const struct outline_row *r = outline_row(o, key);
    *low = r != NULL ? r->lo : 0;
    return r != NULL && outline_size(r) <= CT_NARROW;
}

uint32_t ct_side(uint32_t key, uint32_t limit, const struct outline *o)
{
    uint32_t low;
    bool narrow = is_narrow(o, key, &low);
    return narrow && (limit == 0 || low < limit) ? 0 : 1;
}

struct ct_node *ct_leaf(const struct classtree *t, struct heap *h,
                        const struct outline *o)
{
    const struct ct_cut *c = t->cuts;
    while (c->leaf == NULL) {
        if (!heap_work(h, CUT_WORK)) {
            return NULL;
        }
        c = c->side[ct_side(c->key, c->limit, o)];
    }
    return c->leaf;
}

/*
 * How well narrow items of w->kids[0] can be told apart by a byte: by how many
 * differ from the value that most have. *limit receives the cut, which leaves
 * about as many on either side; 0 if it is to be narrow from wide.
 */
static uint32_t score(struct ct_work *w, uint32_t key, uint32_t *limit)
{
    uint32_t n = w->count[0], narrow = 0, most = 0, sum = 0, near = UINT32_MAX;
    __builtin_memset(w->histogram, 0, sizeof(w->histogram));
    uint32_t low;
    for (uint32_t i = 0; i < n; i++) {
        if (is_narrow(ct_outline(w->kids[0], i, true), key, &low)) {
            w->histogram[low]++;
            narrow++;
        }
    }
    *limit = 0;
    for (uint32_t x = 0; x < 256; x++) {
        most = w->histogram[x] > most ? w->histogram[x] : most;
        sum += w->histogram[x];
        uint32_t half =
            sum > narrow - sum ? 2 * sum - narrow : narrow - 2 * sum;
        if (sum != 0 && sum != narrow && half < near) {
            near = half;
            *limit = x + 1;
        }
    }
    if (n - narrow > n / 8 || *limit == 0) {
        *limit = 0;
    }
    return narrow == n || narrow == 0 || narrow > most
               ? narrow - most
               : 1; /* of one value: at least they are told from the wide */
}

/* Cut w->kids[0] in two. False if no byte tells one of them from another. */
bool ct_cut_list(struct heap *h, struct ct_work *w, uint32_t *key,
                 uint32_t *limit)
{
    uint32_t best = 0, n = 0, m = 0;
    (void)heap_work(h, LIST_WORK);
    ct_keys(w, 0, true);
    for (uint32_t k = 0; k < w->key_count; k++) {
        uint32_t at, much = score(w, w->keys[k], &at);
        (void)heap_work(h, SCORE_WORK);
        if (much > best) {
            best = much;
            *key = w->keys[k];
            *limit = at;
        }
    }
    if (best == 0) {
        return false;
    }
    for (uint32_t i = 0; i < w->count[0]; i++) {
        void *kid = w->kids[0][i];
        if (ct_side(*key, *limit, ct_outline(w->kids[0], i, true)) == 0) {
            w->kids[0][n++] = kid;
        } else {
            w->kids[1][m++] = kid;
        }
    }
    w->count[0] = n;
    w->count[1] = m;
    return true;
}

/* A cut that tells two outlines apart, and on which side `a` is; false: no
   byte does. */
bool ct_cut_two(const struct outline *a, const struct outline *b,
                struct ct_cut *out, uint32_t *side)
{
    for (uint32_t i = 0; i < a->count + b->count; i++) {
        uint32_t x, y;
        uint32_t key =
            i < a->count ? a->rows[i].key : b->rows[i - a->count].key;
        bool p = is_narrow(a, key, &x), q = is_narrow(b, key, &y);

        if (p != q || (p && x != y)) {
            out->key = key;
            out->limit = p == q ? (x > y ? x : y) : 0;
            *side = ct_side(key, out->limit, a);
            return true;
        }
    }
    return false;
}

/* Make the way to a leaf a cut between a[0] and a[1], by two cuts made for
   it. */
void ct_cut_put(struct ct_cut *c, struct ct_cut *ends[2],
                struct ct_node *const leaf[2], uint32_t key, uint32_t limit)
{
    for (uint32_t i = 0; i < 2; i++) {
        *ends[i] = (struct ct_cut){.leaf = leaf[i], .up = c};
        leaf[i]->cut = ends[i];
    }
    c->leaf = NULL;
    c->side[0] = ends[0];
    c->side[1] = ends[1];
    c->key = key;
    c->limit = limit;
}

/* Take the end `c` away, which is not the only one: its neighbour is where
   the cut between them was. */
void ct_cut_drop(struct heap *h, struct ct_cut *c)
{
    struct ct_cut *up = c->up, *above = up->up;
    struct ct_cut *other = up->side[up->side[0] == c];
    *up = *other;
    up->up = above;
    if (up->leaf != NULL) {
        up->leaf->cut = up;
    } else {
        up->side[0]->up = up;
        up->side[1]->up = up;
    }
    heap_free(h, other, sizeof(*other));
    heap_free(h, c, sizeof(*c));
}
