/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel. Invariants: a timer with at_ns != 0 is on exactly one
 * slot; a slot's bit in `used` is set iff its list is not empty; no timer is
 * due before `tick`.
 * Source: Varghese87, scheme 7.
 */
#include "libos/net/stack.h"

static uint64_t span(unsigned level)
{
    return 1ull << (6 * level);
}

/* The first tick at or after `ns`. */
static uint64_t tick_of(uint64_t ns)
{
    return (ns >> WHEEL_SHIFT) + ((ns & ((1u << WHEEL_SHIFT) - 1)) != 0);
}

void wheel_init(struct wheel *w, uint64_t now_ns)
{
    *w = (struct wheel){.tick = now_ns >> WHEEL_SHIFT};
}

static void insert(struct wheel *w, struct net_timer *t)
{
    uint64_t tick = tick_of(t->at_ns);
    unsigned level = 0;
    if (tick < w->tick) {
        tick = w->tick;
    }
    if (tick - w->tick >= span(WHEEL_LEVELS)) {
        tick = w->tick + span(WHEEL_LEVELS) - 1;
    }
    while (tick - w->tick >= span(level + 1)) {
        level++;
    }
    unsigned slot = (unsigned)(tick >> (6 * level)) % WHEEL_SLOTS;
    struct net_timer **head = &w->slot[level][slot];
    t->next = *head;
    t->prev = head;
    if (t->next != NULL) {
        t->next->prev = &t->next;
    }
    *head = t;
    w->used[level] |= 1ull << slot;
}

static void unlink_timer(struct wheel *w, struct net_timer *t)
{
    uintptr_t first = (uintptr_t)&w->slot[0][0];
    uintptr_t at = (uintptr_t)t->prev;
    *t->prev = t->next;
    if (t->next != NULL) {
        t->next->prev = t->prev;
    } else if (at >= first && at < first + sizeof w->slot) {
        unsigned i = (unsigned)((at - first) / sizeof(struct net_timer *));
        w->used[i / WHEEL_SLOTS] &= ~(1ull << i % WHEEL_SLOTS);
    }
}

void net_timer_start(struct net_stack *s, struct net_timer *t, uint64_t at_ns)
{
    if (t->at_ns) {
        unlink_timer(&s->wheel, t);
    }
    t->at_ns = at_ns ? at_ns : 1;
    insert(&s->wheel, t);
}

void net_timer_stop(struct net_stack *s, struct net_timer *t)
{
    if (t->at_ns) {
        unlink_timer(&s->wheel, t);
        t->at_ns = 0;
    }
}

/* The next tick at which a slot is to be run or moved down; UINT64_MAX: the
   wheel is empty. */
static uint64_t next_tick(const struct wheel *w)
{
    uint64_t best = UINT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t used = w->used[level];
        if (!used) {
            continue;
        }
        /* The slot we are inside of has been moved down already, unless we
           stand at its first tick; what it holds is a whole turn away. */
        unsigned skip = w->tick % span(level) != 0;
        uint64_t base = (w->tick >> (6 * level)) + skip;
        skip = (unsigned)base % WHEEL_SLOTS;
        if (skip) {
            used = used >> skip | used << (WHEEL_SLOTS - skip);
        }
        uint64_t at = (base + (unsigned)__builtin_ctzll(used)) << (6 * level);
        best = at < best ? at : best;
    }
    return best;
}

uint64_t wheel_deadline(const struct wheel *w)
{
    uint64_t tick = next_tick(w);
    return tick == UINT64_MAX ? tick : tick << WHEEL_SHIFT;
}

/* Empty a slot onto a list of its own. */
static struct net_timer *take(struct wheel *w, unsigned level)
{
    unsigned slot = (unsigned)(w->tick >> (6 * level)) % WHEEL_SLOTS;
    struct net_timer *list = w->slot[level][slot];
    w->slot[level][slot] = NULL;
    w->used[level] &= ~(1ull << slot);
    return list;
}

static void move_down(struct wheel *w, unsigned level)
{
    struct net_timer *t = take(w, level);
    struct net_timer *next;
    for (; t != NULL; t = next) {
        next = t->next;
        insert(w, t);
    }
}

static void run_slot(struct net_stack *s)
{
    struct wheel *w = &s->wheel;
    struct net_timer *due = take(w, 0);
    uint64_t edge = w->tick << WHEEL_SHIFT;
    w->tick++;
    if (due != NULL) {
        due->prev = &due; /* callbacks may stop timers that are on it */
    }
    struct net_timer *t;
    while ((t = due) != NULL) {
        unlink_timer(w, t);
        if (t->at_ns > edge) {
            insert(w, t); /* was beyond the wheel's span */
            continue;
        }
        t->at_ns = 0;
        t->fire(t, s);
    }
}

void wheel_run(struct net_stack *s, uint64_t now_ns)
{
    struct wheel *w = &s->wheel;
    uint64_t target = now_ns >> WHEEL_SHIFT;
    for (;;) {
        uint64_t tick = next_tick(w);
        if (tick > target) {
            break;
        }
        w->tick = tick;
        for (unsigned level = WHEEL_LEVELS - 1; level > 0; level--) {
            if (tick % span(level) == 0) {
                move_down(w, level);
            }
        }
        run_slot(s);
    }
    if (w->tick <= target) {
        w->tick = target + 1;
    }
}
