/* SPDX-License-Identifier: MIT */
/*
 * Data from the peer. In order it goes straight to the user, from where the
 * device put it. Beyond a gap it waits in buffers of the stack's pool; they are
 * never dropped again, so that what we reported by SACK is true (RFC 2018 s8),
 * and data in order needs none, so a full pool cannot stop a connection.
 *
 * A connection may hold ooo_bufs_conn buffers, and all together three quarters
 * of the pool: peers that leave gaps open for ever cannot take the last
 * quarter, from which the stack sends (echo replies, UDP, DHCP).
 *
 * Invariants: c->ooo ascends, buffers do not overlap; rcv_nxt <= rcv_adv.
 */
#include "libos/tcp/tcp_impl.h"

static uint32_t end_of(const struct net_buf *b)
{
    return b->seq + b->len;
}

void tcp_held_free(struct tcp_conn *c)
{
    struct net_buf *next;
    for (struct net_buf *b = c->ooo; b != NULL; b = next) {
        next = b->next;
        buf_free(b);
    }
    c->stack->ooo_bufs -= c->ooo_count;
    c->ooo = NULL;
    c->ooo_count = 0;
}

/* ---------------------------------------------------------------- our window
 */

/*
 * The window to announce, as it goes into the header. It moves on only in
 * steps worth a segment (s3.8.6.2.2) and never back.
 */
uint16_t tcp_window(struct tcp_conn *c)
{
    uint32_t right = c->rcv_nxt + c->rcv_space;
    uint32_t step = min_u32(c->mss, c->rcv_most / 2);
    uint32_t wnd;
    if (seq_lt(c->rcv_adv, right) && right - c->rcv_adv >= step) {
        wnd = right - c->rcv_nxt;
        wnd = min_u32(wnd >> c->rcv_scale, 65535);
        right = c->rcv_nxt + (wnd << c->rcv_scale);
        if (seq_lt(c->rcv_adv, right)) {
            c->rcv_adv = right;
        }
    }
    wnd = (c->rcv_adv - c->rcv_nxt) >> c->rcv_scale;
    return (uint16_t)min_u32(wnd, 65535);
}

/* ------------------------------------------------------------------ delivery
 */

/* Give the user bytes that are next in order; returns how many it took. The
   connection may be dead afterwards. */
uint32_t tcp_deliver(struct tcp_conn *c, const uint8_t *data, uint32_t len)
{
    uint32_t took = len;

    /* Counted before, so that tcp_receive_window in there starts behind. */
    c->rcv_nxt += len;
    if (c->ops->received != NULL) {
        took = c->ops->received(c, data, len);
    }
    if (took < len) {
        c->rcv_nxt -= len - took;
    }
    took = min_u32(took, len);
    c->rcv_off += took;
    if (took) {
        c->moved_ns = c->stack->now_ns;
    }
    c->stack->stats.tcp_bytes_in += took;
    return took;
}

void tcp_take_fin(struct tcp_conn *c)
{
    if ((c->flags & (CF_FIN_SEEN | CF_FIN_TAKEN)) != CF_FIN_SEEN ||
        c->rcv_nxt != c->fin_seq) {
        return;
    }
    c->flags |= CF_FIN_TAKEN | CF_ACK_NOW;
    c->rcv_nxt++;
    if (seq_lt(c->rcv_adv, c->rcv_nxt)) {
        c->rcv_adv = c->rcv_nxt;
    }
    tcp_queue(c);
    if (c->state == TCP_ESTABLISHED) {
        c->state = TCP_CLOSE_WAIT;
    } else if (c->state == TCP_FIN_WAIT_1) {
        c->state = TCP_CLOSING;
    }
    if (c->ops->finished != NULL) {
        c->ops->finished(c);
    }
    if (c->state == TCP_FIN_WAIT_2) {
        tcp_wait_begin(c);
        tcp_kill(c, TCP_DONE);
    }
}

/* Deliver what is no longer beyond a gap. */
void tcp_deliver_held(struct tcp_conn *c)
{
    c->flags &= ~CF_DELIVER;
    struct net_buf *b;
    while ((b = c->ooo) != NULL && seq_leq(b->seq, c->rcv_nxt)) {
        uint32_t skip = c->rcv_nxt - b->seq, took = 0;
        c->ooo = b->next; /* a callback may end the connection */
        if (skip < b->len) {
            took = tcp_deliver(c, b->data + skip, b->len - skip);
            c->flags |= CF_ACK_NOW;
        }
        if (c->flags & CF_DEAD) {
            buf_free(b);
            return;
        }
        if (skip + took < b->len) {
            b->next = c->ooo;
            c->ooo = b;
            return;
        }
        c->ooo_count--;
        c->stack->ooo_bufs--;
        buf_free(b);
    }
    tcp_take_fin(c);
}

/* --------------------------------------------------------------- beyond a gap
 */

static bool room_for_buf(const struct tcp_conn *c)
{
    const struct net_stack *s = c->stack;

    return c->ooo_count < s->ooo_bufs_conn &&
           s->ooo_bufs < s->buf_count - s->buf_count / 4;
}

/* Put up to `n` bytes at `seq` behind `prev` or into a new buffer at *at;
   returns how many, 0 when there is no room. */
static uint32_t put(struct tcp_conn *c, struct net_buf *prev,
                    struct net_buf **at, uint32_t seq, struct tcp_range from,
                    const uint8_t *data)
{
    uint32_t n = from.end - from.begin;
    struct net_buf *b = prev;
    if (prev == NULL || end_of(prev) != seq || prev->len == BUF_DATA) {
        b = room_for_buf(c) ? buf_alloc(c->stack) : NULL;
        if (b == NULL) {
            c->stack->stats.tcp_ooo_dropped++;
            return 0;
        }
        b->seq = seq;
        b->len = 0;
        b->next = *at;
        *at = b;
        c->ooo_count++;
        c->stack->ooo_bufs++;
    }
    n = min_u32(n, BUF_DATA - b->len);
    __builtin_memcpy(b->data + b->len, data, n);
    b->len += n;
    return n;
}

/* Keep those bytes of [seq, seq + len) that are not kept already. */
static void hold(struct tcp_conn *c, uint32_t seq, const uint8_t *data,
                 uint32_t len)
{
    struct net_buf **at = &c->ooo, *prev = NULL;
    uint32_t n;
    while (len) {
        while (*at != NULL && seq_leq(end_of(*at), seq)) {
            prev = *at;
            at = &prev->next;
        }
        if (*at != NULL && seq_leq((*at)->seq, seq)) {
            n = min_u32(end_of(*at) - seq, len);
        } else {
            n = *at != NULL ? min_u32((*at)->seq - seq, len) : len;
            n = put(c, prev, at, seq, (struct tcp_range){seq, seq + n}, data);
            if (!n) {
                return;
            }
        }
        seq += n;
        data += n;
        len -= n;
    }
}

/* The block of held data around `seq`; empty when there is none. */
static struct tcp_range block_at(const struct tcp_conn *c, uint32_t seq)
{
    struct tcp_range r = {0, 0};
    for (const struct net_buf *b = c->ooo; b != NULL; b = b->next) {
        if (r.begin == r.end || b->seq != r.end) {
            if (r.begin != r.end && seq_lt(seq, r.end)) {
                break;
            }
            r.begin = b->seq;
        }
        r.end = end_of(b);
    }
    if (r.begin == r.end || seq_lt(seq, r.begin) || !seq_lt(seq, r.end) ||
        seq_leq(r.begin, c->rcv_nxt)) {
        return (struct tcp_range){0, 0};
    }
    return r;
}

/*
 * Put the block around `seq` first of those to be reported. Each block stands
 * once, so that one which grows segment by segment pushes no other out.
 */
static void note_recent(struct tcp_conn *c, uint32_t seq)
{
    uint32_t n = 0;
    uint32_t begin[4];
    for (uint32_t i = 0; i < 5 && n < 4; i++) {
        struct tcp_range r = block_at(c, i ? c->ooo_recent[i - 1] : seq);
        bool again = r.begin == r.end;
        for (uint32_t k = 0; k < n; k++) {
            again |= begin[k] == r.begin;
        }
        if (!again) {
            begin[n++] = r.begin;
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        c->ooo_recent[i] = i < n ? begin[i] : c->rcv_nxt; /* in no block */
    }
}

/*
 * Write the SACK option, the block that changed last first (RFC 2018 s4), as
 * many as fit beside the timestamps. Returns its length, a multiple of 4.
 */
uint32_t tcp_put_sack(const struct tcp_conn *c, uint8_t *opt)
{
    uint32_t max = c->flags & CF_TS ? 3 : 4, n = 0;
    for (uint32_t i = 0; i < 4 && n < max; i++) {
        struct tcp_range r = block_at(c, c->ooo_recent[i]);
        bool again = r.begin == r.end;
        for (uint32_t k = 0; k < n; k++) {
            again |= get32(opt + 4 + 8 * k) == r.begin;
        }
        if (!again) {
            put32(opt + 4 + 8 * n, r.begin);
            put32(opt + 8 + 8 * n, r.end);
            n++;
        }
    }
    if (!n) {
        return 0;
    }
    put32(opt, 0x01010500u | (2 + 8 * n));
    return 4 + 8 * n;
}

/* --------------------------------------------------------------------- input
 */

/* Cut off what we have and what we did not ask for. */
static void clip(struct tcp_conn *c, struct tcp_seg *g)
{
    if (seq_lt(g->seq, c->rcv_nxt)) {
        uint32_t old = c->rcv_nxt - g->seq;
        if (old > g->len) {
            g->flags &= (uint8_t)~TH_FIN;
            old = g->len;
        }
        g->data += old;
        g->len -= old;
        g->seq = c->rcv_nxt;
        c->flags |= CF_ACK_NOW;
    }
    uint32_t room = seq_lt(g->seq, c->rcv_adv) ? c->rcv_adv - g->seq : 0;
    if (c->flags & CF_FIN_SEEN) {
        room =
            min_u32(room, seq_lt(g->seq, c->fin_seq) ? c->fin_seq - g->seq : 0);
    }
    if (g->len > room) {
        g->len = room;
        g->flags &= (uint8_t)~TH_FIN;
        c->flags |= CF_ACK_NOW;
    }
}

static void in_order(struct tcp_conn *c, const struct tcp_seg *g)
{
    if (g->len) {
        uint32_t took = tcp_deliver(c, g->data, g->len);
        if (c->flags & CF_DEAD) {
            return;
        }
        /* RFC 5681 s4.2: every second segment at the latest. */
        c->flags |=
            took < g->len || ++c->ack_due >= 2 ? CF_ACK_NOW : CF_ACK_LATER;
    }
    if (c->ooo != NULL) {
        c->flags |= CF_ACK_NOW;
        tcp_deliver_held(c);
    } else {
        tcp_take_fin(c);
    }
}

void tcp_data(struct tcp_conn *c, const struct tcp_seg *seg)
{
    struct tcp_seg g = *seg;
    clip(c, &g);
    tcp_queue(c);
    if (g.flags & TH_FIN && !(c->flags & CF_FIN_SEEN)) {
        c->flags |= CF_FIN_SEEN;
        c->fin_seq = g.seq + g.len;
    }
    if (g.seq == c->rcv_nxt) {
        in_order(c, &g);
        return;
    }
    c->flags |= CF_ACK_NOW; /* RFC 5681 s4.2: a duplicate ACK, at once */
    if (g.len) {
        c->stack->stats.tcp_out_of_order++;
        hold(c, g.seq, g.data, g.len);
        note_recent(c, g.seq);
    }
}
