/* SPDX-License-Identifier: MIT */
/*
 * Shares: an environment that takes all it can of every table keeps nothing
 * from the others, and at its end all of it is back.
 */
#include "libos/libos/filter.h"
#include "libos/libos/mem.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "src/abi/disk.h"
#include "src/abi/share.h"
#include "tests/qemu/env/families.h"
#include "tests/qemu/env/hoard.h"

#define SELF FREE_SLOT
#define NET (FREE_SLOT + 1)
#define DISK (FREE_SLOT + 2)
#define WORK (FREE_SLOT + 3)
#define QUOTA 4096u

static const char *const kinds[SHARE_KINDS] = {
    "environments", "names",   "slices", "net rings", "regions",
    "bindings",     "filters", "steps",  "ranges",    "disk rings"};

static struct filter f;

/* The line of an environment in the exposed table. */
static const struct share_count *shares_of(uint32_t env)
{
    const struct sysinfo *s = env_sysinfo();
    const uint8_t *base = (const uint8_t *)s;
    const struct sysinfo_env *e =
        (const struct sysinfo_env *)(base + s->env_offset);
    const struct sysinfo_shares *shares =
        (const struct sysinfo_shares *)(base + s->share_offset);
    uint32_t i = 0;

    while (i + 1 < s->envs_max && e[i].id != env) {
        i++;
    }
    return (const struct share_count *)(shares + 1) + i * shares->kinds;
}

static void mint(uint32_t slot, const char *name)
{
    IS(sys_cap_mint(ROOT, slot, (const uint8_t *)name, (uint32_t)strlen(name),
                    CAP_ALL),
       0);
}

/* What the child is let use, as a maker would carve it for a program. */
static void carve(void)
{
    struct net_region_args net = {.guard = NET};
    const struct disk_range_args disk = {.guard = DISK, .count = 8};
    filter_begin(&f);
    filter_match(&f, 12, 2, 0x0800);
    filter_match(&f, 23, 1, 17);
    (void)filter_end(&f);
    net.insns = (uint64_t)f.insn;
    net.count = f.count;
    IS(sys_net_region(ROOT, &net), HOARD_REGION);
    net.flags = NET_OUT;
    IS(sys_net_region(ROOT, &net), HOARD_REGION);
    IS(sys_disk_range(ROOT, &disk), HOARD_RANGE);
}

/* Has it taken all of its share that it can take? */
static bool full(const struct child *c)
{
    const struct share_count *line = shares_of(c->env);
    unsigned used = 0;
    for (unsigned k = 0; k < SHARE_KINDS; k++) {
        used += k == SHARE_SLICES || k == SHARE_NET_BINDINGS ||
                k == SHARE_NET_STEPS || line[k].used == line[k].limit;
    }
    return used == SHARE_KINDS && line[SHARE_NET_BINDINGS].used > 0;
}

/* One of everything, beside the hoard. */
static void take_one(void)
{
    const struct net_region_args region = {
        .guard = WORK, .insns = (uint64_t)f.insn, .count = f.count};
    const struct disk_range_args range = {.guard = WORK, .count = 8};
    mint(WORK, "another");
    struct rx_ring rx;
    IS(rx_ring_open(&rx, 0, ROOT, NET_REGION_ALL, 64), 0);
    int64_t id = sys_net_region(ROOT, &region);
    OK(id > 0);
    IS(sys_net_region_free(ROOT, 0, 0, (uint32_t)id), 0);
    filter_begin(&f);
    filter_match(&f, 12, 2, 0x1234);
    (void)filter_end(&f);
    OK(rx_ring_bind(&rx, ROOT, NET_REGION_ALL, 0, &f, NULL) >= 0);
    rx_ring_close(&rx);
    id = sys_disk_range(ROOT, &range);
    OK(id > 0);
    struct mem_run memory;
    IS(mem_run_alloc(&memory, PAGE_SIZE, 0), 0);
    const struct disk_ring_args ring = {.range = (uint32_t)id,
                                        .slots = 1,
                                        .frames = 1,
                                        .frame = memory.paddr / PAGE_SIZE};
    int64_t disk_ring = sys_disk_ring(ROOT, &ring);
    OK(disk_ring >= 0);
    IS(sys_disk_ring_free(0, (uint32_t)disk_ring), 0);
    IS(sys_disk_range_free(ROOT, 0, (uint32_t)id), 0);
    mem_run_free(&memory);
    id = sys_env_create(WORK, 5, NULL, 0);
    OK(id > 0);
    IS(sys_env_destroy(WORK, (uint32_t)id, 0), 0);
    id = sys_page_alloc(WORK, PAGE_ANY, 1);
    OK(id > 0);
    IS(sys_page_free(WORK, (uint64_t)id, 1), 0);
    IS(sys_cap_drop(WORK), 0);
}

/* Start it, see it full, take what is left to us, and end it. */
static void round_of(struct child *c)
{
    uint64_t end = time_ns() + 20 * TIME_S;
    IS(child_start(c, "hoard", SELF, QUOTA), 0);
    IS(child_grant(c, NET, HOARD_NET), 0);
    IS(child_grant(c, DISK, HOARD_DISK), 0);
    IS(child_grant(c, SELF, HOARD_BEGIN), 0);
    while (!full(c) && !child_ended(c) && time_ns() < end) {
        (void)child_wait(c, 5);
    }
    if (!tap_ok(full(c), "it holds all that it may hold")) {
        const struct share_count *line = shares_of(c->env);
        for (unsigned k = 0; k < SHARE_KINDS; k++) {
            tap_note("%s: %u of %u", kinds[k], line[k].used, line[k].limit);
        }
        tap_note("ended %u, status %u", child_ended(c),
                 child_info(c)->end_detail);
    }
    take_one();
    child_destroy(c);
    OK(child_wait(c, 10000));
}

void family_shares(void)
{
    const struct share_count *mine = shares_of(env_uarea()->env);
    mint(SELF, "hoard");
    mint(NET, "hoard-net");
    mint(DISK, "hoard-disk");
    carve();
    struct child c;
    round_of(&c); /* the kernel's tables and our own grow to what they need */
    uint64_t frames = mem_frames_left();
    uint64_t free = env_sysinfo()->frames_free;
    struct share_count before[SHARE_KINDS];
    memcpy(before, mine, sizeof(before));
    round_of(&c);
    struct share_count after[SHARE_KINDS];
    memcpy(after, mine, sizeof(after));
    for (unsigned k = 0; k < SHARE_KINDS; k++) {
        tap_ok(before[k].used == after[k].used &&
                   before[k].limit == after[k].limit,
               "%s are back: %u of %u, and %u of %u before", kinds[k],
               after[k].used, after[k].limit, before[k].used, before[k].limit);
    }
    /* Addresses are used once, so our page tables may grow by a table; and
       native code that lies in new 2 MiB costs the kernel one. */
    tap_ok(mem_frames_left() + 1 >= frames,
           "so is our quota: %lu, and %lu before", mem_frames_left(), frames);
    tap_ok(env_sysinfo()->frames_free + 3 >= free,
           "so are the machine's frames: %lu, and %lu before",
           env_sysinfo()->frames_free, free);
}
