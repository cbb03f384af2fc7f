/* SPDX-License-Identifier: MIT */
/*
 * What one bind-time call of the network may cost. Programs that are easy to
 * write and hard to read are bound and made regions, alone, beside one another
 * and inside a region; each call must return within a number of the guest's
 * instructions, whatever it says. QEMU counts them (-icount): one is one
 * nanosecond of the time-stamp counter.
 */
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "tests/qemu/env/families.h"
#include "tests/qemu/env/programs.h"

#define ROUNDS 3u

static struct rx_ring ring;
static struct net_refusal why;

static uint64_t worst;

static int64_t timed_bind(uint32_t region, uint32_t flags)
{
    const struct net_bind_args a = {.region = region,
                                    .ring = ring.id,
                                    .flags = flags,
                                    .insns = (uint64_t)prog,
                                    .count = prog_used,
                                    .refusal = (uint64_t)&why};
    uint64_t from = time_tsc();
    int64_t id = sys_net_bind(ROOT, &a);
    uint64_t took = time_tsc() - from;
    worst = took > worst ? took : worst;
    return id;
}

static int64_t timed_region(uint32_t parent, uint32_t flags)
{
    const struct net_region_args a = {.parent = parent,
                                      .guard = ROOT,
                                      .flags = flags,
                                      .insns = (uint64_t)prog,
                                      .count = prog_used,
                                      .refusal = (uint64_t)&why};
    uint64_t from = time_tsc();
    int64_t id = sys_net_region(ROOT, &a);
    uint64_t took = time_tsc() - from;
    worst = took > worst ? took : worst;
    return id;
}

static int64_t udp_region(void)
{
    prog_used = 0;
    prog_put(SET, 0, 0, 0, 0);
    prog_put(LOAD1, 4, 1, 23, 0);
    prog_put(JUMP_EQ, 4, 0, 1, 17);
    prog_put(EXIT, 0, 0, 0, 0);
    prog_put(SET, 0, 0, 0, 1);
    prog_put(EXIT, 0, 0, 0, 0);
    return timed_region(0, 0);
}

/* One program: as a region both ways, and bound; what was bound stays. */
static void attempt(unsigned kind, uint32_t n, uint32_t region)
{
    prog_write(kind, n, region != 0);
    int64_t id = timed_region(region, 0);
    if (id >= 0) {
        (void)sys_net_region_free(ROOT, 0, 0, (uint32_t)id);
    }
    id = timed_region(0, NET_OUT);
    if (id >= 0) {
        (void)sys_net_region_free(ROOT, 0, NET_OUT, (uint32_t)id);
    }
    (void)timed_bind(region, NET_REFINE);
    (void)timed_bind(region, NET_TAP);
    prog_write(kind, n, region != 0);
    (void)timed_bind(region, 0);
}

static uint64_t in_us(uint64_t ticks)
{
    return ticks * 1000 / env_sysinfo()->tsc_khz;
}

void family_bounds(void)
{
    static const uint32_t sizes[] = {60, 264, 516, 1500, PROG_MAX};
    uint64_t most = text_option_number(env_sysinfo()->cmdline, "most_us", 0);
    prog_seed(text_option_number(env_sysinfo()->cmdline, "seed", 1));
    IS(rx_ring_open(&ring, 0, ROOT, 0, 8), 0);
    int64_t udp = udp_region();
    OK(udp > 0);
    for (unsigned kind = 0; kind < PROG_KINDS; kind++) {
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            worst = 0;
            for (unsigned round = 0; round < ROUNDS; round++) {
                attempt(kind, sizes[i], round % 2 ? (uint32_t)udp : 0);
            }
            tap_ok(in_us(worst) <= most || most == 0,
                   "%s of %u: at most %lu us of %lu", prog_kinds[kind].name,
                   sizes[i], in_us(worst), most);
        }
    }
    worst = time_tsc();
    rx_ring_close(&ring);
    tap_note("the ring ends in %lu us", in_us(time_tsc() - worst));
}
