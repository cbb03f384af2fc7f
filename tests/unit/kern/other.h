/* SPDX-License-Identifier: MIT */
/*
 * A second processor in a device's poll: it holds the device's lock there
 * until the first one wants it.
 */
#pragma once

#include "tests/unit/kern/fake_arch.h"
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

static _Atomic bool other_polls, first_waits;
static void (*other_work)(void);

static void first_wants_the_lock(void)
{
    first_waits = true;
}

/* The device's hook. */
static inline void other_polled(void)
{
    if (fake_cpu == 1) {
        other_polls = true;
        while (!first_waits) {
            sched_yield();
        }
    }
}

static void *other_run(void *unused)
{
    (void)unused;
    fake_cpu = 1;
    other_work();
    return NULL;
}

/* Let processor 1 do `work`, which polls the device; it has its lock now. */
static inline pthread_t other_begin(void (*work)(void))
{
    pthread_t t;
    other_work = work;
    fake_pause_hook = first_wants_the_lock;
    if (pthread_create(&t, NULL, other_run, NULL) != 0) {
        abort();
    }
    while (!other_polls) {
        sched_yield();
    }
    return t;
}
