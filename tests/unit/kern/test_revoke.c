/* SPDX-License-Identifier: MIT */
/*
 * Revocation: a name goes out of all lists, and what was made by presenting
 * it is broken, whoever made it.
 */
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/event.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/quantum.h"
#include "src/abi/sysno.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

/* Slots, in both environments. */
enum {
    ROOT_CAP, /* the first environment's only */
    OWNER,    /* "m", which is revoked */
    DERIVED,  /* "m/x" */
    SAME,     /* "m", fewer rights */
    SELF,     /* "s": what a guest has of its own */
};

static struct env *root, *guest;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_nic_attach(1);
    fake_disk_attach();
    fake_cap(root, OWNER, "m", CAP_ALL);
    fake_cap(root, SELF, "s", CAP_ALL);
    guest = env_find((uint32_t)CALL(SYS_ENV_CREATE, SELF, 256, SHARES));
    ck_assert_ptr_nonnull(guest);
    fake_cap(guest, DERIVED, "m/x", CAP_ALL);
    fake_cap(guest, SAME, "m", CAP_READ | CAP_WRITE);
    fake_cap(guest, SELF, "s", CAP_ALL);
    ck_assert_int_ge(
        CALL(SYS_QUANTUM_ALLOC, ROOT_CAP, 0, QUANTUM_ANY, guest->id), 0);
}

static void run(const struct env *e)
{
    if (fake_current() != e) {
        (void)CALL(SYS_QUANTUM_YIELD, e->id);
    }
    ck_assert_ptr_eq(fake_current(), e);
}

static void revoke(void)
{
    run(root);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, OWNER), 0);
}

static uint64_t frames(uint32_t slot, uint64_t count)
{
    int64_t f = CALL(SYS_PAGE_ALLOC, slot, PAGE_ANY, count);
    ck_assert_int_gt(f, 0);
    return (uint64_t)f;
}

static uint32_t used(const struct env *e, enum share kind)
{
    return sysinfo_shares(e->index)[kind].used;
}

START_TEST(lists)
{
    boot();
    fake_cap(root, 10, "m/80", CAP_ALL);
    fake_cap(root, 11, "n", CAP_ALL);
    fake_cap(root, 12, "m", CAP_ALL);
    fake_cap(root, 13, "m", CAP_READ);
    fake_cap(root, 14, "", CAP_READ);
    revoke();
    ck_assert_uint_eq(root->cap[OWNER].rights, CAP_ALL); /* the slot itself */
    ck_assert_uint_eq(root->cap[10].rights, 0);
    ck_assert_uint_eq(root->cap[11].rights, CAP_ALL);
    ck_assert_uint_eq(root->cap[12].rights, 0); /* a copy */
    ck_assert_uint_eq(root->cap[13].rights, 0); /* one with fewer rights */
    ck_assert_uint_eq(root->cap[14].rights, CAP_READ);
    ck_assert_uint_eq(guest->cap[DERIVED].rights, 0);
    ck_assert_uint_eq(guest->cap[SAME].rights, 0);
    ck_assert_uint_eq(guest->cap[SELF].rights, CAP_ALL);
    /* Whoever has fewer rights does not take the name from who has more. */
    fake_cap(guest, SAME, "m", CAP_CTL);
    fake_cap(guest, DERIVED, "m/x", CAP_ALL);
    run(guest);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, SAME), 0);
    ck_assert_uint_eq(root->cap[OWNER].rights, CAP_ALL);
    ck_assert_uint_eq(guest->cap[DERIVED].rights, 0);
}
END_TEST

/* A disk ring whose memory or range was named by the capability in a slot. */
static int64_t disk_ring(uint32_t k, uint32_t memory, uint32_t range,
                         uint64_t frame)
{
    struct disk_ring_args a = {.range = range,
                               .slots = 16,
                               .frames = 1,
                               .frame = frame,
                               .memory = memory,
                               .event = 5};
    return CALL(SYS_DISK_RING, k, PUT(a));
}

static int64_t disk_range(uint32_t k, uint32_t guard)
{
    struct disk_range_args a = {.guard = guard, .count = 16};
    return CALL(SYS_DISK_RANGE, k, PUT(a));
}

START_TEST(a_ring_does_not_reach_later_frames)
{
    boot();
    ck_assert_int_eq(disk_range(ROOT_CAP, SELF), 1);
    run(guest);
    uint64_t ring = frames(DERIVED, 1), data = frames(DERIVED, 1);
    ck_assert_int_eq(disk_ring(SELF, DERIVED, 1, ring), 0);
    struct disk_slot *s = arch_frame_ptr(ring);
    s[0] = (struct disk_slot){.owner = DISK_OWNER_KERNEL,
                              .pieces = 1,
                              .count = 1,
                              .piece = {{data * PAGE_SIZE, PAGE_SIZE, 0}}};
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 1);
    ck_assert_uint_eq(fake_disk.reqs, 1);
    s[1] = s[0];
    s[1].owner = DISK_OWNER_KERNEL;
    revoke();
    ck_assert_uint_eq(used(guest, SHARE_DISK_RINGS), 0);
    ck_assert_uint_eq(guest->uarea->pending >> 5 & 1, 1);
    run(guest);
    REFUSED(E_NONE, SYS_DISK_SUBMIT, 0, 0);
    REFUSED(E_NONE, SYS_DISK_RING_FREE, 0, 0);
    ck_assert_uint_eq(fake_disk.reqs, 1); /* what it had goes on */
    /* Its frame is the device's until then, and nobody's after. */
    run(root);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, data, 1), 0);
    REFUSED(E_BUSY, SYS_PAGE_ALLOC, OWNER, data, 1);
    fake_disk_complete(1);
    ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, OWNER, data, 1), (int64_t)data);
    ck_assert_uint_eq(s[0].owner, DISK_OWNER_KERNEL); /* it hears no more */
}
END_TEST

START_TEST(ranges_and_what_is_on_them)
{
    boot();
    run(guest);
    fake_cap(guest, 9, "m/y", CAP_ALL);
    run(root);
    fake_cap(root, 9, "m/y", CAP_ALL);
    ck_assert_int_eq(disk_range(ROOT_CAP, 9), 1); /* root's: stays */
    run(guest);
    ck_assert_int_eq(disk_ring(9, SELF, 1, frames(SELF, 1)), 0);
    struct disk_range_args inner = {.parent = 1, .guard = SELF, .count = 4};
    ck_assert_int_eq(CALL(SYS_DISK_RANGE, 9, PUT(inner)), 2);
    /* A ring on it by a name that is not revoked. */
    ck_assert_int_eq(disk_ring(SELF, SELF, 2, frames(SELF, 1)), 1);
    revoke();
    ck_assert_uint_eq(used(guest, SHARE_DISK_RINGS), 0);
    ck_assert_uint_eq(used(guest, SHARE_DISK_RANGES), 0);
    ck_assert_uint_eq(used(root, SHARE_DISK_RANGES), 1);
    REFUSED(E_NONE, SYS_DISK_RANGE_FREE, ROOT_CAP, 0, 2);
    ck_assert_int_eq(CALL(SYS_DISK_RANGE_FREE, ROOT_CAP, 0, 1), 0);
}
END_TEST

static const struct dpf_insn any[] = {{0xb7, 0, 0, 1}, {0x95, 0, 0, 0}};

static int64_t region(uint32_t k, uint32_t parent, uint32_t guard,
                      uint32_t flags)
{
    uint64_t insns = fake_put(any, sizeof(any));
    struct net_region_args a = {.parent = parent,
                                .guard = guard,
                                .flags = flags,
                                .insns = insns,
                                .count = 2};
    return CALL(SYS_NET_REGION, k, PUT(a));
}

static int64_t ring(uint64_t call, uint32_t k, uint32_t of, uint32_t memory)
{
    struct net_ring_args a = {.slots = 8,
                              .frames = 8,
                              .frame = frames(memory, 8),
                              .region = of,
                              .memory = memory,
                              .event = 6};
    return CALL(call, k, PUT(a));
}

static const struct dpf_insn to_port[] = {{0x71, 3 | 1 << 4, 20, 0},
                                          {0xb7, 0, 0, 0},
                                          {0x55, 3, 1, 0},
                                          {0xb7, 0, 0, 1},
                                          {0x95, 0, 0, 0}};

static int64_t bind(uint32_t k, uint32_t of, uint32_t to, int32_t port)
{
    struct dpf_insn code[5];
    memcpy(code, to_port, sizeof(code));
    code[2].imm = port;
    uint64_t insns = fake_put(code, sizeof(code));
    struct net_bind_args a = {
        .region = of, .ring = to, .insns = insns, .count = 5};
    return CALL(SYS_NET_BIND, k, PUT(a));
}

START_TEST(rings)
{
    boot();
    ck_assert_int_eq(region(ROOT_CAP, 0, OWNER, NET_OUT), 1);
    ck_assert_int_eq(region(ROOT_CAP, 0, SELF, NET_OUT), 2);
    ck_assert_int_eq(region(ROOT_CAP, 0, OWNER, 0), 1);
    ck_assert_int_eq(region(ROOT_CAP, 0, SELF, 0), 2);
    run(guest);
    /* By its region, by its memory, by neither; of both kinds. */
    ck_assert_int_eq(ring(SYS_NET_TX_RING, SAME, 1, SELF), 0);
    ck_assert_int_eq(ring(SYS_NET_TX_RING, SELF, 2, DERIVED), 1);
    ck_assert_int_eq(ring(SYS_NET_TX_RING, SELF, 2, SELF), 2);
    ck_assert_int_eq(ring(SYS_NET_RX_RING, SAME, 1, SELF), 3);
    ck_assert_int_eq(ring(SYS_NET_RX_RING, SELF, 2, DERIVED), 4);
    ck_assert_int_eq(ring(SYS_NET_RX_RING, SELF, 2, SELF), 5);
    for (int32_t i = 0; i < 20; i++) {
        ck_assert_int_ge(bind(SELF, 2, 4, i), 0);
    }
    ck_assert_int_ge(bind(SELF, 2, 5, 99), 0);
    ck_assert_uint_eq(used(guest, SHARE_NET_BINDINGS), 21);
    revoke();
    ck_assert_uint_eq(used(guest, SHARE_NET_RINGS), 2);
    ck_assert_uint_eq(used(guest, SHARE_NET_BINDINGS), 1);
    ck_assert_uint_eq(guest->uarea->pending >> 6 & 1, 1);
    run(guest);
    REFUSED(E_NONE, SYS_NET_SEND, 0, 0);
    REFUSED(E_NONE, SYS_NET_SEND, 0, 1);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 2), 0);
    REFUSED(E_NONE, SYS_NET_RING_FREE, 0, 4);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 5), 0);
}
END_TEST

static void arrive(uint8_t port)
{
    uint8_t p[64] = {0};
    p[20] = port;
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
}

START_TEST(bindings_and_regions)
{
    boot();
    fake_cap(root, 9, "m/y", CAP_ALL);
    fake_cap(guest, 9, "m/y", CAP_ALL);
    ck_assert_int_eq(region(ROOT_CAP, 0, 9, 0), 1);
    run(guest);
    ck_assert_int_eq(region(9, 1, SELF, 0), 2);    /* made by it */
    ck_assert_int_eq(region(SELF, 2, SELF, 0), 3); /* inside that one */
    fake_cap(guest, 10, "", CAP_ALL);
    int64_t rx = ring(SYS_NET_RX_RING, 10, 0, SELF);
    ck_assert_int_ge(rx, 0);
    ck_assert_int_ge(bind(9, 1, (uint32_t)rx, 1), 0);
    ck_assert_int_ge(bind(SELF, 2, (uint32_t)rx, 2), 0);
    ck_assert_int_ge(bind(SELF, 3, (uint32_t)rx, 3), 0);
    ck_assert_int_ge(bind(10, 1, (uint32_t)rx, 4), 0); /* by the root: stays */
    for (uint8_t port = 1; port <= 4; port++) {
        arrive(port);
    }
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 0);
    revoke();
    ck_assert_uint_eq(used(guest, SHARE_NET_BINDINGS), 1);
    ck_assert_uint_eq(used(guest, SHARE_NET_FILTERS), 1);
    ck_assert_uint_eq(used(guest, SHARE_NET_REGIONS), 0);
    ck_assert_uint_eq(used(root, SHARE_NET_REGIONS), 1);
    for (uint8_t port = 1; port <= 4; port++) {
        arrive(port);
    }
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 3);
    run(guest);
    ck_assert_int_eq(bind(SELF, 2, (uint32_t)rx, 7), -E_NONE);
    ck_assert_int_eq(region(10, 0, SELF, 0), 2); /* its number is free */
}
END_TEST

/* Regions whose numbers are in the wrong order: the inner ones first. */
START_TEST(regions_the_wrong_way_round)
{
    boot();
    run(guest);
    fake_cap(guest, 10, "", CAP_ALL);
    for (uint32_t i = 1; i <= 5; i++) {
        ck_assert_int_eq(region(10, 0, i < 5 ? SELF : DERIVED, 0), i);
    }
    for (uint32_t i = 4; i >= 1; i--) { /* the outermost rests on the name */
        ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, SELF, 0, 0, i), 0);
        ck_assert_int_eq(region(i == 4 ? DERIVED : SELF, i + 1, SELF, 0), i);
    }
    ck_assert_int_eq(region(10, 0, SELF, NET_OUT), 1);
    ck_assert_uint_eq(used(guest, SHARE_NET_REGIONS), 6);
    REFUSED(E_BUSY, SYS_NET_REGION_FREE, SELF, 0, 0, 4);
    revoke();
    /* What was made by another name stays, and so does its guard. */
    ck_assert_uint_eq(used(guest, SHARE_NET_REGIONS), 2);
    run(guest);
    REFUSED(E_NONE, SYS_NET_REGION_FREE, SELF, 0, 0, 1);
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 10, 0, 0, 5), 0);
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, SELF, 0, NET_OUT, 1), 0);
}
END_TEST

/* What the revoker made by the name that it keeps. */
START_TEST(the_owner_keeps_its_own)
{
    boot();
    ck_assert_int_eq(region(ROOT_CAP, 0, OWNER, 0), 1);
    ck_assert_int_eq(ring(SYS_NET_RX_RING, OWNER, 1, OWNER), 0);
    ck_assert_int_ge(bind(OWNER, 1, 0, 1), 0);
    ck_assert_int_eq(disk_range(ROOT_CAP, OWNER), 1);
    ck_assert_int_eq(disk_ring(OWNER, OWNER, 1, frames(OWNER, 1)), 0);
    revoke();
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 1);
    ck_assert_int_eq(CALL(SYS_DISK_SUBMIT, 0, 0), 0);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
}
END_TEST

START_TEST(a_sleeper_wakes)
{
    /* 0 until the word is not 0. */
    static const struct dpf_insn read[] = {
        {0x79, 0x12, 0, 0}, {0x79, 0x20, 0, 0}, {0x95, 0, 0, 0}};
    boot();
    run(guest);
    uint64_t f = frames(DERIVED, 1);
    uint64_t insns = fake_put(read, sizeof(read));
    struct event_args a = {.insns = insns, .count = 3, .regions = 1};
    a.region[0] = (struct event_region){f, 0, 8};
    ck_assert_int_eq(CALL(SYS_EVENT_BIND, DERIVED, PUT(a)), 1);
    (void)CALL(SYS_EVENT_WAIT, 0, EVENT_FOREVER, 1);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(guest->info->state, ENV_ASLEEP);
    (void)CALL(SYS_QUANTUM_YIELD, 0); /* the predicate is looked at */
    ck_assert_ptr_eq(fake_current(), root);
    revoke();
    ck_assert_ptr_null(guest->predicate[0]);
    run(guest); /* it is awake */
    REFUSED(E_NONE, SYS_EVENT_UNBIND, 1);
    /* Nothing pins the frame any more. */
    run(root);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, f, 1), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, OWNER, f, 1), (int64_t)f);
}
END_TEST

TESTS("revoke", lists, a_ring_does_not_reach_later_frames,
      ranges_and_what_is_on_them, rings, bindings_and_regions,
      regions_the_wrong_way_round, the_owner_keeps_its_own, a_sleeper_wakes)
