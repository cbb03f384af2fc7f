/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer as a hostile environment: each input is a fresh child with the
 * root capability and others, whose bytes are system calls, exceptions,
 * timer rings, packets and lies in its rings. Afterwards it is destroyed,
 * and all it took must be back: frames, quota, rings, slices.
 */
#include "src/abi/disk.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/sysno.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUN 8u /* frames that the child has from the start */

static struct env *root, *child;
static uint64_t run; /* the first of them */
static const uint8_t *at, *end;

static uint8_t byte(void)
{
    return at < end ? *at++ : 0;
}

/* A number that is likely to mean something. */
static uint64_t pick(void)
{
    uint8_t b = byte();
    const uint64_t some[] = {
        run,         run + 1,     run + RUN,  child->uarea_frame,
        FAKE_FIRST,  UINT64_MAX,  PAGE_ANY,   0x10000000,
        0x40000000,  UADDR_TOP,   child->id,  UADDR_TOP - 4096,
        child->root, 512,         4096,       UINT32_MAX,
        run * 4096,  0x1000,      UAREA_VA,   run * 4096 + 2048,
        1ull << 63,  65536,       256,        UAREA_VA + 2048,
        FAKE_FRAMES, child->root, SYSINFO_VA, fake_tsc + 100};
    if (b < 160) {
        return b % 20;
    }
    if (b < 240) {
        return some[b % (sizeof(some) / sizeof(some[0]))];
    }
    return (uint64_t)byte() << (b % 8 * 8);
}

static const struct dpf_insn filter[] = {{0x71, 3 | 1 << 4, 20, 0},
                                         {0xb7, 0, 0, 0},
                                         {0x55, 3, 1, 7},
                                         {0xb7, 0, 0, 1},
                                         {0x95, 0, 0, 0}};

/* Fill the child's scratch area: words for a struct, then instructions. */
static uint64_t scratch(void)
{
    uint8_t *s = child->uarea->scratch;
    uint8_t shape = byte();
    uint64_t words[8];
    for (unsigned i = 0; i < 8; i++) {
        words[i] = shape & 1 << i ? pick() | pick() << 32 : pick();
    }
    struct dpf_insn code[5];
    memcpy(code, filter, sizeof(code));
    code[2].imm = byte();
    code[byte() % 5].opcode ^= byte() % 4 == 0 ? byte() : 0;
    memcpy(s, words, sizeof(words));
    memcpy(s + 1024, code, sizeof(code));
    return UAREA_VA + offsetof(struct uarea, scratch);
}

/* The arguments of a call that takes a struct, well-formed where it can be. */
static uint64_t well_formed(uint64_t number)
{
    uint64_t va = scratch();
    uint64_t insns = va + 1024;
    void *to = child->uarea->scratch;
    if (number == SYS_NET_RX_RING || number == SYS_NET_TX_RING) {
        struct net_ring_args a = {.slots = 1u << byte() % 3,
                                  .frame = run + byte() % 4,
                                  .frames = 1 + byte() % 6,
                                  .event = byte() % 66,
                                  .region = byte() % 3,
                                  .memory = byte() % 4};
        memcpy(to, &a, sizeof(a));
    } else if (number == SYS_NET_BIND) {
        struct net_bind_args a = {.region = byte() % 3,
                                  .ring = byte() % 4,
                                  .flags = byte() % 8,
                                  .insns = insns,
                                  .count = 5,
                                  .refusal = byte() % 2 ? va + 1200 : 0};
        memcpy(to, &a, sizeof(a));
    } else if (number == SYS_NET_REGION) {
        struct net_region_args a = {.parent = byte() % 3,
                                    .guard = byte() % 4,
                                    .flags = (byte() % 3) * 4 + byte() % 2,
                                    .insns = insns,
                                    .count = 5};
        memcpy(to, &a, sizeof(a));
    } else if (number == SYS_DISK_RANGE) {
        struct disk_range_args a = {.parent = byte() % 3,
                                    .guard = byte() % 4,
                                    .start = byte() % 70,
                                    .count = byte() % 70};
        memcpy(to, &a, sizeof(a));
    } else if (number == SYS_DISK_RING) {
        struct disk_ring_args a = {.range = byte() % 3,
                                   .slots = 1u << byte() % 5,
                                   .frames = 1,
                                   .frame = run + byte() % RUN,
                                   .event = byte() % 66,
                                   .memory = byte() % 4};
        memcpy(to, &a, sizeof(a));
    } else if (number == SYS_PAGE_BIND) {
        struct page_binding b = {.va = (uint64_t)byte() << 12 << byte() % 30,
                                 .frame = run + byte() % RUN,
                                 .count = byte() % 10,
                                 .prot = byte() % 18};
        memcpy(to, &b, sizeof(b));
    }
    return va;
}

static void call(void)
{
    static const uint16_t gaps[] = {SYS_CAP_MINT, SYS_NET_REGION,
                                    SYS_DISK_RANGE, SYS_CONSOLE_WRITE};
    static const uint8_t lengths[] = {15, 9, 5, 2};
    uint8_t b = byte();
    uint8_t group = b >> 6;
    uint64_t number = gaps[group] + b % lengths[group];
    uint64_t args[6];
    for (unsigned i = 0; i < 6; i++) {
        args[i] = pick();
    }
    uint64_t va = byte() % 4 == 0 ? scratch() : well_formed(number);
    if (number == SYS_PAGE_BIND) {
        args[1] %= 2;
        args[3] = va;
        args[4] %= 4;
    } else if (number == SYS_CAP_MINT) {
        args[2] = va;
        args[3] %= 8;
    } else if (byte() % 8 != 0) {
        args[1] = va; /* most structs are the second argument */
        args[0] %= 4;
    }
    bool spares_root =
        !(number == SYS_ENV_DESTROY && (uint32_t)args[1] == root->id) &&
        !(number == SYS_QUANTUM_FREE && (uint32_t)args[1] == 0 &&
          (uint32_t)args[2] == 0) &&
        !(number == SYS_PAGE_FREE &&
          args[1] - run >= RUN); /* frames by number: its own only */
    if (spares_root) {
        (void)fake_call(number, args);
    }
}

/* Write something into the frames that rings may lie in. */
static void lie(void)
{
    uint64_t f = run + byte() % RUN;
    uint8_t *p = (uint8_t *)arch_frame_ptr(f) + byte() % 16 * 256;
    uint64_t v = pick();
    switch (byte() % 3) {
    case 0:
        memcpy(p + byte() % 31 * 8, &v, sizeof(v));
        break;
    case 1: {
        struct net_tx_slot s = {.owner = 1,
                                .header_len = (uint16_t)(byte() % 140),
                                .pieces = byte() % 9,
                                .flags = byte() % 9,
                                .csum_start = (uint16_t)pick(),
                                .csum_offset = byte(),
                                .gso_size = (uint16_t)(byte() * 16)};
        s.header[20] = byte();
        s.piece[0] = (struct page_piece){
            (run + byte() % (RUN + 1)) * 4096 + byte(), byte() * 8u, 0};
        uint64_t slot = (uint64_t)byte() % 15;
        memcpy((uint8_t *)arch_frame_ptr(f) + 64 + slot * 256, &s, sizeof(s));
        break;
    }
    default: {
        struct disk_slot s = {.owner = 1,
                              .op = byte() % 4,
                              .pieces = byte() % 3,
                              .block = byte() % 70,
                              .count = byte() % 3};
        s.piece[0] = (struct page_piece){(run + byte() % (RUN + 1)) * 4096,
                                         s.count * 4096, 0};
        memcpy(p, &s, sizeof(s));
        break;
    }
    }
}

static void something(void)
{
    static uint8_t packet[64];
    switch (byte() % 16) {
    case 0:
        fake_tsc += pick() % 4000000;
        fake_trap(ARCH_VECTOR_TIMER);
        break;
    case 1:
        fake_trap(byte() % 32);
        break;
    case 2:
        packet[20] = byte();
        if (fake_nic.frames < 60) {
            fake_nic_arrive(packet, sizeof(packet));
        }
        break;
    case 3:
        fake_nic_done(byte() % 8);
        break;
    case 4:
        fake_disk_complete(byte() % (fake_disk.reqs + 1));
        break;
    case 5:
    case 6:
    case 7:
        lie();
        break;
    case 8:
        child->uarea->entry[byte() % ENV_ENTRIES] = pick();
        child->uarea->slice_mask = byte() % 2;
        child->uarea->fault_active = byte() % 2;
        break;
    default:
        call();
    }
}

static void begin(void)
{
    fake_boot(1);
    root = fake_first();
    fake_nic_attach(1);
    fake_disk_attach();
    fake_nic.room = 8;
    fake_disk.room = 8;
}

static void make_child(void)
{
    child = env_find((uint32_t)CALL(SYS_ENV_CREATE, 0, 256, SHARES));
    fake_cap(child, 0, "", CAP_ALL);
    fake_cap(child, 1, "n", CAP_ALL);
    fake_cap(child, 2, "n", CAP_READ);
    fake_cap(child, 3, "m", CAP_ALL);
    (void)CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, child->id);
    (void)CALL(SYS_QUANTUM_YIELD, child->id);
    run = (uint64_t)CALL(SYS_PAGE_ALLOC, 3, PAGE_ANY, RUN);
}

/* Everything but the root ends; the devices finish what they have. */
static void clean_up(void)
{
    for (uint32_t i = 2; i < ENVS_MAX; i++) {
        struct env *e = env_at(i);
        if (e != NULL && env_find(e->id) != NULL) {
            (void)CALL(SYS_ENV_DESTROY, 0, e->id, 0);
        }
    }
    fake_disk_complete(fake_disk.reqs);
    while (fake_nic.sent_count > 0 || fake_nic.frames > 0) {
        fake_nic_done(64);
        cpu_this()->net_polling = 1;
        fake_trap(ARCH_VECTOR_KICK);
    }
}

static void check_clean(uint64_t quota, uint64_t used)
{
    const struct net *n = net_at(0);
    for (unsigned i = 0; i < NET_RINGS_MAX; i++) {
        assert(n->ring[i].kind == NET_RING_NONE);
    }
    for (unsigned i = 1; i < NET_REGIONS_MAX; i++) {
        assert(!n->region[0][i].used && !n->region[1][i].used);
    }
    for (unsigned i = 1; i < QUANTUM_SLOTS; i++) {
        assert(sysinfo_vector(0)[i] == 0);
    }
    assert(root->info->frames_quota == quota);
    assert(root->info->frames_used == used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (root == NULL) {
        begin();
    }
    at = data;
    end = data + size;
    uint64_t quota = root->info->frames_quota;
    uint64_t used = root->info->frames_used;
    fake_console_len = 0;
    make_child();
    uint32_t id = child->id;
    while (at < end && env_find(id) != NULL) {
        if (fake_current() != child) {
            /* Asleep or at the end of its slice: look at it again. */
            fake_tsc += 2000000;
            child->uarea->pending = UINT64_MAX;
            fake_trap(ARCH_VECTOR_TIMER);
            (void)CALL(SYS_QUANTUM_YIELD, id);
            (void)byte();
            continue;
        }
        something();
    }
    while (fake_current() != root) {
        fake_tsc += 2000000;
        root->uarea->pending = UINT64_MAX;
        (void)CALL(SYS_QUANTUM_YIELD, root->id);
    }
    for (unsigned i = 1; i < CAP_SLOTS; i++) {
        fake_cap(root, i, "", 0);
    }
    clean_up();
    check_clean(quota, used);
    return 0;
}
