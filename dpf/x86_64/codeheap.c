/* SPDX-License-Identifier: MIT */
/*
 * A first-fit heap of 16-byte grains over chunks of executable memory. Its
 * own books are ordinary memory: nothing here writes where code can run
 * except through code_open and code_seal.
 *
 * Invariant: a grain whose bit is clear holds traps; `longest` of a chunk is
 * at least the length of its longest free run.
 */
#include "dpf/x86_64/codeheap.h"

#define GRAIN 16u
#define CHUNK 65536u /* bytes; larger pieces get a chunk of their own */
#define CHUNK_GRAINS (CHUNK / GRAIN)
#define PAGE 4096u

struct chunk {
    struct chunk *next;
    uint8_t *rx;
    uint32_t used;                   /* grains */
    uint32_t longest;                /* grains; see above */
    uint64_t map[CHUNK_GRAINS / 64]; /* bit set: grain in use */
};

struct dpf_code_heap {
    struct chunk *chunks;
};

int dpf_mem_start(struct dpf_mem *mem)
{
    mem->heap = mem->alloc(mem->ctx, sizeof(*mem->heap));
    if (mem->heap == NULL) {
        return -DPF_E_MEM;
    }
    mem->heap->chunks = NULL;
    return 0;
}

void dpf_mem_finish(struct dpf_mem *mem)
{
    if (mem->heap == NULL) {
        return;
    }
    struct chunk *c = mem->heap->chunks;
    while (c != NULL) {
        struct chunk *next = c->next;
        mem->code_free(mem->ctx, c->rx, CHUNK);
        mem->free(mem->ctx, c, sizeof(*c));
        c = next;
    }
    mem->free(mem->ctx, mem->heap, sizeof(*mem->heap));
    mem->heap = NULL;
}

static bool in_use(const struct chunk *c, uint32_t grain)
{
    return (c->map[grain / 64] >> (grain % 64) & 1) != 0;
}

static void codeheap_mark(struct chunk *c, uint32_t first, uint32_t count,
                          bool used)
{
    for (uint32_t g = first; g < first + count; g++) {
        uint64_t bit = UINT64_C(1) << (g % 64);
        c->map[g / 64] = used ? c->map[g / 64] | bit : c->map[g / 64] & ~bit;
    }
    c->used = used ? c->used + count : c->used - count;
}

/* First grain of a free run of `count`, or UINT32_MAX. */
static uint32_t codeheap_find(struct chunk *c, uint32_t count)
{
    uint32_t run = 0, longest = 0;
    for (uint32_t g = 0; g < CHUNK_GRAINS; g++) {
        if (g % 64 == 0 && c->map[g / 64] == UINT64_MAX) {
            run = 0;
            g += 63;
            continue;
        }
        run = in_use(c, g) ? 0 : run + 1;
        if (run == count) {
            return g + 1 - count;
        }
        longest = run > longest ? run : longest;
    }
    c->longest = longest;
    return UINT32_MAX;
}

static struct chunk *chunk_add(const struct dpf_mem *mem)
{
    struct chunk *c = mem->alloc(mem->ctx, sizeof(*c));
    if (c == NULL) {
        return NULL;
    }
    *c = (struct chunk){.next = mem->heap->chunks, .longest = CHUNK_GRAINS};
    c->rx = mem->code_alloc(mem->ctx, CHUNK);
    if (c->rx == NULL) {
        mem->free(mem->ctx, c, sizeof(*c));
        return NULL;
    }
    mem->heap->chunks = c;
    return c;
}

/* Is a piece of this size kept outside the shared chunks? */
static bool apart(const struct dpf_mem *mem, size_t size)
{
    return mem->heap == NULL || size > CHUNK / 4;
}

static size_t whole_pages(size_t size)
{
    return (size + PAGE - 1) / PAGE * PAGE;
}

static void *reserve(const struct dpf_mem *mem, size_t size)
{
    if (apart(mem, size)) {
        return mem->code_alloc(mem->ctx, whole_pages(size));
    }
    uint32_t count = (uint32_t)((size + GRAIN - 1) / GRAIN);
    struct chunk *c = mem->heap->chunks;
    uint32_t at = UINT32_MAX;
    while (c != NULL) {
        at = c->longest >= count ? codeheap_find(c, count) : UINT32_MAX;
        if (at != UINT32_MAX) {
            break;
        }
        c = c->next;
    }
    if (c == NULL) {
        c = chunk_add(mem);
        if (c == NULL) {
            return NULL;
        }
        at = 0;
    }
    codeheap_mark(c, at, count, true);
    return c->rx + (size_t)at * GRAIN;
}

static void unreserve(const struct dpf_mem *mem, void *rx, size_t size)
{
    if (apart(mem, size)) {
        mem->code_free(mem->ctx, rx, whole_pages(size));
        return;
    }
    uint32_t count = (uint32_t)((size + GRAIN - 1) / GRAIN);
    struct chunk **link = &mem->heap->chunks;
    while ((uintptr_t)rx - (uintptr_t)(*link)->rx >= CHUNK) {
        link = &(*link)->next;
    }
    struct chunk *c = *link;
    codeheap_mark(c, (uint32_t)((uintptr_t)rx - (uintptr_t)c->rx) / GRAIN,
                  count, false);
    c->longest = CHUNK_GRAINS;
    if (c->used == 0 && (c->next != NULL || link != &mem->heap->chunks)) {
        /* The last chunk stays: a lone program that comes and goes. */
        *link = c->next;
        mem->code_free(mem->ctx, c->rx, CHUNK);
        mem->free(mem->ctx, c, sizeof(*c));
    }
}

void *codeheap_put(const struct dpf_mem *mem, const void *code, size_t size)
{
    if (!codeheap_usable(mem) || size == 0) {
        return NULL;
    }
    void *rx = reserve(mem, size);
    if (rx == NULL) {
        return NULL;
    }
    void *rw = mem->code_open(mem->ctx, rx, size);
    if (rw == NULL) {
        unreserve(mem, rx, size);
        return NULL;
    }
    __builtin_memcpy(rw, code, size);
    mem->code_seal(mem->ctx, rx, rw, size);
    return rx;
}

void codeheap_free(const struct dpf_mem *mem, void *rx, size_t size)
{
    if (rx == NULL) {
        return;
    }
    void *rw = mem->code_open(mem->ctx, rx, size);
    if (rw != NULL) {
        __builtin_memset(rw, 0xcc, size);
        mem->code_seal(mem->ctx, rx, rw, size);
    }
    unreserve(mem, rx, size);
}
