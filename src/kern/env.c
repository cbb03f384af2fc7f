/* SPDX-License-Identifier: MIT */
/*
 * Environments: creation, the end of one with everything it holds, upcalls.
 *
 * Invariants: frames_used <= frames_quota for each; the quota and the shares
 * of a child came out of its parent's and return there. After env_reap nothing
 * in the kernel names the environment: no slice, ring, binding, region, range,
 * predicate, table entry or frame. Source: Engler95 s5.1.2 (the exception,
 * interrupt, protected entry and addressing contexts); Xok's env.
 */
#include "src/kern/env.h"
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/event.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/share.h"
#include "src/kern/span.h"
#include "src/kern/sysinfo.h"
#include "src/kern/sysproto.h"
#include "src/lib/log.h"

#define INDEX_MASK 0xffu
#define GENERATION_ONE 0x100u
#define STEP_UNITS 32u /* of a turn, for a step of an end */

static struct env *_Atomic slot[ENVS_MAX];
static uint32_t living GUARDED_BY(bind_lock);

struct lock bind_lock;

struct env *env_at(uint32_t index)
{
    return index < ENVS_MAX
               ? atomic_load_explicit(&slot[index], memory_order_acquire)
               : NULL;
}

struct env *env_find(uint32_t id)
{
    struct env *e = env_at(id & INDEX_MASK);
    bool found = e != NULL && id != 0 && READ_ONCE(e->id) == id &&
                 env_state(e) != ENV_FREE;
    return found ? e : NULL;
}

int env_demand(const struct env *e, uint32_t k, uint32_t id, uint32_t rights,
               struct env **out)
{
    *out = env_find(id);
    REFUSE_IF(*out == NULL || (*out)->ending != ENDING_NOT, E_NONE);
    return cap_demand(e, k, (*out)->guard, rights);
}

/* What is left of its quota. */
static uint64_t room(const struct env *e)
{
    return e->info->frames_quota - READ_ONCE(e->info->frames_used);
}

int env_charge(struct env *e, uint64_t frames)
{
    REFUSE_IF(frames > room(e), E_QUOTA);
    __atomic_fetch_add(&e->info->frames_used, frames, __ATOMIC_RELAXED);
    return 0;
}

void env_refund(uint32_t index, uint64_t frames)
{
    if (index != 0) {
        __atomic_fetch_sub(&env_at(index)->info->frames_used, frames,
                           __ATOMIC_RELAXED);
    }
}

int env_charge_bytes(struct env *e, uint64_t bytes)
{
    TRY(env_charge(e, page_frames(e->kernel_bytes + bytes) -
                          page_frames(e->kernel_bytes)));
    e->kernel_bytes += bytes;
    return 0;
}

void env_refund_bytes(struct env *e, uint64_t bytes)
{
    assert(e->kernel_bytes >= bytes);
    env_refund(e->index, page_frames(e->kernel_bytes) -
                             page_frames(e->kernel_bytes - bytes));
    e->kernel_bytes -= bytes;
}

bool env_become(struct env *e, enum env_state from, enum env_state to)
{
    uint16_t was = (uint16_t)from;
    return __atomic_compare_exchange_n(&e->info->state, &was, (uint16_t)to,
                                       false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* A free slot's structure, made if the slot is used for the first time. */
static int slot_find(struct env **out) REQUIRES(bind_lock)
{
    uint32_t i = 1;
    while (env_at(i) != NULL && env_state(env_at(i)) != ENV_FREE) {
        i++;
        assert(i < ENVS_MAX); /* all shares together are one less */
    }
    struct env *e = env_at(i);
    if (e == NULL) {
        e = page_kalloc_bytes(sizeof(*e));
        REFUSE_IF(e == NULL, E_MEM);
        e->index = i;
        e->info = sysinfo_env(i);
        atomic_store_explicit(&slot[i], e, memory_order_release);
    }
    *out = e;
    return 0;
}

static int uarea_make(struct env *e) REQUIRES(bind_lock)
{
    int64_t f = page_take(PAGE_ANY, 1, e->guard, e->index);
    TRY((int)f);
    e->uarea_frame = (uint64_t)f;
    e->uarea = arch_frame_ptr(e->uarea_frame);
    e->uarea->version = UAREA_VERSION;
    e->uarea->env = e->id;
    return 0;
}

static void reset(struct env *e, struct env *parent, uint32_t guard,
                  uint64_t quota) REQUIRES(bind_lock)
{
    uint32_t id = (e->info->id + GENERATION_ONE) & ~INDEX_MASK;
    id = (id == 0 ? GENERATION_ONE : id) | e->index;
    __atomic_store_n(&e->id, id, __ATOMIC_RELAXED);
    *e->info = (struct sysinfo_env){
        .id = id, .frames_used = ASPACE_FRAMES, .frames_quota = quota};
    e->guard = guard;
    e->parent = parent != NULL ? parent->index : 0;
    e->debt_ticks = 0;
    e->kernel_bytes = 0;
    e->fpu_cpu = ENV_NO_CPU;
    atomic_store(&e->wait_predicate, 0);
    atomic_store(&e->doomed, 0);
    atomic_store(&e->cpus, 0);
    __builtin_memset(e->cap, 0, sizeof(e->cap));
    arch_frame_init(&e->frame, 0, 0);
    arch_fpu_init(e->fpu);
}

int env_make(struct env *parent, uint32_t guard, uint64_t quota,
             const uint32_t *shares, struct env **out)
{
    struct env *e = NULL;
    REFUSE_IF(quota < ASPACE_FRAMES, E_QUOTA);
    REFUSE_IF(parent != NULL && quota > room(parent), E_QUOTA);
    TRY(parent != NULL ? share_check(parent, shares) : 0);
    TRY(slot_find(&e));
    if (parent != NULL) {
        share_divide(parent, e, shares);
        parent->info->frames_quota -= quota;
    } else {
        share_first(e);
    }
    reset(e, parent, guard, quota);
    int r = uarea_make(e);
    if (r < 0) {
        goto no_uarea;
    }
    r = aspace_create(e);
    if (r < 0) {
        goto no_aspace;
    }
    e->info->uarea_frame = e->uarea_frame;
    living++;
    bool made = env_become(e, ENV_FREE, ENV_NEW);
    assert(made);
    *out = e;
    return 0;

no_aspace:
    page_disown(e->uarea_frame, 1);
no_uarea:
    e->info->frames_used = 0;
    e->info->frames_quota = 0;
    if (parent != NULL) {
        parent->info->frames_quota += quota;
        share_return(e, parent);
    }
    return r;
}

/* --------------------------------------------------------------- the end */

/* Environments that are being torn down, the one that began first at the head.
   Its length can be read without the lock. */
static struct env *ending_first GUARDED_BY(bind_lock);
static _Atomic uint32_t ending_count;

/* What an environment can act by goes first, and at once. */
static void begin_end(struct env *e) REQUIRES(bind_lock)
{
    assert(env_state(e) == ENV_ENDING && e->ending == ENDING_NOT);
    struct env **last = &ending_first;
    while (*last != NULL) {
        last = &(*last)->next_ending;
    }
    *last = e;
    e->next_ending = NULL;
    atomic_fetch_add(&ending_count, 1);
    e->ending = ENDING_CHILDREN;
    e->names_seen = 0;
    cap_going_end(e);
    quantum_env_end(e);
    event_env_end(e);
    __builtin_memset(e->cap, 0, sizeof(e->cap));
}

static void finish_end(struct env *e) REQUIRES(bind_lock)
{
    struct env **link = &ending_first;
    while (*link != e) {
        link = &(*link)->next_ending;
    }
    *link = e->next_ending;
    atomic_fetch_sub(&ending_count, 1);
    e->ending = ENDING_NOT;
    struct env *heir = env_at(e->parent);
    if (heir != NULL) {
        heir->info->frames_quota += e->info->frames_quota;
        /* Its regions that others bind in are the heir's, with their cost. */
        int r = env_charge_bytes(heir, e->kernel_bytes);
        assert(r == 0); /* out of the quota that just came */
    }
    share_return(e, heir);
    guard_drop(e->guard);
    e->info->uarea_frame = 0;
    e->info->frames_used = 0;
    e->info->frames_quota = 0;
    bool freed = env_become(e, ENV_ENDING, ENV_FREE);
    assert(freed);
    if (--living == 0) {
        log_line("no environment is left: halting");
        arch_halt(e->info->end == ENV_END_DESTROYED ? e->info->end_detail : 1);
    }
}

/*
 * Children go to the parent. Those that have no slice yet end first: their
 * maker was about to give them all that they know, and no one else has heard
 * of them. They have no children. False: not yet all.
 */
static bool end_children(struct env *e, struct turn *t) REQUIRES(bind_lock)
{
    for (uint32_t i = 1; i < ENVS_MAX; i++) {
        struct env *child = env_at(i);
        if (child == NULL || child->parent != e->index ||
            env_state(child) == ENV_FREE) {
            continue;
        }
        if (env_state(child) != ENV_NEW && child->ending == ENDING_NOT) {
            child->parent = e->parent;
            share_move(e->index, e->parent, SHARE_ENVS);
        } else if (!turn_take(t, STEP_UNITS) ||
                   !env_doom(child, ENV_END_KILLED, 0, NULL, t)) {
            return false;
        }
    }
    return true;
}

/* One step of the end. False: the turn ended before the step did. */
static bool end_step(struct env *e, struct turn *t) REQUIRES(bind_lock)
{
    switch (e->ending) {
    case ENDING_CHILDREN:
        return end_children(e, t);
    case ENDING_NETS:
        if (e == ending_first ? net_space_awaited() : net_space_changes()) {
            return false;
        }
        return net_env_end(e, t);
    case ENDING_DISKS:
        return disk_env_end(e, t);
    case ENDING_CONTEXT:
        quantum_forget(e);
        return true;
    case ENDING_BINDINGS:
        return aspace_destroy(e, t);
    case ENDING_FRAMES:
        return page_run_drop(e, t) && page_disown_all(e->index, e->parent, t);
    default:
        return guard_bequeath(e->index, e->parent, &e->names_seen, t);
    }
}

/* A turn of the end; the time is the environment's. True: it is gone. */
static bool end_turn(struct env *e, struct turn *t) REQUIRES(bind_lock)
{
    uint64_t from = arch_tsc();
    bool done = true;
    while (done && e->ending != ENDING_DONE) {
        done = end_step(e, t);
        e->ending += done ? 1 : 0;
    }
    e->info->run_ticks += arch_tsc() - from;
    if (done) {
        finish_end(e);
    }
    return done;
}

bool env_ending(void)
{
    return atomic_load_explicit(&ending_count, memory_order_relaxed) != 0;
}

void env_end_work(void)
{
    bind_acquire();
    if (ending_first != NULL) {
        struct turn t = turn_begin(0);
        (void)end_turn(ending_first, &t);
    }
    bind_release();
}

void env_reap(struct env *e)
{
    struct turn t = turn_begin(0);
    begin_end(e);
    (void)end_turn(e, &t);
}

void env_inherit(uint32_t owner, uint32_t heir)
{
    struct sysinfo_env *from = env_at(owner)->info;
    env_refund(owner, 1);
    from->frames_quota--;
    if (heir != 0) {
        struct sysinfo_env *to = env_at(heir)->info;
        to->frames_quota++;
        __atomic_fetch_add(&to->frames_used, 1, __ATOMIC_RELAXED);
    }
}

bool env_doom(struct env *e, enum env_end end, uint32_t detail,
              const struct frame *at, struct turn *t)
{
    if (atomic_load(&e->doomed) != 0) {
        return e->ending == ENDING_NOT || end_turn(e, t);
    }
    e->info->end = (uint16_t)end;
    e->info->end_detail = detail;
    e->info->end_rip = at != NULL ? at->rip : 0;
    e->info->end_address = end == ENV_END_FAULT ? at->address : 0;
    if (end == ENV_END_FAULT || end == ENV_END_OVERRUN) {
        log_line("environment %x ended: %s %u at %lx, address %lx", e->id,
                 end == ENV_END_FAULT ? "exception" : "overrun", detail,
                 e->info->end_rip, e->info->end_address);
    }
    atomic_store(&e->doomed, 1);
    if (env_become(e, ENV_READY, ENV_ENDING) ||
        env_become(e, ENV_ASLEEP, ENV_ENDING) ||
        env_become(e, ENV_NEW, ENV_ENDING)) {
        begin_end(e);
        return end_turn(e, t);
    }
    /* It sees `doomed` on its way out; if it only just began there, at the
       end of its slice. */
    uint32_t cpu = READ_ONCE(e->info->cpu);
    if (cpu != arch_cpu()) {
        arch_cpu_kick(cpu);
    }
    return true;
}

void env_kill(struct env *e, enum env_end end, uint32_t detail,
              const struct frame *at)
{
    bind_acquire();
    struct turn t = turn_begin(0);
    (void)env_doom(e, end, detail, at, &t);
    bind_release();
}

bool env_upcall(struct frame *f, uint64_t entry, uint64_t stack)
{
    if (entry == 0) {
        return false;
    }
    arch_frame_init(f, entry, stack);
    return arch_frame_sanitize(f);
}

/* Enter entry[n] with the state in uarea.fault; false if it cannot be. */
static bool fault_upcall(struct env *e, struct frame *f, unsigned n)
{
    struct uarea *u = e->uarea;
    uint64_t stack = READ_ONCE(u->fault_stack_top);
    if (READ_ONCE(u->fault_active) != 0) {
        return false;
    }
    if (stack == 0) {
        stack = READ_ONCE(u->stack_top);
    }
    struct frame in = *f;
    if (!env_upcall(f, READ_ONCE(u->entry[n]), stack)) {
        *f = in;
        return false;
    }
    u->fault = in;
    u->fault_active = 1;
    return true;
}

void env_fault(struct env *e, struct frame *f, uint32_t vector)
{
    f->vector = vector;
    bool foreign = vector == FRAME_FOREIGN;
    if (foreign && READ_ONCE(e->uarea->entry[ENV_FOREIGN]) == 0) {
        f->rax = (uint64_t)-E_NOSYS;
        return;
    }
    if (!fault_upcall(e, f, foreign ? ENV_FOREIGN : ENV_FAULT)) {
        env_kill(e, ENV_END_FAULT, vector, f);
    }
}

int64_t sys_env_create(struct env *e, uint32_t guard, uint64_t quota,
                       uaddr shares, uint32_t kinds)
{
    uint32_t give[SHARE_KINDS] = {0};
    REFUSE_IF(kinds > SHARE_KINDS, E_INVAL);
    TRY(copy_in(e, give, shares, kinds * sizeof(give[0])));
    int g = cap_guard(e, guard, CAP_CTL);
    TRY(g);
    struct env *made = NULL;
    int r = env_make(e, (uint32_t)g, quota, give, &made);
    if (r < 0) {
        guard_drop((uint32_t)g);
        return r;
    }
    return made->id;
}

/* In turns until it is gone. It may end meanwhile by other processors' work. */
int64_t sys_env_destroy(struct env *e, uint32_t k, uint32_t env,
                        uint32_t status, struct turn *t)
{
    struct env *other = e;
    if (env != 0 && env != e->id) {
        other = env_find(env);
        REFUSE_IF(other == NULL && t->done == 0, E_NONE);
        if (other == NULL) {
            return 0;
        }
        TRY(cap_demand(e, k, other->guard, CAP_CTL));
    }
    enum env_end end = other == e ? ENV_END_DESTROYED : ENV_END_KILLED;
    return env_doom(other, end, status, NULL, t) ? 0 : turn_again(t, 1);
}
