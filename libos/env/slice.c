/* SPDX-License-Identifier: MIT */
/*
 * Slices seen by the program: a hook when one begins and when one ends. The
 * epilogue yields here with slice_mask set, so the next slice resumes it
 * directly; what it interrupted lies on its stack until then.
 */
#include "libos/env/upcall.h"
#include "libos/libos/env.h"
#include "libos/sys/sys.h"

static void (*on_begin)(void);
static void (*on_end)(void);

/*
 * A slice that ended while upcalls were masked is given back here. One that
 * ends after this look is told by an epilogue when the grace is over.
 */
void slice_settle(void)
{
    while (env_uarea()->slice_over) {
        env_uarea()->slice_over = 0;
        (void)sys_quantum_yield(0);
    }
}

void slice_begin(void)
{
    if (on_begin != NULL) {
        on_begin();
    }
    slice_settle();
}

void slice_end(void)
{
    if (on_end != NULL) {
        on_end();
    }
    env_uarea()->slice_over = 0;
    (void)sys_quantum_yield(0);
    slice_begin();
}

void env_on_slice(void (*begin)(void), void (*end)(void))
{
    struct uarea *u = env_uarea();
    on_begin = begin;
    on_end = end;
    u->entry[ENV_PROLOGUE] = begin != NULL ? (uint64_t)upcall_prologue : 0;
    u->entry[ENV_EPILOGUE] = end != NULL ? (uint64_t)upcall_epilogue : 0;
}
