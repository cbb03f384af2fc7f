/* SPDX-License-Identifier: MIT */
/* Programs that are easy to write and hard to read. */
#pragma once

#include "dpf/dpf.h"
#include <stdbool.h>
#include <stdint.h>

#define PROG_MAX 4096u
#define PROG_KINDS 7u
#define PROG_PRODUCT 3u /* what no test of a constant says */

/* Opcodes of RFC 9669 by what they do here: register 1 is the packet. */
enum {
    LOAD1 = 0x71,
    LOAD2 = 0x69,
    LOAD8 = 0x79,
    SET = 0xb7,
    COPY = 0xbf,
    ADD = 0x0f,
    MUL = 0x2f,
    XOR = 0xaf,
    AND_IMM = 0x57,
    XOR_IMM = 0xa7,
    JUMP_EQ = 0x15,
    JUMP_GT = 0x25,
    JUMP_SET = 0x45,
    EXIT = 0x95
};

struct prog_kind {
    const char *name;
    void (*step)(void); /* write a few instructions */
};
extern const struct prog_kind prog_kinds[PROG_KINDS + 1];

/* The program, and how many instructions it has. */
extern struct dpf_insn prog[PROG_MAX];
extern uint32_t prog_used;

void prog_seed(uint64_t seed);
void prog_put(uint8_t opcode, uint8_t dst, uint8_t src, uint32_t off,
              uint32_t imm);
/* A program of at most `n` instructions; inside the region of UDP or not. */
void prog_write(unsigned kind, uint32_t n, bool inside);
