/* SPDX-License-Identifier: MIT */
/*
 * Packet space and rings: who may bind what, what may leave, and a frame out
 * and its answer in: QEMU's user network answers ARP for 10.0.2.2.
 */
#include "libos/libos/filter.h"
#include "libos/libos/mem.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "tests/qemu/env/families.h"

#define IN_80 FREE_SLOT
#define OUT_80 (FREE_SLOT + 1)
#define PEER (FREE_SLOT + 2)

static const uint8_t us[4] = {10, 0, 2, 15};
static struct rx_ring rx, rx2;
static struct tx_ring tx;
static struct filter f;
static struct net_refusal why;

static int64_t mint(uint32_t to, const char *name, uint32_t rights)
{
    return sys_cap_mint(ROOT, to, (const uint8_t *)name, (uint32_t)strlen(name),
                        rights);
}

static const struct filter *tcp_to(unsigned port)
{
    filter_begin(&f);
    filter_v4_to(&f, us, FILTER_TCP, port);
    (void)filter_end(&f);
    return &f;
}

static int64_t region(uint32_t guard, uint32_t flags, const struct filter *g)
{
    const struct net_region_args a = {
        .guard = guard,
        .flags = flags,
        .insns = (uint64_t)g->insn,
        .count = g->count,
        .refusal = (uint64_t)&why,
    };
    return sys_net_region(ROOT, &a);
}

static void space(void)
{
    static const struct dpf_insn bad[] = {{0xbf, 0x10, 0, 0}, {0x95, 0, 0, 0}};
    struct net_bind_args b = {
        .insns = (uint64_t)bad, .count = 2, .refusal = (uint64_t)&why};
    IS(mint(IN_80, "p80", CAP_READ), 0);
    IS(mint(PEER, "other", CAP_ALL), 0);
    int64_t r80 = region(IN_80, 0, tcp_to(80));
    OK(r80 > 0);
    IS(rx_ring_bind(&rx, PEER, (uint32_t)r80, 0, tcp_to(80), &why), -E_CAP);
    int id80 = rx_ring_bind(&rx, IN_80, (uint32_t)r80, 0, tcp_to(80), &why);
    OK(id80 >= 0);
    IS(rx_ring_bind(&rx, IN_80, (uint32_t)r80, 0, tcp_to(81), &why), -E_REGION);
    tap_ok(why.witness_len > 37 && why.witness[36] == 0 &&
               why.witness[37] == 81,
           "the refusal shows a packet outside the region");
    IS(rx_ring_bind(&rx2, ROOT, 0, 0, tcp_to(80), &why), -E_CONFLICT);
    tap_ok(why.other == (uint32_t)id80, "and names whom it collides with");
    IS(rx_ring_bind(&rx2, ROOT, 0, 0, tcp_to(0), &why), -E_CONFLICT);
    int64_t id = rx_ring_bind(&rx2, ROOT, 0, 0, tcp_to(81), &why);
    OK(id >= 0);
    IS(sys_net_unbind(0, (uint32_t)id), 0);
    IS(sys_net_unbind(0, (uint32_t)id), -E_NONE);
    b.ring = rx2.id;
    IS(sys_net_bind(ROOT, &b), -E_VERIFY);
    tap_ok(why.text[0] != '\0', "the verifier says why: %s", why.text);
    b.ring = 9999;
    OK(sys_net_bind(ROOT, &b) < 0);
    IS(sys_net_unbind(0, (uint32_t)id80), 0);
    IS(sys_net_region_free(ROOT, 0, 0, (uint32_t)r80), 0);
    OK(sys_net_region_free(ROOT, 0, 0, 0) < 0);
}

static void stealing(void)
{
    int host = -1;
    filter_begin(&f);
    filter_match(&f, 12, 2, 0x0800);
    filter_match(&f, 30, 4, 0x0a00020f);
    (void)filter_end(&f);
    host = rx_ring_bind(&rx, ROOT, 0, NET_REFINE, &f, &why);
    OK(host >= 0);
    int mine = rx_ring_bind(&rx2, ROOT, 0, 0, tcp_to(80), &why);
    tap_ok(mine >= 0, "strictly inside one that allows refinement");
    /* the same packets, tests in another order and split widths */
    filter_begin(&f);
    filter_match(&f, 37, 1, 80);
    filter_match(&f, 36, 1, 0);
    filter_match(&f, 32, 2, 0x020f);
    filter_match(&f, 30, 2, 0x0a00);
    filter_match(&f, 23, 1, 6);
    filter_clear(&f, 20, 2, 0x1fff);
    filter_match(&f, 14, 1, 0x45);
    filter_match(&f, 12, 2, 0x0800);
    (void)filter_end(&f);
    IS(rx_ring_bind(&rx, ROOT, 0, 0, &f, &why), -E_CONFLICT);
    IS(sys_net_unbind(0, (uint32_t)mine), 0);
    IS(sys_net_unbind(0, (uint32_t)host), 0);
}

static void arp_request(uint8_t frame[42])
{
    static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
    static const uint8_t gateway[4] = {10, 0, 2, 2};
    const uint8_t *mac = env_sysinfo()->net[0].mac;
    memset(frame, 0, 42);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    frame[12] = 8;
    frame[13] = 6;
    memcpy(frame + 14, head, sizeof(head));
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 28, us, 4);
    memcpy(frame + 38, gateway, 4);
}

static bool sent(const struct net_frame *frame, uint64_t *refused)
{
    uint64_t end = time_ns() + TIME_S;
    uint64_t before = tx.refused;
    if (tx_ring_put(&tx, frame) != 0) {
        return false;
    }
    tx_ring_kick(&tx);
    while (tx_ring_reap(&tx) == 0 && time_ns() < end) {
        (void)env_wait(1ull << tx.event, time_ns() + 10 * TIME_MS);
    }
    *refused = tx.refused - before;
    return tx.tail == tx.next;
}

static void exchange(void)
{
    static uint8_t bytes[42];
    struct net_frame frame = {.hdr = bytes, .hdr_len = 42};
    filter_begin(&f);
    filter_arp(&f);
    (void)filter_end(&f);
    int id = rx_ring_bind(&rx, ROOT, 0, 0, &f, &why);
    OK(id >= 0);
    arp_request(bytes);
    uint64_t refused;
    OK(sent(&frame, &refused) && refused == 0);
    uint64_t end = time_ns() + 2 * TIME_S;
    struct rx_packet p;
    while (!rx_ring_peek(&rx, &p) && time_ns() < end) {
        (void)env_wait(1ull << rx.event, end);
    }
    if (tap_ok(rx_ring_peek(&rx, &p), "an answer came")) {
        OK(p.binding == (uint32_t)id);
        OK(p.len >= 42 && p.data[13] == 6 && p.data[21] == 2);
        OK(p.data[28] == 10 && p.data[31] == 2);
        rx_ring_next(&rx);
    }
    IS(sys_net_unbind(0, (uint32_t)id), 0);
}

/* A transmit ring that may only speak as TCP port 80. */
static void words(void)
{
    static uint8_t bytes[42];
    struct net_frame frame = {.hdr = bytes, .hdr_len = 42};
    uint64_t refused = 0;
    IS(mint(OUT_80, "o80", CAP_WRITE), 0);
    filter_begin(&f);
    filter_v4_from(&f, env_sysinfo()->net[0].mac, us, FILTER_TCP, 80);
    (void)filter_end(&f);
    int64_t out = region(OUT_80, NET_OUT, &f);
    OK(out > 0);
    IS(tx_ring_open(&tx, 0, PEER, (uint32_t)out, 16), -E_CAP);
    IS(tx_ring_open(&tx, 0, OUT_80, (uint32_t)out, 16), 0);
    arp_request(bytes);
    OK(sent(&frame, &refused));
    tap_ok(refused == 1, "a frame outside the region is not sent");
    frame.hdr_len = 4;
    OK(sent(&frame, &refused) && refused == 1);
    frame.hdr_len = 42;
    frame.count = 1;
    frame.piece[0].paddr = 0x100000;
    frame.piece[0].len = 64;
    OK(sent(&frame, &refused) && refused == 1);
    tx_ring_close(&tx);
    IS(sys_net_region_free(ROOT, 0, NET_OUT, (uint32_t)out), 0);
}

static void rings(void)
{
    struct net_ring_args a = {.slots = 64, .frame = 1, .frames = 64};
    OK(sys_net_rx_ring(ROOT, &a) < 0);
    a.frame = rx.run.paddr / PAGE_SIZE;
    a.slots = 63;
    OK(sys_net_rx_ring(ROOT, &a) < 0);
    a.slots = NET_RING_SLOTS_MAX * 2;
    OK(sys_net_rx_ring(ROOT, &a) < 0);
    a.slots = 64;
    a.frames = 1;
    OK(sys_net_rx_ring(ROOT, &a) < 0);
    a.frames = (uint32_t)(rx.run.bytes / PAGE_SIZE);
    a.event = 64;
    OK(sys_net_rx_ring(ROOT, &a) < 0);
    a.event = 0;
    a.device = 9;
    OK(sys_net_rx_ring(ROOT, &a) < 0);
    OK(sys_net_send(0, 9999) < 0);
    OK(sys_net_send(9, 0) < 0);
    OK(sys_net_ring_free(0, 9999) < 0);
}

void family_net(void)
{
    if (!OK(env_sysinfo()->nets == 1)) {
        return;
    }
    IS(rx_ring_open(&rx, 0, ROOT, NET_REGION_ALL, 64), 0);
    IS(rx_ring_open(&rx2, 0, ROOT, NET_REGION_ALL, 64), 0);
    rings();
    space();
    stealing();
    IS(tx_ring_open(&tx, 0, ROOT, NET_REGION_ALL, 16), 0);
    exchange();
    tx_ring_close(&tx);
    words();
    rx_ring_close(&rx);
    rx_ring_close(&rx2);
}
