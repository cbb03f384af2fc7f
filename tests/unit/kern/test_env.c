/* SPDX-License-Identifier: MIT */
/* Environments, upcalls, slices, sleep: and every refusal. */
#include "src/abi/err.h"
#include "src/abi/sysno.h"
#include "src/kern/event.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysinfo.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"

#define SLICE 1000000ull /* ticks: nanoseconds */
#define GRACE 100000ull
#define ENTRY(n) (0x1000000ull + (n)*0x1000)
#define STACK 0x2000000ull
#define VA_NOWHERE 0x7000000ull /* bound by no test */
#define FAULT_STACK 0x3000000ull

static struct env *root;

static void boot(unsigned cpus)
{
    fake_boot(cpus);
    root = fake_first();
    fake_cap(root, 1, "kid", CAP_ALL);
    fake_cap(root, 2, "x", CAP_ALL);
    fake_cap(root, 3, "kid", CAP_READ);
}

static struct env *child(void)
{
    int64_t id = CALL(SYS_ENV_CREATE, 1, 16, SHARES);
    ck_assert_int_gt(id, 0);
    return env_find((uint32_t)id);
}

/* A child that owns a slice of processor `cpu`. */
static struct env *runner(uint64_t cpu)
{
    struct env *e = child();
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, cpu, QUANTUM_ANY, e->id), 0);
    return e;
}

static void entries(struct env *e, unsigned first, unsigned last)
{
    for (unsigned n = first; n <= last; n++) {
        e->uarea->entry[n] = ENTRY(n);
    }
    e->uarea->stack_top = STACK;
}

START_TEST(create_and_destroy)
{
    boot(1);
    uint64_t free_before = page_free_count();
    uint64_t quota = root->info->frames_quota;
    struct env *e = child();
    uint32_t id = e->id;
    ck_assert_uint_eq(root->info->frames_quota, quota - 16);
    ck_assert_uint_eq(e->info->frames_used, 5);
    ck_assert_uint_eq(e->uarea->env, id);
    ck_assert_uint_eq(e->info->uarea_frame, e->uarea_frame);
    ck_assert_uint_eq(e->info->state, ENV_NEW);
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, id, 42), 0);
    ck_assert_ptr_null(env_find(id));
    ck_assert_uint_eq(e->info->end, ENV_END_KILLED);
    ck_assert_uint_eq(e->info->end_detail, 42);
    ck_assert_uint_eq(root->info->frames_quota, quota);
    /* All but the structure itself, which the next one uses. */
    ck_assert_uint_eq(page_free_count(), free_before - 1);
    struct env *again = child();
    ck_assert_ptr_eq(again, e);
    ck_assert_uint_ne(again->id, id);
    ck_assert_uint_eq(page_free_count(), free_before - 1 - 5);
}
END_TEST

START_TEST(create_refusals)
{
    boot(1);
    REFUSED(E_CAP, SYS_ENV_CREATE, 9, 16);
    REFUSED(E_CAP, SYS_ENV_CREATE, 3, 16); /* lacks CAP_CTL */
    REFUSED(E_RANGE, SYS_ENV_CREATE, 64, 16);
    (void)child(); /* so that its structure exists: no trace of that below */
    struct env *spare = child();
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, spare->id, 0), 0);
    REFUSED(E_QUOTA, SYS_ENV_CREATE, 1, 4);
    REFUSED(E_QUOTA, SYS_ENV_CREATE, 1, UINT64_MAX);
    REFUSED(E_QUOTA, SYS_ENV_CREATE, 1, root->info->frames_quota);
    REFUSED(E_INVAL, SYS_ENV_CREATE, 1, 16, UAREA_VA, SHARE_KINDS + 1);
    REFUSED(E_FAULT, SYS_ENV_CREATE, 1, 16, VA_NOWHERE, SHARE_KINDS);
    /* But for the first, itself, one child and the eight that this may make */
    for (uint32_t i = 0; i < ENVS_MAX - 3 - 8; i++) {
        ck_assert_int_gt(CALL(SYS_ENV_CREATE, 1, 5), 0);
    }
    REFUSED(E_QUOTA, SYS_ENV_CREATE, 1, 16);
    REFUSED(E_NONE, SYS_ENV_DESTROY, 1, 0xffffff00, 0);
    REFUSED(E_CAP, SYS_ENV_DESTROY, 2, spare->id, 0);
    REFUSED(E_CAP, SYS_ENV_DESTROY, 3, spare->id, 0);
    REFUSED(E_RANGE, SYS_ENV_DESTROY, 64, spare->id, 0);
}
END_TEST

START_TEST(remains_go_to_the_parent)
{
    boot(1);
    struct env *e = runner(0);
    fake_cap(e, 0, "kid", CAP_ALL);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, e->id), 0);
    ck_assert_ptr_eq(fake_current(), e);
    int64_t f = CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 1);
    int64_t grandchild = CALL(SYS_ENV_CREATE, 0, 5, SHARES);
    ck_assert_int_gt(f, 0);
    ck_assert_int_gt(grandchild, 0);
    ck_assert_int_gt(CALL(SYS_ENV_CREATE, 0, 5), 0); /* gets no slice: ends */
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_int_ge(
        CALL(SYS_QUANTUM_ALLOC, 0, 0, QUANTUM_ANY, (uint64_t)grandchild), 0);
    struct page_binding b = {0x10000000, (uint64_t)f, 1, PAGE_R};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 1, PUT(b), 1), 1);
    uint64_t used = root->info->frames_used, quota = root->info->frames_quota;
    uint64_t total = page_free_count();
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, e->id, 0), 0);
    ck_assert_uint_eq(root->info->frames_used, used + 1);
    ck_assert_uint_eq(root->info->frames_quota, quota + 11);
    ck_assert_uint_eq(page_free_count(), total + 10);
    ck_assert_uint_eq(env_find((uint32_t)grandchild)->parent, root->index);
    struct page_binding none = {0x10000000, 0, 1, 0};
    ck_assert_int_eq(CALL(SYS_PAGE_BIND, 0, 0, 1, PUT(none), 1), 1);
    ck_assert_uint_eq(root->info->frames_used, used);
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, (uint64_t)grandchild, 0), 0);
    ck_assert_uint_eq(root->info->frames_quota, quota + 16);
}
END_TEST

START_TEST(faults_go_to_the_environment)
{
    boot(1);
    entries(root, ENV_FAULT, ENV_FAULT);
    fake_frame.rip = 0x1234;
    fake_frame.rbx = 77;
    fake_frame.address = 0xdead;
    fake_frame.error = 6;
    fake_trap(14);
    ck_assert_uint_eq(fake_frame.rip, ENTRY(ENV_FAULT));
    ck_assert_uint_eq(fake_frame.rsp, STACK);
    ck_assert_uint_eq(fake_frame.rbx, 0);
    ck_assert_uint_eq(root->uarea->fault.rip, 0x1234);
    ck_assert_uint_eq(root->uarea->fault.rbx, 77);
    ck_assert_uint_eq(root->uarea->fault.vector, 14);
    ck_assert_uint_eq(root->uarea->fault.error, 6);
    ck_assert_uint_eq(root->uarea->fault.address, 0xdead);
    ck_assert_uint_eq(root->uarea->fault_active, 1);
    /* A stack of its own; then a second one inside the first: the end. */
    root->uarea->fault_active = 0;
    root->uarea->fault_stack_top = FAULT_STACK;
    fake_trap(6);
    ck_assert_uint_eq(fake_frame.rsp, FAULT_STACK);
    struct env *e = runner(0);
    fake_frame.rip = 0x5678;
    ck_assert_int_eq(fake_trap(13), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->info->end, ENV_END_FAULT);
    ck_assert_uint_eq(root->info->end_detail, 13);
    ck_assert_uint_eq(root->info->end_rip, 0x5678);
    ck_assert_uint_eq(root->info->state, ENV_FREE);
}
END_TEST

START_TEST(the_last_end_halts)
{
    boot(1);
    ck_assert_int_eq(fake_trap(3), FAKE_HALTED); /* no entry: killed */
    ck_assert_uint_eq(fake_halt_status, 1);
    ck_assert_ptr_nonnull(strstr(fake_console, "exception 3"));
}
END_TEST

START_TEST(destroying_oneself)
{
    boot(1);
    struct env *e = runner(0);
    uint32_t id = root->id;
    (void)CALL(SYS_ENV_DESTROY, 0, 0, 7);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_ptr_null(env_find(id));
    ck_assert_uint_eq(root->info->end, ENV_END_DESTROYED);
    ck_assert_uint_eq(root->info->end_detail, 7);
}
END_TEST

START_TEST(unenterable_entries_kill)
{
    boot(1);
    struct env *e = runner(0);
    root->uarea->entry[ENV_FAULT] = 0x800000000000; /* not canonical */
    fake_trap(6);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->info->end, ENV_END_FAULT);
    struct env *last = e;
    e->uarea->entry[ENV_PROLOGUE] = 0x800000000000;
    (void)CALL(SYS_QUANTUM_YIELD, 0);
    ck_assert_uint_eq(fake_halt_status, 1);
    ck_assert_int_eq(last->info->end, ENV_END_FAULT);
    ck_assert_uint_eq(last->info->end_detail, 13);
}
END_TEST

START_TEST(foreign_calls)
{
    boot(1);
    REFUSED(E_NOSYS, 60, 1, 2);
    entries(root, ENV_FOREIGN, ENV_FOREIGN);
    fake_frame.rip = 0x4444;
    (void)CALL(0xfff, 11, 22);
    ck_assert_uint_eq(fake_frame.rip, ENTRY(ENV_FOREIGN));
    ck_assert_uint_eq(root->uarea->fault.vector, FRAME_FOREIGN);
    ck_assert_uint_eq(root->uarea->fault.rax, 0xfff);
    ck_assert_uint_eq(root->uarea->fault.rdi, 11);
    ck_assert_uint_eq(root->uarea->fault.rip, 0x4444);
    struct env *e = runner(0);
    (void)CALL(1, 0); /* fault_active is set: the end */
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->info->end_detail, FRAME_FOREIGN);
}
END_TEST

START_TEST(slices_take_turns)
{
    boot(1);
    struct env *e = runner(0);
    fake_frame.rip = 0x111;
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER); /* no epilogue: the kernel keeps the state */
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->frame.rip, 0x111);
    ck_assert_uint_eq(root->info->state, ENV_READY);
    ck_assert_uint_eq(e->info->state, ENV_RUNNING);
    ck_assert_uint_eq(fake_root[0], e->root);
    ck_assert_uint_eq(e->uarea->slice_end, fake_tsc + SLICE);
    fake_tsc += SLICE / 2;
    fake_trap(ARCH_VECTOR_TIMER); /* too early: goes on, and rings again */
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(fake_timer[0], e->uarea->slice_end);
    fake_tsc += SLICE / 2;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(fake_frame.rip, 0x111);
    ck_assert_uint_eq(e->info->run_ticks, SLICE);
}
END_TEST

START_TEST(prologue_and_epilogue)
{
    boot(1);
    struct env *e = runner(0);
    entries(root, ENV_PROLOGUE, ENV_EPILOGUE);
    fake_frame.rip = 0x111;
    fake_frame.r15 = 15;
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(fake_frame.rip, ENTRY(ENV_EPILOGUE));
    ck_assert_uint_eq(fake_frame.rsp, STACK);
    ck_assert_uint_eq(root->uarea->slice.rip, 0x111);
    ck_assert_uint_eq(root->uarea->slice.r15, 15);
    ck_assert_uint_eq(root->uarea->slice_mask, 1);
    ck_assert_uint_eq(fake_timer[0], fake_tsc + GRACE);
    fake_frame.rip = 0x222;
    root->uarea->slice_mask = 0;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(fake_frame.rip, ENTRY(ENV_PROLOGUE));
    ck_assert_uint_eq(root->uarea->slice.rip, 0x222);
    ck_assert_uint_eq(root->uarea->slice.rax, 0);
    ck_assert_uint_eq(root->debt_ticks, 0);
}
END_TEST

START_TEST(masked_upcalls_wait)
{
    boot(1);
    struct env *e = runner(0);
    entries(root, ENV_PROLOGUE, ENV_EPILOGUE);
    root->uarea->slice_mask = 1;
    fake_frame.rip = 0x111;
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_uint_eq(fake_frame.rip, 0x111);
    ck_assert_uint_eq(root->uarea->slice_over, 1);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_uint_eq(fake_frame.rip, 0x111); /* no prologue while masked */
}
END_TEST

START_TEST(excess_time_is_forfeited)
{
    boot(1);
    struct env *e = runner(0);
    entries(root, ENV_EPILOGUE, ENV_EPILOGUE);
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    for (int i = 0; i < 2; i++) {
        fake_tsc += i == 0 ? GRACE : SLICE;
        fake_trap(ARCH_VECTOR_TIMER);
        ck_assert_ptr_eq(fake_current(), root);
    }
    fake_tsc += SLICE / 2;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_uint_eq(root->debt_ticks, GRACE + SLICE + SLICE / 2);
    root->uarea->slice_mask = 0;
    root->uarea->entry[ENV_EPILOGUE] = 0;
    /* Its next slice passes it by; the one after that is its own. */
    ck_assert_ptr_eq(fake_current(), e);
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->debt_ticks, GRACE + SLICE / 2);
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_ptr_eq(fake_current(), root);
}
END_TEST

/* A call during which the slice ended: the timer rings after it, or never. */
START_TEST(time_in_calls_is_charged)
{
    boot(1);
    struct env *e = runner(0);
    fake_tsc += SLICE + SLICE / 4;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->debt_ticks, SLICE / 4);
    fake_tsc += SLICE + SLICE / 2;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_uint_eq(e->debt_ticks, SLICE / 2);
    ck_assert_ptr_eq(fake_current(), root);
    entries(root, ENV_EPILOGUE, ENV_EPILOGUE);
    fake_tsc += SLICE + SLICE / 4;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_uint_eq(root->debt_ticks, SLICE / 2);
}
END_TEST

/* One that runs by donated time alone pays with it, and is not killed. */
START_TEST(donated_time_pays_a_debt)
{
    boot(1);
    struct env *e = runner(0);
    e->debt_ticks = SLICE + SLICE / 2;
    fake_tsc += SLICE / 4;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, e->id), 0);
    /* Its debt is a slice less three quarters and, by its own slot, one. */
    ck_assert_uint_eq(e->debt_ticks, SLICE / 2 + SLICE / 4);
    ck_assert_ptr_eq(fake_current(), e);
}
END_TEST

START_TEST(overrun_ends_it)
{
    boot(1);
    struct env *e = runner(0);
    entries(root, ENV_EPILOGUE, ENV_EPILOGUE);
    fake_tsc += SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    /* A machine that stood still for a minute costs one slice, no more. */
    fake_tsc += 60000 * SLICE;
    fake_trap(ARCH_VECTOR_TIMER);
    ck_assert_uint_eq(root->debt_ticks, SLICE);
    int rings = 1;
    while (fake_current() == root) {
        fake_tsc += SLICE;
        fake_trap(ARCH_VECTOR_TIMER);
        rings++;
        ck_assert_int_lt(rings, 100);
    }
    ck_assert_int_eq(rings, QUANTUM_OVERRUN_MAX);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->info->end, ENV_END_OVERRUN);
}
END_TEST

START_TEST(directed_yield)
{
    boot(1);
    struct env *a = runner(0), *b = runner(0);
    uint64_t end = root->uarea->slice_end;
    fake_tsc += SLICE / 2;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, b->id), 0);
    ck_assert_ptr_eq(fake_current(), b);
    ck_assert_uint_eq(b->uarea->slice_end, end); /* the rest of the slice */
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_ptr_eq(fake_current(), a);
    REFUSED(E_NONE, SYS_QUANTUM_YIELD, 0x777);
    /* Without a slice of its own, but ready: it may be given one. */
    struct env *guest = a;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_FREE, 0, 0, 1), 0);
    ck_assert_uint_eq(atomic_load(&guest->cpus), 0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, guest->id), 0);
    ck_assert_ptr_eq(fake_current(), guest);
}
END_TEST

/* Who yields to each other for ever has one slice between them. */
START_TEST(yields_do_not_add_up)
{
    boot(1);
    struct env *a = runner(0), *b = runner(0);
    unsigned yields = 0;
    fake_tsc += SLICE - 1;
    while (fake_current() != a) {
        uint32_t to = fake_current() == root ? b->id : root->id;
        ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, to), 0);
        fake_tsc += SLICE / 100;
        yields++;
        ck_assert_uint_lt(yields, 100);
    }
    /* A sixteenth of a slice, and the yield that finds it spent. */
    ck_assert_uint_eq(yields, 8);
    /* The next slice may be made longer again. */
    fake_tsc += SLICE;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, b->id), 0);
    ck_assert_ptr_eq(fake_current(), b);
}
END_TEST

/* An interrupt struck before the fault of a jump to nowhere. */
START_TEST(nowhere_is_not_resumed)
{
    boot(1);
    entries(root, ENV_FAULT, ENV_FAULT);
    fake_frame.rip = 1ull << 60;
    fake_trap(ARCH_VECTOR_KICK);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(fake_frame.rip, ENTRY(ENV_FAULT));
    ck_assert_uint_eq(root->uarea->fault.vector, ARCH_VECTOR_PROTECTION);
    ck_assert_uint_eq(root->uarea->fault.rip, 1ull << 60);
}
END_TEST

START_TEST(vector_refusals)
{
    boot(2);
    struct env *e = child();
    ck_assert_int_eq(CALL(SYS_QUANTUM_ALLOC, 0, 1, 5, e->id), 5);
    ck_assert_uint_eq(sysinfo_vector(1)[5], e->id);
    REFUSED(E_BUSY, SYS_QUANTUM_ALLOC, 0, 1, 5, e->id);
    REFUSED(E_RANGE, SYS_QUANTUM_ALLOC, 0, 2, 5, e->id);
    REFUSED(E_RANGE, SYS_QUANTUM_ALLOC, 0, 1, QUANTUM_SLOTS, e->id);
    REFUSED(E_RANGE, SYS_QUANTUM_ALLOC, 64, 1, 6, e->id);
    REFUSED(E_CAP, SYS_QUANTUM_ALLOC, 1, 1, 6, e->id); /* not the root name */
    REFUSED(E_CAP, SYS_QUANTUM_ALLOC, 9, 1, 6, e->id);
    REFUSED(E_NONE, SYS_QUANTUM_ALLOC, 0, 1, 6, 0);
    for (uint32_t i = 1; i < 8; i++) {
        ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 1, QUANTUM_ANY, e->id), 0);
    }
    REFUSED(E_QUOTA, SYS_QUANTUM_ALLOC, 0, 1, QUANTUM_ANY, e->id);
    for (uint32_t i = 8; i < QUANTUM_SLOTS; i++) {
        ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 1, QUANTUM_ANY, root->id),
                         0);
    }
    REFUSED(E_BUSY, SYS_QUANTUM_ALLOC, 0, 1, QUANTUM_ANY, root->id);
    REFUSED(E_CAP, SYS_QUANTUM_FREE, 1, 1, 5);
    REFUSED(E_RANGE, SYS_QUANTUM_FREE, 0, 2, 5);
    REFUSED(E_RANGE, SYS_QUANTUM_FREE, 0, 1, 64);
    REFUSED(E_RANGE, SYS_QUANTUM_FREE, 64, 1, 5);
    ck_assert_int_eq(CALL(SYS_QUANTUM_FREE, 0, 1, 5), 0);
    REFUSED(E_NONE, SYS_QUANTUM_FREE, 0, 1, 5);
    ck_assert_uint_eq(atomic_load(&e->cpus), 2);
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, e->id, 0), 0);
    for (uint32_t i = 0; i < QUANTUM_SLOTS; i++) {
        ck_assert_uint_ne(sysinfo_vector(1)[i], e->id);
    }
}
END_TEST

START_TEST(sleep_until_an_event)
{
    boot(1);
    struct env *e = runner(0);
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 6, EVENT_FOREVER, 0), 0);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_eq(root->info->state, ENV_ASLEEP);
    lock_acquire(&bind_lock);
    event_signal(root, 0); /* not of the mask */
    ck_assert_uint_eq(root->info->state, ENV_ASLEEP);
    event_signal(root, 2);
    ck_assert_uint_eq(root->info->state, ENV_READY);
    lock_release(&bind_lock);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(root->uarea->pending, 5);
    /* One that is pending already: no sleep. */
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 4, EVENT_FOREVER, 0), 0);
    ck_assert_ptr_eq(fake_current(), root);
    REFUSED(E_NONE, SYS_EVENT_WAIT, 8, EVENT_FOREVER, 1);
    REFUSED(E_NONE, SYS_EVENT_WAIT, 8, EVENT_FOREVER, 99);
}
END_TEST

START_TEST(sleep_until_a_deadline)
{
    boot(1);
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 1, fake_tsc, 0), 0);
    ck_assert_ptr_eq(fake_current(), root); /* passed already */
    uint64_t deadline = fake_tsc + 5 * SLICE;
    cpu_this()->timer = 0;
    ck_assert_int_eq((int)CALL(SYS_EVENT_WAIT, 1, deadline, 0), SYS_EVENT_WAIT);
    ck_assert_ptr_null(fake_current());
    ck_assert_uint_eq(fake_timer[0], deadline);
    fake_tsc = deadline - 1;
    ck_assert_int_eq(fake_run(), FAKE_IDLE);
    fake_tsc = deadline;
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), root);
}
END_TEST

static struct env *waker_target;
static void wake_from_idle(void)
{
    lock_acquire(&bind_lock);
    event_signal(waker_target, 0);
    lock_release(&bind_lock);
}

START_TEST(idle_wakes)
{
    boot(1);
    waker_target = root;
    fake_idle_hook = wake_from_idle;
    fake_tsc += 10;
    ck_assert_int_eq(CALL(SYS_EVENT_WAIT, 1, EVENT_FOREVER, 0), 0);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(root->uarea->pending, 1);
}
END_TEST

START_TEST(one_processor_at_a_time)
{
    boot(2);
    ck_assert_int_ge(CALL(SYS_QUANTUM_ALLOC, 0, 1, 0, root->id), 0);
    fake_cpu = 1;
    ck_assert_int_eq(fake_run(), FAKE_IDLE); /* it runs on processor 0 */
    ck_assert_uint_eq(atomic_load(&cpu_at(1)->idle), 1);
    fake_cpu = 0;
    uint64_t kicks = fake_kicks[1];
    struct env *e = runner(0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, 0), 0);
    ck_assert_ptr_eq(fake_current(), e);
    ck_assert_uint_gt(fake_kicks[1], kicks); /* it is to be had now */
    fake_cpu = 1;
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), root);
    ck_assert_uint_eq(root->info->cpu, 1);
    fake_cpu = 0;
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    ck_assert_ptr_eq(fake_current(), e); /* not to be had: next in turn */
}
END_TEST

START_TEST(destroyed_from_another_processor)
{
    boot(2);
    struct env *e = runner(1);
    fake_cpu = 1;
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), e);
    uint32_t id = e->id;
    struct frame there = fake_frame;
    fake_cpu = 0;
    uint64_t before = page_free_count();
    ck_assert_int_eq(CALL(SYS_ENV_DESTROY, 1, id, 3), 0);
    ck_assert_uint_eq(fake_kicks[1], 1);
    ck_assert_uint_eq(page_free_count(), before); /* it still runs */
    fake_cpu = 1;
    fake_frame = there;
    ck_assert_int_eq(fake_trap(ARCH_VECTOR_KICK), FAKE_IDLE);
    ck_assert_ptr_null(env_find(id));
    ck_assert_uint_eq(page_free_count(), before + 5);
    ck_assert_uint_eq(fake_root[1], 0);
}
END_TEST

/* Processor 0 has bind_lock, and 1 begins to wait for it. */
static struct env *loaded_there;
static void destroy_meanwhile(void)
{
    static bool waits;
    ck_assert_msg(!waits, "0 waits for 1, and 1 for 0");
    waits = true;
    fake_cpu = 0;
    struct turn t = turn_begin(0);
    (void)env_doom(loaded_there, ENV_END_DESTROYED, 0, NULL, &t);
    lock_release(&bind_lock);
    fake_cpu = 1;
    waits = false;
}

START_TEST(two_ends_do_not_wait_for_each_other)
{
    boot(2);
    struct env *last = runner(1), *owes = runner(1);
    fake_cpu = 1;
    ck_assert_int_eq(fake_run(), FAKE_RESUMED);
    ck_assert_ptr_eq(fake_current(), owes);
    (void)CALL(SYS_EVENT_WAIT, 1, EVENT_FOREVER, 0);
    ck_assert_ptr_eq(fake_current(), last);
    (void)CALL(SYS_EVENT_WAIT, 1, EVENT_FOREVER, 0);
    ck_assert_ptr_null(fake_current());
    ck_assert_ptr_eq(atomic_load(&cpu_at(1)->loaded), last);
    /* 1 takes up who owes a slice, just when 0 ends it, and is to tear it
       down; then 0 is the first at the lock again, and ends the other. */
    event_signal(owes, 0);
    owes->debt_ticks = SLICE;
    atomic_store(&owes->doomed, 1);
    loaded_there = last;
    fake_pause_hook = destroy_meanwhile;
    lock_acquire(&bind_lock);
    ck_assert_int_eq(fake_run(), FAKE_IDLE);
    ck_assert_uint_eq(owes->info->state, ENV_FREE);
    ck_assert_uint_eq(last->info->state, ENV_FREE);
}
END_TEST

START_TEST(registers_do_not_leak)
{
    boot(1);
    struct env *e = runner(0);
    uint64_t secret = 0x5ec7e7;
    arch_fpu_load((uint8_t[16]){[0] = 0xe7, [1] = 0xc7, [2] = 0x5e});
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, e->id), 0);
    uint64_t seen[64] = {0};
    arch_fpu_save(seen);
    ck_assert_uint_eq(seen[0], 0);
    ck_assert_uint_eq(fake_frame.rbx | fake_frame.r12 | fake_frame.rdx, 0);
    ck_assert_int_eq(CALL(SYS_QUANTUM_YIELD, root->id), 0);
    arch_fpu_save(seen);
    ck_assert_uint_eq(seen[0], secret);
}
END_TEST

TESTS("env", create_and_destroy, create_refusals, remains_go_to_the_parent,
      faults_go_to_the_environment, the_last_end_halts, destroying_oneself,
      unenterable_entries_kill, foreign_calls, slices_take_turns,
      prologue_and_epilogue, masked_upcalls_wait, excess_time_is_forfeited,
      time_in_calls_is_charged, donated_time_pays_a_debt, overrun_ends_it,
      directed_yield, yields_do_not_add_up, nowhere_is_not_resumed,
      vector_refusals, sleep_until_an_event, sleep_until_a_deadline, idle_wakes,
      one_processor_at_a_time, destroyed_from_another_processor,
      two_ends_do_not_wait_for_each_other, registers_do_not_leak)
