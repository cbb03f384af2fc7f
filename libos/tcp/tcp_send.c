/* SPDX-License-Identifier: MIT */
/*
 * What may be sent now. In order: a window probe, what was lost, new data as
 * far as both windows reach, and if none of these carried it, a bare ACK.
 *
 * Sequence space ends with FIN, which counts as a byte at offset `limit`; a
 * segment that reaches over `limit` carries it.
 * Source: RFC 9293 s3.8.6.2.1 (silly windows), RFC 6675 s4 and s5 (NextSeg),
 * RFC 3042 (limited transmit).
 */
#include "libos/tcp/tcp_impl.h"

/* Bytes of sequence space that exist from `seq` on, FIN included. */
static uint64_t left_from(const struct tcp_conn *c, uint32_t seq)
{
    uint64_t end = c->limit + ((c->flags & CF_FIN) != 0);
    uint64_t off = offset_of(c, seq);
    return off < end ? end - off : 0;
}

/* Drop pieces from the end until `len` bytes are left. */
static void trim(struct net_frame *f, uint32_t len)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (at + f->piece[i].len >= len) {
            f->piece[i].len = len - at;
            f->count = (uint8_t)(i + 1);
            return;
        }
        at += f->piece[i].len;
    }
}

static uint16_t sum_pieces(const struct net_frame *f)
{
    uint16_t sum = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        uint16_t part = net_sum(f->piece[i].va, f->piece[i].len);
        sum = net_sum_add(sum, at & 1 ? net_sum_shift(part) : part);
        at += f->piece[i].len;
    }
    return sum;
}

/* Bytes of stream in a full segment, beside the blocks to be reported now. */
static uint32_t segment_room(const struct tcp_conn *c)
{
    return c->mss - tcp_option_space(c);
}

/* Ask the user for `len` bytes at `offset`; returns what is in t->f. */
static uint32_t gather(struct tcp_conn *c, struct tcp_frame *t, uint64_t offset,
                       uint32_t len)
{
    struct net_stack *s = c->stack;
    uint32_t mss = segment_room(c);
    struct tcp_gather g;
    g.count = 0;
    g.pin = NULL;
    g.sum_known = false;
    g.need_sum = !(s->link->caps & NET_CAP_CSUM);
    uint32_t got = c->ops->gather(c, offset, len, &g);
    if (got == 0 || got > len || g.count > NET_PIECES_MAX) {
        c->flags |= CF_NO_DATA;
        return 0;
    }
    t->f.pin = g.pin;
    t->f.count = (uint8_t)g.count;
    for (uint32_t i = 0; i < g.count; i++) {
        t->f.piece[i] = g.piece[i];
    }
    if (got > mss && got < len) {
        got -= got % mss; /* a short gather must not make a runt */
        trim(&t->f, got);
    }
    t->f.body_len = got;
    if (g.need_sum) {
        t->sum = g.sum_known ? g.sum : sum_pieces(&t->f);
        s->stats.tcp_bytes_summed += g.sum_known ? 0 : got;
    }
    return got;
}

/*
 * Send sequence space [seq, seq + len), or as much of it as the link takes in
 * one frame. Returns how much went out, 0 when the user has not got the bytes
 * at hand, or -NET_E_AGAIN.
 */
static int send_range(struct tcp_conn *c, uint32_t seq, uint32_t len)
{
    uint64_t off = offset_of(c, seq);
    uint32_t seg = segment_room(c);
    if (!(c->stack->link->caps & NET_CAP_TSO4)) {
        len = min_u32(len, seg);
    }
    uint32_t data = c->limit - off < len ? (uint32_t)(c->limit - off) : len;
    uint32_t got = data;
    bool fin = len > data;
    struct tcp_frame t;
    t.seq = seq;
    t.flags = TH_ACK;
    t.sum = 0;
    t.f.pin = NULL;
    t.f.csum_start = 0;
    t.f.gso = NET_GSO_NONE;
    t.f.gso_size = 0;
    t.f.count = 0;
    t.f.body_len = 0;
    if (data) {
        got = gather(c, &t, off, data);
        if (!got) {
            return 0;
        }
        fin = fin && got == data;
        if (got > seg) {
            t.f.gso = NET_GSO_TCP4;
            t.f.gso_size = (uint16_t)seg;
        }
    }
    if (got && off + got == c->limit) {
        t.flags |= TH_PSH; /* s3.9.1.2: nothing more is queued */
    }
    t.flags |= fin ? TH_FIN : 0;
    int r = tcp_emit(c, &t);
    if (r) {
        return r;
    }
    if (unlikely(!(c->flags & CF_BIG)) && got >= seg) {
        c->flags |= CF_BIG;
        c->big_off = off + seg;
    }
    return (int)(got + fin);
}

/* ------------------------------------------------------------ sending again */

static int send_again_at(struct tcp_conn *c, uint32_t seq)
{
    struct tcp_range hole = tcp_hole(c, seq);
    uint32_t len = hole.end - hole.begin;
    len = min_u32(len, segment_room(c));
    int r = send_range(c, hole.begin, len);
    if (r > 0) {
        c->stack->stats.tcp_bytes_rexmit += (uint32_t)r;
        if (c->rtt_ns && seq_lt(hole.begin, c->rtt_seq)) {
            c->rtt_ns = 0; /* Karn: its ACK would be ambiguous */
        }
        if (seq_lt(c->high_rxt, hole.begin + (uint32_t)r)) {
            c->high_rxt = hole.begin + (uint32_t)r;
        }
        tcp_rexmit_start(c);
    }
    return r;
}

static bool window_for_one(const struct tcp_conn *c)
{
    uint32_t pipe = tcp_pipe(c);
    return pipe == 0 || pipe + c->mss <= c->cwnd;
}

/* RFC 6675 s5 (C) with NextSeg rule 1; after a timeout, everything. */
static int send_lost(struct tcp_conn *c)
{
    int r = 1;
    if (c->flags & CF_REXMIT) {
        c->flags &= ~CF_REXMIT;
        r = send_again_at(c, c->snd_una);
        if (r <= 0) {
            c->flags |= CF_REXMIT; /* no room, or bytes not at hand */
        }
    }
    if (c->ca_state == CA_RECOVERY && !(c->flags & CF_SACK)) {
        return r;
    }
    while (r > 0) {
        uint32_t until = c->ca_state == CA_LOSS ? c->recover : tcp_lost_edge(c);
        uint32_t seq =
            seq_lt(c->high_rxt, c->snd_una) ? c->snd_una : c->high_rxt;
        seq = tcp_hole(c, seq).begin;
        if (!seq_lt(seq, until) || !window_for_one(c)) {
            break;
        }
        r = send_again_at(c, seq);
    }
    return r;
}

/* RFC 6675 s4 NextSeg rules 3 and 4: with nothing new to send, send again what
   is not known to be lost; at last the highest segment, once. */
static int send_maybe_lost(struct tcp_conn *c)
{
    int r = 1;
    while (r > 0 && c->sack_count && window_for_one(c)) {
        uint32_t top = c->sack[c->sack_count - 1].begin;
        uint32_t seq =
            seq_lt(c->high_rxt, c->snd_una) ? c->snd_una : c->high_rxt;
        seq = tcp_hole(c, seq).begin;
        if (seq_lt(seq, top)) {
            r = send_again_at(c, seq);
            continue;
        }
        if (c->flags & CF_RESCUED || !seq_lt(seq, c->snd_nxt)) {
            break;
        }
        c->flags |= CF_RESCUED;
        seq = c->snd_nxt - min_u32(c->mss, c->snd_nxt - seq);
        r = send_again_at(c, seq);
    }
    return r;
}

/* ----------------------------------------------------------------- new data */

/* What the congestion window leaves, bytes. */
static uint32_t cwnd_room(const struct tcp_conn *c)
{
    uint32_t cwnd = c->cwnd, pipe = tcp_pipe(c);
    if (unlikely(c->dup_acks) && c->ca_state == CA_OPEN &&
        !(c->flags & CF_SACK)) {
        cwnd += min_u32(c->dup_acks, 2) * c->mss; /* RFC 3042 */
    }
    return cwnd > pipe ? cwnd - pipe : 0;
}

/* What the peer's window leaves. */
static uint32_t peer_room(const struct tcp_conn *c)
{
    uint32_t used = c->snd_nxt - c->snd_una;
    return c->snd_wnd > used ? c->snd_wnd - used : 0;
}

/*
 * How much of `left` bytes to put into the next segment, 0 to wait.
 * s3.8.6.2.1, with the user's cork beside Nagle's rule.
 */
static uint32_t next_len(struct tcp_conn *c, uint64_t left)
{
    uint32_t mss = segment_room(c);
    uint32_t peer = peer_room(c), cwnd = cwnd_room(c), len = mss;
    bool idle = c->snd_una == c->snd_nxt, fin = (c->flags & CF_FIN) != 0;
    if (c->stack->link->caps & NET_CAP_TSO4 && left > mss) {
        len = c->stack->link->gso_max - c->stack->link->gso_max % mss;
        len = max_u32(len, mss);
    }
    len = left < len ? (uint32_t)left : len;
    if (cwnd < len) {
        /* Runts would be the fault of our own window: wait for ACKs. */
        len = cwnd - cwnd % mss;
        if (!len) {
            c->flags |= CF_FULL;
            return 0;
        }
    }
    if (peer < len) {
        len = peer >= mss ? peer - peer % mss : peer;
    }
    if (len == left) {
        bool wait = c->flags & CF_CORK || (c->options & TCP_NAGLE && !idle);
        return wait && !fin ? len - len % mss : len;
    }
    if (len >= mss) {
        return len;
    }
    return len && len >= c->max_wnd / 2 ? len : 0;
}

static void sent_new(struct tcp_conn *c, uint32_t n)
{
    struct net_stack *s = c->stack;
    uint64_t now = s->now_ns;
    bool first = c->snd_nxt == c->snd_max; /* not before its window closed */
    if (c->snd_una == c->snd_nxt) {
        c->stuck_ns = now;
    }
    s->stats.tcp_bytes_out += n;
    c->snd_nxt += n;
    if (seq_lt(c->snd_max, c->snd_nxt)) {
        c->snd_max = c->snd_nxt;
    }
    c->sent_ns = now;
    if (!c->rtt_ns && c->ca_state == CA_OPEN && first) {
        c->rtt_ns = now;
        c->rtt_seq = c->snd_nxt;
    }
    if (!c->t_rexmit) {
        tcp_rexmit_start(c);
    }
}

/* Returns 1 when it ended for want of data or window, 0 when the user has not
   got the bytes, -NET_E_AGAIN when the link is full. */
static int send_new(struct tcp_conn *c)
{
    for (;;) {
        uint64_t left = left_from(c, c->snd_nxt);
        if (!left) {
            c->flags &= ~CF_FULL;
            return 1;
        }
        if (c->flags & CF_NO_DATA && offset_of(c, c->snd_nxt) < c->limit) {
            return 0;
        }
        uint32_t len = next_len(c, left);
        if (!len) {
            return 1;
        }
        int r = send_range(c, c->snd_nxt, len);
        if (r <= 0) {
            return r;
        }
        sent_new(c, (uint32_t)r);
    }
}

/* ------------------------------------------------------------------- probes */

/* One byte beyond a closed window, or what fits of a silly one. */
static int send_probe(struct tcp_conn *c)
{
    uint64_t left = left_from(c, c->snd_una);
    uint32_t len = max_u32(min_u32(c->snd_wnd, segment_room(c)), 1);
    c->flags &= ~CF_PROBE;
    if (!left) {
        return 1;
    }
    len = left < len ? (uint32_t)left : len;
    int r = send_range(c, c->snd_una, len);
    if (r > 0) {
        c->stack->stats.tcp_probes++;
        if (seq_lt(c->snd_nxt, c->snd_una + (uint32_t)r)) {
            c->snd_nxt = c->snd_una + (uint32_t)r;
        }
        if (seq_lt(c->snd_max, c->snd_nxt)) {
            c->snd_max = c->snd_nxt;
        }
    } else if (r < 0) {
        c->flags |= CF_PROBE;
    }
    return r;
}

/* s3.8.4: an old sequence number makes the peer acknowledge. */
static int send_keepalive(struct tcp_conn *c)
{
    struct tcp_frame t = {.seq = c->snd_una - 1, .flags = TH_ACK};
    c->flags &= ~CF_KEEP;
    c->stack->stats.tcp_keepalives++;
    return tcp_emit(c, &t);
}

static int send_ack(struct tcp_conn *c)
{
    struct tcp_frame t;
    t.seq = acceptable_seq(c);
    t.flags = TH_ACK;
    t.sum = 0;
    t.f.pin = NULL;
    t.f.csum_start = 0;
    t.f.gso = NET_GSO_NONE;
    t.f.gso_size = 0;
    t.f.count = 0;
    t.f.body_len = 0;
    return tcp_emit(c, &t);
}

/* ------------------------------------------------------------------ together
 */

static int output_syn(struct tcp_conn *c)
{
    if (c->flags & CF_SYN) {
        if (c->snd_nxt == c->iss && c->state == TCP_SYN_SENT) {
            c->rcv_scale = tcp_scale_for(c->rcv_space);
        }
        int r = tcp_emit_syn(c);
        if (r) {
            return r;
        }
        c->flags &= ~(CF_SYN | CF_ACK_NOW);
        if (c->snd_nxt == c->iss) {
            c->snd_nxt = c->snd_max = c->iss + 1;
            c->rtt_ns = c->stack->now_ns;
            c->rtt_seq = c->snd_nxt;
        }
        if (!c->t_rexmit) {
            tcp_rexmit_start(c);
        }
    }
    if (c->flags & CF_ACK_NOW) {
        int r = send_ack(c);
        if (r) {
            return r;
        }
    }
    tcp_arm(c);
    return 0;
}

/* With data, nothing in flight and no window, only probes keep it alive. */
static void check_persist(struct tcp_conn *c)
{
    if (c->t_rexmit || c->flags & CF_NO_DATA || c->snd_una != c->snd_nxt ||
        !left_from(c, c->snd_nxt) || cwnd_room(c) == 0) {
        return;
    }
    if (peer_room(c) < min_u32(c->mss, c->max_wnd / 2 + 1)) {
        c->flags |= CF_PERSIST;
        c->stuck_ns = c->stack->now_ns;
        tcp_rexmit_start(c);
    }
}

static int output_data(struct tcp_conn *c)
{
    int r = 1;
    if (unlikely(c->flags & CF_PROBE)) {
        r = send_probe(c);
    }
    if (unlikely(c->ca_state != CA_OPEN) && r > 0) {
        r = send_lost(c);
    }
    if (r > 0) {
        r = send_new(c);
    }
    if (unlikely(c->ca_state == CA_RECOVERY) && r > 0 && c->flags & CF_SACK) {
        r = send_maybe_lost(c);
    }
    return r;
}

/* Everything `c` has to say now. -NET_E_AGAIN: it has not finished. */
int tcp_output(struct tcp_conn *c)
{
    if (c->state < TCP_ESTABLISHED) {
        return output_syn(c);
    }
    if (unlikely(c->flags & CF_DELIVER)) {
        tcp_deliver_held(c);
        if (c->flags & CF_DEAD) {
            return 0;
        }
    }
    if (c->snd_una == c->snd_nxt && left_from(c, c->snd_nxt) &&
        c->stack->now_ns - c->sent_ns > tcp_rto_ns(c)) {
        c->cc->start(c, true);
    }
    int r = output_data(c);
    if (unlikely(c->flags & CF_DEAD)) {
        return 0; /* gather gave up on it */
    }
    if (r >= 0 && unlikely(c->flags & CF_KEEP)) {
        r = send_keepalive(c);
    }
    if (r >= 0 && c->flags & CF_ACK_NOW) {
        r = send_ack(c);
    }
    if (c->flags & CF_ACK_LATER && !c->t_delack) {
        c->t_delack = c->stack->now_ns + TCP_DELACK_NS;
    }
    check_persist(c);
    tcp_arm(c);
    return r < 0 ? r : 0;
}
