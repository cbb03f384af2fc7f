/* SPDX-License-Identifier: MIT */
/*
 * From many nodes with one test each to few with conditions.
 *
 * Costs. A mispredicted branch costs about 18 cycles, a test that is computed
 * without a branch one or two; so even a branch that goes wrong once in ten
 * times is worth a handful of tests. FUSE_COST bounds what a condition may
 * cost, for packets that the first test would have turned away.
 */
#include "dpf/graph/fuse.h"

#include "dpf/x86_64/encode.h"

#define FUSE_COST 40u
/*
 * Lengths below this are asked of ordinary packets (Ethernet, IPv4, TCP
 * without options): a guard as strong as that sends few the plain way.
 */
#define ORDINARY 54u
#define LITTLE_MORE 16u /* than what the packet needs to have anyway */
#define MEMBERS_MAX 24u /* constants in one C_MEMBER */

/* ----------------------------------------------------------- conditions */

cond_id cond_new(struct decision *d, struct cond c)
{
    if (d->cond_count == d->cond_cap) {
        return COND_NONE;
    }
    d->conds[d->cond_count] = c;
    return (cond_id)d->cond_count++;
}

/*
 * The opposite, by de Morgan's rules, as a condition of its own: the original
 * may have other users.
 */
cond_id cond_not(struct decision *d, cond_id id)
{
    struct cond c = d->conds[id];
    if (c.kind == C_AND || c.kind == C_OR) {
        c.a = cond_not(d, c.a);
        c.b = c.a == COND_NONE ? COND_NONE : cond_not(d, c.b);
        if (c.b == COND_NONE) {
            return COND_NONE;
        }
        c.kind = c.kind == C_AND ? C_OR : C_AND;
    } else {
        c.cc ^= 1;
    }
    return cond_new(d, c);
}

/* Is c "x is one of some constants" (cc E) or the opposite (cc NE)? */
static bool is_member(const struct decision *d, const struct cond *c,
                      uint8_t cc)
{
    bool one = c->kind == C_CMP && c->b == EXPR_NONE && c->width == 4 &&
               d->g.e[c->a].max <= UINT32_MAX;
    return (one || c->kind == C_MEMBER) && c->cc == cc;
}

static bool set_put(struct decision *d, const uint32_t *from, uint32_t count)
{
    if (d->set_cap - d->set_count < count) {
        return false;
    }
    for (uint32_t n = 0; n < count; n++) {
        d->set[d->set_count++] = from[n];
    }
    return true;
}

/* Memberships x and y of one expression as one; COND_NONE if they are not. */
static cond_id join_members(struct decision *d, const struct cond *x,
                            const struct cond *y, uint8_t cc)
{
    uint32_t xk = (uint32_t)x->k, yk = (uint32_t)y->k;
    if (!is_member(d, x, cc) || !is_member(d, y, cc) || x->a != y->a) {
        return COND_NONE;
    }
    bool x_one = x->kind == C_CMP, y_one = y->kind == C_CMP;
    uint32_t count = (x_one ? 1u : x->count) + (y_one ? 1u : y->count);
    struct cond c = {.kind = C_MEMBER,
                     .cc = cc,
                     .width = 4,
                     .a = x->a,
                     .b = EXPR_NONE,
                     .count = (uint16_t)count};
    uint32_t cost = d->g.e[x->a].cost + 5u;
    c.cost = (uint8_t)(cost < 255 ? cost : 255);
    if (count > MEMBERS_MAX) {
        return COND_NONE;
    }
    /* A list that is the last is extended in place. */
    bool last = !y_one && y->first + y->count == d->set_count;
    uint32_t first = last ? y->first : d->set_count;
    bool ok = last ||
              set_put(d, y_one ? &yk : d->set + y->first, y_one ? 1 : y->count);
    ok =
        ok && set_put(d, x_one ? &xk : d->set + x->first, x_one ? 1 : x->count);
    c.first = (uint16_t)first;
    return ok && first <= UINT16_MAX ? cond_new(d, c) : COND_NONE;
}

/* x and y (kind C_AND), x or y (C_OR). */
static cond_id fuse_combine(struct decision *d, uint8_t kind, cond_id x,
                            cond_id y)
{
    if (x == COND_NONE || y == COND_NONE) {
        return COND_NONE;
    }
    struct cond cx = d->conds[x], cy = d->conds[y];
    uint8_t cc = kind == C_OR ? CC_E : CC_NE;
    cond_id joined = join_members(d, &cx, &cy, cc);
    if (joined != COND_NONE) {
        return joined;
    }
    if (cy.kind == kind) {
        struct cond left = d->conds[cy.a];
        joined = join_members(d, &cx, &left, cc);
        if (joined != COND_NONE) {
            x = joined;
            cx = d->conds[x];
            y = cy.b;
            cy = d->conds[y];
        }
    }
    uint32_t cost = cx.cost + cy.cost + 1u;
    return cond_new(d,
                    (struct cond){.kind = kind,
                                  .a = x,
                                  .b = y,
                                  .cost = (uint8_t)(cost < 255 ? cost : 255)});
}

/* ---------------------------------------------------------------- nodes */

static bool is_leaf(const struct node *n)
{
    return n->result != EXPR_NONE;
}

/* Past nodes that demand nothing and decide nothing. */
static node_id fuse_resolve(const struct decision *d, node_id n)
{
    const struct node *node = &d->nodes[n];
    while (!is_leaf(node) && node->cond == COND_NONE &&
           (node->yes == d->zero || (node->bound == 0 && node->vars == 0))) {
        n = node->yes;
        node = &d->nodes[n];
    }
    return n;
}

static void shorten(struct decision *d)
{
    for (uint32_t n = 0; n < d->node_count; n++) {
        struct node *node = &d->nodes[n];
        if (is_leaf(node)) {
            continue;
        }
        node->yes = fuse_resolve(d, node->yes);
        if (node->cond != COND_NONE) {
            node->no = fuse_resolve(d, node->no);
            if (node->yes == node->no) {
                node->cond = COND_NONE;
                node->no = NODE_NONE;
            }
        }
    }
}

/* The k-th successor, NODE_NONE if there is none. */
static node_id successor(const struct node *n, int k)
{
    return is_leaf(n) ? NODE_NONE : k == 0 ? n->yes : n->no;
}

/* Count the edges between nodes that the entry reaches. */
static uint32_t count_edges(struct decision *d, node_id entry)
{
    uint32_t reached = 0;
    for (uint32_t n = 0; n < d->node_count; n++) {
        d->nodes[n].preds = 0;
        d->nodes[n].dead = 1;
    }
    d->nodes[entry].dead = 0;
    d->order[reached++] = entry;
    for (uint32_t at = 0; at < reached; at++) {
        for (int k = 0; k < 2; k++) {
            node_id to = successor(&d->nodes[d->order[at]], k);
            if (to == NODE_NONE) {
                continue;
            }
            d->nodes[to].preds++;
            if (d->nodes[to].dead != 0) {
                d->nodes[to].dead = 0;
                d->order[reached++] = to;
            }
        }
    }
    return reached;
}

/*
 * Order the reachable nodes so that successors come later and, where that
 * leaves a choice, the `no` successor comes next. Ready nodes wait at the
 * array's end.
 */
static void sort(struct decision *d, node_id entry)
{
    uint32_t placed = 0, ready = count_edges(d, entry), top = ready;
    d->order_count = ready;
    for (uint32_t n = 0; n < d->node_count; n++) {
        d->nodes[n].waiting = d->nodes[n].preds;
    }
    d->order[--top] = entry;
    while (top < ready) {
        node_id n = d->order[top++];
        d->order[placed++] = n;
        for (int k = 0; k < 2; k++) {
            node_id to = successor(&d->nodes[n], k);
            if (to != NODE_NONE && --d->nodes[to].waiting == 0) {
                d->order[--top] = to;
            }
        }
    }
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void find_needs(struct decision *d)
{
    for (uint32_t at = d->order_count; at-- > 0;) {
        node_id id = d->order[at];
        struct node *n = &d->nodes[id];
        if (is_leaf(n)) {
            n->need = id == d->zero ? NEED_NEVER : 0;
            continue;
        }
        uint32_t yes = d->nodes[n->yes].need;
        uint32_t no = n->cond != COND_NONE ? d->nodes[n->no].need : NEED_NEVER;
        n->need = larger(n->bound, yes < no ? yes : no);
    }
}

/*
 * Make one decision of node A and its successor B, when one of A's other
 * targets is also one of B's. False: they have no target in common.
 */
static bool together(struct decision *d, const struct node *a,
                     const struct node *b, bool b_is_yes, struct node *out)
{
    cond_id ca = a->cond, cb = b->cond;
    node_id other = b_is_yes ? a->no : a->yes;
    if (b->yes != other && b->no != other) {
        return false;
    }
    bool b_meets_yes = b->yes == other;
    if (b_is_yes) { /* on to B when A holds */
        cb = b_meets_yes ? cond_not(d, cb) : cb;
        out->cond = fuse_combine(d, C_AND, ca, cb);
        out->yes = b_meets_yes ? b->no : b->yes;
        out->no = other;
    } else if (b_meets_yes) {
        out->cond = fuse_combine(d, C_OR, ca, cb);
        out->yes = other;
        out->no = b->no;
    } else {
        out->cond = fuse_combine(d, C_AND, cond_not(d, ca), cb);
        out->yes = b->yes;
        out->no = other;
    }
    return out->cond != COND_NONE;
}

static bool fuse_absorb(struct decision *d, struct node *a, bool b_is_yes)
{
    node_id id = b_is_yes ? a->yes : a->no;
    struct node *b = &d->nodes[id];
    if (is_leaf(b) || b->preds != 1 || b->cond == COND_NONE) {
        return false;
    }
    uint32_t demand = larger(b->need, b->guard);
    uint32_t cost = d->conds[a->cond].cost + d->conds[b->cond].cost;
    if (b->need == NEED_NEVER || cost > FUSE_COST ||
        (demand > a->guard && demand > ORDINARY &&
         demand > a->need + LITTLE_MORE)) {
        return false;
    }
    struct node out = *a;
    node_id common = b_is_yes ? a->no : a->yes;
    if (!together(d, a, b, b_is_yes, &out)) {
        return false;
    }
    out.guard = larger(a->guard, demand > a->need ? demand : 0);
    out.vars |= b->vars;
    d->nodes[common].preds--; /* B's edge; A's stays */
    b->dead = 1;
    *a = out;
    return true;
}

/* A node that only goes on, and what follows it alone, are one. */
static void run_on(struct decision *d, struct node *a)
{
    while (!is_leaf(a) && a->cond == COND_NONE) {
        struct node *b = &d->nodes[a->yes];
        if (is_leaf(b) || b->preds != 1) {
            return;
        }
        a->bound = larger(a->bound, b->bound);
        a->guard = larger(a->guard, b->guard);
        a->vars |= b->vars;
        a->cond = b->cond;
        a->yes = b->yes;
        a->no = b->no;
        b->dead = 1;
    }
}

void fuse(struct decision *d)
{
    node_id entry = 1; /* 0 is the leaf with result 0 */
    shorten(d);
    entry = fuse_resolve(d, entry);
    sort(d, entry);
    find_needs(d);
    for (uint32_t at = d->order_count; at-- > 0;) {
        struct node *a = &d->nodes[d->order[at]];
        if (a->dead != 0) {
            continue;
        }
        run_on(d, a);
        while (!is_leaf(a) && a->cond != COND_NONE &&
               (fuse_absorb(d, a, true) || fuse_absorb(d, a, false))) {
        }
    }
    sort(d, entry); /* demands stay: they were true of the whole */
}
