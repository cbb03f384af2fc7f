/* SPDX-License-Identifier: MIT */
/*
 * Filters in bytecode that once took other filters' packets, left their
 * region, or broke the set: bases that restart at the packet's start, negative
 * displacements, packets that are too short for the byte that decides. A set
 * answers as the programs do, and two programs that accept one packet are
 * never both bound.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/dpf.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dpf_mem mem;
static struct dpf_set *set;
static struct dpf_error err;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
}

static void teardown(void)
{
    dpf_set_destroy(set);
    dpf_host_mem_finish(&mem);
}

static struct dpf_program *make(const char *text)
{
    struct dpf_code code;
    int rc = dpf_from_asm(text, strlen(text), &code, &err);
    ck_assert_msg(rc == 0, "%s\n%s", err.text, text);
    struct dpf_program *p;
    rc = dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err);
    ck_assert_msg(rc == 0, "%s\n%s", err.text, text);
    dpf_code_finish(&code);
    return p;
}

static int bind_in(uint32_t id, uint32_t region, const char *text)
{
    struct dpf_program *p = make(text);
    int rc = dpf_set_insert(set, id, region, p, 0, &err);
    if (rc && err.witness_len) {
        ck_assert(dpf_filter_run(p, err.witness, err.witness_len));
    }
    dpf_program_destroy(p);
    return rc;
}

static int region(uint32_t id, uint32_t parent, const char *text)
{
    struct dpf_program *p = make(text);
    int rc = dpf_set_region_insert(set, id, parent, p, 0, &err);
    dpf_program_destroy(p);
    return rc;
}

static uint32_t owner(const uint8_t *packet, size_t len)
{
    return dpf_set_match(set, packet, len, NULL, NULL);
}

#define OUT                                                                    \
    "r0 = 1\n"                                                                 \
    "exit\n"                                                                   \
    "out:\n"                                                                   \
    "r0 = 0\n"                                                                 \
    "exit\n"

#define BYTE20                                                                 \
    "r3 = *(u8 *)(r1 + 20)\n"                                                  \
    "if r3 != 1 goto out\n" OUT

/* ---------------------------------------------------- one filter, its answer
 */

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* Programs whose pointers restart, or are moved back. */
static const char *const odd[] = {
    /* A byte behind a base read at the packet's start again. */
    "r3 = *(u8 *)(r1 + 35)\n"
    "r6 = r1\n"
    "r3 &= 31\n"
    "r6 += r3\n"
    "r8 = *(u64 *)(r6 + 12)\n"
    "r6 = r1\n"
    "r8 &= 63\n"
    "r6 += r8\n"
    "r0 = *(u8 *)(r6 + 37)\n"
    "exit\n",
    "r8 = *(u8 *)(r1 + 21)\n"
    "r6 = r1\n"
    "r8 &= 31\n"
    "r6 += r8\n"
    "r0 = *(u64 *)(r6 + 9)\n"
    "r6 = r1\n"
    "r0 &= 31\n"
    "r6 += r0\n"
    "r0 = *(s32 *)(r6 + 49)\n"
    "exit\n",
    "r3 = *(u8 *)(r1 + 0)\n"
    "r6 = r1\n"
    "r3 &= 15\n"
    "r3 <<= 2\n"
    "r6 += r3\n"
    "r5 = *(u8 *)(r6 + 19)\n"
    "r6 = r1\n"
    "r6 += r5\n"
    "r5 = *(u32 *)(r6 + 22)\n"
    "r0 = 1\n"
    "exit\n",
    "r0 = *(u8 *)(r1 + 31)\n"
    "r6 = r1\n"
    "r6 += r0\n"
    "r3 = *(u8 *)(r6 + 18)\n"
    "r6 = r1\n"
    "r6 += r3\n"
    "r0 = *(u32 *)(r6 + 27)\n"
    "exit\n",
    /* One byte before what a byte decides; and what clang makes of it. */
    "r8 = *(u8 *)(r1 + 49)\n"
    "r6 = r1\n"
    "r6 += r8\n"
    "r0 = *(u16 *)(r6 - 1)\n"
    "r0 &= 1\n"
    "exit\n",
    "r0 = 0\n"
    "r3 = *(u8 *)(r1 + 20)\n"
    "if r3 != 1 goto out\n"
    "r7 = *(u8 *)(r1 + 28)\n"
    "r6 = r1\n"
    "r6 += r7\n"
    "r0 = *(u32 *)(r6 - 4)\n"
    "out:\n"
    "exit\n",
    "r8 = 16\n"
    "r6 = r1\n"
    "r5 = *(u8 *)(r1 + 27)\n"
    "r6 += r5\n"
    "r8 = -r8\n"
    "r6 += r8\n"
    "r0 = *(u64 *)(r6 + 39)\n"
    "r7 = *(u64 *)(r6 + 13)\n"
    "if w7 == 0x86dd goto L10\n"
    "r7 = *(u64 *)(r1 + 218)\n"
    "L10:\n"
    "exit\n",
    /* Back and forth on the way, but not where it reads. */
    "r5 = *(u8 *)(r1 + 14)\n"
    "r5 &= 15\n"
    "r6 = r1\n"
    "r6 += -20\n"
    "r6 += r5\n"
    "r0 = *(u8 *)(r6 + 34)\n"
    "exit\n",
    /* As far as a 16-bit number leads. */
    "r0 = 0\n"
    "r3 = *(u16 *)(r1 + 0)\n"
    "r6 = r1\n"
    "r6 += r3\n"
    "r4 = *(u8 *)(r6 + 32767)\n"
    "if r4 < 7 goto out\n"
    "r0 = 1\n"
    "out:\n"
    "exit\n",
};

/* Lengths that the bytes decide are small, so that packets can hold them. */
static size_t packet(uint8_t *p, size_t most)
{
    size_t len = rnd((uint32_t)most + 1);
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)(rnd(3) ? rnd(64) : rnd(256));
    }
    return len;
}

START_TEST(test_odd)
{
    struct dpf_program *p = make(odd[_i]);
    unsigned yes = 0;
    seed = (uint64_t)_i;
    int rc = dpf_set_insert(set, 7, 0, p, 0, &err);
    ck_assert_msg(rc == 0, "%d %s", rc, err.text);
    for (int i = 0; i < 20000; i++) {
        uint8_t room[400];
        size_t len = packet(room, sizeof(room));
        uint8_t *at =
            malloc(len + !len); /* the sanitizer knows where it ends */
        ck_assert_ptr_nonnull(at);
        memcpy(at, room, len);
        bool want = dpf_filter_run(p, at, len) != 0;
        ck_assert_uint_eq(owner(at, len), want ? 7 : DPF_NO_OWNER);
        yes += want;
        free(at);
    }
    ck_assert(yes > 10 || strstr(odd[_i], "32767"));
    dpf_program_destroy(p);
}
END_TEST

/*
 * Where numbers reach farthest: a 16-bit length of 65,535, at once known, and
 * the last bytes behind it. No variable of another base may come of it.
 */
START_TEST(test_farthest)
{
    static const char *const far[] = {
        "r4 = *(u16 *)(r6 + 32765)\n"
        "r4 = be16 r4\n"
        "if r4 < 300 goto out\n"
        "if r4 > 1000 goto out\n",
        "r4 = *(u8 *)(r6 + 32767)\n"
        "if r4 == 3 goto yes\n"
        "if r4 != 9 goto out\n"
        "yes:\n",
    };
    uint8_t *at = calloc(1, 99000);

    ck_assert_ptr_nonnull(at);
    char text[512];
    snprintf(text, sizeof(text),
             "r3 = *(u16 *)(r1 + 0)\n"
             "if r3 != 65535 goto out\n"
             "r6 = r1\n"
             "r6 += r3\n"
             "r6 += 32767\n"
             "%s" OUT,
             far[_i]);
    ck_assert_int_eq(bind_in(1, 0, text), 0);
    at[0] = at[1] = 0xff;
    ck_assert_uint_eq(owner(at, 1), DPF_NO_OWNER);
    ck_assert_uint_eq(owner(at, 99000), DPF_NO_OWNER);
    free(at);
}
END_TEST

/* --------------------------------------------------- two, and one packet */

/*
 * Filters with one packet in common are not both bound, whichever comes
 * first. `packet` says where the bytes are that show it.
 */
static const struct pair {
    const char *mine, *other;
    uint32_t len;
    struct {
        uint8_t at, value;
    } bytes[4];
} pairs[] = {
    /* A base behind a base that restarts: the length behind it is not asked
       for by a program, nor then by its diagram. */
    {BYTE20,
     "r0 = 0\n"
     "if r2 > 40 goto out\n"
     "r3 = *(u8 *)(r1 + 22)\n"
     "if r3 != 3 goto out\n"
     "r3 = *(u8 *)(r1 + 23)\n"
     "if r3 != 4 goto out\n"
     "r3 = *(u8 *)(r1 + 20)\n"
     "if r3 == 9 goto opq\n"
     "if r3 != 1 goto out\n"
     "r4 = *(u8 *)(r1 + 31)\n"
     "if r4 < 20 goto out\n"
     "r6 = r1\n"
     "r6 += r4\n"
     "r3 = *(u8 *)(r6 + 18)\n"
     "r6 = r1\n"
     "r6 += r3\n"
     "r5 = *(u32 *)(r6 + 27)\n"
     "r0 = 1\n"
     "exit\n"
     "opq:\n"
     "r4 = *(u8 *)(r1 + 24)\n"
     "r5 = *(u8 *)(r1 + 25)\n"
     "r4 *= r5\n"
     "r0 = r4\n"
     "r0 &= 1\n"
     "exit\n"
     "out:\n"
     "r0 = 0\n"
     "exit\n",
     40,
     {{20, 1}, {22, 3}, {23, 4}, {31, 20}}},
    /* All packets that are too short for a byte that decides a base. */
    {BYTE20,
     "r3 = *(u8 *)(r1 + 20)\n"
     "if r3 != 1 goto out\n"
     "if r2 < 1000 goto yes\n"
     "r4 = *(u8 *)(r1 + 1400)\n"
     "if r4 != 0 goto out\n"
     "r6 = r1\n"
     "r6 += r4\n"
     "r5 = *(u8 *)(r6 + 20)\n"
     "if r5 != 9 goto out\n"
     "yes:\n" OUT,
     60,
     {{20, 1}}},
    {"r0 = 1\n"
     "if r2 < 10 goto out\n"
     "r0 = 0\n"
     "r3 = *(u8 *)(r1 + 14)\n"
     "if r3 != 0x45 goto out\n"
     "r4 = *(u8 *)(r1 + 14)\n"
     "r4 &= 15\n"
     "r4 <<= 2\n"
     "r6 = r1\n"
     "r6 += r4\n"
     "r5 = *(u8 *)(r6 + 0)\n"
     "if r5 != 7 goto out\n"
     "r0 = 1\n"
     "out:\n"
     "exit\n",
     "r0 = 1\n"
     "if r2 < 10 goto out\n"
     "r0 = 0\n"
     "r3 = *(u8 *)(r1 + 20)\n"
     "if r3 != 8 goto out\n"
     "r0 = 1\n"
     "out:\n"
     "exit\n",
     9,
     {{0, 1}}},
    /* The byte before what a byte decides. */
    {BYTE20,
     "r0 = 0\n"
     "r3 = *(u8 *)(r1 + 22)\n"
     "if r3 != 3 goto out\n"
     "r3 = *(u8 *)(r1 + 20)\n"
     "if r3 != 1 goto out\n"
     "r7 = *(u8 *)(r1 + 28)\n"
     "r6 = r1\n"
     "r6 += r7\n"
     "r0 = *(u32 *)(r6 - 4)\n"
     "out:\n"
     "exit\n",
     40,
     {{20, 1}, {22, 3}, {28, 24}}},
};

START_TEST(test_pair)
{
    const struct pair *t = &pairs[_i];
    const char *const text[2] = {t->mine, t->other};
    struct dpf_program *p[2] = {make(text[0]), make(text[1])};
    uint8_t packet[64] = {0};

    for (uint32_t i = 0; i < 4; i++) {
        packet[t->bytes[i].at] |= t->bytes[i].value;
    }
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert(dpf_filter_run(p[i], packet, t->len));
        ck_assert_int_eq(bind_in(5 - i, 0, text[i]), 0);
        ck_assert_uint_eq(owner(packet, t->len), 5 - i);
        ck_assert_int_eq(bind_in(2, 0, text[1 - i]), -DPF_E_CONFLICT);
        ck_assert_uint_eq(err.other, 5 - i);
        ck_assert_uint_eq(owner(packet, t->len), 5 - i);
        ck_assert_int_eq(dpf_set_remove(set, 5 - i), 0);
        dpf_program_destroy(p[i]);
    }
}
END_TEST

#define EVERY_SHORT                                                            \
    "if r2 < 1000 goto yes\n"                                                  \
    "r4 = *(u8 *)(r1 + 1400)\n"                                                \
    "if r4 != 0 goto out\n"                                                    \
    "r3 = *(u8 *)(r1 + 20)\n"                                                  \
    "if r3 != 2 goto out\n"                                                    \
    "r6 = r1\n"                                                                \
    "r6 += r4\n"                                                               \
    "r5 = *(u8 *)(r6 + 20)\n"                                                  \
    "if r5 != 9 goto out\n"                                                    \
    "yes:\n" OUT

/* Nor does such a filter lie in a region that has not all short packets. */
START_TEST(test_region)
{
    ck_assert_int_eq(region(1, 0, BYTE20), 0);
    ck_assert_int_eq(bind_in(2, 1, EVERY_SHORT), -DPF_E_REGION);
    ck_assert_uint_gt(err.witness_len, 0);
    ck_assert_int_eq(region(2, 1, EVERY_SHORT), -DPF_E_REGION);
}
END_TEST

/*
 * A signed compare of the length is left to the program, and the byte that
 * decides the base is known: what the program must be asked about stays so when
 * the base is replaced by its offset.
 */
START_TEST(test_unsure)
{
    static const char text[] = "r3 = *(u8 *)(r1 + 4)\n"
                               "if r3 != 2 goto out\n"
                               "if r2 s<= 2 goto yes\n"
                               "r3 = *(u8 *)(r1 + 4)\n"
                               "r3 &= 1\n"
                               "r6 = r1\n"
                               "r6 += r3\n"
                               "r3 = *(u8 *)(r6 + 5)\n"
                               "if r3 != 3 goto out\n"
                               "yes:\n" OUT;
    const uint8_t packet[8] = {[4] = 2, [5] = 3};
    ck_assert_int_eq(bind_in(1, 0, text), 0);
    ck_assert_uint_eq(owner(packet, 5), DPF_NO_OWNER);
    ck_assert_uint_eq(owner(packet, 6), 1);
    ck_assert_int_eq(dpf_set_remove(set, 1), 0);
    /* Nor does a region hold packets that its program may reject. */
    ck_assert_int_eq(region(1, 0, text), 0);
    ck_assert_int_eq(bind_in(2, 1,
                             "r3 = *(u8 *)(r1 + 4)\n"
                             "if r3 != 2 goto out\n"
                             "if r2 != 5 goto out\n" OUT),
                     -DPF_E_REGION);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sound");
    TCase *c = tcase_create("sound");
    tcase_set_timeout(c, 200);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, test_odd, 0, sizeof(odd) / sizeof(odd[0]));
    tcase_add_loop_test(c, test_farthest, 0, 2);
    tcase_add_loop_test(c, test_pair, 0, sizeof(pairs) / sizeof(pairs[0]));
    tcase_add_test(c, test_region);
    tcase_add_test(c, test_unsure);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
