/* SPDX-License-Identifier: MIT */
/*
 * Sets of filters: the calls of dpf.h. One writer at a time; lookups are in
 * image.c.
 */
#include "dpf/diagram/confirm.h"
#include "dpf/diagram/lift.h"
#include "dpf/set/install.h"

#define REGIONS_MAX 65535u
#define FIELD_WIDTH 4u
#define BASES_LIFTED 24u /* of one filter: with a rival's all have numbers */
#define DROP_WORK 8u     /* units, for what breathes */
#define RECLAIM_WORK 64u /* the same, to free what lookups saw */
#define LIFT_EDGES (1u << 19) /* growth bound of one call */

/* Begin without filters: no shape, no binding, and no memory for them. */
static void forget(struct dpf_set *s)
{
    struct heap *h = &s->heap;

    heap_free(h, s->shapes, s->shape_cap * sizeof(*s->shapes));
    s->shapes = NULL;
    s->shape_cap = s->shape_count = s->binding_count = 0;
}

int dpf_set_create(const struct dpf_mem *mem, struct dpf_set **out)
{
    struct dpf_set *s = mem->alloc(mem->ctx, sizeof(*s));
    struct base_map map;

    if (!s) {
        return -DPF_E_MEM;
    }
    __builtin_memset(s, 0, sizeof(*s));
    s->mem = *mem;
    s->heap.mem = &s->mem;
    s->scratch = heap_alloc(&s->heap, sizeof(*s->scratch));
    if (!s->scratch || dd_init(&s->dd, &s->heap) ||
        heap_grow(&s->heap, (void **)&s->regions, &s->region_cap,
                  sizeof(*s->regions), 0, 1)) {
        goto fail;
    }
    s->regions[0] = (struct region){.must = kept_make(&s->dd, DD_YES, &map)};
    s->region_count = 1;
    s->version = 1;
    s->steps_max = UINT32_MAX;
    s->image_max = IMAGE_SHAPES_MAX;
    s->work = DPF_WORK_DEFAULT;
    s->image = image_build(s, true);
    if (!s->image || !s->regions[0].must) {
        goto fail;
    }
    *out = s;
    return 0;
fail:
    dpf_set_destroy(s);
    return -DPF_E_MEM;
}

void dpf_set_work(struct dpf_set *s, uint64_t units)
{
    s->work = units;
}

void dpf_set_destroy(struct dpf_set *s)
{
    struct heap *h;

    if (!s) {
        return;
    }
    h = &s->heap;
    install_clear(s);
    dpf_set_reclaim(s, UINT64_MAX);
    image_destroy(s->image);
    index_finish(h, &s->index);
    for (uint32_t i = 0; i < s->region_count; i++) {
        kept_free(h, s->regions[i].must);
    }
    heap_free(h, s->regions, s->region_cap * sizeof(*s->regions));
    forget(s);
    dd_finish(&s->dd);
    heap_free(h, s->scratch, sizeof(*s->scratch));
    s->mem.free(s->mem.ctx, s, sizeof(*s));
}

/*
 * Between calls no memory is kept for diagrams; with nothing bound, none that
 * only served earlier filters.
 */
static void rest(struct dpf_set *s)
{
    bool idle = !s->index.count && s->region_count == 1;

    if (s->dd.node_cap || s->dd.scratch_cap || s->dd.stack_cap) {
        dd_reset(&s->dd);
    }
    if (idle && s->index.cap) {
        index_finish(&s->heap, &s->index);
    }
    if (idle && (s->shape_cap || s->bindings)) {
        install_idle(s);
        if (!s->shapes_used) {
            forget(s);
        }
    }
}

/* ---------------------------------------------------------------- regions */

static struct region *region_find(struct dpf_set *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->region_count; i++) {
        if (s->regions[i].id == id) {
            return id == DPF_NO_OWNER ? NULL : &s->regions[i];
        }
    }
    return NULL;
}

static struct install *install_begin(struct dpf_set *s, uint32_t id,
                                     struct dpf_error *err)
{
    struct install *in = s->scratch;

    if (err) {
        err->code = 0;
        err->witness_len = 0;
        err->other = 0;
        err->text[0] = err->rule[0] = 0;
    }
    /* The cubes are written before they are read; the rest is small. */
    __builtin_memset(in, 0, offsetof(struct install, cubes));
    in->witness.len = 0;
    in->s = s;
    in->err = err;
    in->id = id;
    s->heap.work = 0;
    dd_release(&s->dd, (struct dd_mark){0, 0});
    dd_bases_keep(&s->dd, 0);
    s->dd.edge_limit = LIFT_EDGES;
    s->dd.half_read = false;
    return in;
}

/* r is what the call returns. */
static int install_end(struct install *in, int r)
{
    struct dpf_set *s = in->s;

    if (r == -DPF_E_MEM) {
        set_fail(in->err, r, "no memory to install the filter");
    } else if (r == -DPF_E_FUEL && in->err && !in->err->code) {
        set_fail(in->err, r,
                 "no place for the filter found with the work of one call; it "
                 "is like too many others");
    } else if (r && in->err && !in->err->code) {
        set_fail(in->err, r, "the filter is larger than the set can hold");
    }
    s->dd.err = 0;
    s->heap.limit = 0;
    kept_free(&s->heap, in->kept); /* unless a binding has it now */
    heap_free(&s->heap, in->inside, in->inside_cap * sizeof(*in->inside));
    rest(s);
    return r;
}

void install_phase(struct dpf_set *s, enum phase eighths)
{
    /* Rounded up: 0 would be no limit, as what was judged has none. */
    s->heap.limit = eighths == PHASE_COMMIT
                        ? 0
                        : s->work / 8 * eighths + (s->work % 8 != 0);
}

/* Read a filter: to in->exact, or perhaps as one cube. */
static int lift(struct install *in, const struct dpf_program *filter,
                bool as_cube)
{
    struct dd *d = &in->s->dd;
    const struct dpf_insn *insns;
    size_t count;
    int r;

    if (!filter || dpf_program_type(filter) != DPF_FILTER) {
        return set_fail(in->err, -DPF_E_INVAL,
                        "only a program of type filter can be bound");
    }
    in->filter = filter;
    insns = dpf_program_insns(filter, &count);
    install_phase(in->s, PHASE_READ);
    d->base_limit = BASES_LIFTED;
    r = dd_lift(d, insns, count, as_cube ? &in->cubes[0] : NULL, &in->exact);
    install_phase(in->s, PHASE_CONFIRM);
    r = dd_confirm(d, filter, r, &in->cubes[0], &in->exact, &in->misread);
    in->s->misread += in->misread;
    if (r == 1) {
        in->cube_count = 1;
        r = 0;
    } else if (!r) {
        install_phase(in->s, PHASE_SETTLE);
        in->exact = space_settle(d, in->exact);
        install_phase(in->s, PHASE_JUDGE);
        install_may(in);
        r = d->err;
    }
    d->base_limit = DD_BASES_MAX;
    install_phase(in->s, PHASE_JUDGE);
    return r;
}

int dpf_set_region_insert(struct dpf_set *s, uint32_t id, uint32_t parent,
                          const struct dpf_program *filter, uint32_t flags,
                          struct dpf_error *err)
{
    struct install *in = install_begin(s, id, err);
    struct region *p = region_find(s, parent);
    uint32_t slot = 0;
    int r;

    if (flags & ~(uint32_t)DPF_SHARED || id == DPF_NO_OWNER) {
        r = set_fail(err, -DPF_E_INVAL, "unknown flag, or a reserved id");
    } else if (!p) {
        r = set_fail(err, -DPF_E_NOT_FOUND, "no such parent region");
    } else if (region_find(s, id)) {
        r = set_fail(err, -DPF_E_EXISTS, "a region has this id");
    } else {
        r = lift(in, filter, false);
        if (!r && in->misread) { /* what it bounds is not known */
            r = set_fail(err, -DPF_E_REGION,
                         "the filter is read otherwise than it runs; write it "
                         "in another way, and please report it");
        }
        r = r ? r : judge_region(in, p->must);
    }
    if (!r) {
        uint32_t must = dd_apply(&s->dd, DD_MUST, in->exact, 0, 0);

        in->kept = s->dd.err ? NULL : kept_make(&s->dd, must, &in->map);
        r = in->kept ? 0 : s->dd.err ? s->dd.err : -DPF_E_MEM;
    }
    while (slot < s->region_count && s->regions[slot].id != DPF_NO_OWNER) {
        slot++;
    }
    if (!r && slot == REGIONS_MAX) {
        r = -DPF_E_TOO_BIG;
    }
    if (!r && slot == s->region_count) {
        r = heap_grow(&s->heap, (void **)&s->regions, &s->region_cap,
                      sizeof(*s->regions), slot, slot + 1);
        p = region_find(s, parent);
        s->region_count += !r;
    }
    if (!r) {
        /* Without a parent r is what set_fail returned, which the analyser
           cannot see. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        p->users++;
        s->regions[slot] = (struct region){
            id, parent, flags | (p->flags & DPF_SHARED), 0, in->kept};
        in->kept = NULL;
    }
    return install_end(in, r);
}

int dpf_set_region_remove(struct dpf_set *s, uint32_t id)
{
    struct region *r = id ? region_find(s, id) : NULL;

    if (!r) {
        return id ? -DPF_E_NOT_FOUND : -DPF_E_BUSY;
    }
    if (r->users) {
        return -DPF_E_BUSY;
    }
    region_find(s, r->parent)->users--;
    r->id = DPF_NO_OWNER;
    kept_free(&s->heap, r->must);
    r->must = NULL;
    while (s->regions[s->region_count - 1].id == DPF_NO_OWNER) {
        s->region_count--;
    }
    rest(s);
    return 0;
}

/* --------------------------------------------------------------- bindings */

/* As a diagram, by itself. */
static int keep(struct install *in)
{
    struct dd *d = &in->s->dd;

    in->cube_count = 0;
    d->err = d->err == -DPF_E_TOO_BIG ? 0 : d->err; /* of looking for cubes */
    in->kept = kept_make(d, in->exact, &in->map);
    if (!in->kept) {
        return d->err ? d->err : -DPF_E_MEM;
    }
    if (cube_hull(d, in->may, &in->cubes[0])) {
        return d->err;
    }
    in->rank = cube_rank(&in->cubes[0]);
    return 0;
}

static bool cubes_fit(struct install *in)
{
    struct base_map map;

    for (uint32_t i = 0; i < in->cube_count; i++) {
        if (!shape_fits(&in->cubes[i]) ||
            !cube_bases(&in->s->dd, &in->cubes[i], in->bases, SHAPE_BASES_MAX,
                        &map)) {
            return false;
        }
    }
    return in->cube_count != 0;
}

/* As cubes if the tables can hold it so, else as a diagram. */
static int choose_form(struct install *in)
{
    bool plain;
    struct span range;

    if (!in->cannot_order && cubes_fit(in)) {
        return 0;
    }
    plain = install_may(in) == in->exact && !set_gets_copies(in->flags) &&
            in->may != DD_NO;
    in->cube_count = 0;
    if (plain && !in->cannot_order) {
        in->cube_count = cube_split(&in->s->dd, in->may, in->cubes,
                                    in->flags & DPF_REFINE ? 1 : CUBES_MAX);
    }
    /* A range that is some cubes: one entry, and one shape with its like. */
    if (!cubes_fit(in) ||
        (in->cube_count > 1 &&
         span_read(&in->s->dd, in->may, &in->other, &range))) {
        return keep(in);
    }
    return in->s->dd.err;
}

/* Against all others, and where lookups find it. */
static int judge_and_commit(struct install *in)
{
    int r = set_gets_copies(in->flags) ? 0 : judge_conflicts(in);

    if (r) {
        return r;
    }
    install_phase(in->s, PHASE_COMMIT);
    r = install_commit(in);
    install_phase(in->s, PHASE_JUDGE);
    return r;
}

/*
 * Judge and commit. What the tables cannot hold, for its order or because
 * there is no room for one more shape, is kept as a diagram.
 */
static int install(struct install *in)
{
    struct region *region = &in->s->regions[in->region];
    int r = judge_region(in, region->must);

    if (r) {
        return r;
    }
    r = judge_and_commit(in);
    if (r == -DPF_E_TOO_BIG && in->cube_count && !in->s->dd.err) {
        in->cannot_order = true;
        r = choose_form(in);
        r = r ? r : judge_and_commit(in);
    }
    return r;
}

int dpf_set_insert(struct dpf_set *s, uint32_t id, uint32_t region,
                   const struct dpf_program *filter, uint32_t flags,
                   struct dpf_error *err)
{
    struct install *in = install_begin(s, id, err);
    struct region *p = region_find(s, region);
    int r;

    if (flags & ~(uint32_t)(DPF_REFINE | DPF_TAP) || id > DPF_ID_MAX) {
        r = set_fail(err, -DPF_E_INVAL, "unknown flag, or a reserved id");
    } else if (!p) {
        r = set_fail(err, -DPF_E_NOT_FOUND, "no such region");
    } else if (index_find(&s->index, id)) {
        r = set_fail(err, -DPF_E_EXISTS, "a binding has this id");
    } else {
        in->region = (uint16_t)(p - s->regions);
        in->flags = (uint16_t)(flags | (p->flags & DPF_SHARED));
        r = lift(in, filter, !set_gets_copies(in->flags));
        r = r ? r : choose_form(in);
    }
    r = r ? r : install(in);
    return install_end(in, r);
}

/* Where field `n` of the cube begins; *width bytes. False: there is none. */
static bool field_at(const struct cube *c, uint32_t n, uint32_t *first,
                     uint32_t *width)
{
    for (uint32_t i = 0; i < c->count; n--) {
        *first = i;
        for (*width = 0; i < c->count && *width < FIELD_WIDTH &&
                         c->bytes[i].var == c->bytes[*first].var + *width;
             i++) {
            ++*width;
        }
        if (n == 0) {
            return true;
        }
    }
    return false;
}

/* The cube of binding `id` in in->cubes[0], if it is one; its bases are all
   that set.dd has. */
static int cube_of(struct dpf_set *s, uint32_t id, struct install *in)
{
    const struct index_entry *e = index_find(&s->index, id);
    const struct shape *sh;

    if (!e) {
        return set_fail(in->err, -DPF_E_NOT_FOUND, "no binding has this id");
    }
    if (e->shape == INDEX_BIG) {
        return set_fail(in->err, -DPF_E_INVAL,
                        "the filter is not one conjunction of equality "
                        "tests, so it has no constants to change");
    }
    sh = s->shapes[e->shape];
    in->region = e->region;
    in->flags = e->refine ? DPF_REFINE : 0;
    in->cube_count = 1;
    in->like = sh;
    shape_cube(sh, table_key(sh->table, e->slot), &in->cubes[0]);
    bases_copy(&s->dd, sh->bases, sh->base_count);
    s->dd.alike = sh;
    s->dd.alike_last = sh->base_count - 1;
    return 0;
}

static int patch(struct cube *c, const struct dpf_const *k)
{
    uint32_t first, width;
    uint64_t value = k->value;

    if (!field_at(c, k->index, &first, &width)) {
        return -DPF_E_INVAL;
    }
    for (uint32_t i = width; i-- > 0; value >>= 8) {
        struct cube_byte *b = &c->bytes[first + i];

        if (value & 0xff & ~(uint64_t)b->mask) {
            return -DPF_E_INVAL;
        }
        b->value = (uint8_t)value;
    }
    return value ? -DPF_E_INVAL : 0;
}

int dpf_set_insert_like(struct dpf_set *s, uint32_t id, uint32_t like,
                        const struct dpf_const *consts, size_t count,
                        struct dpf_error *err)
{
    struct install *in = install_begin(s, id, err);
    int r;

    r = id > DPF_ID_MAX ? set_fail(err, -DPF_E_INVAL, "a reserved id")
        : index_find(&s->index, id)
            ? set_fail(err, -DPF_E_EXISTS, "a binding has this id")
            : cube_of(s, like, in);
    for (size_t i = 0; !r && i < count; i++) {
        r = patch(&in->cubes[0], &consts[i]);
        if (r) {
            set_fail(err, r, "no such field, or a constant outside its mask");
        }
    }
    install_phase(s, PHASE_JUDGE);
    r = r ? r : install(in);
    return install_end(in, r);
}

int dpf_set_fields(struct dpf_set *s, uint32_t id, struct dpf_field *out,
                   size_t max)
{
    struct install *in = install_begin(s, id, NULL);
    uint32_t n = 0, first, width;
    int r = cube_of(s, id, in);

    for (; !r && field_at(&in->cubes[0], n, &first, &width); n++) {
        const struct cube_byte *b = &in->cubes[0].bytes[first];
        struct dpf_field f = {dd_var_base(b->var), dd_var_off(b->var), width, 0,
                              0};

        for (uint32_t i = 0; i < width; i++) {
            f.mask = f.mask << 8 | b[i].mask;
            f.value = f.value << 8 | b[i].value;
        }
        if (n < max) {
            out[n] = f;
        }
    }
    return r ? r : (int)n;
}

int dpf_set_drop(struct dpf_set *s, uint32_t id)
{
    const struct index_entry *e = index_find(&s->index, id);

    if (!e) {
        return -DPF_E_NOT_FOUND;
    }
    (void)heap_work(&s->heap, DROP_WORK);
    install_drop(s, e);
    return 0;
}

int dpf_set_tidy(struct dpf_set *s)
{
    int r = install_tidy(s, true);

    rest(s);
    return r;
}

int dpf_set_remove(struct dpf_set *s, uint32_t id)
{
    int r = dpf_set_drop(s, id);

    if (!r) {
        (void)install_tidy(s, false); /* else a later call does it */
        rest(s);
    }
    return r;
}

/* ------------------------------------------------------- cost of a packet */

void dpf_set_steps_max(struct dpf_set *s, uint32_t steps)
{
    s->steps_max = steps;
}

int dpf_set_steps(struct dpf_set *s, uint32_t id)
{
    const struct index_entry *e = index_find(&s->index, id);

    if (!e) {
        return -DPF_E_NOT_FOUND;
    }
    return e->shape == INDEX_BIG ? (int)install_steps(set_binding(s, e->slot))
                                 : 0;
}

/* ------------------------------------------------------ versions, counters */

uint64_t dpf_set_version(const struct dpf_set *s)
{
    return __atomic_load_n(&s->version, __ATOMIC_ACQUIRE);
}

void dpf_set_reclaim(struct dpf_set *s, uint64_t version)
{
    struct retired **at = &s->retired;

    while (*at) {
        struct retired *r = *at;

        if (r->version <= version) {
            *at = r->next;
            heap_pass(&s->heap, RECLAIM_WORK);
            r->destroy(&s->heap, r);
        } else {
            at = &r->next;
        }
    }
    for (uint32_t i = 0; i < s->shape_count; i++) {
        if (s->shapes[i]) {
            table_reclaim(s->shapes[i]->table, version);
        }
    }
}

void dpf_set_stats(const struct dpf_set *s, struct dpf_set_stats *out)
{
    struct ct_shape owners, copies;

    *out = (struct dpf_set_stats){0};
    for (uint32_t i = 0; i < s->region_count; i++) {
        out->regions += s->regions[i].id != DPF_NO_OWNER;
    }
    out->bindings = s->index.count;
    for (uint32_t i = 0; i < s->binding_count; i++) {
        const struct binding *b = set_binding(s, i);

        out->taps += b && b->flags & DPF_TAP;
        out->opaque += b && b->program;
        out->diagrams += b && b->kept;
        out->nodes += b && b->kept ? b->kept->node_count : 0;
    }
    for (uint32_t i = 0; i < s->shape_count; i++) {
        out->shapes += s->shapes[i] != NULL;
    }
    ct_measure(&s->tree[TREE_OWNERS], &owners);
    ct_measure(&s->tree[TREE_COPIES], &copies);
    out->tree_nodes = owners.nodes + copies.nodes;
    out->alike = owners.chained + copies.chained;
    out->bytes = sizeof(*s) + s->heap.bytes;
    out->code_bytes = s->code_bytes;
    out->compiles = s->compiles;
    out->table_inserts = s->table_inserts;
    out->work = s->heap.work;
    out->misread = s->misread;
    out->doubted = s->doubted;
}

const void *dpf_set_code(const struct dpf_set *s, size_t *size)
{
    *size = s->image->code_bytes;
    return s->image->code;
}
