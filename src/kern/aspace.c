/* SPDX-License-Identifier: MIT */
/*
 * Addressing contexts.
 *
 * Invariants: an entry with PTE_P points at a frame whose bind count includes
 * it; no entry has both PTE_W and execution; a frame's count drops only after
 * no processor can still translate to it. So entries go in two steps: they
 * become HIDDEN (not present, frame kept), translations are flushed, then
 * they are emptied and their frames let go.
 * Tables stay until their environment ends, except one that gives way to a
 * large entry.
 * Source: SDM 3A s4.5, s4.10.4 (invalidation); Engler95 s5.4.
 */
#include "src/kern/aspace.h"
#include "src/kern/demand.h"
#include "src/kern/env.h"
#include "src/kern/page.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

#define ENTRIES 512u
#define LARGE (512ull * PAGE_SIZE)
#define HIDDEN (1ull << 9) /* ignored by the processor when not present */
#define SCAN_UNITS 16u     /* of a turn, to look through a table */
#define FRAMES_A_UNIT 2u   /* counts raised or lowered */
#define PATH (PTE_P | PTE_W | PTE_U)
#define LOWER_SLOTS UPT_SLOT /* entries of the top table that we own */
#define USER_END (UPT_VA)    /* ring 3's own bindings and the u-area */

/* The page table that binds the exposed pages, shared by all contexts. */
static uint64_t exposed_table GUARDED_BY(bind_lock) = FRAME_NONE;

typedef _Atomic uint64_t pte;

static pte *table(uint64_t entry)
{
    return arch_frame_ptr((entry & PTE_FRAME) >> PAGE_SHIFT);
}

static uint64_t get(const pte *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void set(pte *p, uint64_t v)
{
    atomic_store_explicit(p, v, memory_order_relaxed);
}

static unsigned slot_of(uint64_t va, unsigned level)
{
    return (unsigned)(va >> (PAGE_SHIFT + 9 * (level - 1))) % ENTRIES;
}

/* The entry of `va` at a level, 1 the lowest; NULL if no table leads there. */
static pte *walk(uint64_t root, uint64_t va, unsigned level)
{
    pte *t = arch_frame_ptr(root);
    for (unsigned l = 4; l > level; l--) {
        uint64_t e = get(&t[slot_of(va, l)]);
        if ((e & PTE_P) == 0 || (e & PTE_PS) != 0) {
            return NULL;
        }
        t = table(e);
    }
    return &t[slot_of(va, level)];
}

/* What is there; 0 if no table leads there. */
static uint64_t look(uint64_t root, uint64_t va, unsigned level)
{
    const pte *p = walk(root, va, level);
    return p == NULL ? 0 : get(p);
}

/* ------------------------------------------------ frames for page tables */

/* Tables set aside before anything changes, chained by their first word. */
struct spare {
    uint64_t first; /* FRAME_NONE ends the chain */
};

static uint64_t spare_take(struct spare *s)
{
    uint64_t f = s->first;
    assert(f != FRAME_NONE);
    uint64_t *link = arch_frame_ptr(f);
    s->first = *link;
    *link = 0;
    return f;
}

static void spare_finish(struct spare *s)
{
    while (s->first != FRAME_NONE) {
        page_table_free(spare_take(s)); /* gives the quota back too */
    }
}

/* `count` tables whose quota is charged. On error it is given back. */
static int spare_fill(struct spare *s, struct env *e, uint64_t count)
{
    s->first = FRAME_NONE;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t f = page_table_take(e->index);
        if (f == FRAME_NONE) {
            env_refund(e->index, count - i);
            spare_finish(s);
            return -E_MEM;
        }
        *(uint64_t *)arch_frame_ptr(f) = s->first;
        s->first = f;
    }
    return 0;
}

/* ---------------------------------------------------- a stretch of context */

/* [va, end) in one context; `large`: the new binding uses 2 MiB entries. */
struct stretch {
    uint64_t root, va, end;
    bool binds, large;
};

static uint64_t next_large(const struct stretch *s, uint64_t va)
{
    uint64_t next = (va | (LARGE - 1)) + 1;
    return next < s->end ? next : s->end;
}

/* Tables that the stretch lacks, large entries to be split included. */
static uint64_t tables_needed(const struct stretch *s)
{
    uint64_t need = 0;
    for (uint64_t va = s->va, next; va < s->end; va = next) {
        next = next_large(s, va);
        bool first = va == s->va;
        if (s->binds) {
            need += (first || va % (LARGE << 18) == 0) &&
                    (look(s->root, va, 4) & PTE_P) == 0;
            need += (first || va % (LARGE << 9) == 0) &&
                    (look(s->root, va, 3) & PTE_P) == 0;
            need += !s->large && (look(s->root, va, 2) & PTE_P) == 0;
        }
        if ((look(s->root, va, 2) & PTE_PS) != 0) {
            bool whole = next - va == LARGE;
            need += !whole || (s->binds && !s->large);
        }
    }
    return need;
}

/* Step one: nothing in the stretch is present any more. True: flush. */
static bool hide(const struct stretch *s)
{
    bool any = false;
    for (uint64_t va = s->va, next; va < s->end; va = next) {
        next = next_large(s, va);
        pte *p = walk(s->root, va, 2);
        if (p == NULL || (get(p) & PTE_P) == 0) {
            continue;
        }
        uint64_t upper = get(p);
        if ((upper & PTE_PS) != 0) {
            set(p, (upper & ~PTE_P) | HIDDEN);
            any = true;
            continue;
        }
        pte *t = table(upper);
        for (uint64_t a = va; a < next; a += PAGE_SIZE) {
            pte *q = &t[slot_of(a, 1)];
            if ((get(q) & PTE_P) != 0) {
                atomic_fetch_and(q, ~PTE_P);
                atomic_fetch_or(q, HIDDEN);
                any = true;
            }
        }
        if (s->large) { /* the table gives way */
            set(p, (upper & ~PTE_P) | HIDDEN);
            any = true;
        }
    }
    return any;
}

static void let_go(pte *p, uint64_t frames) REQUIRES(bind_lock)
{
    uint64_t f = (get(p) & PTE_FRAME) >> PAGE_SHIFT;
    set(p, 0);
    page_unbound(f, frames);
}

/* Step two, after the flush: empty what was hidden. */
static void empty(const struct stretch *s) REQUIRES(bind_lock)
{
    for (uint64_t va = s->va, next; va < s->end; va = next) {
        next = next_large(s, va);
        pte *p = walk(s->root, va, 2);
        if (p == NULL || get(p) == 0) {
            continue;
        }
        uint64_t upper = get(p);
        if ((upper & HIDDEN) != 0 && (upper & PTE_PS) != 0) {
            let_go(p, ENTRIES);
            continue;
        }
        pte *t = table(upper);
        for (uint64_t a = va; a < next; a += PAGE_SIZE) {
            pte *q = &t[slot_of(a, 1)];
            if ((get(q) & HIDDEN) != 0) {
                let_go(q, 1);
            }
        }
        if ((upper & HIDDEN) != 0) {
            set(p, 0);
            page_table_free((upper & PTE_FRAME) >> PAGE_SHIFT);
        }
    }
}

/* Make a large entry that the stretch covers in part a table of small ones. */
static void split(const struct stretch *s, uint64_t va, struct spare *spare)
    REQUIRES(bind_lock)
{
    pte *p = walk(s->root, va, 2);
    if (p == NULL || (get(p) & (PTE_P | PTE_PS)) != (PTE_P | PTE_PS)) {
        return;
    }
    uint64_t was = get(p);
    uint64_t f = spare_take(spare);
    pte *t = arch_frame_ptr(f);
    for (unsigned i = 0; i < ENTRIES; i++) {
        set(&t[i], (was & ~PTE_PS) + (uint64_t)i * PAGE_SIZE);
    }
    set(p, f << PAGE_SHIFT | PATH);
    arch_tlb_flush(s->root, va & ~(LARGE - 1), ENTRIES);
}

/* The entry of `va` at a level, with the tables that lead there. */
static pte *reach(uint64_t root, uint64_t va, unsigned level,
                  struct spare *spare)
{
    pte *t = arch_frame_ptr(root);
    for (unsigned l = 4; l > level; l--) {
        pte *p = &t[slot_of(va, l)];
        if ((get(p) & PTE_P) == 0) {
            set(p, spare_take(spare) << PAGE_SHIFT | PATH);
        }
        t = table(get(p));
    }
    return &t[slot_of(va, level)];
}

static void install(const struct stretch *s, const struct page_binding *b,
                    struct spare *spare)
{
    uint64_t flags = PTE_P | PTE_U | ((b->prot & PAGE_W) != 0 ? PTE_W : 0) |
                     ((b->prot & PAGE_X) == 0 ? PTE_NX : 0) |
                     (s->large ? PTE_PS : 0);
    uint64_t paddr = b->frame << PAGE_SHIFT;
    uint64_t step = s->large ? LARGE : PAGE_SIZE;
    for (uint64_t va = s->va, next; va < s->end; va = next) {
        next = next_large(s, va);
        pte *p = reach(s->root, va, s->large ? 2 : 1, spare);
        for (; va < next; va += step, paddr += step) {
            set(p++, paddr | flags);
        }
    }
}

int aspace_check(const struct page_binding *b)
{
    REFUSE_IF(b->count == 0 || b->count > PAGE_ELEMENT_MAX ||
                  b->va % PAGE_SIZE != 0 ||
                  (b->prot & ~(PAGE_R | PAGE_W | PAGE_X | PAGE_2M)) != 0 ||
                  (b->prot & (PAGE_W | PAGE_X)) == (PAGE_W | PAGE_X) ||
                  b->prot == PAGE_2M,
              E_INVAL);
    REFUSE_IF((b->prot & PAGE_2M) != 0 &&
                  (b->va % LARGE != 0 || b->frame % ENTRIES != 0 ||
                   b->count % ENTRIES != 0),
              E_INVAL);
    uint64_t bytes = (uint64_t)b->count * PAGE_SIZE;
    REFUSE_IF(b->va < UADDR_BOTTOM || b->va >= UADDR_TOP ||
                  bytes > UADDR_TOP - b->va,
              E_RANGE);
    return 0;
}

int aspace_bind(struct env *e, const struct page_binding *b, struct turn *t)
{
    struct stretch s = {.root = e->root,
                        .va = b->va,
                        .end = b->va + (uint64_t)b->count * PAGE_SIZE,
                        .binds = b->prot != 0,
                        .large = (b->prot & PAGE_2M) != 0};
    uint64_t bound = s.binds ? b->count : 0;
    TRY(page_bound(b->frame, bound));
    uint64_t tables = tables_needed(&s);
    turn_spend(t, (uint32_t)tables * TURN_CLEAR);
    int r = env_charge(e, tables);
    struct spare spare;
    r = r < 0 ? r : spare_fill(&spare, e, tables);
    if (r < 0) {
        page_unbound(b->frame, bound);
        return r;
    }
    if (s.va % LARGE != 0) {
        split(&s, s.va, &spare);
    }
    if (s.end % LARGE != 0) {
        split(&s, s.end, &spare);
    }
    if (hide(&s)) {
        arch_tlb_flush(s.root, s.va, b->count);
        empty(&s);
    }
    if (s.binds) {
        install(&s, b, &spare);
    }
    spare_finish(&spare);
    return 0;
}

/* ----------------------------------------------------- life of a context */

int aspace_expose(uint64_t frame, uint64_t count)
{
    exposed_table = page_kalloc(1);
    REFUSE_IF(exposed_table == FRAME_NONE, E_MEM);
    assert(count <= ENTRIES);
    pte *t = arch_frame_ptr(exposed_table);
    for (uint64_t i = 0; i < count; i++) {
        set(&t[i], (frame + i) << PAGE_SHIFT | PTE_P | PTE_U | PTE_NX);
    }
    return 0;
}

int aspace_create(struct env *e)
{
    e->root = page_table_take(e->index);
    REFUSE_IF(e->root == FRAME_NONE, E_MEM);
    struct spare spare;
    if (spare_fill(&spare, e, ASPACE_FRAMES - 2) < 0) {
        page_table_free(e->root);
        return -E_MEM;
    }
    int counted = page_bound(e->uarea_frame, 1);
    assert(counted == 0);
    arch_aspace_init(e->root);
    set(reach(e->root, UAREA_VA, 1, &spare),
        e->uarea_frame << PAGE_SHIFT | PTE_P | PTE_W | PTE_U | PTE_NX);
    set(reach(e->root, SYSINFO_VA, 2, &spare),
        exposed_table << PAGE_SHIFT | PATH);
    return 0;
}

/*
 * Free what a table of `level` leads to, and the table itself; entries that are
 * done are 0, so that the next turn passes over them. False: not yet all.
 */
static bool destroy_table(uint64_t frame, unsigned level, struct turn *t)
    REQUIRES(bind_lock)
{
    pte *table_at = arch_frame_ptr(frame);
    unsigned entries = level == 4 ? LOWER_SLOTS : ENTRIES;
    if (!turn_take(t, SCAN_UNITS)) {
        return false;
    }
    for (unsigned i = 0; i < entries; i++) {
        uint64_t p = get(&table_at[i]);
        uint64_t f = (p & PTE_FRAME) >> PAGE_SHIFT;
        if ((p & PTE_P) == 0 || f == exposed_table) {
            continue;
        }
        if (level == 1 || (p & PTE_PS) != 0) {
            uint32_t frames = level == 1 ? 1 : ENTRIES;
            if (!turn_take(t, frames / FRAMES_A_UNIT + 1)) {
                return false;
            }
            let_go(&table_at[i], frames);
            continue;
        }
        if (!destroy_table(f, level - 1, t)) {
            return false;
        }
        set(&table_at[i], 0);
    }
    page_table_free(frame);
    return true;
}

bool aspace_destroy(struct env *e, struct turn *t)
{
    if (!destroy_table(e->root, 4, t)) {
        return false;
    }
    e->root = 0;
    return true;
}

/* ---------------------------------------------------------------- copying */

/* The kernel's view of one byte of `e`; NULL if it has no such right. */
static void *view(const struct env *e, uint64_t va, bool write)
{
    if (va >= USER_END) {
        return NULL;
    }
    uint64_t v = look(e->root, va, 2), size = LARGE;
    if ((v & PTE_P) != 0 && (v & PTE_PS) == 0) {
        v = get(&table(v)[slot_of(va, 1)]);
        size = PAGE_SIZE;
    }
    if ((v & PTE_P) == 0 || (v & PTE_U) == 0 || (write && (v & PTE_W) == 0)) {
        return NULL;
    }
    uint64_t paddr = (v & PTE_FRAME) + va % size;
    return (uint8_t *)arch_frame_ptr(paddr >> PAGE_SHIFT) + va % PAGE_SIZE;
}

/*
 * The longest piece of [va, va + len) that lies in one page, as the kernel
 * sees it; 0 bytes if the environment has no such right.
 */
static size_t piece(const struct env *e, uint64_t va, size_t len, bool write,
                    void **out)
{
    size_t left = PAGE_SIZE - va % PAGE_SIZE;
    *out = view(e, va, write);
    return *out == NULL ? 0 : left < len ? left : len;
}

int copy_in(const struct env *e, void *to, uaddr from, size_t len)
{
    void *p;
    for (size_t done = 0, n; done < len; done += n) {
        n = piece(e, from.va + done, len - done, false, &p);
        REFUSE_IF(n == 0, E_FAULT);
        __builtin_memcpy((uint8_t *)to + done, p, n);
    }
    return 0;
}

int copy_out(const struct env *e, uaddr to, const void *from, size_t len)
{
    void *p;
    for (size_t done = 0, n; done < len; done += n) {
        n = piece(e, to.va + done, len - done, true, &p);
        REFUSE_IF(n == 0, E_FAULT);
        __builtin_memcpy(p, (const uint8_t *)from + done, n);
    }
    return 0;
}

static int bind_one(struct env *other, const struct cap *k,
                    const struct page_binding *b, struct turn *t)
    REQUIRES(bind_lock)
{
    if (b->prot != 0) {
        uint32_t rights = CAP_READ | ((b->prot & PAGE_W) != 0 ? CAP_WRITE : 0);
        TRY(page_demand(k, rights, b->frame, b->count));
    }
    return aspace_bind(other, b, t);
}

/* Units of an element, but for tables: about 300 instructions, and some 50 for
   each frame. */
static uint32_t units(const struct page_binding *b)
{
    return 3 + b->count / FRAMES_A_UNIT;
}

/* In turns of a few elements; `done` counts those that are done. */
int64_t sys_page_bind(struct env *e, uint32_t k_env, uint32_t env,
                      uint32_t k_page, uaddr batch, uint32_t count,
                      struct turn *t)
{
    struct env *other = e;
    if (env != 0 && env != e->id) {
        TRY(env_demand(e, k_env, env, CAP_WRITE, &other));
    }
    const struct cap *k;
    TRY(cap_get(e, k_page, &k));
    REFUSE_IF(count == 0 || count > PAGE_BATCH_MAX, E_INVAL);
    for (uint32_t i = t->done; i < count; i++) {
        struct page_binding b;
        int r = copy_in(e, &b, (uaddr){batch.va + i * sizeof(b)}, sizeof(b));
        r = r < 0 ? r : aspace_check(&b);
        if (r == 0 && !turn_take(t, units(&b))) {
            return turn_again(t, i);
        }
        r = r < 0 ? r : bind_one(other, k, &b, t);
        if (r < 0) {
            return i > 0 ? (int64_t)i : r;
        }
    }
    return count;
}
