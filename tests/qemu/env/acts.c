/* SPDX-License-Identifier: MIT */
/*
 * What children do. Status 0: every attempt was refused. Most are meant to
 * end killed, or refused; none may reach an assertion of the kernel.
 */
#include "dpf/dpf.h"
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "src/abi/disk.h"
#include "src/abi/event.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/quantum.h"
#include "tests/qemu/env/hoard.h"
#include "tests/qemu/env/tap.h"

static uint64_t seed; /* never 0 */

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int64_t raw(uint64_t n, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    register uint64_t r10 __asm__("r10") = d;

    int64_t r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return r;
}

static int quota(void)
{
    unsigned got = 0;
    while (sys_page_alloc(SLOT_SELF, PAGE_ANY, 1) >= 0) {
        if (++got > 4096) {
            return 1;
        }
    }
    return sys_page_alloc(SLOT_SELF, PAGE_ANY, 1) == -E_QUOTA ? 0 : 2;
}

static int spin(void)
{
    for (;;) {
    }
}

/* An epilogue that never yields. */
static void keep(void)
{
    for (;;) {
    }
}

static int overrun(void)
{
    env_uarea()->entry[ENV_EPILOGUE] = (uint64_t)keep;
    return spin();
}

/* The same through the mask: slice_over is never looked at. */
static int masked(void)
{
    env_uarea()->entry[ENV_EPILOGUE] = (uint64_t)keep;
    env_uarea()->slice_mask = 1;
    return spin();
}

static int no_entry(void)
{
    env_uarea()->entry[ENV_FAULT] = 0;
    __asm__ volatile("ud2");
    return 1;
}

static void undefined(void)
{
    __asm__ volatile("ud2");
}

static int nested(void)
{
    env_uarea()->entry[ENV_FAULT] = (uint64_t)undefined;
    __asm__ volatile("ud2");
    return 1;
}

static int unhandled(void)
{
    *(volatile int *)16 = 1;
    return 1;
}

/* Every pointer of the u-area points somewhere else. */
static int uarea_lies(void)
{
    static const uint64_t where[] = {
        0,
        1,
        UADDR_TOP,
        SYSINFO_VA,
        UPT_VA,
        0x800000000000ull,
        0xffff800000000000ull,
        0xffffffff80000000ull,
        UINT64_MAX,
    };
    struct uarea *u = env_uarea();
    for (unsigned i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
        u->entry[ENV_PROLOGUE] = where[i];
        u->entry[ENV_EPILOGUE] = where[i];
        u->stack_top = where[i];
        u->fault_stack_top = where[i];
        u->slice_over = UINT32_MAX;
        u->cpu = UINT32_MAX;
        u->env = UINT32_MAX;
        env_yield(0);
    }
    return 0;
}

/* The state to resume is nonsense whenever a slice ends. */
static int frame_lies(void)
{
    struct frame *f = &env_uarea()->slice;
    uint64_t end = time_ns() + 50 * TIME_MS;
    while (time_ns() < end) {
        f->rip = 0xffff800000000000ull;
        f->cs = 8;
        f->ss = 0x10;
        f->rflags = UINT64_MAX;
        f->rsp = 0x8000000000000000ull;
    }
    return 0;
}

static int stack_lies(void)
{
    __asm__ volatile("movabsq $0xffff800000001000, %rsp\n\t"
                     "pushq %rax");
    return 1;
}

static int sysret_edge(void)
{
    /* syscall as the last instruction below the canonical hole cannot be
       bound; a jump there must fault here, not in the kernel */
    ((void (*)(void))0x00007ffffffffffeull)();
    return 1;
}

/*
 * Numbers and arguments without sense, all of them. entropy_read may write to
 * our own u-area, which ends us sooner or later: `mend` it for more calls.
 */
static int calls(bool mend)
{
    static uint8_t head[__builtin_offsetof(struct uarea, slice)];
    static const uint64_t odd[] = {
        0,
        1,
        8,
        63,
        64,
        4096,
        UINT32_MAX,
        1ull << 47,
        UADDR_TOP,
        UAREA_VA,
        SYSINFO_VA,
        UPT_VA,
        0xffff800000000000ull,
        0xffffffff80000000ull,
        INT64_MAX,
        UINT64_MAX,
    };
    memcpy(head, env_uarea(), sizeof(head));
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t x = next_random();
        uint64_t n = 0x1000 + x % 0x40;
        uint64_t arg[4];
        for (unsigned k = 0; k < 4; k++) {
            uint64_t pick = x >> (8 + 8 * k) & 0x1f;
            arg[k] = pick < 16   ? odd[pick]
                     : pick < 20 ? (uint64_t)env_uarea()
                                 : x >> pick;
        }
        if (n == 0x1005 || n == 0x1002 || n == 0x1009 || n == 0x1004) {
            continue; /* ending, dropping, sleeping and children are allowed */
        }
        (void)raw(n, arg[0], arg[1], arg[2], arg[3]);
        if (mend) {
            memcpy(env_uarea(), head, sizeof(head));
        }
    }
    return 0;
}

static int fuzz(void)
{
    return calls(true);
}

static int noise(void)
{
    return calls(false);
}

/* Things for which it holds no capability. */
static int trespass(void)
{
    struct page_binding b = {0x300000000000ull, 0x100, 1, PAGE_R | PAGE_W};
    struct net_ring_args ring = {.slots = 16, .frame = 0x100, .frames = 16};
    struct disk_ring_args disk = {.slots = 16, .frame = 0x100, .frames = 16};
    struct net_region_args region = {.guard = SLOT_SELF};
    struct disk_range_args range = {.guard = SLOT_SELF, .count = 1};
    int wrong = 0;
    wrong += sys_machine_halt(SLOT_SELF, 0) != -E_CAP;
    wrong += sys_console_write(SLOT_SELF, (const uint8_t *)"x", 1) != -E_CAP;
    wrong += sys_quantum_alloc(SLOT_SELF, 0, QUANTUM_ANY, env_uarea()->env) !=
             -E_CAP;
    wrong += sys_page_bind(0, 0, SLOT_SELF, &b, 1) >= 0;
    for (uint64_t f = 0; f < env_sysinfo()->frames; f += 61) {
        b.frame = f;
        wrong += sys_page_bind(0, 0, SLOT_SELF, &b, 1) >= 0 &&
                 sys_page_free(SLOT_SELF, f, 1) < 0;
    }
    wrong += sys_net_rx_ring(SLOT_SELF, &ring) >= 0;
    wrong += sys_net_tx_ring(SLOT_SELF, &ring) >= 0;
    wrong += sys_net_region(SLOT_SELF, &region) >= 0;
    wrong += sys_disk_range(SLOT_SELF, &range) >= 0;
    wrong += sys_disk_ring(SLOT_SELF, &disk) >= 0;
    wrong += sys_env_destroy(SLOT_SELF, 1, 0) >= 0;
    wrong += sys_cap_grant(SLOT_SELF, 1, SLOT_SELF, 40) >= 0;
    wrong += sys_cap_revoke(1) >= 0;
    return wrong;
}

/* The tables that bind everything, over and over. */
static int exhaust(void)
{
    for (unsigned i = 0; i < 4096; i++) {
        struct page_binding b = {0x400000000000ull + (uint64_t)i * (1ull << 30),
                                 0, 1, PAGE_R};
        int64_t f = sys_page_alloc(SLOT_SELF, PAGE_ANY, 1);
        if (f < 0) {
            return f == -E_QUOTA || f == -E_MEM ? 0 : 1;
        }
        b.frame = (uint64_t)f;
        if (sys_page_bind(0, 0, SLOT_SELF, &b, 1) < 0) {
            return 0;
        }
    }
    return 1;
}

static int children(void)
{
    unsigned n = 0;
    while (sys_env_create(SLOT_SELF, 5, NULL, 0) >= 0) {
        if (++n > 4096) {
            return 1;
        }
    }
    return 0;
}

/* Programs of every odd shape for the verifier. */
static int programs(void)
{
    static struct dpf_insn insn[64];
    uint64_t x = 0;
    for (unsigned i = 0; i < 3000; i++) {
        struct event_args a = {.insns = (uint64_t)insn, .count = 64};
        uint64_t *w = (uint64_t *)insn;
        for (unsigned k = 0; k < 64; k++) {
            x = next_random();
            w[k] = x & 0xffff00ff0fffffffull;
        }
        a.count = (uint32_t)(x >> 40 & 63);
        int64_t id = sys_event_bind(SLOT_SELF, &a);
        if (id > 0) {
            (void)sys_event_wait(0, time_tsc() + 1000, (uint32_t)id);
            (void)sys_event_unbind((uint32_t)id);
        }
    }
    return 0;
}

/* How many selectors hold what others left. */
static int selectors(void)
{
    uint32_t ds, es, fs, gs;
    __asm__ volatile("mov %%ds, %0\n\t"
                     "mov %%es, %1\n\t"
                     "mov %%fs, %2\n\t"
                     "mov %%gs, %3"
                     : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
    return (ds != 0) + (es != 0) + (fs != 0) + (gs != 0);
}

static int exit7(void)
{
    return 7;
}

/* Its name belongs to its maker too, until here. */
static int revoke_self(void)
{
    (void)sys_cap_revoke(SLOT_SELF);
    return spin();
}

/* Ends although the id in its u-area is nobody's. */
static int no_id(void)
{
    env_uarea()->env = UINT32_MAX;
    return 0;
}

/* Sleep on a predicate that does all the work a predicate may, and says no. */
static int dear_sleep(void)
{
    static struct dpf_insn p[64];
    const unsigned last = 60;
    struct event_args a = {.insns = (uint64_t)p, .count = last + 3};
    p[0] = (struct dpf_insn){0xb7, 3, 0, 1}; /* r3 = 1 */
    for (unsigned i = 1; i < last; i++) {
        p[i] = (struct dpf_insn){0x07, 3, 0, 2}; /* r3 += 2: never 0 */
    }
    p[last] = (struct dpf_insn){0x55, 3, (int16_t)-last, 0};
    p[last + 1] = (struct dpf_insn){0xb7, 0, 0, 0};
    p[last + 2] = (struct dpf_insn){0x95, 0, 0, 0};
    int64_t id = sys_event_bind(SLOT_SELF, &a);
    if (id < 0) {
        return 3;
    }
    for (;;) {
        (void)sys_event_wait(0, UINT64_MAX, (uint32_t)id);
    }
}

/* Spend all time in calls that last, so that slices end inside them. */
static int long_calls(void)
{
    uint32_t n = 8192;
    int64_t f;
    while ((f = sys_page_alloc(SLOT_SELF, PAGE_ANY, n)) < 0) {
        n /= 2;
    }
    for (;;) {
        (void)sys_page_free(SLOT_SELF, (uint64_t)f, n);
        f = sys_page_alloc(SLOT_SELF, PAGE_ANY, n);
    }
}

static const struct {
    const char *name;
    int (*run)(void);
} acts[] = {
    {"dear-sleep", dear_sleep},
    {"long-calls", long_calls},
    {"quota", quota},
    {"spin", spin},
    {"overrun", overrun},
    {"masked", masked},
    {"no-entry", no_entry},
    {"nested", nested},
    {"unhandled", unhandled},
    {"uarea-lies", uarea_lies},
    {"frame-lies", frame_lies},
    {"stack-lies", stack_lies},
    {"sysret-edge", sysret_edge},
    {"fuzz", fuzz},
    {"noise", noise},
    {"trespass", trespass},
    {"exhaust", exhaust},
    {"children", children},
    {"programs", programs},
    {"selectors", selectors},
    {"exit7", exit7},
    {"no-id", no_id},
    {"hoard", hoard},
    {"revoke-self", revoke_self},
};

int act_run(const char *act, uint64_t random)
{
    seed = random | 1;
    for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        if (strcmp(acts[i].name, act) == 0) {
            return acts[i].run();
        }
    }
    return 99;
}
