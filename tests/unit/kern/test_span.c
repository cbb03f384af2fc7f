/* SPDX-License-Identifier: MIT */
/* What is kept of the stretches with interrupts off and with bind_lock. */
#include "src/abi/sysno.h"
#include "src/kern/rngdev.h"
#include "src/kern/span.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"
#include <pthread.h>
#include <sched.h>

static void an_interrupt_comes(void)
{
    fake_tsc += 1000;
    (void)kern_trap(ARCH_VECTOR_KICK, NULL);
}

START_TEST(a_stretch_ends_where_interrupts_come_in)
{
    fake_boot(1);
    (void)fake_first();
    struct cpu *c = cpu_at(0);
    const struct sysinfo_span *s = sysinfo_span(0);
    span_begin(c, SPAN_CALLS);
    fake_tsc += 500;
    fake_breathe_hook = an_interrupt_comes;
    span_breathe(c);
    fake_tsc += 300;
    span_end(c);
    ck_assert_uint_eq(s[SPAN_CALLS].closed, 500);
    ck_assert_uint_lt(s[SPAN_INTERRUPT].closed, 500);
    /* The longest is kept. */
    span_begin(c, SPAN_CALLS);
    fake_tsc += 400;
    span_end(c);
    ck_assert_uint_eq(s[SPAN_CALLS].closed, 500);
    bind_acquire();
    fake_tsc += 70;
    bind_release();
    ck_assert_uint_eq(s[SPAN_CALLS].locked, 70);
    ck_assert_uint_eq(s[SPAN_IDLE].locked, 0);
}
END_TEST

static bool slowly(struct rngdev *dev, uint64_t *out)
{
    (void)dev;
    fake_tsc += 100;
    *out = 1;
    return true;
}

/* Each call has its row, and one processor measures in its own. */
START_TEST(a_call_is_measured)
{
    fake_boot(2);
    (void)fake_first();
    uint8_t bytes[16] = {0};
    uint64_t at = PUT(bytes);
    static struct rngdev device = {.read = slowly};
    entropy_attach(&device);
    fake_entropy = 0;
    ck_assert_int_eq(CALL(SYS_ENTROPY_READ, at, sizeof(bytes)), 16);
    uint32_t row = span_call(SYS_ENTROPY_READ);
    const struct sysinfo_span *s = sysinfo_span(0);
    ck_assert_uint_eq(s[row].closed, 200);
    ck_assert_uint_eq(s[row].locked, 200);
    ck_assert_uint_eq(sysinfo_span(1)[row].closed, 0);
    /* A number that is no call is the environment's own. */
    (void)CALL(0x10, 0);
    ck_assert_uint_eq(span_call(0x10), SPAN_EXCEPTION);
    ck_assert_uint_eq(span_call(UINT32_MAX), SPAN_EXCEPTION);
    ck_assert_uint_lt(span_call(SYS_MACHINE_HALT), SYSINFO_SPANS);
}
END_TEST

static _Atomic bool held, breathed;

static void *hold(void *unused)
{
    fake_cpu = 1;
    bind_acquire();
    held = true;
    while (!breathed) {
        sched_yield();
    }
    bind_release();
    return unused;
}

static void a_breath(void)
{
    breathed = true;
}

/* Interrupts come in while a processor waits for bind_lock. */
START_TEST(waiting_keeps_nothing_out)
{
    fake_boot(2);
    (void)fake_first();
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, hold, NULL), 0);
    while (!held) {
        sched_yield();
    }
    fake_breathe_hook = a_breath;
    bind_acquire();
    bind_release();
    pthread_join(thread, NULL);
}
END_TEST

TESTS("span", waiting_keeps_nothing_out,
      a_stretch_ends_where_interrupts_come_in, a_call_is_measured)
