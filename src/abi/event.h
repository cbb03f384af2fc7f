/* SPDX-License-Identifier: MIT */
/*
 * Events: 64 bits in the u-area. A binding (a ring) names the bit that the
 * kernel sets when something happened; event_wait sleeps until one of a mask
 * is set, a deadline passes, or a wakeup predicate says so.
 */
#pragma once

#include <stdint.h>

#define EVENT_BITS 64u
#define EVENT_FOREVER UINT64_MAX /* deadline, in tsc ticks: none */

/* A wakeup predicate: a program of type predicate and the memory it reads. */
#define EVENT_REGIONS_MAX 8u
struct event_region {
    uint64_t frame;  /* the frame's guard must be dominated for reading */
    uint32_t offset; /* bytes into the frame */
    uint32_t len;    /* bytes; offset + len <= PAGE_SIZE */
};
_Static_assert(sizeof(struct event_region) == 16, "abi");

struct event_args {
    uint64_t insns;   /* address of struct dpf_insn[count] */
    uint32_t count;   /* instructions */
    uint32_t regions; /* in use below */
    struct event_region region[EVENT_REGIONS_MAX];
};
_Static_assert(sizeof(struct event_args) == 144, "abi");
