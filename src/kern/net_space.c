/* SPDX-License-Identifier: MIT */
/*
 * Packet space: regions and bindings, and their authority. What a filter
 * means is dpf's business (it proves that a binding lies inside its region
 * and collides with nobody); who may present it is decided here.
 *
 * A binding's entry is filled before dpf publishes it and emptied only after
 * every lookup that could return it has ended.
 */
#include "src/kern/code.h"
#include "src/kern/demand.h"
#include "src/kern/kheap.h"
#include "src/kern/net.h"
#include "src/kern/share.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"
#include "src/lib/string.h"

#define CONSTS_MAX 16u
#define WEIGHT_INSNS 128u  /* of filters: about the cost of sending a frame */
#define STEPS_CHEAP 1024u  /* of a packet: the clock need not be looked at */
#define CHEAP_UNCHECKED 7u /* after it, while packets are cheap */
#define NOBODY 0u
/* Of a turn: to look at a binding, to drop one, to remove a region. */
#define LOOK_UNITS 1u
#define DROP_UNITS 64u
#define REGION_UNITS 256u

/* Why dpf refused; too large for the stack. */
static struct dpf_error why GUARDED_BY(bind_lock);

/*
 * A change of packet space can take long, so dpf lets others have bind_lock in
 * the middle of it. Lookups see a whole version at any time; all else that
 * reads or changes packet space stays away while `changes` is set.
 */
static struct {
    bool changes;
    bool wanted; /* the end of an environment came in vain */
} space GUARDED_BY(bind_lock);

bool net_space_changes(void)
{
    return space.changes;
}

bool net_space_awaited(void)
{
    space.wanted = space.changes;
    return space.changes;
}

static void space_begin(void) REQUIRES(bind_lock)
{
    assert(!space.changes);
    space.changes = true;
    code_lend(true);
}

static void space_end(void) REQUIRES(bind_lock)
{
    code_lend(false);
    space.changes = false;
}

/*
 * May a call begin a change? The end of an environment comes first: it looks
 * once a slice, and callers that follow each other would keep it away.
 */
static bool space_taken(void) REQUIRES(bind_lock)
{
    return space.changes || space.wanted;
}

/* Bindings cost a packet this much more, or less, than they did. */
static void steps_change(struct net *n, uint32_t more) REQUIRES(bind_lock)
{
    n->steps += more;
    uint32_t unchecked = n->steps <= STEPS_CHEAP ? CHEAP_UNCHECKED : 0;
    __atomic_store_n(&n->unchecked, unchecked, __ATOMIC_RELAXED);
}

int net_space_init(struct net *n)
{
    n->unchecked = CHEAP_UNCHECKED;
    for (unsigned d = 0; d < NET_DIRECTIONS; d++) {
        REFUSE_IF(dpf_set_create(&code_mem, &n->set[d]) < 0, E_MEM);
        n->region[d][NET_REGION_ALL].used = true;
    }
    return 0;
}

/* Let what older versions of a set used be freed. */
static void settle(struct dpf_set *s) REQUIRES(bind_lock)
{
    uint64_t version = dpf_set_version(s);
    net_quiesce();
    dpf_set_reclaim(s, version);
}

/* A refusal of the kernel's own, in words. Returns `r`. */
static int because(int r, const char *text) REQUIRES(bind_lock)
{
    why = (struct dpf_error){.code = r};
    str_copy(why.text, sizeof(why.text), text);
    return r;
}

/* Tell the caller why, if it gave an address. Returns `r`, or -E_FAULT. */
static int64_t refuse(const struct env *e, uint64_t address, int64_t r)
    REQUIRES(bind_lock)
{
    if (address == 0 || r >= 0 || why.text[0] == 0) {
        return r;
    }
    struct net_refusal out = {0};
    out.insn = r == -E_VERIFY ? why.insn : 0;
    if (r == -E_CONFLICT || r == -E_REGION) {
        out.other = why.other;
        out.witness_len = why.witness_len <= NET_WITNESS_MAX ? why.witness_len
                                                             : NET_WITNESS_MAX;
        __builtin_memcpy(out.witness, why.witness, out.witness_len);
    }
    str_copy(out.text, sizeof(out.text), why.text);
    TRY(copy_out(e, (uaddr){address}, &out, sizeof(out)));
    return r;
}

/* ----------------------------------------------------- bindings that go */

/* What binding_begin charged to the ring's environment. */
static void binding_refund(struct env *e, struct net *n, struct net_binding *b)
    REQUIRES(bind_lock)
{
    guard_drop(b->by);
    env_refund_bytes(e, b->bytes);
    share_refund(e->index, SHARE_NET_BINDINGS);
    share_refund_many(e->index, SHARE_NET_STEPS, b->steps);
    steps_change(n, -b->steps);
    if (--n->filter_uses[b->filter] == 0) {
        share_refund(e->index, SHARE_NET_FILTERS);
    }
}

/*
 * Take a binding out of the set and off its ring's list. A lookup that began
 * before may still return it, so its entry is given back after net_quiesce.
 */
static void binding_drop(struct net *n, uint32_t id) REQUIRES(bind_lock)
{
    struct net_binding *b = net_binding_at(n, id);
    struct net_ring *r = &n->ring[b->ring];
    n->region[0][b->region].inside--;
    int dropped = dpf_set_drop(n->set[0], id);
    assert(dropped == 0);
    binding_refund(r->env, n, b);
    if (b->previous != NET_BINDINGS_MAX) {
        net_binding_at(n, b->previous)->next = b->next;
    } else {
        r->bindings = b->next;
    }
    if (b->next != NET_BINDINGS_MAX) {
        net_binding_at(n, b->next)->previous = b->previous;
    }
}

static void binding_give(struct net *n, uint32_t id)
{
    *net_binding_at(n, id) = (struct net_binding){.next = n->free_binding};
    n->free_binding = id;
}

/* Free what served only bindings that were dropped. For want of memory it
   stays until the next change. */
static void tidy(struct net *n) REQUIRES(bind_lock)
{
    (void)dpf_set_tidy(n->set[0]);
    settle(n->set[0]);
}

/* Dropped bindings, linked by `next`, once no lookup returns them. */
static void give_all(struct net *n, uint32_t first)
{
    while (first != NET_BINDINGS_MAX) {
        uint32_t id = first;
        first = net_binding_at(n, id)->next;
        binding_give(n, id);
    }
}

bool net_unbind_ring(struct net *n, uint32_t ring, uint32_t limit)
{
    struct net_ring *r = &n->ring[ring];
    uint32_t dropped = NET_BINDINGS_MAX; /* the first; linked by `next` */
    space_begin();
    for (; limit > 0 && r->bindings != NET_BINDINGS_MAX; limit--) {
        uint32_t id = r->bindings;
        binding_drop(n, id);
        net_binding_at(n, id)->next = dropped;
        dropped = id;
    }
    bool more = r->bindings != NET_BINDINGS_MAX;
    if (more) {
        net_quiesce();
    } else if (dropped != NET_BINDINGS_MAX) {
        tidy(n);
    }
    give_all(n, dropped);
    space_end();
    return more;
}

/* ---------------------------------------------------------------- regions */

static struct net_region *region_at(struct net *n, unsigned direction,
                                    uint32_t region)
{
    if (region >= NET_REGIONS_MAX || !n->region[direction][region].used) {
        return NULL;
    }
    return &n->region[direction][region];
}

struct net_region *net_region_get(struct net *n, unsigned direction,
                                  uint32_t region)
{
    struct net_region *g = region_at(n, direction, region);
    return g != NULL && g->broken ? NULL : g;
}

/*
 * That a region lies inside its parent was proved on diagrams, which are made
 * from the programs: a frame passes all programs up to the whole space, so
 * that a mistake of the proof lets nothing out that a parent forbids. Regions
 * with regions or rings inside stay, and their programs with them.
 */
void net_region_filters(const struct net *n, uint32_t region,
                        struct net_ring *r)
{
    size_t insns = 0;
    r->filters = 0;
    while (region != NET_REGION_ALL) {
        const struct net_region *g = &n->region[1][region];
        assert(r->filters < NET_OUT_DEPTH_MAX);
        r->filter[r->filters++] = g->program;
        region = g->parent;
        size_t count;
        (void)dpf_program_insns(g->program, &count);
        insns += count;
    }
    r->weight = 1 + (uint32_t)(insns / WEIGHT_INSNS);
}

/* The parts of a new region that can fail, in order; undone in reverse. */
static int region_make(struct env *e, struct net *n, uint32_t id,
                       const struct net_region_args *a, uint32_t guard,
                       const struct cap *k) REQUIRES(bind_lock)
{
    unsigned direction = (a->flags & NET_OUT) != 0;
    struct dpf_program *program = NULL;
    uint64_t before = kheap_bytes();
    uint32_t bytes = (uint32_t)code_cost(a->count);
    TRY(env_charge_bytes(e, bytes));
    int r =
        code_load(e, DPF_FILTER, (uaddr){a->insns}, a->count, &program, &why);
    if (r < 0) {
        goto no_program;
    }
    r = code_error(dpf_set_region_insert(
        n->set[direction], id, a->parent, program,
        (a->flags & NET_SHARED) != 0 ? DPF_SHARED : 0, &why));
    if (r < 0) {
        goto no_region;
    }
    settle(n->set[direction]);
    if (direction == 0) { /* the set keeps what it needs */
        dpf_program_destroy(program);
        program = NULL;
    }
    r = code_charge(e, before, &bytes);
    if (r < 0) {
        (void)dpf_set_region_remove(n->set[direction], id);
        settle(n->set[direction]);
        goto no_region;
    }
    n->region[direction][id] = (struct net_region){
        .used = true,
        .guard = guard,
        .owner = e->index,
        .parent = (uint16_t)a->parent,
        .depth = (uint8_t)(n->region[direction][a->parent].depth + 1),
        .shared = (a->flags & NET_SHARED) != 0 ||
                  n->region[direction][a->parent].shared,
        .bytes = bytes,
        .program = program,
        .by = *k};
    n->region[direction][a->parent].inside++;
    return 0;

no_region:
    dpf_program_destroy(program);
no_program:
    env_refund_bytes(e, bytes);
    return r;
}

int64_t sys_net_region(struct env *e, const struct cap *k,
                       const struct net_region_args *a, struct turn *t)
{
    if (space_taken()) {
        return turn_again(t, 1);
    }
    struct net *n = net_at(a->device);
    REFUSE_IF(n == NULL, E_RANGE);
    REFUSE_IF((a->flags & ~(NET_SHARED | NET_OUT)) != 0 || a->reserved != 0 ||
                  a->flags == (NET_SHARED | NET_OUT),
              E_INVAL);
    unsigned direction = (a->flags & NET_OUT) != 0;
    struct net_region *parent = net_region_get(n, direction, a->parent);
    REFUSE_IF(parent == NULL, E_NONE);
    REFUSE_IF(!cap_dominates(k, parent->guard, CAP_CTL), E_CAP);
    why.text[0] = 0;
    if (parent->depth == (direction == 1 ? NET_OUT_DEPTH_MAX : UINT8_MAX)) {
        return refuse(e, a->refusal,
                      because(-E_LIMIT, "regions nest no deeper, since each "
                                        "costs every frame a run"));
    }
    REFUSE_IF(share_room(e, SHARE_NET_REGIONS) == 0, E_QUOTA);
    uint32_t id = 1;
    while (n->region[direction][id].used) {
        id++;
        assert(id < NET_REGIONS_MAX); /* all shares together are one less */
    }
    int guard = cap_guard(e, a->guard, 0);
    TRY(guard);
    const struct cap by = *k; /* a revocation may empty the slot meanwhile */
    space_begin();
    int r = region_make(e, n, id, a, (uint32_t)guard, &by);
    space_end();
    if (r < 0) {
        guard_drop((uint32_t)guard);
        return refuse(e, a->refusal, r);
    }
    share_take(e, SHARE_NET_REGIONS);
    return id;
}

static int region_remove(struct net *n, unsigned direction, uint32_t id)
    REQUIRES(bind_lock)
{
    struct net_region *g = &n->region[direction][id];
    REFUSE_IF(id == NET_REGION_ALL || g->rings > 0 || g->inside > 0, E_BUSY);
    TRY(code_error(dpf_set_region_remove(n->set[direction], id)));
    n->region[direction][g->parent].inside--;
    settle(n->set[direction]);
    dpf_program_destroy(g->program);
    guard_drop(g->guard);
    if (g->owner != NOBODY) {
        env_refund_bytes(env_at(g->owner), g->bytes);
    }
    share_refund(g->owner, SHARE_NET_REGIONS);
    *g = (struct net_region){0};
    return 0;
}

int64_t sys_net_region_free(struct env *e, uint32_t k, uint32_t device,
                            uint32_t flags, uint32_t region, struct turn *t)
{
    if (space.changes) {
        return turn_again(t, 1);
    }
    struct net *n = net_at(device);
    REFUSE_IF(n == NULL, E_RANGE);
    REFUSE_IF((flags & ~NET_OUT) != 0, E_INVAL);
    unsigned direction = (flags & NET_OUT) != 0;
    struct net_region *g = region_at(n, direction, region);
    REFUSE_IF(g == NULL, E_NONE);
    TRY(cap_demand(e, k, g->guard, CAP_CTL));
    return region_remove(n, direction, region);
}

/* --------------------------------------------------------------- bindings */

/* An entry for a new binding; NET_BINDINGS_MAX if there is none. */
static uint32_t binding_take(struct net *n)
{
    uint32_t id = n->free_binding;
    if (id != NET_BINDINGS_MAX) {
        n->free_binding = net_binding_at(n, id)->next;
        return id;
    }
    id = n->bindings_made;
    if (id == NET_BINDINGS_MAX) {
        return id;
    }
    struct net_binding **chunk = &n->chunk[id / NET_CHUNK];
    if (*chunk == NULL) {
        *chunk = page_kalloc_bytes(NET_CHUNK * sizeof(**chunk));
    }
    if (*chunk == NULL) {
        return NET_BINDINGS_MAX;
    }
    n->bindings_made++;
    return id;
}
_Static_assert(NET_CHUNK * sizeof(struct net_binding) <= PAGE_SIZE, "a frame");
_Static_assert(NET_REGIONS_MAX <= UINT16_MAX, "net_binding.region");

/* A binding of this environment; NULL if it is not. */
static struct net_binding *binding_of(const struct net *n, const struct env *e,
                                      uint32_t id)
{
    if (id >= n->bindings_made) {
        return NULL;
    }
    struct net_binding *b = net_binding_at(n, id);
    return b->used && n->ring[b->ring].env == e ? b : NULL;
}

static bool is_receive_ring(const struct net *n, const struct env *e,
                            uint32_t ring)
{
    return ring < NET_RINGS_MAX && n->ring[ring].kind == NET_RING_RX &&
           n->ring[ring].env == e && !n->ring[ring].broken;
}

/* The number of a program that no binding is of. */
static uint32_t filter_find(const struct net *n)
{
    uint32_t i = 0;
    while (n->filter_uses[i] != 0) {
        i++;
        assert(i < NET_FILTERS_MAX); /* the table has room for all shares */
    }
    return i;
}

/*
 * Charge and fill an entry; `bytes` of a program of CODE_INSNS_MAX at most.
 *
 * k     what is presented for the region
 * like  the binding of the same program; NULL: it has a program of its own
 *
 * The id, or -E_QUOTA, -E_LIMIT, -E_MEM.
 */
static int binding_begin(struct env *e, struct net *n, const struct cap *k,
                         const struct net_binding *made,
                         const struct net_binding *like) REQUIRES(bind_lock)
{
    REFUSE_IF(share_room(e, SHARE_NET_BINDINGS) == 0, E_QUOTA);
    REFUSE_IF(like == NULL && share_room(e, SHARE_NET_FILTERS) == 0, E_QUOTA);
    int by = guard_intern(e, k->name, k->len);
    TRY(by);
    int r = env_charge_bytes(e, made->bytes);
    if (r < 0) {
        goto no_quota;
    }
    uint32_t id = binding_take(n);
    if (id == NET_BINDINGS_MAX) {
        r = -E_LIMIT;
        goto no_entry;
    }
    uint32_t filter = like != NULL ? like->filter : filter_find(n);
    if (n->filter_uses[filter]++ == 0) {
        share_take(e, SHARE_NET_FILTERS);
    }
    share_take(e, SHARE_NET_BINDINGS);
    struct net_binding *b = net_binding_at(n, id);
    *b = *made;
    b->filter = (uint16_t)filter;
    b->by = (uint32_t)by;
    b->rights = k->rights;
    return (int)id;

no_entry:
    env_refund_bytes(e, made->bytes);
no_quota:
    guard_drop((uint32_t)by);
    return r;
}

/*
 * dpf said `r` about binding `id`: keep it, or undo binding_begin.
 *
 * before  kheap_bytes() when it was begun
 */
static int binding_end(struct env *e, struct net *n, int id, int r,
                       uint64_t before) REQUIRES(bind_lock)
{
    struct net_binding *b = net_binding_at(n, (uint32_t)id);
    if (r == 0) {
        settle(n->set[0]);
        r = code_charge(e, before, &b->bytes);
        if (r < 0) {
            (void)dpf_set_remove(n->set[0], (uint32_t)id);
            settle(n->set[0]);
        }
    }
    if (r < 0) {
        binding_refund(e, n, b);
        binding_give(n, (uint32_t)id);
        return r;
    }
    struct net_ring *ring = &n->ring[b->ring];
    b->next = ring->bindings;
    b->previous = NET_BINDINGS_MAX;
    if (b->next != NET_BINDINGS_MAX) {
        net_binding_at(n, b->next)->previous = (uint32_t)id;
    }
    ring->bindings = (uint32_t)id;
    n->region[0][b->region].inside++;
    return id;
}

/* Put it into the set, if what it may cost a packet is left to `e`. */
static int insert(struct env *e, struct net *n, uint32_t id,
                  const struct dpf_program *program, uint32_t flags)
    REQUIRES(bind_lock)
{
    struct net_binding *b = net_binding_at(n, id);
    bool copies = (flags & DPF_TAP) != 0 || n->region[0][b->region].shared;
    uint32_t left = share_room(e, SHARE_NET_STEPS),
             steps = copies ? NET_COPY_STEPS : 0;
    if (steps > left) {
        return because(-E_QUOTA, "bindings that get copies cost each packet as "
                                 "much as they may; unbind some");
    }
    dpf_set_steps_max(n->set[0], left - steps);
    TRY(code_error(
        dpf_set_insert(n->set[0], id, b->region, program, flags, &why)));
    b->steps = steps + (uint32_t)dpf_set_steps(n->set[0], id);
    share_take_many(e, SHARE_NET_STEPS, b->steps);
    steps_change(n, b->steps);
    return 0;
}

static int bind(struct env *e, struct net *n, const struct cap *k,
                const struct net_bind_args *a) REQUIRES(bind_lock)
{
    const struct net_binding made = {.used = 1,
                                     .ring = (uint8_t)a->ring,
                                     .region = (uint16_t)a->region,
                                     .bytes = (uint32_t)code_cost(a->count)};
    uint64_t before = kheap_bytes();
    int id = binding_begin(e, n, k, &made, NULL);
    TRY(id);
    struct dpf_program *program = NULL;
    int r =
        code_load(e, DPF_FILTER, (uaddr){a->insns}, a->count, &program, &why);
    if (r == 0) {
        uint32_t flags = ((a->flags & NET_REFINE) != 0 ? DPF_REFINE : 0) |
                         ((a->flags & NET_TAP) != 0 ? DPF_TAP : 0);
        r = insert(e, n, (uint32_t)id, program, flags);
        dpf_program_destroy(program);
    }
    return binding_end(e, n, id, r, before);
}

int64_t sys_net_bind(struct env *e, const struct cap *k,
                     const struct net_bind_args *a, struct turn *t)
{
    if (space_taken()) {
        return turn_again(t, 1);
    }
    struct net *n = net_at(a->device);
    REFUSE_IF(n == NULL, E_RANGE);
    REFUSE_IF((a->flags & ~(NET_REFINE | NET_TAP)) != 0 || a->reserved != 0 ||
                  a->count > CODE_INSNS_MAX,
              E_INVAL);
    struct net_region *g = net_region_get(n, 0, a->region);
    REFUSE_IF(g == NULL || !is_receive_ring(n, e, a->ring), E_NONE);
    REFUSE_IF(!cap_dominates(k, g->guard, CAP_READ) ||
                  ((a->flags & NET_TAP) != 0 &&
                   !cap_dominates(k, GUARD_ROOT, CAP_CTL)),
              E_CAP);
    why.text[0] = 0;
    space_begin();
    int r = bind(e, n, k, a);
    space_end();
    return refuse(e, a->refusal, r);
}

/* The constants of a copy: 0, -E_FAULT, -E_INVAL. */
static int consts_read(const struct env *e, const struct net_like_args *a,
                       struct dpf_const *consts) REQUIRES(bind_lock)
{
    for (uint32_t i = 0; i < a->count; i++) {
        struct net_const c;
        TRY(copy_in(e, &c, (uaddr){a->consts + i * sizeof(c)}, sizeof(c)));
        REFUSE_IF(c.reserved != 0, E_INVAL);
        consts[i] = (struct dpf_const){c.index, c.value};
    }
    return 0;
}

int64_t sys_net_bind_like(struct env *e, const struct cap *k,
                          const struct net_like_args *a, struct turn *t)
{
    if (space_taken()) {
        return turn_again(t, 1);
    }
    struct dpf_const consts[CONSTS_MAX];
    struct net *n = net_at(a->device);
    REFUSE_IF(n == NULL, E_RANGE);
    REFUSE_IF(a->count > CONSTS_MAX, E_INVAL);
    struct net_binding *like = binding_of(n, e, a->like);
    REFUSE_IF(like == NULL || !is_receive_ring(n, e, a->ring) ||
                  net_region_get(n, 0, like->region) == NULL,
              E_NONE);
    REFUSE_IF(!cap_dominates(k, n->region[0][like->region].guard, CAP_READ),
              E_CAP);
    TRY(consts_read(e, a, consts));
    why.text[0] = 0;
    const struct net_binding made = {.used = 1,
                                     .ring = (uint8_t)a->ring,
                                     .region = like->region,
                                     .bytes = (uint32_t)code_cost(0)};
    uint64_t before = kheap_bytes();
    int id = binding_begin(e, n, k, &made, like);
    TRY(id);
    space_begin();
    int r = code_error(dpf_set_insert_like(n->set[0], (uint32_t)id, a->like,
                                           consts, a->count, &why));
    r = binding_end(e, n, id, r, before);
    space_end();
    return refuse(e, a->refusal, r);
}

int64_t sys_net_unbind(struct env *e, uint32_t device, uint32_t binding,
                       struct turn *t)
{
    if (space.changes) {
        return turn_again(t, 1);
    }
    struct net *n = net_at(device);
    REFUSE_IF(n == NULL, E_RANGE);
    REFUSE_IF(binding_of(n, e, binding) == NULL, E_NONE);
    space_begin();
    binding_drop(n, binding);
    tidy(n);
    binding_give(n, binding);
    space_end();
    return 0;
}

/* ------------------------------------------- what loses its authority */

/* The regions of a direction, outer ones before those inside. */
static uint16_t sorted[NET_REGIONS_MAX] GUARDED_BY(bind_lock);

/* Fill it; how many there are. */
static uint32_t sort_regions(const struct net *n, unsigned direction)
    REQUIRES(bind_lock)
{
    uint16_t ends[UINT8_MAX + 2] = {0}; /* of the depths before */
    uint32_t count = 0;
    for (uint32_t id = 1; id < NET_REGIONS_MAX; id++) {
        const struct net_region *g = &n->region[direction][id];
        ends[g->depth + 1] += g->used;
        count += g->used;
    }
    for (uint32_t depth = 1; depth <= UINT8_MAX; depth++) {
        ends[depth] += ends[depth - 1];
    }
    for (uint32_t id = 1; id < NET_REGIONS_MAX; id++) {
        const struct net_region *g = &n->region[direction][id];
        if (g->used) {
            sorted[ends[g->depth]++] = (uint16_t)id;
        }
    }
    return count;
}

/* Mark regions that rest on the name, and all that are inside such ones:
   nothing is made in them any more. */
void net_regions_break(struct net *n, const struct revocation *r)
{
    for (unsigned d = 0; d < NET_DIRECTIONS; d++) {
        uint32_t count = sort_regions(n, d);
        for (uint32_t i = 0; i < count; i++) {
            struct net_region *g = &n->region[d][sorted[i]];
            g->broken |= n->region[d][g->parent].broken ||
                         cap_revoked(r, &g->by, env_at(g->owner));
        }
    }
}

static bool binding_rests(struct net *n, const struct revocation *r,
                          const struct net_binding *b)
{
    return b->used &&
           (n->region[0][b->region].broken ||
            guard_revoked(r, b->by, b->rights, n->ring[b->ring].env));
}

/*
 * Remove bindings from number `id` on that rest on the name or lie in broken
 * regions. One version of the set is published. Returns the first number that
 * was not looked at.
 */
uint32_t net_bindings_break(struct net *n, const struct revocation *r,
                            uint32_t id, struct turn *t)
{
    uint32_t dropped = NET_BINDINGS_MAX; /* the first; linked by `next` */
    space_begin();
    for (; id < n->bindings_made && turn_take(t, LOOK_UNITS); id++) {
        if (!binding_rests(n, r, net_binding_at(n, id))) {
            continue;
        }
        if (!turn_take(t, DROP_UNITS)) {
            break;
        }
        binding_drop(n, id);
        net_binding_at(n, id)->next = dropped;
        dropped = id;
    }
    if (dropped != NET_BINDINGS_MAX) {
        tidy(n);
        give_all(n, dropped);
    }
    space_end();
    return id;
}

/* Remove broken regions, inner ones first. False: the turn ended first. */
bool net_regions_drop(struct net *n, struct turn *t)
{
    for (unsigned d = 0; d < NET_DIRECTIONS; d++) {
        for (;;) {
            uint32_t deepest = 0; /* the whole space never breaks */
            for (uint32_t id = 1; id < NET_REGIONS_MAX; id++) {
                if (n->region[d][id].broken &&
                    n->region[d][id].depth > n->region[d][deepest].depth) {
                    deepest = id;
                }
            }
            if (deepest == 0) {
                break;
            }
            if (!turn_take(t, REGION_UNITS)) {
                return false;
            }
            if (region_remove(n, d, deepest) < 0) {
                break; /* the caller skipped what is inside: it stays broken */
            }
        }
    }
    return true;
}

/*
 * Only a region that goes takes units: those that stay, because others bind in
 * them, are met again in each turn and must not use it up.
 */
bool net_space_env_end(struct net *n, struct env *e, struct turn *t)
{
    /* Inner regions before outer ones, until nothing more goes. */
    bool again = true;
    while (again) {
        again = false;
        for (uint32_t i = 0; i < NET_DIRECTIONS * NET_REGIONS_MAX; i++) {
            unsigned d = i / NET_REGIONS_MAX;
            uint32_t id = i % NET_REGIONS_MAX;
            if (!n->region[d][id].used || n->region[d][id].owner != e->index ||
                region_remove(n, d, id) < 0) {
                continue;
            }
            again = true;
            if (!turn_take(t, REGION_UNITS)) { /* the last of this turn */
                return false;
            }
        }
    }
    for (uint32_t i = 0; i < NET_DIRECTIONS * NET_REGIONS_MAX; i++) {
        struct net_region *g =
            &n->region[i / NET_REGIONS_MAX][i % NET_REGIONS_MAX];
        if (g->used && g->owner == e->index) { /* others bind in it */
            g->owner = e->parent;
        }
    }
    return true;
}
