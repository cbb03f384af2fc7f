/* SPDX-License-Identifier: MIT */
/*
 * The serial line, and the machine's end: by a call, or by its button.
 *
 * Text for the line goes into a ring, a call's text or a line of the kernel's
 * log wholly or not at all; so each stays in one piece, whatever other
 * processors write. Nobody waits for the line: the processor that put text in
 * hands the line what it takes, a bounded number of bytes after each entry
 * into the kernel, and before it goes idle. A call goes on in turns while more
 * than a step waits and the line moves, so that who writes much pays for it.
 * When the line stands still, the ring fills: environments are told that
 * nothing was taken, and the kernel's own lines are counted and dropped.
 */
#include "src/kern/console.h"
#include "src/kern/aspace.h"
#include "src/kern/cap.h"
#include "src/kern/cpu.h"
#include "src/kern/demand.h"
#include "src/kern/sysinfo.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"
#include "src/lib/format.h"
#include "src/lib/log.h"

#define CONSOLE_WRITE_MAX 1024u
#define RING 8192u     /* a power of two */
#define LOG_ROOM 1024u /* of the ring, for the kernel's lines alone */
#define NOTE 64u       /* bytes of the line about lost lines, at most */
#define STEP 256u      /* bytes handed to the line at a time */
#define RETRY_US 1000u /* a line that took nothing is asked again then */

/* How far a call came (turn.h). */
enum { WAITS = 1, TAKEN };

struct lock console_lock;
static uint32_t console_guard GUARDED_BY(bind_lock);
static char ring[RING];
static _Atomic uint32_t head; /* bytes put in; changes under console_lock */
static _Atomic uint32_t tail; /* bytes handed over; changes while `handing` */
static _Atomic bool handing;  /* one processor hands bytes over */
static _Atomic uint64_t next_try; /* tsc; the line took nothing before */
static uint32_t lost GUARDED_BY(console_lock); /* lines, not yet reported */

int console_init(void)
{
    static const uint8_t name[] = "\7console"; /* one component */
    int g = guard_intern(NULL, name, sizeof(name) - 1);
    TRY(g);
    console_guard = (uint32_t)g;
    return 0;
}

/* Bytes that wait in the ring. */
static uint32_t backlog(void)
{
    return atomic_load(&head) - atomic_load(&tail);
}

static bool moves(void)
{
    return atomic_load(&next_try) <= arch_tsc();
}

static void append(const char *text, uint32_t len) REQUIRES(console_lock)
{
    uint32_t at = atomic_load(&head);
    for (uint32_t i = 0; i < len; i++) {
        ring[(at + i) % RING] = text[i];
    }
    atomic_store(&head, at + len);
}

void console_write(const char *text, size_t len)
{
    lock_acquire(&console_lock);
    if (RING - backlog() < len + NOTE) {
        lost++;
    } else {
        if (lost > 0) {
            char note[NOTE];
            size_t n = format(note, sizeof(note),
                              "console: %u lines of the kernel lost\n", lost);
            append(note, (uint32_t)n);
            lost = 0;
        }
        append(text, (uint32_t)len);
    }
    lock_release(&console_lock);
    cpu_this()->console = true;
}

bool console_turn(struct cpu *c)
{
    if (!moves() || atomic_exchange(&handing, true)) {
        return false;
    }
    uint32_t at = atomic_load(&tail), n = backlog();
    n = n < STEP ? n : STEP;
    n = n < RING - at % RING ? n : RING - at % RING;
    uint32_t taken = (uint32_t)arch_console_put(ring + at % RING, n);
    if (taken < n) {
        atomic_store(&next_try, arch_tsc() + arch_tsc_khz() * RETRY_US / 1000);
    }
    atomic_store(&tail, at + taken);
    c->console = backlog() != 0;
    atomic_store(&handing, false);
    return c->console && taken == n;
}

uint64_t console_due(const struct cpu *c)
{
    return c->console ? arch_tsc() + arch_tsc_khz() * RETRY_US / 1000
                      : UINT64_MAX;
}

void kern_console_end(void)
{
    for (uint32_t n; (n = backlog()) != 0;) {
        uint32_t at = atomic_load(&tail);
        n = n < RING - at % RING ? n : RING - at % RING;
        arch_console_write(ring + at % RING, n);
        atomic_store(&tail, at + n);
    }
    log_to(arch_console_write);
}

/* Put a whole text into the ring: 0, -E_AGAIN if it does not fit now. */
static int take(const struct env *e, uaddr text, uint32_t len)
    REQUIRES(bind_lock)
{
    lock_acquire(&console_lock);
    uint32_t at = atomic_load(&head);
    int r = -E_AGAIN;
    if (len + LOG_ROOM <= RING - backlog()) {
        uint32_t first = RING - at % RING < len ? RING - at % RING : len;
        r = copy_in(e, ring + at % RING, text, first);
        if (r == 0) {
            r = copy_in(e, ring, (uaddr){text.va + first}, len - first);
        }
    }
    if (r == 0) {
        atomic_store(&head, at + len);
    }
    lock_release(&console_lock);
    return r;
}

int64_t sys_console_write(struct env *e, const struct cap *k, uaddr text,
                          uint32_t len, struct turn *t)
{
    REFUSE_IF(!cap_dominates(k, console_guard, CAP_WRITE), E_CAP);
    REFUSE_IF(len > CONSOLE_WRITE_MAX, E_INVAL);
    cpu_this()->console = true; /* the trap's end hands some over */
    if (t->done < TAKEN) {
        int r = take(e, text, len);
        if (r == -E_AGAIN) {
            return moves() ? turn_again(t, WAITS) : 0;
        }
        TRY(r);
    }
    if (backlog() > STEP && moves()) {
        return turn_again(t, TAKEN);
    }
    return len;
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
