/* SPDX-License-Identifier: MIT */
/*
 * The shapes of a set: which one a cube belongs to, tables that grow, keys
 * that become wider, shapes that come and go.
 */
#include "dpf/diagram/guard.h"
#include "dpf/set/install.h"

#define SHAPES_MAX 4096u
#define DROP_PASS 16u /* units, to let a shape go */

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
    if (from == to) {
        return was;
    }
    struct cube c;
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

static uint32_t slot_now(const struct rehash *h, uint32_t slot)
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

        heap_pass(&s->heap, e != NULL ? 4 : 1);
        if (e != NULL && e->shape != INDEX_BIG) {
            e->slot = slot_now(h, slot);
        }
    }
    for (uint32_t i = 0; i < s->binding_count; i++) {
        struct binding *b = set_binding(s, i);
        heap_pass(&s->heap, 1);
        for (uint32_t k = 0; b != NULL && k < b->cube_count + b->residual;
             k++) {
            if (b->cubes[k].shape == h->n) {
                b->cubes[k].slot = slot_now(h, b->cubes[k].slot);
            }
        }
    }
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

        if (t == NULL) {
            return NULL;
        }
        for (uint32_t i = 0; i < table_slots(old) && !full; i++) {
            uint32_t id = table_id(old, i);
            heap_pass(&s->heap, id < TABLE_NEXT ? 4 : 1);
            uint8_t key[TABLE_KEY_MAX];
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
    if (t == NULL) {
        return -DPF_E_MEM;
    }
    __atomic_store_n(&sh->table, t, __ATOMIC_RELEASE);
    if (sh->code_table != NULL) {
        __atomic_store_n(sh->code_table, (uint64_t)(uintptr_t)t,
                         __ATOMIC_RELEASE);
    }
    s->version++;
    set_retire(s, &old->retired, s->version);
    repoint(&(struct rehash){s, n, old, sh});
    return 0;
}

/* Make bytes of shape n part of the key, as `marked` says. */
static int shape_widen(struct dpf_set *s, uint16_t n, const struct cube *marked)
{
    struct shape *from = s->shapes[n];
    bool hung = s->spread && from->shown;
    int err;
    struct shape *to =
        shape_create(&s->heap, marked, from->bases, from->base_count, &err);
    if (to == NULL) {
        return err;
    }
    struct table *t = table_copy(s, from, to, room_for(from->table->used));
    if (t == NULL) {
        err = -DPF_E_MEM;
        goto fail;
    }
    table_destroy(&s->heap, to->table);
    to->table = t;
    to->rank = from->rank;
    to->rank_high = from->rank_high;
    to->residual = from->residual;
    s->shapes[n] = to;
    err = from->shown ? shapes_show(s, to) : 0;
    if (err) {
        s->shapes[n] = from;
        goto fail;
    }
    if (hung) {
        shapes_unhang(s, from);
        set_trees_changed(s);
    }
    repoint(&(struct rehash){s, n, from->table, from});
    set_retire(s, &from->table->retired, s->version);
    set_retire(s, &from->retired, s->version);
    return 0;
fail:
    shape_destroy(&s->heap, to);
    return err;
}

/* A shape for cubes like c, with the slot *n. Uses in->room. */
static int shape_new(struct install *in, const struct cube *c, bool residual,
                     uint16_t *n)
{
    struct dpf_set *s = in->s;
    struct cube *plain = &in->room;
    uint32_t i = 0;
    while (i < s->shape_count && s->shapes[i] != NULL) {
        i++;
    }
    struct base_map map;
    uint32_t bases = cube_bases(&s->dd, c, in->bases, SHAPE_BASES_MAX, &map);
    /* Lookups read where it says, whoever made it. */
    if (i == SHAPES_MAX || !bases || !cube_is_guarded(s->dd.bases, c)) {
        return -DPF_E_TOO_BIG;
    }
    if (heap_grow(&s->heap, (void **)&s->shapes, &s->shape_cap,
                  sizeof(*s->shapes), s->shape_count, i + 1)) {
        return -DPF_E_MEM;
    }
    *plain = *c;
    for (uint32_t k = 0; k < plain->count; k++) {
        plain->bytes[k].varies = 0;
    }
    cube_renumber(plain, &map);
    int err;
    s->shapes[i] = shape_create(&s->heap, plain, in->bases, bases, &err);
    if (s->shapes[i] == NULL) {
        s->shape_count = i < s->shape_count ? s->shape_count : i;
        return err;
    }
    if (residual) { /* the bindings say */
        s->shapes[i]->residual = true;
        s->shapes[i]->rank = UINT32_MAX;
        s->shapes[i]->rank_high = 0;
    }
    s->shape_count = i < s->shape_count ? s->shape_count : i + 1;
    s->shapes_used++;
    *n = (uint16_t)i;
    return 0;
}

#define SIBLINGS_MAX 4u /* shapes of the same tests, by other constants */
#define SHORT_RUN 2u    /* bytes: a protocol, a VLAN */

/*
 * Is it short runs alone that make the key of `sh` longer than narrow if all
 * that is marked is in it?
 */
static bool short_runs_widen(const struct shape *sh, const struct cube *marked)
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

bool shapes_alike(const struct shape *sh, const struct cube *c)
{
    return sh->cube.count == c->count && sh->cube.len_count == c->len_count;
}

/*
 * The shape whose key cube c is to be in, or shape_count. Filters of the same
 * tests are kept in a few shapes if a protocol or the like made a key for all
 * of them long: lookups of short ones share code (demux/demux.h).
 * in->marked receives what its key must have, or no bytes if it has it.
 */
static uint32_t shape_choose(struct install *in, const struct cube *c,
                             bool residual)
{
    struct dpf_set *s = in->s;
    uint32_t siblings = 0;

    /* First any that has it; then one that may, or the last there can be. */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < s->shape_count; i++) {
            const struct shape *sh = s->shapes[i];
            if (sh == NULL || sh->residual != residual ||
                !shapes_alike(sh, c)) {
                continue;
            }
            const struct cube *seen = shape_view(sh, &s->dd, c, &in->room);
            if ((c != in->cubes || sh != in->like) &&
                !shape_same(&sh->cube, seen)) {
                continue;
            }
            shape_differs(sh, seen, &in->marked);
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

/* The shape of cube c with a free place in its table. */
static int shape_ready(struct install *in, const struct cube *c, bool residual,
                       uint16_t *n)
{
    struct dpf_set *s = in->s;
    uint32_t i = in->home ? in->home - 1 : shape_choose(in, c, residual);
    *n = (uint16_t)i;
    if (i == s->shape_count) {
        return shape_new(in, c, residual, n);
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

/* Free the slot of a shape that is in no image and in no tree any more. */
static void shape_drop(struct dpf_set *s, uint32_t i)
{
    struct shape *sh = s->shapes[i];
    s->shapes[i] = NULL;
    s->shapes_used--;
    if (sh->shown) {
        set_retire(s, &sh->table->retired, s->version);
        set_retire(s, &sh->retired, s->version);
    } else {
        shape_destroy(&s->heap, sh);
    }
    while (s->shape_count && s->shapes[s->shape_count - 1] == NULL) {
        s->shape_count--;
    }
}

/* Shapes without keys: in the tree, or not seen by lookups yet, they go. The
   number of others. */
static uint32_t drop_hung(struct dpf_set *s)
{
    uint32_t empty = 0;
    for (uint32_t i = s->shape_count; i-- > 0;) {
        struct shape *sh = i < s->shape_count ? s->shapes[i] : NULL;
        heap_pass(&s->heap, sh != NULL && !sh->table->used ? DROP_PASS : 1);
        if (sh == NULL || sh->table->used) {
            continue;
        }
        if (s->spread && sh->shown) {
            shapes_unhang(s, sh);
            set_trees_changed(s);
        }
        if (s->spread || !sh->shown) {
            shape_drop(s, i);
        } else {
            empty++;
        }
    }
    return empty;
}

int shapes_tidy(struct dpf_set *s, bool all)
{
    uint32_t empty = drop_hung(s);
    int r = 0;
    if (empty && (all || 4 * empty >= s->shapes_used)) {
        r = shapes_publish(s, false);
        for (uint32_t i = s->shape_count; !r && i-- > 0;) {
            if (i < s->shape_count && s->shapes[i] != NULL &&
                !s->shapes[i]->table->used) {
                shape_drop(s, i);
            }
        }
        empty = r ? empty : 0;
    }
    s->emptied = empty != 0;
    if (s->spread && s->shapes_used <= s->image_max / 2) {
        shapes_gather(s);
    }
    return r;
}

struct move {
    struct dpf_set *s;
    uint16_t shape;
};

static void moved(void *ctx, uint32_t id, uint32_t from, uint32_t to)
{
    const struct move *m = ctx;
    if (m->s->shapes[m->shape]->residual) {
        set_binding(m->s, id & NUMBER_MASK)->cubes[0].slot = to;
        return;
    }
    struct index_entry *e = index_find(&m->s->index, id);
    if (e->shape != INDEX_BIG) {
        e->slot = to;
        return;
    }
    struct binding *b = set_binding(m->s, e->slot);
    for (uint32_t i = 0; i < b->cube_count; i++) {
        if (b->cubes[i].shape == m->shape && b->cubes[i].slot == from) {
            b->cubes[i].slot = to;
            return;
        }
    }
}

int shapes_put(struct install *in, const struct cube *c, uint32_t id,
               bool residual, struct entry *at)
{
    struct dpf_set *s = in->s;
    int r = shape_ready(in, c, residual, &at->shape);
    struct move m = {s, at->shape};
    const struct table_watch watch = {moved, &m};
    for (; !r; r = table_replace(s, at->shape)) {
        struct shape *sh = s->shapes[at->shape];
        if (c != in->cubes || in->keyed != sh) {
            shape_key(sh, shape_view(sh, &s->dd, c, &in->room), in->key);
        }
        at->slot = table_add(sh->table, in->key, id, &watch);
        if (at->slot != TABLE_NONE) {
            return 0;
        }
    }
    return r;
}

void shapes_take(struct dpf_set *s, const struct entry *at, uint32_t count)
{
    s->version++;
    for (uint32_t i = 0; i < count; i++) {
        struct table *t = s->shapes[at[i].shape]->table;
        table_remove(t, at[i].slot, s->version);
        s->emptied |= !t->used;
    }
}
