/* SPDX-License-Identifier: MIT */
/*
 * The embedder's memory, counted.
 */
#include "dpf/diagram/heap.h"

void heap_breathe(const struct heap *h)
{
    if (h->mem != NULL && h->mem->breathe != NULL) {
        h->mem->breathe(h->mem->ctx);
    }
}

void *heap_alloc(struct heap *h, size_t size)
{
    void *p = h->mem->alloc(h->mem->ctx, size);
    if (p != NULL) {
        h->bytes += size;
    }
    return p;
}

void heap_free(struct heap *h, void *p, size_t size)
{
    if (p != NULL) {
        h->bytes -= size;
        h->mem->free(h->mem->ctx, p, size);
    }
}

int heap_grow(struct heap *h, void **array, uint32_t *cap, size_t elem,
              uint32_t used, uint32_t need)
{
    uint32_t n = *cap ? *cap : 16;
    if (need <= *cap) {
        return 0;
    }
    while (n < need) {
        if (n > UINT32_MAX / 2) {
            return -DPF_E_MEM;
        }
        n *= 2;
    }
    void *p = heap_alloc(h, n * elem);
    if (p == NULL) {
        return -DPF_E_MEM;
    }
    if (used) {
        __builtin_memcpy(p, *array, used * elem);
    }
    heap_free(h, *array, *cap * elem);
    *array = p;
    *cap = n;
    return 0;
}
