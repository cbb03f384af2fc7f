/* SPDX-License-Identifier: MIT */
/*
 * The embedder's memory, counted: dpf_set_stats reports what a set holds,
 * and the tests compare it with what they get back. And the time that a call
 * may take, since all that works has a heap at hand: see heap_work.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dpf/dpf.h"

struct heap {
    const struct dpf_mem *mem;
    uint64_t bytes;  /* in use now */
    uint64_t work;   /* units done */
    uint64_t limit;  /* the most that may be; 0: without limit */
    uint32_t passed; /* see heap_pass */
};

#define HEAP_BREATH 512u /* units between two breaths */

void heap_breathe(const struct heap *h);

/*
 * Account for `n` units of work, of about 60 instructions each, which are
 * about to be done. False: that is more than there may be, as it is for all
 * further work until somebody moves the limit. Every loop whose length follows
 * from a filter, or from how filters meet, accounts for its turns.
 */
static inline bool heap_work(struct heap *h, uint64_t n)
{
    uint64_t was = h->work;

    h->work += n;
    if (was / HEAP_BREATH != h->work / HEAP_BREATH) {
        heap_breathe(h);
    }
    return h->limit == 0 || h->work <= h->limit;
}

/*
 * Breathe after every HEAP_BREATH units. For loops whose work was accounted
 * for at once, or is bounded by something else.
 */
static inline void heap_pass(struct heap *h, uint32_t n)
{
    h->passed += n;
    if (h->passed >= HEAP_BREATH) {
        h->passed = 0;
        heap_breathe(h);
    }
}

void *heap_alloc(struct heap *h, size_t size);
void heap_free(struct heap *h, void *p, size_t size);

/*
 * An array of `*cap` elements of `elem` bytes, of which `used` count, made
 * larger so that it holds at least `need`. Returns 0 or -DPF_E_MEM; on error
 * the array is as it was.
 */
int heap_grow(struct heap *h, void **array, uint32_t *cap, size_t elem,
              uint32_t used, uint32_t need);
