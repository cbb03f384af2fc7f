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
#define REGIONS 250u
#define NAMES 6000u
#define NAME FREE_SLOT
#define LONGER (FREE_SLOT + 1)
#define NET (FREE_SLOT + 2)
#define DISK (FREE_SLOT + 3)

static struct net_refusal why;
static struct rx_ring ring;
static uint32_t crowd[CROWD];

/* ------------------------------------------------------------- the table */

#define WORD(number, errors) {number, #number},
static const struct {
    uint32_t number;
    const char *name;
} calls[] = {SYS_ERRORS(WORD)};

/* What was done when a row grew last. */
static struct {
    uint64_t closed, locked;
    char closed_by[32], locked_by[32];
} seen[SYSINFO_SPANS];

static const struct sysinfo_span *rows(void)
{
    const struct sysinfo *s = env_sysinfo();

    return (const struct sysinfo_span *)((const uint8_t *)s + s->span_offset);
}

/* Say what was done since the last time. */
static void did(const char *what, uint32_t size)
{
    for (unsigned i = 0; i < SYSINFO_SPANS; i++) {
        struct sysinfo_span r = rows()[i];

        if (r.closed > seen[i].closed) {
            text_format(seen[i].closed_by, sizeof(seen[i].closed_by), "%s %u",
                        what, size);
            seen[i].closed = r.closed;
        }
        if (r.locked > seen[i].locked) {
            text_format(seen[i].locked_by, sizeof(seen[i].locked_by), "%s %u",
                        what, size);
            seen[i].locked = r.locked;
        }
    }
}

/* One line; `all` says that every row must have been measured. */
static void row(const char *name, unsigned i, uint64_t most, bool all)
{
    if (seen[i].closed == 0) {
        tap_ok(!all, "%s was never measured", name);
        return;
    }
    tap_ok(most == 0 || (seen[i].closed <= most && seen[i].locked <= most),
           "span %s: %lu ticks with interrupts off (%s), %lu with bind_lock "
           "(%s)",
           name, seen[i].closed, seen[i].closed_by, seen[i].locked,
           seen[i].locked_by);
}

static void table(bool all)
{
    uint64_t us = text_option_number(env_sysinfo()->cmdline, "most_us", 0);
    uint64_t most = us * env_sysinfo()->tsc_khz / 1000;
    const uint32_t last = SYS_MACHINE_HALT; /* what it takes, nobody sees */

    tap_note("%lu ticks a millisecond, at most %lu", env_sysinfo()->tsc_khz,
             most);
    row("idle", SPAN_IDLE, most, all);
    row("interrupt", SPAN_INTERRUPT, most, all);
    row("exception", SPAN_EXCEPTION, most, all);
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (calls[i].number != last) {
            row(calls[i].name, SPAN_CALLS + calls[i].number - SYS_FIRST, most,
                all);
        }
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
    did("lists", CROWD);
    IS(sys_cap_revoke(NAME), 0);
    did("lists full of it", CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        (void)sys_env_destroy(ROOT, crowd[i], 0);
    }
    IS(sys_cap_drop(NAME), 0);
}

/* Many names. Their frames stay, so that a child's end looks at all of them. */
static void names(void)
{
    uint32_t made = 0;

    for (uint32_t i = 0; i < NAMES; i++) {
        made += sys_cap_mint(ROOT, NAME, (const uint8_t *)&i, sizeof(i),
                             CAP_ALL) == 0 &&
                sys_page_alloc(NAME, PAGE_ANY, 1) > 0;
        (void)sys_cap_drop(NAME);
    }
    tap_note("%u names", made);
    did("names", made);
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
    did("frames", most);
    IS(sys_page_free(ROOT, (uint64_t)run, most), 0);
    /* Every second frame of the same is free. */
    IS(sys_page_alloc(ROOT, (uint64_t)run, most), run);
    for (uint32_t i = 0; i < most; i += 2) {
        (void)sys_page_free(ROOT, (uint64_t)run + i, 1);
    }
    did("each second of", most);
    for (uint32_t n = 2; n < 30000; n = n * 2 + 1) {
        int64_t f = sys_page_alloc(ROOT, PAGE_ANY, n);

        if (f > 0) {
            (void)sys_page_free(ROOT, (uint64_t)f, n);
        }
        did("among single frames", n);
    }
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

/* Programs that are hard to read: as predicates, and run for a sleeper. */
static void predicates(void)
{
    int64_t frame = sys_page_alloc(ROOT, PAGE_ANY, 1);
    struct event_args a = {.insns = (uint64_t)prog,
                           .regions = EVENT_REGIONS_MAX};
    unsigned bound = 0;

    for (unsigned i = 0; i < EVENT_REGIONS_MAX; i++) {
        a.region[i] = (struct event_region){(uint64_t)frame, 0, PAGE_SIZE};
    }
    for (unsigned kind = 0; kind < PROG_KINDS; kind++) {
        int64_t id;

        prog_write(kind, PROG_MAX - 1, false);
        memmove(prog + 1, prog, prog_used++ * sizeof(prog[0]));
        prog[0] = (struct dpf_insn){LOAD8, 0x11, 0, 0}; /* r1 = table[0] */
        a.count = prog_used;
        id = sys_event_bind(ROOT, &a);
        bound += id > 0;
        if (id > 0) {
            (void)sys_event_wait(0, time_tsc() + 1000, (uint32_t)id);
            (void)sys_event_unbind((uint32_t)id);
        }
        did(prog_kinds[kind].name, a.count);
    }
    OK(bound > 4);
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

/* A program that is hard to read: as a region both ways, bound, and copied. */
static void attempt(unsigned kind, uint32_t size, bool stays)
{
    const struct net_const c = {.index = 1, .value = size};
    int64_t id;

    prog_write(kind, size, false);
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
    if (!stays && id >= 0) {
        (void)sys_net_unbind(0, (uint32_t)id);
    }
    did(prog_kinds[kind].name, size);
}

/* Others find programs that are worse: the boot argument rounds=N looks for
   them longer than the gate does. */
static void programs(void)
{
    static const uint32_t sizes[] = {60, 516, PROG_MAX};
    uint64_t rounds = text_option_number(env_sysinfo()->cmdline, "rounds", 1);

    for (uint64_t round = 0; round < rounds; round++) {
        for (unsigned kind = 0; kind < PROG_KINDS; kind++) {
            for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                attempt(kind, sizes[i], i % 2 == 1 && round == 0);
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
    did("shapes", bound);
    IS(sys_net_unbind(0, (uint32_t)last), 0);
}

/* Regions inside one another and beside one another. */
static uint32_t regions(uint32_t *id_of)
{
    uint32_t parent = 0, made = 0, deep = 0;

    for (uint32_t n = 0; n < REGIONS; n++) {
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
        if (id > 0) {
            id_of[made++] = (uint32_t)id;
        }
    }
    tap_note("%u regions, %u inside one another: %s", made, deep, why.text);
    did("regions", made);
    return made;
}

static struct tx_ring tx;

/* Who has 10.0.2.2? QEMU answers. */
static const uint8_t question[42] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,  1, 8, 6,
    0,    1,    8,    0,    6,    4,    0, 1, 2, 0, 0,  0, 0, 1,
    10,   0,    2,    15,   0,    0,    0, 0, 0, 0, 10, 0, 2, 2};

static uint32_t ask(uint32_t times)
{
    const struct net_frame frame = {.hdr = question,
                                    .hdr_len = sizeof(question)};
    uint32_t put = 0;

    while (put < times && tx_ring_put(&tx, &frame) == 0) {
        put++;
    }
    return put;
}

/* A region whose program lets the question out and is as long as can be. No
   other fits inside: it is too long to be judged. */
static int64_t long_way_out(void)
{
    prog_used = 0;
    prog_put(SET, 0, 0, 0, 0);
    while (prog_used + 5 < PROG_MAX) {
        prog_put(LOAD1, 4, 1, 12, 0);
        prog_put(JUMP_EQ, 4, 0, 1, 8);
        prog_put(EXIT, 0, 0, 0, 0);
    }
    prog_put(SET, 0, 0, 0, 1);
    prog_put(EXIT, 0, 0, 0, 0);
    return net_region(0, NET_OUT);
}

/* Wait until the device has had all that was put. */
static void drain(void)
{
    for (unsigned i = 0; i < 4000 && tx.tail != tx.next; i++) {
        (void)sys_net_send(0, tx.id);
        (void)env_wait(0, time_ns() + TIME_MS);
        (void)tx_ring_reap(&tx);
    }
    OK(tx.tail == tx.next);
}

static void sending(uint32_t region)
{
    IS(tx_ring_open(&tx, 0, ROOT, region, NET_RING_SLOTS_MAX), 0);
    OK(ask(NET_RING_SLOTS_MAX) == NET_RING_SLOTS_MAX);
    OK(sys_net_send(0, tx.id) > 0);
    drain();
    did("slots in region", region);
    tx_ring_close(&tx);
}

/* Packets that each run as many instructions of filters as there may be. */
static void receiving(void)
{
    uint64_t before = env_sysinfo()->net[0].rx_packets;
    uint32_t bound = 0;

    IS(rx_ring_open(&ring, 0, ROOT, 0, 64), 0);
    IS(tx_ring_open(&tx, 0, ROOT, NET_REGION_ALL, 1024), 0);
    for (unsigned i = 0; i < 64; i++) {
        prog_write(PROG_PRODUCT, PROG_MAX, false);
        for (uint32_t n = 0; n < prog_used; n++) { /* inside a short packet */
            if (prog[n].opcode == LOAD8 || prog[n].opcode == LOAD1) {
                prog[n].off %= 30;
            }
        }
        bound += net_bind(0, NET_TAP) >= 0;
    }
    for (unsigned i = 0; i < 8; i++) {
        (void)ask(64);
        tx_ring_kick(&tx);
        (void)env_wait(0, time_ns() + 20 * TIME_MS);
        (void)tx_ring_reap(&tx);
    }
    tap_note("%u filters run for each of %lu packets", bound,
             env_sysinfo()->net[0].rx_packets - before);
    OK(bound > 16);
    OK(env_sysinfo()->net[0].rx_packets - before > 64);
    drain();
    did("packets through filters", bound);
    tx_ring_close(&tx);
    rx_ring_close(&ring);
    did("such a ring's end", bound);
}

static void network(void)
{
    uint32_t region[REGIONS], made;
    int64_t way;

    IS(rx_ring_open(&ring, 0, ROOT, 0, NET_RING_SLOTS_MAX), 0);
    programs();
    rx_ring_close(&ring);
    did("programs of a ring's end", 0);
    IS(rx_ring_open(&ring, 0, ROOT, 0, NET_RING_SLOTS_MAX), 0);
    shapes();
    made = regions(region);
    mint(ROOT, NAME, "net name");
    IS(sys_cap_revoke(NAME), 0); /* looks at all that there is */
    IS(sys_cap_drop(NAME), 0);
    did("all of packet space", 0);
    rx_ring_close(&ring);
    did("1024 shapes of a ring's end", 0);
    while (made-- > 0) { /* inner ones first */
        IS(sys_net_region_free(ROOT, 0, 0, region[made]), 0);
    }
    did("a region's end", 0);
    sending(NET_REGION_ALL);
    way = long_way_out();
    OK(way > 0);
    sending((uint32_t)way);
    IS(sys_net_region_free(ROOT, 0, NET_OUT, (uint32_t)way), 0);
    receiving();
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
    did("requests", DISK_RING_SLOTS_MAX);
    for (unsigned i = 0; i < 5000 && sys_disk_ring_free(0, (uint32_t)id) != 0;
         i++) {
        (void)env_wait(0, time_ns() + TIME_MS);
    }
    IS(sys_disk_ring_free(0, (uint32_t)id), -E_NONE);
    mem_run_free(&run);
    did("a disk ring's end", 0);
}

/* ------------------------------------------------------------ environments */

/* A child that holds most of everything, and its end. */
static void ends(void)
{
    static const uint32_t shares[SHARE_KINDS] = {
        [SHARE_ENVS] = 100,        [SHARE_NAMES] = 4000,
        [SHARE_SLICES] = 8,        [SHARE_NET_RINGS] = 30,
        [SHARE_NET_REGIONS] = 100, [SHARE_NET_BINDINGS] = 4000,
        [SHARE_NET_FILTERS] = 900, [SHARE_DISK_RANGES] = 20,
        [SHARE_DISK_RINGS] = 20,   [SHARE_NET_STEPS] = 60000,
    };
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
    IS(child_start_with(&c, "hoard", NAME, 20000, shares), 0);
    IS(child_grant(&c, NET, HOARD_NET), 0);
    IS(child_grant(&c, DISK, HOARD_DISK), 0);
    IS(child_grant(&c, NAME, HOARD_BEGIN), 0);
    (void)child_wait(&c, 3000);
    OK(!child_ended(&c));
    did("what a hoard did", 0);
    child_destroy(&c);
    OK(child_wait(&c, 10000));
    did("a hoard", 0);
    IS(sys_net_region_free(ROOT, 0, 0, HOARD_REGION), 0);
    IS(sys_net_region_free(ROOT, 0, NET_OUT, HOARD_REGION), 0);
    IS(sys_disk_range_free(ROOT, 0, HOARD_RANGE), 0);
    IS(sys_cap_drop(NAME), 0);
    IS(sys_cap_drop(NET), 0);
    IS(sys_cap_drop(DISK), 0);
}

static void fall(void *unused)
{
    (void)unused;
    *(volatile char *)SPARSE_VA = 0;
}

/* Calls whose work does not depend on anything, and exceptions. */
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
    did("bytes", sizeof(text));
    (void)env_wait(0, time_ns() + 200 * TIME_MS);
    (void)sys_entropy_read(text, 256);
    IS(sys_quantum_free(ROOT, 0, (uint32_t)slot), 0);
    (void)sys_quantum_yield(0);
    env_wait(0, time_ns() + TIME_MS);
    IS(trap_run(fall, NULL), 14);
    did("nothing much", 0);
}

#define SPEED_TIMES 100u

/*
 * The same calls again and again: how many ticks a clock that counts time needs
 * for what one that counts instructions says. For tests/bench/latency.
 */
static void speed(void)
{
    uint64_t from, took;

    IS(rx_ring_open(&ring, 0, ROOT, 0, 8), 0);
    mint(ROOT, NAME, "speed");
    prog_seed(1);
    prog_write(0, 264, false);
    from = time_tsc();
    for (unsigned i = 0; i < SPEED_TIMES; i++) {
        int64_t run = sys_page_alloc(NAME, PAGE_ANY, CHUNK);
        int64_t id = net_bind(0, NET_TAP);

        (void)sys_net_unbind(0, (uint32_t)id);
        (void)sys_cap_revoke(NAME);
        (void)sys_page_free(NAME, (uint64_t)run, CHUNK);
    }
    took = time_tsc() - from;
    tap_note("speed: %lu ticks", took);
    IS(sys_cap_drop(NAME), 0);
    rx_ring_close(&ring);
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {{"small", small_ones},
             {"crowd", crowded},
             {"memory", memory},
             {"bindings", bindings},
             {"predicates", predicates},
             {"disk", disk},
             {"ends", ends},
             {"network", network},
             {"names", names},
             {"ends", ends},
             {"speed", speed}};

void family_span(void)
{
    char word[48];
    bool all;

    prog_seed(text_option_number(env_sysinfo()->cmdline, "seed", 1));
    all = !text_option(env_sysinfo()->cmdline, "part", word, sizeof(word));
    did("the start", 0);
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (all || strcmp(word, parts[i].name) == 0) {
            parts[i].run();
            did(parts[i].name, 0);
        }
    }
    table(all);
}
