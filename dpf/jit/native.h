/* SPDX-License-Identifier: MIT */
/*
 * Native code of one program: how it is made, freed and called.
 */
#pragma once

#include "dpf/dpf.h"

/* Of every type but filter. The result comes back in rax and edx. */
typedef struct dpf_result native_general(struct dpf_run *run, uint64_t fuel);

/*
 * Make native code for the verified program `p`: p->code, p->code_bytes.
 * Does nothing when the embedder has no code memory but can interpret.
 *
 * Returns 0, -DPF_E_MEM.
 */
int native_compile(struct dpf_program *p);

#define NATIVE_PASSES 3 /* each knows the distances of the one before */

struct compiler; /* plain.h */

/* Ways to run programs besides plain native code; NULL: not that way. */
struct dpf_engine {
    /*
     * Make c->p's code in c->x, a new encoder. False: there is none, and
     * c->x is as new again.
     */
    bool (*graph)(struct compiler *c);
    struct dpf_result (*interp)(const struct dpf_program *p,
                                struct dpf_run *run);
};

/* Give p's native code back, if it has any. */
void native_free(struct dpf_program *p);
