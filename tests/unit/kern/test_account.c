/* SPDX-License-Identifier: MIT */
/*
 * Kernel memory that an environment causes is on its account: what bindings,
 * regions and predicates take of the machine's frames is what they are
 * charged for, and comes back with them.
 */
#include "dpf/dpf.h"
#include "src/abi/err.h"
#include "src/abi/event.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/sysno.h"
#include "src/kern/code.h"
#include "src/kern/kheap.h"
#include "src/kern/page.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

#define VA 0x10000000ull
#define SLACK 16u /* frames: slabs begun, running totals of bytes */
#define MANY 24u

static struct env *root;
static uint32_t ring;
static struct dpf_insn *code; /* bound at VA */

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_nic_attach(1);
    uint64_t f = (uint64_t)CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 16);
    struct page_binding b = {VA, f, 16, PAGE_R};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 0, PUT(b), 1), 1);
    code = arch_frame_ptr(f);
    struct net_ring_args a = {.slots = 8, .frames = 8, .frame = f + 8};
    int64_t r = CALL(SYS_NET_RX_RING, 0, PUT(a));
    ck_assert_int_ge(r, 0);
    ring = (uint32_t)r;
}

static uint32_t emit(uint32_t at, uint8_t op, uint8_t regs, int16_t off,
                     int32_t imm)
{
    code[at] = (struct dpf_insn){op, regs, off, imm};
    return at + 1;
}

/* One byte is `which`, and `wide` pairs of bytes differ: each pair costs the
   diagram of the filter as many nodes as a byte has values. */
static uint32_t awkward(uint8_t which, uint32_t wide)
{
    uint32_t at = 0, tests = 0;
    at = emit(at, 0x71, 3 | 1 << 4, 20, 0);
    uint32_t jump[64];
    jump[tests++] = at;
    at = emit(at, 0x55, 3, 0, which);
    for (uint32_t i = 0; i < wide; i++) {
        at = emit(at, 0x71, 3 | 1 << 4, (int16_t)(24 + 2 * i), 0);
        at = emit(at, 0x71, 4 | 1 << 4, (int16_t)(25 + 2 * i), 0);
        jump[tests++] = at;
        at = emit(at, 0x1d, 3 | 4 << 4, 0, 0); /* equal: no */
    }
    at = emit(at, 0xb7, 0, 0, 1);
    at = emit(at, 0x95, 0, 0, 0);
    for (uint32_t i = 0; i < tests; i++) {
        code[jump[i]].off = (int16_t)(at - jump[i] - 1);
    }
    at = emit(at, 0xb7, 0, 0, 0);
    return emit(at, 0x95, 0, 0, 0);
}

/* What is gone of the machine, and what of it is on the account. */
static void account_holds(uint64_t free, uint64_t used, const char *when)
{
    uint64_t taken = free - page_free_count();
    uint64_t charged = root->info->frames_used - used;
    ck_assert_msg(taken <= charged + SLACK, "%s: %lu frames taken, %lu charged",
                  when, (unsigned long)taken, (unsigned long)charged);
}

START_TEST(bindings)
{
    boot();
    uint64_t free = page_free_count(), used = root->info->frames_used;
    int64_t id[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t count = awkward((uint8_t)i, 1 + i % 3);
        struct net_bind_args a = {.ring = ring, .insns = VA, .count = count};
        id[i] = CALL(SYS_NET_BIND, 0, PUT(a));
        account_holds(free, used, "bound");
    }
    for (uint32_t i = 0; i < MANY; i++) {
        if (id[i] >= 0) {
            ck_assert_int_eq(CALL(SYS_NET_UNBIND, 0, (uint64_t)id[i]), 0);
        }
    }
    ck_assert_uint_eq(root->info->frames_used, used);
    account_holds(free, used, "unbound");
}
END_TEST

START_TEST(regions)
{
    boot();
    uint64_t free = page_free_count(), used = root->info->frames_used;
    int64_t id[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t count = awkward((uint8_t)i, i % 4);
        struct net_region_args a = {
            .flags = i % 2 == 0 ? NET_OUT : 0, .insns = VA, .count = count};
        id[i] = CALL(SYS_NET_REGION, 0, PUT(a));
        account_holds(free, used, "carved");
    }
    for (uint32_t i = 0; i < MANY; i++) {
        if (id[i] >= 0) {
            ck_assert_int_eq(CALL(SYS_NET_REGION_FREE, 0, 0,
                                  i % 2 == 0 ? NET_OUT : 0, (uint64_t)id[i]),
                             0);
        }
    }
    ck_assert_uint_eq(root->info->frames_used, used);
    account_holds(free, used, "freed");
}
END_TEST

START_TEST(predicates)
{
    boot();
    uint64_t free = page_free_count(), used = root->info->frames_used;
    for (uint32_t i = 0; i < ENV_PREDICATES; i++) {
        uint32_t at = 0;
        while (at < 1 + 400 * i) {
            at = emit(at, 0xb7, 0, 0, (int32_t)at);
        }
        at = emit(at, 0x95, 0, 0, 0);
        struct event_args a = {.insns = VA, .count = at};
        ck_assert_int_eq(CALL(SYS_EVENT_BIND, 0, PUT(a)), (int64_t)i + 1);
        account_holds(free, used, "bound");
    }
    for (uint64_t i = 1; i <= ENV_PREDICATES; i++) {
        ck_assert_int_eq(CALL(SYS_EVENT_UNBIND, i), 0);
    }
    ck_assert_uint_eq(root->info->frames_used, used);
    ck_assert_uint_eq(page_free_count(), free);
}
END_TEST

/* With a quota that the estimate fits and the truth does not. */
START_TEST(what_is_too_dear_leaves_no_trace)
{
    boot();
    uint64_t quota = root->info->frames_quota;
    uint32_t count = awkward(1, 3);
    struct net_bind_args a = {.ring = ring, .insns = VA, .count = count};
    int64_t r = -1;
    for (uint64_t left = 1; r < 0 && left < 4000; left++) {
        uint64_t bytes = kheap_bytes();
        root->info->frames_quota = root->info->frames_used + left;
        uint64_t before = fake_digest(false);
        r = CALL(SYS_NET_BIND, 0, PUT(a));
        if (r < 0) {
            ck_assert_int_eq(r, -E_QUOTA);
            ck_assert_uint_eq(fake_digest(false), before);
            ck_assert_uint_le(kheap_bytes(), bytes + SLACK * PAGE_SIZE);
        }
    }
    ck_assert_int_ge(r, 0);
    root->info->frames_quota = quota;
}
END_TEST

TESTS("account", bindings, regions, predicates,
      what_is_too_dear_leaves_no_trace)
