/* SPDX-License-Identifier: MIT */
/* Slices: given, taken, seen through prologue and epilogue, and not kept. */
#include "libos/libos/time.h"
#include "src/abi/quantum.h"
#include "tests/qemu/env/families.h"

static volatile unsigned began, ended;

static void on_begin(void)
{
    began++;
}

static void on_end(void)
{
    ended++;
}

static void refusals(void)
{
    uint32_t self = env_uarea()->env;
    uint32_t cpus = env_sysinfo()->cpus;
    OK(sys_quantum_alloc(ROOT, cpus, QUANTUM_ANY, self) < 0);
    OK(sys_quantum_alloc(ROOT, 0, QUANTUM_SLOTS, self) < 0);
    OK(sys_quantum_alloc(ROOT, 0, QUANTUM_ANY, 0xdeadbeef) < 0);
    OK(sys_quantum_alloc(CAP_SLOTS - 1, 0, QUANTUM_ANY, self) == -E_CAP);
    OK(sys_quantum_free(ROOT, 0, QUANTUM_SLOTS) < 0);
    OK(sys_quantum_free(ROOT, cpus, 0) < 0);
    IS(sys_quantum_yield(0xdeadbeef), -E_NONE);
}

static void vector(void)
{
    uint32_t self = env_uarea()->env;
    int64_t slot = sys_quantum_alloc(ROOT, 0, QUANTUM_ANY, self);
    const struct sysinfo *s = env_sysinfo();
    const uint32_t *owner =
        (const uint32_t *)((const uint8_t *)s + s->quantum_offset);

    OK(slot >= 0);
    tap_ok(owner[slot] == self, "the vector is exposed");
    IS(sys_quantum_alloc(ROOT, 0, (uint32_t)slot, self), -E_BUSY);
    IS(sys_quantum_free(ROOT, 0, (uint32_t)slot), 0);
    OK(owner[slot] == 0);
    OK(sys_quantum_free(ROOT, 0, (uint32_t)slot) < 0);
}

static void hooks(struct child *spinner)
{
    /* How many slices fit into a time depends on what else the host does. A
       few milliseconds are usual; five seconds are the limit. */
    env_on_slice(on_begin, on_end);
    uint64_t end = time_ns() + 5 * TIME_S;
    while ((ended < 3 || began < 3) && time_ns() < end) {
    }
    env_on_slice(NULL, NULL);
    tap_note("%u prologues, %u epilogues", began, ended);
    tap_ok(ended >= 3, "epilogues came beside a competitor");
    tap_ok(began >= 3, "prologues too");
    OK(child_info(spinner)->run_ticks > 0);
}

static void yielding(struct child *spinner)
{
    uint64_t before = child_info(spinner)->run_ticks;
    for (int i = 0; i < 10; i++) {
        env_yield(spinner->env);
    }
    tap_ok(child_info(spinner)->run_ticks > before,
           "a directed yield gives the rest of the slice");
}

/* A sleeper in many slots, whose predicate is dear, keeps nobody from running
   and pays for it. */
static void sleeping(void)
{
    uint64_t start = time_ns();
    struct child spinner;
    IS(child_start(&spinner, "spin", FREE_SLOT, 512), 0);
    struct child s;
    IS(child_start(&s, "dear-sleep", FREE_SLOT, 512), 0);
    OK(child_run(&s, 0, 40) > 0);
    (void)env_wait(0, time_ns() + 20 * TIME_MS);
    uint64_t before = child_info(&s)->run_ticks;
    for (int i = 0; i < 100; i++) {
        env_yield(0);
    }
    tap_note("100 yields beside a sleeper in many slots: %lu ms",
             (unsigned long)((time_ns() - start) / TIME_MS));
    tap_ok(time_ns() - start < TIME_S, "slices begin whole");
    (void)env_wait(0, time_ns() + 50 * TIME_MS);
    tap_ok(child_info(&s)->run_ticks > before,
           "a predicate's time is charged to its sleeper");
    child_destroy(&s);
    child_destroy(&spinner);
}

/* Equal slices are equal time, whether they end in ring 3 or in a call. */
static void calling(void)
{
    struct child honest;
    IS(child_start(&honest, "spin", FREE_SLOT, 512), 0);
    struct child thief;
    IS(child_start(&thief, "long-calls", FREE_SLOT, 9000), 0);
    (void)child_wait(&honest, 100);
    uint64_t h = child_info(&honest)->run_ticks;
    uint64_t t = child_info(&thief)->run_ticks;
    (void)child_wait(&honest, 300);
    h = child_info(&honest)->run_ticks - h;
    t = child_info(&thief)->run_ticks - t;
    tap_note("of their time: honest %lu%%, in calls %lu%%", h * 100 / (h + t),
             t * 100 / (h + t));
    tap_ok(h * 100 / (h + t) >= 40, "long calls take no time of others");
    child_destroy(&honest);
    child_destroy(&thief);
}

void family_quanta(void)
{
    refusals();
    vector();
    IS(sys_cap_mint(ROOT, FREE_SLOT, (const uint8_t *)"s/", 2, CAP_ALL), 0);
    struct child c;
    IS(child_start(&c, "spin", FREE_SLOT, 512), 0);
    hooks(&c);
    yielding(&c);
    struct child d;
    IS(child_start(&d, "overrun", FREE_SLOT, 512), 0);
    tap_ok(child_wait(&d, 20000) && child_info(&d)->end == ENV_END_OVERRUN,
           "who keeps the processor is killed");
    tap_ok(!child_ended(&c), "the competitor runs on");
    child_destroy(&c);
    OK(child_ended(&c));
}

/* Under a clock that counts instructions (run.py --icount). */
void family_time(void)
{
    IS(sys_cap_mint(ROOT, FREE_SLOT, (const uint8_t *)"s/", 2, CAP_ALL), 0);
    sleeping();
    calling();
}
