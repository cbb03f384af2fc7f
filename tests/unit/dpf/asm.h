/* SPDX-License-Identifier: MIT */
/*
 * Instructions written in C, for tests of dpf.
 */
#pragma once

#include "dpf/dpf.h"
#include "dpf/vm/isa.h"

#define INSN(op, d, s, o, i)                                                   \
    (struct dpf_insn)                                                          \
    {                                                                          \
        .opcode = (uint8_t)(op), .regs = (uint8_t)((d) | (s) << 4),            \
        .off = (int16_t)(o), .imm = (int32_t)(i)                               \
    }

#define ALU64_K(op, d, i) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ALU64_X(op, d, s) INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define ALU32_K(op, d, i) INSN(BPF_ALU | (op) | BPF_K, d, 0, 0, i)
#define ALU32_X(op, d, s) INSN(BPF_ALU | (op) | BPF_X, d, s, 0, 0)
#define MOV_K(d, i) ALU64_K(BPF_MOV, d, i)
#define MOV_X(d, s) ALU64_X(BPF_MOV, d, s)
#define TO_BE(d, bits) INSN(BPF_ALU | BPF_END | BPF_X, d, 0, 0, bits)
#define TO_LE(d, bits) INSN(BPF_ALU | BPF_END | BPF_K, d, 0, 0, bits)
#define SWAP(d, bits) INSN(BPF_ALU64 | BPF_END, d, 0, 0, bits)

#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define LOADSX(size, d, s, o) INSN(BPF_LDX | BPF_MEMSX | (size), d, s, o, 0)
#define STORE(size, d, o, s) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define STORE_K(size, d, o, i) INSN(BPF_ST | BPF_MEM | (size), d, 0, o, i)
#define LDDW(d, v)                                                             \
    INSN(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (uint64_t)(v)&UINT32_MAX),        \
        INSN(0, 0, 0, 0, (uint64_t)(v) >> 32)

#define JUMP_K(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define JUMP_X(op, d, s, o) INSN(BPF_JMP | (op) | BPF_X, d, s, o, 0)
#define JUMP32_K(op, d, i, o) INSN(BPF_JMP32 | (op) | BPF_K, d, 0, o, i)
#define JUMP32_X(op, d, s, o) INSN(BPF_JMP32 | (op) | BPF_X, d, s, o, 0)
#define GOTO(o) INSN(BPF_JMP | BPF_JA, 0, 0, o, 0)
#define GOTO_FAR(o) INSN(BPF_JMP32 | BPF_JA, 0, 0, 0, o)
#define CALL(n) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, n)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
