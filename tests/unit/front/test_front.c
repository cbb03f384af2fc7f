/* SPDX-License-Identifier: MIT */
/*
 * The other front ends: classic BPF against libpcap's interpreter, the place
 * of mistakes in expressions, atoms against their meaning, and objects cut
 * and damaged at every byte.
 */
#include "dpf/host.h"
#include "dpf/host/mem.h"

#include <check.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

static struct dpf_mem mem;

static struct dpf_program *verified(const struct dpf_code *code)
{
    struct dpf_program *p = NULL;
    struct dpf_error err = {0};
    int r = dpf_program_create(&mem, DPF_FILTER | DPF_COMPILE, code->insns,
                               code->count, &p, &err);
    ck_assert_msg(r == 0, "%s", err.text);
    return p;
}

/* ------------------------------------------------------------ classic BPF */

#define S(code, k)                                                             \
    {                                                                          \
        (code), 0, 0, (k)                                                      \
    }
#define J(code, k, jt, jf)                                                     \
    {                                                                          \
        (code), (jt), (jf), (k)                                                \
    }

static const struct {
    const char *what;
    struct dpf_cbpf p[12];
    size_t n;
} programs[] = {
    {"A and X start as 0", {S(0x0c, 0), S(0x04, 1), S(0x16, 0)}, 3},
    {"scratch holds a word",
     {S(0x30, 0), S(0x02, 15), S(0x00, 9), S(0x60, 15), S(0x16, 0)},
     5},
    {"X through scratch",
     {S(0x01, 77), S(0x03, 2), S(0x61, 2), S(0x87, 0), S(0x16, 0)},
     5},
    {"division by X = 0 ends with 0", {S(0x00, 5), S(0x3c, 0), S(0x06, 9)}, 3},
    {"modulo by X = 0 ends with 0", {S(0x00, 5), S(0x9c, 0), S(0x06, 9)}, 3},
    {"shift by 31", {S(0x00, 1), S(0x64, 31), S(0x16, 0)}, 3},
    {"shift by X = 32", {S(0x00, 1), S(0x01, 32), S(0x6c, 0), S(0x16, 0)}, 4},
    {"right shift by a huge X",
     {S(0x00, 0xffffffff), S(0x01, 0x80000000), S(0x7c, 0), S(0x16, 0)},
     4},
    {"load at the last byte", {S(0x30, 19), S(0x16, 0)}, 2},
    {"load past the last byte", {S(0x30, 20), S(0x06, 1)}, 2},
    {"half at the end", {S(0x28, 18), S(0x16, 0)}, 2},
    {"half over the end", {S(0x28, 19), S(0x06, 1)}, 2},
    {"word at the end", {S(0x20, 16), S(0x16, 0)}, 2},
    {"word over the end", {S(0x20, 17), S(0x06, 1)}, 2},
    {"far load", {S(0x20, 0x7fffffff), S(0x06, 1)}, 2},
    {"farther load", {S(0x20, 0x80000000), S(0x06, 1)}, 2},
    {"indirect load that would wrap",
     {S(0x01, 0xffffffff), S(0x50, 1), S(0x06, 1)},
     3},
    {"indirect load", {S(0x01, 2), S(0x48, 3), S(0x16, 0)}, 3},
    {"header length", {S(0xb1, 5), S(0x87, 0), S(0x16, 0)}, 3},
    {"length", {S(0x80, 0), S(0x16, 0)}, 2},
    {"negation", {S(0x00, 5), S(0x84, 0), S(0x16, 0)}, 3},
    {"jset without inverse",
     {S(0x30, 1), J(0x45, 1, 0, 1), S(0x06, 7), S(0x06, 8)},
     4},
    {"jgt both ways",
     {S(0x30, 1), J(0x25, 0, 1, 0), S(0x06, 7), S(0x06, 8)},
     4},
    {"jeq x",
     {S(0x30, 1), S(0x07, 0), J(0x1d, 0, 1, 0), S(0x06, 7), S(0x06, 8)},
     5},
    {"a loop (protochain)",
     {S(0x00, 0), S(0x04, 3), J(0x35, 9, 1, 0), S(0x05, 0xfffffffd),
      S(0x16, 0)},
     5},
};

START_TEST(classic_answers_as_libpcap)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    uint8_t packet[20];
    for (size_t i = 0; i < sizeof(packet); i++) {
        packet[i] = (uint8_t)(i * 37 + 1);
    }
    int r = dpf_from_cbpf(programs[_i].p, programs[_i].n, &code, &err);
    ck_assert_msg(r == 0, "%s: %s", programs[_i].what, err.text);
    struct dpf_program *p = verified(&code);
    for (uint32_t len = 0; len <= sizeof(packet); len++) {
        uint8_t *copy = malloc(len + !len); /* the sanitizer guards its end */
        memcpy(copy, packet, len);
        struct dpf_run run = {.regions = {{copy, len}}, .region_count = 1};
        uint64_t want =
            bpf_filter((const struct bpf_insn *)(const void *)programs[_i].p,
                       copy, len, len);
        ck_assert_msg(dpf_program_interp(p, &run).r0 == want,
                      "%s, %u bytes: interpreter", programs[_i].what, len);
        ck_assert_msg(dpf_filter_run(p, copy, len) == want,
                      "%s, %u bytes: native", programs[_i].what, len);
        free(copy);
    }
    dpf_program_destroy(p);
    dpf_code_finish(&code);
}
END_TEST

static const struct {
    struct dpf_cbpf p[3];
    size_t n;
    const char *says;
} refused[] = {
    {{S(0x30, 0xfffff02c), S(0x06, 1)}, 2, "metadata"},
    {{S(0x28, 0xfffff000), S(0x06, 1)}, 2, "metadata"},
    {{S(0x60, 16), S(0x06, 1)}, 2, "16 words"},
    {{S(0x34, 0), S(0x06, 1)}, 2, "constant 0"},
    {{J(0x15, 0, 1, 0), S(0x06, 1)}, 2, "outside"},
    {{S(0x05, 0x7fffffff), S(0x06, 1)}, 2, "outside"},
    {{S(0x05, 0xfffffffd), S(0x06, 1)}, 2, "outside"},
    {{S(0x00, 1)}, 1, "must return"},
    {{S(0xff, 1), S(0x06, 1)}, 2, "classic"},
    {{S(0x100, 1), S(0x06, 1)}, 2, "classic"},
    {{S(0x0e, 1)}, 1, "returns"},
    {{S(0x06, 1)}, 0, "1 to"},
};

/* Left to chance in libpcap up to 1.10, zero in later ones and here. */
START_TEST(scratch_starts_as_zero)
{
    static const struct dpf_cbpf p[] = {S(0x60, 3), S(0x04, 1), S(0x16, 0)};
    struct dpf_code code = {0};
    ck_assert_int_eq(dpf_from_cbpf(p, 3, &code, NULL), 0);
    struct dpf_program *program = verified(&code);
    ck_assert_uint_eq(dpf_filter_run(program, "", 0), 1);
    dpf_program_destroy(program);
    dpf_code_finish(&code);
}
END_TEST

START_TEST(classic_refusals)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    ck_assert_int_eq(dpf_from_cbpf(refused[_i].p, refused[_i].n, &code, &err),
                     -DPF_E_SYNTAX);
    ck_assert_msg(strstr(err.text, refused[_i].says) != NULL, "%s", err.text);
}
END_TEST

static const struct {
    const char *text;
    uint32_t position;
    const char *says;
} bad_ddd[] = {
    {"", 0, "number of"},
    {"0\n", 1, "1 to"},
    {"2\n6 0 0 1\n", 10, "instruction 1 of 2"},
    {"1\n6 0 0 1\n7\n", 11, "more numbers"},
    {"1\n6 0 0 x\n", 8, "four"},
    {"1\n6 0 300 0\n", 6, "four"},
    {"99999999\n", 0, "number of"},
    {"1\n6 0 0 1\nzz", 10, "decimal"},
};

START_TEST(ddd_mistakes)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    int r =
        dpf_from_ddd(bad_ddd[_i].text, strlen(bad_ddd[_i].text), &code, &err);
    ck_assert_int_lt(r, 0);
    ck_assert_msg(strstr(err.text, bad_ddd[_i].says) != NULL, "%s", err.text);
    if (_i != 1) {
        ck_assert_uint_eq(err.position, bad_ddd[_i].position);
    }
}
END_TEST

/* ------------------------------------------------------------ expressions */

static const struct {
    const char *text;
    uint32_t position;
    const char *says;
} bad_expr[] = {
    {"tcp port = 80", 9, "without '='"},
    {"ip.addr == 10.0.0.1", 0, "display filter"},
    {"tcp and and udp", 8, "'and' cannot stand here"},
    {"(tcp or udp", 11, "too early"},
    {"host 10.0.0.1 prot 80", 14, "'prot'"},
    {"ether[0", 7, "too early"},
    {"port 80 or 443 or", 17, "too early"},
    {"tcp)", 3, "')'"},
    {"host 1.2.3.456", 5, "1.2.3.456"},
    {"src 10.0.0.1 and (port 80 or port 443) foo", 39, "'foo'"},
    {"vlan 99999", 0, "4095"},
    {"ip broadcast", 0, "dst host"},
};

START_TEST(expression_mistakes_have_their_place)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    ck_assert_int_eq(dpf_from_expr(bad_expr[_i].text, 1, 0, &code, &err),
                     -DPF_E_SYNTAX);
    ck_assert_msg(strstr(err.text, bad_expr[_i].says) != NULL, "%s", err.text);
    ck_assert_msg(err.position == bad_expr[_i].position, "%s: at %u",
                  bad_expr[_i].text, err.position);
}
END_TEST

/* ------------------------------------------------------------------ atoms */

static bool atoms_match(const char *text, const void *packet, size_t len)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    int r = dpf_from_atoms(text, strlen(text), &code, &err);
    ck_assert_msg(r == 0, "%s at %u in %s", err.text, err.position, text);
    struct dpf_program *p = verified(&code);
    bool match = dpf_filter_run(p, packet, len) != 0;
    dpf_program_destroy(p);
    dpf_code_finish(&code);
    return match;
}

START_TEST(atoms_mean_what_they_say)
{
    static const uint8_t p[12] = {0x45, 0x02, 0x0a, 0, 0,    5,
                                  0xff, 0xfe, 0x01, 0, 0x50, 9};
    ck_assert(atoms_match("eq [0:1] 0x45", p, 12));
    ck_assert(!atoms_match("eq [0:1] 0x46", p, 12));
    ck_assert(atoms_match("eq [0:1] & 0xf0 0x40", p, 12));
    ck_assert(atoms_match("eq [2:4] 10.0.0.5", p, 12));
    ck_assert(atoms_match("eq [2:6] 0a:00:00:05:ff:fe", p, 12));
    ck_assert(!atoms_match("eq [2:6] 0a:00:00:05:ff:ff", p, 12));
    ck_assert(atoms_match("eq [0:8] 0x45020a000005fffe", p, 12));
    ck_assert(atoms_match("in [2:4] {10.0.0.0/8}", p, 12));
    ck_assert(!atoms_match("in [2:4] {10.0.0.0/30, 10.0.0.6-10.1.0.0}", p, 12));
    ck_assert(atoms_match("in [6:2] {1, 2, 3, 4, 5, 6, 65534}", p, 12));
    ck_assert(
        atoms_match("in [0:8] {0x45020a000005fff0-0x45020a000005ffff}", p, 12));
    ck_assert(atoms_match("in [0:8] {0x45020a000005fffe/64}", p, 12));
    ck_assert(!atoms_match("in [0:8] {0/64}", p, 12));
    ck_assert(atoms_match("in [0:8] {0/0}", p, 12));
    /* SHIFT: low nibble 5 << 1 = 10, so [0:1] is p[10] */
    ck_assert(atoms_match("shift [0:1] & 0x0f << 1 eq [0:1] 0x50", p, 12));
    ck_assert(atoms_match("shifti 4 shift [0:2] shifti 1 eq [0:1] 80", p, 12));
    /* bounds count offset + width */
    ck_assert(!atoms_match("eq [11:2] 0x0900", p, 12));
    ck_assert(!atoms_match("shift [6:2] eq [0:1] 0", p, 12));
    /* a short packet fails one alternative, not all */
    ck_assert(atoms_match("eq [20:1] 1 or eq [0:1] 0x45", p, 12));
    ck_assert(atoms_match("shift [6:2] eq [0:1] 0 or eq [1:1] 2", p, 12));
    ck_assert(!atoms_match("eq [20:1] 1 or eq [0:1] 0x44", p, 12));
}
END_TEST

/* Every value of a byte against a set, searched and looked up. */
START_TEST(sets_decide_every_value)
{
    char text[2048], *t = text;
    bool member[256] = {false};
    unsigned r = 12345u + (unsigned)_i * 7919u;
    t += sprintf(t, "in [0:1] {");
    for (int k = 0; k < 1 + _i; k++) {
        r = r * 1103515245u + 12345u;
        unsigned lo = r >> 24, hi = lo + (r >> 16 & 7);
        hi = hi > 255 ? 255 : hi;
        t += sprintf(t, k & 1 ? " %u-%u" : ", %u - 0x%x", lo, hi);
        for (unsigned v = lo; v <= hi; v++) {
            member[v] = true;
        }
        if (k == 0) { /* the first item has no comma in front */
            t = text + sprintf(text, "in [0:1] { %u - %u", lo, hi);
        }
    }
    sprintf(t, "}");
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    int result = dpf_from_atoms(text, strlen(text), &code, &err);
    ck_assert_msg(result == 0, "%s at %u of %s", err.text, err.position, text);
    struct dpf_program *p = verified(&code);
    for (int v = 0; v < 256; v++) {
        uint8_t byte = (uint8_t)v;
        ck_assert_msg((dpf_filter_run(p, &byte, 1) != 0) == member[v],
                      "%d in %s", v, text);
    }
    dpf_program_destroy(p);
    dpf_code_finish(&code);
}
END_TEST

static const struct {
    const char *text;
    uint32_t position;
    const char *says;
} bad_atoms[] = {
    {"", 0, "at least one"},
    {"eq", 2, "'['"},
    {"eq [0:3] 1", 4, "OFFSET:WIDTH"},
    {"eq [0:1] 256", 9, "fit"},
    {"eq [0:1] & 0xf0 0x41", 16, "mask"},
    {"eq [0:2] 10.0.0.1", 9, "width"},
    {"in [0:1] {}", 4, "empty"},
    {"in [0:1] {5-3}", 10, "before"},
    {"in [0:4] {10.0.0.1/8}", 10, "prefix"},
    {"in [0:1] {1", 11, "expected"},
    {"frob", 0, "expected eq"},
    {"eq [0:1] 1 or", 13, "at least one"},
    {"shift [0:8]", 7, "1, 2 or 4"},
    {"eq [99999:1] 1", 4, "65535"},
    {"eq [0:4] 10.0.0.256", 9, "IPv4"},
};

START_TEST(atoms_mistakes_have_their_place)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    ck_assert_int_eq(dpf_from_atoms(bad_atoms[_i].text,
                                    strlen(bad_atoms[_i].text), &code, &err),
                     -DPF_E_SYNTAX);
    ck_assert_msg(strstr(err.text, bad_atoms[_i].says) != NULL, "%s", err.text);
    ck_assert_msg(err.position == bad_atoms[_i].position, "%s: at %u",
                  bad_atoms[_i].text, err.position);
}
END_TEST

/* ---------------------------------------------------------------- objects */

static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(1 << 20);
    ck_assert_ptr_nonnull(f);
    *len = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

START_TEST(object_has_program_and_lines)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    size_t len;
    uint8_t *bytes = slurp(getenv("DPF_TEST_OBJECT"), &len);
    ck_assert_int_eq(dpf_from_object(bytes, len, NULL, &code, &err), 0);
    ck_assert_ptr_nonnull(code.lines);
    ck_assert_ptr_nonnull(strstr(code.lines[1].file, "object.c"));
    ck_assert_uint_gt(code.lines[1].line, 0);
    static const uint8_t udp[60] = {[12] = 8, [23] = 17};
    struct dpf_program *p = verified(&code);
    ck_assert_uint_ne(dpf_filter_run(p, udp, sizeof(udp)), 0);
    ck_assert_uint_eq(dpf_filter_run(p, udp, 20), 0);
    dpf_program_destroy(p);
    dpf_code_finish(&code);
    ck_assert_int_eq(dpf_from_object(bytes, len, "nosuch", &code, &err),
                     -DPF_E_SYNTAX);
    ck_assert_ptr_nonnull(strstr(err.text, "nosuch"));
    free(bytes);
}
END_TEST

/* Cut at every length, and every byte set to values that hurt. */
START_TEST(damaged_objects_are_safe)
{
    size_t len;
    uint8_t *bytes = slurp(getenv("DPF_TEST_OBJECT"), &len);
    for (size_t i = 0; i < len; i++) {
        static const uint8_t evil[] = {0x00, 0x7f, 0x80, 0xff};
        struct dpf_code code = {0};
        uint8_t *cut = malloc(i + 1);
        memcpy(cut, bytes, i);
        if (dpf_from_object(cut, i, NULL, &code, NULL) == 0) {
            dpf_code_finish(&code);
        }
        free(cut);
        for (size_t k = 0; k < sizeof(evil); k++) {
            uint8_t old = bytes[i];
            bytes[i] = evil[k];
            if (dpf_from_object(bytes, len, NULL, &code, NULL) == 0) {
                dpf_code_finish(&code);
            }
            bytes[i] = old;
        }
    }
    free(bytes);
}
END_TEST

static void put(uint8_t *p, uint64_t v, int width)
{
    for (int i = 0; i < width; i++) {
        p[i] = (uint8_t)(v >> 8 * i);
    }
}

/* Every section's name is all that follows: read once for each it takes
   minutes. The case's time limit is the test. */
START_TEST(long_names_cost_no_time)
{
    enum { SECTIONS = 65000, NAMES = 16 << 20, AT = 64 * (SECTIONS + 1) };
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    uint8_t *o = calloc(1, AT + NAMES);
    ck_assert_ptr_nonnull(o);
    memcpy(o,
           "\x7f"
           "ELF\2\1\1",
           7);
    put(o + 18, 247, 2);
    put(o + 40, 64, 8);
    put(o + 58, 64, 2);
    put(o + 60, SECTIONS, 2);
    put(o + 62, 1, 2);
    put(o + 64 + 64 + 24, AT, 8);
    put(o + 64 + 64 + 32, NAMES, 8);
    memset(o + AT, 'a', NAMES - 1);
    ck_assert_int_eq(dpf_from_object(o, AT + NAMES, "x", &code, &err),
                     -DPF_E_SYNTAX);
    free(o);
}
END_TEST

START_TEST(relocations_are_refused_by_name)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    size_t len;
    uint8_t *bytes = slurp(getenv("DPF_TEST_OBJECT_DATA"), &len);
    ck_assert_int_eq(dpf_from_object(bytes, len, NULL, &code, &err),
                     -DPF_E_SYNTAX);
    ck_assert_msg(strstr(err.text, "table") != NULL, "%s", err.text);
    free(bytes);
}
END_TEST

START_TEST(hex_and_raw)
{
    struct dpf_code code = {0};
    struct dpf_error err = {0};
    static const char good[] = "b7 00 00 00 01 00 00 00\n9500000000000000\n";
    ck_assert_int_eq(dpf_from_hex(good, strlen(good), &code, &err), 0);
    ck_assert_uint_eq(code.count, 2);
    ck_assert_uint_eq(code.insns[0].opcode, 0xb7);
    dpf_code_finish(&code);
    ck_assert_int_eq(dpf_from_hex("b7 0", 4, &code, &err), -DPF_E_SYNTAX);
    ck_assert_uint_eq(err.position, 3);
    ck_assert_int_eq(dpf_from_hex("b700", 4, &code, &err), -DPF_E_SYNTAX);
    ck_assert_int_eq(dpf_from_hex("", 0, &code, &err), -DPF_E_SYNTAX);
}
END_TEST

#define LOOP(t, f, table)                                                      \
    tcase_add_loop_test(t, f, 0, (int)(sizeof(table) / sizeof(*(table))))

int main(void)
{
    Suite *s = suite_create("front");
    TCase *t = tcase_create("all");
    if (dpf_host_mem_init(&mem) != 0) {
        return 2;
    }
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    LOOP(t, classic_answers_as_libpcap, programs);
    tcase_add_test(t, scratch_starts_as_zero);
    LOOP(t, classic_refusals, refused);
    LOOP(t, ddd_mistakes, bad_ddd);
    LOOP(t, expression_mistakes_have_their_place, bad_expr);
    tcase_add_test(t, atoms_mean_what_they_say);
    tcase_add_loop_test(t, sets_decide_every_value, 0, 40);
    LOOP(t, atoms_mistakes_have_their_place, bad_atoms);
    tcase_add_test(t, hex_and_raw);
    tcase_add_test(t, long_names_cost_no_time);
    if (getenv("DPF_TEST_OBJECT") != NULL) {
        tcase_add_test(t, object_has_program_and_lines);
        tcase_add_test(t, damaged_objects_are_safe);
        tcase_add_test(t, relocations_are_refused_by_name);
    }
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r,
                            CK_NOFORK); /* code pages are shared, not copied */
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    dpf_host_mem_finish(&mem);
    return failed != 0;
}
