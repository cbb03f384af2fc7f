/* SPDX-License-Identifier: MIT */
/*
 * Whose packet: the proofs that a new filter stays inside its region and
 * takes nothing from others. What is tried first is cheap and settles nearly
 * every case: constants that differ, one probe for an equal key, cubes that
 * contain one another. Only what these leave open is decided on diagrams,
 * and only a packet or a proof of its absence decides that.
 */
#include "dpf/filter/install.h"
#include "dpf/filter/probe.h"
#include "dpf/vm/text.h"

#define PROBES_MAX 128u /* packets that a proof is tried with */
#define RIVAL_WORK 32u  /* of one that is found to be in the way */

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

static void show_witness(struct install *in)
{
    if (in->err && in->witness.len && new_accepts(in)) {
        in->err->witness_len = in->witness.len;
        __builtin_memcpy(in->err->witness, in->witness.packet, in->witness.len);
    }
}

int judge_tired(struct install *in, const char *what, const struct binding *r)
{
    struct text t;

    set_fail(in->err, -DPF_E_FUEL, "");
    if (in->err) {
        text_init(&t, in->err->text, sizeof(in->err->text));
        text_str(&t, "not decided with ");
        text_dec(&t, (uint32_t)in->s->work);
        text_str(&t, " units of work ");
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

/* Errors that leave it open how two filters lie. */
static bool is_open(int r)
{
    return r == -DPF_E_MEM || r == -DPF_E_FUEL;
}

int judge_region(struct install *in, uint32_t must)
{
    struct dd *d = &in->s->dd;
    struct cube_walk found = {.no = true};
    int r;

    if (must == DD_YES) {
        return 0;
    }
    for (uint32_t i = 0; i < in->cube_count; i++) {
        r = cube_reach(d, must, &in->cubes[i], &found, NULL, NULL);
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
    r = outside(in, install_may(in), must, &in->witness);
    if (r == -DPF_E_FUEL) {
        return judge_tired(in, "whether the filter is inside its region", NULL);
    }
    if (r == 0 || r == -DPF_E_MEM) {
        return r;
    }
    set_fail(in->err, -DPF_E_REGION,
             "the filter may accept packets outside the region it presents; "
             "narrow it to the region's addresses, protocols and ports");
    show_witness(in);
    return -DPF_E_REGION;
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

/*
 * What a rival, an installed binding, may accept. All its cubes: that one is
 * strictly inside the new filter says nothing of the others. Uses in->other.
 */
static uint32_t rival_may(struct install *in, const struct binding *r)
{
    struct dd *d = &in->s->dd;
    uint32_t f = r->cube_count ? DD_NO : r->may;

    for (uint32_t i = 0; i < r->cube_count; i++) {
        const struct shape *sh = in->s->shapes[r->cubes[i].shape];

        shape_cube(sh, table_key(sh->table, r->cubes[i].slot), &in->other);
        f = dd_ite(d, cube_diagram(d, &in->other), DD_YES, f);
    }
    return f;
}

/*
 * How the new filter and a rival lie: 0 disjoint, 1 the new one strictly
 * inside, 2 the rival strictly inside, 3 otherwise or not known, or -error.
 */
static int compare(struct install *in, const struct binding *r)
{
    struct dd *d = &in->s->dd;
    uint32_t mine = install_may(in), theirs = rival_may(in, r);
    uint32_t both = dd_and(d, mine, theirs);
    int there, back;

    if (d->err) {
        return d->err;
    }
    there = both == DD_NO ? 0 : find(in, both, &in->witness);
    if (there == 0 || is_open(there)) {
        return there;
    }
    there = outside(in, mine, theirs, &in->outside);
    back = is_open(there) ? there : outside(in, theirs, mine, &in->outside);
    if (is_open(back)) {
        return back;
    }
    if (there == 0 && back == 1) {
        return 1;
    }
    return there == 1 && back == 0 ? 2 : 3;
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

static int refuse(struct install *in, const struct binding *r)
{
    struct dd *d = &in->s->dd;
    struct text t;

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
    if (dd_eval(d, r->cube_count ? rival_may(in, r) : r->exact,
                in->witness.packet, in->witness.len) == DD_YES) {
        show_witness(in);
    }
    return -DPF_E_CONFLICT;
}

/*
 * The new filter and a rival whose rank in lookups is `rank`; of one that is
 * cubes, in->other is the one met.
 */
static int judge(struct install *in, const struct binding *r, uint32_t rank)
{
    int how = 3;

    if (!dd_work(&in->s->dd, RIVAL_WORK)) {
        how = -DPF_E_FUEL;
    }
    /* The common case: a connection inside a listener that allows it. */
    if (how == 3 && in->cube_count == 1 && r->cube_count == 1) {
        if (r->flags & DPF_REFINE && cube_inside(&in->cubes[0], &in->other)) {
            how = cube_rank(&in->cubes[0]) > rank ? 1 : 3;
        } else if (in->flags & DPF_REFINE &&
                   cube_inside(&in->other, &in->cubes[0])) {
            how = rank > cube_rank(&in->cubes[0]) ? 2 : 3;
        }
    }
    if (how == 3) {
        struct dd_mark m;

        install_may(in);
        m = dd_mark(&in->s->dd);
        in->witness.len = 0;
        how = compare(in, r);
        dd_release(&in->s->dd, m);
    }
    if (how == -DPF_E_FUEL) {
        return judge_tired(
            in, "whether the filter may accept packets of binding ", r);
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
    if (how == 1 && !in->cube_count && !r->cube_count) {
        in->depth = in->depth > r->depth ? in->depth : r->depth + 1;
    }
    return 0;
}

static int judge_diagram(struct install *in, struct binding *b);

static int judge_slot(struct install *in, const struct shape *sh, uint32_t slot)
{
    uint32_t id = table_id(sh->table, slot);
    const struct binding *r = &in->one;
    const struct index_entry *e;

    if (sh->residual) {
        return judge_diagram(in, in->s->bindings[id & NUMBER_MASK]);
    }
    e = index_find(&in->s->index, id);
    if (e->shape == INDEX_BIG) {
        r = in->s->bindings[e->slot];
    } else {
        in->one.id = id;
        in->one.flags = e->refine ? DPF_REFINE : 0;
        in->one.cube_count = 1;
        in->one.cubes[0] = (struct entry){e->shape, e->slot};
    }
    shape_cube(sh, table_key(sh->table, slot), &in->other);
    return judge(in, r, sh->rank);
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
    int r = 0;

    for (uint32_t i = 0; i < reach(in) && !r; i++) {
        int how = 1;

        if (!dd_work(&in->s->dd, 2)) {
            return in->s->dd.err;
        }

        if (home) {
            shape_key(sh, &in->cubes[i], in->key);
        } else {
            how = shape_project(sh, &in->cubes[i], in->key, in->mask);
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
    struct dd *d = &in->s->dd;
    struct cube_walk found = {0};

    for (uint32_t i = 0; i < reach(in) && !found.other; i++) {
        int r = cube_reach(d, b->may, &in->cubes[i], &found, NULL, NULL);

        if (r) {
            return r == -DPF_E_FUEL ? judge(in, b, b->rank) : r;
        }
    }
    return found.other ? judge(in, b, b->rank) : 0;
}

/* A walk has come to a terminal: its bindings are in the way. */
static void note(void *ctx, uint32_t term)
{
    const struct dpf_set *s = ctx;
    const struct chain *c = &s->chains.list[term - CHAIN_FIRST];

    for (uint32_t i = 0; i < c->count; i++) {
        struct binding *b = s->bindings[s->chains.items[c->first + i] >> 1];

        if (b && !b->gone) { /* or a chain that no tree leads to any more */
            b->reached = true;
        }
    }
}

int judge_conflicts(struct install *in)
{
    struct dpf_set *s = in->s;
    struct cube_walk found;
    int r = 0;

    in->depth = 0;
    in->cannot_order = false;
    install_find_home(in);
    for (uint32_t i = 0; i < s->shape_count && !r; i++) {
        if (s->shapes[i]) {
            r = judge_shape(in, s->shapes[i],
                            i + 1 == in->home && !in->marked.count);
        }
    }
    if (r || !s->binding_count) {
        return r;
    }
    /* Of the diagrams, those that the merged trees show to be in the way. */
    for (uint32_t t = 0; t < TREES_MAX && !r; t++) {
        for (uint32_t i = 0; i < reach(in) && !r; i++) {
            if (s->trees[t].users && !s->trees[t].copies) {
                r = cube_reach(&s->dd, s->trees[t].root, &in->cubes[i], &found,
                               note, s);
            }
        }
    }
    for (uint32_t i = 0; i < s->binding_count; i++) {
        struct binding *b = s->bindings[i];

        if (b && b->reached) {
            b->reached = false;
            if (!r && !b->cube_count && !(b->flags & (DPF_TAP | DPF_SHARED))) {
                r = judge_diagram(in, b);
            }
        }
    }
    return r;
}

int judge_contained(struct install *in, uint8_t *inside)
{
    struct dpf_set *s = in->s;
    struct dd_mark m = dd_mark(&s->dd);

    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = s->bindings[i];
        int how;

        inside[i] = 0;
        /* What is inside demands as much as what is around it. */
        if (!b || b->gone || b->cube_count || b->rank < in->rank ||
            b->flags & (DPF_TAP | DPF_SHARED)) {
            continue;
        }
        how = compare(in, b);
        dd_release(&s->dd, m);
        if (how < 0) {
            return how;
        }
        inside[i] = how == 2;
    }
    return 0;
}
