/* SPDX-License-Identifier: MIT */
/*
 * Patterns: a filter that is a cube and at most two ranges, as masked words
 * and numbers to compare. Most rules of firewalls are; they need no program,
 * whose code lookups would have to fetch for every rule anew.
 */
#pragma once

#include "dpf/diagram/outline.h"
#include "dpf/diagram/span.h"

#define PATTERN_WORDS_MAX 5u
#define PATTERN_RANGES_MAX 2u

struct pattern {
    uint32_t words, ranges;
    uint32_t least[OUTLINE_PLACES]; /* bytes from each place on */
    struct {
        uint32_t place, off;
        uint64_t mask, value; /* as a little-endian machine loads them */
    } word[PATTERN_WORDS_MAX];
    struct {
        uint32_t place, off, bytes;
        uint32_t lo, hi; /* most significant byte first */
    } range[PATTERN_RANGES_MAX];
};

/*
 * Two-valued diagram `f` as a pattern. False if it is none; the nodes made on
 * the way stay, and an error may be in d->err.
 */
bool pattern_read(struct dd *d, uint32_t f, struct cube *scratch,
                  struct pattern *out);

/* Does it accept the packet? Any processor. */
bool pattern_holds(const struct pattern *p, const struct outline_view *v);
