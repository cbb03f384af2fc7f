/* SPDX-License-Identifier: MIT */
/*
 * Sending: windows, congestion, loss, probes.
 * Section numbers are of RFC 9293 unless another RFC is named.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/peer.h"

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

/* s3.10.7.4: the later segment's window counts, not that which comes later. */
START_TEST(an_overtaken_window_is_not_taken)
{
    open_plain();
    inject((struct in){
        .seq = PEER_ISN + 101, .ack = iss + 1, .flags = A, .wnd = 0});
    say(A, 0, 0, 100);
    tcp_send_limit(&u.c, 5000);
    sent_nothing();
}
END_TEST

/* A segment that is sent again has an old number and the latest window, as
   what it acknowledges shows. */
START_TEST(a_window_beside_news_is_taken)
{
    open_plain();
    tcp_send_limit(&u.c, 100000);
    run(0);
    say(A, 100, 0, 100); /* the one before it was lost */
    forget();
    inject((struct in){.seq = PEER_ISN + 1,
                       .ack = iss + 1 + 10000,
                       .flags = A,
                       .wnd = 2000,
                       .len = 100});
    is(A, 10000, 200, 1000);
    is(A, 11000, 200, 1000);
    sent_nothing();
    say(A, 100, 0, 100); /* the old one, late */
    is(A, 12000, 200, 0);
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

/* Answers to probes repeat a number and a window, but report no loss: the
   congestion window is what it was. */
START_TEST(answers_to_probes_are_no_duplicates)
{
    open_plain();
    inject(
        (struct in){.seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
    tcp_send_limit(&u.c, 50000);
    for (int i = 0; i < 6; i++) {
        run(60 * S);
        forget();
        inject((struct in){
            .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
        sent_nothing(); /* only time brings the next */
    }
    ck_assert_uint_eq(stats->tcp_fast_rexmit, 0);
    forget();
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 60000});
    run(0);
    ck_assert_uint_eq(out_count, 10);
}
END_TEST

/* s3.8.6.2.1: what is kept back to avoid a silly window is sent after a while,
   however often the peer repeats that window. */
START_TEST(a_small_window_is_used_after_a_while)
{
    open_plain();
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 500});
    tcp_send_limit(&u.c, 5000);
    for (uint32_t i = 0; i < 20; i++) {
        run(100 * MS);
        inject((struct in){.seq = PEER_ISN + 1 + i,
                           .ack = iss + 1,
                           .flags = A,
                           .wnd = 500,
                           .len = 1});
    }
    ck_assert_uint_ne(stats->tcp_probes, 0);
}
END_TEST

/* The timer asks for a probe of a window that is nearly a segment, and in the
   same turn data beyond a gap comes, of which the probe reports. */
START_TEST(a_probe_leaves_room_for_sack)
{
    open_with((struct in){.mss = 1460, .sack_ok = true});
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 1455});
    tcp_send_limit(&u.c, 5000);
    sent_nothing();
    net.now_ns += 500 * MS;
    inject((struct in){.seq = PEER_ISN + 101,
                       .ack = iss + 1,
                       .flags = A,
                       .wnd = 1455,
                       .len = 10});
    const struct out *o = sent();
    ck_assert_uint_eq(o->sacks, 1);
    ck_assert_uint_eq(o->len, 1448);
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
    is(A, 0, 0, 1000);                     /* the third: fast retransmit */
    ck_assert_uint_eq(u.c.ssthresh, 5000); /* the two extra do not count */
    sent_nothing();
    for (int i = 0; i < 5; i++) {
        say(A, 0, 0, 0); /* cwnd = 8000 + 5000 > flight of 12000 */
    }
    is(A, 12000, 0, 1000);
    sent_nothing();
    say(A, 0, 5000, 0); /* a partial ACK (RFC 6582): the next hole */
    is(A, 5000, 0, 1000);
    ck_assert_uint_eq(u.c.cwnd, 5000 + 8000 - 5000 + 1000);
    forget();
    say(A, 0, 12000, 0); /* everything of then */
    ck_assert_int_eq(u.c.ca_state, CA_OPEN);
    ck_assert_uint_le(u.c.cwnd, 5000);
}
END_TEST

/* A window that closes during recovery and opens again ends it; less than a
   segment of congestion window would let nothing go, for ever. */
START_TEST(recovery_ends_with_a_closed_window)
{
    open_plain();
    tcp_send_limit(&u.c, 20000);
    run(0);
    for (int i = 0; i < 3; i++) {
        say(A, 0, 0, 0);
        run(0);
    }
    say(A, 0, 9000, 0);
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1 + 9050, .flags = A, .wnd = 0});
    ck_assert_int_eq(u.c.ca_state, CA_RECOVERY);
    ck_assert_uint_ge(u.c.cwnd, u.c.mss); /* as after any way out of it */
    run(5 * S);
    forget();
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1 + 9050, .flags = A, .wnd = 60000});
    is(A, 9050, 0, 1000);
    is(A, 10050, 0, 1000);
    sent_nothing();
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
    open_plain();
    uint32_t srtt = u.c.srtt_us;
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

/* Neither do those of what a window that closed and opened made us repeat. */
START_TEST(round_trips_through_a_closed_window_do_not_count)
{
    open_plain();
    tcp_send_limit(&u.c, 3000);
    run(0);
    inject(
        (struct in){.seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 0});
    run(1 * S);
    ck_assert_uint_ne(stats->tcp_probes, 0);
    forget();
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1, .flags = A, .wnd = 60000});
    is(A, 0, 0, 1000);
    uint32_t samples = (uint32_t)stats->tcp_rtt_samples;
    say(A, 0, 3000, 0); /* of the first or of the second? */
    ck_assert_uint_eq(stats->tcp_rtt_samples, samples);
    tcp_send_limit(&u.c, 4000);
    run(0);
    say(A, 0, 4000, 0);
    ck_assert_uint_eq(stats->tcp_rtt_samples, samples + 1);
}
END_TEST

/* RFC 6298 s5: what was doubled stays so until a round trip is measured, or a
   path that became slower than the timer could never be measured again. */
START_TEST(a_slower_path_is_noticed)
{
    open_plain();
    for (uint32_t i = 1; i <= 6; i++) {
        tcp_send_limit(&u.c, 1000 * i);
        run(1 * S);
        forget();
        say(A, 0, 1000 * i, 0);
    }
    ck_assert_uint_ge(u.c.rto_us, 1000000);
    tcp_send_limit(&u.c, 7000);
    run(1 * S);
    is(AP, 6000, 0, 1000); /* once */
    sent_nothing();
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
        run(0);
        uint64_t sent_to = u.c.una_off + (u.c.snd_nxt - u.c.snd_una);
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
    struct out *o = sent();
    ck_assert_uint_eq(o->seq, iss + 1);
    ck_assert_uint_eq(o->flags & TH_RST, TH_RST);
}
END_TEST

START_TEST(a_listener_counts_its_handshakes)
{
    listener.half_open = 1;
    for (uint16_t i = 0; i < 5; i++) {
        inject((struct in){
            .seq = 5, .flags = TH_SYN, .from = (uint16_t)(100 + i)});
        struct out *o = sent();
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

START_TEST(sack_halves_what_the_window_held)
{
    open_sack();
    tcp_send_limit(&u.c, 20000);
    run(0);
    forget();
    say_sack(0, 1000, 2000);
    is(A, 10000, 0, 1000); /* RFC 3042, by the pipe */
    say_sack(0, 1000, 3000);
    is(A, 11000, 0, 1000);
    say_sack(0, 1000, 4000);
    is(A, 0, 0, 1000);
    ck_assert_uint_eq(u.c.ssthresh, 5000); /* RFC 6675 s5 step 4.2 */
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

static void add_all(TCase *c)
{
    tcase_add_test(c, initial_window_is_ten_segments);
    tcase_add_test(c, congestion_avoidance_grows_by_a_segment_per_window);
    tcase_add_test(c, options_end_with_the_header);
    tcase_add_test(c, peer_window_is_obeyed);
    tcase_add_test(c, an_overtaken_window_is_not_taken);
    tcase_add_test(c, a_window_beside_news_is_taken);
    tcase_add_test(c, closed_window_is_probed);
    tcase_add_test(c, answers_to_probes_are_no_duplicates);
    tcase_add_test(c, a_small_window_is_used_after_a_while);
    tcase_add_test(c, a_probe_leaves_room_for_sack);
    tcase_add_test(c, closed_window_and_no_answer_ends);
    tcase_add_test(c, timeout_backs_off_and_gives_up);
    tcase_add_test(c, three_duplicates_and_newreno);
    tcase_add_test(c, recovery_ends_with_a_closed_window);
    tcase_add_test(c, duplicates_of_an_old_loss_are_not_a_new_one);
    tcase_add_test(c, round_trips_of_what_was_sent_twice_do_not_count);
    tcase_add_test(c, round_trips_through_a_closed_window_do_not_count);
    tcase_add_test(c, a_slower_path_is_noticed);
    tcase_add_test(c, a_lost_segment_not_at_hand_is_sent_when_it_is);
    tcase_add_test(c, long_streams_outlive_sequence_numbers);
    tcase_add_test(c, a_new_station_is_followed);
    tcase_add_test(c, acks_stay_inside_a_closed_window);
    tcase_add_test(c, a_listener_counts_its_handshakes);
    tcase_add_test(c, sack_repairs_holes_only);
    tcase_add_test(c, sack_halves_what_the_window_held);
    tcase_add_test(c, sack_nonsense_is_ignored);
    tcase_add_test(c, data_not_at_hand_is_asked_for_later);
    tcase_add_test(c, idle_restarts_the_window);
}

int main(void)
{
    return peer_tests("net_send", add_all);
}
