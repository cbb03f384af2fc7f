/* SPDX-License-Identifier: MIT */
/*
 * Classic BPF in. Protects: the translation answers as libpcap's interpreter
 * does, on every packet.
 *
 *   A = w0, X = w3 (always zero-extended), r1 packet, r2 length, r4 address;
 *   M[i] = *(u32 *)(r10 - 64 + 4 i)
 *
 * No callee-saved register is used. A load outside the packet stops a filter
 * with 0, which is classic BPF's rule too. X + k does not wrap: the address
 * is formed in 64 bits, where libpcap refuses the sum that would wrap.
 * Backward jumps are accepted, since libpcap writes "protochain" with them.
 *
 * Source: libpcap 1.10.3 bpf_filter.c (pcap_filter_with_aux_data,
 * pcap_validate_filter); McCanne93.
 */
#include "dpf/front/code.h"

#include <stdlib.h>
#include <string.h>

/* Classic classes and modes that isa.h does not have. */
#define C_RET 0x06
#define C_MISC 0x07
#define C_LEN 0x80
#define C_MSH 0xa0
#define C_TXA 0x80
#define C_RVAL_A 0x10
#define C_MEMWORDS 16u

/* Linux keeps metadata at offsets from here on (SKF_LL_OFF). */
#define C_METADATA 0xffe00000u

enum { RA = 0, RPKT = 1, RLEN = 2, RX = 3, RADDR = 4 };

/*
 * Registers that may be read before they are written: bit 0 is A, bit 1 is X,
 * bits 2 and up are the scratch words.
 */
#define SEES_A 1u
#define SEES_X 2u
#define SEES_M(k) (4u << (k))
#define SEES_ALL 0x3ffffu

struct effect {
    uint32_t reads, writes;
};

static int cbpf_refuse(struct dpf_error *err, size_t at, const char *why)
{
    int result = front_fail(err, -DPF_E_SYNTAX, 0,
                            "classic BPF instruction %zu: %s", at, why);
    if (err != NULL) {
        err->insn = (uint32_t)at;
    }
    return result;
}

/* Why a load or store is refused; NULL if it is not. */
static const char *check_load(const struct dpf_cbpf *i)
{
    switch (i->code) {
    case BPF_LD | BPF_ABS | BPF_W:
    case BPF_LD | BPF_ABS | BPF_H:
    case BPF_LD | BPF_ABS | BPF_B:
        return i->k < C_METADATA
                   ? NULL
                   : "reads metadata that Linux keeps beside the packet; "
                     "compile the expression for a capture file, so that it "
                     "reads the packet itself";
    case BPF_LD | BPF_IND | BPF_W:
    case BPF_LD | BPF_IND | BPF_H:
    case BPF_LD | BPF_IND | BPF_B:
    case BPF_LD | C_LEN | BPF_W:
    case BPF_LDX | C_LEN | BPF_W:
    case BPF_LDX | C_MSH | BPF_B:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
        return NULL;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
        return i->k < C_MEMWORDS ? NULL : "scratch memory has 16 words";
    default:
        return "not an instruction of classic BPF";
    }
}

static const char *cbpf_check_alu(const struct dpf_cbpf *i)
{
    switch (BPF_OP(i->code)) {
    case BPF_DIV:
    case BPF_MOD:
        return i->code & BPF_X || i->k ? NULL : "divides by the constant 0";
    case BPF_ADD:
    case BPF_SUB:
    case BPF_MUL:
    case BPF_OR:
    case BPF_AND:
    case BPF_LSH:
    case BPF_RSH:
    case BPF_XOR:
        return NULL;
    case BPF_NEG:
        return i->code & BPF_X ? "not an instruction of classic BPF" : NULL;
    default:
        return "not an instruction of classic BPF";
    }
}

/* Where a jump at `at` goes, not taken and taken. */
static void jump_targets(const struct dpf_cbpf *i, size_t at, int64_t to[2])
{
    if (BPF_OP(i->code) == BPF_JA) {
        to[0] = to[1] = (int64_t)at + 1 + (int32_t)i->k;
    } else {
        to[0] = (int64_t)at + 1 + i->jf;
        to[1] = (int64_t)at + 1 + i->jt;
    }
}

static const char *cbpf_check_jump(const struct dpf_cbpf *i, size_t at,
                                   size_t count)
{
    /* Later versions of BPF have more jumps in this class. */
    if (BPF_OP(i->code) > BPF_JSET || i->code == (BPF_JMP | BPF_JA | BPF_X)) {
        return "not an instruction of classic BPF";
    }
    int64_t to[2];
    jump_targets(i, at, to);
    for (int k = 0; k < 2; k++) {
        if (to[k] < 0 || to[k] >= (int64_t)count) {
            return "jumps outside the program";
        }
    }
    return NULL;
}

/* NULL, or the mistake of instruction `at` in words. */
static const char *cbpf_check(const struct dpf_cbpf *prog, size_t at,
                              size_t count)
{
    const struct dpf_cbpf *i = &prog[at];
    if (i->code > 0xff) {
        return "not an instruction of classic BPF";
    }
    switch (BPF_CLASS(i->code)) {
    case BPF_ALU:
        return cbpf_check_alu(i);
    case BPF_JMP:
        return cbpf_check_jump(i, at, count);
    case C_RET:
        return i->code == C_RET || i->code == (C_RET | C_RVAL_A)
                   ? NULL
                   : "returns neither a constant nor A";
    case C_MISC:
        return i->code == C_MISC || i->code == (C_MISC | C_TXA)
                   ? NULL
                   : "not an instruction of classic BPF";
    default:
        return check_load(i);
    }
}

static struct effect load_effect(const struct dpf_cbpf *i)
{
    struct effect e = {0};
    uint32_t reg = BPF_CLASS(i->code) == BPF_LD ? SEES_A : SEES_X;
    switch (BPF_CLASS(i->code)) {
    case BPF_ST:
        return (struct effect){SEES_A, SEES_M(i->k)};
    case BPF_STX:
        return (struct effect){SEES_X, SEES_M(i->k)};
    default:
        e.writes = reg;
        e.reads = BPF_MODE(i->code) == BPF_MEM   ? SEES_M(i->k)
                  : BPF_MODE(i->code) == BPF_IND ? SEES_X
                                                 : 0;
        return e;
    }
}

/* The registers and scratch words that an instruction reads and writes. */
static struct effect effect(const struct dpf_cbpf *i)
{
    uint32_t x = i->code & BPF_X ? SEES_X : 0;
    switch (BPF_CLASS(i->code)) {
    case BPF_ALU:
        return (struct effect){SEES_A | x, SEES_A};
    case BPF_JMP:
        return (struct effect){BPF_OP(i->code) == BPF_JA ? 0 : SEES_A | x, 0};
    case C_RET:
        return (struct effect){i->code == C_RET ? 0 : SEES_A, 0};
    case C_MISC:
        return i->code == C_MISC ? (struct effect){SEES_A, SEES_X}
                                 : (struct effect){SEES_X, SEES_A};
    default:
        return load_effect(i);
    }
}

#define QUEUED (1u << 31) /* beside a set: its instruction is in the queue */

/*
 * Find the registers that some path reads before writing them: the translation
 * sets these to 0 first. Forward data flow over "surely written" sets, which
 * only shrink: an instruction is looked at once and once more for each of the
 * 18 things that its set can lose. `in` has room for `count` sets and as many
 * that wait.
 */
static uint32_t read_unset(const struct dpf_cbpf *prog, size_t count,
                           uint32_t *in)
{
    uint32_t unset = 0, *queue = in + count;
    size_t queued = 1;
    for (size_t i = 0; i < count; i++) {
        in[i] = SEES_ALL;
    }
    in[0] = QUEUED;
    queue[0] = 0;
    while (queued > 0) {
        uint32_t i = queue[--queued];
        struct effect e = effect(&prog[i]);
        int64_t to[2] = {(int64_t)i + 1, (int64_t)i + 1};
        in[i] &= ~QUEUED;
        unset |= e.reads & ~in[i];
        if (BPF_CLASS(prog[i].code) == C_RET) {
            continue;
        }
        if (BPF_CLASS(prog[i].code) == BPF_JMP) {
            jump_targets(&prog[i], i, to);
        }
        for (int k = 0; k < 2; k++) {
            uint32_t old = in[to[k]], now = old & (in[i] | e.writes | QUEUED);
            if (now != old && !(now & QUEUED)) {
                queue[queued++] = (uint32_t)to[k];
                now |= QUEUED;
            }
            in[to[k]] = now;
        }
    }
    return unset;
}

static int16_t scratch(uint32_t k)
{
    return (int16_t)(-64 + 4 * (int)k);
}

static void cbpf_store(struct code *c, uint32_t k, int reg)
{
    code_emit(c, (struct dpf_insn){.opcode = BPF_STX | BPF_MEM | BPF_W,
                                   .regs = (uint8_t)(BPF_REG_FP | reg << 4),
                                   .off = scratch(k)});
}

static void prologue(struct code *c, uint32_t unset)
{
    /*
     * Registers that are always written first are not cleared, since this code
     * runs for every packet.
     */
    if (unset & (SEES_A | ~(SEES_X | SEES_A))) { /* scratch is set from A */
        code_k(c, BPF_ALU | BPF_MOV, RA, 0);
    }
    if (unset & SEES_X) {
        code_k(c, BPF_ALU | BPF_MOV, RX, 0);
    }
    for (uint32_t k = 0; k < C_MEMWORDS; k++) {
        if (unset & SEES_M(k)) {
            cbpf_store(c, k, RA);
        }
    }
}

/* A = big-endian load at base + k, where base is the packet or packet + X. */
static void packet_load(struct code *c, const struct dpf_cbpf *i, int dst)
{
    int width = BPF_SIZE(i->code) == BPF_W   ? 4
                : BPF_SIZE(i->code) == BPF_H ? 2
                                             : 1;
    bool far = i->k > INT16_MAX;
    int base = RPKT;
    if (i->k > INT32_MAX) { /* no packet is that long */
        code_return(c, 0);
        return;
    }
    if (far || BPF_MODE(i->code) == BPF_IND) {
        code_x(c, BPF_ALU64 | BPF_MOV, RADDR, RPKT);
        base = RADDR;
    }
    if (BPF_MODE(i->code) == BPF_IND) {
        /* In 64 bits, so that X + k cannot wrap round into the packet. */
        code_x(c, BPF_ALU64 | BPF_ADD, RADDR, RX);
    }
    if (far) {
        code_k(c, BPF_ALU64 | BPF_ADD, RADDR, (int32_t)i->k);
    }
    code_load_be(c, dst, base, (int16_t)(far ? 0 : i->k), width);
}

static void cbpf_load(struct code *c, const struct dpf_cbpf *i)
{
    int reg = BPF_CLASS(i->code) == BPF_LD ? RA : RX;
    switch (BPF_CLASS(i->code) == BPF_LD || BPF_CLASS(i->code) == BPF_LDX
                ? BPF_MODE(i->code)
                : -1) {
    case BPF_IMM:
        code_k(c, BPF_ALU | BPF_MOV, reg, (int32_t)i->k);
        break;
    case BPF_ABS:
    case BPF_IND:
        packet_load(c, i, reg);
        break;
    case BPF_MEM:
        code_emit(c, (struct dpf_insn){.opcode = BPF_LDX | BPF_MEM | BPF_W,
                                       .regs = (uint8_t)(reg | BPF_REG_FP << 4),
                                       .off = scratch(i->k)});
        break;
    case C_LEN:
        code_x(c, BPF_ALU | BPF_MOV, reg, RLEN);
        break;
    /* The length of an IPv4 header: four times the low half of a byte. */
    case C_MSH:
        packet_load(c, i, RX);
        if (i->k <= INT32_MAX) {
            code_k(c, BPF_ALU | BPF_AND, RX, 0x0f);
            code_k(c, BPF_ALU | BPF_LSH, RX, 2);
        }
        break;
    default:
        cbpf_store(c, i->k, BPF_CLASS(i->code) == BPF_ST ? RA : RX);
    }
}

/*
 * libpcap shifts by 32 and more to 0; our instructions take the count modulo
 * 32 (RFC 9669 s4.1).
 */
static void cbpf_shift(struct code *c, const struct dpf_cbpf *i)
{
    int op = BPF_ALU | BPF_OP(i->code);
    if (!(i->code & BPF_X)) {
        code_k(c, i->k < 32 ? op : BPF_ALU | BPF_MOV, RA,
               i->k < 32 ? (int32_t)i->k : 0);
        return;
    }
    uint32_t narrow = code_label(c), done = code_label(c);
    code_jump_k(c, BPF_JMP32 | BPF_JLT, RX, 32, narrow);
    code_k(c, BPF_ALU | BPF_MOV, RA, 0);
    code_goto(c, done);
    code_place(c, narrow);
    code_x(c, op, RA, RX);
    code_place(c, done);
}

static void cbpf_alu(struct code *c, const struct dpf_cbpf *i)
{
    int op = BPF_ALU | BPF_OP(i->code);
    bool divides = BPF_OP(i->code) == BPF_DIV || BPF_OP(i->code) == BPF_MOD;
    if (BPF_OP(i->code) == BPF_LSH || BPF_OP(i->code) == BPF_RSH) {
        cbpf_shift(c, i);
    } else if (BPF_OP(i->code) == BPF_NEG) {
        code_k(c, op, RA, 0);
    } else if (!(i->code & BPF_X)) {
        code_k(c, op, RA, (int32_t)i->k);
    } else {
        if (divides) {
            /* Classic BPF rejects the packet; ours would go on with 0. */
            uint32_t fine = code_label(c);
            code_jump_k(c, BPF_JMP32 | BPF_JNE, RX, 0, fine);
            code_return(c, 0);
            code_place(c, fine);
        }
        code_x(c, op, RA, RX);
    }
}

/* The jump that is taken when `op` is not; 0 if there is none. */
static int inverse(int op)
{
    switch (op) {
    case BPF_JEQ:
        return BPF_JNE;
    case BPF_JGT:
        return BPF_JLE;
    case BPF_JGE:
        return BPF_JLT;
    default:
        return 0;
    }
}

static void cbpf_compare(struct code *c, const struct dpf_cbpf *i, int op,
                         uint32_t label)
{
    if (i->code & BPF_X) {
        code_jump_x(c, BPF_JMP32 | op, RA, RX, label);
    } else {
        code_jump_k(c, BPF_JMP32 | op, RA, (int32_t)i->k, label);
    }
}

/*
 * Label first + i stands for instruction i. Classic jumps have two goals; ours
 * have one and else go on. If one goal is the next instruction a single jump
 * is enough, with the condition inverted where need be.
 */
static void cbpf_jump(struct code *c, const struct dpf_cbpf *i, size_t at,
                      uint32_t first)
{
    int64_t next = (int64_t)at + 1;
    int op = BPF_OP(i->code);
    int64_t to[2];
    jump_targets(i, at, to);
    if (to[0] == to[1]) {
        if (to[0] != next) {
            code_goto(c, first + (uint32_t)to[0]);
        }
    } else if (to[1] == next && inverse(op)) {
        cbpf_compare(c, i, inverse(op), first + (uint32_t)to[0]);
    } else {
        cbpf_compare(c, i, op, first + (uint32_t)to[1]);
        if (to[0] != next) {
            code_goto(c, first + (uint32_t)to[0]);
        }
    }
}

static void cbpf_translate(struct code *c, const struct dpf_cbpf *prog,
                           size_t count)
{
    uint32_t first = 0;
    for (size_t i = 0; i < count; i++) { /* labels 0 .. count - 1 */
        code_label(c);
    }
    for (size_t i = 0; i < count && !c->err; i++) {
        code_place(c, first + (uint32_t)i);
        switch (BPF_CLASS(prog[i].code)) {
        case BPF_ALU:
            cbpf_alu(c, &prog[i]);
            break;
        case BPF_JMP:
            cbpf_jump(c, &prog[i], i, first);
            break;
        case C_RET:
            if (prog[i].code == C_RET) {
                code_return(c, prog[i].k);
            } else {
                code_k(c, BPF_JMP | BPF_EXIT, 0, 0);
            }
            break;
        case C_MISC:
            code_x(c, BPF_ALU | BPF_MOV, prog[i].code == C_MISC ? RX : RA,
                   prog[i].code == C_MISC ? RA : RX);
            break;
        default:
            cbpf_load(c, &prog[i]);
        }
    }
}

int dpf_from_cbpf(const struct dpf_cbpf *prog, size_t count,
                  struct dpf_code *out, struct dpf_error *err)
{
    struct code c = {0};
    if (count == 0 || count > DPF_CBPF_MAX) {
        return front_fail(err, -DPF_E_SYNTAX, 0,
                          "a classic BPF program has 1 to %u instructions, "
                          "not %zu",
                          DPF_CBPF_MAX, count);
    }
    for (size_t i = 0; i < count; i++) {
        const char *why = cbpf_check(prog, i, count);
        if (why != NULL) {
            return cbpf_refuse(err, i, why);
        }
    }
    /*
     * Else the last instruction could be passed, and there is none behind it.
     */
    if (BPF_CLASS(prog[count - 1].code) != C_RET) {
        return cbpf_refuse(err, count - 1, "the last instruction must return");
    }
    uint32_t *in = malloc(2 * count * sizeof(*in));
    if (in == NULL) {
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    prologue(&c, read_unset(prog, count, in));
    free(in);
    cbpf_translate(&c, prog, count);
    return code_take(&c, false, out, err);
}

/* ------------------------------------------------------------ tcpdump -ddd */

struct numbers {
    const char *text;
    size_t len, at;
};

/* The next decimal number, at most `max`; false at anything else. */
static bool next_number(struct numbers *n, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    while (n->at < n->len && strchr(" \t\r\n", n->text[n->at]) != NULL &&
           n->text[n->at] != '\0') {
        n->at++;
    }
    size_t start = n->at;
    while (n->at < n->len && n->text[n->at] >= '0' && n->text[n->at] <= '9') {
        v = v * 10 + (uint64_t)(n->text[n->at] - '0');
        if (v > max) {
            n->at = start;
            return false;
        }
        n->at++;
    }
    *out = v;
    return n->at > start;
}

int dpf_from_ddd(const char *text, size_t len, struct dpf_code *out,
                 struct dpf_error *err)
{
    struct numbers n = {text, len, 0};
    uint64_t count;
    if (!next_number(&n, DPF_CBPF_MAX, &count)) {
        return front_fail(err, -DPF_E_SYNTAX, n.at,
                          "expected the number of instructions (1 to %u); the "
                          "form is that of tcpdump -ddd",
                          DPF_CBPF_MAX);
    }
    struct dpf_cbpf *prog = calloc(count + 1, sizeof(*prog));
    if (prog == NULL) {
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    int result = 0;
    uint64_t code, jt, jf, k;
    for (size_t i = 0; i < count && !result; i++) {
        if (!next_number(&n, UINT16_MAX, &code) ||
            !next_number(&n, UINT8_MAX, &jt) ||
            !next_number(&n, UINT8_MAX, &jf) ||
            !next_number(&n, UINT32_MAX, &k)) {
            result = front_fail(err, -DPF_E_SYNTAX, n.at,
                                "instruction %zu of %zu: expected four "
                                "decimal numbers (code jt jf k)",
                                i, (size_t)count);
        }
        prog[i] = (struct dpf_cbpf){(uint16_t)code, (uint8_t)jt, (uint8_t)jf,
                                    (uint32_t)k};
    }
    if (!result && next_number(&n, UINT64_MAX / 16, &k)) {
        result = front_fail(err, -DPF_E_SYNTAX, n.at,
                            "more numbers than %zu instructions need",
                            (size_t)count);
    }
    if (!result && n.at < len) {
        result = front_fail(err, -DPF_E_SYNTAX, n.at,
                            "not a decimal number; the form is that of "
                            "tcpdump -ddd");
    }
    result = result ? result : dpf_from_cbpf(prog, count, out, err);
    free(prog);
    return result;
}
