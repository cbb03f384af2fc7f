/* SPDX-License-Identifier: MIT */
/*
 * Kernel memory of any size, counted.
 */
#pragma once

#include "src/kern/lock.h"
#include <stddef.h>
#include <stdint.h>

/* 16-byte aligned; contents undefined. NULL if there is none. */
void *kheap_alloc(size_t size) EXCLUDES(heap_lock);
/* `size` is that of the allocation; p may be NULL. */
void kheap_free(void *p, size_t size) EXCLUDES(heap_lock);

/*
 * Bytes of frames that this processor took for allocations, and for code with
 * them, less those that it gave back. Only differences tell something, since
 * one processor may give back what another took: and one call stays on one
 * processor.
 */
uint64_t kheap_bytes(void);
/* Count frames that lie beside the heap, such as code; negative: given back. */
void kheap_count(uint64_t bytes);
