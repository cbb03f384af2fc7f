/* SPDX-License-Identifier: MIT */
/*
 * Installing one binding: what is known of it while it is judged.
 */
#pragma once

#include "dpf/set/set.h"

struct install {
    struct dpf_set *s;
    struct dpf_error *err;
    const struct dpf_program *filter; /* NULL: made from an installed one */
    uint32_t id;
    uint16_t region; /* slot */
    uint16_t flags;
    uint32_t home; /* 1 and the shape that one cube goes into; 0: not known */
    uint32_t exact, may; /* in set.dd; for a cube they are made on demand */
    bool have_may;
    bool misread;        /* its lift was wrong; see confirm.h */
    bool cannot_order;   /* as cubes its rank fits no lookup order */
    uint32_t cube_count; /* 0: a diagram */
    uint32_t rank;       /* of the hull, for a diagram */
    /* Of one cube, or NULL: a shape of the same tests, from which it was made;
       whose key of it is in `key`. */
    const struct shape *like, *keyed;
    struct kept *kept;   /* for a diagram */
    struct base_map map; /* from set.dd to it */
    /* Of a diagram: what it lies in has at most this depth; what lies in it. */
    uint64_t above;
    struct binding **inside;
    uint32_t inside_count, inside_cap;
    /* The filter; of a diagram, one: the smallest that contains it. */
    struct cube cubes[CUBES_MAX + 1]; /* counted as in set.dd */
    struct cube marked;      /* how the key of `home` must become wider */
    struct cube other, room; /* scratch */
    struct outline outline;  /* scratch */
    struct dd_base bases[SHAPE_BASES_MAX];
    struct binding one; /* one that is one cube, to be judged as others are */
    struct witness witness, outside;
    uint8_t key[TABLE_KEY_MAX], mask[TABLE_KEY_MAX];
};

/*
 * What a call does, one after the other. By the end of each, so many eighths
 * of the work that the call may do can have been done: none takes what a later
 * one needs.
 */
enum phase {
    PHASE_READ = 2,
    PHASE_CONFIRM = 3,
    PHASE_SETTLE = 4,
    PHASE_JUDGE = 7,
    PHASE_COMMIT = 8,
};

/* ------------------------------------------------------------------ judge.c */

/* Is the filter inside its region? 0, -DPF_E_REGION, -DPF_E_FUEL, -DPF_E_MEM.
 */
int judge_region(struct install *in, const struct kept *must);

/*
 * Is it disjoint from, or properly nested with, all exclusive bindings?
 * Sets in->above and in->inside. 0, -DPF_E_CONFLICT, -DPF_E_FUEL, -DPF_E_MEM;
 * -DPF_E_TOO_BIG if only the order of lookup cannot be kept
 * (in->cannot_order).
 */
int judge_conflicts(struct install *in);

/* The packets the new filter may accept. */
uint32_t install_may(struct install *in);

/* -DPF_E_FUEL, with a text that it was not decided `what`, of r or NULL. */
int judge_tired(struct install *in, const char *what, const struct binding *r);

/* The next phase begins. */
void install_phase(struct dpf_set *s, enum phase p);

/* ----------------------------------------------------------------- shapes.c */

/* Set in->home. */
void install_find_home(struct install *in);

/* What shape_same asks first, before cube c counts as cubes of the shape do. */
bool shapes_alike(const struct shape *sh, const struct cube *c);

/*
 * Put cube c into the table of its shape, a new one if there is none: 0, or an
 * error, after which shapes_tidy removes a new one. Lookups see a new one after
 * shapes_show.
 */
int shapes_put(struct install *in, const struct cube *c, uint32_t id,
               bool residual, struct entry *at);
/* Take `count` entries out of their tables. */
void shapes_take(struct dpf_set *s, const struct entry *at, uint32_t count);

/*
 * Take shapes without keys out. An image without them is only made when they
 * are a quarter of all, or `all` is asked for: one that is empty may soon have
 * a key again. 0, or -DPF_E_MEM and they are still there.
 */
int shapes_tidy(struct dpf_set *s, bool all);

/* ---------------------------------------------------------------- publish.c */

/*
 * Hang an item in a tree. As ct_insert: the way to its leaf may take an eighth
 * of the work of a call, beside what the call has done.
 */
int set_hang(struct dpf_set *s, uint32_t tree, struct ct_item *item,
             uint32_t *chained);

/* Let lookups see a shape that is in its slot now: 0, -DPF_E_MEM, -DPF_E_FUEL.
 */
int shapes_show(struct dpf_set *s, struct shape *sh);
/* Take a shape out of the tree; set_trees_changed has to follow. */
void shapes_unhang(struct dpf_set *s, struct shape *sh);
/* Shapes are few again: back into the image, if there is memory. */
void shapes_gather(struct dpf_set *s);
/* An image of the shapes that have keys, or of all. 0 or -DPF_E_MEM. */
int shapes_publish(struct dpf_set *s, bool all);

/* Let lookups know which trees have items, and retire nodes that went. */
void set_trees_changed(struct dpf_set *s);

/* Free `r` once no lookup of a version before `version` runs. */
void set_retire(struct dpf_set *s, struct retired *r, uint64_t version);

/* ---------------------------------------------------------------- install.c */

/* What a packet that may be its costs: instructions. */
uint32_t install_steps(const struct binding *b);

/* Put it where lookups find it: 0, or an error and nothing changed. */
int install_commit(struct install *in);
/* Lookups that begin afterwards do not find it. Needs no memory. */
void install_drop(struct dpf_set *s, const struct index_entry *e);
/* Take shapes without keys out, `all` or if they are many. 0 or -DPF_E_MEM. */
int install_tidy(struct dpf_set *s, bool all);

/* Without bindings: take out what served earlier ones, if there is memory. */
void install_idle(struct dpf_set *s);
/* Take all out, where no lookup runs any more. */
void install_clear(struct dpf_set *s);

/* The number `n` binding, or NULL. */
static inline struct binding *set_binding(const struct dpf_set *s, uint32_t n)
{
    return s->bindings->at[n];
}

int set_fail(struct dpf_error *err, int code, const char *text);
