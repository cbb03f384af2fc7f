/* SPDX-License-Identifier: MIT */
/*
 * The inside of a set of filters, for the files of this room and the
 * compiler of merged sets.
 *
 * A filter that is a few cubes lives in the tables of their shapes. Any other
 * is a diagram, which its binding keeps: found by a key in the table of a
 * residual shape, or else in a class tree. So are shapes themselves when there
 * are many. Those that get copies have a class tree of their own.
 *
 * One immutable image names the shapes as long as they are few. Lookups read
 * the image that was published last, the tables it leads to, the class trees
 * and the bindings these have, and nothing else.
 */
#pragma once

#include "dpf/diagram/pattern.h"
#include "dpf/diagram/space.h"
#include "dpf/set/index.h"
#include "dpf/set/shape.h"
#include "dpf/tree/classtree.h"

#define NUMBER_MASK 0xfffffu /* of a tag; the rest is age */
#define AGE_MASK 0x7ffu
#define DEPTH_FIRST (UINT64_C(1) << 32) /* of a diagram that none contains */

/* Where a cube is: in which shape's table. */
struct entry {
    uint16_t shape; /* slot in set.shapes */
    uint32_t slot;
};

/*
 * A binding that is more than one entry of one table. Slots are stable. What
 * lookups read does not change once they can find it, but for depth.
 */
struct binding {
    struct set_item hung; /* first */
    struct retired retired;
    uint32_t rank;   /* of the hull of what it may accept */
    uint32_t steps;  /* instructions of its program, for MAYBE; else 0 */
    uint32_t number; /* its slot in set.bindings */
    uint16_t region; /* slot */
    uint16_t flags;
    bool residual;       /* found by cubes[0], not in a tree */
    bool alike;          /* no byte tells it from a leaf full of others */
    uint32_t cube_count; /* 0: a diagram */
    struct entry cubes[CUBES_MAX];
    /* What a lookup that comes by a tag reads, beside each other. */
    uint32_t tag; /* number and age: what residual tables hold */
    uint32_t id;
    struct span span;    /* residual: decides instead of the diagram */
    uint32_t span_place; /* where its base is, or OUTLINE_PLACES */
    /*
     * What decides about a packet, if it is not a range: the diagram as a
     * pattern; or lowered to a program, which is the filter's own where the
     * diagram does not know; or walked, and then the filter's program.
     */
    bool has_pattern, is_lowered;
    struct dpf_program *program;
    struct kept *kept; /* the diagram; NULL for cubes */
    uint64_t depth;    /* above that of every diagram that contains it */
    struct pattern pattern;
};

struct region {
    uint32_t id, parent;
    uint32_t flags;
    uint32_t users;    /* bindings and regions inside */
    struct kept *must; /* packets surely inside, two-valued */
};

/* The bindings by number; replaced with one store when it grows. */
struct binding_list {
    struct retired retired;
    uint32_t cap;
    struct binding *at[]; /* NULL: a free slot */
};

struct image;

/* Who owns the packet: its id, or DPF_NO_OWNER. */
typedef uint32_t demux_owner(const uint8_t *packet, size_t len,
                             const struct image *im);

#define IMAGE_SHAPES_MAX 56u /* more hang in the class tree */

/* What lookups of few shapes read. One allocation. */
struct image {
    struct retired retired;
    size_t bytes;
    uint32_t shape_count;
    struct shape **shapes; /* by descending rank */
    demux_owner *owner;    /* plain or native; of the shapes alone */
    void *code;            /* or NULL */
    uint32_t code_bytes;
    uint64_t *data; /* what the code reads besides tables; see demux.c */
    size_t data_bytes;
    struct dpf_set *set;
};

/* Class trees. */
enum { TREE_OWNERS, TREE_COPIES, TREES };

/* What is small comes first: the code that reads it is smaller then. */
struct install;

struct dpf_set {
    struct heap heap;
    struct image *image; /* published with one store */
    bool hung;           /* a tree has items; set after those are there */
    bool spread;         /* shapes hang in the tree of owners */
    uint32_t image_max;  /* shapes in an image; when half are left, again */
    uint64_t version;
    struct retired *retired;
    struct index index;
    struct install *scratch; /* of the one writer */
    struct shape **shapes;   /* NULL: a free slot */
    uint32_t shape_count, shape_cap;
    uint32_t shapes_used;
    bool emptied; /* some shape may have no keys */
    struct binding_list *bindings;
    uint32_t binding_count;
    struct region *regions; /* id DPF_NO_OWNER: a free slot; slot 0 is all */
    uint32_t region_count, region_cap;
    uint32_t age;              /* of the youngest binding */
    uint32_t steps_max;        /* of a packet, for one more binding */
    uint64_t work;             /* units that one call may do; 0: any number */
    uint64_t misread, doubted; /* see dpf.h */
    uint64_t code_bytes, compiles, table_inserts;
    struct dpf_mem mem;
    struct classtree tree[TREES];
    struct dd dd; /* the one writer's: of one call */
};

static inline bool set_gets_copies(uint32_t flags)
{
    return (flags & (DPF_TAP | DPF_SHARED)) != 0;
}

/* ------------------------------------------------------------------ image.c */

/*
 * An image of the set as it is now, with all shapes or with those that have
 * keys; without any where they hang in the tree. NULL: out of memory.
 */
struct image *image_build(struct dpf_set *s, bool all);
void image_destroy(struct image *im);

/* The plain lookup. */
uint32_t image_owner(const uint8_t *packet, size_t len, const struct image *im);
/* The same for a packet that the residual binding with `tag` may own. */
uint32_t image_residual(const uint8_t *packet, size_t len,
                        const struct image *im, uint32_t tag);
