/* SPDX-License-Identifier: MIT */
/*
 * What lookups see of shapes: an image of them while they are few, items of
 * the class tree of owners when they are many.
 */
#include "dpf/set/install.h"

void set_retire(struct dpf_set *s, struct retired *r, uint64_t version)
{
    r->version = version;
    r->next = s->retired;
    s->retired = r;
}

int shapes_publish(struct dpf_set *s, bool all)
{
    struct image *im = image_build(s, all), *old = s->image;
    if (im == NULL) {
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

void set_trees_changed(struct dpf_set *s)
{
    bool hung = false;
    for (uint32_t t = 0; t < TREES; t++) {
        hung |= s->tree[t].count != 0;
    }
    __atomic_store_n(&s->hung, hung, __ATOMIC_RELEASE);
    s->version++;
    for (uint32_t t = 0; t < TREES; t++) {
        while (s->tree[t].gone != NULL) {
            struct retired *r = s->tree[t].gone;
            s->tree[t].gone = r->next;
            set_retire(s, r, s->version);
        }
    }
}

int set_hang(struct dpf_set *s, uint32_t tree, struct ct_item *item,
             uint32_t *chained)
{
    uint64_t limit = s->heap.limit;
    s->heap.limit = s->work ? s->heap.work + s->work / 8 + 1 : 0;
    int r = ct_insert(&s->tree[tree], &s->heap, item, chained);
    s->heap.limit = limit;
    return r;
}

/* Hang a shape in the tree of owners: by its constants. As set_hang. */
static int shape_hang(struct dpf_set *s, struct shape *sh)
{
    outline_cube(&sh->hung.item.outline, &sh->cube, sh->bases);
    uint32_t chained;
    return set_hang(s, TREE_OWNERS, &sh->hung.item, &chained);
}

void shapes_unhang(struct dpf_set *s, struct shape *sh)
{
    ct_remove(&s->tree[TREE_OWNERS], &s->heap, &sh->hung.item);
}

/* Take the first `count` of the slots of shapes out of the tree. */
static void unhang_shapes(struct dpf_set *s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (s->shapes[i] != NULL) {
            shapes_unhang(s, s->shapes[i]);
        }
    }
}

/*
 * Shapes are many: from the image into the tree. While both have them lookups
 * find an owner twice. 0, -DPF_E_MEM or -DPF_E_FUEL, and nothing changed.
 */
static int spread(struct dpf_set *s)
{
    for (uint32_t i = 0; i < s->shape_count; i++) {
        int r = s->shapes[i] != NULL ? shape_hang(s, s->shapes[i]) : 0;
        if (r) {
            unhang_shapes(s, i);
            set_trees_changed(s);
            return r;
        }
    }
    set_trees_changed(s);
    s->spread = true;
    if (shapes_publish(s, true)) {
        s->spread = false;
        unhang_shapes(s, s->shape_count);
        set_trees_changed(s);
        return -DPF_E_MEM;
    }
    for (uint32_t i = 0; i < s->shape_count; i++) {
        if (s->shapes[i] != NULL) {
            s->shapes[i]->code_table = NULL;
            s->shapes[i]->shown = true;
        }
    }
    return 0;
}

void shapes_gather(struct dpf_set *s)
{
    s->spread = false;
    if (shapes_publish(s, true)) {
        s->spread = true;
        return;
    }
    unhang_shapes(s, s->shape_count);
    set_trees_changed(s);
}

int shapes_show(struct dpf_set *s, struct shape *sh)
{
    if (!s->spread && s->shapes_used > s->image_max) {
        return spread(s);
    }
    if (!s->spread) {
        return shapes_publish(s, true);
    }
    int r = shape_hang(s, sh);
    sh->shown = !r;
    set_trees_changed(s);
    return r;
}
