/* SPDX-License-Identifier: MIT */
/*
 * ICMP for IPv4 (RFC 792; RFC 1122 s3.2.2): answers echo requests, says that
 * a port or protocol is unreachable at a limited rate, and tells TCP what
 * routers say about its segments. Redirects, source quench (RFC 6633) and
 * everything else are ignored.
 */
#include "libos/net/stack.h"

#define INLINE_MAX (NET_HDR_MAX - ETH_LEN - IP_LEN) /* bytes of ICMP */

/*
 * Send back `p` as an echo reply. What does not fit into the header is copied
 * to a buffer of the pool; a request larger than that is not answered, which
 * RFC 1122 s3.2.2.6 permits for reasons of size.
 */
static void echo(struct net_stack *s, const struct ip_packet *p)
{
    uint8_t hdr[NET_HDR_MAX];
    uint8_t *icmp = hdr + ETH_LEN + IP_LEN;
    uint32_t head = p->len < INLINE_MAX ? p->len : INLINE_MAX;
    uint32_t rest = p->len - head;
    struct net_frame f = {.hdr = hdr};
    struct net_buf *b = NULL;
    if (rest > BUF_DATA || IP_LEN + p->len > s->mtu) {
        return;
    }
    if (rest) {
        b = buf_alloc(s);
        if (b == NULL) {
            return;
        }
        __builtin_memcpy(b->data, p->l4 + head, rest);
        f.piece[0] =
            (struct net_piece){.paddr = b->paddr, .va = b->data, .len = rest};
        f.count = 1;
        f.pin = &b->pin;
        b->pin.in_flight++; /* ours, so that it outlives a refusal */
    }
    __builtin_memcpy(icmp, p->l4, head);
    /* Only the type changes: RFC 1624 equation 3, on the first word. */
    uint16_t sum = (uint16_t)~get_be16(icmp + ICMP_SUM);
    sum = net_sum_sub(sum, get_be16(icmp));
    icmp[ICMP_TYPE] = ICMP_ECHO_REPLY;
    sum = net_sum_add(sum, get_be16(icmp));
    put_be16(icmp + ICMP_SUM, (uint16_t)~sum);
    f.hdr_len = (uint16_t)(ETH_LEN + IP_LEN + head);
    f.body_len = rest;
    if (ip_send(s, &f, hdr, p->src, IPPROTO_ICMP) == 0) {
        s->stats.icmp_echoes++;
    }
    if (b != NULL) {
        net_pin_done(&b->pin);
    }
}

void icmp_unreachable(struct net_stack *s, const struct ip_packet *p,
                      uint32_t code)
{
    uint8_t hdr[NET_HDR_MAX] = {0};
    uint8_t *icmp = hdr + ETH_LEN + IP_LEN;
    uint32_t quote = (uint32_t)(p->l4 - p->hdr) + (p->len < 8 ? p->len : 8);
    struct net_frame f = {.hdr = hdr};

    /* RFC 1122 s3.2.2: never about a broadcast. */
    if (p->broadcast || !s->ip || s->flags & NET_QUIET_ICMP) {
        return;
    }
    if (!limiter_take(&s->icmp_errors, s->now_ns)) {
        s->stats.icmp_limited++;
        return;
    }
    icmp[ICMP_TYPE] = ICMP_UNREACHABLE;
    icmp[ICMP_CODE] = (uint8_t)code;
    __builtin_memcpy(icmp + ICMP_LEN, p->hdr, quote);
    put_be16(icmp + ICMP_SUM, (uint16_t)~net_sum(icmp, ICMP_LEN + quote));
    f.hdr_len = (uint16_t)(ETH_LEN + IP_LEN + ICMP_LEN + quote);
    if (ip_send(s, &f, hdr, p->src, IPPROTO_ICMP) == 0) {
        s->stats.icmp_errors_sent++;
    }
}

/* A router or host could not deliver what we sent; `q` is what it quotes. */
static void unreachable(struct net_stack *s, const struct ip_packet *p)
{
    const uint8_t *q = p->l4 + ICMP_LEN;
    uint32_t len = p->len - ICMP_LEN;
    if (len < IP_LEN) {
        s->stats.icmp_ignored++;
        return;
    }
    uint32_t hlen = (q[IP_VIHL] & 0xfu) * 4;
    if (q[IP_VIHL] >> 4 != 4 || hlen < IP_LEN || len < hlen + 8 ||
        get_be32(q + IP_SRC) != s->ip || q[IP_PROTO] != IPPROTO_TCP) {
        s->stats.icmp_ignored++;
        return;
    }
    tcp_icmp(s, p->l4[ICMP_CODE], get16(p->l4 + ICMP_MTU), get_be32(q + IP_DST),
             q + hlen);
}

void icmp_input(struct net_stack *s, const struct ip_packet *p)
{
    if (p->len < ICMP_LEN) {
        s->stats.rx_short++;
        return;
    }
    if (net_sum(p->l4, p->len) != 0xffff) {
        s->stats.rx_bad_sum++;
        return;
    }
    if (!s->ip) {
        return;
    }
    switch (p->l4[ICMP_TYPE]) {
    case ICMP_ECHO:
        /* RFC 1122 s3.2.2.6 lets us be silent to broadcasts. */
        if (!p->broadcast && !(s->flags & NET_QUIET_ICMP)) {
            echo(s, p);
        }
        break;
    case ICMP_UNREACHABLE:
        unreachable(s, p);
        break;
    default:
        s->stats.icmp_ignored++;
        break;
    }
}
