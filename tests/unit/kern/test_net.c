/* SPDX-License-Identifier: MIT */
/* Rings, packets both ways, packet space: and every refusal. */
#include "dpf/dpf.h"
#include "src/abi/err.h"
#include "src/abi/event.h"
#include "src/abi/net.h"
#include "src/abi/quantum.h"
#include "src/abi/sysno.h"
#include "src/kern/code.h"
#include "src/kern/event.h"
#include "src/kern/kheap.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"
#include "tests/unit/kern/other.h"

#define SLOTS 8u
#define RX_FRAMES 5u /* head and slots, then 8 buffers of 2048 */
#define TX_FRAMES 1u

static struct env *root;
static uint64_t rx_frame, tx_frame, data;

/* Byte 20 equals `v`; or everything; or nothing that can be decided. */
#define LDB(r, s, o)                                                           \
    {                                                                          \
        0x71, (r) | (s) << 4, o, 0                                             \
    }
#define MOV(r, v)                                                              \
    {                                                                          \
        0xb7, r, 0, v                                                          \
    }
#define JNE(r, v, skip)                                                        \
    {                                                                          \
        0x55, r, skip, v                                                       \
    }
#define EXIT                                                                   \
    {                                                                          \
        0x95, 0, 0, 0                                                          \
    }
#define BYTE_IS(at, v)                                                         \
    {                                                                          \
        LDB(3, 1, at), MOV(0, 0), JNE(3, v, 1), MOV(0, 1), EXIT                \
    }
#define BYTES_ARE(at1, v1, at2, v2)                                            \
    {                                                                          \
        LDB(3, 1, at1), LDB(4, 1, at2), MOV(0, 0), JNE(3, v1, 2),              \
            JNE(4, v2, 1), MOV(0, 1), EXIT                                     \
    }
static const struct dpf_insn port_7[] = BYTE_IS(20, 7);
static const struct dpf_insn port_9[] = BYTE_IS(20, 9);
static const struct dpf_insn port_7_from_1[] = BYTES_ARE(20, 7, 21, 1);
static const struct dpf_insn every[] = {MOV(0, 1), EXIT};
static const struct dpf_insn reads_nothing_written[] = {
    MOV(0, 1), {0xbf, 0 | 5 << 4, 0, 0}, EXIT};

/* 60,000 turns for every packet that comes. */
static const struct dpf_insn turns[] = {
    MOV(3, 60000), MOV(0, 1), {0x17, 3, 0, 1}, {0x55, 3, -2, 0}, EXIT};
static const struct dpf_insn turns32[] = {MOV(3, 60000),    MOV(0, 1),
                                          {0x17, 3, 0, 1},  {0x15, 3, 1, 0},
                                          {0x06, 0, 0, -3}, EXIT};

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_nic_attach(1);
    fake_cap(root, 1, "net", CAP_ALL);
    fake_cap(root, 2, "net", CAP_READ);
    fake_cap(root, 3, "mem", CAP_ALL);
    fake_cap(root, 4, "mem", CAP_READ);
    fake_cap(root, 5, "other", CAP_ALL);
    rx_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, RX_FRAMES);
    tx_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, TX_FRAMES);
    data = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 2);
}

static int64_t rx_ring_at(uint64_t frame)
{
    struct net_ring_args a = {.slots = SLOTS,
                              .frame = frame,
                              .frames = RX_FRAMES,
                              .event = 1,
                              .memory = 3};
    int64_t r = CALL(SYS_NET_RX_RING, 0, PUT(a));
    struct net_rx_slot *s =
        (void *)((struct net_ring_head *)arch_frame_ptr(frame) + 1);
    for (unsigned i = 0; r >= 0 && i < SLOTS; i++) {
        s[i].owner = NET_OWNER_KERNEL;
    }
    return r;
}

static int64_t rx_ring(void)
{
    return rx_ring_at(rx_frame);
}

static int64_t tx_ring(uint64_t k, uint32_t region)
{
    struct net_ring_args a = {.slots = SLOTS,
                              .frame = tx_frame,
                              .frames = TX_FRAMES,
                              .event = 2,
                              .region = region,
                              .memory = 3};
    return CALL(SYS_NET_TX_RING, k, PUT(a));
}

static int64_t bind_filter(uint64_t k, uint32_t ring, uint32_t region,
                           uint32_t flags, const struct dpf_insn *p, size_t n)
{
    uint64_t insns = fake_put(p, n * sizeof(*p));
    struct net_bind_args a = {.region = region,
                              .ring = ring,
                              .flags = flags,
                              .insns = insns,
                              .count = (uint32_t)n};
    return CALL(SYS_NET_BIND, k, PUT(a));
}
#define BIND(k, ring, region, flags, p)                                        \
    bind_filter(k, ring, region, flags, p, sizeof(p) / sizeof((p)[0]))

static int64_t carve(uint64_t k, uint32_t parent, uint32_t flags,
                     const struct dpf_insn *p, size_t n)
{
    uint64_t insns = fake_put(p, n * sizeof(*p));
    struct net_region_args a = {.parent = parent,
                                .guard = 1,
                                .flags = flags,
                                .insns = insns,
                                .count = (uint32_t)n};
    return CALL(SYS_NET_REGION, k, PUT(a));
}
#define CARVE(k, parent, flags, p)                                             \
    carve(k, parent, flags, p, sizeof(p) / sizeof((p)[0]))

static struct net_rx_slot *rx(unsigned i)
{
    return (struct net_rx_slot *)((struct net_ring_head *)arch_frame_ptr(
                                      rx_frame) +
                                  1) +
           i;
}

static struct net_tx_slot *tx(unsigned i)
{
    return (struct net_tx_slot *)((struct net_ring_head *)arch_frame_ptr(
                                      tx_frame) +
                                  1) +
           i;
}

static const struct net_ring_head *head(uint64_t frame)
{
    return arch_frame_ptr(frame);
}

static void packet(uint8_t *p, uint8_t port)
{
    memset(p, 0x11, 64);
    p[20] = port;
}

START_TEST(a_packet_finds_its_ring)
{
    uint8_t p[64], q[64];
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    int64_t b = BIND(0, 0, 0, 0, port_7);
    ck_assert_int_ge(b, 0);
    packet(p, 7);
    packet(q, 8);
    fake_trap(ARCH_VECTOR_KICK); /* polls: quiet, so interrupts are on */
    ck_assert(fake_nic.interrupts);
    fake_nic_arrive(p, sizeof(p));
    ck_assert(!fake_nic.interrupts);
    fake_nic_arrive(q, sizeof(q));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(rx(0)->owner, NET_OWNER_ENV);
    ck_assert_uint_eq(rx(0)->len, 64);
    ck_assert_uint_eq(rx(0)->binding, (uint32_t)b);
    ck_assert_mem_eq((uint8_t *)arch_frame_ptr(rx_frame) + 4096, p, 64);
    ck_assert_uint_eq(rx(1)->owner, NET_OWNER_KERNEL);
    ck_assert_uint_eq(root->uarea->pending, 2);
    ck_assert_uint_eq(head(rx_frame)->done, 1);
    ck_assert_uint_eq(sysinfo()->net[0].rx_packets, 2);
    ck_assert_uint_eq(sysinfo()->net[0].rx_bytes, 128);
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 1);
    /* A full ring drops; a frame too long for a buffer too. */
    for (unsigned i = 0; i < SLOTS; i++) {
        fake_nic_arrive(p, sizeof(p));
    }
    static uint8_t jumbo[2049];
    memcpy(jumbo, p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(head(rx_frame)->done, 8);
    ck_assert_uint_eq(head(rx_frame)->dropped, 1);
    rx(0)->owner = NET_OWNER_KERNEL;
    fake_nic_arrive(jumbo, sizeof(jumbo));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(head(rx_frame)->dropped, 2);
    ck_assert_uint_eq(sysinfo()->net[0].rx_dropped, 2);
    /* Unbound: nobody's. */
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)b), 0);
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(head(rx_frame)->done, 8);
    REFUSED(E_NONE, SYS_NET_UNBIND, 0, (uint64_t)b);
}
END_TEST

/* All memory that the kernel could get. */
static uint64_t taken[FAKE_FRAMES];

static size_t take_all(void)
{
    size_t n = 0;
    while ((taken[n] = page_kalloc(1)) != FRAME_NONE) {
        n++;
    }
    for (size_t size = 32; size <= 2048; size *= 2) {
        while (kheap_alloc(size) != NULL) {
        }
    }
    return n;
}

static const struct dpf_insn up_to_9[] = {
    LDB(3, 1, 20), MOV(0, 0), {0x25, 3, 1, 9}, MOV(0, 1), EXIT};

/* A ring with a binding that is no table entry, and no memory; its id. */
static int64_t bind_last(size_t *n)
{
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    int64_t b = BIND(0, 0, 0, 0, up_to_9);
    ck_assert_int_ge(b, 0);
    *n = take_all();
    return b;
}

static void give_all(size_t n)
{
    while (n-- > 0) {
        page_kfree(taken[n], 1);
    }
}

/* A packet comes; how many the ring has had then. */
static void delivers(uint64_t done)
{
    uint8_t p[64];
    packet(p, 7);
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(head(rx_frame)->done, done);
}

/* It takes memory to build what is left without it. */
START_TEST(unbinding_never_fails)
{
    size_t n;
    int64_t b = bind_last(&n);
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)b), 0);
    REFUSED(E_NONE, SYS_NET_UNBIND, 0, (uint64_t)b);
    delivers(0);
    ck_assert_int_eq(BIND(0, 0, 0, 0, port_7), -E_MEM);
    give_all(n);
    /* With memory again the filter is gone, and its number comes again. */
    ck_assert_int_eq(BIND(0, 0, 0, 0, port_7), b);
    delivers(1);
}
END_TEST

/* Nor does the end of a ring, or of who has it. */
START_TEST(a_ring_ends_without_memory)
{
    size_t n;
    (void)bind_last(&n);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
    give_all(n);
    /* Another ring in its place gets none of its packets. */
    ck_assert_int_eq(rx_ring(), 0);
    delivers(0);
    ck_assert_int_ge(BIND(0, 0, 0, 0, up_to_9), 0);
    delivers(1);
}
END_TEST

/* Filters of a shape each: byte 12 tells them apart. */
static int64_t bind_shape(uint32_t ring, unsigned i)
{
    struct dpf_insn p[] =
        BYTES_ARE(12, (int32_t)i % 256, (int16_t)(30 + i), 0x11);
    return BIND(0, ring, 0, 0, p);
}

/* Every binding goes, and the set is built once for all of them. */
START_TEST(a_ring_ends_in_one_version)
{
    struct dpf_set_stats s;
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    uint64_t before = root->kernel_bytes;
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(bind_shape(0, i), i);
    }
    dpf_set_stats(net_at(0)->set[0], &s);
    uint64_t compiles = s.compiles;
    ck_assert_uint_ge(compiles, 50); /* more shapes hang in a class tree */
    ck_assert_uint_eq(s.bindings, 100);
    /* One goes by itself, from the middle of the ring's list. */
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, 50), 0);
    uint64_t before_turns = fake_turns;
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
    ck_assert_uint_gt(fake_turns, before_turns + 3);
    dpf_set_stats(net_at(0)->set[0], &s);
    ck_assert_uint_eq(s.bindings, 0);
    ck_assert_uint_eq(s.shapes, 0);
    ck_assert_uint_le(s.compiles, compiles + 2);
    ck_assert_uint_eq(root->kernel_bytes, before);
    /* All numbers are free again, once each. */
    ck_assert_int_eq(rx_ring(), 0);
    uint64_t seen[2] = {0};
    for (unsigned i = 0; i < 100; i++) {
        int64_t id = bind_shape(0, i);
        ck_assert(id >= 0 && id < 100);
        ck_assert_uint_eq(seen[id / 64] >> id % 64 & 1, 0);
        seen[id / 64] |= 1ull << id % 64;
    }
}
END_TEST

START_TEST(a_packet_wakes_its_owner)
{
    uint8_t p[64];
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    ck_assert_int_ge(BIND(0, 0, 0, 0, port_7), 0);
    packet(p, 7);
    (void)CALL(SYS_EVENT_WAIT, 2, EVENT_FOREVER, 0);
    ck_assert_ptr_null(fake_current());
    ck_assert(fake_nic.interrupts); /* idle gave polling up */
    fake_nic_arrive(p, sizeof(p));
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(rx(0)->owner, NET_OWNER_ENV);
    /* Still polling: one that comes now ends the next wait at once. */
    ck_assert(!fake_nic.interrupts);
    root->uarea->pending = 0;
    fake_nic_arrive(p, sizeof(p));
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 2, EVENT_FOREVER, 0), 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(rx(1)->owner, NET_OWNER_ENV);
}
END_TEST

/* Frames that each take long: a poll leaves some for the next. */
START_TEST(a_poll_has_an_end)
{
    uint8_t p[64];
    boot();
    packet(p, 7);
    for (unsigned i = 0; i < 12; i++) {
        fake_nic_arrive(p, sizeof(p));
    }
    fake_nic.ticks = arch_tsc_khz(); /* a millisecond */
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(sysinfo()->net[0].rx_packets, 8);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(sysinfo()->net[0].rx_packets, 12);
}
END_TEST

static void wake_root(void)
{
    event_signal(root, 0);
}

/* Packets that nobody wants, at every poll: other interrupts get in. */
START_TEST(a_flood_keeps_nobody_out)
{
    static const uint8_t p[64];
    boot();
    fake_nic.frame[0] = p;
    fake_nic.frame_len[0] = sizeof(p);
    fake_nic.flood = 1000;
    fake_breathe_hook = wake_root;
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 1, EVENT_FOREVER, 0), 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_gt(fake_nic.flood, 990);
}
END_TEST

/* Of a card that was refused, or of a queue beyond what is used. */
START_TEST(interrupts_of_nothing)
{
    boot();
    struct netdev stranger = fake_nic.dev;
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert(fake_nic.interrupts);
    net_interrupt(&stranger, 0);
    stranger.index = 1;
    net_interrupt(&stranger, 0);
    net_interrupt(&fake_nic.dev, 1);
    ck_assert(fake_nic.interrupts);
    ck_assert_uint_eq(cpu_this()->net_polling, 0);
}
END_TEST

/* A second receive ring of the first environment: its frame. */
static uint64_t second_ring(void)
{
    uint64_t frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, RX_FRAMES);
    ck_assert_int_eq(rx_ring_at(frame), 1);
    return frame;
}

START_TEST(taps_get_copies)
{
    uint8_t p[64];
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    uint64_t other = second_ring();
    int64_t b = BIND(0, 0, 0, 0, port_7);
    int64_t t = BIND(0, 1, 0, NET_TAP, port_7);
    /* The owner's ring has the packet and needs no copy. */
    ck_assert_int_ge(BIND(0, 0, 0, NET_TAP, port_7), 0);
    ck_assert_int_ge(t, 0);
    packet(p, 7);
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(rx(0)->binding, (uint32_t)b);
    ck_assert_uint_eq(head(rx_frame)->done, 1);
    ck_assert_uint_eq(head(other)->done, 1);
    const struct net_rx_slot *s =
        (const void *)((const struct net_ring_head *)head(other) + 1);
    ck_assert_uint_eq(s->binding, (uint32_t)t);
    ck_assert_int_eq(CARVE(0, 0, 0, port_7), 1);
    /* The region's capability is not enough for a tap. */
    ck_assert_int_eq(BIND(1, 0, 1, NET_TAP, port_7), -E_CAP);
}
END_TEST

/* Whoever binds a shared region, and however often, all get one copy. */
START_TEST(a_ring_gets_one_copy)
{
    uint8_t p[64];
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    uint64_t late = second_ring();
    ck_assert_int_eq(CARVE(0, 0, NET_SHARED, port_7), 1);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_ge(BIND(1, 0, 1, 0, port_7), 0);
    }
    ck_assert_int_ge(BIND(1, 1, 1, 0, port_7), 0);
    packet(p, 7);
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(head(rx_frame)->done, 1);
    ck_assert_uint_eq(head(late)->done, 1);
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 0);
}
END_TEST

/* Byte 20 is 7, and then instructions, LONG in all, that tests cannot replace.
 */
#define LONG 200u
static int64_t bind_long(uint32_t ring, uint32_t region)
{
    static struct dpf_insn p[LONG];
    static const struct dpf_insn head[] = {
        LDB(3, 1, 20), MOV(0, 0),     JNE(3, 7, 1), {0x05, 0, 1, 0},
        EXIT,          LDB(3, 1, 21), LDB(4, 1, 22)};
    size_t at = sizeof(head) / sizeof(head[0]);
    memcpy(p, head, sizeof(head));
    while (at < LONG - 1) {
        p[at++] = (struct dpf_insn){0x2f, 3 | 4 << 4, 0, 0}; /* r3 *= r4 */
    }
    p[at - 1] = (struct dpf_insn){0xbf, 0 | 3 << 4, 0, 0};
    p[at++] = (struct dpf_insn)EXIT;
    uint64_t insns = fake_put(p, at * sizeof(p[0]));
    struct net_bind_args a = {
        .region = region, .ring = ring, .insns = insns, .count = (uint32_t)at};
    return CALL(SYS_NET_BIND, 0, PUT(a));
}

/* All programs that one packet can be asked about have a bound together, and
   whoever is at it is refused; others bind on. */
START_TEST(a_packet_costs_so_much)
{
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    ck_assert_int_eq(CARVE(0, 0, NET_SHARED, port_7), 1);
    struct share_count *steps = &sysinfo_shares(root->index)[SHARE_NET_STEPS];
    ck_assert_uint_eq(steps->limit, NET_STEPS_MAX);
    steps->limit = 8192;
    uint32_t each = LONG + NET_COPY_STEPS, n = steps->limit / each;
    int64_t id = 0;
    for (uint32_t i = 0; i < n; i++) {
        id = bind_long(0, 1);
        ck_assert_int_ge(id, 0);
        ck_assert_uint_eq(steps->used, (i + 1) * each);
    }
    ck_assert_int_eq(bind_long(0, 1), -E_QUOTA);
    /* As an owner it costs its program alone. */
    ck_assert_int_eq(bind_long(0, 0), -E_QUOTA);
    uint32_t left = steps->limit - n * each;
    for (; left >= NET_COPY_STEPS; left -= NET_COPY_STEPS) {
        ck_assert_int_ge(BIND(1, 0, 1, 0, port_7), 0);
    }
    ck_assert_int_eq(BIND(1, 0, 1, 0, port_7), -E_QUOTA);
    ck_assert_uint_eq(steps->used, steps->limit - left);
    /* What tests decide is free, however long. */
    ck_assert_int_ge(BIND(0, 0, 0, 0, port_9), 0);
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)id), 0);
    ck_assert_int_ge(bind_long(0, 0), 0);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
    ck_assert_uint_eq(steps->used, 0);
}
END_TEST

static void fill(unsigned i, uint8_t port);

/* Programs of all regions are run: of a region that lies outside its parent,
   as if the proof were wrong, nothing leaves. */
START_TEST(what_leaves_passes_every_region)
{
    boot();
    ck_assert_int_eq(CARVE(0, 0, NET_OUT, port_7), 1);
    ck_assert_int_eq(CARVE(0, 0, NET_OUT, port_9), 2);
    net_at(0)->region[1][2].parent = 1;
    ck_assert_int_eq(tx_ring(1, 2), 0);
    fill(0, 7);
    fill(1, 9);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 2);
    ck_assert_uint_eq(fake_nic.sent_count, 0);
    ck_assert_uint_eq(tx(0)->owner, NET_OWNER_REFUSED);
    ck_assert_uint_eq(tx(1)->owner, NET_OWNER_REFUSED);
}
END_TEST

START_TEST(regions_nest_so_deep)
{
    boot();
    for (unsigned i = 0; i < NET_OUT_DEPTH_MAX; i++) {
        ck_assert_int_eq(CARVE(i == 0 ? 0 : 1, i, NET_OUT, port_7), i + 1);
    }
    ck_assert_int_eq(CARVE(1, NET_OUT_DEPTH_MAX, NET_OUT, port_7), -E_LIMIT);
    ck_assert_int_eq(tx_ring(1, NET_OUT_DEPTH_MAX), 0);
    fill(0, 7);
    fill(1, 9);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 2);
    ck_assert_uint_eq(fake_nic.sent_count, 1);
    /* Regions stay while others are inside. */
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 1, 0, NET_OUT, 2), -E_BUSY);
}
END_TEST

static void fill(unsigned i, uint8_t port)
{
    struct net_tx_slot *s = tx(i % SLOTS);
    memset(s, 0, sizeof(*s));
    s->header_len = 54;
    s->pieces = 1;
    memset(s->header, 0x22, 54);
    s->header[20] = port;
    s->piece[0] = (struct page_piece){.paddr = data * 4096 + 100, .len = 1000};
    s->owner = NET_OWNER_KERNEL;
}

START_TEST(sending)
{
    boot();
    ck_assert_int_eq(CARVE(0, 0, NET_OUT, port_7), 1);
    ck_assert_int_eq(tx_ring(1, 1), 0);
    fill(0, 7);
    fill(1, 8); /* another's words */
    fill(2, 7);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 3);
    ck_assert_uint_eq(fake_nic.sent_count, 2);
    ck_assert_uint_eq(fake_nic.kicks, 1);
    ck_assert_uint_eq(tx(0)->owner, NET_OWNER_KERNEL);
    ck_assert_uint_eq(tx(1)->owner, NET_OWNER_REFUSED);
    const struct netdev_tx *t = &fake_nic.sent[0];
    ck_assert_uint_eq(t->pieces, 1);
    ck_assert_uint_eq(t->header_len, 54);
    ck_assert_uint_eq(t->piece[0].paddr, data * 4096 + 100);
    /* The device reads the copy that was checked. */
    tx(0)->header[20] = 8;
    ck_assert_uint_eq(t->header[20], 7);
    REFUSED(E_BUSY, SYS_NET_RING_FREE, 0, 0);
    REFUSED(E_BUSY, SYS_NET_REGION_FREE, 1, 0, NET_OUT, 1);
    fake_nic_done(2);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(tx(0)->owner, NET_OWNER_ENV);
    ck_assert_uint_eq(tx(2)->owner, NET_OWNER_ENV);
    ck_assert_uint_eq(head(tx_frame)->done, 3);
    ck_assert_uint_eq(head(tx_frame)->dropped, 1);
    ck_assert_uint_eq(root->uarea->pending, 4);
    ck_assert_uint_eq(sysinfo()->net[0].tx_packets, 2);
    ck_assert_uint_eq(sysinfo()->net[0].tx_bytes, 2108);
    ck_assert_uint_eq(sysinfo()->net[0].tx_refused, 1);
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
    ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 1, 0, NET_OUT, 1), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 3, data, 2), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 3, tx_frame, TX_FRAMES), 0);
    ck_assert_uint_ge(page_free_count(), before + 3);
}
END_TEST

static unsigned at;
static void bad_frame(void)
{
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 1);
    ck_assert_uint_eq(tx(at % SLOTS)->owner, NET_OWNER_REFUSED);
    ck_assert_uint_eq(fake_nic.sent_count, 0);
    at++;
}
#define BAD_FRAME(change)                                                      \
    do {                                                                       \
        struct net_tx_slot *s = tx(at % SLOTS);                                \
        fill(at, 7);                                                           \
        change;                                                                \
        bad_frame();                                                           \
    } while (0)

/* TCP (6) or UDP (17) over IPv4 or 6, its checksum left to the device. */
static void fill_tcp(unsigned i, unsigned version, uint8_t protocol)
{
    struct net_tx_slot *s = tx(i % SLOTS);
    fill(i, 7);
    s->header[12] = version == 4 ? 0x08 : 0x86;
    s->header[13] = version == 4 ? 0x00 : 0xdd;
    s->header[14] = version == 4 ? 0x45 : 0x60;
    s->header[version == 4 ? 23 : 20] = protocol;
    s->flags = NET_TX_CSUM;
    s->csum_start = version == 4 ? 34 : 54;
    s->header_len = (uint16_t)(s->csum_start + 20u);
    s->csum_offset = protocol == 6 ? 16 : 6;
}
#define BAD_CHECKSUM(version, protocol, change)                                \
    do {                                                                       \
        struct net_tx_slot *s = tx(at % SLOTS);                                \
        fill_tcp(at, version, protocol);                                       \
        change;                                                                \
        bad_frame();                                                           \
    } while (0)

/* The device would write where the region has already looked. */
START_TEST(bad_checksums)
{
    boot();
    fake_nic.dev.features |= SYSINFO_NET_TSO6;
    ck_assert_int_eq(tx_ring(0, 0), 0);
    BAD_CHECKSUM(4, 6, s->csum_start = 14);
    BAD_CHECKSUM(4, 6, s->csum_start = 20);
    BAD_CHECKSUM(4, 6, s->csum_offset = 2);
    BAD_CHECKSUM(4, 6, s->csum_offset = 6);
    BAD_CHECKSUM(4, 17, s->csum_offset = 16);
    BAD_CHECKSUM(4, 47, s->csum_offset = 16);
    BAD_CHECKSUM(4, 6, s->header[14] = 0x44; s->csum_start = 30);
    BAD_CHECKSUM(4, 6, s->header[14] = 0x46);
    BAD_CHECKSUM(4, 6, s->header[12] = 0x81); /* a VLAN tag */
    BAD_CHECKSUM(6, 6, s->csum_start = 34);
    BAD_CHECKSUM(6, 0, s->csum_offset = 16);
    BAD_CHECKSUM(6, 6, s->flags |= NET_TX_TSO4; s->gso_size = 1000);
    BAD_CHECKSUM(4, 6, s->flags |= NET_TX_TSO6; s->gso_size = 1000);
    BAD_CHECKSUM(4, 17, s->flags |= NET_TX_TSO4; s->gso_size = 1000);
    for (unsigned v = 4; v <= 6; v += 2) {
        fill_tcp(at++, v, 6);
        fill_tcp(at++, v, 17);
    }
    fill_tcp(at, 4, 6);
    tx(at % SLOTS)->header[14] = 0x46; /* an option */
    tx(at % SLOTS)->csum_start = 38;
    tx(at % SLOTS)->header_len = 58;
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 5);
    ck_assert_uint_eq(fake_nic.sent_count, 5);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(fake_nic.sent[i].flags, NET_TX_CSUM);
    }
}
END_TEST

START_TEST(bad_frames)
{
    boot();
    ck_assert_int_eq(tx_ring(0, 0), 0);
    int64_t other = CALL(SYS_PAGE_ALLOC, 5, PAGE_ANY, 1);
    BAD_FRAME(s->header_len = 13);
    BAD_FRAME(s->header_len = NET_TX_HEADER_MAX + 1);
    BAD_FRAME(s->header_len = UINT16_MAX);
    BAD_FRAME(s->pieces = NET_TX_PIECES_MAX + 1);
    BAD_FRAME(s->piece[0].len = 0);
    BAD_FRAME(s->piece[0].len = 1500);
    BAD_FRAME(s->piece[0].len = UINT32_MAX);
    BAD_FRAME(s->piece[0].paddr = (uint64_t)other * 4096);
    BAD_FRAME(s->piece[0].paddr = FAKE_FIRST * 4096);
    BAD_FRAME(s->piece[0].paddr = FAKE_FRAMES * 4096 - 1);
    BAD_FRAME(s->piece[0].paddr = UINT64_MAX - 10);
    BAD_FRAME(s->piece[0].paddr = (data + 2) * 4096 - 10); /* runs on */
    BAD_FRAME(s->flags = 8);
    BAD_FRAME(s->flags = NET_TX_CSUM; s->csum_start = 34; s->csum_offset = 19);
    BAD_FRAME(s->flags = NET_TX_CSUM; s->csum_start = 0);
    BAD_FRAME(s->flags = NET_TX_CSUM; s->csum_start = UINT16_MAX;
              s->csum_offset = UINT16_MAX);
    BAD_FRAME(s->flags = NET_TX_TSO4; s->gso_size = 1000);
    BAD_FRAME(s->flags = NET_TX_CSUM | NET_TX_TSO6; s->gso_size = 1000;
              s->csum_start = 34);
    BAD_FRAME(s->flags = NET_TX_CSUM | NET_TX_TSO4; s->gso_size = 1;
              s->csum_start = 34);
    BAD_FRAME(s->flags = NET_TX_CSUM | NET_TX_TSO4; s->gso_size = 1480;
              s->csum_start = 34);
    /* The same with nothing wrong. */
    fill_tcp(at, 4, 6);
    tx(at % SLOTS)->flags = NET_TX_CSUM | NET_TX_TSO4;
    tx(at % SLOTS)->gso_size = 1448;
    tx(at % SLOTS)->csum_start = 34;
    tx(at % SLOTS)->csum_offset = 16;
    tx(at % SLOTS)->piece[0].len = 8000;
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 1);
    ck_assert_uint_eq(fake_nic.sent_count, 1);
    ck_assert_uint_eq(fake_nic.sent[0].gso_size, 1448);
    ck_assert_uint_eq(fake_nic.sent[0].header_len, 54);
}
END_TEST

START_TEST(a_full_queue_resumes)
{
    boot();
    ck_assert_int_eq(tx_ring(0, 0), 0);
    fake_nic.room = 3;
    for (unsigned i = 0; i < SLOTS; i++) {
        fill(i, 7);
    }
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 3);
    fake_nic_done(2);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(fake_nic.sent_count, 3); /* two more without a call */
    for (unsigned i = 0; i < SLOTS; i++) {
        fake_nic_done(1);
        fake_trap(ARCH_VECTOR_KICK);
    }
    ck_assert_uint_eq(fake_nic.sent_count, 0);
    ck_assert_uint_eq(head(tx_frame)->done, SLOTS);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
}
END_TEST

static void poll_card(void)
{
    cpu_this()->net_polling = 1;
    net_poll(cpu_this(), NET_POLL_CALL);
}

/* The owner word says the same of a slot that waits and of one that the card
   has: a ring that is under way as a whole is sent once. */
START_TEST(a_slot_under_way_is_not_sent_again)
{
    boot();
    ck_assert_int_eq(tx_ring(0, 0), 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        fill(i, 7);
    }
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), SLOTS);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 0);
    poll_card();
    ck_assert_uint_eq(fake_nic.sent_count, SLOTS);
    struct netdev_tx third = fake_nic.sent[2]; /* is sent before the others */
    fake_nic.sent[2] = fake_nic.sent[0];
    fake_nic.sent[0] = third;
    fake_nic_done(1);
    poll_card();
    ck_assert_uint_eq(tx(0)->owner, NET_OWNER_KERNEL);
    ck_assert_uint_eq(tx(2)->owner, NET_OWNER_ENV);
    ck_assert_uint_eq(fake_nic.sent_count, SLOTS - 1);
    fake_nic_done(SLOTS - 1);
    poll_card();
    ck_assert_uint_eq(head(tx_frame)->done, SLOTS);
    fill(0, 7);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 1);
    fake_nic_done(1);
    poll_card();
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
}
END_TEST

/* What waits for room is sent by any processor, also while its ring goes. */
START_TEST(a_ring_goes_while_another_processor_polls)
{
    boot();
    ck_assert_int_eq(tx_ring(0, 0), 0);
    uint64_t first = tx_frame;
    tx_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, TX_FRAMES);
    ck_assert_int_eq(tx_ring(0, 0), 1);
    fake_nic.room = 1;
    fill(0, 7);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 1), 1);
    tx_frame = first;
    fill(0, 7);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 0), 0);
    fake_nic.complete = 1;
    fake_nic.polled = other_polled;
    pthread_t other = other_begin(poll_card);
    int64_t r = CALL(SYS_NET_RING_FREE, 0, 0);
    pthread_join(other, NULL);
    ck_assert_uint_eq(fake_nic.sent_count, 1); /* the second one's */
    ck_assert_int_eq(r, -E_BUSY);
    fake_nic_done(1);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
}
END_TEST

START_TEST(the_end_of_an_environment_under_way)
{
    boot();
    int64_t id = CALL(SYS_ENV_CREATE, 3, 64, SHARES);
    struct env *e = env_find((uint32_t)id);
    fake_cap(e, 0, "", CAP_ALL);
    fake_cap(e, 1, "net", CAP_ALL);
    fake_cap(e, 3, "mem", CAP_ALL);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, (uint64_t)id),
                     0);
    uint64_t before = page_free_count();
    uint64_t used = root->info->frames_used;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, (uint64_t)id), 0);
    rx_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, RX_FRAMES);
    tx_frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, TX_FRAMES);
    data = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, 2);
    ck_assert_int_eq(rx_ring(), 0);
    ck_assert_int_eq(CARVE(0, 0, NET_OUT, port_7), 1);
    ck_assert_int_eq(CARVE(0, 0, 0, port_7), 1);
    ck_assert_int_eq(tx_ring(1, 1), 1);
    ck_assert_int_ge(BIND(1, 0, 1, 0, port_7), 0);
    fill(0, 7);
    ck_assert_int_eq(CALL(SYS_NET_SEND, 0, 1), 1);
    (void)CALL(SYS_ENV_DESTROY, 0, 0, 0);
    ck_assert_ptr_eq(fake_current(), root);
    for (unsigned i = 0; i < 8 && env_ending(); i++) {
        ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    }
    ck_assert_uint_eq(root->info->frames_used, used + 1); /* one piece */
    uint8_t p[64];
    packet(p, 7);
    fake_nic_arrive(p, sizeof(p));
    fake_nic_done(1);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 1);
    ck_assert_uint_eq(root->info->frames_used, used);
    /* All its frames are free; the kernel's heap may have kept a few. */
    ck_assert_uint_ge(page_free_count() + 8, before + 5);
    /* Its regions are gone, ids can be used again. */
    ck_assert_int_eq(CARVE(0, 0, NET_OUT, port_9), 1);
    ck_assert_int_eq(CARVE(0, 0, 0, port_9), 1);
}
END_TEST

/* Regions of an environment go in turns, and rings with their bindings too. */
START_TEST(many_regions_end_in_turns)
{
    boot();
    int64_t id = CALL(SYS_ENV_CREATE, 3, 64, SHARES);
    struct env *e = env_find((uint32_t)id);
    fake_cap(e, 0, "", CAP_ALL);
    fake_cap(e, 1, "net", CAP_ALL);
    fake_cap(e, 3, "mem", CAP_ALL);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, (uint64_t)id),
                     0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, (uint64_t)id), 0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(CARVE(i == 0 ? 0 : 1, i, 0, port_7), i + 1);
    }
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    ck_assert_ptr_eq(fake_current(), root);
    fake_turns = 0;
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 3, (uint64_t)id, 0), 0);
    ck_assert_uint_ge(fake_turns, 3);
    ck_assert_ptr_null(env_find((uint32_t)id));
    ck_assert_int_eq(CARVE(0, 0, 0, port_9), 1);
}
END_TEST

/* Frames that run long filters are dear: fewer are sent in one turn. */
START_TEST(dear_frames_go_in_turns)
{
    boot();
    struct dpf_insn p[240];
    size_t n = 0;
    p[n++] = (struct dpf_insn)MOV(0, 0);
    while (n + 5 < 240) {
        p[n++] = (struct dpf_insn)LDB(3, 1, 20);
        p[n++] = (struct dpf_insn){0x15, 3, 1, 7};
        p[n++] = (struct dpf_insn)EXIT;
    }
    p[n++] = (struct dpf_insn)MOV(0, 1);
    p[n++] = (struct dpf_insn)EXIT;
    int64_t region = 0;
    for (unsigned depth = 0; depth < NET_OUT_DEPTH_MAX; depth++) {
        region = carve(0, (uint32_t)region, NET_OUT, p, n);
        ck_assert_int_gt(region, 0);
    }
    ck_assert_int_eq(tx_ring(0, (uint32_t)region), 0);
    ck_assert_uint_eq(net_at(0)->ring[0].weight, 1 + 4 * n / 128);
    for (unsigned i = 0; i < SLOTS; i++) {
        fill(i, 7);
    }
    fake_turns = 0;
    /* A poll between two turns may send some, which the call does not count. */
    ck_assert_int_ge(CALL(SYS_NET_SEND, 0, 0), 32 / (1 + 4 * 239 / 128));
    ck_assert_uint_ge(fake_turns, 1);
    ck_assert_uint_eq(fake_nic.sent_count, SLOTS);
}
END_TEST

/* A poll ends when it has taken long. While filters are cheap, the clock is
   looked at after every eighth packet; else after each. */
START_TEST(polls_end_in_time)
{
    boot();
    struct dpf_insn dear[200];
    size_t n = 0;
    dear[n++] = (struct dpf_insn)MOV(0, 0);
    while (n + 6 < 200) {
        dear[n++] = (struct dpf_insn)LDB(3, 1, 20);
        dear[n++] = (struct dpf_insn)LDB(4, 1, 21);
        dear[n++] = (struct dpf_insn){0x2f, 3 | 4 << 4, 0, 0}; /* r3 *= r4 */
        dear[n++] = (struct dpf_insn)JNE(3, 77, 1);
        dear[n++] = (struct dpf_insn){0xa7, 0, 0, 1}; /* r0 ^= 1 */
    }
    dear[n++] = (struct dpf_insn)EXIT;
    ck_assert_int_eq(rx_ring(), 0);
    struct net *net = net_at(0);
    struct net_queue *q = &net->queue[0];
    uint8_t p[64];
    packet(p, 7);
    q->now = fake_tsc;
    fake_tsc += 1000000; /* a millisecond */
    for (unsigned i = 1; i < 8; i++) {
        ck_assert(net_receive(net->dev, 0, p, sizeof(p), 0));
    }
    ck_assert(!net_receive(net->dev, 0, p, sizeof(p), 0));
    int64_t id[6];
    for (unsigned i = 0; i < 6; i++) {
        id[i] = bind_filter(0, 0, 0, NET_TAP, dear, n);
        ck_assert_int_ge(id[i], 0);
    }
    ck_assert_uint_gt(net->steps, 1024);
    q->now = fake_tsc - 1000000;
    ck_assert(!net_receive(net->dev, 0, p, sizeof(p), 0));
    q->now = fake_tsc;
    ck_assert(net_receive(net->dev, 0, p, sizeof(p), 0));
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)id[i]), 0);
    }
    ck_assert_uint_eq(net->steps, 0);
    q->now = fake_tsc - 1000000;
    q->count.rx_packets = 0;
    ck_assert(net_receive(net->dev, 0, p, sizeof(p), 0));
}
END_TEST

#define BAD_RING(error, call, k, ...)                                          \
    do {                                                                       \
        struct net_ring_args a_ = {.slots = SLOTS,                             \
                                   .frame = rx_frame,                          \
                                   .frames = RX_FRAMES,                        \
                                   .memory = 3,                                \
                                   __VA_ARGS__};                               \
        REFUSED(error, call, k, PUT(a_));                                      \
    } while (0)
#pragma clang diagnostic ignored "-Winitializer-overrides"

START_TEST(ring_refusals)
{
    boot();
    BAD_RING(E_CAP, SYS_NET_RX_RING, 9, .event = 0);
    BAD_RING(E_CAP, SYS_NET_RX_RING, 1, .event = 0); /* region 0 is root's */
    BAD_RING(E_CAP, SYS_NET_RX_RING, 0, .memory = 9);
    BAD_RING(E_CAP, SYS_NET_RX_RING, 0, .memory = 5);
    BAD_RING(E_CAP, SYS_NET_RX_RING, 0, .memory = 4); /* lacks CAP_WRITE */
    BAD_RING(E_RANGE, SYS_NET_RX_RING, 0, .memory = 64);
    BAD_RING(E_NONE, SYS_NET_RX_RING, 0, .region = 1);
    BAD_RING(E_RANGE, SYS_NET_RX_RING, 64, .event = 0);
    BAD_RING(E_RANGE, SYS_NET_RX_RING, 0, .device = 1);
    BAD_RING(E_RANGE, SYS_NET_RX_RING, 0, .frame = FAKE_FRAMES);
    BAD_RING(E_NONE, SYS_NET_RX_RING, 0, .frame = FAKE_FIRST);
    BAD_RING(E_INVAL, SYS_NET_RX_RING, 0, .frames = RX_FRAMES - 1);
    BAD_RING(E_INVAL, SYS_NET_RX_RING, 0, .frames = UINT32_MAX);
    BAD_RING(E_INVAL, SYS_NET_RX_RING, 0, .slots = 0);
    BAD_RING(E_INVAL, SYS_NET_RX_RING, 0, .slots = 7);
    BAD_RING(E_INVAL, SYS_NET_RX_RING, 0, .slots = 8192, .frames = 8192);
    BAD_RING(E_INVAL, SYS_NET_RX_RING, 0, .event = 64);
    REFUSED(E_FAULT, SYS_NET_RX_RING, 0, 0x1000);
    BAD_RING(E_CAP, SYS_NET_TX_RING, 9, .event = 0);
    BAD_RING(E_CAP, SYS_NET_TX_RING, 1, .event = 0); /* region 0 is root's */
    BAD_RING(E_CAP, SYS_NET_TX_RING, 0, .memory = 4);
    BAD_RING(E_CAP, SYS_NET_TX_RING, 0, .memory = 5);
    BAD_RING(E_CAP, SYS_NET_TX_RING, 0, .memory = 9);
    BAD_RING(E_RANGE, SYS_NET_TX_RING, 0, .memory = 64);
    BAD_RING(E_RANGE, SYS_NET_TX_RING, 64, .event = 0);
    BAD_RING(E_RANGE, SYS_NET_TX_RING, 0, .device = 4);
    BAD_RING(E_NONE, SYS_NET_TX_RING, 0, .region = 1);
    BAD_RING(E_NONE, SYS_NET_TX_RING, 0, .region = UINT32_MAX);
    BAD_RING(E_INVAL, SYS_NET_TX_RING, 0, .slots = 128);
    REFUSED(E_FAULT, SYS_NET_TX_RING, 0, 0x1000);
    REFUSED(E_RANGE, SYS_NET_RING_FREE, 1, 0);
    REFUSED(E_RANGE, SYS_NET_RING_FREE, 0, NET_RINGS_MAX);
    REFUSED(E_NONE, SYS_NET_RING_FREE, 0, 0);
    REFUSED(E_RANGE, SYS_NET_SEND, 1, 0);
    REFUSED(E_RANGE, SYS_NET_SEND, 0, NET_RINGS_MAX);
    REFUSED(E_NONE, SYS_NET_SEND, 0, 0);
    ck_assert_int_eq(rx_ring(), 0);
    REFUSED(E_NONE, SYS_NET_SEND, 0, 0); /* a receive ring */
    struct env *e = root;
    int64_t id = CALL(SYS_ENV_CREATE, 3, 16, SHARES);
    root = env_find((uint32_t)id);
    (void)CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, (uint64_t)id);
    (void)CALL(SYS_QUANTUM_YIELD, (uint64_t)id);
    REFUSED(E_NONE, SYS_NET_RING_FREE, 0, 0); /* another's */
    (void)CALL(SYS_QUANTUM_YIELD, e->id);
    for (unsigned i = 1; i < NET_RINGS_MAX - 8; i++) { /* the child has 8 */
        ck_assert_int_eq(rx_ring(), i);
    }
    BAD_RING(E_QUOTA, SYS_NET_RX_RING, 0, .event = 0);
    BAD_RING(E_QUOTA, SYS_NET_TX_RING, 0, .event = 0);
}
END_TEST

#define BAD_SPACE(error, call, type, k, prog, ...)                             \
    do {                                                                       \
        uint64_t i_ = fake_put(prog, sizeof(prog));                            \
        struct type a_ = {.insns = i_,                                         \
                          .count = sizeof(prog) / sizeof((prog)[0]),           \
                          __VA_ARGS__};                                        \
        uint64_t at_ = PUT(a_);                                                \
        REFUSED(error, call, k, at_);                                          \
    } while (0)
#define BAD_REGION(error, k, prog, ...)                                        \
    BAD_SPACE(error, SYS_NET_REGION, net_region_args, k, prog, __VA_ARGS__)
#define BAD_BIND(error, k, prog, ...)                                          \
    BAD_SPACE(error, SYS_NET_BIND, net_bind_args, k, prog, __VA_ARGS__)

START_TEST(space_refusals)
{
    boot();
    ck_assert_int_eq(rx_ring(), 0);
    ck_assert_int_eq(CARVE(0, 0, 0, port_7), 1);
    BAD_REGION(E_CAP, 9, port_9, .guard = 1);
    BAD_REGION(E_CAP, 1, port_9, .guard = 1);              /* the root name's */
    BAD_REGION(E_CAP, 2, port_7, .guard = 1, .parent = 1); /* lacks CAP_CTL */
    BAD_REGION(E_CAP, 0, port_9, .guard = 9);
    BAD_REGION(E_RANGE, 0, port_9, .guard = 64);
    BAD_REGION(E_RANGE, 64, port_9, .guard = 1);
    BAD_REGION(E_RANGE, 0, port_9, .device = 1);
    BAD_REGION(E_NONE, 0, port_9, .parent = 2);
    BAD_REGION(E_NONE, 0, port_9, .parent = 1, .flags = NET_OUT);
    BAD_REGION(E_INVAL, 0, port_9, .flags = NET_SHARED | NET_OUT);
    BAD_REGION(E_INVAL, 0, port_9, .flags = NET_TAP);
    BAD_REGION(E_INVAL, 0, port_9, .reserved = 1);
    BAD_REGION(E_INVAL, 0, port_9, .count = 0);
    BAD_REGION(E_INVAL, 0, port_9, .count = 4097);
    BAD_REGION(E_FAULT, 0, port_9, .insns = 0x1000);
    BAD_REGION(E_FAULT, 0, port_9, .count = 4096); /* beyond the u-area */
    BAD_REGION(E_VERIFY, 0, reads_nothing_written, .guard = 1);
    REFUSED(E_FAULT, SYS_NET_REGION, 0, 0x1000);
    REFUSED(E_CAP, SYS_NET_REGION_FREE, 9, 0, 0, 1);
    REFUSED(E_CAP, SYS_NET_REGION_FREE, 2, 0, 0, 1);
    REFUSED(E_RANGE, SYS_NET_REGION_FREE, 64, 0, 0, 1);
    REFUSED(E_RANGE, SYS_NET_REGION_FREE, 1, 1, 0, 1);
    REFUSED(E_INVAL, SYS_NET_REGION_FREE, 1, 0, NET_TAP, 1);
    REFUSED(E_NONE, SYS_NET_REGION_FREE, 1, 0, NET_OUT, 1);
    REFUSED(E_NONE, SYS_NET_REGION_FREE, 1, 0, 0, NET_REGIONS_MAX);
    REFUSED(E_BUSY, SYS_NET_REGION_FREE, 0, 0, 0, 0);
    BAD_BIND(E_CAP, 9, port_7, .region = 1);
    BAD_BIND(E_CAP, 5, port_7, .region = 1);
    BAD_BIND(E_CAP, 1, port_7, .region = 0);
    BAD_BIND(E_CAP, 1, port_7, .region = 1, .flags = NET_TAP);
    BAD_BIND(E_RANGE, 64, port_7, .region = 1);
    BAD_BIND(E_RANGE, 1, port_7, .region = 1, .device = 1);
    BAD_BIND(E_NONE, 1, port_7, .region = 2);
    BAD_BIND(E_NONE, 1, port_7, .region = 1, .ring = 1);
    BAD_BIND(E_NONE, 1, port_7, .region = 1, .ring = UINT32_MAX);
    BAD_BIND(E_INVAL, 1, port_7, .region = 1, .flags = NET_SHARED);
    BAD_BIND(E_INVAL, 1, port_7, .region = 1, .reserved = 1);
    BAD_BIND(E_INVAL, 1, port_7, .region = 1, .count = 0);
    BAD_BIND(E_FAULT, 1, port_7, .region = 1, .insns = 0x1000);
    BAD_BIND(E_VERIFY, 1, reads_nothing_written, .region = 1);
    BAD_BIND(E_VERIFY, 1, turns, .region = 1);
    BAD_BIND(E_VERIFY, 1, turns32, .region = 1);
    BAD_REGION(E_VERIFY, 0, turns, .flags = NET_OUT);
    REFUSED(E_FAULT, SYS_NET_BIND, 1, 0x1000);
    REFUSED(E_RANGE, SYS_NET_UNBIND, 1, 0);
    REFUSED(E_NONE, SYS_NET_UNBIND, 0, 0);
    REFUSED(E_NONE, SYS_NET_UNBIND, 0, UINT32_MAX);
    int64_t b = BIND(2, 0, 1, 0, port_7); /* CAP_READ is enough */
    ck_assert_int_ge(b, 0);
    REFUSED(E_BUSY, SYS_NET_REGION_FREE, 1, 0, 0, 1);
    struct net_like_args like = {.like = (uint32_t)b};
    REFUSED(E_CAP, SYS_NET_BIND_LIKE, 5, PUT(like));
    REFUSED(E_CAP, SYS_NET_BIND_LIKE, 9, PUT(like));
    REFUSED(E_RANGE, SYS_NET_BIND_LIKE, 64, PUT(like));
    REFUSED(E_FAULT, SYS_NET_BIND_LIKE, 1, 0x1000);
    like.count = 17;
    REFUSED(E_INVAL, SYS_NET_BIND_LIKE, 1, PUT(like));
    like.count = 1;
    like.consts = 0x1000;
    REFUSED(E_FAULT, SYS_NET_BIND_LIKE, 1, PUT(like));
    like.count = 0;
    like.like = 99;
    REFUSED(E_NONE, SYS_NET_BIND_LIKE, 1, PUT(like));
    like.like = (uint32_t)b;
    like.ring = 1;
    REFUSED(E_NONE, SYS_NET_BIND_LIKE, 1, PUT(like));
    like.ring = 0;
    like.device = 1;
    REFUSED(E_RANGE, SYS_NET_BIND_LIKE, 1, PUT(like));
    root->info->frames_quota = 1ull << 40; /* what a count of 32 bits costs */
    BAD_BIND(E_INVAL, 1, port_7, .region = 1, .count = 1u << 26);
    BAD_REGION(E_INVAL, 0, port_9, .count = UINT32_MAX);
    root->info->frames_quota = root->info->frames_used;
    root->kernel_bytes += 4096 - root->kernel_bytes % 4096;
    BAD_BIND(E_QUOTA, 1, port_7, .region = 1);
    BAD_REGION(E_QUOTA, 0, port_9, .guard = 1);
    like.device = 0;
    REFUSED(E_QUOTA, SYS_NET_BIND_LIKE, 1, PUT(like));
}
END_TEST

static struct net_refusal *refusal(void)
{
    return (struct net_refusal *)(root->uarea->scratch + 1024);
}

static void no_text_beyond_its_end(void)
{
    const struct net_refusal *r = refusal();
    for (size_t i = strlen(r->text); i < sizeof(r->text); i++) {
        ck_assert_int_eq(r->text[i], 0);
    }
}

START_TEST(stealing_is_refused_and_shown)
{
    boot();
    const uint64_t where = UAREA_VA + offsetof(struct uarea, scratch) + 1024;
    ck_assert_int_eq(rx_ring(), 0);
    ck_assert_int_eq(CARVE(0, 0, 0, port_7), 1);
    int64_t mine = BIND(1, 0, 1, 0, port_7);
    ck_assert_int_ge(mine, 0);
    BAD_BIND(E_REGION, 1, port_9, .region = 1, .refusal = where);
    ck_assert_uint_ge(refusal()->witness_len, 21);
    ck_assert_uint_eq(refusal()->witness[20], 9); /* a packet outside */
    ck_assert_uint_ne(refusal()->text[0], 0);
    BAD_BIND(E_CONFLICT, 1, port_7_from_1, .region = 1, .refusal = where);
    ck_assert_uint_eq(refusal()->other, (uint32_t)mine);
    ck_assert_uint_eq(refusal()->witness[20], 7);
    ck_assert_uint_eq(refusal()->witness[21], 1);
    BAD_BIND(E_CONFLICT, 0, every, .region = 0);
    BAD_REGION(E_REGION, 1, port_9, .parent = 1, .guard = 1);
    BAD_BIND(E_VERIFY, 1, reads_nothing_written, .region = 1, .refusal = where);
    ck_assert_uint_eq(refusal()->insn, 1);
    BAD_BIND(E_FAULT, 1, port_9, .region = 1, .refusal = 0x1000);
    /* With permission the smaller one owns. */
    ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)mine), 0);
    int64_t wide = BIND(1, 0, 1, NET_REFINE, port_7);
    int64_t narrow = BIND(1, 0, 1, 0, port_7_from_1);
    ck_assert_int_ge(wide, 0);
    ck_assert_int_ge(narrow, 0);
    uint8_t p[64], q[64];
    packet(p, 7);
    packet(q, 7);
    q[21] = 1;
    fake_nic_arrive(p, 64);
    fake_nic_arrive(q, 64);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(rx(0)->binding, (uint32_t)wide);
    ck_assert_uint_eq(rx(1)->binding, (uint32_t)narrow);
    /* The same filter with another constant. */
    ck_assert_int_eq(BIND(0, 0, 0, 0, port_9), narrow + 1);
    struct net_const other = {.index = 0, .value = 10};
    uint64_t consts = PUT(other);
    struct net_like_args like = {
        .like = (uint32_t)narrow + 1, .count = 1, .consts = consts};
    int64_t ten = CALL(SYS_NET_BIND_LIKE, 0, PUT(like));
    ck_assert_int_ge(ten, 0);
    packet(p, 10);
    fake_nic_arrive(p, 64);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(rx(2)->binding, (uint32_t)ten);
    /* Of a refusal before, which may have been another's, nothing is left. */
    BAD_BIND(E_VERIFY, 0, reads_nothing_written, .region = 0);
    like.refusal = where;
    (void)PUT(other);
    uint64_t again = PUT(like);
    REFUSED(E_CONFLICT, SYS_NET_BIND_LIKE, 0, again);
    ck_assert_uint_eq(refusal()->other, (uint32_t)ten);
    ck_assert_uint_eq(refusal()->insn, 0);
    no_text_beyond_its_end();
    /* Freeing the ring unbinds all. */
    ck_assert_int_eq(CALL(SYS_NET_RING_FREE, 0, 0), 0);
    ck_assert_int_eq(rx_ring(), 0);
    ck_assert_int_ge(BIND(0, 0, 0, 0, every), 0);
}
END_TEST

TESTS("net", stealing_is_refused_and_shown, a_packet_finds_its_ring,
      unbinding_never_fails, a_ring_ends_without_memory,
      a_ring_ends_in_one_version, a_packet_wakes_its_owner,
      a_flood_keeps_nobody_out, a_poll_has_an_end, taps_get_copies,
      a_ring_gets_one_copy, a_packet_costs_so_much,
      what_leaves_passes_every_region, regions_nest_so_deep,
      interrupts_of_nothing, sending, bad_frames, bad_checksums,
      a_full_queue_resumes, a_slot_under_way_is_not_sent_again,
      a_ring_goes_while_another_processor_polls, dear_frames_go_in_turns,
      polls_end_in_time, the_end_of_an_environment_under_way,
      many_regions_end_in_turns, ring_refusals, space_refusals)
