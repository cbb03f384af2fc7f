/* SPDX-License-Identifier: MIT */
/*
 * Lift: which programs are read whole, and that programs which accept the
 * same packets give one diagram, however they are written.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/diagram/confirm.h"
#include "dpf/diagram/guard.h"
#include "dpf/diagram/lift.h"
#include "dpf/diagram/lower.h"
#include "dpf/diagram/space.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "dpf/vm/isa.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dpf_mem mem;
static struct heap heap;
static struct dd d;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    heap = (struct heap){.mem = &mem};
    ck_assert_int_eq(dd_init(&d, &heap), 0);
}

static void teardown(void)
{
    dd_finish(&d);
    ck_assert_uint_eq(heap.bytes, 0);
    dpf_host_mem_finish(&mem);
}

/* Filters read straight to a cube, which must be what their diagram says. */
static unsigned conjunctions;

/* Filters taken apart into a few cubes, which are them again together. */
static unsigned taken_apart;

static void take_apart(uint32_t root)
{
    static struct cube part[9];
    uint32_t n = cube_split(&d, root, part, 8), all = DD_NO;
    ck_assert_int_eq(d.err, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t one = cube_diagram(&d, &part[i]);
        ck_assert_uint_eq(dd_and(&d, all, one), DD_NO);
        all = dd_ite(&d, one, DD_YES, all);
    }
    ck_assert(n == 0 || all == root);
    taken_apart += n > 1;
}

/* Diagrams that became programs again, which answer as they do. */
static unsigned lowered;

static uint64_t seed = 1;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* A packet that may be in cube c: its bytes, and lengths about those it asks
   for. */
static size_t near(const struct cube *c, uint8_t *p, size_t room)
{
    size_t len = rnd(8) ? 40 + rnd(80) : rnd((uint32_t)room);
    for (size_t i = 0; i < room; i++) {
        p[i] = (uint8_t)(rnd(2) ? rnd(256) : rnd(2) * 6);
    }
    p[14] = (uint8_t)(0x40 | (rnd(4) ? 5 : rnd(16)));
    for (uint32_t i = 0; i < c->count; i++) {
        size_t at = dd_base_at(d.bases, dd_var_base(c->bytes[i].var), p, room);
        at += dd_var_off(c->bytes[i].var);
        if (at < room && rnd(16)) {
            p[at] = (uint8_t)((p[at] & ~c->bytes[i].mask) | c->bytes[i].value);
        }
    }
    return len;
}

static bool in_cube(const struct cube *c, const uint8_t *p, size_t len)
{
    struct dd_mark m = dd_mark(&d);
    bool in = dd_eval(&d, cube_diagram(&d, c), p, len) == DD_YES;
    dd_release(&d, m);
    return in;
}

/* `root`, of program p, as a program: of all packets, of those in its hull. */
static void take_down(uint32_t root, const struct dpf_program *p)
{
    static struct cube hull;
    struct dpf_program *q[2] = {NULL, NULL};
    struct dd_mark m = dd_mark(&d);
    int rc = 0;
    ck_assert_int_eq(cube_hull(&d, dd_apply(&d, DD_MAY, root, 0, 0), &hull), 0);
    for (uint32_t i = 0; i < 2 && rc == 0; i++) {
        rc = dd_lower(&d, root, i ? &hull : NULL, &mem, p, &q[i]);
        ck_assert(rc == 0 || rc == -DPF_E_TOO_BIG);
    }
    uint8_t packet[300];
    for (uint32_t i = 0; i < 500 && rc == 0; i++) {
        size_t len = near(&hull, packet, sizeof(packet));
        uint32_t term = dd_eval(&d, root, packet, len);
        bool want = term == DD_MAYBE ? dpf_filter_run(p, packet, len) != 0
                                     : term == DD_YES;
        ck_assert((dpf_filter_run(q[0], packet, len) != 0) == want);
        ck_assert(!in_cube(&hull, packet, len) ||
                  (dpf_filter_run(q[1], packet, len) != 0) == want);
    }
    lowered += rc == 0;
    dpf_program_destroy(q[0]);
    dpf_program_destroy(q[1]);
    dd_release(&d, m);
}

static bool whole(uint32_t f)
{
    return dd_apply(&d, DD_MAY, f, 0, 0) == dd_apply(&d, DD_MUST, f, 0, 0);
}

/* Wrong diagrams that accept less or more, and those found to be wrong. What a
   diagram accepts is where packets are made: so more of the latter. */
static unsigned mistaken[2], caught[2];

/* Diagram f with one edge of one node led elsewhere. */
static uint32_t mutated(uint32_t f, uint32_t elsewhere)
{
    static struct dd_edge edges[256];
    uint32_t *now = calloc(f + 1, sizeof(*now));
    uint32_t r = f;
    uint8_t *below = dd_below(&d, f, NULL);
    uint32_t victim;
    do {
        victim = rnd(f + 1);
    } while (!below[victim]);
    for (uint32_t i = 0; i <= f; i++) {
        uint32_t n = d.nodes[i].count;
        if (!below[i]) {
            continue;
        }
        for (uint32_t k = 0; k < n; k++) {
            edges[k] = d.edges[d.nodes[i].edges + k];
            edges[k].child = dd_renumber(edges[k].child, now);
        }
        if (i == victim) {
            edges[rnd(n)].child = elsewhere;
        }
        r = now[i] = dd_node(&d, d.nodes[i].var, edges, n);
    }
    heap_free(&heap, below, f + 1);
    free(now);
    return r;
}

/* A filter's reading is confirmed; mistakes in it are mostly found. */
static void confirm(uint32_t root, const struct dpf_program *p)
{
    struct dd_mark m = dd_mark(&d);
    uint32_t f = root;
    ck_assert(dd_is_guarded(&d, f) && !d.err);
    bool misread;
    ck_assert_int_eq(dd_confirm(&d, p, 0, NULL, &f, &misread), 0);
    ck_assert(!misread && f == root);
    uint32_t was;
    for (int i = 0; i < 10 && !dd_is_term(root); i++) {
        bool more = i % 2;
        f = was = mutated(root, more ? DD_YES : DD_NO);
        if (f == root || dd_is_term(f) || !whole(root)) {
            continue;
        }
        ck_assert_int_eq(dd_confirm(&d, p, 0, NULL, &f, &misread), 0);
        ck_assert(misread ? f == DD_MAYBE : f == was);
        mistaken[more]++;
        caught[more] += misread;
    }
    dd_release(&d, m);
}

static uint32_t lift_code(const struct dpf_insn *code, size_t count)
{
    struct dpf_program *p;
    struct dpf_error err;
    int rc = dpf_program_create(&mem, DPF_FILTER, code, count, &p, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    code = dpf_program_insns(p, &count);
    uint32_t root;
    ck_assert_int_eq(dd_lift(&d, code, count, NULL, &root), 0);
    root = space_settle(&d, root);
    ck_assert_int_eq(d.err, 0);
    uint32_t ignored;
    struct cube cube, split[2];
    if (dd_lift(&d, code, count, &cube, &ignored) == 1) {
        bool misread;
        ck_assert_int_eq(dd_confirm(&d, p, 1, &cube, &ignored, &misread), 1);
        ck_assert(cube_is_guarded(d.bases, &cube) && !misread);
        ck_assert_uint_eq(cube_diagram(&d, &cube), root);
        ck_assert(dd_is_term(root) || cube_split(&d, root, split, 1) == 1);
        conjunctions++;
    }
    take_apart(root);
    take_down(root, p);
    confirm(root, p);
    dpf_program_destroy(p);
    return root;
}

static uint32_t lift(const char *expr, unsigned flags)
{
    struct dpf_code code;
    struct dpf_error err;
    int rc = dpf_from_expr(expr, 1, flags, &code, &err);
    ck_assert_msg(rc == 0, "%s: %s", expr, err.text);
    uint32_t root = lift_code(code.insns, code.count);
    dpf_code_finish(&code);
    return root;
}

static uint32_t lift_asm(const char *text)
{
    struct dpf_code code;
    struct dpf_error err;
    int rc = dpf_from_asm(text, strlen(text), &code, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    uint32_t root = lift_code(code.insns, code.count);
    dpf_code_finish(&code);
    return root;
}

/* Pairs of ways to say one thing. */
static const char *const same[][2] = {
    {"tcp and host 10.0.0.1", "host 10.0.0.1 and tcp"},
    {"ip[16:4] = 0x0a000001", "ip dst host 10.0.0.1"},
    {"ip[16:2] = 0x0a00 and ip[18:2] = 1", "ip and dst host 10.0.0.1"},
    {"ip[18] = 0 and ip[16] = 10 and ip[19] = 1 and ip[17] = 0",
     "ip and dst host 10.0.0.1"},
    {"ip[19] & 0xf0 = 0 and ip[19] & 0x0f = 1 and ip[16:2] = 0x0a00 "
     "and ip[18] = 0",
     "ip and dst host 10.0.0.1"},
    {"ip[16:4] & 0xff000000 = 0x0a000000", "dst net 10.0.0.0/8 and ip"},
    {"ip[16:4] > 0x09ffffff and ip[16:4] < 0x0b000000",
     "ip and dst net 10.0.0.0/8"},
    {"tcp dst port 80 and ip", "ip[9] = 6 and tcp[2:2] = 80"},
    {"ip and tcp dst portrange 80-81", "ip and (tcp[2:2] = 80 or tcp[2:2]=81)"},
    {"tcp[0] = 0 and tcp[1] > 63 and tcp[1] < 128", "tcp[0:2] & 0xffc0 = 0x40"},
    {"ether[12:2] = 0x800", "ip"},
    {"ether[12] = 8 and ether[13] = 0", "ip"},
    {"not (not ip and not arp)", "arp or ip"},
    {"ip[0] = 0x45 and tcp dst port 80",
     "ip[0] = 0x45 and ip[9] = 6 and ip[6:2] & 0x1fff = 0 and "
     "ether[36:2] = 80"},
    {"ip[0] & 0xf = 6 and udp src port 53",
     "ip[0] & 15 = 6 and ip proto 17 and ip[7] = 0 and ip[6] & 31 = 0 and "
     "ether[38:2] = 53"},
    {"len >= 100 and len <= 100", "len = 100"},
    {"ip[8] - 1 > 63", "ip[8] = 0 or ip[8] > 64"},
    {"ip[8] + 10 < 50", "ip[8] < 40"},
    {"ip[16] / 16 = 14", "ip[16] & 0xf0 = 0xe0"},
};

START_TEST(test_same)
{
    for (unsigned flags = 0; flags < 2; flags++) {
        const char *const *pair = same[_i];
        uint32_t a = lift(pair[0], flags ? DPF_EXPR_PLAIN : 0);
        uint32_t b = lift(pair[1], 0);

        ck_assert_msg(a == b, "%s | %s", pair[0], pair[1]);
        ck_assert(whole(a));
    }
}
END_TEST

START_TEST(test_different)
{
    /* The original compared atoms without their width. */
    ck_assert_uint_ne(lift("ether[20:1] = 0", 0), lift("ether[20:2] = 0", 0));
    /* ... and bounds by offset instead of offset + width. */
    ck_assert_uint_ne(lift("ether[20:4] & 0xff000000 = 0x01000000", 0),
                      lift("ether[20] = 1", 0));
    ck_assert_uint_ne(lift("tcp dst port 80", 0), lift("udp dst port 80", 0));
}
END_TEST

/*
 * What no diagram over fields can say: chains of headers, arithmetic between
 * two fields, division, an address that the length decides.
 */
static const char *const beyond[] = {
    "protochain", "((tcp[12]", "% ip[", "/ ip[", "<< ip[",
    ">> ip[",     "% 2",       "/ 20",  "-ip[",  "len -",
};

static bool is_beyond(const char *expr)
{
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        if (strstr(expr, beyond[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Both kinds of IP, which ask for different lengths. */
START_TEST(test_lengths)
{
    static struct cube part[3];
    uint32_t root = lift("tcp dst port 80", 0);
    ck_assert_uint_eq(cube_split(&d, root, part, 2), 2);
    ck_assert_uint_eq(cube_split(&d, root, part, 1), 0);
    /* An upper bound is what no cube has. */
    root = lift("tcp dst port 80 and less 100", 0);
    ck_assert_uint_eq(cube_split(&d, root, part, 2), 0);
}
END_TEST

/* Every expression of the list, optimised by libpcap or not. */
START_TEST(test_expressions)
{
    FILE *f = fopen(getenv("EXPRESSIONS"), "r");
    unsigned total = 0, beyond_count = 0;
    ck_assert_ptr_nonnull(f);
    char line[4096];
    while (fgets(line, sizeof(line), f) != NULL) {
        struct dd_mark m = dd_mark(&d);
        line[strcspn(line, "\n")] = 0;
        struct dpf_error err;
        struct dpf_code code;
        if (!line[0] || line[0] == '#' ||
            dpf_from_expr(line, 1, 0, &code, &err)) {
            continue;
        }
        total++;
        ck_assert_msg(whole(lift_code(code.insns, code.count)) ||
                          is_beyond(line),
                      "not read whole: %s", line);
        beyond_count += is_beyond(line);
        dpf_code_finish(&code);
        /* libpcap's optimiser may see what its plain code hides. */
        (void)lift(line, DPF_EXPR_PLAIN);
        dd_release(&d, m);
        dd_bases_keep(&d, 0);
    }
    fclose(f);
    ck_assert_uint_ge(total, 124);
    ck_assert_uint_ge(conjunctions, 20);
    ck_assert_uint_ge(taken_apart, 20);
    ck_assert_uint_ge(lowered, 400);
    ck_assert_msg(caught[0] * 10 > mistaken[0] * 4 &&
                      caught[1] * 20 > mistaken[1] * 19,
                  "found %u of %u, and %u of %u", caught[0], mistaken[0],
                  caught[1], mistaken[1]);
    ck_assert_uint_lt(beyond_count * 10, total);
}
END_TEST

START_TEST(test_opaque)
{
    uint32_t f = lift("tcp port 80 and (ip[2:2] - ((ip[0]&0xf)<<2)) - "
                      "((tcp[12]&0xf0)>>2) != 0",
                      0);
    uint32_t prefix = lift("ip and tcp port 80", 0);
    uint32_t may = dd_apply(&d, DD_MAY, f, 0, 0);

    /* What is left to the program lies behind the part that was read. */
    ck_assert(!whole(f));
    ck_assert_uint_eq(dd_ite(&d, prefix, DD_NO, may), DD_NO);
    /* Two fields compared: not a field against a constant. */
    f = lift("ip[12:4] = ip[16:4]", 0);
    ck_assert(!whole(f));
    ck_assert_uint_eq(
        dd_ite(&d, lift("ip", 0), DD_NO, dd_apply(&d, DD_MAY, f, 0, 0)), DD_NO);
}
END_TEST

START_TEST(test_bytecode)
{
    ck_assert_uint_eq(lift_asm("r0 = 1\nexit\n"), DD_YES);
    (void)(lift_asm("r0 = 0\nexit\n"), DD_NO);
    /* A loop that turns at most eight times is followed to its end. */
    ck_assert_uint_eq(
        lift_asm("r0 = *(u8 *)(r1 + 0)\n"
                 "again:\n"
                 "r0 >>= 1\n"
                 "if r0 != 0 goto again\n"
                 "r0 = 1\n"
                 "exit\n"),
        dd_range(&d, dd_var_len(0), 1, DD_LEN_MAX, DD_YES, DD_NO));
    /* One that walks the packet is followed as far as memory allows. */
    d.edge_limit = 20000;
    (void)(lift_asm("r0 = 0\n"
                    "again:\n"
                    "r3 = *(u8 *)(r1 + 0)\n"
                    "r0 += r3\n"
                    "r1 += 1\n"
                    "if r3 != 0 goto again\n"
                    "exit\n"));
    ck_assert_uint_lt(d.edge_count, 20000);
}
END_TEST

START_TEST(test_lower)
{
    static const char *const every = "r0 = 1\nexit\n";
    uint32_t f =
        dd_range(&d, dd_var_len(0), 21, DD_LEN_MAX,
                 dd_byte_eq(&d, dd_var_byte(0, 20), 0xff, 1, DD_YES), DD_NO);
    uint8_t packet[64] = {0};

    /* However much a program accepts, its diagram decides. */
    struct dpf_error err;
    struct dpf_code code;
    ck_assert_int_eq(dpf_from_asm(every, strlen(every), &code, &err), 0);
    struct dpf_program *p;
    ck_assert_int_eq(
        dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err),
        0);
    struct dpf_program *q;
    ck_assert_int_eq(dd_lower(&d, f, NULL, &mem, p, &q), 0);
    ck_assert(!dpf_filter_run(q, packet, 64));
    packet[20] = 1;
    ck_assert(dpf_filter_run(q, packet, 64) && dpf_filter_run(q, packet, 21));
    ck_assert(!dpf_filter_run(q, packet, 20));
    dpf_program_destroy(q);
    ck_assert_int_eq(dd_lower(&d, DD_NO, NULL, &mem, p, &q), 0);
    ck_assert(!dpf_filter_run(q, packet, 64));
    dpf_program_destroy(q);
    ck_assert_int_eq(dd_lower(&d, DD_MAYBE, NULL, &mem, p, &q), 0);
    ck_assert(dpf_filter_run(q, packet, 64));
    dpf_program_destroy(q);
    /* Not without a program to ask. */
    ck_assert_int_ne(dd_lower(&d, DD_MAYBE, NULL, &mem, NULL, &q), 0);
    dpf_program_destroy(p);
    dpf_code_finish(&code);
}
END_TEST

/* Diamonds in a row: two to the thirtieth paths, and work for sixty tests. */
START_TEST(test_diamonds)
{
    size_t n = 0;
    struct dpf_insn code[256];
    for (int i = 0; i < 30; i++) {
        code[n++] = (struct dpf_insn){BPF_LDX | BPF_MEM | BPF_B, 0 | 1 << 4,
                                      (int16_t)i, 0};
        code[n++] = (struct dpf_insn){BPF_JMP | BPF_JEQ | BPF_K, 0, 1, i};
        code[n++] = (struct dpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0};
    }
    code[n++] = (struct dpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 7};
    code[n++] = (struct dpf_insn){BPF_JMP | BPF_EXIT, 0, 0, 0};
    ck_assert_uint_eq(lift_code(code, n), dd_range(&d, dd_var_len(0), 30,
                                                   DD_LEN_MAX, DD_YES, DD_NO));
    ck_assert_uint_lt(d.node_count, 200);
}
END_TEST

/* The n-th allocation fails: an error, and nothing lost. */
static int countdown;
static void *(*real_alloc)(void *ctx, size_t size);

static void *failing_alloc(void *ctx, size_t size)
{
    return countdown-- == 0 ? NULL : real_alloc(ctx, size);
}

START_TEST(test_memory)
{
    int rc = -DPF_E_MEM;
    struct dpf_error err;
    struct dpf_code code;
    ck_assert_int_eq(
        dpf_from_expr("host 10.0.0.1 and tcp port 80", 1, 0, &code, &err), 0);
    real_alloc = mem.alloc;
    for (int n = 0; rc == -DPF_E_MEM; n++) {
        struct dpf_mem failing = mem;
        struct heap h = {.mem = &failing};
        failing.alloc = failing_alloc;
        countdown = n;
        struct dd e;
        rc = dd_init(&e, &h);
        uint32_t root;
        if (!rc) {
            rc = dd_lift(&e, code.insns, code.count, NULL, &root);
        }
        dd_finish(&e);
        ck_assert_uint_eq(h.bytes, 0);
        ck_assert_int_lt(n, 1000);
    }
    ck_assert_int_eq(rc, 0);
    dpf_code_finish(&code);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lift");
    TCase *c = tcase_create("lift");
    tcase_set_timeout(c, 200);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_same, 0, sizeof(same) / sizeof(same[0]));
    tcase_add_test(c, test_different);
    tcase_add_test(c, test_expressions);
    tcase_add_test(c, test_opaque);
    tcase_add_test(c, test_bytecode);
    tcase_add_test(c, test_lower);
    tcase_add_test(c, test_diamonds);
    tcase_add_test(c, test_lengths);
    tcase_add_test(c, test_memory);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
