/* SPDX-License-Identifier: MIT */
/*
 * Where native code lives: many pieces packed into the embedder's executable
 * chunks, since a page per program costs eight times as much in caches at a
 * hundred programs. Unused bytes are traps (int3).
 */
#pragma once

#include "dpf/dpf.h"

/*
 * Put `size` bytes of position-independent `code` into executable memory, at
 * a multiple of 16. Returns its address, or NULL (no memory, or the embedder
 * has no code memory). Nothing changed then.
 */
void *codeheap_put(const struct dpf_mem *mem, const void *code, size_t size);

/* Overwrite with traps and free what codeheap_put returned; NULL is fine. */
void codeheap_free(const struct dpf_mem *mem, void *rx, size_t size);

/* Can native code be made at all? */
static inline bool codeheap_usable(const struct dpf_mem *mem)
{
    return mem->code_alloc != NULL && mem->code_open != NULL &&
           mem->code_seal != NULL && mem->code_free != NULL;
}
