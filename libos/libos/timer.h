/* SPDX-License-Identifier: MIT */
/*
 * Timers of a stack: a hierarchical wheel, so that starting and stopping
 * cost the same whether there are ten or a hundred thousand.
 */
#pragma once

#include "libos/libos/net.h"

/* Owned by the user, on the wheel while `at_ns` is not 0. */
struct net_timer {
    struct net_timer *next, **prev; /* in the wheel's slot */
    uint64_t at_ns;                 /* when it fires; 0: stopped */
    void (*fire)(struct net_timer *t, struct net_stack *s);
};

/* Fire once at `at_ns` or up to about a millisecond later; moves a timer that
   is already running. */
void net_timer_start(struct net_stack *s, struct net_timer *t, uint64_t at_ns);

/* No effect on a stopped timer. */
void net_timer_stop(struct net_stack *s, struct net_timer *t);
