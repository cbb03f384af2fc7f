/* SPDX-License-Identifier: MIT */
/*
 * Making expressions: one place where they are simplified, one where equal
 * ones are found.
 */
#include "dpf/graph/expr.h"

static const expr_id no_expr = 0; /* what a failed graph hands out */

/* All ones up to the highest one of v. */
static uint64_t ones(uint64_t v)
{
    return v == 0 ? 0 : UINT64_MAX >> __builtin_clzll(v);
}

static uint64_t width_max(uint32_t width)
{
    return width == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
}

uint64_t expr_swap_const(uint64_t k, uint32_t width)
{
    return __builtin_bswap64(k) >> (64 - 8 * width);
}

/* Sum, product or shift of maxima, cut at what `width` can hold. */
static uint64_t max_of(const struct expr_graph *g, const struct expr *e)
{
    uint64_t limit = width_max(e->width == 4 ? 4 : 8);
    uint64_t a = e->a != EXPR_NONE ? g->e[e->a].max : 0;
    uint64_t b = e->b != EXPR_NONE ? g->e[e->b].max : e->k;
    bool over = false;
    uint64_t out;
    switch (e->op) {
    case E_CONST:
        return e->k;
    case E_LEN:
        return UINT32_MAX;
    case E_LOAD:
    case E_SWAP:
        return width_max(e->width);
    case E_LOAD_SIGNED:
        return UINT64_MAX;
    case E_CLAMP:
        return a;
    case E_ZEXT:
        return a < UINT32_MAX ? a : UINT32_MAX;
    case E_AND:
        out = a < b ? a : b;
        break;
    case E_OR:
    case E_XOR:
        out = ones(a | b);
        break;
    case E_ADD:
        over = __builtin_add_overflow(a, b, &out);
        break;
    case E_MUL:
        over = __builtin_mul_overflow(a, b, &out);
        break;
    case E_LSH:
        out = a << (e->k & 63);
        over = e->b != EXPR_NONE || out >> (e->k & 63) != a;
        break;
    case E_RSH:
        out = e->b != EXPR_NONE ? a : a >> (e->k & 63);
        break;
    default:
        return limit;
    }
    return over || out > limit ? limit : out;
}

static void expr_measure(const struct expr_graph *g, struct expr *e)
{
    const struct expr *a = e->a != EXPR_NONE ? &g->e[e->a] : NULL;
    const struct expr *b = e->b != EXPR_NONE ? &g->e[e->b] : NULL;
    uint32_t cost = (e->op == E_CLAMP ? 3u : 1u) + (a != NULL ? a->cost : 0u) +
                    (b != NULL ? b->cost : 0u);
    uint8_t depth = a != NULL ? a->depth : 0;
    depth = b != NULL && b->depth > depth ? b->depth : depth;
    e->cost = (uint8_t)(cost < 255 ? cost : 255);
    e->depth = (uint8_t)(depth + 1);
}

static expr_id expr_intern(struct expr_graph *g, struct expr e)
{
    uint64_t hash = e.op * UINT64_C(0x9e3779b97f4a7c15) ^ e.k;
    hash = (hash ^ (uint64_t)e.width << 8 ^ (uint64_t)e.a << 16 ^
            (uint64_t)e.b << 32) *
           UINT64_C(0x9e3779b97f4a7c15);
    expr_id *head = &g->chain[hash >> 54];
    for (expr_id n = *head; n != EXPR_NONE; n = g->e[n].next) {
        const struct expr *o = &g->e[n];
        if (o->op == e.op && o->width == e.width && o->a == e.a &&
            o->b == e.b && o->k == e.k) {
            return n;
        }
    }
    expr_measure(g, &e);
    if (g->count == g->cap || e.depth > EXPR_DEPTH) {
        g->failed = true;
        return no_expr;
    }
    e.max = max_of(g, &e);
    e.next = *head;
    e.uses = 0;
    g->e[g->count] = e;
    *head = (expr_id)g->count++;
    return *head;
}

expr_id expr_const(struct expr_graph *g, uint64_t k)
{
    return expr_intern(
        g,
        (struct expr){
            .op = E_CONST, .width = 8, .a = EXPR_NONE, .b = EXPR_NONE, .k = k});
}

expr_id expr_len(struct expr_graph *g)
{
    return expr_intern(
        g,
        (struct expr){.op = E_LEN, .width = 8, .a = EXPR_NONE, .b = EXPR_NONE});
}

static expr_id expr_unary(struct expr_graph *g, enum expr_op op, uint32_t width,
                          expr_id a, uint64_t k)
{
    return expr_intern(g, (struct expr){.op = (uint8_t)op,
                                        .width = (uint8_t)width,
                                        .a = a,
                                        .b = EXPR_NONE,
                                        .k = k});
}

/* The low 4 bytes of a. */
static expr_id expr_cut(struct expr_graph *g, expr_id a)
{
    if (g->e[a].max <= UINT32_MAX) {
        return a;
    }
    return expr_unary(g, E_ZEXT, 4, a, 0);
}

/* a & k, for a of any width. */
static expr_id mask(struct expr_graph *g, uint32_t width, expr_id a, uint64_t k)
{
    const struct expr *e = &g->e[a];
    if ((ones(e->max) & ~k) == 0) {
        return a;
    }
    k &= ones(e->max);
    if (k == 0) {
        return expr_const(g, 0);
    }
    if (e->op == E_AND && e->b == EXPR_NONE) {
        return mask(g, e->width > width ? e->width : width, e->a, k & e->k);
    }
    if (e->op == E_SWAP) {
        uint32_t bytes = e->width;
        expr_id inner =
            mask(g, bytes == 8 ? 8 : 4, e->a, expr_swap_const(k, bytes));
        return expr_unary(g, E_SWAP, bytes, inner, 0);
    }
    return expr_unary(g, E_AND, k <= UINT32_MAX ? 4 : width, a, k);
}

static expr_id expr_swap(struct expr_graph *g, uint32_t bytes, expr_id a)
{
    expr_id low = bytes == 8   ? a
                  : bytes == 4 ? expr_cut(g, a)
                               : mask(g, 8, a, width_max(bytes));
    if (g->e[low].op == E_SWAP && g->e[low].width == bytes) {
        return g->e[low].a;
    }
    return expr_unary(g, E_SWAP, bytes, low, 0);
}

static expr_id byte_order(struct expr_graph *g, const struct dpf_insn *i,
                          expr_id a)
{
    bool swaps =
        BPF_CLASS(i->opcode) == BPF_ALU64 || BPF_SRC(i->opcode) == BPF_X;
    uint32_t bytes = (uint32_t)i->imm / 8;
    if (swaps) {
        return expr_swap(g, bytes, a);
    }
    return bytes == 8 ? a : mask(g, 8, a, width_max(bytes));
}

static expr_id move(struct expr_graph *g, const struct dpf_insn *i, expr_id b)
{
    uint32_t width = BPF_CLASS(i->opcode) == BPF_ALU64 ? 8 : 4;
    if (i->off == 0) {
        return width == 8 ? b : expr_cut(g, b);
    }
    uint32_t bytes = (uint32_t)i->off / 8;
    if (g->e[b].max <= width_max(bytes) / 2) {
        return b; /* not negative */
    }
    return expr_unary(g, E_SEXT, width, b, bytes);
}

static int op_of(uint32_t op)
{
    switch (op) {
    case BPF_ADD:
        return E_ADD;
    case BPF_SUB:
        return E_SUB;
    case BPF_MUL:
        return E_MUL;
    case BPF_OR:
        return E_OR;
    case BPF_AND:
        return E_AND;
    case BPF_LSH:
        return E_LSH;
    case BPF_RSH:
        return E_RSH;
    case BPF_XOR:
        return E_XOR;
    case BPF_ARSH:
        return E_ARSH;
    default:
        return -1; /* division */
    }
}

/* a op constant k. */
static expr_id with_const(struct expr_graph *g, enum expr_op op, uint32_t width,
                          expr_id a, uint64_t k)
{
    bool shift = op == E_LSH || op == E_RSH || op == E_ARSH;
    k &= shift ? width * 8 - 1 : width_max(width);
    if (op == E_AND) {
        return mask(g, width, a, k);
    }
    if (width == 4 && (op == E_RSH || op == E_ARSH)) {
        a = expr_cut(g, a);
    }
    if (k == 0 && op != E_MUL) {
        return width == 4 ? expr_cut(g, a) : a;
    }
    if (op == E_SUB) { /* one form for both */
        op = E_ADD;
        k = (0 - k) & width_max(width);
    }
    const struct expr *e = &g->e[a];
    if (op == E_ADD && e->op == E_ADD && e->b == EXPR_NONE &&
        e->width == width) {
        return with_const(g, E_ADD, width, e->a, e->k + k);
    }
    return expr_unary(g, op, width, a, k);
}

/*
 * high << 8 w | low, two loads of w bytes side by side, are one load of 2 w
 * bytes: how clang reads a field that it takes to be unaligned. The other way
 * round it is that load swapped. EXPR_NONE if they are nothing of the kind.
 */
static expr_id wider_load(struct expr_graph *g, expr_id high, expr_id low)
{
    const struct expr *shift = &g->e[high], *l = &g->e[low];
    if (shift->op != E_LSH || shift->b != EXPR_NONE) {
        return EXPR_NONE;
    }
    const struct expr *h = &g->e[shift->a];
    bool swapped = h->op == E_SWAP && l->op == E_SWAP;
    if (swapped) {
        uint32_t bytes = h->width | l->width;
        h = &g->e[h->a];
        l = &g->e[l->a];
        if (h->width != bytes || l->width != bytes) {
            return EXPR_NONE;
        }
    }
    if (h->op != E_LOAD || l->op != E_LOAD || h->width != l->width ||
        h->a != l->a || shift->k != 8u * h->width || h->width == 8) {
        return EXPR_NONE;
    }
    uint32_t wide = 2u * h->width;
    bool up = h->k == l->k + l->width && !swapped;
    bool down = l->k == h->k + h->width && (swapped || h->width == 1);
    if (!up && !down) {
        return EXPR_NONE;
    }
    expr_id load = expr_unary(g, E_LOAD, wide, h->a, up ? l->k : h->k);
    return up ? load : expr_unary(g, E_SWAP, wide, load, 0);
}

static expr_id binary(struct expr_graph *g, enum expr_op op, uint32_t width,
                      expr_id a, expr_id b)
{
    bool shift = op == E_LSH || op == E_RSH || op == E_ARSH;
    if (expr_is_const(g, b)) {
        return with_const(g, op, width, a, g->e[b].k);
    }
    if (shift) {
        g->failed = true; /* by a variable count: rare */
        return no_expr;
    }
    if (op != E_SUB && (expr_is_const(g, a) || a > b)) {
        expr_id t = a; /* commutative: one order, constants second */
        a = b;
        b = t;
        if (expr_is_const(g, b)) {
            return with_const(g, op, width, a, g->e[b].k);
        }
    }
    if (op == E_OR || op == E_ADD) {
        expr_id wide = wider_load(g, a, b);
        wide = wide != EXPR_NONE ? wide : wider_load(g, b, a);
        if (wide != EXPR_NONE) {
            return wide;
        }
    }
    return expr_intern(
        g, (struct expr){
               .op = (uint8_t)op, .width = (uint8_t)width, .a = a, .b = b});
}

expr_id expr_alu(struct expr_graph *g, const struct dpf_insn *i, expr_id a,
                 expr_id b)
{
    uint32_t op = BPF_OP(i->opcode);
    uint32_t width = BPF_CLASS(i->opcode) == BPF_ALU64 ? 8 : 4;
    bool one = op == BPF_NEG || op == BPF_END;
    if (g->failed) {
        return no_expr;
    }
    if ((op == BPF_MOV || expr_is_const(g, a)) &&
        (one || expr_is_const(g, b))) {
        return expr_const(
            g, insn_alu(i, op == BPF_MOV ? 0 : g->e[a].k, one ? 0 : g->e[b].k));
    }
    if (op == BPF_MOV) {
        return move(g, i, b);
    }
    if (op == BPF_END) {
        return byte_order(g, i, a);
    }
    if (op == BPF_NEG) {
        return expr_unary(g, E_NEG, width, a, 0);
    }
    if (op_of(op) < 0) {
        g->failed = true;
        return no_expr;
    }
    return binary(g, (enum expr_op)op_of(op), width, a, b);
}

bool expr_address(struct expr_graph *g, expr_id address, int64_t disp,
                  expr_id *base, uint32_t *off)
{
    const struct expr *e = &g->e[address];
    *base = address;
    int64_t sum;
    if (e->op == E_CONST) {
        *base = EXPR_NONE;
        disp = (int64_t)((uint64_t)disp + e->k);
    } else if (e->op == E_ADD && e->width == 8 && e->b == EXPR_NONE) {
        if (__builtin_add_overflow(disp, (int64_t)e->k, &sum)) {
            g->failed = true;
            return false;
        }
        disp = sum;
        *base = e->a;
    }
    bool reach = disp >= 0 && disp < 1 << 16;
    /* An offset that may be negative or huge needs the careful check. */
    if (*base != EXPR_NONE && (!reach || g->e[*base].max > UINT32_MAX)) {
        g->failed = true;
        return false;
    }
    if (*base == EXPR_NONE && disp >= 1 << 16 && disp <= UINT32_MAX) {
        g->failed = true; /* a packet might be that long */
        return false;
    }
    *off = (uint32_t)disp;
    return reach;
}

expr_id expr_load(struct expr_graph *g, const struct dpf_insn *i, expr_id base,
                  uint32_t off)
{
    enum expr_op op = BPF_MODE(i->opcode) == BPF_MEMSX ? E_LOAD_SIGNED : E_LOAD;
    return expr_unary(g, op, insn_width(i), base, off);
}

expr_id expr_clamp(struct expr_graph *g, expr_id a, uint32_t k)
{
    return expr_unary(g, E_CLAMP, 8, a, k);
}
