/* SPDX-License-Identifier: MIT */
/*
 * A segment arrives: lengths and checksum are checked, its connection is
 * looked up once, and what header prediction does not take is parsed whole.
 */
#include "libos/tcp/tcp_impl.h"

#define OPT_END 0u
#define OPT_NOP 1u
#define OPT_MSS 2u
#define OPT_SCALE 3u
#define OPT_SACK_OK 4u
#define OPT_SACK 5u
#define OPT_TS 8u

static void sack_option(struct tcp_seg *g, const uint8_t *p, uint32_t len)
{
    for (uint32_t at = 0; at + 8 <= len && g->sack_count < 4; at += 8) {
        g->sack[g->sack_count].begin = get32(p + at);
        g->sack[g->sack_count].end = get32(p + at + 4);
        g->sack_count++;
    }
}

/* One option: `p` is its value of `len` bytes. A known option with a wrong
   length is ignored like an unknown one. */
static void option(struct tcp_seg *g, uint32_t kind, const uint8_t *p,
                   uint32_t len)
{
    bool syn = (g->flags & TH_SYN) != 0;
    if (kind == OPT_TS && len == 8) {
        g->has_ts = true;
        g->tsval = get32(p);
        g->tsecr = get32(p + 4);
    } else if (kind == OPT_SACK && !syn) {
        sack_option(g, p, len);
    } else if (kind == OPT_MSS && len == 2 && syn) {
        g->mss = get16(p);
    } else if (kind == OPT_SCALE && len == 1 && syn) {
        g->scale = p[0] > TCP_SCALE_MAX ? TCP_SCALE_MAX : p[0];
    } else if (kind == OPT_SACK_OK && len == 0 && syn) {
        g->sack_ok = true;
    }
}

/* Options that run over the header's end are cut off there (s3.1). */
static void parse_options(struct tcp_seg *g, const uint8_t *p, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && p[at] != OPT_END) {
        if (p[at] == OPT_NOP) {
            at++;
            continue;
        }
        if (at + 1 >= len || p[at + 1] < 2 || p[at + 1] > len - at) {
            return;
        }
        option(g, p[at], p + at + 2, p[at + 1] - 2u);
        at += p[at + 1];
    }
}

static void parse(struct tcp_seg *g, const uint8_t *h, uint32_t len)
{
    uint32_t hlen = (uint32_t)(h[TCP_OFF] >> 4) * 4;
    g->seq = get32(h + TCP_SEQ);
    g->ack = get32(h + TCP_ACK);
    g->flags = h[TCP_FLAGS];
    g->wnd = get16(h + TCP_WND);
    g->up = get16(h + TCP_UP);
    g->data = h + hlen;
    g->len = len - hlen;
    g->scale = TCP_NO_SCALE;
    g->sack_count = 0;
    g->has_ts = false;
    g->sack_ok = false;
    g->isn_bound = false;
    g->mss = 0;
    parse_options(g, h + TCP_LEN, hlen - TCP_LEN);
}

static bool sum_ok(const struct ip_packet *p)
{
    if (p->sum_ok) {
        return true;
    }
    uint16_t sum =
        net_sum_add(net_sum(p->l4, p->len),
                    ip_pseudo_sum(p->src, p->dst, IPPROTO_TCP, p->len));
    return sum == 0xffff;
}

void tcp_input(struct net_stack *s, const struct ip_packet *p)
{
    const uint8_t *h = p->l4;
    s->stats.tcp_segs_in++;
    if (unlikely(p->len < TCP_LEN || h[TCP_OFF] >> 4 < 5 ||
                 (uint32_t)(h[TCP_OFF] >> 4) * 4 > p->len)) {
        s->stats.rx_short++;
        return;
    }
    if (unlikely(!sum_ok(p))) {
        s->stats.rx_bad_sum++;
        return;
    }
    struct tcp_seg g;
    g.key.remote = addr_of_v4(p->src);
    g.key.local = addr_of_v4(p->dst);
    g.key.remote_port = get16(h + TCP_SPORT);
    g.key.local_port = get16(h + TCP_DPORT);
    struct tcp_conn *c = tcp_find(s, &g.key);
    if (likely(c != NULL)) {
        if (likely(tcp_fast_input(c, h, p->len))) {
            s->stats.tcp_fast_path++;
            return;
        }
        parse(&g, h, p->len);
        tcp_conn_input(c, &g);
        return;
    }
    parse(&g, h, p->len);
    if (tcp_half_input(s, &g) || tcp_wait_input(s, &g)) {
        return;
    }
    if (unlikely(s->away) &&
        ((g.flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) != TH_SYN ||
         p->l4 - p->hdr != IP_LEN) &&
        net_is_away(s, IPPROTO_TCP, g.key.local_port)) {
        return;
    }
    tcp_listen_input(s, &g);
}
