/* SPDX-License-Identifier: MIT */
/*
 * The interpreter: the plain reading of RFC 9669, every access checked. It is
 * the oracle for the native compiler and for the merged filters, so nothing
 * here is clever. Pointers are offsets (program.h); the frame pointer is
 * BPF_STACK_SIZE. Order as in dpf.7: arithmetic, byte swaps, jumps, memory,
 * calls.
 */
#include "dpf/vm/program.h"

/* ----------------------------------------------------------- arithmetic */

/* s4.1: division by zero gives 0, the remainder leaves dst unchanged. */
static uint64_t divide(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : a / b;
}

static uint64_t modulo(uint64_t a, uint64_t b)
{
    return b == 0 ? a : a % b;
}

/* s4.1: the most negative value divided by -1 is itself, remainder 0. */
static int64_t divide_signed(int64_t a, int64_t b)
{
    if (b == 0) {
        return 0;
    }
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

static int64_t modulo_signed(int64_t a, int64_t b)
{
    if (b == 0) {
        return a;
    }
    return b == -1 ? 0 : a % b;
}

static uint64_t sign_extend(uint64_t v, int bits)
{
    switch (bits) {
    case 8:
        return (uint64_t)(int8_t)v;
    case 16:
        return (uint64_t)(int16_t)v;
    case 32:
        return (uint64_t)(int32_t)v;
    default:
        return v;
    }
}

/*
 * Arithmetic over 64 bits, or over the low halves of a and b; then what is
 * above the result's low half means nothing.
 */
static uint64_t interp_alu(const struct dpf_insn *i, bool wide, uint64_t a,
                           uint64_t b)
{
    uint32_t shift = b & (wide ? 63 : 31);
    int64_t sa = wide ? (int64_t)a : (int32_t)a;
    int64_t sb = wide ? (int64_t)b : (int32_t)b;
    a = wide ? a : (uint32_t)a;
    b = wide ? b : (uint32_t)b;
    switch (BPF_OP(i->opcode)) {
    case BPF_ADD:
        return a + b;
    case BPF_SUB:
        return a - b;
    case BPF_MUL:
        return a * b;
    case BPF_DIV:
        return i->off == 0 ? divide(a, b) : (uint64_t)divide_signed(sa, sb);
    case BPF_OR:
        return a | b;
    case BPF_AND:
        return a & b;
    case BPF_LSH:
        return a << shift;
    case BPF_RSH:
        return a >> shift;
    case BPF_NEG:
        return 0 - a;
    case BPF_MOD:
        return i->off == 0 ? modulo(a, b) : (uint64_t)modulo_signed(sa, sb);
    case BPF_XOR:
        return a ^ b;
    case BPF_MOV:
        return sign_extend(b, i->off);
    default: /* BPF_ARSH */
        return (uint64_t)(sa >> shift);
    }
}

/* s4.2. This machine is little endian, so "to little endian" truncates. */
static uint64_t interp_byte_swap(const struct dpf_insn *i, uint64_t a)
{
    bool swap =
        BPF_CLASS(i->opcode) == BPF_ALU64 || BPF_SRC(i->opcode) == BPF_X;
    switch (i->imm) {
    case 16:
        return swap ? __builtin_bswap16((uint16_t)a) : (uint16_t)a;
    case 32:
        return swap ? __builtin_bswap32((uint32_t)a) : (uint32_t)a;
    default:
        return swap ? __builtin_bswap64(a) : a;
    }
}

uint64_t insn_alu(const struct dpf_insn *i, uint64_t dst, uint64_t src)
{
    if (BPF_OP(i->opcode) == BPF_END) {
        return interp_byte_swap(i, dst);
    }
    bool wide = BPF_CLASS(i->opcode) == BPF_ALU64;
    uint64_t result = interp_alu(i, wide, dst, src);
    return wide ? result : (uint32_t)result;
}

/* ---------------------------------------------------------------- jumps */

bool insn_test(const struct dpf_insn *i, uint64_t dst, uint64_t src)
{
    int64_t a = (int64_t)dst, b = (int64_t)src;
    if (BPF_CLASS(i->opcode) == BPF_JMP32) {
        dst = (uint32_t)dst;
        src = (uint32_t)src;
        a = (int32_t)dst;
        b = (int32_t)src;
    }
    switch (BPF_OP(i->opcode)) {
    case BPF_JA:
        return true;
    case BPF_JEQ:
        return dst == src;
    case BPF_JGT:
        return dst > src;
    case BPF_JGE:
        return dst >= src;
    case BPF_JSET:
        return (dst & src) != 0;
    case BPF_JNE:
        return dst != src;
    case BPF_JSGT:
        return a > b;
    case BPF_JSGE:
        return a >= b;
    case BPF_JLT:
        return dst < src;
    case BPF_JLE:
        return dst <= src;
    case BPF_JSLT:
        return a < b;
    default: /* BPF_JSLE */
        return a <= b;
    }
}

/* --------------------------------------------------------------- memory */

struct machine {
    const struct dpf_program *p;
    struct dpf_run *run;
    uint64_t reg[BPF_REG_COUNT];
    uint32_t pc;
    uint32_t fuel;
    uint8_t stack[BPF_STACK_SIZE];
};

/* *at = host address of [off, off + size) of `region`; false if not inside. */
static bool locate(struct machine *m, uint32_t region, uint64_t off,
                   uint64_t size, uint8_t **at)
{
    uint8_t *base = m->stack;
    uint64_t len = BPF_STACK_SIZE;
    if (region != REGION_STACK) {
        bool bound = region < m->run->region_count;
        base = bound ? m->run->regions[region].base : NULL;
        len = bound ? m->run->regions[region].len : 0;
    }
    if (size > len || off > len - size) {
        return false;
    }
    *at = off == 0 ? base : base + off;
    return true;
}

static bool interp_load(struct machine *m, const struct dpf_insn *i)
{
    const struct insn_note *note = &m->p->notes[m->pc];
    uint64_t v = 0, *dst = &m->reg[DPF_INSN_DST(i)];
    if (note->region == REGION_TABLE) {
        *dst = 0; /* the start of the region that the note of its use names */
        return true;
    }
    uint32_t size = insn_width(i);
    uint64_t off = m->reg[DPF_INSN_SRC(i)] + (uint64_t)(int64_t)i->off;
    uint8_t *from;
    if (!locate(m, note->region, off, size, &from)) {
        return false;
    }
    __builtin_memcpy(&v, from, size);
    *dst = BPF_MODE(i->opcode) == BPF_MEMSX ? sign_extend(v, (int)size * 8) : v;
    return true;
}

static bool interp_store(struct machine *m, const struct dpf_insn *i)
{
    const struct insn_note *note = &m->p->notes[m->pc];
    uint32_t size = insn_width(i);
    uint64_t off = m->reg[DPF_INSN_DST(i)] + (uint64_t)(int64_t)i->off;
    uint64_t v = BPF_CLASS(i->opcode) == BPF_STX ? m->reg[DPF_INSN_SRC(i)]
                                                 : (uint64_t)(int64_t)i->imm;
    uint8_t *to;
    if (!locate(m, note->region, off, size, &to)) {
        return false;
    }
    __builtin_memcpy(to, &v, size);
    return true;
}

/* ---------------------------------------------------------------- calls */

static bool interp_call(struct machine *m, const struct dpf_insn *i)
{
    const struct helper_sig *sig = helper_find((uint32_t)i->imm, m->p->type);
    uint64_t args[5] = {0};
    for (uint32_t a = 0; sig->args[a] != '\0'; a++) {
        args[a] = m->reg[a + 1];
        if (sig->args[a] == 'p') {
            uint8_t *at;
            if (!locate(m, m->p->notes[m->pc].region, m->reg[a + 1],
                        m->reg[a + 2], &at)) {
                return false;
            }
            args[a] = (uint64_t)(uintptr_t)at;
        }
    }
    m->reg[0] = m->run->helper(m->run, (uint32_t)i->imm, args);
    return true;
}

/* One instruction other than exit and jumps. False: out of bounds. */
static bool interp_execute(struct machine *m, const struct dpf_insn *i)
{
    uint64_t *dst = &m->reg[DPF_INSN_DST(i)];
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        *dst = insn_wide_imm(i);
        return true;
    case BPF_LDX:
        return interp_load(m, i);
    case BPF_ST:
    case BPF_STX:
        return interp_store(m, i);
    case BPF_ALU:
    case BPF_ALU64:
        *dst = insn_alu(i, *dst, insn_operand(i, m->reg));
        return true;
    default:
        return interp_call(m, i);
    }
}

static void interp_start(struct machine *m)
{
    const struct dpf_run *run = m->run;
    __builtin_memset(m->reg, 0, sizeof(m->reg));
    /* No access of a verified program goes below. */
    __builtin_memset(m->stack + BPF_STACK_SIZE - m->p->stack, 0, m->p->stack);
    m->reg[BPF_REG_FP] = BPF_STACK_SIZE;
    m->reg[2] = run->region_count > 0 ? run->regions[0].len : 0;
    if (m->p->type == DPF_UDF) {
        m->reg[3] = run->arg;
    }
    m->fuel = run->fuel != 0 ? run->fuel : DPF_FUEL_DEFAULT;
    m->pc = 0;
}

struct dpf_result dpf_program_interp(const struct dpf_program *p,
                                     struct dpf_run *run)
{
    struct machine m = {.p = p, .run = run};
    interp_start(&m);
    for (;;) {
        const struct dpf_insn *i = &p->insns[m.pc];
        if (i->opcode == (BPF_JMP | BPF_EXIT)) {
            return (struct dpf_result){.r0 = m.reg[0], .end = DPF_END_EXIT};
        }
        uint32_t next = m.pc + insn_len(i);
        if (!insn_is_jump(i)) {
            if (!interp_execute(&m, i)) {
                return (struct dpf_result){.end = DPF_END_BOUNDS};
            }
        } else if (insn_test(i, m.reg[DPF_INSN_DST(i)],
                             insn_operand(i, m.reg))) {
            next = (uint32_t)(m.pc + 1 + insn_jump(i));
            if (next <= m.pc && m.fuel-- == 0) {
                return (struct dpf_result){.end = DPF_END_FUEL};
            }
        }
        m.pc = next;
    }
}
