/* SPDX-License-Identifier: MIT */
/*
 * Children that lie, trespass and take all they can: each must end killed or
 * with every attempt refused, while an innocent one runs on.
 */
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "tests/qemu/env/families.h"

enum { REFUSED = 1, KILLED = 2 };

static const struct {
    const char *act;
    unsigned may; /* how it may end */
} hostile[] = {
    {"trespass", REFUSED},       {"fuzz", REFUSED | KILLED},
    {"noise", REFUSED | KILLED}, {"uarea-lies", REFUSED | KILLED},
    {"no-id", REFUSED},          {"frame-lies", REFUSED | KILLED},
    {"stack-lies", KILLED},      {"sysret-edge", KILLED},
    {"no-entry", KILLED},        {"nested", KILLED},
    {"overrun", KILLED},         {"masked", KILLED},
    {"exhaust", REFUSED},        {"children", REFUSED},
    {"programs", REFUSED},       {"quota", REFUSED},
};

#define CROWD 4u
#define ROUNDS 4u /* of crowds; more by the boot argument rounds=N */

/* A slice of each other processor too: it runs wherever there is time. */
static void spread(const struct child *c)
{
    for (uint32_t cpu = 1; cpu < env_sysinfo()->cpus; cpu++) {
        (void)child_run(c, cpu, 1); /* may have ended already */
    }
}

static uint64_t calls_so_far(void)
{
    const struct sysinfo *s = env_sysinfo();
    const struct sysinfo_cpu *cpu =
        (const struct sysinfo_cpu *)((const uint8_t *)s + s->cpu_offset);
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->cpus; i++) {
        n += cpu[i].syscalls;
    }
    return n;
}

/* Is it stuck, or does it run and run? */
static void runs_on(const struct child *c, const char *act)
{
    const struct sysinfo_env *e = child_info(c);
    uint64_t ticks = e->run_ticks, calls = calls_so_far();
    tap_ok(false, "%s runs on", act);
    (void)child_wait(c, 100);
    tap_note("state %u on processor %u; in 100 ms it ran %lu us, and there "
             "were %lu calls",
             e->state, e->cpu,
             time_ns_of_tsc(e->run_ticks - ticks + env_sysinfo()->boot_tsc) /
                 1000,
             calls_so_far() - calls);
}

/* A child may revoke the name that it shares with us: we have the root's. */
static void mint_again(uint32_t slot, const char *name)
{
    (void)sys_cap_mint(ROOT, slot, (const uint8_t *)name,
                       (uint32_t)strlen(name), CAP_ALL);
}

static void one(const char *act, unsigned may)
{
    mint_again(FREE_SLOT, "h/");
    uint64_t before = mem_frames_left(), calls = calls_so_far();

    struct child c;
    if (!tap_is(child_start(&c, act, FREE_SLOT, 1024), 0, act)) {
        return;
    }
    spread(&c);
    if (!child_wait(&c, 30000)) {
        runs_on(&c, act);
        child_destroy(&c);
        return;
    }
    const struct sysinfo_env *e = child_info(&c);
    char text[128];
    child_end_text(&c, text, sizeof(text));
    bool refused = e->end == ENV_END_DESTROYED && e->end_detail == 0;
    bool killed = e->end == ENV_END_FAULT || e->end == ENV_END_OVERRUN ||
                  (e->end == ENV_END_DESTROYED && e->end_detail >= 128);
    tap_ok((refused && (may & REFUSED)) || (killed && (may & KILLED)), "%s: %s",
           act, text);
    tap_note("%lu calls", calls_so_far() - calls);
    /* Our own page tables may have grown by a table. */
    tap_ok(mem_frames_left() + 1 >= before, "%s: all its frames came back",
           act);
}

/*
 * Several at once on all processors, each with a name of its own, and their
 * end in the midst of it: ends, shootdowns and bindings cross each other.
 */
static void crowd(void)
{
    static const char *const acts[CROWD] = {"fuzz", "noise", "programs",
                                            "exhaust"};
    uint64_t rounds =
        text_option_number(env_sysinfo()->cmdline, "rounds", ROUNDS);
    uint64_t before = mem_frames_left(), ended = 0;

    for (uint64_t round = 0; round < rounds; round++) {
        struct child c[CROWD];
        for (unsigned i = 0; i < CROWD; i++) {
            const char name[3] = {(char)('0' + i), '/', '\0'};
            mint_again(FREE_SLOT + 2 + i, name);
            if (child_start(&c[i], acts[i], FREE_SLOT + 2 + i, 1024) != 0) {
                tap_ok(false, "a crowd is started");
                return;
            }
            spread(&c[i]);
        }
        (void)child_wait(&c[round % CROWD], 2 + round % 8 * 3);
        for (unsigned i = 0; i < CROWD; i++) {
            child_destroy(&c[i]);
        }
        for (unsigned i = 0; i < CROWD; i++) {
            ended += child_wait(&c[i], 10000);
        }
    }
    tap_ok(ended == CROWD * rounds, "a crowd ends when it is told to");
    /* Our own page tables grow, but by less than a table a child. */
    tap_ok(mem_frames_left() + CROWD * rounds > before,
           "all their frames came back");
}

void family_hostile(void)
{
    IS(sys_cap_mint(ROOT, FREE_SLOT, (const uint8_t *)"h/", 2, CAP_ALL), 0);
    IS(sys_cap_mint(ROOT, FREE_SLOT + 1, (const uint8_t *)"i/", 2, CAP_ALL), 0);
    struct child innocent;
    IS(child_start(&innocent, "spin", FREE_SLOT + 1, 512), 0);
    spread(&innocent);
    for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        one(hostile[i].act, hostile[i].may);
    }
    crowd();
    uint64_t ticks = child_info(&innocent)->run_ticks;
    /* Its processor may stand still for a while, if the host is busy. */
    for (unsigned i = 0; i < 200 && child_info(&innocent)->run_ticks == ticks;
         i++) {
        (void)child_wait(&innocent, 50);
    }
    tap_ok(!child_ended(&innocent) && child_info(&innocent)->run_ticks > ticks,
           "the innocent one runs on");
    child_destroy(&innocent);
}
