/* SPDX-License-Identifier: MIT */
/*
 * One environment tries to take another's packets by the system calls: every
 * attempt is refused, leaves no trace, and names a packet that both claim and
 * that goes on going to its owner.
 */
#include "src/abi/err.h"
#include "src/abi/net.h"
#include "src/abi/quantum.h"
#include "src/abi/sysno.h"
#include "src/kern/code.h"
#include "src/kern/net.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/attempts.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include "tests/unit/kern/main.h"

#define SLOTS 64u
#define RING_FRAMES (1u + SLOTS / 2) /* head and slots, then the buffers */

static uint64_t victim_ring;
static uint32_t thief_id, victim_binding;

static uint64_t ring(uint64_t want)
{
    struct net_ring_args a = {
        .slots = SLOTS,
        .frame = (uint64_t)CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, RING_FRAMES),
        .frames = RING_FRAMES,
        .region = 1};
    ck_assert_int_eq(CALL(SYS_NET_RX_RING, 2, PUT(a)), (int64_t)want);
    struct net_ring_head *h = arch_frame_ptr(a.frame);
    struct net_rx_slot *s = (void *)(h + 1);
    for (unsigned i = 0; i < SLOTS; i++) {
        s[i].owner = NET_OWNER_KERNEL;
    }
    return a.frame;
}

/* The words of a call, at a place that is used again for the next one. */
static struct {
    struct net_bind_args args;
    struct net_refusal refusal;
    struct dpf_insn insn[64];
} * said;
static uint64_t said_va;

static uint64_t va_of(const void *in_said)
{
    return said_va + (uint64_t)((const char *)in_said - (const char *)said);
}

static void speak_as(struct env *e)
{
    said = (void *)e->uarea->scratch;
    said_va = UAREA_VA + offsetof(struct uarea, scratch);
}

static void say(uint32_t ring_id, uint32_t flags, const struct filter *f)
{
    said->args = (struct net_bind_args){.region = 1,
                                        .ring = ring_id,
                                        .flags = flags,
                                        .insns = va_of(said->insn),
                                        .count = f->count,
                                        .refusal = va_of(&said->refusal)};
    memcpy(said->insn, f->insn, sizeof(f->insn));
}

/* A region that both may bind in; the victim's port 80; the thief's ring. */
static void boot(void)
{
    struct filter all = {.insn = {{0xb7, 0, 0, 1}, {0x95, 0, 0, 0}},
                         .count = 2};
    fake_boot(1);
    struct env *victim = fake_first();
    fake_nic_attach(1);
    fake_cap(victim, 0, "v", CAP_ALL);
    fake_cap(victim, 1, "", CAP_ALL);
    fake_cap(victim, 2, "net", CAP_ALL);
    struct net_region_args region = {.guard = 2, .count = all.count};
    region.insns = fake_put(all.insn, 2 * sizeof(all.insn[0]));
    ck_assert_int_eq(CALL(SYS_NET_REGION, 1, PUT(region)), 1);
    victim_ring = ring(0);
    speak_as(victim);
    struct filter f;
    filter_victim(&f, 80);
    say(0, 0, &f);
    int64_t b = CALL(SYS_NET_BIND, 2, said_va);
    ck_assert_int_ge(b, 0);
    victim_binding = (uint32_t)b;
    thief_id = (uint32_t)CALL(SYS_ENV_CREATE, 1, 256, SHARES);
    struct env *thief = env_find(thief_id);
    fake_cap(thief, 0, "t", CAP_ALL);
    fake_cap(thief, 2, "net", CAP_READ);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 1, 0, QUANTUM_ANY, thief_id), 0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, thief_id), 0);
    ck_assert_ptr_eq(fake_current(), thief);
    (void)ring(1);
    speak_as(thief);
}

static uint64_t victim_got(void)
{
    return ((const struct net_ring_head *)arch_frame_ptr(victim_ring))->done;
}

/* The refusal's packet is the victim's, and the thief's filter wants it. */
static void witness_is_shared(const struct attempt *a, const struct filter *f)
{
    const struct net_refusal *r = &said->refusal;
    struct dpf_program *p = NULL;
    ck_assert_uint_eq(r->other, victim_binding);
    ck_assert_int_ne(r->text[0], 0);
    if (a->opaque && r->witness_len == 0) {
        return; /* refused for what it might do: it was caught at nothing */
    }
    ck_assert_uint_ge(r->witness_len, 38);
    ck_assert_int_eq(
        dpf_program_create(&code_mem, DPF_FILTER, f->insn, f->count, &p, NULL),
        0);
    bool wanted = dpf_filter_run(p, r->witness, r->witness_len) != 0;
    dpf_program_destroy(p);
    ck_assert_msg(wanted, "%s: not its packet", a->name);
    uint64_t before = victim_got();
    fake_nic_arrive(r->witness, r->witness_len);
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_msg(victim_got() == before + 1, "%s: took it", a->name);
}

START_TEST(every_attempt_is_refused)
{
    const struct attempt *a = &attempts[_i];
    boot();
    struct filter f;
    a->write(&f);
    say(1, 0, &f);
    ck_assert_msg(CALL(SYS_NET_BIND, 2, said_va) == -E_CONFLICT, "%s: bound",
                  a->name);
    witness_is_shared(a, &f);
    REFUSED(E_CONFLICT, SYS_NET_BIND, 2, said_va);
    /* With leave to refine it may lie around the victim's, which goes first */
    say(1, NET_REFINE, &f);
    int64_t around = CALL(SYS_NET_BIND, 2, said_va);
    ck_assert(around >= 0 || around == -E_CONFLICT);
    uint8_t p[64] = {[12] = 8, [14] = 0x45, [23] = 6, [37] = 80};
    uint64_t before = victim_got();
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(victim_got(), before + 1);
    said->args.flags = NET_TAP;
    REFUSED(E_CAP, SYS_NET_BIND, 2, said_va);
}
END_TEST

struct copy {
    struct net_like_args args;
    struct net_const constant;
    struct net_refusal refusal;
};

START_TEST(a_copy_with_the_victims_constant)
{
    boot();
    struct filter f;
    filter_victim(&f, 81);
    say(1, 0, &f);
    int64_t own = CALL(SYS_NET_BIND, 2, said_va);
    ck_assert_int_ge(own, 0);
    /* Which of the constants is the port is the library's business: all. */
    for (uint32_t i = 0; i < 8; i++) {
        struct copy *like = (void *)said;
        *like = (struct copy){.args = {.ring = 1,
                                       .like = (uint32_t)own,
                                       .count = 1,
                                       .consts = va_of(&like->constant),
                                       .refusal = va_of(&like->refusal)},
                              .constant = {.index = i, .value = 80}};
        int64_t r = CALL(SYS_NET_BIND_LIKE, 2, said_va);
        if (r == -E_CONFLICT) {
            ck_assert_uint_eq(like->refusal.other, victim_binding);
            ck_assert_uint_ge(like->refusal.witness_len, 38);
            return;
        }
    }
    ck_abort_msg("no constant of the filter is the port");
}
END_TEST

START_TEST(what_is_apart_is_bound)
{
    uint8_t p[64] = {[12] = 8, [14] = 0x45, [20] = 0, [23] = 6, [37] = 80};
    boot();
    struct filter f;
    filter_later_fragments(&f);
    say(1, 0, &f);
    ck_assert_int_ge(CALL(SYS_NET_BIND, 2, said_va), 0);
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(victim_got(), 1);
    p[21] = 1; /* a later fragment now */
    fake_nic_arrive(p, sizeof(p));
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_uint_eq(victim_got(), 1);
    ck_assert_uint_eq(sysinfo()->net[0].rx_unowned, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("steal");
    TCase *c = tcase_create("steal");
    tcase_set_timeout(c, 30);
    suite_add_tcase(s, c);
    tcase_add_loop_test(c, every_attempt_is_refused, 0, (int)attempt_count);
    tcase_add_test(c, a_copy_with_the_victims_constant);
    tcase_add_test(c, what_is_apart_is_bound);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
