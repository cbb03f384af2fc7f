/* SPDX-License-Identifier: MIT */
/*
 * A peer that says whatever it likes, as long as it does not contradict what
 * the stack has promised: it acknowledges late, early, in parts, selectively
 * and twice, opens, closes and shrinks its window, sends its stream in pieces
 * of any order, and asks for segments of any size. In between the user does the
 * same on the other side. What the stack says meanwhile must fit into the
 * windows and be the stream; and when the peer turns honest, everything that
 * either side has must arrive and the connection must end.
 *
 * NET_SEED=n repeats one run; NET_ROUNDS=n sets how many are tried.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/peer.h"

#define OURS 120000u /* bytes of the stack's stream, at most */
#define THEIRS 9000u /* of the peer's */
#define ACTS 300u
#define HONEST_NS (400 * S)

/* What the peer knows, in offsets from the first byte. */
static struct {
    bool has[OURS + 1];       /* bytes of the stack's stream, and its FIN */
    bool gave[THEIRS + 1];    /* of the peer's own, sent at least once */
    uint32_t acked;           /* told the stack */
    uint32_t edge;            /* the furthest that a window ever reached */
    uint32_t wnd, scale;      /* the window now, in bytes; its shift */
    uint32_t total;           /* of the peer's stream */
    uint32_t said;            /* all below was given */
    uint32_t taken, promised; /* what the stack acknowledged, its edge */
    uint32_t stack_scale, mss, fin_at;
    bool ts, sack, fin, fin_said, reset;
    uint32_t tsval, tsecr, limit;
} p;

static uint8_t theirs[THEIRS];

static uint32_t below(uint32_t n)
{
    return fake_below(&net, n);
}

static bool chance(uint32_t of_1000)
{
    return fake_chance(&net, of_1000);
}

/* ------------------------------------------------------- what the stack says
 */

static void look_at_data(const struct out *o)
{
    uint32_t at = o->seq - iss - 1, end = at + o->len;
    /* A probe of a closed window is one byte. */
    uint32_t most = p.edge > p.acked ? p.edge : p.acked + 1;

    ck_assert_uint_le(o->len, p.mss);
    ck_assert_msg(end <= most || (o->len == 1 && at <= p.edge),
                  "bytes up to %u, window up to %u", end, p.edge);
    ck_assert_uint_le(end, p.limit);
    ck_assert_mem_eq(o->data, stream + at, o->len);
    for (uint32_t i = at; i < end; i++) {
        p.has[i] = true;
    }
    if (o->flags & TH_FIN) {
        ck_assert(!p.fin || p.fin_at == end);
        ck_assert_uint_eq(end, p.limit);
        p.fin = p.has[end] = true;
        p.fin_at = end;
    }
}

static void look(void)
{
    run(0);
    while (out_next < out_count) {
        const struct out *o = &outs[out_next++];
        uint32_t ack = o->ack - PEER_ISN - 1;

        ck_assert_msg(!(o->flags & (TH_RST | TH_SYN)), "flags %x", o->flags);
        ck_assert(o->has_ts == p.ts);
        if (p.ts) {
            ck_assert(!seq_lt(o->tsval, p.tsecr));
            p.tsecr = o->tsval;
        }
        ck_assert_uint_le(ack, p.said + p.fin_said);
        ck_assert_uint_ge(ack, p.taken);
        p.taken = ack;
        ck_assert_msg(ack + (o->wnd << p.stack_scale) >= p.promised,
                      "the window shrank");
        p.promised = ack + (o->wnd << p.stack_scale);
        if (o->len || o->flags & TH_FIN) {
            look_at_data(o);
        }
    }
    out_next = out_count = 0;
}

/* -------------------------------------------------------- what the peer says
 */

static uint32_t held(void)
{
    uint32_t n = p.acked;

    while (n <= OURS && p.has[n]) {
        n++;
    }
    return n;
}

/* To a connection that has not ended. */
static void give(struct in m)
{
    if (!u.closed && !(u.c.flags & CF_DEAD) && chance(200)) {
        net.now_ns += below(700) * MS; /* timers fire in the segment's turn */
    } else {
        run(0);
    }
    if (!u.closed) {
        inject(m);
    }
}

static void put(struct in m)
{
    uint32_t wnd = p.wnd >> p.scale;

    m.wnd = wnd < 65535 ? wnd : 65535;
    if (m.ack - iss - 1 + (m.wnd << p.scale) > p.edge) {
        p.edge = m.ack - iss - 1 + (m.wnd << p.scale);
    }
    m.ts = p.ts;
    m.tsval = p.tsval += below(3);
    m.tsecr = p.tsecr;
    give(m);
    if (chance(700)) {
        look();
    }
}

static void put_ack(uint32_t upto, uint32_t sacks)
{
    struct in m = {.seq = PEER_ISN + 1 + p.said + p.fin_said, .flags = TH_ACK};

    p.acked = upto;
    m.ack = iss + 1 + upto;
    for (uint32_t at = upto; p.sack && m.sacks < sacks && at < OURS; at++) {
        uint32_t begin = at + below(3000);

        while (begin < OURS && !p.has[begin]) {
            begin++;
        }
        for (at = begin; at < OURS && p.has[at]; at++) {
        }
        if (begin < at && begin > upto) {
            m.sack[m.sacks++] =
                (struct tcp_range){iss + 1 + begin, iss + 1 + at};
        }
    }
    put(m);
}

/* Up to `len` bytes of the peer's stream, wherever they lie. */
static void put_data(uint32_t at, uint32_t len, bool may_finish)
{
    struct in m = {.seq = PEER_ISN + 1 + at,
                   .ack = iss + 1 + p.acked,
                   .flags = TH_ACK | (chance(300) ? TH_PSH : 0)};

    len = len < p.total - at ? len : p.total - at;
    m.data = theirs + at;
    m.len = len;
    memset(p.gave + at, true, len);
    while (p.gave[p.said]) {
        p.said++;
    }
    if (may_finish && at + len == p.total && p.said == p.total) {
        m.flags |= TH_FIN;
        p.fin_said = true;
    }
    put(m);
}

static void peer_acts(void)
{
    uint32_t n = held();

    switch (below(9)) {
    case 0:
    case 1:
        put_ack(n, chance(500) ? 3 : 0);
        break;
    case 2: /* a part, cut anywhere */
        put_ack(p.acked + below(n - p.acked + 1), below(4));
        break;
    case 3: /* again and again */
        for (uint32_t i = below(6); i; i--) {
            put_ack(p.acked, below(4));
        }
        break;
    case 4:
        p.wnd = chance(300)   ? 0
                : chance(200) ? p.mss - below(40)
                : chance(300) ? below(p.mss + 2)
                              : below(p.scale ? 400000 : 65536);
        put_ack(p.acked, 0);
        break;
    case 5: /* in order */
        put_data(p.said, 1 + below(1460), chance(200));
        break;
    case 6: /* beyond a gap, or again */
        put_data(below(p.total + 1), 1 + below(1460), false);
        break;
    case 7: /* acknowledges what is not sent yet */
        give((struct in){.seq = PEER_ISN + 1 + p.said + p.fin_said,
                         .ack = iss + 1 + p.limit + 2 + below(1u << 30),
                         .flags = TH_ACK,
                         .wnd = 1000,
                         .ts = p.ts,
                         .tsval = p.tsval,
                         .tsecr = p.tsecr});
        look();
        break;
    default:
        run(chance(500) ? below(40) * MS : below(20) * S / 4);
        look();
        break;
    }
}

static void user_acts(void)
{
    if (u.closed) {
        return;
    }
    switch (below(8)) {
    case 0:
    case 1:
        if (!(u.c.flags & CF_FIN) && p.limit < OURS) {
            uint32_t more = below(chance(500) ? 200 : 20000);

            p.limit = p.limit + more < OURS ? p.limit + more : OURS;
            tcp_send_limit(&u.c, p.limit);
        }
        break;
    case 2:
        u.take = chance(300) ? below(2000) : UINT32_MAX;
        break;
    case 3:
        tcp_receive_window(&u.c, chance(200) ? 0 : below(30000));
        break;
    case 4:
        tcp_cork(&u.c, chance(300));
        break;
    case 5:
        u.not_at_hand = chance(300);
        if (!u.not_at_hand) {
            tcp_ready(&u.c);
        }
        break;
    case 6:
        tcp_set_options(&u.c, (uint16_t)(chance(300) ? TCP_NAGLE : 0));
        break;
    default:
        if (chance(30)) {
            tcp_finish(&u.c);
        }
        break;
    }
    look();
}

/* ------------------------------------------------------------------ the ends
 */

static void begin(void)
{
    static const uint16_t sizes[] = {0,   1,   87,   88,   89,   100,  536,
                                     537, 999, 1459, 1460, 1461, 9000, 65535};
    struct in syn = {.mss = sizes[below(14)],
                     .ts = chance(500),
                     .tsval = (uint32_t)fake_random(&net),
                     .sack_ok = chance(500),
                     .scale_ok = chance(500),
                     .scale = below(16)};
    uint32_t mss = syn.mss == 0 ? 536 : syn.mss < 88 ? 88 : syn.mss;

    memset(&p, 0, sizeof p);
    open_with(syn);
    p.ts = syn.ts;
    p.tsval = syn.tsval;
    p.sack = syn.sack_ok;
    p.scale = !syn.scale_ok ? 0 : syn.scale > 14 ? 14 : syn.scale;
    p.mss = (mss < 1460 ? mss : 1460) - (p.ts ? 12 : 0);
    p.wnd = 60000u << p.scale; /* as the handshake had it */
    p.edge = p.wnd;
    p.total = below(THEIRS);
    p.tsecr = 0;
    if (p.ts) {
        p.tsecr = (uint32_t)(net.now_ns / MS) + u.c.ts_offset;
    }
}

/* The peer takes what comes, says what it has and finishes; so does the
   user. */
static void turn_honest(void)
{
    uint64_t end = net.now_ns + HONEST_NS;

    u.take = UINT32_MAX;
    u.not_at_hand = false;
    tcp_cork(&u.c, false);
    tcp_ready(&u.c);
    tcp_receive_window(&u.c, 20000);
    tcp_finish(&u.c);
    p.wnd = 60000;
    look();
    while (!u.closed && net.now_ns < end) {
        put_ack(held(), 3);
        if (p.taken < p.total + 1 && p.promised > p.taken) {
            put_data(p.taken < p.total ? p.taken : p.total, 1460, true);
        }
        run(50 * MS);
        look();
    }
    ck_assert_msg(u.closed, "state %u, acked %u of %u, took %u of %u",
                  u.c.state, p.acked, p.limit, (uint32_t)u.got, p.total);
    ck_assert_int_eq(u.why, TCP_DONE);
    ck_assert_uint_eq(u.got, p.total);
    ck_assert_mem_eq(u.data, theirs, p.total);
    ck_assert_uint_eq(u.acked, p.limit);
    ck_assert(u.finished && p.fin);
}

static void one_run(uint64_t seed)
{
    fprintf(stderr, "# NET_SEED=%llu\n", (unsigned long long)seed);
    teardown();
    setup();
    net.seed = seed;
    begin();
    for (uint32_t i = 0; i < ACTS && !u.closed; i++) {
        if (chance(700)) {
            peer_acts();
        } else {
            user_acts();
        }
    }
    if (!u.closed) {
        turn_honest();
    }
}

START_TEST(a_liar_cannot_confuse_the_stack)
{
    const char *seed = getenv("NET_SEED"), *rounds = getenv("NET_ROUNDS");
    uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
    uint64_t count = seed ? 1 : rounds ? strtoull(rounds, NULL, 10) : 50;

    for (uint32_t i = 0; i < THEIRS; i++) {
        theirs[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    for (uint64_t i = 0; i < count; i++) {
        one_run(first + i);
    }
}
END_TEST

static void add_tests(TCase *c)
{
    tcase_add_test(c, a_liar_cannot_confuse_the_stack);
}

int main(void)
{
    return peer_tests("net_liar", add_tests);
}
