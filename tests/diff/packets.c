/* SPDX-License-Identifier: MIT */
#include "tests/diff/packets.h"

#include <stdio.h>
#include <string.h>

uint64_t rng_next(struct rng *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

#define PICK(r, a) ((a)[rng_below((r), sizeof(a) / sizeof(*(a)))])

static const uint32_t hosts[] = {0x0a000001, 0x0a000002, 0x0a010203,
                                 0xc0a80001, 0xc0a80180, 0xe0000001,
                                 0xffffffff, 0x7f000001};
static const uint16_t ports[] = {22, 53, 80, 443, 8080, 1024, 65535, 0};
static const uint8_t protos[] = {6, 6, 6, 17, 17, 1, 58, 132, 51, 89, 4};
static const uint16_t types[] = {0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd,
                                 0x0806, 0x8100, 0x8847, 0x8864, 0x0064};

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

static size_t ports_at(struct rng *r, uint8_t *p)
{
    put16(p, PICK(r, ports));
    put16(p + 2, PICK(r, ports));
    p[12] = (uint8_t)(0x50 + 16 * rng_below(r, 3));
    return 20;
}

static size_t ipv4(struct rng *r, uint8_t *p)
{
    size_t len = rng_below(r, 4) ? 20 : 20 + 4 * rng_below(r, 11);
    p[0] = (uint8_t)(0x40 | len / 4);
    put16(p + 6, rng_below(r, 4) ? 0x4000 : rng_below(r, 65536));
    p[9] = PICK(r, protos);
    put32(p + 12, PICK(r, hosts));
    put32(p + 16, PICK(r, hosts));
    return len + ports_at(r, p + len);
}

static size_t ipv6(struct rng *r, uint8_t *p)
{
    static const uint8_t next[] = {6, 17, 58, 44, 0, 60, 43, 59};
    p[0] = 0x60;
    p[6] = PICK(r, next);
    memset(p + 8, 0, 32);
    p[8] = p[24] = 0x20;
    p[23] = (uint8_t)rng_below(r, 3);
    p[39] = (uint8_t)rng_below(r, 3);
    p[40] = PICK(r, next);
    p[41] = (uint8_t)rng_below(r, 3);
    return 40 + ports_at(r, p + 40);
}

/* What follows type field `at`; returns the packet's end. */
static size_t payload(struct rng *r, uint8_t *p, size_t at)
{
    uint16_t type = PICK(r, types);
    put16(p + at, type);
    at += 2;
    for (int tags = 0; type == 0x8100 && tags < 2; tags++) {
        put16(p + at, rng_below(r, 3));
        type = PICK(r, types);
        put16(p + at + 2, type);
        at += 4;
    }
    switch (type) {
    case 0x0800:
        return at + ipv4(r, p + at);
    case 0x86dd:
        return at + ipv6(r, p + at);
    case 0x8847:
        put32(p + at, 0x100 | rng_below(r, 3) << 12);
        return at + 4 + ipv4(r, p + at + 4);
    case 0x8864:
        put16(p + at + 6, 0x21);
        return at + 8 + ipv4(r, p + at + 8);
    case 0x0806:
        put32(p + at + 14, PICK(r, hosts));
        put32(p + at + 24, PICK(r, hosts));
        return at + 28;
    default:
        return at + 20;
    }
}

size_t random_packet(struct rng *r, uint8_t *out)
{
    for (size_t i = 0; i < PACKET_MAX; i += 8) {
        uint64_t v = rng_next(r);
        memcpy(out + i, &v, 8);
    }
    if (rng_below(r, 16) == 0) {
        return rng_below(r, PACKET_MAX + 1);
    }
    if (rng_below(r, 4) == 0) {
        memset(out, 0xff, 6);
    }
    size_t len = payload(r, out, 12) + rng_below(r, 24);
    if (rng_below(r, 8) == 0) { /* a flipped byte */
        out[rng_below(r, (uint32_t)len)] ^= (uint8_t)(1u << rng_below(r, 8));
    }
    return rng_below(r, 3) ? len : rng_below(r, (uint32_t)len + 1);
}

/* ------------------------------------------------------------ expressions */

static const char *direction(struct rng *r)
{
    static const char *const d[] = {"", "", "src ", "dst ", "src and dst "};
    return PICK(r, d);
}

static void address(struct rng *r, char *out, size_t size)
{
    uint32_t h = PICK(r, hosts);
    snprintf(out, size, "%u.%u.%u.%u", h >> 24, h >> 16 & 255, h >> 8 & 255,
             h & 255);
}

static void net(struct rng *r, char *out, size_t size)
{
    uint32_t bits = rng_below(r, 33);
    uint32_t h = PICK(r, hosts);
    h = bits ? h & ~(uint32_t)((UINT64_C(1) << (32 - bits)) - 1) : 0;
    snprintf(out, size, "%u.%u.%u.%u/%u", h >> 24, h >> 16 & 255, h >> 8 & 255,
             h & 255, bits);
}

static void arithmetic(struct rng *r, char *out, size_t size)
{
    static const char *const bases[] = {"ether", "ip",  "tcp", "udp",
                                        "ip6",   "arp", "icmp"};
    static const char *const ops[] = {"=", "!=", "<", ">", "<=", ">="};
    static const char *const alu[] = {"&", "|", "^", "+",  "-",
                                      "*", "/", "%", "<<", ">>"};
    uint32_t width = 1u << rng_below(r, 3);
    uint32_t limit = width == 4 ? 0xffffffffu : (1u << 8 * width) - 1;
    uint32_t k = rng_below(r, 8) + 1;
    const char *op = PICK(r, alu);
    if (rng_below(r, 2)) {
        snprintf(out, size, "%s[%u:%u] %s %u", PICK(r, bases), rng_below(r, 24),
                 width, PICK(r, ops),
                 (uint32_t)(rng_next(r) & limit) >> rng_below(r, 8));
    } else {
        snprintf(out, size, "(%s[%u:%u] %s %u) %s %u", PICK(r, bases),
                 rng_below(r, 24), width, op, k, PICK(r, ops),
                 rng_below(r, 64));
    }
}

static void primitive(struct rng *r, char *out, size_t size)
{
    static const char *const words[] = {"ip",
                                        "ip6",
                                        "arp",
                                        "tcp",
                                        "udp",
                                        "icmp",
                                        "icmp6",
                                        "sctp",
                                        "ah",
                                        "ether broadcast",
                                        "ether multicast",
                                        "ip multicast",
                                        "ip6 multicast",
                                        "ip proto 6",
                                        "ip6 proto 17",
                                        "tcp[tcpflags] & tcp-syn != 0",
                                        "ip[6:2] & 0x1fff = 0",
                                        "less 60",
                                        "greater 70",
                                        "len % 3 = 1",
                                        "ether proto 0x8100",
                                        "ip6 host 2000::1",
                                        "src net 2000::/16",
                                        "ip6 protochain 17",
                                        "ip protochain 6",
                                        "llc",
                                        "ether[12:2] <= 1500"};
    static const char *const over[] = {"", "", "tcp ", "udp ", "sctp "};
    uint32_t lo = PICK(r, ports), hi = PICK(r, ports);
    char a[64];
    switch (rng_below(r, 8)) {
    case 0:
        address(r, a, sizeof(a));
        snprintf(out, size, "%shost %s", direction(r), a);
        return;
    case 1:
        net(r, a, sizeof(a));
        snprintf(out, size, "%snet %s", direction(r), a);
        return;
    case 2:
        snprintf(out, size, "%s%sport %u", PICK(r, over), direction(r), lo);
        return;
    case 3:
        snprintf(out, size, "%s%sportrange %u-%u", PICK(r, over), direction(r),
                 lo < hi ? lo : hi, lo < hi ? hi : lo);
        return;
    case 4:
    case 5:
        arithmetic(r, out, size);
        return;
    default:
        snprintf(out, size, "%s", PICK(r, words));
    }
}

static void combine(struct rng *r, char *out, size_t size, int depth)
{
    uint32_t kind = rng_below(r, 5);
    if (depth == 0 || kind == 0) {
        primitive(r, out, size);
        return;
    }
    char left[1024];
    combine(r, left, sizeof(left), depth - 1);
    if (kind == 1) {
        snprintf(out, size, "not (%.1000s)", left);
        return;
    }
    char right[1024];
    combine(r, right, sizeof(right), depth - 1);
    snprintf(out, size, "(%.*s) %s (%.*s)", 480, left, kind < 4 ? "and" : "or",
             480, right);
}

void random_expression(struct rng *r, char *out, size_t size)
{
    static const char *const around[] = {"",
                                         "",
                                         "",
                                         "",
                                         "",
                                         "",
                                         "vlan and ",
                                         "vlan 1 and ",
                                         "mpls and ",
                                         "pppoes and ",
                                         "vlan and vlan and "};
    const char *first = PICK(r, around);
    char inner[1100];
    combine(r, inner, sizeof(inner), 3);
    snprintf(out, size, "%s(%s)", first, inner);
}
