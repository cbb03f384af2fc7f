/* SPDX-License-Identifier: MIT */
/*
 * Native code instruction by instruction, for every program that verify.c
 * accepts. It computes what interp.c computes.
 *
 *   r0 rax   r1 rdi   r2 rsi   r3 r8    r4 r9    r5 r10
 *   r6 rbx   r7 rbp   r8 r13   r9 r14   r10 the constant BPF_STACK_SIZE
 *   base of region 0 r12, its length r15; scratch rcx, rdx, r11
 *
 * Registers hold the values of vm/program.h: pointers are offsets.
 */
#pragma once

#include "dpf/vm/program.h"
#include "dpf/x86_64/encode.h"

/* The state of compiling one program. */
struct compiler {
    struct x64 x;
    const struct dpf_program *p;
    uint32_t *at; /* per instruction that is a jump target: its label */
    x64_label bounds, out_of_fuel, leave;
    uint32_t frame; /* bytes below the saved registers */
    uint32_t pc;
};

extern const uint8_t plain_reg[BPF_REG_COUNT - 1];

/* The register that holds r; r10 is put into `tmp`. */
enum x64_reg plain_source(struct compiler *c, uint32_t r, enum x64_reg tmp);

/* Whether the second operand of `i` can stand in an instruction as it is. */
bool plain_immediate(const struct dpf_insn *i);

/* The register with the second operand of `i`: `tmp`, or the source's own. */
enum x64_reg plain_operand(struct compiler *c, const struct dpf_insn *i,
                           enum x64_reg tmp);

/* Width in bytes of an arithmetic instruction or jump. */
uint32_t plain_width(const struct dpf_insn *i);

/* The condition of a jump with operation `op` after a compare or test. */
enum x64_cc plain_condition(uint32_t op);

/* The code of an instruction of class BPF_ALU or BPF_ALU64. */
void plain_alu(struct compiler *c, const struct dpf_insn *i);

/* The code of the whole program, from the current place on. */
void plain_emit(struct compiler *c);
