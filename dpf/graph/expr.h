/* SPDX-License-Identifier: MIT */
/*
 * The values that a filter without loops computes, as expressions over the
 * packet and its length. Equal expressions are one node (hash-consing), so
 * that "the same field again" is an equality of numbers. Pointers are offsets
 * (vm/program.h), so addresses are expressions like any other.
 *
 * Every node knows the largest value it can have; the operations that
 * bytecode performs only to cut a value to 32 bits disappear that way, and
 * byte swaps are moved outwards until they meet a constant.
 */
#pragma once

#include "dpf/vm/program.h"

typedef uint16_t expr_id;

#define EXPR_NONE UINT16_MAX

enum expr_op {
    E_CONST, /* k */
    E_LEN,   /* the packet's length */
    E_LOAD,  /* `width` bytes at a + k; a is E_CLAMP or EXPR_NONE */
    E_LOAD_SIGNED,
    E_CLAMP, /* min(a, length - k) as signed numbers: an offset made safe */
    E_ADD,
    E_SUB,
    E_MUL,
    E_AND,
    E_OR,
    E_XOR,
    E_LSH,
    E_RSH,
    E_ARSH,
    E_NEG,
    E_SWAP, /* the low `width` bytes reversed */
    E_ZEXT, /* the low 4 bytes */
    E_SEXT, /* the low k bytes, into width 4 or 8 */
};

struct expr {
    uint8_t op;    /* enum expr_op */
    uint8_t width; /* of the operation, 4 or 8; of a load or swap */
    expr_id a, b;  /* operands; b == EXPR_NONE: the constant k */
    expr_id next;  /* in its hash chain */
    uint16_t uses; /* by other nodes, tests and results */
    uint8_t cost;  /* roughly, operations; at most 255 */
    uint8_t depth;
    uint64_t k;
    uint64_t max; /* the value is at most this */
};

#define EXPR_DEPTH 12u  /* of nesting; deeper: not done this way */
#define EXPR_MAX 4096u  /* nodes of one filter; more: not done this way */
#define EXPR_HASH 1024u /* chains */

struct expr_graph {
    struct expr *e; /* room for cap nodes */
    uint32_t count, cap;
    expr_id chain[EXPR_HASH];
    bool failed; /* sticky: too large, or not expressible */
};

expr_id expr_const(struct expr_graph *g, uint64_t k);
expr_id expr_len(struct expr_graph *g);

/* The result of arithmetic instruction `i` on dst `a` and operand `b`. */
expr_id expr_alu(struct expr_graph *g, const struct dpf_insn *i, expr_id a,
                 expr_id b);

/*
 * An address in the packet split into a part that varies and a constant.
 * *base is EXPR_NONE when nothing varies. False: cannot be split usefully
 * (g->failed), or `*off` is surely outside every packet (not failed).
 */
bool expr_address(struct expr_graph *g, expr_id address, int64_t disp,
                  expr_id *base, uint32_t *off);
expr_id expr_load(struct expr_graph *g, const struct dpf_insn *i, expr_id base,
                  uint32_t off);
expr_id expr_clamp(struct expr_graph *g, expr_id a, uint32_t k);

static inline bool expr_is_const(const struct expr_graph *g, expr_id v)
{
    return g->e[v].op == E_CONST;
}

/* `k` with its low `width` bytes reversed, above them zero. */
uint64_t expr_swap_const(uint64_t k, uint32_t width);
