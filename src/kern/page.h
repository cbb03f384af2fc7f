/* SPDX-License-Identifier: MIT */
/*
 * Physical frames by number. Each frame has one word:
 *
 *    0-19  guard     name that a capability must dominate
 *   20-29  owner     index of the environment whose quota pays; 0 nobody
 *   30-45  binds     page-table entries that point here
 *   46-59  pins      device requests, rings and programs that use it
 *      62  OWNED     the allocation stands: may be bound and pinned
 *      63  KERNEL    tables, rings' bookkeeping, page tables: never bindable
 *
 * A word of 0 is a free frame. A frame is free when it is neither OWNED nor
 * KERNEL, and bound and pinned by nobody. The word changes by compare and
 * swap; to and from 0 only under page_lock. While not 0 it holds its guard.
 */
#pragma once

#include "src/abi/page.h"
#include "src/abi/pte.h"
#include "src/kern/cap.h"
#include "src/kern/turn.h"

#define PAGE_OWNED (1ull << 62)
#define PAGE_KERNEL (1ull << 63)

/*
 * Take charge of memory: everything outside `ram` is never given out.
 *
 * ram    sorted, disjoint ranges; bytes
 * top    end of all physical memory that has a frame number, in bytes
 */
void page_init(const struct boot_range *ram, uint32_t rams, uint64_t top)
    EXCLUDES(page_lock);

uint64_t page_count(void);
uint64_t page_free_count(void) EXCLUDES(page_lock);
/* From now on the count of free frames is kept at `counter`. */
void page_expose(uint64_t *counter) EXCLUDES(page_lock);

/*
 * Give an environment a run of zeroed frames; its quota is charged already.
 *
 * frame  first of the run, or PAGE_ANY (aligned to 2 MiB from 512 frames on)
 * guard  held by the caller; every frame holds it once more
 *
 * Returns the first frame, -E_RANGE, -E_BUSY or -E_MEM.
 */
int64_t page_take(uint64_t frame, uint32_t count, uint32_t guard,
                  uint32_t owner) EXCLUDES(page_lock);
/* Declare boot modules' frames OWNED by `owner` under the root guard. */
void page_adopt(uint64_t frame, uint64_t count, uint32_t owner)
    EXCLUDES(page_lock);
/* A zeroed frame for a page table, paid by `owner`; FRAME_NONE if none. */
uint64_t page_table_take(uint32_t owner) EXCLUDES(page_lock);
void page_table_free(uint64_t frame) EXCLUDES(page_lock);

/*
 * Is every frame of the run OWNED and guarded by what `k` dominates?
 * 0, -E_RANGE (beyond memory), -E_NONE (not allocated) or -E_CAP.
 */
int page_demand(const struct cap *k, uint32_t rights, uint64_t frame,
                uint64_t count) REQUIRES(bind_lock);
/* End the allocation of a run that page_demand found good. */
void page_disown(uint64_t frame, uint64_t count) REQUIRES(bind_lock);
/*
 * End every allocation of `owner`; `heir` pays for what others still use.
 * True when none is left; false when the turn ended before that.
 */
bool page_disown_all(uint32_t owner, uint32_t heir, struct turn *t)
    REQUIRES(bind_lock);
/* Free what an unfinished page_alloc of `e` has reserved. True: nothing is left
   of it. */
bool page_run_drop(struct env *e, struct turn *t) REQUIRES(bind_lock);

/* Count one page-table entry more, or less, for each frame of a run. 0, or
   -E_LIMIT if a count is full; then nothing changed. */
int page_bound(uint64_t frame, uint64_t count) REQUIRES(bind_lock);
void page_unbound(uint64_t frame, uint64_t count) REQUIRES(bind_lock);

/*
 * The authority to name frames, copied from a capability at bind time, with
 * the last guard found good: held, so that its number keeps its meaning.
 */
struct page_pass {
    struct cap cap;
    uint32_t rights;
    uint32_t guard;
    bool cached; /* `guard` is valid and held */
};

/* `k` is copied. Finish before forgetting a pass; a zeroed one is fine. */
void page_pass_init(struct page_pass *p, const struct cap *k, uint32_t rights);
void page_pass_finish(struct page_pass *p);

/*
 * Pin a run for use outside page tables, or nothing of it.
 * 0, -E_RANGE, -E_NONE, -E_CAP, or -E_LIMIT (pinned too often).
 */
int page_pin(struct page_pass *p, uint64_t frame, uint64_t count)
    EXCLUDES(page_lock);
/* The same by a capability that may write there and is not kept. */
int page_pin_once(const struct cap *k, uint64_t frame, uint64_t count)
    EXCLUDES(page_lock);
void page_unpin(uint64_t frame, uint64_t count) EXCLUDES(page_lock);
/* The same for every frame of `n` pieces, none of them empty. */
int page_pin_pieces(struct page_pass *p, const struct page_piece *piece,
                    uint32_t n) EXCLUDES(page_lock);
void page_unpin_pieces(const struct page_piece *piece, uint32_t n)
    EXCLUDES(page_lock);
