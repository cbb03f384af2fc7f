/* SPDX-License-Identifier: MIT */
/*
 * Every instruction form of the encoder, read back by Capstone: text that we
 * write from the operands against text that it makes from the bytes.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host/mem.h"
#include "dpf/x86_64/encode.h"
#include <capstone/capstone.h>
#include <check.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dpf_mem mem;
static struct x64 x;
static csh disassembler;

static const char *const names[4][16] = {
    {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b",
     "r11b", "r12b", "r13b", "r14b", "r15b"},
    {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w",
     "r11w", "r12w", "r13w", "r14w", "r15w"},
    {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d",
     "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"},
    {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10",
     "r11", "r12", "r13", "r14", "r15"},
};

static const char *const sizes[] = {"byte", "word", "dword", "qword"};

/* Index of a width in the tables above. */
static int wi(uint32_t w)
{
    return __builtin_ctz(w);
}

static const char *reg(uint32_t w, unsigned r)
{
    return names[wi(w)][r];
}

static char *hex(char *to, int64_t v)
{
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    sprintf(to, magnitude > 9 ? "%s0x%" PRIx64 : "%s%" PRIx64, v < 0 ? "-" : "",
            magnitude);
    return to;
}

/* Capstone's text for a memory operand. */
static const char *mem_text(uint32_t w, struct x64_mem m)
{
    static char out[96];
    char *at = out;
    at += sprintf(at, "%s ptr [", sizes[wi(w)]);
    bool any = false;
    if (m.base != X64_NONE) {
        at += sprintf(at, "%s", reg(8, m.base));
        any = true;
    }
    if (m.index != X64_NONE) {
        at += sprintf(at, "%s%s", any ? " + " : "", reg(8, m.index));
        if (m.scale > 1) {
            at += sprintf(at, "*%d", m.scale);
        }
        any = true;
    }
    char number[32];
    if (m.disp != 0 || !any) {
        hex(number, m.disp < 0 && any ? -(int64_t)m.disp : m.disp);
        at += sprintf(at, "%s%s",
                      !any         ? ""
                      : m.disp < 0 ? " - "
                                   : " + ",
                      number);
    }
    sprintf(at, "]");
    return out;
}

static void start(void)
{
    x64_begin(&x);
}

/* What was emitted since start() is exactly the one instruction `want`. */
__attribute__((format(printf, 1, 2))) static void expect(const char *want, ...)
{
    cs_insn *insn;
    va_list args;
    va_start(args, want);
    char text[160];
    vsnprintf(text, sizeof(text), want, args);
    va_end(args);
    ck_assert(!x.error);
    size_t n = cs_disasm(disassembler, x.buf, x.len, 0, 0, &insn);
    ck_assert_msg(n == 1 && insn[0].size == x.len,
                  "%s: %zu instructions, %u bytes", text, n, x.len);
    char got[200];
    snprintf(got, sizeof(got), "%s%s%s", insn[0].mnemonic,
             insn[0].op_str[0] ? " " : "", insn[0].op_str);
    ck_assert_str_eq(got, text);
    cs_free(insn, n);
    start();
}

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_int_eq(cs_open(CS_ARCH_X86, CS_MODE_64, &disassembler), 0);
    x64_open(&x, &mem);
    start();
}

static void teardown(void)
{
    x64_close(&x);
    cs_close(&disassembler);
    dpf_host_mem_finish(&mem);
}

static const char *const alu_names[] = {"add", "or",  "adc", "sbb",
                                        "and", "sub", "xor", "cmp"};
static const char *const cc_names[] = {"o",  "no", "b",  "ae", "e", "ne",
                                       "be", "a",  "s",  "ns", "p", "np",
                                       "l",  "ge", "le", "g"};
static const int32_t imms[] = {1, -1, 127, -128, 128, 0x1234, 0x12345678};
static const int32_t disps[] = {0, 8, -8, 127, -128, 128, 0x12345};

/* They declare what they are given.
   NOLINTBEGIN(bugprone-macro-parentheses) */
#define FOR_WIDTHS(w) for (uint32_t w = 1; w <= 8; w *= 2)
#define FOR_REGS(r) for (unsigned r = 0; r < 16; r++)

/* hex() of an unsigned 64-bit value. */
static const char *imm_unsigned(uint32_t w, int32_t imm)
{
    static char out[32];
    uint64_t mask = w == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * w)) - 1;
    uint64_t v = (uint64_t)(int64_t)imm & mask;
    sprintf(out, v > 9 ? "0x%" PRIx64 : "%" PRIu64, v);
    return out;
}

/* Capstone prints some negative immediates signed: accept either reading. */
static void expect_imm(const char *head, uint32_t w, int32_t imm)
{
    cs_insn *insn;
    size_t n = cs_disasm(disassembler, x.buf, x.len, 0, 0, &insn);
    ck_assert_msg(n == 1 && insn[0].size == x.len, "%s", head);
    char got[200];
    snprintf(got, sizeof(got), "%s %s", insn[0].mnemonic, insn[0].op_str);
    if (w == 1 || w == 2) {
        imm = w == 1 ? (int8_t)imm : (int16_t)imm;
    }
    char a[200];
    snprintf(a, sizeof(a), "%s, %s", head, imm_unsigned(w, imm));
    char b[200], number[32];
    snprintf(b, sizeof(b), "%s, %s", head, hex(number, imm));
    ck_assert_msg(strcmp(got, a) == 0 || strcmp(got, b) == 0,
                  "%s; wanted %s or %s", got, a, b);
    cs_free(insn, n);
    start();
}

/* Run `body` for a spread of memory operands. */
#define FOR_MEMS(m)                                                            \
    for (unsigned mi_ = 0; mi_ < 16 * 17 * 7; mi_ += 5)                        \
        for (struct x64_mem m = mem_case(mi_), *once_ = &m;                    \
             once_ != NULL && m.index != RSP; once_ = NULL)
/* NOLINTEND(bugprone-macro-parentheses) */

static struct x64_mem mem_case(unsigned n)
{
    static const uint8_t scales[] = {1, 2, 4, 8};
    unsigned base = n % 16, index = n / 16 % 17;
    return (struct x64_mem){.base = (uint8_t)base,
                            .index = index == 16 ? X64_NONE : (uint8_t)index,
                            .scale =
                                index == 16 ? 1 : scales[(base + index) % 4],
                            .disp = disps[n / 16 / 17]};
}

START_TEST(test_alu)
{
    char head[64];
    for (unsigned op = 0; op < 8; op++) {
        FOR_WIDTHS(w) FOR_REGS(d)
        {
            FOR_REGS(s)
            {
                x64_alu_rr(&x, op, w, d, s);
                expect("%s %s, %s", alu_names[op], reg(w, d), reg(w, s));
            }
            for (size_t n = 0; n < 7; n++) {
                x64_alu_ri(&x, op, w, d, imms[n]);
                snprintf(head, sizeof(head), "%s %s", alu_names[op], reg(w, d));
                expect_imm(head, w, imms[n]);
            }
        }
    }
}
END_TEST

START_TEST(test_alu_memory)
{
    char head[128];
    FOR_WIDTHS(w) FOR_MEMS(m)
    {
        unsigned op = mi_ % 8;
        unsigned r = mi_ / 3 % 16;
        x64_alu_rm(&x, op, w, r, m);
        expect("%s %s, %s", alu_names[op], reg(w, r), mem_text(w, m));
        x64_alu_mr(&x, op, w, m, r);
        expect("%s %s, %s", alu_names[op], mem_text(w, m), reg(w, r));
        x64_alu_mi(&x, op, w, m, imms[mi_ % 7]);
        snprintf(head, sizeof(head), "%s %s", alu_names[op], mem_text(w, m));
        expect_imm(head, w, imms[mi_ % 7]);
        x64_test_mi(&x, w, m, imms[mi_ % 7]);
        snprintf(head, sizeof(head), "test %s", mem_text(w, m));
        expect_imm(head, w, imms[mi_ % 7]);
    }
}
END_TEST

START_TEST(test_memory_operands_without_base)
{
    struct x64_mem m = {.base = X64_NONE, .index = RCX, .scale = 8, .disp = 64};
    x64_load(&x, 8, RAX, m);
    expect("mov rax, %s", mem_text(8, m));
    m.index = X64_NONE;
    m.scale = 1;
    x64_load(&x, 4, R9, m);
    expect("mov r9d, %s", mem_text(4, m));
}
END_TEST

START_TEST(test_moves)
{
    static const char *const zx[] = {"movzx", "movzx", "mov", "mov"};
    static const char *const sx[] = {"movsx", "movsx", "movsxd"};
    char head[128];
    FOR_WIDTHS(w) FOR_MEMS(m)
    {
        unsigned r = mi_ / 5 % 16;
        x64_load(&x, w, r, m);
        expect("%s %s, %s", zx[wi(w)], reg(w < 4 ? 4 : w, r), mem_text(w, m));
        x64_store(&x, w, m, r);
        expect("mov %s, %s", mem_text(w, m), reg(w, r));
        x64_store_imm(&x, w, m, imms[mi_ % 7]);
        snprintf(head, sizeof(head), "mov %s", mem_text(w, m));
        expect_imm(head, w, imms[mi_ % 7]);
        if (w < 8) {
            x64_load_signed(&x, w, r, m);
            expect("%s %s, %s", sx[wi(w)], reg(8, r), mem_text(w, m));
        }
        if (w > 1) {
            x64_load_swapped(&x, w, r, m);
            expect("movbe %s, %s", reg(w, r), mem_text(w, m));
        }
        if (w >= 4) {
            x64_lea(&x, w, r, m);
            expect("lea %s, %s", reg(w, r), strchr(mem_text(w, m), '['));
            x64_imul_rm(&x, w, r, m);
            expect("imul %s, %s", reg(w, r), mem_text(w, m));
        }
    }
}
END_TEST

START_TEST(test_register_moves)
{
    FOR_REGS(d) FOR_REGS(s)
    {
        FOR_WIDTHS(w)
        {
            x64_mov_rr(&x, w, d, s);
            expect("mov %s, %s", reg(w, d), reg(w, s));
            x64_test_rr(&x, w, d, s);
            expect("test %s, %s", reg(w, d), reg(w, s));
        }
        for (uint32_t w = 1; w <= 2; w++) {
            x64_zero_extend(&x, w, d, s);
            expect("movzx %s, %s", reg(4, d), reg(w, s));
            for (uint32_t to = 4; to <= 8; to += 4) {
                x64_sign_extend(&x, to, w, d, s);
                expect("movsx %s, %s", reg(to, d), reg(w, s));
            }
        }
        x64_zero_extend(&x, 4, d, s);
        expect("mov %s, %s", reg(4, d), reg(4, s));
        x64_sign_extend(&x, 8, 4, d, s);
        expect("movsxd %s, %s", reg(8, d), reg(4, s));
        for (uint32_t w = 4; w <= 8; w += 4) {
            unsigned cc = (d + s) % 16;
            x64_cmov_rr(&x, cc, w, d, s);
            expect("cmov%s %s, %s", cc_names[cc], reg(w, d), reg(w, s));
            x64_imul_rr(&x, w, d, s);
            expect("imul %s, %s", reg(w, d), reg(w, s));
            x64_tzcnt_rr(&x, w, d, s);
            expect("tzcnt %s, %s", reg(w, d), reg(w, s));
            x64_bt_rr(&x, w, d, s);
            expect("bt %s, %s", reg(w, d), reg(w, s));
        }
    }
}
END_TEST

START_TEST(test_mov_immediate)
{
    static const uint64_t values[] = {0,
                                      1,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x100000000,
                                      UINT64_MAX,
                                      0xffffffff80000000,
                                      0x123456789abcdef0};
    FOR_REGS(d)
    {
        for (size_t n = 0; n < 9; n++) {
            uint64_t v = values[n];
            bool sign = (int64_t)v < 0 && (int64_t)v >= INT32_MIN;
            x64_mov_ri(&x, d, v);
            if (sign) {
                char a[64];
                snprintf(a, sizeof(a), "mov %s", reg(8, d));
                expect_imm(a, 8, (int32_t)v);
                continue;
            }
            char number[32];
            expect("%s %s, %s", v > UINT32_MAX ? "movabs" : "mov",
                   reg(v <= UINT32_MAX ? 4 : 8, d), hex(number, (int64_t)v));
        }
    }
}
END_TEST

START_TEST(test_one_register)
{
    static const struct {
        int op;
        const char *name;
    } shifts[] = {{X_ROL, "rol"},
                  {X_ROR, "ror"},
                  {X_SHL, "shl"},
                  {X_SHR, "shr"},
                  {X_SAR, "sar"}},
      unary[] = {{X_NOT, "not"},
                 {X_NEG, "neg"},
                 {X_MUL, "mul"},
                 {X_DIV, "div"},
                 {X_IDIV, "idiv"}};
    char head[64];
    FOR_WIDTHS(w) FOR_REGS(d)
    {
        for (int n = 0; n < 5; n++) {
            const char *r = reg(w, d);
            x64_shift_i(&x, (enum x64_shift)shifts[n].op, w, d, 5);
            expect("%s %s, 5", shifts[n].name, r);
            x64_shift_i(&x, (enum x64_shift)shifts[n].op, w, d, 1);
            expect("%s %s, 1", shifts[n].name, r);
            x64_shift_cl(&x, (enum x64_shift)shifts[n].op, w, d);
            expect("%s %s, cl", shifts[n].name, r);
            x64_unary(&x, (enum x64_unary)unary[n].op, w, d);
            expect("%s %s", unary[n].name, r);
        }
        for (size_t n = 0; n < 7; n++) {
            x64_test_ri(&x, w, d, imms[n]);
            snprintf(head, sizeof(head), "test %s", reg(w, d));
            expect_imm(head, w, imms[n]);
        }
        if (w >= 4) {
            x64_bswap(&x, w, d);
            expect("bswap %s", reg(w, d));
            x64_bt_ri(&x, w, d, 19);
            expect("bt %s, 0x13", reg(w, d));
            x64_imul_rri(&x, w, d, 15 - d, 100);
            expect("imul %s, %s, 0x64", reg(w, d), reg(w, 15 - d));
            x64_imul_rri(&x, w, d, 15 - d, 0x12345);
            expect("imul %s, %s, 0x12345", reg(w, d), reg(w, 15 - d));
        }
    }
    FOR_REGS(d)
    {
        x64_bswap(&x, 2, d);
        expect("rol %s, 8", reg(2, d));
        x64_push(&x, d);
        expect("push %s", reg(8, d));
        x64_pop(&x, d);
        expect("pop %s", reg(8, d));
        x64_jmp_r(&x, d);
        expect("jmp %s", reg(8, d));
        x64_call_r(&x, d);
        expect("call %s", reg(8, d));
        for (unsigned cc = 0; cc < 16; cc++) {
            x64_setcc(&x, cc, d);
            expect("set%s %s", cc_names[cc], reg(1, d));
        }
    }
    x64_cdq(&x, 4);
    expect("cdq");
    x64_cdq(&x, 8);
    expect("cqo");
    x64_ret(&x);
    expect("ret");
    x64_trap(&x);
    expect("int3");
}
END_TEST

START_TEST(test_memory_only)
{
    FOR_MEMS(m)
    {
        unsigned r = mi_ % 16;
        unsigned cc = mi_ % 16;
        x64_cmov_rm(&x, cc, 8, r, m);
        expect("cmov%s %s, %s", cc_names[cc], reg(8, r), mem_text(8, m));
        x64_jmp_m(&x, m);
        expect("jmp %s", mem_text(8, m));
        x64_call_m(&x, m);
        expect("call %s", mem_text(8, m));
        x64_prefetch(&x, m);
        expect("prefetcht0 %s", mem_text(1, m));
        FOR_WIDTHS(w)
        {
            uint32_t to = w == 8 ? 8 : 4;
            x64_crc32_rm(&x, w, r, m);
            expect("crc32 %s, %s", reg(to, r), mem_text(w, m));
            x64_crc32_rr(&x, w, r, 15 - r);
            expect("crc32 %s, %s", reg(to, r), reg(w, 15 - r));
        }
    }
}
END_TEST

/* Jumps of every distance around the limits of the short form. */
START_TEST(test_jumps)
{
    for (uint32_t gap = 100; gap < 150; gap++) {
        for (int form = 0; form < 3; form++) {
            x64_close(&x);
            x64_open(&x, &mem);
            for (int pass = 0; pass < 3; pass++) {
                x64_begin(&x);
                x64_label back = x64_label_new(&x), ahead = x64_label_new(&x);
                x64_place(&x, back);
                if (form == 2) {
                    x64_lea_label(&x, R9, ahead);
                } else if (form == 1) {
                    x64_jmp(&x, ahead);
                } else {
                    x64_jcc(&x, CC_A, ahead);
                }
                for (uint32_t n = 0; n < gap; n++) {
                    x64_trap(&x);
                }
                x64_place(&x, ahead);
                x64_jcc(&x, CC_E, back);
                ck_assert(x64_finish(&x));
            }
            cs_insn *insn;
            size_t n = cs_disasm(disassembler, x.buf, x.len, 0, 0, &insn);
            ck_assert_uint_eq(n, gap + 2);
            uint64_t to = insn[n - 1].address;
            char want[64];
            if (form == 2) {
                snprintf(want, sizeof(want), "r9, [rip + 0x%" PRIx64 "]",
                         to - insn[0].size);
            } else {
                snprintf(want, sizeof(want), "0x%" PRIx64, to);
                ck_assert_uint_eq(insn[0].size,
                                  gap <= 127 ? 2 : 5 + (form == 0));
            }
            ck_assert_str_eq(insn[0].op_str, want);
            ck_assert_str_eq(insn[n - 1].op_str, "0");
            cs_free(insn, n);
        }
    }
}
END_TEST

START_TEST(test_sticky_error)
{
    x64_load(&x, 8, RAX, x64_index(RAX, RSP, 1, 0)); /* rsp is no index */
    ck_assert(x.error);
    uint32_t len = x.len;
    x64_ret(&x);
    ck_assert_uint_eq(x.len, len);
    ck_assert(!x64_finish(&x));
    x64_close(&x);
    x64_open(&x, &mem);
    x64_begin(&x);
    x64_jmp(&x, x64_label_new(&x)); /* never placed */
    ck_assert(!x64_finish(&x));
}
END_TEST

/* Constants come out whole, and show at most two of their bytes in a row. */
START_TEST(test_chosen)
{
    static const uint64_t values[] = {0,
                                      0xffff,
                                      0x10000,
                                      (uint64_t)-32768,
                                      (uint64_t)-32769,
                                      0x0f05c3cc,
                                      0xcccccccc,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x100000000,
                                      0x0f05c3cc0f05c3cc,
                                      0xdeadbeefcafebabe,
                                      UINT64_MAX,
                                      1ull << 63};
    for (size_t n = 0; n < sizeof(values) / 8; n++) {
        for (int keys = 0; keys < 50; keys++) {
            x64_close(&x);
            x64_open(&x, &mem);
            x64_begin(&x);
            x64_mov_chosen(&x, RAX, values[n]);
            x64_ret(&x);
            ck_assert(x64_finish(&x));
            size_t room = (x.len + 4095) / 4096 * 4096;
            uint8_t *rx = mem.code_alloc(mem.ctx, room);
            uint8_t *rw = mem.code_open(mem.ctx, rx, x.len);
            memcpy(rw, x.buf, x.len);
            mem.code_seal(mem.ctx, rx, rw, x.len);
            ck_assert_uint_eq(((uint64_t(*)(void))(void *)rx)(), values[n]);
            mem.code_free(mem.ctx, rx, room);
            bool shown = x64_harmless((int64_t)values[n]);
            for (size_t b = 0; b < 6 && !shown; b++) {
                uint32_t chosen = (uint32_t)(values[n] >> (8 * b)) & 0xffffff;
                if (chosen == 0 || chosen == 0xffffff || chosen < 0x10000) {
                    continue; /* within what every program shows */
                }
                for (size_t at = 0; at + 3 <= x.len; at++) {
                    ck_assert_msg(memcmp(x.buf + at, &chosen, 3) != 0,
                                  "%06x of %016" PRIx64 " shows", chosen,
                                  values[n]);
                }
            }
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dpf-x86_64");
    TCase *t = tcase_create("x86_64");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_alu);
    tcase_add_test(t, test_alu_memory);
    tcase_add_test(t, test_memory_operands_without_base);
    tcase_add_test(t, test_moves);
    tcase_add_test(t, test_register_moves);
    tcase_add_test(t, test_mov_immediate);
    tcase_add_test(t, test_one_register);
    tcase_add_test(t, test_memory_only);
    tcase_add_test(t, test_jumps);
    tcase_add_test(t, test_sticky_error);
    tcase_add_test(t, test_chosen);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
