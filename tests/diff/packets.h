/* SPDX-License-Identifier: MIT */
/*
 * Random packets and random filter expressions over the same small pools of
 * addresses and ports, so that they meet often. One seed gives one sequence.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state; /* never 0 */
};

uint64_t rng_next(struct rng *r);
/* 0 .. n - 1 */
uint32_t rng_below(struct rng *r, uint32_t n);

#define PACKET_MAX 256u

/* A packet of at most PACKET_MAX bytes; returns its length. */
size_t random_packet(struct rng *r, uint8_t *out);

/* A pcap-filter expression for Ethernet. */
void random_expression(struct rng *r, char *out, size_t size);
