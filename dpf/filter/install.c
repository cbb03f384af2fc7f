/* SPDX-License-Identifier: MIT */
/*
 * Bind and unbind. Each change follows one order: read the filter, judge it,
 * acquire all memory, then commit with stores that cannot fail. A filter of
 * a known shape commits into its table; any other change also builds a new
 * image. What is dropped is hidden from lookups where it stands, which needs
 * no memory; set_tidy makes the image that is without it.
 */
#include "dpf/filter/install.h"
#include "dpf/filter/guard.h"
#include "dpf/filter/lower.h"

#include "dpf/compact.h"
#define SHAPES_MAX 1024u
#define BINDINGS_MAX (NUMBER_MASK + 1u)

/* --------------------------------------------------------- shapes, tables */

static uint32_t room_for(uint32_t used)
{
    return used + used / 8 + 4;
}

/*
 * The key of an entry of shape `from` as shape `to` keys it: `was` itself if
 * they are the same, else made in key[].
 */
static const uint8_t *rekey(const struct shape *from, const struct shape *to,
                            const uint8_t *was, uint8_t *key)
{
    struct cube c;

    if (from == to) {
        return was;
    }
    shape_cube(from, was, &c);
    shape_key(to, &c, key);
    return key;
}

/* What was in a table is in that of s->shapes[n] now. */
struct rehash {
    struct dpf_set *s;
    uint16_t n;
    const struct table *old;
    const struct shape *from; /* it was its table */
};

OUT_OF_LINE static uint32_t slot_now(const struct rehash *h, uint32_t slot)
{
    const struct shape *to = h->s->shapes[h->n];
    uint8_t key[TABLE_KEY_MAX];

    return table_find(to->table,
                      rekey(h->from, to, table_key(h->old, slot), key));
}

/* Tell the index and the bindings of several entries. */
static void repoint(const struct rehash *h)
{
    struct dpf_set *s = h->s;
    bool residual = s->shapes[h->n]->residual;

    for (uint32_t slot = 0; !residual && slot < table_slots(h->old); slot++) {
        uint32_t id = table_id(h->old, slot);
        struct index_entry *e =
            id < TABLE_NEXT ? index_find(&s->index, id) : NULL;

        if (e && e->shape != INDEX_BIG) {
            e->slot = slot_now(h, slot);
        }
    }
    for (uint32_t i = 0; i < s->binding_count; i++) {
        struct binding *b = s->bindings[i];

        for (uint32_t k = 0; b && k < b->cube_count + b->residual; k++) {
            if (b->cubes[k].shape == h->n) {
                b->cubes[k].slot = slot_now(h, b->cubes[k].slot);
            }
        }
    }
}

OUT_OF_LINE void set_retire(struct dpf_set *s, struct retired *r,
                            uint64_t version)
{
    r->version = version;
    r->next = s->retired;
    s->retired = r;
}

/* A table with the entries of `from`, keyed as `to` is. NULL: no memory. */
static struct table *table_copy(struct dpf_set *s, const struct shape *from,
                                const struct shape *to, uint32_t room)
{
    const struct table *old = from->table;

    for (; room < UINT32_MAX / 4; room += room / 2) {
        struct table *t =
            table_create(&s->heap, to->table->n8, to->table->n4, room);
        bool full = false;

        if (!t) {
            return NULL;
        }
        for (uint32_t i = 0; i < table_slots(old) && !full; i++) {
            uint8_t key[TABLE_KEY_MAX];
            uint32_t id = table_id(old, i);

            full = id < TABLE_NEXT &&
                   table_add(t, rekey(from, to, table_key(old, i), key), id,
                             NULL) == TABLE_NONE;
        }
        if (!full) {
            return t;
        }
        table_destroy(&s->heap, t); /* chains too long: more room */
    }
    return NULL;
}

/* Replace the shape's table by one with room for one more key. */
static int table_replace(struct dpf_set *s, uint16_t n)
{
    struct shape *sh = s->shapes[n];
    struct table *old = sh->table;
    struct table *t = table_copy(s, sh, sh, room_for(old->used));

    if (!t) {
        return -DPF_E_MEM;
    }
    __atomic_store_n(&sh->table, t, __ATOMIC_RELEASE);
    if (sh->code_table) {
        __atomic_store_n(sh->code_table, (uint64_t)(uintptr_t)t,
                         __ATOMIC_RELEASE);
    }
    s->version++;
    set_retire(s, &old->retired, s->version);
    repoint(&(struct rehash){s, n, old, sh});
    return 0;
}

int set_publish(struct dpf_set *s)
{
    struct image *im = image_build(s), *old = s->image;

    if (!im) {
        return -DPF_E_MEM;
    }
    for (uint32_t i = 0; i < im->shape_count; i++) {
        im->shapes[i]->shown = true;
    }
    __atomic_store_n(&s->image, im, __ATOMIC_RELEASE);
    s->version++;
    set_retire(s, &old->retired, s->version);
    return 0;
}

/* Make bytes of shape n part of the key, as `marked` says. */
OUT_OF_LINE static int shape_widen(struct dpf_set *s, uint16_t n,
                                   const struct cube *marked)
{
    struct shape *from = s->shapes[n], *to;
    struct table *t;
    int err;

    to = shape_create(&s->heap, marked, &err);
    if (!to) {
        return err;
    }
    t = table_copy(s, from, to, room_for(from->table->used));
    if (!t) {
        goto fail;
    }
    table_destroy(&s->heap, to->table);
    to->table = t;
    to->rank = from->rank;
    to->rank_high = from->rank_high;
    to->residual = from->residual;
    s->shapes[n] = to;
    if (set_publish(s)) {
        s->shapes[n] = from;
        goto fail;
    }
    repoint(&(struct rehash){s, n, from->table, from});
    set_retire(s, &from->table->retired, s->version);
    set_retire(s, &from->retired, s->version);
    return 0;
fail:
    shape_destroy(&s->heap, to);
    return -DPF_E_MEM;
}

static int shape_new(struct dpf_set *s, const struct cube *c, bool residual,
                     uint16_t *n)
{
    uint32_t i = 0;
    struct cube plain = *c;
    int err;

    while (i < s->shape_count && s->shapes[i]) {
        i++;
    }
    if (i == SHAPES_MAX) {
        return -DPF_E_TOO_BIG;
    }
    if (heap_grow(&s->heap, (void **)&s->shapes, &s->shape_cap,
                  sizeof(*s->shapes), s->shape_count, i + 1)) {
        return -DPF_E_MEM;
    }
    /* Lookups read where it says, whoever made it. */
    if (!cube_is_guarded(s->dd.bases, c)) {
        return -DPF_E_TOO_BIG;
    }
    for (uint32_t k = 0; k < plain.count; k++) {
        plain.bytes[k].varies = 0;
    }
    s->shapes[i] = shape_create(&s->heap, &plain, &err);
    if (!s->shapes[i]) {
        s->shape_count = i < s->shape_count ? s->shape_count : i;
        return err;
    }
    if (residual) { /* the bindings say */
        s->shapes[i]->residual = true;
        s->shapes[i]->rank = UINT32_MAX;
        s->shapes[i]->rank_high = 0;
    }
    s->shape_count = i < s->shape_count ? s->shape_count : i + 1;
    *n = (uint16_t)i;
    return 0;
}

#define SIBLINGS_MAX 4u /* shapes of the same tests, by other constants */
#define SHORT_RUN 2u    /* bytes: a protocol, a VLAN */

/*
 * Is it short runs alone that make the key of `sh` longer than narrow if all
 * that is marked is in it?
 */
OUT_OF_LINE static bool short_runs_widen(const struct shape *sh,
                                         const struct cube *marked)
{
    struct cube rest = *marked;

    if (!shape_is_narrow(sh) || shape_stays_narrow(marked)) {
        return false;
    }
    for (uint32_t i = 0, j; i < rest.count; i = j) {
        for (j = i + 1;
             j < rest.count && rest.bytes[j].var == rest.bytes[j - 1].var + 1;
             j++) {
        }
        for (uint32_t k = i; j - i <= SHORT_RUN && k < j; k++) {
            rest.bytes[k].varies = sh->cube.bytes[k].varies;
        }
    }
    return shape_stays_narrow(&rest);
}

/*
 * The shape whose key cube c is to be in, or shape_count. Filters of the same
 * tests are kept in a few shapes if a protocol or the like made a key for all
 * of them long: lookups of short ones share code (native/demux.h).
 * in->marked receives what its key must have, or no bytes if it has it.
 */
static uint32_t shape_choose(struct install *in, const struct cube *c,
                             bool residual)
{
    const struct dpf_set *s = in->s;
    uint32_t siblings = 0;

    /* First any that has it; then one that may, or the last there can be. */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < s->shape_count; i++) {
            const struct shape *sh = s->shapes[i];

            if (!sh || sh->residual != residual || !shape_same(&sh->cube, c)) {
                continue;
            }
            shape_differs(sh, c, &in->marked);
            if (!in->marked.count ||
                (pass && (!short_runs_widen(sh, &in->marked) ||
                          ++siblings == SIBLINGS_MAX))) {
                return i;
            }
        }
    }
    in->marked.count = 0;
    return s->shape_count;
}

void install_find_home(struct install *in)
{
    in->home = in->cube_count == 1 ? shape_choose(in, in->cubes, false) + 1 : 0;
}

/* The shape of cube c with a free place in its table; *fresh if new. */
static int shape_ready(struct install *in, const struct cube *c, bool residual,
                       uint16_t *n, bool *fresh)
{
    struct dpf_set *s = in->s;
    uint32_t i = in->home ? in->home - 1 : shape_choose(in, c, residual);

    *n = (uint16_t)i;
    if (i == s->shape_count) {
        *fresh = true;
        return shape_new(s, c, residual, n);
    }
    if (in->marked.count) {
        int r = shape_widen(s, *n, &in->marked);

        if (r) {
            return r;
        }
    }
    /* A binding adds up to CUBES_MAX keys, all of which must find room. */
    return table_crowded(s->shapes[i]->table) ? table_replace(s, *n) : 0;
}

static void trim_shapes(struct dpf_set *s)
{
    while (s->shape_count && !s->shapes[s->shape_count - 1]) {
        s->shape_count--;
    }
}

/* Free the shapes that a call made and did not come to use. */
static void drop_unshown(struct dpf_set *s)
{
    for (uint32_t i = 0; i < s->shape_count; i++) {
        struct shape *sh = s->shapes[i];

        if (sh && !sh->shown && !sh->table->used) {
            shape_destroy(&s->heap, sh);
            s->shapes[i] = NULL;
        }
    }
    trim_shapes(s);
}

/* ---------------------------------------------------------------- commit */

struct move {
    struct dpf_set *s;
    uint16_t shape;
};

static void moved(void *ctx, uint32_t id, uint32_t from, uint32_t to)
{
    const struct move *m = ctx;
    struct index_entry *e;
    struct binding *b;

    if (m->s->shapes[m->shape]->residual) {
        m->s->bindings[id & NUMBER_MASK]->cubes[0].slot = to;
        return;
    }
    e = index_find(&m->s->index, id);
    if (e->shape != INDEX_BIG) {
        e->slot = to;
        return;
    }
    b = m->s->bindings[e->slot];
    for (uint32_t i = 0; i < b->cube_count; i++) {
        if (b->cubes[i].shape == m->shape && b->cubes[i].slot == from) {
            b->cubes[i].slot = to;
            return;
        }
    }
}

/*
 * Put cube c into the table of its shape, a new one (*fresh) if there is none:
 * 0, or an error, after which drop_unshown removes a new one.
 */
static int cube_put(struct install *in, const struct cube *c, uint32_t id,
                    bool residual, struct entry *at, bool *fresh)
{
    struct dpf_set *s = in->s;
    int r = shape_ready(in, c, residual, &at->shape, fresh);
    struct move m = {s, at->shape};
    const struct table_watch watch = {moved, &m};

    for (; !r; r = table_replace(s, at->shape)) {
        struct shape *sh = s->shapes[at->shape];

        shape_key(sh, c, in->key);
        at->slot = table_add(sh->table, in->key, id, &watch);
        if (at->slot != TABLE_NONE) {
            return 0;
        }
    }
    return r;
}

/* Take `count` entries out of their tables. */
static void unput(struct dpf_set *s, const struct entry *at, uint32_t count)
{
    s->version++;
    for (uint32_t i = 0; i < count; i++) {
        table_remove(s->shapes[at[i].shape]->table, at[i].slot, s->version);
    }
}

static void binding_destroy(struct heap *h, struct retired *r)
{
    struct binding *b = (struct binding *)(void *)r;

    dpf_program_destroy(b->program);
    heap_free(h, b, sizeof(*b));
}

static struct binding *binding_new(struct install *in)
{
    struct dpf_set *s = in->s;
    uint32_t i = 0;
    struct binding *b;

    while (i < s->binding_count && s->bindings[i]) {
        i++;
    }
    if (i == BINDINGS_MAX ||
        heap_grow(&s->heap, (void **)&s->bindings, &s->binding_cap,
                  sizeof(*s->bindings), s->binding_count, i + 1)) {
        return NULL;
    }
    b = heap_alloc(&s->heap, sizeof(*b));
    if (b) {
        __builtin_memset(b, 0, sizeof(*b));
        b->retired.destroy = binding_destroy;
        b->number = i;
        b->tag = (++s->age & AGE_MASK) << 20 | i;
        b->id = in->id;
        b->region = in->region;
        b->flags = in->flags;
        s->bindings[i] = b;
        s->binding_count += i == s->binding_count;
    }
    return b;
}

/* No new lookup sees it. */
static void binding_drop(struct dpf_set *s, struct binding *b)
{
    s->bindings[b->number] = NULL;
    while (s->binding_count && !s->bindings[s->binding_count - 1]) {
        s->binding_count--;
    }
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
        if (!b) {
            return -DPF_E_MEM;
        }
        /* In the index first: entries that move on the way are found there. */
        index_put(in, INDEX_BIG, b->number);
        to = b->cubes;
    }
    while (!r && n < in->cube_count) {
        r = cube_put(in, &in->cubes[n], in->id, false, &to[n], &fresh);
        n += !r;
        if (b) {
            b->cube_count = n;
        }
    }
    if (!r && fresh) {
        r = set_publish(s);
    }
    if (r) {
        unput(s, to, n);
        if (b) {
            index_remove(&s->heap, &s->index, in->id);
            s->regions[in->region].users--;
            binding_drop(s, b);
        }
        drop_unshown(s);
        return r;
    }
    if (!b) {
        index_put(in, one.shape, one.slot);
    }
    s->table_inserts += !fresh;
    s->version++;
    return 0;
}

/* Change the depth of the diagrams marked in inside[]. */
static void deepen(struct dpf_set *s, const uint8_t *inside, uint32_t count,
                   uint64_t by)
{
    for (uint32_t i = 0; inside && i < count; i++) {
        if (inside[i]) {
            s->bindings[i]->depth += by;
        }
    }
}

/*
 * What decides about a packet that is in the binding's cube, beside a range.
 * Its yes counts only where the diagram has one: so it is made of the diagram,
 * and the filter's own program is asked only where that does not know. Of a
 * diagram too large for that, *residual is set to false.
 */
static int keep_program(struct install *in, struct binding *b, bool *residual)
{
    struct dd *d = &in->s->dd;
    const struct dpf_insn *insns;
    struct dd_mark m = dd_mark(d);
    size_t count;
    int r;

    if (b->span.bytes) {
        return 0;
    }
    if (*residual) {
        r = dd_lower(d, in->exact, &in->other, &in->s->mem, in->filter,
                     &b->program);
        dd_release(d, m);
        if (!r) {
            (void)dpf_program_insns(b->program, &count);
            r = count > in->s->steps_max ? -DPF_E_TOO_BIG : 0;
        }
        if (r != -DPF_E_TOO_BIG) {
            return r;
        }
        dpf_program_destroy(b->program);
        b->program = NULL;
        *residual = false;
    }
    if (in->exact == in->may) {
        return 0;
    }
    insns = dpf_program_insns(in->filter, &count);
    if (count > in->s->steps_max) {
        return set_fail(in->err, -DPF_E_STEPS,
                        "tests of constants do not decide the filter, so it "
                        "would run for packets, and it is longer than what "
                        "they may still cost; make it shorter or simpler");
    }
    return dpf_program_create(&in->s->mem, DPF_FILTER | DPF_COMPILE, insns,
                              count, &b->program, NULL);
}

/* Has another residual binding the same key? */
static bool key_taken(struct install *in, const struct cube *c)
{
    for (uint32_t i = 0; i < in->s->shape_count; i++) {
        const struct shape *sh = in->s->shapes[i];

        if (sh && sh->residual && shape_same(&sh->cube, c) &&
            shape_project(sh, c, in->key, in->mask) == 1 &&
            table_find(sh->table, in->key) != TABLE_NONE) {
            return true;
        }
    }
    return false;
}

/*
 * A cube that contains the filter and makes a key: all but its range if it
 * has one (*span), else the whole bytes of its hull. in->other receives it.
 * False if there is none, or another binding has the same.
 */
OUT_OF_LINE static bool residual_cube(struct install *in, struct span *span)
{
    struct cube *c = &in->other;
    uint32_t n = 0;

    span->bytes = 0;
    if (in->flags & (DPF_TAP | DPF_SHARED)) {
        return false;
    }
    if (in->exact == in->may && !dd_is_term(in->may) &&
        span_read(&in->s->dd, in->may, c, span) && c->count && shape_fits(c) &&
        cube_is_guarded(in->s->dd.bases, c)) {
        if (!key_taken(in, c)) {
            return true;
        }
    }
    span->bytes = 0;
    in->s->dd.err = 0;
    *c = in->cubes[0];
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->bytes[i].mask == 0xff) {
            c->bytes[n++] = c->bytes[i];
        }
    }
    c->count = n;
    return n && shape_fits(c) && cube_is_guarded(in->s->dd.bases, c) &&
           !key_taken(in, c);
}

/* Put b into a residual shape by the cube in in->other. */
static int residual_add(struct install *in, struct binding *b)
{
    bool fresh = false;
    struct shape *sh;
    int r = cube_put(in, &in->other, b->tag, true, &b->cubes[0], &fresh);

    if (!r) {
        b->residual = true; /* not before: its entry is looked for then */
        sh = in->s->shapes[b->cubes[0].shape];
        sh->rank = b->rank < sh->rank ? b->rank : sh->rank;
        sh->rank_high = b->rank > sh->rank_high ? b->rank : sh->rank_high;
    }
    return r;
}

/*
 * The exclusive diagrams strictly inside this one, a byte for each binding,
 * in *inside: NULL if none can be. 0 or -DPF_E_MEM.
 */
static int find_inside(struct install *in, uint32_t count, uint8_t **inside)
{
    *inside = NULL;
    if (!(in->flags & DPF_REFINE) || in->flags & (DPF_TAP | DPF_SHARED)) {
        return 0;
    }
    *inside = heap_alloc(&in->s->heap, count + 1);
    return *inside ? judge_contained(in, *inside) : -DPF_E_MEM;
}

static int commit_diagram(struct install *in)
{
    struct dpf_set *s = in->s;
    uint32_t count = s->binding_count;
    struct binding *b = NULL;
    uint8_t *inside;
    bool residual;
    int r = find_inside(in, count, &inside);

    if (!r) {
        b = binding_new(in);
        r = b ? 0 : -DPF_E_MEM;
    }
    if (r) {
        goto out;
    }
    b->may = in->may;
    b->exact = in->exact;
    b->rank = in->rank;
    b->depth = in->depth;
    residual = residual_cube(in, &b->span);
    r = keep_program(in, b, &residual);
    if (r) {
        goto undo;
    }
    r = residual ? residual_add(in, b) : merge_add(s, b);
    if (r) {
        goto undo;
    }
    deepen(s, inside, count, 1);
    r = set_publish(s);
    if (!r) {
        index_put(in, INDEX_BIG, b->number);
        goto out;
    }
    deepen(s, inside, count, UINT64_MAX);
    if (b->residual) {
        unput(s, b->cubes, 1);
    } else {
        s->trees[b->tree].root = s->root_before;
        s->trees[b->tree].users--;
    }
undo:
    binding_drop(s, b);
    drop_unshown(s);
out:
    heap_free(&s->heap, inside, count + 1);
    return r;
}

int install_commit(struct install *in)
{
    if (index_reserve(&in->s->heap, &in->s->index)) {
        return -DPF_E_MEM;
    }
    return in->cube_count ? commit_cubes(in) : commit_diagram(in);
}

/* The diagram `b` stays in its tree for now: lookups pass it over. */
static void hide(struct dpf_set *s, struct binding *b)
{
    b->gone = true;
    s->gone++;
    s->untidy = true;
    s->version++;
    __atomic_store_n(&s->image->bindings[b->number].gone, true,
                     __ATOMIC_RELEASE);
}

/* Take entries out of their tables, and note if one has become empty. */
static void empty(struct dpf_set *s, const struct entry *at, uint32_t count)
{
    unput(s, at, count);
    for (uint32_t i = 0; i < count; i++) {
        s->untidy |= !s->shapes[at[i].shape]->table->used;
    }
}

void install_drop(struct dpf_set *s, const struct index_entry *e)
{
    struct binding *b = e->shape == INDEX_BIG ? s->bindings[e->slot] : NULL;
    struct entry one = {e->shape, e->slot};

    s->regions[e->region].users--;
    index_remove(&s->heap, &s->index, e->id);
    if (!b) {
        empty(s, &one, 1);
    } else if (b->cube_count || b->residual) {
        empty(s, b->cubes, b->residual ? 1 : b->cube_count);
        binding_drop(s, b);
    } else {
        hide(s, b);
    }
}

/* The trees without what is gone; those that were, in was[]. */
static int prune(struct dpf_set *s, struct tree was[TREES_MAX])
{
    uint32_t gone[TREES_MAX] = {0};
    int r = 0;

    for (uint32_t i = 0; s->gone && i < s->binding_count; i++) {
        if (s->bindings[i] && s->bindings[i]->gone) {
            gone[s->bindings[i]->tree]++;
        }
    }
    for (uint32_t t = 0; t < TREES_MAX; t++) {
        was[t] = s->trees[t];
    }
    for (uint32_t t = 0; t < TREES_MAX && !r; t++) {
        s->trees[t].users -= gone[t];
        if (s->trees[t].users == 0) {
            s->trees[t].root = DD_NO;
        } else if (gone[t]) {
            r = merge_prune(s, t, &s->trees[t].root);
        }
    }
    return r;
}

/* Mark the empty shapes; when the image is without them, forget them. */
static void leave(struct dpf_set *s, bool leaving, bool left)
{
    for (uint32_t i = 0; i < s->shape_count; i++) {
        struct shape *sh = s->shapes[i];

        if (!sh || sh->table->used) {
            continue;
        }
        sh->leaving = leaving;
        if (left) {
            set_retire(s, &sh->table->retired, s->version);
            set_retire(s, &sh->retired, s->version);
            s->shapes[i] = NULL;
        }
    }
}

int set_tidy(struct dpf_set *s)
{
    struct tree was[TREES_MAX];
    int r;

    if (!s->untidy) {
        return 0;
    }
    leave(s, true, false);
    r = prune(s, was);
    r = r ? r : set_publish(s);
    if (r) {
        __builtin_memcpy(s->trees, was, sizeof(was));
        leave(s, false, false);
        return r;
    }
    leave(s, false, true);
    trim_shapes(s);
    for (uint32_t i = s->binding_count; s->gone && i-- > 0;) {
        if (s->bindings[i] && s->bindings[i]->gone) {
            binding_drop(s, s->bindings[i]);
            s->gone--;
        }
    }
    s->untidy = false;
    return 0;
}
