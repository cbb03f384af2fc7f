/* SPDX-License-Identifier: MIT */
/*
 * Traces replayed through the network device: binds every filter of module
 * "filters" as a tap and reports how many packets each one accepted and a sum
 * of their digests, so that the host can compare with its own answer. Filter 0
 * accepts everything: its count says whether packets were lost on the way.
 *
 * The module: a 32-bit count, then for each filter a 32-bit number of
 * instructions and the instructions.
 */
#include "libos/libos/console.h"
#include "libos/libos/filter.h"
#include "libos/libos/mem.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "tests/qemu/env/families.h"

#define FILTERS_MAX 32u
#define QUIET_NS (15 * TIME_S) /* without packets: the replay has failed */

#define SLOTS 1024u

/* A ring each: of a packet that several taps of one ring accept, the ring
   gets one copy. */
static struct {
    struct rx_ring ring;
    uint64_t packets, digest;
} taken[FILTERS_MAX];

static struct net_refusal why;

/* FNV-1a, 64 bits */
static uint64_t digest(const uint8_t *p, uint32_t len)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (uint32_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * 0x100000001b3ull;
    }
    return h;
}

static int bind(struct rx_ring *ring, const struct dpf_insn *insns,
                uint32_t count)
{
    int err = rx_ring_open(ring, 0, ROOT, NET_REGION_ALL, SLOTS);
    const struct net_bind_args a = {
        .ring = ring->id,
        .flags = NET_TAP,
        .insns = (uint64_t)insns,
        .count = count,
        .refusal = (uint64_t)&why,
    };
    why.text[0] = '\0';
    return err != 0 ? err : (int)sys_net_bind(ROOT, &a);
}

static uint32_t bind_all(const uint8_t *p, uint64_t bytes)
{
    uint32_t count;
    memcpy(&count, p, 4);
    count = count < FILTERS_MAX ? count : FILTERS_MAX;
    p += 4;
    bytes -= 4;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t insns;
        memcpy(&insns, p, 4);
        if (bytes < 4 + (uint64_t)insns * 8) {
            return 0;
        }
        int id = bind(&taken[i].ring, (const struct dpf_insn *)(p + 4), insns);
        if (!tap_ok(id >= 0, "filter %u is bound", i)) {
            tap_note("%s: %s", env_strerror(id), why.text);
        }
        p += 4 + (uint64_t)insns * 8;
        bytes -= 4 + (uint64_t)insns * 8;
    }
    return count;
}

/* Take what filter `i` got. Was there anything? */
static bool take(uint32_t i)
{
    bool any = false;
    struct rx_packet p;
    for (; rx_ring_peek(&taken[i].ring, &p); any = true) {
        taken[i].packets++;
        taken[i].digest += digest(p.data, p.len);
        rx_ring_next(&taken[i].ring);
    }
    return any;
}

void family_trace(void)
{
    const struct sysinfo_module *m = &env_sysinfo()->module[1];
    uint64_t events = 0, dropped = 0;
    struct mem_run file;
    if (!OK(env_sysinfo()->modules == 2) ||
        !IS(mem_run_bind(&file, ROOT, m->frame,
                         (m->bytes + PAGE_SIZE - 1) / PAGE_SIZE, false),
            0)) {
        return;
    }
    uint32_t filters = bind_all(file.va, m->bytes);
    for (uint32_t i = 0; i < filters; i++) {
        events |= 1ull << taken[i].ring.event;
    }
    console_printf("trace: ready\n");
    /* The first filter accepts all. Who sends may be stopped for seconds. */
    uint64_t total = text_option_number(env_sysinfo()->cmdline, "frames", 0);
    uint64_t quiet = time_ns() + QUIET_NS;
    while (time_ns() < quiet && taken[0].packets < total) {
        for (uint32_t i = 0; i < filters; i++) {
            quiet = take(i) ? time_ns() + QUIET_NS : quiet;
        }
        (void)env_wait(events, time_ns() + 10 * TIME_MS);
    }
    for (uint32_t i = 0; i < filters; i++) {
        (void)take(i); /* other copies of the last packet */
        console_printf("trace: filter %u %lu %lx\n", i, taken[i].packets,
                       taken[i].digest);
        dropped += taken[i].ring.head->dropped;
    }
    tap_ok(dropped == 0, "no packet met a full ring");
}
