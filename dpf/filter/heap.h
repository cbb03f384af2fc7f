/* SPDX-License-Identifier: MIT */
/*
 * The embedder's memory, counted: dpf_set_stats reports what a set holds,
 * and the tests compare it with what they get back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dpf/dpf.h"

struct heap {
    const struct dpf_mem *mem;
    uint64_t bytes; /* in use now */
};

void *heap_alloc(struct heap *h, size_t size);
void heap_free(struct heap *h, void *p, size_t size);

/*
 * An array of `*cap` elements of `elem` bytes, of which `used` count, made
 * larger so that it holds at least `need`. Returns 0 or -DPF_E_MEM; on error
 * the array is as it was.
 */
int heap_grow(struct heap *h, void **array, uint32_t *cap, size_t elem,
              uint32_t used, uint32_t need);
