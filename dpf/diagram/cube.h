/* SPDX-License-Identifier: MIT */
/*
 * Cubes: filters that are one conjunction. A cube asks for a least length
 * from some bases and for masked bytes to have given values. Two cubes that
 * ask for the same lengths and masks have the same shape; what differs is
 * data. So a cube can be a key in a table instead of code.
 */
#pragma once

#include "dpf/diagram/diagram.h"

#define CUBE_BYTES_MAX 64u
#define CUBE_LENS_MAX 4u
#define CUBES_MAX 8u /* of one filter; more than that stays a diagram */

struct cube_len {
    uint32_t base, min; /* at least min bytes from base on */
};

struct cube_byte {
    uint32_t var;
    uint8_t mask, value; /* byte & mask == value; mask is not 0 */
    uint8_t varies;      /* used by shapes: part of the key */
    uint8_t place;       /* the same: where in the key, or SHAPE_NO_PLACE */
};

struct cube {
    uint32_t len_count, count;
    struct cube_len lens[CUBE_LENS_MAX];    /* ascending base */
    struct cube_byte bytes[CUBE_BYTES_MAX]; /* ascending var */
};

/*
 * Two-valued diagram `f` as disjoint cubes. Returns their number, or 0 if it
 * needs more than `max` or has tests that no cube has. `out` has room for
 * max + 1.
 */
uint32_t cube_split(struct dd *d, uint32_t f, struct cube *out, uint32_t max);

/*
 * If all that node f accepts has one test of f's variable, add it to the cube
 * and return where it leads; else DD_NO.
 */
uint32_t cube_step(struct dd *d, uint32_t f, struct cube *c);

/*
 * Ask for more: at least `min` bytes from a base on, or for b.value in the bits
 * b.mask of a byte. Return false if no packet has that besides, or if the
 * cube has no room.
 */
bool cube_add_len(struct cube *c, uint32_t base, uint32_t min);
bool cube_add(struct cube *c, struct cube_byte b);

/* What it asks of `var`, or NULL. */
const struct cube_byte *cube_byte_of(const struct cube *c, uint32_t var);

/* The diagram of a cube. */
uint32_t cube_diagram(struct dd *d, const struct cube *c);

/* The smallest cube that contains `f`, which is not NO; 0 or d->err. */
int cube_hull(struct dd *d, uint32_t f, struct cube *out);

/*
 * How much a cube asks for. If cube A lies strictly inside cube B then
 * cube_rank(A) > cube_rank(B).
 */
uint32_t cube_rank(const struct cube *c);

/* The least length that it asks for from a base; 0: any. */
uint32_t cube_len(const struct cube *c, uint32_t base);
