/* SPDX-License-Identifier: MIT */
/*
 * What is taken of a segment, and when it is acknowledged.
 * Section numbers are of RFC 9293 unless another RFC is named.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/peer.h"

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
    open_sack();
    say(A, 1000, 0, 500);
    struct out *o = sent();
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

/* RFC 2018 s4: the blocks that were reported last are repeated, however many
   segments one of them grows by. */
START_TEST(old_blocks_are_reported_again)
{
    struct out *o = NULL;
    open_sack();
    say(A, 1000, 0, 100);
    sent();
    say(A, 3000, 0, 100);
    sent();
    for (uint32_t i = 0; i < 6; i++) {
        say(A, 5000 + 100 * (i % 5), 0, 100); /* the last one is had already */
        o = sent();
    }
    ck_assert_uint_eq(o->sacks, 3);
    ck_assert_uint_eq(o->sack[0].begin - PEER_ISN - 1, 5000);
    ck_assert_uint_eq(o->sack[0].end - PEER_ISN - 1, 5500);
    ck_assert_uint_eq(o->sack[1].begin - PEER_ISN - 1, 3000);
    ck_assert_uint_eq(o->sack[2].begin - PEER_ISN - 1, 1000);
    /* What there is no room to keep pushes nothing out. */
    for (uint32_t i = 0; i < 6; i++) {
        say(A, 8000 + 1000 * i, 0, 10);
        o = sent();
    }
    ck_assert_uint_eq(o->sacks, 4);
    ck_assert_uint_eq(o->sack[0].begin - PEER_ISN - 1, 8000);
    ck_assert_uint_eq(o->sack[1].begin - PEER_ISN - 1, 5000);
    ck_assert_uint_eq(o->sack[2].begin - PEER_ISN - 1, 3000);
    ck_assert_uint_eq(o->sack[3].begin - PEER_ISN - 1, 1000);
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

/* Strangers who leave gaps open for ever, each with a connection. */
static struct tcp_conn many[60];
static uint32_t many_count;

static struct tcp_conn *many_accept(struct tcp_listener *l,
                                    const struct net_endpoint *peer)
{
    (void)l;
    (void)peer;
    return &many[many_count++];
}

static uint32_t many_gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                            struct tcp_gather *g)
{
    (void)c;
    (void)offset;
    (void)len;
    (void)g;
    return 0;
}

/* One more of them, who sends `count` segments with gaps between. */
static struct tcp_conn *leave_gaps(uint32_t count)
{
    struct in m = {.port = 90,
                   .from = (uint16_t)(2000 + many_count),
                   .seq = PEER_ISN,
                   .flags = TH_SYN,
                   .wnd = 60000};

    inject(m);
    m.ack = sent()->seq + 1;
    m.flags = A;
    m.seq = PEER_ISN + 1;
    inject(m);
    m.len = 1000;
    for (uint32_t i = 1; i <= count; i++) {
        m.seq = PEER_ISN + 1 + 2000 * i;
        inject(m);
    }
    forget();
    return &many[many_count - 1];
}

START_TEST(gaps_leave_buffers_to_send_from)
{
    static const struct tcp_ops many_ops = {.accept = many_accept,
                                            .gather = many_gather};
    struct tcp_listener l = {.ops = &many_ops, .port = 90, .window = 20000};
    struct udp_port p = {.port = 9000};
    struct net_endpoint to = {net_v4(10, 0, 0, 2), 9};
    static const uint8_t datagram[1000];

    many_count = 0;
    memset(many, 0, sizeof many);
    ck_assert_int_eq(tcp_listen(host.stack, &l), 0);
    ck_assert_int_eq(udp_bind(host.stack, &p), 0);
    for (int i = 0; i < 40; i++) {
        ck_assert_uint_le(leave_gaps(8)->ooo_count, 4);
    }
    /* The stack still sends what does not fit into a header. */
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(udp_send_copy(&p, &to, datagram, sizeof datagram), 0);
    }
    /* What they hold comes back. */
    for (uint32_t i = 0; i < many_count; i++) {
        tcp_abort(&many[i]);
    }
    forget();
    ck_assert_uint_eq(host.stack->ooo_bufs, 0);
    ck_assert_uint_eq(leave_gaps(8)->ooo_count, 4);
    tcp_abort(&many[many_count - 1]);
    forget();
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
    open_plain();
    tcp_receive_window(&u.c, 0);
    for (uint32_t at = 0; at < 20000; at += 1000) {
        say(A, at, 0, 1000); /* it was promised once */
    }
    run(100 * MS);
    struct out *o = &outs[out_count - 1];
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

/* An urgent pointer of 2^31 bytes ago is not ahead. */
START_TEST(urgent_is_told_again_after_long)
{
    struct in urgent = {.seq = PEER_ISN + 1,
                        .flags = A | TH_URG,
                        .wnd = 60000,
                        .up = 10,
                        .len = 10};
    open_plain();
    urgent.ack = iss + 1;
    inject(urgent);
    ck_assert_uint_eq(u.urgent, 10);
    /* As if so much had come meanwhile. */
    u.c.rcv_nxt += 0x80000000u;
    u.c.rcv_adv += 0x80000000u;
    u.c.rcv_off += 0x80000000u;
    urgent.seq = u.c.rcv_nxt;
    inject(urgent);
    ck_assert_uint_eq(u.urgent, 0x80000000ull + 20);
}
END_TEST

static void add_all(TCase *c)
{
    tcase_add_test(c, window_decides_what_is_acceptable);
    tcase_add_test(c, ack_bounds);
    tcase_add_test(c, resets_must_be_exact);
    tcase_add_test(c, syn_in_the_middle_is_challenged);
    tcase_add_test(c, bad_checksum_and_lengths);
    tcase_add_test(c, acks_are_delayed_but_every_second_is_sent);
    tcase_add_test(c, ack_rides_on_data_and_fin_on_the_last);
    tcase_add_test(c, cork_and_nagle);
    tcase_add_test(c, out_of_order_is_held_and_reported);
    tcase_add_test(c, old_blocks_are_reported_again);
    tcase_add_test(c, out_of_order_is_bounded);
    tcase_add_test(c, gaps_leave_buffers_to_send_from);
    tcase_add_test(c, overlaps_are_delivered_once);
    tcase_add_test(c, fin_waits_for_what_is_before_it);
    tcase_add_test(c, user_takes_less_than_it_got);
    tcase_add_test(c, window_closes_and_opens_in_steps);
    tcase_add_test(c, urgent_is_told_and_in_line);
    tcase_add_test(c, urgent_is_told_again_after_long);
}

int main(void)
{
    return peer_tests("net_recv", add_all);
}
