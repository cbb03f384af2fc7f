/* SPDX-License-Identifier: MIT */
/*
 * A diagram that is kept: one immutable allocation with the nodes, edges and
 * bases of one filter and nothing else. Its owner pays for it, lookups walk
 * it, and whoever compares it with another loads it into a diagram of their
 * own. So no filter's size is in the way of another's.
 */
#pragma once

#include "dpf/diagram/outline.h"

struct kept_node {
    uint32_t var;
    uint32_t edges; /* its first; the next node's first ends them */
};

struct kept {
    uint32_t bytes;                              /* of this allocation */
    uint32_t root;                               /* a node, or a terminal */
    uint32_t node_count, edge_count, base_count; /* base 0 counts */
    /* Behind this: bases, nodes and one more, edges. */
};

/* How bases of one numbering are numbered in another. */
struct base_map {
    uint8_t to[DD_BASES_MAX];
    bool same; /* all are numbered as before */
};

static inline const struct dd_base *kept_bases(const struct kept *k)
{
    return (const struct dd_base *)(const void *)(k + 1);
}

static inline const struct kept_node *kept_nodes(const struct kept *k)
{
    return (const struct kept_node *)(const void *)(kept_bases(k) +
                                                    k->base_count);
}

static inline const struct dd_edge *kept_edges(const struct kept *k)
{
    return (const struct dd_edge *)(const void *)(kept_nodes(k) +
                                                  k->node_count + 1);
}

/*
 * A copy of diagram `f` with the bases that it counts from, and how these are
 * numbered in it. NULL: memory.
 */
struct kept *kept_make(struct dd *d, uint32_t f, struct base_map *map);
void kept_free(struct heap *h, struct kept *k);

/*
 * The same function in `d`: its root. Sets d->err if memory or bases run out.
 * The order of variables may differ there, since `d` numbers bases as they
 * come.
 */
uint32_t kept_load(struct dd *d, const struct kept *k);

/* The terminal that a packet reaches. Any processor. */
uint32_t kept_walk(const struct kept *k, const uint8_t *packet, size_t len);

/* What a walk over the part of a diagram that overlaps a cube has found. */
struct cube_walk {
    bool no;    /* DD_NO may be reached */
    bool other; /* another terminal may be */
};

/*
 * Can packets of cube `c`, whose bases are numbered as in `d`, reach NO, and
 * can they reach another terminal? 0, -DPF_E_MEM or -DPF_E_FUEL.
 */
int kept_reach(const struct kept *k, struct dd *d, const struct cube *c,
               struct cube_walk *out);

/* What it asks of single bytes; of fewer, if `h` allows no more work. 0 or
   -DPF_E_MEM. */
int kept_outline(struct heap *h, const struct kept *k, struct outline *out);

/* ------------------------------------------------------------------- bases */

/*
 * Number the bases of list[1 .. count), of which each depends on lower ones,
 * in `d`. False if there is no room for them.
 */
bool bases_load(struct dd *d, const struct dd_base *list, uint32_t count,
                struct base_map *map);

/* The same where `d` is empty: with the numbers that they have. */
void bases_copy(struct dd *d, const struct dd_base *list, uint32_t count);

/*
 * Find the bases of from[1 .. last] in to[1 .. count). Those that are not
 * there receive numbers that nothing in `to` has.
 */
void bases_match(const struct dd_base *from, uint32_t last,
                 const struct dd_base *to, uint32_t count,
                 struct base_map *map);

/* A variable where its base has another number. */
uint32_t base_map_var(const struct base_map *map, uint32_t var);

/* The largest number of a base that the cube counts from. */
uint32_t cube_last_base(const struct cube *c);
/* Number its bases anew. */
void cube_renumber(struct cube *c, const struct base_map *map);
/*
 * Cube `c`, of bases `from`, as one of bases to[0 .. count): itself if they
 * are the same, else in `room`.
 */
const struct cube *cube_seen(const struct cube *c, const struct dd_base *from,
                             const struct dd_base *to, uint32_t count,
                             struct cube *room);
/*
 * The bases of cubes as a list of their own, those that these depend on
 * included, in out[]; *map leads there. Returns how many with base 0, or 0 if
 * there are more than `max`.
 */
uint32_t cube_bases(const struct dd *d, const struct cube *c,
                    struct dd_base *out, uint32_t max, struct base_map *map);
