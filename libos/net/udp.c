/* SPDX-License-Identifier: MIT */
/*
 * UDP (RFC 768; RFC 1122 s4.1).
 */
#include "libos/libos/udp.h"

#include "libos/net/stack.h"

#define UDP_HDR (ETH_LEN + IP_LEN + UDP_LEN)
#define INLINE_MAX (NET_HDR_MAX - UDP_HDR) /* data that rides in the header */

int udp_bind(struct net_stack *s, struct udp_port *p)
{
    if (!p->port) {
        return -NET_E_RANGE;
    }
    for (const struct udp_port *q = s->udp; q != NULL; q = q->next) {
        if (q->port == p->port) {
            return -NET_E_USED;
        }
    }
    p->stack = s;
    p->next = s->udp;
    s->udp = p;
    return 0;
}

void udp_unbind(struct udp_port *p)
{
    struct udp_port **q = &p->stack->udp;
    while (*q != NULL && *q != p) {
        q = &(*q)->next;
    }
    if (*q != NULL) {
        *q = p->next;
    }
}

/* A sum of 0 means that the sender made none (RFC 768). */
static bool sum_ok(const struct ip_packet *p, uint32_t len)
{
    if (p->sum_ok || get_be16(p->l4 + UDP_SUM) == 0) {
        return true;
    }
    uint16_t sum = net_sum_add(net_sum(p->l4, len),
                               ip_pseudo_sum(p->src, p->dst, IPPROTO_UDP, len));
    return sum == 0xffff;
}

void udp_input(struct net_stack *s, const struct ip_packet *p)
{
    if (p->len < UDP_LEN) {
        s->stats.rx_short++;
        return;
    }
    uint32_t len = get16(p->l4 + UDP_LENGTH);
    if (len < UDP_LEN || len > p->len) {
        s->stats.rx_short++;
        return;
    }
    if (!sum_ok(p, len)) {
        s->stats.rx_bad_sum++;
        return;
    }
    uint16_t port = get16(p->l4 + UDP_DPORT);
    struct udp_port *u;
    for (u = s->udp; u != NULL && u->port != port; u = u->next) {
    }
    if (u == NULL && unlikely(s->away) && net_is_away(s, IPPROTO_UDP, port)) {
        return;
    }
    if (u == NULL) {
        s->stats.rx_not_ours++;
        icmp_unreachable(s, p, ICMP_CODE_PORT);
        return;
    }
    struct net_endpoint from;
    from.addr = addr_of_v4(p->src);
    from.port = get16(p->l4 + UDP_SPORT);
    struct net_addr to = addr_of_v4(p->dst);
    s->stats.udp_received++;
    u->received(u, &from, &to, p->l4 + UDP_LEN, len - UDP_LEN);
}

/* Fill the UDP header. `sum`: of the data, when the link does not sum. */
static void udp_header(struct net_stack *s, uint8_t *u, uint16_t sport,
                       const struct net_endpoint *to, uint32_t len)
{
    put16(u + UDP_SPORT, sport);
    put16(u + UDP_DPORT, to->port);
    put16(u + UDP_LENGTH, (uint16_t)len);
    put_be16(u + UDP_SUM,
             ip_pseudo_sum(s->ip, to->addr.word[3], IPPROTO_UDP, len));
}

static uint16_t pieces_sum(const struct net_piece *pieces, uint32_t count)
{
    uint16_t sum = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t part = net_sum(pieces[i].va, pieces[i].len);
        sum = net_sum_add(sum, at & 1 ? net_sum_shift(part) : part);
        at += pieces[i].len;
    }
    return sum;
}

/* Send what is complete but for IP and the checksum: `inl` bytes of data are
   in the header. */
static int udp_out(struct udp_port *p, const struct net_endpoint *to,
                   struct net_frame *f, uint8_t *hdr, uint32_t inl)
{
    struct net_stack *s = p->stack;
    uint8_t *u = hdr + ETH_LEN + IP_LEN;
    f->hdr = hdr;
    f->hdr_len = (uint16_t)(UDP_HDR + inl);
    udp_header(s, u, p->port, to, UDP_LEN + inl + f->body_len);
    if (s->link->caps & NET_CAP_CSUM) {
        f->csum_start = ETH_LEN + IP_LEN;
        f->csum_offset = UDP_SUM;
    } else {
        uint16_t sum = net_sum_add(net_sum(u, UDP_LEN + inl),
                                   pieces_sum(f->piece, f->count));
        sum = (uint16_t)~sum;
        put_be16(u + UDP_SUM, sum ? sum : 0xffff);
    }
    int r = ip_send(s, f, hdr, to->addr.word[3], IPPROTO_UDP);
    s->stats.udp_sent += r == 0;
    return r;
}

static int may_send(const struct net_stack *s, const struct net_endpoint *to,
                    uint64_t len)
{
    if (!addr_is_v4(&to->addr) || ip_is_multicast(to->addr.word[3]) ||
        (!s->ip && to->addr.word[3] != 0xffffffff)) {
        return -NET_E_ROUTE;
    }
    return IP_LEN + UDP_LEN + len > s->mtu ? -NET_E_SIZE : 0;
}

int udp_send(struct udp_port *p, const struct net_endpoint *to,
             const struct net_piece *pieces, uint32_t count,
             struct net_pin *pin)
{
    struct net_frame f = {.pin = pin};
    uint64_t len = 0;
    if (count > NET_PIECES_MAX) {
        return -NET_E_SIZE;
    }
    for (uint32_t i = 0; i < count; i++) {
        f.piece[i] = pieces[i];
        len += pieces[i].len;
    }
    int r = may_send(p->stack, to, len);
    if (r) {
        return r;
    }
    f.count = (uint8_t)count;
    f.body_len = (uint32_t)len;
    uint8_t hdr[NET_HDR_MAX];
    return udp_out(p, to, &f, hdr, 0);
}

int udp_send_copy(struct udp_port *p, const struct net_endpoint *to,
                  const void *data, uint32_t len)
{
    struct net_frame f = {0};
    int r = may_send(p->stack, to, len);
    if (r) {
        return r;
    }
    uint8_t hdr[NET_HDR_MAX];
    if (len <= INLINE_MAX) {
        if (len) {
            __builtin_memcpy(hdr + UDP_HDR, data, len);
        }
        return udp_out(p, to, &f, hdr, len);
    }
    if (len > BUF_DATA) {
        return -NET_E_SIZE;
    }
    struct net_buf *b = buf_alloc(p->stack);
    if (b == NULL) {
        return -NET_E_MEM;
    }
    __builtin_memcpy(b->data, data, len);
    f.piece[0] =
        (struct net_piece){.paddr = b->paddr, .va = b->data, .len = len};
    f.count = 1;
    f.body_len = len;
    f.pin = &b->pin;
    b->pin.in_flight++; /* ours, so that the buffer outlives a refusal */
    r = udp_out(p, to, &f, hdr, 0);
    net_pin_done(&b->pin);
    return r;
}
