/* SPDX-License-Identifier: MIT */
/*
 * The clock: ticks of the timestamp counter since the kernel was entered, as
 * nanoseconds. The factors are 32.32 fixed-point numbers, so that a reading
 * is one multiplication; they lose less than a part in 10^9.
 */
#include "libos/libos/time.h"
#include "libos/libos/env.h"

static uint64_t ns_per_tick;  /* 32.32 */
static uint64_t ticks_per_ns; /* 32.32 */
static uint64_t boot;

static void prepare(void)
{
    const struct sysinfo *s = env_sysinfo();
    boot = s->boot_tsc;
    ticks_per_ns = ((uint64_t)s->tsc_khz << 32) / 1000000;
    ns_per_tick = (uint64_t)(((unsigned __int128)1000000 << 32) / s->tsc_khz);
}

static uint64_t scale(uint64_t x, uint64_t factor)
{
    return (uint64_t)((unsigned __int128)x * factor >> 32);
}

uint64_t time_ns_of_tsc(uint64_t tsc)
{
    if (ns_per_tick == 0) {
        prepare();
    }
    if (tsc == UINT64_MAX || tsc <= boot) {
        return tsc == UINT64_MAX ? tsc : 0;
    }
    return scale(tsc - boot, ns_per_tick);
}

uint64_t time_tsc_of_ns(uint64_t ns)
{
    if (ns_per_tick == 0) {
        prepare();
    }
    return ns == UINT64_MAX ? ns : boot + scale(ns, ticks_per_ns);
}

uint64_t time_ns(void)
{
    return time_ns_of_tsc(time_tsc());
}

uint64_t time_unix(void)
{
    return env_sysinfo()->boot_unix + time_ns() / TIME_S;
}
