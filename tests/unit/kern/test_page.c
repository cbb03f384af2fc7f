/* SPDX-License-Identifier: MIT */
/* Frames and their bindings: the rule of life, quotas, and every refusal. */
#include "src/abi/err.h"
#include "src/abi/sysno.h"
#include "src/kern/aspace.h"
#include "src/kern/page.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"

#define VA 0x10000000ull

static struct env *root;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_cap(root, 1, "a", CAP_ALL);
    fake_cap(root, 2, "b", CAP_READ | CAP_WRITE);
    fake_cap(root, 3, "a", CAP_READ);
}

static int64_t bind(uint64_t k, uint64_t va, uint64_t frame, uint32_t count,
                    uint32_t prot)
{
    for (; count > PAGE_ELEMENT_MAX; count -= PAGE_ELEMENT_MAX) {
        struct page_binding b = {va, frame, PAGE_ELEMENT_MAX, prot};
        if (CALL(SYS_PAGE_BIND, 0, 0, k, PUT(b), 1) != 1) {
            return -1;
        }
        va += (uint64_t)PAGE_ELEMENT_MAX * PAGE_SIZE;
        frame += PAGE_ELEMENT_MAX;
    }
    struct page_binding b = {va, frame, count, prot};
    return CALL(SYS_PAGE_BIND, 0, 0, k, PUT(b), 1);
}

static uint64_t alloc(uint64_t guard, uint32_t count)
{
    int64_t f = CALL(SYS_PAGE_ALLOC, guard, PAGE_ANY, count);
    ck_assert_int_gt(f, 0);
    return (uint64_t)f;
}

/* The entry by which `va` is bound; 0: it is not. */
static uint64_t entry(uint64_t va)
{
    uint64_t e = root->root << 12;
    for (int l = 4; l >= 1; l--) {
        const uint64_t *t = arch_frame_ptr((e & PTE_FRAME) >> 12);
        e = t[(va >> (12 + 9 * (l - 1))) & 511];
        if ((e & PTE_P) == 0) {
            return 0;
        }
        if (l == 2 && (e & PTE_PS) != 0) {
            return e;
        }
    }
    return e;
}

START_TEST(alloc_and_free)
{
    boot();
    uint64_t before = page_free_count();
    uint64_t used = root->info->frames_used;
    uint64_t f = alloc(1, 3);
    ck_assert_uint_eq(page_free_count(), before - 3);
    ck_assert_uint_eq(root->info->frames_used, used + 3);
    ck_assert_uint_eq(sysinfo()->frames_free, before - 3);
    /* By number: a frame in use is refused, and nothing of the run taken. */
    REFUSED(E_BUSY, SYS_PAGE_ALLOC, 1, f - 1, 2);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 3), 0);
    ck_assert_uint_eq(page_free_count(), before);
    ck_assert_uint_eq(root->info->frames_used, used);
    ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, 1, f + 1, 1), (int64_t)f + 1);
    REFUSED(E_NONE, SYS_PAGE_FREE, 1, f, 2); /* only half of it is ours */
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f + 1, 1), 0);
}
END_TEST

START_TEST(alloc_refusals)
{
    boot();
    REFUSED(E_CAP, SYS_PAGE_ALLOC, 9, PAGE_ANY, 1);
    REFUSED(E_RANGE, SYS_PAGE_ALLOC, 64, PAGE_ANY, 1);
    REFUSED(E_INVAL, SYS_PAGE_ALLOC, 1, PAGE_ANY, 0);
    REFUSED(E_INVAL, SYS_PAGE_ALLOC, 1, PAGE_ANY, PAGE_RUN_MAX + 1);
    REFUSED(E_RANGE, SYS_PAGE_ALLOC, 1, FAKE_FRAMES, 1);
    REFUSED(E_RANGE, SYS_PAGE_ALLOC, 1, FAKE_FRAMES - 1, 2);
    REFUSED(E_RANGE, SYS_PAGE_ALLOC, 1, UINT64_MAX - 1, 2);
    REFUSED(E_BUSY, SYS_PAGE_ALLOC, 1, 0, 1);          /* not memory */
    REFUSED(E_BUSY, SYS_PAGE_ALLOC, 1, FAKE_FIRST, 1); /* the kernel's */
    REFUSED(E_QUOTA, SYS_PAGE_ALLOC, 1, PAGE_ANY, FAKE_FRAMES);
    root->info->frames_quota = UINT64_MAX / 2;
    REFUSED(E_MEM, SYS_PAGE_ALLOC, 1, PAGE_ANY, FAKE_FRAMES);
    REFUSED(E_CAP, SYS_PAGE_FREE, 9, 1000, 1);
    REFUSED(E_RANGE, SYS_PAGE_FREE, 64, 1000, 1);
    REFUSED(E_RANGE, SYS_PAGE_FREE, 1, FAKE_FRAMES, 1);
    REFUSED(E_RANGE, SYS_PAGE_FREE, 1, UINT64_MAX, 2);
    REFUSED(E_NONE, SYS_PAGE_FREE, 0, FAKE_FIRST, 1); /* the kernel's */
    uint64_t f = alloc(1, 2);
    REFUSED(E_CAP, SYS_PAGE_FREE, 2, f, 2); /* another name */
    REFUSED(E_CAP, SYS_PAGE_FREE, 3, f, 2); /* lacks CAP_CTL */
}
END_TEST

START_TEST(frames_come_zeroed)
{
    boot();
    uint64_t f = alloc(1, 4);
    memset(arch_frame_ptr(f), 0xee, 4 * PAGE_SIZE);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 4), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, 1, f, 4), (int64_t)f);
    const uint8_t *p = arch_frame_ptr(f);
    for (size_t i = 0; i < 4 * PAGE_SIZE; i++) {
        ck_assert_uint_eq(p[i], 0);
    }
}
END_TEST

START_TEST(large_runs_are_aligned)
{
    boot();
    (void)alloc(1, 3);
    ck_assert_uint_eq(alloc(1, 1024) % 512, 0);
}
END_TEST

START_TEST(bind_and_unbind)
{
    boot();
    uint64_t f = alloc(1, 3);
    ck_assert_int_eq(bind(1, VA, f, 3, PAGE_W), 1);
    ck_assert_uint_eq(entry(VA + PAGE_SIZE),
                      (f + 1) << 12 | PTE_P | PTE_U | PTE_W | PTE_NX);
    ck_assert_int_eq(bind(3, VA + 0x5000, f, 1, PAGE_X), 1);
    ck_assert_uint_eq(entry(VA + 0x5000), f << 12 | PTE_P | PTE_U);
    /* Freed while bound: the frame lives on until its last binding. */
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 3), 0);
    ck_assert_uint_eq(page_free_count(), before);
    struct page_binding again = {VA + 0x9000, f, 1, PAGE_R};
    REFUSED(E_NONE, SYS_PAGE_BIND, 0, 0, 1, PUT(again), 1);
    uint64_t flushes = fake_flushes;
    ck_assert_int_eq(bind(1, VA, 0, 3, 0), 1);
    ck_assert_uint_eq(fake_flushes, flushes + 1);
    ck_assert_uint_eq(entry(VA), 0);
    ck_assert_uint_eq(page_free_count(), before + 2);
    ck_assert_int_eq(bind(1, VA + 0x5000, 0, 1, 0), 1);
    ck_assert_uint_eq(page_free_count(), before + 3);
    /* Nothing there: nothing to flush. */
    flushes = fake_flushes;
    ck_assert_int_eq(bind(1, VA, 0, 3, 0), 1);
    ck_assert_uint_eq(fake_flushes, flushes);
}
END_TEST

START_TEST(bind_replaces)
{
    boot();
    uint64_t f = alloc(1, 1), g = alloc(1, 1);
    ck_assert_int_eq(bind(1, VA, f, 1, PAGE_W), 1);
    ck_assert_int_eq(bind(1, VA, g, 1, PAGE_R), 1);
    ck_assert_uint_eq(entry(VA), g << 12 | PTE_P | PTE_U | PTE_NX);
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 1), 0);
    ck_assert_uint_eq(page_free_count(), before + 1);
    /* The same frame again: only the protection changes. */
    ck_assert_int_eq(bind(1, VA, g, 1, PAGE_W), 1);
    ck_assert_uint_eq(entry(VA), g << 12 | PTE_P | PTE_U | PTE_W | PTE_NX);
}
END_TEST

START_TEST(large_entries)
{
    boot();
    const uint64_t va = 0x40000000;
    uint64_t f = alloc(1, 1024);
    uint64_t used = root->info->frames_used;
    ck_assert_int_eq(bind(1, va, f, 1024, PAGE_W | PAGE_2M), 1);
    ck_assert_uint_eq(root->info->frames_used, used + 2); /* directories */
    ck_assert_uint_eq(entry(va + 0x300000), (f + 512) << 12 | PTE_P | PTE_U |
                                                PTE_W | PTE_NX | PTE_PS);
    /* Unbind one page inside: the large entry is split. */
    ck_assert_int_eq(bind(1, va + 0x3000, 0, 1, 0), 1);
    ck_assert_uint_eq(entry(va + 0x3000), 0);
    ck_assert_uint_eq(entry(va + 0x4000),
                      (f + 4) << 12 | PTE_P | PTE_U | PTE_W | PTE_NX);
    ck_assert_uint_eq(root->info->frames_used, used + 3);
    /* A large entry over it: the table goes back. */
    ck_assert_int_eq(bind(1, va, f, 512, PAGE_R | PAGE_2M), 1);
    ck_assert_uint_eq(root->info->frames_used, used + 2);
    /* Small pages over a whole large entry, and across two. */
    ck_assert_int_eq(bind(1, va, f, 512, PAGE_R), 1);
    ck_assert_int_eq(bind(1, va, f, 1024, PAGE_R | PAGE_2M), 1);
    ck_assert_int_eq(bind(1, va + 0x1ff000, f, 2, PAGE_R), 1);
    ck_assert_uint_eq(entry(va + 0x200000),
                      (f + 1) << 12 | PTE_P | PTE_U | PTE_NX);
    uint64_t before = page_free_count();
    ck_assert_int_eq(bind(1, va, 0, 1024, 0), 1);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 1024), 0);
    ck_assert_uint_eq(page_free_count(), before + 1024);
}
END_TEST

#define BAD(error, k, va, frame, count, prot)                                  \
    do {                                                                       \
        struct page_binding b_ = {va, frame, count, prot};                     \
        REFUSED(error, SYS_PAGE_BIND, 0, 0, k, PUT(b_), 1);                    \
    } while (0)

START_TEST(bind_refusals)
{
    boot();
    uint64_t f = alloc(1, 2);
    BAD(E_INVAL, 1, VA + 1, f, 1, PAGE_R);
    BAD(E_INVAL, 1, VA, f, 0, PAGE_R);
    BAD(E_INVAL, 1, VA, f, PAGE_ELEMENT_MAX + 1, PAGE_R);
    BAD(E_INVAL, 1, VA, f, 1, PAGE_W | PAGE_X);
    BAD(E_INVAL, 1, VA, f, 1, 16);
    BAD(E_INVAL, 1, VA, f, 1, PAGE_2M);
    BAD(E_INVAL, 1, VA, f, 512, PAGE_2M | PAGE_R);
    BAD(E_INVAL, 1, 0x40000000, f + 1, 512, PAGE_2M | PAGE_R);
    BAD(E_INVAL, 1, 0x40000000, 0, 511, PAGE_2M | PAGE_R);
    BAD(E_RANGE, 1, UADDR_TOP, f, 1, PAGE_R);
    BAD(E_RANGE, 1, UADDR_TOP - PAGE_SIZE, f, 2, PAGE_R);
    BAD(E_RANGE, 1, UAREA_VA, 0, 1, 0);
    BAD(E_RANGE, 1, 0, f, 1, PAGE_R); /* where null pointers point */
    BAD(E_RANGE, 1, UADDR_BOTTOM - PAGE_SIZE, f, 2, PAGE_R);
    BAD(E_RANGE, 1, ARCH_DIRECT_MAP, f, 1, PAGE_R);
    BAD(E_RANGE, 1, UINT64_MAX - 4095, f, 2, PAGE_R);
    BAD(E_RANGE, 1, VA, FAKE_FRAMES - 1, 2, PAGE_R);
    BAD(E_RANGE, 1, VA, UINT64_MAX, 1, PAGE_R);
    BAD(E_NONE, 1, VA, f, 3, PAGE_R);          /* the last is free */
    BAD(E_NONE, 0, VA, FAKE_FIRST, 1, PAGE_R); /* the kernel's */
    BAD(E_NONE, 0, VA, root->root, 1, PAGE_W); /* its own page table */
    BAD(E_CAP, 2, VA, f, 1, PAGE_R);
    BAD(E_CAP, 3, VA, f, 1, PAGE_W);
    BAD(E_CAP, 9, VA, f, 1, PAGE_R);
    BAD(E_RANGE, 64, VA, f, 1, PAGE_R);
    struct page_binding b = {VA, f, 1, PAGE_R};
    REFUSED(E_INVAL, SYS_PAGE_BIND, 0, 0, 1, PUT(b), 0);
    REFUSED(E_INVAL, SYS_PAGE_BIND, 0, 0, 1, PUT(b), PAGE_BATCH_MAX + 1);
    REFUSED(E_FAULT, SYS_PAGE_BIND, 0, 0, 1, VA, 1);
    REFUSED(E_NONE, SYS_PAGE_BIND, 0, 0x999, 1, PUT(b), 1);
    int64_t child = CALL(SYS_ENV_CREATE, 1, 16, SHARES);
    REFUSED(E_CAP, SYS_PAGE_BIND, 2, (uint64_t)child, 1, PUT(b), 1);
    REFUSED(E_RANGE, SYS_PAGE_BIND, 64, (uint64_t)child, 1, PUT(b), 1);
    /* The tables are the child's to pay: it has 11 frames left. */
    int64_t n = 0;
    for (uint64_t i = 1; i < 12 && n >= 0; i++) {
        struct page_binding far = {i << 39, f, 1, PAGE_R};
        n = CALL(SYS_PAGE_BIND, 1, (uint64_t)child, 1, PUT(far), 1);
    }
    ck_assert_int_eq(n, -E_QUOTA);
    struct page_binding far = {20ull << 39, f, 1, PAGE_R};
    REFUSED(E_QUOTA, SYS_PAGE_BIND, 1, (uint64_t)child, 1, PUT(far), 1);
}
END_TEST

START_TEST(batches_stop_at_the_first_error)
{
    boot();
    uint64_t f = alloc(1, 2);
    struct page_binding b[3] = {
        {VA, f, 1, PAGE_R}, {VA + 1, f, 1, PAGE_R}, {VA + 4096, f, 1, PAGE_R}};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 1, PUT(b), 3), 1);
    ck_assert_uint_ne(entry(VA), 0);
    ck_assert_uint_eq(entry(VA + 4096), 0);
}
END_TEST

/* A long batch goes in turns, and is one call all the same. */
START_TEST(batches_go_in_turns)
{
    boot();
    struct page_binding b[8];
    for (unsigned i = 0; i < 8; i++) {
        b[i] = (struct page_binding){VA, 0, PAGE_ELEMENT_MAX, 0};
    }
    fake_turns = 0;
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 1, PUT(b), 8), 8);
    ck_assert_uint_ge(fake_turns, 3);
    fake_turns = 0;
    b[7].va++;
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 1, PUT(b), 8), 7);
    ck_assert_uint_ge(fake_turns, 3);
}
END_TEST

START_TEST(out_of_memory_leaves_no_trace)
{
    boot();
    uint64_t f = alloc(1, 1);
    /* Leave 0, 1, 2 free frames; a far binding needs three tables. */
    root->info->frames_quota = UINT64_MAX / 2;
    while (page_free_count() > 2) {
        (void)CALL(SYS_PAGE_ALLOC, 1, PAGE_ANY, 1);
    }
    for (int i = 0; i < 3; i++) {
        BAD(E_MEM, 1, 3ull << 39, f, 1, PAGE_R);
        if (page_free_count() > 0) {
            (void)CALL(SYS_PAGE_ALLOC, 1, PAGE_ANY, 1);
        }
    }
    REFUSED(E_MEM, SYS_ENV_CREATE, 1, 16);
}
END_TEST

START_TEST(bound_too_often)
{
    boot();
    uint64_t f = alloc(1, 1);
    int64_t done = 0;
    struct page_binding b[PAGE_BATCH_MAX];
    for (uint64_t i = 0; i < 65536; i += PAGE_BATCH_MAX) {
        for (uint64_t j = 0; j < 64; j++) {
            b[j] = (struct page_binding){VA + (i + j) * 4096, f, 1, PAGE_R};
        }
        /* The scratch area holds 64 elements at a time. */
        for (uint64_t part = 0; part < 4; part++) {
            for (uint64_t j = 0; j < 64; j++) {
                b[j].va = VA + (i + part * 64 + j) * 4096;
            }
            uint64_t at = fake_put(b, 64 * sizeof(b[0]));
            int64_t n = CALL(SYS_PAGE_BIND, 0, 0, 1, at, 64);
            done += n > 0 ? n : 0;
        }
    }
    ck_assert_int_eq(done, 65535);
    BAD(E_LIMIT, 1, VA - 4096, f, 1, PAGE_R);
}
END_TEST

START_TEST(pins)
{
    boot();
    uint64_t f = alloc(1, 2);
    struct cap k = {.rights = CAP_READ, .len = 1, .name = "a"};
    struct cap other = {.rights = CAP_READ, .len = 1, .name = "b"};
    struct page_pass p;
    page_pass_init(&p, &k, CAP_READ);
    struct page_pass q;
    page_pass_init(&q, &other, CAP_READ);
    ck_assert_int_eq(page_pin(&q, f, 1), -E_CAP);
    ck_assert_int_eq(page_pin(&p, f, 3), -E_NONE);
    ck_assert_int_eq(page_pin(&p, FAKE_FRAMES, 1), -E_RANGE);
    ck_assert_int_eq(page_pin(&p, f, 2), 0);
    ck_assert_int_eq(page_pin(&p, f, 2), 0);
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 2), 0);
    ck_assert_int_eq(page_pin(&p, f, 1), -E_NONE); /* no longer allocated */
    page_unpin(f, 2);
    ck_assert_uint_eq(page_free_count(), before);
    page_unpin(f, 2);
    ck_assert_uint_eq(page_free_count(), before + 2);
    page_pass_finish(&p);
    page_pass_finish(&q);
}
END_TEST

START_TEST(copies_cross_pages)
{
    boot();
    uint64_t f = alloc(1, 2);
    /* Two pages, their frames in the other order; the second read-only. */
    ck_assert_int_eq(bind(1, VA, f + 1, 1, PAGE_W), 1);
    ck_assert_int_eq(bind(1, VA + 4096, f, 1, PAGE_R), 1);
    memcpy((uint8_t *)arch_frame_ptr(f + 1) + 4092, "abcd", 4);
    memcpy(arch_frame_ptr(f), "efgh", 4);
    uaddr at = {VA + 4092};
    lock_acquire(&bind_lock);
    char got[8];
    ck_assert_int_eq(copy_in(root, got, at, 8), 0);
    ck_assert_mem_eq(got, "abcdefgh", 8);
    ck_assert_int_eq(copy_out(root, at, got, 4), 0);
    ck_assert_int_eq(copy_out(root, at, got, 8), -E_FAULT);
    uaddr info = {SYSINFO_VA};
    ck_assert_int_eq(copy_in(root, got, info, 8), 0);
    ck_assert_int_eq(copy_out(root, info, got, 8), -E_FAULT);
    uaddr tables = {UPT_VA};
    ck_assert_int_eq(copy_in(root, got, tables, 8), -E_FAULT);
    lock_release(&bind_lock);
}
END_TEST

TESTS("page", alloc_and_free, alloc_refusals, frames_come_zeroed,
      large_runs_are_aligned, bind_and_unbind, bind_replaces, large_entries,
      bind_refusals, batches_stop_at_the_first_error, batches_go_in_turns,
      out_of_memory_leaves_no_trace, bound_too_often, pins, copies_cross_pages)
