/* SPDX-License-Identifier: MIT */
/*
 * Packets made from the paths of a diagram: for each interval of each test, of
 * its least value, its greatest and one between, with what a way there and a
 * way on to an accepting terminal ask for, and other bytes that vary. So there
 * is one on both sides of each comparison, and of each length that is tested.
 *
 * They are made without substituting bases, by another way than space.h finds
 * packets; where bytes alias, a packet may miss its path. What a packet shows
 * is only ever found out by walking or running.
 */
#pragma once

#include "dpf/diagram/diagram.h"

#define PROBE_BYTES 2048u /* of the longest packet */
#define PROBE_HINTS_MAX 24u

/* True ends the visit. */
typedef bool probe_visit(void *ctx, const uint8_t *packet, size_t len);

struct probe_plan {
    uint32_t max;  /* packets, evenly over the diagram's tests */
    uint32_t work; /* of a visit */
    probe_visit *visit;
    void *ctx;
    /* Values that are tried too: of a byte's interval, of a length's. A test
       that a diagram lacks is found only so. */
    uint32_t hint_count;
    uint32_t hints[PROBE_HINTS_MAX];
};

/*
 * Visit packets of diagram `f`. Returns 1 if a visit said true, 0 if none did,
 * or -DPF_E_MEM, -DPF_E_FUEL (which are in d->err then).
 */
int probe_paths(struct dd *d, uint32_t f, const struct probe_plan *plan);
