/* SPDX-License-Identifier: MIT */
/*
 * Whose packet: the proofs that a new filter stays inside its region and
 * takes nothing from others. What is tried first is cheap and settles nearly
 * every case: constants that differ, one probe for an equal key, cubes that
 * contain one another. Only what these leave open is decided on diagrams,
 * and only a packet or a proof of its absence decides that.
 */
#include "dpf/diagram/probe.h"
#include "dpf/set/install.h"
#include "dpf/vm/text.h"

#define PROBES_MAX 128u /* packets that a proof is tried with */
#define RIVAL_WORK 32u  /* of one that is found to be in the way */
#define RIVAL_TEXT "whether the filter may accept packets of binding "

int set_fail(struct dpf_error *err, int code, const char *text)
{
    struct text t;

    if (err) {
        err->code = code;
        text_init(&t, err->text, sizeof(err->text));
        text_str(&t, text);
    }
    return code;
}

uint32_t install_may(struct install *in)
{
    struct dd *d = &in->s->dd;

    if (!in->have_may) {
        if (in->cube_count == 1) {
            in->exact = cube_diagram(d, &in->cubes[0]);
        }
        in->may = dd_apply(d, DD_MAY, in->exact, 0, 0);
        in->have_may = true;
    }
    return in->may;
}

/* Does the new filter really accept the witness? */
static bool new_accepts(struct install *in)
{
    if (!in->filter) {
        return true; /* a cube: the packet was made from it */
    }
    return dpf_filter_run(in->filter, in->witness.packet, in->witness.len) != 0;
}

/* Give the caller the witness. False: there is none that proves it. */
static bool show_witness(struct install *in)
{
    bool is_proof = in->witness.len != 0 && new_accepts(in);

    if (in->err && is_proof) {
        in->err->witness_len = in->witness.len;
        __builtin_memcpy(in->err->witness, in->witness.packet, in->witness.len);
    }
    return is_proof;
}

int judge_tired(struct install *in, const char *what, const struct binding *r)
{
    struct text t;

    set_fail(in->err, -DPF_E_FUEL, "");
    if (in->err) {
        text_init(&t, in->err->text, sizeof(in->err->text));
        if (!heap_work(&in->s->heap, 0)) {
            text_str(&t, "not decided with ");
            text_dec(&t, (uint32_t)in->s->work);
            text_str(&t, " units of work ");
        } else if (in->s->dd.half_read) {
            text_str(&t, "too long to be read whole, so not decided ");
        } else {
            text_str(&t, "not decided with the header lengths tried ");
        }
        text_str(&t, what);
        if (r) {
            in->err->other = r->id;
            text_dec(&t, r->id);
        }
        text_str(&t, "; ask for fewer bytes, or compare them with constants");
    }
    return -DPF_E_FUEL;
}

/* A packet of diagram f. */
struct hit {
    const struct dd *d;
    uint32_t f;
    struct witness *w;
};

static bool is_hit(void *ctx, const uint8_t *packet, size_t len)
{
    const struct hit *h = ctx;

    if (dd_eval(h->d, h->f, packet, len) != DD_YES) {
        return false;
    }
    h->w->len = len <= DPF_WITNESS_MAX ? (uint32_t)len : 0;
    __builtin_memcpy(h->w->packet, packet, h->w->len);
    return true;
}

/*
 * A packet of f, as space_find. That f is empty rests on what space_find puts
 * in for bases; so packets are tried besides that are made without it. One of
 * them in f is a mistake of ours, and no reason to let a filter in.
 */
static int find(struct install *in, uint32_t f, struct witness *w)
{
    struct dd *d = &in->s->dd;
    struct hit hit = {d, f, w};
    int r = space_find(d, f, w);

    if (r == 0) {
        const struct probe_plan plan = {
            .max = PROBES_MAX, .work = 4, .visit = is_hit, .ctx = &hit};

        r = probe_paths(d, f, &plan);
        in->s->doubted += r == 1;
    }
    return r;
}

/* Packets of f outside g: 0 if certainly none, 1 if *w is one. */
static int outside(struct install *in, uint32_t f, uint32_t g,
                   struct witness *w)
{
    struct dd *d = &in->s->dd;
    uint32_t diff = dd_ite(d, g, DD_NO, f);

    if (d->err) {
        return d->err;
    }
    return diff == DD_NO ? 0 : find(in, diff, w);
}

/* Nothing more can be found out. */
static bool is_end(int r)
{
    return r == -DPF_E_MEM || r == -DPF_E_FUEL;
}

/* Was it not found out whether there is a packet? */
static bool is_open(int r)
{
    return r == -DPF_E_FUEL || r == -DPF_E_TOO_BIG;
}

int judge_region(struct install *in, const struct kept *must)
{
    struct dd *d = &in->s->dd;
    struct cube_walk found = {.no = true};
    int r;

    if (must->root == DD_YES) {
        return 0;
    }
    for (uint32_t i = 0; i < in->cube_count; i++) {
        r = kept_reach(must, d, &in->cubes[i], &found);
        if (r) {
            return r;
        }
        if (found.no) {
            break;
        }
    }
    if (!found.no) {
        return 0;
    }
    in->witness.len = 0;
    install_may(in);
    r = outside(in, in->may, kept_load(d, must), &in->witness);
    if (r == 0 || r == -DPF_E_MEM) {
        return r;
    }
    if (is_open(r) || (!show_witness(in) && in->s->dd.half_read)) {
        return judge_tired(in, "whether the filter is inside its region", NULL);
    }
    return set_fail(
        in->err, -DPF_E_REGION,
        "the filter may accept packets outside the region it presents; "
        "narrow it to the region's addresses, protocols and ports");
}

/* --------------------------------------------------------------- conflicts */

/* Does cube a ask for all that b asks for? */
static bool cube_inside(const struct cube *a, const struct cube *b)
{
    uint32_t j = 0;

    for (uint32_t i = 0; i < b->len_count; i++) {
        if (cube_len(a, b->lens[i].base) < b->lens[i].min) {
            return false;
        }
    }
    for (uint32_t i = 0; i < b->count; i++) {
        const struct cube_byte *x = &b->bytes[i];

        while (j < a->count && a->bytes[j].var < x->var) {
            j++;
        }
        if (j == a->count || a->bytes[j].var != x->var ||
            (a->bytes[j].mask & x->mask) != x->mask ||
            (a->bytes[j].value & x->mask) != x->value) {
            return false;
        }
    }
    return true;
}

/* A cube of a shape as set.dd counts. Sets d->err. */
static uint32_t load_key(struct install *in, const struct shape *sh,
                         uint32_t slot)
{
    struct dd *d = &in->s->dd;
    struct base_map map;

    shape_cube(sh, table_key(sh->table, slot), &in->room);
    if (!bases_load(d, sh->bases, sh->base_count, &map)) {
        d->err = d->err ? d->err : -DPF_E_TOO_BIG;
        return DD_NO;
    }
    cube_renumber(&in->room, &map);
    return cube_diagram(d, &in->room);
}

/*
 * What a rival, an installed binding, may accept, in set.dd. All its cubes:
 * that one is strictly inside the new filter says nothing of the others.
 */
static uint32_t rival_may(struct install *in, const struct binding *r)
{
    struct dd *d = &in->s->dd;
    uint32_t f = DD_NO;

    if (r->kept) {
        return dd_apply(d, DD_MAY, kept_load(d, r->kept), 0, 0);
    }
    for (uint32_t i = 0; i < r->cube_count; i++) {
        f = dd_ite(
            d, load_key(in, in->s->shapes[r->cubes[i].shape], r->cubes[i].slot),
            DD_YES, f);
    }
    return f;
}

/*
 * How the new filter and a rival lie: 0 disjoint, 1 the new one strictly
 * inside, 2 the rival strictly inside, 3 otherwise; -DPF_E_TOO_BIG if that was
 * not found out, and matters; or another error.
 */
static int compare(struct install *in, const struct binding *r)
{
    struct dd *d = &in->s->dd;
    uint32_t mine = install_may(in), theirs = rival_may(in, r);
    uint32_t both = dd_and(d, mine, theirs);
    int met, there, back;

    if (d->err) {
        return d->err;
    }
    met = both == DD_NO ? 0 : find(in, both, &in->witness);
    if (met == 0 || is_end(met)) {
        return met;
    }
    there = outside(in, mine, theirs, &in->outside);
    back = is_end(there) ? there : outside(in, theirs, mine, &in->outside);
    if (is_end(back)) {
        return back;
    }
    if (there == 0 && back == 1) {
        return 1;
    }
    if (there == 1 && back == 0) {
        return 2;
    }
    return is_open(met) || (((r->flags | in->flags) & DPF_REFINE) &&
                            (is_open(there) || is_open(back)))
               ? -DPF_E_TOO_BIG
               : 3;
}

/* Would lookups find the inner of the two first? See image.c. */
static bool ordered(const struct install *in, const struct binding *r,
                    uint32_t rival_rank, int how)
{
    if (!in->cube_count && !r->cube_count) {
        return true; /* depth says */
    }
    for (uint32_t i = 0; i < in->cube_count; i++) {
        uint32_t rank = cube_rank(&in->cubes[i]);

        if (how == 1
                ? rank <= rival_rank
                : (r->cube_count ? rival_rank <= rank : rival_rank < rank)) {
            return false;
        }
    }
    return in->cube_count ||
           (how == 1 ? in->rank >= rival_rank : rival_rank > in->rank);
}

/* Does the rival accept the witness for sure? */
static bool rival_accepts(struct install *in, const struct binding *r)
{
    const struct witness *w = &in->witness;
    struct dd *d = &in->s->dd;

    if (r->kept) {
        return kept_walk(r->kept, w->packet, w->len) == DD_YES;
    }
    return dd_eval(d, rival_may(in, r), w->packet, w->len) == DD_YES;
}

static int refuse(struct install *in, const struct binding *r)
{
    struct text t;
    bool proved = rival_accepts(in, r) && show_witness(in);

    if (!proved && in->s->dd.half_read) {
        return judge_tired(in, RIVAL_TEXT, r);
    }
    set_fail(in->err, -DPF_E_CONFLICT, "");
    if (in->err) {
        in->err->other = r->id;
        text_init(&t, in->err->text, sizeof(in->err->text));
        text_str(&t, "the filter may accept packets of binding ");
        text_dec(&t, r->id);
        text_str(&t, r->flags & DPF_REFINE
                         ? ", and does not lie strictly inside it"
                         : ", which does not allow refinement");
    }
    return -DPF_E_CONFLICT;
}

/* Remember how the new diagram and an installed one lie. */
static int note(struct install *in, struct binding *r, int how)
{
    if (how == 1) {
        in->above = r->depth > in->above ? r->depth : in->above;
        return 0;
    }
    if (heap_grow(&in->s->heap, (void **)&in->inside, &in->inside_cap,
                  sizeof(struct binding *), in->inside_count,
                  in->inside_count + 1)) {
        return -DPF_E_MEM;
    }
    in->inside[in->inside_count++] = r;
    return 0;
}

/* As compare, and what that made is forgotten. */
static int compare_aside(struct install *in, const struct binding *r)
{
    struct dd *d = &in->s->dd;
    struct dd_mark m;
    uint64_t bases;
    int how;

    install_may(in);
    m = dd_mark(d);
    bases = dd_bases_used(d);
    in->witness.len = 0;
    how = compare(in, r);
    dd_release(d, m);
    dd_bases_keep(d, bases);
    return how;
}

/*
 * The new filter and a rival whose rank in lookups is `rank`; of one that is
 * cubes, `met` is the one met, as set.dd counts.
 */
static int judge(struct install *in, struct binding *r, uint32_t rank,
                 const struct cube *met)
{
    int how = 3;

    if (!dd_work(&in->s->dd, RIVAL_WORK)) {
        how = -DPF_E_FUEL;
    }
    /* The common case: a connection inside a listener that allows it. */
    if (how == 3 && in->cube_count == 1 && r->cube_count == 1) {
        if (r->flags & DPF_REFINE && cube_inside(&in->cubes[0], met)) {
            how = cube_rank(&in->cubes[0]) > rank ? 1 : 3;
        } else if (in->flags & DPF_REFINE && cube_inside(met, &in->cubes[0])) {
            how = rank > cube_rank(&in->cubes[0]) ? 2 : 3;
        }
    }
    if (how == 3) {
        how = compare_aside(in, r);
    }
    if (is_open(how)) {
        return judge_tired(in, RIVAL_TEXT, r);
    }
    if (how <= 0) {
        return how;
    }
    if (!(how == 1 && r->flags & DPF_REFINE) &&
        !(how == 2 && in->flags & DPF_REFINE)) {
        return refuse(in, r);
    }
    if (!ordered(in, r, rank, how)) {
        in->cannot_order = true;
        return set_fail(in->err, -DPF_E_TOO_BIG,
                        "no order of lookup serves this nesting of filters");
    }
    return in->cube_count || r->cube_count ? 0 : note(in, r, how);
}

static int judge_diagram(struct install *in, struct binding *b);

static int judge_slot(struct install *in, const struct shape *sh, uint32_t slot)
{
    struct dpf_set *s = in->s;
    uint32_t id = table_id(sh->table, slot);
    struct binding *r = &in->one;
    const struct index_entry *e;

    if (sh->residual) {
        return judge_diagram(in, set_binding(s, id & NUMBER_MASK));
    }
    e = index_find(&s->index, id);
    if (e->shape == INDEX_BIG) {
        r = set_binding(s, e->slot);
    } else {
        in->one.id = id;
        in->one.flags = e->refine ? DPF_REFINE : 0;
        in->one.kept = NULL;
        in->one.cube_count = 1;
        in->one.cubes[0] = (struct entry){e->shape, e->slot};
    }
    shape_cube(sh, table_key(sh->table, slot), &in->other);
    return judge(in, r, sh->rank,
                 shape_unview(sh, &s->dd, &in->other, &in->room));
}

/* Is the key in `slot` what `key` asks for under `mask`? */
static bool key_fits(const struct install *in, const struct shape *sh,
                     uint32_t slot)
{
    const uint8_t *key = table_key(sh->table, slot);
    uint32_t k, want, mask;

    for (uint32_t i = 0; i < table_key_bytes(sh->table); i += 4) {
        __builtin_memcpy(&k, key + i, 4);
        __builtin_memcpy(&want, in->key + i, 4);
        __builtin_memcpy(&mask, in->mask + i, 4);
        if ((k ^ want) & mask) {
            return false;
        }
    }
    return true;
}

/* All keys of a shape that fit in->key under in->mask. */
static int scan(struct install *in, const struct shape *sh)
{
    uint32_t slots = table_slots(sh->table);
    int r = dd_work(&in->s->dd, slots / 4) ? 0 : in->s->dd.err;

    for (uint32_t slot = 0; slot < slots && !r; slot++) {
        if (table_id(sh->table, slot) < TABLE_NEXT && key_fits(in, sh, slot)) {
            r = judge_slot(in, sh, slot);
        }
    }
    return r;
}

/* How many of in->cubes contain all that the filter accepts. */
static uint32_t reach(const struct install *in)
{
    return in->cube_count ? in->cube_count : 1;
}

static int judge_shape(struct install *in, const struct shape *sh, bool home)
{
    struct dd *d = &in->s->dd;
    int r = 0;

    for (uint32_t i = 0; i < reach(in) && !r; i++) {
        const struct cube *c = shape_view(sh, d, &in->cubes[i], &in->room);
        int how = 1;

        if (!dd_work(&in->s->dd, 2)) {
            return in->s->dd.err;
        }
        in->keyed = home ? sh : NULL;
        if (home) {
            shape_key(sh, c, in->key);
        } else {
            how = shape_project(sh, c, in->key, in->mask);
        }
        if (how == 1) {
            uint32_t slot = table_find(sh->table, in->key);

            r = slot == TABLE_NONE ? 0 : judge_slot(in, sh, slot);
        } else if (how == 2) {
            r = scan(in, sh);
        }
    }
    return r;
}

static int judge_diagram(struct install *in, struct binding *b)
{
    struct cube_walk found = {0};

    for (uint32_t i = 0; i < reach(in) && !found.other; i++) {
        int r = kept_reach(b->kept, &in->s->dd, &in->cubes[i], &found);

        if (r) {
            return r == -DPF_E_FUEL ? judge(in, b, b->rank, NULL) : r;
        }
    }
    return found.other ? judge(in, b, b->rank, NULL) : 0;
}

/* Is it the shape that the new filter, one cube, goes into as it is? */
static bool is_home(const struct install *in, const struct shape *sh)
{
    return in->home && in->home <= in->s->shape_count && !in->marked.count &&
           in->s->shapes[in->home - 1] == sh;
}

static int judge_item(void *ctx, struct ct_item *item)
{
    struct install *in = ctx;
    struct set_item *hung = (struct set_item *)(void *)item;

    if (hung->is_shape) {
        const struct shape *sh = (const struct shape *)(void *)hung;

        return judge_shape(in, sh, is_home(in, sh));
    }
    return judge_diagram(in, (struct binding *)(void *)hung);
}

/* What the new filter asks of single bytes: to in->outline. */
static int sketch(struct install *in)
{
    struct dpf_set *s = in->s;
    struct outline more;

    if (!in->cube_count) {
        return kept_outline(&s->heap, in->kept, &in->outline);
    }
    outline_cube(&in->outline, &in->cubes[0], s->dd.bases);
    for (uint32_t i = 1; i < in->cube_count; i++) {
        outline_cube(&more, &in->cubes[i], s->dd.bases);
        outline_widen(&in->outline, &more);
    }
    return 0;
}

int judge_conflicts(struct install *in)
{
    struct dpf_set *s = in->s;
    int r = 0;

    in->above = 0;
    in->inside_count = 0;
    in->cannot_order = false;
    in->keyed = NULL;
    install_find_home(in);
    for (uint32_t i = 0; !s->spread && i < s->shape_count && !r; i++) {
        if (s->shapes[i]) {
            r = judge_shape(in, s->shapes[i], is_home(in, s->shapes[i]));
        }
    }
    if (!r && s->tree[TREE_OWNERS].count) {
        r = sketch(in);
        r = r ? r
              : ct_query(&s->tree[TREE_OWNERS], &s->heap, &in->outline,
                         judge_item, in);
        if (r == -DPF_E_FUEL && in->err && !in->err->code) {
            return judge_tired(in, "which bindings are in its way", NULL);
        }
    }
    return r;
}
