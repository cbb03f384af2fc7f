/* SPDX-License-Identifier: MIT */
/*
 * Programs that are easy to write and hard to read: what the tests of bounds
 * bind, made by chance from a seed.
 */
#include "tests/qemu/env/programs.h"

#define BYTES 200 /* of the packet that programs look at */

struct dpf_insn prog[PROG_MAX];
uint32_t prog_used;
static uint64_t state;

void prog_seed(uint64_t seed)
{
    state = seed;
}

static uint32_t random_below(uint32_t n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33) % n;
}

void prog_put(uint8_t opcode, uint8_t dst, uint8_t src, uint32_t off,
              uint32_t imm)
{
    prog[prog_used++] = (struct dpf_insn){opcode, (uint8_t)(src << 4 | dst),
                                          (int16_t)off, (int32_t)imm};
}

static void load(uint8_t opcode, uint8_t to)
{
    prog_put(opcode, to, 1, random_below(BYTES), 0);
}

/* Compares of eight bytes at offsets that overlap. */
static void ladder(void)
{
    load(LOAD8, 4);
    prog_put(random_below(2) ? JUMP_GT : JUMP_EQ, 4, 0, 1,
             random_below(1u << 30) * 2);
    prog_put(XOR_IMM, 0, 0, 0, 1u << random_below(8));
}

/* The answer depends on every byte: each test doubles what can be. */
static void toggle(void)
{
    load(LOAD1, 4);
    prog_put(JUMP_GT, 4, 0, 1, random_below(256));
    prog_put(XOR_IMM, 0, 0, 0, 1u << random_below(31));
}

/* A base computed from a field, as of an IP header, from the base before. */
static void base(void)
{
    prog_put(LOAD1, 4, 6, random_below(16), 0);
    prog_put(AND_IMM, 4, 0, 0, 0x3c);
    prog_put(ADD, 6, 4, 0, 0);
    prog_put(LOAD2, 5, 6, random_below(16), 0);
    prog_put(JUMP_EQ, 5, 0, 1, random_below(65536));
    prog_put(XOR_IMM, 0, 0, 0, 1);
}

/* What no test of a constant says. */
static void product(void)
{
    load(LOAD8, 4);
    load(LOAD1, 5);
    prog_put(MUL, 4, 5, 0, 0);
    prog_put(JUMP_SET, 4, 0, 1, random_below(65536));
    prog_put(XOR, 0, 4, 0, 0);
}

/* Far jumps forward, from bytes that come again and again. */
static void forward(void)
{
    uint32_t left = PROG_MAX - prog_used - 4;
    load(LOAD1, 4);
    prog_put(random_below(2) ? JUMP_GT : JUMP_EQ, 4, 0,
             random_below(left < 60 ? left : 60), random_below(256));
}

/* A run of masks: each byte in a set of its own. */
static void mask(void)
{
    load(LOAD1, 4);
    prog_put(AND_IMM, 4, 0, 0, random_below(256));
    prog_put(JUMP_EQ, 4, 0, 1, random_below(256));
    prog_put(SET, 0, 0, 0, random_below(3));
}

static void anything(void);

const struct prog_kind prog_kinds[PROG_KINDS + 1] = {
    {"ladder", ladder},     {"toggle", toggle},
    {"base", base},         {"product", product},
    {"forward", forward},   {"mask", mask},
    {"anything", anything}, {0}};

static void anything(void)
{
    prog_kinds[random_below(PROG_KINDS - 1)].step();
}

void prog_write(unsigned kind, uint32_t n, bool inside)
{
    prog_used = 0;
    prog_put(SET, 0, 0, 0, 0);
    if (inside) {
        prog_put(LOAD1, 4, 1, 23, 0);
        prog_put(JUMP_EQ, 4, 0, 1, 17);
        prog_put(EXIT, 0, 0, 0, 0);
    }
    prog_put(COPY, 6, 1, 0, 0);
    prog_put(SET, 5, 0, 0, 0);
    while (prog_used + 12 < n) {
        prog_kinds[kind].step();
    }
    /* Jumps that go further than the last step end here. */
    for (uint32_t i = 0; i < prog_used; i++) {
        uint32_t to = prog_used - i - 1;
        if ((prog[i].opcode & 7) == 5 && prog[i].opcode != EXIT &&
            (uint32_t)prog[i].off > to) {
            prog[i].off = (int16_t)to;
        }
    }
    prog_put(EXIT, 0, 0, 0, 0);
}
