/* SPDX-License-Identifier: MIT */
/*
 * Installing one binding: what is known of it while it is judged.
 */
#pragma once

#include "dpf/filter/set.h"

struct install {
    struct dpf_set *s;
    struct dpf_error *err;
    const struct dpf_program *filter; /* NULL: made from an installed one */
    uint32_t id;
    uint16_t region; /* slot */
    uint16_t flags;
    uint32_t home; /* 1 and the shape that one cube goes into; 0: not known */
    uint32_t exact, may; /* diagrams; for a cube they are made on demand */
    bool have_may;
    bool misread;        /* its lift was wrong; see confirm.h */
    bool cannot_order;   /* as cubes its rank fits no lookup order */
    uint32_t cube_count; /* 0: a diagram */
    uint32_t rank;       /* of the hull, for a diagram */
    uint64_t depth;
    /* The filter; of a diagram, one: the smallest that contains it. */
    struct cube cubes[CUBES_MAX + 1];
    struct cube marked; /* how the key of `home` must become wider */
    struct cube other;  /* scratch */
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
int judge_region(struct install *in, uint32_t must);

/*
 * Is it disjoint from, or properly nested with, all exclusive bindings?
 * Sets in->depth. 0, -DPF_E_CONFLICT, -DPF_E_FUEL, -DPF_E_MEM;
 * -DPF_E_TOO_BIG if only the order of lookup cannot be kept
 * (in->cannot_order).
 */
int judge_conflicts(struct install *in);

/* Set inside[n] for each exclusive diagram n strictly inside the filter. */
int judge_contained(struct install *in, uint8_t *inside);

/* The packets the new filter may accept. */
uint32_t install_may(struct install *in);

/* -DPF_E_FUEL, with a text that it was not decided `what`, of r or NULL. */
int judge_tired(struct install *in, const char *what, const struct binding *r);

/* The next phase begins. */
void install_phase(struct dpf_set *s, enum phase p);

/* ---------------------------------------------------------------- install.c */

/* Set in->home. */
void install_find_home(struct install *in);

/* Put it where lookups find it: 0, or an error and nothing changed. */
int install_commit(struct install *in);
/* Lookups that begin afterwards do not find it. */
void install_drop(struct dpf_set *s, const struct index_entry *e);

/*
 * Free what only bindings that were dropped used: they leave the trees, and
 * shapes without keys the image. One publication. 0 or -DPF_E_MEM.
 */
int set_tidy(struct dpf_set *s);

/* Build an image and let lookups see it. 0 or -DPF_E_MEM. */
int set_publish(struct dpf_set *s);

/* Free `r` once no lookup of a version before `version` runs. */
void set_retire(struct dpf_set *s, struct retired *r, uint64_t version);

int set_fail(struct dpf_error *err, int code, const char *text);
