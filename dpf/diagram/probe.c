/* SPDX-License-Identifier: MIT */
/*
 * A way to each node, from its parents down; from there on, the first edge
 * that may accept. Both are found once, by passes over the nodes.
 */
#include "dpf/diagram/probe.h"

#define TURNS 4u        /* packets for each edge */
#define FILL_BYTES 256u /* of this and that */

/* Of one node. */
struct probe_node {
    uint32_t up, edge; /* a parent, and which of its edges leads here */
    uint32_t path;     /* scratch: the nodes of a way, the root last */
    uint32_t next;     /* the edge that leads on */
    bool yes;          /* can YES be reached? */
};

struct probe {
    struct dd *d;
    uint32_t root;
    const uint8_t *below;
    struct probe_node *nodes;
    uint8_t *packet;
    uint64_t least, most; /* its length, as the way so far asks */
    uint64_t seed;
    const struct probe_plan *plan;
};

static const struct dd_edge *edge_of(const struct probe *p, uint32_t node,
                                     uint32_t k)
{
    return &p->d->edges[p->d->nodes[node].edges + k];
}

static uint32_t edge_lo(const struct probe *p, uint32_t node, uint32_t k)
{
    return k ? edge_of(p, node, k - 1)->hi + 1 : 0;
}

/* Give the variable of a node a value in [lo, hi], if there is room for it. */
static void assign(struct probe *p, uint32_t node, uint32_t lo, uint32_t hi)
{
    uint32_t var = p->d->nodes[node].var;
    size_t at =
        dd_base_at(p->d->bases, dd_var_base(var), p->packet, PROBE_BYTES);

    if (dd_var_is_len(var)) {
        if (at <= PROBE_BYTES) {
            uint64_t most = hi == DD_LEN_MAX ? UINT64_MAX : (uint64_t)at + hi;

            /* Where the way asks for what cannot be, first come, first served.
             */
            if (lo && at + lo > p->least && at + lo <= p->most) {
                p->least = at + lo;
            }
            p->most = most < p->most && most >= p->least ? most : p->most;
        } /* else nothing lies there at any length */
    } else if (at < PROBE_BYTES && dd_var_off(var) < PROBE_BYTES - at) {
        uint8_t *byte = &p->packet[at + dd_var_off(var)];

        /* It may be the same as one that was given its value before. */
        *byte = *byte >= lo && *byte <= hi ? *byte : (uint8_t)lo;
    }
}

/* The packet whose way takes edge k of the node with the value x. */
static void make(struct probe *p, uint32_t node, uint32_t k, uint32_t x)
{
    uint32_t n = 0, f = edge_of(p, node, k)->child;
    p->least = 0;
    p->most = PROBE_BYTES;
    for (uint32_t i = node; i != p->root; i = p->nodes[i].up) {
        p->nodes[n++].path = i;
    }
    (void)dd_work(p->d, n);
    for (uint32_t i = p->root; n > 0; i = p->nodes[--n].path) {
        uint32_t e = p->nodes[p->nodes[n - 1].path].edge;
        assign(p, i, edge_lo(p, i, e), edge_of(p, i, e)->hi);
    }
    assign(p, node, x, x);
    /* Refused: the rest is of what is accepted with another value here. */
    if (f == DD_NO) {
        f = edge_of(p, node, p->nodes[node].next)->child;
    }
    while (!dd_is_term(f) && dd_work(p->d, 1)) {
        uint32_t e = p->nodes[f].next;
        assign(p, f, edge_lo(p, f, e), edge_of(p, f, e)->hi);
        f = edge_of(p, f, e)->child;
    }
}

/* To YES if it can be, else not to NO. */
static void find_ways(struct probe *p)
{
    for (uint32_t i = 0; i <= p->root; i++) {
        const struct dd_node *n = &p->d->nodes[i];
        struct probe_node *to = &p->nodes[i];
        heap_pass(p->d->heap, 1 + n->count / 2);
        *to = (struct probe_node){.up = p->root};
        for (uint32_t k = 0; p->below[i] && k < n->count; k++) {
            uint32_t child = edge_of(p, i, k)->child;
            bool yes = child == DD_YES;
            if (!dd_is_term(child)) {
                yes = p->nodes[child].yes;
                p->nodes[child].up = i;
                p->nodes[child].edge = k;
            }
            to->next = (yes && !to->yes) || (!to->yes && child != DD_NO)
                           ? k
                           : to->next;
            to->yes = to->yes || yes;
        }
    }
}

/* What no test asks for: zeros, ones, or this and that. */
static void fill(struct probe *p, uint32_t kind)
{
    __builtin_memset(p->packet,
                     kind == 0   ? 0
                     : kind == 1 ? 0xff
                                 : 0x5a,
                     PROBE_BYTES);
    for (uint32_t i = 0; kind > 1 && i < FILL_BYTES; i += 8) {
        p->seed = p->seed * 6364136223846793005u + 1442695040888963407u;
        __builtin_memcpy(p->packet + i, &p->seed, 8);
    }
}

/*
 * The value that packet `turn` has at edge k of a node: the least, the
 * greatest, one between them, again the least with other bytes around it; then
 * the hints. False if that would say nothing new.
 */
static bool value(struct probe *p, uint32_t node, uint32_t k, uint32_t turn,
                  uint32_t *x)
{
    const struct dd_edge *e = edge_of(p, node, k);
    uint32_t lo = edge_lo(p, node, k), most = e->hi - lo;
    if (turn >= TURNS) {
        *x = p->plan->hints[turn - TURNS];
        return *x > lo && *x < e->hi;
    }
    most = most < PROBE_BYTES / 2 ? most : PROBE_BYTES / 2;
    *x = turn == 1   ? lo + most
         : turn == 2 ? lo + 1 + (uint32_t)(p->seed >> 33) % (most + !most)
                     : lo;
    return turn == 0 || (turn == 1 && most > 0) || (turn == 2 && most > 1) ||
           (turn == 3 && e->child != DD_NO);
}

/* Visit that packet. As probe_paths. */
static int probe_one(struct probe *p, uint32_t node, uint32_t k, uint32_t turn,
                     uint32_t x)
{
    if (!dd_work(p->d, 16 + p->plan->work)) {
        return p->d->err;
    }
    fill(p, turn);
    make(p, node, k, x);
    return p->plan->visit(p->plan->ctx, p->packet, p->least);
}

/*
 * Visit plan->max of the packets that there could be, which are `all`; or
 * count them in *n.
 */
static int probe_all(struct probe *p, uint64_t all, uint64_t *n)
{
    uint32_t turns = TURNS + p->plan->hint_count;
    uint64_t due = all - 1;
    int r = 0;
    uint32_t x;
    for (uint32_t i = p->root + 1; i-- > 0 && !r;) {
        uint32_t count = p->below[i] ? turns * p->d->nodes[i].count : 0;
        for (uint32_t j = 0; j < count && !r; j++) {
            heap_pass(p->d->heap, 1);
            if (!value(p, i, j / turns, j % turns, &x)) {
                continue;
            }
            if (n != NULL) {
                ++*n;
                continue;
            }
            due += p->plan->max < all ? p->plan->max : all;
            if (due >= all) {
                due -= all;
                r = probe_one(p, i, j / turns, j % turns, x);
            }
        }
    }
    return r ? r : p->d->err;
}

int probe_paths(struct dd *d, uint32_t f, const struct probe_plan *plan)
{
    struct probe p = {.d = d, .root = f, .seed = 1, .plan = plan};
    size_t bytes = (f + (size_t)1) * sizeof(*p.nodes) + PROBE_BYTES;
    uint64_t all = 0;
    if (dd_is_term(f)) {
        return 0;
    }
    uint32_t edges;
    uint8_t *below = dd_below(d, f, &edges);
    p.nodes = below != NULL ? heap_alloc(d->heap, bytes) : NULL;
    if (p.nodes == NULL) {
        d->err = d->err ? d->err : -DPF_E_MEM;
    }
    int r = d->err;
    if (r == 0 && !dd_work(d, dd_pass(f, edges) + edges)) {
        r = d->err;
    }
    if (r == 0) {
        p.below = below;
        p.packet = (uint8_t *)(p.nodes + f + 1);
        find_ways(&p);
        r = probe_all(&p, 0, &all);
        r = r ? r : probe_all(&p, all, NULL);
    }
    heap_free(d->heap, p.nodes, bytes);
    heap_free(d->heap, below, f + 1);
    return r;
}
