/* SPDX-License-Identifier: MIT */
/*
 * Questions about filters as diagrams: do two meet, does one lie in the
 * other, which packet shows it. Filters that cannot be read whole are judged
 * by what they might accept.
 */
#include "dpf/host/atlas.h"

#include "dpf/filter/lift.h"
#include "dpf/filter/space.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MAX (1u << 19) /* edges that one filter or question may add */
#define GROWTH_MAX 4000u /* edges that one more filter may add to a picture */

/* The bound of a diagram's growth counts all edges that there are: move it, or
   one filter more would be read less far for there being others. */
static void give_room(struct dpf_atlas *a)
{
    uint32_t left = UINT32_MAX - a->dd.edge_count;
    a->dd.edge_limit = a->dd.edge_count + (left < ROOM_MAX ? left : ROOM_MAX);
}

int dpf_atlas_create(const struct dpf_mem *mem, struct dpf_atlas **out)
{
    struct dpf_atlas *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        return -DPF_E_MEM;
    }
    a->heap.mem = mem;
    if (dd_init(&a->dd, &a->heap) != 0) {
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
    for (size_t i = 0; i < a->group_count; i++) {
        free(a->groups[i].members);
    }
    free(a->filters);
    free(a->groups);
    dd_finish(&a->dd);
    free(a);
}

int dpf_atlas_add(struct dpf_atlas *a, const char *name,
                  const struct dpf_program *filter)
{
    struct atlas_filter *bigger =
        realloc(a->filters, (a->count + 1) * sizeof(*bigger));
    size_t count;
    if (bigger == NULL) {
        return -DPF_E_MEM;
    }
    a->filters = bigger;
    struct atlas_filter f = {.name = strdup(name), .program = filter};
    const struct dpf_insn *insns = dpf_program_insns(filter, &count);
    give_room(a);
    int result =
        f.name ? dd_lift(&a->dd, insns, count, NULL, &f.root) : -DPF_E_MEM;
    if (result != 0) {
        free(f.name);
        return result;
    }
    f.bases = dd_bases(&a->dd, f.root);
    a->filters[a->count++] = f;
    uint64_t keep = 0;
    for (size_t i = 0; i < a->count; i++) {
        keep |= a->filters[i].bases;
    }
    dd_bases_keep(&a->dd, keep);
    return 0;
}

/* Does any packet reach YES in `f`? As space_find, with a witness in `err`. */
static int find(struct dpf_atlas *a, uint32_t f, struct dpf_error *err)
{
    struct witness w = {0};
    int result = a->dd.err ? a->dd.err : space_find(&a->dd, f, &w);
    if (result == 1 && err != NULL) {
        err->witness_len = w.len;
        memcpy(err->witness, w.packet, sizeof(err->witness));
    }
    return result;
}

static uint32_t may(struct dpf_atlas *a, size_t i)
{
    return dd_apply(&a->dd, DD_MAY, a->filters[i].root, 0, 0);
}

static uint32_t must(struct dpf_atlas *a, size_t i)
{
    return dd_apply(&a->dd, DD_MUST, a->filters[i].root, 0, 0);
}

int dpf_atlas_overlap(struct dpf_atlas *a, size_t i, size_t k,
                      struct dpf_error *err)
{
    give_room(a);
    struct dd_mark m = dd_mark(&a->dd);
    int result = find(a, dd_and(&a->dd, may(a, i), may(a, k)), err);
    dd_release(&a->dd, m);
    return result;
}

int dpf_atlas_outside(struct dpf_atlas *a, size_t i, size_t k,
                      struct dpf_error *err)
{
    give_room(a);
    struct dd_mark m = dd_mark(&a->dd);
    uint32_t out = dd_not(&a->dd, must(a, k));
    int result = find(a, dd_and(&a->dd, may(a, i), out), err);
    dd_release(&a->dd, m);
    return result;
}

bool dpf_atlas_opaque(struct dpf_atlas *a, size_t i)
{
    give_room(a);
    struct dd_mark m = dd_mark(&a->dd);
    bool opaque = may(a, i) != must(a, i);
    dd_release(&a->dd, m);
    return opaque;
}

/* ----------------------------------------------------------------- merging */

static uint32_t intern(struct dpf_atlas *a, const uint32_t *members,
                       uint32_t count)
{
    for (size_t i = 0; i < a->group_count; i++) {
        if (a->groups[i].count == count &&
            !memcmp(a->groups[i].members, members, count * sizeof(*members))) {
            return ATLAS_GROUP + (uint32_t)i;
        }
    }
    if (a->group_count == a->group_room) {
        size_t room = a->group_room ? a->group_room * 2 : 64;
        struct atlas_group *bigger = realloc(a->groups, room * sizeof(*bigger));
        if (bigger == NULL) {
            a->dd.err = -DPF_E_MEM;
            return DD_NO;
        }
        a->groups = bigger;
        a->group_room = room;
    }
    struct atlas_group g = {malloc(count * sizeof(*members)), count};
    if (g.members == NULL) {
        a->dd.err = -DPF_E_MEM;
        return DD_NO;
    }
    memcpy(g.members, members, count * sizeof(*members));
    a->groups[a->group_count] = g;
    return ATLAS_GROUP + (uint32_t)a->group_count++;
}

static uint32_t join(void *ctx, uint32_t at, uint32_t with)
{
    struct dpf_atlas *a = ctx;
    static const struct atlas_group none;
    const struct atlas_group *g =
        at < ATLAS_GROUP ? &none : &a->groups[at - ATLAS_GROUP];
    uint32_t *members = malloc((g->count + 1) * sizeof(*members));
    if (members == NULL) {
        a->dd.err = -DPF_E_MEM;
        return DD_NO;
    }
    if (g->count > 0) {
        memcpy(members, g->members, g->count * sizeof(*members));
    }
    members[g->count] = a->merging | (with == DD_MAYBE);
    uint32_t terminal = intern(a, members, g->count + 1);
    free(members);
    return terminal;
}

int atlas_merge(struct dpf_atlas *a, uint32_t *roots, size_t *count)
{
    a->dd.merge = join;
    a->dd.merge_ctx = a;
    *count = 0;
    for (size_t i = 0; i < a->count; i++) {
        uint32_t before = *count ? roots[*count - 1] : DD_NO, merged;
        a->merging = (uint32_t)i << 1;
        a->dd.edge_limit = a->dd.edge_count + GROWTH_MAX;
        dd_forget(&a->dd);
        merged = dd_apply(&a->dd, DD_MERGE, before, a->filters[i].root, 0);
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
