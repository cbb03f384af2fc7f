/* SPDX-License-Identifier: MIT */
/*
 * Events and wakeup predicates. A predicate is verified bytecode over memory
 * that was pinned when it was downloaded. It is run at the environment's
 * expense: in the call that begins to wait, and then once in the length of a
 * slice, when one of the environment's slices comes round (quantum.c).
 * Source: Kaashoek97 (wakeup predicates), Xok.
 */
#include "src/kern/event.h"
#include "src/kern/code.h"
#include "src/kern/demand.h"
#include "src/kern/kheap.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

#define PREDICATE_INSNS_MAX 4096u
#define PREDICATE_WORK 16384u /* instructions of a run; the last turn whole */

struct event_predicate {
    struct dpf_program *program;
    struct page_pass pass;
    struct event_region region[EVENT_REGIONS_MAX];
    uint32_t regions; /* pinned */
    uint32_t fuel;
    uint32_t bytes; /* charged */
};

void event_signal(struct env *e, uint32_t bit)
{
    uint64_t b = 1ull << bit;
    __atomic_fetch_or(&e->uarea->pending, b, __ATOMIC_SEQ_CST);
    if (env_state(e) == ENV_ASLEEP && (atomic_load(&e->wait_mask) & b) != 0 &&
        env_become(e, ENV_ASLEEP, ENV_READY)) {
        quantum_kick(e);
    }
}

bool event_pending(const struct env *e)
{
    return (__atomic_load_n(&e->uarea->pending, __ATOMIC_SEQ_CST) &
            atomic_load(&e->wait_mask)) != 0;
}

static bool predicate_true(struct env *e, const struct event_predicate *p)
{
    struct dpf_run run = {.region_count = p->regions, .fuel = p->fuel};
    for (uint32_t i = 0; i < p->regions; i++) {
        const struct event_region *r = &p->region[i];
        run.regions[i].base = (uint8_t *)arch_frame_ptr(r->frame) + r->offset;
        run.regions[i].len = r->len;
    }
    struct dpf_result result = dpf_program_run(p->program, &run);
    if (result.end != DPF_END_EXIT || result.r0 == 0) {
        return false;
    }
    e->uarea->tag = result.r0;
    return true;
}

/* Is predicate `id` true, or broken? Then the wait for it ends too. */
static bool predicate_due(struct env *e, uint32_t id)
{
    lock_acquire(&e->predicate_lock);
    const struct event_predicate *p = e->predicate[id - 1];
    bool due = p == NULL || predicate_true(e, p);
    lock_release(&e->predicate_lock);
    return due;
}

bool event_due(const struct env *e, uint64_t now)
{
    return event_pending(e) || atomic_load(&e->wait_deadline) <= now;
}

bool event_predicate(struct env *e)
{
    uint32_t p = atomic_load(&e->wait_predicate);
    return p != 0 && predicate_due(e, p);
}

static struct event_predicate *find(const struct env *e, uint32_t id)
{
    return id == 0 || id > ENV_PREDICATES ? NULL : e->predicate[id - 1];
}

int64_t sys_event_wait(struct env *e, uint64_t mask, uint64_t deadline,
                       uint32_t predicate)
{
    REFUSE_IF(predicate != 0 && find(e, predicate) == NULL, E_NONE);
    atomic_store(&e->wait_mask, mask);
    atomic_store(&e->wait_deadline, deadline);
    atomic_store(&e->wait_predicate, predicate);
    atomic_store(&e->wait_look, 0);
    struct cpu *c = cpu_this();
    if (!event_pending(e) && c->net_polling != 0) {
        net_poll(c, NET_POLL_CALL); /* often it ends the wait */
    }
    if (!event_due(e, arch_tsc()) && !event_predicate(e)) {
        c->leave = LEAVE_SLEEP;
    }
    return 0;
}

static void destroy(struct env *e, struct event_predicate *p)
    REQUIRES(bind_lock)
{
    for (uint32_t i = 0; i < p->regions; i++) {
        page_unpin(p->region[i].frame, 1);
    }
    page_pass_finish(&p->pass);
    dpf_program_destroy(p->program);
    env_refund_bytes(e, p->bytes);
    kheap_free(p, sizeof(*p));
}

/* Pin what the predicate reads. Each region lies inside one frame. */
static int pin_regions(struct event_predicate *p, const struct event_args *a)
{
    for (uint32_t i = 0; i < a->regions; i++) {
        const struct event_region *r = &a->region[i];
        REFUSE_IF(r->len > PAGE_SIZE || r->offset > PAGE_SIZE - r->len,
                  E_RANGE);
        TRY(page_pin(&p->pass, r->frame, 1));
        p->region[p->regions++] = *r;
    }
    return 0;
}

/*
 * Others have bind_lock now and then while the program is read. So what rests
 * on the capability comes after that: a revocation may have emptied its slot.
 */
static int make(struct env *e, const struct cap *k, const struct event_args *a,
                struct event_predicate **out) REQUIRES(bind_lock)
{
    uint64_t before = kheap_bytes();
    struct event_predicate *p = kheap_alloc(sizeof(*p));
    REFUSE_IF(p == NULL, E_MEM);
    *p = (struct event_predicate){0};
    p->fuel = PREDICATE_WORK / a->count; /* 4 at least */
    int r = env_charge_bytes(e, code_cost(a->count));
    if (r == 0) {
        p->bytes = (uint32_t)code_cost(a->count);
        code_lend(true);
        r = code_load(e, DPF_PREDICATE, (uaddr){a->insns}, a->count,
                      &p->program, NULL);
        code_lend(false);
    }
    if (r == 0) {
        page_pass_init(&p->pass, k, CAP_READ);
        r = pin_regions(p, a);
    }
    if (r == 0) {
        r = code_charge(e, before, &p->bytes);
    }
    if (r < 0) {
        destroy(e, p);
        return r;
    }
    *out = p;
    return 0;
}

/* A number for a predicate; ENV_PREDICATES: none is free. */
static uint32_t find_free(const struct env *e)
{
    uint32_t i = 0;
    while (i < ENV_PREDICATES && e->predicate[i] != NULL) {
        i++;
    }
    return i;
}

int64_t sys_event_bind(struct env *e, const struct cap *k,
                       const struct event_args *a)
{
    REFUSE_IF(a->count == 0 || a->count > PREDICATE_INSNS_MAX ||
                  a->regions > EVENT_REGIONS_MAX,
              E_INVAL);
    REFUSE_IF(find_free(e) == ENV_PREDICATES, E_LIMIT);
    struct event_predicate *made = NULL;
    TRY(make(e, k, a, &made));
    uint32_t i = find_free(e); /* only the environment itself fills one */
    assert(i < ENV_PREDICATES);
    e->predicate[i] = made;
    return (int64_t)i + 1;
}

/* Another processor may be running it for a sleeper. */
static void take_out(struct env *e, uint32_t id) REQUIRES(bind_lock)
{
    lock_acquire(&e->predicate_lock);
    struct event_predicate *p = e->predicate[id - 1];
    e->predicate[id - 1] = NULL;
    lock_release(&e->predicate_lock);
    destroy(e, p);
}

int64_t sys_event_unbind(struct env *e, uint32_t predicate)
{
    REFUSE_IF(find(e, predicate) == NULL, E_NONE);
    take_out(e, predicate);
    return 0;
}

/* It rested on a revoked name: whoever sleeps on it wakes and looks. */
static void predicate_break(struct env *e, uint32_t id) REQUIRES(bind_lock)
{
    take_out(e, id);
    if (atomic_load(&e->wait_predicate) == id &&
        env_become(e, ENV_ASLEEP, ENV_READY)) {
        quantum_kick(e);
    }
}

bool event_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
{
    for (; *at < EVENT_REVOKE_STEPS; ++*at) {
        if (!turn_take(t, 1)) {
            return false;
        }
        struct env *e = env_at(*at);
        for (uint32_t id = 1; e != NULL && id <= ENV_PREDICATES; id++) {
            const struct event_predicate *p = e->predicate[id - 1];
            if (p != NULL && cap_revoked(r, &p->pass.cap, e)) {
                predicate_break(e, id);
            }
        }
    }
    return true;
}

void event_env_end(struct env *e)
{
    for (uint32_t id = 1; id <= ENV_PREDICATES; id++) {
        (void)sys_event_unbind(e, id);
    }
}
