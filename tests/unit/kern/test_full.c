/* SPDX-License-Identifier: MIT */
/*
 * Counts and queues at their end: pins of one frame, bindings of one share,
 * entries of a transmit queue; and queues of which there are several.
 */
#include "dpf/dpf.h"
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/share.h"
#include "src/abi/sysno.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

#define PINS_MAX 0x3fffu /* of a frame: 14 bits of its word */
#define SLOTS 64u
#define RX_FRAMES (1u + SLOTS / 2)
#define TX_FRAMES 5u

static struct env *root;

static void boot(unsigned cpus, unsigned queues)
{
    fake_boot(cpus);
    root = fake_first();
    fake_nic_attach(queues);
    fake_disk_attach();
    fake_cap(root, 1, "kid", CAP_ALL);
}

static uint64_t frames(uint64_t count)
{
    int64_t f = CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, count);
    ck_assert_int_gt(f, 0);
    return (uint64_t)f;
}

START_TEST(pins_of_a_frame)
{
    boot(1, 1);
    uint64_t f = frames(3);
    const struct cap *k = &root->cap[0];
    for (uint32_t i = 0; i < PINS_MAX; i++) {
        ck_assert_int_eq(page_pin_once(k, f + 1, 1), 0);
    }
    ck_assert_int_eq(page_pin_once(k, f + 1, 1), -E_LIMIT);
    /* A run with that frame in the middle is pinned whole or not at all. */
    struct disk_ring_args a = {.slots = 32, .frames = 2, .frame = f};
    REFUSED(E_LIMIT, SYS_DISK_RING, 0, PUT(a));
    page_unpin(f + 1, 1);
    int64_t ring = CALL(SYS_DISK_RING, 0, PUT(a));
    ck_assert_int_ge(ring, 0);
    REFUSED(E_LIMIT, SYS_DISK_RING, 0, PUT(a));
    ck_assert_int_eq(CALL(SYS_DISK_RING_FREE, 0, (uint64_t)ring), 0);
    for (uint32_t i = 1; i < PINS_MAX; i++) {
        page_unpin(f + 1, 1);
    }
    uint64_t left = page_free_count();
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 0, f, 3), 0);
    ck_assert_uint_eq(page_free_count(), left + 3);
}
END_TEST

static uint32_t rx_ring(void)
{
    uint64_t f = frames(RX_FRAMES);
    struct net_ring_args a = {.slots = SLOTS, .frames = RX_FRAMES, .frame = f};
    int64_t r = CALL(SYS_NET_RX_RING, 0, PUT(a));
    struct net_rx_slot *s =
        (void *)((struct net_ring_head *)arch_frame_ptr(f) + 1);
    ck_assert_int_ge(r, 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        s[i].owner = NET_OWNER_KERNEL;
    }
    return (uint32_t)r;
}

static int64_t bind_port(uint32_t ring, int32_t port)
{
    const struct dpf_insn code[] = {{0x71, 3 | 1 << 4, 20, 0},
                                    {0xb7, 0, 0, 0},
                                    {0x55, 3, 1, port},
                                    {0xb7, 0, 0, 1},
                                    {0x95, 0, 0, 0}};
    uint64_t insns = fake_put(code, sizeof(code));
    struct net_bind_args a = {.ring = ring, .insns = insns, .count = 5};
    return CALL(SYS_NET_BIND, 0, PUT(a));
}

START_TEST(bindings_of_a_share)
{
    boot(1, 1);
    const uint32_t give[SHARE_KINDS] = {[SHARE_SLICES] = 1,
                                        [SHARE_NET_RINGS] = 1,
                                        [SHARE_NET_BINDINGS] = 3,
                                        [SHARE_NET_FILTERS] = 2};
    struct env *e = env_find(
        (uint32_t)CALL(SYS_ENV_CREATE, 1, 512, PUT(give), SHARE_KINDS));
    ck_assert_ptr_nonnull(e);
    fake_cap(e, 0, "", CAP_ALL);
    (void)CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, e->id);
    (void)CALL(SYS_QUANTUM_YIELD, e->id);
    ck_assert_ptr_eq(fake_current(), e);
    uint32_t ring = rx_ring();
    int64_t first = bind_port(ring, 1);
    ck_assert_int_ge(first, 0);
    ck_assert_int_ge(bind_port(ring, 2), 0);
    uint64_t before = fake_digest(true);
    ck_assert_int_eq(bind_port(ring, 3), -E_QUOTA); /* no filter is left */
    ck_assert_uint_eq(fake_digest(true), before);
    struct net_const to = {.index = 0, .value = 3};
    uint64_t consts = PUT(to);
    struct net_like_args a = {
        .like = (uint32_t)first, .ring = ring, .count = 1, .consts = consts};
    ck_assert_int_ge(CALL(SYS_NET_BIND_LIKE, 0, PUT(a)), 0);
    to.value = 4;
    a.consts = PUT(to);
    before = fake_digest(true);
    ck_assert_int_eq(CALL(SYS_NET_BIND_LIKE, 0, PUT(a)), -E_QUOTA);
    ck_assert_uint_eq(fake_digest(true), before);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, ring), 0);
    ring = rx_ring();
    ck_assert_int_ge(bind_port(ring, 3), 0);
}
END_TEST

/* A transmit ring with something in each slot; its queue is the processor's */
static uint32_t tx_ring(uint64_t *frame)
{
    uint64_t data = frames(1);
    *frame = frames(TX_FRAMES);
    struct net_ring_args a = {
        .slots = SLOTS, .frames = TX_FRAMES, .frame = *frame};
    int64_t r = CALL(SYS_NET_TX_RING, 0, PUT(a));
    ck_assert_int_ge(r, 0);
    struct net_tx_slot *s =
        (void *)((struct net_ring_head *)arch_frame_ptr(*frame) + 1);
    for (unsigned i = 0; i < SLOTS; i++) {
        s[i] = (struct net_tx_slot){.header_len = 54, .pieces = 1};
        s[i].piece[0] = (struct page_piece){data * PAGE_SIZE, 100, 0};
        s[i].owner = NET_OWNER_KERNEL;
    }
    return (uint32_t)r;
}

/* The card has room, but the kernel's entries are all in use. */
START_TEST(a_full_transmit_queue)
{
    boot(1, 1);
    uint64_t frame;
    uint32_t ring = tx_ring(&frame);
    const struct net_ring_head *h = arch_frame_ptr(frame);
    uint32_t depth = fake_nic.dev.tx_depth;
    ck_assert_uint_lt(depth, SLOTS);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, ring), depth);
    ck_assert_uint_eq(fake_nic.sent_count, depth);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, ring), 0);
    REFUSED(E_BUSY, SYS_NET_RING_FREE, 0, ring);
    fake_nic_done(3);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(h->done, 3);
    ck_assert_uint_eq(fake_nic.sent_count, depth); /* three more left */
    for (unsigned i = 0; i < SLOTS; i++) {
        fake_nic_done(1);
        fake_trap(ARCH_VECTOR_KICK);
    }
    ck_assert_uint_eq(h->done, SLOTS);
    ck_assert_uint_eq(h->dropped, 0);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, ring), 0);
}
END_TEST

/* Each processor sends by its own queue; what any of them receives finds its
   owner's ring. */
START_TEST(several_queues)
{
    boot(2, 2);
    uint32_t rx = rx_ring();
    ck_assert_int_ge(bind_port(rx, 7), 0);
    const struct net_ring_head *h = net_at(0)->ring[rx].head;
    uint32_t ring[2];
    uint64_t frame[2];
    ring[0] = tx_ring(&frame[0]);
    /* The other processor gets a slice for the same environment. */
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 1, QUANTUM_ANY, root->id), 0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_FREE, 0, 0, 0), 0);
    fake_idle_hook = fake_stop;
    (void)CALL(SYS_QUANTUM_YIELD, 0);
    fake_cpu = 1;
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), root);
    ring[1] = tx_ring(&frame[1]);
    ck_assert_uint_eq(net_at(0)->ring[ring[0]].queue, 0);
    ck_assert_uint_eq(net_at(0)->ring[ring[1]].queue, 1);
    /* Both queues are full; each gives back what is its own. */
    uint32_t depth = fake_nic.dev.tx_depth;
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, ring[0]), depth);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, ring[1]), depth);
    ck_assert_uint_eq(fake_nic.sent_count, 2 * depth);
    uint8_t p[64] = {0};
    p[20] = 7;
    fake_nic_arrive(p, sizeof(p));
    net_interrupt(&fake_nic.dev, 1);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(h->done, 1);
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 0);
}
END_TEST

TESTS("full", pins_of_a_frame, bindings_of_a_share, a_full_transmit_queue,
      several_queues)
