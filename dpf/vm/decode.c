/* SPDX-License-Identifier: MIT */
/*
 * The form of a program: every instruction is one of RFC 9669 that we accept,
 * reserved fields are zero, and jumps land on instructions. What the program
 * does with its registers is verify.c's business.
 */
#include "dpf/vm/decode.h"

void refuse(struct refusal *r, uint32_t insn, const char *rule)
{
    struct text name;
    r->err->code = -DPF_E_VERIFY;
    r->err->insn = insn;
    text_init(&name, r->err->rule, sizeof(r->err->rule));
    text_str(&name, rule);
    text_init(&r->text, r->err->text, sizeof(r->err->text));
    text_str(&r->text, "insn ");
    text_dec(&r->text, insn);
    text_str(&r->text, ": ");
}

struct decoder {
    struct dpf_program *p;
    struct refusal *r;
    uint32_t at;
};

static bool no(struct decoder *d, const char *rule, const char *why)
{
    refuse(d->r, d->at, rule);
    text_str(&d->r->text, why);
    return false;
}

static bool no_opcode(struct decoder *d)
{
    refuse(d->r, d->at, "opcode");
    text_str(&d->r->text, "opcode ");
    text_hex(&d->r->text, d->p->insns[d->at].opcode);
    text_str(&d->r->text, " is not an instruction of RFC 9669");
    return false;
}

static bool reserved(struct decoder *d)
{
    return no(d, "reserved",
              "a field that this instruction does not use is not zero");
}

static bool check_end(struct decoder *d, const struct dpf_insn *i)
{
    if (BPF_CLASS(i->opcode) == BPF_ALU64 && BPF_SRC(i->opcode) == BPF_X) {
        return no_opcode(d);
    }
    if (i->imm != 16 && i->imm != 32 && i->imm != 64) {
        return no(d, "opcode", "a byte swap is over 16, 32 or 64 bits");
    }
    return DPF_INSN_SRC(i) == 0 && i->off == 0 ? true : reserved(d);
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

static bool check_alu(struct decoder *d, const struct dpf_insn *i)
{
    uint32_t op = BPF_OP(i->opcode);
    if (op > BPF_END) {
        return no_opcode(d);
    }
    if (DPF_INSN_DST(i) == BPF_REG_FP) {
        return no(d, "frame-pointer",
                  "r10 is read-only; copy it to another register first");
    }
    if (op == BPF_END) {
        return check_end(d, i);
    }
    if (op == BPF_NEG) {
        if (BPF_SRC(i->opcode) != BPF_K) {
            return no_opcode(d);
        }
        return DPF_INSN_SRC(i) == 0 && i->off == 0 && i->imm == 0 ? true
                                                                  : reserved(d);
    }
    if (BPF_SRC(i->opcode) == BPF_X ? i->imm != 0 : DPF_INSN_SRC(i) != 0) {
        return reserved(d);
    }
    return alu_off_ok(i) ? true : reserved(d);
}

static bool check_target(struct decoder *d, const struct dpf_insn *i)
{
    int64_t target = (int64_t)d->at + 1 + insn_jump(i);
    if (target < 0 || target >= d->p->count) {
        refuse(d->r, d->at, "jump");
        text_str(&d->r->text, "jumps to ");
        text_dec(&d->r->text, target);
        text_str(&d->r->text, ", outside the program");
        return false;
    }
    d->p->notes[target].flags |= NOTE_TARGET;
    d->p->has_loop |= target <= d->at;
    return true;
}

static bool check_call(struct decoder *d, const struct dpf_insn *i)
{
    if (BPF_CLASS(i->opcode) != BPF_JMP || BPF_SRC(i->opcode) != BPF_K) {
        return no_opcode(d);
    }
    if (DPF_INSN_DST(i) != 0 || i->off != 0) {
        return reserved(d);
    }
    if (DPF_INSN_SRC(i) == 1) {
        return no(d, "call",
                  "calls a function of the program; declare it static inline "
                  "with __attribute__((always_inline))");
    }
    if (DPF_INSN_SRC(i) != 0) {
        return no(d, "call",
                  "only helpers called by number exist here, no kernel "
                  "functions by type id");
    }
    d->p->has_call = true;
    return true;
}

static bool check_jump(struct decoder *d, const struct dpf_insn *i)
{
    uint32_t op = BPF_OP(i->opcode);
    bool wide = BPF_CLASS(i->opcode) == BPF_JMP;
    if (op > BPF_JSLE) {
        return no_opcode(d);
    }
    if (op == BPF_CALL) {
        return check_call(d, i);
    }
    if (op == BPF_EXIT || op == BPF_JA) {
        bool used_ok = op == BPF_JA && !wide ? i->off == 0 : i->imm == 0;
        if (BPF_SRC(i->opcode) != BPF_K || (op == BPF_EXIT && !wide)) {
            return no_opcode(d);
        }
        if (i->regs != 0 || !used_ok || (op == BPF_EXIT && i->off != 0)) {
            return reserved(d);
        }
        return op == BPF_EXIT || check_target(d, i);
    }
    if (BPF_SRC(i->opcode) == BPF_X ? i->imm != 0 : DPF_INSN_SRC(i) != 0) {
        return reserved(d);
    }
    return check_target(d, i);
}

static bool check_wide(struct decoder *d, const struct dpf_insn *i)
{
    uint32_t mode = BPF_MODE(i->opcode);
    if (mode == BPF_ABS || mode == BPF_IND) {
        return no(d, "legacy",
                  "legacy packet access (ld abs/ind); load through r1 and swap "
                  "bytes instead, or pass classic BPF to dpf compile");
    }
    if (insn_len(i) != 2) {
        return no_opcode(d);
    }
    if (d->at + 1 >= d->p->count) {
        return no(d, "opcode", "lddw lacks its second half");
    }
    if (DPF_INSN_SRC(i) != 0) {
        return no(d, "map",
                  "refers to a map or a variable in memory; keep state on the "
                  "stack or in the bound region instead");
    }
    if (DPF_INSN_DST(i) == BPF_REG_FP) {
        return no(d, "frame-pointer", "r10 is read-only");
    }
    if (i->off != 0 || i[1].opcode != 0 || i[1].regs != 0 || i[1].off != 0) {
        return reserved(d);
    }
    d->p->notes[d->at + 1].flags |= NOTE_SECOND;
    return true;
}

static bool check_memory(struct decoder *d, const struct dpf_insn *i)
{
    uint32_t class = BPF_CLASS(i->opcode), mode = BPF_MODE(i->opcode);
    if (class == BPF_STX && mode == BPF_ATOMIC) {
        return no(d, "atomic",
                  "atomic operations are not accepted: nothing runs beside the "
                  "program; use a plain load and store");
    }
    if (mode == BPF_MEMSX) {
        if (class != BPF_LDX || BPF_SIZE(i->opcode) == BPF_DW) {
            return no_opcode(d);
        }
    } else if (mode != BPF_MEM) {
        return no_opcode(d);
    }
    if (class == BPF_ST ? DPF_INSN_SRC(i) != 0 : i->imm != 0) {
        return reserved(d);
    }
    if (class == BPF_LDX && DPF_INSN_DST(i) == BPF_REG_FP) {
        return no(d, "frame-pointer", "r10 is read-only");
    }
    return true;
}

static bool check_one(struct decoder *d)
{
    const struct dpf_insn *i = &d->p->insns[d->at];
    if (DPF_INSN_DST(i) >= BPF_REG_COUNT || DPF_INSN_SRC(i) >= BPF_REG_COUNT) {
        return no(d, "register", "names a register above r10");
    }
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        return check_wide(d, i);
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
        return check_memory(d, i);
    case BPF_ALU:
    case BPF_ALU64:
        return check_alu(d, i);
    default:
        return check_jump(d, i);
    }
}

int decode_check(struct dpf_program *p, struct refusal *r)
{
    struct decoder d = {.p = p, .r = r};
    while (d.at < p->count) {
        if (!check_one(&d)) {
            return -DPF_E_VERIFY;
        }
        d.at += insn_len(&p->insns[d.at]);
    }
    for (d.at = 0; d.at < p->count; d.at++) {
        const struct dpf_insn *i = &p->insns[d.at];
        const struct insn_note *n = p->notes;
        if ((n[d.at].flags & NOTE_SECOND) != 0 || !insn_is_jump(i)) {
            continue;
        }
        if ((n[d.at + 1 + insn_jump(i)].flags & NOTE_SECOND) != 0) {
            no(&d, "jump", "jumps into the middle of a wide instruction");
            return -DPF_E_VERIFY;
        }
    }
    return 0;
}
