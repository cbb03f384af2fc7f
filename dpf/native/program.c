/* SPDX-License-Identifier: MIT */
/*
 * Native code of one program: instruction by instruction, for every program
 * that verify.c accepts. It computes what interp.c computes.
 *
 *   r0 rax   r1 rdi   r2 rsi   r3 r8    r4 r9    r5 r10
 *   r6 rbx   r7 rbp   r8 r13   r9 r14   r10 the constant BPF_STACK_SIZE
 *   base of region 0 r12, its length r15; scratch rcx, rdx, r11
 *
 * The frame, from rsp up: fuel, the struct dpf_run, a helper's arguments,
 * then the touched part of the program's stack, whose top is r10.
 *
 * Memory. Registers hold offsets. An access computes its offset and the
 * largest offset that is inside, clamps the first to the second without a
 * branch (so that a mispredicted check reads inside the region), and leaves
 * for the common "stop" when they were out of order.
 */
#include "dpf/vm/program.h"
#include "dpf/native/codeheap.h"
#include "dpf/native/filter.h"
#include "dpf/native/native.h"
#include "dpf/native/x86_64.h"

#define FRAME_FUEL 0
#define FRAME_RUN 8
#define FRAME_ARGS 16
#define FRAME_STACK 56

#define BASE R12
#define LENGTH R15

struct compiler {
    const struct dpf_program *p;
    struct x64 x;
    uint32_t *at; /* per instruction that is a jump target: its label */
    x64_label bounds, out_of_fuel, leave;
    uint32_t frame; /* bytes below the saved registers */
    uint32_t pc;
    uint16_t saved; /* bit per callee-saved register to keep */
};

static const uint8_t machine_reg[BPF_REG_COUNT - 1] = {
    RAX, RDI, RSI, R8, R9, R10, RBX, RBP, R13, R14,
};

static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

/* The register that holds r; r10 is put into `tmp`. */
static enum x64_reg source(struct compiler *c, uint32_t r, enum x64_reg tmp)
{
    if (r == BPF_REG_FP) {
        x64_mov_ri(&c->x, tmp, BPF_STACK_SIZE);
        return tmp;
    }
    return machine_reg[r];
}

/* ----------------------------------------------------------- arithmetic */

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

/* Width of an arithmetic instruction or jump. */
static uint32_t width(const struct dpf_insn *i)
{
    uint32_t class = BPF_CLASS(i->opcode);
    return class == BPF_ALU64 || class == BPF_JMP ? 8 : 4;
}

static void emit_simple(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_alu op = alu_op(BPF_OP(i->opcode));
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
    if (BPF_SRC(i->opcode) == BPF_X) {
        x64_alu_rr(&c->x, op, width(i), d, source(c, DPF_INSN_SRC(i), R11));
    } else {
        x64_alu_chosen(&c->x, op, width(i), d, i->imm, R11);
    }
}

static void emit_mov(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
    if (BPF_SRC(i->opcode) == BPF_K) {
        x64_mov_chosen(&c->x, d,
                       width(i) == 8 ? (uint64_t)(int64_t)i->imm
                                     : (uint32_t)i->imm);
        return;
    }
    if (DPF_INSN_SRC(i) == BPF_REG_FP) {
        x64_mov_ri(&c->x, d, BPF_STACK_SIZE);
        return;
    }
    enum x64_reg s = machine_reg[DPF_INSN_SRC(i)];
    if (i->off != 0) {
        x64_sign_extend(&c->x, width(i), (uint32_t)i->off / 8, d, s);
    } else if (d != s || width(i) == 4) {
        x64_mov_rr(&c->x, width(i), d, s);
    }
}

static void emit_mul(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
    enum x64_reg s = R11;
    if (BPF_SRC(i->opcode) == BPF_X) {
        s = source(c, DPF_INSN_SRC(i), R11);
    } else if (x64_harmless(i->imm)) {
        x64_imul_rri(&c->x, width(i), d, d, i->imm);
        return;
    } else {
        x64_mov_chosen(&c->x, R11, (uint64_t)(int64_t)i->imm);
    }
    x64_imul_rr(&c->x, width(i), d, s);
}

static void emit_shift(struct compiler *c, const struct dpf_insn *i)
{
    uint32_t op = BPF_OP(i->opcode), w = width(i);
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
    enum x64_shift x = op == BPF_LSH ? X_SHL : op == BPF_RSH ? X_SHR : X_SAR;
    if (BPF_SRC(i->opcode) == BPF_X) {
        x64_mov_rr(&c->x, 4, RCX, source(c, DPF_INSN_SRC(i), RCX));
        x64_shift_cl(&c->x, x, w, d); /* the processor masks as s4.1 asks */
        return;
    }
    uint32_t count = (uint32_t)i->imm & (w * 8 - 1);
    if (count != 0) {
        x64_shift_i(&c->x, x, w, d, (uint8_t)count);
    } else if (w == 4) {
        x64_mov_rr(&c->x, 4, d, d);
    }
}

static void emit_end(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
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
    uint32_t w = width(i);
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

static void emit_div(struct compiler *c, const struct dpf_insn *i)
{
    struct x64 *x = &c->x;
    uint32_t w = width(i);
    bool div = BPF_OP(i->opcode) == BPF_DIV;
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
    x64_label zero = x64_label_new(x), done = x64_label_new(x);
    if (BPF_SRC(i->opcode) == BPF_X) {
        x64_mov_rr(x, w, RCX, source(c, DPF_INSN_SRC(i), RCX));
    } else {
        x64_mov_chosen(x, RCX,
                       w == 8 ? (uint64_t)(int64_t)i->imm : (uint32_t)i->imm);
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

static void emit_alu(struct compiler *c, const struct dpf_insn *i)
{
    switch (BPF_OP(i->opcode)) {
    case BPF_MOV:
        emit_mov(c, i);
        break;
    case BPF_MUL:
        emit_mul(c, i);
        break;
    case BPF_DIV:
    case BPF_MOD:
        emit_div(c, i);
        break;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        emit_shift(c, i);
        break;
    case BPF_NEG:
        x64_unary(&c->x, X_NEG, width(i), machine_reg[DPF_INSN_DST(i)]);
        break;
    case BPF_END:
        emit_end(c, i);
        break;
    default:
        emit_simple(c, i);
        break;
    }
}

/* --------------------------------------------------------------- memory */

static struct x64_mem frame_at(int32_t off)
{
    return x64_at(RSP, off);
}

/* Where the byte at offset `off` from r10 lies in the frame. */
static struct x64_mem stack_at(const struct compiler *c, int32_t off)
{
    return frame_at(FRAME_STACK + (int32_t)c->p->stack + off);
}

static int32_t region_base(uint32_t region)
{
    return (int32_t)(offsetof(struct dpf_run, regions) +
                     region * sizeof(struct dpf_region) +
                     offsetof(struct dpf_region, base));
}

static int32_t region_len(uint32_t region)
{
    return (int32_t)(offsetof(struct dpf_run, regions) +
                     region * sizeof(struct dpf_region) +
                     offsetof(struct dpf_region, len));
}

/* d = bytes in `region`; false if it can have none. */
static void emit_length(struct compiler *c, uint32_t region, enum x64_reg d)
{
    if (region == 0 && c->p->type != DPF_PREDICATE) {
        x64_mov_rr(&c->x, 4, d, LENGTH);
    } else if (region == REGION_STACK) {
        x64_mov_ri(&c->x, d, BPF_STACK_SIZE);
    } else {
        x64_load(&c->x, 8, d, frame_at(FRAME_RUN));
        x64_load(&c->x, 4, d, x64_at(d, region_len(region)));
    }
}

/* d = host address of `region`. */
static enum x64_reg emit_base(struct compiler *c, uint32_t region,
                              enum x64_reg d)
{
    if (region == 0 && c->p->type != DPF_PREDICATE) {
        return BASE;
    }
    if (region == REGION_STACK) {
        x64_lea(&c->x, 8, d, stack_at(c, -(int32_t)BPF_STACK_SIZE));
        return d;
    }
    x64_load(&c->x, 8, d, frame_at(FRAME_RUN));
    x64_load(&c->x, 8, d, x64_at(d, region_base(region)));
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
        return stack_at(c, note->stack_off);
    }
    x64_lea(x, 8, RCX, x64_at(source(c, reg, RCX), off));
    emit_length(c, note->region, RDX);
    x64_mov_ri(x, R11, 0);
    x64_alu_ri(x, X_SUB, 8, RDX, (int32_t)size);
    x64_cmov_rr(x, CC_B, 8, RDX, R11); /* or the next clamp would be none */
    x64_jcc(x, CC_B, c->bounds);
    x64_alu_rr(x, X_CMP, 8, RDX, RCX);
    x64_cmov_rr(x, CC_B, 8, RCX, RDX);
    x64_jcc(x, CC_B, c->bounds);
    return x64_index(emit_base(c, note->region, RDX), RCX, 1, 0);
}

static void emit_load(struct compiler *c, const struct dpf_insn *i)
{
    enum x64_reg d = machine_reg[DPF_INSN_DST(i)];
    uint32_t size = insn_width(i);
    if (c->p->notes[c->pc].region == REGION_TABLE) {
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
        x64_store(&c->x, size, m, source(c, DPF_INSN_SRC(i), R11));
    } else if (i->imm == (int8_t)i->imm) { /* no more beside a displacement */
        x64_store_imm(&c->x, size, m, i->imm);
    } else {
        x64_mov_chosen(&c->x, R11, (uint64_t)(int64_t)i->imm);
        x64_store(&c->x, size, m, R11);
    }
}

/* ----------------------------------------------------- control transfer */

static enum x64_cc condition(uint32_t op)
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

static void emit_compare(struct compiler *c, const struct dpf_insn *i)
{
    struct x64 *x = &c->x;
    uint32_t w = width(i);
    bool test = BPF_OP(i->opcode) == BPF_JSET;
    enum x64_reg d = source(c, DPF_INSN_DST(i), RCX), s = R11;
    if (BPF_SRC(i->opcode) == BPF_X) {
        s = source(c, DPF_INSN_SRC(i), R11);
    } else if (x64_harmless(i->imm)) {
        if (test) {
            x64_test_ri(x, w, d, i->imm);
        } else {
            x64_alu_ri(x, X_CMP, w, d, i->imm);
        }
        return;
    } else {
        x64_mov_chosen(x, R11, (uint64_t)(int64_t)i->imm);
    }
    if (test) {
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
        enum x64_cc cc = condition(BPF_OP(i->opcode));
        emit_compare(c, i);
        if (!back) {
            x64_jcc(x, cc, c->at[to]);
            return;
        }
        next = x64_label_new(x);
        x64_jcc(x, cc ^ 1, next);
    }
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
    enum x64_reg off = machine_reg[1], len = machine_reg[2];
    emit_length(c, region, RDX);
    x64_alu_rr(x, X_SUB, 8, RDX, len);
    x64_jcc(x, CC_B, c->bounds);
    x64_alu_rr(x, X_CMP, 8, RDX, off);
    x64_jcc(x, CC_B, c->bounds);
    x64_alu_rr(x, X_ADD, 8, off, emit_base(c, region, RDX));
}

static void emit_call(struct compiler *c, const struct dpf_insn *i)
{
    struct x64 *x = &c->x;
    const struct helper_sig *sig = helper_find((uint32_t)i->imm, c->p->type);
    if (sig->args[0] == 'p') {
        emit_pointer_arg(c);
    }
    bool more = true;
    for (int32_t a = 0; a < 5; a++) {
        struct x64_mem to = frame_at(FRAME_ARGS + a * 8);
        more = more && sig->args[a] != '\0';
        if (more) {
            x64_store(x, 8, to, machine_reg[a + 1]);
        } else {
            x64_store_imm(x, 8, to, 0);
        }
    }
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
    if (p->type == DPF_FILTER) {
        x64_store(x, 8, frame_at(FRAME_FUEL), RDX);
        x64_mov_rr(x, 8, BASE, RDI);
        x64_mov_rr(x, 4, LENGTH, RSI);
    } else {
        x64_store(x, 8, frame_at(FRAME_FUEL), RSI);
        x64_store(x, 8, frame_at(FRAME_RUN), RDI);
        if (p->type == DPF_UDF) {
            x64_load(x, 8, machine_reg[3],
                     x64_at(RDI, (int32_t)offsetof(struct dpf_run, arg)));
        } else if (p->type == DPF_HANDLER) {
            x64_mov_ri(x, machine_reg[3], 0);
        }
        if (p->type != DPF_PREDICATE) {
            x64_load(x, 8, BASE, x64_at(RDI, region_base(0)));
            x64_load(x, 4, LENGTH, x64_at(RDI, region_len(0)));
            x64_mov_rr(x, 4, machine_reg[2], LENGTH);
        }
    }
    x64_mov_ri(x, machine_reg[1], 0);
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
    x64_label out = x64_label_new(x);
    x64_place(x, c->out_of_fuel);
    x64_mov_ri(x, RDX, DPF_END_FUEL);
    x64_mov_ri(x, RAX, 0);
    x64_jmp(x, out);
    x64_place(x, c->bounds);
    x64_mov_ri(x, RDX, DPF_END_BOUNDS);
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
        x64_mov_chosen(&c->x, machine_reg[DPF_INSN_DST(i)], insn_wide_imm(i));
        return;
    case BPF_LDX:
        emit_load(c, i);
        return;
    case BPF_ST:
    case BPF_STX:
        emit_store(c, i);
        return;
    case BPF_ALU:
    case BPF_ALU64:
        emit_alu(c, i);
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

/* The plain code, from the current place on. */
static void emit_plain(struct compiler *c)
{
    const struct dpf_program *p = c->p;
    struct x64 *x = &c->x;
    c->bounds = x64_label_new(x);
    c->out_of_fuel = x64_label_new(x);
    c->leave = x64_label_new(x);
    for (uint32_t n = 0; n < p->count; n++) {
        if ((p->notes[n].flags & NOTE_TARGET) != 0) {
            c->at[n] = x64_label_new(x);
        }
    }
    emit_start(c);
    for (c->pc = 0; c->pc < p->count; c->pc += insn_len(&p->insns[c->pc])) {
        if ((p->notes[c->pc].flags & NOTE_TARGET) != 0) {
            x64_place(x, c->at[c->pc]);
        }
        emit_insn(c, &p->insns[c->pc]);
    }
    emit_finish(c);
}

#define PASSES 3 /* each knows the distances of the one before */

static bool emit_plain_program(struct compiler *c)
{
    bool ok = true;
    for (int pass = 0; pass < PASSES && ok; pass++) {
        x64_begin(&c->x);
        emit_plain(c);
        ok = x64_finish(&c->x);
    }
    return ok;
}

/*
 * A filter by its decision graph, with the plain code behind it if some
 * packets go there. False: nothing was made, use the plain code alone.
 */
static bool emit_decided(struct compiler *c, struct filter_code *f)
{
    bool ok = true;
    for (int pass = 0; pass < PASSES && ok; pass++) {
        x64_begin(&c->x);
        x64_label plain = x64_label_new(&c->x);
        filter_emit(f, plain);
        if (f->failed) {
            return false;
        }
        if (f->plain_used) {
            x64_place(&c->x, plain);
            emit_plain(c);
        }
        ok = x64_finish(&c->x);
    }
    return ok;
}

static bool emit_filter(struct compiler *c)
{
    struct decision *d = decide(c->p);
    if (d == NULL) {
        return false;
    }
    struct filter_code *f = filter_code_create(&c->x, d);
    bool ok = f != NULL && emit_decided(c, f);
    if (f != NULL) {
        filter_code_destroy(f);
    }
    if (!ok) { /* a new start for the passes */
        x64_close(&c->x);
        x64_open(&c->x, c->p->mem);
    }
    decide_free(d);
    return ok;
}

int native_compile(struct dpf_program *p)
{
    const struct dpf_mem *mem = p->mem;
    struct compiler c = {.p = p};
    if (!codeheap_usable(mem)) {
        return 0;
    }
    size_t labels = p->count * sizeof(c.at[0]);
    c.at = mem->alloc(mem->ctx, labels);
    if (c.at == NULL) {
        return -DPF_E_MEM;
    }
    /* Return address and six pushes: keep rsp a multiple of 16 in calls. */
    c.frame = (FRAME_STACK + p->stack + 8 + 15) / 16 * 16 - 8;
    x64_open(&c.x, mem);
    if (emit_filter(&c) || emit_plain_program(&c)) {
        p->code = codeheap_put(mem, c.x.buf, c.x.len);
        p->code_bytes = p->code != NULL ? c.x.len : 0;
    }
    x64_close(&c.x);
    mem->free(mem->ctx, c.at, labels);
    return p->code != NULL ? 0 : -DPF_E_MEM;
}

void native_free(struct dpf_program *p)
{
    codeheap_free(p->mem, p->code, p->code_bytes);
    p->code = NULL;
}
