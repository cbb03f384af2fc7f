/* SPDX-License-Identifier: MIT */
/*
 * Calls that keep their position in the object, because what they have done so
 * far must stay true: lists that are cleared, a run that is reserved, names
 * that are inherited. Other calls come between their turns: nothing is lost,
 * nothing is done twice.
 */
#include "src/abi/err.h"
#include "src/abi/page.h"
#include "src/abi/quantum.h"
#include "src/abi/sysno.h"
#include "src/kern/page.h"
#include "src/kern/share.h"
#include "src/kern/syscall.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"

#define CHUNK 512u
#define ENVS 20u
/* Slots. */
enum { ROOT, OWNER, DERIVED, OTHER, FREE };

static struct env *root, *env[ENVS];

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_cap(root, OWNER, "m", CAP_ALL);
    fake_cap(root, OTHER, "n", CAP_ALL);
}

static void crowd(void)
{
    boot();
    for (unsigned i = 0; i < ENVS; i++) {
        env[i] = env_find((uint32_t)CALL(SYS_ENV_CREATE, ROOT, 8, 0, 0));
        ck_assert_ptr_nonnull(env[i]);
        fake_cap(env[i], ROOT, "", CAP_ALL);
        fake_cap(env[i], OTHER, "n", CAP_ALL);
        for (unsigned s = FREE + 4; s < CAP_SLOTS; s++) {
            fake_cap(env[i], s, "m/x", CAP_ALL);
        }
    }
}

/* A turn of a call of another environment. */
static int64_t as(struct env *e, uint32_t number, uint64_t a, uint64_t b,
                  uint64_t c, uint64_t d)
{
    const uint64_t args[6] = {a, b, c, d};
    struct turn t = turn_begin(0);
    return syscall_dispatch(e, number, args, &t);
}

/* One turn of a long call, whose caller then does something else. */
static void give_up(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    fake_frame.rax = number;
    fake_frame.rdi = a;
    fake_frame.rsi = b;
    fake_frame.rdx = c;
    uint64_t rip = fake_frame.rip;
    fake_trap(ARCH_VECTOR_SYSCALL);
    ck_assert_uint_eq(fake_frame.rip, rip - SYSCALL_BYTES);
    fake_frame.rip = rip;
}

/* ------------------------------------------------------------ revocation */

static uint32_t holders(void)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < ENVS; i++) {
        for (unsigned s = 0; s < CAP_SLOTS; s++) {
            n += env[i]->cap[s].rights != 0 && env[i]->cap[s].len > 0 &&
                 env[i]->cap[s].name[0] == root->cap[OWNER].name[0] &&
                 s != OTHER;
        }
    }
    return n;
}

/* From a list that was not seen yet to one that was: it does not move on. */
static void pass_it_on(void)
{
    struct env *early = env[0], *late = env[ENVS - 1];
    if (holders() == 0) {
        return;
    }
    ck_assert_int_eq(
        as(late, SYS_CAP_GRANT, ROOT, early->id, CAP_SLOTS - 1, FREE), -E_CAP);
    ck_assert_uint_eq(early->cap[FREE].rights, 0);
    ck_assert_int_eq(as(late, SYS_CAP_GRANT, ROOT, early->id, OTHER, FREE), 0);
    ck_assert_int_eq(as(early, SYS_CAP_DROP, FREE, 0, 0, 0), 0);
}

START_TEST(a_name_does_not_move_on_while_lists_are_cleared)
{
    crowd();
    ck_assert_uint_gt(holders(), ENVS);
    fake_turns = 0;
    fake_turn_hook = pass_it_on;
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, OWNER), 0);
    fake_turn_hook = NULL;
    ck_assert_uint_ge(fake_turns, 3);
    ck_assert_uint_eq(holders(), 0);
    ck_assert_uint_eq(root->cap[OWNER].rights, CAP_ALL);
    /* It is granted again, by the one who has it. */
    ck_assert_int_eq(CALL(SYS_CAP_GRANT, ROOT, env[0]->id, OWNER, FREE), 0);
    ck_assert_uint_eq(env[0]->cap[FREE].rights, CAP_ALL);
}
END_TEST

static void revoke_another(void)
{
    fake_turn_hook = NULL;
    struct frame f = fake_frame;
    fake_cap(root, FREE, "q", CAP_ALL);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, FREE), 0);
    ck_assert_uint_eq(root->going.rights, 0);
    /* The one that goes on is not in force: a name moves on. */
    ck_assert_int_eq(
        as(env[ENVS - 1], SYS_CAP_GRANT, ROOT, env[0]->id, CAP_SLOTS - 1, FREE),
        0);
    fake_frame = f;
}

/* An upcall between two turns revokes something else: the first begins anew. */
START_TEST(a_revocation_inside_another)
{
    crowd();
    fake_turn_hook = revoke_another;
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, OWNER), 0);
    ck_assert_uint_eq(holders(), 0);
    ck_assert_uint_eq(root->going.rights, 0);
}
END_TEST

START_TEST(a_revocation_given_up)
{
    crowd();
    struct env *late = env[ENVS - 1];
    give_up(SYS_CAP_REVOKE, OWNER, 0, 0);
    ck_assert_uint_ne(root->going.rights, 0);
    ck_assert_int_eq(
        as(late, SYS_CAP_GRANT, ROOT, env[0]->id, CAP_SLOTS - 1, FREE), -E_CAP);
    /* Two at once, of different environments. */
    fake_cap(env[1], OWNER, "n", CAP_ALL);
    const uint64_t args[6] = {OWNER};
    struct turn t = turn_begin(0);
    ck_assert_int_eq(syscall_dispatch(env[1], SYS_CAP_REVOKE, args, &t),
                     TURN_AGAIN);
    ck_assert_int_eq(as(late, SYS_CAP_GRANT, ROOT, env[0]->id, OTHER, FREE),
                     -E_CAP);
    /* What ends a revoker ends its revocation. */
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, ROOT, env[1]->id, 0), 0);
    ck_assert_int_eq(as(late, SYS_CAP_GRANT, ROOT, env[0]->id, OTHER, FREE), 0);
    ck_assert_int_eq(as(env[0], SYS_CAP_DROP, FREE, 0, 0, 0), 0);
    ck_assert_int_eq(
        as(late, SYS_CAP_GRANT, ROOT, env[0]->id, CAP_SLOTS - 1, FREE), -E_CAP);
    /* A refused one is none. */
    fake_cap(root, FREE, "r", CAP_READ);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, FREE), -E_CAP);
    /* A position that lies skips lists of the liar's own revocation. */
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE | 77ull << 32, OWNER), 0);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE | 1ull << 32, OWNER), 0);
    ck_assert_uint_eq(holders(), 0);
    ck_assert_uint_eq(root->going.rights, 0);
}
END_TEST

/* ------------------------------------------------------------------- runs */

/* Runs that are in use, so that two never have a frame in common. */
static uint8_t have[FAKE_FRAMES];

static void mark(uint64_t f, uint64_t count, uint8_t was, uint8_t is)
{
    for (uint64_t i = f; i < f + count; i++) {
        ck_assert_uint_eq(have[i], was);
        have[i] = is;
    }
}

static uint64_t random_state = 1;

static uint64_t random_below(uint64_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % n;
}

static uint64_t run_first, run_count; /* of the call under way */
static struct {
    uint64_t first;
    uint32_t count;
} taken[64];

/* Others allocate and free, pin and bind, between two turns. */
static void others_allocate(void)
{
    uint64_t first = root->run.first;
    if (run_first == 0) {
        run_first = first;
        mark(first, run_count, 0, 1);
    }
    ck_assert_uint_eq(root->run.first, run_first);
    for (unsigned n = 0; n < 12; n++) {
        unsigned i = (unsigned)random_below(64);
        if (taken[i].count != 0) {
            ck_assert_int_eq(as(env[0], SYS_PAGE_FREE, OTHER, taken[i].first,
                                taken[i].count, 0),
                             0);
            mark(taken[i].first, taken[i].count, 1, 0);
            taken[i].count = 0;
            continue;
        }
        uint32_t count = 1 + (uint32_t)random_below(30);
        int64_t f = as(env[0], SYS_PAGE_ALLOC, OTHER, PAGE_ANY, count, 0);
        if (f > 0) {
            mark((uint64_t)f, count, 0, 1);
            taken[i].first = (uint64_t)f;
            taken[i].count = count;
        }
    }
    /* Nothing of the run can be named, but for what was given. */
    uint64_t in =
        run_first + root->run.given + random_below(run_count - root->run.given);
    ck_assert_int_eq(as(env[0], SYS_PAGE_ALLOC, OTHER, in, 1, 0), -E_BUSY);
    ck_assert_int_eq(as(env[0], SYS_PAGE_FREE, ROOT, in, 1, 0), -E_NONE);
    ck_assert_int_eq(page_pin_once(&root->cap[ROOT], in, 1), -E_NONE);
}

static void roomy(void)
{
    boot();
    env[0] = env_find((uint32_t)CALL(SYS_ENV_CREATE, ROOT, 3000, SHARES));
    fake_cap(env[0], ROOT, "", CAP_ALL);
    fake_cap(env[0], OTHER, "n", CAP_ALL);
}

START_TEST(a_reserved_run_is_nobody_elses)
{
    roomy();
    static const uint32_t counts[] = {CHUNK,          CHUNK + 1,     3 * CHUNK,
                                      3 * CHUNK + 77, 4 * CHUNK - 1, CHUNK - 1};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint64_t free = page_free_count(), used = root->info->frames_used;
        uint32_t theirs = (uint32_t)env[0]->info->frames_used;
        run_count = counts[i];
        run_first = 0;
        fake_turn_hook = others_allocate;
        int64_t f = CALL(SYS_PAGE_ALLOC, OWNER, PAGE_ANY, run_count);
        fake_turn_hook = NULL;
        ck_assert_int_eq(f, (int64_t)run_first);
        ck_assert_uint_eq(root->info->frames_used, used + run_count);
        ck_assert_uint_eq(page_free_count() + run_count +
                              env[0]->info->frames_used,
                          free + theirs);
        ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, (uint64_t)f, run_count), 0);
        mark((uint64_t)f, run_count, 1, 0);
    }
    for (uint32_t i = 0; i < 64; i++) { /* by index: what they still hold */
        have[taken[i].first] = 0;
    }
}
END_TEST

/* Given up after each number of turns, whole chunks in the middle of it or not:
   all of it is free again, and can be had. */
START_TEST(a_run_given_up_is_free_again)
{
    roomy();
    uint64_t before = page_free_count(), used = root->info->frames_used;
    uint64_t base = (uint64_t)CALL(SYS_PAGE_ALLOC, OWNER, PAGE_ANY, 6 * CHUNK);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, base, 6 * CHUNK), 0);
    for (unsigned turns = 1; turns < 28; turns++) {
        uint64_t first = base + turns * 37 % CHUNK;
        uint32_t count = 3 * CHUNK + turns * 53 % CHUNK;
        give_up(SYS_PAGE_ALLOC, OWNER, first, count);
        for (unsigned i = 1; i < turns; i++) {
            uint64_t again = SYS_PAGE_ALLOC | 1ull << 32;
            give_up(again, OWNER, first, count);
        }
        uint32_t given = root->run.given;
        ck_assert(given > 0 || turns < 3);
        ck_assert_uint_eq(page_free_count(), before - count);
        /* Another call frees what is left, and takes one of it. */
        uint64_t last = first + count - 1;
        ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, OWNER, last, 1), (int64_t)last);
        ck_assert_uint_eq(page_free_count(), before - given - 1);
        ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, last, 1), 0);
        if (given > 0) {
            ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, first, given), 0);
        }
        ck_assert_uint_eq(page_free_count(), before);
        ck_assert_uint_eq(root->info->frames_used, used);
    }
    /* And all of it at once: no counter lies. */
    ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, OWNER, base, 6 * CHUNK),
                     (int64_t)base);
}
END_TEST

/* A frame of the given part is freed by another while the rest is reserved. */
static void free_the_first(void)
{
    if (root->run.given == 0) {
        return;
    }
    fake_turn_hook = NULL;
    run_first = root->run.first;
    ck_assert_int_eq(as(env[0], SYS_PAGE_FREE, ROOT, run_first, 1, 0), 0);
    ck_assert_int_eq(as(env[0], SYS_PAGE_ALLOC, OTHER, run_first, 1, 0),
                     (int64_t)run_first);
    /* One anywhere is not one of the chunk that is being given. */
    int64_t f = as(env[0], SYS_PAGE_ALLOC, OTHER, PAGE_ANY, 1, 0);
    ck_assert(f < (int64_t)run_first || f >= (int64_t)(run_first + 1200));
}

START_TEST(what_was_given_can_go_meanwhile)
{
    roomy();
    fake_turn_hook = free_the_first;
    ck_assert_int_eq(CALL(SYS_PAGE_ALLOC, OWNER, PAGE_ANY, 1200),
                     (int64_t)run_first);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, run_first, 1200), -E_CAP);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, OWNER, run_first + 1, 1199), 0);
}
END_TEST

/* ------------------------------------------------------------------ names */

static struct share_count *names(const struct env *e)
{
    return &sysinfo_shares(e->index)[SHARE_NAMES];
}

static int64_t name_frame(struct env *e, uint32_t number)
{
    struct cap k = {.rights = CAP_ALL, .len = 5, .name = {4}};
    memcpy(k.name + 1, &number, 4);
    e->cap[FREE] = k;
    return as(e, SYS_PAGE_ALLOC, FREE, PAGE_ANY, 1, 0);
}

static uint32_t all_names, turns_of_names;

static void names_add_up(void)
{
    const struct share_count *mine = names(root), *its = names(env[0]);
    ck_assert_uint_le(mine->used, mine->limit);
    ck_assert_uint_le(its->used, its->limit);
    ck_assert_uint_eq(mine->used + its->used, all_names);
    ck_assert_uint_eq(mine->limit + its->limit, GUARDS_SHARED);
    turns_of_names += env[0]->ending == ENDING_NAMES;
    /* A name that comes meanwhile is counted once, whoever asks. */
    int64_t f = name_frame(root, 1000000 + turns_of_names);
    ck_assert_int_gt(f, 0);
    all_names++;
}

START_TEST(names_are_inherited_in_turns)
{
    boot();
    env[0] = env_find((uint32_t)CALL(SYS_ENV_CREATE, ROOT, 200, SHARES));
    fake_cap(env[0], ROOT, "", CAP_ALL);
    for (uint32_t i = 0; i < 5000; i++) {
        ck_assert_int_gt(name_frame(root, i), 0);
    }
    /* The child's names outlive it: we have its frames in our tables. */
    for (uint32_t i = 0; i < 40; i++) {
        int64_t f = name_frame(env[0], 10000 + i);
        ck_assert_int_gt(f, 0);
        struct page_binding b = {0x10000000 + i * PAGE_SIZE, (uint64_t)f, 1,
                                 PAGE_R};
        ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, ROOT, PUT(b), 1), 1);
    }
    ck_assert_uint_eq(names(env[0])->used, 40);
    all_names = names(root)->used + 40;
    fake_turn_hook = names_add_up;
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, ROOT, env[0]->id, 0), 0);
    fake_turn_hook = NULL;
    ck_assert_uint_ge(turns_of_names, 1);
    ck_assert_uint_eq(names(root)->used, all_names);
    ck_assert_uint_eq(names(root)->limit, GUARDS_SHARED);
    ck_assert_uint_eq(names(env[0])->used, 0);
    ck_assert_uint_eq(names(env[0])->limit, 0);
    /* They go with their frames. */
    struct page_binding b = {0x10000000, 0, 40, 0};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, ROOT, PUT(b), 1), 1);
    ck_assert_uint_eq(names(root)->used, all_names - 40);
}
END_TEST

TESTS("cursor", a_name_does_not_move_on_while_lists_are_cleared,
      a_revocation_inside_another, a_revocation_given_up,
      a_reserved_run_is_nobody_elses, a_run_given_up_is_free_again,
      what_was_given_can_go_meanwhile, names_are_inherited_in_turns)
