/* SPDX-License-Identifier: MIT */
/*
 * Slices: whose time it is on each processor.
 *
 * A slice begins by the prologue upcall and ends by the epilogue upcall
 * (uarea.h); what an environment takes beyond its slice, in ring 3 or in a
 * call that lasts, becomes a debt, paid with whole later slices or with time
 * that others donate; a debt of QUANTUM_OVERRUN_MAX slices ends it.
 * One ring of the timer, or one call, adds at most one slice of debt, so that a
 * machine which itself was stopped for a while does not kill its environments.
 * The time that a sleeper's predicate takes is a debt of the sleeper.
 *
 * Sleep without loss: an environment that goes to sleep publishes ENV_ASLEEP
 * and looks at its events after that; a processor that goes idle publishes
 * `idle` and looks at its vector after that; a waker does both in the other
 * order.
 * Source: Engler95 s5.1.1.
 */
#include "src/kern/quantum.h"
#include "src/kern/console.h"
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/event.h"
#include "src/kern/net.h"
#include "src/kern/share.h"
#include "src/kern/span.h"
#include "src/kern/sysinfo.h"
#include "src/kern/sysproto.h"

/* A directed yield gives at least this part of a slice. */
#define YIELD_MIN_PART 16u

static uint64_t ticks(uint64_t us)
{
    return arch_tsc_khz() * us / 1000;
}

static uint64_t slice_ticks(void)
{
    return ticks(QUANTUM_US);
}

void quantum_arm(struct cpu *c, uint64_t tsc)
{
    if (tsc != EVENT_FOREVER && (c->timer == 0 || c->timer > tsc)) {
        c->timer = tsc;
        arch_timer_arm(tsc);
    }
}

void quantum_kick(const struct env *e)
{
    uint64_t all = atomic_load(&e->cpus) & ~(1ull << arch_cpu());
    for (; all != 0; all &= all - 1) {
        unsigned cpu = (unsigned)__builtin_ctzll(all);
        if (atomic_load(&cpu_at(cpu)->idle) != 0) {
            arch_cpu_kick(cpu);
        }
    }
}

/* ------------------------------------------------- leaving an environment */

/* Between environments the last one's context stays loaded. */
static void drop_loaded(struct cpu *c)
{
    arch_aspace_load(0);
    atomic_store(&c->loaded, NULL);
}

/*
 * Tear down what this processor made ENV_ENDING. Who has bind_lock now may be
 * in quantum_forget and wait for the context that is still loaded here, so
 * that goes before this processor waits for the lock.
 */
static void reap(struct env *e) EXCLUDES(bind_lock)
{
    drop_loaded(cpu_this());
    bind_acquire();
    env_reap(e);
    bind_release();
}

/* Let go of an environment that this processor had in ENV_RUNNING. */
static void publish(struct env *e, enum env_state state) EXCLUDES(bind_lock)
{
    bool ours = env_become(e, ENV_RUNNING, state);
    assert(ours);
    if (state == ENV_ASLEEP && event_pending(e)) {
        env_become(e, ENV_ASLEEP, ENV_READY);
    }
    if (atomic_load(&e->doomed) != 0 &&
        (env_become(e, ENV_READY, ENV_ENDING) ||
         env_become(e, ENV_ASLEEP, ENV_ENDING))) {
        reap(e);
        return;
    }
    quantum_kick(e);
}

static void owe(struct env *e, uint64_t time)
{
    uint64_t most = slice_ticks();
    e->debt_ticks += time < most ? time : most;
}

/* Account what the current environment took beyond its slice. */
static void charge_overrun(struct cpu *c, struct env *e, uint64_t now)
{
    if (now > c->charged_to) {
        owe(e, now - c->charged_to);
        c->charged_to = now;
    }
}

static void leave(struct cpu *c, struct env *e, const struct frame *f)
{
    uint64_t now = arch_tsc();
    e->info->run_ticks += now - c->ran_from;
    c->current = NULL;
    if (atomic_load(&e->doomed) != 0) {
        bool ours = env_become(e, ENV_RUNNING, ENV_ENDING);
        assert(ours);
        reap(e);
        c->leave = LEAVE_NOT;
        return;
    }
    charge_overrun(c, e, now);
    assert(f != NULL); /* only who ran nobody has no frame */
    if (f != &e->frame) {
        e->frame = *f;
    }
    arch_fpu_save(e->fpu);
    c->fpu = e;
    e->fpu_cpu = arch_cpu();
    publish(e, c->leave == LEAVE_SLEEP ? ENV_ASLEEP : ENV_READY);
    c->leave = LEAVE_NOT;
}

/* ------------------------------------------------ entering an environment */

/*
 * Run the predicate of a sleeper that this processor has claimed, at its
 * expense. It is due once in the length of a slice, however many slices and
 * processors the sleeper has; while the debt is a slice or more, the time that
 * would have been spent on it pays the debt.
 */
static bool look(struct cpu *c, struct env *e)
{
    uint64_t from = arch_tsc();
    bool found = false;
    if (e->debt_ticks >= slice_ticks()) {
        e->debt_ticks -= slice_ticks();
    } else {
        found = event_predicate(e);
    }
    uint64_t now = arch_tsc();
    e->info->run_ticks += now - from;
    owe(e, now - from);
    atomic_store(&e->wait_look, now + slice_ticks());
    c->looked = true;
    return found;
}

/* Is there a reason to claim a sleeper? It may go away meanwhile. */
static bool may_wake(const struct env *e, uint64_t now)
{
    return env_state(e) == ENV_ASLEEP &&
           (atomic_load_explicit(&e->wait_deadline, memory_order_relaxed) <=
                now ||
            (atomic_load_explicit(&e->wait_predicate, memory_order_relaxed) !=
                 0 &&
             atomic_load_explicit(&e->wait_look, memory_order_relaxed) <= now));
}

/*
 * Make `e` ENV_RUNNING for this processor if it can run now. The structure may
 * have become another environment's since it was found, so `id` is compared
 * once it is claimed: then it cannot change.
 */
static bool claim(struct cpu *c, struct env *e, uint32_t id, uint64_t now)
{
    if (env_become(e, ENV_READY, ENV_RUNNING)) {
        if (READ_ONCE(e->id) == id) {
            return true;
        }
        publish(e, ENV_READY);
        return false;
    }
    if (!may_wake(e, now) || !env_become(e, ENV_ASLEEP, ENV_RUNNING)) {
        return false;
    }
    if (READ_ONCE(e->id) == id &&
        (event_due(e, now) ||
         (atomic_load(&e->wait_predicate) != 0 &&
          atomic_load(&e->wait_look) <= now && look(c, e)))) {
        return true;
    }
    publish(e, ENV_ASLEEP);
    return false;
}

/* The id that a slice has, of an environment or of none; 0: it is free. */
static uint32_t slot_id(const struct cpu *c, unsigned slot)
{
    return READ_ONCE(sysinfo_vector((unsigned)(c - cpu_at(0)))[slot]);
}

/* The owner of a slice; NULL if it has none now. */
static struct env *owner(const struct cpu *c, unsigned slot)
{
    uint32_t id = slot_id(c, slot);
    return id == 0 ? NULL : env_find(id);
}

/* This slice and the others of its owner, or of one that it had just now. */
static uint64_t slices_of_owner(const struct cpu *c, unsigned slot)
{
    return 1ull << slot |
           atomic_load_explicit(&c->vector_same[slot], memory_order_relaxed);
}

/*
 * The owner of a slice, claimed; NULL if it cannot run now. Takes from `left`
 * the slices at which asking again would be in vain.
 */
static struct env *claim_owner(struct cpu *c, unsigned slot, uint64_t now,
                               uint64_t *left)
{
    uint32_t id = slot_id(c, slot);
    struct env *e = id == 0 ? NULL : env_find(id);
    if (e == NULL || !claim(c, e, id, now)) {
        *left &= ~slices_of_owner(c, slot);
        return NULL;
    }
    *left &= ~(1ull << slot);           /* each slice pays a part of a debt */
    bool ours = slot_id(c, slot) == id; /* it may have been taken back */
    if (ours && e->debt_ticks < slice_ticks()) {
        return e;
    }
    e->debt_ticks -= ours ? slice_ticks() : 0;
    publish(e, ENV_READY);
    return NULL;
}

static void drop_doomed(struct cpu *c)
{
    struct env *l = atomic_load(&c->loaded);
    if (l != NULL && atomic_load(&l->doomed) != 0) {
        drop_loaded(c);
    }
}

/* Bit `by` becomes bit 0. */
static uint64_t rotate(uint64_t slices, unsigned by)
{
    _Static_assert(QUANTUM_SLOTS == 64, "one word");
    by %= QUANTUM_SLOTS;
    return by == 0 ? slices : slices >> by | slices << (QUANTUM_SLOTS - by);
}

/*
 * The next environment in turn that can run, claimed; NULL: none. Interrupts
 * come in after each predicate.
 */
static struct env *pick(struct cpu *c, uint64_t now)
{
    uint64_t left = atomic_load(&c->vector_used);
    unsigned from = c->slot + 1;
    while (left != 0) {
        unsigned slot = (from + (unsigned)__builtin_ctzll(rotate(left, from))) %
                        QUANTUM_SLOTS;
        c->looked = false;
        struct env *e = claim_owner(c, slot, now, &left);
        if (e != NULL) {
            c->slot = slot;
            return e;
        }
        if (c->looked) {
            span_breathe(c);
            drop_doomed(c);
        }
    }
    return NULL;
}

/*
 * The environment that a directed yield names, if it can run. The number of
 * the slice stays. An environment that owes a slice or more pays with the rest
 * of this one.
 */
static struct env *pick_named(struct cpu *c, uint32_t id, uint64_t now)
{
    struct env *e = id == 0 ? NULL : env_find(id);
    if (e == NULL || !claim(c, e, id, now)) {
        return NULL;
    }
    if (e->debt_ticks < slice_ticks()) {
        return e;
    }
    uint64_t gift = c->slice_end > now ? c->slice_end - now : 0;
    e->debt_ticks -= gift < e->debt_ticks ? gift : e->debt_ticks;
    publish(e, ENV_READY);
    return NULL;
}

static bool upcalls_masked(const struct uarea *u)
{
    return READ_ONCE(u->slice_mask) != 0 || READ_ONCE(u->fault_active) != 0;
}

/* Make `f` enter entry[n], with what it was in uarea.slice. */
static void slice_upcall(struct env *e, struct frame *f, unsigned n)
{
    struct uarea *u = e->uarea;
    uint64_t entry = READ_ONCE(u->entry[n]);
    if (entry == 0) {
        return;
    }
    u->slice = *f;
    u->slice_mask = 1;
    if (!env_upcall(f, entry, READ_ONCE(u->stack_top))) {
        env_kill(e, ENV_END_FAULT, ARCH_VECTOR_PROTECTION, f);
    }
}

static struct frame *enter(struct cpu *c, struct env *e, uint64_t end)
{
    uint64_t now = arch_tsc();
    c->current = e;
    c->over = false;
    c->ran_from = now;
    c->slice_end = end;
    c->charged_to = end;
    c->info->slices++;
    __atomic_store_n(&e->info->cpu, arch_cpu(), __ATOMIC_RELAXED);
    e->uarea->cpu = arch_cpu();
    e->uarea->slice_end = end;
    if (atomic_load_explicit(&c->loaded, memory_order_relaxed) != e) {
        arch_aspace_load(e->root);
        atomic_store(&c->loaded, e);
    }
    if (c->fpu != e || e->fpu_cpu != arch_cpu()) {
        arch_fpu_load(e->fpu);
        c->fpu = e;
    }
    quantum_arm(c, end);
    if (!upcalls_masked(e->uarea)) {
        slice_upcall(e, &e->frame, ENV_PROLOGUE);
    }
    if (!arch_frame_sanitize(&e->frame)) {
        env_kill(e, ENV_END_FAULT, ARCH_VECTOR_PROTECTION, &e->frame);
    }
    return &e->frame;
}

/* -------------------------------------------------------------- idle time */

/* When somebody asleep here is to be looked at again; tsc. 0: one is ready. */
static uint64_t next_look(const struct cpu *c)
{
    uint64_t first = EVENT_FOREVER;
    uint64_t used = atomic_load(&c->vector_used);
    while (used != 0) {
        unsigned slot = (unsigned)__builtin_ctzll(used);
        struct env *e = owner(c, slot);
        used &= ~slices_of_owner(c, slot);
        enum env_state state = e == NULL ? ENV_FREE : env_state(e);
        if (state == ENV_READY) {
            return 0;
        }
        if (state != ENV_ASLEEP) {
            continue;
        }
        uint64_t t = atomic_load(&e->wait_deadline);
        if (atomic_load(&e->wait_predicate) != 0) {
            uint64_t at = atomic_load(&e->wait_look);
            t = at < t ? at : t;
        }
        first = t < first ? t : first;
    }
    return first;
}

static void idle(struct cpu *c)
{
    uint64_t from = arch_tsc();
    atomic_store(&c->idle, 1);
    uint64_t until = next_look(c);
    if (until != 0) {
        quantum_arm(c, until);
        quantum_arm(c, console_due(c));
        span_end(c);
        arch_idle();
        span_begin(c, SPAN_IDLE);
    }
    atomic_store(&c->idle, 0);
    c->info->idle_ticks += arch_tsc() - from;
}

/*
 * When the slice ends that a directed yield goes on with. It is made longer
 * once; else two who yield to each other would keep the processor from all
 * others.
 */
static uint64_t yield_end(struct cpu *c, uint64_t now)
{
    uint64_t least = now + slice_ticks() / YIELD_MIN_PART;
    if (c->stretched || c->slice_end >= least) {
        return c->slice_end;
    }
    c->stretched = true;
    return least;
}

static struct frame *next(struct cpu *c, uint32_t yield_to)
{
    uint64_t now = arch_tsc();
    bool spent = c->stretched && now >= c->slice_end;
    struct env *e = spent ? NULL : pick_named(c, yield_to, now);
    if (e != NULL) {
        return enter(c, e, yield_end(c, now));
    }
    c->stretched = false;
    for (;;) {
        drop_doomed(c);
        bool ending = env_ending();
        if (ending) {
            drop_loaded(c); /* see reap */
            env_end_work();
            span_pause(c);
        }
        if (c->net_polling != 0) {
            net_poll(c, NET_POLL_IDLE);
        }
        bool begun = disk_turn();
        if (c->console) {
            begun = console_turn(c) || begun;
        }
        e = pick(c, arch_tsc());
        if (e != NULL) { /* the sweep may have taken long: the time is new */
            return enter(c, e, arch_tsc() + slice_ticks());
        }
        if (c->net_polling == 0 && !ending && !begun) {
            idle(c);
        } else {
            span_end(c);
            arch_breathe(); /* a flood, an end, requests, text: work is left */
            span_begin(c, SPAN_IDLE);
        }
    }
}

struct frame *quantum_resume(struct cpu *c, struct frame *f)
{
    for (;;) {
        struct env *e = c->current;
        uint32_t yield_to = 0;
        if (e != NULL) {
            bool doomed = atomic_load(&e->doomed) != 0;
            if (c->leave == LEAVE_NOT && !doomed) {
                return f;
            }
            yield_to = c->leave == LEAVE_YIELD && !doomed ? c->yield_to : 0;
            leave(c, e, f);
        }
        f = next(c, yield_to);
    }
}

/* ------------------------------------------------------- ends of slices */

static struct frame *slice_over(struct cpu *c, struct env *e, struct frame *f,
                                uint64_t now)
{
    if (READ_ONCE(e->uarea->entry[ENV_EPILOGUE]) == 0) {
        c->leave = LEAVE_YIELD;
        c->yield_to = 0;
        return f;
    }
    charge_overrun(c, e, now);
    c->over = true;
    if (upcalls_masked(e->uarea)) {
        e->uarea->slice_over = 1;
    } else {
        slice_upcall(e, f, ENV_EPILOGUE);
    }
    quantum_arm(c, now + ticks(QUANTUM_GRACE_US));
    return f;
}

struct frame *quantum_timer(struct cpu *c, struct frame *f)
{
    struct env *e = c->current;
    uint64_t now = arch_tsc();
    c->timer = 0;
    if (now < c->slice_end) {
        quantum_arm(c, c->slice_end);
        return f;
    }
    if (!c->over) {
        return slice_over(c, e, f, now);
    }
    charge_overrun(c, e, now);
    if (e->debt_ticks >= QUANTUM_OVERRUN_MAX * slice_ticks()) {
        env_kill(e, ENV_END_OVERRUN, QUANTUM_OVERRUN_MAX, f);
        return f;
    }
    /* Masked when its slice ended, and no longer: it is told now. */
    if (e->uarea->slice_over != 0 && !upcalls_masked(e->uarea)) {
        e->uarea->slice_over = 0;
        slice_upcall(e, f, ENV_EPILOGUE);
    }
    quantum_arm(c, now + slice_ticks());
    return f;
}

/* ------------------------------------------------------------- the vector */

void kern_start(unsigned cpu)
{
    struct cpu *c = cpu_at(cpu);
    c->info->online = 1;
    for (;;) {
        span_begin(c, SPAN_IDLE);
        struct frame *f = quantum_resume(c, NULL);
        span_end(c);
        arch_resume(f);
    }
}

/* Note for each slice of `id` which they are. Returns them. */
static uint64_t note_same(unsigned cpu, uint32_t id) REQUIRES(bind_lock)
{
    const uint32_t *vector = sysinfo_vector(cpu);
    uint64_t same = 0;
    for (uint32_t i = 0; i < QUANTUM_SLOTS; i++) {
        same |= vector[i] == id ? 1ull << i : 0;
    }
    for (uint64_t left = same; left != 0; left &= left - 1) {
        atomic_store_explicit(&cpu_at(cpu)->vector_same[__builtin_ctzll(left)],
                              same, memory_order_relaxed);
    }
    return same;
}

int quantum_give(unsigned cpu, uint32_t slot, struct env *e)
{
    uint32_t *vector = sysinfo_vector(cpu);
    if (slot == QUANTUM_ANY) {
        uint64_t free = ~atomic_load(&cpu_at(cpu)->vector_used);
        REFUSE_IF(free == 0, E_BUSY);
        slot = (uint32_t)__builtin_ctzll(free);
    }
    REFUSE_IF(slot >= QUANTUM_SLOTS, E_RANGE);
    REFUSE_IF(vector[slot] != 0, E_BUSY);
    TRY(share_charge(e, SHARE_SLICES));
    __atomic_store_n(&vector[slot], e->id, __ATOMIC_RELAXED);
    (void)note_same(cpu, e->id);
    atomic_fetch_or(&e->cpus, 1ull << cpu);
    atomic_fetch_or(&cpu_at(cpu)->vector_used, 1ull << slot);
    env_become(e, ENV_NEW, ENV_READY);
    quantum_kick(e);
    return (int)slot;
}

static void take_back(unsigned cpu, uint32_t slot) REQUIRES(bind_lock)
{
    uint32_t *vector = sysinfo_vector(cpu);
    struct env *e = env_find(vector[slot]);
    uint32_t id = vector[slot];
    atomic_fetch_and(&cpu_at(cpu)->vector_used, ~(1ull << slot));
    __atomic_store_n(&vector[slot], 0, __ATOMIC_RELAXED);
    share_refund(e != NULL ? e->index : 0, SHARE_SLICES);
    if (note_same(cpu, id) == 0 && e != NULL) {
        atomic_fetch_and(&e->cpus, ~(1ull << cpu));
    }
}

void quantum_env_end(struct env *e)
{
    for (unsigned i = 0; i < arch_cpu_count() * QUANTUM_SLOTS; i++) {
        unsigned cpu = i / QUANTUM_SLOTS, slot = i % QUANTUM_SLOTS;
        if (sysinfo_vector(cpu)[slot] == e->id) {
            take_back(cpu, slot);
        }
    }
}

void quantum_forget(struct env *e)
{
    struct cpu *self = cpu_this();
    if (atomic_load(&self->loaded) == e) {
        drop_loaded(self);
    }
    for (unsigned i = 0; i < arch_cpu_count(); i++) {
        /* Idle with a context that nobody runs; its loop drops it. */
        for (unsigned n = 0; atomic_load(&cpu_at(i)->loaded) == e; n++) {
            if (n % 1024 == 0) {
                arch_cpu_kick(i);
            }
            arch_pause();
        }
    }
}

int64_t sys_quantum_alloc(struct env *e, uint32_t k, uint32_t cpu,
                          uint32_t slot, uint32_t env)
{
    struct env *other = NULL;
    TRY(env_demand(e, k, env, CAP_WRITE, &other));
    TRY(cap_demand(e, k, GUARD_ROOT, CAP_CTL));
    return cpu >= arch_cpu_count() ? -E_RANGE : quantum_give(cpu, slot, other);
}

int64_t sys_quantum_free(struct env *e, const struct cap *k, uint32_t cpu,
                         uint32_t slot)
{
    (void)e;
    REFUSE_IF(!cap_dominates(k, GUARD_ROOT, CAP_CTL), E_CAP);
    REFUSE_IF(cpu >= arch_cpu_count() || slot >= QUANTUM_SLOTS, E_RANGE);
    REFUSE_IF(sysinfo_vector(cpu)[slot] == 0, E_NONE);
    take_back(cpu, slot);
    return 0;
}

int64_t sys_quantum_yield(struct env *e, uint32_t env)
{
    REFUSE_IF(env != 0 && env_find(env) == NULL, E_NONE);
    struct cpu *c = cpu_this();
    assert(c->current == e);
    c->leave = LEAVE_YIELD;
    c->yield_to = env;
    return 0;
}
