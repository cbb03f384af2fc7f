/* SPDX-License-Identifier: MIT */
/*
 * Where unpredictable bytes come from when the machine has no generator, and
 * which timing is refused as a source; the button that ends the machine.
 */
#include "src/abi/err.h"
#include "src/abi/sysno.h"
#include "src/kern/entropy.h"
#include "src/kern/sysinfo.h"
#include "src/lib/blake2s.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"
#include <stdio.h>

static struct env *root;
static uint32_t seed = 1;
static unsigned repeat; /* of 100 samples, so many are 7 */

static uint64_t jitters(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8 & 1 ? 1000 + (seed >> 20 & 63) : 1000 + (seed >> 24);
}

static uint64_t stands(void)
{
    return 1000;
}

static uint64_t returns_often(void)
{
    uint64_t v = jitters();
    return (seed >> 9) % 100 < repeat ? 7 : v;
}

static uint64_t boot(uint64_t (*jitter)(void))
{
    fake_boot(1);
    root = fake_first();
    fake_entropy = 0;
    fake_jitter = jitter;
    entropy_start();
    return UAREA_VA + offsetof(struct uarea, scratch);
}

START_TEST(jitter_serves)
{
    uint64_t to = boot(jitters);
    ck_assert_int_eq(CALL(SYS_ENTROPY_READ, to, 61), 61);
    uint8_t first[64];
    memcpy(first, root->uarea->scratch, sizeof(first));
    ck_assert_int_eq(CALL(SYS_ENTROPY_READ, to, 61), 61);
    unsigned same = 0;
    for (unsigned i = 0; i < 61; i++) {
        same += first[i] == (uint8_t)root->uarea->scratch[i];
    }
    ck_assert_uint_lt(same, 8);
    for (unsigned i = 0; i < 2000; i++) { /* and goes on to */
        ck_assert_int_eq(CALL(SYS_ENTROPY_READ, to, 32), 32);
    }
}
END_TEST

START_TEST(samples_decide)
{
    boot(jitters);
    uint64_t word[2];
    ck_assert(entropy_word(&word[0]));
    ck_assert(entropy_word(&word[1]));
    ck_assert_uint_ne(word[0], word[1]);
}
END_TEST

START_TEST(what_stands_is_refused)
{
    uint64_t to = boot(stands);
    REFUSED(E_AGAIN, SYS_ENTROPY_READ, to, 8);
}
END_TEST

START_TEST(what_returns_at_times_serves)
{
    repeat = 60;
    uint64_t to = boot(returns_often);
    ck_assert_int_eq(CALL(SYS_ENTROPY_READ, to, 8), 8);
}
END_TEST

START_TEST(what_returns_often_is_refused)
{
    repeat = 97;
    uint64_t to = boot(returns_often);
    REFUSED(E_AGAIN, SYS_ENTROPY_READ, to, 8);
}
END_TEST

START_TEST(what_becomes_regular_ends)
{
    uint64_t to = boot(jitters);
    ck_assert_int_eq(CALL(SYS_ENTROPY_READ, to, 8), 8);
    fake_jitter = stands;
    int64_t r = 8;
    unsigned calls = 0;
    for (; r == 8 && calls < 100; calls++) {
        r = CALL(SYS_ENTROPY_READ, to, 8);
    }
    ck_assert_int_eq(r, -E_AGAIN);
    ck_assert_uint_lt(calls, 20);
    fake_jitter = jitters; /* too late */
    REFUSED(E_AGAIN, SYS_ENTROPY_READ, to, 8);
}
END_TEST

static void hashes(const uint8_t *key, const void *data, size_t len,
                   const char *want)
{
    uint8_t out[BLAKE2S_BYTES];
    struct blake2s s;
    blake2s_init(&s, key);
    blake2s_add(&s, data, len / 3);
    blake2s_add(&s, (const uint8_t *)data + len / 3, len - len / 3);
    blake2s_finish(&s, out);
    char hex[2 * sizeof(out) + 1];
    for (unsigned i = 0; i < sizeof(out); i++) {
        snprintf(hex + 2 * i, 3, "%02x", out[i]);
    }
    ck_assert_str_eq(hex, want);
}

/* The first is RFC 7693 appendix B; the others are of Python's hashlib. */
START_TEST(blake2s_is_blake2s)
{
    uint8_t count[200];
    for (unsigned i = 0; i < sizeof(count); i++) {
        count[i] = (uint8_t)i;
    }
    hashes(NULL, "abc", 3,
           "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    hashes(count, "", 0,
           "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49");
    hashes(count, count, 64,
           "8975b0577fd35566d750b362b0897a26c399136df07bababbde6203ff2954ed4");
    hashes(count, count, 200,
           "13c88480a5d00d6c8c7ad2110d76a82d9b70f4fa6696d4e5dd42a066dcaf9920");
}
END_TEST

START_TEST(the_button_is_seen_then_obeyed)
{
    boot(jitters);
    ck_assert_uint_eq(sysinfo()->power_button, 0);
    fake_frame.rax = 0;
    ck_assert_int_eq(fake_trap(ARCH_VECTOR_POWER), FAKE_RESUMED);
    ck_assert_uint_eq(sysinfo()->power_button, 1);
    ck_assert_int_eq(fake_trap(ARCH_VECTOR_POWER), FAKE_HALTED);
    ck_assert_uint_eq(fake_halt_status, 0);
}
END_TEST

TESTS("entropy", jitter_serves, samples_decide, what_stands_is_refused,
      what_returns_at_times_serves, what_returns_often_is_refused,
      what_becomes_regular_ends, blake2s_is_blake2s,
      the_button_is_seen_then_obeyed)
