/* SPDX-License-Identifier: MIT */
/*
 * Handshakes that others begin. A SYN costs a half-open record, not a
 * connection; the user is asked for memory when the handshake is complete.
 * When the records of a listener or of the stack are used up, the SYN-ACK's
 * sequence number is a cookie that says all that must be known (RFC 4987
 * s3.6), with window scale and SACK in the low bits of our timestamp.
 */
#include "libos/tcp/tcp_impl.h"

#define HALF_TRIES 5u   /* SYN-ACKs sent again: 1, 2, 4, 8, 16 s */
#define COOKIE_SHIFT 36 /* an epoch is 2^36 ns, 69 s */
#define COOKIE_LIFE_NS (2ull << COOKIE_SHIFT)
#define COOKIE_OPTS 0x3fu /* low bits of the timestamp */
#define COOKIE_NO_SCALE 0xfu
#define COOKIE_SACK 0x10u

/* What a cookie can say of the peer's MSS, in three bits. */
static const uint16_t cookie_mss[8] = {TCP_MSS_MIN, 536,  1024, 1220,
                                       1360,        1400, 1440, 1460};

/* ------------------------------------------------------------------ records */

static struct tcp_half **chain(struct net_stack *s, const struct tcp_key *k)
{
    return &s->tcp.half[tcp_hash(s, k) & s->tcp.half_mask];
}

static struct tcp_half *half_find(struct net_stack *s, const struct tcp_key *k)
{
    struct tcp_half *h = *chain(s, k);
    while (h != NULL && !key_eq(&h->key, k)) {
        h = h->next;
    }
    return h;
}

static void half_free(struct tcp_half *h)
{
    struct net_stack *s = h->stack;
    struct tcp_half **p = chain(s, &h->key);
    while (*p != h) {
        p = &(*p)->next;
    }
    *p = h->next;
    net_timer_stop(s, &h->timer);
    h->l->half_count--;
    h->next = s->tcp.half_free;
    s->tcp.half_free = h;
}

void tcp_unlisten(struct tcp_listener *l)
{
    struct net_stack *s = l->stack;
    struct tcp_listener **p = &s->tcp.listeners;
    while (*p != NULL && *p != l) {
        p = &(*p)->next;
    }
    if (*p == NULL) {
        return;
    }
    *p = l->next;
    for (uint32_t i = 0; i <= s->tcp.half_mask; i++) {
        struct tcp_half *h = s->tcp.half[i];
        struct tcp_half *next;
        for (; h != NULL; h = next) {
            next = h->next;
            if (h->l == l) {
                half_free(h);
            }
        }
    }
}

static void say_syn_ack(struct net_stack *s, const struct tcp_half *h,
                        uint32_t tsval)
{
    struct tcp_say m = {
        .key = h->key,
        .seq = h->iss,
        .ack = h->irs + 1,
        .flags = TH_SYN | TH_ACK,
        .wnd = (uint16_t)min_u32(h->l->window, 65535),
        .mss = (uint16_t)(s->mtu - TCP_IP_HDR),
        .scale = h->scale == TCP_NO_SCALE ? TCP_NO_SCALE
                                          : tcp_scale_for(h->l->window),
        .sack_ok = h->sack_ok,
        .has_ts = h->has_ts,
        .tsval = tsval,
        .tsecr = h->ts_recent,
    };
    (void)tcp_say(s, &m);
}

static void half_fire(struct net_timer *t, struct net_stack *s)
{
    struct tcp_half *h =
        (void *)((uint8_t *)t - offsetof(struct tcp_half, timer));

    if (h->tries >= HALF_TRIES) {
        s->stats.tcp_half_expired++;
        half_free(h);
        return;
    }
    h->tries++;
    net_timer_start(s, t, s->now_ns + (NS_PER_S << h->tries));
    say_syn_ack(s, h, s->now_ms + h->ts_offset);
}

/* ------------------------------------------------------------------- limits */

/*
 * SYN-ACKs that nothing answers are limited: a flood from senders that do not
 * exist would cost us as many packets again, and tell as many strangers. Who
 * answers gives back what its SYN-ACK took, so that real handshakes are as
 * many as come. A peer that completed one lately has a budget of its own, which
 * who invents addresses does not find.
 */
static uint32_t *known_at(struct net_stack *s, const struct tcp_key *k,
                          uint32_t *tag)
{
    uint64_t a = (k->remote.half[0] ^ k->remote.half[1]) * s->tcp.hash_key[1];
    a = (a ^ s->tcp.hash_key[0]) * 0x9e3779b97f4a7c15;
    *tag = (uint32_t)(a >> 32) | 1;
    return &s->tcp.known[(uint32_t)(a >> 20) & (TCP_KNOWN - 1)];
}

static bool may_answer(struct net_stack *s, const struct tcp_key *k)
{
    uint32_t tag, *known = known_at(s, k, &tag);
    if ((*known == tag && limiter_take(&s->tcp.syn_acks_known, s->now_ns)) ||
        limiter_take(&s->tcp.syn_acks, s->now_ns)) {
        return true;
    }
    s->stats.tcp_syn_limited++;
    return false;
}

static void give_back(struct limiter *l)
{
    l->tokens += l->tokens < l->burst;
}

static void answered(struct net_stack *s, const struct tcp_key *k)
{
    uint32_t tag, *known = known_at(s, k, &tag);
    give_back(*known == tag ? &s->tcp.syn_acks_known : &s->tcp.syn_acks);
    *known = tag;
}

/* ------------------------------------------------------------------ cookies */

static uint32_t cookie_hash(const struct net_stack *s, const struct tcp_half *h,
                            uint64_t epoch)
{
    const struct tcp_key *k = &h->key;
    uint64_t w[7] = {
        k->remote.half[0],
        k->remote.half[1],
        k->local.half[0],
        k->local.half[1],
        (uint64_t)h->irs << 32 | (uint32_t)k->remote_port << 16 | k->local_port,
        epoch,
        3, /* this use of the secret; tcp.c has the others */
    };
    return (uint32_t)siphash(&s->tcp.secret, w, 7) & ~7u;
}

static void send_cookie(struct net_stack *s, struct tcp_half *h)
{
    uint64_t epoch = s->now_ns >> COOKIE_SHIFT;
    uint32_t ts = s->now_ms + h->ts_offset, i = 7;
    while (i > 0 && cookie_mss[i] > h->mss) {
        i--;
    }
    if (h->has_ts) {
        uint32_t bits = h->scale == TCP_NO_SCALE ? COOKIE_NO_SCALE : h->scale;
        bits |= h->sack_ok ? COOKIE_SACK : 0;
        bits |= ts & ~COOKIE_OPTS;
        ts = seq_lt(ts, bits) ? bits - COOKIE_OPTS - 1 : bits;
    } else {
        h->scale = TCP_NO_SCALE;
        h->sack_ok = false;
    }
    h->iss = cookie_hash(s, h, epoch) | i;
    s->tcp.cookies_until_ns = s->now_ns + COOKIE_LIFE_NS;
    s->stats.tcp_cookies_sent++;
    say_syn_ack(s, h, ts);
}

/* Rebuild in `h` what the cookie in g->ack says; false: it is none of ours. */
static bool read_cookie(struct net_stack *s, const struct tcp_seg *g,
                        struct tcp_half *h)
{
    uint64_t epoch = s->now_ns >> COOKIE_SHIFT;
    uint32_t cookie = g->ack - 1;
    h->irs = g->seq - 1;
    if (cookie_hash(s, h, epoch) != (cookie & ~7u) &&
        cookie_hash(s, h, epoch - 1) != (cookie & ~7u)) {
        s->stats.tcp_cookies_bad++;
        return false;
    }
    h->iss = cookie;
    h->mss = cookie_mss[cookie & 7];
    h->ts_offset = tcp_ts_offset(s, &h->key);
    h->has_ts = g->has_ts;
    if (g->has_ts) {
        uint32_t bits = g->tsecr & COOKIE_OPTS;
        h->ts_recent = g->tsval;
        h->sack_ok = (bits & COOKIE_SACK) != 0;
        h->scale = (uint8_t)(bits & COOKIE_NO_SCALE);
    }
    if (!g->has_ts || h->scale == COOKIE_NO_SCALE) {
        h->scale = TCP_NO_SCALE;
    }
    return true;
}

/* ------------------------------------------------------------- connections */

/* From the user. When places are scarce somebody gives way at once, so that the
   next one finds its place free: memory comes back with the next flush. */
static struct tcp_conn *take_memory(struct net_stack *s,
                                    const struct tcp_half *h)
{
    struct tcp_listener *l = h->l;
    struct tcp_room *r = l->room;
    struct net_endpoint peer = {h->key.remote, h->key.remote_port};
    struct tcp_conn *c = NULL;
    bool scarce = tcp_room_scarce(r);
    if (scarce) {
        (void)tcp_room_make(s, r);
    }
    if (r == NULL || !r->max || r->count < r->max) {
        c = l->ops->accept(l, &peer);
    }
    if (c == NULL && r != NULL && !scarce) {
        (void)tcp_room_make(s, r);
    }
    return c;
}

/* The handshake `h` is complete with `g`: make it a connection, or NULL. */
static struct tcp_conn *complete(struct net_stack *s, const struct tcp_half *h,
                                 const struct tcp_seg *g)
{
    struct tcp_listener *l = h->l;
    struct tcp_conn *c = take_memory(s, h);
    if (c == NULL) {
        s->stats.tcp_refused++;
        return NULL;
    }
    tcp_conn_init(c, s, l->ops, &h->key);
    if (l->room != NULL) {
        tcp_room_enter(c, l->room);
    }
    c->cc = l->cc != NULL ? l->cc : &tcp_newreno;
    c->options = l->options;
    c->iss = h->iss;
    c->irs = h->irs;
    c->recover = h->iss;
    c->snd_una = c->snd_nxt = c->snd_max = h->iss + 1;
    c->rcv_nxt = c->last_ack_sent = h->irs + 1;
    c->rcv_space = c->rcv_most = l->window;
    c->rcv_adv = c->rcv_nxt + min_u32(l->window, 65535);
    c->flags |= h->has_ts ? CF_TS : 0;
    c->flags |= h->sack_ok ? CF_SACK : 0;
    if (h->scale != TCP_NO_SCALE) {
        c->snd_scale = h->scale;
        c->rcv_scale = tcp_scale_for(l->window);
    }
    c->ts_offset = h->ts_offset;
    c->ts_recent = h->ts_recent;
    c->ts_age_ns = s->now_ns;
    c->mss_peer = h->mss;
    tcp_set_mtu(c, s->mtu);
    c->snd_wnd = c->max_wnd = g->wnd << c->snd_scale;
    c->snd_wl1 = g->seq;
    c->snd_wl2 = g->ack;
    if (h->tries == 0 && h->sent_ns) {
        tcp_rtt_sample(c, s->now_ns - h->sent_ns);
    } else if (h->tries) {
        c->rto_us = TCP_RTO_LATE_US;
        c->flags |= CF_SYN_AGAIN;
    }
    tcp_conn_insert(c);
    answered(s, &h->key);
    s->stats.tcp_accepted++;
    return c;
}

struct tcp_listener *tcp_listener_at(struct net_stack *s, uint16_t port)
{
    struct tcp_listener *l = s->tcp.listeners;
    while (l != NULL && l->port != port) {
        l = l->next;
    }
    return l;
}

static void begin(struct net_stack *s, struct tcp_listener *l,
                  const struct tcp_seg *g)
{
    if (tcp_room_full(s, l->room)) {
        s->stats.tcp_syn_full++;
        return;
    }
    if (!may_answer(s, &g->key)) {
        return;
    }
    struct tcp_half now = (struct tcp_half){
        .key = g->key,
        .l = l,
        .stack = s,
        .timer = {.fire = half_fire},
        .sent_ns = s->now_ns,
        .iss = tcp_isn(s, &g->key),
        .irs = g->seq,
        .ts_recent = g->tsval,
        .ts_offset = tcp_ts_offset(s, &g->key),
        .mss =
            g->mss ? (uint16_t)max_u32(g->mss, TCP_MSS_MIN) : TCP_MSS_DEFAULT,
        .scale = g->scale,
        .has_ts = g->has_ts,
        .sack_ok = g->sack_ok,
    };
    struct tcp_half *h = s->tcp.half_free;
    if (!now.has_ts) {
        now.ts_recent = 0;
    }
    if (h == NULL || (l->half_open && l->half_count >= l->half_open)) {
        if (!(s->flags & NET_NO_COOKIES)) {
            send_cookie(s, &now);
        }
        return;
    }
    if (g->isn_bound && seq_leq(now.iss, g->isn_floor)) {
        now.iss = g->isn_floor + 1 + (uint32_t)(net_random(s) & 0xffffff);
    }
    s->tcp.half_free = h->next;
    *h = now;
    struct tcp_half **p = chain(s, &h->key);
    h->next = *p;
    *p = h;
    l->half_count++;
    net_timer_start(s, &h->timer, s->now_ns + NS_PER_S);
    say_syn_ack(s, h, s->now_ms + h->ts_offset);
}

void tcp_listen_input(struct net_stack *s, const struct tcp_seg *g)
{
    struct tcp_listener *l = tcp_listener_at(s, g->key.local_port);
    struct tcp_half h = {.key = g->key, .l = l, .stack = s};
    if (g->flags & TH_RST) {
        return;
    }
    if (l == NULL || (g->flags & (TH_ACK | TH_SYN)) == (TH_ACK | TH_SYN)) {
        tcp_refuse(s, g);
        return;
    }
    if (g->flags & TH_ACK) {
        if (s->now_ns >= s->tcp.cookies_until_ns) {
            tcp_refuse(s, g);
            return;
        }
        /* A later segment of a peer whose first one was lost shows no cookie
           either: a reset would end its connection for nothing. */
        if (!read_cookie(s, g, &h)) {
            return;
        }
        struct tcp_conn *c = complete(s, &h, g);
        if (c != NULL) {
            s->stats.tcp_cookies_ok++;
            tcp_established(c);
            tcp_conn_input(c, g);
        }
        return;
    }
    if ((g->flags & (TH_SYN | TH_FIN)) == TH_SYN) {
        begin(s, l, g);
    }
}

static void half_ack(struct net_stack *s, const struct tcp_half *h)
{
    uint32_t shift = h->scale == TCP_NO_SCALE ? 0 : tcp_scale_for(h->l->window);
    struct tcp_say m = {
        .key = h->key,
        .seq = h->iss + 1,
        .ack = h->irs + 1,
        .flags = TH_ACK,
        .wnd = (uint16_t)(min_u32(h->l->window, 65535) >> shift),
        .scale = TCP_NO_SCALE,
        .has_ts = h->has_ts,
        .tsval = s->now_ms + h->ts_offset,
        .tsecr = h->ts_recent,
    };
    if (limiter_take(&s->tcp.resets, s->now_ns)) {
        s->stats.tcp_challenges++;
        (void)tcp_say(s, &m);
    } else {
        s->stats.tcp_limited++;
    }
}

/* Table 6 of s3.10.7.4: the window that the SYN-ACK announced, from RCV.NXT on,
   and a closed one takes nothing but an empty segment at its edge. */
static bool half_acceptable(const struct tcp_half *h, const struct tcp_seg *g)
{
    uint32_t wnd = min_u32(h->l->window, 65535);
    uint32_t len = g->len + ((g->flags & TH_FIN) != 0);
    uint32_t at = g->seq - (h->irs + 1);
    if (wnd == 0) {
        return len == 0 && at == 0;
    }
    return at < wnd || (len != 0 && at + (len - 1) < wnd);
}

/* A segment for a half-open record that may complete it (s3.10.7.4). */
static void half_segment(struct net_stack *s, struct tcp_half *h,
                         const struct tcp_seg *g)
{
    struct tcp_half copy = *h;
    if (!half_acceptable(h, g) ||
        (h->has_ts && (!g->has_ts || seq_lt(g->tsval, h->ts_recent)))) {
        half_ack(s, h);
        return;
    }
    if (g->ack != h->iss + 1) {
        tcp_refuse(s, g);
        return;
    }
    /* Who had to wait gets a place when it has something to say again: it would
       sit there unserved until its retransmission. */
    if (h->waits && !g->len && tcp_room_scarce(h->l->room)) {
        return;
    }
    struct tcp_conn *c = complete(s, &copy, g); /* accept may stop listening */
    h = half_find(s, &g->key);
    if (c == NULL) {
        if (h != NULL) {
            h->waits = true;
        }
        return;
    }
    if (h != NULL) {
        half_free(h);
    }
    tcp_established(c);
    tcp_conn_input(c, g);
}

bool tcp_half_input(struct net_stack *s, const struct tcp_seg *g)
{
    struct tcp_half *h = half_find(s, &g->key);
    if (h == NULL) {
        return false;
    }
    if (g->flags & TH_RST) {
        if (g->seq == h->irs + 1) {
            half_free(h);
        } else if (half_acceptable(h, g)) {
            half_ack(s, h); /* RFC 5961 s3.2 */
        }
        return true;
    }
    if (g->flags & TH_SYN) {
        if (g->seq == h->irs && !(g->flags & TH_ACK)) {
            if (!may_answer(s, &g->key)) {
                return true;
            }
            if (h->has_ts && g->has_ts && seq_lt(h->ts_recent, g->tsval)) {
                h->ts_recent = g->tsval; /* RFC 7323 s4.3 */
            }
            h->sent_ns = 0; /* Karn */
            say_syn_ack(s, h, s->now_ms + h->ts_offset);
        } else {
            half_ack(s, h);
        }
        return true;
    }
    if (g->flags & TH_ACK) {
        half_segment(s, h, g);
    }
    return true;
}
