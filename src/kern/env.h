/* SPDX-License-Identifier: MIT */
/*
 * Environments: the holders of everything. `state` says who may touch what:
 * an environment in ENV_RUNNING belongs to the processor that made it so (its
 * frame, FPU area and sleep fields too); every other change is a compare and
 * swap. Structures are never freed, so a stale pointer is harmless; an id has
 * a generation, so a stale id is found out.
 */
#pragma once

#include "src/abi/cap.h"
#include "src/abi/sysinfo.h"
#include "src/abi/uarea.h"
#include "src/kern/cap.h"
#include "src/kern/lock.h"
#include "src/kern/turn.h"

#define ENVS_MAX 256u /* index 0 is nobody */
#define ENV_PREDICATES 8u
#define ENV_NO_CPU UINT32_MAX

/* What another processor or an environment may change meanwhile, once. */
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

struct event_predicate;

/* A run that page_alloc took and gives in turns (page.c); count 0: none. */
struct page_run {
    uint64_t first;
    uint32_t count, given; /* frames */
    uint32_t marked;       /* their words are the kernel's; given <= marked */
    uint32_t guard;        /* held */
};

/* What the end of an environment still has to do, in this order. */
enum env_ending {
    ENDING_NOT,
    ENDING_CHILDREN,
    ENDING_NETS,
    ENDING_DISKS,
    ENDING_CONTEXT,
    ENDING_BINDINGS,
    ENDING_FRAMES,
    ENDING_NAMES,
    ENDING_DONE,
};

struct env {
    uint32_t id; /* generation << 8 | index; 0: slot not in use */
    uint32_t index;
    struct sysinfo_env *info; /* exposed: state, quota, use, how it ended */
    struct uarea *uarea;      /* written by the environment at any time */
    uint64_t uarea_frame, root;
    uint32_t guard;  /* held */
    uint32_t parent; /* index of who gets what remains; 0 nobody */

    _Atomic uint32_t doomed; /* to be torn down when it stops running */
    _Atomic uint64_t cpus;   /* processors with a slice for it */

    /* Asleep: what wakes it. */
    _Atomic uint64_t wait_mask;
    _Atomic uint64_t wait_deadline;  /* tsc */
    _Atomic uint64_t wait_look;      /* tsc from which a predicate is due */
    _Atomic uint32_t wait_predicate; /* 0: none */
    uint32_t fpu_cpu; /* where the registers were when last saved */

    uint64_t debt_ticks;                         /* to be forfeited */
    uint64_t kernel_bytes GUARDED_BY(bind_lock); /* see env_charge_bytes */
    struct lock predicate_lock; /* held while one of them runs or goes */
    struct event_predicate *predicate[ENV_PREDICATES];
    struct page_run run GUARDED_BY(bind_lock);
    enum env_ending ending GUARDED_BY(bind_lock);
    struct env *next_ending GUARDED_BY(bind_lock); /* in the list of them */
    uint32_t names_seen GUARDED_BY(bind_lock);     /* by guard_bequeath */
    struct cap cap[CAP_SLOTS] GUARDED_BY(bind_lock);
    /* The name that a cap_revoke of this environment takes out of all lists,
       and the index of the next list (revoke.c). No rights: none. */
    struct cap going GUARDED_BY(bind_lock);
    uint32_t going_at GUARDED_BY(bind_lock);
    struct frame frame; /* where it resumes */
    _Alignas(16) uint8_t fpu[ARCH_FPU_SIZE];
};
_Static_assert(sizeof(struct env) <= 4096, "one frame");

/* By index: NULL if that slot was never used. May be a free one. */
struct env *env_at(uint32_t index);
/* By id: NULL if there is no such environment now. */
struct env *env_find(uint32_t id);

/*
 * The environment that a call of `e` names, if slot `k` of `e` has `rights`
 * over it. 0, -E_NONE (also when it is being torn down), -E_RANGE or -E_CAP.
 */
int env_demand(const struct env *e, uint32_t k, uint32_t id, uint32_t rights,
               struct env **out) REQUIRES(bind_lock);

/* Quota of frames. 0 or -E_QUOTA. */
int env_charge(struct env *e, uint64_t frames) REQUIRES(bind_lock);
/* Any time; index 0 is nobody's. */
void env_refund(uint32_t index, uint64_t frames);
/*
 * Quota for kernel memory that an environment causes (downloaded code,
 * bindings): whole frames of the running total. 0 or -E_QUOTA.
 */
int env_charge_bytes(struct env *e, uint64_t bytes) REQUIRES(bind_lock);
void env_refund_bytes(struct env *e, uint64_t bytes) REQUIRES(bind_lock);

/*
 * A new environment.
 *
 * parent  its quota and shares give the child's; NULL for the first
 * guard   held by the caller, who hands it over on success
 * shares  SHARE_KINDS counts (abi/share.h); NULL for the first, who has all
 * out     set on success
 *
 * Returns 0, -E_QUOTA (too small, or more than the parent has), -E_MEM.
 */
int env_make(struct env *parent, uint32_t guard, uint64_t quota,
             const uint32_t *shares, struct env **out) REQUIRES(bind_lock);

/*
 * End `e`. When a processor runs it, that one begins when it next leaves it;
 * else the first turn is done here. What is left is done by env_end_work, or
 * by env_destroy of whoever waits for it.
 *
 * detail  vector, slices owed or status: what `end` calls for
 * at      where it was; NULL for ENV_END_DESTROYED and ENV_END_KILLED
 *
 * True: `e` is gone, or a processor runs it. False: another turn helps.
 */
bool env_doom(struct env *e, enum env_end end, uint32_t detail,
              const struct frame *at, struct turn *t) REQUIRES(bind_lock);
/* The same by a processor that holds no lock. */
void env_kill(struct env *e, enum env_end end, uint32_t detail,
              const struct frame *at) EXCLUDES(bind_lock);
/* Begin to tear down an environment in ENV_ENDING, which no processor runs:
   the first turn. */
void env_reap(struct env *e) REQUIRES(bind_lock);
/* Is an environment ending that wants env_end_work? */
bool env_ending(void);
/* One turn for the environment that has been ending for longest. */
void env_end_work(void) EXCLUDES(bind_lock);
/* A frame that `owner` paid for is `heir`'s, and so is the quota for it. */
void env_inherit(uint32_t owner, uint32_t heir) REQUIRES(bind_lock);

static inline enum env_state env_state(const struct env *e)
{
    return (enum env_state)__atomic_load_n(&e->info->state, __ATOMIC_SEQ_CST);
}
/* Change the state if it is `from`. */
bool env_become(struct env *e, enum env_state from, enum env_state to);

/*
 * An exception or a foreign call of `e`, which this processor runs with its
 * state in `f`. Changes `f` to enter the upcall, or dooms the environment.
 */
void env_fault(struct env *e, struct frame *f, uint32_t vector)
    EXCLUDES(bind_lock);
/* The upcall entry[n] on `stack`: false if there is none that can be entered */
bool env_upcall(struct frame *f, uint64_t entry, uint64_t stack);
