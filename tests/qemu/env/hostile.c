/* SPDX-License-Identifier: MIT */
/*
 * Children that lie, trespass and take all they can: each must end killed or
 * with every attempt refused, while an innocent one runs on.
 */
#include "libos/libos/mem.h"
#include "tests/qemu/env/families.h"

enum { REFUSED = 1, KILLED = 2 };

static const struct {
    const char *act;
    unsigned may; /* how it may end */
} hostile[] = {
    {"trespass", REFUSED},
    {"fuzz", REFUSED | KILLED},
    {"uarea-lies", REFUSED | KILLED},
    {"no-id", REFUSED},
    {"frame-lies", REFUSED | KILLED},
    {"stack-lies", KILLED},
    {"sysret-edge", KILLED},
    {"no-entry", KILLED},
    {"nested", KILLED},
    {"overrun", KILLED},
    {"masked", KILLED},
    {"exhaust", REFUSED},
    {"children", REFUSED},
    {"programs", REFUSED},
    {"quota", REFUSED},
};

static void one(const char *act, unsigned may)
{
    uint64_t before = mem_frames_left();
    const struct sysinfo_env *e;
    struct child c;
    char text[128];
    bool refused, killed;

    if (!tap_is(child_start(&c, act, FREE_SLOT, 1024), 0, act)) {
        return;
    }
    if (!child_wait(&c, 30000)) {
        child_destroy(&c);
        tap_ok(false, "%s runs on", act);
        return;
    }
    e = child_info(&c);
    child_end_text(&c, text, sizeof(text));
    refused = e->end == ENV_END_DESTROYED && e->end_detail == 0;
    killed = e->end == ENV_END_FAULT || e->end == ENV_END_OVERRUN ||
             (e->end == ENV_END_DESTROYED && e->end_detail >= 128);
    tap_ok((refused && (may & REFUSED)) || (killed && (may & KILLED)), "%s: %s",
           act, text);
    /* Our own page tables may have grown by a table. */
    tap_ok(mem_frames_left() + 1 >= before, "%s: all its frames came back",
           act);
}

void family_hostile(void)
{
    struct child innocent;
    uint64_t ticks;

    IS(sys_cap_mint(ROOT, FREE_SLOT, (const uint8_t *)"h/", 2, CAP_ALL), 0);
    IS(sys_cap_mint(ROOT, FREE_SLOT + 1, (const uint8_t *)"i/", 2, CAP_ALL), 0);
    IS(child_start(&innocent, "spin", FREE_SLOT + 1, 512), 0);
    for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        one(hostile[i].act, hostile[i].may);
    }
    ticks = child_info(&innocent)->run_ticks;
    (void)child_wait(&innocent, 50);
    tap_ok(!child_ended(&innocent) && child_info(&innocent)->run_ticks > ticks,
           "the innocent one runs on");
    child_destroy(&innocent);
}
