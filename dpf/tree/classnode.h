/* SPDX-License-Identifier: MIT */
/*
 * The inside of a class tree, for its files.
 */
#pragma once

#include "dpf/tree/classtree.h"

struct ct_row {
    uint64_t word[257];
};

struct ct_node {
    struct retired retired;
    uint64_t used;        /* items or nodes that are there, as bits */
    struct ct_node *more; /* of a leaf: the next one of its chain */
    void *kid[CT_ITEMS];
    uint32_t key[CT_ROWS]; /* the bytes of the rows */
    uint32_t rows;
    uint32_t bytes; /* of this allocation */
    bool leaf;
    /* Writer's. */
    uint32_t count;          /* bits in `used` */
    struct outline hull;     /* what all that is below asks */
    struct ct_node *parent;  /* NULL: the root, or behind the head of a chain */
    struct ct_node *before;  /* in a chain: the leaf that leads here */
    struct ct_chain *chain;  /* of a leaf: that it is in, or NULL */
    struct ct_node *room[2]; /* among those of the chain with room */
    uint32_t at;             /* in the parent */
    struct ct_cut *cut;      /* of a leaf that is not in a chain: leads here */
    struct ct_row row[];
};

/*
 * Leaves that no cut tells apart: the head, to which the cuts lead, and those
 * behind it. The newest of these with room for an item is found at once.
 */
struct ct_chain {
    struct ct_node *head, *room;
    uint32_t behind; /* items that are not at the head */
};

/* A cut, or the end of the way: a leaf. */
struct ct_cut {
    struct ct_node *leaf; /* or NULL, then: */
    struct ct_cut *side[2], *up;
    uint32_t key;
    uint32_t limit; /* side 0: lowest value below it; 0: narrow */
};

/* Rows with more values than this are wide. */
#define CT_NARROW 32u

#define CT_SAMPLED 16u /* bytes that are weighed as rows */

/* What making nodes needs; too large for the stack. */
struct ct_work {
    void *kids[2][CT_ITEMS + 2];
    uint32_t count[2];
    uint32_t keys[2 * OUTLINE_ROWS_MAX], uses[2 * OUTLINE_ROWS_MAX], key_count;
    uint32_t weight[256];
    uint32_t histogram[256];
    uint32_t alive[CT_ITEMS + 2];
    uint32_t pass[CT_SAMPLED][CT_ITEMS + 2];
};

/* The outline of what is at kids[i]. */
static inline const struct outline *ct_outline(void *const *kids, uint32_t i,
                                               bool leaf)
{
    return leaf ? &((const struct ct_item *)kids[i])->outline
                : &((const struct ct_node *)kids[i])->hull;
}

/* ----------------------------------------------------------- classnode.c */

/*
 * A node of w->kids[list], with rows chosen for them and bits set. Kids do not
 * know it yet (ct_adopt). NULL: memory.
 */
struct ct_node *ct_make(struct heap *h, struct ct_work *w, uint32_t list,
                        bool leaf);
/* Its kids hang in it now. */
void ct_adopt(struct ct_node *n);
/* Set the bits of slot i for an outline; first clear them, if it is `fresh`. */
void ct_fill(struct ct_node *n, uint32_t i, const struct outline *o,
             bool fresh);
/* The different keys of the outlines of a list: to w->keys, most used first. */
void ct_keys(struct ct_work *w, uint32_t list, bool leaf);

/* ------------------------------------------------------------- classcut.c */

/* On which side of a cut an outline is. */
uint32_t ct_side(uint32_t key, uint32_t limit, const struct outline *o);
/*
 * The leaf where it belongs, in a tree that is not empty. NULL: the heap does
 * not allow the work of finding it.
 */
struct ct_node *ct_leaf(const struct classtree *t, struct heap *h,
                        const struct outline *o);

/* Cut w->kids[0] in two. False if no byte tells one of them from another. */
bool ct_cut_list(struct heap *h, struct ct_work *w, uint32_t *key,
                 uint32_t *limit);
/*
 * A cut that tells two outlines apart: its key and limit in *out, and on which
 * side `a` is. False if no byte does.
 */
bool ct_cut_two(const struct outline *a, const struct outline *b,
                struct ct_cut *out, uint32_t *side);
/* Make the way to a leaf, `c`, a cut between two; ends[] are made for it. */
void ct_cut_put(struct ct_cut *c, struct ct_cut *ends[2],
                struct ct_node *const leaf[2], uint32_t key, uint32_t limit);
/*
 * Take the end `c` away, which is not the only one: its neighbour is where the
 * cut between them was.
 */
void ct_cut_drop(struct heap *h, struct ct_cut *c);
