/* SPDX-License-Identifier: MIT */
/*
 * How long each call keeps interrupts out, and others from bind_lock. Every
 * call is made with the longest arguments that are honest: tables that are
 * full, runs of the greatest length, programs that are hard to read. The kernel
 * itself measures (struct sysinfo_span). QEMU counts instructions (-icount), so
 * a tick of the time-stamp counter is an instruction.
 */
#include "libos/libos/filter.h"
#include "libos/libos/mem.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "src/abi/disk.h"
#include "src/abi/event.h"
#include "src/abi/page.h"
#include "src/abi/quantum.h"
#include "src/abi/syserr.h"
#include "tests/qemu/env/families.h"
#include "tests/qemu/env/hoard.h"
#include "tests/qemu/env/programs.h"

#define CROWD 250u /* environments beside us */
#define CHUNK 512u /* frames */
#define NAME FREE_SLOT
#define LONGER (FREE_SLOT + 1)
#define NET (FREE_SLOT + 2)
#define DISK (FREE_SLOT + 3)
#define LEFT (FREE_SLOT + 4)

static struct net_refusal why;
static struct rx_ring ring;
static uint32_t crowd[CROWD];

/* ------------------------------------------------------------- the table */

#define WORD(number, errors) {number, #number},
static const struct {
    uint32_t number;
    const char *name;
} calls[] = {SYS_ERRORS(WORD)};

static const struct sysinfo_span *rows(void)
{
    const struct sysinfo *s = env_sysinfo();

    return (const struct sysinfo_span *)((const uint8_t *)s + s->span_offset);
}

static void row(const char *name, unsigned i, uint64_t most)
{
    const struct sysinfo_span *r = &rows()[i];

    if (r->closed == 0) {
        tap_note("%s: never", name);
        return;
    }
    tap_ok(most == 0 || (r->closed <= most && r->locked <= most),
           "%s: %lu ticks with interrupts off, %lu with bind_lock", name,
           r->closed, r->locked);
}

static void table(void)
{
    uint64_t us = text_option_number(env_sysinfo()->cmdline, "most_us", 0);
    uint64_t most = us * env_sysinfo()->tsc_khz / 1000;

    tap_note("%lu ticks a millisecond, at most %lu", env_sysinfo()->tsc_khz,
             most);
    row("looking for an environment", SPAN_IDLE, most);
    row("interrupt", SPAN_INTERRUPT, most);
    row("exception", SPAN_EXCEPTION, most);
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        row(calls[i].name + 4, SPAN_CALLS + calls[i].number - SYS_FIRST, most);
    }
}

/* ------------------------------------------------------------------ names */

static void mint(uint32_t from, uint32_t to, const char *name)
{
    IS(sys_cap_mint(from, to, (const uint8_t *)name, (uint32_t)strlen(name),
                    CAP_ALL),
       0);
}

/* As many environments as there can be, and lists full of one name. */
static void crowded(void)
{
    unsigned made = 0, given = 0;

    mint(ROOT, NAME, "a name as long");
    mint(NAME, LONGER, "er");
    for (unsigned i = 0; i < CROWD; i++) {
        int64_t id = sys_env_create(ROOT, 8, NULL, 0);

        crowd[i] = id > 0 ? (uint32_t)id : 0;
        made += id > 0;
        for (uint32_t slot = 0; id > 0 && slot < CAP_SLOTS; slot++) {
            given += sys_cap_grant(ROOT, (uint32_t)id, LONGER, slot) == 0;
        }
    }
    IS(made, CROWD);
    IS(given, CROWD * CAP_SLOTS);
    IS(sys_cap_revoke(NAME), 0);
    IS(sys_cap_revoke(NAME), 0);
    for (unsigned i = 0; i < CROWD; i++) {
        (void)sys_env_destroy(ROOT, crowd[i], 0);
    }
    IS(sys_cap_drop(NAME), 0);
}

/* Every name of the machine is ours and some are a child's that ends. */
static void names(void)
{
    int64_t held = sys_page_alloc(ROOT, PAGE_ANY, 1);
    uint32_t made = 0;

    OK(held > 0);
    for (uint32_t i = 0; i < 20000; i++) {
        if (sys_cap_mint(ROOT, NAME, (const uint8_t *)&i, sizeof(i), CAP_ALL) ==
                0 &&
            sys_page_alloc(NAME, PAGE_ANY, 1) > 0) {
            made++;
        }
        (void)sys_cap_drop(NAME);
    }
    tap_note("%u names", made);
}

/* ----------------------------------------------------------------- memory */

static void memory(void)
{
    uint32_t free = (uint32_t)env_sysinfo()->frames_free;
    uint32_t most = PAGE_RUN_MAX;
    int64_t run = -1;

    while (run < 0 && most > CHUNK) {
        run = sys_page_alloc(ROOT, PAGE_ANY, most);
        most -= run < 0 ? CHUNK : 0;
    }
    tap_note("%u frames at once of %u free", most, free);
    IS(sys_page_free(ROOT, (uint64_t)run, most), 0);
    /* Every second frame of the same is free. */
    IS(sys_page_alloc(ROOT, (uint64_t)run, most), run);
    for (uint32_t i = 0; i < most; i += 2) {
        (void)sys_page_free(ROOT, (uint64_t)run + i, 1);
    }
    OK(sys_page_alloc(ROOT, PAGE_ANY, 300) != 0);
    OK(sys_page_alloc(ROOT, PAGE_ANY, CHUNK) != 0);
    OK(sys_page_alloc(ROOT, PAGE_ANY, 20000) != 0);
    for (uint32_t i = 1; i < most; i += 2) {
        (void)sys_page_free(ROOT, (uint64_t)run + i, 1);
    }
}

#define SPARSE_VA 0x600000000000ull

static void bindings(void)
{
    static struct page_binding b[PAGE_BATCH_MAX];
    int64_t run = sys_page_alloc(ROOT, PAGE_ANY, PAGE_ELEMENT_MAX);

    OK(run > 0);
    for (unsigned i = 0; i < PAGE_BATCH_MAX; i++) {
        b[i] = (struct page_binding){
            SPARSE_VA + (uint64_t)i * CHUNK * PAGE_SIZE, (uint64_t)run,
            PAGE_ELEMENT_MAX, PAGE_R | PAGE_W};
    }
    IS(sys_page_bind(0, 0, ROOT, b, PAGE_BATCH_MAX), PAGE_BATCH_MAX);
    IS(sys_page_bind(0, 0, ROOT, b, PAGE_BATCH_MAX), PAGE_BATCH_MAX);
    for (unsigned i = 0; i < PAGE_BATCH_MAX; i++) {
        b[i].prot = 0;
    }
    IS(sys_page_bind(0, 0, ROOT, b, PAGE_BATCH_MAX), PAGE_BATCH_MAX);
    /* Entries far from one another: a table each, on every level. */
    for (unsigned i = 0; i < PAGE_BATCH_MAX; i++) {
        b[i] = (struct page_binding){SPARSE_VA + ((uint64_t)i << 30),
                                     (uint64_t)run, 1, PAGE_R};
    }
    IS(sys_page_bind(0, 0, ROOT, b, PAGE_BATCH_MAX), PAGE_BATCH_MAX);
    for (unsigned i = 0; i < PAGE_BATCH_MAX; i++) {
        b[i].prot = 0;
    }
    IS(sys_page_bind(0, 0, ROOT, b, PAGE_BATCH_MAX), PAGE_BATCH_MAX);
    IS(sys_page_free(ROOT, (uint64_t)run, PAGE_ELEMENT_MAX), 0);
}

/* ----------------------------------------------------------------- events */

/* A chain of tests of bytes that a predicate may read, and one that loops. */
static void predicates(void)
{
    int64_t frame = sys_page_alloc(ROOT, PAGE_ANY, 1);
    struct event_args a = {.insns = (uint64_t)prog,
                           .regions = EVENT_REGIONS_MAX};

    for (unsigned i = 0; i < EVENT_REGIONS_MAX; i++) {
        a.region[i] = (struct event_region){(uint64_t)frame, 0, PAGE_SIZE};
    }
    for (unsigned kind = 0; kind < PROG_KINDS; kind++) {
        int64_t id;

        prog_write(kind, PROG_MAX, false);
        memmove(prog + 1, prog, (prog_used - 1) * sizeof(prog[0]));
        prog[0] = (struct dpf_insn){LOAD8, 0x11, 0, 0}; /* r1 = table[0] */
        prog[prog_used - 1] = (struct dpf_insn){EXIT, 0, 0, 0};
        a.count = prog_used;
        id = sys_event_bind(ROOT, &a);
        if (id > 0) {
            (void)sys_event_wait(0, time_tsc() + 1000, (uint32_t)id);
            (void)sys_event_unbind((uint32_t)id);
        }
    }
    IS(sys_page_free(ROOT, (uint64_t)frame, 1), 0);
}

/* ---------------------------------------------------------------- network */

static int64_t net_bind(uint32_t region, uint32_t flags)
{
    const struct net_bind_args a = {.region = region,
                                    .ring = ring.id,
                                    .flags = flags,
                                    .insns = (uint64_t)prog,
                                    .count = prog_used,
                                    .refusal = (uint64_t)&why};

    return sys_net_bind(ROOT, &a);
}

static int64_t net_region(uint32_t parent, uint32_t flags)
{
    const struct net_region_args a = {.parent = parent,
                                      .guard = ROOT,
                                      .flags = flags,
                                      .insns = (uint64_t)prog,
                                      .count = prog_used,
                                      .refusal = (uint64_t)&why};

    return sys_net_region(ROOT, &a);
}

static int64_t bind_like(int64_t like, const struct net_const *consts,
                         uint32_t count)
{
    const struct net_like_args a = {.like = (uint32_t)like,
                                    .ring = ring.id,
                                    .consts = (uint64_t)consts,
                                    .count = count,
                                    .refusal = (uint64_t)&why};

    return sys_net_bind_like(ROOT, &a);
}

/* Programs that are hard to read: bound, as regions, and copied. */
static void programs(void)
{
    static const uint32_t sizes[] = {60, 264, 516, 1500, PROG_MAX};

    for (unsigned kind = 0; kind < PROG_KINDS; kind++) {
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            const struct net_const c = {.index = 1, .value = i};
            int64_t id;

            prog_write(kind, sizes[i], false);
            id = net_region(0, 0);
            if (id > 0) {
                (void)sys_net_region_free(ROOT, 0, 0, (uint32_t)id);
            }
            id = net_region(0, NET_OUT);
            if (id > 0) {
                (void)sys_net_region_free(ROOT, 0, NET_OUT, (uint32_t)id);
            }
            id = net_bind(0, NET_TAP);
            if (id >= 0) {
                (void)bind_like(id, &c, 1);
            }
            id = net_bind(0, NET_REFINE);
            if (id >= 0) {
                (void)bind_like(id, &c, 1);
            }
            if (i % 2 == 0 && id >= 0) {
                (void)sys_net_unbind(0, (uint32_t)id);
            }
        }
    }
}

/* A program of another shape for each number: which bytes it tests. */
static void shape_write(uint32_t n)
{
    prog_used = 0;
    prog_put(SET, 0, 0, 0, 0);
    for (uint32_t i = 0; i < 11; i++) {
        if (i < 10 && (n >> i & 1) == 0) {
            continue;
        }
        prog_put(i < 10 ? LOAD1 : LOAD2, 4, 1, 40 + i, 0);
        prog_put(JUMP_EQ, 4, 0, 1, i < 10 ? 7 : n);
        prog_put(EXIT, 0, 0, 0, 0);
    }
    prog_put(SET, 0, 0, 0, 1);
    prog_put(EXIT, 0, 0, 0, 0);
}

/* 1,024 shapes, as many bindings as there can be, and the end of the ring. */
static void shapes(void)
{
    int64_t like = -1, last = -1;
    uint32_t bound = 0, copies = 0;
    char text[sizeof(why.text)] = "";

    for (uint32_t n = 0; n < 1024; n++) {
        shape_write(n);
        int64_t id = net_bind(0, 0);

        bound += id >= 0;
        like = id >= 0 && like < 0 ? id : like;
        last = id >= 0 ? id : last;
        if (id < 0) {
            memcpy(text, why.text, sizeof(text));
        }
    }
    for (uint32_t n = 0; n < 16384; n++) {
        const struct net_const c = {.index = 0, .value = 2000 + n};

        copies += bind_like(like, &c, 1) >= 0;
    }
    tap_note("%u shapes (%s), %u copies (%s)", bound, text, copies, why.text);
    IS(sys_net_unbind(0, (uint32_t)last), 0);
}

/* Regions inside one another and beside one another. */
static void regions(void)
{
    uint32_t parent = 0, made = 0, deep = 0;

    for (uint32_t n = 0; n < 250; n++) {
        prog_used = 0;
        prog_put(SET, 0, 0, 0, 0);
        for (uint32_t i = n < 125 ? 0 : n; i <= n; i++) {
            prog_put(LOAD1, 4, 1, i, 0);
            prog_put(JUMP_EQ, 4, 0, 1, 7);
            prog_put(EXIT, 0, 0, 0, 0);
        }
        prog_put(SET, 0, 0, 0, 1);
        prog_put(EXIT, 0, 0, 0, 0);
        int64_t id = net_region(n < 125 ? parent : 0, 0);

        if (id > 0 && n < 125) {
            parent = (uint32_t)id;
            deep++;
        }
        made += id > 0;
    }
    tap_note("%u regions, %u inside one another: %s", made, deep, why.text);
}

static struct tx_ring tx;

static void sending(void)
{
    static uint8_t bytes[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                                0,    0,    0,    0,    1,    8,    0};
    const struct net_frame frame = {.hdr = bytes, .hdr_len = sizeof(bytes)};
    uint32_t put = 0;

    IS(tx_ring_open(&tx, 0, ROOT, NET_REGION_ALL, NET_RING_SLOTS_MAX), 0);
    while (put < NET_RING_SLOTS_MAX && tx_ring_put(&tx, &frame) == 0) {
        put++;
    }
    OK(sys_net_send(0, tx.id) > 0);
    (void)env_wait(0, time_ns() + 50 * TIME_MS);
    (void)tx_ring_reap(&tx);
    tx_ring_close(&tx);
}

static void network(void)
{
    IS(rx_ring_open(&ring, 0, ROOT, 0, NET_RING_SLOTS_MAX), 0);
    programs();
    rx_ring_close(&ring);
    IS(rx_ring_open(&ring, 0, ROOT, 0, NET_RING_SLOTS_MAX), 0);
    shapes();
    regions();
    mint(ROOT, NAME, "net name");
    IS(sys_cap_revoke(NAME), 0); /* looks at all that there is */
    IS(sys_cap_drop(NAME), 0);
    rx_ring_close(&ring);
    sending();
}

/* ------------------------------------------------------------------- disk */

static void disk(void)
{
    const struct disk_range_args range = {
        .guard = ROOT, .start = 4, .count = 8};
    struct disk_ring_args a = {.slots = DISK_RING_SLOTS_MAX, .frames = 64};
    struct mem_run run;
    struct disk_slot *s;
    int64_t id, r;

    r = sys_disk_range(ROOT, &range);
    OK(r > 0);
    IS(sys_disk_range_free(ROOT, 0, (uint32_t)r), 0);
    IS(mem_run_alloc(&run, 65 * PAGE_SIZE, 0), 0);
    a.frame = run.paddr / PAGE_SIZE;
    id = sys_disk_ring(ROOT, &a);
    OK(id >= 0);
    s = run.va;
    for (unsigned i = 0; i < DISK_RING_SLOTS_MAX; i++) {
        s[i] = (struct disk_slot){.op = DISK_READ, .pieces = 8, .count = 1};
        for (unsigned p = 0; p < 8; p++) {
            s[i].piece[p] = (struct page_piece){
                run.paddr + 64 * PAGE_SIZE + p * 512, 512, 0};
        }
        __atomic_store_n(&s[i].owner, DISK_OWNER_KERNEL, __ATOMIC_RELEASE);
    }
    OK(sys_disk_submit(0, (uint32_t)id) > 0);
    for (unsigned i = 0; i < 5000 && sys_disk_ring_free(0, (uint32_t)id) != 0;
         i++) {
        (void)env_wait(0, time_ns() + TIME_MS);
    }
    IS(sys_disk_ring_free(0, (uint32_t)id), -E_NONE);
    mem_run_free(&run);
}

/* ------------------------------------------------------------ environments */

/* A child that holds all it may of everything, and its end. */
static void ends(void)
{
    const struct disk_range_args range = {.guard = DISK, .count = 8};
    struct net_region_args region = {.guard = NET, .insns = (uint64_t)prog};
    struct child c;

    mint(ROOT, NAME, "hoard");
    mint(ROOT, NET, "hoard-net");
    mint(ROOT, DISK, "hoard-disk");
    prog_used = 0;
    prog_put(SET, 0, 0, 0, 1);
    prog_put(EXIT, 0, 0, 0, 0);
    region.count = prog_used;
    IS(sys_net_region(ROOT, &region), HOARD_REGION);
    region.flags = NET_OUT;
    IS(sys_net_region(ROOT, &region), HOARD_REGION);
    IS(sys_disk_range(ROOT, &range), HOARD_RANGE);
    IS(child_start(&c, "hoard", NAME, 8192), 0);
    IS(child_grant(&c, NET, HOARD_NET), 0);
    IS(child_grant(&c, DISK, HOARD_DISK), 0);
    IS(child_grant(&c, NAME, HOARD_BEGIN), 0);
    (void)child_wait(&c, 2000);
    OK(!child_ended(&c));
    child_destroy(&c);
    OK(child_wait(&c, 10000));
}

static void small_ones(void)
{
    static uint8_t text[1024];
    uint32_t self = env_uarea()->env;
    int64_t slot = sys_quantum_alloc(ROOT, 0, QUANTUM_ANY, self);

    memset(text, '.', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    for (unsigned i = 0; i < 20; i++) {
        (void)sys_console_write(SLOT_CONSOLE, text, sizeof(text));
    }
    (void)env_wait(0, time_ns() + 200 * TIME_MS);
    (void)sys_entropy_read(text, 256);
    IS(sys_quantum_free(ROOT, 0, (uint32_t)slot), 0);
    (void)sys_quantum_yield(0);
    env_wait(0, time_ns() + TIME_MS);
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"small", small_ones}, {"crowd", crowded},     {"names", names},
    {"memory", memory},    {"bindings", bindings}, {"predicates", predicates},
    {"disk", disk},        {"ends", ends},         {"network", network}};

void family_span(void)
{
    char word[48];

    prog_seed(text_option_number(env_sysinfo()->cmdline, "seed", 1));
    if (!text_option(env_sysinfo()->cmdline, "part", word, sizeof(word))) {
        word[0] = '\0';
    }
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (word[0] == '\0' || strcmp(word, parts[i].name) == 0) {
            parts[i].run();
        }
    }
    table();
}
