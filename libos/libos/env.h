/* SPDX-License-Identifier: MIT */
/*
 * The environment itself: start, end, faults, and sleeping on events.
 */
#pragma once

#include "libos/libos/start.h"
#include "src/abi/err.h"
#include "src/abi/pte.h"
#include "src/abi/share.h"
#include "src/abi/sysinfo.h"
#include "src/abi/uarea.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The program: every environment defines it. `start` stays valid. Its result
 * is the status with which the environment ends.
 */
int env_main(const struct start_info *start);

/* The page shared with the kernel, and what the kernel exposes. */
static inline struct uarea *env_uarea(void)
{
    return (struct uarea *)UAREA_VA;
}
static inline const struct sysinfo *env_sysinfo(void)
{
    return (const struct sysinfo *)SYSINFO_VA;
}

/* Entries of a kernel table that this environment may still take. */
uint32_t env_share_left(enum share kind);

/* Who does not handle an exception ends with this status and its vector. */
#define ENV_FAULT_STATUS 128u

_Noreturn void env_exit(uint32_t status);

/* Give up the rest of the slice: to `env`, or to the next in turn if 0. */
void env_yield(uint32_t env);

/*
 * Take the pending events of `mask`: returns them, and clears them. An event
 * that comes meanwhile stays pending.
 */
uint64_t env_events(uint64_t mask);

/*
 * Sleep until an event of `mask` is pending or the clock (time.h) reaches
 * `deadline_ns`; UINT64_MAX: no deadline. Takes and returns the events; 0
 * means the deadline. Returns at once if there is one already.
 */
uint64_t env_wait(uint64_t mask, uint64_t deadline_ns);

/* Reserve an event bit for a ring; -E_LIMIT when all 64 are in use. */
int env_event_alloc(void);
void env_event_free(int bit);

/*
 * Exceptions. `handler` gets a copy of the interrupted state, on the upcall
 * stack, and may change it; true resumes there without the kernel. With no
 * handler, or on false, the environment says what happened and ends. A fault
 * inside the handler ends it too.
 */
typedef bool env_fault_fn(struct frame *f);
void env_on_fault(env_fault_fn *handler);

/*
 * Foreign system calls (below 0x1000): the handler sees the caller's
 * registers, puts the result into f->rax and returns true.
 */
void env_on_foreign(env_fault_fn *handler);

/*
 * Slices. `begin` and `end` run on the upcall stack with slice_mask set when
 * a slice begins and ends; either may be NULL. With neither, the kernel
 * resumes the environment directly, which is cheaper.
 */
void env_on_slice(void (*begin)(void), void (*end)(void));

/* Fill with unpredictable bytes: 0, or -E_AGAIN while the machine has none. */
int env_entropy(void *bytes, size_t len);

/* The sentence for -E_*; a static string. */
const char *env_strerror(int64_t err);
