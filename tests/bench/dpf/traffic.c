/* SPDX-License-Identifier: MIT */
/*
 * The traffic of bench_single.
 */
#include "tests/bench/dpf/single.h"

#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#define TEN                                                                    \
    "tcp port 21 or 22 or 25 or 53 or 80 or 110 or 143 or 443 or 993 or 8080"

const struct expression bench_expressions[] = {
    {"ip", "ip"},
    {"tcp port 80", "tcp port 80"},
    {"host and port", "host 10.0.0.1 and tcp port 80"},
    {"HTTP data", "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - "
                  "((tcp[12]&0xf0)>>2)) != 0)"},
    {"ten ports", TEN},
    {"IPv6", "ip6 and tcp dst port 443"},
    {"VLAN", "vlan 5 and ip and udp port 53"},
};
const size_t bench_expression_count =
    sizeof(bench_expressions) / sizeof(bench_expressions[0]);

static uint64_t state;

static uint32_t below(uint32_t n)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * UINT64_C(2685821657736338717) >> 32) % n;
}

static void allocate(struct traffic *t, const char *name, uint32_t count)
{
    t->name = name;
    t->count = count;
    t->ordered = false;
    t->bytes = calloc(count, TRAFFIC_SLOT);
    t->len = calloc(count, sizeof(t->len[0]));
    if (t->bytes == NULL || t->len == NULL) {
        abort();
    }
}

void traffic_free(struct traffic *t)
{
    free(t->bytes);
    free(t->len);
}

static void put16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static uint32_t some_port(void)
{
    static const uint16_t known[] = {80, 443, 22, 53, 25, 8080, 993, 123};
    return below(2) ? known[below(8)] : 1024 + below(60000);
}

/* Ethernet up to the payload's first header; returns its offset. */
static uint32_t put_ethernet(uint8_t *p, uint32_t type, bool vlan)
{
    uint32_t at = 12;
    for (uint32_t n = 0; n < 12; n++) {
        p[n] = (uint8_t)below(256);
    }
    if (vlan) {
        put16(p + at, 0x8100);
        put16(p + at + 2, below(8));
        at += 4;
    }
    put16(p + at, type);
    return at + 2;
}

static uint32_t put_ports(uint8_t *p, uint32_t proto)
{
    put16(p, some_port());
    put16(p + 2, some_port());
    if (proto == 6) {
        p[12] = 0x50;
        p[13] = 0x18;
        return 20;
    }
    return 8;
}

static uint32_t put_ipv4(uint8_t *p, uint32_t proto, uint32_t payload)
{
    uint32_t ihl = below(20) == 0 ? 6 : 5;
    p[0] = (uint8_t)(0x40 | ihl);
    p[8] = 64;
    p[9] = (uint8_t)proto;
    put16(p + 6, below(15) == 0 ? 1 + below(100) : 0x4000);
    p[12] = p[16] = 10;
    p[15] = (uint8_t)(1 + below(4));
    p[19] = (uint8_t)(1 + below(4));
    uint32_t size = ihl * 4 + put_ports(p + ihl * 4, proto) + payload;
    put16(p + 2, size);
    return size;
}

static uint32_t put_ipv6(uint8_t *p, uint32_t proto, uint32_t payload)
{
    p[0] = 0x60;
    p[6] = (uint8_t)proto;
    p[7] = 64;
    uint32_t size = put_ports(p + 40, proto) + payload;
    put16(p + 4, size);
    return 40 + size;
}

void traffic_mixed(struct traffic *t, uint32_t count)
{
    allocate(t, "mixed", count);
    state = 20260601;
    for (uint32_t n = 0; n < count; n++) {
        uint8_t *p = t->bytes + (size_t)n * TRAFFIC_SLOT;
        uint32_t kind = below(100), at, proto = below(3) ? 6 : 17;
        uint32_t payload = below(2) ? 0 : below(100);
        bool vlan = below(8) == 0;
        if (kind < 65) {
            at = put_ethernet(p, 0x800, vlan);
            at += put_ipv4(p + at, proto, payload);
        } else if (kind < 85) {
            at = put_ethernet(p, 0x86dd, vlan);
            at += put_ipv6(p + at, proto, payload);
        } else {
            at = put_ethernet(p, kind < 95 ? 0x806 : 0x88cc, vlan) + 28;
        }
        t->len[n] = (uint16_t)(at < 60 ? 60 : at);
    }
}

void traffic_hot(struct traffic *t, uint32_t count)
{
    allocate(t, "hot", count);
    t->ordered = true;
    for (uint32_t n = 0; n < count; n++) {
        uint8_t *p = t->bytes + (size_t)n * TRAFFIC_SLOT;
        state = 7;
        uint32_t at = put_ethernet(p, 0x800, false);
        put_ipv4(p + at, 6, 40);
        put16(p + at + 6, 0x4000);
        p[at] = 0x45;
        put16(p + at + 20, 40000);
        put16(p + at + 22, 80);
        p[at + 32] = 0x50;
        t->len[n] = 94;
    }
}

bool traffic_real(struct traffic *t, uint32_t count, char **paths, int n)
{
    uint32_t have = 0;
    allocate(t, "real", count);
    for (int i = 0; i < n; i++) {
        char why[PCAP_ERRBUF_SIZE];
        struct pcap_pkthdr *header;
        const u_char *bytes;
        pcap_t *pcap = pcap_open_offline(paths[i], why);
        if (pcap == NULL || pcap_datalink(pcap) != DLT_EN10MB) {
            continue;
        }
        while (have < count && pcap_next_ex(pcap, &header, &bytes) == 1) {
            uint32_t len =
                header->caplen < TRAFFIC_SLOT ? header->caplen : TRAFFIC_SLOT;
            memcpy(t->bytes + (size_t)have * TRAFFIC_SLOT, bytes, len);
            t->len[have++] = (uint16_t)len;
        }
        pcap_close(pcap);
    }
    t->count = have;
    t->ordered = true; /* as captured */
    return have > 0;
}
