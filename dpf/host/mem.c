/* SPDX-License-Identifier: MIT */
/*
 * Memory for the host library.
 *
 * Code lies in a memory file that is mapped readable and executable. It has
 * no writable mapping, ever: code is put together in ordinary memory and
 * enters through pwrite on the file, which changes the shared pages. So no
 * address in the process is both writable and executable, nor becomes so for
 * a moment, and storing costs one system call.
 */
#define _GNU_SOURCE
#include "dpf/host/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define SPACE ((size_t)256 << 20) /* bytes of address space for code */
#define PAGE ((size_t)4096)
#define PAGES (SPACE / PAGE)

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u /* since Linux 6.3 */
#endif

struct host {
    int fd;
    uint8_t *alive;  /* a page that reads 1, and 0 in a forked child */
    uint8_t *rx;     /* SPACE bytes, inaccessible where not allocated */
    uint8_t *bounce; /* what code_open hands out */
    size_t bounce_size;
    uint64_t random[32];
    uint32_t random_left;
    uint8_t used[PAGES]; /* 1: the page belongs to an allocation */
};

static void *host_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size != 0 ? size : 1);
}

static void host_free(void *ctx, void *p, size_t size)
{
    (void)ctx;
    (void)size;
    free(p);
}

/* Cannot fail for lack of space: code_alloc made the pages exist. */
static void write_code(struct host *h, size_t off, const void *from,
                       size_t size)
{
    const uint8_t *at = from;
    while (size > 0) {
        ssize_t n = pwrite(h->fd, at, size, (off_t)off);
        if (n < 0 && errno != EINTR) {
            perror("dpf: cannot write native code");
            abort();
        }
        if (n > 0) {
            at += n;
            off += (size_t)n;
            size -= (size_t)n;
        }
    }
}

/* First of `count` adjacent free pages, or PAGES. */
static size_t find_pages(const struct host *h, size_t count)
{
    size_t run = 0;
    for (size_t page = 0; page < PAGES; page++) {
        run = h->used[page] != 0 ? 0 : run + 1;
        if (run == count) {
            return page + 1 - count;
        }
    }
    return PAGES;
}

/*
 * Pages of the file, filled with traps before they can run. In a forked child
 * there are none: the file is shared with the parent, whose code would change.
 */
static void *mem_code_alloc(void *ctx, size_t size)
{
    struct host *h = ctx;
    size_t first = find_pages(h, size / PAGE), off = first * PAGE;
    if (first == PAGES || *h->alive == 0) {
        return NULL;
    }
    uint8_t traps[4096];
    memset(traps, 0xcc, sizeof(traps));
    for (size_t done = 0; done < size; done += sizeof(traps)) {
        ssize_t n = pwrite(h->fd, traps, sizeof(traps), (off_t)(off + done));
        if (n != (ssize_t)sizeof(traps)) {
            return NULL;
        }
    }
    if (mmap(h->rx + off, size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED,
             h->fd, (off_t)off) == MAP_FAILED) {
        return NULL;
    }
    memset(h->used + first, 1, size / PAGE);
    return h->rx + off;
}

static void mem_code_free(void *ctx, void *rx, size_t size)
{
    struct host *h = ctx;
    size_t off = (size_t)((uint8_t *)rx - h->rx);
    /* Keep the pages if the range cannot be taken out of use. */
    if (mmap(rx, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) != MAP_FAILED) {
        memset(h->used + off / PAGE, 0, size / PAGE);
    }
}

static void *code_open(void *ctx, void *rx, size_t size)
{
    struct host *h = ctx;
    (void)rx;
    if (*h->alive == 0) {
        return NULL; /* the file is the parent's */
    }
    if (size > h->bounce_size) {
        uint8_t *to = realloc(h->bounce, size);
        if (to == NULL) {
            return NULL;
        }
        h->bounce = to;
        h->bounce_size = size;
    }
    return h->bounce;
}

static void code_seal(void *ctx, void *rx, void *rw, size_t size)
{
    struct host *h = ctx;
    write_code(h, (size_t)((uint8_t *)rx - h->rx), rw, size);
}

static uint64_t host_random(void *ctx)
{
    struct host *h = ctx;
    if (h->random_left == 0) {
        if (getrandom(h->random, sizeof(h->random), 0) !=
            (ssize_t)sizeof(h->random)) {
            return __builtin_ia32_rdtsc() * UINT64_C(0x9e3779b97f4a7c15);
        }
        h->random_left = sizeof(h->random) / sizeof(h->random[0]);
    }
    return h->random[--h->random_left];
}

/* Reserve address space and the file behind it; false if not allowed. */
static bool code_space(struct host *h)
{
    h->fd = memfd_create("dpf-code", MFD_CLOEXEC | MFD_EXEC);
    if (h->fd < 0) {
        h->fd = memfd_create("dpf-code", MFD_CLOEXEC);
    }
    if (h->fd < 0) {
        return false;
    }
    h->alive = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (h->alive == MAP_FAILED ||
        madvise(h->alive, PAGE, MADV_WIPEONFORK) != 0) {
        return false;
    }
    *h->alive = 1;
    h->rx = mmap(NULL, SPACE, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    /* Some systems forbid executable mappings: find out now. */
    void *probe = h->rx == MAP_FAILED ? NULL : mem_code_alloc(h, PAGE);
    if (probe == NULL) {
        return false;
    }
    mem_code_free(h, probe, PAGE);
    return true;
}

static void host_destroy(struct host *h)
{
    if (h->rx != NULL && h->rx != MAP_FAILED) {
        munmap(h->rx, SPACE);
    }
    if (h->alive != NULL && h->alive != MAP_FAILED) {
        munmap(h->alive, PAGE);
    }
    if (h->fd >= 0) {
        close(h->fd);
    }
    free(h->bounce);
    free(h);
}

int dpf_host_mem_init(struct dpf_mem *mem)
{
    struct host *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return -DPF_E_MEM;
    }
    *mem = (struct dpf_mem){.alloc = host_alloc,
                            .free = host_free,
                            .ctx = h,
                            .random = host_random,
                            .engine = &dpf_engine_full};
    if (code_space(h)) {
        mem->code_alloc = mem_code_alloc;
        mem->code_free = mem_code_free;
        mem->code_open = code_open;
        mem->code_seal = code_seal;
    }
    if (dpf_mem_start(mem) != 0) {
        host_destroy(h);
        *mem = (struct dpf_mem){0};
        return -DPF_E_MEM;
    }
    return 0;
}

void dpf_host_mem_finish(struct dpf_mem *mem)
{
    if (mem->ctx == NULL) {
        return;
    }
    dpf_mem_finish(mem);
    host_destroy(mem->ctx);
    *mem = (struct dpf_mem){0};
}
