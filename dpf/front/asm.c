/* SPDX-License-Identifier: MIT */
/*
 * The assembler: one instruction or label a line, in the syntax of LLVM's BPF
 * assembler. Comments run from ';', '#' or '//' to the end of the line.
 *
 *     r0 = *(u16 *)(r1 + 12)        w3 <<= 2            r0 = be16 r0
 *     if w0 != 0x800 goto drop      r2 = 0x123456789 ll exit
 *     *(u32 *)(r10 - 4) = r3        r0 s/= r4           call 1
 *
 * Protects: accepted text has exactly one encoding of RFC 9669; reading stays
 * inside the text.
 */
#include "dpf/front/asm.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------- statements */

/* A jump's goal: a label, or a distance such as +3. */
static void jump_to(struct scan *s, struct dpf_insn i)
{
    bool far = i.opcode == (BPF_JMP32 | BPF_JA);
    asm_blanks(s);
    const char *start = s->p;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-')) {
        int64_t d = asm_number(s, far ? INT32_MIN : INT16_MIN,
                               far ? INT32_MAX : INT16_MAX, "the distance");
        i.imm = far ? (int32_t)d : i.imm;
        i.off = (int16_t)(far ? 0 : d);
        code_emit(&s->code, i);
        return;
    }
    while (s->p < s->end && asm_is_name(*s->p)) {
        s->p++;
    }
    if (s->p == start) {
        asm_fail(s, start, "expected a label or a distance such as +3 here");
        return;
    }
    uint32_t label = asm_label_named(s, start, (size_t)(s->p - start));
    if (BPF_SRC(i.opcode) == BPF_X) {
        code_jump_x(&s->code, i.opcode, DPF_INSN_DST(&i), DPF_INSN_SRC(&i),
                    label);
    } else {
        code_jump_k(&s->code, i.opcode, DPF_INSN_DST(&i), i.imm, label);
    }
}

/*
 * A register of the kind `wide`, or a constant that such an operation takes. A
 * 32-bit operation may be given its constant as a signed or as an unsigned
 * number, for the bits are the same; a 64-bit one extends the sign, so there
 * 0xffffffff would silently mean another number and is refused.
 */
static void second_operand(struct scan *s, struct dpf_insn *i, bool wide)
{
    int n = 0;
    bool is_wide = wide;
    asm_blanks(s);
    const char *start = s->p;
    if (asm_reg(s, &n, &is_wide)) {
        i->opcode |= BPF_X;
        i->regs = (uint8_t)(i->regs | n << 4);
        if (is_wide != wide) {
            asm_fail(s, start, "both registers must be rN, or both wN");
        }
    } else {
        i->imm = (int32_t)(uint32_t)asm_number(
            s, INT32_MIN, wide ? INT32_MAX : UINT32_MAX, "the constant");
    }
}

/*
 * "if r0 == 1 goto LABEL". No operator of the list may be the beginning of a
 * later one: the first that fits is taken.
 */
static void conditional(struct scan *s)
{
    static const struct {
        const char *text;
        uint8_t op;
    } ops[] = {
        {"==", BPF_JEQ},   {"!=", BPF_JNE},  {"s>=", BPF_JSGE},
        {"s<=", BPF_JSLE}, {"s>", BPF_JSGT}, {"s<", BPF_JSLT},
        {">=", BPF_JGE},   {"<=", BPF_JLE},  {">", BPF_JGT},
        {"<", BPF_JLT},    {"&", BPF_JSET},
    };
    struct dpf_insn i = {0};
    int dst = 0;
    bool wide = true;
    if (!asm_reg(s, &dst, &wide)) {
        asm_fail(s, s->p, "expected a register after 'if'");
        return;
    }
    i.regs = (uint8_t)dst;
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        if (asm_eat(s, ops[k].text)) {
            i.opcode = (uint8_t)((wide ? BPF_JMP : BPF_JMP32) | ops[k].op);
            second_operand(s, &i, wide);
            asm_expect(s, "goto");
            jump_to(s, i);
            return;
        }
    }
    asm_fail(s, s->p,
             "expected a comparison here: == != < <= > >= s< s<= s> s>= &");
}

/* "(u16 *)(r1 + 12)" after the '*': size, base, offset. */
static struct dpf_insn asm_memory(struct scan *s, int *base)
{
    static const struct {
        const char *text;
        uint8_t bits;
    } types[] = {
        {"u8", BPF_B | BPF_MEM},    {"u16", BPF_H | BPF_MEM},
        {"u32", BPF_W | BPF_MEM},   {"u64", BPF_DW | BPF_MEM},
        {"s8", BPF_B | BPF_MEMSX},  {"s16", BPF_H | BPF_MEMSX},
        {"s32", BPF_W | BPF_MEMSX},
    };
    struct dpf_insn i = {0};
    asm_expect(s, "(");
    size_t k = 0;
    while (k < sizeof(types) / sizeof(*types) && !asm_eat(s, types[k].text)) {
        k++;
    }
    if (k == sizeof(types) / sizeof(*types)) {
        asm_fail(s, s->p, "expected u8, u16, u32, u64, s8, s16 or s32 here");
        return i;
    }
    i.opcode = types[k].bits;
    asm_expect(s, "*");
    asm_expect(s, ")");
    asm_expect(s, "(");
    *base = asm_need_reg(s, true);
    if (!asm_eat(s, ")")) {
        bool minus = asm_eat(s, "-");
        if (!minus) {
            asm_expect(s, "+");
        }
        /*
         * The sign is an operator here, so the number is read without one; the
         * most negative offset is one larger than the most positive.
         */
        int64_t off = asm_number(s, 0, INT16_MAX + minus, "the offset");
        i.off = (int16_t)(minus ? -off : off);
        asm_expect(s, ")");
    }
    return i;
}

/* "(u16 *)(r1 + 12) = r2" after the "*". */
static void asm_store(struct scan *s)
{
    int base = 0, src = 0;
    bool wide = true;
    struct dpf_insn i = asm_memory(s, &base);
    if (BPF_MODE(i.opcode) == BPF_MEMSX) {
        asm_fail(s, s->p, "a store has no sign; write u8, u16 or u32");
    }
    asm_expect(s, "=");
    asm_blanks(s);
    const char *start = s->p;
    if (asm_reg(s, &src, &wide)) {
        i.opcode |= BPF_STX;
        i.regs = (uint8_t)(base | src << 4);
        if (!wide) {
            asm_fail(s, start,
                     "a store takes rN; its size says how much of it");
        }
    } else {
        i.opcode |= BPF_ST;
        i.regs = (uint8_t)base;
        i.imm = (int32_t)asm_number(s, INT32_MIN, INT32_MAX, "the constant");
    }
    code_emit(&s->code, i);
}

/* "be16 r0" and its kin; false if it is none of them. */
static bool asm_byte_swap(struct scan *s, int dst)
{
    static const struct {
        const char *text;
        uint8_t opcode, bits;
    } swaps[] = {
        {"be16", BPF_ALU | BPF_END | BPF_X, 16},
        {"be32", BPF_ALU | BPF_END | BPF_X, 32},
        {"be64", BPF_ALU | BPF_END | BPF_X, 64},
        {"le16", BPF_ALU | BPF_END, 16},
        {"le32", BPF_ALU | BPF_END, 32},
        {"le64", BPF_ALU | BPF_END, 64},
        {"bswap16", BPF_ALU64 | BPF_END, 16},
        {"bswap32", BPF_ALU64 | BPF_END, 32},
        {"bswap64", BPF_ALU64 | BPF_END, 64},
    };
    for (size_t k = 0; k < sizeof(swaps) / sizeof(*swaps); k++) {
        if (asm_eat(s, swaps[k].text)) {
            const char *start = s->p;
            if (asm_need_reg(s, true) != dst) {
                asm_fail(s, start, "a byte swap works on one register");
            }
            code_k(&s->code, swaps[k].opcode, dst, swaps[k].bits);
            return true;
        }
    }
    return false;
}

/* "-r0" or a constant after "r0 =". */
static void assign_minus(struct scan *s, int dst, bool wide)
{
    int class = wide ? BPF_ALU64 : BPF_ALU, src = 0;
    bool src_wide = wide;
    const char *start = s->p;
    uint64_t v = 0;
    /*
     * A minus may negate a register, or belong to a constant; then it is read
     * again.
     */
    if (asm_eat(s, "-") && asm_reg(s, &src, &src_wide)) {
        if (src != dst || src_wide != wide) {
            asm_fail(s, start, "a negation works on one register");
        }
        code_k(&s->code, class | BPF_NEG, dst, 0);
        return;
    }
    s->p = start;
    /* Only "ll" tells a constant of two instructions from one of one. */
    if (asm_unsigned_number(s, &v) && asm_eat(s, "ll")) {
        if (!wide) {
            asm_fail(s, start, "a 64-bit constant needs rN");
        }
        code_load64(&s->code, dst, v);
        return;
    }
    s->p = start;
    code_k(&s->code, class | BPF_MOV, dst,
           (int32_t)(uint32_t)asm_number(s, INT32_MIN,
                                         wide ? INT32_MAX : UINT32_MAX,
                                         "a register, a memory operand or a "
                                         "constant"));
}

/*
 * The right side of "rN =": a load, a cast, a register, a byte swap, a
 * negation or a constant, tried in this order.
 */
static void asm_assign(struct scan *s, int dst, bool wide)
{
    static const struct {
        const char *text;
        int16_t bits;
    } casts[] = {{"(s8)", 8}, {"(s16)", 16}, {"(s32)", 32}};
    struct dpf_insn i = {0};
    int src = 0;
    bool src_wide = wide;
    asm_blanks(s);
    const char *start = s->p;
    if (asm_eat(s, "*")) {
        i = asm_memory(s, &src);
        i.opcode |= BPF_LDX;
        i.regs = (uint8_t)(dst | src << 4);
        if (!wide) {
            asm_fail(s, start, "a load fills rN");
        }
        code_emit(&s->code, i);
        return;
    }
    for (size_t k = 0; k < 3; k++) {
        if (asm_eat(s, casts[k].text)) {
            i.off = casts[k].bits;
            if (i.off == 32 && !wide) {
                asm_fail(s, start, "(s32) needs 64-bit registers");
            }
            src = asm_need_reg(s, wide);
            break;
        }
    }
    if (i.off || asm_reg(s, &src, &src_wide)) {
        if (src_wide != wide) {
            asm_fail(s, start, "both registers must be rN, or both wN");
        }
        i.opcode = (uint8_t)((wide ? BPF_ALU64 : BPF_ALU) | BPF_MOV | BPF_X);
        i.regs = (uint8_t)(dst | src << 4);
        code_emit(&s->code, i);
    } else if (!asm_byte_swap(s, dst)) {
        assign_minus(s, dst, wide);
    } else if (!wide) {
        asm_fail(s, start, "a byte swap names rN");
    }
}

static void arithmetic(struct scan *s, int dst, bool wide)
{
    static const struct {
        const char *text;
        uint8_t op, off;
    } ops[] = {
        {"+=", BPF_ADD, 0},    {"-=", BPF_SUB, 0},  {"*=", BPF_MUL, 0},
        {"/=", BPF_DIV, 0},    {"s/=", BPF_DIV, 1}, {"%=", BPF_MOD, 0},
        {"s%=", BPF_MOD, 1},   {"|=", BPF_OR, 0},   {"&=", BPF_AND, 0},
        {"^=", BPF_XOR, 0},    {"<<=", BPF_LSH, 0}, {">>=", BPF_RSH, 0},
        {"s>>=", BPF_ARSH, 0},
    };
    if (asm_eat(s, "=")) {
        asm_assign(s, dst, wide);
        return;
    }
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        if (asm_eat(s, ops[k].text)) {
            struct dpf_insn i = {
                .opcode = (uint8_t)((wide ? BPF_ALU64 : BPF_ALU) | ops[k].op),
                .regs = (uint8_t)dst,
                .off = ops[k].off};
            second_operand(s, &i, wide);
            code_emit(&s->code, i);
            return;
        }
    }
    asm_fail(s, s->p,
             "expected an assignment here: = += -= *= /= %= &= |= ^= <<= "
             ">>= s/= s%= s>>=");
}

/*
 * An instruction as a number: the way back for bits that have no syntax, so
 * that a dump of any program can be assembled again.
 */
static void quad(struct scan *s)
{
    uint64_t v = 0;
    if (!asm_unsigned_number(s, &v)) {
        asm_fail(s, s->p, "expected a 64-bit number here");
    }
    struct dpf_insn i = (struct dpf_insn){(uint8_t)v, (uint8_t)(v >> 8),
                                          (int16_t)(uint16_t)(v >> 16),
                                          (int32_t)(uint32_t)(v >> 32)};
    code_emit(&s->code, i);
}

/*
 * A label and its colon. A name without a colon is left for the statement, so
 * that nothing is taken twice.
 */
static bool label_here(struct scan *s)
{
    const char *p = s->p;
    while (p < s->end && asm_is_name(*p)) {
        p++;
    }
    if (p == s->p || p == s->end || *p != ':') {
        return false;
    }
    uint32_t label = asm_label_named(s, s->p, (size_t)(p - s->p));
    if (!s->code.err && code_placed(&s->code, label)) {
        asm_fail(s, s->p, "this label stands twice");
    }
    code_place(&s->code, label);
    s->p = p + 1;
    return true;
}

static void statement(struct scan *s)
{
    int dst = 0;
    bool wide = true;
    if (asm_eat(s, "exit")) {
        code_k(&s->code, BPF_JMP | BPF_EXIT, 0, 0);
    } else if (asm_eat(s, "if")) {
        conditional(s);
    } else if (asm_eat(s, "goto")) {
        jump_to(s, (struct dpf_insn){.opcode = BPF_JMP | BPF_JA});
    } else if (asm_eat(s, "gotol")) {
        jump_to(s, (struct dpf_insn){.opcode = BPF_JMP32 | BPF_JA});
    } else if (asm_eat(s, "call")) {
        code_k(
            &s->code, BPF_JMP | BPF_CALL, 0,
            (int32_t)asm_number(s, INT32_MIN, INT32_MAX, "a helper's number"));
    } else if (asm_eat(s, ".quad")) {
        quad(s);
    } else if (asm_eat(s, "*")) {
        asm_store(s);
    } else if (asm_reg(s, &dst, &wide)) {
        arithmetic(s, dst, wide);
    } else {
        asm_fail(s, s->p, "not an instruction; see dpf(7) for the syntax");
    }
}

static void line(struct scan *s)
{
    asm_blanks(s);
    while (!s->result && label_here(s)) {
        asm_blanks(s);
    }
    if (!s->result && !asm_at_end(s)) {
        statement(s);
        if (!s->result && !asm_at_end(s)) {
            asm_fail(s, s->p, "nothing may follow the instruction on its line");
        }
    }
    while (s->p < s->end && *s->p != '\n') {
        s->p++;
    }
    s->p += s->p < s->end;
    s->code.here.line++;
}

int dpf_from_asm(const char *text, size_t len, struct dpf_code *out,
                 struct dpf_error *err)
{
    struct scan s = {.text = text, .p = text, .end = text + len, .err = err};
    s.code.here.line = 1;
    while (s.p < s.end && !s.result && !s.code.err) {
        line(&s);
    }
    for (size_t i = 0; i < s.name_room && !s.result && !s.code.err; i++) {
        if (s.names[i].text == NULL) {
            continue;
        }
        if (!code_placed(&s.code, s.names[i].label)) {
            asm_fail(&s, text + s.names[i].used_at,
                     "this label stands nowhere");
            /*
             * A label at the end of the text is a place without an instruction,
             * where a jump would leave the program.
             */
        } else if (s.code.labels[s.names[i].label] >= s.code.count) {
            asm_fail(&s, text + s.names[i].used_at,
                     "no instruction follows this label");
        }
    }
    if (!s.result && !s.code.err && s.code.count == 0) {
        asm_fail(&s, text, "there is no instruction");
    }
    free(s.names);
    if (s.result) {
        code_finish(&s.code);
        return s.result;
    }
    return code_take(&s.code, true, out, err);
}
