/* SPDX-License-Identifier: MIT */
/*
 * A filter without loops as a graph of decisions.
 *
 *   bytecode --follow every path once--> nodes --fuse--> fewer, wider nodes
 *
 * A node demands bounds, then tests a condition and goes on to one of two
 * nodes; a leaf is a result. Two paths that reach one instruction with equal
 * live values share a node, so there are no joins of values to reconcile.
 *
 * Bounds. `need` of a node is the length below which every way on from it
 * ends in 0: the largest demand up to there, and the lesser of what its two
 * successors need. A shorter packet may be answered 0 at once, because to a
 * filter "stopped" and "0" are one answer. Demands stronger than that are
 * guards: they only choose between this code and the plain code, which starts
 * again from the beginning, so that they may be as strong as is convenient.
 *
 * Fusing. When a node and its only-used successor share a target, their tests
 * become one condition without a branch, if the work is small beside a
 * mispredicted branch. The second node's reads then happen before the first
 * node's test is known. Their bounds checks move up with them as guards, so
 * that they stay safe.
 */
#pragma once

#include "dpf/graph/expr.h"

typedef uint16_t node_id;
typedef uint16_t cond_id;

#define NODE_NONE UINT16_MAX
#define COND_NONE UINT16_MAX
#define NEED_NEVER UINT32_MAX /* no way on accepts */
#define VARS_MAX 8u           /* distinct varying offsets in one filter */

enum cond_kind {
    C_CMP,    /* a cc b */
    C_TEST,   /* (a & b) == 0 for cc E, != 0 for NE */
    C_MEMBER, /* a in set[first .. first + count) for cc E, not in for NE */
    C_AND,    /* of conditions a and b */
    C_OR,
};

struct cond {
    uint8_t kind;
    uint8_t cc;    /* enum x64_cc */
    uint8_t width; /* 4 or 8 */
    uint8_t cost;  /* roughly, operations */
    uint16_t a, b; /* expressions, or conditions; b NONE: the constant k */
    uint64_t k;
    uint16_t first, count; /* C_MEMBER */
};

struct node {
    uint32_t pc;    /* where it starts: successors have larger ones */
    uint32_t bound; /* demand on the length of what it loads; 0 = none */
    uint32_t need;
    uint32_t guard; /* stronger demand: shorter packets go the plain way */
    cond_id cond;   /* COND_NONE: a leaf, or `yes` follows always */
    node_id yes, no;
    expr_id result; /* of a leaf; EXPR_NONE otherwise */
    uint8_t vars;   /* bit per varying offset that must have been checked */
    uint8_t dead;   /* fused into another */
    uint16_t preds;
    uint16_t waiting; /* predecessors not yet placed, while sorting */
};

struct decision {
    const struct dpf_program *p;
    struct expr_graph g;
    struct node *nodes;
    struct cond *conds;
    uint32_t *set; /* constants of C_MEMBER */
    uint32_t node_count, node_cap, cond_count, cond_cap, set_count, set_cap;
    struct {
        expr_id offset;  /* what varies */
        expr_id clamped; /* the E_CLAMP that loads use */
        uint32_t reach;  /* largest offset + width read behind it */
    } var[VARS_MAX];
    uint32_t var_count;
    node_id *order; /* live nodes, successors later */
    uint32_t order_count;
    node_id zero; /* the leaf with result 0 */
    size_t bytes; /* of the allocation that this is the start of */
};

/*
 * Build and fuse. NULL: this filter is not decided this way (too large, or
 * an operation that expressions do not have), or there is no memory.
 */
struct decision *decide(const struct dpf_program *p);
void decide_free(struct decision *d);

/* Condition c in the list; COND_NONE if there is no room. */
cond_id cond_new(struct decision *d, struct cond c);

/* The negation of condition c; COND_NONE if there is no room. */
cond_id cond_not(struct decision *d, cond_id c);
