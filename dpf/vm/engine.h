/* SPDX-License-Identifier: MIT */
/*
 * An engine: what makes native code, as a table that dpf/engine.c fills. So
 * programs and sets know nothing of the encoder, and only the code of the
 * engine that an embedder names is linked.
 */
#pragma once

#include "dpf/dpf.h"

struct compiler; /* dpf/jit/plain.h */
struct image;    /* dpf/set/set.h */

struct dpf_engine {
    /*
     * Make native code for the verified program `p`: p->code, p->code_bytes.
     * Does nothing when the embedder has no code memory but can interpret.
     * 0 or -DPF_E_MEM.
     */
    int (*compile)(struct dpf_program *p);
    /* Give p's native code back, if it has any. */
    void (*discard)(struct dpf_program *p);
    /*
     * Make the code of c->p, a filter, in c->x, a new encoder. False: there
     * is none, and c->x is as new again. NULL: filters are compiled plainly.
     */
    bool (*compile_graph)(struct compiler *c);
    /* Run a program that has no native code. NULL: every program has some. */
    struct dpf_result (*interpret)(const struct dpf_program *p,
                                   struct dpf_run *run);
    /*
     * Set im->owner to native code, if the embedder has code memory and there
     * is something to gain. 0 or -DPF_E_MEM.
     */
    int (*compile_lookup)(struct dpf_set *s, struct image *im);
    /* Give im's native code back, if it has any. */
    void (*discard_lookup)(struct dpf_set *s, struct image *im);
};
