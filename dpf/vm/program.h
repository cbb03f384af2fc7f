/* SPDX-License-Identifier: MIT */
/*
 * A verified program, as the rooms of dpf see it.
 *
 * Pointers are offsets. While a program runs, a register that holds a pointer
 * into a region holds the byte offset from the region's start (modulo 2^64);
 * which region it is, the verifier has proved for every instruction that
 * cares and left in that instruction's note. The frame pointer is the offset
 * BPF_STACK_SIZE of the stack region. So no address is ever in reach of a
 * program, comparing two pointers of one region compares offsets, and every
 * value a run computes is the same on every machine and in every engine.
 */
#pragma once

#include "dpf/dpf.h"
#include "dpf/vm/isa.h"

/* Regions 0 to DPF_REGIONS_MAX - 1 are those of struct dpf_run. */
#define REGION_STACK 8u
#define REGION_TABLE 9u /* a predicate's table; read at verification only */
#define REGION_NONE 15u

#define NOTE_OFF_ANY INT16_MIN

#define NOTE_TARGET 0x01u  /* a jump lands here */
#define NOTE_SECOND 0x02u  /* second half of a wide instruction */
#define NOTE_REACHED 0x04u /* used within verify.c only */

/* The verifier's conclusions about one instruction. */
struct insn_note {
    /*
     * Loads and stores: the region accessed. A call: the region of its
     * pointer argument. Else REGION_NONE.
     */
    uint8_t region;
    uint8_t flags; /* NOTE_* */
    /* REGION_STACK: the access's offset from r10, or NOTE_OFF_ANY. */
    int16_t stack_off;
};

struct dpf_program {
    const struct dpf_mem *mem;
    struct dpf_insn *insns;  /* in this allocation */
    struct insn_note *notes; /* one per instruction; in this allocation */
    size_t bytes;            /* size of this allocation */
    void *code;              /* native code in the code heap, or NULL */
    uint32_t code_bytes;
    uint32_t count;  /* instructions */
    uint32_t stack;  /* bytes below r10 that may be touched; multiple of 8 */
    uint8_t type;    /* enum dpf_type */
    bool zero_stack; /* reads at computed offsets: the stack starts as zeros */
    bool has_loop;   /* some jump goes backwards */
    bool has_call;   /* a helper is called */
};

/*
 * The helpers that each program type may call. args: one character per
 * argument from r1 on.
 */
struct helper_sig {
    uint8_t number; /* enum dpf_helper */
    uint8_t type;   /* enum dpf_type */
    const char *name;
    const char *args; /* 's' scalar, 'p' pointer, 'n' length of that pointer */
};

/* The helper `number` of program type `type`, or NULL. */
const struct helper_sig *helper_find(uint32_t number, uint8_t type);

/* How far the instruction at `i` is from the next: 2 for LDDW, else 1. */
static inline uint32_t insn_len(const struct dpf_insn *i)
{
    return i->opcode == (BPF_LD | BPF_IMM | BPF_DW) ? 2 : 1;
}

/* Width in bytes of a load or store. */
static inline uint32_t insn_width(const struct dpf_insn *i)
{
    switch (BPF_SIZE(i->opcode)) {
    case BPF_B:
        return 1;
    case BPF_H:
        return 2;
    case BPF_W:
        return 4;
    default:
        return 8;
    }
}

static inline bool insn_is_jump(const struct dpf_insn *i)
{
    uint32_t class = BPF_CLASS(i->opcode), op = BPF_OP(i->opcode);
    return (class == BPF_JMP && op != BPF_CALL && op != BPF_EXIT) ||
           class == BPF_JMP32;
}

/* A jump's distance from the instruction after it. */
static inline int64_t insn_jump(const struct dpf_insn *i)
{
    return i->opcode == (BPF_JMP32 | BPF_JA) ? i->imm : i->off;
}

/*
 * The registers that it reads, a bit for each; *writes: the one it sets. A
 * call reads those of all arguments that a helper may have.
 */
uint32_t insn_regs(const struct dpf_insn *i, uint32_t *writes);

/*
 * The meaning of arithmetic (RFC 9669 s4.1, s4.2) and of conditional jumps
 * (s4.3), for the interpreter and for the compilers, which fold constants.
 * `src` is the source register's value or the sign-extended immediate
 * (insn_operand).
 */
uint64_t insn_alu(const struct dpf_insn *i, uint64_t dst, uint64_t src);
bool insn_test(const struct dpf_insn *i, uint64_t dst, uint64_t src);

/* The second operand of arithmetic and jumps, given the register file. */
static inline uint64_t insn_operand(const struct dpf_insn *i,
                                    const uint64_t *reg)
{
    return BPF_SRC(i->opcode) == BPF_X ? reg[DPF_INSN_SRC(i)]
                                       : (uint64_t)(int64_t)i->imm;
}

/* The constant of an LDDW at `i`. */
static inline uint64_t insn_wide_imm(const struct dpf_insn *i)
{
    return (uint32_t)i[0].imm | (uint64_t)(uint32_t)i[1].imm << 32;
}

/*
 * Verify the program in insns[0..count) of type `type`.
 *
 * insns  private copy, which no other code writes
 * out    on success: count, stack, zero_stack, has_loop, has_call are set,
 *        insns holds the reachable instructions only, notes matches them
 *
 * Returns 0, -DPF_E_VERIFY (err says why), -DPF_E_MEM.
 */
int verify(const struct dpf_mem *mem, struct dpf_program *out,
           struct dpf_error *err);

/*
 * Step `n` of a loop over instructions: a breath (dpf.h) every BREATH_LONG
 * steps, or every BREATH_SHORT where each may be hundreds of instructions.
 */
#define BREATH_SHORT 32u
#define BREATH_LONG 256u
static inline void program_breathe(const struct dpf_mem *mem, uint32_t n,
                                   uint32_t every)
{
    if (n % every == every - 1 && mem->breathe != NULL) {
        mem->breathe(mem->ctx);
    }
}
