/* SPDX-License-Identifier: MIT */
/*
 * Filters as compilers and libraries write them, over small pools of headers,
 * addresses and ports, so that many of them accept the same packets: headers
 * of computed length, chains of extension headers, lists and trees of ports,
 * loops. A filter is a recipe of the packets that it wants and the fields that
 * it tests; how its program is spelled is apart from that, so that filters
 * that lie inside one another are written in different ways.
 */
#pragma once

#include "tests/diff/packets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CROWD_BYTES 160u  /* the longest packet */
#define CROWD_TEXT 16384u /* the longest program, as text */

/* The fields of a packet that a filter may test. */
enum crowd_field {
    CROWD_LEN,
    CROWD_TAG,   /* number of the outer VLAN */
    CROWD_WORDS, /* of an IPv4 header: a constant, not computed */
    CROWD_FRAGMENT,
    CROWD_PROTOCOL,
    CROWD_SOURCE,
    CROWD_TARGET,
    CROWD_FROM, /* ports */
    CROWD_TO,
    CROWD_DATA,   /* behind a TCP header of computed length */
    CROWD_OPTION, /* found by walking IPv4 options or IPv6 headers */
    CROWD_ODD,    /* what no diagram can say */
    CROWD_FIELDS
};

/* How a field is compared with the recipe's value. */
enum crowd_how {
    CROWD_EQUAL,
    CROWD_PREFIX,
    CROWD_RANGE,
    CROWD_LIST,
    CROWD_TREE, /* a list, searched by halves */
    CROWD_NOT,  /* it is not another value */
    CROWD_BITS,
    CROWD_HOWS
};

struct recipe {
    uint8_t version; /* 4, 6, or 0: ARP */
    uint8_t tags;    /* VLANs, 0 to 2 */
    uint8_t vlan;
    uint8_t words;      /* of the IPv4 header */
    uint8_t data_words; /* of the TCP header */
    uint8_t chain;      /* IPv6 extension headers, 0 to 3 */
    uint8_t protocol;
    uint8_t source, target; /* last bytes of addresses */
    uint8_t data;
    uint16_t from, to; /* ports */
};

struct crowd_filter {
    struct recipe want;
    uint32_t tests; /* bits of crowd_field */
    uint8_t how[CROWD_FIELDS];
    uint8_t odd; /* which of the odd ones */
    uint64_t style;
    bool either; /* or the same of IPv6, or of IPv4 */
};

/* Times as many addresses and ports as in the smallest of crowds. */
extern uint32_t crowd_pool;

void crowd_make(struct rng *r, struct crowd_filter *f);
/* Another that tests a field more, one less, or one in another way. */
void crowd_vary(struct rng *r, const struct crowd_filter *like,
                struct crowd_filter *f);
/* Another inside it: it tests some field more, or its value more closely. */
void crowd_narrow(struct rng *r, const struct crowd_filter *like,
                  struct crowd_filter *f);
/* Another that no single byte tells from it. */
void crowd_alike(struct rng *r, const struct crowd_filter *like,
                 struct crowd_filter *f);
/* Its program, for dpf_from_asm; `out` has room for CROWD_TEXT bytes. */
void crowd_text(const struct crowd_filter *f, char *out);
/* A packet that the filter may want, of at most CROWD_BYTES bytes. */
size_t crowd_packet(struct rng *r, const struct crowd_filter *f, uint8_t *out);
