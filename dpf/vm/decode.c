/* SPDX-License-Identifier: MIT */
/*
 * The form of a program: every instruction is one of RFC 9669 that we accept,
 * reserved fields are zero, and jumps land on instructions. The use of
 * registers is checked by verify.c.
 */
#include "dpf/vm/verifier.h"

static bool check_end(struct verifier *v, const struct dpf_insn *i)
{
    if (BPF_CLASS(i->opcode) == BPF_ALU64 && BPF_SRC(i->opcode) == BPF_X) {
        return refuse(v, WHY_OPCODE, i->opcode);
    }
    if (i->imm != 16 && i->imm != 32 && i->imm != 64) {
        return refuse(v, WHY_SWAP_WIDTH, 0);
    }
    return DPF_INSN_SRC(i) == 0 && i->off == 0 ? true
                                               : refuse(v, WHY_RESERVED, 0);
}

/* Is `off` one that arithmetic operation `op` gives a meaning to? */
static bool alu_off_ok(const struct dpf_insn *i)
{
    uint32_t op = BPF_OP(i->opcode);
    if (i->off == 0) {
        return true;
    }
    if (op == BPF_DIV || op == BPF_MOD) {
        return i->off == 1;
    }
    if (op == BPF_MOV && BPF_SRC(i->opcode) == BPF_X) {
        return i->off == 8 || i->off == 16 ||
               (i->off == 32 && BPF_CLASS(i->opcode) == BPF_ALU64);
    }
    return false;
}

static bool decode_check_alu(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t op = BPF_OP(i->opcode);
    if (op > BPF_END) {
        return refuse(v, WHY_OPCODE, i->opcode);
    }
    if (DPF_INSN_DST(i) == BPF_REG_FP) {
        return refuse(v, WHY_FRAME_POINTER, 0);
    }
    if (op == BPF_END) {
        return check_end(v, i);
    }
    if (op == BPF_NEG) {
        if (BPF_SRC(i->opcode) != BPF_K) {
            return refuse(v, WHY_OPCODE, i->opcode);
        }
        return DPF_INSN_SRC(i) == 0 && i->off == 0 && i->imm == 0
                   ? true
                   : refuse(v, WHY_RESERVED, 0);
    }
    if (BPF_SRC(i->opcode) == BPF_X ? i->imm != 0 : DPF_INSN_SRC(i) != 0) {
        return refuse(v, WHY_RESERVED, 0);
    }
    return alu_off_ok(i) ? true : refuse(v, WHY_RESERVED, 0);
}

static bool check_target(struct verifier *v, const struct dpf_insn *i)
{
    int64_t target = (int64_t)v->at + 1 + insn_jump(i);
    if (target < 0 || target >= v->p->count) {
        return refuse(v, WHY_TARGET, target);
    }
    v->p->notes[target].flags |= NOTE_TARGET;
    return true;
}

static bool check_call(struct verifier *v, const struct dpf_insn *i)
{
    if (BPF_CLASS(i->opcode) != BPF_JMP || BPF_SRC(i->opcode) != BPF_K) {
        return refuse(v, WHY_OPCODE, i->opcode);
    }
    if (DPF_INSN_DST(i) != 0 || i->off != 0) {
        return refuse(v, WHY_RESERVED, 0);
    }
    if (DPF_INSN_SRC(i) == 1) {
        return refuse(v, WHY_LOCAL_CALL, 0);
    }
    if (DPF_INSN_SRC(i) != 0) {
        return refuse(v, WHY_KERNEL_CALL, 0);
    }
    return true;
}

static bool decode_check_jump(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t op = BPF_OP(i->opcode);
    bool wide = BPF_CLASS(i->opcode) == BPF_JMP;
    if (op > BPF_JSLE) {
        return refuse(v, WHY_OPCODE, i->opcode);
    }
    if (op == BPF_CALL) {
        return check_call(v, i);
    }
    if (op == BPF_EXIT || op == BPF_JA) {
        bool used_ok = op == BPF_JA && !wide ? i->off == 0 : i->imm == 0;
        if (BPF_SRC(i->opcode) != BPF_K || (op == BPF_EXIT && !wide)) {
            return refuse(v, WHY_OPCODE, i->opcode);
        }
        if (i->regs != 0 || !used_ok || (op == BPF_EXIT && i->off != 0)) {
            return refuse(v, WHY_RESERVED, 0);
        }
        return op == BPF_EXIT || check_target(v, i);
    }
    if (BPF_SRC(i->opcode) == BPF_X ? i->imm != 0 : DPF_INSN_SRC(i) != 0) {
        return refuse(v, WHY_RESERVED, 0);
    }
    return check_target(v, i);
}

static bool check_wide(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t mode = BPF_MODE(i->opcode);
    if (mode == BPF_ABS || mode == BPF_IND) {
        return refuse(v, WHY_LEGACY, 0);
    }
    if (insn_len(i) != 2) {
        return refuse(v, WHY_OPCODE, i->opcode);
    }
    if (v->at + 1 >= v->p->count) {
        return refuse(v, WHY_HALF_LDDW, 0);
    }
    if (DPF_INSN_SRC(i) != 0) {
        return refuse(v, WHY_MAP, 0);
    }
    if (DPF_INSN_DST(i) == BPF_REG_FP) {
        return refuse(v, WHY_FRAME_LOAD, 0);
    }
    if (i->off != 0 || i[1].opcode != 0 || i[1].regs != 0 || i[1].off != 0) {
        return refuse(v, WHY_RESERVED, 0);
    }
    v->p->notes[v->at + 1].flags |= NOTE_SECOND;
    return true;
}

static bool check_memory(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t class = BPF_CLASS(i->opcode), mode = BPF_MODE(i->opcode);
    if (class == BPF_STX && mode == BPF_ATOMIC) {
        return refuse(v, WHY_ATOMIC, 0);
    }
    if (mode == BPF_MEMSX) {
        if (class != BPF_LDX || BPF_SIZE(i->opcode) == BPF_DW) {
            return refuse(v, WHY_OPCODE, i->opcode);
        }
    } else if (mode != BPF_MEM) {
        return refuse(v, WHY_OPCODE, i->opcode);
    }
    if (class == BPF_ST ? DPF_INSN_SRC(i) != 0 : i->imm != 0) {
        return refuse(v, WHY_RESERVED, 0);
    }
    if (class == BPF_LDX && DPF_INSN_DST(i) == BPF_REG_FP) {
        return refuse(v, WHY_FRAME_LOAD, 0);
    }
    return true;
}

uint32_t insn_regs(const struct dpf_insn *i, uint32_t *writes)
{
    uint32_t op = BPF_OP(i->opcode);
    uint32_t dst = 1u << DPF_INSN_DST(i), src = 1u << DPF_INSN_SRC(i);
    uint32_t x = BPF_SRC(i->opcode) == BPF_X ? src : 0;
    *writes = dst;
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        return 0;
    case BPF_LDX:
        return src;
    case BPF_ALU:
    case BPF_ALU64: /* the X of BPF_END is no register */
        return op == BPF_MOV ? x : op == BPF_END ? dst : dst | x;
    default:
        break;
    }
    *writes = 0;
    switch (BPF_CLASS(i->opcode)) {
    case BPF_ST:
        return dst;
    case BPF_STX:
        return dst | src;
    default:
        break;
    }
    if (op == BPF_CALL) {
        *writes = 1;
        return 0x3e;
    }
    return op == BPF_EXIT ? 1 : op == BPF_JA ? 0 : dst | x;
}

static bool check_one(struct verifier *v)
{
    const struct dpf_insn *i = &v->p->insns[v->at];
    if (DPF_INSN_DST(i) >= BPF_REG_COUNT || DPF_INSN_SRC(i) >= BPF_REG_COUNT) {
        return refuse(v, WHY_REGISTER, 0);
    }
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        return check_wide(v, i);
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
        return check_memory(v, i);
    case BPF_ALU:
    case BPF_ALU64:
        return decode_check_alu(v, i);
    default:
        return decode_check_jump(v, i);
    }
}

bool decode_check(struct verifier *v)
{
    const struct dpf_program *p = v->p;
    for (v->at = 0; v->at < p->count; v->at += insn_len(&p->insns[v->at])) {
        program_breathe(v->mem, v->at, BREATH_LONG);
        if (!check_one(v)) {
            return false;
        }
    }
    for (v->at = 0; v->at < p->count; v->at += insn_len(&p->insns[v->at])) {
        const struct dpf_insn *i = &p->insns[v->at];
        program_breathe(v->mem, v->at, BREATH_LONG);
        if (insn_is_jump(i) &&
            (p->notes[v->at + 1 + insn_jump(i)].flags & NOTE_SECOND) != 0) {
            return refuse(v, WHY_MIDDLE, 0);
        }
    }
    return true;
}
