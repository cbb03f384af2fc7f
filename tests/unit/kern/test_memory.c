/* SPDX-License-Identifier: MIT */
/*
 * Every call that takes kernel memory, with 0, 1, 2, ... frames left until it
 * succeeds: each refusal leaves no trace and keeps no frame.
 */
#include "dpf/dpf.h"
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/event.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/sysno.h"
#include "src/kern/page.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

#define VA 0x7000000000ull /* under no table yet */
#define FRAMES_MOST 400u   /* more than any call needs */

static struct env *root;
static uint64_t ring_frame, data;
static uint64_t held[FAKE_FRAMES];
static uint64_t held_count;

/* Take all of the machine's frames, so that only what is let go is free. */
static void drain(void)
{
    held_count = 0;
    for (uint64_t f; (f = page_kalloc(1)) != FRAME_NONE;) {
        held[held_count++] = f;
    }
    ck_assert_uint_eq(page_free_count(), 0);
}

/* The last ones: they are neighbours, and runs are found among them. */
static void let_go(uint64_t count)
{
    for (; count > 0; count--) {
        page_kfree(held[--held_count], 1);
    }
}

static void refill(void)
{
    let_go(held_count);
}

static const struct dpf_insn filter[] = {{0x71, 3 | 1 << 4, 20, 0},
                                         {0xb7, 0, 0, 0},
                                         {0x55, 3, 1, 7},
                                         {0xb7, 0, 0, 1},
                                         {0x95, 0, 0, 0}};
static const struct dpf_insn predicate[] = {
    {0x79, 0x12, 0, 0}, {0x79, 0x20, 0, 0}, {0x95, 0, 0, 0}};

static int64_t do_env(void)
{
    return CALL(SYS_ENV_CREATE, 1, 64, SHARES);
}

static void undo_env(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, (uint64_t)id, 0), 0);
}

static int64_t do_alloc(void)
{
    return CALL(SYS_PAGE_ALLOC, 1, PAGE_ANY, 8);
}

static void undo_alloc(int64_t f)
{
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, (uint64_t)f, 8), 0);
}

static int64_t do_bind(void)
{
    static uint64_t va = VA; /* tables stay until the environment ends */
    struct page_binding b = {va, data, 2, PAGE_R};
    int64_t r = CALL(SYS_PAGE_BIND, 0, 0, 0, PUT(b), 1);
    va += r > 0 ? 1ull << 39 : 0;
    return r;
}

static int64_t do_event(void)
{
    uint64_t insns = fake_put(predicate, sizeof(predicate));
    struct event_args a = {.insns = insns, .count = 3, .regions = 1};
    a.region[0] = (struct event_region){data, 0, 8};
    return CALL(SYS_EVENT_BIND, 0, PUT(a));
}

static void undo_event(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_EVENT_UNBIND, (uint64_t)id), 0);
}

static int64_t region(uint32_t flags)
{
    uint64_t insns = fake_put(filter, sizeof(filter));
    struct net_region_args a = {
        .guard = 1, .flags = flags, .insns = insns, .count = 5};
    return CALL(SYS_NET_REGION, 0, PUT(a));
}

static int64_t do_region_in(void)
{
    return region(0);
}

static void undo_region_in(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 0, 0, 0, (uint64_t)id), 0);
}

static int64_t do_region_out(void)
{
    return region(NET_OUT);
}

static void undo_region_out(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 0, 0, NET_OUT, (uint64_t)id), 0);
}

static int64_t ring(uint64_t call)
{
    struct net_ring_args a = {.slots = 8, .frames = 8, .frame = ring_frame};
    return CALL(call, 0, PUT(a));
}

static int64_t do_rx(void)
{
    return ring(SYS_NET_RX_RING);
}

static int64_t do_tx(void)
{
    return ring(SYS_NET_TX_RING);
}

static void undo_ring(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, (uint64_t)id), 0);
}

/* In ring 0, which the test has made. */
static int64_t do_net_bind(void)
{
    uint64_t insns = fake_put(filter, sizeof(filter));
    struct net_bind_args a = {.insns = insns, .count = 5};
    return CALL(SYS_NET_BIND, 0, PUT(a));
}

static void undo_net_bind(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)id), 0);
}

/* Of binding 0, which the test has made. */
static int64_t do_like(void)
{
    static uint64_t port = 20;
    struct net_const to = {.index = 0, .value = port};
    uint64_t consts = PUT(to);
    struct net_like_args a = {.count = 1, .consts = consts};
    return CALL(SYS_NET_BIND_LIKE, 0, PUT(a));
}

static int64_t do_range(void)
{
    struct disk_range_args a = {.guard = 1, .count = 4};
    return CALL(SYS_DISK_RANGE, 0, PUT(a));
}

static void undo_range(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_DISK_RANGE_FREE, 0, 0, (uint64_t)id), 0);
}

static int64_t do_disk_ring(void)
{
    struct disk_ring_args a = {.slots = 16, .frames = 1, .frame = data};
    return CALL(SYS_DISK_RING, 0, PUT(a));
}

static void undo_disk_ring(int64_t id)
{
    ck_assert_int_eq(CALL(SYS_DISK_RING_FREE, 0, (uint64_t)id), 0);
}

static const struct {
    const char *name;
    int64_t (*act)(void);
    void (*undo)(int64_t result); /* NULL: there is nothing to undo */
} calls[] = {
    {"env_create", do_env, undo_env},
    {"page_alloc", do_alloc, undo_alloc},
    {"page_bind", do_bind, NULL},
    {"event_bind", do_event, undo_event},
    {"net_region in", do_region_in, undo_region_in},
    {"net_region out", do_region_out, undo_region_out},
    {"net_rx_ring", do_rx, undo_ring},
    {"net_tx_ring", do_tx, undo_ring},
    {"net_bind", do_net_bind, undo_net_bind},
    {"net_bind_like", do_like, undo_net_bind},
    {"disk_range", do_range, undo_range},
    {"disk_ring", do_disk_ring, undo_disk_ring},
};

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_nic_attach(1);
    fake_disk_attach();
    fake_cap(root, 1, "kid", CAP_ALL);
    ring_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 8);
    data = (uint64_t)CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 2);
}

/* With `count` frames: true if the call went through. */
static bool attempt(unsigned i, uint64_t count)
{
    let_go(count);
    uint64_t before = fake_digest(true);
    int64_t r = calls[i].act();
    if (r >= 0) {
        if (calls[i].undo != NULL) {
            calls[i].undo(r);
        }
        return true;
    }
    ck_assert_msg(r == -E_MEM || r == -E_LIMIT, "%s with %lu frames: %ld",
                  calls[i].name, (unsigned long)count, (long)r);
    ck_assert_msg(page_free_count() == count, "%s with %lu frames keeps %ld",
                  calls[i].name, (unsigned long)count,
                  (long)(count - page_free_count()));
    ck_assert_msg(fake_digest(true) == before, "%s with %lu frames left",
                  calls[i].name, (unsigned long)count);
    return false;
}

START_TEST(without_memory)
{
    unsigned i = (unsigned)_i;
    boot();
    if (calls[i].act == do_net_bind || calls[i].act == do_like) {
        ck_assert_int_eq(do_rx(), 0);
    }
    if (calls[i].act == do_like) {
        ck_assert_int_eq(do_net_bind(), 0);
    }
    /* The kernel's own tables grow to what they need, once. */
    int64_t warm = calls[i].act();
    ck_assert_msg(warm >= 0, "%s: %ld", calls[i].name, (long)warm);
    if (calls[i].undo != NULL) {
        calls[i].undo(warm);
    }
    drain();
    uint64_t left = 0;
    while (!attempt(i, left)) {
        for (uint64_t n = page_free_count(); n > 0; n--) {
            held[held_count++] = page_kalloc(1);
        }
        left++;
        ck_assert_uint_lt(left, FRAMES_MOST);
    }
    refill();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory");
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    tcase_add_loop_test(c, without_memory, 0,
                        (int)(sizeof(calls) / sizeof(calls[0])));
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
