/* SPDX-License-Identifier: MIT */
/*
 * A packet in words, for a person who must understand why two filters meet in
 * it. Freestanding, and it believes nothing: a packet may end anywhere.
 * Source: RFC 791 s3.1, RFC 826, RFC 8200 s3, RFC 9293 s3.1, RFC 768.
 */
#include "dpf/dpf.h"

enum {
    ETHERNET = 14,
    VLAN_TAG = 4,
    ARP = 28,
    IP4_LEAST = 20,
    IP6 = 40,
    OPTIONS_SHOWN = 8, /* bytes */
};
enum {
    TYPE_IP4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_VLAN = 0x8100,
    TYPE_IP6 = 0x86dd
};
enum { ICMP = 1, TCP = 6, UDP = 17, ICMP6 = 58 };

/* Text that grows, and is cut at the end of its room. */
struct words {
    char *out;
    size_t size, at;
};

static void packet_put(struct words *w, char c)
{
    if (w->at + 1 < w->size) {
        w->out[w->at] = c;
        w->out[w->at + 1] = '\0';
    }
    w->at++; /* counted beyond the end as well: the length that was needed */
}

static void text(struct words *w, const char *s)
{
    for (; *s != '\0'; s++) {
        packet_put(w, *s);
    }
}

/* Decimal, the upper digits first: at most ten calls deep. */
static void packet_number(struct words *w, uint32_t v)
{
    if (v >= 10) {
        packet_number(w, v / 10);
    }
    packet_put(w, (char)('0' + v % 10));
}

static void hex(struct words *w, uint32_t v, unsigned digits)
{
    while (digits-- > 0) {
        packet_put(w, "0123456789abcdef"[v >> 4 * digits & 15]);
    }
}

static uint32_t packet_get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void ends_in(struct words *w, const char *what)
{
    text(w, ", and ends inside the ");
    text(w, what);
}

static void mac(struct words *w, const uint8_t *p)
{
    for (unsigned i = 0; i < 6; i++) {
        text(w, i == 0 ? "" : ":");
        hex(w, p[i], 2);
    }
}

static void ip4(struct words *w, const uint8_t *p)
{
    for (unsigned i = 0; i < 4; i++) {
        text(w, i == 0 ? "" : ".");
        packet_number(w, p[i]);
    }
}

static void ip6(struct words *w, const uint8_t *p)
{
    for (unsigned i = 0; i < 16; i += 2) {
        text(w, i == 0 ? "" : ":");
        hex(w, packet_get16(p + i), 4);
    }
}

/* The header behind an IP header. */
static void transport(struct words *w, uint32_t protocol, const uint8_t *p,
                      size_t len)
{
    const char *name = protocol == TCP     ? "TCP"
                       : protocol == UDP   ? "UDP"
                       : protocol == ICMP  ? "ICMP"
                       : protocol == ICMP6 ? "ICMPv6"
                                           : NULL;
    text(w, ", ");
    if (name == NULL) {
        text(w, "protocol ");
        packet_number(w, protocol);
        return;
    }
    text(w, name);
    if ((protocol == TCP || protocol == UDP) && len >= 4) {
        text(w, " port ");
        packet_number(w, packet_get16(p));
        text(w, " > ");
        packet_number(w, packet_get16(p + 2));
    } else if (protocol != TCP && protocol != UDP && len >= 2) {
        text(w, " type ");
        packet_number(w, p[0]);
        text(w, " code ");
        packet_number(w, p[1]);
    } else {
        ends_in(w, "header behind IP");
    }
}

static void packet_options(struct words *w, const uint8_t *p, size_t len)
{
    text(w, " with ");
    packet_number(w, (uint32_t)len);
    text(w, " bytes of options (");
    for (size_t i = 0; i < len && i < OPTIONS_SHOWN; i++) {
        hex(w, p[i], 2);
    }
    text(w, len > OPTIONS_SHOWN ? "...)" : ")");
}

static void over_ip4(struct words *w, const uint8_t *p, size_t len)
{
    text(w, ", IPv4 ");
    if (len < IP4_LEAST) {
        ends_in(w, "IPv4 header");
        return;
    }
    /*
     * The packet may be one that a filter's author constructed: the version
     * need not be 4, nor the header as long as it says.
     */
    size_t header = 4u * (p[0] & 15u);
    uint32_t fragment = 8 * (packet_get16(p + 6) & 0x1fff);
    ip4(w, p + 12);
    text(w, " > ");
    ip4(w, p + 16);
    if (p[0] >> 4 != 4) {
        text(w, " of version ");
        packet_number(w, p[0] >> 4);
    }
    if (header < IP4_LEAST) {
        text(w, " with an impossible header length of ");
        packet_number(w, (uint32_t)header);
        header = IP4_LEAST;
    } else if (header > len) {
        ends_in(w, "IP options");
        return;
    } else if (header > IP4_LEAST) {
        packet_options(w, p + IP4_LEAST, header - IP4_LEAST);
    }
    /* Only the first fragment has the header of the protocol. */
    if (fragment > 0) {
        text(w, ", a later fragment (at byte ");
        packet_number(w, fragment);
        text(w, ") of protocol ");
        packet_number(w, p[9]);
    } else {
        transport(w, p[9], p + header, len - header);
    }
}

/*
 * Extension headers are named by their number and not followed, as filters by
 * port do not follow them either.
 */
static void over_ip6(struct words *w, const uint8_t *p, size_t len)
{
    text(w, ", IPv6 ");
    if (len < IP6) {
        ends_in(w, "IPv6 header");
        return;
    }
    ip6(w, p + 8);
    text(w, " > ");
    ip6(w, p + 24);
    transport(w, p[6], p + IP6, len - IP6);
}

static void over_arp(struct words *w, const uint8_t *p, size_t len)
{
    if (len < ARP) {
        text(w, ", ARP");
        ends_in(w, "ARP message");
        return;
    }
    uint32_t what = packet_get16(p + 6);
    text(w, what == 1   ? ", ARP request of "
            : what == 2 ? ", ARP reply of "
                        : ", ARP of ");
    ip4(w, p + 14);
    text(w, what == 1 ? " for " : " to ");
    ip4(w, p + 24);
}

size_t dpf_packet_text(char *out, size_t size, const uint8_t *packet,
                       size_t len)
{
    struct words w = {.out = out, .size = size};
    size_t at = ETHERNET;
    if (size > 0) {
        out[0] = '\0';
    }
    packet_number(&w, (uint32_t)len);
    text(&w, " bytes");
    if (len < ETHERNET) {
        ends_in(&w, "Ethernet header");
        return w.at;
    }
    text(&w, ": Ethernet ");
    mac(&w, packet + 6);
    text(&w, " > ");
    mac(&w, packet);
    uint32_t type = packet_get16(packet + 12);
    /* Tags may be stacked; each one takes four bytes, so this ends. */
    while (type == TYPE_VLAN && len - at >= VLAN_TAG) {
        text(&w, ", VLAN ");
        packet_number(&w, packet_get16(packet + at) & 0xfff);
        type = packet_get16(packet + at + 2);
        at += VLAN_TAG;
    }
    if (type == TYPE_IP4) {
        over_ip4(&w, packet + at, len - at);
    } else if (type == TYPE_IP6) {
        over_ip6(&w, packet + at, len - at);
    } else if (type == TYPE_ARP) {
        over_arp(&w, packet + at, len - at);
    } else {
        text(&w, ", type 0x");
        hex(&w, type, 4);
    }
    return w.at;
}
