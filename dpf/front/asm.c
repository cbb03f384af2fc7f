/* SPDX-License-Identifier: MIT */
/*
 * The assembler: one instruction or label a line, in the syntax of LLVM's BPF
 * assembler. Comments run from ';', '#' or '//' to the end of the line.
 *
 *     r0 = *(u16 *)(r1 + 12)        w3 <<= 2            r0 = be16 r0
 *     if w0 != 0x800 goto drop      r2 = 0x123456789 ll exit
 *     *(u32 *)(r10 - 4) = r3        r0 s/= r4           call 1
 *
 * Protects: what is accepted is exactly one encoding of RFC 9669; reading
 * stays inside the text.
 */
#include "dpf/front/code.h"

#include <stdlib.h>
#include <string.h>

struct name {
    const char *text; /* in the source */
    size_t len;
    uint32_t label;
    size_t used_at; /* first mention, for the message */
};

struct scan {
    const char *text, *p, *end;
    struct code code;
    struct name *names; /* hash table, open addressing */
    size_t name_count, name_room;
    struct dpf_error *err;
    int result;
};

static void fail(struct scan *s, const char *at, const char *why)
{
    if (!s->result) {
        s->result = front_fail(s->err, -DPF_E_SYNTAX, (size_t)(at - s->text),
                               "%s", why);
    }
}

/* ---------------------------------------------------------------- scanning */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static void blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r')) {
        s->p++;
    }
}

static bool at_end(struct scan *s)
{
    blanks(s);
    return s->p == s->end || *s->p == '\n' || *s->p == ';' || *s->p == '#' ||
           (*s->p == '/' && s->end - s->p > 1 && s->p[1] == '/');
}

/* Take `word` if it stands next; a word is not the beginning of a longer. */
static bool eat(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    blanks(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0 ||
        (is_name(word[n - 1]) && (size_t)(s->end - s->p) > n &&
         is_name(s->p[n]))) {
        return false;
    }
    s->p += n;
    return true;
}

static void expect(struct scan *s, const char *word)
{
    char why[64];
    if (!eat(s, word)) {
        snprintf(why, sizeof(why), "expected '%s' here", word);
        fail(s, s->p, why);
    }
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

/* An unsigned number of at most 64 bits. */
static bool unsigned_number(struct scan *s, uint64_t *out)
{
    int base = 10;
    blanks(s);
    const char *start = s->p;
    if (s->end - s->p > 2 && s->p[0] == '0' &&
        (s->p[1] == 'x' || s->p[1] == 'X') && digit(s->p[2]) < 16) {
        base = 16;
        s->p += 2;
    }
    const char *first = s->p;
    uint64_t v = 0;
    for (; s->p < s->end && digit(*s->p) < base; s->p++) {
        if (v > (UINT64_MAX - (uint64_t)digit(*s->p)) / (uint64_t)base) {
            fail(s, start, "the number does not fit 64 bits");
            return false;
        }
        v = v * (uint64_t)base + (uint64_t)digit(*s->p);
    }
    *out = v;
    if (s->p == first || (s->p < s->end && is_name(*s->p))) {
        s->p = start;
        return false;
    }
    return true;
}

/* A signed number in lo .. hi. */
static int64_t number(struct scan *s, int64_t lo, int64_t hi, const char *what)
{
    char why[160];
    uint64_t v = 0;
    blanks(s);
    const char *start = s->p;
    bool minus = eat(s, "-");
    if (!minus) {
        eat(s, "+");
    }
    if (!unsigned_number(s, &v)) {
        snprintf(why, sizeof(why), "expected %s here", what);
        fail(s, start, why);
        return 0;
    }
    if (v > INT64_MAX || (minus ? -(int64_t)v < lo : (int64_t)v > hi)) {
        snprintf(why, sizeof(why),
                 "%s must lie in %lld .. %lld; a wider constant is loaded by "
                 "'rN = VALUE ll'",
                 what, (long long)lo, (long long)hi);
        fail(s, start, why);
        return 0;
    }
    return minus ? -(int64_t)v : (int64_t)v;
}

/* Take rN or wN: *wide tells which. */
static bool reg(struct scan *s, int *number_out, bool *wide)
{
    blanks(s);
    const char *p = s->p;
    if (s->end - p < 2 || (*p != 'r' && *p != 'w') || digit(p[1]) > 9) {
        return false;
    }
    int n = digit(p[1]);
    p += 2;
    if (p < s->end && digit(*p) <= 9) {
        n = n * 10 + digit(*p++);
    }
    if (p < s->end && is_name(*p)) {
        return false;
    }
    if (n >= BPF_REG_COUNT) {
        fail(s, s->p, "registers are r0 to r10");
        return false;
    }
    *wide = *s->p == 'r';
    *number_out = n;
    s->p = p;
    return true;
}

static int need_reg(struct scan *s, bool wide)
{
    int n = 0;
    bool is_wide = wide;
    blanks(s);
    const char *start = s->p;
    if (!reg(s, &n, &is_wide)) {
        fail(s, start, "expected a register here");
    } else if (is_wide != wide) {
        fail(s, start,
             wide ? "expected a 64-bit register (rN) here"
                  : "expected a 32-bit register (wN) here");
    }
    return n;
}

/* ------------------------------------------------------------------ labels */

static size_t slot_of(const struct scan *s, const char *text, size_t len)
{
    size_t h = 5381;
    for (size_t i = 0; i < len; i++) {
        h = h * 33 + (unsigned char)text[i];
    }
    h &= s->name_room - 1;
    while (s->names[h].text != NULL &&
           (s->names[h].len != len || memcmp(s->names[h].text, text, len))) {
        h = (h + 1) & (s->name_room - 1);
    }
    return h;
}

static bool names_grow(struct scan *s)
{
    struct name *old = s->names;
    size_t old_room = s->name_room, room = old_room ? old_room * 2 : 64;
    struct name *names = calloc(room, sizeof(*names));
    if (names == NULL) {
        s->code.err = -DPF_E_MEM;
        return false;
    }
    s->names = names;
    s->name_room = room;
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].text != NULL) {
            names[slot_of(s, old[i].text, old[i].len)] = old[i];
        }
    }
    free(old);
    return true;
}

/* The label of a name, made at its first mention. */
static uint32_t label_named(struct scan *s, const char *text, size_t len)
{
    if ((s->name_count + 1) * 2 > s->name_room && !names_grow(s)) {
        return 0;
    }
    struct name *n = &s->names[slot_of(s, text, len)];
    if (n->text == NULL) {
        *n = (struct name){text, len, code_label(&s->code),
                           (size_t)(text - s->text)};
        s->name_count++;
    }
    return n->label;
}

/* -------------------------------------------------------------- statements */

/* A jump's goal: a label, or a distance such as +3. */
static void jump_to(struct scan *s, struct dpf_insn i)
{
    bool far = i.opcode == (BPF_JMP32 | BPF_JA);
    blanks(s);
    const char *start = s->p;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-')) {
        int64_t d = number(s, far ? INT32_MIN : INT16_MIN,
                           far ? INT32_MAX : INT16_MAX, "the distance");
        i.imm = far ? (int32_t)d : i.imm;
        i.off = far ? 0 : (int16_t)d;
        code_emit(&s->code, i);
        return;
    }
    while (s->p < s->end && is_name(*s->p)) {
        s->p++;
    }
    if (s->p == start) {
        fail(s, start, "expected a label or a distance such as +3 here");
        return;
    }
    uint32_t label = label_named(s, start, (size_t)(s->p - start));
    if (BPF_SRC(i.opcode) == BPF_X) {
        code_jump_x(&s->code, i.opcode, DPF_INSN_DST(&i), DPF_INSN_SRC(&i),
                    label);
    } else {
        code_jump_k(&s->code, i.opcode, DPF_INSN_DST(&i), i.imm, label);
    }
}

/* A register of the kind `wide`, or a constant that such an operation takes. */
static void second_operand(struct scan *s, struct dpf_insn *i, bool wide)
{
    int n = 0;
    bool is_wide = wide;
    blanks(s);
    const char *start = s->p;
    if (reg(s, &n, &is_wide)) {
        i->opcode |= BPF_X;
        i->regs = (uint8_t)(i->regs | n << 4);
        if (is_wide != wide) {
            fail(s, start, "both registers must be rN, or both wN");
        }
    } else {
        i->imm = (int32_t)(uint32_t)number(
            s, INT32_MIN, wide ? INT32_MAX : UINT32_MAX, "the constant");
    }
}

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
    if (!reg(s, &dst, &wide)) {
        fail(s, s->p, "expected a register after 'if'");
        return;
    }
    i.regs = (uint8_t)dst;
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        if (eat(s, ops[k].text)) {
            i.opcode = (uint8_t)((wide ? BPF_JMP : BPF_JMP32) | ops[k].op);
            second_operand(s, &i, wide);
            expect(s, "goto");
            jump_to(s, i);
            return;
        }
    }
    fail(s, s->p,
         "expected a comparison here: == != < <= > >= s< s<= s> s>= &");
}

/* "(u16 *)(r1 + 12)" after the '*': size, base, offset. */
static struct dpf_insn memory(struct scan *s, int *base)
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
    expect(s, "(");
    size_t k = 0;
    while (k < sizeof(types) / sizeof(*types) && !eat(s, types[k].text)) {
        k++;
    }
    if (k == sizeof(types) / sizeof(*types)) {
        fail(s, s->p, "expected u8, u16, u32, u64, s8, s16 or s32 here");
        return i;
    }
    i.opcode = types[k].bits;
    expect(s, "*");
    expect(s, ")");
    expect(s, "(");
    *base = need_reg(s, true);
    if (!eat(s, ")")) {
        bool minus = eat(s, "-");
        if (!minus) {
            expect(s, "+");
        }
        int64_t off = number(s, 0, INT16_MAX + minus, "the offset");
        i.off = (int16_t)(minus ? -off : off);
        expect(s, ")");
    }
    return i;
}

static void store(struct scan *s)
{
    int base = 0, src = 0;
    bool wide = true;
    struct dpf_insn i = memory(s, &base);
    if (BPF_MODE(i.opcode) == BPF_MEMSX) {
        fail(s, s->p, "a store has no sign; write u8, u16 or u32");
    }
    expect(s, "=");
    blanks(s);
    const char *start = s->p;
    if (reg(s, &src, &wide)) {
        i.opcode |= BPF_STX;
        i.regs = (uint8_t)(base | src << 4);
        if (!wide) {
            fail(s, start, "a store takes rN; its size says how much of it");
        }
    } else {
        i.opcode |= BPF_ST;
        i.regs = (uint8_t)base;
        i.imm = (int32_t)number(s, INT32_MIN, INT32_MAX, "the constant");
    }
    code_emit(&s->code, i);
}

/* "be16 r0" and its kin; false if it is none of them. */
static bool byte_swap(struct scan *s, int dst)
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
        if (eat(s, swaps[k].text)) {
            const char *start = s->p;
            if (need_reg(s, true) != dst) {
                fail(s, start, "a byte swap works on one register");
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
    if (eat(s, "-") && reg(s, &src, &src_wide)) {
        if (src != dst || src_wide != wide) {
            fail(s, start, "a negation works on one register");
        }
        code_k(&s->code, class | BPF_NEG, dst, 0);
        return;
    }
    s->p = start;
    if (unsigned_number(s, &v) && eat(s, "ll")) {
        if (!wide) {
            fail(s, start, "a 64-bit constant needs rN");
        }
        code_load64(&s->code, dst, v);
        return;
    }
    s->p = start;
    code_k(&s->code, class | BPF_MOV, dst,
           (int32_t)(uint32_t)number(s, INT32_MIN,
                                     wide ? INT32_MAX : UINT32_MAX,
                                     "a register, a memory operand or a "
                                     "constant"));
}

static void assign(struct scan *s, int dst, bool wide)
{
    static const struct {
        const char *text;
        int16_t bits;
    } casts[] = {{"(s8)", 8}, {"(s16)", 16}, {"(s32)", 32}};
    struct dpf_insn i = {0};
    int src = 0;
    bool src_wide = wide;
    blanks(s);
    const char *start = s->p;
    if (eat(s, "*")) {
        i = memory(s, &src);
        i.opcode |= BPF_LDX;
        i.regs = (uint8_t)(dst | src << 4);
        if (!wide) {
            fail(s, start, "a load fills rN");
        }
        code_emit(&s->code, i);
        return;
    }
    for (size_t k = 0; k < 3; k++) {
        if (eat(s, casts[k].text)) {
            i.off = casts[k].bits;
            if (i.off == 32 && !wide) {
                fail(s, start, "(s32) needs 64-bit registers");
            }
            src = need_reg(s, wide);
            break;
        }
    }
    if (i.off || reg(s, &src, &src_wide)) {
        if (src_wide != wide) {
            fail(s, start, "both registers must be rN, or both wN");
        }
        i.opcode = (uint8_t)((wide ? BPF_ALU64 : BPF_ALU) | BPF_MOV | BPF_X);
        i.regs = (uint8_t)(dst | src << 4);
        code_emit(&s->code, i);
    } else if (!byte_swap(s, dst)) {
        assign_minus(s, dst, wide);
    } else if (!wide) {
        fail(s, start, "a byte swap names rN");
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
    if (eat(s, "=")) {
        assign(s, dst, wide);
        return;
    }
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        if (eat(s, ops[k].text)) {
            struct dpf_insn i = {
                .opcode = (uint8_t)((wide ? BPF_ALU64 : BPF_ALU) | ops[k].op),
                .regs = (uint8_t)dst,
                .off = ops[k].off};
            second_operand(s, &i, wide);
            code_emit(&s->code, i);
            return;
        }
    }
    fail(s, s->p,
         "expected an assignment here: = += -= *= /= %= &= |= ^= <<= "
         ">>= s/= s%= s>>=");
}

static void quad(struct scan *s)
{
    uint64_t v = 0;
    struct dpf_insn i;
    if (!unsigned_number(s, &v)) {
        fail(s, s->p, "expected a 64-bit number here");
    }
    i = (struct dpf_insn){(uint8_t)v, (uint8_t)(v >> 8),
                          (int16_t)(uint16_t)(v >> 16),
                          (int32_t)(uint32_t)(v >> 32)};
    code_emit(&s->code, i);
}

static bool label_here(struct scan *s)
{
    const char *p = s->p;
    while (p < s->end && is_name(*p)) {
        p++;
    }
    if (p == s->p || p == s->end || *p != ':') {
        return false;
    }
    uint32_t label = label_named(s, s->p, (size_t)(p - s->p));
    if (!s->code.err && code_placed(&s->code, label)) {
        fail(s, s->p, "this label stands twice");
    }
    code_place(&s->code, label);
    s->p = p + 1;
    return true;
}

static void statement(struct scan *s)
{
    int dst = 0;
    bool wide = true;
    if (eat(s, "exit")) {
        code_k(&s->code, BPF_JMP | BPF_EXIT, 0, 0);
    } else if (eat(s, "if")) {
        conditional(s);
    } else if (eat(s, "goto")) {
        jump_to(s, (struct dpf_insn){.opcode = BPF_JMP | BPF_JA});
    } else if (eat(s, "gotol")) {
        jump_to(s, (struct dpf_insn){.opcode = BPF_JMP32 | BPF_JA});
    } else if (eat(s, "call")) {
        code_k(&s->code, BPF_JMP | BPF_CALL, 0,
               (int32_t)number(s, INT32_MIN, INT32_MAX, "a helper's number"));
    } else if (eat(s, ".quad")) {
        quad(s);
    } else if (eat(s, "*")) {
        store(s);
    } else if (reg(s, &dst, &wide)) {
        arithmetic(s, dst, wide);
    } else {
        fail(s, s->p, "not an instruction; see dpf(7) for the syntax");
    }
}

static void line(struct scan *s)
{
    blanks(s);
    while (!s->result && label_here(s)) {
        blanks(s);
    }
    if (!s->result && !at_end(s)) {
        statement(s);
        if (!s->result && !at_end(s)) {
            fail(s, s->p, "nothing may follow the instruction on its line");
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
            fail(&s, text + s.names[i].used_at, "this label stands nowhere");
        } else if (s.code.labels[s.names[i].label] >= s.code.count) {
            fail(&s, text + s.names[i].used_at,
                 "no instruction follows this label");
        }
    }
    if (!s.result && !s.code.err && s.code.count == 0) {
        fail(&s, text, "there is no instruction");
    }
    free(s.names);
    if (s.result) {
        code_finish(&s.code);
        return s.result;
    }
    return code_take(&s.code, true, out, err);
}
