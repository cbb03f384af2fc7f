/* SPDX-License-Identifier: MIT */
/*
 * The verifier's rules: for each a program that breaks it, refused at the
 * right instruction under the rule's name, and its nearest lawful neighbour.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host/mem.h"
#include "tests/unit/dpf/asm.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct dpf_mem mem;

struct program_case {
    const char *rule; /* NULL: accepted */
    const char *text; /* part of the reason */
    enum dpf_type type;
    uint32_t insn;
    struct dpf_insn code[8]; /* up to the first all-zero one */
};

#define F DPF_FILTER
#define RAWTYPE DPF_RAW

static const struct program_case cases[] = {
    /* form */
    {"opcode", "0xff", F, 0, {INSN(0xff, 0, 0, 0, 0), EXIT()}},
    {"opcode", "0xe7", F, 0, {INSN(0xe7, 0, 0, 0, 0), EXIT()}},
    {"opcode", "0x8f", F, 1, {MOV_K(0, 1), INSN(0x8f, 0, 0, 0, 0), EXIT()}},
    {"opcode", "16, 32 or 64", F, 1, {MOV_K(0, 1), TO_BE(0, 17), EXIT()}},
    {"opcode", "0xdf", F, 1, {MOV_K(0, 1), INSN(0xdf, 0, 0, 0, 16), EXIT()}},
    {"opcode", "0x0 ", F, 0, {INSN(0, 1, 0, 0, 0), EXIT()}},
    {"opcode", "second half", F, 0, {INSN(0x18, 0, 0, 0, 0)}},
    {"opcode", "0x99", RAWTYPE, 0, {LOADSX(BPF_DW, 0, 1, 0), EXIT()}},
    {"opcode", "0x8d", F, 0, {INSN(0x8d, 0, 0, 0, 1), EXIT()}},
    {"opcode", "0x96", F, 0, {INSN(0x96, 0, 0, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0xb7, 0, 1, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0xbf, 0, 1, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0xb7, 0, 0, 8, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0xbc, 0, 2, 32, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x87, 2, 0, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x95, 1, 0, 0, 0)}},
    {"reserved", "", F, 0, {INSN(0x61, 0, 1, 0, 1), EXIT()}},
    {"reserved",
     "",
     F,
     0,
     {INSN(0x18, 0, 0, 0, 1), INSN(0, 1, 0, 0, 0), EXIT()}},
    {"register", "above r10", F, 0, {MOV_K(11, 1), EXIT()}},
    {"frame-pointer", "r10", F, 0, {MOV_K(10, 1), EXIT()}},
    {"frame-pointer", "r10", F, 0, {LOAD(BPF_B, 10, 1, 0), EXIT()}},
    {"jump", "outside", F, 1, {MOV_K(0, 1), GOTO(1), EXIT()}},
    {"jump", "-1", F, 0, {GOTO(-2), EXIT()}},
    {"jump", "middle", F, 1, {MOV_K(0, 1), GOTO(1), LDDW(0, 7), EXIT()}},
    {"end", "off the end", F, 0, {MOV_K(0, 1)}},
    {"end", "off the end", F, 1, {MOV_K(0, 1), JUMP_K(BPF_JEQ, 0, 1, -2)}},
    {"legacy", "r1", F, 0, {INSN(0x28, 0, 0, 0, 12), EXIT()}},
    {"legacy", "r1", F, 0, {INSN(0x48, 0, 1, 0, 12), EXIT()}},
    {"atomic", "plain", RAWTYPE, 0, {INSN(0xdb, 1, 2, 0, 0), EXIT()}},
    {"map", "map", F, 0, {INSN(0x18, 0, 1, 0, 5), INSN(0, 0, 0, 0, 0)}},
    {"call", "inline", F, 0, {INSN(0x85, 0, 1, 0, 1), EXIT()}},
    {"call", "type id", F, 0, {INSN(0x85, 0, 2, 0, 1), EXIT()}},
    {"call", "no helper", F, 0, {CALL(1), EXIT()}},
    {"call", "no helper", DPF_UDF, 0, {CALL(2), EXIT()}},
    /* what was written */
    {"unwritten", "r0", F, 0, {EXIT()}},
    {"unwritten", "r3", F, 0, {MOV_X(0, 3), EXIT()}},
    {"unwritten", "r0", F, 1, {JUMP_K(BPF_JEQ, 2, 1, 1), MOV_K(0, 1), EXIT()}},
    {"unwritten",
     "r0",
     F,
     3,
     {JUMP_K(BPF_JEQ, 2, 1, 2), MOV_K(0, 1), GOTO(0), EXIT()}},
    {"unwritten", "stack bytes", F, 0, {LOAD(BPF_W, 0, 10, -4), EXIT()}},
    {"unwritten",
     "stack bytes",
     F,
     1,
     {STORE(BPF_W, 10, -8, 2), LOAD(BPF_DW, 0, 10, -8), EXIT()}},
    {NULL,
     "",
     F,
     0,
     {STORE(BPF_W, 10, -8, 2), STORE(BPF_W, 10, -4, 2), LOAD(BPF_DW, 0, 10, -8),
      EXIT()}},
    {NULL,
     "",
     F,
     0,
     {STORE(BPF_B, 10, -512, 2), LOAD(BPF_B, 0, 10, -512), EXIT()}},
    {"stack", "r10-513", F, 0, {STORE(BPF_B, 10, -513, 2), EXIT()}},
    {"stack", "r10-2", F, 0, {STORE(BPF_W, 10, -2, 2), EXIT()}},
    {"stack", "r10+0", F, 0, {STORE(BPF_W, 10, 0, 2), EXIT()}},
    {"unwritten",
     "r1",
     DPF_HANDLER,
     2,
     {MOV_K(1, 1), CALL(DPF_HELPER_DELIVER), MOV_X(0, 1), EXIT()}},
    /* pointers */
    {"pointer-return", "r0", F, 1, {MOV_X(0, 1), EXIT()}},
    {"pointer-guess", "r2", F, 0, {LOAD(BPF_B, 0, 2, 0), EXIT()}},
    {"pointer-guess", "r2", RAWTYPE, 0, {STORE(BPF_B, 2, 0, 2), EXIT()}},
    {"pointer-arith", "added", F, 0, {ALU64_X(BPF_ADD, 1, 1), EXIT()}},
    {"pointer-arith", "64-bit", F, 0, {ALU32_K(BPF_ADD, 1, 1), EXIT()}},
    {"pointer-arith", "64-bit", F, 0, {ALU32_X(BPF_MOV, 0, 1), EXIT()}},
    {"pointer-arith", "64-bit", F, 0, {ALU64_K(BPF_AND, 1, -4), EXIT()}},
    {"pointer-arith", "64-bit", F, 0, {ALU64_X(BPF_XOR, 2, 1), EXIT()}},
    {"pointer-arith", "64-bit", F, 0, {INSN(0xbf, 0, 1, 8, 0), EXIT()}},
    {"pointer-arith", "from a scalar", F, 0, {ALU64_X(BPF_SUB, 2, 1), EXIT()}},
    {"pointer-arith",
     "different regions",
     F,
     0,
     {ALU64_X(BPF_SUB, 1, 10), EXIT()}},
    {NULL,
     "",
     F,
     0,
     {MOV_X(3, 1), ALU64_X(BPF_ADD, 3, 2), ALU64_X(BPF_SUB, 3, 1), MOV_X(0, 3),
      EXIT()}},
    {"pointer-compare",
     "never null",
     F,
     1,
     {MOV_K(0, 1), JUMP_K(BPF_JEQ, 1, 0, 0), EXIT()}},
    {"pointer-compare",
     "never null",
     F,
     1,
     {MOV_K(0, 1), JUMP_X(BPF_JGT, 2, 1, 0), EXIT()}},
    {"pointer-compare",
     "one region",
     F,
     1,
     {MOV_K(0, 1), JUMP_X(BPF_JGT, 10, 1, 0), EXIT()}},
    {"pointer-compare",
     "whole",
     F,
     1,
     {MOV_K(0, 1), JUMP32_X(BPF_JGT, 1, 1, 0), EXIT()}},
    {NULL,
     "",
     F,
     0,
     {MOV_K(0, 1), MOV_X(3, 1), JUMP_X(BPF_JGT, 3, 1, 0), EXIT()}},
    {"pointer-leak", "multiple of 8", F, 0, {STORE(BPF_W, 10, -8, 1), EXIT()}},
    {"pointer-leak",
     "multiple of 8",
     F,
     0,
     {STORE(BPF_DW, 10, -12, 1), EXIT()}},
    {"pointer-leak", "stack", RAWTYPE, 0, {STORE(BPF_DW, 1, 0, 1), EXIT()}},
    {"stack",
     "part of a pointer",
     F,
     1,
     {STORE(BPF_DW, 10, -8, 1), LOAD(BPF_W, 0, 10, -8), EXIT()}},
    {"mixed",
     "pointer on one path",
     F,
     4,
     {MOV_K(0, 1), MOV_X(3, 1), JUMP_K(BPF_JEQ, 2, 7, 1), MOV_K(3, 1),
      LOAD(BPF_B, 0, 3, 0), EXIT()}},
    /* regions */
    {"read-only", "packet", F, 0, {STORE(BPF_B, 1, 0, 2), EXIT()}},
    {"read-only", "packet", DPF_HANDLER, 0, {STORE(BPF_B, 1, 0, 2), EXIT()}},
    {"read-only", "metadata", DPF_UDF, 0, {STORE_K(BPF_B, 1, 0, 2), EXIT()}},
    {"read-only",
     "region 2",
     DPF_PREDICATE,
     1,
     {LOAD(BPF_DW, 3, 1, 16), STORE_K(BPF_B, 3, 0, 2), EXIT()}},
    {NULL, "", DPF_HANDLER, 0, {STORE(BPF_B, 3, 0, 2), MOV_K(0, 1), EXIT()}},
    {NULL, "", RAWTYPE, 0, {STORE(BPF_B, 1, 0, 2), MOV_K(0, 1), EXIT()}},
    {"table", "8-byte", DPF_PREDICATE, 0, {LOAD(BPF_W, 0, 1, 0), EXIT()}},
    {"table", "8-byte", DPF_PREDICATE, 0, {LOAD(BPF_DW, 0, 1, 4), EXIT()}},
    {"table", "0 to 7", DPF_PREDICATE, 0, {LOAD(BPF_DW, 0, 1, 64), EXIT()}},
    {"table",
     "constant",
     DPF_PREDICATE,
     3,
     {MOV_K(3, 8), MOV_X(4, 1), ALU64_X(BPF_ADD, 4, 3), LOAD(BPF_DW, 4, 4, 0),
      EXIT()}},
    {NULL,
     "",
     DPF_PREDICATE,
     0,
     {MOV_X(4, 1), ALU64_K(BPF_ADD, 4, 56), LOAD(BPF_DW, 4, 4, 0),
      LOAD(BPF_B, 0, 4, 0), EXIT()}},
    {"unwritten", "r2", DPF_PREDICATE, 0, {MOV_X(0, 2), EXIT()}},
    /* helpers */
    {"call",
     "pointer to bytes",
     DPF_HANDLER,
     1,
     {MOV_K(1, 1), CALL(2), EXIT()}},
    {"call", "scalar", DPF_UDF, 1, {MOV_X(2, 1), CALL(1), EXIT()}},
    {"unwritten", "r5", DPF_UDF, 0, {MOV_X(1, 5), CALL(1), EXIT()}},
    /* form: each field that must be zero, each class's foreign opcodes */
    {"reserved", "", F, 1, {MOV_K(0, 1), INSN(0xdc, 0, 1, 0, 16), EXIT()}},
    {"reserved", "", F, 1, {MOV_K(0, 1), INSN(0xdc, 0, 0, 1, 16), EXIT()}},
    {"reserved", "", F, 1, {MOV_K(0, 1), INSN(0x37, 0, 0, 2, 1), EXIT()}},
    {"reserved", "", F, 1, {MOV_K(0, 1), INSN(0x0f, 0, 2, 1, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0xbf, 0, 2, 5, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x87, 2, 1, 0, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x87, 2, 0, 1, 0), EXIT()}},
    {"opcode", "0x86", F, 0, {INSN(0x86, 0, 0, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x85, 1, 0, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x85, 0, 0, 1, 1), EXIT()}},
    {"opcode", "0xe5", F, 0, {INSN(0xe5, 0, 0, 0, 0), EXIT()}},
    {"opcode", "0xd ", F, 0, {INSN(0x0d, 0, 0, 0, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x05, 0, 0, 0, 1), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x95, 0, 0, 1, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x15, 2, 1, 0, 0), EXIT()}},
    {"frame-pointer",
     "r10",
     F,
     0,
     {INSN(0x18, 10, 0, 0, 1), INSN(0, 0, 0, 0, 0), EXIT()}},
    {"reserved",
     "",
     F,
     0,
     {INSN(0x18, 0, 0, 1, 1), INSN(0, 0, 0, 0, 0), EXIT()}},
    {"reserved", "", F, 0, {INSN(0x18, 0, 0, 0, 1), EXIT(), EXIT()}},
    {"reserved",
     "",
     F,
     0,
     {INSN(0x18, 0, 0, 0, 1), INSN(0, 0, 0, 1, 0), EXIT()}},
    {"opcode", "0x82", RAWTYPE, 0, {INSN(0x82, 1, 0, 0, 0), EXIT()}},
    {"opcode", "0x1 ", F, 0, {INSN(0x01, 0, 1, 0, 0), EXIT()}},
    {"register", "above r10", F, 0, {MOV_X(0, 11), EXIT()}},
    /* what was written, where a path or an operand is missing */
    {"unwritten", "r3", F, 0, {ALU64_K(BPF_ADD, 3, 1), EXIT()}},
    {"unwritten", "r4", F, 0, {STORE_K(BPF_B, 4, 0, 1), EXIT()}},
    {"unwritten", "r5", F, 0, {STORE(BPF_DW, 10, -8, 5), EXIT()}},
    {"unwritten", "r4", F, 0, {JUMP_K(BPF_JEQ, 4, 1, 0), EXIT()}},
    {"unwritten", "r4", F, 0, {JUMP_X(BPF_JEQ, 2, 4, 0), EXIT()}},
    {"unwritten", "r1", DPF_HANDLER, 1, {CALL(3), CALL(2), EXIT()}},
    {"unwritten",
     "r3",
     F,
     5,
     {JUMP_K(BPF_JEQ, 2, 1, 2), MOV_K(3, 1), GOTO(2), MOV_K(0, 0), GOTO(0),
      MOV_X(0, 3), EXIT()}},
    /* the stack: beyond it, growing, pointers kept and overwritten */
    {"stack", "r10-520", F, 0, {LOAD(BPF_DW, 0, 10, -520), EXIT()}},
    {"stack", "r10+0", F, 0, {LOAD(BPF_DW, 0, 10, 0), EXIT()}},
    {NULL,
     "",
     F,
     0,
     {STORE_K(BPF_DW, 10, -8, 1), STORE_K(BPF_DW, 10, -96, 1), MOV_K(0, 1),
      EXIT()}},
    {NULL,
     "",
     F,
     0,
     {STORE_K(BPF_DW, 10, -320, 1), STORE_K(BPF_DW, 10, -400, 1), MOV_K(0, 1),
      EXIT()}},
    {"stack",
     "part of a pointer",
     F,
     1,
     {STORE(BPF_DW, 10, -16, 1), LOAD(BPF_DW, 0, 10, -12), EXIT()}},
    {"stack",
     "part of a pointer",
     F,
     4,
     {JUMP_K(BPF_JEQ, 2, 1, 2), STORE(BPF_DW, 10, -8, 1), GOTO(1),
      STORE_K(BPF_DW, 10, -8, 0), LOAD(BPF_DW, 0, 10, -8), EXIT()}},
    {NULL,
     "",
     F,
     0,
     {STORE(BPF_DW, 10, -8, 1), STORE_K(BPF_DW, 10, -8, 7),
      LOAD(BPF_DW, 0, 10, -8), EXIT()}},
    /* an offset that leaves 16 bits is none: checked when it runs */
    {NULL,
     "",
     F,
     0,
     {MOV_X(3, 10), ALU64_K(BPF_ADD, 3, 40000), ALU64_K(BPF_SUB, 3, 40008),
      LOAD(BPF_DW, 0, 3, 0), EXIT()}},
    {NULL,
     "",
     F,
     0,
     {MOV_X(3, 10), ALU64_K(BPF_SUB, 3, 40000), LOAD(BPF_DW, 0, 3, 0), EXIT()}},
    /* a store at a computed offset blurs the stack pointer kept there */
    {NULL,
     "",
     F,
     0,
     {STORE(BPF_DW, 10, -8, 10), MOV_X(4, 10), ALU64_X(BPF_ADD, 4, 2),
      STORE_K(BPF_B, 4, 0, 1), LOAD(BPF_DW, 5, 10, -8),
      LOAD(BPF_DW, 0, 5, -600), EXIT()}},
    /* and the table pointer; a negative index of the table */
    {"table",
     "8-byte pointers",
     DPF_PREDICATE,
     6,
     {STORE(BPF_DW, 10, -8, 1), MOV_X(4, 10), MOV_K(3, -64),
      ALU64_X(BPF_ADD, 4, 3), STORE_K(BPF_B, 4, 0, 1), LOAD(BPF_DW, 1, 10, -8),
      LOAD(BPF_DW, 0, 1, 0), EXIT()}},
    {"table",
     "8-byte pointers",
     DPF_PREDICATE,
     0,
     {LOAD(BPF_DW, 0, 1, -8), EXIT()}},
    {"pointer-compare",
     "within one region",
     F,
     0,
     {JUMP_X(BPF_JEQ, 1, 10, 0), MOV_K(0, 1), EXIT()}},
    {"pointer-compare",
     "compared whole",
     F,
     0,
     {JUMP_X(BPF_JSET, 1, 1, 0), MOV_K(0, 1), EXIT()}},
};

static size_t code_count(const struct program_case *c)
{
    static const struct dpf_insn none;
    size_t n = COUNT(c->code);
    while (n > 0 && memcmp(&c->code[n - 1], &none, sizeof(none)) == 0) {
        n--;
    }
    /* The second half of an lddw of a small constant is all zeros. */
    return c->code[n - 1].opcode == 0x18 && strcmp(c->rule, "map") == 0 ? n + 1
                                                                        : n;
}

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
}

static void teardown(void)
{
    dpf_host_mem_finish(&mem);
}

START_TEST(test_rules)
{
    for (size_t n = 0; n < COUNT(cases); n++) {
        const struct program_case *c = &cases[n];
        struct dpf_error err;
        struct dpf_program *p = NULL;
        int rc =
            dpf_program_create(&mem, c->type, c->code, code_count(c), &p, &err);
        if (c->rule == NULL) {
            ck_assert_msg(rc == 0, "case %zu: %s", n, err.text);
            dpf_program_destroy(p);
            continue;
        }
        ck_assert_msg(rc == -DPF_E_VERIFY, "case %zu accepted", n);
        ck_assert_ptr_null(p);
        ck_assert_int_eq(err.code, rc);
        ck_assert_msg(strcmp(err.rule, c->rule) == 0, "case %zu: %s: %s", n,
                      err.rule, err.text);
        ck_assert_msg(strstr(err.text, c->text) != NULL,
                      "case %zu: %s lacks %s", n, err.text, c->text);
        char insn[32];
        snprintf(insn, sizeof(insn), "insn %u: ", err.insn);
        ck_assert(strncmp(err.text, insn, strlen(insn)) == 0);
        /* The accepted prefix of the case tells where it went wrong. */
        ck_assert_msg(err.insn == c->insn ||
                          strcmp(c->rule, "unwritten") == 0 ||
                          strncmp(c->rule, "pointer", 7) == 0,
                      "case %zu: at %u: %s", n, err.insn, err.text);
    }
}
END_TEST

START_TEST(test_states_in_message)
{
    const struct dpf_insn code[] = {
        MOV_X(6, 1),          MOV_X(7, 10), ALU64_K(BPF_ADD, 7, -16),
        LOAD(BPF_B, 0, 2, 0), EXIT(),
    };
    struct dpf_program *p = NULL;
    struct dpf_error err;
    dpf_program_create(&mem, DPF_FILTER, code, COUNT(code), &p, &err);
    ck_assert_str_eq(err.text,
                     "insn 3: r2 is scalar; a load goes through a pointer, and "
                     "an integer is none [r1 packet, r2 scalar, r6 packet, r7 "
                     "stack-16, r10 stack+0]");
}
END_TEST

START_TEST(test_arguments)
{
    const struct dpf_insn code[] = {MOV_K(0, 1), EXIT()};
    struct dpf_program *p = NULL;
    ck_assert_int_eq(dpf_program_create(&mem, 9, code, 2, &p, NULL),
                     -DPF_E_INVAL);
    struct dpf_error err;
    ck_assert_int_eq(
        dpf_program_create(&mem, DPF_RAW | 1u << 9, code, 2, &p, &err),
        -DPF_E_INVAL);
    ck_assert_int_eq(dpf_program_create(&mem, DPF_RAW, code, 0, &p, &err),
                     -DPF_E_VERIFY);
    ck_assert_int_eq(dpf_program_create(&mem, DPF_RAW, code, 65537, &p, &err),
                     -DPF_E_TOO_BIG);
    dpf_program_destroy(NULL);
}
END_TEST

/* Loops of every shape end, and the number of steps stays near linear. */
START_TEST(test_large)
{
    size_t count = DPF_INSNS_MAX;
    struct dpf_insn *code = calloc(count, sizeof(*code));
    struct dpf_program *p = NULL;
    struct dpf_error err;
    unsigned seed = 1;
    for (size_t n = 0; n < count; n++) {
        unsigned r = seed = seed * 1103515245 + 12345;
        unsigned a = 2 + (r >> 8) % 8, b = 2 + (r >> 16) % 8;
        int off = (int)(r >> 12 & 1023) - 512;
        bool jump = n >= 600 && n + 600 < count;
        code[n] = n < 10               ? MOV_X((n == 1 ? 2 : n), 2)
                  : jump && r % 3 == 0 ? JUMP_X(BPF_JGT, a, b, off)
                  : r % 3 == 1 ? STORE(BPF_DW, 10, -8 * (int)(r % 64) - 8, a)
                               : ALU64_X(BPF_ADD, a, b);
    }
    code[count - 1] = EXIT();
    clock_t start = clock();
    int rc = dpf_program_create(&mem, DPF_FILTER | DPF_COMPILE, code, count, &p,
                                &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_int_lt((clock() - start) / CLOCKS_PER_SEC, 10);
    dpf_program_destroy(p);
    free(code);
}
END_TEST

/* Failing the n-th allocation leaves nothing behind (LeakSanitizer looks). */
static int fail_after;

static void *failing_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return fail_after-- == 0 ? NULL : malloc(size);
}

static void plain_free(void *ctx, void *p, size_t size)
{
    (void)ctx;
    (void)size;
    free(p);
}

static void *failing_code_alloc(void *ctx, size_t size)
{
    return fail_after-- == 0 ? NULL
                             : aligned_alloc(4096, size + 0 * (ctx == NULL));
}

static void *failing_open(void *ctx, void *rx, size_t size)
{
    (void)ctx;
    (void)size;
    return fail_after-- == 0 ? NULL : rx;
}

static void no_seal(void *ctx, void *rx, void *rw, size_t size)
{
    (void)ctx;
    (void)rx;
    (void)rw;
    (void)size;
}

/* Fail the n-th allocation of making and destroying a program. */
static int create_failing(const struct dpf_insn *code, size_t count, int n,
                          bool packed)
{
    struct dpf_mem failing = {.alloc = failing_alloc,
                              .free = plain_free,
                              .engine = &dpf_engine_full,
                              .code_alloc = failing_code_alloc,
                              .code_free = plain_free,
                              .code_open = failing_open,
                              .code_seal = no_seal};
    struct dpf_program *p = NULL;
    struct dpf_error err;
    fail_after = -1;
    if (packed) {
        ck_assert_int_eq(dpf_mem_start(&failing), 0);
    }
    fail_after = n;
    int rc = dpf_program_create(&failing, DPF_FILTER | DPF_COMPILE, code, count,
                                &p, &err);
    fail_after = -1;
    if (rc == 0) {
        size_t size;
        ck_assert_ptr_nonnull(dpf_program_code(p, &size));
    } else {
        ck_assert_int_eq(rc, -DPF_E_MEM);
        ck_assert_int_eq(err.code, -DPF_E_MEM);
        ck_assert_ptr_null(p);
    }
    dpf_program_destroy(p);
    dpf_mem_finish(&failing);
    return rc;
}

START_TEST(test_allocation_failure)
{
    const struct dpf_insn loop[] = {
        MOV_X(3, 10),
        ALU64_X(BPF_ADD, 3, 2),
        LOAD(BPF_B, 0, 3, -8),
        JUMP_K(BPF_JEQ, 0, 1, -3),
        EXIT(),
    };
    /* Without memory for its graph it is compiled the plain way. */
    const struct dpf_insn decided[] = {
        MOV_K(0, 0),
        LOAD(BPF_B, 3, 1, 4),
        JUMP_K(BPF_JNE, 3, 6, 1),
        MOV_K(0, 1),
        EXIT(),
    };
    for (int packed = 0; packed < 2; packed++) {
        int failures = 0;
        for (int n = 0; n < 40; n++) {
            failures += create_failing(loop, COUNT(loop), n, packed) != 0;
            failures += create_failing(decided, COUNT(decided), n, packed) != 0;
        }
        ck_assert_int_gt(failures, 10);
        ck_assert_int_eq(create_failing(loop, COUNT(loop), 40, packed), 0);
    }
    struct dpf_mem none = {.alloc = failing_alloc, .free = plain_free};
    fail_after = 0;
    ck_assert_int_eq(dpf_mem_start(&none), -DPF_E_MEM);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dpf-verify");
    TCase *t = tcase_create("verify");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_rules);
    tcase_add_test(t, test_states_in_message);
    tcase_add_test(t, test_arguments);
    tcase_add_test(t, test_large);
    tcase_add_test(t, test_allocation_failure);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
