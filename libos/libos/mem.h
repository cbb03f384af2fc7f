/* SPDX-License-Identifier: MIT */
/*
 * Memory: runs of frames and a heap. Everything comes out of the
 * environment's quota and is guarded by the name in SLOT_SELF, so the
 * capability of SLOT_SELF is what rings name as their `memory`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that is contiguous as addresses and as frames. */
struct mem_run {
    void *va;
    uint64_t paddr;
    uint64_t bytes; /* a multiple of the page size */
};

#define MEM_LARGE                                                              \
    (1u << 0) /* 2 MiB entries; bytes is rounded up, and the run               \
                 aligned, to 2 MiB */

/*
 * Allocate and bind a run, zeroed by the kernel, for reading and writing.
 *
 * bytes  at most 256 MiB (PAGE_RUN_MAX frames); larger caches take several
 * flags  0 or MEM_LARGE
 *
 * Returns 0, -E_QUOTA, -E_MEM or -E_RANGE; on error nothing changed.
 */
int mem_run_alloc(struct mem_run *run, uint64_t bytes, uint32_t flags);

/* Unbind and free; accepts a zeroed run. */
void mem_run_free(struct mem_run *run);

/*
 * Bind frames that somebody else allocated, for which slot `k` holds a
 * capability: read-only unless `write`.
 */
int mem_run_bind(struct mem_run *run, uint32_t k, uint64_t frame,
                 uint64_t frames, bool write);
/* Take that binding away; the frames stay. */
void mem_run_unbind(struct mem_run *run);

struct page_binding;
/*
 * Bind or unbind a run of any length in the environment `env`, over which slot
 * `k_env` holds a capability (0: our own), as elements that the kernel takes.
 *
 * k  slot with a capability for the frames
 *
 * Returns 0 or -E_*; then what was bound of it is unbound again.
 */
int mem_bind(uint32_t k_env, uint32_t env, uint32_t k,
             const struct page_binding *run);

/* The physical address of a mapped byte, from our own page tables; 0: none. */
uint64_t mem_paddr(const void *va);

/* Frames that the quota still allows, as the kernel exposes it. */
uint64_t mem_frames_left(void);

/* The heap: 64-byte aligned, zeroed; NULL if there is no more. */
void *mem_alloc(size_t bytes);
/* `bytes` as it was asked for; accepts NULL. */
void mem_free(void *p, size_t bytes);
