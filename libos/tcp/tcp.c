/* SPDX-License-Identifier: MIT */
/*
 * The calls of tcp.h, the tables, and the life and death of connections.
 *
 * Invariants: a connection is in the table from tcp_conn_insert to tcp_kill;
 * it is on the output list iff CF_QUEUED; after tcp_kill it is on that list
 * with CF_DEAD, and the flush that takes it off calls ops->closed last of all.
 */
#include "libos/tcp/tcp_impl.h"

/* ------------------------------------------------------------------- tables */

static uint32_t buckets(uint32_t n)
{
    uint32_t b = 16;
    while (b < n) {
        b *= 2;
    }
    return b;
}

#define PART(n) (((n) + 63) & ~(size_t)63)

static size_t hash_size(uint32_t n)
{
    return PART(buckets(n) * sizeof(void *));
}

size_t tcp_tables_size(const struct net_config *cfg)
{
    return hash_size(cfg->conns) + hash_size(cfg->half_open) +
           hash_size(cfg->time_wait) +
           PART(cfg->half_open * sizeof(struct tcp_half)) +
           PART(cfg->time_wait * sizeof(struct tcp_wait));
}

void tcp_tables_init(struct net_stack *s, void *mem,
                     const struct net_config *cfg)
{
    struct tcp_tables *t = &s->tcp;
    uint8_t *at = mem;
    t->conn = (struct tcp_conn **)(void *)at;
    t->conn_mask = buckets(cfg->conns) - 1;
    at += hash_size(cfg->conns);
    t->half = (struct tcp_half **)(void *)at;
    t->half_mask = buckets(cfg->half_open) - 1;
    at += hash_size(cfg->half_open);
    t->wait = (struct tcp_wait **)(void *)at;
    t->wait_mask = buckets(cfg->time_wait) - 1;
    at += hash_size(cfg->time_wait);
    struct tcp_half *half = (struct tcp_half *)(void *)at;
    at += PART(cfg->half_open * sizeof *half);
    struct tcp_wait *wait = (struct tcp_wait *)(void *)at;
    for (uint32_t i = 0; i < cfg->half_open; i++) {
        half[i].next = t->half_free;
        t->half_free = &half[i];
    }
    for (uint32_t i = 0; i < cfg->time_wait; i++) {
        wait[i].next = t->wait_free;
        t->wait_free = &wait[i];
    }
    t->wait_last = &t->wait_first;
    t->out_last = &t->out_first;
    t->wait_timer.fire = tcp_wait_fire;
    uint32_t limit = cfg->syn_acks ? cfg->syn_acks : TCP_SYN_ACKS;
    t->syn_acks = (struct limiter){
        .burst = 4 * limit, .tokens = 4 * limit, .period_ns = NS_PER_S / limit};
    t->syn_acks_known = t->syn_acks;
    t->resets = (struct limiter){.burst = 200, .period_ns = NS_PER_S / 200};
}

/* Keyed, so that nobody outside can make chains long: the halves of a 128-bit
   product, of which an attacker knows neither factor. */
uint32_t tcp_hash(const struct net_stack *s, const struct tcp_key *k)
{
    uint64_t a = k->remote.half[0] * 0x9e3779b97f4a7c15 ^ k->remote.half[1];
    uint64_t b = k->local.half[0] * 0x9e3779b97f4a7c15 ^ k->local.half[1];
    a ^= s->tcp.hash_key[0];
    b ^= s->tcp.hash_key[1] ^ ((uint64_t)k->remote_port << 16 | k->local_port)
                                  << 16;
    unsigned __int128 m = (unsigned __int128)a * b;
    a = (uint64_t)m ^ (uint64_t)(m >> 64);
    return (uint32_t)(a ^ a >> 32);
}

static bool is_key(const struct tcp_conn *c, const struct tcp_key *k)
{
    return c->remote_port == k->remote_port && c->local_port == k->local_port &&
           net_addr_eq(&c->remote, &k->remote) &&
           net_addr_eq(&c->local, &k->local);
}

struct tcp_conn *tcp_find(struct net_stack *s, const struct tcp_key *k)
{
    struct tcp_conn *c = s->tcp.conn[tcp_hash(s, k) & s->tcp.conn_mask];
    while (c != NULL && !is_key(c, k)) {
        c = c->hash_next;
    }
    return c;
}

static struct tcp_key key_of(const struct tcp_conn *c)
{
    return (struct tcp_key){c->remote, c->local, c->remote_port, c->local_port};
}

void tcp_conn_insert(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    struct tcp_key k = key_of(c);
    struct tcp_conn **p = &s->tcp.conn[tcp_hash(s, &k) & s->tcp.conn_mask];
    c->hash_next = *p;
    *p = c;
}

static void conn_remove(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    struct tcp_key k = key_of(c);
    struct tcp_conn **p = &s->tcp.conn[tcp_hash(s, &k) & s->tcp.conn_mask];
    while (*p != c) {
        p = &(*p)->hash_next;
    }
    *p = c->hash_next;
}

/* ------------------------------------------------------------ secret numbers
 */

static uint64_t secret_of(const struct net_stack *s, const struct tcp_key *k,
                          uint64_t use)
{
    uint64_t w[6] = {
        k->remote.half[0],
        k->remote.half[1],
        k->local.half[0],
        k->local.half[1],
        (uint64_t)k->remote_port << 16 | k->local_port,
        use,
    };
    return siphash(&s->tcp.secret, w, 6);
}

/* s3.4.1: a clock of about four microseconds plus a secret per address pair. */
uint32_t tcp_isn(const struct net_stack *s, const struct tcp_key *k)
{
    return (uint32_t)secret_of(s, k, 1) + (uint32_t)(s->now_ns >> 12);
}

uint32_t tcp_ts_offset(const struct net_stack *s, const struct tcp_key *k)
{
    return (uint32_t)secret_of(s, k, 2);
}

/* -------------------------------------------------------------- life, death */

void tcp_set_mtu(struct tcp_conn *c, uint32_t mtu)
{
    uint32_t opts = c->flags & CF_TS ? 12 : 0;
    uint32_t mss = min_u32(mtu - TCP_IP_HDR, c->mss_peer);
    c->mtu = (uint16_t)mtu;
    c->mss = (uint16_t)(mss - opts);
    c->flags &= ~CF_BIG;
}

void tcp_conn_init(struct tcp_conn *c, struct net_stack *s,
                   const struct tcp_ops *ops, const struct tcp_key *k)
{
    *c = (struct tcp_conn){
        .remote = k->remote,
        .local = k->local,
        .remote_port = k->remote_port,
        .local_port = k->local_port,
        .stack = s,
        .ops = ops,
        .cc = &tcp_newreno,
        .timer = {.fire = tcp_fire},
        .rto_us = TCP_RTO_FIRST_US,
        .heard_ns = s->now_ns,
        .sent_ns = s->now_ns,
        .moved_ns = s->now_ns,
        .stuck_ns = s->now_ns,
        .timeout_ns = TCP_TIMEOUT_NS,
        .mss_peer = TCP_MSS_DEFAULT,
    };
    tcp_set_mtu(c, s->mtu);
}

void tcp_queue(struct tcp_conn *c)
{
    struct tcp_tables *t = &c->stack->tcp;
    if (!(c->flags & CF_QUEUED)) {
        c->flags |= CF_QUEUED;
        c->out_next = NULL;
        *t->out_last = c;
        t->out_last = &c->out_next;
    }
}

void tcp_kill(struct tcp_conn *c, enum tcp_reason why)
{
    if (c->flags & CF_DEAD) {
        return;
    }
    conn_remove(c);
    net_timer_stop(c->stack, &c->timer);
    if (c->room != NULL) {
        tcp_room_leaving(c);
    }
    tcp_held_free(c);
    c->t_rexmit = c->t_delack = c->t_idle = 0;
    c->state = TCP_CLOSED;
    c->reason = (uint8_t)why;
    c->flags |= CF_DEAD;
    tcp_queue(c);
}

static void bury(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    if (c->flags & CF_ACK_NOW && c->reason == TCP_DONE) {
        /* The last word of a connection that goes to TIME_WAIT. */
        struct tcp_frame t = {.seq = c->snd_nxt, .flags = TH_ACK};

        (void)tcp_emit(c, &t);
    }
    if (c->flags & CF_SEND_RST) {
        struct tcp_say m = {
            .key = key_of(c),
            .seq = acceptable_seq(c),
            .ack = c->rcv_nxt,
            .flags = TH_RST | TH_ACK,
            .scale = TCP_NO_SCALE,
        };
        (void)tcp_say(s, &m);
    }
    if (c->room != NULL) {
        tcp_room_left(c);
    }
    if (c->ops->closed != NULL) {
        c->ops->closed(c, c->reason);
    }
}

void tcp_flush(struct net_stack *s)
{
    struct tcp_tables *t = &s->tcp;
    struct tcp_conn *again = NULL, **again_last = &again;
    struct tcp_conn *c;
    while ((c = t->out_first) != NULL) {
        t->out_first = c->out_next;
        if (t->out_first == NULL) {
            t->out_last = &t->out_first;
        }
        c->flags &= ~CF_QUEUED;
        if (c->flags & CF_DEAD) {
            bury(c);
            continue;
        }
        if (s->blocked || tcp_output(c) == -NET_E_AGAIN) {
            c->flags |= CF_QUEUED;
            c->out_next = NULL;
            *again_last = c;
            again_last = &c->out_next;
        }
    }
    if (again != NULL) {
        t->out_first = again;
        t->out_last = again_last;
    }
}

/* ---------------------------------------------------------------- user calls
 */

int tcp_listen(struct net_stack *s, struct tcp_listener *l)
{
    if (!l->port || l->ops == NULL || l->ops->accept == NULL ||
        l->ops->gather == NULL || l->window > TCP_WINDOW_MAX) {
        return -NET_E_RANGE;
    }
    for (struct tcp_listener *o = s->tcp.listeners; o != NULL; o = o->next) {
        if (o->port == l->port) {
            return -NET_E_USED;
        }
    }
    if (l->room != NULL) {
        tcp_room_init(l->room);
    }
    l->stack = s;
    l->half_count = 0;
    l->next = s->tcp.listeners;
    s->tcp.listeners = l;
    return 0;
}

uint8_t tcp_scale_for(uint32_t bytes)
{
    uint8_t scale = 0;
    while (scale < TCP_SCALE_MAX && bytes >> scale > 65535) {
        scale++;
    }
    return scale;
}

static bool taken(struct net_stack *s, const struct tcp_key *k)
{
    return tcp_find(s, k) != NULL || tcp_wait_has(s, k);
}

/* RFC 6056 algorithm 3: ports of one destination follow one another from an
   unpredictable start. */
static int pick_port(struct net_stack *s, struct tcp_key *k)
{
    uint32_t n = (uint32_t)(s->port_hi - s->port_lo) + 1;
    uint32_t first = (uint32_t)(net_random(s) % n);
    for (uint32_t i = 0; i < n; i++) {
        k->local_port = (uint16_t)(s->port_lo + (first + i) % n);
        if (!taken(s, k)) {
            return 0;
        }
    }
    return -NET_E_USED;
}

int tcp_connect(struct net_stack *s, struct tcp_conn *c,
                const struct tcp_ops *ops, const struct net_endpoint *to,
                uint16_t port)
{
    struct tcp_key k = {.remote = to->addr,
                        .local = net_addr_of(s),
                        .remote_port = to->port,
                        .local_port = port};
    uint32_t ip = to->addr.word[3];
    if (!to->port || ops == NULL || ops->gather == NULL) {
        return -NET_E_RANGE;
    }
    /* s3.9.2.3, RFC 1122 s4.2.3.14: never to a broadcast or multicast. */
    if (!s->ip || !addr_is_v4(&to->addr) || ip_is_multicast(ip) ||
        arp_route(s, ip) == NULL || ip == 0xffffffff ||
        (s->broadcast && ip == s->broadcast)) {
        return -NET_E_ROUTE;
    }
    if (port ? taken(s, &k) : pick_port(s, &k)) {
        return -NET_E_USED;
    }
    tcp_conn_init(c, s, ops, &k);
    c->ts_offset = tcp_ts_offset(s, &k);
    c->iss = tcp_isn(s, &k);
    c->snd_una = c->iss;
    c->snd_nxt = c->snd_max = c->iss;
    c->una_off = UINT64_MAX; /* SYN comes before offset 0 */
    c->rcv_space = c->rcv_most = 65536;
    c->state = TCP_SYN_SENT;
    c->flags |= CF_SYN;
    tcp_conn_insert(c);
    tcp_queue(c);
    return 0;
}

void tcp_send_limit(struct tcp_conn *c, uint64_t upto)
{
    if (!(c->flags & (CF_FIN | CF_DEAD)) && upto > c->limit) {
        if (c->limit <= c->una_off) {
            c->moved_ns = c->stack->now_ns; /* from now on the peer owes */
        }
        c->limit = upto;
        tcp_queue(c);
    }
}

void tcp_finish(struct tcp_conn *c)
{
    if (c->flags & (CF_FIN | CF_DEAD)) {
        return;
    }
    c->flags |= CF_FIN;
    if (c->state == TCP_SYN_SENT) {
        tcp_kill(c, TCP_DONE); /* s3.10.4: nothing was opened */
        return;
    }
    if (c->state == TCP_ESTABLISHED) {
        c->state = TCP_FIN_WAIT_1;
    } else if (c->state == TCP_CLOSE_WAIT) {
        c->state = TCP_LAST_ACK;
    }
    tcp_queue(c);
}

void tcp_cork(struct tcp_conn *c, bool on)
{
    if (on) {
        c->flags |= CF_CORK;
    } else if (c->flags & CF_CORK) {
        c->flags &= ~CF_CORK;
        tcp_queue(c);
    }
}

void tcp_ready(struct tcp_conn *c)
{
    if (c->flags & CF_NO_DATA) {
        c->flags &= ~CF_NO_DATA;
        tcp_queue(c);
    }
}

void tcp_send_urgent(struct tcp_conn *c, uint64_t upto)
{
    if (c->flags & CF_DEAD || upto <= c->una_off + 1 || upto > c->limit) {
        return;
    }
    c->snd_up = c->snd_una + (uint32_t)(upto - c->una_off);
    c->flags |= CF_URG_OUT;
    tcp_queue(c);
}

void tcp_receive_window(struct tcp_conn *c, uint32_t bytes)
{
    bytes = min_u32(bytes, TCP_WINDOW_MAX);
    c->rcv_space = bytes;
    c->rcv_most = max_u32(c->rcv_most, bytes);
    if (c->state < TCP_ESTABLISHED) {
        return;
    }
    if (c->ooo != NULL) {
        c->flags |= CF_DELIVER;
        tcp_queue(c);
    }
    /* Worth telling the peer (s3.8.6.2.2) when it opens by a segment or by
       half of what it can be. */
    uint32_t right = c->rcv_nxt + bytes;
    if (seq_lt(c->rcv_adv, right) &&
        right - c->rcv_adv >= min_u32(c->mss, c->rcv_most / 2) &&
        c->rcv_adv - c->rcv_nxt < c->rcv_most / 2) {
        c->flags |= CF_ACK_NOW;
        tcp_queue(c);
    }
}

void tcp_abort(struct tcp_conn *c)
{
    if (c->flags & CF_DEAD) {
        return;
    }
    if (c->state != TCP_SYN_SENT) {
        c->flags |= CF_SEND_RST;
    }
    tcp_kill(c, TCP_ABORTED);
}

void tcp_set_options(struct tcp_conn *c, uint16_t options)
{
    c->options = options;
    if (options & TCP_KEEPALIVE && c->state >= TCP_ESTABLISHED && !c->t_idle) {
        c->t_idle = c->stack->now_ns + TCP_KEEP_IDLE_NS;
        tcp_arm(c);
    }
}

void tcp_set_timeout(struct tcp_conn *c, uint64_t ns)
{
    c->timeout_ns = ns ? ns : TCP_TIMEOUT_NS;
}

void tcp_set_cc(struct tcp_conn *c, const struct tcp_cc_ops *cc)
{
    c->cc = cc;
    if (c->state >= TCP_ESTABLISHED) {
        uint32_t cwnd = c->cwnd, ssthresh = c->ssthresh;
        cc->start(c, false);
        c->cwnd = cwnd;
        c->ssthresh = ssthresh;
    }
}

uint64_t tcp_unacked(const struct tcp_conn *c)
{
    if (c->una_off == UINT64_MAX) {
        return c->limit; /* not even SYN */
    }
    return c->una_off > c->limit ? 0 : c->limit - c->una_off;
}

/* --------------------------------------------------------------------- ICMP */

/* RFC 1191 s7: where a router does not say how narrow it is. */
static uint32_t plateau(uint32_t below)
{
    static const uint16_t common[] = {4352, 2002, 1492, 1006};
    for (uint32_t i = 0; i < sizeof common / sizeof common[0]; i++) {
        if (common[i] < below) {
            return common[i];
        }
    }
    return 576;
}

static void too_big(struct tcp_conn *c, uint32_t mtu, uint32_t seq)
{
    if (!mtu) {
        mtu = plateau(c->mtu);
    }
    bool narrow = mtu < 576;
    if (narrow) {
        mtu = 576;
    }
    if (mtu >= c->mtu && !narrow) {
        return;
    }
    if (c->flags & CF_BIG && c->big_off <= c->una_off) {
        /* Larger ones have passed: believe it only if this one gets lost
           (RFC 5927 s7.2). */
        c->mtu_claimed = (uint16_t)mtu;
        c->mtu_off = offset_of(c, seq);
        return;
    }
    if (narrow) {
        c->flags |= CF_NO_DF;
        c->hop = NULL;
    }
    c->stack->stats.tcp_pmtu++;
    tcp_set_mtu(c, mtu);
    tcp_go_back(c);
    tcp_queue(c);
}

void tcp_icmp(struct net_stack *s, uint32_t code, uint32_t mtu, uint32_t remote,
              const uint8_t *l4)
{
    struct tcp_key k = {.remote = addr_of_v4(remote),
                        .local = addr_of_v4(s->ip),
                        .remote_port = get16(l4 + TCP_DPORT),
                        .local_port = get16(l4 + TCP_SPORT)};
    struct tcp_conn *c = tcp_find(s, &k);
    uint32_t seq = get32(l4 + TCP_SEQ);

    /* RFC 5927 s4.1: it must be about something in flight. */
    if (c == NULL || !seq_leq(c->snd_una, seq) || !seq_lt(seq, c->snd_max)) {
        s->stats.icmp_ignored++;
        return;
    }
    if (code == ICMP_CODE_TOO_BIG) {
        too_big(c, mtu, seq);
    } else if (c->state == TCP_SYN_SENT &&
               (code == ICMP_CODE_PROTOCOL || code == ICMP_CODE_PORT)) {
        /* Anything else, and anything later, is soft (RFC 5927 s5.2). */
        tcp_kill(c, TCP_UNREACHABLE);
    }
}
