/* SPDX-License-Identifier: MIT */
/*
 * Ordered reduced decision diagrams over the bytes of a packet.
 *
 * A variable is one byte at a constant offset from a base, or the length of
 * the packet counted from a base. Base 0 is the packet's start; another base
 * is the sum of bit fields that lie at earlier variables (an IP header
 * length). Testing bytes rather than the fields that a program loads makes
 * the diagram independent of widths, masks and shifts.
 *
 * A node splits its variable's values into intervals; each leads to a node
 * of a later variable or to a terminal. Nodes are hash-consed and never
 * changed, so that two references are equal exactly if their functions are
 * (as functions of the variables; bases may alias, see space.h).
 *
 * The invariants: along every path variables increase; neighbouring
 * intervals of a node lead to different children; the last interval ends at
 * the variable's largest value. A node has a larger index than its children.
 *
 * Errors are sticky: when memory, the bound or the heap's fuel is exhausted,
 * `err` is set and results are meaningless; callers test it once, at the end.
 *
 * Source: Bryant86 (reduction, apply).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dpf/check.h"
#include "dpf/diagram/heap.h"

#define DD_TERM 0x80000000u
#define DD_NO (DD_TERM | 0u)            /* the filter rejects */
#define DD_YES (DD_TERM | 1u)           /* the filter accepts */
#define DD_MAYBE (DD_TERM | 2u)         /* the program must be run */
#define DD_TERM_COUNTED (DD_TERM + 16u) /* the first of those of DD_MERGE */

#define DD_VAR_TERM UINT32_MAX
#define DD_OFF_MAX 65535u /* bytes from a base on that a filter may read */
/* Moved to where its base lies, which is as far again at most. */
#define DD_OFF_FAR (2u * DD_OFF_MAX)
#define DD_LEN_MAX UINT32_MAX

#define DD_BASES_MAX 64u /* live at one time: a set of them is a word */
#define DD_TERMS_MAX 6u
#define DD_DEPTH_MAX 4u /* a chain of headers is not followed further */

/* Variables, in the global order: by base, length first, then offset. */
static inline uint32_t dd_var_len(uint32_t base)
{
    dpf_assert(base < DD_BASES_MAX);
    return base << 17;
}

static inline uint32_t dd_var_byte(uint32_t base, uint32_t off)
{
    dpf_assert(base < DD_BASES_MAX && off <= DD_OFF_FAR);
    return (base << 17) + 1 + off;
}

static inline uint32_t dd_var_base(uint32_t var)
{
    return var >> 17;
}

static inline bool dd_var_is_len(uint32_t var)
{
    return (var & 0x1ffff) == 0;
}

/* Of a byte. */
static inline uint32_t dd_var_off(uint32_t var)
{
    dpf_assert(!dd_var_is_len(var));
    return (var & 0x1ffff) - 1;
}

/*
 * A position in the packet as arithmetic has it: base + k modulo 2^64. On the
 * way to an access k may be below the base, that is, a large number.
 */
struct dd_pos {
    uint32_t base;
    uint64_t k;
};

/*
 * Where an access begins: an offset from a base, which is never negative. Only
 * dd_at_make makes one, so that a variable is always of a byte that a packet
 * can have.
 */
struct dd_at {
    uint32_t base, off;
};

/* `size` bytes at `p`. False: not all lie in the first DD_OFF_MAX from it. */
static inline bool dd_at_make(struct dd_pos p, uint32_t size, struct dd_at *out)
{
    *out = (struct dd_at){p.base, (uint32_t)p.k};
    return p.k <= DD_OFF_MAX - size;
}

/* `len` bits of byte `var` from bit `src`, standing at bit `dst`. */
struct dd_bits {
    uint32_t var;
    uint8_t dst, src, len;
    uint8_t inverted;
};

/* Where a base lies: the sum of its terms, in bytes from the packet's start. */
struct dd_base {
    uint32_t count; /* of terms; 0 = this slot is free (but base 0) */
    uint16_t max;   /* largest value of the sum */
    uint16_t depth; /* bases that it depends on, one upon the other */
    struct dd_bits terms[DD_TERMS_MAX]; /* by var, then by src */
};

struct dd_edge {
    uint32_t hi; /* last value of the interval */
    uint32_t child;
};

struct dd_node {
    uint32_t var;
    uint32_t edges; /* index of the first */
    uint32_t count : 31;
    uint32_t unsure : 1; /* MAYBE can be reached */
    uint32_t chain;      /* next node with this hash, or UINT32_MAX */
    uint32_t hash;
    uint64_t bases; /* those that it or a node below it counts from, as bits */
};

enum dd_op {
    DD_ITE,   /* a ? b : c; a has no MAYBE */
    DD_JOIN,  /* what is sure whichever of a and b is run */
    DD_MAY,   /* MAYBE as YES */
    DD_MUST,  /* MAYBE as NO */
    DD_MERGE, /* terminals of a combined with b's by dd.merge; b NO leaves a */
};

struct dd_frame;
struct dd_cached;

struct dd {
    struct heap *heap;
    struct dd_node *nodes;
    struct dd_edge *edges;
    struct dd_edge *scratch; /* edges of nodes under construction */
    uint32_t *heads;         /* unique table: table_cap chains */
    struct dd_cached *cache; /* results of operations: as many */
    struct dd_frame *stack;
    uint32_t node_count, node_cap;
    uint32_t edge_count, edge_cap;
    uint32_t scratch_count, scratch_cap;
    uint32_t stack_cap;
    uint32_t table_cap; /* a power of two */
    uint32_t cache_age;
    uint32_t edge_limit; /* growth bound of this operation */
    int err;             /* 0, -DPF_E_MEM, -DPF_E_FUEL or -DPF_E_TOO_BIG */
    bool half_read; /* a limit ended the reading of a filter; never cleared */
    uint32_t (*merge)(void *ctx, uint32_t a, uint32_t b);
    void *merge_ctx;
    uint32_t base_limit; /* of numbers of bases */
    uint32_t base_end;   /* one above the highest in use */
    /* A shape whose bases have the numbers 1 to alike_last here, too. */
    const void *alike;
    uint32_t alike_last;
    struct dd_base bases[DD_BASES_MAX];
};

/* A point to return to; later nodes are forgotten. */
struct dd_mark {
    uint32_t nodes, edges;
};

int dd_init(struct dd *d, struct heap *heap);
void dd_finish(struct dd *d);
/* Forget everything, and give memory back if there is any to begin anew. */
void dd_reset(struct dd *d);

static inline struct dd_mark dd_mark(const struct dd *d)
{
    return (struct dd_mark){d->node_count, d->edge_count};
}

/* Forget the nodes made since `m` and any error. */
void dd_release(struct dd *d, struct dd_mark m);

/* Forget results of operations: before and after DD_MERGE. */
void dd_forget(struct dd *d);

/* heap_work, which sets d->err. */
static inline bool dd_work(struct dd *d, uint64_t n)
{
    if (heap_work(d->heap, n)) {
        return true;
    }
    d->err = d->err ? d->err : -DPF_E_FUEL;
    return false;
}

static inline bool dd_is_term(uint32_t f)
{
    return (f & DD_TERM) != 0;
}

static inline uint32_t dd_var(const struct dd *d, uint32_t f)
{
    return dd_is_term(f) ? DD_VAR_TERM : d->nodes[f].var;
}

static inline uint32_t dd_var_max(uint32_t var)
{
    return dd_var_is_len(var) ? DD_LEN_MAX : 255u;
}

/* The child of node `f` for value `x` of its variable. */
uint32_t dd_child(const struct dd *d, uint32_t f, uint32_t x);
/*
 * The node of `var` with these intervals. Equal neighbours are joined.
 * Children's variables are later than `var`.
 */
uint32_t dd_node(struct dd *d, uint32_t var, const struct dd_edge *edges,
                 uint32_t count);

/*
 * Is node i as this file says: its variable one that a packet can have, of a
 * base that is defined, and its intervals and children in order?
 */
bool dd_node_ok(const struct dd *d, uint32_t i);

/* `in` where lo <= var <= hi, `out` elsewhere; both later than var. */
uint32_t dd_range(struct dd *d, uint32_t var, uint32_t lo, uint32_t hi,
                  uint32_t in, uint32_t out);

/* out[0], [1] or [2] where the bits are below, at or above k; all later. */
uint32_t dd_compare(struct dd *d, const struct dd_bits *b, uint32_t k,
                    const uint32_t out[3]);

/* `rest` where byte & mask == want at `var`, NO elsewhere; mask is not 0. */
uint32_t dd_byte_eq(struct dd *d, uint32_t var, uint32_t mask, uint32_t want,
                    uint32_t rest);

uint32_t dd_apply(struct dd *d, enum dd_op op, uint32_t a, uint32_t b,
                  uint32_t c);

static inline uint32_t dd_ite(struct dd *d, uint32_t a, uint32_t b, uint32_t c)
{
    return dd_apply(d, DD_ITE, a, b, c);
}

/* Only b may have MAYBE, which stays. */
static inline uint32_t dd_and(struct dd *d, uint32_t a, uint32_t b)
{
    return dd_apply(d, DD_ITE, a, b, DD_NO);
}

static inline uint32_t dd_not(struct dd *d, uint32_t a)
{
    return dd_apply(d, DD_ITE, a, DD_NO, DD_YES);
}

/*
 * The base that is the sum of `count` terms, which this call may reorder.
 * Returns its number, or 0 if there are none or no slot is free.
 */
uint32_t dd_base_of(struct dd *d, struct dd_bits *terms, uint32_t count);

/*
 * Does base `c` lie before base `b`, or where b does, in every packet that has
 * b? It does if its terms are among those of b: then n bytes from b on are n
 * bytes from c on, too. Of other pairs nothing is known.
 */
bool dd_base_within(const struct dd *d, uint32_t c, uint32_t b);

/* The sum of two positions; false if no base is that of the sum. */
bool dd_pos_add(struct dd *d, struct dd_pos *a, struct dd_pos b);

/* The base numbers in use, as bits. */
uint64_t dd_bases_used(const struct dd *d);

/* Free every base that neither `mask` nor a base in it depends on. */
void dd_bases_keep(struct dd *d, uint64_t mask);

/* The base numbers, as bits, that diagram `f` tests or depends on. */
uint64_t dd_bases(const struct dd *d, uint32_t f);

/* Mark node `f` in seen[], a byte for each node, if it is one. */
void dd_mark_node(uint8_t *seen, uint32_t f);
/* Mark all that is below what is marked among the first `count` nodes. */
void dd_close(const struct dd_node *nodes, const struct dd_edge *edges,
              uint8_t *seen, uint32_t count);
/*
 * A byte for each of the nodes 0 to `f`: 1 if it is `f`, no terminal, or below
 * it, else 0. The caller frees f + 1 bytes. NULL: d->err says why. *edges, if
 * not NULL, receives how many edges those nodes have.
 */
uint8_t *dd_below(struct dd *d, uint32_t f, uint32_t *edges);
/* The work of one pass over them. */
static inline uint64_t dd_pass(uint32_t f, uint32_t edges)
{
    return f / 8 + edges / 4 + 1;
}

/* Where a packet's base lies; SIZE_MAX if a byte it needs is missing. */
size_t dd_base_at(const struct dd_base *bases, uint32_t base,
                  const uint8_t *packet, size_t len);

/* The new number of a node, now[f]; a terminal stays. */
static inline uint32_t dd_renumber(uint32_t f, const uint32_t *now)
{
    return dd_is_term(f) ? f : now[f];
}

/* A packet, and the base that was looked at last; begin with 0 for both. */
struct dd_look {
    const struct dd_base *bases;
    const uint8_t *packet;
    size_t len, at;
    uint32_t base;
};

/* The value of a variable. False: the packet lacks the byte. */
bool dd_look(struct dd_look *l, uint32_t var, uint32_t *x);

/* Where value `x` leads by `count` edges. */
uint32_t dd_edge_for(const struct dd_edge *e, uint32_t count, uint32_t x);

/* Which terminal a packet reaches from node `f`. */
uint32_t dd_eval(const struct dd *d, uint32_t f, const uint8_t *packet,
                 size_t len);
