/* SPDX-License-Identifier: MIT */
/*
 * Memory, control transfer, start and finish of plain native code.
 *
 * The frame, from rsp up: fuel, the struct dpf_run, a helper's arguments,
 * then the touched part of the program's stack, whose top is r10.
 *
 * An access computes its offset and the largest offset that is inside, clamps
 * the first to the second without a branch (so that a mispredicted check
 * reads inside the region), and leaves for the common "stop" when they were
 * out of order.
 */
#include "dpf/jit/plain.h"

#define FRAME_FUEL 0
#define FRAME_RUN 8
#define FRAME_ARGS 16
#define FRAME_STACK 56

#define BASE R12
#define LENGTH R15

static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

/* --------------------------------------------------------------- memory */

static struct x64_mem frame_at(int32_t off)
{
    return x64_at(RSP, off);
}

/* Where the byte at offset `off` from r10 lies in the frame. */
static struct x64_mem plain_stack_at(const struct compiler *c, int32_t off)
{
    return frame_at(FRAME_STACK + (int32_t)c->p->stack + off);
}

#define REGION_AT(region, field)                                               \
    ((int32_t)(offsetof(struct dpf_run, regions) +                             \
               (region) * sizeof(struct dpf_region) +                          \
               offsetof(struct dpf_region, field)))

/* d = `w` bytes at `off` of the struct dpf_run. */
static void emit_run(struct compiler *c, uint32_t w, enum x64_reg d,
                     int32_t off)
{
    x64_load(&c->x, 8, d, frame_at(FRAME_RUN));
    x64_load(&c->x, w, d, x64_at(d, off));
}

/* d = bytes in `region`; false if it can have none. */
static void plain_emit_length(struct compiler *c, uint32_t region,
                              enum x64_reg d)
{
    if (region == 0 && c->p->type != DPF_PREDICATE) {
        x64_mov_rr(&c->x, 4, d, LENGTH);
    } else if (region == REGION_STACK) {
        x64_mov_ri(&c->x, d, BPF_STACK_SIZE);
    } else {
        emit_run(c, 4, d, REGION_AT(region, len));
    }
}

/* d = host address of `region`. */
static enum x64_reg plain_emit_base(struct compiler *c, uint32_t region,
                                    enum x64_reg d)
{
    if (region == 0 && c->p->type != DPF_PREDICATE) {
        return BASE;
    }
    if (region == REGION_STACK) {
        x64_lea(&c->x, 8, d, plain_stack_at(c, -(int32_t)BPF_STACK_SIZE));
        return d;
    }
    emit_run(c, 8, d, REGION_AT(region, base));
    return d;
}

/*
 * The operand for `size` bytes at offset reg + off of the region that the
 * note of the current instruction names, checked. Uses rcx, rdx, r11.
 */
static struct x64_mem emit_access(struct compiler *c, uint32_t reg, int32_t off,
                                  uint32_t size)
{
    struct x64 *x = &c->x;
    const struct insn_note *note = &c->p->notes[c->pc];
    if (note->region == REGION_STACK && note->stack_off != NOTE_OFF_ANY) {
        return plain_stack_at(c, note->stack_off);
    }
    x64_lea(x, 8, RCX, x64_at(plain_source(c, reg, RCX), off));
    plain_emit_length(c, note->region, RDX);
    x64_mov_ri(x, R11, 0);
    x64_alu_ri(x, X_SUB, 8, RDX, (int32_t)size);
    x64_cmov_rr(x, CC_B, 8, RDX, R11); /* or the next clamp would be none */
    x64_jcc(x, CC_B, c->bounds);
    x64_alu_rr(x, X_CMP, 8, RDX, RCX);
    x64_cmov_rr(x, CC_B, 8, RCX, RDX);
    x64_jcc(x, CC_B, c->bounds);
    return x64_index(plain_emit_base(c, note->region, RDX), RCX, 1, 0);
}

static void plain_emit_load(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_reg d = plain_reg[DPF_INSN_DST(i)];
    uint32_t size = insn_width(i);
    if (c->p->notes[c->pc].region == REGION_TABLE) {
        /* A pointer from a predicate's table. The verifier knows which region
           it names, so all that is left of it is the offset 0. */
        x64_mov_ri(&c->x, d, 0);
        return;
    }
    struct x64_mem m = emit_access(c, DPF_INSN_SRC(i), i->off, size);
    if (BPF_MODE(i->opcode) == BPF_MEMSX) {
        x64_load_signed(&c->x, size, d, m);
    } else {
        x64_load(&c->x, size, d, m);
    }
}

static void emit_store(struct compiler *c, const struct dpf_insn *i)
{
    uint32_t size = insn_width(i);
    struct x64_mem m = emit_access(c, DPF_INSN_DST(i), i->off, size);
    if (BPF_CLASS(i->opcode) == BPF_STX) {
        x64_store(&c->x, size, m, plain_source(c, DPF_INSN_SRC(i), R11));
    } else if (i->imm == (int8_t)i->imm) { /* no more beside a displacement */
        x64_store_imm(&c->x, size, m, i->imm);
    } else {
        x64_mov_chosen(&c->x, R11, (uint64_t)(int64_t)i->imm);
        x64_store(&c->x, size, m, R11);
    }
}

/* ----------------------------------------------------- control transfer */

static void plain_emit_compare(struct compiler *c, const struct dpf_insn *i)
{
    struct x64 *x = &c->x;
    uint32_t w = plain_width(i);
    bool test = BPF_OP(i->opcode) == BPF_JSET;
    enum x64_reg d = plain_source(c, DPF_INSN_DST(i), RCX);
    bool immediate = plain_immediate(i);
    enum x64_reg s = immediate ? R11 : plain_operand(c, i, R11);
    if (immediate && test) {
        x64_test_ri(x, w, d, i->imm);
    } else if (immediate) {
        x64_alu_ri(x, X_CMP, w, d, i->imm);
    } else if (test) {
        x64_test_rr(x, w, d, s);
    } else {
        x64_alu_rr(x, X_CMP, w, d, s);
    }
}

static void emit_jump(struct compiler *c, const struct dpf_insn *i)
{
    struct x64 *x = &c->x;
    uint32_t to = (uint32_t)(c->pc + 1 + insn_jump(i));
    bool always = BPF_OP(i->opcode) == BPF_JA, back = to <= c->pc;
    x64_label next = 0;
    if (!always) {
        enum x64_cc cc = plain_condition(BPF_OP(i->opcode));
        plain_emit_compare(c, i);
        if (!back) {
            x64_jcc(x, cc, c->at[to]);
            return;
        }
        /* Turned round, so that a jump that is not taken burns no fuel. */
        next = x64_label_new(x);
        x64_jcc(x, cc ^ 1, next);
    }
    /* Only jumps backwards cost fuel: without one a program ends after at most
       `count` instructions. */
    if (back) {
        x64_alu_mi(x, X_SUB, 8, frame_at(FRAME_FUEL), 1);
        x64_jcc(x, CC_B, c->out_of_fuel);
    }
    x64_jmp(x, c->at[to]);
    if (!always) {
        x64_place(x, next);
    }
}

/* The pointer argument in r1 with its length in r2, as a host address. */
static void emit_pointer_arg(struct compiler *c)
{
    struct x64 *x = &c->x;
    uint32_t region = c->p->notes[c->pc].region;
    enum x64_reg off = plain_reg[1], len = plain_reg[2];
    /* off <= length - len, in this form because off + len may wrap. */
    plain_emit_length(c, region, RDX);
    x64_alu_rr(x, X_SUB, 8, RDX, len);
    x64_jcc(x, CC_B, c->bounds);
    x64_alu_rr(x, X_CMP, 8, RDX, off);
    x64_jcc(x, CC_B, c->bounds);
    x64_alu_rr(x, X_ADD, 8, off, plain_emit_base(c, region, RDX));
}

static void emit_call(struct compiler *c, const struct dpf_insn *i)
{
    struct x64 *x = &c->x;
    const struct helper_sig *sig = helper_find((uint32_t)i->imm, c->p->type);
    if (sig->args[0] == 'p') {
        emit_pointer_arg(c);
    }
    /* A helper with fewer arguments finds 0 in the others, and nothing that
       lay on the kernel's stack before. */
    bool more = true;
    for (int32_t a = 0; a < 5; a++) {
        struct x64_mem to = frame_at(FRAME_ARGS + a * 8);
        more = more && sig->args[a] != '\0';
        if (more) {
            x64_store(x, 8, to, plain_reg[a + 1]);
        } else {
            x64_store_imm(x, 8, to, 0);
        }
    }
    /* r6 to r9 are in registers that C functions keep, and so are base and
       length; no program reads r1 to r5 after a call: the verifier refuses it.
     */
    x64_load(x, 8, RDI, frame_at(FRAME_RUN));
    x64_mov_ri(x, RSI, (uint32_t)i->imm);
    x64_lea(x, 8, RDX, frame_at(FRAME_ARGS));
    x64_call_m(x, x64_at(RDI, (int32_t)offsetof(struct dpf_run, helper)));
}

/* ------------------------------------------------------ start and finish */

static void emit_start(struct compiler *c)
{
    struct x64 *x = &c->x;
    const struct dpf_program *p = c->p;
    for (size_t n = 0; n < sizeof(callee_saved); n++) {
        x64_push(x, callee_saved[n]);
    }
    x64_alu_ri(x, X_SUB, 8, RSP, (int32_t)c->frame);
    /* A filter is called with packet, length and fuel, so that the receive path
       builds no struct dpf_run; the others with a run and fuel. */
    if (p->type == DPF_FILTER) {
        x64_store(x, 8, frame_at(FRAME_FUEL), RDX);
        x64_mov_rr(x, 8, BASE, RDI);
        x64_mov_rr(x, 4, LENGTH, RSI);
    } else {
        x64_store(x, 8, frame_at(FRAME_FUEL), RSI);
        x64_store(x, 8, frame_at(FRAME_RUN), RDI);
        if (p->type == DPF_UDF) {
            x64_load(x, 8, plain_reg[3],
                     x64_at(RDI, (int32_t)offsetof(struct dpf_run, arg)));
        } else if (p->type == DPF_HANDLER) {
            x64_mov_ri(x, plain_reg[3], 0);
        }
        if (p->type != DPF_PREDICATE) {
            x64_load(x, 8, BASE, x64_at(RDI, REGION_AT(0, base)));
            x64_load(x, 4, LENGTH, x64_at(RDI, REGION_AT(0, len)));
            x64_mov_rr(x, 4, plain_reg[2], LENGTH);
        }
    }
    x64_mov_ri(x, plain_reg[1], 0);
    /* The verifier could not show that the program writes its stack before it
       reads it. */
    if (p->zero_stack) {
        x64_label again = x64_label_new(x);
        x64_mov_ri(x, RCX, BPF_STACK_SIZE);
        x64_mov_ri(x, RDX, 0);
        x64_place(x, again);
        x64_store(x, 8, x64_index(RSP, RCX, 1, FRAME_STACK - 8), RDX);
        x64_alu_ri(x, X_SUB, 4, RCX, 8);
        x64_jcc(x, CC_NE, again);
    }
}

static void emit_finish(struct compiler *c)
{
    struct x64 *x = &c->x;
    x64_label stop = x64_label_new(x), out = x64_label_new(x);
    x64_place(x, c->out_of_fuel);
    x64_mov_ri(x, RDX, DPF_END_FUEL);
    x64_jmp(x, stop);
    x64_place(x, c->bounds);
    x64_mov_ri(x, RDX, DPF_END_BOUNDS);
    x64_place(x, stop);
    x64_mov_ri(x, RAX, 0);
    x64_jmp(x, out);
    x64_place(x, c->leave);
    x64_mov_ri(x, RDX, DPF_END_EXIT);
    x64_place(x, out);
    x64_alu_ri(x, X_ADD, 8, RSP, (int32_t)c->frame);
    for (size_t n = sizeof(callee_saved); n > 0; n--) {
        x64_pop(x, callee_saved[n - 1]);
    }
    x64_ret(x);
}

static void emit_insn(struct compiler *c, const struct dpf_insn *i)
{
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        x64_mov_chosen(&c->x, plain_reg[DPF_INSN_DST(i)], insn_wide_imm(i));
        return;
    case BPF_LDX:
        plain_emit_load(c, i);
        return;
    case BPF_ST:
    case BPF_STX:
        emit_store(c, i);
        return;
    case BPF_ALU:
    case BPF_ALU64:
        plain_alu(c, i);
        return;
    default:
        break;
    }
    if (insn_is_jump(i)) {
        emit_jump(c, i);
    } else if (BPF_OP(i->opcode) == BPF_CALL) {
        emit_call(c, i);
    } else {
        x64_jmp(&c->x, c->leave);
    }
}

void plain_emit(struct compiler *c)
{
    const struct dpf_program *p = c->p;
    struct x64 *x = &c->x;
    /* Return address and six pushes: keep rsp a multiple of 16 in calls. */
    c->frame = (FRAME_STACK + p->stack + 8 + 15) / 16 * 16 - 8;
    c->bounds = x64_label_new(x);
    c->out_of_fuel = x64_label_new(x);
    c->leave = x64_label_new(x);
    for (uint32_t n = 0; n < p->count; n++) {
        program_breathe(p->mem, n, BREATH_LONG);
        if ((p->notes[n].flags & NOTE_TARGET) != 0) {
            c->at[n] = x64_label_new(x);
        }
    }
    emit_start(c);
    for (c->pc = 0; c->pc < p->count; c->pc += insn_len(&p->insns[c->pc])) {
        program_breathe(p->mem, c->pc, BREATH_SHORT);
        if ((p->notes[c->pc].flags & NOTE_TARGET) != 0) {
            x64_place(x, c->at[c->pc]);
        }
        emit_insn(c, &p->insns[c->pc]);
    }
    emit_finish(c);
}
