/* SPDX-License-Identifier: MIT */
/*
 * Code memory: native code of downloaded programs. It runs through a
 * read-and-execute mapping at CODE_BASE. Its frames are read-only in the
 * direct map as long as that mapping exists; to write, a processor opens them
 * in a window that no other processor ever touches, so that closing it needs
 * no shootdown.
 */
#include "src/abi/pte.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/spin.h"

static uint64_t code_used[(CODE_PAGES + 63) / 64]; /* a bit a page */
static struct spin code_lock;

static void mark(uint64_t first, uint64_t pages, bool used)
{
    for (uint64_t p = first; p < first + pages; p++) {
        uint64_t bit = 1ull << (p % 64), others = code_used[p / 64] & ~bit;
        code_used[p / 64] = used ? others | bit : others;
    }
}

/* First page of a free run, with one page of nothing after it; or none. */
static uint64_t find_run(uint64_t pages)
{
    uint64_t run = 0;
    for (uint64_t p = 0; p < CODE_PAGES; p++) {
        bool used = (code_used[p / 64] >> (p % 64) & 1) != 0;
        run = used ? 0 : run + 1;
        if (run == pages + 1) {
            return p - pages;
        }
    }
    return CODE_PAGES;
}

static uint64_t page_of(const void *rx)
{
    return ((uint64_t)rx - CODE_BASE) / PAGE_SIZE;
}

static void unmap_pages(uint64_t first, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t va = CODE_BASE + (first + i) * PAGE_SIZE;
        uint64_t paddr = mmu_entry(va) & PTE_FRAME;
        mmu_unmap(va);
        (void)mmu_direct_prot(paddr, MAP_RW); /* split long ago */
    }
}

void *arch_code_map(uint64_t frame, uint64_t frames)
{
    spin_lock(&code_lock);
    uint64_t done = 0, first = find_run(frames);
    while (first != CODE_PAGES && done < frames &&
           mmu_direct_prot((frame + done) << PAGE_SHIFT, MAP_R)) {
        if (!mmu_map(CODE_BASE + (first + done) * PAGE_SIZE,
                     (frame + done) << PAGE_SHIFT, MAP_RX)) {
            (void)mmu_direct_prot((frame + done) << PAGE_SHIFT, MAP_RW);
            break;
        }
        done++;
    }
    if (done == frames) {
        mark(first, frames, true);
    } else {
        unmap_pages(first, done);
    }
    spin_unlock(&code_lock);
    mmu_flush_kernel();
    return done == frames ? (void *)(CODE_BASE + first * PAGE_SIZE) : NULL;
}

uint64_t arch_code_unmap(void *rx, uint64_t frames)
{
    uint64_t paddr = mmu_entry((uint64_t)rx) & PTE_FRAME;
    spin_lock(&code_lock);
    unmap_pages(page_of(rx), frames);
    mmu_flush_kernel(); /* who waits for the lock answers */
    /* Only now may the addresses be used again. */
    mark(page_of(rx), frames, false);
    spin_unlock(&code_lock);
    return paddr >> PAGE_SHIFT;
}

/* NULL if the piece is larger than the window, or no frame for its table. */
void *arch_code_open(void *rx, size_t size)
{
    uint64_t offset = (uint64_t)rx % PAGE_SIZE;
    uint64_t va = (uint64_t)rx - offset;
    uint64_t window = mmu_write_window(arch_cpu());
    if (offset + size > WRITE_PAGES * PAGE_SIZE) {
        return NULL;
    }
    for (uint64_t at = 0; at < offset + size; at += PAGE_SIZE) {
        if (!mmu_map(window + at, mmu_entry(va + at) & PTE_FRAME, MAP_RW)) {
            return NULL;
        }
    }
    return (void *)(window + offset);
}

void arch_code_seal(void *rx, void *rw, size_t size)
{
    uint64_t offset = (uint64_t)rx % PAGE_SIZE;
    for (uint64_t at = 0; at < offset + size; at += PAGE_SIZE) {
        mmu_unmap((uint64_t)rw - offset + at);
    }
}
