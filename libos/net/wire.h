/* SPDX-License-Identifier: MIT */
/*
 * Header layouts as offsets, and access to them. Packets may lie at any
 * address, so every field goes through memcpy, which compiles to one load.
 * Values named be16 and be32 stay in network order; the others are converted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Ethernet II (IEEE 802.3 clause 3). */
#define ETH_DST 0
#define ETH_SRC 6
#define ETH_TYPE 12
#define ETH_LEN 14
#define ETHERTYPE_IP 0x0800u
#define ETHERTYPE_ARP 0x0806u

/* ARP for Ethernet and IPv4 (RFC 826). */
#define ARP_HTYPE 0
#define ARP_PTYPE 2
#define ARP_HLEN 4
#define ARP_PLEN 5
#define ARP_OP 6
#define ARP_SHA 8
#define ARP_SPA 14
#define ARP_THA 18
#define ARP_TPA 24
#define ARP_LEN 28
#define ARP_REQUEST 1u
#define ARP_REPLY 2u

/* IPv4 (RFC 791 s3.1). */
#define IP_VIHL 0
#define IP_TOTAL 2
#define IP_ID 4
#define IP_FRAG 6
#define IP_TTL 8
#define IP_PROTO 9
#define IP_SUM 10
#define IP_SRC 12
#define IP_DST 16
#define IP_LEN 20
#define IP_DF 0x4000u
#define IP_MORE_OR_OFFSET 0x3fffu
#define IPPROTO_ICMP 1u
#define IPPROTO_TCP 6u
#define IPPROTO_UDP 17u

/* ICMP (RFC 792). */
#define ICMP_TYPE 0
#define ICMP_CODE 1
#define ICMP_SUM 2
#define ICMP_MTU 6 /* RFC 1191 s4 */
#define ICMP_LEN 8
#define ICMP_ECHO_REPLY 0u
#define ICMP_UNREACHABLE 3u
#define ICMP_ECHO 8u
#define ICMP_CODE_PROTOCOL 2u
#define ICMP_CODE_PORT 3u
#define ICMP_CODE_TOO_BIG 4u

/* UDP (RFC 768). */
#define UDP_SPORT 0
#define UDP_DPORT 2
#define UDP_LENGTH 4
#define UDP_SUM 6
#define UDP_LEN 8

/* TCP (RFC 9293 s3.1). */
#define TCP_SPORT 0
#define TCP_DPORT 2
#define TCP_SEQ 4
#define TCP_ACK 8
#define TCP_OFF 12
#define TCP_FLAGS 13
#define TCP_WND 14
#define TCP_SUM 16
#define TCP_UP 18
#define TCP_LEN 20
#define TCP_MAX_LEN 60

#define TH_FIN 0x01u
#define TH_SYN 0x02u
#define TH_RST 0x04u
#define TH_PSH 0x08u
#define TH_ACK 0x10u
#define TH_URG 0x20u

static inline uint16_t get_be16(const void *p)
{
    uint16_t v;

    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t get_be32(const void *p)
{
    uint32_t v;

    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

static inline void put_be16(void *p, uint16_t v)
{
    __builtin_memcpy(p, &v, sizeof v);
}

static inline void put_be32(void *p, uint32_t v)
{
    __builtin_memcpy(p, &v, sizeof v);
}

static inline uint16_t to_be16(uint16_t v)
{
    return __builtin_bswap16(v);
}

static inline uint32_t to_be32(uint32_t v)
{
    return __builtin_bswap32(v);
}

static inline uint16_t get16(const void *p)
{
    return __builtin_bswap16(get_be16(p));
}

static inline uint32_t get32(const void *p)
{
    return __builtin_bswap32(get_be32(p));
}

static inline void put16(void *p, uint16_t v)
{
    put_be16(p, __builtin_bswap16(v));
}

static inline void put32(void *p, uint32_t v)
{
    put_be32(p, __builtin_bswap32(v));
}

static inline bool mac_eq(const uint8_t *a, const uint8_t *b)
{
    return get_be32(a) == get_be32(b) && get_be16(a + 4) == get_be16(b + 4);
}
