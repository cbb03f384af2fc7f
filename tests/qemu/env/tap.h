/* SPDX-License-Identifier: MIT */
/*
 * Tests that run as the first environment and speak TAP on the serial line.
 * The boot argument test=NAME picks a family; the machine then stops with
 * status 0 if everything passed.
 */
#pragma once

#include "libos/libos/child.h"
#include "libos/libos/env.h"
#include "libos/sys/sys.h"
#include <stdbool.h>
#include <stdint.h>

/* One line of TAP. Returns `ok`. */
bool tap_ok(bool ok, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void tap_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A result is what a call should return; says both when it is not. */
bool tap_is(int64_t got, int64_t want, const char *what);

#define OK(cond) tap_ok((cond), "%s", #cond)
#define IS(call, want) tap_is((call), (want), #call)

struct family {
    const char *name;
    void (*run)(void);
};
extern const struct family families[];

/*
 * Start this image again as a child that does `act` (see acts.c), with a name
 * and quota of its own. `slot` receives the capability that guards it. What
 * it does by chance follows from the boot argument seed=N, which is noted,
 * and from how many were started before.
 */
int child_start(struct child *c, const char *act, uint32_t slot,
                uint64_t frames);
/* The same with shares of its own. */
int child_start_with(struct child *c, const char *act, uint32_t slot,
                     uint64_t frames, const uint32_t shares[SHARE_KINDS]);
/* Wait at most `ms` until it has ended; false if it runs on. */
bool child_wait(const struct child *c, uint64_t ms);

/* What a child does: its status. */
int act_run(const char *act, uint64_t random);

/*
 * Faults that are expected: runs fn(arg) and returns the vector of the first
 * exception, or -1. The faulting instruction is skipped over: fn does not go
 * on. The frame is kept in trap_frame.
 */
int trap_run(void (*fn)(void *), void *arg);
extern struct frame trap_frame;

#define ROOT SLOT_SELF      /* the first environment's slot 0 */
#define FREE_SLOT SLOT_FREE /* tests use slots from here */
