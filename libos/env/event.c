/* SPDX-License-Identifier: MIT */
/*
 * Events: bits of the u-area that the kernel sets and we take, both
 * atomically. An event between our look and the call is not lost: the kernel
 * looks at the same bits before it lets us sleep.
 */
#include "src/abi/event.h"
#include "libos/libos/env.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"

static uint64_t bits_used;

uint64_t env_events(uint64_t mask)
{
    uint64_t *pending = &env_uarea()->pending;
    if (!(__atomic_load_n(pending, __ATOMIC_RELAXED) & mask)) {
        return 0;
    }
    return __atomic_fetch_and(pending, ~mask, __ATOMIC_ACQ_REL) & mask;
}

uint64_t env_wait(uint64_t mask, uint64_t deadline_ns)
{
    uint64_t deadline = time_tsc_of_ns(deadline_ns);
    for (;;) {
        uint64_t got = env_events(mask);
        if (got || (deadline != UINT64_MAX && time_tsc() >= deadline)) {
            return got;
        }
        (void)sys_event_wait(mask, deadline, 0);
    }
}

int env_event_alloc(void)
{
    for (int bit = 0; bit < (int)EVENT_BITS; bit++) {
        if (!(bits_used >> bit & 1)) {
            bits_used |= 1ull << bit;
            (void)env_events(1ull << bit);
            return bit;
        }
    }
    return -E_LIMIT;
}

void env_event_free(int bit)
{
    if (bit >= 0 && bit < (int)EVENT_BITS) {
        bits_used &= ~(1ull << bit);
    }
}
