/* SPDX-License-Identifier: MIT */
/*
 * Runs of frames and where they are bound. Addresses are handed out upwards
 * and not used again: 100 TiB last longer than any environment, and a stale
 * pointer faults instead of meeting a stranger. An unbound page lies between
 * neighbours.
 */
#include "libos/libos/env.h"
#include "libos/libos/mem.h"
#include "libos/sys/sys.h"
#include "src/abi/page.h"

#define RUN_BASE 0x0000100000000000ull
#define LARGE_BYTES (2ull << 20)
#define LARGE_FRAMES (LARGE_BYTES / PAGE_SIZE)

static uint64_t next_va = RUN_BASE;

static uint64_t round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

/* Address space for a run, with a hole after it. */
static uint64_t va_take(uint64_t bytes, uint64_t align)
{
    uint64_t va = round_up(next_va, align);
    next_va = va + bytes + PAGE_SIZE;
    return va;
}

#define BATCH 32u /* elements of one call */

int mem_bind(uint32_t k_env, uint32_t env, uint32_t k,
             const struct page_binding *run)
{
    uint32_t done = 0;
    struct page_binding b[BATCH];
    while (done < run->count) {
        uint32_t n = 0, frames = 0;
        for (; n < BATCH && done + frames < run->count; n++) {
            uint32_t left = run->count - done - frames;
            b[n] = *run;
            b[n].va += (uint64_t)(done + frames) * PAGE_SIZE;
            b[n].frame += done + frames;
            b[n].count = left < PAGE_ELEMENT_MAX ? left : PAGE_ELEMENT_MAX;
            frames += b[n].count;
        }
        int64_t got = sys_page_bind(k_env, env, k, b, n);
        if (got != n) {
            const struct page_binding undo = {
                .va = run->va,
                .count =
                    done + (got > 0 ? (uint32_t)got : 0) * PAGE_ELEMENT_MAX,
            };
            if (undo.count && run->prot) {
                (void)mem_bind(k_env, env, k, &undo);
            }
            return got < 0 ? (int)got : -E_MEM;
        }
        done += frames;
    }
    return 0;
}

static int bind(uint64_t va, uint32_t k, uint64_t frame, uint64_t frames,
                uint32_t prot)
{
    const struct page_binding b = {
        .va = va,
        .frame = frame,
        .count = (uint32_t)frames,
        .prot = prot,
    };
    return mem_bind(0, 0, k, &b);
}

/* A run of frames whose first is a multiple of 512: take more, trim. */
static int64_t alloc_large(uint64_t frames)
{
    uint64_t all = frames + LARGE_FRAMES - 1;
    int64_t got = sys_page_alloc(SLOT_SELF, PAGE_ANY, (uint32_t)all);
    if (got < 0) {
        return got;
    }
    uint64_t first = round_up((uint64_t)got, LARGE_FRAMES);
    uint64_t head = first - (uint64_t)got;
    uint64_t tail = all - head - frames;
    if (head) {
        (void)sys_page_free(SLOT_SELF, (uint64_t)got, (uint32_t)head);
    }
    if (tail) {
        (void)sys_page_free(SLOT_SELF, first + frames, (uint32_t)tail);
    }
    return (int64_t)first;
}

int mem_run_alloc(struct mem_run *run, uint64_t bytes, uint32_t flags)
{
    bool large = flags & MEM_LARGE;
    uint64_t unit = large ? LARGE_BYTES : PAGE_SIZE;
    bytes = round_up(bytes, unit);
    uint64_t frames = bytes / PAGE_SIZE;
    if (frames == 0 || frames + (large ? LARGE_FRAMES : 0) > PAGE_RUN_MAX) {
        return -E_RANGE;
    }
    int64_t frame = large
                        ? alloc_large(frames)
                        : sys_page_alloc(SLOT_SELF, PAGE_ANY, (uint32_t)frames);
    if (frame < 0) {
        return (int)frame;
    }
    uint64_t va = va_take(bytes, unit);
    int err = bind(va, SLOT_SELF, (uint64_t)frame, frames,
                   PAGE_R | PAGE_W | (large ? PAGE_2M : 0));
    if (err) {
        (void)sys_page_free(SLOT_SELF, (uint64_t)frame, (uint32_t)frames);
        return err;
    }
    run->va = (void *)va;
    run->paddr = (uint64_t)frame * PAGE_SIZE;
    run->bytes = bytes;
    return 0;
}

void mem_run_unbind(struct mem_run *run)
{
    if (run->bytes) {
        (void)bind((uint64_t)run->va, SLOT_SELF, 0, run->bytes / PAGE_SIZE, 0);
        *run = (struct mem_run){0};
    }
}

void mem_run_free(struct mem_run *run)
{
    uint64_t frame = run->paddr / PAGE_SIZE;
    uint64_t frames = run->bytes / PAGE_SIZE;
    if (frames) {
        mem_run_unbind(run);
        (void)sys_page_free(SLOT_SELF, frame, (uint32_t)frames);
    }
}

int mem_run_bind(struct mem_run *run, uint32_t k, uint64_t frame,
                 uint64_t frames, bool write)
{
    if (frames == 0 || frames > PAGE_RUN_MAX) {
        return -E_RANGE;
    }
    uint64_t va = va_take(frames * PAGE_SIZE, PAGE_SIZE);
    int err = bind(va, k, frame, frames, PAGE_R | (write ? PAGE_W : 0));
    if (err) {
        return err;
    }
    run->va = (void *)va;
    run->paddr = frame * PAGE_SIZE;
    run->bytes = frames * PAGE_SIZE;
    return 0;
}

uint64_t mem_frames_left(void)
{
    const struct sysinfo *s = env_sysinfo();
    const struct sysinfo_env *e =
        (const struct sysinfo_env *)((const uint8_t *)s + s->env_offset);

    for (uint32_t i = 0; i < s->envs_max; i++) {
        if (e[i].id == env_uarea()->env) {
            return e[i].frames_quota - e[i].frames_used;
        }
    }
    return 0;
}
