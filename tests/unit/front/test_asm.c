/* SPDX-License-Identifier: MIT */
/*
 * dpf/text/dump.c and dpf/front/asm.c: what one prints the other reads, bit by
 * bit, for any bits; messages have the right place.
 */
#include "dpf/host.h"
#include "dpf/vm/isa.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Print, read back, compare. */
static void round_trip(const struct dpf_insn *insns, size_t count)
{
    char *text = NULL;
    size_t len = 0;
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    FILE *f = open_memstream(&text, &len);
    ck_assert_ptr_nonnull(f);
    dpf_dump_insns(f, insns, count);
    fclose(f);
    int result = dpf_from_asm(text, len, &code, &err);
    ck_assert_msg(result == 0, "%s at %u of:\n%s", err.text, err.position,
                  text);
    ck_assert_uint_eq(code.count, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(memcmp(&insns[i], &code.insns[i], 8) == 0,
                      "instruction %zu differs in:\n%s", i, text);
    }
    dpf_code_finish(&code);
    free(text);
}

START_TEST(any_opcode_reads_back)
{
    for (int op = 0; op < 256; op++) {
        for (int k = 0; k < 6; k++) {
            uint64_t r = next_random();
            struct dpf_insn p[3] = {
                {.opcode = (uint8_t)op,
                 .regs = (uint8_t)(k & 1 ? r & 0x0f : r),
                 .off = (int16_t)(k & 2   ? 0
                                  : k & 4 ? 1
                                          : r >> 8),
                 .imm = (int32_t)(k & 8    ? 0
                                  : k & 16 ? r >> 32
                                           : r >> 58)},
                {.imm = (int32_t)(r >> 20), .opcode = r & 64 ? 0 : 0x95},
                {.opcode = BPF_JMP | BPF_EXIT}};
            round_trip(p, 3);
        }
    }
}
END_TEST

START_TEST(random_programs_read_back)
{
    for (int k = 0; k < 50; k++) {
        struct dpf_insn p[40];
        for (int i = 0; i < 40; i++) {
            uint64_t r = next_random();
            p[i] = (struct dpf_insn){
                .opcode = (uint8_t)((r & 7) < 3 ? 0x05 | (r >> 8 & 0xf8) : r),
                .regs = (uint8_t)(r >> 16 & 0x77),
                .off = (int16_t)((r >> 24) % 60 - 30),
                .imm = (int32_t)((r >> 32) % 40)};
        }
        p[39] = (struct dpf_insn){.opcode = BPF_JMP | BPF_EXIT};
        round_trip(p, 40);
    }
}
END_TEST

static const struct {
    const char *text;
    uint64_t bits; /* the first instruction, as one number */
} forms[] = {
    {"exit", 0x0000000000000095},
    {"r0 = 5", 0x00000005000000b7},
    {"w0 = 5", 0x00000005000000b4},
    {"r1 = r10", 0x000000000000a1bf},
    {"w3 = w4", 0x00000000000043bc},
    {"r2 = -1", 0xffffffff000002b7},
    {"w2 = 0xffffffff", 0xffffffff000002b4},
    {"r0 = *(u16 *)(r1 + 12)", 0x00000000000c1069},
    {"r0 = *(s8 *)(r1 - 1)", 0x00000000ffff1091},
    {"*(u32 *)(r10 - 4) = r3", 0x00000000fffc3a63},
    {"*(u8 *)(r10 - 4) = 7", 0x00000007fffc0a72},
    {"r0 = be16 r0", 0x00000010000000dc},
    {"r0 = le32 r0", 0x00000020000000d4},
    {"r0 = bswap64 r0", 0x00000040000000d7},
    {"r0 += r1", 0x000000000000100f},
    {"w0 s/= w1", 0x000000000001103c},
    {"r5 s>>= 3", 0x00000003000005c7},
    {"r5 = -r5", 0x0000000000000587},
    {"r5 = (s8)r6", 0x00000000000865bf},
    {"w5 = (s16)w6", 0x00000000001065bc},
    {"call 3", 0x0000000300000085},
    {"goto +0", 0x0000000000000005},
    {"gotol +7", 0x0000000700000006},
    {"if r1 == r2 goto +1\nexit", 0x000000000001211d},
    {"if w1 s< 9 goto +1\nexit", 0x00000009000101c6},
    {"if r1 & 0x10 goto +1 # comment", 0x0000001000010145},
    {".quad 0x123456789abcdef0", 0x123456789abcdef0},
    {"r7 = 0x1122334455667788 ll", 0x5566778800000718},
};

START_TEST(each_form_has_its_encoding)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    int r = dpf_from_asm(forms[_i].text, strlen(forms[_i].text), &code, &err);
    ck_assert_msg(r == 0, "%s: %s", forms[_i].text, err.text);
    uint64_t bits;
    memcpy(&bits, code.insns, 8);
    ck_assert_msg(bits == forms[_i].bits, "%s gives %016llx", forms[_i].text,
                  (unsigned long long)bits);
    dpf_code_finish(&code);
}
END_TEST

static const struct {
    const char *text;
    uint32_t position;
    const char *says;
} mistakes[] = {
    {"", 0, "no instruction"},
    {"r0 = 1\nexitt\n", 7, "not an instruction"},
    {"r11 = 1", 0, "registers"},
    {"r0 = w1", 5, "both registers"},
    {"r0 = 0x100000000", 5, "ll"},
    {"goto there", 5, "nowhere"},
    {"a: exit\na: exit", 8, "twice"},
    {"goto a\na:", 5, "no instruction follows"},
    {"if r0 = 1 goto +1", 6, "comparison"},
    {"r0 = *(u12 *)(r1 + 0)", 7, "u8"},
    {"r0 = *(u8 *)(r1 + 99999)", 18, "offset"},
    {"exit exit", 5, "follow"},
    {"w0 = 1 ll", 5, "64-bit"},
    {"r0 = be16 r1", 9, "one register"},
    {"r0 = 99999999999999999999", 5, "64 bits"},
};

START_TEST(mistakes_have_their_place)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    int r =
        dpf_from_asm(mistakes[_i].text, strlen(mistakes[_i].text), &code, &err);
    ck_assert_int_eq(r, -DPF_E_SYNTAX);
    ck_assert_msg(strstr(err.text, mistakes[_i].says) != NULL, "%s", err.text);
    ck_assert_msg(err.position == mistakes[_i].position, "%s at %u",
                  mistakes[_i].text, err.position);
    ck_assert_ptr_null(code.insns);
}
END_TEST

/* A conditional jump over 40,000 instructions becomes three. */
START_TEST(far_jumps_are_widened)
{
    size_t n = 40000;
    char *text = malloc(n * 8 + 64), *p = text;
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    p += sprintf(p, "if r1 == 0 goto end\n");
    for (size_t i = 0; i < n; i++) {
        p += sprintf(p, "w0 = 1\n");
    }
    p += sprintf(p, "end: exit\n");
    ck_assert_int_eq(dpf_from_asm(text, (size_t)(p - text), &code, &err), 0);
    ck_assert_uint_eq(code.count, n + 4);
    ck_assert_int_eq(code.insns[0].off, 1);
    ck_assert_int_eq(code.insns[2].opcode, BPF_JMP32 | BPF_JA);
    ck_assert_int_eq(code.insns[2].imm, (int32_t)n);
    dpf_code_finish(&code);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("asm");
    TCase *t = tcase_create("all");
    suite_add_tcase(s, t);
    tcase_add_test(t, any_opcode_reads_back);
    tcase_add_test(t, random_programs_read_back);
    tcase_add_loop_test(t, each_form_has_its_encoding, 0,
                        sizeof(forms) / sizeof(*forms));
    tcase_add_loop_test(t, mistakes_have_their_place, 0,
                        sizeof(mistakes) / sizeof(*mistakes));
    tcase_add_test(t, far_jumps_are_widened);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
