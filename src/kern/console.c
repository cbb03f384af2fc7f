/* SPDX-License-Identifier: MIT */
/*
 * The serial line, entropy and the machine's end: small resources that are
 * one call each.
 */
#include "src/kern/console.h"
#include "src/kern/aspace.h"
#include "src/kern/cap.h"
#include "src/kern/demand.h"
#include "src/kern/rngdev.h"
#include "src/kern/sysproto.h"

#define CONSOLE_WRITE_MAX 1024u
#define ENTROPY_MAX 256u
#define STEP 256u /* bytes copied at a time */

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

int64_t sys_console_write(struct env *e, const struct cap *k, uaddr text,
                          uint32_t len)
{
    char step[STEP];
    REFUSE_IF(!cap_dominates(k, console_guard, CAP_WRITE), E_CAP);
    REFUSE_IF(len > CONSOLE_WRITE_MAX, E_INVAL);
    for (uint32_t done = 0; done < len; done += STEP) {
        uint32_t n = len - done < STEP ? len - done : STEP;
        if (copy_in(e, step, (uaddr){text.va + done}, n) < 0) {
            return done > 0 ? (int64_t)done : -E_FAULT;
        }
        console_write(step, n);
    }
    return len;
}

static struct rngdev *rng; /* set at boot */

void entropy_attach(struct rngdev *dev)
{
    if (rng == NULL) {
        rng = dev;
    }
}

bool entropy_word(uint64_t *out)
{
    return arch_entropy(out) || (rng != NULL && rng->read(rng, out));
}

int64_t sys_entropy_read(struct env *e, uaddr bytes, uint32_t len)
{
    uint64_t word[ENTROPY_MAX / sizeof(uint64_t)];
    REFUSE_IF(len > ENTROPY_MAX, E_INVAL);
    for (uint32_t i = 0; i * sizeof(word[0]) < len; i++) {
        REFUSE_IF(!entropy_word(&word[i]), E_AGAIN);
    }
    TRY(copy_out(e, bytes, word, len));
    return len;
}

int64_t sys_machine_halt(struct env *e, const struct cap *k, uint32_t status)
{
    (void)e;
    REFUSE_IF(!cap_dominates(k, GUARD_ROOT, CAP_CTL), E_CAP);
    arch_halt(status);
}
