/* SPDX-License-Identifier: MIT */
/*
 * What an acknowledgement says: how long the way is (RFC 6298), what the peer
 * has beyond a gap (RFC 2018), what must have been lost (RFC 6675, 6582) and
 * when it has been made good.
 *
 * The scoreboard is a short list of ranges the peer has; holes between them
 * are computed, not stored. A report that would need one range too many is
 * forgotten, which costs a retransmission and nothing else.
 */
#include "libos/tcp/tcp_impl.h"

/* ---------------------------------------------------------------- round trip
 */

#define RTT_GRAIN_US 1000u

void tcp_rtt_sample(struct tcp_conn *c, uint64_t rtt_ns)
{
    uint64_t us64 = rtt_ns / 1000;
    uint32_t us = us64 > TCP_RTO_MAX_US ? TCP_RTO_MAX_US : (uint32_t)us64;
    c->stack->stats.tcp_rtt_samples++;
    c->stack->stats.tcp_rtt_us += us;
    if (!c->srtt_us) {
        c->srtt_us = us ? us : 1;
        c->rttvar_us = us / 2;
    } else {
        uint32_t var = us > c->srtt_us ? us - c->srtt_us : c->srtt_us - us;
        c->rttvar_us = c->rttvar_us - c->rttvar_us / 4 + var / 4;
        c->srtt_us = c->srtt_us - c->srtt_us / 8 + us / 8;
        c->srtt_us += c->srtt_us == 0;
    }
    c->rto_us = c->srtt_us + max_u32(RTT_GRAIN_US, 4 * c->rttvar_us);
    c->rto_us = max_u32(min_u32(c->rto_us, TCP_RTO_MAX_US), TCP_RTO_MIN_US);
    c->backoff = 0;
}

/* ---------------------------------------------------------------- scoreboard
 */

/* Bytes of [begin, end) the peer has. */
static uint32_t sacked_in(const struct tcp_conn *c, uint32_t begin,
                          uint32_t end)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < c->sack_count; i++) {
        uint32_t b = c->sack[i].begin, e = c->sack[i].end;
        b = seq_lt(b, begin) ? begin : b;
        e = seq_lt(end, e) ? end : e;
        sum += seq_lt(b, e) ? e - b : 0;
    }
    return sum;
}

struct tcp_range tcp_hole(const struct tcp_conn *c, uint32_t seq)
{
    for (uint32_t i = 0; i < c->sack_count; i++) {
        if (seq_lt(seq, c->sack[i].begin)) {
            return (struct tcp_range){seq, c->sack[i].begin};
        }
        if (seq_lt(seq, c->sack[i].end)) {
            seq = c->sack[i].end;
        }
    }
    return (struct tcp_range){seq, c->snd_nxt};
}

/* RFC 6675 IsLost: true of every hole below what is returned. */
uint32_t tcp_lost_edge(const struct tcp_conn *c)
{
    uint32_t bytes = 0, i = c->sack_count;
    while (i > 0) {
        i--;
        bytes += c->sack[i].end - c->sack[i].begin;
        if (c->sack_count - i >= TCP_DUP_THRESH ||
            bytes > (TCP_DUP_THRESH - 1) * c->mss) {
            return c->sack[i].begin;
        }
    }
    return c->snd_una;
}

/* RFC 6675 pipe: bytes taken to be in the network. */
uint32_t tcp_pipe(const struct tcp_conn *c)
{
    uint32_t una = c->snd_una, nxt = c->snd_nxt;
    if (likely(c->ca_state == CA_OPEN)) {
        return nxt - una - (c->sack_count ? sacked_in(c, una, nxt) : 0);
    }
    uint32_t again = seq_lt(una, c->high_rxt) ? c->high_rxt : una;
    uint32_t edge;
    if (c->ca_state == CA_LOSS) {
        edge = seq_lt(c->recover, again) ? again : c->recover;
    } else if (c->flags & CF_SACK) {
        edge = tcp_lost_edge(c);
    } else {
        return nxt - una; /* NewReno inflates cwnd instead */
    }
    edge = seq_lt(nxt, edge) ? nxt : edge;
    return again - una - sacked_in(c, una, again) + nxt - edge -
           sacked_in(c, edge, nxt);
}

/* Drop what was acknowledged. */
static void sack_trim(struct tcp_conn *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->sack_count; i++) {
        struct tcp_range r = c->sack[i];
        if (seq_leq(r.end, c->snd_una)) {
            continue;
        }
        if (seq_lt(r.begin, c->snd_una)) {
            r.begin = c->snd_una;
        }
        c->sack[n++] = r;
    }
    c->sack_count = n;
}

/* Add a range; true when it holds something new. */
static bool sack_add(struct tcp_conn *c, struct tcp_range r)
{
    uint32_t first = 0;
    if (!seq_lt(r.begin, r.end) || seq_lt(r.begin, c->snd_una) ||
        seq_lt(c->snd_max, r.end)) {
        return false; /* nonsense, old, or a duplicate report (RFC 2883) */
    }
    uint32_t before = sacked_in(c, r.begin, r.end);
    if (before == r.end - r.begin) {
        return false;
    }
    while (first < c->sack_count && seq_lt(c->sack[first].end, r.begin)) {
        first++;
    }
    uint32_t last = first;
    while (last < c->sack_count && seq_leq(c->sack[last].begin, r.end)) {
        if (seq_lt(c->sack[last].begin, r.begin)) {
            r.begin = c->sack[last].begin;
        }
        if (seq_lt(r.end, c->sack[last].end)) {
            r.end = c->sack[last].end;
        }
        last++;
    }
    if (last == first && c->sack_count == TCP_SACK_MAX) {
        return false;
    }
    /* Ranges [first, last) become one. */
    __builtin_memmove(&c->sack[first + 1], &c->sack[last],
                      (c->sack_count - last) * sizeof c->sack[0]);
    c->sack[first] = r;
    c->sack_count = c->sack_count - (last - first) + 1;
    return true;
}

bool tcp_sack_input(struct tcp_conn *c, const struct tcp_seg *g)
{
    bool news = false;
    for (uint32_t i = 0; i < g->sack_count; i++) {
        news |= sack_add(c, g->sack[i]);
    }
    return news;
}

/* ------------------------------------------------------------------ recovery
 */

static void enter_recovery(struct tcp_conn *c)
{
    bool sack = (c->flags & CF_SACK) != 0;
    c->stack->stats.tcp_fast_rexmit++;
    /* RFC 5681 s3.2 step 2: what limited transmit sent beyond cwnd must not
       count. */
    c->cc->lost(c, min_u32(c->snd_nxt - c->snd_una, c->cwnd), false);
    c->ca_state = CA_RECOVERY;
    c->recover = c->snd_nxt;
    c->high_rxt = c->snd_una;
    c->rtt_ns = 0;
    c->flags = (c->flags | CF_REXMIT) & ~CF_RESCUED;
    c->cwnd = c->ssthresh + (sack ? 0 : TCP_DUP_THRESH * c->mss);
}

/* A new loss, unless it may be an echo of one made good before (RFC 6582
   s3.2 step 2, RFC 6675 s5). */
static void check_loss(struct tcp_conn *c)
{
    bool lost = c->dup_acks >= TCP_DUP_THRESH;
    if (c->flags & CF_SACK) {
        lost |= seq_lt(c->snd_una, tcp_lost_edge(c));
        lost &= c->sack_count != 0 && seq_leq(c->recover, c->snd_una);
    } else {
        lost &= seq_lt(c->recover, c->snd_una);
    }
    if (lost) {
        enter_recovery(c);
    }
}

void tcp_dup_ack(struct tcp_conn *c, bool news)
{
    if (c->flags & CF_SACK && !news) {
        return; /* RFC 6675 s2: a duplicate ACK reports something new */
    }
    c->dup_acks++;
    if (c->ca_state == CA_OPEN) {
        check_loss(c);
    } else if (c->ca_state == CA_RECOVERY && !(c->flags & CF_SACK)) {
        /* RFC 6582 s3.2 step 2; bounded, for a liar may send more of them
           than there are segments (RFC 5681 s5). */
        uint32_t most =
            c->ssthresh + (c->snd_nxt - c->snd_una) + TCP_DUP_THRESH * c->mss;

        c->cwnd = min_u32(c->cwnd + c->mss, most);
    }
    tcp_queue(c);
}

void tcp_recovery_done(struct tcp_conn *c)
{
    uint32_t flight = c->snd_nxt - c->snd_una;
    if (c->ca_state == CA_RECOVERY) {
        c->cwnd = c->ssthresh;
        if (!(c->flags & CF_SACK)) {
            c->cwnd = min_u32(c->ssthresh, max_u32(flight, c->mss) + c->mss);
        }
    }
    c->ca_state = CA_OPEN;
    c->dup_acks = 0;
    c->flags &= ~CF_REXMIT;
}

/* New data was acknowledged while a loss is being made good. */
static void recovery_ack(struct tcp_conn *c, uint32_t bytes)
{
    if (seq_leq(c->recover, c->snd_una)) {
        tcp_recovery_done(c);
        return;
    }
    if (seq_lt(c->high_rxt, c->snd_una)) {
        c->high_rxt = c->snd_una;
    }
    if (c->ca_state == CA_LOSS) {
        c->cc->acked(c, bytes);
    } else if (!(c->flags & CF_SACK)) {
        /* RFC 6582 s3.2 step 3: a partial ACK; the next hole is there. */
        c->cwnd -= min_u32(bytes, c->cwnd);
        c->cwnd += bytes >= c->mss ? c->mss : 0;
        c->cwnd = max_u32(c->cwnd, c->mss);
        c->flags |= CF_REXMIT;
    }
}

/* ----------------------------------------------------------------- the ACK */

static void fin_acked(struct tcp_conn *c)
{
    if (c->state == TCP_FIN_WAIT_1) {
        c->state = TCP_FIN_WAIT_2;
        if (!(c->options & TCP_LINGER)) {
            c->t_idle = c->stack->now_ns + TCP_FIN_WAIT_NS;
        }
    } else if (c->state == TCP_CLOSING) {
        tcp_wait_begin(c);
        tcp_kill(c, TCP_DONE);
    } else if (c->state == TCP_LAST_ACK) {
        tcp_kill(c, TCP_DONE);
    }
}

/* `ack` lies in (snd_una, snd_max]: everything below it has arrived. */
void tcp_acked(struct tcp_conn *c, uint32_t ack)
{
    uint32_t bytes = ack - c->snd_una;
    uint64_t now = c->stack->now_ns, was = c->una_off;
    if (c->rtt_ns && seq_leq(c->rtt_seq, ack)) {
        tcp_rtt_sample(c, now - c->rtt_ns);
        c->rtt_ns = 0;
    }
    c->snd_una = ack;
    c->una_off += bytes;
    if (unlikely(seq_lt(c->snd_nxt, ack))) {
        c->snd_nxt = ack;
    }
    c->stuck_ns = now;
    c->moved_ns = now;
    if (unlikely(was == 0 && c->room)) {
        tcp_room_served(c);
    }
    if (unlikely(c->backoff)) {
        /* RFC 6298 s5: only a measurement takes doublings back. */
        if (!(c->flags & CF_PERSIST)) {
            c->rto_us = (uint32_t)(tcp_rto_ns(c) / 1000);
        }
        c->backoff = 0;
    }
    c->flags &= ~CF_PERSIST;
    if (unlikely(c->sack_count)) {
        sack_trim(c);
    }
    if (likely(c->ca_state == CA_OPEN)) {
        if (c->flags & CF_FULL) {
            c->cc->acked(c, bytes);
        }
        c->dup_acks = 0;
        if (seq_lt(c->recover, ack)) {
            c->recover = ack - 1; /* or it would lie ahead after 2^31 bytes */
        }
        if (unlikely(c->sack_count)) {
            check_loss(c);
        }
    } else {
        recovery_ack(c, bytes);
    }
    c->t_rexmit = ack == c->snd_nxt ? 0 : now + tcp_rto_ns(c);
    tcp_queue(c);
    uint64_t upto = c->una_off < c->limit ? c->una_off : c->limit;
    if (c->ops->acked != NULL && upto > was) {
        c->ops->acked(c, upto);
    }
    if (unlikely(c->flags & CF_FIN) && c->una_off > c->limit) {
        fin_acked(c);
    }
}
