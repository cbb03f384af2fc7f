/* SPDX-License-Identifier: MIT */
/*
 * The kernel's heap, for what environments have it make: programs, filters,
 * predicates.
 *
 * Sizes up to half a frame come from frames cut into equal cells, a power of
 * two each; larger ones are runs of frames. A cell's frame starts with its
 * struct slab; a slab with no cell in use goes back to page_kfree, so removing
 * programs returns their memory.
 *
 * Every cell and frame is counted. Whoever makes something in the heap is first
 * charged for what it may cost, so that a poor caller causes no work, and then
 * for what was taken for it (code_charge).
 */
#include "src/kern/kheap.h"
#include "src/kern/cpu.h"
#include "src/kern/page.h"

#define CELL_MIN 32u
#define CLASSES 7u /* 32 ... 2048 bytes */

struct cell {
    struct cell *next;
};

struct slab {
    struct slab *next, *previous; /* those of its class with a free cell */
    struct cell *free;
    uint32_t used, class;
} __attribute__((aligned(32)));

struct lock heap_lock;
static struct slab *partial[CLASSES] GUARDED_BY(heap_lock);

/* The class whose cells hold `size` bytes; CLASSES: none. */
static uint32_t class_of(size_t size)
{
    uint32_t class = 0;
    while (class < CLASSES && size > CELL_MIN << class) {
        class ++;
    }
    return class;
}

static void unlink(struct slab *s) REQUIRES(heap_lock)
{
    if (s->previous != NULL) {
        s->previous->next = s->next;
    } else {
        partial[s->class] = s->next;
    }
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
}

static void link(struct slab *s) REQUIRES(heap_lock)
{
    s->previous = NULL;
    s->next = partial[s->class];
    if (s->next != NULL) {
        s->next->previous = s;
    }
    partial[s->class] = s;
}

/* Where the first cell of a slab lies. */
static uint32_t first_cell(uint32_t class)
{
    uint32_t size = CELL_MIN << class;
    return size > sizeof(struct slab) ? size : (uint32_t)sizeof(struct slab);
}

static struct slab *slab_make(uint32_t class) REQUIRES(heap_lock)
{
    struct slab *s = page_kalloc_bytes(PAGE_SIZE);
    if (s == NULL) {
        return NULL;
    }
    s->class = class;
    uint32_t size = CELL_MIN << class;
    for (uint32_t at = first_cell(class); at + size <= PAGE_SIZE; at += size) {
        struct cell *c = (struct cell *)((uint8_t *)s + at);
        c->next = s->free;
        s->free = c;
    }
    link(s);
    return s;
}

uint64_t kheap_bytes(void)
{
    return cpu_this()->heap_bytes;
}

void kheap_count(uint64_t bytes)
{
    cpu_this()->heap_bytes += bytes;
}

/* What an allocation takes of the frames that hold it. */
static uint64_t cost(size_t size)
{
    uint32_t class = class_of(size);
    if (class == CLASSES) {
        return page_up(size);
    }
    uint32_t cells = (PAGE_SIZE - first_cell(class)) / (CELL_MIN << class);
    return PAGE_SIZE / cells;
}

static void *large_alloc(size_t size)
{
    void *p = page_kalloc_bytes(size);
    kheap_count(p != NULL ? cost(size) : 0);
    return p;
}

void *kheap_alloc(size_t size)
{
    uint32_t class = class_of(size);
    if (class == CLASSES) {
        return large_alloc(size);
    }
    lock_acquire(&heap_lock);
    struct slab *s = partial[class] != NULL ? partial[class] : slab_make(class);
    struct cell *c = NULL;
    if (s != NULL) {
        c = s->free;
        s->free = c->next;
        s->used++;
        if (s->free == NULL) {
            unlink(s);
        }
        kheap_count(cost(size));
    }
    lock_release(&heap_lock);
    return c;
}

void kheap_free(void *p, size_t size)
{
    if (p == NULL) {
        return;
    }
    kheap_count(-cost(size));
    uint32_t class = class_of(size);
    if (class == CLASSES) {
        page_kfree(arch_ptr_paddr(p) / PAGE_SIZE, page_frames(size));
        return;
    }
    lock_acquire(&heap_lock);
    struct slab *s =
        (struct slab *)((uintptr_t)p & ~(uintptr_t)(PAGE_SIZE - 1));
    struct cell *c = p;
    assert(s->class == class && s->used > 0);
    if (s->free == NULL) {
        link(s);
    }
    c->next = s->free;
    s->free = c;
    s->used--;
    if (s->used == 0) {
        unlink(s);
        page_kfree(arch_ptr_paddr(s) / PAGE_SIZE, 1);
    }
    lock_release(&heap_lock);
}
