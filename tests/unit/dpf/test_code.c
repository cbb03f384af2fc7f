/* SPDX-License-Identifier: MIT */
/*
 * Native code as memory: never writable and executable, packed, full of traps
 * where unused, and without the bytes that a program's author would like to
 * find in it.
 */
#define _GNU_SOURCE
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host/mem.h"
#include "dpf/x86_64/codeheap.h"
#include "tests/unit/dpf/asm.h"
#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct dpf_mem mem;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_ptr_nonnull(mem.code_alloc);
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
    ck_assert_msg(rc == 0, "%s", err.text);
    return p;
}

/* No mapping of the process may be writable and executable. */
static void check_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned code_maps = 0;
    ck_assert_ptr_nonnull(f);
    char line[512];
    while (fgets(line, sizeof(line), f) != NULL) {
        char prot[8] = "";
        ck_assert_int_eq(sscanf(line, "%*s %7s", prot), 1);
        ck_assert_msg(prot[1] != 'w' || prot[2] != 'x', "%s", line);
        if (strstr(line, "dpf-code") != NULL) {
            ck_assert_msg(prot[1] != 'w', "code is writable: %s", line);
            code_maps++;
        }
    }
    fclose(f);
    ck_assert_uint_ge(code_maps, 1);
}

START_TEST(test_never_writable)
{
    const struct dpf_insn code[] = {MOV_K(0, 1), EXIT()};
    struct dpf_program *p[50];
    for (size_t n = 0; n < COUNT(p); n++) {
        p[n] = make(DPF_RAW, code, COUNT(code));
        check_maps();
    }
    for (size_t n = 0; n < COUNT(p); n++) {
        dpf_program_destroy(p[n]);
    }
    check_maps();
}
END_TEST

START_TEST(test_packed)
{
    const struct dpf_insn code[] = {
        MOV_K(0, 0),
        LOAD(BPF_B, 3, 1, 4),
        JUMP_K(BPF_JNE, 3, 6, 1),
        MOV_K(0, 1),
        EXIT(),
    };
    uintptr_t low = UINTPTR_MAX, high = 0;
    size_t size = 0;
    struct dpf_program *p[200];
    for (size_t n = 0; n < COUNT(p); n++) {
        p[n] = make(DPF_FILTER, code, COUNT(code));
        uintptr_t at = (uintptr_t)dpf_program_code(p[n], &size);
        low = at < low ? at : low;
        high = at + size > high ? at + size : high;
    }
    ck_assert_uint_le(high - low, COUNT(p) * (size + 15));
    /* Freed places are traps and are used again. */
    const uint8_t *place = dpf_program_code(p[77], &size);
    dpf_program_destroy(p[77]);
    for (size_t n = 0; n < size; n++) {
        ck_assert_uint_eq(place[n], 0xcc);
    }
    p[77] = make(DPF_FILTER, code, COUNT(code));
    ck_assert_ptr_eq(dpf_program_code(p[77], &size), place);
    for (size_t n = 0; n < COUNT(p); n++) {
        dpf_program_destroy(p[n]);
    }
}
END_TEST

START_TEST(test_heap)
{
    /* Random sizes; contents survive the neighbours' coming and going. */
    uint8_t bytes[20000];
    struct {
        uint8_t *at;
        size_t size;
        uint8_t fill;
    } piece[64] = {0};
    unsigned seed = 3;
    for (int round = 0; round < 1000; round++) {
        seed = seed * 1103515245 + 12345;
        size_t n = seed >> 16 & 63;
        for (size_t b = 0; b < piece[n].size; b++) {
            ck_assert_uint_eq(piece[n].at[b], piece[n].fill);
        }
        codeheap_free(&mem, piece[n].at, piece[n].size);
        piece[n].size = (seed >> 8 & 255) < 250 ? 1 + (seed >> 4) % 900
                                                : 16000 + (seed >> 4) % 4000;
        piece[n].fill = (uint8_t)(seed >> 12);
        memset(bytes, piece[n].fill, piece[n].size);
        piece[n].at = codeheap_put(&mem, bytes, piece[n].size);
        ck_assert_ptr_nonnull(piece[n].at);
        ck_assert_uint_eq((uintptr_t)piece[n].at % 16, 0);
    }
    for (size_t n = 0; n < 64; n++) {
        codeheap_free(&mem, piece[n].at, piece[n].size);
    }
    ck_assert_ptr_null(codeheap_put(&mem, bytes, 0));
}
END_TEST

/* Which three bytes in a row of `k` an attacker chose freely, in `code`. */
static bool shows(const uint8_t *code, size_t size, uint64_t k, uint32_t width)
{
    for (uint32_t at = 0; at + 3 <= width; at++) {
        uint8_t want[3] = {(uint8_t)(k >> (8 * at)),
                           (uint8_t)(k >> (8 * at + 8)),
                           (uint8_t)(k >> (8 * at + 16))};
        if (memmem(code, size, want, sizeof(want)) != NULL) {
            return true;
        }
    }
    return false;
}

/* A filter's code is called as dpf.h says. */
START_TEST(test_called)
{
    const struct dpf_insn code[] = {LOAD(BPF_B, 0, 1, 4), EXIT()};
    struct dpf_program *p = make(DPF_FILTER, code, COUNT(code));
    uint8_t packet[5] = {[4] = 77};
    size_t size;
    dpf_filter_code *run = (dpf_filter_code *)dpf_program_code(p, &size);
    ck_assert_ptr_nonnull(run);
    ck_assert_uint_eq(run(packet, 5, DPF_FUEL_DEFAULT), 77);
    ck_assert_uint_eq(run(packet, 4, DPF_FUEL_DEFAULT), 0);
    dpf_program_destroy(p);
}
END_TEST

/* Gadgets as constants, wherever a program can put one. */
#define G32 0x0f05c3d9                   /* ret; syscall */
#define G64 UINT64_C(0xc3300f58220fc058) /* pop, mov cr3, wrmsr, ret */

static void check_hidden(enum dpf_type type, const struct dpf_insn *code,
                         size_t count, uint64_t k, uint32_t width)
{
    for (int keys = 0; keys < 2; keys++) {
        struct dpf_program *p = make(type, code, count);
        size_t size;
        const uint8_t *native = dpf_program_code(p, &size);
        ck_assert_msg(!shows(native, size, k, width),
                      "constant %" PRIx64 " shows; first opcode %02x", k,
                      code[1].opcode);
        dpf_program_destroy(p);
    }
}

START_TEST(test_constants_hidden)
{
    static const uint8_t alu[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,
                                  BPF_AND, BPF_MOD, BPF_XOR, BPF_MOV};
    static const uint8_t jumps[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT, BPF_JGE,
                                    BPF_JSET, BPF_JSLT, BPF_JLE};
    static const enum dpf_type types[] = {DPF_FILTER, DPF_RAW};
    for (size_t t = 0; t < 2; t++) {
        for (size_t n = 0; n < COUNT(alu); n++) {
            for (uint32_t class = BPF_ALU; class <= BPF_ALU64; class += 3) {
                const struct dpf_insn code[] = {
                    LOAD(BPF_W, 0, 1, 4),
                    INSN(class | alu[n], 0, 0, 0, G32),
                    EXIT(),
                };
                check_hidden(types[t], code, COUNT(code), G32, 4);
            }
        }
        for (size_t n = 0; n < COUNT(jumps); n++) {
            for (uint32_t class = BPF_JMP; class <= BPF_JMP32; class ++) {
                const struct dpf_insn code[] = {
                    LOAD(BPF_W, 0, 1, 4),
                    INSN(class | jumps[n], 0, 0, 1, G32),
                    MOV_K(0, 0),
                    EXIT(),
                };
                check_hidden(types[t], code, COUNT(code), G32, 4);
                const struct dpf_insn swapped[] = {
                    code[0], TO_BE(0, 32), code[1], code[2], EXIT(),
                };
                check_hidden(types[t], swapped, COUNT(swapped), G32, 4);
                check_hidden(types[t], swapped, COUNT(swapped),
                             __builtin_bswap32(G32), 4);
            }
        }
        const struct dpf_insn wide[] = {LDDW(3, G64), MOV_X(0, 3), EXIT()};
        check_hidden(types[t], wide, COUNT(wide), G64, 8);
    }
}
END_TEST

START_TEST(test_constants_hidden_in_memory_operands)
{
    const struct dpf_insn stores[] = {
        MOV_K(0, 1),
        STORE_K(BPF_W, 1, 4, G32),
        STORE_K(BPF_DW, 1, 8, G32),
        STORE_K(BPF_DW, 10, -8, G32),
        STORE_K(BPF_H, 10, -0x58, 0x0fc3),
        EXIT(),
    };
    check_hidden(DPF_RAW, stores, COUNT(stores), G32, 4);
    /* A displacement beside an immediate: a8 c3 0f would be chosen whole. */
    check_hidden(DPF_RAW, stores, COUNT(stores), 0x0fc3a8, 3);
    /* Lists of constants become tables. */
    struct dpf_insn list[40] = {LOAD(BPF_W, 3, 1, 4), MOV_K(0, 1)};
    for (uint32_t n = 0; n < 16; n++) {
        list[2 + n] =
            JUMP32_K(BPF_JEQ, 3, (uint32_t)G32 + (n << 24), 16 - (int)n);
    }
    list[18] = MOV_K(0, 0);
    list[19] = EXIT();
    check_hidden(DPF_FILTER, list, 20, G32, 4);
}
END_TEST

/* After fork the child can run what there is and make nothing new. */
START_TEST(test_fork)
{
    const struct dpf_insn code[] = {MOV_K(0, 7), EXIT()};
    struct dpf_program *p = make(DPF_FILTER, code, COUNT(code));
    pid_t child = fork();
    if (child == 0) {
        struct dpf_program *q = NULL;
        int rc = dpf_program_create(&mem, DPF_FILTER | DPF_COMPILE, code,
                                    COUNT(code), &q, NULL);
        _exit(rc == -DPF_E_MEM && dpf_filter_run(p, "", 1) == 7 ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_uint_eq(dpf_filter_run(p, "", 1), 7);
    dpf_program_destroy(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dpf-code");
    TCase *t = tcase_create("code");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_never_writable);
    tcase_add_test(t, test_packed);
    tcase_add_test(t, test_heap);
    tcase_add_test(t, test_called);
    tcase_add_test(t, test_constants_hidden);
    tcase_add_test(t, test_constants_hidden_in_memory_operands);
    tcase_add_test(t, test_fork);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
