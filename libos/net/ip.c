/* SPDX-License-Identifier: MIT */
/*
 * IPv4 (RFC 791; RFC 1122 s3). Packets for us are checked and handed on;
 * nothing is forwarded. Fragments are dropped and counted: the kernel's
 * filters find a packet's owner by its ports, which only a first fragment
 * has, so later ones could not arrive anyhow; TCP never needs them, because
 * our MSS and don't-fragment keep segments whole. Options are skipped, but
 * packets that carry a source route are dropped (RFC 7126 s4.3, s4.4).
 */
#include "libos/net/stack.h"

#define TTL 64u /* RFC 1700 */
#define OPT_END 0u
#define OPT_NOP 1u
#define OPT_LSRR 131u
#define OPT_SSRR 137u

/* True when the options parse and hold no source route. */
static bool options_ok(const uint8_t *p, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && p[at] != OPT_END) {
        if (p[at] == OPT_NOP) {
            at++;
            continue;
        }
        if (at + 1 >= len || p[at + 1] < 2 || p[at + 1] > len - at ||
            p[at] == OPT_LSRR || p[at] == OPT_SSRR) {
            return false;
        }
        at += p[at + 1];
    }
    return true;
}

/* RFC 1122 s3.2.1.3: what may never be a source. 0.0.0.0 may, of a host that
   has no address yet and asks everybody for one. */
static bool source_ok(const struct net_stack *s, const struct ip_packet *p)
{
    uint32_t src = p->src;
    if (unlikely(!src)) {
        return p->dst == 0xffffffff && p->proto == IPPROTO_UDP;
    }
    return (src & 0xf0) < 0xe0 && (src & 0xff) != 127 && src != s->ip &&
           (src != s->broadcast || !s->broadcast);
}

/* Whether `dst` means us; sets *broadcast. Without an address we listen to
   whatever a DHCP server may call us (RFC 2131 s4.1). */
static bool dest_ok(const struct net_stack *s, uint32_t dst, bool *broadcast)
{
    if (likely(s->ip && dst == s->ip)) {
        return true;
    }
    if (dst == 0xffffffff || (s->broadcast && dst == s->broadcast)) {
        *broadcast = true;
        return true;
    }
    return !s->ip && !ip_is_multicast(dst);
}

/* The header's own sum, which is 0xffff when right. */
static uint16_t header_sum(const uint8_t *p)
{
    uint64_t a = get_be32(p);
    a += get_be32(p + 4);
    a += get_be32(p + 8);
    a += get_be32(p + 12);
    a += get_be32(p + 16);
    return net_sum_fold(a);
}

static void deliver(struct net_stack *s, struct ip_packet *p)
{
    switch (p->proto) {
    case IPPROTO_TCP:
        /* RFC 1122 s4.2.3.10: never to a broadcast. */
        if (!p->broadcast && s->ip) {
            tcp_input(s, p);
        }
        break;
    case IPPROTO_UDP:
        udp_input(s, p);
        break;
    case IPPROTO_ICMP:
        icmp_input(s, p);
        break;
    default:
        s->stats.rx_not_ours++;
        icmp_unreachable(s, p, ICMP_CODE_PROTOCOL);
        break;
    }
}

void ip_input(struct net_stack *s, const uint8_t *p, size_t len, uint32_t flags,
              bool link_broadcast)
{
    bool ip_broadcast = false;
    if (unlikely(len < IP_LEN)) {
        s->stats.rx_short++;
        return;
    }
    uint32_t hlen = (p[IP_VIHL] & 0xfu) * 4;
    uint32_t total = get16(p + IP_TOTAL);
    if (unlikely(p[IP_VIHL] >> 4 != 4 || hlen < IP_LEN || total < hlen ||
                 total > len)) {
        s->stats.rx_short++;
        return;
    }
    if (unlikely(hlen == IP_LEN ? header_sum(p) != 0xffff
                                : net_sum(p, hlen) != 0xffff)) {
        s->stats.rx_bad_sum++;
        return;
    }
    struct ip_packet pkt = (struct ip_packet){
        .hdr = p,
        .l4 = p + hlen,
        .len = total - hlen,
        .src = get_be32(p + IP_SRC),
        .dst = get_be32(p + IP_DST),
        .proto = p[IP_PROTO],
        .sum_ok = (flags & NET_RX_SUM_OK) != 0,
    };
    if (unlikely(!source_ok(s, &pkt))) {
        s->stats.rx_bad_source++;
        return;
    }
    /* RFC 1122 s3.3.6: a unicast packet in a link broadcast is a mistake. */
    if (unlikely(!dest_ok(s, pkt.dst, &ip_broadcast) ||
                 (link_broadcast && !ip_broadcast && s->ip))) {
        s->stats.rx_not_ours++;
        return;
    }
    if (unlikely(get16(p + IP_FRAG) & IP_MORE_OR_OFFSET)) {
        s->stats.rx_fragments++;
        return;
    }
    if (unlikely(hlen > IP_LEN && !options_ok(p + IP_LEN, hlen - IP_LEN))) {
        s->stats.rx_not_ours++;
        return;
    }
    pkt.broadcast = link_broadcast || ip_broadcast;
    deliver(s, &pkt);
}

uint16_t ip_pseudo_sum(uint32_t src, uint32_t dst, uint32_t proto, uint32_t len)
{
    uint64_t a = (uint64_t)src + dst;
    a += to_be32(proto << 16 | (len & 0xffff));
    return net_sum_fold(a);
}

int ip_send(struct net_stack *s, struct net_frame *f, uint8_t *hdr,
            uint32_t dst, uint32_t proto)
{
    uint8_t *ip = hdr + ETH_LEN;
    ip[IP_VIHL] = 0x45;
    ip[1] = 0;
    put16(ip + IP_TOTAL, (uint16_t)(f->hdr_len - ETH_LEN + f->body_len));
    /* What may not be cut needs no identification (RFC 6864 s4.1), and one
       that counts would tell strangers what we send to others. */
    put16(ip + IP_ID, proto == IPPROTO_TCP ? 0 : s->ip_id++);
    put16(ip + IP_FRAG, proto == IPPROTO_TCP ? IP_DF : 0);
    ip[IP_TTL] = TTL;
    ip[IP_PROTO] = (uint8_t)proto;
    put_be16(ip + IP_SUM, 0);
    put_be32(ip + IP_SRC, s->ip);
    put_be32(ip + IP_DST, dst);
    put_be16(ip + IP_SUM, (uint16_t)~header_sum(ip));
    if (dst == 0xffffffff || (s->broadcast && dst == s->broadcast)) {
        __builtin_memset(hdr + ETH_DST, 0xff, 6);
        __builtin_memcpy(hdr + ETH_SRC, s->mac, 6);
        put16(hdr + ETH_TYPE, ETHERTYPE_IP);
        return frame_send(s, f);
    }
    struct neighbour *hop = arp_route(s, dst);
    if (hop == NULL) {
        return -NET_E_ROUTE;
    }
    return arp_send(s, hop, f, hdr);
}
