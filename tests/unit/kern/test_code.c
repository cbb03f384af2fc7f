/* SPDX-License-Identifier: MIT */
/*
 * Downloaded code's heap, wakeup predicates, the console, entropy, the
 * machine's end: and every refusal of theirs.
 */
#include "src/abi/err.h"
#include "src/abi/event.h"
#include "src/abi/sysno.h"
#include "src/kern/code.h"
#include "src/kern/kheap.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"

static struct env *root;
static uint64_t frame;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_cap(root, 1, "m", CAP_ALL);
    fake_cap(root, 2, "other", CAP_ALL);
    fake_cap(root, 3, "\7console", CAP_WRITE);
    frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 1, PAGE_ANY, 1);
}

START_TEST(the_heap_returns_all)
{
    boot();
    uint64_t before = page_free_count();
    static uint8_t *p[300];
    static size_t size[300];
    uint32_t seed = 1;
    for (unsigned turn = 0; turn < 20000; turn++) {
        seed = seed * 1664525 + 1013904223;
        unsigned i = seed >> 8 & 0xff;
        if (p[i] != NULL) {
            ck_assert_uint_eq(p[i][0], (uint8_t)i);
            ck_assert_uint_eq(p[i][size[i] - 1], (uint8_t)i);
            kheap_free(p[i], size[i]);
            p[i] = NULL;
            continue;
        }
        size[i] = 1 + (seed >> 16) % (i % 16 == 0 ? 20000 : 700);
        p[i] = kheap_alloc(size[i]);
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)i, size[i]);
    }
    for (unsigned i = 0; i < 300; i++) {
        kheap_free(p[i], size[i]);
    }
    ck_assert_uint_eq(page_free_count(), before);
    ck_assert_ptr_null(kheap_alloc(FAKE_FRAMES * 4096));
}
END_TEST

/* r0 = the 64-bit word at the start of region 0. */
static const struct dpf_insn reads_word[] = {
    {0x79, 2 | 1 << 4, 0, 0},
    {0x79, 0 | 2 << 4, 0, 0},
    {0x95, 0, 0, 0},
};
static const struct dpf_insn no_value[] = {{0x95, 0, 0, 0}};

static uint64_t predicate_args(uint64_t f, uint32_t offset, uint32_t len,
                               const struct dpf_insn *p, uint32_t count)
{
    uint64_t insns = fake_put(p, count * sizeof(*p));
    struct event_args a = {.insns = insns,
                           .count = count,
                           .regions = 1,
                           .region = {{f, offset, len}}};
    return PUT(a);
}

START_TEST(a_predicate_wakes)
{
    boot();
    uint64_t free_before = page_free_count();
    int64_t id =
        CALL(SYS_EVENT_BIND, 1, predicate_args(frame, 8, 8, reads_word, 3));
    ck_assert_int_eq(id, 1);
    uint64_t *word = (uint64_t *)arch_frame_ptr(frame) + 1;
    *word = 55;
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 0, EVENT_FOREVER, 1), 0);
    ck_assert_ptr_eq(fake_current(), root); /* true at once */
    ck_assert_uint_eq(root->uarea->tag, 55);
    *word = 0;
    cpu_this()->timer = 0;
    (void)CALL(SYS_EVENT_WAIT, 0, EVENT_FOREVER, 1);
    ck_assert_ptr_null(fake_current());
    /* It is looked at again within a slice. */
    ck_assert_uint_le(fake_timer[0], fake_tsc + 1000000);
    ck_assert_int_eq(fake_run(), FAKE_IDLE);
    *word = 66;
    ck_assert_int_eq(fake_run(), FAKE_IDLE); /* once in a slice's length */
    fake_tsc += 1000000;
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(root->uarea->tag, 66);
    ck_assert_int_eq(CALL(SYS_EVENT_UNBIND, 1), 0);
    REFUSED(E_NONE, SYS_EVENT_UNBIND, 1);
    REFUSED(E_NONE, SYS_EVENT_UNBIND, 0);
    REFUSED(E_NONE, SYS_EVENT_UNBIND, 9);
    REFUSED(E_NONE, SYS_EVENT_UNBIND, UINT32_MAX);
    /* dpf may keep one run of code for later. */
    ck_assert_uint_ge(page_free_count() + 20, free_before);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, frame, 1), 0);
}
END_TEST

START_TEST(predicate_refusals)
{
    boot();
    uint64_t a = predicate_args(frame, 8, 8, reads_word, 3);
    REFUSED(E_CAP, SYS_EVENT_BIND, 9, a);
    REFUSED(E_RANGE, SYS_EVENT_BIND, 64, a);
    REFUSED(E_CAP, SYS_EVENT_BIND, 2, a);
    REFUSED(E_FAULT, SYS_EVENT_BIND, 1, 0x1000);
    a = predicate_args(frame, 4092, 8, reads_word, 3);
    REFUSED(E_RANGE, SYS_EVENT_BIND, 1, a);
    a = predicate_args(frame, UINT32_MAX, 2, reads_word, 3);
    REFUSED(E_RANGE, SYS_EVENT_BIND, 1, a);
    a = predicate_args(FAKE_FRAMES, 0, 8, reads_word, 3);
    REFUSED(E_RANGE, SYS_EVENT_BIND, 1, a);
    a = predicate_args(frame + 1, 0, 8, reads_word, 3);
    REFUSED(E_NONE, SYS_EVENT_BIND, 1, a);
    a = predicate_args(frame, 0, 8, no_value, 1);
    REFUSED(E_VERIFY, SYS_EVENT_BIND, 1, a);
    struct event_args bad = {.insns = a, .count = 0, .regions = 1};
    REFUSED(E_INVAL, SYS_EVENT_BIND, 1, PUT(bad));
    bad.count = UINT32_MAX;
    REFUSED(E_INVAL, SYS_EVENT_BIND, 1, PUT(bad));
    bad.count = 1;
    bad.regions = 9;
    REFUSED(E_INVAL, SYS_EVENT_BIND, 1, PUT(bad));
    bad.regions = 0;
    bad.insns = 0x1000;
    REFUSED(E_FAULT, SYS_EVENT_BIND, 1, PUT(bad));
    uint64_t quota = root->info->frames_quota;
    root->info->frames_quota = root->info->frames_used;
    a = predicate_args(frame, 0, 8, reads_word, 3);
    REFUSED(E_QUOTA, SYS_EVENT_BIND, 1, a);
    root->info->frames_quota = quota;
    for (unsigned i = 1; i <= ENV_PREDICATES; i++) {
        a = predicate_args(frame, 0, 8, reads_word, 3);
        ck_assert_int_eq(CALL(SYS_EVENT_BIND, 1, a), i);
    }
    a = predicate_args(frame, 0, 8, reads_word, 3);
    REFUSED(E_LIMIT, SYS_EVENT_BIND, 1, a);
    while (page_free_count() > 0) {
        (void)page_kalloc(1);
    }
    ck_assert_int_eq(CALL(SYS_EVENT_UNBIND, 3), 0);
    /* Large enough that it must come in frames of its own. */
    static struct dpf_insn many[200];
    for (unsigned i = 0; i < 199; i++) {
        many[i] = (struct dpf_insn){0xb7, 0, 0, (int)i};
    }
    many[199] = no_value[0];
    while (page_free_count() > 0) {
        (void)page_kalloc(1);
    }
    struct event_args large = {
        .insns = fake_put(many, 900), .count = 110, .regions = 0};
    memcpy(root->uarea->scratch, many, 880);
    large.insns = UAREA_VA + offsetof(struct uarea, scratch);
    uint64_t at = PUT(large);
    int64_t r = CALL(SYS_EVENT_BIND, 1, at);
    ck_assert(r == -E_MEM || r == -E_VERIFY || r == 3);
}
END_TEST

/* True after 1,000 turns of a loop over `body` divisions; is it found so? */
static bool wakes_after(uint32_t body)
{
    const uint64_t va = 0x10000000, frames = 8;
    uint64_t f = (uint64_t)CALL(SYS_PAGE_ALLOC, 1, PAGE_ANY, frames);
    struct page_binding b = {va, f, (uint32_t)frames, PAGE_R};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 1, PUT(b), 1), 1);
    struct dpf_insn *p = arch_frame_ptr(f);
    p[0] = (struct dpf_insn){0xb7, 3, 0, 1000};
    p[1] = (struct dpf_insn){0xb7, 0, 0, 1};
    p[2] = (struct dpf_insn){0x18, 4, 0, -1}; /* 64 bits */
    p[3] = (struct dpf_insn){0, 0, 0, -1};
    for (uint32_t i = 0; i < body; i++) {
        p[4 + i] = (struct dpf_insn){0x37, 4, 0, 3};
    }
    p[4 + body] = (struct dpf_insn){0x17, 3, 0, 1};
    p[5 + body] = (struct dpf_insn){0x55, 3, (int16_t)(-4 - (int)body), 0};
    p[6 + body] = (struct dpf_insn){0x95, 0, 0, 0};
    struct event_args a = {.insns = va, .count = 7 + body};
    int64_t id = CALL(SYS_EVENT_BIND, 1, PUT(a));
    ck_assert_int_gt(id, 0);
    (void)CALL(SYS_EVENT_WAIT, 0, EVENT_FOREVER, (uint64_t)id);
    return fake_current() == root;
}

/* Whoever's turn it is pays for it, with interrupts off. */
START_TEST(predicates_are_short)
{
    boot();
    ck_assert(wakes_after(1));
    ck_assert(!wakes_after(4000));
}
END_TEST

START_TEST(console)
{
    boot();
    fake_console_len = 0;
    uint64_t text = fake_put("hello", 5);
    ck_assert_int_eq(CALL(SYS_CONSOLE_WRITE, 3, text, 5), 5);
    ck_assert_mem_eq(fake_console, "hello", 5);
    ck_assert_int_eq(CALL(SYS_CONSOLE_WRITE, 0, text, 1024), 1024);
    ck_assert_uint_eq(fake_console_len, 1029);
    /* Only the first part can be read: nothing is written. */
    uint64_t edge = UAREA_VA + 4096 - 300;
    REFUSED(E_FAULT, SYS_CONSOLE_WRITE, 3, edge, 600);
    ck_assert_uint_eq(fake_console_len, 1029);
    REFUSED(E_CAP, SYS_CONSOLE_WRITE, 1, text, 5);
    REFUSED(E_CAP, SYS_CONSOLE_WRITE, 9, text, 5);
    REFUSED(E_INVAL, SYS_CONSOLE_WRITE, 3, text, 1025);
    REFUSED(E_FAULT, SYS_CONSOLE_WRITE, 3, 0x1000, 5);
    fake_cap(root, 4, "\7console", CAP_READ);
    REFUSED(E_CAP, SYS_CONSOLE_WRITE, 4, text, 5);
}
END_TEST

START_TEST(entropy_and_halt)
{
    boot();
    uint64_t to = UAREA_VA + offsetof(struct uarea, scratch);
    ck_assert_int_eq(CALL(SYS_ENTROPY_READ, to, 5), 5);
    ck_assert_mem_eq(root->uarea->scratch, "\xef\xcd\xab\x89\x67\0", 6);
    REFUSED(E_INVAL, SYS_ENTROPY_READ, to, 257);
    REFUSED(E_FAULT, SYS_ENTROPY_READ, 0x1000, 8);
    fake_entropy = 0;
    REFUSED(E_AGAIN, SYS_ENTROPY_READ, to, 8);
    REFUSED(E_CAP, SYS_MACHINE_HALT, 1, 0);
    REFUSED(E_CAP, SYS_MACHINE_HALT, 9, 0);
    fake_frame.rax = SYS_MACHINE_HALT;
    fake_frame.rdi = 0;
    fake_frame.rsi = 77;
    ck_assert_int_eq(fake_trap(ARCH_VECTOR_SYSCALL), FAKE_HALTED);
    ck_assert_uint_eq(fake_halt_status, 77);
}
END_TEST

TESTS("code", the_heap_returns_all, a_predicate_wakes, predicate_refusals,
      predicates_are_short, console, entropy_and_halt)
