/* SPDX-License-Identifier: MIT */
/*
 * While code is made from a decision graph: which registers hold what. The
 * parts are filter.c (nodes), emit_cond.c (conditions), emit_value.c (values
 * in registers).
 *
 * Registers have numbers here: 0 to REGS - 1 hold values, RSI_SLOT is the
 * packet's length.
 */
#pragma once

#include "dpf/graph/emit.h"

#define REGS 7u
/*
 * Nesting of conditions in units of some 150 bytes of stack, so that all of
 * the compiler stays within what a kernel's stack has to spare.
 */
#define NEST_MAX 24u
#define RSI_SLOT REGS /* the length's own register, never given away */

/* The machine's register of each number. */
extern const uint8_t emit_reg[REGS + 1];

struct emitter {
    struct filter_code *c;
    struct x64 *x;
    struct decision *d;
    struct expr_graph *g;
    expr_id held[REGS + 1]; /* value in each register, or EXPR_NONE */
    uint8_t pins[REGS + 1]; /* users at this moment */
    uint32_t next;          /* register to evict next */
    uint32_t nest;          /* see NEST_MAX */
    x64_label plain;
    bool zero_used, zero_placed;
    bool last_product; /* zero_when ended in a product: flags are unset */
};

/* This filter is not made this way: sticky. */
static inline void emit_fail(struct emitter *e)
{
    e->c->failed = true;
}

/* A register for a new value, pinned. */
uint32_t emit_take(struct emitter *e);
/* The end of one use of register r. */
void emit_drop(struct emitter *e, uint32_t r);
/* The register that holds v, or UINT32_MAX. */
uint32_t emit_held(const struct emitter *e, expr_id v);
/* A register that holds v, pinned, only to be read. */
uint32_t emit_value(struct emitter *e, expr_id v);
/* A register that holds v, pinned, and may be changed. */
uint32_t emit_own(struct emitter *e, expr_id v);
/* r op= the constant k. */
void emit_alu_const(struct emitter *e, enum x64_alu op, uint32_t width,
                    uint32_t r, uint64_t k);

/* Flags for condition c; returns the code that is set when it holds. */
enum x64_cc emit_flags(struct emitter *e, cond_id c);
/* The table of a C_MEMBER, behind the code. */
void emit_table(struct emitter *e, const struct member_table *t);
