/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer on sets of filters: the input decides what tests/diff/dpf/small.c
 * draws, and with that filters, packets, bindings and their order. The model
 * there says who gets which packet.
 */
#include "tests/diff/dpf/small_sets.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *left_at;
static size_t left;

/* In place of those of packets.c. When the input has ended, as there. */
uint64_t rng_next(struct rng *r)
{
    uint64_t v = 0;

    if (left > 0) {
        size_t n = left < 8 ? left : 8;

        memcpy(&v, left_at, n);
        left_at += n;
        left -= n;
        r->state = (r->state ^ v) * UINT64_C(0x9e3779b97f4a7c15) | 1;
        return v;
    }
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    if (left > 0 && n <= 256) {
        left--;
        return *left_at++ % n;
    }
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rng r = {1};

    if (mem[0].alloc == NULL) {
        world_start();
        small_packets_make();
    }
    if (size == 0) {
        return 0;
    }
    small_wide = true;
    left_at = data;
    left = size;
    run_scenario(&r);
    return 0;
}
