/* SPDX-License-Identifier: MIT */
/*
 * Values in registers. Nothing is saved or spilled: a value that lost its
 * register is computed again, which for a field is one load.
 *
 * Offsets that vary are clamped before use by compare and conditional move;
 * only the jump that follows decides, so a mispredicted jump reads inside the
 * packet all the same.
 */
#include "dpf/graph/emitter.h"

const uint8_t emit_reg[REGS + 1] = {RAX, RCX, RDX, R8, R9, R10, R11, RSI};

/* ------------------------------------------------------------ registers */

uint32_t emit_take(struct emitter *e)
{
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t n = 0; n < REGS; n++) {
            uint32_t r = (e->next + n) % REGS;
            bool free = pass == 1 || e->held[r] == EXPR_NONE;
            if (e->pins[r] == 0 && free) {
                e->next = r + (pass == 1);
                e->pins[r] = 1;
                e->held[r] = EXPR_NONE;
                return r;
            }
        }
    }
    emit_fail(e);
    return 0;
}

void emit_drop(struct emitter *e, uint32_t r)
{
    if (r != RSI_SLOT && e->pins[r] > 0) {
        e->pins[r]--;
    }
}

uint32_t emit_held(const struct emitter *e, expr_id v)
{
    for (uint32_t r = 0; r <= REGS; r++) {
        if (e->held[r] == v) {
            return r;
        }
    }
    return UINT32_MAX;
}

static uint32_t compute(struct emitter *e, expr_id v);

uint32_t emit_value(struct emitter *e, expr_id v)
{
    uint32_t r = emit_held(e, v);
    if (r == UINT32_MAX) {
        r = compute(e, v);
        e->held[r] = v;
        return r;
    }
    if (r != RSI_SLOT) {
        e->pins[r]++;
    }
    return r;
}

uint32_t emit_own(struct emitter *e, expr_id v)
{
    uint32_t r = emit_held(e, v);
    if (r == UINT32_MAX && e->g->e[v].uses > 1) {
        r = emit_value(e, v); /* keep one for later */
        emit_drop(e, r);
    } else if (r == UINT32_MAX) {
        return compute(e, v);
    }
    if (r != RSI_SLOT && e->pins[r] == 0 && e->g->e[v].uses <= 1) {
        e->held[r] = EXPR_NONE;
        e->pins[r] = 1;
        return r;
    }
    bool pinned = r != RSI_SLOT;
    e->pins[r] = (uint8_t)(e->pins[r] + pinned);
    uint32_t to = emit_take(e);
    emit_drop(e, r);
    x64_mov_rr(e->x, 8, emit_reg[to], emit_reg[r]);
    return to;
}

/* ---------------------------------------------------------- expressions */

static uint32_t compute_load(struct emitter *e, const struct expr *v)
{
    struct x64_mem m = x64_at(RDI, (int32_t)v->k);
    if (v->a != EXPR_NONE) {
        uint32_t base = emit_value(e, v->a);
        m = x64_index(RDI, emit_reg[base], 1, (int32_t)v->k);
        emit_drop(e, base);
    }
    uint32_t r = emit_take(e);
    if (v->op == E_LOAD) {
        x64_load(e->x, v->width, emit_reg[r], m);
    } else {
        x64_load_signed(e->x, v->width, emit_reg[r], m);
    }
    return r;
}

/* Leaves the flags of comparing the offset with the largest allowed. */
static uint32_t compute_clamp(struct emitter *e, const struct expr *v)
{
    uint32_t r = emit_own(e, v->a), limit = emit_take(e);
    x64_lea(e->x, 8, emit_reg[limit], x64_at(RSI, -(int32_t)v->k));
    x64_alu_rr(e->x, X_CMP, 8, emit_reg[r], emit_reg[limit]);
    x64_cmov_rr(e->x, CC_G, 8, emit_reg[r], emit_reg[limit]);
    emit_drop(e, limit);
    return r;
}

static enum x64_alu alu_of(uint8_t op)
{
    switch (op) {
    case E_ADD:
        return X_ADD;
    case E_SUB:
        return X_SUB;
    case E_AND:
        return X_AND;
    case E_OR:
        return X_OR;
    default: /* E_XOR */
        return X_XOR;
    }
}

void emit_alu_const(struct emitter *e, enum x64_alu op, uint32_t width,
                    uint32_t r, uint64_t k)
{
    int64_t imm = width == 4 ? (int32_t)k : (int64_t)k;
    if (imm == (int32_t)imm && x64_harmless(imm)) {
        x64_alu_ri(e->x, op, width, emit_reg[r], (int32_t)imm);
        return;
    }
    if (op == X_XOR && width == 4) { /* the key cancels out */
        x64_alu_ri(e->x, op, 4, emit_reg[r],
                   (int32_t)((uint32_t)k ^ e->x->key));
        x64_alu_ri(e->x, op, 4, emit_reg[r], (int32_t)e->x->key);
        return;
    }
    uint32_t t = emit_take(e);
    x64_mov_chosen(e->x, emit_reg[t], k);
    x64_alu_rr(e->x, op, width, emit_reg[r], emit_reg[t]);
    emit_drop(e, t);
}

static uint32_t compute_binary(struct emitter *e, const struct expr *v)
{
    uint32_t r = emit_own(e, v->a);
    if (v->b == EXPR_NONE) {
        if (v->op == E_MUL) {
            uint32_t t = emit_take(e);
            x64_mov_chosen(e->x, emit_reg[t], v->k);
            x64_imul_rr(e->x, v->width, emit_reg[r], emit_reg[t]);
            emit_drop(e, t);
        } else {
            emit_alu_const(e, alu_of(v->op), v->width, r, v->k);
        }
        return r;
    }
    uint32_t s = emit_value(e, v->b);
    if (v->op == E_MUL) {
        x64_imul_rr(e->x, v->width, emit_reg[r], emit_reg[s]);
    } else {
        x64_alu_rr(e->x, alu_of(v->op), v->width, emit_reg[r], emit_reg[s]);
    }
    emit_drop(e, s);
    return r;
}

static uint32_t compute_unary(struct emitter *e, const struct expr *v)
{
    uint32_t r = emit_own(e, v->a);
    enum x64_reg m = emit_reg[r];
    switch (v->op) {
    case E_LSH:
        x64_shift_i(e->x, X_SHL, v->width, m, (uint8_t)v->k);
        break;
    case E_RSH:
        x64_shift_i(e->x, X_SHR, v->width, m, (uint8_t)v->k);
        break;
    case E_ARSH:
        x64_shift_i(e->x, X_SAR, v->width, m, (uint8_t)v->k);
        break;
    case E_NEG:
        x64_unary(e->x, X_NEG, v->width, m);
        break;
    case E_SWAP:
        x64_bswap(e->x, v->width, m); /* two bytes: the rest is zero */
        break;
    case E_ZEXT:
        x64_mov_rr(e->x, 4, m, m);
        break;
    default: /* E_SEXT */
        x64_sign_extend(e->x, v->width, (uint32_t)v->k, m, m);
        break;
    }
    return r;
}

/* A pinned register with a fresh v in it. Depth: EXPR_DEPTH. */
static uint32_t compute(struct emitter *e, expr_id id)
{
    const struct expr *v = &e->g->e[id];
    if (e->c->failed) {
        return 0;
    }
    uint32_t r;
    switch (v->op) {
    case E_CONST:
        r = emit_take(e);
        x64_mov_chosen(e->x, emit_reg[r], v->k);
        return r;
    case E_LOAD:
    case E_LOAD_SIGNED:
        return compute_load(e, v);
    case E_CLAMP:
        return compute_clamp(e, v);
    case E_ADD:
    case E_SUB:
    case E_MUL:
    case E_AND:
    case E_OR:
    case E_XOR:
        return compute_binary(e, v);
    default:
        return compute_unary(e, v);
    }
}
