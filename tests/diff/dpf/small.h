/* SPDX-License-Identifier: MIT */
/*
 * Filters for a small world: packets of at most SMALL_BYTES bytes, each of
 * SMALL_VALUES values, so that a filter can be run on all of them. A filter is
 * a list of steps, from which relatives of it are made that accept nearly the
 * same packets: it is between these that a wrong proof shows.
 */
#pragma once

#include "tests/diff/packets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMALL_BYTES 6u
#define SMALL_VALUES 4u
#define SMALL_PACKETS 5461u /* 4^0 + 4^1 + ... + 4^6 */
#define SMALL_STEPS 8u
#define SMALL_TEXT 4096u
#define WIDE_BYTES 160u
#define WIDE_PACKETS 192u

/* What a step does with the number that it loads. */
enum small_kind {
    SMALL_LEN,     /* test the length */
    SMALL_TEST,    /* compare the number with a constant */
    SMALL_BITS,    /* test some bits of it */
    SMALL_BASE,    /* point another register past it */
    SMALL_MORE,    /* move that register on by it */
    SMALL_PRODUCT, /* multiply it with another byte, and test that */
    SMALL_CHANGE,  /* test what an instruction makes of it */
    SMALL_LADDER,  /* compare it with one constant after the other */
    SMALL_TABLE,   /* look for it among some values */
    SMALL_LOOP,    /* move the register on by it, three times */
    SMALL_PAIR,    /* test it with another byte beside it, as one number */
    SMALL_STACK,   /* test what is left of it on the stack */
    SMALL_SIGN,    /* load it with its sign, and test it */
    SMALL_HALF,    /* compare its lower 32 bits */
    SMALL_KINDS
};

struct small_step {
    uint8_t kind, width; /* bytes loaded: 1, 2, 4 or 8 */
    uint8_t at;          /* register loaded from: 0 packet, 1 to 3 computed */
    uint8_t base, from;  /* SMALL_BASE: register set, register counted from */
    uint8_t op, mask, shift;
    uint8_t other;  /* SMALL_PRODUCT: offset of the other byte */
    uint8_t skip;   /* where a test leads: 0 rejects, 1 accepts, else on */
    bool swap;      /* the number is big-endian */
    bool add_first; /* SMALL_BASE: number + pointer, not pointer + number */
    int8_t off;     /* bytes */
    int8_t by;      /* SMALL_BASE: constant added to the pointer */
    uint64_t k;     /* what is compared with */
};

struct small {
    struct small_step step[SMALL_STEPS];
    uint32_t steps;
    uint8_t verdict; /* at the end: 0, 1, or 2 for a byte of the packet */
};

extern bool small_wide;

/* The packets there are: in a small world all, shortest first. */
struct small_packet {
    const uint8_t *bytes;
    uint32_t len;
};
extern struct small_packet small_packets[SMALL_PACKETS];
extern uint32_t small_count;
void small_packets_make(void);
/* Packets of a wide world, made for these filters. */
void small_packets_aim(struct rng *r, const struct small *const *filters,
                       uint32_t count);

/* A filter of 1 to 5 steps. */
void small_make(struct rng *r, struct small *s);
/* Another that differs from `like` in one or two places. */
void small_vary(struct rng *r, const struct small *like, struct small *s);
/* Its program, for dpf_from_asm; `out` has room for SMALL_TEXT bytes. */
void small_text(const struct small *s, char *out);
/* Might it do what a diagram cannot say? */
bool small_opaque(const struct small *s);
