/* SPDX-License-Identifier: MIT */
/*
 * From a loader's lists to the free memory. Where the lists contradict each
 * other the pessimist is right: memory that any list calls reserved is
 * reserved.
 */
#include "src/x86_64/handover.h"
#include "src/abi/pte.h"
#include "src/lib/string.h"

#define LOW_MEMORY 0x100000ull /* firmware, trampoline */
#define PADDR_TOP (1ull << 39) /* the direct map is one top-level entry */

static void drop(struct boot_range *r, uint32_t *n, uint32_t i)
{
    (*n)--;
    memmove(r + i, r + i + 1, (*n - i) * sizeof(*r));
}

/* Forget the least memory. */
static void drop_smallest(struct boot_range *r, uint32_t *n)
{
    uint32_t smallest = 0;
    for (uint32_t i = 1; i < *n; i++) {
        if (r[i].end - r[i].start < r[smallest].end - r[smallest].start) {
            smallest = i;
        }
    }
    drop(r, n, smallest);
}

/* In its place, if it is not empty; it touches no other. */
static void insert(struct boot_range *r, uint32_t *n, struct boot_range add)
{
    if (add.start >= add.end) {
        return;
    }
    if (*n == BOOT_RAM_MAX) {
        drop_smallest(r, n);
    }
    uint32_t i = (*n)++;
    for (; i > 0 && r[i - 1].start > add.start; i--) {
        r[i] = r[i - 1];
    }
    r[i] = add;
}

void ranges_add(struct boot_range *r, uint32_t *n, struct boot_range add)
{
    if (add.start >= add.end) {
        return;
    }
    for (uint32_t i = 0; i < *n;) {
        if (add.start <= r[i].end && r[i].start <= add.end) {
            add.start = r[i].start < add.start ? r[i].start : add.start;
            add.end = r[i].end > add.end ? r[i].end : add.end;
            drop(r, n, i);
        } else {
            i++;
        }
    }
    insert(r, n, add);
}

void ranges_remove(struct boot_range *r, uint32_t *n, struct boot_range gone)
{
    for (uint32_t i = 0; i < *n && gone.start < gone.end;) {
        struct boot_range old = r[i];
        if (gone.start < old.end && old.start < gone.end) {
            drop(r, n, i);
            insert(r, n, (struct boot_range){old.start, gone.start});
            insert(r, n, (struct boot_range){gone.end, old.end});
        } else {
            i++;
        }
    }
}

void handover_memory(struct handover *h, uint64_t start, uint64_t bytes,
                     bool usable)
{
    uint64_t end = start + bytes;
    struct boot_range *list = usable ? h->ram : h->hole;
    uint32_t *n = usable ? &h->rams : &h->holes;
    if (end < start || end > PADDR_TOP) {
        end = PADDR_TOP;
    }
    if (start >= end) {
        return;
    }
    if (*n == HANDOVER_RANGES) {
        h->too_many = h->too_many || !usable; /* RAM is only lost */
        return;
    }
    list[(*n)++] = (struct boot_range){start, end};
}

void handover_name(char *to, size_t size, const char *path, size_t len)
{
    size_t start = len;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    len = len - start < size ? len - start : size - 1;
    memset(to, 0, size);
    memcpy(to, path + start, len);
}

bool handover_module(struct handover *h, struct boot_range at, const char *path,
                     size_t path_max)
{
    if (h->modules == BOOT_MODULES_MAX || at.start >= at.end) {
        return false;
    }
    size_t len = 0; /* the first word is the path */
    while (len < path_max && path[len] != 0 && path[len] != ' ') {
        len++;
    }
    struct boot_module *m = &h->module[h->modules++];
    m->at = at;
    handover_name(m->name, sizeof(m->name), path, len);
    return true;
}

static struct boot_range whole_pages_around(struct boot_range r)
{
    return (struct boot_range){r.start - r.start % PAGE_SIZE, page_up(r.end)};
}

static struct boot_range whole_pages_within(struct boot_range r)
{
    return (struct boot_range){page_up(r.start), r.end - r.end % PAGE_SIZE};
}

/* Does one of the ranges hold all of `a`? */
static bool inside(const struct boot_range *r, uint32_t n, struct boot_range a)
{
    for (uint32_t i = 0; i < n; i++) {
        if (a.start >= r[i].start && a.end <= r[i].end) {
            return true;
        }
    }
    return false;
}

bool handover_usable(const struct handover *h, struct boot_range at)
{
    for (uint32_t i = 0; i < h->holes; i++) {
        if (at.start < h->hole[i].end && h->hole[i].start < at.end) {
            return false;
        }
    }
    return inside(h->ram, h->rams, at);
}

static const struct boot_range low_memory = {0, LOW_MEMORY};

const char *handover_layout(const struct handover *h,
                            const struct boot_range *kernel,
                            struct boot_info *out)
{
    out->rams = 0;
    out->modules = 0;
    WRONG_IF(h->too_many, "the memory map has more than 256 reserved ranges");
    for (uint32_t i = 0; i < h->rams; i++) {
        ranges_add(out->ram, &out->rams, whole_pages_within(h->ram[i]));
    }
    for (uint32_t i = 0; i < h->holes; i++) {
        ranges_remove(out->ram, &out->rams, whole_pages_around(h->hole[i]));
    }
    out->top = out->rams == 0 ? 0 : out->ram[out->rams - 1].end;
    ranges_remove(out->ram, &out->rams, whole_pages_around(*kernel));
    for (uint32_t i = 0; i < h->modules; i++) {
        struct boot_range at = whole_pages_around(h->module[i].at);
        WRONG_IF(!inside(out->ram, out->rams, at),
                 "a boot module overlaps the kernel or another module, or "
                 "lies outside usable memory");
        ranges_remove(out->ram, &out->rams, at);
    }
    ranges_remove(out->ram, &out->rams, low_memory);
    WRONG_IF(out->rams == 0, "the loader's memory map names no usable memory");
    memcpy(out->cmdline, h->cmdline, sizeof(out->cmdline));
    return NULL;
}

void handover_modules_free(const struct handover *h, struct boot_info *out)
{
    for (uint32_t i = 0; i < h->modules; i++) {
        ranges_add(out->ram, &out->rams, whole_pages_around(h->module[i].at));
    }
    ranges_remove(out->ram, &out->rams, low_memory);
}
