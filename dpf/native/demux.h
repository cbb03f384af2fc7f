/* SPDX-License-Identifier: MIT */
/*
 * Native lookup in an image, between its two halves: what is to be asked of
 * a packet (demux_plan.c), and the code that asks it (demux.c).
 */
#pragma once

#include "dpf/filter/set.h"
#include "dpf/native/x86_64.h"

#define DEMUX_BYTES_MAX 16u  /* class tables */
#define DEMUX_SHAPES_MAX 56u /* looked up natively; the others plainly */
#define DEMUX_COPIES_BIT 63u
#define DEMUX_WORDS_MAX 8u
#define DEMUX_CHECKS_MAX 12u
#define DEMUX_NO_SLOT UINT32_MAX

/* A masked compare of eight or four bytes with constants. */
struct demux_check {
    uint32_t base, off, width;
    uint64_t mask, value;
};

struct demux_shape {
    const struct shape *shape;
    bool plain;    /* not this shape: the plain lookup does it */
    bool unsure;   /* residual: a cube's rank lies between its own */
    uint32_t slot; /* its bit in class words, its place in the dispatch */
    uint32_t base; /* the only base but 0 that it loads from, or 0 */
    uint32_t check_count;
    uint32_t check_at; /* in data, words: mask, value, mask, value... */
    uint32_t mask_at;  /* in data: the masks of its key's words */
    uint32_t table_at; /* in data: the table's address */
    struct demux_check checks[DEMUX_CHECKS_MAX];
};

struct demux {
    struct x64 x; /* first: the kernel's text is small */
    struct dpf_set *s;
    struct image *im;
    uint64_t *data;
    uint32_t data_words;
    uint32_t byte_count; /* class tables; 0 if there is one shape alone */
    bool has_classes;
    /*
     * Slots, in the order of lookup: the shapes; between them, where merged
     * diagrams may go first, the plain lookup; the plain lookup for shapes
     * beyond DEMUX_SHAPES_MAX; last, nothing.
     */
    uint32_t shape_count, slot_count;
    uint32_t tree_slot, rest_slot; /* or DEMUX_NO_SLOT */
    uint32_t dispatch_at;          /* in data: where the code of each slot is */
    struct demux_shape *shapes;
    x64_label ask, again, found, residual;
    uint32_t copies_at; /* where that function begins in the code */
    x64_label slots[DEMUX_SHAPES_MAX + 3];
    uint32_t bytes[DEMUX_BYTES_MAX]; /* offsets in the packet */
};

/* The least length that a cube asks for from a base. */
uint32_t demux_least_len(const struct cube *c, uint32_t base);

/* Decide what to test and where its data lies. 0 or -DPF_E_MEM. */
int demux_plan(struct demux *dx);

/* Write the data: class tables, checks, masks, tables; not the dispatch. */
int demux_fill(struct demux *dx);
