/* SPDX-License-Identifier: MIT */
/*
 * A class tree: which of many filters may accept a packet. An item is
 * anything with an outline; a lookup visits every item whose outline allows
 * the packet and few others, and the caller asks each exactly.
 *
 *   node   up to 64 items, or nodes, and up to 8 rows. A row is one byte of
 *          the packet and 257 words: bit i of word x says whether item i may
 *          accept a packet whose byte is x (256: has no such byte). A lookup
 *          ands one word of each row and goes on with the bits that remain.
 *   cut    a writer's question that leads an outline to its leaf: is its set
 *          of values of one byte narrow, or is the lowest one below a limit.
 *          A full leaf is cut in two. Leaves hang in inner nodes in the order
 *          of the cuts, and inner nodes are halved when they are full, as in
 *          a B-tree.
 *   chain  items that no cut tells apart: more leaves behind their leaf.
 *
 * The rows of a node are chosen by what its items ask. That changes how long
 * a lookup takes and nothing else: the shape of the tree depends on the order
 * of changes, the items that a lookup visits accept or do not accept by
 * themselves.
 *
 * One writer; readers beside it without a lock. In a node that readers see
 * bits of rows are only written for items that are not in `used`, or widened;
 * `used` is stored last and loaded first. Any other change makes new nodes and
 * publishes them with one store of one pointer, so that a lookup visits no
 * item twice and misses none that was there before it began and after it
 * ended. Nodes that went are in `gone` until the caller has seen a quiescent
 * point.
 *
 * Removal needs no memory.
 */
#pragma once

#include "dpf/diagram/outline.h"
#include "dpf/tree/retire.h"

#define CT_ITEMS 64u
#define CT_ROWS 8u

/*
 * The most units of work (heap.h) of one insertion besides the way to its leaf,
 * and of one removal. A node takes up to CT_NODE_WORK to make. An insertion
 * makes two leaves, and two nodes on each level of inner ones above; a level
 * more needs 65 times as many changes, so that there are five at most. A
 * removal makes one leaf and one inner node.
 */
#define CT_NODE_WORK 20480u
#define CT_INSERT_WORK (12 * CT_NODE_WORK + 8192)
#define CT_REMOVE_WORK (2 * CT_NODE_WORK)

struct ct_node;
struct ct_cut;

/* First member of what hangs in a tree; `outline` does not change there. */
struct ct_item {
    struct outline outline;
    struct ct_node *leaf; /* writer's: where it hangs */
    uint32_t slot;
};

struct classtree {
    struct ct_node *root; /* readers'; NULL: empty */
    struct ct_cut *cuts;  /* writer's, as all below */
    struct retired *gone; /* to be freed when no lookup can read them */
    uint32_t count;       /* items */
};

/* Asked about each item; a number other than 0 ends the visit. */
typedef int ct_visit(void *ctx, struct ct_item *item);

/*
 * Visit the items whose outlines allow the packet. Any processor.
 * Returns the number that ended it, or 0.
 */
int ct_match(const struct classtree *t, const struct outline_view *v,
             ct_visit *visit, void *ctx);

/*
 * Visit the items whose outlines meet `o`. Writer only, as all below. As
 * ct_match, and -DPF_E_FUEL if `h` does not allow the work.
 */
int ct_query(const struct classtree *t, struct heap *h, const struct outline *o,
             ct_visit *visit, void *ctx);

/*
 * Hang `item` in the tree; *chained receives how many items at its leaf no
 * byte tells from it. 0; or -DPF_E_MEM, or -DPF_E_FUEL if `h` does not allow
 * the way to its leaf, and nothing changed. What follows then takes at most
 * CT_INSERT_WORK.
 */
int ct_insert(struct classtree *t, struct heap *h, struct ct_item *item,
              uint32_t *chained);

/*
 * Take it out; needs no memory. Lookups that began before may still visit it.
 * A tree without items holds nothing but what is in `gone`.
 */
void ct_remove(struct classtree *t, struct heap *h, struct ct_item *item);

struct ct_shape {
    uint32_t nodes, depth, chained; /* items behind their leaf */
};
void ct_measure(const struct classtree *t, struct ct_shape *out);
