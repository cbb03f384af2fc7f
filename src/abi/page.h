/* SPDX-License-Identifier: MIT */
/*
 * Physical memory by frame number, and its bindings into page tables.
 */
#pragma once

#include <stdint.h>

#define PAGE_ANY UINT64_MAX /* page_alloc: any run of frames */

/* Protection of a binding; 0 unbinds. PAGE_R is implied by the others. */
#define PAGE_R (1u << 0)
#define PAGE_W (1u << 1)
#define PAGE_X (1u << 2)  /* never together with PAGE_W in one binding */
#define PAGE_2M (1u << 3) /* use 2 MiB entries; va and frame so aligned */

/*
 * One element of a page_bind batch: bind frames [frame, frame + count) at [va,
 * va + count * PAGE_SIZE), replacing earlier bindings there.
 */
struct page_binding {
    uint64_t va;    /* page-aligned, from UADDR_BOTTOM, below UADDR_TOP */
    uint64_t frame; /* ignored when prot is 0 */
    uint32_t count; /* frames; at most PAGE_ELEMENT_MAX */
    uint32_t prot;  /* PAGE_* */
};
_Static_assert(sizeof(struct page_binding) == 24, "abi");

/* A run of physical memory, of any length, that a device reads or writes in
   place: every frame guarded by what the ring's memory capability dominates. */
struct page_piece {
    uint64_t paddr;
    uint32_t len; /* bytes */
    uint32_t reserved;
};
_Static_assert(sizeof(struct page_piece) == 16, "abi");

#define PAGE_BATCH_MAX 256u   /* elements of one page_bind call */
#define PAGE_ELEMENT_MAX 512u /* frames of one element */
#define PAGE_RUN_MAX 65536u   /* frames of one page_alloc or page_free call */
