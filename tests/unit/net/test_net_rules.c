/* SPDX-License-Identifier: MIT */
/*
 * The rules of the TCP specifications, one by one: a segment is injected, the
 * answer is compared. The peer is written by hand, so it can do what no TCP
 * does. Section numbers are of RFC 9293 unless another RFC is named.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/net/tcp_impl.h"
#include "tests/unit/net/fakenet.h"

#define S 1000000000ull
#define MS 1000000ull
#define PEER_ISN 1000u
#define PORT 80u
#define PEER_PORT 5555u

static struct fake_net net;
static struct fake_host host; /* 10.0.0.1; the peer is 10.0.0.2 */

/* ------------------------------------------------------------- what was sent
 */

struct out {
    uint32_t seq, ack, wnd, len, flags, up;
    uint32_t mss, tsval, tsecr, sacks;
    int scale; /* -1: not offered */
    bool sack_ok, has_ts, icmp;
    struct tcp_range sack[4];
    uint8_t data[2000];
};

static bool arp_asked;
static uint8_t last_to[6]; /* station the last segment went to */
static struct out outs[256];
static uint32_t out_count, out_next;

static void see_options(struct out *o, const uint8_t *p, uint32_t len)
{
    uint32_t at = 0;

    while (at < len && p[at]) {
        if (p[at] == 1) {
            at++;
            continue;
        }
        switch (p[at]) {
        case 2:
            o->mss = get16(p + at + 2);
            break;
        case 3:
            o->scale = p[at + 2];
            break;
        case 4:
            o->sack_ok = true;
            break;
        case 5:
            for (uint32_t i = 2; i < p[at + 1]; i += 8) {
                o->sack[o->sacks++] = (struct tcp_range){get32(p + at + i),
                                                         get32(p + at + i + 4)};
            }
            break;
        case 8:
            o->has_ts = true;
            o->tsval = get32(p + at + 2);
            o->tsecr = get32(p + at + 6);
            break;
        default:
            ck_abort_msg("unknown option %u", p[at]);
        }
        at += p[at + 1];
    }
}

static void see(struct fake_host *h, const uint8_t *f, uint32_t len)
{
    const uint8_t *tcp = f + 34;
    struct out *o = &outs[out_count];
    uint32_t hlen;

    (void)h;
    if (get16(f + 12) != ETHERTYPE_IP) {
        arp_asked |= get16(f + 20) == ARP_REQUEST;
        return;
    }
    ck_assert_uint_lt(out_count++, 256);
    memcpy(last_to, f, 6);
    memset(o, 0, sizeof *o);
    ck_assert_uint_eq(net_sum(f + 14, 20), 0xffff);
    if (f[23] != IPPROTO_TCP) {
        o->icmp = true;
        return;
    }
    ck_assert_uint_eq(
        net_sum_add(net_sum(tcp, len - 34),
                    ip_pseudo_sum(get_be32(f + 26), get_be32(f + 30),
                                  IPPROTO_TCP, len - 34)),
        0xffff);
    hlen = (tcp[12] >> 4) * 4u;
    o->seq = get32(tcp + 4);
    o->ack = get32(tcp + 8);
    o->flags = tcp[13];
    o->wnd = get16(tcp + 14);
    o->up = get16(tcp + 18);
    o->len = len - 34 - hlen;
    o->scale = -1;
    memcpy(o->data, tcp + hlen, o->len);
    see_options(o, tcp + 20, hlen - 20);
}

static void learn_peer(void)
{
    uint8_t f[60] = {0};

    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\6\0\1\10\0\6\4\0\1\2\0\0\0\0\2", 28);
    put_be32(f + 28, net_v4(10, 0, 0, 2).word[3]);
    put_be32(f + 38, net_v4(10, 0, 0, 1).word[3]);
    net_input(host.stack, f, sizeof f, 0);
}

static bool is_asked(void *ctx)
{
    (void)ctx;
    return arp_asked;
}

/* Let time pass; the peer answers ARP. */
static void run(uint64_t ns)
{
    uint64_t until = net.now_ns + ns;

    fake_run(&net, until, is_asked, NULL);
    while (arp_asked) {
        arp_asked = false;
        learn_peer();
        fake_run(&net, until, is_asked, NULL);
    }
}

/* The next segment sent; there must be one. */
static struct out *sent(void)
{
    run(0);
    ck_assert_msg(out_next < out_count, "nothing was sent");
    return &outs[out_next++];
}

static void sent_nothing(void)
{
    run(0);
    if (out_next < out_count) {
        const struct out *o = &outs[out_next];

        ck_abort_msg("sent flags %x seq %u ack %u len %u", o->flags, o->seq,
                     o->ack, o->len);
    }
}

static void forget(void)
{
    run(0);
    out_next = out_count = 0;
}

/* -------------------------------------------------------------- what we say */

struct in {
    uint32_t seq, ack, flags, wnd, up;
    const void *data;
    uint32_t len;
    bool ts;
    uint32_t tsval, tsecr;
    uint32_t mss;
    bool sack_ok, scale_ok;
    uint32_t scale, sacks;
    struct tcp_range sack[3];
    uint16_t port, from;
    bool cut; /* an MSS option that runs over the header's end */
};

static uint32_t in_options(const struct in *m, uint8_t *o)
{
    uint32_t at = 0;

    if (m->mss) {
        put16(o, 0x0204);
        put16(o + 2, (uint16_t)m->mss);
        at = 4;
    }
    if (m->cut) {
        put32(o, 0x01010204);
        at = 4;
    }
    if (m->scale_ok) {
        put32(o + at, 0x01030300 | m->scale);
        at += 4;
    }
    if (m->sack_ok) {
        put32(o + at, 0x01010402);
        at += 4;
    }
    if (m->ts) {
        put32(o + at, 0x0101080a);
        put32(o + at + 4, m->tsval);
        put32(o + at + 8, m->tsecr);
        at += 12;
    }
    if (m->sacks) {
        put32(o + at, 0x01010500 | (2 + 8 * m->sacks));
        for (uint32_t i = 0; i < m->sacks; i++) {
            put32(o + at + 4 + 8 * i, m->sack[i].begin);
            put32(o + at + 8 + 8 * i, m->sack[i].end);
        }
        at += 4 + 8 * m->sacks;
    }
    return at;
}

static const uint8_t filler[3000];

static void inject(struct in m)
{
    static uint8_t f[4000];
    uint8_t *ip = f + 14, *tcp = f + 34;
    uint32_t opt, len;

    memset(f, 0, 100);
    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\0", 14);
    opt = in_options(&m, tcp + 20);
    len = 20 + opt + m.len;
    put16(tcp, m.from ? m.from : PEER_PORT);
    put16(tcp + 2, m.port ? m.port : PORT);
    put32(tcp + 4, m.seq);
    put32(tcp + 8, m.ack);
    tcp[12] = (uint8_t)((20 + opt) / 4 << 4);
    tcp[13] = (uint8_t)m.flags;
    put16(tcp + 14, (uint16_t)m.wnd);
    put16(tcp + 18, (uint16_t)m.up);
    memcpy(tcp + 20 + opt, m.data ? m.data : filler, m.len);
    ip[0] = 0x45;
    put16(ip + 2, (uint16_t)(20 + len));
    ip[8] = 64;
    ip[9] = IPPROTO_TCP;
    put_be32(ip + 12, net_v4(10, 0, 0, 2).word[3]);
    put_be32(ip + 16, net_v4(10, 0, 0, 1).word[3]);
    put_be16(ip + 10, (uint16_t)~net_sum(ip, 20));
    put_be16(tcp + 16, (uint16_t)~net_sum_add(net_sum(tcp, len),
                                              ip_pseudo_sum(get_be32(ip + 12),
                                                            get_be32(ip + 16),
                                                            IPPROTO_TCP, len)));
    net_tick(host.stack, net.now_ns);
    net_input(host.stack, f, 34 + len, 0);
}

/* ------------------------------------------------------------------ the user
 */

static struct user {
    struct tcp_conn c;
    uint64_t got, acked, urgent;
    uint8_t data[10000];
    uint32_t take; /* at most so much per call */
    bool accept, open, finished, closed, not_at_hand;
    int why;
} u;

static uint8_t stream[300000];
static bool endless; /* of the stream, over and over */
static struct tcp_listener listener;

static struct tcp_conn *user_accept(struct tcp_listener *l,
                                    const struct net_endpoint *peer)
{
    (void)l;
    ck_assert_uint_eq(peer->addr.byte[15], 2);
    return u.accept ? &u.c : NULL;
}

static void user_established(struct tcp_conn *c)
{
    ck_assert_ptr_eq(c, &u.c);
    u.open = true;
}

static uint32_t user_gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                            struct tcp_gather *g)
{
    (void)c;
    if (u.not_at_hand) {
        return 0;
    }
    if (endless) {
        offset %= 100000;
        len = len < 100000 ? len : 100000;
    }
    ck_assert_uint_le(offset + len, sizeof stream);
    for (uint32_t at = 0; at < len;) { /* pieces of odd lengths */
        const uint8_t *p = &stream[offset + at];
        uint32_t n = g->count < 6 && len - at > 33 ? 33 : len - at;

        g->piece[g->count++] = (struct net_piece){
            .paddr = (uint64_t)(uintptr_t)p, .va = p, .len = n};
        at += n;
    }
    return len;
}

static uint32_t user_received(struct tcp_conn *c, const void *data,
                              uint32_t len)
{
    (void)c;
    len = len < u.take ? len : u.take;
    if (u.got + len <= sizeof u.data) {
        memcpy(u.data + u.got, data, len);
    }
    u.got += len;
    return len;
}

static void user_finished(struct tcp_conn *c)
{
    (void)c;
    u.finished = true;
}

static void user_acked(struct tcp_conn *c, uint64_t upto)
{
    (void)c;
    u.acked = upto;
}

static void user_urgent(struct tcp_conn *c, uint64_t upto)
{
    (void)c;
    u.urgent = upto;
}

static void user_closed(struct tcp_conn *c, enum tcp_reason why)
{
    (void)c;
    ck_assert(!u.closed);
    u.closed = true;
    u.why = (int)why;
}

static const struct tcp_ops ops = {
    .accept = user_accept,
    .established = user_established,
    .gather = user_gather,
    .received = user_received,
    .finished = user_finished,
    .acked = user_acked,
    .urgent = user_urgent,
    .closed = user_closed,
};

static void setup_with(uint32_t half_open, uint32_t flags)
{
    struct net_config cfg = {.conns = 8,
                             .half_open = half_open,
                             .time_wait = 4,
                             .neighbours = 4,
                             .flags = flags,
                             .ooo_bufs_conn = 4};

    fake_net_init(&net, 99);
    fake_host_init(&net, &host, 0, &cfg);
    host.tap = see;
    memset(&u, 0, sizeof u);
    u.accept = true;
    u.take = UINT32_MAX;
    listener =
        (struct tcp_listener){.ops = &ops, .port = PORT, .window = 20000};
    ck_assert_int_eq(tcp_listen(host.stack, &listener), 0);
    learn_peer();
    out_next = out_count = 0;
}

static void setup(void)
{
    for (uint32_t i = 0; i < sizeof stream; i++) {
        stream[i] = (uint8_t)(i * 13 + (i >> 8));
    }
    setup_with(4, 0);
}

static void teardown(void)
{
    fake_net_finish(&net);
    fake_host_finish(&host);
}

/* ---------------------------------------------------------- common openings */

static uint32_t iss; /* of the stack */
static const struct net_stats *stats;

/* A handshake from the peer; afterwards iss + 1 is the first byte of ours and
   PEER_ISN + 1 of theirs. */
static void open_with(struct in syn)
{
    struct out *o;
    struct in ack = {.seq = PEER_ISN + 1,
                     .flags = TH_ACK,
                     .wnd = 60000,
                     .ts = syn.ts,
                     .tsval = syn.tsval};

    syn.seq = PEER_ISN;
    syn.flags = TH_SYN;
    syn.wnd = 60000;
    inject(syn);
    o = sent();
    ck_assert_uint_eq(o->flags, TH_SYN | TH_ACK);
    ck_assert_uint_eq(o->ack, PEER_ISN + 1);
    iss = o->seq;
    ack.ack = iss + 1;
    ack.tsecr = o->tsval;
    inject(ack);
    ck_assert(u.open);
    sent_nothing();
    stats = net_stats(host.stack);
}

static void open_plain(void)
{
    open_with((struct in){.mss = 1000});
}

static void open_sack(void)
{
    open_with((struct in){.mss = 1000, .sack_ok = true});
}

static void say(uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
    inject((struct in){.seq = PEER_ISN + 1 + seq,
                       .ack = iss + 1 + ack,
                       .flags = flags,
                       .wnd = 60000,
                       .len = len});
}

static void is(uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
    const struct out *o = sent();

    ck_assert_uint_eq(o->flags, flags);
    ck_assert_uint_eq(o->seq - iss - 1, seq);
    ck_assert_uint_eq(o->ack - PEER_ISN - 1, ack);
    ck_assert_uint_eq(o->len, len);
    if (len) {
        ck_assert_mem_eq(o->data, stream + seq, len);
    }
}

#define A TH_ACK
#define AP (TH_ACK | TH_PSH)
#define AF (TH_ACK | TH_FIN)

/* --------------------------------------------------------------- the opening
 */

START_TEST(syn_options_are_answered)
{
    struct out *o;

    inject((struct in){.seq = 5,
                       .flags = TH_SYN,
                       .wnd = 60000,
                       .mss = 1200,
                       .sack_ok = true,
                       .scale_ok = true,
                       .scale = 7,
                       .ts = true,
                       .tsval = 4711});
    o = sent();
    ck_assert_uint_eq(o->mss, 1460);
    ck_assert_int_eq(o->scale, 0); /* a window of 20000 needs none */
    ck_assert(o->sack_ok && o->has_ts);
    ck_assert_uint_eq(o->tsecr, 4711);
    ck_assert_uint_eq(o->wnd, 20000);
    /* What was not offered is not answered (RFC 7323 s2.2, s3.2; RFC 2018). */
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 77});
    o = sent();
    ck_assert(!o->sack_ok && !o->has_ts);
    ck_assert_int_eq(o->scale, -1);
}
END_TEST

START_TEST(syn_ack_is_repeated_then_given_up)
{
    inject((struct in){.seq = 5, .flags = TH_SYN});
    sent();
    run(70 * S);
    ck_assert_uint_eq(out_count, 6); /* at 1, 3, 7, 15, 31 s */
    ck_assert_uint_eq(net_stats(host.stack)->tcp_half_expired, 1);
    forget();
    /* A repeated SYN gets a repeated SYN-ACK, the same. */
    inject((struct in){.seq = 5, .flags = TH_SYN});
    iss = sent()->seq;
    inject((struct in){.seq = 5, .flags = TH_SYN});
    ck_assert_uint_eq(sent()->seq, iss);
}
END_TEST

START_TEST(listen_rules)
{
    struct out *o;

    inject((struct in){.seq = 5, .flags = TH_RST});
    sent_nothing();
    inject((struct in){.seq = 5, .ack = 9, .flags = A, .len = 3});
    o = sent(); /* s3.10.7.2: <SEQ=SEG.ACK><CTL=RST> */
    ck_assert_uint_eq(o->flags, TH_RST);
    ck_assert_uint_eq(o->seq, 9);
    inject((struct in){.seq = 5, .ack = 9, .flags = A | TH_SYN});
    ck_assert_uint_eq(sent()->flags, TH_RST);
    inject((struct in){.seq = 5, .ack = 9, .flags = A | TH_RST});
    sent_nothing();
    inject((struct in){.seq = 5, .flags = TH_SYN | TH_FIN});
    sent_nothing();
    inject((struct in){.seq = 5, .flags = 0, .len = 10});
    sent_nothing();
    /* No listener: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK> */
    inject((struct in){.seq = 5, .flags = TH_SYN, .port = 81, .len = 2});
    o = sent();
    ck_assert_uint_eq(o->flags, TH_RST | TH_ACK);
    ck_assert_uint_eq(o->seq, 0);
    ck_assert_uint_eq(o->ack, 8);
}
END_TEST

START_TEST(half_open_rules)
{
    struct out *o;

    inject((struct in){.seq = 5, .flags = TH_SYN, .mss = 1000});
    iss = sent()->seq;
    /* A wrong ACK is refused and changes nothing. */
    inject((struct in){.seq = 6, .ack = iss + 2, .flags = A});
    o = sent();
    ck_assert_uint_eq(o->flags, TH_RST);
    ck_assert_uint_eq(o->seq, iss + 2);
    /* RFC 5961: a reset must be exact; nearly gets an ACK. */
    inject((struct in){.seq = 7, .flags = TH_RST});
    o = sent();
    ck_assert_uint_eq(o->flags, A);
    ck_assert_uint_eq(o->ack, 6);
    inject((struct in){.seq = 500000, .flags = TH_RST});
    sent_nothing();
    /* Another SYN: an ACK that lets a rebooted peer find out. */
    inject((struct in){.seq = 900, .flags = TH_SYN});
    ck_assert_uint_eq(sent()->flags, A);
    inject((struct in){.seq = 6, .flags = TH_RST});
    sent_nothing();
    inject((struct in){.seq = 6, .ack = iss + 1, .flags = A});
    ck_assert_uint_eq(sent()->flags, TH_RST); /* it is gone */
    ck_assert(!u.open);
}
END_TEST

START_TEST(no_memory_lets_the_peer_try_again)
{
    u.accept = false;
    inject((struct in){.seq = PEER_ISN, .flags = TH_SYN, .mss = 1000});
    iss = sent()->seq;
    say(A, 0, 0, 0);
    sent_nothing();
    ck_assert(!u.open);
    u.accept = true;
    say(A, 0, 0, 100); /* data completes the handshake as well */
    ck_assert(u.open);
    ck_assert_uint_eq(u.got, 100);
}
END_TEST

START_TEST(cookies_when_the_backlog_is_full)
{
    uint32_t seq[8];

    for (uint16_t i = 0; i < 8; i++) {
        inject((struct in){.seq = 100,
                           .flags = TH_SYN,
                           .wnd = 1000,
                           .from = (uint16_t)(2000 + i),
                           .mss = 1300,
                           .sack_ok = true,
                           .scale_ok = true,
                           .scale = 5,
                           .ts = true,
                           .tsval = 50});
        seq[i] = sent()->seq;
    }
    ck_assert_uint_eq(net_stats(host.stack)->tcp_cookies_sent, 4);
    /* A forged one is worth nothing, and says nothing. */
    inject((struct in){.seq = 101,
                       .ack = seq[7] + 8 + 1,
                       .flags = A,
                       .from = 2007,
                       .ts = true,
                       .tsval = 51,
                       .tsecr = outs[7].tsval});
    sent_nothing();
    ck_assert(!u.open);
    run(75 * S); /* into the next epoch */
    inject((struct in){.seq = 101,
                       .ack = seq[7] + 1,
                       .flags = A,
                       .wnd = 1000,
                       .from = 2007,
                       .ts = true,
                       .tsval = 51,
                       .tsecr = outs[7].tsval});
    ck_assert(u.open);
    ck_assert_uint_eq(u.c.mss_peer, 1220); /* the next in the table */
    ck_assert_uint_eq(u.c.snd_scale, 5);
    ck_assert_uint_eq(u.c.snd_wnd, 32000);
    ck_assert(u.c.flags & CF_SACK && u.c.flags & CF_TS);
    /* Too late for the others. */
    run(200 * S);
    forget();
    u.open = false;
    inject((struct in){.seq = 101,
                       .ack = seq[6] + 1,
                       .flags = A,
                       .from = 2006,
                       .ts = true,
                       .tsval = 51,
                       .tsecr = outs[6].tsval});
    ck_assert(!u.open);
    ck_assert_uint_eq(sent()->flags, TH_RST);
}
END_TEST

START_TEST(isns_differ_and_grow)
{
    uint32_t a, b;

    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 1});
    a = sent()->seq;
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 2});
    ck_assert_uint_ne(a >> 16, sent()->seq >> 16);
    inject((struct in){.seq = 6, .flags = TH_RST, .from = 1});
    run(1 * S);
    forget();
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 1});
    b = sent()->seq;
    /* RFC 6528: the clock runs at about 250 kHz for one pair of addresses. */
    ck_assert_uint_ge(b - a, 200000);
    ck_assert_uint_le(b - a, 300000);
}
END_TEST

/* ------------------------------------------------------------- active opening
 */

static void call(void)
{
    struct net_endpoint to = {net_v4(10, 0, 0, 2), PEER_PORT};
    struct out *o;

    ck_assert_int_eq(tcp_connect(host.stack, &u.c, &ops, &to, PORT + 1), 0);
    ck_assert_int_eq(
        tcp_connect(host.stack, &(struct tcp_conn){0}, &ops, &to, PORT + 1),
        -NET_E_USED);
    o = sent();
    ck_assert_uint_eq(o->flags, TH_SYN);
    ck_assert_uint_eq(o->mss, 1460);
    ck_assert(o->sack_ok && o->has_ts && o->scale >= 0);
    iss = o->seq;
    stats = net_stats(host.stack);
}

static struct in reply(uint32_t flags, uint32_t seq, uint32_t ack)
{
    return (struct in){
        .seq = seq, .ack = ack, .flags = flags, .wnd = 60000, .port = PORT + 1};
}

START_TEST(syn_sent_rules)
{
    struct out *o;

    call();
    /* s3.10.7.3: unacceptable ACK: a reset, unless it is one. */
    inject(reply(A, 50, iss));
    o = sent();
    ck_assert_uint_eq(o->flags, TH_RST);
    ck_assert_uint_eq(o->seq, iss);
    inject(reply(A, 50, iss + 2));
    ck_assert_uint_eq(sent()->flags, TH_RST);
    inject(reply(A | TH_RST, 50, iss + 2));
    sent_nothing();
    inject(reply(TH_RST, 50, 0));
    sent_nothing();
    inject(reply(A, 50, iss + 1)); /* no SYN: dropped */
    sent_nothing();
    ck_assert(!u.open && !u.closed);
    inject(reply(A | TH_SYN, PEER_ISN, iss + 1));
    ck_assert(u.open);
    is(A, 0, 0, 0);
    ck_assert(!(u.c.flags & (CF_TS | CF_SACK)));
    ck_assert_uint_eq(u.c.mss, 536); /* s3.7.1: the default */
}
END_TEST

START_TEST(syn_is_refused)
{
    call();
    inject(reply(A | TH_RST, 0, iss + 1));
    sent_nothing();
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_REFUSED);
}
END_TEST

START_TEST(syn_is_repeated_for_three_minutes)
{
    call();
    run(170 * S);
    ck_assert(!u.closed);
    ck_assert_uint_ge(out_count, 6);
    ck_assert_uint_le(out_count, 9);
    run(120 * S);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_TIMEOUT);
}
END_TEST

START_TEST(both_call_at_once)
{
    struct out *o;

    call();
    inject(reply(TH_SYN, PEER_ISN, 0));
    o = sent(); /* figure 8 */
    ck_assert_uint_eq(o->flags, TH_SYN | TH_ACK);
    ck_assert_uint_eq(o->seq, iss);
    ck_assert_uint_eq(o->ack, PEER_ISN + 1);
    ck_assert(!u.open);
    inject(reply(A, PEER_ISN + 1, iss + 1));
    ck_assert(u.open);
    tcp_send_limit(&u.c, 10);
    is(AP, 0, 0, 10);
}
END_TEST

START_TEST(both_call_and_only_syn_acks_cross)
{
    call();
    inject(reply(TH_SYN, PEER_ISN, 0));
    sent();
    inject(reply(TH_SYN | A, PEER_ISN, iss + 1));
    ck_assert(u.open);
}
END_TEST

/* ------------------------------------------------------ checks on every
 * segment */

START_TEST(window_decides_what_is_acceptable)
{
    open_plain();
    say(A, 30000, 0, 10); /* beyond the window: an ACK, nothing taken */
    is(A, 0, 0, 0);
    say(A, (uint32_t)-20, 0, 10); /* old */
    is(A, 0, 0, 0);
    ck_assert_uint_eq(u.got, 0);
    say(A, (uint32_t)-5, 0, 10); /* half old: five are new */
    is(A, 0, 5, 0);
    ck_assert_uint_eq(u.got, 5);
    say(A, 19995, 0, 100); /* runs over the edge */
    ck_assert_uint_eq(u.got, 5);
    ck_assert_uint_eq(sent()->ack, PEER_ISN + 1 + 5);
    inject((struct in){.seq = PEER_ISN + 1 + 5, .flags = 0, .len = 5});
    sent_nothing(); /* no ACK bit: dropped */
    ck_assert_uint_eq(u.got, 5);
}
END_TEST

START_TEST(ack_bounds)
{
    open_plain();
    say(A, 0, 1, 10); /* of what was never sent */
    is(A, 0, 0, 0);
    ck_assert_uint_eq(u.got, 0);
    run(1 * S);
    /* RFC 5961 s5.2: older than the largest window */
    say(A, 0, (uint32_t)-60001, 10);
    is(A, 0, 0, 0);
    ck_assert_uint_eq(u.got, 0);
    say(A, 0, (uint32_t)-60000, 10);
    ck_assert_uint_eq(u.got, 10);
}
END_TEST

START_TEST(resets_must_be_exact)
{
    open_plain();
    say(TH_RST, 1, 0, 0);
    is(A, 0, 0, 0); /* challenge */
    say(TH_RST, 2, 0, 0);
    sent_nothing(); /* at a limited rate */
    ck_assert_uint_eq(stats->tcp_limited, 1);
    say(TH_RST, 20001, 0, 0);
    say(TH_RST, (uint32_t)-1, 0, 0);
    sent_nothing();
    ck_assert(!u.closed);
    say(TH_RST, 0, 0, 0);
    sent_nothing();
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_RESET);
}
END_TEST

START_TEST(syn_in_the_middle_is_challenged)
{
    open_plain();
    say(TH_SYN, 0, 0, 0);
    is(A, 0, 0, 0);
    run(1 * S);
    say(TH_SYN, 500000, 0, 0); /* out of window: the same */
    is(A, 0, 0, 0);
    ck_assert(!u.closed);
    ck_assert_uint_eq(stats->tcp_challenges, 2);
}
END_TEST

START_TEST(bad_checksum_and_lengths)
{
    uint8_t f[80] = {0};

    open_plain();
    /* The header says more options than there is segment. */
    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\0", 14);
    f[14] = 0x45;
    put16(f + 16, 40);
    f[22] = 64;
    f[23] = IPPROTO_TCP;
    put_be32(f + 26, net_v4(10, 0, 0, 2).word[3]);
    put_be32(f + 30, net_v4(10, 0, 0, 1).word[3]);
    put_be16(f + 24, (uint16_t)~net_sum(f + 14, 20));
    for (unsigned off = 0; off < 16; off++) {
        f[46] = (uint8_t)(off << 4);
        net_input(host.stack, f, 54, off == 5 ? 0 : NET_RX_SUM_OK);
    }
    ck_assert_uint_eq(stats->rx_short, 15);
    ck_assert_uint_eq(stats->rx_bad_sum, 1);
    sent_nothing();
}
END_TEST

/* ------------------------------------------------------------------------ ACKs
 */

START_TEST(acks_are_delayed_but_every_second_is_sent)
{
    open_plain();
    say(A, 0, 0, 1000);
    sent_nothing();
    run(30 * MS);
    sent_nothing();
    run(20 * MS); /* s3.8.6.3: less than 0.5 s */
    is(A, 0, 1000, 0);
    say(A, 1000, 0, 1000);
    sent_nothing();
    say(A, 2000, 0, 1000);
    is(A, 0, 3000, 0);
    run(1 * S);
    sent_nothing();
}
END_TEST

START_TEST(ack_rides_on_data_and_fin_on_the_last)
{
    open_plain();
    say(AP, 0, 0, 100);
    tcp_send_limit(&u.c, 300); /* as a server does in received */
    tcp_finish(&u.c);
    is(AP | TH_FIN, 0, 100, 300);
    run(100 * MS);
    sent_nothing();
    say(A, 100, 301, 0);
    ck_assert_uint_eq(u.acked, 300);
    ck_assert_uint_eq(u.c.t_rexmit, 0); /* RFC 6298 s5.2 */
    ck_assert_int_eq(u.c.state, TCP_FIN_WAIT_2);
    sent_nothing();
}
END_TEST

START_TEST(cork_and_nagle)
{
    open_plain();
    tcp_cork(&u.c, true);
    tcp_send_limit(&u.c, 1500);
    is(A, 0, 0, 1000);
    sent_nothing();
    tcp_cork(&u.c, false);
    is(AP, 1000, 0, 500);
    say(A, 0, 1500, 0);
    tcp_set_options(&u.c, TCP_NAGLE);
    tcp_send_limit(&u.c, 1510); /* nothing in flight: at once */
    is(AP, 1500, 0, 10);
    tcp_send_limit(&u.c, 1520);
    sent_nothing();
    say(A, 0, 1510, 0);
    is(AP, 1510, 0, 10);
    tcp_send_limit(&u.c, 1530);
    sent_nothing();
    tcp_finish(&u.c); /* the end does not wait */
    is(AP | TH_FIN, 1520, 0, 10);
}
END_TEST

/* ---------------------------------------------------------------- receiving */

START_TEST(out_of_order_is_held_and_reported)
{
    struct out *o;

    open_sack();
    say(A, 1000, 0, 500);
    o = sent();
    ck_assert_uint_eq(o->ack, PEER_ISN + 1);
    ck_assert_uint_eq(o->sacks, 1);
    ck_assert_uint_eq(o->sack[0].begin - PEER_ISN - 1, 1000);
    ck_assert_uint_eq(o->sack[0].end - PEER_ISN - 1, 1500);
    say(A, 3000, 0, 100);
    o = sent(); /* RFC 2018 s4: the latest first */
    ck_assert_uint_eq(o->sacks, 2);
    ck_assert_uint_eq(o->sack[0].begin - PEER_ISN - 1, 3000);
    ck_assert_uint_eq(o->sack[1].begin - PEER_ISN - 1, 1000);
    say(A, 1500, 0, 500); /* joins the first block */
    o = sent();
    ck_assert_uint_eq(o->sack[0].begin - PEER_ISN - 1, 1000);
    ck_assert_uint_eq(o->sack[0].end - PEER_ISN - 1, 2000);
    ck_assert_uint_eq(u.got, 0);
    say(A, 0, 0, 1000);
    o = sent(); /* a gap was filled: at once */
    ck_assert_uint_eq(o->ack - PEER_ISN - 1, 2000);
    ck_assert_uint_eq(o->sacks, 1);
    ck_assert_uint_eq(u.got, 2000);
    say(A, 2000, 0, 1000);
    o = sent();
    ck_assert_uint_eq(o->ack - PEER_ISN - 1, 3100);
    ck_assert_uint_eq(o->sacks, 0);
    ck_assert_uint_eq(u.got, 3100);
    ck_assert_ptr_null(u.c.ooo);
}
END_TEST

START_TEST(out_of_order_is_bounded)
{
    open_plain();
    for (uint32_t i = 0; i < 10; i++) { /* islands: one buffer each */
        say(A, 1000 + i * 1000, 0, 10);
    }
    ck_assert_uint_eq(u.c.ooo_count, 4);
    ck_assert_uint_eq(stats->tcp_ooo_dropped, 6);
    forget();
    say(A, 0, 0, 1000);
    ck_assert_uint_eq(u.got, 1010);
    ck_assert_uint_eq(u.c.ooo_count, 3);
}
END_TEST

START_TEST(overlaps_are_delivered_once)
{
    uint8_t d[3000];

    for (uint32_t i = 0; i < sizeof d; i++) {
        d[i] = (uint8_t)(i * 5 + (i >> 8));
    }
    open_plain();
    for (uint32_t round = 0; round < 200 && u.got < 3000; round++) {
        uint32_t at = fake_below(&net, 3000), n = fake_below(&net, 400);

        n = at + n > 3000 ? 3000 - at : n;
        at = round % 5 ? at : (uint32_t)u.got;
        n = at + n > 3000 ? 3000 - at : n;
        inject((struct in){.seq = PEER_ISN + 1 + at,
                           .ack = iss + 1,
                           .flags = A,
                           .wnd = 60000,
                           .data = d + at,
                           .len = n});
        forget();
    }
    ck_assert_uint_eq(u.got, 3000);
    ck_assert_mem_eq(u.data, d, 3000);
}
END_TEST

START_TEST(fin_waits_for_what_is_before_it)
{
    open_plain();
    say(AF, 100, 0, 50);
    is(A, 0, 0, 0);
    ck_assert(!u.finished);
    say(A, 0, 0, 100);
    ck_assert(u.finished);
    ck_assert_uint_eq(u.got, 150);
    is(A, 0, 151, 0);
    ck_assert_int_eq(u.c.state, TCP_CLOSE_WAIT);
    say(A, 151, 0, 10); /* beyond the end: never delivered */
    ck_assert_uint_eq(u.got, 150);
    say(AF, 100, 0, 50); /* again: acknowledged again */
    forget();
    tcp_finish(&u.c);
    is(AF, 0, 151, 0);
    say(A, 151, 1, 0);
    sent_nothing();
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_DONE);
    ck_assert_uint_eq(stats->tcp_time_wait, 0);
}
END_TEST

START_TEST(user_takes_less_than_it_got)
{
    open_plain();
    u.take = 300;
    say(A, 0, 0, 1000);
    is(A, 0, 300, 0);
    u.take = 5000;
    say(A, 300, 0, 700);
    ck_assert_uint_eq(u.got, 1000);
}
END_TEST

START_TEST(window_closes_and_opens_in_steps)
{
    struct out *o;

    open_plain();
    tcp_receive_window(&u.c, 0);
    for (uint32_t at = 0; at < 20000; at += 1000) {
        say(A, at, 0, 1000); /* it was promised once */
    }
    run(100 * MS);
    o = &outs[out_count - 1];
    ck_assert_uint_eq(u.got, 20000);
    ck_assert_uint_eq(o->wnd, 0);
    forget();
    say(A, 20000, 0, 1); /* a probe: acknowledged, not taken */
    is(A, 0, 20000, 0);
    ck_assert_uint_eq(u.got, 20000);
    tcp_receive_window(&u.c, 100); /* s3.8.6.2.2: not worth a word */
    sent_nothing();
    tcp_receive_window(&u.c, 5000);
    o = sent();
    ck_assert_uint_eq(o->wnd, 5000);
    tcp_receive_window(&u.c, 10); /* what was promised stays */
    say(A, 20000, 0, 1000);
    run(50 * MS);
    ck_assert_uint_eq(u.got, 21000);
    ck_assert_uint_eq(sent()->wnd, 4000);
}
END_TEST

START_TEST(urgent_is_told_and_in_line)
{
    open_plain();
    inject((struct in){.seq = PEER_ISN + 1,
                       .ack = iss + 1,
                       .flags = A | TH_URG,
                       .wnd = 60000,
                       .up = 60,
                       .len = 50});
    ck_assert_uint_eq(u.urgent, 60);
    ck_assert_uint_eq(u.got, 50);
    inject((struct in){.seq = PEER_ISN + 51,
                       .ack = iss + 1,
                       .flags = A | TH_URG,
                       .wnd = 60000,
                       .up = 5,
                       .len = 50});
    ck_assert_uint_eq(u.urgent, 60); /* does not go back */
    ck_assert_uint_eq(u.got, 100);
    forget();
    tcp_send_limit(&u.c, 100);
    tcp_send_urgent(&u.c, 20);
    run(0);
    ck_assert_uint_eq(outs[0].flags, AP | TH_URG);
    ck_assert_uint_eq(outs[0].up, 20);
}
END_TEST

/* ------------------------------------------------------------------- sending
 */

START_TEST(initial_window_is_ten_segments)
{
    open_plain();
    tcp_send_limit(&u.c, 100000);
    run(0);
    ck_assert_uint_eq(out_count, 11); /* with the SYN-ACK */
    /* Slow start: an ACK for two lets four more go. */
    say(A, 0, 2000, 0);
    run(0);
    ck_assert_uint_eq(out_count, 15);
}
END_TEST

START_TEST(congestion_avoidance_grows_by_a_segment_per_window)
{
    open_plain();
    u.c.ssthresh = 10000; /* where cwnd is */
    tcp_send_limit(&u.c, 100000);
    run(0);
    for (uint32_t at = 1000; at <= 9000; at += 1000) {
        say(A, 0, at, 0);
        forget();
    }
    ck_assert_uint_eq(u.c.cwnd, 10000);
    say(A, 0, 10000, 0);
    forget();
    ck_assert_uint_eq(u.c.cwnd, 11000);
    for (uint32_t at = 11000; at <= 20000; at += 1000) {
        say(A, 0, at, 0);
        forget();
    }
    ck_assert_uint_eq(u.c.cwnd, 11000);
    say(A, 0, 21000, 0);
    ck_assert_uint_eq(u.c.cwnd, 12000);
}
END_TEST

START_TEST(options_end_with_the_header)
{
    static const uint8_t more[4] = {0x01, 0x00, 0, 0}; /* MSS 256, in data */

    /* The last option says 4 bytes and has 2: no MSS was given. */
    inject((struct in){.seq = PEER_ISN,
                       .flags = TH_SYN,
                       .wnd = 60000,
                       .cut = true,
                       .data = more,
                       .len = 4});
    iss = sent()->seq;
    say(A, 0, 0, 0);
    ck_assert(u.open);
    ck_assert_uint_eq(u.c.mss_peer, 536);
}
END_TEST

START_TEST(peer_window_is_obeyed)
{
    open_plain();
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 2500});
    tcp_send_limit(&u.c, 10000);
    is(A, 0, 0, 1000);
    is(A, 1000, 0, 1000);
    /* s3.8.6.2.1: 500 more would be silly. */
    sent_nothing();
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1 + 2000, .flags = A, .wnd = 1500});
    is(A, 2000, 0, 1000);
    sent_nothing();
}
END_TEST

START_TEST(closed_window_is_probed)
{
    open_plain();
    inject(
        (struct in){.seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
    tcp_send_limit(&u.c, 5000);
    sent_nothing();
    run(2 * S);
    is(A, 0, 0, 1); /* one byte */
    forget();
    run(60 * S);
    ck_assert_uint_ge(out_count, 4);
    ck_assert_uint_le(out_count, 8); /* less and less often */
    ck_assert_uint_eq(stats->tcp_rto, 0);
    forget();
    /* For as long as the peer answers (MUST-37). */
    for (int i = 0; i < 20; i++) {
        run(60 * S);
        inject((struct in){
            .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
        forget();
    }
    ck_assert(!u.closed);
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 3000});
    is(A, 0, 0, 1000); /* the probe's byte was not taken: again from 0 */
    is(A, 1000, 0, 1000);
    is(A, 2000, 0, 1000);
    sent_nothing();
}
END_TEST

START_TEST(closed_window_and_no_answer_ends)
{
    open_plain();
    inject(
        (struct in){.seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
    tcp_send_limit(&u.c, 5000);
    run(400 * S);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_TIMEOUT);
}
END_TEST

START_TEST(timeout_backs_off_and_gives_up)
{
    open_plain();
    tcp_send_limit(&u.c, 3000);
    run(0);
    forget();
    run(150 * MS);
    sent_nothing();
    run(100 * MS); /* RTO: 200 ms at least */
    is(A, 0, 0, 1000);
    sent_nothing(); /* one segment: cwnd */
    run(450 * MS);
    is(A, 0, 0, 1000);
    sent_nothing();
    ck_assert_uint_eq(u.c.cwnd, 1000);
    ck_assert_uint_eq(u.c.ssthresh, 2000);
    say(A, 0, 1000, 0); /* the rest follows in slow start */
    is(A, 1000, 0, 1000);
    is(AP, 2000, 0, 1000);
    forget();
    run(100 * S);
    ck_assert(!u.closed); /* s3.8.3: R2 is at least 100 s */
    run(100 * S);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_TIMEOUT);
}
END_TEST

START_TEST(three_duplicates_and_newreno)
{
    open_plain();
    tcp_send_limit(&u.c, 20000);
    run(0);
    forget();
    say(A, 0, 0, 0);
    is(A, 10000, 0, 1000); /* RFC 3042: limited transmit */
    say(A, 0, 0, 0);
    is(A, 11000, 0, 1000);
    say(A, 0, 0, 0);
    is(A, 0, 0, 1000); /* the third: fast retransmit */
    ck_assert_uint_eq(u.c.ssthresh, 6000);
    sent_nothing();
    for (int i = 0; i < 4; i++) {
        say(A, 0, 0, 0); /* cwnd = 9000 + 4000 > flight of 12000 */
    }
    is(A, 12000, 0, 1000);
    sent_nothing();
    say(A, 0, 5000, 0); /* a partial ACK (RFC 6582): the next hole */
    is(A, 5000, 0, 1000);
    ck_assert_uint_eq(u.c.cwnd, 6000 + 7000 - 5000 + 1000);
    forget();
    say(A, 0, 12000, 0); /* everything of then */
    ck_assert_int_eq(u.c.ca_state, CA_OPEN);
    ck_assert_uint_le(u.c.cwnd, 6000);
}
END_TEST

START_TEST(duplicates_of_an_old_loss_are_not_a_new_one)
{
    open_plain();
    tcp_send_limit(&u.c, 5000);
    run(0);
    run(250 * MS);      /* a timeout: 0 is sent again */
    say(A, 0, 5000, 0); /* all had arrived */
    tcp_send_limit(&u.c, 15000);
    run(0);
    forget();
    for (int i = 0; i < 4; i++) {
        say(A, 0, 5000, 0); /* RFC 6582 s3.2 step 2: recover is not passed */
    }
    ck_assert_uint_eq(stats->tcp_fast_rexmit, 0);
}
END_TEST

START_TEST(round_trips_of_what_was_sent_twice_do_not_count)
{
    uint32_t srtt;

    open_plain();
    srtt = u.c.srtt_us;
    tcp_send_limit(&u.c, 1000);
    run(0);
    run(210 * MS);
    say(A, 0, 1000, 0);
    ck_assert_uint_eq(u.c.srtt_us, srtt); /* Karn, RFC 6298 s3 */
    tcp_send_limit(&u.c, 2000);
    run(0);
    run(8 * MS);
    say(A, 0, 2000, 0);
    ck_assert_uint_ge(u.c.srtt_us, srtt - srtt / 8 + 1000);
}
END_TEST

START_TEST(a_lost_segment_not_at_hand_is_sent_when_it_is)
{
    open_plain();
    tcp_send_limit(&u.c, 8000);
    run(0);
    forget();
    u.not_at_hand = true;
    for (int i = 0; i < 3; i++) {
        say(A, 0, 0, 0);
    }
    sent_nothing();
    u.not_at_hand = false;
    tcp_ready(&u.c);
    is(A, 0, 0, 1000);
    sent_nothing();
}
END_TEST

START_TEST(long_streams_outlive_sequence_numbers)
{
    uint64_t far = 3ull << 30; /* more than 2^31 */

    endless = true;
    open_plain();
    tcp_send_limit(&u.c, 2 * far);
    while (u.acked < far) {
        uint64_t sent_to;

        run(0);
        sent_to = u.c.una_off + (u.c.snd_nxt - u.c.snd_una);
        out_count = 0;
        out_next = 0;
        /* Skip ahead as if all had been sent and acknowledged: a window at a
           time would take too long. */
        u.c.snd_una = u.c.snd_nxt += 1u << 28;
        u.c.snd_max = u.c.snd_nxt;
        u.c.una_off = sent_to + (1u << 28);
        u.acked = u.c.una_off;
        say(A, 0, (uint32_t)u.c.una_off, 0);
        tcp_queue(&u.c);
        run(0);
        say(A, 0, (uint32_t)u.c.una_off + 1000, 0);
    }
    run(0);
    say(A, 0, u.c.snd_nxt - iss - 1, 0);
    run(0);
    forget();
    for (int i = 0; i < 3; i++) {
        say(A, 0, u.c.snd_una - iss - 1, 0);
    }
    ck_assert_int_eq(u.c.ca_state, CA_RECOVERY);
    endless = false;
}
END_TEST

START_TEST(a_new_station_is_followed)
{
    uint8_t f[60] = {0};
    static const uint8_t mac[6] = {2, 9, 9, 9, 9, 9};

    open_plain();
    memcpy(f, "\2\0\0\0\0\1\2\x9\x9\x9\x9\x9\10\6\0\1\10\0\6\4\0\1", 22);
    memcpy(f + 22, mac, 6);
    put_be32(f + 28, net_v4(10, 0, 0, 2).word[3]);
    put_be32(f + 38, net_v4(10, 0, 0, 1).word[3]);
    tcp_send_limit(&u.c, 10);
    run(0);
    ck_assert_mem_ne(last_to, mac, 6);
    net_input(host.stack, f, sizeof f, 0);
    tcp_send_limit(&u.c, 20);
    run(0);
    ck_assert_mem_eq(last_to, mac, 6);
}
END_TEST

START_TEST(acks_stay_inside_a_closed_window)
{
    struct out *o;

    open_plain();
    inject(
        (struct in){.seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
    tcp_send_limit(&u.c, 5000);
    run(2 * S);
    is(A, 0, 0, 1); /* the probe is out */
    forget();
    inject((struct in){.seq = PEER_ISN + 1,
                       .ack = iss + 1,
                       .flags = A,
                       .wnd = 0,
                       .len = 1000});
    run(50 * MS);
    is(A, 0, 1000, 0); /* not from 1, which the peer would drop */
    tcp_abort(&u.c);
    o = sent();
    ck_assert_uint_eq(o->seq, iss + 1);
    ck_assert_uint_eq(o->flags & TH_RST, TH_RST);
}
END_TEST

START_TEST(a_listener_counts_its_handshakes)
{
    listener.half_open = 1;
    for (uint16_t i = 0; i < 5; i++) {
        struct out *o;

        inject((struct in){
            .seq = 5, .flags = TH_SYN, .from = (uint16_t)(100 + i)});
        o = sent();
        inject((struct in){.seq = 6,
                           .ack = o->seq + 1,
                           .flags = TH_RST,
                           .from = (uint16_t)(100 + i)});
    }
    ck_assert_uint_eq(net_stats(host.stack)->tcp_cookies_sent, 0);
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 200});
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 201});
    ck_assert_uint_eq(net_stats(host.stack)->tcp_cookies_sent, 1);
    tcp_unlisten(&listener);
    ck_assert_uint_eq(listener.half_count, 0);
    forget();
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 202});
    ck_assert_uint_eq(sent()->flags, TH_RST | TH_ACK);
}
END_TEST

static void say_sack(uint32_t ack, uint32_t begin, uint32_t end)
{
    inject((struct in){.seq = PEER_ISN + 1,
                       .ack = iss + 1 + ack,
                       .flags = A,
                       .wnd = 60000,
                       .sacks = 1,
                       .sack = {{iss + 1 + begin, iss + 1 + end}}});
}

START_TEST(sack_repairs_holes_only)
{
    open_sack();
    tcp_send_limit(&u.c, 10000);
    run(0);
    forget();
    say_sack(0, 1000, 2000);
    sent_nothing();
    say_sack(0, 1000, 2000); /* nothing new: not a duplicate (RFC 6675 s2) */
    say_sack(0, 3000, 4000);
    sent_nothing();
    say_sack(0, 3000, 5000); /* more than two segments above 0 */
    is(A, 0, 0, 1000);
    ck_assert_int_eq(u.c.ca_state, CA_RECOVERY);
    ck_assert_uint_eq(u.c.ssthresh, 5000);
    sent_nothing();
    say_sack(0, 3000, 8000); /* pipe falls; the hole at 2000 is lost too */
    is(A, 2000, 0, 1000);
    is(AP, 9000, 0, 1000); /* NextSeg rule 4: the last one, once */
    sent_nothing();
    say_sack(0, 3000, 9000);
    sent_nothing();
    say(A, 0, 10000, 0);
    ck_assert_int_eq(u.c.ca_state, CA_OPEN);
    ck_assert_uint_eq(u.acked, 10000);
    ck_assert_uint_eq(u.c.sack_count, 0);
    ck_assert_uint_eq(stats->tcp_bytes_rexmit, 3000);
}
END_TEST

START_TEST(sack_nonsense_is_ignored)
{
    open_sack();
    tcp_send_limit(&u.c, 10000);
    run(0);
    forget();
    say_sack(0, 5000, 4000);
    say_sack(0, 9000, 20000); /* beyond what was sent */
    say_sack(0, (uint32_t)-5000, 3000);
    say_sack(0, 2000, 2000);
    sent_nothing();
    ck_assert_uint_eq(u.c.sack_count, 0);
    ck_assert_int_eq(u.c.ca_state, CA_OPEN);
}
END_TEST

START_TEST(data_not_at_hand_is_asked_for_later)
{
    open_plain();
    u.not_at_hand = true;
    tcp_send_limit(&u.c, 500);
    sent_nothing();
    run(5 * S);
    sent_nothing();
    u.not_at_hand = false;
    sent_nothing(); /* nobody said so */
    tcp_ready(&u.c);
    is(AP, 0, 0, 500);
}
END_TEST

START_TEST(idle_restarts_the_window)
{
    open_plain();
    tcp_send_limit(&u.c, 40000);
    run(0);
    for (uint32_t at = 2000; at <= 40000; at += 2000) {
        say(A, 0, at, 0);
        run(0);
    }
    ck_assert_uint_gt(u.c.cwnd, 20000);
    run(5 * S);
    forget();
    tcp_send_limit(&u.c, 100000);
    run(0);
    ck_assert_uint_eq(out_count, 10);
}
END_TEST

/* ------------------------------------------------------------- timestamps */

static void say_ts(uint32_t tsval, uint32_t seq, uint32_t len)
{
    inject((struct in){.seq = PEER_ISN + 1 + seq,
                       .ack = iss + 1,
                       .flags = A,
                       .wnd = 60000,
                       .len = len,
                       .ts = true,
                       .tsval = tsval});
}

START_TEST(paws_drops_old_segments)
{
    struct out *o;

    open_with((struct in){.mss = 1000, .ts = true, .tsval = 1000});
    say_ts(1010, 0, 100);
    say_ts(1010, 100, 100);
    o = sent();
    ck_assert(o->has_ts);
    ck_assert_uint_eq(o->tsecr, 1010);
    say_ts(1009, 200, 100); /* older: an ACK, not taken */
    o = sent();
    ck_assert_uint_eq(o->ack - PEER_ISN - 1, 200);
    ck_assert_uint_eq(u.got, 200);
    ck_assert_uint_eq(stats->tcp_paws, 1);
    /* RFC 7323 s3.2: once agreed, they must be there, except in resets. */
    say(A, 200, 0, 100);
    ck_assert_uint_eq(u.got, 200);
    sent_nothing();
    /* s4.3: an echo is of the segment at the left edge, not of a later one. */
    say_ts(1020, 300, 100);
    o = sent();
    ck_assert_uint_eq(o->tsecr, 1010);
    say_ts(1015, 200, 100);
    o = sent();
    ck_assert_uint_eq(o->ack - PEER_ISN - 1, 400);
    ck_assert_uint_eq(o->tsecr, 1015);
    say(TH_RST, 400, 0, 0);
    run(0);
    ck_assert(u.closed);
}
END_TEST

START_TEST(paws_forgets_after_24_days)
{
    open_with((struct in){.mss = 1000, .ts = true, .tsval = 1000});
    run(25ull * 86400 * S);
    forget();
    say_ts(900, 0, 100);
    ck_assert_uint_eq(u.got, 100);
}
END_TEST

/* --------------------------------------------------------- closing, TIME_WAIT
 */

static void close_first(void)
{
    tcp_finish(&u.c);
    is(AF, 0, 0, 0);
    say(A, 0, 1, 0);
    say(AF, 0, 1, 0);
    is(A, 1, 1, 0);
    ck_assert(u.closed && u.finished);
    ck_assert_int_eq(u.why, TCP_DONE);
    ck_assert_uint_eq(stats->tcp_time_wait, 1);
}

START_TEST(time_wait_rules)
{
    open_plain();
    close_first();
    say(AF, 0, 1, 0); /* our ACK was lost */
    is(A, 1, 1, 0);
    say(TH_RST, 1, 0, 0); /* RFC 1337 */
    say(TH_RST, 0, 0, 0);
    say(TH_RST, 7, 0, 0);
    say(A, 1, 1, 0);
    sent_nothing();
    say(A, 1, 1, 10);
    is(A, 1, 1, 0);
    say(TH_SYN, (uint32_t)-50, 0, 0); /* older: refused with an ACK */
    is(A, 1, 1, 0);
    u.closed = false;
    u.open = false;
    inject((struct in){.seq = PEER_ISN + 3, .flags = TH_SYN, .mss = 1000});
    ck_assert_uint_eq(sent()->flags, TH_SYN | TH_ACK); /* RFC 6191 */
    ck_assert_uint_eq(stats->tcp_tw_reused, 1);
    ck_assert(seq_lt(iss + 1, outs[out_next - 1].seq));
}
END_TEST

START_TEST(time_wait_ends)
{
    open_plain();
    close_first();
    run(59 * S);
    say(A, 1, 1, 10);
    is(A, 1, 1, 0);
    run(2 * S);
    forget();
    say(A, 1, 1, 10);
    ck_assert_uint_eq(sent()->flags, TH_RST);
}
END_TEST

START_TEST(a_repeated_fin_restarts_time_wait)
{
    open_plain();
    close_first();
    run(50 * S);
    say(AF, 0, 1, 0);
    is(A, 1, 1, 0);
    run(50 * S);
    say(A, 1, 1, 10);
    is(A, 1, 1, 0);
    run(15 * S);
    say(A, 1, 1, 10);
    ck_assert_uint_eq(sent()->flags, TH_RST);
}
END_TEST

START_TEST(both_close_at_once)
{
    open_plain();
    tcp_finish(&u.c);
    is(AF, 0, 0, 0);
    say(AF, 0, 0, 0); /* crossing: figure 13 */
    is(A, 1, 1, 0);
    ck_assert_int_eq(u.c.state, TCP_CLOSING);
    say(A, 1, 1, 0);
    run(0);
    ck_assert(u.closed);
    ck_assert_uint_eq(stats->tcp_time_wait, 1);
}
END_TEST

START_TEST(half_closed_peer_still_gets_data)
{
    open_plain();
    say(AF, 0, 0, 10);
    is(A, 0, 11, 0);
    tcp_send_limit(&u.c, 5000);
    for (uint32_t at = 0; at < 4000; at += 1000) {
        is(A, at, 11, 1000);
    }
    is(AP, 4000, 11, 1000);
    say(A, 11, 5000, 0);
    tcp_finish(&u.c);
    is(AF, 5000, 11, 0);
    run(1 * S); /* lost: again */
    is(AF, 5000, 11, 0);
    say(A, 11, 5001, 0);
    run(0);
    ck_assert(u.closed);
}
END_TEST

START_TEST(abort_resets)
{
    struct out *o;

    open_plain();
    say(A, 0, 0, 10);
    tcp_send_limit(&u.c, 500);
    run(0);
    forget();
    tcp_abort(&u.c);
    tcp_abort(&u.c);
    o = sent();
    ck_assert_uint_eq(o->flags & TH_RST, TH_RST);
    ck_assert_uint_eq(o->seq - iss - 1, 500);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_ABORTED);
    say(A, 10, 0, 10);
    ck_assert_uint_eq(sent()->flags, TH_RST);
}
END_TEST

START_TEST(fin_wait_2_does_not_last)
{
    open_plain();
    tcp_finish(&u.c);
    sent();
    say(A, 0, 1, 0);
    run(30 * S);
    say(A, 0, 1, 10); /* half closed: data is still taken */
    ck_assert_uint_eq(u.got, 10);
    run(40 * S);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_TIMEOUT);
}
END_TEST

START_TEST(keepalive_probes_and_gives_up)
{
    open_plain();
    tcp_set_options(&u.c, TCP_KEEPALIVE);
    run(7190 * S);
    sent_nothing(); /* s3.8.4: not before two hours */
    run(20 * S);
    is(A, (uint32_t)-1, 0, 0);
    say(A, 0, 0, 0); /* alive */
    run(7190 * S);
    sent_nothing();
    run(1000 * S);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_TIMEOUT);
    ck_assert_uint_eq(stats->tcp_keepalives, 10);
}
END_TEST

/* ---------------------------------------------------------------------- ICMP
 */

static void icmp(uint32_t code, uint32_t mtu, uint32_t seq, uint16_t sport)
{
    uint8_t f[100] = {0}, *m = f + 34, *q = m + 8;

    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\0", 14);
    f[14] = 0x45;
    put16(f + 16, 20 + 8 + 28);
    f[22] = 64;
    f[23] = IPPROTO_ICMP;
    put_be32(f + 26, net_v4(10, 0, 0, 9).word[3]);
    put_be32(f + 30, net_v4(10, 0, 0, 1).word[3]);
    put_be16(f + 24, (uint16_t)~net_sum(f + 14, 20));
    m[0] = 3;
    m[1] = (uint8_t)code;
    put16(m + 6, (uint16_t)mtu);
    q[0] = 0x45;
    q[9] = IPPROTO_TCP;
    put_be32(q + 12, net_v4(10, 0, 0, 1).word[3]);
    put_be32(q + 16, net_v4(10, 0, 0, 2).word[3]);
    put16(q + 20, sport);
    put16(q + 22, PEER_PORT);
    put32(q + 24, seq);
    put_be16(m + 2, (uint16_t)~net_sum(m, 36));
    net_input(host.stack, f, 34 + 36, 0);
}

START_TEST(path_mtu_is_taken_from_credible_routers)
{
    open_with((struct in){.mss = 1460});
    tcp_send_limit(&u.c, 3000);
    is(A, 0, 0, 1460);
    forget();
    icmp(4, 900, iss + 1 + 5000, PORT); /* RFC 5927: not in flight */
    icmp(4, 900, iss, PORT);
    icmp(4, 900, iss + 1, PORT + 5);
    icmp(4, 2000, iss + 1, PORT); /* larger than we send */
    sent_nothing();
    ck_assert_uint_eq(u.c.mss, 1460);
    ck_assert_uint_eq(stats->icmp_ignored, 3);
    icmp(4, 900, iss + 1, PORT);
    ck_assert_uint_eq(u.c.mss, 860);
    is(A, 0, 0, 860); /* at once, and without halving anything */
    is(A, 860, 0, 860);
    forget();
    say(A, 0, 3000, 0);
    /* Segments of 900 got through, so 600 is believed only after a timeout. */
    tcp_send_limit(&u.c, 6000);
    run(0);
    forget();
    icmp(4, 600, iss + 1 + 3000, PORT);
    sent_nothing();
    ck_assert_uint_eq(u.c.mss, 860);
    run(1 * S);
    ck_assert_uint_eq(u.c.mss, 560);
    ck_assert_uint_eq(sent()->len, 560);
}
END_TEST

START_TEST(hard_errors_are_soft_once_open)
{
    open_plain();
    tcp_send_limit(&u.c, 100);
    run(0);
    for (uint32_t code = 0; code < 16; code++) {
        if (code != 4) {
            icmp(code, 0, iss + 1, PORT);
        }
    }
    run(0);
    ck_assert(!u.closed);
}
END_TEST

START_TEST(hard_errors_end_a_call)
{
    call();
    icmp(1, 0, iss, PORT + 1);     /* host unreachable: soft */
    icmp(3, 0, iss + 1, PORT + 1); /* not our SYN */
    run(0);
    ck_assert(!u.closed);
    icmp(3, 0, iss, PORT + 1);
    run(0);
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_UNREACHABLE);
}
END_TEST

/* ---------------------------------------------------------------------- limits
 */

START_TEST(quiet_stacks_are_quiet)
{
    teardown();
    setup_with(4, NET_QUIET_TCP | NET_QUIET_ICMP | NET_QUIET_ARP);
    inject((struct in){.seq = 5, .flags = TH_SYN, .port = 81});
    inject((struct in){.seq = 5, .ack = 1, .flags = A});
    sent_nothing();
}
END_TEST

START_TEST(a_full_link_loses_nothing)
{
    open_plain();
    run(1 * MS); /* the link is done with the SYN-ACK */
    host.room = 3;
    tcp_send_limit(&u.c, 10000);
    run(0);
    ck_assert_uint_eq(out_count, 1 + 3);
    ck_assert(net_blocked(host.stack));
    run(1 * MS);
    ck_assert_uint_eq(out_count, 1 + 10);
    ck_assert(!net_blocked(host.stack));
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(outs[1 + i].seq - iss - 1, i * 1000);
    }
}
END_TEST

static void add_all(TCase *c)
{
    tcase_add_test(c, syn_options_are_answered);
    tcase_add_test(c, syn_ack_is_repeated_then_given_up);
    tcase_add_test(c, listen_rules);
    tcase_add_test(c, half_open_rules);
    tcase_add_test(c, no_memory_lets_the_peer_try_again);
    tcase_add_test(c, cookies_when_the_backlog_is_full);
    tcase_add_test(c, isns_differ_and_grow);
    tcase_add_test(c, syn_sent_rules);
    tcase_add_test(c, syn_is_refused);
    tcase_add_test(c, syn_is_repeated_for_three_minutes);
    tcase_add_test(c, both_call_at_once);
    tcase_add_test(c, both_call_and_only_syn_acks_cross);
    tcase_add_test(c, window_decides_what_is_acceptable);
    tcase_add_test(c, ack_bounds);
    tcase_add_test(c, resets_must_be_exact);
    tcase_add_test(c, syn_in_the_middle_is_challenged);
    tcase_add_test(c, bad_checksum_and_lengths);
    tcase_add_test(c, acks_are_delayed_but_every_second_is_sent);
    tcase_add_test(c, ack_rides_on_data_and_fin_on_the_last);
    tcase_add_test(c, cork_and_nagle);
    tcase_add_test(c, out_of_order_is_held_and_reported);
    tcase_add_test(c, out_of_order_is_bounded);
    tcase_add_test(c, overlaps_are_delivered_once);
    tcase_add_test(c, fin_waits_for_what_is_before_it);
    tcase_add_test(c, user_takes_less_than_it_got);
    tcase_add_test(c, window_closes_and_opens_in_steps);
    tcase_add_test(c, urgent_is_told_and_in_line);
    tcase_add_test(c, initial_window_is_ten_segments);
    tcase_add_test(c, congestion_avoidance_grows_by_a_segment_per_window);
    tcase_add_test(c, options_end_with_the_header);
    tcase_add_test(c, peer_window_is_obeyed);
    tcase_add_test(c, closed_window_is_probed);
    tcase_add_test(c, closed_window_and_no_answer_ends);
    tcase_add_test(c, timeout_backs_off_and_gives_up);
    tcase_add_test(c, three_duplicates_and_newreno);
    tcase_add_test(c, duplicates_of_an_old_loss_are_not_a_new_one);
    tcase_add_test(c, round_trips_of_what_was_sent_twice_do_not_count);
    tcase_add_test(c, a_lost_segment_not_at_hand_is_sent_when_it_is);
    tcase_add_test(c, long_streams_outlive_sequence_numbers);
    tcase_add_test(c, a_new_station_is_followed);
    tcase_add_test(c, acks_stay_inside_a_closed_window);
    tcase_add_test(c, a_listener_counts_its_handshakes);
    tcase_add_test(c, a_repeated_fin_restarts_time_wait);
    tcase_add_test(c, sack_repairs_holes_only);
    tcase_add_test(c, sack_nonsense_is_ignored);
    tcase_add_test(c, data_not_at_hand_is_asked_for_later);
    tcase_add_test(c, idle_restarts_the_window);
    tcase_add_test(c, paws_drops_old_segments);
    tcase_add_test(c, paws_forgets_after_24_days);
    tcase_add_test(c, time_wait_rules);
    tcase_add_test(c, time_wait_ends);
    tcase_add_test(c, both_close_at_once);
    tcase_add_test(c, half_closed_peer_still_gets_data);
    tcase_add_test(c, abort_resets);
    tcase_add_test(c, fin_wait_2_does_not_last);
    tcase_add_test(c, keepalive_probes_and_gives_up);
    tcase_add_test(c, path_mtu_is_taken_from_credible_routers);
    tcase_add_test(c, hard_errors_are_soft_once_open);
    tcase_add_test(c, hard_errors_end_a_call);
    tcase_add_test(c, quiet_stacks_are_quiet);
    tcase_add_test(c, a_full_link_loses_nothing);
}

int main(void)
{
    Suite *s = suite_create("net_rules");
    TCase *c = tcase_create("rules");
    SRunner *r;
    int failed;

    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    add_all(c);
    suite_add_tcase(s, c);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
