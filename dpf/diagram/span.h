/* SPDX-License-Identifier: MIT */
/*
 * Filters that are a cube and one range of a number in the packet, most
 * significant byte first: a range of ports, a part of an address. They are
 * looked up by the cube; that the number lies in the range is data to
 * compare and needs no program.
 */
#pragma once

#include "dpf/diagram/cube.h"

#define SPAN_BYTES_MAX 4u

struct span {
    uint32_t var;   /* of its first byte */
    uint32_t bytes; /* 0: there is no range */
    uint32_t lo, hi;
};

/*
 * Read two-valued `f`, which is not a terminal, as a cube and a range of one
 * number that the cube's lengths cover. False if it is not that (or if
 * d->err is set); the nodes made on the way stay.
 */
bool span_read(struct dd *d, uint32_t f, struct cube *cube, struct span *out);
/* The same with at most `max` ranges, or none: *count of them. */
bool spans_read(struct dd *d, uint32_t f, struct cube *cube, struct span *out,
                uint32_t max, uint32_t *count);

/* Is the number in the range? It counts from `from`, where the base lies in a
   packet of the cube. */
bool span_holds(const struct span *s, const uint8_t *from);
