/* SPDX-License-Identifier: MIT */
/*
 * The inside of a set of filters, for the files of this room and the
 * compiler of merged sets.
 *
 * A filter that is a few cubes lives in the tables of their shapes; any
 * other lives as a diagram, merged with its like into trees. One immutable
 * image names the shapes and holds the trees: lookups read the image that
 * was published last and the tables it leads to, nothing else.
 */
#pragma once

#include "dpf/filter/index.h"
#include "dpf/filter/shape.h"
#include "dpf/filter/space.h"
#include "dpf/filter/span.h"

#define TREES_MAX 8u
#define NUMBER_MASK 0xfffffu /* of a tag; the rest is age */
#define AGE_MASK 0x7ffu

/* Where a cube is: in which shape's table. */
struct entry {
    uint16_t shape; /* slot in set.shapes */
    uint32_t slot;
};

/* A binding that is more than one entry of one table. Slots are stable. */
struct binding {
    struct retired retired;
    uint32_t id;
    uint16_t region; /* slot */
    uint16_t flags;
    uint32_t may;   /* packets it may accept, two-valued; diagrams only */
    uint32_t exact; /* the same with MAYBE */
    uint32_t rank;  /* of the hull of `may` */
    /* Above that of every exclusive diagram that contains it. */
    uint64_t depth;
    uint32_t number; /* its slot in set.bindings */
    uint32_t tag;    /* number and age: what residual tables hold */
    uint32_t tree;
    bool residual;       /* a diagram kept in cubes[0], not in a tree */
    bool reached;        /* judge.c: by a walk over the trees */
    bool gone;           /* removed; its tree still names it */
    uint32_t cube_count; /* 0: a diagram */
    struct entry cubes[CUBES_MAX];
    struct span span;            /* residual: decides instead of a program */
    struct dpf_program *program; /* residual, or if `exact` has MAYBE */
};

struct region {
    uint32_t id, parent;
    uint32_t flags;
    uint32_t must;  /* packets surely inside, two-valued */
    uint32_t users; /* bindings and regions inside */
};

/* Bindings that meet at one terminal: numbers << 1 | must be run. */
struct chain {
    uint32_t first, count; /* in chain_items */
    uint32_t next;         /* with the same hash */
};

/* Diagrams merged into one: its terminals are chains. */
struct tree {
    uint32_t root;
    uint32_t users;
    bool copies; /* shared bindings and taps, not owners */
};

struct chains {
    struct chain *list;
    uint32_t *items;
    uint32_t count, cap, item_count, item_cap;
    uint32_t heads[64];
};

struct image_binding {
    uint32_t id, rank, tag;
    bool gone; /* set after publication: lookups pass it over */
    uint64_t depth;
    struct span span; /* or program */
    const struct dpf_program *program;
};

struct image;

/* Who owns the packet: its id, or DPF_NO_OWNER. */
typedef uint32_t demux_owner(const uint8_t *packet, size_t len,
                             const struct image *im);
/* May a shared binding or a tap accept it? */
typedef uint64_t demux_copies(const uint8_t *packet, size_t len);

/* What lookups read. One allocation. */
struct image {
    struct retired retired;
    size_t bytes;
    uint32_t shape_count, tree_count;
    uint32_t exclusive_trees; /* the first ones; the others are copies */
    struct shape **shapes;    /* by descending rank */
    struct dd_node *nodes;
    struct dd_edge *edges;
    struct dd_base *bases;
    uint32_t *chain_at;    /* per terminal - CHAIN_FIRST: in chain_items */
    uint32_t *chain_items; /* count, then items as above */
    struct image_binding *bindings;
    demux_owner *owner;     /* plain or native */
    demux_copies *may_copy; /* native; NULL: always look */
    void *code;             /* of both, or NULL */
    uint32_t code_bytes;
    uint64_t *data; /* what the code reads besides tables; see demux.c */
    size_t data_bytes;
    uint32_t node_count, binding_count;
    struct dpf_set *set;
    uint32_t roots[TREES_MAX];
};

/* Terminals of trees. */
#define CHAIN_FIRST DD_TERM_COUNTED

/* What is small comes first: the code that reads it is smaller then. */
struct install;

struct dpf_set {
    struct heap heap;
    struct image *image; /* published with one store */
    uint64_t version;
    struct retired *retired;
    struct index index;
    struct install *scratch; /* of the one writer */
    struct shape **shapes;   /* NULL: a free slot */
    uint32_t shape_count, shape_cap;
    struct binding **bindings; /* NULL: a free slot */
    uint32_t binding_count, binding_cap;
    struct region *regions; /* id DPF_NO_OWNER: a free slot; slot 0 is all */
    uint32_t region_count, region_cap;
    uint32_t edges_after_sweep;
    uint32_t root_before; /* of the tree last changed, to undo it */
    uint32_t gone;        /* bindings removed that trees still name */
    bool untidy;          /* set_tidy has something to do */
    uint32_t steps_max;   /* instructions of a program that is kept */
    uint32_t merging;     /* binding << 1 | maybe: of the merge in progress */
    uint32_t age;         /* of the youngest binding */
    uint64_t work;        /* units that one call may do; 0: any number */
    uint64_t misread, doubted; /* see dpf.h */
    uint64_t code_bytes, compiles, table_inserts;
    struct dpf_mem mem;
    struct tree trees[TREES_MAX];
    struct dd dd;
    struct chains chains;
};

/* ------------------------------------------------------------------ merge.c */

/*
 * Add `b`, a diagram, to the trees. 0 or -DPF_E_MEM, -DPF_E_TOO_BIG; on error
 * nothing changed.
 */
int merge_add(struct dpf_set *s, struct binding *b);
/*
 * Take all bindings that are gone out of tree `t`, in one walk over it: its
 * new root in *root. 0 or -DPF_E_MEM.
 */
int merge_prune(struct dpf_set *s, uint32_t t, uint32_t *root);
/* Forget diagrams and chains that nothing uses, if there are many. */
void merge_sweep(struct dpf_set *s);

/* ------------------------------------------------------------------ image.c */

/* An image of the set as it is now. NULL: out of memory. */
struct image *image_build(struct dpf_set *s);
void image_destroy(struct image *im);

/* The plain lookup. */
uint32_t image_owner(const uint8_t *packet, size_t len, const struct image *im);
/* The same for a packet that the residual binding with `tag` may own. */
uint32_t image_residual(const uint8_t *packet, size_t len,
                        const struct image *im, uint32_t tag);

/* The chain of tree `t` for this packet: its items, or NULL; *count. */
const uint32_t *image_walk(const struct image *im, uint32_t t,
                           const uint8_t *packet, size_t len, uint32_t *count);

/* ------------------------------------------------------- native/demux.c */

/* Set im->owner and im->may_copy to native code if the embedder has code memory
 * and there is what to gain. 0 or -DPF_E_MEM. */
int demux_compile(struct dpf_set *s, struct image *im);
void demux_free(struct dpf_set *s, struct image *im);
