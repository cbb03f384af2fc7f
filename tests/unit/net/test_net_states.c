/* SPDX-License-Identifier: MIT */
/*
 * The same segment in each state of a connection: SYN, RST, data and ACKs of
 * nonsense. Section numbers are of RFC 9293 unless another RFC is named.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/peer.h"

/* ------------------------------------------------------------ to each state
 */

static uint32_t ours, theirs; /* bytes of sequence used by each side's FIN */

static void to_established(void)
{
    open_plain();
}

static void to_fin_wait_1(void)
{
    open_plain();
    tcp_finish(&u.c);
    is(AF, 0, 0, 0);
    ours = 1;
}

static void to_fin_wait_2(void)
{
    to_fin_wait_1();
    say(A, 0, 1, 0);
    sent_nothing();
}

static void to_close_wait(void)
{
    open_plain();
    say(AF, 0, 0, 0);
    is(A, 0, 1, 0);
    theirs = 1;
}

static void to_closing(void)
{
    to_fin_wait_1();
    say(AF, 0, 0, 0);
    is(A, 1, 1, 0);
    theirs = 1;
}

static void to_last_ack(void)
{
    to_close_wait();
    tcp_finish(&u.c);
    is(AF, 0, 1, 0);
    ours = 1;
}

static const struct {
    void (*enter)(void);
    enum tcp_state state;
} STATES[] = {
    {to_established, TCP_ESTABLISHED}, {to_fin_wait_1, TCP_FIN_WAIT_1},
    {to_fin_wait_2, TCP_FIN_WAIT_2},   {to_close_wait, TCP_CLOSE_WAIT},
    {to_closing, TCP_CLOSING},         {to_last_ack, TCP_LAST_ACK},
};

/* Each test below runs once for each of them. */
static void enter(int i)
{
    ours = theirs = 0;
    STATES[i].enter();
    ck_assert_int_eq(u.c.state, STATES[i].state);
}

/* -------------------------------------------------------------------- tests */

/* s3.10.7.4 and RFC 5961 s4: a challenge, wherever the SYN lies. */
START_TEST(syn_is_challenged)
{
    static const uint32_t where[] = {0, 1, 500000, (uint32_t)-1, 0x80000000u};
    enter(_i);
    for (unsigned k = 0; k < sizeof(where) / sizeof(where[0]); k++) {
        say(TH_SYN, where[k], 0, 0);
        is(A, ours, theirs, 0);
        say(TH_SYN | A, where[k], ours, 0);
        ck_assert_int_eq(u.c.state, STATES[_i].state);
        run(100 * MS);
        forget();
        run(1 * S); /* the limit on challenges */
        forget();
    }
    ck_assert(!u.closed);
}
END_TEST

/* RFC 5961 s3: only a reset at exactly the next byte ends it. */
START_TEST(reset_must_be_exact)
{
    enter(_i);
    say(TH_RST, theirs + 1, 0, 0);
    is(A, ours, theirs, 0);
    say(TH_RST, theirs - 1, 0, 0);
    say(TH_RST, theirs + 100000, 0, 0);
    sent_nothing();
    ck_assert_int_eq(u.c.state, STATES[_i].state);
    say(TH_RST, theirs, 0, 0);
    sent_nothing();
    ck_assert(u.closed);
    ck_assert_int_eq(u.why, TCP_RESET);
}
END_TEST

/* s3.10.7.4: an ACK of what was not sent is answered, and does nothing. */
START_TEST(ack_of_the_unsent)
{
    enter(_i);
    say(A, theirs, ours + 1, 0);
    is(A, ours, theirs, 0);
    say(A, theirs, ours + 0x7fffffff, 0);
    ck_assert_int_eq(u.c.state, STATES[_i].state);
    ck_assert(!u.closed);
}
END_TEST

/* Without ACK, or out of window: no byte is taken in any state. */
START_TEST(nonsense_delivers_nothing)
{
    enter(_i);
    inject((struct in){
        .seq = PEER_ISN + 1 + theirs, .flags = 0, .wnd = 60000, .len = 10});
    inject((struct in){.seq = PEER_ISN + 1 + theirs,
                       .flags = TH_FIN,
                       .wnd = 60000,
                       .len = 10});
    sent_nothing();
    say(A, theirs + 50000, ours, 10);
    is(A, ours, theirs, 0);
    ck_assert_uint_eq(u.got, 0);
    ck_assert_int_eq(u.c.state, STATES[_i].state);
}
END_TEST

/* Every flag at once ("Christmas tree"), and none. */
START_TEST(all_flags)
{
    enter(_i);
    inject((struct in){.seq = PEER_ISN + 1 + theirs,
                       .ack = iss + 1 + ours,
                       .flags = 0x3f & ~TH_RST,
                       .wnd = 60000,
                       .up = 100,
                       .len = 10});
    is(A, ours, theirs, 0); /* it has SYN: a challenge */
    ck_assert_uint_eq(u.got, 0);
    inject((struct in){.seq = PEER_ISN + 1 + theirs, .flags = 0});
    sent_nothing();
    ck_assert_int_eq(u.c.state, STATES[_i].state);
}
END_TEST

/* s3.10.7.4: data after our FIN but before theirs is taken; after theirs it
   is not. */
START_TEST(data_is_taken_until_their_fin)
{
    enter(_i);
    say(A, theirs, ours, 10);
    run(1 * S);
    ck_assert_uint_eq(u.got, theirs != 0 ? 0 : 10);
}
END_TEST

/* ------------------------------------------------------------ odd numbers */

/* s3.7.1: an MSS of 0 or 1 is raised to what segments can have. */
START_TEST(tiny_mss)
{
    static const uint32_t mss[] = {1, 2, 40, 63};
    open_with((struct in){.mss = mss[_i]});
    tcp_send_limit(&u.c, 1000);
    tcp_finish(&u.c);
    uint32_t at = 0;
    for (int round = 0; round < 200 && !u.finished && at < 1000; round++) {
        run(0);
        while (out_next < out_count) {
            struct out *o = &outs[out_next++];
            ck_assert_uint_le(o->len, TCP_MSS_MIN);
            ck_assert_int_eq(memcmp(o->data, stream + at, o->len), 0);
            at += o->len;
        }
        forget();
        say(A, 0, at, 0);
    }
    ck_assert_uint_eq(at, 1000);
}
END_TEST

/* s3.8.6: a peer that takes its window back gets nothing more until it opens,
   and nothing is lost. */
START_TEST(window_shrinks)
{
    open_plain();
    tcp_send_limit(&u.c, 6000);
    for (uint32_t at = 0; at < 5000; at += 1000) {
        is(A, at, 0, 1000);
    }
    is(AP, 5000, 0, 1000);
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1 + 1000, .flags = A, .wnd = 500});
    run(100 * MS);
    sent_nothing();
    tcp_send_limit(&u.c, 8000);
    sent_nothing();
    /* The rest was beyond its window: dropped. It opens again. */
    inject((struct in){
        .seq = PEER_ISN + 1, .ack = iss + 1 + 1000, .flags = A, .wnd = 60000});
    run(30 * S);
    uint64_t seen = 0;
    for (uint32_t i = out_next; i < out_count; i++) {
        uint32_t from = outs[i].seq - iss - 1;
        for (uint32_t k = from / 1000; k < (from + outs[i].len) / 1000; k++) {
            seen |= 1ull << k;
        }
    }
    ck_assert_uint_ne(seen & 1ull << 1, 0);
    say(A, 0, 8000, 0);
    run(0);
    ck_assert_uint_eq(u.acked, 8000);
}
END_TEST

/* RFC 7323 s2.3: a shift above 14 counts as 14. */
START_TEST(window_shift_is_bounded)
{
    open_with((struct in){.mss = 1000, .scale_ok = true, .scale = 200});
    ck_assert_uint_eq(u.c.snd_scale, 14);
}
END_TEST

static void add_all(TCase *c)
{
    int n = sizeof(STATES) / sizeof(STATES[0]);
    tcase_add_loop_test(c, syn_is_challenged, 0, n);
    tcase_add_loop_test(c, reset_must_be_exact, 0, n);
    tcase_add_loop_test(c, ack_of_the_unsent, 0, n);
    tcase_add_loop_test(c, nonsense_delivers_nothing, 0, n);
    tcase_add_loop_test(c, all_flags, 0, n);
    tcase_add_loop_test(c, data_is_taken_until_their_fin, 0, n);
    tcase_add_loop_test(c, tiny_mss, 0, 4);
    tcase_add_test(c, window_shrinks);
    tcase_add_test(c, window_shift_is_bounded);
}

int main(void)
{
    return peer_tests("net_states", add_all);
}
