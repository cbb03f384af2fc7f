/* SPDX-License-Identifier: MIT */
/*
 * Checksums, SipHash, timers, ARP, IPv4, ICMP and UDP.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libos/net/stack.h"
#include "tests/unit/net/fakenet.h"

/* ---------------------------------------------------------------------- sums
 */

static uint16_t plain_sum(const uint8_t *p, size_t len)
{
    uint32_t s = 0;

    for (size_t i = 0; i < len; i += 2) {
        s += p[i] | (i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0);
    }
    while (s >> 16) {
        s = (s >> 16) + (s & 0xffff);
    }
    return (uint16_t)s;
}

/* 0 and 0xffff are the same number in one's complement. */
static bool same_sum(uint16_t a, uint16_t b)
{
    return a % 0xffff == b % 0xffff;
}

START_TEST(sum_is_rfc_1071)
{
    static const uint8_t rfc[8] = {0x00, 0x01, 0xf2, 0x03,
                                   0xf4, 0xf5, 0xf6, 0xf7};
    struct fake_net n;
    uint8_t b[300];

    ck_assert_uint_eq(__builtin_bswap16(net_sum(rfc, 8)), 0xddf2);
    fake_net_init(&n, 1);
    for (int round = 0; round < 500; round++) {
        uint32_t at = fake_below(&n, 16), len = fake_below(&n, 280), cut;

        for (uint32_t i = 0; i < sizeof b; i++) {
            b[i] = round % 7 ? (uint8_t)fake_random(&n) : 0xff;
        }
        ck_assert(same_sum(net_sum(b + at, len), plain_sum(b + at, len)));
        cut = fake_below(&n, len + 1);
        uint16_t tail = net_sum(b + at + cut, len - cut);
        ck_assert(same_sum(net_sum_add(net_sum(b + at, cut),
                                       cut & 1 ? net_sum_shift(tail) : tail),
                           plain_sum(b + at, len)));
    }
}
END_TEST

START_TEST(siphash_vectors)
{
    /* From the authors' vectors: key 00..0f, messages 00.. of 0, 8, 16. */
    struct siphash_key k = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
    uint64_t m[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

    ck_assert_uint_eq(siphash(&k, m, 0), 0x726fdb47dd0e0e31);
    ck_assert_uint_eq(siphash(&k, m, 1), 0x93f5f5799a932462);
    ck_assert_uint_eq(siphash(&k, m, 2), 0x3f2acc7f57c29bdb);
}
END_TEST

/* -------------------------------------------------------------------- timers
 */

#define TIMERS 500

struct probe {
    struct net_timer t;
    uint64_t want, fired;
};

static void probe_fire(struct net_timer *t, struct net_stack *s)
{
    ((struct probe *)(void *)t)->fired = s->now_ns;
}

START_TEST(timers_fire_once_and_in_time)
{
    struct fake_net n;
    struct fake_host h;
    static struct probe p[TIMERS];

    fake_net_init(&n, 42);
    fake_host_init(&n, &h, 0, NULL);
    memset(p, 0, sizeof p);
    for (int round = 0; round < 20; round++) {
        uint64_t end = n.now_ns;

        for (int i = 0; i < TIMERS; i++) {
            unsigned bits = 16 + fake_below(&n, 30);

            p[i].t.fire = probe_fire;
            p[i].fired = 0;
            p[i].want = n.now_ns + (fake_random(&n) & ((1ull << bits) - 1));
            net_timer_start(h.stack, &p[i].t, p[i].want);
            if (fake_chance(&n, 300)) {
                p[i].want += fake_below(&n, 1000000000);
                net_timer_start(h.stack, &p[i].t, p[i].want);
            }
            if (fake_chance(&n, 200)) {
                net_timer_stop(h.stack, &p[i].t);
                p[i].want = 0;
            }
            end = p[i].want > end ? p[i].want : end;
        }
        while (n.now_ns < end + 4000000) {
            uint64_t d = net_deadline(h.stack);

            for (int i = 0; i < TIMERS; i++) {
                /* ck_assert writes to a pipe even when all is well. */
                if (p[i].want && !p[i].fired &&
                    d > p[i].want + (2u << WHEEL_SHIFT)) {
                    ck_abort_msg("deadline %llu is too late",
                                 (unsigned long long)d);
                }
            }
            n.now_ns = d == UINT64_MAX ? end + 4000000 : d;
            net_tick(h.stack, n.now_ns);
        }
        for (int i = 0; i < TIMERS; i++) {
            bool ok = p[i].fired >= p[i].want && p[i].t.at_ns == 0 &&
                      p[i].fired <= p[i].want + (2u << WHEEL_SHIFT);

            ck_assert(p[i].want ? ok : p[i].fired == 0);
        }
    }
    ck_assert_uint_eq(net_deadline(h.stack), UINT64_MAX);
    fake_net_finish(&n);
    fake_host_finish(&h);
}
END_TEST

START_TEST(limiter_keeps_its_rate)
{
    struct limiter l = {.burst = 10, .period_ns = 100};
    unsigned taken = 0;

    for (uint64_t now = 0; now < 100000; now += 7) {
        taken += limiter_take(&l, now);
    }
    ck_assert_uint_ge(taken, 990);
    ck_assert_uint_le(taken, 1012);
}
END_TEST

/* --------------------------------------------------------- one host, by hand
 */

static struct fake_net net;
static struct fake_host host; /* 10.0.0.1 under test */
static uint8_t seen[64][1600];
static uint32_t seen_len[64], seen_count;

static void see(struct fake_host *h, const uint8_t *frame, uint32_t len)
{
    (void)h;
    ck_assert_uint_lt(seen_count, 64);
    memcpy(seen[seen_count], frame, len);
    seen_len[seen_count++] = len;
}

static void setup(void)
{
    fake_net_init(&net, 7);
    fake_host_init(&net, &host, 0, NULL);
    host.tap = see;
    seen_count = 0;
}

static void teardown(void)
{
    fake_run(&net, net.now_ns + 1000000, NULL, NULL);
    fake_net_finish(&net);
    fake_host_finish(&host);
}

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t host_mac[6] = {2, 0, 0, 0, 0, 1};
#define BE(a, b, c, d) net_v4(a, b, c, d).word[3]

static void arp_frame(uint8_t *f, uint32_t op, uint32_t spa, uint32_t tpa)
{
    memset(f, 0, 60);
    memset(f, 0xff, 6);
    memcpy(f + 6, peer_mac, 6);
    put16(f + 12, ETHERTYPE_ARP);
    put16(f + 14, 1);
    put16(f + 16, ETHERTYPE_IP);
    f[18] = 6;
    f[19] = 4;
    put16(f + 20, (uint16_t)op);
    memcpy(f + 22, peer_mac, 6);
    put_be32(f + 28, spa);
    put_be32(f + 38, tpa);
}

static void learn_peer(void)
{
    uint8_t f[60];

    arp_frame(f, ARP_REQUEST, BE(10, 0, 0, 2), BE(10, 0, 0, 1));
    net_input(host.stack, f, sizeof f, 0);
    seen_count = 0;
}

/* An IPv4 packet of `len` bytes from 10.0.0.2; returns the frame's length. */
static uint32_t ip_frame(uint8_t *f, uint32_t proto, const void *l4,
                         uint32_t len)
{
    memset(f, 0, 34);
    memcpy(f, host_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    put16(f + 12, ETHERTYPE_IP);
    f[14] = 0x45;
    put16(f + 16, (uint16_t)(20 + len));
    f[22] = 64;
    f[23] = (uint8_t)proto;
    put_be32(f + 26, BE(10, 0, 0, 2));
    put_be32(f + 30, BE(10, 0, 0, 1));
    put_be16(f + 24, (uint16_t)~net_sum(f + 14, 20));
    if (len) {
        memcpy(f + 34, l4, len);
    }
    return 34 + len;
}

static void ip_resum(uint8_t *f)
{
    put16(f + 24, 0);
    put_be16(f + 24, (uint16_t)~net_sum(f + 14, (f[14] & 15u) * 4));
}

static uint32_t echo_frame(uint8_t *f, uint32_t data)
{
    uint8_t icmp[1600] = {ICMP_ECHO, 0, 0, 0, 0x12, 0x34, 0, 1};

    for (uint32_t i = 0; i < data; i++) {
        icmp[8 + i] = (uint8_t)(i * 7);
    }
    put_be16(icmp + 2, (uint16_t)~net_sum(icmp, 8 + data));
    return ip_frame(f, IPPROTO_ICMP, icmp, 8 + data);
}

/* ----------------------------------------------------------------------- ARP
 */

START_TEST(arp_answers_for_us_only)
{
    uint8_t f[60];

    arp_frame(f, ARP_REQUEST, BE(10, 0, 0, 2), BE(10, 0, 0, 9));
    net_input(host.stack, f, sizeof f, 0);
    ck_assert_uint_eq(seen_count, 0);
    arp_frame(f, ARP_REQUEST, BE(10, 0, 0, 2), BE(10, 0, 0, 1));
    net_input(host.stack, f, sizeof f, 0);
    ck_assert_uint_eq(seen_count, 1);
    ck_assert_mem_eq(seen[0], peer_mac, 6);
    ck_assert_uint_eq(get16(seen[0] + 20), ARP_REPLY);
    ck_assert_mem_eq(seen[0] + 22, host_mac, 6);
    ck_assert_uint_eq(get_be32(seen[0] + 28), BE(10, 0, 0, 1));
    ck_assert_mem_eq(seen[0] + 32, peer_mac, 6);
    /* A probe for our address (RFC 5227) gets an answer too, and no entry. */
    arp_frame(f, ARP_REQUEST, 0, BE(10, 0, 0, 1));
    net_input(host.stack, f, sizeof f, 0);
    ck_assert_uint_eq(seen_count, 2);
}
END_TEST

START_TEST(arp_defends_but_not_too_often)
{
    uint8_t f[60];

    arp_frame(f, ARP_REQUEST, BE(10, 0, 0, 1), BE(10, 0, 0, 1));
    for (int i = 0; i < 5; i++) {
        net_input(host.stack, f, sizeof f, 0);
    }
    ck_assert_uint_eq(net_stats(host.stack)->arp_conflicts, 5);
    ck_assert_uint_eq(seen_count, 1);
}
END_TEST

static void udp_nothing(struct udp_port *p, const struct net_endpoint *from,
                        const struct net_addr *to, const void *data,
                        uint32_t len)
{
    (void)p;
    (void)from;
    (void)to;
    (void)data;
    (void)len;
}

START_TEST(arp_holds_frames_and_gives_up)
{
    struct udp_port p = {.received = udp_nothing, .port = 9000};
    struct net_endpoint to = {net_v4(10, 0, 0, 2), 9};
    static uint8_t block[100];
    struct net_pin pin = {0};
    struct net_piece piece = {
        .paddr = (uint64_t)(uintptr_t)block, .va = block, .len = 100};
    uint8_t f[60];

    ck_assert_int_eq(udp_bind(host.stack, &p), 0);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(udp_send(&p, &to, &piece, 1, &pin), 0);
    }
    /* One request, and the latest four are held. */
    ck_assert_uint_eq(seen_count, 1);
    ck_assert_uint_eq(get16(seen[0] + 20), ARP_REQUEST);
    ck_assert_uint_eq(pin.in_flight, 4);
    arp_frame(f, ARP_REPLY, BE(10, 0, 0, 2), BE(10, 0, 0, 1));
    net_input(host.stack, f, sizeof f, 0);
    ck_assert_uint_eq(seen_count, 5);
    ck_assert_mem_eq(seen[4], peer_mac, 6);
    fake_run(&net, net.now_ns + 1000000, NULL, NULL);
    ck_assert_uint_eq(pin.in_flight, 0);
    /* Nobody answers for 10.0.0.3: three requests a second apart. */
    seen_count = 0;
    to.addr = net_v4(10, 0, 0, 3);
    ck_assert_int_eq(udp_send(&p, &to, &piece, 1, &pin), 0);
    fake_run(&net, net.now_ns + 10000000000, NULL, NULL);
    ck_assert_uint_eq(seen_count, 3);
    ck_assert_uint_eq(pin.in_flight, 0);
    ck_assert_uint_eq(net_stats(host.stack)->arp_dropped, 3);
    /* No gateway: other networks have no way. */
    to.addr = net_v4(192, 0, 2, 1);
    ck_assert_int_eq(udp_send(&p, &to, &piece, 1, &pin), -NET_E_ROUTE);
    ck_assert_uint_eq(pin.in_flight, 0);
    udp_unbind(&p);
}
END_TEST

/* Strangers invent neighbours, which the stack asks for: more than there is
   room for, every few milliseconds, without end. */
static void ask_for_many(struct udp_port *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct net_endpoint to = {net_v4(10, 0, 0, (uint8_t)(20 + i % 200)), 9};

        (void)udp_send_copy(p, &to, "?", 1);
        fake_run(&net, net.now_ns + 2000000, NULL, NULL);
        seen_count = 0;
    }
}

START_TEST(neighbours_that_do_not_exist_keep_nobody_out)
{
    struct udp_port p = {.received = udp_nothing, .port = 9000};
    struct net_endpoint to = {net_v4(10, 0, 0, 2), 9};
    uint8_t f[60];

    ck_assert_int_eq(udp_bind(host.stack, &p), 0);
    for (int round = 0; round < 50; round++) {
        /* One that is real is asked for and answers a little later. */
        to.addr = net_v4(10, 0, 0, (uint8_t)(2 + round % 10));
        ask_for_many(&p, 60);
        ck_assert_int_eq(udp_send_copy(&p, &to, "!", 1), 0);
        ck_assert_uint_eq(seen_count, 1);
        ck_assert_uint_eq(get16(seen[0] + 20), ARP_REQUEST);
        ask_for_many(&p, 2);
        arp_frame(f, ARP_REPLY, to.addr.word[3], BE(10, 0, 0, 1));
        net_input(host.stack, f, sizeof f, 0);
        ck_assert_uint_eq(seen_count, 1);
        ck_assert_mem_eq(seen[0], peer_mac, 6);
        /* It stays, through any number of questions. */
        ask_for_many(&p, 60);
        ck_assert_int_eq(udp_send_copy(&p, &to, "!", 1), 0);
        ck_assert_uint_eq(seen_count, 1);
        ck_assert_uint_eq(get16(seen[0] + 12), ETHERTYPE_IP);
        /* So does one that asks for us, without a question of ours. */
        arp_frame(f, ARP_REQUEST, BE(10, 0, 0, 15), BE(10, 0, 0, 1));
        net_input(host.stack, f, sizeof f, 0);
        seen_count = 0;
        to.addr = net_v4(10, 0, 0, 15);
        ck_assert_int_eq(udp_send_copy(&p, &to, "!", 1), 0);
        ck_assert_uint_eq(seen_count, 1);
        ck_assert_uint_eq(get16(seen[0] + 12), ETHERTYPE_IP);
        fake_run(&net, net.now_ns + 200000000000, NULL, NULL);
        seen_count = 0;
    }
    udp_unbind(&p);
}
END_TEST

START_TEST(arp_confirms_what_is_used)
{
    uint8_t f[200];
    uint32_t len;

    learn_peer();
    len = echo_frame(f, 10);
    net_input(host.stack, f, len, 0);
    ck_assert_uint_eq(seen_count, 1);
    seen_count = 0;
    /* In use: asked directly, three times, then forgotten. */
    fake_run(&net, net.now_ns + 70000000000, NULL, NULL);
    ck_assert_uint_eq(seen_count, 3);
    ck_assert_mem_eq(seen[0], peer_mac, 6);
    ck_assert_uint_eq(net_deadline(host.stack), UINT64_MAX);
}
END_TEST

/* ---------------------------------------------------------------- IPv4, ICMP
 */

START_TEST(echo_of_every_size)
{
    uint8_t f[1600];

    learn_peer();
    for (uint32_t data = 0; data <= 1472; data += data < 100 ? 1 : 97) {
        uint32_t len = echo_frame(f, data);

        seen_count = 0;
        net_input(host.stack, f, len, 0);
        ck_assert_uint_eq(seen_count, 1);
        ck_assert_uint_eq(seen_len[0], len);
        ck_assert_uint_eq(seen[0][34], ICMP_ECHO_REPLY);
        ck_assert(net_sum(seen[0] + 34, 8 + data) == 0xffff);
        ck_assert(net_sum(seen[0] + 14, 20) == 0xffff);
        ck_assert_mem_eq(seen[0] + 38, f + 38, 4 + data);
        ck_assert_uint_eq(get_be32(seen[0] + 30), BE(10, 0, 0, 2));
        fake_run(&net, net.now_ns + 100000, NULL, NULL);
    }
}
END_TEST

static uint64_t refused(uint8_t *f, uint32_t len)
{
    const struct net_stats *s = net_stats(host.stack);
    uint64_t before = s->rx_short + s->rx_bad_sum + s->rx_bad_source +
                      s->rx_not_ours + s->rx_fragments;

    seen_count = 0;
    net_input(host.stack, f, len, 0);
    ck_assert_uint_eq(seen_count, 0);
    return s->rx_short + s->rx_bad_sum + s->rx_bad_source + s->rx_not_ours +
           s->rx_fragments - before;
}

START_TEST(ip_refuses_what_it_must)
{
    static const uint32_t bad_sources[] = {0,          0x0100007f, 0xffffffff,
                                           0x010000e0, 0xff00000a, 0x0100000a,
                                           0x010000f0};
    uint8_t f[1600];
    uint32_t len;

    learn_peer();
    len = echo_frame(f, 56);
    for (uint32_t cut = 0; cut < len; cut++) {
        ck_assert_uint_eq(refused(f, cut), 1);
    }
    for (uint32_t i = 14; i < 34; i++) { /* any one bit of the header */
        for (int bit = 0; bit < 8; bit++) {
            echo_frame(f, 56);
            f[i] ^= (uint8_t)(1u << bit);
            ck_assert_uint_eq(refused(f, len), 1);
        }
    }
    for (size_t i = 0; i < sizeof bad_sources / 4; i++) {
        echo_frame(f, 56);
        put_be32(f + 26, bad_sources[i]);
        ip_resum(f);
        ck_assert_uint_eq(refused(f, len), 1);
    }
    echo_frame(f, 56);
    put_be32(f + 30, BE(10, 0, 0, 7)); /* not ours: no forwarding */
    ip_resum(f);
    ck_assert_uint_eq(refused(f, len), 1);
    put_be32(f + 30, BE(224, 0, 0, 1));
    ip_resum(f);
    ck_assert_uint_eq(refused(f, len), 1);
    echo_frame(f, 56);
    put16(f + 20, 0x2000);
    ip_resum(f);
    ck_assert_uint_eq(refused(f, len), 1);
    put16(f + 20, 0x0003);
    ip_resum(f);
    ck_assert_uint_eq(refused(f, len), 1);
    echo_frame(f, 56);
    f[0] = 4; /* another station's */
    ck_assert_uint_eq(refused(f, len), 1);
    memset(f, 0xff, 6); /* a link broadcast of a unicast packet */
    ck_assert_uint_eq(refused(f, len), 1);
    echo_frame(f, 56);
    f[50] ^= 1; /* ICMP's own sum */
    ck_assert_uint_eq(refused(f, len), 1);
}
END_TEST

/* Insert IP options before the L4 header. */
static uint32_t with_options(uint8_t *f, uint32_t len, const uint8_t *opt,
                             uint32_t n)
{
    memmove(f + 34 + n, f + 34, len - 34);
    memcpy(f + 34, opt, n);
    f[14] = (uint8_t)(0x45 + n / 4);
    put16(f + 16, (uint16_t)(get16(f + 16) + n));
    ip_resum(f);
    return len + n;
}

START_TEST(ip_options_are_skipped)
{
    static const uint8_t router_alert[4] = {148, 4, 0, 0};
    static const uint8_t record_route[8] = {7, 7, 4, 0, 0, 0, 0, 0};
    static const uint8_t source_route[8] = {131, 7, 4, 1, 2, 3, 4, 0};
    static const uint8_t lies[4] = {7, 9, 0, 0};
    uint8_t f[1600];
    uint32_t len;

    learn_peer();
    len = with_options(f, echo_frame(f, 56), router_alert, 4);
    net_input(host.stack, f, len, 0);
    ck_assert_uint_eq(seen_count, 1);
    len = with_options(f, echo_frame(f, 56), record_route, 8);
    net_input(host.stack, f, len, 0);
    ck_assert_uint_eq(seen_count, 2);
    len = with_options(f, echo_frame(f, 56), source_route, 8);
    ck_assert_uint_eq(refused(f, len), 1);
    len = with_options(f, echo_frame(f, 56), lies, 4);
    ck_assert_uint_eq(refused(f, len), 1);
}
END_TEST

START_TEST(padding_is_ignored)
{
    uint8_t f[1600] = {0};
    uint32_t len = echo_frame(f, 0);

    learn_peer();
    memset(f + len, 0xa5, 20);
    net_input(host.stack, f, len + 18, 0);
    ck_assert_uint_eq(seen_count, 1);
    ck_assert_uint_eq(seen_len[0], len);
}
END_TEST

static uint32_t udp_frame(uint8_t *f, uint16_t port, uint32_t data)
{
    uint8_t u[1600] = {0};

    put16(u, 1234);
    put16(u + 2, port);
    put16(u + 4, (uint16_t)(8 + data));
    memset(u + 8, 'x', data);
    put_be16(u + 6, (uint16_t)~net_sum_add(
                        net_sum(u, 8 + data),
                        ip_pseudo_sum(BE(10, 0, 0, 2), BE(10, 0, 0, 1),
                                      IPPROTO_UDP, 8 + data)));
    return ip_frame(f, IPPROTO_UDP, u, 8 + data);
}

START_TEST(ports_of_other_stacks_are_left_alone)
{
    struct net_away away = {.proto = IPPROTO_UDP, .port = 4444};
    uint8_t f[1600];

    learn_peer();
    net_away_add(host.stack, &away);
    net_input(host.stack, f, udp_frame(f, 4444, 100), 0);
    ck_assert_uint_eq(seen_count, 0);
    ck_assert_uint_eq(net_stats(host.stack)->rx_away, 1);
    net_input(host.stack, f, udp_frame(f, 4445, 100), 0);
    ck_assert_uint_eq(seen_count, 1);
    net_away_remove(host.stack, &away);
    net_input(host.stack, f, udp_frame(f, 4444, 100), 0);
    ck_assert_uint_eq(seen_count, 2);
}
END_TEST

START_TEST(unreachables_are_limited)
{
    uint8_t f[1600];
    uint32_t len = udp_frame(f, 4444, 100);

    learn_peer();
    for (int i = 0; i < 40; i++) {
        net_input(host.stack, f, len, 0);
    }
    ck_assert_uint_eq(seen_count, 10);
    ck_assert_uint_eq(seen[0][34], ICMP_UNREACHABLE);
    ck_assert_uint_eq(seen[0][35], ICMP_CODE_PORT);
    ck_assert_mem_eq(seen[0] + 42, f + 14, 28);
    ck_assert_uint_eq(net_stats(host.stack)->icmp_limited, 30);
    fake_run(&net, net.now_ns + 1000000000, NULL, NULL);
    seen_count = 0;
    len = ip_frame(f, 132, "12345678", 8);
    net_tick(host.stack, net.now_ns);
    net_input(host.stack, f, len, 0);
    ck_assert_uint_eq(seen_count, 1);
    ck_assert_uint_eq(seen[0][35], ICMP_CODE_PROTOCOL);
    /* Nothing about a broadcast. */
    len = udp_frame(f, 4444, 100);
    memset(f, 0xff, 6);
    put_be32(f + 30, BE(10, 0, 0, 255));
    put16(f + 40, 0);
    ip_resum(f);
    ck_assert_uint_eq(refused(f, len), 1);
}
END_TEST

/* ----------------------------------------------------------------------- UDP
 */

static void udp_echo(struct udp_port *p, const struct net_endpoint *from,
                     const struct net_addr *to, const void *data, uint32_t len)
{
    (void)to;
    ck_assert_int_eq(udp_send_copy(p, from, data, len), 0);
}

static uint32_t echoed;

static void udp_count(struct udp_port *p, const struct net_endpoint *from,
                      const struct net_addr *to, const void *data, uint32_t len)
{
    const uint8_t *d = data;

    (void)p;
    (void)to;
    ck_assert_uint_eq(from->port, 7);
    for (uint32_t i = 0; i < len; i++) {
        ck_assert_uint_eq(d[i], (uint8_t)(i * 3 + len));
    }
    echoed++;
}

static void udp_pair(uint32_t caps)
{
    struct fake_host a, b;
    struct udp_port server = {.received = udp_echo, .port = 7};
    struct udp_port client = {.received = udp_count, .port = 5000};
    struct udp_port other = {.received = udp_echo, .port = 7};
    struct net_endpoint to;
    uint8_t data[1600];

    fake_net_init(&net, 3);
    fake_host_init(&net, &a, caps, NULL);
    fake_host_init(&net, &b, caps, NULL);
    to = (struct net_endpoint){fake_addr(&net, &b), 7};
    ck_assert_int_eq(udp_bind(b.stack, &server), 0);
    ck_assert_int_eq(udp_bind(b.stack, &other), -NET_E_USED);
    ck_assert_int_eq(udp_bind(a.stack, &client), 0);
    echoed = 0;
    for (uint32_t len = 0; len <= 1472; len += 46) {
        for (uint32_t i = 0; i < len; i++) {
            data[i] = (uint8_t)(i * 3 + len);
        }
        ck_assert_int_eq(udp_send_copy(&client, &to, data, len), 0);
        fake_run(&net, net.now_ns + 10000000, NULL, NULL);
    }
    ck_assert_uint_eq(echoed, 33);
    ck_assert_int_eq(udp_send_copy(&client, &to, data, 1473), -NET_E_SIZE);
    udp_unbind(&client);
    udp_unbind(&server);
    fake_net_finish(&net);
    fake_host_finish(&a);
    fake_host_finish(&b);
}

START_TEST(udp_echoes)
{
    udp_pair(0);
    udp_pair(NET_CAP_CSUM);
}
END_TEST

START_TEST(udp_sum_is_never_zero)
{
    struct udp_port p = {.received = udp_nothing, .port = 9000};
    struct net_endpoint to = {net_v4(10, 0, 0, 2), 9};
    uint16_t sum = 0;

    learn_peer();
    ck_assert_int_eq(udp_bind(host.stack, &p), 0);
    ck_assert_int_eq(udp_send_copy(&p, &to, &sum, 2), 0);
    sum = get_be16(seen[0] + 34 + UDP_SUM);
    /* These two bytes make it 0, which would mean that there is none. */
    ck_assert_int_eq(udp_send_copy(&p, &to, &sum, 2), 0);
    ck_assert_uint_eq(get_be16(seen[1] + 34 + UDP_SUM), 0xffff);
    udp_unbind(&p);
}
END_TEST

START_TEST(config_is_checked)
{
    struct net_link l = {.mtu = 1500};
    struct net_config cfg = {.link = &l};
    static _Alignas(64) uint8_t mem[200000];

    ck_assert_uint_lt(net_size(&cfg), sizeof mem);
    ck_assert_ptr_null(net_init(mem, &cfg)); /* no transmit */
    l.transmit = host.link.transmit;
    l.mtu = 100;
    ck_assert_ptr_null(net_init(mem, &cfg));
    l.mtu = 1500;
    l.caps = NET_CAP_TSO4;
    ck_assert_ptr_null(net_init(mem, &cfg));
    l.caps = 0;
    cfg.port_lo = 5;
    ck_assert_ptr_null(net_init(mem, &cfg));
    cfg.port_lo = 0;
    ck_assert_ptr_nonnull(net_init(mem, &cfg));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("net_base");
    TCase *plain = tcase_create("plain"), *one = tcase_create("one host");
    SRunner *r;
    int failed;

    tcase_set_timeout(plain, 60);
    tcase_add_test(plain, sum_is_rfc_1071);
    tcase_add_test(plain, siphash_vectors);
    tcase_add_test(plain, timers_fire_once_and_in_time);
    tcase_add_test(plain, limiter_keeps_its_rate);
    tcase_add_test(plain, udp_echoes);
    tcase_add_test(one, config_is_checked);
    tcase_add_test(one, udp_sum_is_never_zero);
    tcase_add_checked_fixture(one, setup, teardown);
    tcase_add_test(one, arp_answers_for_us_only);
    tcase_add_test(one, arp_defends_but_not_too_often);
    tcase_add_test(one, arp_holds_frames_and_gives_up);
    tcase_add_test(one, neighbours_that_do_not_exist_keep_nobody_out);
    tcase_add_test(one, arp_confirms_what_is_used);
    tcase_add_test(one, echo_of_every_size);
    tcase_add_test(one, ip_refuses_what_it_must);
    tcase_add_test(one, ip_options_are_skipped);
    tcase_add_test(one, padding_is_ignored);
    tcase_add_test(one, ports_of_other_stacks_are_left_alone);
    tcase_add_test(one, unreachables_are_limited);
    suite_add_tcase(s, plain);
    suite_add_tcase(s, one);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
