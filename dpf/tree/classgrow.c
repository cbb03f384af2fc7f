/* SPDX-License-Identifier: MIT */
/*
 * Class trees: how items come and go. What a node is made of is in
 * classnode.c, where it belongs in classcut.c.
 */
#include "dpf/tree/classnode.h"

#define JOIN_MAX 16u /* two neighbours with as many items become one */

/* ----------------------------------------------------------------- hanging */

static void retire(struct classtree *t, struct ct_node *n)
{
    n->retired.next = t->gone;
    t->gone = &n->retired;
}

static void drop(struct heap *h, struct ct_node *n)
{
    if (n != NULL) {
        n->retired.destroy(h, &n->retired);
    }
}

/* Readers that come to `x` come to `n` instead. */
static void swap(struct classtree *t, struct ct_node *x, struct ct_node *n)
{
    n->parent = x->parent;
    n->at = x->at;
    n->before = x->before;
    if (x->before != NULL) {
        __atomic_store_n(&x->before->more, n, __ATOMIC_RELEASE);
    } else if (x->parent != NULL) {
        __atomic_store_n(&x->parent->kid[x->at], (void *)n, __ATOMIC_RELEASE);
    } else {
        __atomic_store_n(&t->root, n, __ATOMIC_RELEASE);
    }
    retire(t, x);
}

/* The leaf that the cuts lead to. */
static struct ct_node *head_of(struct ct_node *n)
{
    return n->chain != NULL ? n->chain->head : n;
}

/* What leads to a leaf allows what is to hang there. */
static void raise(struct ct_node *leaf, const struct outline *o)
{
    struct ct_node *n = head_of(leaf);
    outline_widen(&leaf->hull, o);
    outline_widen(&n->hull, o);
    for (; n->parent != NULL; n = n->parent) {
        ct_fill(n->parent, n->at, o, false);
        outline_widen(&n->parent->hull, o);
    }
}

/* Kids `from` to `to` of list 0 as an inner node. */
static struct ct_node *part(struct heap *h, struct ct_work *w, uint32_t from,
                            uint32_t to)
{
    w->count[1] = to - from;
    for (uint32_t i = from; i < to; i++) {
        w->kids[1][i - from] = w->kids[0][i];
    }
    return ct_make(h, w, 1, false);
}

/* The kids of x's parent with a and b in the place of x: to list 0. */
static void with_two(struct ct_work *w, const struct ct_node *x,
                     struct ct_node *a, struct ct_node *b)
{
    const struct ct_node *p = x->parent;
    uint32_t n = 0;
    for (uint64_t left = p != NULL ? p->used : 1; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        if (p == NULL || i == x->at) {
            w->kids[0][n++] = a;
            w->kids[0][n++] = b;
        } else {
            w->kids[0][n++] = p->kid[i];
        }
    }
    w->count[0] = n;
}

/*
 * Hang `a` and `b` where `x` is; either may be x itself. 0 or -DPF_E_MEM, and
 * nothing changed.
 */
static int hang_two(struct classtree *t, struct heap *h, struct ct_work *w,
                    struct ct_node *x, struct ct_node *a, struct ct_node *b)
{
    struct ct_node *p = x->parent;
    with_two(w, x, a, b);
    struct ct_node *n[2];
    if (w->count[0] <= CT_ITEMS) {
        n[0] = ct_make(h, w, 0, false);
        if (n[0] == NULL) {
            return -DPF_E_MEM;
        }
        if (p != NULL) {
            swap(t, p, n[0]);
        } else {
            __atomic_store_n(&t->root, n[0], __ATOMIC_RELEASE);
        }
        ct_adopt(n[0]);
        return 0;
    }
    uint32_t half = w->count[0] / 2;
    n[0] = part(h, w, 0, half);
    n[1] = n[0] != NULL ? part(h, w, half, w->count[0]) : NULL;
    int r = n[1] != NULL ? hang_two(t, h, w, p, n[0], n[1]) : -DPF_E_MEM;
    if (r != 0) {
        drop(h, n[0]);
        drop(h, n[1]);
        return r;
    }
    ct_adopt(n[0]);
    ct_adopt(n[1]);
    retire(t, p);
    return 0;
}

/* ------------------------------------------------------------------ adding */

/* The items of a leaf, and one more: to list 0. */
static void with_one(struct ct_work *w, const struct ct_node *leaf,
                     struct ct_item *item)
{
    uint32_t n = 0;
    for (uint64_t left = leaf->used; left != 0; left &= left - 1) {
        w->kids[0][n++] = leaf->kid[__builtin_ctzll(left)];
    }
    if (item != NULL) {
        w->kids[0][n++] = item;
    }
    w->count[0] = n;
}

/* ------------------------------------------------------------------ chains */

/* Leaf n of a chain, behind its head, has room now, or none any more. */
static void room_add(struct ct_node *n)
{
    struct ct_chain *c = n->chain;
    n->room[0] = NULL;
    n->room[1] = c->room;
    if (c->room != NULL) {
        c->room->room[0] = n;
    }
    c->room = n;
}

static void room_drop(struct ct_node *n)
{
    if (n->room[0] != NULL) {
        n->room[0]->room[1] = n->room[1];
    } else {
        n->chain->room = n->room[1];
    }
    if (n->room[1] != NULL) {
        n->room[1]->room[0] = n->room[0];
    }
}

/* `n`, with one item more, is in its chain what `old`, which had room, was. */
static void chain_swap(struct ct_node *old, struct ct_node *n)
{
    n->chain = old->chain;
    if (old->chain == NULL) {
        return;
    }
    if (old == old->chain->head) {
        old->chain->head = n;
        return;
    }
    n->chain->behind++;
    room_drop(old);
    if (n->count < CT_ITEMS) {
        room_add(n);
    }
}

/* A leaf anew, with rows for what it has and one item more. */
static bool renew(struct classtree *t, struct heap *h, struct ct_work *w,
                  struct ct_node *leaf, struct ct_item *item)
{
    with_one(w, leaf, item);
    struct ct_node *n = ct_make(h, w, 0, true);
    if (n == NULL) {
        return false;
    }
    n->cut = leaf->cut;
    n->more = leaf->more;
    if (n->more != NULL) {
        n->more->before = n;
        outline_widen(&n->hull, &leaf->hull);
    }
    if (n->cut != NULL) {
        n->cut->leaf = n;
    }
    raise(leaf, &item->outline);
    swap(t, leaf, n);
    ct_adopt(n);
    chain_swap(leaf, n);
    return true;
}

/* Into a free place of the leaf, with the rows it has. */
static void put(struct ct_node *leaf, struct ct_item *item)
{
    uint32_t i = (uint32_t)__builtin_ctzll(~leaf->used);
    raise(leaf, &item->outline);
    ct_fill(leaf, i, &item->outline, true);
    __atomic_store_n(&leaf->kid[i], (void *)item, __ATOMIC_RELEASE);
    item->leaf = leaf;
    item->slot = i;
    leaf->count++;
    if (leaf->before != NULL) {
        leaf->chain->behind++;
        if (leaf->count == CT_ITEMS) {
            room_drop(leaf);
        }
    }
    __atomic_store_n(&leaf->used, leaf->used | UINT64_C(1) << i,
                     __ATOMIC_RELEASE);
}

/* Rows are chosen anew each time a leaf has doubled. */
static bool is_due(const struct ct_node *leaf)
{
    uint32_t n = leaf->count;
    return n < CT_ITEMS && (n & (n - 1)) == 0;
}

/* To a leaf with room; w is NULL if there is no memory for new rows. */
static void add(struct classtree *t, struct heap *h, struct ct_work *w,
                struct ct_node *leaf, struct ct_item *item)
{
    if (w == NULL || !is_due(leaf) || !renew(t, h, w, leaf, item)) {
        put(leaf, item);
    }
}

static struct ct_cut *cut_new(struct heap *h)
{
    return heap_alloc(h, sizeof(struct ct_cut));
}

/*
 * Two leaves of what is on either side of a cut. 1; 0 if no cut tells the
 * items of the leaf and the new one apart; or -DPF_E_MEM.
 */
static int split(struct classtree *t, struct heap *h, struct ct_work *w,
                 struct ct_node *x, struct ct_item *item)
{
    struct ct_cut *ends[2] = {cut_new(h), cut_new(h)};
    struct ct_node *n[2] = {NULL, NULL};
    int r = -DPF_E_MEM;
    with_one(w, x, item);
    uint32_t key, limit;
    if (ends[0] == NULL || ends[1] == NULL) {
    } else if (!ct_cut_list(h, w, &key, &limit)) {
        r = 0;
    } else {
        n[0] = ct_make(h, w, 0, true);
        n[1] = n[0] != NULL ? ct_make(h, w, 1, true) : NULL;
        r = n[1] != NULL ? hang_two(t, h, w, x, n[0], n[1]) : r;
        if (r == 0) {
            ct_cut_put(x->cut, ends, n, key, limit);
            ct_adopt(n[0]);
            ct_adopt(n[1]);
            retire(t, x);
            raise(item->leaf, &item->outline);
            return 1;
        }
    }
    drop(h, n[0]);
    drop(h, n[1]);
    heap_free(h, ends[0], sizeof(*ends[0]));
    heap_free(h, ends[1], sizeof(*ends[1]));
    return r;
}

/*
 * Items that no byte tells apart are at leaf `x` and behind it. If one tells
 * the new item from them it gets a leaf of its own. As split.
 */
static int part_from(struct classtree *t, struct heap *h, struct ct_work *w,
                     struct ct_node *x, struct ct_item *item)
{
    struct ct_node *some = x->count ? x : x->more;
    const struct ct_item *old = some->kid[__builtin_ctzll(some->used)];
    int r = -DPF_E_MEM;
    uint32_t side;
    struct ct_cut c;
    if (!ct_cut_two(&item->outline, &old->outline, &c, &side)) {
        return 0;
    }
    struct ct_cut *ends[2];
    ends[0] = cut_new(h);
    ends[1] = cut_new(h);
    w->kids[0][0] = item;
    w->count[0] = 1;
    struct ct_node *n[2];
    n[side] = ct_make(h, w, 0, true);
    n[1 - side] = x;
    if (ends[0] != NULL && ends[1] != NULL && n[side] != NULL) {
        r = hang_two(t, h, w, x, n[0], n[1]);
    }
    if (r == 0) {
        ct_cut_put(x->cut, ends, n, c.key, c.limit);
        ct_adopt(n[side]);
        raise(item->leaf, &item->outline);
        return 1;
    }
    drop(h, n[side]);
    heap_free(h, ends[0], sizeof(*ends[0]));
    heap_free(h, ends[1], sizeof(*ends[1]));
    return r;
}

/* One more leaf behind the head `x`, for an item. */
static int lengthen(struct heap *h, struct ct_work *w, struct ct_node *x,
                    struct ct_item *item)
{
    struct ct_chain *c = x->chain;
    if (c == NULL) {
        c = heap_alloc(h, sizeof(*c));
        if (c == NULL) {
            return -DPF_E_MEM;
        }
        *c = (struct ct_chain){.head = x};
    }
    w->kids[0][0] = item;
    w->count[0] = 1;
    struct ct_node *n = ct_make(h, w, 0, true);
    if (n == NULL) {
        heap_free(h, x->chain == NULL ? c : NULL, sizeof(*c));
        return -DPF_E_MEM;
    }
    x->chain = n->chain = c;
    c->behind++;
    room_add(n);
    n->before = x;
    n->more = x->more;
    if (n->more != NULL) {
        n->more->before = n;
    }
    ct_adopt(n);
    raise(n, &item->outline);
    __atomic_store_n(&x->more, n, __ATOMIC_RELEASE);
    return 0;
}

/* Behind a leaf whose items nothing tells from the new one. */
static int chain(struct classtree *t, struct heap *h, struct ct_work *w,
                 struct ct_node *x, struct ct_item *item, uint32_t *chained)
{
    struct ct_node *n =
        x->count == CT_ITEMS && x->chain != NULL ? x->chain->room : x;
    *chained = x->count + (x->chain != NULL ? x->chain->behind : 0);
    if (n == NULL || n->count == CT_ITEMS) {
        return lengthen(h, w, x, item);
    }
    add(t, h, w, n, item);
    return 0;
}

/* The first item of a tree. */
static int plant(struct classtree *t, struct heap *h, struct ct_work *w,
                 struct ct_item *item)
{
    struct ct_cut *c = cut_new(h);
    w->kids[0][0] = item;
    w->count[0] = 1;
    struct ct_node *n = c != NULL ? ct_make(h, w, 0, true) : NULL;
    if (n == NULL) {
        heap_free(h, c, sizeof(*c));
        return -DPF_E_MEM;
    }
    *c = (struct ct_cut){.leaf = n};
    n->cut = c;
    ct_adopt(n);
    t->cuts = c;
    __atomic_store_n(&t->root, n, __ATOMIC_RELEASE);
    return 0;
}

/* A place for the item at `x`, which is full or has a chain. */
static int make_place(struct classtree *t, struct heap *h, struct ct_work *w,
                      struct ct_node *x, struct ct_item *item,
                      uint32_t *chained)
{
    int r =
        x->more != NULL ? part_from(t, h, w, x, item) : split(t, h, w, x, item);
    if (r == 0) {
        return chain(t, h, w, x, item, chained);
    }
    return r == 1 ? 0 : r;
}

int ct_insert(struct classtree *t, struct heap *h, struct ct_item *item,
              uint32_t *chained)
{
    struct ct_node *x = t->root != NULL ? ct_leaf(t, h, &item->outline) : NULL;
    bool fits = x != NULL && x->more == NULL && x->count < CT_ITEMS;
    struct ct_work *w = NULL;
    int r = 0;
    *chained = 0;
    if (x == NULL && t->root != NULL) {
        return -DPF_E_FUEL;
    }
    if (!fits || is_due(x)) {
        w = heap_alloc(h, sizeof(*w));
    }
    if (fits) {
        add(t, h, w, x, item);
    } else if (w == NULL) {
        r = -DPF_E_MEM;
    } else if (x == NULL) {
        r = plant(t, h, w, item);
    } else {
        r = make_place(t, h, w, x, item, chained);
    }
    t->count += r == 0;
    heap_free(h, w, sizeof(*w));
    return r;
}

/* ---------------------------------------------------------------- removing */

static void clear(struct ct_node *n, uint32_t i)
{
    n->count--;
    __atomic_store_n(&n->used, n->used & ~(UINT64_C(1) << i), __ATOMIC_RELEASE);
}

/* A root with one kid is not needed. */
static void lower(struct classtree *t)
{
    while (t->root != NULL && !t->root->leaf && t->root->count == 1) {
        struct ct_node *old = t->root;
        struct ct_node *kid = old->kid[__builtin_ctzll(old->used)];
        kid->parent = NULL;
        __atomic_store_n(&t->root, kid, __ATOMIC_RELEASE);
        retire(t, old);
    }
}

/* An empty leaf goes, and every node that has nothing else. */
static void unhang(struct classtree *t, struct heap *h, struct ct_node *x)
{
    if (x->cut->up != NULL) {
        ct_cut_drop(h, x->cut);
    } else {
        heap_free(h, x->cut, sizeof(*x->cut));
        t->cuts = NULL;
    }
    while (x->parent != NULL && x->parent->count == 1) {
        retire(t, x);
        x = x->parent;
    }
    if (x->parent != NULL) {
        clear(x->parent, x->at);
    } else {
        __atomic_store_n(&t->root, NULL, __ATOMIC_RELEASE);
    }
    retire(t, x);
    lower(t);
}

/* The kids of p without one of them: to list 0. */
static void without(struct ct_work *w, const struct ct_node *p,
                    const struct ct_node *old, struct ct_node *is,
                    const struct ct_node *gone)
{
    uint32_t n = 0;
    for (uint64_t left = p->used; left != 0; left &= left - 1) {
        struct ct_node *kid = p->kid[__builtin_ctzll(left)];
        if (kid != gone) {
            w->kids[0][n++] = kid == old ? is : kid;
        }
    }
    w->count[0] = n;
}

/* Two leaves of one parent, beside a cut, become one, if there is memory. */
static void join(struct classtree *t, struct heap *h, struct ct_work *w,
                 struct ct_node *a, struct ct_node *b)
{
    struct ct_node *p = a->parent;
    with_one(w, a, NULL);
    for (uint64_t left = b->used; left != 0; left &= left - 1) {
        w->kids[0][w->count[0]++] = b->kid[__builtin_ctzll(left)];
    }
    struct ct_node *n = ct_make(h, w, 0, true);
    if (n == NULL) {
        return;
    }
    without(w, p, a, n, b);
    struct ct_node *q = w->count[0] == 1 ? n : ct_make(h, w, 0, false);
    if (q == NULL) {
        drop(h, n);
        return;
    }
    ct_cut_drop(h, b->cut);
    n->cut = a->cut; /* which moved, perhaps, when b's went */
    n->cut->leaf = n;
    swap(t, p, q);
    if (q != n) {
        ct_adopt(q);
    }
    ct_adopt(n);
    retire(t, a);
    retire(t, b);
}

/* Join a leaf with what is on the other side of its cut, if both are small. */
static void tidy(struct classtree *t, struct heap *h, struct ct_node *x)
{
    const struct ct_cut *up = x->cut->up;
    struct ct_node *y =
        up != NULL ? up->side[up->side[0] == x->cut]->leaf : NULL;

    if (y == NULL || y->parent != x->parent || x->more != NULL ||
        y->more != NULL || x->count + y->count > JOIN_MAX) {
        return;
    }
    struct ct_work *w;
    w = heap_alloc(h, sizeof(*w));
    if (w != NULL) {
        join(t, h, w, x, y);
        heap_free(h, w, sizeof(*w));
        lower(t);
    }
}

/* An empty leaf of a chain goes; then what led to it may be empty, too. */
static void unchain(struct classtree *t, struct heap *h, struct ct_node *x)
{
    struct ct_chain *c = x->chain;
    room_drop(x);
    __atomic_store_n(&x->before->more, x->more, __ATOMIC_RELEASE);
    if (x->more != NULL) {
        x->more->before = x->before;
    }
    retire(t, x);
    x = c->head;
    if (x->more == NULL) {
        x->chain = NULL;
        heap_free(h, c, sizeof(*c));
        if (x->count == 0) {
            unhang(t, h, x);
        }
    }
}

void ct_remove(struct classtree *t, struct heap *h, struct ct_item *item)
{
    struct ct_node *x = item->leaf;
    clear(x, item->slot);
    t->count--;
    if (x->before != NULL) {
        x->chain->behind--;
        if (x->count == CT_ITEMS - 1) {
            room_add(x);
        }
        if (x->count == 0) {
            unchain(t, h, x);
        }
    } else if (x->more == NULL) {
        if (x->count == 0) {
            unhang(t, h, x);
        } else {
            tidy(t, h, x);
        }
    }
}
