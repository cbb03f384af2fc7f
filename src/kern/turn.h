/* SPDX-License-Identifier: MIT */
/*
 * Turns: how a long system call gives way.
 *
 * The kernel runs with interrupts off and one processor at a time holds
 * bind_lock, so no call may do more than TURN_WORK units of work at once. A
 * call whose work its caller can lengthen says `turns` in abi/syscall.tab;
 * its handler then receives a struct turn. It works until turn_take says no,
 * leaves everything in a state that would be right for ever, and returns
 * turn_again(t, done). The trap handler then does not finish the call: it
 * moves rip back onto the `syscall` instruction and writes `done` into the
 * upper half of rax, whose lower half still holds the number. Ring 3 executes
 * the instruction again, and before it does, interrupts come in, slices end,
 * and others take the locks. The handler is called anew, with t->done.
 *
 * Hence the rules for a handler:
 *  - Between two turns anything may happen: every capability is demanded and
 *    every argument is checked again in each turn, as if it were the first.
 *  - `done` comes from ring 3 and may lie, in a first turn too. It may only
 *    be a position in what the arguments name, where a lie harms the liar.
 *    State that must be true is kept in the object itself (an environment
 *    that is ending, a run that is reserved), owned so that the end of the
 *    environment finds it, since the caller may never come back.
 *  - What can be refused is refused in the first turn where that is possible.
 *    A call that fails later returns how far it came, if its result is a
 *    count, and else the error.
 *  - `done` is not 0: 0 means the first turn.
 *  - A handler that holds a second lock releases it before it returns.
 *
 * Work inside the kernel that no call waits for (the end of an environment)
 * takes a struct turn too, made by turn_begin.
 * Source: Ford99 (interrupted calls restart from their registers).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Work of one turn. A unit is at most about a hundred instructions of the
 * processor: one page-table entry changed, one frame let go. Clearing a frame
 * is TURN_CLEAR units.
 */
#define TURN_WORK 512u
#define TURN_CLEAR 10u

/* A handler's result: not finished. Never an error, never seen by ring 3. */
#define TURN_AGAIN INT32_MIN

struct turn {
    uint32_t done; /* how far earlier turns came; 0 in the first */
    uint32_t left; /* units that this one may still do */
};

static inline struct turn turn_begin(uint32_t done)
{
    return (struct turn){.done = done, .left = TURN_WORK};
}

/*
 * Take `units` for a piece of work, at most TURN_WORK, so that the first piece
 * of a turn is always granted. False: end the turn before this piece.
 */
static inline bool turn_take(struct turn *t, uint32_t units)
{
    if (units > t->left) {
        t->left = 0;
        return false;
    }
    t->left -= units;
    return true;
}

/* Count work that is done already and is known only now: it ends the turn
   sooner. */
static inline void turn_spend(struct turn *t, uint32_t units)
{
    t->left -= units < t->left ? units : t->left;
}

/* The result of a handler that wants another turn, from `done` on. */
static inline int64_t turn_again(struct turn *t, uint32_t done)
{
    t->done = done;
    return TURN_AGAIN;
}
