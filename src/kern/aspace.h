/* SPDX-License-Identifier: MIT */
/*
 * Addressing contexts: the page tables of environments, and access to their
 * memory through them.
 */
#pragma once

#include "src/abi/page.h"
#include "src/abi/pte.h"
#include "src/kern/lock.h"
#include "src/kern/turn.h"

struct env;

/* An address in an environment; reached only through copy_in and copy_out. */
typedef struct {
    uint64_t va;
} uaddr;

/* Frames that every addressing context costs: tables and the u-area. */
#define ASPACE_FRAMES 5u

/*
 * Make the root table of `e` with its u-area and the exposed pages bound.
 * The quota was charged ASPACE_FRAMES. 0 or -E_MEM.
 */
int aspace_create(struct env *e) REQUIRES(bind_lock);
/* Break every binding and free every table. No processor has it loaded. True:
   nothing is left; false: the turn ended before that. */
bool aspace_destroy(struct env *e, struct turn *t) REQUIRES(bind_lock);

/* Is the element well-formed? 0, -E_INVAL or -E_RANGE. */
int aspace_check(const struct page_binding *b);
/*
 * Bind or unbind one element that aspace_check found good, replacing what is
 * there; frames are the caller's to approve.
 *
 * Returns 0, -E_QUOTA or -E_MEM for page tables, -E_LIMIT when a frame is
 * bound too often. On error nothing changed. May flush translations. The page
 * tables that it needs are counted in `t`, beside what the caller takes for the
 * frames.
 */
int aspace_bind(struct env *e, const struct page_binding *b, struct turn *t)
    REQUIRES(bind_lock);

/* Where the exposed pages lie, for every context made from now on. */
int aspace_expose(uint64_t frame, uint64_t count) REQUIRES(bind_lock);

/*
 * Copy between the kernel and an environment. Every byte is read once. 0, or
 * -E_FAULT if a page is not bound, or not for writing; a copy_out that fails
 * may have written the pages before.
 */
int copy_in(const struct env *e, void *to, uaddr from, size_t len)
    REQUIRES(bind_lock);
int copy_out(const struct env *e, uaddr to, const void *from, size_t len)
    REQUIRES(bind_lock);
