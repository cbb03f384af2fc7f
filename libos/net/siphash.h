/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4, a keyed hash that an attacker who sees outputs cannot predict
 * (Aumasson12). It guards initial sequence numbers, SYN cookies, timestamp
 * offsets and the choice of ports.
 */
#pragma once

#include <stdint.h>

struct siphash_key {
    uint64_t k[2];
};

/* The hash of `count` 64-bit words, that is of count * 8 bytes. */
uint64_t siphash(const struct siphash_key *key, const uint64_t *words,
                 uint32_t count);
