/* SPDX-License-Identifier: MIT */
/*
 * Open addressing with linear probing, at most four fifths full; removal
 * moves later entries back, so that no marks are left behind.
 */
#include "dpf/set/index.h"

static uint32_t home(const struct index *ix, uint32_t id)
{
    uint32_t h = id * 0x9e3779b1u;
    h ^= h >> 15;
    h *= 0x85ebca77u;
    return (uint32_t)((uint64_t)h * ix->cap >> 32);
}

static uint32_t after(const struct index *ix, uint32_t i)
{
    return i + 1 == ix->cap ? 0 : i + 1;
}

struct index_entry *index_find(struct index *ix, uint32_t id)
{
    if (!ix->cap || id == DPF_NO_OWNER) {
        return NULL;
    }
    for (uint32_t i = home(ix, id); ix->entries[i].id != DPF_NO_OWNER;
         i = after(ix, i)) {
        if (ix->entries[i].id == id) {
            return &ix->entries[i];
        }
    }
    return NULL;
}

static int resize(struct heap *h, struct index *ix, uint32_t cap)
{
    struct index to = {.cap = cap};
    to.entries = heap_alloc(h, cap * sizeof(*to.entries));
    if (to.entries == NULL) {
        return -DPF_E_MEM;
    }
    for (uint32_t i = 0; i < cap; i++) {
        heap_pass(h, i % 8 == 0);
        to.entries[i].id = DPF_NO_OWNER;
    }
    for (uint32_t i = 0; i < ix->cap; i++) {
        heap_pass(h, 1);
        if (ix->entries[i].id != DPF_NO_OWNER) {
            index_add(&to, ix->entries[i]);
        }
    }
    heap_free(h, ix->entries, ix->cap * sizeof(*ix->entries));
    *ix = to;
    return 0;
}

int index_reserve(struct heap *h, struct index *ix)
{
    if ((ix->count + 1) * 5 <= ix->cap * 4) {
        return 0;
    }
    return resize(h, ix, ix->cap + ix->cap / 8 + 16);
}

void index_add(struct index *ix, struct index_entry e)
{
    uint32_t i = home(ix, e.id);
    while (ix->entries[i].id != DPF_NO_OWNER) {
        i = after(ix, i);
    }
    ix->entries[i] = e;
    ix->count++;
}

void index_remove(struct heap *h, struct index *ix, uint32_t id)
{
    struct index_entry *e = index_find(ix, id);
    if (e == NULL) {
        return;
    }
    uint32_t i;
    uint32_t hole = i = (uint32_t)(e - ix->entries);
    for (;;) {
        i = after(ix, i);
        if (ix->entries[i].id == DPF_NO_OWNER) {
            break;
        }
        uint32_t want = home(ix, ix->entries[i].id);
        /* Does the hole lie between where the entry wants to be and i? */
        if (hole <= i ? want <= hole || want > i : want <= hole && want > i) {
            ix->entries[hole] = ix->entries[i];
            hole = i;
        }
    }
    ix->entries[hole].id = DPF_NO_OWNER;
    if (--ix->count == 0) {
        index_finish(h, ix);
    } else if (ix->count * 4 < ix->cap && ix->cap > 64) {
        (void)resize(h, ix, ix->cap / 2); /* later, if there is no memory */
    }
}

void index_finish(struct heap *h, struct index *ix)
{
    heap_free(h, ix->entries, ix->cap * sizeof(*ix->entries));
    *ix = (struct index){0};
}
