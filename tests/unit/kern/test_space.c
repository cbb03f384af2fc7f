/* SPDX-License-Identifier: MIT */
/*
 * Packet space while a call changes it: dpf lets other processors have
 * bind_lock, and their calls stay away from what is being changed. The other
 * processor acts where interrupts are let in.
 */
#include "dpf/dpf.h"
#include "src/abi/err.h"
#include "src/abi/event.h"
#include "src/abi/net.h"
#include "src/abi/sysno.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/syscall.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

#define RX_FRAMES 5u
#define SLOTS 8u
#define LONG 300u /* instructions: several breaths */

/* Slots of all. */
enum { ALL, NAME, SELF, SPARE };

static struct env *root, *other, *third;
static struct net *net;
static struct dpf_insn filter[LONG];

/* Bytes 70 to 109 are 7, 1, 2, 3 and so on; each is tested several times. */
static void filter_write(void)
{
    uint32_t n = 0;
    filter[n++] = (struct dpf_insn){0xb7, 0, 0, 0};
    filter[n++] = (struct dpf_insn){0xb7, 0, 0, 0};
    for (int32_t i = 0; n + 5 < LONG; i = (i + 1) % 40) {
        filter[n++] = (struct dpf_insn){0x71, 3 | 1 << 4, (int16_t)(70 + i), 0};
        filter[n++] = (struct dpf_insn){0x15, 3, 1, i == 0 ? 7 : i};
        filter[n++] = (struct dpf_insn){0x95, 0, 0, 0};
    }
    filter[n++] = (struct dpf_insn){0xb7, 0, 0, 1};
    while (n < LONG) {
        filter[n++] = (struct dpf_insn){0x95, 0, 0, 0};
    }
}

static uint64_t put(struct env *e, size_t at, const void *data, size_t len)
{
    memcpy(e->uarea->scratch + at, data, len);
    return UAREA_VA + offsetof(struct uarea, scratch) + at;
}

/* A turn of a call of `e` on processor 1. */
static int64_t turn_of(struct env *e, uint32_t number, struct turn *t,
                       uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    const uint64_t args[6] = {a, b, c, d};
    fake_cpu = 1;
    *t = turn_begin(t->done);
    int64_t r = syscall_dispatch(e, number, args, t);
    fake_cpu = 0;
    return r;
}

static int64_t first_turn(struct env *e, uint32_t number, uint64_t a,
                          uint64_t b, uint64_t c, uint64_t d)
{
    struct turn t = {0};
    return turn_of(e, number, &t, a, b, c, d);
}

static int64_t ring_of(struct env *e)
{
    int64_t f = first_turn(e, SYS_PAGE_ALLOC, SELF, PAGE_ANY, RX_FRAMES, 0);
    ck_assert_int_gt(f, 0);
    struct net_ring_args a = {.slots = SLOTS,
                              .frame = (uint64_t)f,
                              .frames = RX_FRAMES,
                              .event = 1,
                              .memory = SELF};
    return first_turn(e, SYS_NET_RX_RING, ALL, put(e, 0, &a, sizeof(a)), 0, 0);
}

/* A short filter of `e`: byte 70 is `v`. Where it lies. */
static uint64_t put_short(struct env *e, int32_t v)
{
    const struct dpf_insn p[] = {{0x71, 3 | 1 << 4, 70, 0},
                                 {0xb7, 0, 0, 0},
                                 {0x55, 3, 1, v},
                                 {0xb7, 0, 0, 1},
                                 {0x95, 0, 0, 0}};
    return put(e, 256, p, sizeof(p));
}

static int64_t bind_short(struct env *e, uint32_t ring, int32_t v)
{
    struct net_bind_args a = {
        .ring = ring, .insns = put_short(e, v), .count = 5};
    return first_turn(e, SYS_NET_BIND, ALL, put(e, 0, &a, sizeof(a)), 0, 0);
}

static struct env *environment(void)
{
    struct env *e = env_find((uint32_t)CALL(SYS_ENV_CREATE, ALL, 256, SHARES));
    ck_assert_ptr_nonnull(e);
    fake_cap(e, ALL, "", CAP_ALL);
    fake_cap(e, NAME, "m", CAP_ALL);
    fake_cap(e, SELF, "s", CAP_ALL);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, ALL, 0, QUANTUM_ANY, e->id), 0);
    return e;
}

static int64_t root_ring, other_ring, third_ring, theirs;
static uint64_t long_filter; /* where it lies, in frames of the root */
static struct dpf_insn *filter_frame;

static void boot(void)
{
    fake_boot(2);
    root = fake_first();
    fake_nic_attach(1);
    net = net_at(0);
    cpu_at(0)->info->online = 1;
    fake_cap(root, NAME, "m", CAP_ALL);
    fake_cap(root, SELF, "s", CAP_ALL);
    other = environment();
    third = environment();
    root_ring = ring_of(root);
    other_ring = ring_of(other);
    third_ring = ring_of(third);
    theirs = bind_short(other, (uint32_t)other_ring, 1);
    ck_assert_int_ge(theirs, 0);
    filter_write();
    int64_t f = CALL(SYS_PAGE_ALLOC, SELF, PAGE_ANY, 4);
    filter_frame = arch_frame_ptr((uint64_t)f);
    memcpy(filter_frame, filter, sizeof(filter));
    long_filter = 0x10000000;
    struct page_binding b = {long_filter, (uint64_t)f, 4, PAGE_R};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, SELF, PUT(b), 1), 1);
}

static int64_t bind_long(uint32_t k)
{
    struct net_bind_args a = {
        .ring = (uint32_t)root_ring, .insns = long_filter, .count = LONG};
    return CALL(SYS_NET_BIND, k, PUT(a));
}

static uint32_t used(const struct env *e, enum share kind)
{
    return sysinfo_shares(e->index)[kind].used;
}

static unsigned breaths;

/* A call of another processor comes while the first one's call has a breath. */
static void everybody_calls(void)
{
    if (breaths++ != 3) {
        return;
    }
    ck_assert_uint_eq(bind_lock.next, bind_lock.served);
    /* What is not about packet space goes on. */
    int64_t f = first_turn(other, SYS_PAGE_ALLOC, SELF, PAGE_ANY, 1, 0);
    ck_assert_int_gt(f, 0);
    ck_assert_int_eq(first_turn(other, SYS_PAGE_FREE, SELF, (uint64_t)f, 1, 0),
                     0);
    /* All else comes again, and changes nothing. */
    uint64_t before = fake_digest(true);
    struct net_region_args region = {.guard = SELF, .count = 1};
    struct net_like_args like = {.like = (uint32_t)theirs,
                                 .ring = (uint32_t)other_ring};
    ck_assert_int_eq(bind_short(other, (uint32_t)other_ring, 2), TURN_AGAIN);
    ck_assert_int_eq(first_turn(other, SYS_NET_REGION, ALL,
                                put(other, 0, &region, sizeof(region)), 0, 0),
                     TURN_AGAIN);
    ck_assert_int_eq(first_turn(other, SYS_NET_BIND_LIKE, ALL,
                                put(other, 0, &like, sizeof(like)), 0, 0),
                     TURN_AGAIN);
    ck_assert_int_eq(first_turn(other, SYS_NET_REGION_FREE, ALL, 0, 0, 1),
                     TURN_AGAIN);
    ck_assert_int_eq(
        first_turn(other, SYS_NET_UNBIND, 0, (uint64_t)theirs, 0, 0),
        TURN_AGAIN);
    ck_assert_int_eq(
        first_turn(other, SYS_NET_RING_FREE, 0, (uint64_t)other_ring, 0, 0),
        TURN_AGAIN);
    ck_assert_uint_eq(fake_digest(true), before);
    /* Lookups wait for nobody. */
    uint8_t packet[80] = {[70] = 1};
    ck_assert_uint_eq(
        dpf_set_match(net->set[0], packet, sizeof(packet), NULL, NULL),
        (uint32_t)theirs);
}

START_TEST(other_calls_go_on_and_stay_away)
{
    boot();
    fake_breathe_hook = everybody_calls;
    ck_assert_int_ge(bind_long(ALL), 0);
    fake_breathe_hook = NULL;
    ck_assert_uint_gt(breaths, 4);
    ck_assert_int_ge(bind_short(other, (uint32_t)other_ring, 2), 0);
    ck_assert_int_eq(
        first_turn(other, SYS_NET_UNBIND, 0, (uint64_t)theirs, 0, 0), 0);
    ck_assert_int_eq(
        first_turn(other, SYS_NET_RING_FREE, 0, (uint64_t)other_ring, 0, 0), 0);
}
END_TEST

static void third_ends(void)
{
    if (breaths++ != 3) {
        return;
    }
    fake_cpu = 1;
    env_kill(third, ENV_END_KILLED, 0, NULL);
    env_end_work();
    fake_cpu = 0;
    ck_assert_int_eq(third->ending, ENDING_NETS);
    ck_assert_uint_eq(used(third, SHARE_NET_RINGS), 1);
}

/* The end of an environment comes next: a binder that is quick again does not
   keep it away. */
START_TEST(an_end_comes_next)
{
    boot();
    fake_breathe_hook = third_ends;
    ck_assert_int_ge(bind_long(ALL), 0);
    fake_breathe_hook = NULL;
    uint32_t id = third->id;
    ck_assert_int_eq(bind_short(other, (uint32_t)other_ring, 2), TURN_AGAIN);
    /* What takes away does not wait for it. */
    ck_assert_int_eq(
        first_turn(other, SYS_NET_UNBIND, 0, (uint64_t)theirs, 0, 0), 0);
    for (unsigned i = 0; i < 20 && env_ending(); i++) {
        env_end_work();
    }
    ck_assert_ptr_null(env_find(id));
    ck_assert_int_ge(bind_short(other, (uint32_t)other_ring, 2), 0);
}
END_TEST

static struct turn revoke_turn;

static void the_name_is_revoked(void)
{
    if (breaths++ != 3) {
        return;
    }
    unsigned turns = 0;
    int64_t r;
    do {
        r = turn_of(other, SYS_CAP_REVOKE, &revoke_turn, NAME, 0, 0, 0);
    } while (r == TURN_AGAIN && ++turns < 50);
    ck_assert_uint_eq(root->cap[NAME].rights, 0);
}

/* A binding that is made while its capability is revoked is found after that,
   since the revocation waits. */
START_TEST(a_binding_in_the_making_is_revoked)
{
    boot();
    struct net_region_args a = {
        .guard = NAME, .insns = put_short(root, 7), .count = 5};
    int64_t region = CALL(SYS_NET_REGION, ALL, PUT(a));
    ck_assert_int_eq(region, 1);
    struct net_bind_args b = {.region = 1,
                              .ring = (uint32_t)root_ring,
                              .insns = long_filter,
                              .count = LONG};
    fake_breathe_hook = the_name_is_revoked;
    breaths = 0;
    ck_assert_int_ge(CALL(SYS_NET_BIND, NAME, PUT(b)), 0);
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 1);
    fake_breathe_hook = NULL;
    ck_assert_uint_ne(revoke_turn.done, 0);
    while (turn_of(other, SYS_CAP_REVOKE, &revoke_turn, NAME, 0, 0, 0) ==
           TURN_AGAIN) {
    }
    ck_assert_uint_eq(used(root, SHARE_NET_BINDINGS), 0);
}
END_TEST

/* A predicate is refused when its capability went while it was read. */
START_TEST(a_predicate_in_the_making_is_refused)
{
    boot();
    int64_t f = CALL(SYS_PAGE_ALLOC, NAME, PAGE_ANY, 1);
    struct event_args a = {.insns = long_filter, .count = LONG, .regions = 1};
    a.region[0] = (struct event_region){(uint64_t)f, 0, 8};
    /* The table of a predicate leads to its regions. */
    filter_frame[0] = (struct dpf_insn){0x79, 1 | 1 << 4, 0, 0};
    filter_frame[1] = (struct dpf_insn){0xb7, 0, 0, 0};
    fake_breathe_hook = the_name_is_revoked;
    breaths = 0;
    uint64_t used_before = root->info->frames_used;
    ck_assert_int_eq(CALL(SYS_EVENT_BIND, NAME, PUT(a)), -E_CAP);
    fake_breathe_hook = NULL;
    ck_assert_ptr_null(root->predicate[0]);
    ck_assert_uint_eq(root->info->frames_used, used_before);
}
END_TEST

TESTS("space", other_calls_go_on_and_stay_away, an_end_comes_next,
      a_binding_in_the_making_is_revoked, a_predicate_in_the_making_is_refused)
