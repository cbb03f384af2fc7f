/* SPDX-License-Identifier: MIT */
/*
 * Questions about filters as diagrams: do two meet, does one lie in the other,
 * which packet shows it. Filters that cannot be read whole are judged by the
 * packets that they might accept.
 */
#include "dpf/text/atlas.h"

#include "dpf/diagram/confirm.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MAX (1u << 19) /* edges that one filter or question may add */
#define GROWTH_MAX 4000u /* edges that one more filter may add to a picture */

/* The bound of a diagram's growth counts all edges that there are: move it, or
   one filter more would be read less far for there being others. */
static void give_room(struct dd *d)
{
    uint32_t left = UINT32_MAX - d->edge_count;
    d->edge_limit = d->edge_count + (left < ROOM_MAX ? left : ROOM_MAX);
}

int dpf_atlas_create(const struct dpf_mem *mem, struct dpf_atlas **out)
{
    struct dpf_atlas *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        return -DPF_E_MEM;
    }
    a->heap.mem = mem;
    a->asked[0] = a->asked[1] = SIZE_MAX;
    if (dd_init(&a->dd, &a->heap) != 0) {
        free(a);
        return -DPF_E_MEM;
    }
    if (dd_init(&a->ask, &a->heap) != 0) {
        dd_finish(&a->dd);
        free(a);
        return -DPF_E_MEM;
    }
    *out = a;
    return 0;
}

void dpf_atlas_destroy(struct dpf_atlas *a)
{
    if (a == NULL) {
        return;
    }
    for (size_t i = 0; i < a->count; i++) {
        free(a->filters[i].name);
    }
    free(a->filters);
    free(a->groups);
    dd_finish(&a->dd);
    dd_finish(&a->ask);
    free(a);
}

int dpf_atlas_add(struct dpf_atlas *a, const char *name,
                  const struct dpf_program *filter)
{
    struct atlas_filter *bigger =
        realloc(a->filters, (a->count + 1) * sizeof(*bigger));
    bool misread;
    if (bigger == NULL) {
        return -DPF_E_MEM;
    }
    a->filters = bigger;
    struct atlas_filter f = {.name = strdup(name), .program = filter};
    give_room(&a->dd);
    int result = f.name != NULL
                     ? dd_read(&a->dd, filter, NULL, &f.root, &misread)
                     : -DPF_E_MEM;
    if (result != 0) {
        free(f.name);
        return result;
    }
    f.bases = dd_bases(&a->dd, f.root);
    a->filters[a->count++] = f;
    /*
     * Bases that no filter uses any more would fill the table for later ones.
     */
    uint64_t keep = 0;
    for (size_t i = 0; i < a->count; i++) {
        keep |= a->filters[i].bases;
    }
    dd_bases_keep(&a->dd, keep);
    return 0;
}

/* Have a packet that filter i accepts, which is there as number `n`. */
static void take_sample(struct dpf_atlas *a, unsigned n, size_t i)
{
    struct atlas_filter *f = &a->filters[i];
    struct dd_mark m = dd_mark(&a->ask);
    if (f->sampled) {
        return;
    }
    f->sampled = true;
    uint32_t may = dd_apply(&a->ask, DD_MAY, a->ask_roots[n], 0, 0);
    /*
     * The diagram may say more than the program accepts (MAYBE), so the
     * program itself has the last word on the sample.
     */
    if (a->ask.err != 0 || space_find(&a->ask, may, &f->sample) != 1 ||
        dpf_filter_run(f->program, f->sample.packet, f->sample.len) == 0) {
        f->sample.len = 0;
    }
    /* Without a sample the question is only slower to answer. */
    a->ask.err = 0;
    dd_release(&a->ask, m);
}

/* Read filter i into a->ask as number `n` of the two. */
static int ask_add(struct dpf_atlas *a, unsigned n, size_t i)
{
    bool misread;
    give_room(&a->ask);
    int result = dd_read(&a->ask, a->filters[i].program, NULL, &a->ask_roots[n],
                         &misread);
    a->asked[n] = result ? SIZE_MAX : i;
    if (result == 0) {
        take_sample(a, n, i);
    }
    return result;
}

/*
 * Have filters i and k in a->ask. 0 or -DPF_E_MEM. Pairs are asked about in
 * rows, with one i and many k: so i stays, and only k is taken out and read.
 */
static int ask_about(struct dpf_atlas *a, size_t i, size_t k)
{
    int result = 0;
    if (a->asked[0] == i && a->asked[1] == k) {
        return 0;
    }
    a->asked[1] = SIZE_MAX;
    if (a->asked[0] != i) {
        dd_reset(&a->ask);
        result = ask_add(a, 0, i);
        a->ask_mark = dd_mark(&a->ask);
    } else {
        dd_release(&a->ask, a->ask_mark);
    }
    if (result == 0) {
        dd_bases_keep(&a->ask, dd_bases(&a->ask, a->ask_roots[0]));
        result = ask_add(a, 1, k);
    }
    return result;
}

static void atlas_show(const struct witness *w, struct dpf_error *err)
{
    if (err != NULL) {
        err->witness_len = w->len;
        memcpy(err->witness, w->packet, sizeof(err->witness));
    }
}

/*
 * Does any packet that filter a->asked[first] may accept reach YES in `in`, of
 * the same diagrams? As space_find, with a witness in `err`.
 */
static int atlas_find(struct dpf_atlas *a, unsigned first, uint32_t in,
                      struct dpf_error *err)
{
    struct dd *d = &a->ask;
    struct witness w = {0};
    uint32_t may = dd_apply(d, DD_MAY, a->ask_roots[first], 0, 0);
    uint32_t f = dd_and(d, may, in);
    int result = d->err ? d->err : space_find(d, f, &w);
    if (result == 1) {
        atlas_show(&w, err);
    }
    return result;
}

int dpf_atlas_overlap(struct dpf_atlas *a, size_t i, size_t k,
                      struct dpf_error *err)
{
    int result = ask_about(a, i, k);
    if (result != 0) {
        return result;
    }
    give_room(&a->ask);
    struct dd_mark m = dd_mark(&a->ask);
    uint32_t may = dd_apply(&a->ask, DD_MAY, a->ask_roots[1], 0, 0);
    result = atlas_find(a, 0, may, err);
    dd_release(&a->ask, m);
    return result;
}

int dpf_atlas_outside(struct dpf_atlas *a, size_t i, size_t k,
                      struct dpf_error *err)
{
    /* The same two the other way round need not be read anew. */
    unsigned first = a->asked[0] == k && a->asked[1] == i;
    int result = first ? 0 : ask_about(a, i, k);
    if (result != 0) {
        return result;
    }
    /* Mostly the one packet that is known of i shows it. */
    const struct witness *w = &a->filters[i].sample;
    if (w->len > 0 &&
        dpf_filter_run(a->filters[k].program, w->packet, w->len) == 0) {
        atlas_show(w, err);
        return 1;
    }
    give_room(&a->ask);
    struct dd_mark m = dd_mark(&a->ask);
    uint32_t must = dd_apply(&a->ask, DD_MUST, a->ask_roots[1 - first], 0, 0);
    result = atlas_find(a, first, dd_not(&a->ask, must), err);
    dd_release(&a->ask, m);
    return result;
}

/*
 * Can the diagram alone not tell for some packet? Then the packets that it may
 * accept differ from those that it must accept.
 */
bool dpf_atlas_opaque(struct dpf_atlas *a, size_t i)
{
    give_room(&a->dd);
    struct dd_mark m = dd_mark(&a->dd);
    uint32_t root = a->filters[i].root;
    bool opaque = dd_apply(&a->dd, DD_MAY, root, 0, 0) !=
                  dd_apply(&a->dd, DD_MUST, root, 0, 0);
    dd_release(&a->dd, m);
    return opaque;
}

/* ----------------------------------------------------------------- merging */

/* One more group, zeroed; 0 or -DPF_E_MEM. */
static int add_group(struct dpf_atlas *a)
{
    if (a->group_count == a->group_room) {
        size_t room = a->group_room ? a->group_room * 2 : 64;
        struct atlas_group *bigger = realloc(a->groups, room * sizeof(*bigger));
        if (bigger == NULL) {
            return -DPF_E_MEM;
        }
        a->groups = bigger;
        a->group_room = room;
    }
    a->groups[a->group_count++] = (struct atlas_group){0};
    return 0;
}

/*
 * The group of `at` and the filter that is being merged. A terminal must be
 * one number for one set of filters, or equal parts of the diagram would not
 * be found equal: so the group that was made last from `at` is looked at
 * first. Filters come in ascending order, so that none older can be the one.
 */
static uint32_t atlas_join(void *ctx, uint32_t at, uint32_t with)
{
    struct dpf_atlas *a = ctx;
    uint32_t before = at < ATLAS_GROUP ? 0 : at - ATLAS_GROUP;
    uint32_t run = with == DD_MAYBE;
    uint32_t group = a->groups[before].next[run];
    if (group != 0 && a->groups[group].member == (a->merging | run)) {
        return ATLAS_GROUP + group;
    }
    group = (uint32_t)a->group_count;
    if (add_group(a) != 0) {
        a->dd.err = -DPF_E_MEM;
        return DD_NO;
    }
    a->groups[group] =
        (struct atlas_group){.before = before,
                             .member = a->merging | run,
                             .count = a->groups[before].count + 1};
    a->groups[before].next[run] = group;
    return ATLAS_GROUP + group;
}

/*
 * Merge filters one after the other into the last diagram. Cached results are
 * about terminals of the merge before, so they are forgotten each time.
 */
int atlas_merge(struct dpf_atlas *a, uint32_t *roots, size_t *count)
{
    a->dd.merge = atlas_join;
    a->dd.merge_ctx = a;
    a->group_count = 0;
    *count = 0;
    if (add_group(a) != 0) {
        return -DPF_E_MEM;
    }
    for (size_t i = 0; i < a->count; i++) {
        uint32_t before = *count ? roots[*count - 1] : DD_NO;
        a->merging = (uint32_t)i << 1;
        /*
         * Two filters that overlap in many ways can multiply. Past the limit
         * this one begins a diagram of its own, and the picture has two parts.
         */
        a->dd.edge_limit = a->dd.edge_count + GROWTH_MAX;
        dd_forget(&a->dd);
        uint32_t merged =
            dd_apply(&a->dd, DD_MERGE, before, a->filters[i].root, 0);
        if (a->dd.err == -DPF_E_TOO_BIG && before != DD_NO) {
            a->dd.err = 0;
            a->dd.edge_limit = UINT32_MAX; /* alone it cannot grow */
            before = DD_NO;
            dd_forget(&a->dd);
            merged = dd_apply(&a->dd, DD_MERGE, DD_NO, a->filters[i].root, 0);
        }
        if (a->dd.err) {
            return a->dd.err;
        }
        if (merged != DD_NO) {
            *count += before == DD_NO;
            roots[*count - 1] = merged;
        }
    }
    return 0;
}
