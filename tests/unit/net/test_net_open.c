/* SPDX-License-Identifier: MIT */
/*
 * How connections begin: passive, active, crossing; backlog and cookies.
 * Section numbers are of RFC 9293 unless another RFC is named.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/peer.h"

/* --------------------------------------------------------------- the opening
 */

START_TEST(syn_options_are_answered)
{
    inject((struct in){.seq = 5,
                       .flags = TH_SYN,
                       .wnd = 60000,
                       .mss = 1200,
                       .sack_ok = true,
                       .scale_ok = true,
                       .scale = 7,
                       .ts = true,
                       .tsval = 4711});
    struct out *o = sent();
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

/* RFC 7323 s4.3: or the peer measures a round trip from its first, lost SYN. */
START_TEST(a_repeated_syn_has_its_own_timestamp_echoed)
{
    struct in syn = {.seq = 5, .flags = TH_SYN, .ts = true, .tsval = 100};
    inject(syn);
    ck_assert_uint_eq(sent()->tsecr, 100);
    syn.tsval = 1100;
    inject(syn);
    ck_assert_uint_eq(sent()->tsecr, 1100);
    syn.tsval = 600; /* overtaken on its way */
    inject(syn);
    ck_assert_uint_eq(sent()->tsecr, 1100);
    syn.ts = false;
    inject(syn);
    ck_assert_uint_eq(sent()->tsecr, 1100);
}
END_TEST

/* RFC 6298 s3: nor do we measure one from a SYN-ACK that was sent twice. */
START_TEST(a_repeated_syn_ack_is_not_timed)
{
    inject((struct in){.seq = PEER_ISN, .flags = TH_SYN, .mss = 1000});
    iss = sent()->seq;
    run(900 * MS);
    inject((struct in){.seq = PEER_ISN, .flags = TH_SYN, .mss = 1000});
    sent();
    say(A, 0, 0, 0);
    ck_assert(u.open);
    ck_assert_uint_eq(u.c.srtt_us, 0);
}
END_TEST

START_TEST(listen_rules)
{
    inject((struct in){.seq = 5, .flags = TH_RST});
    sent_nothing();
    inject((struct in){.seq = 5, .ack = 9, .flags = A, .len = 3});
    struct out *o = sent(); /* s3.10.7.2: <SEQ=SEG.ACK><CTL=RST> */
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

/* Senders that do not exist get a number of answers and no more; a peer that
   completed a handshake is not among them. */
START_TEST(syn_acks_that_nothing_answers_are_limited)
{
    struct in syn = {.flags = TH_SYN, .mss = 1000};
    open_plain();
    stats = net_stats(host.stack);
    for (uint32_t i = 0; i < 9000; i++) {
        syn.ip = 0xac100000 + i;
        inject(syn);
    }
    uint64_t limited = stats->tcp_syn_limited;
    ck_assert_uint_eq(limited, 5000);
    inject((struct in){.flags = TH_SYN, .mss = 1000, .from = 99});
    ck_assert_uint_eq(sent()->flags, TH_SYN | TH_ACK);
    run(1 * S);
    for (uint32_t i = 0; i < 1500; i++) {
        syn.ip = 0xac200000 + i;
        inject(syn);
    }
    ck_assert_uint_ge(stats->tcp_syn_limited, limited + 490);
    ck_assert_uint_le(stats->tcp_syn_limited, limited + 500);
}
END_TEST

/* A reset would end a connection that another stack has; but who calls a port
   that is not bound yet is refused at once. */
START_TEST(ports_of_other_stacks_are_left_alone)
{
    struct net_away away = {.proto = IPPROTO_TCP, .port = 81};
    stats = net_stats(host.stack);
    net_away_add(host.stack, &away);
    inject((struct in){.seq = 5, .ack = 9, .flags = A, .port = 81, .len = 3});
    sent_nothing();
    inject((struct in){.seq = 5, .ack = 9, .flags = A | TH_SYN, .port = 81});
    sent_nothing();
    ck_assert_uint_eq(stats->rx_away, 2);
    inject((struct in){.seq = 5, .flags = TH_SYN, .port = 81});
    ck_assert_uint_eq(sent()->flags, TH_RST | TH_ACK);
    inject((struct in){.seq = 5, .ack = 9, .flags = A, .port = 82, .len = 3});
    ck_assert_uint_eq(sent()->flags, TH_RST);
    net_away_remove(host.stack, &away);
    inject((struct in){.seq = 5, .ack = 9, .flags = A, .port = 81, .len = 3});
    ck_assert_uint_eq(sent()->flags, TH_RST);
}
END_TEST

/* s3.10.7.4: what is outside of RCV.NXT =< SEG.SEQ < RCV.NXT + RCV.WND. */
START_TEST(half_open_window_has_two_edges)
{
    inject((struct in){.seq = 0, .flags = TH_SYN, .mss = 1000});
    iss = sent()->seq;
    /* A reset on the left of the window is dropped; on its last byte it is
       challenged; beyond it is dropped (RFC 5961 s3.2). */
    inject((struct in){.seq = 0, .ack = 0, .flags = A | TH_RST});
    sent_nothing();
    inject((struct in){.seq = 20000, .flags = TH_RST});
    ck_assert_uint_eq(sent()->flags, A);
    inject((struct in){.seq = 20001, .flags = TH_RST});
    sent_nothing();
    /* The same edges for what may complete the handshake. */
    inject((struct in){.seq = 20001, .ack = iss + 1, .flags = A});
    ck_assert_uint_eq(sent()->flags, A);
    ck_assert(!u.open);
    inject((struct in){.seq = 0, .ack = iss + 1, .flags = A});
    ck_assert_uint_eq(sent()->flags, A);
    ck_assert(!u.open);
    inject((struct in){.seq = 20000, .ack = iss + 1, .flags = A});
    ck_assert(u.open);
}
END_TEST

START_TEST(half_open_rules)
{
    inject((struct in){.seq = 5, .flags = TH_SYN, .mss = 1000});
    iss = sent()->seq;
    /* A wrong ACK is refused and changes nothing. */
    inject((struct in){.seq = 6, .ack = iss + 2, .flags = A});
    struct out *o = sent();
    ck_assert_uint_eq(o->flags, TH_RST);
    ck_assert_uint_eq(o->seq, iss + 2);
    /* s3.10.7.4: its place is judged first: an ACK, no reset. */
    inject((struct in){.seq = 500000, .ack = iss + 2, .flags = A});
    o = sent();
    ck_assert_uint_eq(o->flags, A);
    ck_assert_uint_eq(o->ack, 6);
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

/* RFC 7323 s2.2: only in a SYN the window is as it is. */
START_TEST(a_challenge_scales_the_window)
{
    listener.window = 300000;
    inject(
        (struct in){.seq = 5, .flags = TH_SYN, .mss = 1000, .scale_ok = true});
    struct out *o = sent();
    ck_assert_int_eq(o->scale, 3);
    ck_assert_uint_eq(o->wnd, 65535);
    inject((struct in){.seq = 900, .flags = TH_SYN});
    o = sent();
    ck_assert_uint_eq(o->flags, A);
    ck_assert_uint_eq(o->wnd, 65535 >> 3);
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
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 1});
    uint32_t a = sent()->seq;
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 2});
    ck_assert_uint_ne(a >> 16, sent()->seq >> 16);
    inject((struct in){.seq = 6, .flags = TH_RST, .from = 1});
    run(1 * S);
    forget();
    inject((struct in){.seq = 5, .flags = TH_SYN, .from = 1});
    uint32_t b = sent()->seq;
    /* RFC 6528: the clock runs at about 250 kHz for one pair of addresses. */
    ck_assert_uint_ge(b - a, 200000);
    ck_assert_uint_le(b - a, 300000);
}
END_TEST

/* ------------------------------------------------------------- active opening
 */

static struct in reply(uint32_t flags, uint32_t seq, uint32_t ack)
{
    return (struct in){
        .seq = seq, .ack = ack, .flags = flags, .wnd = 60000, .port = PORT + 1};
}

START_TEST(syn_sent_rules)
{
    call();
    /* s3.10.7.3: unacceptable ACK: a reset, unless it is one. */
    inject(reply(A, 50, iss));
    struct out *o = sent();
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
    call();
    inject(reply(TH_SYN, PEER_ISN, 0));
    struct out *o = sent(); /* figure 8 */
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

/* s3.10.7.4 with RFC 5961 before the opening is complete. */
START_TEST(challenges_while_both_call)
{
    call();
    inject(reply(TH_SYN, PEER_ISN, 0));
    sent();
    inject(reply(TH_RST, PEER_ISN + 2, 0));
    struct out *o = sent();
    ck_assert_uint_eq(o->flags, A);
    ck_assert_uint_eq(o->seq, iss + 1);
    ck_assert_uint_eq(o->ack, PEER_ISN + 1);
    run(500 * MS); /* not yet our timer */
    inject(reply(A, PEER_ISN + 100000, iss + 1));
    o = sent();
    ck_assert_uint_eq(o->flags, A);
    ck_assert_uint_eq(o->ack, PEER_ISN + 1);
    /* A SYN-ACK may repeat the SYN; a reset there is no reset. */
    inject(reply(TH_SYN | A | TH_RST, PEER_ISN, iss + 1));
    sent_nothing();
    ck_assert(!u.open && !u.closed);
}
END_TEST

static void add_all(TCase *c)
{
    tcase_add_test(c, syn_options_are_answered);
    tcase_add_test(c, syn_ack_is_repeated_then_given_up);
    tcase_add_test(c, a_repeated_syn_has_its_own_timestamp_echoed);
    tcase_add_test(c, a_repeated_syn_ack_is_not_timed);
    tcase_add_test(c, listen_rules);
    tcase_add_test(c, syn_acks_that_nothing_answers_are_limited);
    tcase_add_test(c, ports_of_other_stacks_are_left_alone);
    tcase_add_test(c, half_open_window_has_two_edges);
    tcase_add_test(c, half_open_rules);
    tcase_add_test(c, a_challenge_scales_the_window);
    tcase_add_test(c, no_memory_lets_the_peer_try_again);
    tcase_add_test(c, cookies_when_the_backlog_is_full);
    tcase_add_test(c, isns_differ_and_grow);
    tcase_add_test(c, syn_sent_rules);
    tcase_add_test(c, syn_is_refused);
    tcase_add_test(c, syn_is_repeated_for_three_minutes);
    tcase_add_test(c, both_call_at_once);
    tcase_add_test(c, challenges_while_both_call);
    tcase_add_test(c, both_call_and_only_syn_acks_cross);
}

int main(void)
{
    return peer_tests("net_open", add_all);
}
