/* SPDX-License-Identifier: MIT */
/*
 * The inside of an atlas, for the files that ask and draw.
 */
#pragma once

#include "dpf/diagram/space.h"
#include "dpf/host.h"

struct atlas_filter {
    char *name;
    const struct dpf_program *program; /* borrowed */
    uint32_t root;
    uint64_t bases; /* that `root` uses */
    bool sampled;
    struct witness sample; /* a packet that it accepts; length 0: not known */
};

/*
 * Filters that meet at a terminal of the merged diagram: those of group
 * `before` and one more. Group 0 is empty. Filters are merged in ascending
 * order, so that a group has one way to be made.
 */
struct atlas_group {
    uint32_t before;  /* a group with a lower number */
    uint32_t member;  /* filter << 1 | must be run */
    uint32_t count;   /* members in all */
    uint32_t next[2]; /* the last made from this one, without and with "must
                         be run"; 0: none */
};

struct dpf_atlas {
    struct heap heap;
    struct dd dd;
    struct atlas_filter *filters;
    size_t count;
    struct atlas_group *groups;
    size_t group_count, group_room;
    uint32_t merging; /* filter << 1 | must be run */
    /*
     * Two filters and a question about them, apart from all others: some of
     * what a question does takes time by how many nodes there are.
     */
    struct dd ask;
    size_t asked[2];         /* filters that are there; SIZE_MAX: none */
    uint32_t ask_roots[2];   /* theirs */
    struct dd_mark ask_mark; /* after the first */
};

/* Terminals of the merged diagram: its groups. */
#define ATLAS_GROUP (DD_TERM + 16u)

/*
 * All filters merged, in the order given, into as few diagrams as stay small:
 * filters that overlap in too many ways do not share one. `roots` has room
 * for one each. 0 and their number, or -DPF_E_MEM.
 */
int atlas_merge(struct dpf_atlas *a, uint32_t *roots, size_t *count);

/* "[12:2]", or "[b1+2:2]" behind a computed base; the name people use, or "".
 */
void atlas_place(uint32_t var, uint32_t width, char *out, size_t size);
const char *atlas_meaning(uint32_t var, uint32_t width);
/* How base `b` is computed: "b1 = ([14] & 0x0f) << 2". */
void atlas_base(const struct dpf_atlas *a, uint32_t b, char *out, size_t size);
/* A value of a field as people write it. */
void atlas_value(uint32_t var, uint32_t width, uint64_t v, char *out,
                 size_t size);

/*
 * A stretch of tests that all have one way on: from node `f`, the conditions
 * as lines of a label in DOT, up to the node or terminal that branches. `stop`
 * is asked whether a node must begin a stretch of its own.
 */
uint32_t atlas_stretch(const struct dpf_atlas *a, uint32_t f,
                       bool (*stop)(void *ctx, uint32_t f), void *ctx,
                       char *out, size_t size);
