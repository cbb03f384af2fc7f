/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic and conditions of plain native code.
 */
#include "dpf/jit/plain.h"

/*
 * r6 to r9, which outlive a call, in registers that C functions keep. rcx and
 * rdx hold nothing: shifts and divisions need them.
 */
const uint8_t plain_reg[BPF_REG_COUNT - 1] = {
    RAX, RDI, RSI, R8, R9, R10, RBX, RBP, R13, R14,
};

enum x64_reg plain_source(struct compiler *c, uint32_t r, enum x64_reg tmp)
{
    if (r == BPF_REG_FP) {
        x64_mov_ri(&c->x, tmp, BPF_STACK_SIZE);
        return tmp;
    }
    return plain_reg[r];
}

static enum x64_alu alu_op(uint32_t op)
{
    switch (op) {
    case BPF_ADD:
        return X_ADD;
    case BPF_SUB:
        return X_SUB;
    case BPF_OR:
        return X_OR;
    case BPF_AND:
        return X_AND;
    default: /* BPF_XOR */
        return X_XOR;
    }
}

uint32_t plain_width(const struct dpf_insn *i)
{
    uint32_t class = BPF_CLASS(i->opcode);
    return class == BPF_ALU64 || class == BPF_JMP ? 8 : 4;
}

enum x64_cc plain_condition(uint32_t op)
{
    switch (op) {
    case BPF_JEQ:
        return CC_E;
    case BPF_JGT:
        return CC_A;
    case BPF_JGE:
        return CC_AE;
    case BPF_JSGT:
        return CC_G;
    case BPF_JSGE:
        return CC_GE;
    case BPF_JLT:
        return CC_B;
    case BPF_JLE:
        return CC_BE;
    case BPF_JSLT:
        return CC_L;
    case BPF_JSLE:
        return CC_LE;
    default: /* BPF_JNE, BPF_JSET */
        return CC_NE;
    }
}

/* The constant of instruction `i`, as wide as it computes. */
static uint64_t plain_alu_constant(const struct dpf_insn *i)
{
    return plain_width(i) == 8 ? (uint64_t)(int64_t)i->imm : (uint32_t)i->imm;
}

bool plain_immediate(const struct dpf_insn *i)
{
    return BPF_SRC(i->opcode) == BPF_K && x64_harmless(i->imm);
}

enum x64_reg plain_operand(struct compiler *c, const struct dpf_insn *i,
                           enum x64_reg tmp)
{
    if (BPF_SRC(i->opcode) == BPF_X) {
        return plain_source(c, DPF_INSN_SRC(i), tmp);
    }
    x64_mov_chosen(&c->x, tmp, plain_alu_constant(i));
    return tmp;
}

static void emit_simple(struct compiler *c, const struct dpf_insn *i,
                        enum x64_reg d)
{
    enum x64_alu op = alu_op(BPF_OP(i->opcode));
    if (plain_immediate(i)) {
        x64_alu_ri(&c->x, op, plain_width(i), d, i->imm);
    } else {
        x64_alu_rr(&c->x, op, plain_width(i), d, plain_operand(c, i, R11));
    }
}

/*
 * A move of a register to itself is left out, unless it is a 32-bit one: that
 * clears the upper half.
 */
static void emit_mov(struct compiler *c, const struct dpf_insn *i,
                     enum x64_reg d)
{
    uint32_t w = plain_width(i);
    enum x64_reg s = plain_operand(c, i, d);
    if (i->off != 0) {
        x64_sign_extend(&c->x, w, (uint32_t)i->off / 8, d, s);
    } else if (d != s || (w == 4 && BPF_SRC(i->opcode) == BPF_X)) {
        x64_mov_rr(&c->x, w, d, s);
    }
}

static void emit_mul(struct compiler *c, const struct dpf_insn *i,
                     enum x64_reg d)
{
    if (plain_immediate(i)) {
        x64_imul_rri(&c->x, plain_width(i), d, d, i->imm);
    } else {
        x64_imul_rr(&c->x, plain_width(i), d, plain_operand(c, i, R11));
    }
}

static void emit_shift(struct compiler *c, const struct dpf_insn *i,
                       enum x64_reg d)
{
    uint32_t op = BPF_OP(i->opcode), w = plain_width(i);
    enum x64_shift x = op == BPF_LSH ? X_SHL : op == BPF_RSH ? X_SHR : X_SAR;
    if (BPF_SRC(i->opcode) == BPF_X) {
        x64_mov_rr(&c->x, 4, RCX, plain_source(c, DPF_INSN_SRC(i), RCX));
        x64_shift_cl(&c->x, x, w, d); /* the processor masks as s4.1 asks */
        return;
    }
    /* A shift by 0 needs no instruction, but each 32-bit operation clears the
       upper half of its register (s4.1). */
    uint32_t count = (uint32_t)i->imm & (w * 8 - 1);
    if (count != 0) {
        x64_shift_i(&c->x, x, w, d, (uint8_t)count);
    } else if (w == 4) {
        x64_mov_rr(&c->x, 4, d, d);
    }
}

/*
 * To little endian nothing is swapped on this machine; the value is only cut
 * to its width (RFC 9669 s4.2).
 */
static void plain_alu_emit_end(struct compiler *c, const struct dpf_insn *i,
                               enum x64_reg d)
{
    bool swap =
        BPF_CLASS(i->opcode) == BPF_ALU64 || BPF_SRC(i->opcode) == BPF_X;
    uint32_t w = (uint32_t)i->imm / 8;
    if (swap) {
        x64_bswap(&c->x, w, d);
    }
    if (w == 2 || (w == 4 && !swap)) {
        x64_zero_extend(&c->x, w, d, d);
    }
}

/*
 * The quotient or remainder of rax by rcx (not zero), left in `d`; rdx is
 * scratch. Signed: -1 is handled apart, for the processor faults on the most
 * negative value divided by it.
 */
static void emit_divide(struct compiler *c, const struct dpf_insn *i,
                        enum x64_reg d)
{
    struct x64 *x = &c->x;
    uint32_t w = plain_width(i);
    bool div = BPF_OP(i->opcode) == BPF_DIV;
    x64_label done = x64_label_new(x), plain = x64_label_new(x);
    if (i->off == 0) {
        x64_alu_rr(x, X_XOR, 4, RDX, RDX);
        x64_unary(x, X_DIV, w, RCX);
    } else {
        x64_alu_ri(x, X_CMP, w, RCX, -1);
        x64_jcc(x, CC_NE, plain);
        x64_unary(x, X_NEG, w, RAX);
        x64_alu_rr(x, X_XOR, 4, RDX, RDX);
        x64_jmp(x, done);
        x64_place(x, plain);
        x64_cdq(x, w);
        x64_unary(x, X_IDIV, w, RCX);
    }
    x64_place(x, done);
    x64_mov_rr(x, w, d, div ? RAX : RDX);
}

/*
 * Division as RFC 9669 s4.1 defines it: by zero the quotient is 0 and the
 * remainder is the dividend, where the processor would fault. rax is kept in
 * r11, unless the result goes there.
 */
static void emit_div(struct compiler *c, const struct dpf_insn *i,
                     enum x64_reg d)
{
    struct x64 *x = &c->x;
    uint32_t w = plain_width(i);
    bool div = BPF_OP(i->opcode) == BPF_DIV;
    x64_label zero = x64_label_new(x), done = x64_label_new(x);
    enum x64_reg divisor = plain_operand(c, i, RCX);
    if (divisor != RCX) {
        x64_mov_rr(x, w, RCX, divisor);
    }
    x64_test_rr(x, w, RCX, RCX);
    x64_jcc(x, CC_E, zero);
    if (d != RAX) {
        x64_mov_rr(x, 8, R11, RAX);
        x64_mov_rr(x, w, RAX, d);
    }
    emit_divide(c, i, d);
    if (d != RAX) {
        x64_mov_rr(x, 8, RAX, R11);
    }
    x64_jmp(x, done);
    x64_place(x, zero);
    if (div) {
        x64_alu_rr(x, X_XOR, 4, d, d);
    } else if (w == 4) {
        x64_mov_rr(x, 4, d, d);
    }
    x64_place(x, done);
}

void plain_alu(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_reg d = plain_reg[DPF_INSN_DST(i)];
    switch (BPF_OP(i->opcode)) {
    case BPF_MOV:
        emit_mov(c, i, d);
        break;
    case BPF_MUL:
        emit_mul(c, i, d);
        break;
    case BPF_DIV:
    case BPF_MOD:
        emit_div(c, i, d);
        break;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        emit_shift(c, i, d);
        break;
    case BPF_NEG:
        x64_unary(&c->x, X_NEG, plain_width(i), d);
        break;
    case BPF_END:
        plain_alu_emit_end(c, i, d);
        break;
    default:
        emit_simple(c, i, d);
        break;
    }
}
