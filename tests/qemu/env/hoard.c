/* SPDX-License-Identifier: MIT */
/*
 * Takes entries of each table, with all the authority that a program with a
 * network and a disk has. None is given back: its end has to do that.
 */
#include "tests/qemu/env/hoard.h"
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/mem.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"
#include "src/abi/disk.h"
#include "src/abi/page.h"

#define MOST 5000u /* takings of a kind: more would be no share */

static struct mem_run memory; /* under every ring */
static struct filter f;
static uint32_t ring; /* a receive ring */

static int64_t take_env(uint32_t i)
{
    (void)i;
    return sys_env_create(SLOT_SELF, 5, NULL, 0);
}

static int64_t take_name(uint32_t i)
{
    (void)sys_cap_drop(HOARD_WORK);
    (void)sys_cap_mint(SLOT_SELF, HOARD_WORK, (const uint8_t *)&i, sizeof(i),
                       CAP_ALL);
    int64_t frame = sys_page_alloc(HOARD_WORK, PAGE_ANY, 1);
    return frame;
}

static int64_t take_ring(uint32_t i)
{
    const struct net_ring_args args = {.slots = 1,
                                       .frame = memory.paddr / PAGE_SIZE,
                                       .frames = 2,
                                       .region = HOARD_REGION,
                                       .memory = SLOT_SELF};
    int64_t id = i % 2 == 0 ? sys_net_rx_ring(HOARD_NET, &args)
                            : sys_net_tx_ring(HOARD_NET, &args);
    if (i == 0 && id >= 0) {
        ring = (uint32_t)id;
    }
    return id;
}

static const struct filter *port(uint32_t i)
{
    filter_begin(&f);
    filter_v4_to(&f, NULL, FILTER_UDP, 1000 + i);
    (void)filter_end(&f);
    return &f;
}

static int64_t take_region(uint32_t i)
{
    const struct net_region_args args = {.parent = HOARD_REGION,
                                         .guard = HOARD_NET,
                                         .flags = i % 2 == 0 ? 0 : NET_OUT,
                                         .insns = (uint64_t)port(i)->insn,
                                         .count = f.count};
    return sys_net_region(HOARD_NET, &args);
}

static int64_t take_filter(uint32_t i)
{
    const struct net_bind_args args = {.region = HOARD_REGION,
                                       .ring = ring,
                                       .insns = (uint64_t)port(i)->insn,
                                       .count = f.count};
    return sys_net_bind(HOARD_NET, &args);
}

static int64_t take_range(uint32_t i)
{
    const struct disk_range_args args = {
        .parent = HOARD_RANGE, .guard = HOARD_DISK, .start = 4, .count = 1};
    (void)i;
    return sys_disk_range(HOARD_DISK, &args);
}

static int64_t take_disk_ring(uint32_t i)
{
    const struct disk_ring_args args = {.range = HOARD_RANGE,
                                        .slots = 1,
                                        .frames = 1,
                                        .frame = memory.paddr / PAGE_SIZE,
                                        .memory = SLOT_SELF};
    (void)i;
    return sys_disk_ring(HOARD_DISK, &args);
}

static int64_t (*const takers[])(uint32_t) = {
    take_env,    take_name,  take_ring,     take_region,
    take_filter, take_range, take_disk_ring};

int hoard(void)
{
    while (sys_cap_drop(HOARD_BEGIN) < 0) {
        (void)env_wait(0, time_ns() + TIME_MS);
    }
    if (mem_run_alloc(&memory, 2 * PAGE_SIZE, 0) != 0) {
        return 1;
    }
    for (unsigned kind = 0; kind < sizeof(takers) / sizeof(takers[0]); kind++) {
        int64_t r = 0;
        for (uint32_t i = 0; r >= 0 && i < MOST; i++) {
            r = takers[kind](i);
        }
        if (r != -E_QUOTA) {
            return 10 + (int)kind;
        }
    }
    for (;;) {
        (void)env_wait(0, time_ns() + TIME_S);
    }
}
