/* SPDX-License-Identifier: MIT */
/*
 * x86-64 encodings (SDM volume 2), one function per instruction form.
 *
 * Errors are sticky: an emit that cannot be encoded or stored sets x->error
 * and nothing is written from then on; test it once, after x64_finish.
 *
 * Passes. Jumps go to labels. A generator runs the same sequence of calls
 * several times: x64_begin, emit..., x64_finish. In the first pass every
 * forward jump is 4 bytes wide; later passes know where the labels were and
 * use the 1-byte form where the old distance allows it (code only shrinks).
 * Labels and jumps must therefore be made in the same order in every pass.
 */
#pragma once

#include "dpf/dpf.h"

enum x64_reg {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    X64_NONE = 0xff,
};

/* The two-operand group of opcodes 00-3f, by their /digit. */
enum x64_alu { X_ADD, X_OR, X_ADC, X_SBB, X_AND, X_SUB, X_XOR, X_CMP };

/* The shift group, by its /digit. */
enum x64_shift { X_ROL = 0, X_ROR = 1, X_SHL = 4, X_SHR = 5, X_SAR = 7 };

/* Group 3 (f6/f7), by its /digit. */
enum x64_unary { X_NOT = 2, X_NEG = 3, X_MUL = 4, X_DIV = 6, X_IDIV = 7 };

/* Condition codes; cc ^ 1 is the opposite. */
enum x64_cc {
    CC_O,
    CC_NO,
    CC_B,
    CC_AE,
    CC_E,
    CC_NE,
    CC_BE,
    CC_A,
    CC_S,
    CC_NS,
    CC_P,
    CC_NP,
    CC_L,
    CC_GE,
    CC_LE,
    CC_G,
};

/* [base + index * scale + disp]; base or index may be X64_NONE. */
struct x64_mem {
    uint8_t base, index;
    uint8_t scale; /* 1, 2, 4, 8 */
    int32_t disp;
};

struct x64_jump {
    uint32_t end; /* offset of the byte after the displacement */
    uint32_t label;
    uint32_t size; /* of the displacement: 1 or 4 bytes */
};

typedef uint32_t x64_label;

struct x64 {
    const struct dpf_mem *mem;
    uint8_t *buf;
    uint32_t len, cap; /* bytes */
    uint32_t *labels;  /* offset of each label, of this pass or the last */
    uint32_t label_count, label_cap;
    struct x64_jump *jumps;
    uint32_t jump_count, jump_cap;
    uint32_t pass; /* 0 is the first */
    uint32_t key;  /* hides immediates that a program's author chose */
    bool error;    /* sticky: out of memory or not encodable */
};

/* Empty, with a fresh key; buffers come from `mem` as needed. close frees them.
 */
void x64_open(struct x64 *x, const struct dpf_mem *mem);
void x64_close(struct x64 *x);
/* Start the next pass. */
void x64_begin(struct x64 *x);
/* Resolve the jumps. False if x->error. */
bool x64_finish(struct x64 *x);

/* A new label, not yet placed; place puts it here. */
x64_label x64_label_new(struct x64 *x);
void x64_place(struct x64 *x, x64_label l);

static inline struct x64_mem x64_at(enum x64_reg base, int32_t disp)
{
    return (struct x64_mem){
        .base = (uint8_t)base, .index = X64_NONE, .scale = 1, .disp = disp};
}

static inline struct x64_mem x64_index(enum x64_reg base, enum x64_reg index,
                                       uint8_t scale, int32_t disp)
{
    return (struct x64_mem){.base = (uint8_t)base,
                            .index = (uint8_t)index,
                            .scale = scale,
                            .disp = disp};
}

/*
 * Operand widths `w` are 1, 2, 4 or 8 bytes unless noted. Names: rr register
 * to register, rm memory to register, mr register to memory, ri immediate to
 * register, mi immediate to memory. Destination first.
 */
void x64_alu_rr(struct x64 *x, enum x64_alu op, uint32_t w, enum x64_reg d,
                enum x64_reg s);
void x64_alu_rm(struct x64 *x, enum x64_alu op, uint32_t w, enum x64_reg d,
                struct x64_mem m);
void x64_alu_mr(struct x64 *x, enum x64_alu op, uint32_t w, struct x64_mem m,
                enum x64_reg s);
void x64_alu_ri(struct x64 *x, enum x64_alu op, uint32_t w, enum x64_reg d,
                int32_t imm);
void x64_alu_mi(struct x64 *x, enum x64_alu op, uint32_t w, struct x64_mem m,
                int32_t imm);
void x64_test_rr(struct x64 *x, uint32_t w, enum x64_reg a, enum x64_reg b);
void x64_test_ri(struct x64 *x, uint32_t w, enum x64_reg a, int32_t imm);
void x64_test_mi(struct x64 *x, uint32_t w, struct x64_mem m, int32_t imm);

void x64_mov_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s);
/* The shortest form for the constant; flags survive. */
void x64_mov_ri(struct x64 *x, enum x64_reg d, uint64_t imm);
/* Loads: widths below 8 clear the rest of the register. */
void x64_load(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m);
/* Sign-extending load of 1, 2 or 4 bytes into 8. */
void x64_load_signed(struct x64 *x, uint32_t w, enum x64_reg d,
                     struct x64_mem m);
void x64_store(struct x64 *x, uint32_t w, struct x64_mem m, enum x64_reg s);
void x64_store_imm(struct x64 *x, uint32_t w, struct x64_mem m, int32_t imm);
/* Big-endian load, 2, 4 or 8 bytes (needs the MOVBE feature). */
void x64_load_swapped(struct x64 *x, uint32_t w, enum x64_reg d,
                      struct x64_mem m);
void x64_lea(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m);
/* d = address of label l. */
void x64_lea_label(struct x64 *x, enum x64_reg d, x64_label l);

/* Zero (movzx) or sign (movsx) extend the low w = 1, 2 or 4 bytes. */
void x64_zero_extend(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s);
/* Into `to` = 4 or 8 bytes. */
void x64_sign_extend(struct x64 *x, uint32_t to, uint32_t w, enum x64_reg d,
                     enum x64_reg s);

void x64_shift_i(struct x64 *x, enum x64_shift op, uint32_t w, enum x64_reg d,
                 uint8_t count);
/* By cl. */
void x64_shift_cl(struct x64 *x, enum x64_shift op, uint32_t w, enum x64_reg d);
void x64_unary(struct x64 *x, enum x64_unary op, uint32_t w, enum x64_reg d);
/* w = 4 or 8. */
void x64_imul_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s);
void x64_imul_rm(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m);
void x64_imul_rri(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s,
                  int32_t imm);
/*
 * d = the number of the lowest bit in s, which is not 0: processors without
 * BMI1 run it as bsf, to the same end; others run it several times as fast.
 */
void x64_tzcnt_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s);
/* Sign of rax into rdx (eax into edx). */
void x64_cdq(struct x64 *x, uint32_t w);
/* w = 4 or 8; 2 is a rotate by 8, w = 2 leaves the upper bits alone. */
void x64_bswap(struct x64 *x, uint32_t w, enum x64_reg d);
void x64_cmov_rr(struct x64 *x, enum x64_cc cc, uint32_t w, enum x64_reg d,
                 enum x64_reg s);
void x64_cmov_rm(struct x64 *x, enum x64_cc cc, uint32_t w, enum x64_reg d,
                 struct x64_mem m);
/* The low byte only. */
void x64_setcc(struct x64 *x, enum x64_cc cc, enum x64_reg d);
/* Bit `s` of d into the carry. w = 4 or 8. */
void x64_bt_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s);
void x64_bt_ri(struct x64 *x, uint32_t w, enum x64_reg d, uint8_t bit);
/* CRC-32C of w = 1, 2, 4, 8 bytes of s into d (needs SSE4.2's feature bit). */
void x64_crc32_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s);
void x64_crc32_rm(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m);
void x64_prefetch(struct x64 *x, struct x64_mem m);

void x64_push(struct x64 *x, enum x64_reg r);
void x64_pop(struct x64 *x, enum x64_reg r);
void x64_ret(struct x64 *x);
void x64_trap(struct x64 *x); /* int3 */
/* Four bytes of data. */
void x64_data(struct x64 *x, uint32_t v);

void x64_jcc(struct x64 *x, enum x64_cc cc, x64_label l);
void x64_jmp(struct x64 *x, x64_label l);
void x64_jmp_r(struct x64 *x, enum x64_reg r);
void x64_jmp_m(struct x64 *x, struct x64_mem m);
void x64_call_r(struct x64 *x, enum x64_reg r);
void x64_call_m(struct x64 *x, struct x64_mem m);

/*
 * Constants that the author of a program chose. An attacker who can divert
 * execution into the middle of an instruction must not find code there, so no
 * more than two chosen bytes ever stand next to each other: a constant whose
 * encoding would show more is written as two halves of key arithmetic.
 */

/* Does `imm`, as 4 bytes of code, show at most two chosen bytes? */
bool x64_harmless(int64_t imm);
/* d = imm. May change the flags. */
void x64_mov_chosen(struct x64 *x, enum x64_reg d, uint64_t imm);
