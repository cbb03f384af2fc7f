/* SPDX-License-Identifier: MIT */
/*
 * From binding ids to where their filters are. Writer only. A binding whose
 * filter is one cube has no other record than this one and its table entry,
 * so it is small.
 */
#pragma once

#include "dpf/diagram/heap.h"

#define INDEX_BIG 0x3fffu /* slot is a number of a struct binding */

struct index_entry {
    uint32_t id;         /* DPF_NO_OWNER: free */
    uint32_t slot;       /* in the shape's table */
    uint16_t region;     /* slot number in the set's regions */
    uint16_t shape : 14; /* slot number in the set's shapes, or INDEX_BIG */
    uint16_t refine : 1; /* DPF_REFINE; the other flags need a binding */
};
_Static_assert(sizeof(struct index_entry) == 12, "one for each connection");

struct index {
    struct index_entry *entries;
    uint32_t cap, count;
};

/* NULL if there is none. Valid until the next change. */
struct index_entry *index_find(struct index *ix, uint32_t id);

/* Room for one more entry: 0 or -DPF_E_MEM. */
int index_reserve(struct heap *h, struct index *ix);
/* After index_reserve; the id is not there. */
void index_add(struct index *ix, struct index_entry e);
void index_remove(struct heap *h, struct index *ix, uint32_t id);
void index_finish(struct heap *h, struct index *ix);
