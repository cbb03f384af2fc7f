/* SPDX-License-Identifier: MIT */
/*
 * The serial line, and the machine's end: by a call, or by its button.
 */
#include "src/kern/console.h"
#include "src/kern/aspace.h"
#include "src/kern/cap.h"
#include "src/kern/demand.h"
#include "src/kern/sysinfo.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"
#include "src/lib/log.h"

#define CONSOLE_WRITE_MAX 1024u
#define STEP 256u /* bytes of one turn */

struct lock console_lock;
static uint32_t console_guard GUARDED_BY(bind_lock);

int console_init(void)
{
    static const uint8_t name[] = "\7console"; /* one component */
    int g = guard_intern(NULL, name, sizeof(name) - 1);
    TRY(g);
    console_guard = (uint32_t)g;
    return 0;
}

void console_write(const char *text, size_t len)
{
    lock_acquire(&console_lock);
    arch_console_write(text, len);
    lock_release(&console_lock);
}

/*
 * In turns of one step; `done` counts the bytes taken. The line is not waited
 * for: a step that it does not take whole ends the call.
 */
int64_t sys_console_write(struct env *e, const struct cap *k, uaddr text,
                          uint32_t len, struct turn *t)
{
    char step[STEP];
    uint32_t done = t->done;
    REFUSE_IF(!cap_dominates(k, console_guard, CAP_WRITE), E_CAP);
    REFUSE_IF(len > CONSOLE_WRITE_MAX || done > len, E_INVAL);
    uint32_t n = len - done < STEP ? len - done : STEP;
    if (copy_in(e, step, (uaddr){text.va + done}, n) < 0) {
        return done > 0 ? (int64_t)done : -E_FAULT;
    }
    lock_acquire(&console_lock);
    uint32_t taken = (uint32_t)arch_console_put(step, n);
    lock_release(&console_lock);
    done += taken;
    return taken < n || done == len ? (int64_t)done : turn_again(t, done);
}

int64_t sys_machine_halt(struct env *e, const struct cap *k, uint32_t status)
{
    (void)e;
    REFUSE_IF(!cap_dominates(k, GUARD_ROOT, CAP_CTL), E_CAP);
    arch_halt(status);
}

void power_button(void)
{
    uint32_t before =
        __atomic_fetch_add(&sysinfo()->power_button, 1, __ATOMIC_RELAXED);
    if (before > 0) {
        log_line("power: the button again; ending at once");
        arch_halt(0);
    }
    log_line("power: the button was pressed; again ends at once");
}
