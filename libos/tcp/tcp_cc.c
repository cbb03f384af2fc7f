/* SPDX-License-Identifier: MIT */
/*
 * NewReno's window: slow start and congestion avoidance of RFC 5681 with the
 * byte counting of RFC 3465 and the initial window of RFC 6928.
 *
 * RFC 3465 would cap what one ACK adds in slow start at two segments. A
 * receiver that merges packets acknowledges dozens at once, and slow start
 * would no longer double per round trip; so, as RFC 9002 s7.3.1 does, the cap
 * is dropped, except after a timeout, when one ACK may stand for old losses.
 */
#include "libos/tcp/tcp_impl.h"

#define CWND_MAX (1u << 30)

static void newreno_start(struct tcp_conn *c, bool restart)
{
    uint32_t mss = c->mss;
    uint32_t iw = min_u32(10 * mss, max_u32(2 * mss, 14600));
    if (restart) {
        c->cwnd = min_u32(c->cwnd, iw); /* RFC 5681 s4.1 */
        return;
    }
    /* RFC 5681 s3.1: a lost SYN leaves one segment. */
    c->cwnd = c->flags & CF_SYN_AGAIN ? mss : iw;
    c->ssthresh = CWND_MAX;
}

static void newreno_acked(struct tcp_conn *c, uint32_t bytes)
{
    if (c->cwnd >= CWND_MAX) {
        return;
    }
    if (c->cwnd < c->ssthresh) {
        c->cwnd += c->ca_state == CA_LOSS ? min_u32(bytes, c->mss) : bytes;
        return;
    }
    c->acked_part += bytes;
    if (c->acked_part >= c->cwnd) {
        c->acked_part -= c->cwnd;
        c->cwnd += c->mss;
    }
}

static void newreno_lost(struct tcp_conn *c, uint32_t flight, bool timeout)
{
    (void)timeout;
    c->ssthresh = max_u32(flight / 2, 2u * c->mss);
    c->acked_part = 0;
}

const struct tcp_cc_ops tcp_newreno = {
    .name = "newreno",
    .start = newreno_start,
    .acked = newreno_acked,
    .lost = newreno_lost,
};
