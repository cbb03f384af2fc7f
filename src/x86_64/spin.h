/* SPDX-License-Identifier: MIT */
/*
 * The lock of machine code's own few tables. Innermost but for the page lock
 * (page_kalloc may be called under it). Answers requests while it waits.
 */
#pragma once

#include "src/arch.h"

struct spin {
    bool held;
};

static inline void spin_lock(struct spin *s)
{
    while (__atomic_exchange_n(&s->held, true, __ATOMIC_ACQUIRE)) {
        arch_pause();
    }
}

static inline void spin_unlock(struct spin *s)
{
    __atomic_store_n(&s->held, false, __ATOMIC_RELEASE);
}
