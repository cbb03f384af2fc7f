/* SPDX-License-Identifier: MIT */
#include "tests/unit/net/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_net net;
struct fake_host host; /* 10.0.0.1; the peer is 10.0.0.2 */

/* ------------------------------------------------------------- what was sent
 */

static bool arp_asked;
uint8_t last_to[6]; /* station the last segment went to */
struct out outs[OUTS_MAX];
uint32_t out_count, out_next;

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
    (void)h;
    if (get16(f + 12) != ETHERTYPE_IP) {
        arp_asked |= get16(f + 20) == ARP_REQUEST;
        return;
    }
    ck_assert_uint_lt(out_count++, OUTS_MAX);
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
    uint32_t hlen = (tcp[12] >> 4) * 4u;
    o->id = get16(f + 18);
    o->df = (get16(f + 20) & IP_DF) != 0;
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

void learn_peer(void)
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
void run(uint64_t ns)
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
struct out *sent(void)
{
    run(0);
    ck_assert_msg(out_next < out_count, "nothing was sent");
    return &outs[out_next++];
}

void sent_nothing(void)
{
    run(0);
    if (out_next < out_count) {
        const struct out *o = &outs[out_next];
        ck_abort_msg("sent flags %x seq %u ack %u len %u", o->flags, o->seq,
                     o->ack, o->len);
    }
}

void forget(void)
{
    run(0);
    out_next = out_count = 0;
}

/* -------------------------------------------------------------- what we say */

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

void inject(struct in m)
{
    static uint8_t f[4000];
    uint8_t *ip = f + 14, *tcp = f + 34;
    memset(f, 0, 100);
    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\0", 14);
    uint32_t opt = in_options(&m, tcp + 20);
    uint32_t len = 20 + opt + m.len;
    put16(tcp, m.from ? m.from : PEER_PORT);
    put16(tcp + 2, m.port ? m.port : PORT);
    put32(tcp + 4, m.seq);
    put32(tcp + 8, m.ack);
    tcp[12] = (uint8_t)((20 + opt) / 4 << 4);
    tcp[13] = (uint8_t)m.flags;
    put16(tcp + 14, (uint16_t)m.wnd);
    put16(tcp + 18, (uint16_t)m.up);
    memcpy(tcp + 20 + opt, m.data != NULL ? m.data : filler, m.len);
    ip[0] = 0x45;
    put16(ip + 2, (uint16_t)(20 + len));
    ip[8] = 64;
    ip[9] = IPPROTO_TCP;
    put_be32(ip + 12, m.ip ? to_be32(m.ip) : net_v4(10, 0, 0, 2).word[3]);
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

struct user u;

uint8_t stream[300000];
bool endless; /* of the stream, over and over */
struct tcp_listener listener;

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

const struct tcp_ops ops = {
    .accept = user_accept,
    .established = user_established,
    .gather = user_gather,
    .received = user_received,
    .finished = user_finished,
    .acked = user_acked,
    .urgent = user_urgent,
    .closed = user_closed,
};

void setup_with(uint32_t half_open, uint32_t flags)
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

void setup(void)
{
    for (uint32_t i = 0; i < sizeof stream; i++) {
        stream[i] = (uint8_t)(i * 13 + (i >> 8));
    }
    setup_with(4, 0);
}

void teardown(void)
{
    fake_net_finish(&net);
    fake_host_finish(&host);
}

/* ---------------------------------------------------------- common openings */

uint32_t iss; /* of the stack */
const struct net_stats *stats;

/* A handshake from the peer; afterwards iss + 1 is the first byte of ours and
   PEER_ISN + 1 of theirs. */
void open_with(struct in syn)
{
    struct in ack = {.seq = PEER_ISN + 1,
                     .flags = TH_ACK,
                     .wnd = 60000,
                     .ts = syn.ts,
                     .tsval = syn.tsval};
    syn.seq = PEER_ISN;
    syn.flags = TH_SYN;
    syn.wnd = 60000;
    inject(syn);
    struct out *o = sent();
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

void open_plain(void)
{
    open_with((struct in){.mss = 1000});
}

void open_sack(void)
{
    open_with((struct in){.mss = 1000, .sack_ok = true});
}

void say(uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
    inject((struct in){.seq = PEER_ISN + 1 + seq,
                       .ack = iss + 1 + ack,
                       .flags = flags,
                       .wnd = 60000,
                       .len = len});
}

void is(uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len)
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

void call(void)
{
    struct net_endpoint to = {net_v4(10, 0, 0, 2), PEER_PORT};
    ck_assert_int_eq(tcp_connect(host.stack, &u.c, &ops, &to, PORT + 1), 0);
    ck_assert_int_eq(
        tcp_connect(host.stack, &(struct tcp_conn){0}, &ops, &to, PORT + 1),
        -NET_E_USED);
    struct out *o = sent();
    ck_assert_uint_eq(o->flags, TH_SYN);
    ck_assert_uint_eq(o->mss, 1460);
    ck_assert(o->sack_ok && o->has_ts && o->scale >= 0);
    iss = o->seq;
    stats = net_stats(host.stack);
}

int peer_tests(const char *name, void (*add)(TCase *c))
{
    Suite *s = suite_create(name);
    TCase *c = tcase_create("rules");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    add(c);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
