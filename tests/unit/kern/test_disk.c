/* SPDX-License-Identifier: MIT */
/* Ranges, rings and requests of a disk: and every refusal. */
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/sysno.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"
#include "tests/unit/kern/other.h"

#define SLOTS 16u

static struct env *root;
static uint64_t ring_frame, data;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_disk_attach();
    fake_cap(root, 1, "disk", CAP_ALL);
    fake_cap(root, 2, "disk", CAP_READ);
    fake_cap(root, 3, "mem", CAP_ALL);
    fake_cap(root, 4, "mem", CAP_READ);
    fake_cap(root, 5, "other", CAP_ALL);
    ring_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 1);
    data = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 4);
    for (unsigned i = 0; i < sizeof(fake_disk.data); i++) {
        fake_disk.data[i] = (uint8_t)(i / 4096 + i);
    }
}

static struct disk_slot *slot(unsigned i)
{
    return (struct disk_slot *)arch_frame_ptr(ring_frame) + i;
}

static int64_t range(uint64_t start, uint64_t count)
{
    struct disk_range_args a = {
        .parent = DISK_RANGE_ALL, .guard = 1, .start = start, .count = count};
    return CALL(SYS_DISK_RANGE, 0, PUT(a));
}

static int64_t ring(uint64_t k, int64_t r)
{
    struct disk_ring_args a = {.range = (uint32_t)r,
                               .slots = SLOTS,
                               .frames = 1,
                               .frame = ring_frame,
                               .event = 3,
                               .memory = 3};
    return CALL(SYS_DISK_RING, k, PUT(a));
}

static void ask(unsigned i, uint16_t op, uint64_t block, uint32_t count)
{
    struct disk_slot *s = slot(i % SLOTS);
    *s = (struct disk_slot){.op = op,
                            .pieces = count > 0,
                            .block = block,
                            .count = count,
                            .status = 99};
    s->piece[0] =
        (struct page_piece){.paddr = data * 4096, .len = count * 4096};
    s->owner = DISK_OWNER_KERNEL;
}

START_TEST(read_write_flush)
{
    boot();
    int64_t r = range(8, 16);
    ck_assert_int_eq(r, 1);
    int64_t k = ring(1, r);
    ck_assert_int_eq(k, 0);
    ask(0, DISK_READ, 9, 2);
    ask(1, DISK_FLUSH, 0, 0);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 2);
    ck_assert_uint_eq(fake_disk.reqs, 2);
    ck_assert_uint_eq(fake_disk.kicks, 1);
    ck_assert_uint_eq(fake_disk.req[0].sector, 72);
    ck_assert_uint_eq(root->uarea->pending, 0);
    REFUSED(E_BUSY, SYS_DISK_RING_FREE, 0, 0);
    fake_disk_complete(2);
    ck_assert_uint_eq(root->uarea->pending, 1 << 3);
    ck_assert_int_eq(slot(0)->status, 0);
    ck_assert_uint_eq(slot(0)->owner, DISK_OWNER_ENV);
    ck_assert_mem_eq(arch_frame_ptr(data), fake_disk.data + 9 * 4096, 8192);
    /* In gathered pieces, written. */
    memset(arch_frame_ptr(data), 0x5a, 4096);
    ask(2, DISK_WRITE, 20, 1);
    slot(2)->pieces = 2;
    slot(2)->piece[0] = (struct page_piece){data * 4096 + 512, 512, 0};
    slot(2)->piece[1] = (struct page_piece){data * 4096 + 4096, 3584, 0};
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    fake_disk_complete(1);
    ck_assert_uint_eq(fake_disk.data[20 * 4096], 0x5a);
    ck_assert_uint_eq(sysinfo()->disk[0].reads, 1);
    ck_assert_uint_eq(sysinfo()->disk[0].read_blocks, 2);
    ck_assert_uint_eq(sysinfo()->disk[0].writes, 1);
    fake_disk.status = -E_IO;
    ask(3, DISK_READ, 9, 1);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    fake_disk_complete(1);
    ck_assert_int_eq(slot(3)->status, -E_IO);
    ck_assert_uint_eq(sysinfo()->disk[0].errors, 1);
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_DISK_RING_FREE, 0, 0), 0);
    ck_assert_int_eq(CALL(SYS_DISK_RANGE_FREE, 1, 0, 1), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 3, data, 4), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 3, ring_frame, 1), 0);
    ck_assert_uint_eq(page_free_count(), before + 5);
}
END_TEST

/* A request that is refused: its slot comes back with the error. */
static void bad(int error, const struct disk_slot *s)
{
    static unsigned i;
    *slot(i % SLOTS) = *s;
    slot(i % SLOTS)->owner = DISK_OWNER_KERNEL;
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    ck_assert_int_eq(slot(i % SLOTS)->status, -error);
    ck_assert_uint_eq(slot(i % SLOTS)->owner, DISK_OWNER_ENV);
    ck_assert_uint_eq(fake_disk.reqs, 0);
    i++;
}

START_TEST(bad_requests)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    ck_assert_int_eq(ring(2, 1), 0); /* CAP_READ only */
    struct disk_slot good = {.pieces = 1, .block = 8, .count = 1};
    good.piece[0] = (struct page_piece){data * 4096, 4096, 0};
    struct disk_slot s = good;
    s.block = 7;
    bad(E_RANGE, &s);
    s.block = 24;
    bad(E_RANGE, &s);
    s.block = UINT64_MAX;
    bad(E_RANGE, &s);
    s = good;
    s.block = 23;
    s.count = 2;
    s.piece[0].len = 8192;
    bad(E_RANGE, &s);
    s = good;
    s.op = 3;
    bad(E_INVAL, &s);
    s = good;
    s.count = 0;
    bad(E_INVAL, &s);
    s = good;
    s.pieces = DISK_PIECES_MAX + 1;
    bad(E_INVAL, &s);
    s = good; /* so many frames would be pinned at a stretch */
    s.count = DISK_COUNT_MAX + 1;
    s.piece[0].len = s.count * 4096;
    bad(E_INVAL, &s);
    s = good;
    s.piece[0].len = 4095;
    bad(E_INVAL, &s);
    s = good;
    s.piece[0].len = 8192; /* more than the blocks */
    bad(E_INVAL, &s);
    s = good;
    s.piece[0].paddr += 8;
    bad(E_INVAL, &s);
    s = good;
    s.piece[0].reserved = 1;
    bad(E_INVAL, &s);
    s = good;
    s.op = DISK_WRITE;
    bad(E_CAP, &s);
    s = good;
    s.op = DISK_FLUSH;
    s.count = 0;
    s.pieces = 0;
    bad(E_CAP, &s);
    s = good;
    s.piece[0].paddr = FAKE_FIRST * 4096; /* the kernel's */
    bad(E_NONE, &s);
    s.piece[0].paddr = FAKE_FRAMES * 4096;
    bad(E_RANGE, &s);
    s.piece[0].paddr = UINT64_MAX & ~511ull;
    bad(E_RANGE, &s);
    s = good;
    int64_t other = CALL(SYS_PAGE_ALLOC, 5, PAGE_ANY, 1);
    s.piece[0].paddr = (uint64_t)other * 4096;
    bad(E_CAP, &s);
    /* Nothing stays pinned. */
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 5, (uint64_t)other, 1), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 3, data, 4), 0);
    ck_assert_uint_eq(page_free_count(), before + 5);
}
END_TEST

/* Of a disk that was refused: the one that has its place is not asked. */
START_TEST(interrupts_of_nothing)
{
    boot();
    struct blkdev stranger = fake_disk.dev;
    ck_assert_int_eq(ring(0, 0), 0);
    ask(0, DISK_READ, 8, 1);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    fake_disk_due(1);
    disk_interrupt(&stranger);
    stranger.index = 1;
    disk_interrupt(&stranger);
    ck_assert_uint_eq(slot(0)->owner, DISK_OWNER_KERNEL);
    disk_interrupt(&fake_disk.dev);
    ck_assert_uint_eq(slot(0)->owner, DISK_OWNER_ENV);
}
END_TEST

START_TEST(a_full_device_is_shared)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    ck_assert_int_eq(ring(1, 1), 0);
    int64_t second = CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 1);
    struct disk_ring_args a = {.range = 1,
                               .slots = SLOTS,
                               .frames = 1,
                               .frame = (uint64_t)second,
                               .event = 4,
                               .memory = 3};
    ck_assert_int_eq(CALL(SYS_DISK_RING, 1, PUT(a)), 1);
    fake_disk.room = 4;
    for (unsigned i = 0; i < SLOTS; i++) {
        ask(i, DISK_READ, 8, 1);
    }
    memcpy(arch_frame_ptr((uint64_t)second), arch_frame_ptr(ring_frame), 4096);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 4);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 1), 0); /* waits its turn */
    unsigned of_second = 0;
    for (unsigned n = 0; n < 2 * SLOTS - 4; n++) {
        fake_disk_complete(1);
        ck_assert_uint_eq(fake_disk.reqs, 4);
        if (n == 15) {
            const struct disk_slot *s = arch_frame_ptr((uint64_t)second);
            while (of_second < SLOTS && s[of_second].owner == DISK_OWNER_ENV) {
                of_second++;
            }
        }
    }
    ck_assert_uint_ge(of_second, 4); /* after 16: not all were the first's */
    fake_disk_complete(4);
    ck_assert_uint_eq(fake_disk.reqs, 0);
    ck_assert_uint_eq(slot(SLOTS - 1)->owner, DISK_OWNER_ENV);
}
END_TEST

/*
 * The owner word says the same of a slot that waits and of one that is under
 * way. A ring that is under way as a whole, and of which a later slot is done
 * before the first, has nothing new.
 */
START_TEST(a_slot_under_way_is_not_taken_again)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    ck_assert_int_eq(ring(1, 1), 0);
    uint64_t used = root->info->frames_used;
    for (unsigned i = 0; i < SLOTS; i++) {
        ask(i, DISK_READ, 8, 1);
    }
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), SLOTS);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 0);
    ck_assert_uint_eq(fake_disk.reqs, SLOTS);
    fake_disk_swap(0, 3);
    fake_disk_complete(1);
    ck_assert_uint_eq(slot(3)->owner, DISK_OWNER_ENV);
    ck_assert_uint_eq(slot(0)->owner, DISK_OWNER_KERNEL);
    ck_assert_uint_eq(fake_disk.reqs, SLOTS - 1);
    ask(3, DISK_READ, 9, 1); /* not its turn: the first is still under way */
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 0);
    fake_disk_complete(SLOTS - 1);
    ck_assert_uint_eq(fake_disk.reqs, 0);
    for (unsigned i = 0; i < 4; i++) {
        ask(i, DISK_READ, 9, 1);
    }
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 4);
    fake_disk_complete(4);
    ck_assert_uint_eq(slot(3)->owner, DISK_OWNER_ENV);
    ck_assert_uint_eq(root->info->frames_used, used);
    ck_assert_int_eq(CALL(SYS_DISK_RING_FREE, 0, 0), 0);
}
END_TEST

/*
 * One interrupt begins a bounded number of requests. When all of them are
 * refused, no further interrupt comes for the rest: the scheduler goes on.
 */
START_TEST(what_waits_behind_refused_requests_is_served)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    struct disk_ring_args a = {
        .range = 1, .slots = 4 * SLOTS, .frames = 4, .event = 3, .memory = 3};
    a.frame = ring_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 4);
    ck_assert_int_eq(CALL(SYS_DISK_RING, 1, PUT(a)), 0);
    fake_disk.room = 1;
    ask(0, DISK_READ, 8, 1);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    for (unsigned i = 1; i < 4 * SLOTS; i++) {
        *slot(i) = (struct disk_slot){.op = DISK_READ,
                                      .pieces = 1,
                                      .block = i < 4 * SLOTS - 1 ? 0 : 8,
                                      .count = 1};
        slot(i)->piece[0] = (struct page_piece){data * 4096, 4096, 0};
    }
    slot(1)->block = 8; /* waits for room, the others behind it */
    for (unsigned i = 1; i < 4 * SLOTS; i++) {
        slot(i)->owner = DISK_OWNER_KERNEL;
    }
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 0);
    fake_disk_complete(1);
    fake_disk.room = 64;
    fake_disk_complete(1); /* the second; refused ones follow */
    for (unsigned i = 0; i < 16 && fake_disk.reqs == 0; i++) {
        ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    }
    ck_assert_uint_eq(fake_disk.reqs, 1); /* the last */
    ck_assert_int_eq(slot(2)->status, -E_RANGE);
}
END_TEST

static void complete_one(void)
{
    fake_disk_complete(1);
}

/* What waits for room is begun by any processor, also while its ring goes. */
START_TEST(a_ring_goes_while_another_processor_serves)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    ck_assert_int_eq(ring(1, 1), 0);
    uint64_t first = ring_frame;
    ring_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 1);
    ck_assert_int_eq(ring(1, 1), 1);
    fake_disk.room = 1;
    ask(0, DISK_READ, 8, 1);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 1), 1);
    ring_frame = first;
    ask(0, DISK_READ, 9, 1);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 0);
    fake_disk.polled = other_polled;
    pthread_t other = other_begin(complete_one);
    int64_t r = CALL(SYS_DISK_RING_FREE, 0, 0);
    pthread_join(other, NULL);
    ck_assert_uint_eq(fake_disk.reqs, 1); /* the second one's, under way */
    ck_assert_int_eq(r, -E_BUSY);
    fake_disk_complete(1);
    ck_assert_uint_eq(slot(0)->owner, DISK_OWNER_ENV);
    ck_assert_int_eq(CALL(SYS_DISK_RING_FREE, 0, 0), 0);
}
END_TEST

#define BAD_RANGE(error, k, ...)                                               \
    do {                                                                       \
        struct disk_range_args a_ = {.guard = 1, .count = 1, __VA_ARGS__};     \
        REFUSED(error, SYS_DISK_RANGE, k, PUT(a_));                            \
    } while (0)
#define BAD_RING(error, k, ...)                                                \
    do {                                                                       \
        struct disk_ring_args a_ = {.range = 1,                                \
                                    .slots = SLOTS,                            \
                                    .frames = 1,                               \
                                    .frame = ring_frame,                       \
                                    .memory = 3};                              \
        struct disk_ring_args b_ = {__VA_ARGS__};                              \
        a_.disk = b_.disk;                                                     \
        a_.range = b_.range != 0 ? b_.range : 1;                               \
        a_.slots = b_.slots != 0 ? b_.slots : SLOTS;                           \
        a_.event = b_.event;                                                   \
        a_.frame = b_.frame != 0 ? b_.frame : ring_frame;                      \
        a_.memory = b_.memory != 0 ? b_.memory : 3;                            \
        REFUSED(error, SYS_DISK_RING, k, PUT(a_));                             \
    } while (0)

#pragma clang diagnostic ignored "-Winitializer-overrides"

START_TEST(refusals)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    BAD_RANGE(E_CAP, 1); /* the parent is guarded by the root name */
    BAD_RANGE(E_CAP, 9);
    BAD_RANGE(E_RANGE, 64);
    BAD_RANGE(E_RANGE, 0, .disk = 1);
    BAD_RANGE(E_RANGE, 0, .start = FAKE_BLOCKS);
    BAD_RANGE(E_RANGE, 0, .start = UINT64_MAX);
    BAD_RANGE(E_RANGE, 0, .count = UINT64_MAX);
    BAD_RANGE(E_RANGE, 0, .start = 1, .count = FAKE_BLOCKS);
    BAD_RANGE(E_RANGE, 1, .parent = 1, .start = 7);
    BAD_RANGE(E_RANGE, 1, .parent = 1, .start = 24);
    BAD_RANGE(E_RANGE, 0, .guard = 64);
    BAD_RANGE(E_CAP, 0, .guard = 9);
    BAD_RANGE(E_CAP, 2, .parent = 1, .start = 8); /* lacks CAP_CTL */
    BAD_RANGE(E_INVAL, 0, .reserved = 1);
    BAD_RANGE(E_INVAL, 0, .count = 0);
    BAD_RANGE(E_NONE, 0, .parent = 2);
    BAD_RANGE(E_NONE, 0, .parent = UINT32_MAX);
    REFUSED(E_FAULT, SYS_DISK_RANGE, 0, 0x1000);
    BAD_RING(E_CAP, 5);
    BAD_RING(E_CAP, 9);
    BAD_RING(E_RANGE, 64);
    BAD_RING(E_RANGE, 1, .disk = 1);
    BAD_RING(E_RANGE, 1, .frame = FAKE_FRAMES);
    BAD_RING(E_RANGE, 1, .memory = 64);
    BAD_RING(E_CAP, 1, .memory = 9);
    BAD_RING(E_CAP, 1, .memory = 4); /* lacks CAP_WRITE */
    BAD_RING(E_CAP, 1, .memory = 5); /* another name */
    BAD_RING(E_INVAL, 1, .slots = 3);
    BAD_RING(E_INVAL, 1, .slots = 32); /* more than the frame holds */
    BAD_RING(E_INVAL, 1, .slots = 2048);
    BAD_RING(E_INVAL, 1, .event = 64);
    BAD_RING(E_NONE, 1, .range = 2);
    BAD_RING(E_NONE, 1, .frame = FAKE_FIRST); /* the kernel's */
    REFUSED(E_FAULT, SYS_DISK_RING, 1, 0x1000);
    REFUSED(E_RANGE, SYS_DISK_SUBMIT, 1, 0);
    REFUSED(E_RANGE, SYS_DISK_SUBMIT, 0, 64);
    REFUSED(E_NONE, SYS_DISK_SUBMIT, 0, 0);
    REFUSED(E_RANGE, SYS_DISK_RING_FREE, 1, 0);
    REFUSED(E_RANGE, SYS_DISK_RING_FREE, 0, 64);
    REFUSED(E_NONE, SYS_DISK_RING_FREE, 0, 0);
    ck_assert_int_eq(ring(1, 1), 0);
    REFUSED(E_BUSY, SYS_DISK_RANGE_FREE, 1, 0, 1);
    REFUSED(E_BUSY, SYS_DISK_RANGE_FREE, 0, 0, 0); /* all of it */
    REFUSED(E_CAP, SYS_DISK_RANGE_FREE, 2, 0, 1);
    REFUSED(E_CAP, SYS_DISK_RANGE_FREE, 9, 0, 1);
    REFUSED(E_RANGE, SYS_DISK_RANGE_FREE, 64, 0, 1);
    REFUSED(E_RANGE, SYS_DISK_RANGE_FREE, 1, 1, 1);
    REFUSED(E_NONE, SYS_DISK_RANGE_FREE, 1, 0, 2);
    for (unsigned i = 1; i < 64; i++) {
        ck_assert_int_eq(ring(1, 1), i);
    }
    BAD_RING(E_QUOTA, 1);
    for (unsigned i = 2; i < 64; i++) {
        ck_assert_int_eq(range(8, 1), i);
    }
    BAD_RANGE(E_QUOTA, 0);
}
END_TEST

START_TEST(the_end_of_an_environment_under_way)
{
    boot();
    ck_assert_int_eq(range(8, 16), 1);
    int64_t id = CALL(SYS_ENV_CREATE, 1, 32, SHARES);
    struct env *e = env_find((uint32_t)id);
    fake_cap(e, 1, "disk", CAP_ALL);
    fake_cap(e, 3, "mem", CAP_ALL);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, (uint64_t)id),
                     0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, (uint64_t)id), 0);
    ck_assert_ptr_eq(fake_current(), e);
    ring_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 1);
    data = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 4);
    ck_assert_int_eq(ring(1, 1), 0);
    ask(0, DISK_READ, 8, 2);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    uint64_t before = page_free_count();
    uint64_t quota = root->info->frames_quota, used = root->info->frames_used;
    (void)CALL(SYS_ENV_DESTROY, 0, 0, 0);
    ck_assert_ptr_eq(fake_current(), root);
    /* Two frames are the device's still, and the parent's to pay. */
    ck_assert_uint_eq(page_free_count(), before + 5 + 1 + 2);
    ck_assert_uint_eq(root->info->frames_quota, quota + 32);
    ck_assert_uint_eq(root->info->frames_used, used + 2);
    memset(arch_frame_ptr(ring_frame), 0x77, 4096);
    fake_disk_complete(1);
    ck_assert_uint_eq(page_free_count(), before + 5 + 1 + 4);
    ck_assert_uint_eq(root->info->frames_used, used);
    /* The ring is gone: nothing was written to its frame. */
    ck_assert_uint_eq(*(uint8_t *)arch_frame_ptr(ring_frame), 0x77);
    ck_assert_uint_eq(((uint8_t *)arch_frame_ptr(ring_frame))[20], 0x77);
}
END_TEST

/* The rings and ranges of an environment go in turns. */
START_TEST(many_rings_end_in_turns)
{
    boot();
    uint64_t own = ring_frame;
    int64_t id = CALL(SYS_ENV_CREATE, 1, 64, SHARES);
    struct env *e = env_find((uint32_t)id);
    fake_cap(e, 0, "", CAP_ALL);
    fake_cap(e, 1, "disk", CAP_ALL);
    fake_cap(e, 3, "mem", CAP_ALL);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, (uint64_t)id),
                     0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, (uint64_t)id), 0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(range(8, 16), i + 1);
        ring_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 1);
        ck_assert_int_eq(ring(1, i + 1), i);
    }
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    ck_assert_ptr_eq(fake_current(), root);
    fake_cap(root, 6, "", CAP_ALL);
    fake_turns = 0;
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 6, (uint64_t)id, 0), 0);
    ck_assert_uint_ge(fake_turns, 1);
    ck_assert_ptr_null(env_find((uint32_t)id));
    ck_assert_int_eq(range(8, 16), 1);
    ring_frame = own;
    ck_assert_int_eq(ring(1, 1), 0);
}
END_TEST

TESTS("disk", read_write_flush, bad_requests, interrupts_of_nothing,
      a_full_device_is_shared, a_slot_under_way_is_not_taken_again,
      what_waits_behind_refused_requests_is_served,
      a_ring_goes_while_another_processor_serves, refusals,
      the_end_of_an_environment_under_way, many_rings_end_in_turns)
