/* SPDX-License-Identifier: MIT */
/*
 * A small builder of packet filters for what is known at run time only:
 * addresses and ports. A filter is a list of alternatives, each a list of
 * tests at constant offsets; it accepts a packet that passes all tests of one
 * alternative. What needs more is compiled from text or C by the dpf tool.
 *
 * A load beyond the packet's end rejects it as a whole, so alternatives that
 * reach further come after a test that tells them apart.
 */
#pragma once

#include "dpf/dpf.h"
#include <stdint.h>

#define FILTER_INSNS_MAX 256u

struct filter {
    uint32_t count;  /* instructions; FILTER_INSNS_MAX + 1: it did not fit */
    uint32_t opened; /* first instruction of the current alternative */
    struct dpf_insn insn[FILTER_INSNS_MAX];
};

void filter_begin(struct filter *f);

/* The `bytes` (1, 2, 4 or 6) at `offset` are `value`, in network order. */
void filter_match(struct filter *f, int16_t offset, unsigned bytes,
                  uint64_t value);
/* None of the bits of `mask` are set there; bytes: 1, 2 or 4. */
void filter_clear(struct filter *f, int16_t offset, unsigned bytes,
                  uint32_t mask);
/* The next alternative; the current one is complete. */
void filter_or(struct filter *f);
/* Returns 0, or -1 when it did not fit. */
int filter_end(struct filter *f);

/* ----------------------------------------------- alternatives made of these */

#define FILTER_ICMP 1u
#define FILTER_TCP 6u
#define FILTER_UDP 17u

/*
 * IPv4 with or without options, and not a later fragment, which has no ports.
 * Any address when `addr` is NULL; any port when `port` is 0.
 */
void filter_v4_to(struct filter *f, const uint8_t addr[4], unsigned protocol,
                  unsigned port);
/* The same for what leaves: from this station, address and port, and without
   options, of which our stack sends none. */
void filter_v4_from(struct filter *f, const uint8_t mac[6],
                    const uint8_t addr[4], unsigned protocol, unsigned port);
/* ICMP destination unreachable, source quench, time exceeded, and parameter
   problem, for `addr`: what tells a sender that a packet was lost. */
void filter_icmp_errors(struct filter *f, const uint8_t addr[4]);
void filter_arp(struct filter *f);
/* ARP that speaks for this station and address only. */
void filter_arp_from(struct filter *f, const uint8_t mac[6],
                     const uint8_t addr[4]);
