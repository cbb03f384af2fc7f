/* SPDX-License-Identifier: MIT */
/*
 * The instruction encoding of RFC 9669, as numbers. Nothing here decides what
 * is allowed; verify.c does. Section numbers are those of the RFC.
 */
#pragma once

/* Instruction classes, opcode bits 0-2 (s3, table 2). */
#define BPF_CLASS(op) ((op)&0x07)
#define BPF_LD 0x00
#define BPF_LDX 0x01
#define BPF_ST 0x02
#define BPF_STX 0x03
#define BPF_ALU 0x04
#define BPF_JMP 0x05
#define BPF_JMP32 0x06
#define BPF_ALU64 0x07

/* Source bit of arithmetic and jumps, bit 3 (s4). */
#define BPF_K 0x00
#define BPF_X 0x08
#define BPF_SRC(op) ((op)&0x08)

/* Operation, bits 4-7 (s4.1, table 4). */
#define BPF_OP(op) ((op)&0xf0)
#define BPF_ADD 0x00
#define BPF_SUB 0x10
#define BPF_MUL 0x20
#define BPF_DIV 0x30 /* offset 1: signed */
#define BPF_OR 0x40
#define BPF_AND 0x50
#define BPF_LSH 0x60
#define BPF_RSH 0x70
#define BPF_NEG 0x80
#define BPF_MOD 0x90 /* offset 1: signed */
#define BPF_XOR 0xa0
#define BPF_MOV 0xb0 /* offset 8, 16, 32: sign extending */
#define BPF_ARSH 0xc0
#define BPF_END 0xd0

/* Jumps (s4.3, table 6). */
#define BPF_JA 0x00
#define BPF_JEQ 0x10
#define BPF_JGT 0x20
#define BPF_JGE 0x30
#define BPF_JSET 0x40
#define BPF_JNE 0x50
#define BPF_JSGT 0x60
#define BPF_JSGE 0x70
#define BPF_CALL 0x80
#define BPF_EXIT 0x90
#define BPF_JLT 0xa0
#define BPF_JLE 0xb0
#define BPF_JSLT 0xc0
#define BPF_JSLE 0xd0

/* Loads and stores: width, bits 3-4, and mode, bits 5-7 (s5). */
#define BPF_SIZE(op) ((op)&0x18)
#define BPF_W 0x00
#define BPF_H 0x08
#define BPF_B 0x10
#define BPF_DW 0x18
#define BPF_MODE(op) ((op)&0xe0)
#define BPF_IMM 0x00
#define BPF_ABS 0x20 /* legacy packet access: refused */
#define BPF_IND 0x40 /* legacy packet access: refused */
#define BPF_MEM 0x60
#define BPF_MEMSX 0x80
#define BPF_ATOMIC 0xc0 /* refused */

#define BPF_REG_COUNT 11
#define BPF_REG_FP 10       /* read-only frame pointer (s2) */
#define BPF_STACK_SIZE 512u /* bytes below r10 */
