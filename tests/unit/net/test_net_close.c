/* SPDX-License-Identifier: MIT */
/*
 * Timestamps, how connections end, TIME_WAIT, ICMP, limits.
 * Section numbers are of RFC 9293 unless another RFC is named.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/peer.h"

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
    open_with((struct in){.mss = 1000, .ts = true, .tsval = 1000});
    say_ts(1010, 0, 100);
    say_ts(1010, 100, 100);
    struct out *o = sent();
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

/* RFC 5961 s4.2 before RFC 7323 s3.2: a peer that lost its memory may call
   without any, and must be told. */
START_TEST(a_syn_without_timestamp_is_challenged)
{
    open_with((struct in){.mss = 1000, .ts = true, .tsval = 1000});
    say(TH_SYN, 77777, 0, 0);
    is(A, 0, 0, 0);
    ck_assert(!u.closed);
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

/* RFC 5961 s7, and no loop of ACKs with a peer that thinks otherwise; but a
   FIN that is repeated must be answered (s3.10.7.4). */
START_TEST(time_wait_is_no_mirror)
{
    open_plain();
    close_first();
    forget();
    for (int i = 0; i < 240; i++) {
        say(i & 1 ? A : TH_SYN, (uint32_t)-50, 1, 0);
    }
    ck_assert_uint_eq(out_count, 200);
    ck_assert_uint_eq(stats->tcp_limited, 40);
    forget();
    say(AF, 0, 1, 0);
    is(A, 1, 1, 0);
}
END_TEST

/* s3.10.7.4: only a SYN that opens something new ends it early. */
START_TEST(time_wait_is_left_for_a_connection_only)
{
    struct in syn = {.seq = PEER_ISN + 3, .flags = TH_SYN | TH_FIN};
    open_plain();
    close_first();
    inject(syn);
    is(A, 1, 1, 0);
    tcp_unlisten(&listener);
    syn.flags = TH_SYN;
    inject(syn);
    is(A, 1, 1, 0);
    ck_assert_uint_eq(stats->tcp_tw_reused, 0);
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
    open_plain();
    say(A, 0, 0, 10);
    tcp_send_limit(&u.c, 500);
    run(0);
    forget();
    tcp_abort(&u.c);
    tcp_abort(&u.c);
    struct out *o = sent();
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

/* Below 576 routers cut our segments, so each needs an identification of its
   own (RFC 6864 s4.3); one that nobody may cut needs none, and a number that
   counted would tell strangers how much we send. */
START_TEST(segments_that_may_be_cut_are_told_apart)
{
    open_with((struct in){.mss = 1460});
    tcp_send_limit(&u.c, 3000);
    run(0);
    struct out *o = sent();
    ck_assert(o->df && o->id == 0);
    forget();
    icmp(4, 400, iss + 1, PORT);
    run(0);
    uint16_t id[3];
    for (int i = 0; i < 3; i++) {
        o = sent();
        ck_assert(!o->df);
        ck_assert_uint_eq(o->len, 536);
        id[i] = o->id;
    }
    ck_assert(id[0] != id[1] && id[1] != id[2] && id[0] != id[2]);
    forget();
    /* What belongs to no connection. */
    inject((struct in){.seq = 5, .flags = TH_SYN, .port = 81});
    o = sent();
    ck_assert_uint_eq(o->flags, TH_RST | TH_ACK);
    ck_assert(o->df && o->id == 0);
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
    tcase_add_test(c, paws_drops_old_segments);
    tcase_add_test(c, a_syn_without_timestamp_is_challenged);
    tcase_add_test(c, paws_forgets_after_24_days);
    tcase_add_test(c, time_wait_rules);
    tcase_add_test(c, time_wait_is_no_mirror);
    tcase_add_test(c, time_wait_is_left_for_a_connection_only);
    tcase_add_test(c, time_wait_ends);
    tcase_add_test(c, a_repeated_fin_restarts_time_wait);
    tcase_add_test(c, both_close_at_once);
    tcase_add_test(c, half_closed_peer_still_gets_data);
    tcase_add_test(c, abort_resets);
    tcase_add_test(c, fin_wait_2_does_not_last);
    tcase_add_test(c, keepalive_probes_and_gives_up);
    tcase_add_test(c, path_mtu_is_taken_from_credible_routers);
    tcase_add_test(c, segments_that_may_be_cut_are_told_apart);
    tcase_add_test(c, hard_errors_are_soft_once_open);
    tcase_add_test(c, hard_errors_end_a_call);
    tcase_add_test(c, quiet_stacks_are_quiet);
    tcase_add_test(c, a_full_link_loses_nothing);
}

int main(void)
{
    return peer_tests("net_close", add_all);
}
