/* SPDX-License-Identifier: MIT */
/*
 * What small_sets.c does to sets and what small_check.c holds against it: one
 * scenario at a time, of filters in sets of several engines.
 */
#pragma once

#include "tests/diff/dpf/small.h"
#include "tests/diff/dpf/world.h"

#define FILTERS 4u /* of a scenario; ids 0 to 3 are their bindings' */
#define LIKES 2u   /* bindings made from others; ids 4 and 5 */
#define IDS (FILTERS + LIKES)
/* Programs of regions 1 and 2 come behind those of bindings. */
#define REGION(n) (IDS - 1u + (n))
#define WORDS ((SMALL_PACKETS + 63u) / 64u)

/* A set of packets. */
struct packets {
    uint64_t word[WORDS];
};

struct one {
    struct small filter;
    struct dpf_program *program[ENGINES];
    struct packets says; /* the interpreter */
    uint32_t flags;
    uint32_t region; /* bound in, or the region's parent */
    uint32_t fields;
    struct dpf_const field[4]; /* a like: constants that differ */
    uint32_t like;
    bool bound, exact;
};

struct tally {
    unsigned long programs, packets, binds, likes, refusals;
    unsigned long empty; /* refused without a common packet here */
    unsigned long large; /* not decided within some bound */
    unsigned long failures;
};

extern struct dpf_set *set[ENGINES];
extern struct one all[IDS + 2];
extern struct packets owned[IDS + 1]; /* by whom; the last: by nobody */
extern struct tally tally;
extern bool keep, harmless;
extern bool failed;      /* this scenario */
extern bool shared[3];   /* regions by id */
extern uint32_t engines; /* of this scenario: the last is rarely another */

/* small_check.c */

/* `packet` SMALL_PACKETS: none shows it. */
void fail(const char *what, uint32_t a, uint32_t b, uint32_t packet);
void show_failures(void);
void put(struct packets *p, uint32_t i);
bool has(const struct packets *p, uint32_t i);
/* The first packet of a that b has, or has not; SMALL_PACKETS if none. */
uint32_t first(const struct packets *a, const struct packets *b, bool in_b);
/* The packet where it ends at an unmapped page. */
const uint8_t *place(const struct small_packet *p);
/* Make the programs of all[i], and ask them about each packet. */
void make_one(uint32_t i);
/* Is it one of those that a mistaken lift read? */
bool attacks(uint32_t i);
/* Who gets each packet, in all engines, against the model. */
void check(void);
void check_region(uint32_t i, const struct packets *gets);
void check_witness(uint32_t i, int r, const struct dpf_error *err);

/* small_sets.c */

/* Filters from `r`, bound and unbound. */
void run_scenario(struct rng *r);
