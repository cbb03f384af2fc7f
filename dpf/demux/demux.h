/* SPDX-License-Identifier: MIT */
/*
 * Native lookup in an image, between its two halves: what is to be asked of
 * a packet (plan.c), and the code that asks it (demux.c).
 */
#pragma once

#include "dpf/set/set.h"
#include "dpf/x86_64/encode.h"

#define DEMUX_BYTES_MAX 16u  /* class tables */
#define DEMUX_BYTES_CHECK 6u /* as many may be there to save checks alone */
#define DEMUX_WORDS_MAX 8u
#define DEMUX_CHECKS_MAX 12u

/*
 * A narrow shape is one that the same code as for others of its kind looks up:
 * a key of two words, a few checks. All that tells it from the others are
 * these words, its descriptor.
 */
#define DESC_CHECKS 3u
#define DESC_SHIFT 8u /* log2 of its bytes */
enum {
    DESC_CODE,  /* where the code is; of every slot */
    DESC_LEAST, /* length of a packet */
    DESC_TABLE,
    DESC_WORD_OFF,                 /* of each word */
    DESC_MASK = DESC_WORD_OFF + 2, /* of each word */
    DESC_CHECK_OFF = DESC_MASK + 2,
    DESC_CHECK = DESC_CHECK_OFF + DESC_CHECKS + 1, /* mask, value, mask... */
    DESC_WORDS = 32,
};
_Static_assert((int)DESC_CHECK + 2 * (int)(DESC_CHECKS + 1) <=
                       (int)DESC_WORDS &&
                   8 * (int)DESC_WORDS == 1 << (int)DESC_SHIFT,
               "a descriptor has room for its checks");

/* What is to be done with the id that a shape's table has. */
enum demux_kind {
    DEMUX_OWNER,    /* it is the owner */
    DEMUX_RESIDUAL, /* the binding's own filter decides, */
    DEMUX_UNSURE,   /* or else the plain lookup: a cube's rank lies between */
    DEMUX_KINDS
};

/* A masked compare of eight or four bytes of the packet with constants. */
struct demux_check {
    uint32_t off, width;
    uint64_t mask, value;
};

struct demux_shape {
    const struct shape *shape;
    enum demux_kind kind;
    bool plain; /* not this shape: the plain lookup does it */
    bool narrow;
    uint32_t slot; /* its bit in class words, its place in the dispatch */
    uint32_t base; /* the only base but 0 that it loads from, or 0 */
    /*
     * Most headers of a kind have one length, and then nothing needs to be
     * computed: offsets are taken as for that, and the checks ask for it.
     * Where they fail for another reason the last one tells; where not, the
     * packet goes to the plain lookup.
     */
    uint32_t usual; /* what the base mostly is */
    uint32_t least; /* length of a packet */
    uint32_t check_count;
    uint32_t check_at; /* in data: mask, value of each check; the base's last */
    uint32_t mask_at;  /* in data: the masks of its key's words */
    uint32_t table_at; /* in data: the table's address */
    struct demux_check checks[DEMUX_CHECKS_MAX + 1];
};

struct demux {
    struct x64 x;
    struct dpf_set *s;
    struct image *im;
    uint64_t *data;
    uint32_t data_words;
    uint32_t byte_count; /* class tables; 0 if there is one shape alone */
    bool has_classes;
    /* Slots, in the order of lookup: the shapes; last, nothing. */
    uint32_t shape_count, slot_count;
    uint32_t slots_at;          /* in data: the slots' descriptors */
    struct demux_shape *shapes; /* behind this */
    x64_label ask, again, found, residual;
    x64_label slots[IMAGE_SHAPES_MAX + 1];
    x64_label narrow[DEMUX_KINDS];
    uint32_t narrow_checks;          /* the most that any of them has */
    uint32_t bytes[DEMUX_BYTES_MAX]; /* offsets in the packet */
};

/* demux.c: compile_lookup and discard_lookup of an engine (dpf/vm/engine.h). */
int demux_compile(struct dpf_set *s, struct image *im);
void demux_discard(struct dpf_set *s, struct image *im);

/* Decide what to test and where its data lies. 0 or -DPF_E_MEM. */
int demux_plan(struct demux *dx);

/* data.c: write class tables, checks, masks, tables; not the code. */
void demux_fill(struct demux *dx);
