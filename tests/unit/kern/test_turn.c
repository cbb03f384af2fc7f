/* SPDX-License-Identifier: MIT */
/* Long calls give way: turns, what may happen between them, and the queue of
   a lock. */
#include "src/abi/err.h"
#include "src/abi/page.h"
#include "src/abi/quantum.h"
#include "src/abi/sysno.h"
#include "src/kern/page.h"
#include "src/kern/sysinfo.h"
#include "src/kern/turn.h"
#include "src/lib/log.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"
#include <pthread.h>
#include <unistd.h>

#define LONG 2000u /* frames: several turns */

static struct env *root;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_cap(root, 1, "a", CAP_ALL);
    fake_cap(root, 2, "b", CAP_ALL);
}

static uint64_t alloc(uint64_t guard, uint32_t count)
{
    int64_t f = CALL(SYS_PAGE_ALLOC, guard, PAGE_ANY, count);
    ck_assert_int_gt(f, 0);
    return (uint64_t)f;
}

START_TEST(a_turn_grants_its_units)
{
    struct turn t = turn_begin(3);
    ck_assert_uint_eq(t.done, 3);
    ck_assert(turn_take(&t, TURN_WORK)); /* the first piece always */
    ck_assert(!turn_take(&t, 1));
    t = turn_begin(0);
    ck_assert(turn_take(&t, TURN_WORK - 1));
    ck_assert(!turn_take(&t, 2));
    ck_assert(!turn_take(&t, 1)); /* what was refused ends the turn */
    ck_assert_int_eq(turn_again(&t, 9), TURN_AGAIN);
    ck_assert_uint_eq(t.done, 9);
}
END_TEST

START_TEST(a_long_call_goes_in_turns)
{
    boot();
    uint64_t f = alloc(1, LONG), before = page_free_count();
    fake_turns = 0;
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, LONG), 0);
    ck_assert_uint_ge(fake_turns, LONG / TURN_WORK);
    ck_assert_uint_eq(page_free_count(), before + LONG);
    fake_turns = 0;
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, alloc(1, 16), 16), 0);
    ck_assert_uint_eq(fake_turns, 0);
}
END_TEST

START_TEST(a_refused_long_call_leaves_no_trace)
{
    boot();
    uint64_t f = alloc(1, LONG);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f + LONG - 1, 1), 0);
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, LONG), -E_NONE);
    ck_assert_uint_eq(page_free_count(), before);
}
END_TEST

static void drop_the_capability(void) UNCHECKED
{
    root->cap[1] = (struct cap){0};
}

/* Authority is demanded in each turn: what went between two of them counts. */
START_TEST(a_capability_that_goes_ends_the_call)
{
    boot();
    uint64_t f = alloc(1, LONG), before = page_free_count();
    fake_turn_hook = drop_the_capability;
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, LONG), -E_CAP);
    fake_turn_hook = NULL;
    ck_assert_uint_lt(page_free_count(), before + LONG);
}
END_TEST

#define FROM(number, done) ((number) | (uint64_t)(done) << 32)

START_TEST(a_position_that_lies_harms_nobody_else)
{
    boot();
    uint64_t mine = alloc(1, 8), other = alloc(2, 8);
    uint64_t before = page_free_count();
    static const uint32_t lies[] = {1, 7, 8, 9, 15, 16, 17, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        int64_t r = CALL(FROM(SYS_PAGE_FREE, lies[i]), 1, other, 8);
        ck_assert(r == -E_CAP || r == 0);
        ck_assert_uint_eq(page_free_count(), before);
    }
    /* It may skip what is looked at and free the end of its own run. */
    ck_assert_int_eq(CALL(FROM(SYS_PAGE_FREE, 8 + 5), 1, mine, 8), 0);
    ck_assert_uint_eq(page_free_count(), before + 3);
    /* A call that never goes on does not begin in the middle. */
    ck_assert_int_eq(CALL(FROM(SYS_CAP_DROP, 1), 1), -E_NOSYS);
    ck_assert_int_eq(CALL(FROM(SYS_EVENT_WAIT, 1), 0, 1, 0), -E_NOSYS);
    ck_assert_int_eq(CALL(FROM(0, 1), 0, 1, 0), -E_NOSYS);
    ck_assert_int_eq(CALL(SYS_CAP_DROP, 1), 0);
}
END_TEST

/* A run is cleared and given in turns; one that is given up is the caller's
   loss until its next page_alloc, or its end. */
START_TEST(an_allocation_goes_in_turns)
{
    boot();
    uint64_t before = page_free_count(), used = root->info->frames_used;
    fake_turns = 0;
    uint64_t f = alloc(1, LONG);
    ck_assert_uint_ge(fake_turns, LONG * TURN_CLEAR / TURN_WORK);
    ck_assert_uint_eq(f % 512, 0);
    ck_assert_uint_eq(page_free_count(), before - LONG);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, LONG), 0);
    ck_assert_uint_eq(page_free_count(), before);
    ck_assert_uint_eq(root->info->frames_used, used);
}
END_TEST

/* One turn of a long call, whose caller then never comes back. */
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

START_TEST(an_allocation_given_up_comes_back)
{
    boot();
    uint64_t before = page_free_count(), used = root->info->frames_used;
    give_up(SYS_PAGE_ALLOC, 1, PAGE_ANY, LONG);
    uint64_t taken_from = root->run.first, given = root->run.given;
    ck_assert_uint_eq(page_free_count(), before - LONG);
    uint64_t one = alloc(1, 1);
    ck_assert_uint_eq(page_free_count(), before - given - 1);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, taken_from, given), 0);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, one, 1), 0);
    ck_assert_uint_eq(page_free_count(), before);
    ck_assert_uint_eq(root->info->frames_used, used);
    /* Going on without having begun is beginning. */
    ck_assert_int_gt(CALL(FROM(SYS_PAGE_ALLOC, 1), 1, PAGE_ANY, 3), 0);
    ck_assert_int_gt(CALL(FROM(SYS_PAGE_ALLOC, 2), 1, PAGE_ANY, 3), 0);
    ck_assert_int_gt(CALL(FROM(SYS_PAGE_ALLOC, 7), 1, PAGE_ANY, 3), 0);
    ck_assert_int_eq(CALL(FROM(SYS_PAGE_ALLOC, UINT32_MAX), 1, PAGE_ANY, 3),
                     -E_MEM);
}
END_TEST

/* An environment with much to give back ends in turns: by whoever destroys
   it, or by and by. */
static uint32_t much(void)
{
    int64_t id = CALL(SYS_ENV_CREATE, 1, 4000);
    ck_assert_int_gt(id, 0);
    uint64_t f = alloc(1, 512);
    struct page_binding b[16];
    for (unsigned i = 0; i < 16; i++) {
        b[i] = (struct page_binding){0x10000000 + i * (512ull << 12), f, 512,
                                     PAGE_R};
    }
    ck_assert_int_eq(
        CALL(SYS_PAGE_BIND, 1, (uint64_t)id, 1, fake_put(b, sizeof(b)), 16),
        16);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 1, f, 512), 0);
    return (uint32_t)id;
}

START_TEST(an_end_goes_in_turns)
{
    boot();
    int64_t first = CALL(SYS_ENV_CREATE, 1, 16); /* its slot's memory stays */
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, (uint64_t)first, 0), 0);
    uint64_t before = page_free_count(), used = root->info->frames_used;
    uint64_t quota = root->info->frames_quota;
    uint32_t id = much();
    fake_turns = 0;
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, id, 0), 0);
    ck_assert_uint_ge(fake_turns, 8);
    ck_assert_ptr_null(env_find(id));
    ck_assert_uint_eq(page_free_count(), before);
    ck_assert_uint_eq(root->info->frames_used, used);
    ck_assert_uint_eq(root->info->frames_quota, quota);
    /* The destroyer goes away after a turn: idle time finishes it. */
    id = much();
    give_up(SYS_ENV_DESTROY, 1, id, 0);
    ck_assert(env_ending());
    ck_assert_ptr_nonnull(env_find(id));
    ck_assert_int_eq(CALL(SYS_CAP_GRANT, 1, id, 1, 1), -E_NONE);
    ck_assert_int_eq(CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, id), -E_NONE);
    (void)CALL(SYS_EVENT_WAIT, 0, fake_tsc + 1000, 0);
    ck_assert(!env_ending());
    ck_assert_ptr_null(env_find(id));
    ck_assert_uint_eq(page_free_count(), before);
    ck_assert_uint_eq(root->info->frames_quota, quota);
}
END_TEST

/* As the processor would do, whatever it runs. */
static void time_goes_on(unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        fake_tsc += 1000000;
        fake_trap(ARCH_VECTOR_KICK);
    }
}

static int64_t write_x(unsigned len)
{
    static const char text[1024] = {[0 ... 1023] = 'x'};
    return CALL(SYS_CONSOLE_WRITE, 0, fake_put(text, sizeof(text)), len);
}

/* Each text is taken wholly or not at all, and the call never waits. */
START_TEST(a_line_that_stands_still_is_not_waited_for)
{
    boot();
    fake_console_len = 0;
    fake_turns = 0;
    ck_assert_int_eq(write_x(1024), 1024);
    ck_assert_uint_eq(fake_turns, 3); /* it pays for what it wrote */
    time_goes_on(1);
    ck_assert_uint_eq(fake_console_len, 1024);
    fake_console_room = 300;
    unsigned taken = 0;
    for (int64_t r; (r = write_x(1000)) != 0; taken++) {
        ck_assert_int_eq(r, 1000);
        ck_assert_uint_lt(taken, 16);
    }
    ck_assert_uint_ge(taken, 4);
    fake_turns = 0;
    ck_assert_int_eq(write_x(1000), 0);
    ck_assert_int_eq(fake_turns, 0);
    /* The kernel's lines have room of their own, and those lost are counted. */
    for (unsigned i = 0; i < 40; i++) {
        log_line("a line of the kernel, the %uth of those that it writes", i);
    }
    ck_assert_uint_eq(fake_console_len, 1324);
    fake_console_room = SIZE_MAX;
    fake_console_len = 0;
    time_goes_on(40);
    ck_assert_uint_ge(SIZE_MAX - fake_console_room, taken * 1000 - 300);
    log_line("the last");
    fake_console_len = 0;
    time_goes_on(1);
    fake_console[fake_console_len] = '\0';
    ck_assert_ptr_nonnull(strstr(fake_console, "lines of the kernel lost"));
    ck_assert_ptr_nonnull(strstr(fake_console, "the last\n"));
}
END_TEST

/* A position that ring 3 made up can only lose its own text. */
START_TEST(a_text_stays_in_one_piece)
{
    boot();
    fake_console_room = 10;
    ck_assert_int_eq(write_x(600), 600);
    log_line("of the kernel");
    ck_assert_int_eq(write_x(7), 7);
    ck_assert_int_eq(CALL(FROM(SYS_CONSOLE_WRITE, 77), 0, 0x1000, 5), 5);
    fake_console_room = SIZE_MAX;
    fake_console_len = 0;
    time_goes_on(5);
    ck_assert_uint_eq(fake_console_len, 590 + 14 + 7);
    ck_assert_mem_eq(fake_console + 590, "of the kernel\nxxxxxxx", 21);
}
END_TEST

static _Atomic unsigned taken;
static _Atomic bool stop;

static void *hog(void *arg)
{
    fake_cpu = 1;
    while (!stop) {
        lock_acquire(&bind_lock);
        taken++;
        usleep(50);
        lock_release(&bind_lock);
    }
    return arg;
}

START_TEST(a_lock_is_a_queue)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, hog, NULL), 0);
    while (taken == 0) {
        usleep(10);
    }
    unsigned passed = 0;
    for (unsigned i = 0; i < 200; i++) {
        unsigned before = taken;
        lock_acquire(&bind_lock);
        passed += taken - before;
        lock_release(&bind_lock);
    }
    stop = true;
    pthread_join(thread, NULL);
    /* The holder of the moment, and now and then one while we draw. */
    ck_assert_uint_le(passed, 2 * 200);
}
END_TEST

TESTS("turns", a_turn_grants_its_units, a_long_call_goes_in_turns,
      a_refused_long_call_leaves_no_trace, a_capability_that_goes_ends_the_call,
      a_position_that_lies_harms_nobody_else, an_allocation_goes_in_turns,
      an_allocation_given_up_comes_back, an_end_goes_in_turns,
      a_line_that_stands_still_is_not_waited_for, a_text_stays_in_one_piece,
      a_lock_is_a_queue)
