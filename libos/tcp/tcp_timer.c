/* SPDX-License-Identifier: MIT */
/*
 * What happens when nothing happens: retransmission (RFC 6298), window probes
 * (s3.8.6.1), delayed ACKs, keep-alives (s3.8.4), the end of FIN_WAIT_2.
 *
 * A connection has one entry on the wheel and several deadlines. The entry is
 * never later than the earliest deadline but may be earlier; when it fires too
 * soon it is set anew. So an ACK that moves the retransmission deadline, which
 * nearly every one does, touches no list.
 */
#include "libos/tcp/tcp_impl.h"

uint64_t tcp_rto_ns(const struct tcp_conn *c)
{
    uint64_t us = c->rto_us;
    us = c->backoff < 16 ? us << c->backoff : TCP_RTO_MAX_US;
    return (us > TCP_RTO_MAX_US ? TCP_RTO_MAX_US : us) * 1000;
}

void tcp_rexmit_start(struct tcp_conn *c)
{
    c->t_rexmit = c->stack->now_ns + tcp_rto_ns(c);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return b && b < a ? b : a;
}

void tcp_arm(struct tcp_conn *c)
{
    uint64_t at = sooner(UINT64_MAX, c->t_rexmit);
    at = sooner(at, c->t_delack);
    at = sooner(at, c->t_idle);
    if (at != UINT64_MAX && (!c->timer.at_ns || at < c->timer.at_ns)) {
        net_timer_start(c->stack, &c->timer, at);
    }
}

void tcp_go_back(struct tcp_conn *c)
{
    if (c->state < TCP_ESTABLISHED) {
        return;
    }
    c->ca_state = CA_LOSS;
    c->recover = c->snd_nxt;
    c->high_rxt = c->snd_una;
    /* RFC 2018 s8: the receiver may have dropped what it reported. */
    c->sack_count = 0;
    c->dup_acks = 0;
    c->rtt_ns = 0;
    c->flags &= ~CF_REXMIT;
}

static void syn_timeout(struct tcp_conn *c, uint64_t now)
{
    if (now - c->stuck_ns >= TCP_SYN_TIMEOUT_NS) {
        c->stack->stats.tcp_timeouts++;
        tcp_kill(c, TCP_TIMEOUT);
        return;
    }
    c->backoff++;
    c->rtt_ns = 0;
    c->flags |= CF_SYN | CF_SYN_AGAIN;
    tcp_rexmit_start(c);
}

/* s3.8.6.1: goes on for as long as the peer answers. */
static void probe_timeout(struct tcp_conn *c, uint64_t now)
{
    if (now - c->heard_ns >= c->timeout_ns &&
        now - c->stuck_ns >= c->timeout_ns) {
        c->stack->stats.tcp_timeouts++;
        tcp_kill(c, TCP_TIMEOUT);
        return;
    }
    c->backoff++;
    c->flags |= CF_PROBE | CF_PERSIST;
    tcp_rexmit_start(c);
}

static void data_timeout(struct tcp_conn *c, uint64_t now)
{
    if (now - c->stuck_ns >= c->timeout_ns) {
        c->stack->stats.tcp_timeouts++;
        tcp_kill(c, TCP_TIMEOUT);
        return;
    }
    c->stack->stats.tcp_rto++;
    if (c->mtu_claimed && c->una_off <= c->mtu_off) {
        c->stack->stats.tcp_pmtu++;
        tcp_set_mtu(c, c->mtu_claimed);
        c->mtu_claimed = 0;
    }
    if (c->backoff == 0) {
        /* RFC 5681 s3.1 equation 4: once per loss, not per retry. */
        c->cc->lost(c, c->snd_nxt - c->snd_una, true);
    }
    tcp_go_back(c);
    c->cwnd = c->mss;
    c->backoff++;
    tcp_rexmit_start(c);
}

static void rexmit_timeout(struct tcp_conn *c, uint64_t now)
{
    c->t_rexmit = 0;
    if (c->state < TCP_ESTABLISHED) {
        syn_timeout(c, now);
    } else if (c->flags & CF_PERSIST || c->snd_wnd == 0) {
        probe_timeout(c, now);
    } else if (c->snd_una != c->snd_nxt) {
        data_timeout(c, now);
    }
}

/* Probing who is idle makes no sense before its room's limit has it. */
static bool room_limit(struct tcp_conn *c, uint64_t now)
{
    c->t_idle = tcp_room_limit(c);
    if (c->t_idle && c->t_idle <= now) {
        c->stack->stats.tcp_idle++;
        c->flags |= CF_SEND_RST;
        tcp_kill(c, TCP_TIMEOUT);
    }
    return c->t_idle || c->flags & CF_DEAD;
}

static void idle_timeout(struct tcp_conn *c, uint64_t now)
{
    c->t_idle = 0;
    if (c->state == TCP_FIN_WAIT_2 && !(c->options & TCP_LINGER)) {
        c->stack->stats.tcp_timeouts++;
        tcp_kill(c, TCP_TIMEOUT);
        return;
    }
    if (room_limit(c, now) || !(c->options & TCP_KEEPALIVE)) {
        return;
    }
    if (now - c->heard_ns < TCP_KEEP_IDLE_NS) {
        c->probes = 0;
        c->t_idle = c->heard_ns + TCP_KEEP_IDLE_NS;
    } else if (c->probes >= TCP_KEEP_PROBES) {
        c->stack->stats.tcp_timeouts++;
        tcp_kill(c, TCP_TIMEOUT);
    } else {
        c->probes++;
        c->flags |= CF_KEEP;
        c->t_idle = now + TCP_KEEP_GAP_NS;
    }
}

void tcp_fire(struct net_timer *t, struct net_stack *s)
{
    struct tcp_conn *c =
        (void *)((uint8_t *)t - offsetof(struct tcp_conn, timer));
    uint64_t now = s->now_ns;

    if (c->t_delack && c->t_delack <= now) {
        c->t_delack = 0;
        c->flags |= CF_ACK_NOW;
        tcp_queue(c);
    }
    if (c->t_rexmit && c->t_rexmit <= now) {
        tcp_queue(c);
        rexmit_timeout(c, now);
    }
    if (c->t_idle && c->t_idle <= now) {
        tcp_queue(c);
        idle_timeout(c, now);
    }
    tcp_arm(c);
}
