/* SPDX-License-Identifier: MIT */
/* Shares: divided, charged, refunded, and back at the end of their holder. */
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/quantum.h"
#include "src/abi/share.h"
#include "src/abi/sysno.h"
#include "src/kern/cap.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/share.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

static struct env *root;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_nic_attach(1);
    fake_disk_attach();
    fake_cap(root, 1, "kid", CAP_ALL);
}

static uint32_t used(const struct env *e, enum share kind)
{
    return sysinfo_shares(e->index)[kind].used;
}

static uint32_t limit(const struct env *e, enum share kind)
{
    return sysinfo_shares(e->index)[kind].limit;
}

/* A child with `n` of every kind, which runs now. */
static struct env *child(uint32_t n)
{
    uint32_t give[SHARE_KINDS];
    for (unsigned i = 0; i < SHARE_KINDS; i++) {
        give[i] = n;
    }
    struct env *e =
        env_find((uint32_t)CALL(SYS_ENV_CREATE, 1, 64, PUT(give), SHARE_KINDS));
    ck_assert_ptr_nonnull(e);
    fake_cap(e, 0, "", CAP_ALL);
    (void)CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, e->id);
    (void)CALL(SYS_QUANTUM_YIELD, e->id);
    ck_assert_ptr_eq(fake_current(), e);
    return e;
}

START_TEST(what_is_given_comes_back)
{
    boot();
    uint32_t all[SHARE_KINDS];
    for (unsigned i = 0; i < SHARE_KINDS; i++) {
        all[i] = limit(root, i);
        ck_assert_uint_gt(all[i], 0);
    }
    struct env *e = child(5);
    for (unsigned i = 0; i < SHARE_KINDS; i++) {
        ck_assert_uint_eq(limit(root, i), all[i] - 5);
        ck_assert_uint_eq(limit(e, i), 5);
    }
    ck_assert_uint_eq(used(root, SHARE_ENVS), 1);
    /* Some of the child's, all of which it cannot give. */
    const uint32_t part[2] = {2, 1}, most[1] = {5};
    ck_assert_int_gt(CALL(SYS_ENV_CREATE, 0, 8, PUT(part), 2), 0);
    ck_assert_uint_eq(limit(e, SHARE_ENVS), 3);
    ck_assert_uint_eq(limit(e, SHARE_NAMES), 4);
    ck_assert_uint_eq(used(e, SHARE_ENVS), 1);
    REFUSED(E_QUOTA, SYS_ENV_CREATE, 0, 8, PUT(most), 1);
    (void)CALL(SYS_ENV_DESTROY, 0, 0, 0);
    ck_assert_ptr_eq(fake_current(), root);
    for (unsigned i = 0; i < SHARE_KINDS; i++) {
        ck_assert_uint_eq(limit(root, i), all[i]);
        ck_assert_uint_eq(limit(e, i), 0);
        ck_assert_uint_eq(used(e, i), 0);
    }
    ck_assert_uint_eq(used(root, SHARE_ENVS), 0);
}
END_TEST

/* A name is paid by its first user, however many use it, until nobody does. */
START_TEST(names)
{
    boot();
    uint32_t before = used(root, SHARE_NAMES);
    fake_cap(root, 2, "shared", CAP_ALL);
    int64_t f = CALL(SYS_PAGE_ALLOC, 2, PAGE_ANY, 3);
    ck_assert_int_gt(f, 0);
    ck_assert_uint_eq(used(root, SHARE_NAMES), before + 1);
    struct env *e = child(2);
    uint32_t kid = used(root, SHARE_NAMES); /* its own guard */
    fake_cap(e, 2, "shared", CAP_ALL);
    fake_cap(e, 3, "first", CAP_ALL);
    fake_cap(e, 4, "second", CAP_ALL);
    fake_cap(e, 5, "third", CAP_ALL);
    int64_t g = CALL(SYS_PAGE_ALLOC, 2, PAGE_ANY, 1);
    ck_assert_int_gt(g, 0);
    ck_assert_uint_eq(used(e, SHARE_NAMES), 0);
    int64_t first = CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 2);
    ck_assert_int_gt(first, 0);
    ck_assert_int_gt(CALL(SYS_PAGE_ALLOC, 4, PAGE_ANY, 1), 0);
    ck_assert_uint_eq(used(e, SHARE_NAMES), 2);
    REFUSED(E_QUOTA, SYS_PAGE_ALLOC, 5, PAGE_ANY, 1);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 3, (uint64_t)first, 1), 0);
    ck_assert_uint_eq(used(e, SHARE_NAMES), 2);
    /* The last frame of that name is the device's a while longer. */
    struct cap k = e->cap[3];
    ck_assert_int_eq(page_pin_once(&k, (uint64_t)first + 1, 1), 0);
    (void)CALL(SYS_ENV_DESTROY, 0, 0, 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(used(root, SHARE_NAMES), kid - 1 + 1);
    page_unpin((uint64_t)first + 1, 1);
    ck_assert_uint_eq(used(root, SHARE_NAMES), kid - 1);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 2, (uint64_t)f, 3), 0);
    ck_assert_uint_eq(used(root, SHARE_NAMES), before);
}
END_TEST

/* What others still use is the heir's: a range, a region. */
START_TEST(what_others_use_is_inherited)
{
    static const struct dpf_insn all[] = {{0xb7, 0, 0, 1}, {0x95, 0, 0, 0}};
    boot();
    struct env *e = child(3);
    struct disk_range_args range = {.guard = 0, .count = 8};
    ck_assert_int_eq(CALL(SYS_DISK_RANGE, 0, PUT(range)), 1);
    ck_assert_int_eq(CALL(SYS_DISK_RANGE, 0, PUT(range)), 2);
    uint64_t insns = fake_put(all, sizeof(all));
    struct net_region_args region = {.guard = 0, .insns = insns, .count = 2};
    ck_assert_int_eq(CALL(SYS_NET_REGION, 0, PUT(region)), 1);
    ck_assert_uint_eq(used(e, SHARE_DISK_RANGES), 2);
    ck_assert_uint_eq(used(e, SHARE_NET_REGIONS), 1);
    (void)CALL(SYS_QUANTUM_YIELD, root->id);
    uint64_t frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 2);
    struct disk_ring_args ring = {
        .range = 1, .slots = 1, .frames = 1, .frame = frame};
    ck_assert_int_eq(CALL(SYS_DISK_RING, 0, PUT(ring)), 0);
    struct net_ring_args rx = {
        .slots = 1, .frames = 2, .frame = frame, .region = 1};
    ck_assert_int_eq(CALL(SYS_NET_RX_RING, 0, PUT(rx)), 0);
    insns = fake_put(all, sizeof(all));
    struct net_bind_args bind = {.region = 1, .insns = insns, .count = 2};
    ck_assert_int_ge(CALL(SYS_NET_BIND, 0, PUT(bind)), 0);
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 1);
    ck_assert_uint_eq(used(root, SHARE_NET_FILTERS), 1);
    uint64_t paid = root->info->frames_used;
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, e->id, 0), 0);
    ck_assert_uint_eq(used(root, SHARE_DISK_RANGES), 1);
    ck_assert_uint_eq(used(root, SHARE_NET_REGIONS), 1);
    ck_assert_int_eq(CALL(SYS_DISK_RING_FREE, 0, 0), 0);
    ck_assert_int_eq(CALL(SYS_DISK_RANGE_FREE, 0, 0, 1), 0);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 0, 0, 0, 1), 0);
    for (unsigned i = SHARE_NET_RINGS; i < SHARE_KINDS; i++) {
        ck_assert_uint_eq(used(root, i), 0);
    }
    ck_assert_uint_le(root->info->frames_used, paid);
}
END_TEST

/* A copy counts with its program, which may go before it. */
START_TEST(copies_hold_their_program)
{
    static const struct dpf_insn port[] = {{0x71, 3 | 1 << 4, 20, 0},
                                           {0xb7, 0, 0, 0},
                                           {0x55, 3, 1, 7},
                                           {0xb7, 0, 0, 1},
                                           {0x95, 0, 0, 0}};
    boot();
    uint64_t frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 2);
    struct net_ring_args rx = {.slots = 1, .frames = 2, .frame = frame};
    ck_assert_int_eq(CALL(SYS_NET_RX_RING, 0, PUT(rx)), 0);
    uint64_t insns = fake_put(port, sizeof(port));
    struct net_bind_args bind = {.insns = insns, .count = 5};
    int64_t first = CALL(SYS_NET_BIND, 0, PUT(bind));
    ck_assert_int_ge(first, 0);
    struct net_const to = {.index = 0, .value = 8};
    uint64_t consts = PUT(to);
    struct net_like_args like = {
        .like = (uint32_t)first, .count = 1, .consts = consts};
    int64_t second = CALL(SYS_NET_BIND_LIKE, 0, PUT(like));
    ck_assert_int_ge(second, 0);
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 2);
    ck_assert_uint_eq(used(root, SHARE_NET_FILTERS), 1);
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)first), 0);
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 1);
    ck_assert_uint_eq(used(root, SHARE_NET_FILTERS), 1);
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)second), 0);
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 0);
    ck_assert_uint_eq(used(root, SHARE_NET_FILTERS), 0);
}
END_TEST

/*
 * An environment ends while others that it made still run, and they are gone
 * before it is: they are its maker's by then, and counted there.
 */
START_TEST(children_end_before_their_maker_is_gone)
{
    boot();
    const uint32_t give[SHARE_KINDS] = {[SHARE_ENVS] = 5, [SHARE_NAMES] = 5};
    uint32_t kid[3], had = limit(root, SHARE_ENVS);
    struct env *e = env_find(
        (uint32_t)CALL(SYS_ENV_CREATE, 1, 2000, PUT(give), SHARE_KINDS));
    ck_assert_ptr_nonnull(e);
    uint64_t frame = (uint64_t)page_take(PAGE_ANY, 1500, e->guard, e->index);
    ck_assert_int_eq(env_charge(e, 1500), 0);
    ck_assert_int_eq(page_demand(&root->cap[0], CAP_CTL, frame, 1500), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct env *made = NULL;
        ck_assert_int_eq(
            env_make(e, GUARD_ROOT, 8, (uint32_t[SHARE_KINDS]){0}, &made), 0);
        kid[i] = made->id;
        env_become(made, ENV_NEW, ENV_READY); /* it had a slice */
    }
    ck_assert_uint_eq(used(e, SHARE_ENVS), 3);
    ck_assert_uint_eq(used(root, SHARE_ENVS), 1);
    struct turn t = turn_begin(0);
    ck_assert(!env_doom(e, ENV_END_KILLED, 0, NULL, &t)); /* not yet all */
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 0, kid[i], 0), 0);
        ck_assert_ptr_null(env_find(kid[i]));
        ck_assert_uint_eq(used(root, SHARE_ENVS), 3 - i);
    }
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 0, e->id, 0), 0);
    ck_assert_uint_eq(used(root, SHARE_ENVS), 0);
    ck_assert_uint_eq(limit(root, SHARE_ENVS), had);
}
END_TEST

TESTS("share", what_is_given_comes_back, names, what_others_use_is_inherited,
      copies_hold_their_program, children_end_before_their_maker_is_gone)
