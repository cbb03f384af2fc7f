/* SPDX-License-Identifier: MIT */
/*
 * The heap: powers of two from 64 bytes to half a chunk on free lists, carved
 * from chunks; larger blocks are runs of their own. A free block's first word
 * links to the next; nothing else is kept, so the caller of mem_free says how
 * long the block is.
 */
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "src/abi/pte.h"

#define MIN_SHIFT 6u
#define MAX_SHIFT 15u
#define CHUNK_BYTES (64u << 10)

struct block {
    struct block *next;
};

static struct block *lists[MAX_SHIFT + 1];
static uint8_t *chunk;
static size_t chunk_left;

static unsigned class_of(size_t bytes)
{
    unsigned shift = MIN_SHIFT;
    while (((size_t)1 << shift) < bytes) {
        shift++;
    }
    return shift;
}

/* The rest of the old chunk goes to the lists that it fits. */
static bool chunk_renew(void)
{
    struct mem_run run;
    if (mem_run_alloc(&run, CHUNK_BYTES, 0) != 0) {
        return false;
    }
    while (chunk_left >= (1u << MIN_SHIFT)) {
        unsigned shift = 63u - (unsigned)__builtin_clzll(chunk_left);
        struct block *b = (struct block *)chunk;
        b->next = lists[shift];
        lists[shift] = b;
        chunk += 1ull << shift;
        chunk_left -= 1ull << shift;
    }
    chunk = run.va;
    chunk_left = run.bytes;
    return true;
}

void *mem_alloc(size_t bytes)
{
    if (bytes > (1u << MAX_SHIFT)) {
        struct mem_run run;
        return mem_run_alloc(&run, bytes, 0) == 0 ? run.va : NULL;
    }
    unsigned shift = class_of(bytes);
    struct block *b = lists[shift];
    if (b != NULL) {
        lists[shift] = b->next;
        return memset(b, 0, (size_t)1 << shift);
    }
    if (chunk_left < (1ull << shift) && !chunk_renew()) {
        return NULL;
    }
    void *p = chunk;
    chunk += 1ull << shift;
    chunk_left -= 1ull << shift;
    return p;
}

void mem_free(void *p, size_t bytes)
{
    struct block *b = p;
    if (p == NULL) {
        return;
    }
    if (bytes > (1u << MAX_SHIFT)) {
        struct mem_run run = {
            .va = p,
            .paddr = mem_paddr(p),
            .bytes = (bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1),
        };
        mem_run_free(&run);
        return;
    }
    unsigned shift = class_of(bytes);
    b->next = lists[shift];
    lists[shift] = b;
}
