/* SPDX-License-Identifier: MIT */
/*
 * Time. One monotonic clock, nanoseconds since the kernel was entered, read
 * from the timestamp counter without a call.
 */
#pragma once

#include <stdint.h>

#define TIME_MS 1000000ull
#define TIME_S 1000000000ull

static inline uint64_t time_tsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

uint64_t time_ns(void);

/* Between ticks of the counter and the clock; UINT64_MAX maps to itself. */
uint64_t time_ns_of_tsc(uint64_t tsc);
uint64_t time_tsc_of_ns(uint64_t ns);

/* Seconds since 1970-01-01 UTC. */
uint64_t time_unix(void);
