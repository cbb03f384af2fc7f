/* SPDX-License-Identifier: MIT */
/*
 * The state of verifying one program, between decode.c (its form), transfer.c
 * (what each instruction does to the kinds of values), verify.c (the data
 * flow) and refuse.c (why a program is refused).
 */
#pragma once

#include "dpf/vm/program.h"

enum kind {
    K_REGION0 = 0, /* K_REGION0 + i: pointer into region i */
    K_STACK = REGION_STACK,
    K_TABLE = REGION_TABLE,
    K_SCALAR = 10,
    K_MIXED,     /* of different kinds on different paths */
    K_UNWRITTEN, /* not written on some path */
};

struct value {
    uint8_t kind;    /* enum kind */
    uint8_t written; /* slots: a bit per byte; a pointer has all */
    int16_t off;     /* K_STACK, K_TABLE: constant offset or NOTE_OFF_ANY */
};

#define SLOTS_MAX (BPF_STACK_SIZE / 8)
/* A state: the registers, then stack slots from just below r10 down. */
#define VALUES_MAX (BPF_REG_COUNT + SLOTS_MAX)

struct verifier {
    struct dpf_program *p;
    struct dpf_error *err; /* never NULL */
    const struct dpf_mem *mem;
    uint32_t at;     /* instruction being looked at */
    uint32_t walked; /* instructions looked at so far */
    uint32_t join_count;
    uint32_t slots;   /* stack slots that are tracked */
    uint32_t deepest; /* slots the program touched */
    bool flowing;     /* `now` means something */
    bool zero_stack;
    bool restart;                 /* slots or zero_stack changed: begin anew */
    struct value now[VALUES_MAX]; /* before, then after the instruction */
    uint16_t *join_of;   /* per instruction that is a jump target: its number */
    uint32_t *join_at;   /* per join: its instruction */
    struct value *joins; /* per join: 11 + slots values */
    uint64_t *pending;   /* bit per join */
    uint64_t summary[DPF_INSNS_MAX / 4096]; /* bit per word of pending */
};

static inline bool is_pointer(struct value value)
{
    return value.kind < K_SCALAR;
}

static inline struct value scalar(void)
{
    return (struct value){.kind = K_SCALAR, .written = 0xff};
}

static inline struct value pointer(uint32_t region, int16_t off)
{
    return (struct value){.kind = (uint8_t)region, .written = 0xff, .off = off};
}

/*
 * Every reason for a refusal: its rule as in dpf.7, and the words. In them,
 * # stands for the number that comes with the refusal, $ for the same in
 * hexadecimal, ~ for the same with its sign, and @ for "rN is KIND; " of that
 * register.
 */
#define REASONS(X)                                                             \
    X(WHY_EMPTY, "end", "an empty program; it needs at least an exit")         \
    X(WHY_OPCODE, "opcode", "opcode $ is not an instruction of RFC 9669")      \
    X(WHY_TARGET, "jump", "jumps to #, outside the program")                   \
    X(WHY_RESERVED, "reserved",                                                \
      "a field that this instruction does not use is not zero")                \
    X(WHY_SWAP_WIDTH, "opcode", "a byte swap is over 16, 32 or 64 bits")       \
    X(WHY_FRAME_POINTER, "frame-pointer",                                      \
      "r10 is read-only; copy it to another register first")                   \
    X(WHY_LOCAL_CALL, "call",                                                  \
      "calls a function of the program; declare it static inline "             \
      "with __attribute__((always_inline))")                                   \
    X(WHY_KERNEL_CALL, "call",                                                 \
      "only helpers called by number exist here, no kernel "                   \
      "functions by type id")                                                  \
    X(WHY_LEGACY, "legacy",                                                    \
      "legacy packet access (ld abs/ind); load through r1 and "                \
      "swap bytes instead, or pass classic BPF to dpf compile")                \
    X(WHY_HALF_LDDW, "opcode", "lddw lacks its second half")                   \
    X(WHY_MAP, "map",                                                          \
      "refers to a map or a variable in memory; keep state on "                \
      "the stack or in the bound region instead")                              \
    X(WHY_FRAME_LOAD, "frame-pointer", "r10 is read-only")                     \
    X(WHY_ATOMIC, "atomic",                                                    \
      "atomic operations are not accepted: nothing runs beside "               \
      "the program; use a plain load and store")                               \
    X(WHY_REGISTER, "register", "names a register above r10")                  \
    X(WHY_MIDDLE, "jump", "jumps into the middle of a wide instruction")       \
    X(WHY_HALVED, "pointer-arith",                                             \
      "@only 64-bit add, subtract and copy work on pointers; "                 \
      "make the variable a pointer or a 64-bit integer")                       \
    X(WHY_UNWRITTEN, "unwritten",                                              \
      "@it is read but some path here does not write it")                      \
    X(WHY_MIXED, "mixed",                                                      \
      "@it is a pointer on one path and something else on "                    \
      "another; use two registers")                                            \
    X(WHY_ADD_POINTERS, "pointer-arith", "@two pointers cannot be added")      \
    X(WHY_SUB_REGIONS, "pointer-arith",                                        \
      "@pointers into different regions cannot be subtracted")                 \
    X(WHY_SUB_POINTER, "pointer-arith",                                        \
      "@a pointer cannot be subtracted from a scalar")                         \
    X(WHY_LOAD_SCALAR, "pointer-guess",                                        \
      "@a load goes through a pointer, and an integer is none")                \
    X(WHY_TABLE, "table",                                                      \
      "@the table is read as 8-byte pointers 0 to 7 at constant "              \
      "offsets only")                                                          \
    X(WHY_STORE_SCALAR, "pointer-guess",                                       \
      "@a store goes through a pointer, and an integer is none")               \
    X(WHY_READ_ONLY, "read-only",                                              \
      "@this program type may not write there; copy to the stack "             \
      "and change the copy")                                                   \
    X(WHY_LEAK, "pointer-leak",                                                \
      "@a pointer may be kept only on the stack, whole, at a "                 \
      "constant offset that is a multiple of 8")                               \
    X(WHY_ARG_POINTER, "call", "@the helper wants a pointer to bytes")         \
    X(WHY_COMPARE_SCALAR, "pointer-compare",                                   \
      "@a pointer is never null and its value means nothing; "                 \
      "remove the test, or compare an offset or r2 instead")                   \
    X(WHY_COMPARE_POINTERS, "pointer-compare",                                 \
      "@pointers are compared whole and within one region")                    \
    X(WHY_SPILL_PART, "stack",                                                 \
      "reads part of a pointer kept on the stack; a pointer is "               \
      "read back whole")                                                       \
    X(WHY_STACK_UNWRITTEN, "unwritten",                                        \
      "reads stack bytes that some path here does not write")                  \
    X(WHY_NO_HELPER, "call",                                                   \
      "this program type has no helper of that number; udf has "               \
      "emit (1), handler has reply (2), deliver (3), wake (4)")                \
    X(WHY_NO_END, "end",                                                       \
      "execution runs off the end of the program; end it with "                \
      "exit")                                                                  \
    X(WHY_ARG_SCALAR, "call", "@a scalar is expected")                         \
    X(WHY_RETURN, "pointer-return", "@the result must be a scalar")            \
    X(WHY_STACK, "stack",                                                      \
      "touches the stack at r10~; it is the 512 bytes below r10")

enum why {
#define X(name, rule, text) name,
    REASONS(X)
#undef X
};

/*
 * Refuse the program because of instruction v->at: fills v->err. `n` is what
 * the words of `why` speak of. Always false.
 */
bool refuse(struct verifier *v, enum why why, int64_t n);

/*
 * Check everything that needs no data flow: known opcodes, reserved fields
 * zero, registers in range, jumps that land on instructions. Sets the
 * NOTE_TARGET and NOTE_SECOND flags of p->notes. False: refused.
 */
bool decode_check(struct verifier *v);

/*
 * v->now before instruction `i`, which is at v->at and transfers no control (a
 * call returns), becomes the state after; the proved facts go into its note.
 * False: refused.
 */
bool transfer(struct verifier *v, const struct dpf_insn *i);
/* May conditional jump `i` be taken on v->now? False: refused. */
bool transfer_compare(struct verifier *v, const struct dpf_insn *i);
/* May the program return v->now's r0? False: refused. */
bool transfer_exit(struct verifier *v);
