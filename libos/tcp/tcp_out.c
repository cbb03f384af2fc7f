/* SPDX-License-Identifier: MIT */
/*
 * How a segment is put together. A connection keeps its headers ready: a
 * segment patches lengths, numbers and sums into the template and hands it to
 * the link, which copies it. Segments without a connection (resets, SYNs,
 * TIME_WAIT) are built from nothing by tcp_say.
 */
#include "libos/tcp/tcp_impl.h"

#define TCP_AT (ETH_LEN + IP_LEN) /* of the TCP header in a frame */
#define OPTS_AT (TCP_AT + TCP_LEN)
#define TS_PREFIX 0x0101080au /* NOP, NOP, timestamps, 10 bytes */
#define WINDOW_AHEAD 65535u

static uint64_t header_words(const uint8_t *p, uint32_t len)
{
    uint64_t a = 0;
    for (uint32_t i = 0; i < len; i += 4) {
        a += get_be32(p + i);
    }
    return a;
}

void tcp_template(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    uint8_t *ip = c->tmpl + ETH_LEN, *tcp = c->tmpl + TCP_AT;
    uint32_t src = c->local.word[3], dst = c->remote.word[3];
    __builtin_memset(c->tmpl, 0, sizeof c->tmpl);
    __builtin_memcpy(c->tmpl + ETH_SRC, s->mac, 6);
    put16(c->tmpl + ETH_TYPE, ETHERTYPE_IP);
    ip[IP_VIHL] = 0x45;
    put16(ip + IP_FRAG, c->flags & CF_NO_DF ? 0 : IP_DF);
    ip[IP_TTL] = 64;
    ip[IP_PROTO] = IPPROTO_TCP;
    put_be32(ip + IP_SRC, src);
    put_be32(ip + IP_DST, dst);
    c->tmpl_ip_sum = net_sum_fold(header_words(ip, IP_LEN));
    put16(tcp + TCP_SPORT, c->local_port);
    put16(tcp + TCP_DPORT, c->remote_port);
    c->tmpl_len = OPTS_AT;
    if (c->flags & CF_TS) {
        put32(c->tmpl + OPTS_AT, TS_PREFIX);
        c->tmpl_len = TCP_TEMPLATE;
    }
    tcp[TCP_OFF] = (uint8_t)((c->tmpl_len - TCP_AT) / 4 << 4);
    c->tmpl_tcp_sum = ip_pseudo_sum(src, dst, IPPROTO_TCP, 0);
}

/* Make the template's link header right; false: there is no way now. */
static bool find_hop(struct tcp_conn *c)
{
    struct neighbour *hop = c->hop;
    if (hop == NULL) {
        tcp_template(c);
    }
    hop = arp_route(c->stack, c->remote.word[3]);
    c->hop = hop;
    if (hop == NULL) {
        return false;
    }
    /* While it is being asked for, every segment comes through here. */
    c->hop_gen = hop->state == HOP_ASKED ? hop->gen - 1 : hop->gen;
    __builtin_memcpy(c->tmpl + ETH_DST, hop->mac, 6);
    return true;
}

uint32_t tcp_option_space(const struct tcp_conn *c)
{
    if (likely(!c->ooo) || !(c->flags & CF_SACK)) {
        return 0;
    }
    uint8_t scratch[TCP_MAX_LEN];
    return tcp_put_sack(c, scratch);
}

static void patch(struct tcp_conn *c, const struct tcp_frame *t, uint8_t *h)
{
    uint8_t *tcp = h + TCP_AT;
    put32(tcp + TCP_SEQ, t->seq);
    put32(tcp + TCP_ACK, c->rcv_nxt);
    tcp[TCP_FLAGS] = (uint8_t)t->flags;
    put16(tcp + TCP_WND, tcp_window(c));
    if (c->flags & CF_TS) {
        put32(tcp + TCP_LEN + 4, c->stack->now_ms + c->ts_offset);
        put32(tcp + TCP_LEN + 8, c->ts_recent);
    }
    put16(tcp + TCP_UP, 0);
    if (likely(!(c->flags & CF_URG_OUT))) {
        return;
    }
    if (!seq_lt(c->snd_una, c->snd_up)) {
        c->flags &= ~CF_URG_OUT;
    } else if (seq_lt(t->seq, c->snd_up)) {
        /* s3.8.5: the pointer is to the last urgent byte's successor, as all
           stacks have it since RFC 6093. */
        tcp[TCP_FLAGS] |= TH_URG;
        put16(tcp + TCP_UP, (uint16_t)min_u32(c->snd_up - t->seq, 65535));
    }
}

/* An identification for what routers may cut (RFC 6864 s4.3); the template has
   none. A device that cuts the frame counts on from it. In network order. */
static uint16_t identify(struct net_stack *s, const struct net_frame *f)
{
    uint16_t id = s->ip_id;
    s->ip_id += f->gso_size ? (uint16_t)(f->body_len / f->gso_size + 1) : 1;
    return to_be16(id);
}

static void checksums(struct tcp_conn *c, struct tcp_frame *t, uint8_t *h)
{
    struct net_frame *f = &t->f;
    uint8_t *ip = h + ETH_LEN, *tcp = h + TCP_AT;
    uint32_t len = f->hdr_len - TCP_AT + f->body_len;
    uint16_t total = to_be16((uint16_t)(len + IP_LEN));
    uint16_t pseudo = net_sum_add(c->tmpl_tcp_sum, to_be16((uint16_t)len));
    uint16_t sum = net_sum_add(c->tmpl_ip_sum, total);
    if (unlikely(c->flags & CF_NO_DF)) {
        uint16_t id = identify(c->stack, f);
        put_be16(ip + IP_ID, id);
        sum = net_sum_add(sum, id);
    }
    put_be16(ip + IP_TOTAL, total);
    put_be16(ip + IP_SUM, (uint16_t)~sum);
    if (c->stack->link->caps & NET_CAP_CSUM) {
        put_be16(tcp + TCP_SUM, pseudo);
        f->csum_start = TCP_AT;
        f->csum_offset = TCP_SUM;
        return;
    }
    put_be16(tcp + TCP_SUM, 0);
    pseudo = net_sum_add(pseudo, t->sum);
    put_be16(tcp + TCP_SUM,
             (uint16_t)~net_sum_fold(header_words(tcp, f->hdr_len - TCP_AT) +
                                     pseudo));
}

/*
 * Send `t`: its pieces are in place. Returns 0 also when there is no way to
 * the peer now, which is a loss like any other, or -NET_E_AGAIN.
 */
int tcp_emit(struct tcp_conn *c, struct tcp_frame *t)
{
    struct net_stack *s = c->stack;
    uint8_t *h = c->tmpl;
    if (unlikely(!c->hop || c->hop_gen != c->hop->gen) && !find_hop(c)) {
        return 0;
    }
    t->f.hdr_len = c->tmpl_len;
    uint8_t wide[NET_HDR_MAX];
    if (unlikely(c->ooo != NULL) && c->flags & CF_SACK) {
        __builtin_memcpy(wide, c->tmpl, c->tmpl_len);
        h = wide;
        t->f.hdr_len += (uint16_t)tcp_put_sack(c, h + c->tmpl_len);
        h[TCP_AT + TCP_OFF] = (uint8_t)((t->f.hdr_len - TCP_AT) / 4u << 4);
    }
    t->f.hdr = h;
    patch(c, t, h);
    checksums(c, t, h);
    c->hop->used = 1;
    int r;
    if (unlikely(c->hop->state == HOP_ASKED)) {
        r = arp_send(s, c->hop, &t->f, h);
    } else {
        r = frame_send(s, &t->f);
    }
    if (r) {
        return r;
    }
    s->stats.tcp_segs_out++;
    c->last_ack_sent = c->rcv_nxt;
    c->flags &= ~(CF_ACK_NOW | CF_ACK_LATER);
    c->ack_due = 0;
    c->t_delack = 0;
    return 0;
}

/* ------------------------------------------------- without a connection */

/* Options of a SYN or of any segment with timestamps; returns their length. */
static uint32_t put_options(uint8_t *o, const struct tcp_say *m)
{
    uint32_t at = 0;
    if (m->mss) {
        put16(o, 0x0204);
        put16(o + 2, m->mss);
        at = 4;
        if (m->scale != TCP_NO_SCALE) {
            put32(o + at, 0x01030300u | m->scale);
            at += 4;
        }
        if (m->sack_ok) {
            put32(o + at, 0x01010402);
            at += 4;
        }
    }
    if (m->has_ts) {
        put32(o + at, TS_PREFIX);
        put32(o + at + 4, m->tsval);
        put32(o + at + 8, m->tsecr);
        at += 12;
    }
    return at;
}

int tcp_say(struct net_stack *s, const struct tcp_say *m)
{
    uint8_t hdr[NET_HDR_MAX] = {0};
    uint8_t *tcp = hdr + TCP_AT;
    uint32_t len = TCP_LEN + put_options(tcp + TCP_LEN, m);
    struct net_frame f = {.hdr = hdr, .hdr_len = (uint16_t)(TCP_AT + len)};
    put16(tcp + TCP_SPORT, m->key.local_port);
    put16(tcp + TCP_DPORT, m->key.remote_port);
    put32(tcp + TCP_SEQ, m->seq);
    put32(tcp + TCP_ACK, m->flags & TH_ACK ? m->ack : 0);
    tcp[TCP_OFF] = (uint8_t)(len / 4 << 4);
    tcp[TCP_FLAGS] = (uint8_t)m->flags;
    put16(tcp + TCP_WND, m->wnd);
    uint16_t sum = ip_pseudo_sum(m->key.local.word[3], m->key.remote.word[3],
                                 IPPROTO_TCP, len);
    sum = net_sum_add(sum, net_sum_fold(header_words(tcp, len)));
    put_be16(tcp + TCP_SUM, (uint16_t)~sum);
    int r = ip_send(s, &f, hdr, m->key.remote.word[3], IPPROTO_TCP);
    s->stats.tcp_segs_out += r == 0;
    s->stats.tcp_resets_sent += r == 0 && m->flags & TH_RST;
    return r;
}

/* Answer a segment that nobody wants with a reset (s3.10.7.1). */
void tcp_refuse(struct net_stack *s, const struct tcp_seg *g)
{
    struct tcp_say m = {.key = g->key, .scale = TCP_NO_SCALE};
    if (g->flags & TH_RST || s->flags & NET_QUIET_TCP) {
        return;
    }
    if (!limiter_take(&s->tcp.resets, s->now_ns)) {
        s->stats.tcp_limited++;
        return;
    }
    if (g->flags & TH_ACK) {
        m.seq = g->ack;
        m.flags = TH_RST;
    } else {
        m.ack = g->seq + g->len + ((g->flags & TH_SYN) != 0) +
                ((g->flags & TH_FIN) != 0);
        m.flags = TH_RST | TH_ACK;
    }
    (void)tcp_say(s, &m);
}

int tcp_emit_syn(struct tcp_conn *c)
{
    struct net_stack *s = c->stack;
    bool reply = c->state == TCP_SYN_RECEIVED;
    struct tcp_say m = {
        .key = {c->remote, c->local, c->remote_port, c->local_port},
        .seq = c->iss,
        .ack = c->rcv_nxt,
        .flags = reply ? TH_SYN | TH_ACK : TH_SYN,
        .wnd = (uint16_t)min_u32(c->rcv_space, WINDOW_AHEAD),
        .mss = (uint16_t)(s->mtu - TCP_IP_HDR),
        .scale = c->rcv_scale,
        .sack_ok = !reply || c->flags & CF_SACK,
        .has_ts = !reply || c->flags & CF_TS,
        .tsval = s->now_ms + c->ts_offset,
        .tsecr = c->ts_recent,
    };
    if (reply && !(c->flags & CF_TS)) {
        m.tsval = m.tsecr = 0;
    }
    int r = tcp_say(s, &m);
    return r == -NET_E_AGAIN ? r : 0;
}
