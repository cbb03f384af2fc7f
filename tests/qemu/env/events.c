/* SPDX-License-Identifier: MIT */
/* Sleeping: deadlines, bits, and wakeup predicates over exposed words. */
#include "dpf/dpf.h"
#include "libos/libos/mem.h"
#include "libos/libos/time.h"
#include "src/abi/event.h"
#include "src/abi/page.h"
#include "tests/qemu/env/families.h"

/* r0 = *(u64 *)region 0: wake when the word is not 0, the word is the tag */
static const struct dpf_insn look_word[] = {
    {0x79, 0x12, 0, 0}, /* r2 = *(u64 *)(r1 + 0) */
    {0x79, 0x20, 0, 0}, /* r0 = *(u64 *)(r2 + 0) */
    {0x95, 0, 0, 0},
};

static const struct dpf_insn leak_pointer[] = {
    {0xbf, 0x10, 0, 0}, /* r0 = r1: a pointer is returned */
    {0x95, 0, 0, 0},
};

static void deadlines(void)
{
    uint64_t before = time_ns();
    IS((int64_t)env_wait(0, before + 20 * TIME_MS), 0);
    tap_ok(time_ns() >= before + 20 * TIME_MS, "a deadline is not early");
    tap_ok(time_ns() < before + 500 * TIME_MS, "nor very late");
    IS(sys_event_wait(0, time_tsc(), 99), -E_NONE);
    __atomic_fetch_or(&env_uarea()->pending, 4, __ATOMIC_SEQ_CST);
    IS((int64_t)env_wait(6, UINT64_MAX), 4);
    IS((int64_t)env_events(6), 0);
}

static int64_t bind(const struct dpf_insn *insns, uint32_t count,
                    uint64_t frame, uint32_t offset, uint32_t len)
{
    const struct event_args a = {
        .insns = (uint64_t)insns,
        .count = count,
        .regions = 1,
        .region = {{frame, offset, len}},
    };
    return sys_event_bind(ROOT, &a);
}

static void predicates(void)
{
    struct mem_run run;
    IS(mem_run_alloc(&run, PAGE_SIZE, 0), 0);
    uint64_t frame = run.paddr / PAGE_SIZE;
    OK(bind(look_word, 3, UINT64_MAX / 4096, 0, 8) < 0);
    OK(bind(look_word, 3, frame, PAGE_SIZE - 4, 8) < 0);
    IS(bind(leak_pointer, 2, frame, 0, 8), -E_VERIFY);
    OK(bind(look_word, 0, frame, 0, 8) < 0);
    OK(bind((const struct dpf_insn *)8, 3, frame, 0, 8) == -E_FAULT);
    int64_t id = bind(look_word, 3, frame, 0, 8);
    OK(id >= 1);
    uint64_t before = time_ns();
    (void)sys_event_wait(0, time_tsc_of_ns(before + 10 * TIME_MS),
                         (uint32_t)id);
    tap_ok(time_ns() >= before + 10 * TIME_MS,
           "a predicate that is false sleeps on");
    *(volatile uint64_t *)run.va = 77;
    (void)sys_event_wait(0, time_tsc_of_ns(time_ns() + 2 * TIME_S),
                         (uint32_t)id);
    tap_ok(time_ns() < before + TIME_S, "one that is true wakes");
    IS((int64_t)env_uarea()->tag, 77);
    IS(sys_event_unbind((uint32_t)id), 0);
    IS(sys_event_unbind((uint32_t)id), -E_NONE);
    mem_run_free(&run);
}

static void entropy(void)
{
    uint64_t a[2] = {0}, b[2] = {0};
    IS(env_entropy(a, sizeof(a)), 0);
    IS(env_entropy(b, sizeof(b)), 0);
    OK(a[0] != b[0] && a[1] != b[1] && a[0] != 0);
    OK(sys_entropy_read((uint8_t *)8, 16) == -E_FAULT);
    OK(sys_entropy_read((uint8_t *)a, 257) == -E_INVAL);
}

void family_events(void)
{
    deadlines();
    predicates();
    entropy();
}
