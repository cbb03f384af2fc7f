/* SPDX-License-Identifier: MIT */
/*
 * The meaning of every instruction, in the interpreter and in native code:
 * expected values are written down from RFC 9669, not computed.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/dpf.h"
#include "dpf/host/mem.h"
#include "tests/unit/dpf/asm.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dpf_mem mem;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
}

static void teardown(void)
{
    dpf_host_mem_finish(&mem);
}

static struct dpf_program *make(enum dpf_type type, const struct dpf_insn *code,
                                size_t count)
{
    struct dpf_error err;
    struct dpf_program *p = NULL;
    int rc =
        dpf_program_create(&mem, type | DPF_COMPILE, code, count, &p, &err);
    ck_assert_msg(rc == 0, "%s: %s", err.rule, err.text);
    size_t size;
    ck_assert_ptr_nonnull(dpf_program_code(p, &size));
    return p;
}

/* Run in both engines with private copies of the regions; demand one answer. */
static struct dpf_result both(const struct dpf_program *p, struct dpf_run *run)
{
    struct dpf_run again = *run;
    void *copy[DPF_REGIONS_MAX] = {0};
    for (uint32_t n = 0; n < run->region_count; n++) {
        uint32_t len = run->regions[n].len;
        copy[n] = malloc(len + 1);
        ck_assert_ptr_nonnull(copy[n]);
        if (len != 0) {
            memcpy(copy[n], run->regions[n].base, len);
        }
        again.regions[n].base = copy[n];
    }
    struct dpf_result a = dpf_program_interp(p, run);
    struct dpf_result b = dpf_program_run(p, &again);
    ck_assert_uint_eq(a.r0, b.r0);
    if (dpf_program_type(p) != DPF_FILTER) {
        ck_assert_uint_eq(a.end, b.end);
    }
    for (uint32_t n = 0; n < run->region_count; n++) {
        if (run->regions[n].len != 0 && copy[n] != NULL) {
            ck_assert_mem_eq(copy[n], run->regions[n].base,
                             run->regions[n].len);
        }
        free(copy[n]);
    }
    return a;
}

static struct dpf_result on_memory(enum dpf_type type,
                                   const struct dpf_insn *code, size_t count,
                                   void *memory, uint32_t len)
{
    struct dpf_program *p = make(type, code, count);
    struct dpf_run run = {.regions = {{memory, len}}, .region_count = 1};
    struct dpf_result r = both(p, &run);
    dpf_program_destroy(p);
    return r;
}

#define MIN64 UINT64_C(0x8000000000000000)
#define A UINT64_C(0x123456789abcdef0)

struct alu_case {
    struct dpf_insn insn; /* on r3, with r4 */
    uint64_t dst, src, want;
};

static const struct alu_case alu_cases[] = {
    {ALU64_X(BPF_ADD, 3, 4), A, 0x11, 0x123456789abcdf01},
    {ALU64_K(BPF_ADD, 3, -1), 0, 0, UINT64_MAX},
    {ALU64_K(BPF_ADD, 3, 0x7fffffff), 1, 0, 0x80000000},
    {ALU32_X(BPF_ADD, 3, 4), 0xffffffff, 1, 0},
    {ALU32_K(BPF_ADD, 3, -1), A, 0, 0x9abcdeef},
    {ALU64_X(BPF_SUB, 3, 4), 0, 1, UINT64_MAX},
    {ALU64_K(BPF_SUB, 3, 0x12345678), 0, 0, 0xffffffffedcba988},
    {ALU32_X(BPF_SUB, 3, 4), 0, 1, 0xffffffff},
    {ALU32_K(BPF_SUB, 3, -1), 5, 0, 6},
    {ALU64_X(BPF_MUL, 3, 4), 0x100000000, 0x100000001, 0x100000000},
    {ALU64_K(BPF_MUL, 3, -3), 7, 0, (uint64_t)-21},
    {ALU64_K(BPF_MUL, 3, 0x12345678), 16, 0, 0x123456780},
    {ALU32_X(BPF_MUL, 3, 4), 0x10001, 0x10001, 0x20001},
    {ALU32_K(BPF_MUL, 3, -1), 1, 0, 0xffffffff},
    {ALU32_K(BPF_MUL, 3, 0x76543210), 0x10, 0, 0x65432100},
    {ALU64_X(BPF_DIV, 3, 4), UINT64_MAX, 10, 1844674407370955161},
    {ALU64_X(BPF_DIV, 3, 4), A, 0, 0},
    {ALU64_K(BPF_DIV, 3, 0), A, 0, 0},
    {ALU64_K(BPF_DIV, 3, -1), UINT64_MAX, 0, 1},
    {ALU64_K(BPF_DIV, 3, -1), UINT64_MAX - 1, 0, 0},
    {ALU32_X(BPF_DIV, 3, 4), A, 16, 0x9abcdef},
    {ALU32_X(BPF_DIV, 3, 4), A, 0x100000000, 0},
    {ALU32_K(BPF_DIV, 3, -2), 0xfffffffd, 0, 0},
    {INSN(BPF_ALU64 | BPF_DIV | BPF_X, 3, 4, 1, 0), (uint64_t)-7, 2,
     (uint64_t)-3},
    {INSN(BPF_ALU64 | BPF_DIV | BPF_X, 3, 4, 1, 0), MIN64, UINT64_MAX, MIN64},
    {INSN(BPF_ALU64 | BPF_DIV | BPF_X, 3, 4, 1, 0), MIN64, 0, 0},
    {INSN(BPF_ALU64 | BPF_DIV, 3, 0, 1, -2), 9, 0, (uint64_t)-4},
    {INSN(BPF_ALU | BPF_DIV | BPF_X, 3, 4, 1, 0), 0x80000000, 0xffffffff,
     0x80000000},
    {INSN(BPF_ALU | BPF_DIV, 3, 0, 1, -13), 0xffffffd6, 0, 3},
    {INSN(BPF_ALU | BPF_DIV, 3, 0, 1, 7), 0xffffffd6, 0, 0xfffffffa},
    {ALU64_X(BPF_MOD, 3, 4), A, 0, A},
    {ALU64_X(BPF_MOD, 3, 4), A, 1000, 320},
    {ALU64_K(BPF_MOD, 3, 0), A, 0, A},
    {ALU32_X(BPF_MOD, 3, 4), A, 0, 0x9abcdef0},
    {ALU32_X(BPF_MOD, 3, 4), A, 0x1000, 0xef0},
    {ALU32_K(BPF_MOD, 3, -1), 0xfffffffe, 0, 0xfffffffe},
    {INSN(BPF_ALU64 | BPF_MOD | BPF_X, 3, 4, 1, 0), (uint64_t)-7, 2,
     (uint64_t)-1},
    {INSN(BPF_ALU64 | BPF_MOD | BPF_X, 3, 4, 1, 0), MIN64, UINT64_MAX, 0},
    {INSN(BPF_ALU64 | BPF_MOD | BPF_X, 3, 4, 1, 0), (uint64_t)-7, 0,
     (uint64_t)-7},
    {INSN(BPF_ALU | BPF_MOD | BPF_X, 3, 4, 1, 0), 0x80000000, 0xffffffff, 0},
    {INSN(BPF_ALU | BPF_MOD, 3, 0, 1, 5), 0xffffffd5, 0, 0xfffffffd},
    {ALU64_X(BPF_OR, 3, 4), 0xf0, 0x0f, 0xff},
    {ALU64_K(BPF_OR, 3, -256), 1, 0, 0xffffffffffffff01},
    {ALU32_K(BPF_OR, 3, -256), 1, 0, 0xffffff01},
    {ALU64_X(BPF_AND, 3, 4), A, 0xff00, 0xde00},
    {ALU64_K(BPF_AND, 3, -16), A, 0, A},
    {ALU32_K(BPF_AND, 3, 0x7fffffff), A, 0, 0x1abcdef0},
    {ALU64_X(BPF_LSH, 3, 4), 1, 63, MIN64},
    {ALU64_X(BPF_LSH, 3, 4), 1, 64, 1},
    {ALU64_K(BPF_LSH, 3, 4), A, 0, 0x23456789abcdef00},
    {ALU32_X(BPF_LSH, 3, 4), 1, 33, 2},
    {ALU32_K(BPF_LSH, 3, 0), A, 0, 0x9abcdef0},
    {ALU64_X(BPF_RSH, 3, 4), MIN64, 63, 1},
    {ALU64_K(BPF_RSH, 3, 32), A, 0, 0x12345678},
    {ALU32_X(BPF_RSH, 3, 4), 0x80000000, 31, 1},
    {ALU32_K(BPF_RSH, 3, 0), A, 0, 0x9abcdef0},
    {ALU64_X(BPF_ARSH, 3, 4), MIN64, 63, UINT64_MAX},
    {ALU64_K(BPF_ARSH, 3, 4), MIN64, 0, 0xf800000000000000},
    {ALU32_X(BPF_ARSH, 3, 4), 0x80000000, 31, 0xffffffff},
    {ALU32_K(BPF_ARSH, 3, 8), A, 0, 0xff9abcde},
    {INSN(BPF_ALU64 | BPF_NEG, 3, 0, 0, 0), 1, 0, UINT64_MAX},
    {INSN(BPF_ALU | BPF_NEG, 3, 0, 0, 0), 1, 0, 0xffffffff},
    {ALU64_X(BPF_XOR, 3, 4), A, A, 0},
    {ALU64_K(BPF_XOR, 3, -1), A, 0, ~A},
    {ALU32_K(BPF_XOR, 3, -1), A, 0, 0x6543210f},
    {MOV_X(3, 4), 0, A, A},
    {MOV_K(3, -2), 0, 0, (uint64_t)-2},
    {MOV_K(3, 0x12345678), 0, 0, 0x12345678},
    {ALU32_X(BPF_MOV, 3, 4), 0, A, 0x9abcdef0},
    {ALU32_X(BPF_MOV, 3, 3), A, 0, 0x9abcdef0},
    {ALU32_K(BPF_MOV, 3, -2), A, 0, 0xfffffffe},
    {INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 4, 8, 0), 0, A, (uint64_t)-16},
    {INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 4, 16, 0), 0, A, 0xffffffffffffdef0},
    {INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 4, 32, 0), 0, A, 0xffffffff9abcdef0},
    {INSN(BPF_ALU | BPF_MOV | BPF_X, 3, 4, 8, 0), 0, A, 0xfffffff0},
    {INSN(BPF_ALU | BPF_MOV | BPF_X, 3, 4, 16, 0), 0, A, 0xffffdef0},
    {TO_BE(3, 16), A, 0, 0xf0de},
    {TO_BE(3, 32), A, 0, 0xf0debc9a},
    {TO_BE(3, 64), A, 0, 0xf0debc9a78563412},
    {TO_LE(3, 16), A, 0, 0xdef0},
    {TO_LE(3, 32), A, 0, 0x9abcdef0},
    {TO_LE(3, 64), A, 0, A},
    {SWAP(3, 16), A, 0, 0xf0de},
    {SWAP(3, 32), A, 0, 0xf0debc9a},
    {SWAP(3, 64), A, 0, 0xf0debc9a78563412},
};

/* `insn` moved from r3, r4 to registers d, s. */
static struct dpf_insn rename_regs(struct dpf_insn insn, unsigned d, unsigned s)
{
    bool x = DPF_INSN_SRC(&insn) == 4, same = DPF_INSN_SRC(&insn) == 3;
    insn.regs = (uint8_t)(d | (x ? s : same ? d : 0) << 4);
    return insn;
}

static void check_alu(const struct alu_case *c)
{
    unsigned index = (unsigned)(c - alu_cases);
    for (unsigned d = 0; d < 10; d++) {
        for (unsigned s = 0; s < 10; s++) {
            /* r0 is special in native code; of the others some pairs do. */
            if (d == s || (d != 0 && s != 0 && (d + s + index) % 4)) {
                continue;
            }
            const struct dpf_insn code[] = {
                LDDW(d, c->dst), LDDW(s, c->src), rename_regs(c->insn, d, s),
                MOV_X(0, d),     EXIT(),
            };
            struct dpf_result r =
                on_memory(DPF_RAW, code, COUNT(code), NULL, 0);
            ck_assert_msg(r.end == DPF_END_EXIT && r.r0 == c->want,
                          "case %u, r%u, r%u: %#llx, not %#llx", index, d, s,
                          (unsigned long long)r.r0,
                          (unsigned long long)c->want);
        }
    }
}

START_TEST(test_alu)
{
    for (size_t n = 0; n < COUNT(alu_cases); n++) {
        check_alu(&alu_cases[n]);
    }
}
END_TEST

struct jump_case {
    struct dpf_insn insn; /* jumps over one instruction */
    uint64_t dst, src;
    bool taken;
};

#define HIGH UINT64_C(0x100000000)

static const struct jump_case jump_cases[] = {
    {JUMP_X(BPF_JEQ, 3, 4, 1), A, A, true},
    {JUMP_X(BPF_JEQ, 3, 4, 1), A, A + HIGH, false},
    {JUMP_K(BPF_JEQ, 3, -1, 1), UINT64_MAX, 0, true},
    {JUMP_K(BPF_JEQ, 3, -1, 1), UINT32_MAX, 0, false},
    {JUMP32_K(BPF_JEQ, 3, -1, 1), UINT32_MAX, 0, true},
    {JUMP32_X(BPF_JEQ, 3, 4, 1), A, A + HIGH, true},
    {JUMP_K(BPF_JNE, 3, 0x12345678, 1), 0x12345678, 0, false},
    {JUMP_X(BPF_JNE, 3, 4, 1), 1, 2, true},
    {JUMP32_K(BPF_JNE, 3, 5, 1), HIGH + 5, 0, false},
    {JUMP_X(BPF_JGT, 3, 4, 1), 2, 2, false},
    {JUMP_X(BPF_JGT, 3, 4, 1), UINT64_MAX, 0, true},
    {JUMP_K(BPF_JGT, 3, -2, 1), UINT64_MAX, 0, true},
    {JUMP32_K(BPF_JGT, 3, 7, 1), HIGH, 0, false},
    {JUMP_X(BPF_JGE, 3, 4, 1), 2, 2, true},
    {JUMP32_X(BPF_JGE, 3, 4, 1), 1, 2, false},
    {JUMP_X(BPF_JLT, 3, 4, 1), 2, 2, false},
    {JUMP_X(BPF_JLT, 3, 4, 1), 1, UINT64_MAX, true},
    {JUMP_X(BPF_JLE, 3, 4, 1), 2, 2, true},
    {JUMP32_K(BPF_JLE, 3, 2, 1), 3, 0, false},
    {JUMP_X(BPF_JSGT, 3, 4, 1), 0, UINT64_MAX, true},
    {JUMP_X(BPF_JSGT, 3, 4, 1), MIN64, 0, false},
    {JUMP32_K(BPF_JSGT, 3, -2, 1), UINT32_MAX, 0, true},
    {JUMP_K(BPF_JSGE, 3, -1, 1), UINT64_MAX, 0, true},
    {JUMP32_X(BPF_JSGE, 3, 4, 1), UINT32_MAX, 0, false},
    {JUMP_X(BPF_JSLT, 3, 4, 1), UINT64_MAX, 0, true},
    {JUMP32_X(BPF_JSLT, 3, 4, 1), 0, UINT32_MAX, false},
    {JUMP_K(BPF_JSLE, 3, 0, 1), 0, 0, true},
    {JUMP32_K(BPF_JSLE, 3, 0, 1), HIGH + 1, 0, false},
    {JUMP_X(BPF_JSET, 3, 4, 1), 6, 4, true},
    {JUMP_X(BPF_JSET, 3, 4, 1), 6, 8, false},
    {JUMP_K(BPF_JSET, 3, -16, 1), MIN64, 0, true},
    {JUMP32_K(BPF_JSET, 3, -16, 1), HIGH, 0, false},
    {JUMP32_K(BPF_JSET, 3, 0x12345678, 1), 8, 0, true},
    {GOTO(1), 0, 0, true},
    {GOTO_FAR(1), 0, 0, true},
};

static void check_jump(const struct jump_case *c)
{
    const struct dpf_insn code[] = {
        LDDW(3, c->dst), LDDW(4, c->src), MOV_K(0, 1),
        c->insn,         MOV_K(0, 0),     EXIT(),
    };
    struct dpf_result r = on_memory(DPF_RAW, code, COUNT(code), NULL, 0);
    ck_assert_msg(r.r0 == c->taken, "case %u", (unsigned)(c - jump_cases));
}

START_TEST(test_jump)
{
    for (size_t n = 0; n < COUNT(jump_cases); n++) {
        check_jump(&jump_cases[n]);
    }
}
END_TEST

/*
 * Paths that meet with one constant each, which a jump with two registers then
 * tells apart. BPF_JSLE has the number of BPF_END, whose operand is one.
 */
START_TEST(test_paths_meet)
{
    static const uint8_t ops[] = {BPF_JEQ, BPF_JGT,  BPF_JGE,  BPF_JSET,
                                  BPF_JNE, BPF_JSGT, BPF_JSGE, BPF_JLT,
                                  BPF_JLE, BPF_JSLT, BPF_JSLE};
    const int c = _i % 3 + 2;
    const uint32_t op = ops[_i / 6] | (_i % 2 ? BPF_JMP : BPF_JMP32) | BPF_X;
    const struct dpf_insn code[] = {
        LOAD(BPF_B, 7, 1, 0), MOV_K(9, 5),
        MOV_K(0, c),          JUMP_K(BPF_JSLE, 7, 205, 1),
        MOV_K(9, 2),          INSN(op, 0, 9, 1, 0),
        MOV_K(0, 7),          EXIT()};
    for (int first = 0; first < 256; first += 255) {
        uint8_t packet = (uint8_t)first;
        (void)on_memory(DPF_FILTER, code, COUNT(code), &packet, 1);
    }
}
END_TEST

START_TEST(test_memory_widths)
{
    uint8_t bytes[16] = {0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7};
    const struct {
        struct dpf_insn insn;
        uint64_t want;
    } cases[] = {
        {LOAD(BPF_B, 0, 1, 1), 0x91},
        {LOAD(BPF_H, 0, 1, 1), 0xa291},
        {LOAD(BPF_W, 0, 1, 1), 0xc4b3a291},
        {LOAD(BPF_DW, 0, 1, 0), 0xf7e6d5c4b3a29180},
        {LOADSX(BPF_B, 0, 1, 1), 0xffffffffffffff91},
        {LOADSX(BPF_H, 0, 1, 1), 0xffffffffffffa291},
        {LOADSX(BPF_W, 0, 1, 1), 0xffffffffc4b3a291},
    };
    for (size_t n = 0; n < COUNT(cases); n++) {
        const struct dpf_insn code[] = {cases[n].insn, EXIT()};
        struct dpf_result r =
            on_memory(DPF_RAW, code, COUNT(code), bytes, sizeof(bytes));
        ck_assert_uint_eq(r.r0, cases[n].want);
    }
}
END_TEST

START_TEST(test_memory_stores)
{
    const struct dpf_insn code[] = {
        LDDW(3, A),
        STORE(BPF_B, 1, 0, 3),
        STORE(BPF_H, 1, 2, 3),
        STORE(BPF_W, 1, 4, 3),
        STORE(BPF_DW, 1, 8, 3),
        STORE_K(BPF_B, 1, 16, 0x1ff),
        STORE_K(BPF_H, 1, 18, -2),
        STORE_K(BPF_W, 1, 20, 0x12345678),
        STORE_K(BPF_DW, 1, 24, -3),
        MOV_K(0, 0),
        EXIT(),
    };
    uint8_t got[32] = {0};
    const uint8_t want[32] = {0xf0, 0,    0xf0, 0xde, 0xf0, 0xde, 0xbc, 0x9a,
                              0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12,
                              0xff, 0,    0xfe, 0xff, 0x78, 0x56, 0x34, 0x12,
                              0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    on_memory(DPF_RAW, code, COUNT(code), got, sizeof(got));
    ck_assert_mem_eq(got, want, sizeof(want));
}
END_TEST

/* Every width at every offset around both ends of a region. */
START_TEST(test_bounds)
{
    static const uint32_t sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    uint8_t bytes[24] = {0};
    for (uint32_t len = 0; len <= 20; len++) {
        for (uint32_t s = 0; s < 4; s++) {
            for (int off = -9; off <= 22; off++) {
                const struct dpf_insn code[] = {
                    MOV_K(0, 7),
                    MOV_K(4, off),
                    ALU64_X(BPF_ADD, 4, 1),
                    LOAD(sizes[s], 3, (off & 1) ? 1 : 4, (off & 1) ? off : 0),
                    EXIT(),
                };
                uint32_t width = (uint32_t[]){1, 2, 4, 8}[s];
                bool in = off >= 0 && (uint32_t)off + width <= len;
                struct dpf_result r =
                    on_memory(DPF_RAW, code, COUNT(code), bytes, len);
                ck_assert_int_eq(r.end, in ? DPF_END_EXIT : DPF_END_BOUNDS);
                ck_assert_uint_eq(r.r0, in ? 7 : 0);
            }
        }
    }
}
END_TEST

START_TEST(test_wrapping_offset)
{
    /* base + 2^64 - 4 + 8: the sum is inside, the parts are not. */
    const struct dpf_insn code[] = {
        MOV_K(3, -4),
        ALU64_X(BPF_ADD, 3, 1),
        LOAD(BPF_B, 0, 3, 8),
        LOAD(BPF_DW, 4, 3, 0),
        EXIT(),
    };
    uint8_t bytes[64] = {[4] = 9};
    struct dpf_result r =
        on_memory(DPF_RAW, code, COUNT(code), bytes, sizeof(bytes));
    ck_assert_int_eq(r.end, DPF_END_BOUNDS);
    const struct dpf_insn good[] = {code[0], code[1], code[2], EXIT()};
    r = on_memory(DPF_RAW, good, COUNT(good), bytes, sizeof(bytes));
    ck_assert_uint_eq(r.r0, 9);
}
END_TEST

START_TEST(test_stack)
{
    const struct dpf_insn code[] = {
        /* a pointer is kept and used again; offsets are constants */
        STORE(BPF_DW, 10, -512, 1), LDDW(3, A),
        STORE(BPF_DW, 10, -8, 3),   MOV_X(4, 10),
        ALU64_K(BPF_ADD, 4, -6),    LOAD(BPF_H, 0, 4, 0),
        LOAD(BPF_DW, 5, 10, -512),  LOAD(BPF_B, 5, 5, 1),
        ALU64_X(BPF_ADD, 0, 5),     EXIT(),
    };
    uint8_t bytes[2] = {0, 1};
    struct dpf_result r =
        on_memory(DPF_RAW, code, COUNT(code), bytes, sizeof(bytes));
    ck_assert_uint_eq(r.r0, 0x9abd);
}
END_TEST

START_TEST(test_stack_computed)
{
    /* conformance test "stack": an offset that depends on data */
    const struct dpf_insn code[] = {
        MOV_K(1, 51),
        STORE_K(BPF_DW, 10, -16, 0xab),
        STORE_K(BPF_DW, 10, -8, 0xcd),
        ALU64_K(BPF_AND, 1, 1),
        ALU64_K(BPF_LSH, 1, 3),
        MOV_X(2, 10),
        ALU64_X(BPF_ADD, 2, 1),
        LOAD(BPF_DW, 0, 2, -16),
        EXIT(),
    };
    ck_assert_uint_eq(on_memory(DPF_RAW, code, COUNT(code), NULL, 0).r0, 0xcd);
    for (int off = -520; off <= 8; off++) {
        const struct dpf_insn load[] = {
            MOV_K(3, off),         ALU64_X(BPF_ADD, 3, 10),
            LOAD(BPF_W, 0, 3, 0),  STORE(BPF_W, 3, 0, 0),
            ALU64_K(BPF_OR, 0, 1), EXIT(),
        };
        struct dpf_result r = on_memory(DPF_RAW, load, COUNT(load), NULL, 0);
        bool in = off >= -512 && off <= -4;
        ck_assert_int_eq(r.end, in ? DPF_END_EXIT : DPF_END_BOUNDS);
    }
}
END_TEST

START_TEST(test_fuel)
{
    const struct dpf_insn code[] = {
        MOV_K(0, 0),
        ALU64_K(BPF_ADD, 0, 1),
        JUMP_K(BPF_JNE, 0, 100, -2), /* taken 99 times */
        GOTO(0),
        EXIT(),
    };
    struct dpf_program *p = make(DPF_RAW, code, COUNT(code));
    for (uint32_t fuel = 95; fuel < 105; fuel++) {
        struct dpf_run run = {.fuel = fuel};
        struct dpf_result r = both(p, &run);
        ck_assert_int_eq(r.end, fuel < 99 ? DPF_END_FUEL : DPF_END_EXIT);
        ck_assert_uint_eq(r.r0, fuel < 99 ? 0 : 100);
    }
    dpf_program_destroy(p);
    const struct dpf_insn forever[] = {GOTO(-1), EXIT()};
    const struct dpf_insn far[] = {GOTO_FAR(-1)};
    ck_assert_int_eq(on_memory(DPF_RAW, forever, 2, NULL, 0).end, DPF_END_FUEL);
    ck_assert_int_eq(on_memory(DPF_RAW, far, 1, NULL, 0).end, DPF_END_FUEL);
}
END_TEST

START_TEST(test_filter)
{
    const struct dpf_insn code[] = {
        MOV_K(0, 0),  LOAD(BPF_H, 3, 1, 12),
        TO_BE(3, 16), JUMP_K(BPF_JNE, 3, 0x800, 1),
        MOV_X(0, 2),  EXIT(),
    };
    struct dpf_program *p = make(DPF_FILTER, code, COUNT(code));
    uint8_t packet[60] = {[12] = 8};
    for (uint32_t len = 0; len <= sizeof(packet); len++) {
        ck_assert_uint_eq(dpf_filter_run(p, packet, len), len < 14 ? 0 : len);
        struct dpf_run run = {.regions = {{packet, len}}, .region_count = 1};
        both(p, &run);
    }
    packet[13] = 6;
    ck_assert_uint_eq(dpf_filter_run(p, packet, 60), 0);
    struct dpf_run none = {0};
    ck_assert_uint_eq(both(p, &none).r0, 0);
    dpf_program_destroy(p);
}
END_TEST

START_TEST(test_predicate)
{
    const struct dpf_insn code[] = {
        LOAD(BPF_DW, 6, 1, 8), /* region 1 */
        LOAD(BPF_DW, 7, 1, 0), /* region 0 */
        LOAD(BPF_W, 0, 6, 4),   LOAD(BPF_W, 3, 7, 0),
        ALU64_X(BPF_SUB, 0, 3), EXIT(),
    };
    uint32_t a[2] = {100, 0}, b[2] = {0, 142};
    struct dpf_program *p = make(DPF_PREDICATE, code, COUNT(code));
    struct dpf_run run = {.regions = {{a, 8}, {b, 8}}, .region_count = 2};
    ck_assert_uint_eq(both(p, &run).r0, 42);
    run.regions[1].len = 7;
    ck_assert_int_eq(both(p, &run).end, DPF_END_BOUNDS);
    run.region_count = 1; /* not bound: empty */
    ck_assert_int_eq(both(p, &run).end, DPF_END_BOUNDS);
    dpf_program_destroy(p);
}
END_TEST

static uint64_t calls[64];
static size_t call_count;

static uint64_t record(struct dpf_run *run, uint32_t number,
                       const uint64_t args[5])
{
    calls[call_count++] = number;
    if (number == DPF_HELPER_REPLY) {
        const uint8_t *bytes = (const uint8_t *)(uintptr_t)args[0];
        calls[call_count++] = args[1];
        calls[call_count++] = args[1] == 0 ? 0 : bytes[0];
        calls[call_count++] = args[1] == 0 ? 0 : bytes[args[1] - 1];
    } else {
        memcpy(&calls[call_count], args, 5 * sizeof(args[0]));
        call_count += 5;
    }
    return *(uint64_t *)run->helper_ctx;
}

static struct dpf_result with_helper(const struct dpf_program *p,
                                     struct dpf_run *run)
{
    uint64_t value = 77;
    run->helper = record;
    run->helper_ctx = &value;
    call_count = 0;
    struct dpf_result r = dpf_program_interp(p, run);
    size_t count = call_count;
    uint64_t mine[64];
    memcpy(mine, calls, sizeof(mine));
    call_count = 0;
    struct dpf_result native = dpf_program_run(p, run);
    ck_assert_uint_eq(native.r0, r.r0);
    ck_assert_uint_eq(native.end, r.end);
    ck_assert_uint_eq(call_count, count);
    ck_assert_mem_eq(mine, calls, count * sizeof(mine[0]));
    return r;
}

START_TEST(test_udf)
{
    const struct dpf_insn code[] = {
        MOV_X(6, 1),
        MOV_X(7, 2),
        MOV_X(8, 3),
        LDDW(1, A),
        MOV_K(2, 3),
        MOV_X(3, 8),
        CALL(1),
        MOV_X(9, 0),
        MOV_K(1, -1),
        MOV_X(2, 7),
        MOV_K(3, 0),
        CALL(1),
        ALU64_X(BPF_ADD, 0, 9),
        LOAD(BPF_B, 3, 6, 0),
        ALU64_X(BPF_ADD, 0, 3),
        ALU64_X(BPF_ADD, 0, 8),
        EXIT(),
    };
    uint8_t block[8] = {5};
    struct dpf_program *p = make(DPF_UDF, code, COUNT(code));
    struct dpf_run run = {
        .regions = {{block, 8}}, .region_count = 1, .arg = 1000};
    ck_assert_uint_eq(with_helper(p, &run).r0, 77 * 2 + 5 + 1000);
    ck_assert_uint_eq(call_count, 12);
    ck_assert_uint_eq(calls[1], A);
    ck_assert_uint_eq(calls[3], 1000);
    ck_assert_uint_eq(calls[8], 8);
    dpf_program_destroy(p);
}
END_TEST

START_TEST(test_handler)
{
    const struct dpf_insn code[] = {
        MOV_X(6, 1),
        LOAD(BPF_B, 7, 3, 0), /* length to reply with */
        LOAD(BPF_B, 8, 3, 1), /* where from */
        STORE_K(BPF_B, 3, 2, 1),
        ALU64_X(BPF_ADD, 1, 8),
        MOV_X(2, 7),
        CALL(DPF_HELPER_REPLY),
        STORE_K(BPF_DW, 10, -8, 0x41),
        MOV_X(1, 10),
        ALU64_K(BPF_ADD, 1, -8),
        MOV_K(2, 8),
        CALL(DPF_HELPER_REPLY),
        CALL(DPF_HELPER_DELIVER),
        MOV_K(1, 9),
        CALL(DPF_HELPER_WAKE),
        EXIT(),
    };
    uint8_t packet[16] = {1, 2,  3,  4,  5,  6,  7,  8,
                          9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t state[4] = {4, 12};
    struct dpf_program *p = make(DPF_HANDLER, code, COUNT(code));
    struct dpf_run run = {.regions = {{packet, 16}, {state, 4}},
                          .region_count = 2};
    struct dpf_result r = with_helper(p, &run);
    ck_assert_int_eq(r.end, DPF_END_EXIT);
    ck_assert_uint_eq(r.r0, 77);
    ck_assert_uint_eq(calls[1], 4);
    ck_assert_uint_eq(calls[2], 13);
    ck_assert_uint_eq(calls[3], 16);
    ck_assert_uint_eq(calls[6], 0x41);
    state[0] = 5; /* one past the end */
    ck_assert_int_eq(with_helper(p, &run).end, DPF_END_BOUNDS);
    ck_assert_uint_eq(call_count, 0);
    dpf_program_destroy(p);
}
END_TEST

START_TEST(test_dead_code_is_removed)
{
    const struct dpf_insn code[] = {
        MOV_K(0, 1), GOTO(3), LDDW(0, A), EXIT(), JUMP_K(BPF_JEQ, 0, 1, 1),
        MOV_K(0, 3), EXIT(),
    };
    struct dpf_program *p = make(DPF_RAW, code, COUNT(code));
    size_t count;
    const struct dpf_insn *kept = dpf_program_insns(p, &count);
    ck_assert_uint_eq(count, COUNT(code) - 3);
    ck_assert_int_eq(kept[1].off, 0);
    struct dpf_run run = {0};
    ck_assert_uint_eq(both(p, &run).r0, 1);
    dpf_program_destroy(p);
}
END_TEST

START_TEST(test_strerror)
{
    ck_assert_str_eq(dpf_strerror(-DPF_E_MEM), "out of memory");
    ck_assert_str_eq(dpf_strerror(0), "success");
    ck_assert_str_eq(dpf_strerror(-99), "unknown error");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dpf-vm");
    TCase *t = tcase_create("vm");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_alu);
    tcase_add_test(t, test_jump);
    tcase_add_loop_test(t, test_paths_meet, 0, 66);
    tcase_add_test(t, test_memory_widths);
    tcase_add_test(t, test_memory_stores);
    tcase_add_test(t, test_bounds);
    tcase_add_test(t, test_wrapping_offset);
    tcase_add_test(t, test_stack);
    tcase_add_test(t, test_stack_computed);
    tcase_add_test(t, test_fuel);
    tcase_add_test(t, test_filter);
    tcase_add_test(t, test_predicate);
    tcase_add_test(t, test_udf);
    tcase_add_test(t, test_handler);
    tcase_add_test(t, test_dead_code_is_removed);
    tcase_add_test(t, test_strerror);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
