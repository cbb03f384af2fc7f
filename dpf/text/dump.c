/* SPDX-License-Identifier: MIT */
/*
 * Bytecode as text, in the syntax that asm.c reads. Protects: the printed
 * text, read back, gives the same bits, for any bits. So a form is printed
 * only when every field it leaves out is zero; everything else is ".quad".
 *
 * Source: RFC 9669 s4 and s5; the syntax is that of LLVM's BPF assembler.
 */
#include "dpf/host.h"
#include "dpf/vm/isa.h"

#include <inttypes.h>
#include <stdlib.h>

struct out {
    char *text;
    size_t size;
    const char *target; /* of a jump */
    const struct dpf_insn *i;
};

static char reg_kind(const struct dpf_insn *i)
{
    int class = BPF_CLASS(i->opcode);
    return class == BPF_ALU || class == BPF_JMP32 ? 'w' : 'r';
}

/* A constant operand. A 32-bit operation sees it unsigned, and small numbers
   are easier to read in decimal. */
static const char *dump_constant(const struct dpf_insn *i, char *buf,
                                 size_t size)
{
    int64_t v = i->imm;
    if (v > -1024 && v < 1024) {
        snprintf(buf, size, "%" PRId64, v);
    } else if (reg_kind(i) == 'w') {
        snprintf(buf, size, "0x%" PRIx32, (uint32_t)i->imm);
    } else if (v < 0) {
        snprintf(buf, size, "-0x%" PRIx64, -v);
    } else {
        snprintf(buf, size, "0x%" PRIx64, v);
    }
    return buf;
}

/* The second operand, or NULL if the fields it does not use are not zero. */
static const char *dump_operand(const struct dpf_insn *i, char *buf,
                                size_t size)
{
    if (BPF_SRC(i->opcode) == BPF_K) {
        return DPF_INSN_SRC(i) ? NULL : dump_constant(i, buf, size);
    }
    if (i->imm != 0) {
        return NULL;
    }
    snprintf(buf, size, "%c%d", reg_kind(i), DPF_INSN_SRC(i));
    return buf;
}

/*
 * Each function below is false if the instruction has no exact form; the text
 * is then overwritten. `bswap` has no form of class X.
 */
static bool text_end(const struct out *o)
{
    const struct dpf_insn *i = o->i;
    const char *name = BPF_CLASS(i->opcode) == BPF_ALU64 ? "bswap"
                       : BPF_SRC(i->opcode) == BPF_X     ? "be"
                                                         : "le";
    if ((i->imm != 16 && i->imm != 32 && i->imm != 64) || DPF_INSN_SRC(i) ||
        i->off || i->opcode == (BPF_ALU64 | BPF_END | BPF_X)) {
        return false;
    }
    snprintf(o->text, o->size, "r%d = %s%d r%d", DPF_INSN_DST(i), name, i->imm,
             DPF_INSN_DST(i));
    return true;
}

static bool text_move(const struct out *o)
{
    const struct dpf_insn *i = o->i;
    char buf[32], sign[8] = "";
    const char *src = dump_operand(i, buf, sizeof(buf));
    if (src == NULL) {
        return false;
    }
    /* A move that extends the sign: the offset is the width it extends from. */
    if (i->off != 0) {
        bool wide = BPF_CLASS(i->opcode) == BPF_ALU64;
        if (BPF_SRC(i->opcode) == BPF_K ||
            (i->off != 8 && i->off != 16 && !(i->off == 32 && wide))) {
            return false;
        }
        snprintf(sign, sizeof(sign), "(s%d)", i->off);
    }
    snprintf(o->text, o->size, "%c%d = %s%s", reg_kind(i), DPF_INSN_DST(i),
             sign, src);
    return true;
}

static bool text_alu(const struct out *o)
{
    static const char *const name[16] = {"+",  "-",  "*", "/", "|",  "&",  "<<",
                                         ">>", NULL, "%", "^", NULL, "s>>"};
    const struct dpf_insn *i = o->i;
    int op = BPF_OP(i->opcode);
    char buf[32];
    if (op == BPF_END) {
        return text_end(o);
    }
    if (op == BPF_MOV) {
        return text_move(o);
    }
    if (op == BPF_NEG) {
        snprintf(o->text, o->size, "%c%d = -%c%d", reg_kind(i), DPF_INSN_DST(i),
                 reg_kind(i), DPF_INSN_DST(i));
        return !i->imm && !i->off && !DPF_INSN_SRC(i) &&
               BPF_SRC(i->opcode) == BPF_K;
    }
    const char *src = dump_operand(i, buf, sizeof(buf));
    /* An offset of 1 makes a division signed; elsewhere it must be 0. */
    bool sign = i->off == 1 && (op == BPF_DIV || op == BPF_MOD);
    if (src == NULL || name[op >> 4] == NULL || (i->off != 0 && !sign)) {
        return false;
    }
    snprintf(o->text, o->size, "%c%d %s%s= %s", reg_kind(i), DPF_INSN_DST(i),
             sign ? "s" : "", name[op >> 4], src);
    return true;
}

static bool text_jump(const struct out *o)
{
    static const char *const name[16] = {NULL, "==", ">",   ">=", "&",
                                         "!=", "s>", "s>=", NULL, NULL,
                                         "<",  "<=", "s<",  "s<="};
    const struct dpf_insn *i = o->i;
    char buf[32];
    switch (i->opcode) {
    case BPF_JMP | BPF_JA:
        snprintf(o->text, o->size, "goto %s", o->target);
        return i->imm == 0 && i->regs == 0;
    case BPF_JMP32 | BPF_JA:
        snprintf(o->text, o->size, "gotol %s", o->target);
        return i->off == 0 && i->regs == 0;
    case BPF_JMP | BPF_EXIT:
        snprintf(o->text, o->size, "exit");
        return i->off == 0 && i->regs == 0 && i->imm == 0;
    case BPF_JMP | BPF_CALL:
        snprintf(o->text, o->size, "call %d", i->imm);
        return i->off == 0 && i->regs == 0;
    default:
        break;
    }
    const char *src = dump_operand(i, buf, sizeof(buf));
    if (src == NULL || name[BPF_OP(i->opcode) >> 4] == NULL) {
        return false;
    }
    snprintf(o->text, o->size, "if %c%d %s %s goto %s", reg_kind(i),
             DPF_INSN_DST(i), name[BPF_OP(i->opcode) >> 4], src, o->target);
    return true;
}

/* Loads and stores. A store has no sign, and 64 bits have none to extend. */
static bool text_memory(const struct out *o)
{
    static const char *const size[4] = {"32", "16", "8", "64"};
    const struct dpf_insn *i = o->i;
    int class = BPF_CLASS(i->opcode), mode = BPF_MODE(i->opcode);
    bool extend = mode == BPF_MEMSX;
    int base = class == BPF_LDX ? DPF_INSN_SRC(i) : DPF_INSN_DST(i);
    if ((mode != BPF_MEM && !extend) ||
        (extend && (class != BPF_LDX || BPF_SIZE(i->opcode) == BPF_DW))) {
        return false;
    }
    char where[48];
    snprintf(where, sizeof(where), "*(%c%s *)(r%d %c %d)", extend ? 's' : 'u',
             size[BPF_SIZE(i->opcode) >> 3], base, i->off < 0 ? '-' : '+',
             i->off < 0 ? -i->off : i->off);
    if (class == BPF_LDX) {
        snprintf(o->text, o->size, "r%d = %s", DPF_INSN_DST(i), where);
        return i->imm == 0;
    }
    if (class == BPF_STX) {
        snprintf(o->text, o->size, "%s = r%d", where, DPF_INSN_SRC(i));
        return i->imm == 0;
    }
    char buf[32];
    snprintf(o->text, o->size, "%s = %s", where,
             dump_constant(i, buf, sizeof(buf)));
    return DPF_INSN_SRC(i) == 0;
}

/*
 * A 64-bit constant takes two instructions, the second of which has only
 * `imm`.
 */
static bool text_wide(const struct out *o, size_t left)
{
    const struct dpf_insn *i = o->i;
    if (left < 2 || DPF_INSN_SRC(i) || i->off || i[1].opcode || i[1].regs ||
        i[1].off) {
        return false;
    }
    snprintf(o->text, o->size, "r%d = 0x%" PRIx64 " ll", DPF_INSN_DST(i),
             (uint64_t)(uint32_t)i[1].imm << 32 | (uint32_t)i->imm);
    return true;
}

size_t dpf_insn_text(const struct dpf_insn *insns, size_t left,
                     const char *target, char *out, size_t size)
{
    struct out o = {out, size, target, insns};
    bool wide = insns->opcode == (BPF_LD | BPF_IMM | BPF_DW), good = false;
    char distance[16];
    if (target == NULL) {
        snprintf(distance, sizeof(distance), "%+d",
                 insns->opcode == (BPF_JMP32 | BPF_JA) ? insns->imm
                                                       : insns->off);
        o.target = distance;
    }
    /* Registers 11 to 15 can be encoded but have no name. */
    if (DPF_INSN_DST(insns) < BPF_REG_COUNT &&
        DPF_INSN_SRC(insns) < BPF_REG_COUNT) {
        switch (BPF_CLASS(insns->opcode)) {
        case BPF_ALU:
        case BPF_ALU64:
            good = text_alu(&o);
            break;
        case BPF_JMP:
        case BPF_JMP32:
            good = text_jump(&o);
            break;
        case BPF_LD:
            good = wide && text_wide(&o, left);
            break;
        default:
            good = text_memory(&o);
        }
    }
    if (good) {
        return wide ? 2 : 1;
    }
    snprintf(out, size, ".quad 0x%08" PRIx32 "%04x%02x%02x",
             (uint32_t)insns->imm, (unsigned)(uint16_t)insns->off, insns->regs,
             insns->opcode);
    return 1;
}

/* Where a jump lands, or -1 if the instruction is none or lands outside. */
static int64_t landing(const struct dpf_insn *insns, size_t at, size_t count)
{
    const struct dpf_insn *i = &insns[at];
    int class = BPF_CLASS(i->opcode), op = BPF_OP(i->opcode);
    bool jump = (class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL &&
                op != BPF_EXIT;
    int64_t to =
        (int64_t)at + 1 + (i->opcode == (BPF_JMP32 | BPF_JA) ? i->imm : i->off);
    return jump && to >= 0 && to < (int64_t)count ? to : -1;
}

/*
 * Mark the instructions that begin a line of text (1), and of these the ones
 * that a jump leads to (2). A jump into the second half of a wide instruction
 * cannot be given a label; it is printed with its distance.
 */
static void find_starts(const struct dpf_insn *insns, size_t count,
                        uint8_t *mark)
{
    char text[128];
    for (size_t i = 0; i < count;) {
        mark[i] = 1;
        i += dpf_insn_text(insns + i, count - i, "", text, sizeof(text));
    }
    for (size_t i = 0; i < count; i++) {
        int64_t to = mark[i] ? landing(insns, i, count) : -1;
        if (to >= 0 && mark[to]) {
            mark[to] = 2;
        }
    }
}

void dpf_dump_insns(FILE *f, const struct dpf_insn *insns, size_t count)
{
    uint8_t *mark = calloc(count + 1, 1);
    if (mark == NULL) {
        fprintf(f, "; out of memory\n");
        return;
    }
    find_starts(insns, count, mark);
    char text[128], label[24];
    for (size_t i = 0; i < count;) {
        int64_t to = landing(insns, i, count);
        bool named = to >= 0 && mark[to] == 2;
        snprintf(label, sizeof(label), "L%" PRId64, to);
        if (mark[i] == 2) {
            fprintf(f, "L%zu:\n", i);
        }
        i += dpf_insn_text(insns + i, count - i, named ? label : NULL, text,
                           sizeof(text));
        fprintf(f, "    %s\n", text);
    }
    free(mark);
}
