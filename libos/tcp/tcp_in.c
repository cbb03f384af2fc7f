/* SPDX-License-Identifier: MIT */
/*
 * A segment on a connection: the order of checks is that of RFC 9293 s3.10.7,
 * with the timestamps of RFC 7323 s5 and the defences of RFC 5961 in place.
 * tcp_fast_input takes the segment that was expected and nothing else; it
 * must do exactly what the long way does.
 */
#include "libos/tcp/tcp_impl.h"

#define TS_PREFIX_BE 0x0a080101u /* NOP, NOP, timestamps, in memory order */
#define PAWS_LIFE_NS (24ull * 86400 * NS_PER_S) /* RFC 7323 s5.5 */

void tcp_challenge(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    if (s->now_ns < c->limit_ns) {
        s->stats.tcp_limited++;
        return;
    }
    c->limit_ns = s->now_ns + TCP_CHALLENGE_NS;
    s->stats.tcp_challenges++;
    c->flags |= CF_ACK_NOW;
    tcp_queue(c);
}

/* The connection is open: windows, timers, the user. */
void tcp_established(struct tcp_conn *c)
{
    c->state = c->flags & CF_FIN ? TCP_FIN_WAIT_1 : TCP_ESTABLISHED;
    c->cc->start(c, false);
    c->t_idle = tcp_room_limit(c);
    if (!c->t_idle && c->options & TCP_KEEPALIVE) {
        c->t_idle = c->stack->now_ns + TCP_KEEP_IDLE_NS;
    }
    tcp_queue(c);
    if (c->ops->established != NULL) {
        c->ops->established(c);
    }
}

/* ----------------------------------------------------------------- fast path
 */

/* Lengths, flags and numbers are the expected ones. */
static bool expected(const struct tcp_conn *c, const uint8_t *h, uint32_t hlen,
                     uint32_t len)
{
    uint32_t ack = get32(h + TCP_ACK);
    return c->state == TCP_ESTABLISHED && c->ca_state == CA_OPEN &&
           c->ooo == NULL && !c->dup_acks && !c->sack_count &&
           !(c->flags & (CF_PERSIST | CF_FIN_SEEN | CF_DEAD)) &&
           (h[TCP_FLAGS] & ~TH_PSH) == TH_ACK &&
           (h[TCP_OFF] >> 4) * 4u == hlen && len >= hlen &&
           get32(h + TCP_SEQ) == c->rcv_nxt &&
           seq_leq(c->snd_wl1, c->rcv_nxt) &&
           len - hlen <= c->rcv_adv - c->rcv_nxt &&
           ack - c->snd_una <= c->snd_max - c->snd_una &&
           (len > hlen || ack != c->snd_una) && get_be16(h + TCP_WND);
}

bool tcp_fast_input(struct tcp_conn *c, const uint8_t *h, uint32_t len)
{
    uint32_t hlen = c->flags & CF_TS ? TCP_LEN + 12 : TCP_LEN;
    if (!expected(c, h, hlen, len)) {
        return false;
    }
    if (c->flags & CF_TS) {
        uint32_t tsval = get32(h + TCP_LEN + 4);
        if (get_be32(h + TCP_LEN) != TS_PREFIX_BE ||
            seq_lt(tsval, c->ts_recent)) {
            return false;
        }
        if (seq_leq(c->rcv_nxt, c->last_ack_sent)) {
            c->ts_recent = tsval;
            c->ts_age_ns = c->stack->now_ns;
        }
    }
    uint32_t ack = get32(h + TCP_ACK);
    c->heard_ns = c->stack->now_ns;
    c->probes = 0;
    c->snd_wnd = (uint32_t)get16(h + TCP_WND) << c->snd_scale;
    c->max_wnd = max_u32(c->max_wnd, c->snd_wnd);
    c->snd_wl1 = c->rcv_nxt;
    c->snd_wl2 = ack;
    if (ack != c->snd_una) {
        tcp_acked(c, ack);
    }
    if (len > hlen && !(c->flags & CF_DEAD)) {
        uint32_t took = tcp_deliver(c, h + hlen, len - hlen);
        if (!(c->flags & CF_DEAD)) {
            c->flags |= took < len - hlen || ++c->ack_due >= 2 ? CF_ACK_NOW
                                                               : CF_ACK_LATER;
            tcp_queue(c);
        }
    }
    return true;
}

/* ------------------------------------------------------------------ SYN_SENT
 */

static void take_syn(struct tcp_conn *c, const struct tcp_seg *g)
{
    c->irs = g->seq;
    c->rcv_nxt = c->last_ack_sent = g->seq + 1;
    c->rcv_adv = c->rcv_nxt + min_u32(c->rcv_space, 65535);
    c->mss_peer =
        g->mss ? (uint16_t)max_u32(g->mss, TCP_MSS_MIN) : TCP_MSS_DEFAULT;
    if (g->has_ts) {
        c->flags |= CF_TS;
        c->ts_recent = g->tsval;
        c->ts_age_ns = c->stack->now_ns;
    }
    c->flags |= g->sack_ok ? CF_SACK : 0;
    if (g->scale == TCP_NO_SCALE) {
        c->rcv_scale = 0;
    } else {
        c->snd_scale = g->scale;
    }
    tcp_set_mtu(c, c->mtu);
    c->snd_wnd = c->max_wnd = g->wnd; /* never scaled in a SYN */
    c->snd_wl1 = g->seq;
    c->snd_wl2 = g->ack;
}

static void syn_acked(struct tcp_conn *c, uint32_t ack)
{
    if (c->rtt_ns && !(c->flags & CF_SYN_AGAIN)) {
        tcp_rtt_sample(c, c->stack->now_ns - c->rtt_ns);
    } else {
        c->rto_us = TCP_RTO_LATE_US;
    }
    c->rtt_ns = 0;
    c->backoff = 0;
    c->t_rexmit = 0;
    c->snd_una = ack;
    c->una_off = 0;
    c->recover = c->iss;
    c->stuck_ns = c->stack->now_ns;
    c->stack->stats.tcp_connected++;
}

/* s3.10.7.3 */
static void syn_sent(struct tcp_conn *c, const struct tcp_seg *g)
{
    bool ack = (g->flags & TH_ACK) != 0;
    if (ack && (g->ack != c->snd_max || c->snd_max == c->iss)) {
        tcp_refuse(c->stack, g);
        return;
    }
    if (g->flags & TH_RST) {
        if (ack) {
            tcp_kill(c, TCP_REFUSED);
        }
        return;
    }
    if (!(g->flags & TH_SYN)) {
        return;
    }
    c->heard_ns = c->stack->now_ns;
    take_syn(c, g);
    tcp_queue(c);
    if (!ack) {
        c->state = TCP_SYN_RECEIVED; /* both called at once */
        c->flags |= CF_SYN;
        return;
    }
    syn_acked(c, g->ack);
    c->flags |= CF_ACK_NOW;
    tcp_established(c);
}

/* -------------------------------------------------------------- synchronized
 */

/* RFC 7323 s5.3; true when the segment must be dropped. */
static bool timestamp_refuses(struct tcp_conn *c, const struct tcp_seg *g)
{
    if (!(c->flags & CF_TS) || g->flags & TH_RST) {
        return false;
    }
    if (!g->has_ts) {
        /* s3.2: they were agreed upon; but every SYN is challenged. */
        return !(g->flags & TH_SYN);
    }
    if (!seq_lt(g->tsval, c->ts_recent) ||
        c->stack->now_ns - c->ts_age_ns > PAWS_LIFE_NS) {
        return false;
    }
    c->stack->stats.tcp_paws++;
    if (g->len) {
        c->flags |= CF_ACK_NOW;
        tcp_queue(c);
    } else {
        tcp_challenge(c);
    }
    return true;
}

/* Table 6 of s3.10.7.4, with allowance for ACKs at the window's edge: a peer
   that filled the window acknowledges from there. */
static bool acceptable(const struct tcp_conn *c, const struct tcp_seg *g)
{
    uint32_t len =
        g->len + ((g->flags & TH_SYN) != 0) + ((g->flags & TH_FIN) != 0);

    if (g->seq == c->rcv_nxt) {
        return true;
    }
    if (len == 0) {
        return seq_leq(c->rcv_nxt, g->seq) && seq_leq(g->seq, c->rcv_adv);
    }
    return seq_lt(g->seq, c->rcv_adv) && seq_lt(c->rcv_nxt, g->seq + len);
}

static void reset_by_peer(struct tcp_conn *c, const struct tcp_seg *g)
{
    if (g->seq != c->rcv_nxt) {
        tcp_challenge(c); /* RFC 5961 s3.2 */
        return;
    }
    c->stack->stats.tcp_resets_in++;
    tcp_kill(c, c->state == TCP_SYN_RECEIVED ? TCP_REFUSED : TCP_RESET);
}

/* Sequence, RST and SYN (first to fourth check); false: done with it. */
static bool admit(struct tcp_conn *c, const struct tcp_seg *g)
{
    if (timestamp_refuses(c, g)) {
        return false;
    }
    if (!acceptable(c, g)) {
        if (g->flags & TH_RST) {
            return false;
        }
        c->stack->stats.tcp_dup++;
        if (g->len || g->flags & TH_FIN) {
            c->flags |= CF_ACK_NOW;
            tcp_queue(c);
        } else {
            tcp_challenge(c);
        }
        return false;
    }
    if (g->flags & TH_RST) {
        reset_by_peer(c, g);
        return false;
    }
    if (g->flags & TH_SYN) {
        tcp_challenge(c); /* RFC 5961 s4.2 */
        return false;
    }
    return (g->flags & TH_ACK) != 0;
}

static void window_update(struct tcp_conn *c, const struct tcp_seg *g)
{
    uint32_t was = c->snd_wnd;

    /* s3.10.7.4, and whatever acknowledges more was sent later too. */
    if (!seq_lt(c->snd_wl2, g->ack) && !seq_lt(c->snd_wl1, g->seq) &&
        (c->snd_wl1 != g->seq || c->snd_wl2 != g->ack)) {
        return;
    }
    c->snd_wnd = g->wnd << c->snd_scale;
    if (c->snd_wnd != was) {
        tcp_queue(c);
    }
    c->max_wnd = max_u32(c->max_wnd, c->snd_wnd);
    if (seq_lt(c->snd_wl1, g->seq)) {
        c->snd_wl1 = g->seq;
    }
    c->snd_wl2 = g->ack;
    if (c->flags & CF_PERSIST && c->snd_wnd > was) {
        /* It is open again: the byte the probe carried was not taken. */
        c->flags &= ~(CF_PERSIST | CF_PROBE);
        c->backoff = 0;
        c->t_rexmit = 0;
        c->snd_nxt = c->snd_una;
        c->sack_count = 0;
        tcp_recovery_done(c);
        c->rtt_ns = 0;
        c->stuck_ns = c->stack->now_ns;
    }
}

/* The fifth check, ACK; false: drop the rest. */
static bool take_ack(struct tcp_conn *c, const struct tcp_seg *g)
{
    uint32_t wnd = c->snd_wnd;

    /* RFC 5961 s5.2 bounds how old it may be. */
    if (seq_lt(c->snd_max, g->ack) || seq_lt(g->ack, c->snd_una - c->max_wnd)) {
        tcp_challenge(c);
        return false;
    }
    c->heard_ns = c->stack->now_ns;
    c->probes = 0;
    if (c->flags & CF_TS && seq_leq(g->seq, c->last_ack_sent)) {
        c->ts_recent = g->tsval;
        c->ts_age_ns = c->stack->now_ns;
    }
    bool news = tcp_sack_input(c, g);
    if (seq_lt(c->snd_una, g->ack)) {
        if (c->ca_state != CA_OPEN && c->flags & CF_TS && g->tsecr) {
            /* The timestamp tells which transmission this is about. */
            uint32_t ms = c->stack->now_ms - (g->tsecr - c->ts_offset);

            if (ms < TCP_RTO_MAX_US / 1000) {
                tcp_rtt_sample(c, ms * NS_PER_MS);
            }
        }
        tcp_acked(c, g->ack);
        if (c->flags & CF_DEAD) {
            return false;
        }
        window_update(c, g);
        return true;
    }
    window_update(c, g);
    /* An answer to a window probe looks the same and says nothing. */
    if (g->ack == c->snd_una && c->snd_una != c->snd_nxt &&
        !(c->flags & CF_PERSIST) &&
        (news || (!g->len && !(g->flags & TH_FIN) && wnd == c->snd_wnd))) {
        tcp_dup_ack(c, news);
    }
    return true;
}

static void take_urgent(struct tcp_conn *c, const struct tcp_seg *g)
{
    uint32_t ahead = g->seq + g->up - c->rcv_nxt;
    uint64_t upto = c->rcv_off + ahead;
    if (!seq_lt(0, ahead) || upto <= c->urgent_off) {
        return;
    }
    c->urgent_off = upto;
    if (c->ops->urgent != NULL) {
        c->ops->urgent(c, upto);
    }
}

static bool receiving(const struct tcp_conn *c)
{
    return !(c->flags & (CF_FIN_TAKEN | CF_DEAD)) &&
           (c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 ||
            c->state == TCP_FIN_WAIT_2);
}

/* SYN_RECEIVED after both called at once; false: drop the segment. */
static bool syn_received(struct tcp_conn *c, const struct tcp_seg *g)
{
    if (g->ack != c->snd_max) {
        tcp_refuse(c->stack, g);
        return false;
    }
    syn_acked(c, g->ack);
    c->snd_wnd = c->max_wnd = g->wnd << c->snd_scale;
    c->snd_wl1 = g->seq;
    c->snd_wl2 = g->ack;
    tcp_established(c);
    return !(c->flags & CF_DEAD);
}

void tcp_conn_input(struct tcp_conn *c, const struct tcp_seg *seg)
{
    struct tcp_seg g = *seg;
    if (c->flags & CF_DEAD) {
        return;
    }
    if (c->state == TCP_SYN_SENT) {
        syn_sent(c, &g);
        return;
    }
    if (c->state == TCP_SYN_RECEIVED && g.seq == c->irs &&
        (g.flags & (TH_SYN | TH_ACK | TH_RST)) == (TH_SYN | TH_ACK)) {
        /* The peer's half of a simultaneous open repeats its SYN (figure 8).
           Its window is not scaled. */
        g.flags &= (uint8_t)~TH_SYN;
        g.seq++;
        g.wnd >>= c->snd_scale;
    }
    if (!admit(c, &g)) {
        return;
    }
    if (c->state == TCP_SYN_RECEIVED && !syn_received(c, &g)) {
        return;
    }
    if (!take_ack(c, &g)) {
        return;
    }
    if (g.flags & TH_URG && receiving(c)) {
        take_urgent(c, &g);
    }
    if ((g.len || g.flags & TH_FIN) && receiving(c)) {
        tcp_data(c, &g);
    } else if (g.len && !(c->flags & CF_DEAD)) {
        c->flags |= CF_ACK_NOW;
        tcp_queue(c);
    }
}
