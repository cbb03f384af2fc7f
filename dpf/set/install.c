/* SPDX-License-Identifier: MIT */
/*
 * Bind and unbind. Each change follows one order: read the filter, judge it,
 * acquire all memory, then commit with stores that cannot fail. A filter of
 * a known shape commits into its table, a diagram into a class tree; only a
 * new shape makes an image. What is dropped is hidden from lookups where it
 * stands, which needs no memory.
 */
#include "dpf/set/install.h"
#include "dpf/diagram/guard.h"
#include "dpf/diagram/lower.h"

#define BINDINGS_MAX (NUMBER_MASK + 1u)
#define PATTERN_STEPS 8u /* instructions that one is worth */
#define NODE_STEPS 4u    /* the same of a node that is walked */

static void binding_destroy(struct heap *h, struct retired *r)
{
    struct binding *b =
        (struct binding *)(void *)((uint8_t *)r -
                                   offsetof(struct binding, retired));

    dpf_program_destroy(b->program);
    kept_free(h, b->kept);
    heap_free(h, b, sizeof(*b));
}

static size_t list_bytes(uint32_t cap)
{
    return sizeof(struct binding_list) + cap * sizeof(struct binding *);
}

static void list_destroy(struct heap *h, struct retired *r)
{
    struct binding_list *l = (struct binding_list *)(void *)r;
    heap_free(h, l, list_bytes(l->cap));
}

/* Have a place for binding number n. 0 or -DPF_E_MEM. */
static int list_reserve(struct dpf_set *s, uint32_t n)
{
    struct binding_list *old = s->bindings;
    uint32_t cap = old != NULL ? old->cap : 0, more = cap ? 2 * cap : 16;
    if (n < cap) {
        return 0;
    }
    struct binding_list *l = heap_alloc(&s->heap, list_bytes(more));
    if (l == NULL) {
        return -DPF_E_MEM;
    }
    __builtin_memset(l, 0, list_bytes(more));
    l->retired.destroy = list_destroy;
    l->cap = more;
    if (old != NULL) {
        __builtin_memcpy(l->at, old->at, cap * sizeof(l->at[0]));
    }
    __atomic_store_n(&s->bindings, l, __ATOMIC_RELEASE);
    s->version++;
    if (old != NULL) {
        set_retire(s, &old->retired, s->version);
    }
    return 0;
}

static struct binding *binding_new(struct install *in)
{
    struct dpf_set *s = in->s;
    uint32_t i = 0;
    while (i < s->binding_count && set_binding(s, i) != NULL) {
        i++;
    }
    if (i == BINDINGS_MAX || list_reserve(s, i)) {
        return NULL;
    }
    struct binding *b;
    b = heap_alloc(&s->heap, sizeof(*b));
    if (b != NULL) {
        __builtin_memset(b, 0, sizeof(*b));
        b->retired.destroy = binding_destroy;
        b->number = i;
        b->tag = (++s->age & AGE_MASK) << 20 | i;
        b->id = in->id;
        b->region = in->region;
        b->flags = in->flags;
        __atomic_store_n(&s->bindings->at[i], b, __ATOMIC_RELEASE);
        s->binding_count += i == s->binding_count;
    }
    return b;
}

/* No new lookup sees it. */
static void binding_drop(struct dpf_set *s, struct binding *b)
{
    __atomic_store_n(&s->bindings->at[b->number], NULL, __ATOMIC_RELEASE);
    while (s->binding_count && set_binding(s, s->binding_count - 1) == NULL) {
        s->binding_count--;
    }
    s->version++;
    set_retire(s, &b->retired, s->version);
}

static void index_put(struct install *in, uint16_t shape, uint32_t slot)
{
    index_add(&in->s->index,
              (struct index_entry){.id = in->id,
                                   .slot = slot,
                                   .region = in->region,
                                   .shape = shape & INDEX_BIG,
                                   .refine = (in->flags & DPF_REFINE) != 0});
    in->s->regions[in->region].users++;
}

/* Let lookups see the shapes of `count` entries that they do not see yet. */
static int show_shapes(struct dpf_set *s, const struct entry *at,
                       uint32_t count, bool *fresh)
{
    int r = 0;
    for (uint32_t i = 0; i < count && !r; i++) {
        struct shape *sh = s->shapes[at[i].shape];
        if (!sh->shown) {
            *fresh = true;
            r = shapes_show(s, sh);
        }
    }
    return r;
}

/*
 * A filter that is a few cubes: a table entry for each. One that is one cube
 * has an index entry besides and nothing else.
 */
static int commit_cubes(struct install *in)
{
    struct dpf_set *s = in->s;
    struct binding *b = NULL;
    struct entry one = {0}, *to = &one;
    bool fresh = false;
    uint32_t n = 0;
    int r = 0;
    if (in->cube_count > 1) {
        b = binding_new(in);
        if (b == NULL) {
            return -DPF_E_MEM;
        }
        /* In the index first: entries that move on the way are found there. */
        index_put(in, INDEX_BIG, b->number);
        to = b->cubes;
    }
    while (!r && n < in->cube_count) {
        r = shapes_put(in, &in->cubes[n], in->id, false, &to[n]);
        n += !r;
        if (b != NULL) {
            b->cube_count = n;
        }
    }
    r = r ? r : show_shapes(s, to, n, &fresh);
    if (r) {
        shapes_take(s, to, n);
        if (b != NULL) {
            index_remove(&s->heap, &s->index, in->id);
            s->regions[in->region].users--;
            binding_drop(s, b);
        }
        (void)shapes_tidy(s, false);
        return r;
    }
    if (b == NULL) {
        index_put(in, one.shape, one.slot);
    }
    s->table_inserts += !fresh;
    s->version++;
    return 0;
}

/*
 * The depth of a new diagram: above that of all that contains it, below that
 * of all it contains. Where there is no such number these become deeper, the
 * deepest first, so that lookups see them in order all the time.
 */
static uint64_t find_depth(struct install *in)
{
    uint64_t least = UINT64_MAX, depth = DEPTH_FIRST;
    uint32_t n = in->inside_count;
    for (uint32_t i = 0; i < n; i++) {
        least = in->inside[i]->depth < least ? in->inside[i]->depth : least;
    }
    if (in->above) {
        depth = in->above + 1;
    } else if (n) {
        depth = least - 1;
    }
    for (uint64_t by = depth >= least ? depth - least + 1 : 0; by && n; n--) {
        uint32_t deepest = 0;
        for (uint32_t i = 1; i < n; i++) {
            deepest =
                in->inside[i]->depth > in->inside[deepest]->depth ? i : deepest;
        }
        __atomic_store_n(&in->inside[deepest]->depth,
                         in->inside[deepest]->depth + by, __ATOMIC_RELEASE);
        in->inside[deepest] = in->inside[n - 1];
    }
    return depth;
}

static uint32_t insn_count(const struct dpf_program *p)
{
    size_t count = 0;
    if (p != NULL) {
        (void)dpf_program_insns(p, &count);
    }
    return (uint32_t)count;
}

/*
 * A program costs all packets that may be its binding's. What decides for a
 * diagram costs nothing where bytes lead to it, for then few others are looked
 * at.
 */
uint32_t install_steps(const struct binding *b)
{
    if (!b->alike) {
        return b->steps;
    }
    return b->is_lowered    ? insn_count(b->program)
           : b->has_pattern ? PATTERN_STEPS
                            : b->steps + b->kept->node_count * NODE_STEPS;
}

static int too_costly(struct install *in)
{
    return set_fail(in->err, -DPF_E_STEPS,
                    "tests of constants do not decide the filter, so it "
                    "would run for packets, and it is longer than what "
                    "they may still cost; make it shorter or simpler");
}

static int copy_program(struct install *in, struct binding *b)
{
    size_t count;
    const struct dpf_insn *insns = dpf_program_insns(in->filter, &count);
    return dpf_program_create(&in->s->mem, DPF_FILTER | DPF_COMPILE, insns,
                              count, &b->program, NULL);
}

/*
 * What decides for a diagram, beside a range. A residual one is only asked
 * about packets of the cube in in->other.
 */
static int decide(struct install *in, struct binding *b, bool residual)
{
    struct dd *d = &in->s->dd;
    struct dd_mark m = dd_mark(d);
    if (b->span.bytes) {
        return 0;
    }
    b->steps = in->exact != in->may ? insn_count(in->filter) : 0;
    b->has_pattern =
        !b->steps && pattern_read(d, in->exact, &in->room, &b->pattern);
    dd_release(d, m);
    if (b->has_pattern) {
        return 0;
    }
    int r = dd_lower(d, in->exact, residual ? &in->other : NULL, &in->s->mem,
                     b->steps ? in->filter : NULL, &b->program);
    dd_release(d, m);
    b->is_lowered = r == 0;
    if (r == -DPF_E_TOO_BIG) {
        r = b->steps ? copy_program(in, b) : 0;
    }
    if (!r && install_steps(b) > in->s->steps_max) {
        return too_costly(in);
    }
    return r;
}

/* Has another residual binding the same key? */
static bool key_taken(struct install *in, const struct cube *c)
{
    for (uint32_t i = 0; i < in->s->shape_count; i++) {
        const struct shape *sh = in->s->shapes[i];
        if (sh == NULL || !sh->residual || !shapes_alike(sh, c)) {
            continue;
        }
        const struct cube *seen = shape_view(sh, &in->s->dd, c, &in->room);
        if (shape_same(&sh->cube, seen) &&
            shape_project(sh, seen, in->key, in->mask) == 1 &&
            table_find(sh->table, in->key) != TABLE_NONE) {
            return true;
        }
    }
    return false;
}

static bool cube_keyed(struct install *in, const struct cube *c)
{
    struct base_map map;
    return c->count && shape_fits(c) && cube_is_guarded(in->s->dd.bases, c) &&
           cube_bases(&in->s->dd, c, in->bases, SHAPE_BASES_MAX, &map) &&
           !key_taken(in, c);
}

/*
 * A cube that contains the filter and makes a key: all but its range if it
 * has one (b->span), else the whole bytes of its hull. in->other receives it.
 * False if there is none, or another binding has the same.
 */
static bool residual_cube(struct install *in, struct binding *b)
{
    struct dd *d = &in->s->dd;
    struct cube *c = &in->other;
    struct span *span = &b->span;
    uint32_t n = 0;
    span->bytes = 0;
    if (set_gets_copies(in->flags)) {
        return false;
    }
    if (in->exact == in->may && !dd_is_term(in->may) &&
        span_read(d, in->may, c, span) && cube_keyed(in, c)) {
        b->span_place = outline_place_of(d->bases, dd_var_base(span->var));
        span->var = base_map_var(&in->map, span->var);
        return true;
    }
    span->bytes = 0;
    d->err = 0;
    *c = in->cubes[0];
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->bytes[i].mask == 0xff) {
            c->bytes[n++] = c->bytes[i];
        }
    }
    c->count = n;
    return cube_keyed(in, c);
}

/* Put b into a residual shape by the cube in in->other. */
static int residual_add(struct install *in, struct binding *b)
{
    struct dpf_set *s = in->s;
    int r = shapes_put(in, &in->other, b->tag, true, &b->cubes[0]);
    if (r) {
        return r;
    }
    b->residual = true; /* not before: its entry is looked for then */
    struct shape *sh = s->shapes[b->cubes[0].shape];
    bool ranked = sh->shown && b->rank >= sh->rank && b->rank <= sh->rank_high;
    sh->rank = b->rank < sh->rank ? b->rank : sh->rank;
    sh->rank_high = b->rank > sh->rank_high ? b->rank : sh->rank_high;
    r = ranked ? 0 : sh->shown && s->spread ? 0 : shapes_show(s, sh);
    if (r) {
        shapes_take(s, b->cubes, 1);
    }
    return r;
}

static uint32_t tree_of(const struct binding *b)
{
    return set_gets_copies(b->flags) ? TREE_COPIES : TREE_OWNERS;
}

/* Hang b in a tree. */
static int hang(struct install *in, struct binding *b)
{
    struct dpf_set *s = in->s;
    uint32_t tree = tree_of(b);
    int r = kept_outline(&s->heap, b->kept, &b->hung.item.outline);
    uint32_t chained;
    r = r ? r : set_hang(s, tree, &b->hung.item, &chained);
    if (!r) {
        b->alike = chained != 0;
        if (b->alike && install_steps(b) > s->steps_max) {
            ct_remove(&s->tree[tree], &s->heap, &b->hung.item);
            r = too_costly(in);
        }
    }
    set_trees_changed(s);
    return r;
}

static int commit_diagram(struct install *in)
{
    struct dpf_set *s = in->s;
    struct binding *b = binding_new(in);
    if (b == NULL) {
        return -DPF_E_MEM;
    }
    b->kept = in->kept;
    b->rank = in->rank;
    bool residual = residual_cube(in, b);
    int r = decide(in, b, residual);
    if (!r) {
        b->depth = find_depth(in);
        r = residual ? residual_add(in, b) : hang(in, b);
    }
    if (!r) {
        in->kept = NULL;
        index_put(in, INDEX_BIG, b->number);
        return 0;
    }
    b->kept = NULL;
    binding_drop(s, b);
    (void)shapes_tidy(s, false);
    return r;
}

int install_commit(struct install *in)
{
    if (index_reserve(&in->s->heap, &in->s->index)) {
        return -DPF_E_MEM;
    }
    return in->cube_count ? commit_cubes(in) : commit_diagram(in);
}

/* --------------------------------------------------------------- removing */

static void remove_diagram(struct dpf_set *s, struct binding *b)
{
    if (b->residual) {
        shapes_take(s, b->cubes, 1);
    } else {
        ct_remove(&s->tree[tree_of(b)], &s->heap, &b->hung.item);
        set_trees_changed(s);
    }
    binding_drop(s, b);
}

void install_drop(struct dpf_set *s, const struct index_entry *e)
{
    struct binding *b = e->shape == INDEX_BIG ? set_binding(s, e->slot) : NULL;
    struct entry one = {e->shape, e->slot};
    uint32_t id = e->id;
    uint16_t region = e->region;
    if (b != NULL && b->kept != NULL) {
        remove_diagram(s, b);
    } else if (b != NULL) {
        shapes_take(s, b->cubes, b->cube_count);
        binding_drop(s, b);
    } else {
        shapes_take(s, &one, 1);
    }
    index_remove(&s->heap, &s->index, id);
    s->regions[region].users--;
}

int install_tidy(struct dpf_set *s, bool all)
{
    return s->emptied ? shapes_tidy(s, all) : 0;
}

void install_idle(struct dpf_set *s)
{
    struct binding_list *l = s->bindings;
    (void)shapes_tidy(s, true);
    if (l != NULL && !s->shapes_used) {
        __atomic_store_n(&s->bindings, NULL, __ATOMIC_RELEASE);
        s->binding_count = 0;
        s->version++;
        set_retire(s, &l->retired, s->version);
    }
}

void install_clear(struct dpf_set *s)
{
    struct heap *h = &s->heap;
    for (uint32_t i = 0; i < s->binding_count; i++) {
        if (set_binding(s, i) != NULL && set_binding(s, i)->kept != NULL) {
            remove_diagram(s, set_binding(s, i));
        } else if (set_binding(s, i) != NULL) {
            binding_drop(s, set_binding(s, i));
        }
    }
    for (uint32_t i = 0; i < s->shape_count; i++) {
        if (s->shapes[i] != NULL && s->spread && s->shapes[i]->shown) {
            shapes_unhang(s, s->shapes[i]);
            set_trees_changed(s);
        }
        shape_destroy(h, s->shapes[i]);
        s->shapes[i] = NULL;
    }
    if (s->bindings != NULL) {
        list_destroy(h, &s->bindings->retired);
        s->bindings = NULL;
    }
}
