/* SPDX-License-Identifier: MIT */
/*
 * TIME_WAIT without a connection: a record of what is needed to acknowledge a
 * FIN that comes again and to recognise old segments (s3.6.1). All wait
 * equally long, so they expire in order of a list. Resets are ignored, for
 * they could end the wait early (RFC 1337); a new SYN ends it when it is
 * certainly newer (RFC 6191 s2).
 */
#include "libos/tcp/tcp_impl.h"

static struct tcp_wait **chain(struct net_stack *s, const struct tcp_key *k)
{
    return &s->tcp.wait[tcp_hash(s, k) & s->tcp.wait_mask];
}

static struct tcp_wait *find(struct net_stack *s, const struct tcp_key *k)
{
    struct tcp_wait *w = *chain(s, k);
    while (w != NULL && !key_eq(&w->key, k)) {
        w = w->next;
    }
    return w;
}

bool tcp_wait_has(struct net_stack *s, const struct tcp_key *k)
{
    return find(s, k) != NULL;
}

static void leave_queue(struct net_stack *s, struct tcp_wait *w)
{
    *w->earlier = w->later;
    if (w->later != NULL) {
        w->later->earlier = w->earlier;
    } else {
        s->tcp.wait_last = w->earlier;
    }
}

static void enter_queue(struct net_stack *s, struct tcp_wait *w)
{
    w->until_ns = s->now_ns + TCP_WAIT_NS;
    w->later = NULL;
    w->earlier = s->tcp.wait_last;
    *s->tcp.wait_last = w;
    s->tcp.wait_last = &w->later;
    if (!s->tcp.wait_timer.at_ns) {
        net_timer_start(s, &s->tcp.wait_timer, w->until_ns);
    }
}

static void forget(struct net_stack *s, struct tcp_wait *w)
{
    struct tcp_wait **p = chain(s, &w->key);
    while (*p != w) {
        p = &(*p)->next;
    }
    *p = w->next;
    leave_queue(s, w);
    w->next = s->tcp.wait_free;
    s->tcp.wait_free = w;
}

void tcp_wait_fire(struct net_timer *t, struct net_stack *s)
{
    struct tcp_wait *w;
    while ((w = s->tcp.wait_first) != NULL && w->until_ns <= s->now_ns) {
        forget(s, w);
    }
    if (w != NULL) {
        net_timer_start(s, t, w->until_ns);
    }
}

void tcp_wait_begin(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    if (s->tcp.wait_free == NULL && s->tcp.wait_first != NULL) {
        forget(s, s->tcp.wait_first);
        s->stats.tcp_tw_recycled++;
    }
    struct tcp_wait *w = s->tcp.wait_free;
    if (w == NULL) {
        return; /* configured to keep none */
    }
    s->tcp.wait_free = w->next;
    *w = (struct tcp_wait){
        .key = {c->remote, c->local, c->remote_port, c->local_port},
        .snd_nxt = c->snd_nxt,
        .rcv_nxt = c->rcv_nxt,
        .ts_recent = c->ts_recent,
        .ts_offset = c->ts_offset,
        .wnd = tcp_window(c),
        .has_ts = (c->flags & CF_TS) != 0,
    };
    struct tcp_wait **p = chain(s, &w->key);
    w->next = *p;
    *p = w;
    enter_queue(s, w);
    s->stats.tcp_time_wait++;
}

/* RFC 6191 s2: whether a SYN can only be of a later connection. */
static bool newer(const struct tcp_wait *w, const struct tcp_seg *g)
{
    if (w->has_ts && g->has_ts && g->tsval != w->ts_recent) {
        return seq_lt(w->ts_recent, g->tsval);
    }
    return seq_lt(w->rcv_nxt, g->seq);
}

static void acknowledge(struct net_stack *s, const struct tcp_wait *w)
{
    struct tcp_say m = {
        .key = w->key,
        .seq = w->snd_nxt,
        .ack = w->rcv_nxt,
        .flags = TH_ACK,
        .wnd = w->wnd,
        .scale = TCP_NO_SCALE,
        .has_ts = w->has_ts,
        .tsval = s->now_ms + w->ts_offset,
        .tsecr = w->ts_recent,
    };
    (void)tcp_say(s, &m);
}

/* The same where it was provoked, at a limited rate (RFC 5961 s7). */
static void challenge(struct net_stack *s, const struct tcp_wait *w)
{
    if (limiter_take(&s->tcp.resets, s->now_ns)) {
        s->stats.tcp_challenges++;
        acknowledge(s, w);
    } else {
        s->stats.tcp_limited++;
    }
}

bool tcp_wait_input(struct net_stack *s, struct tcp_seg *g)
{
    struct tcp_wait *w = find(s, &g->key);
    if (w == NULL) {
        return false;
    }
    if (g->flags & TH_RST) {
        return true;
    }
    if ((g->flags & (TH_SYN | TH_ACK | TH_FIN)) == TH_SYN && newer(w, g) &&
        tcp_listener_at(s, g->key.local_port) != NULL) {
        g->isn_bound = true;
        g->isn_floor = w->snd_nxt;
        forget(s, w);
        s->stats.tcp_tw_reused++;
        return false;
    }
    bool old = w->has_ts && g->has_ts && seq_lt(g->tsval, w->ts_recent);
    if (g->flags & TH_FIN && g->seq + g->len + 1 == w->rcv_nxt) {
        if (!old) {
            leave_queue(s, w); /* the peer lost our ACK: wait anew */
            enter_queue(s, w);
        }
        acknowledge(s, w);
    } else if (g->flags & (TH_FIN | TH_SYN) || g->len || g->seq != w->rcv_nxt) {
        challenge(s, w);
    }
    return true;
}
