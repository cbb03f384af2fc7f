/* SPDX-License-Identifier: MIT */
/*
 * Filters compiled as graphs of decisions (decide.h), with plain code behind
 * for the packets that the graph leaves to it.
 */
#include "dpf/graph/decided.h"

#include "dpf/graph/emit.h"
#include "dpf/jit/native.h"
#include "dpf/jit/plain.h"

/*
 * All passes, as for plain code; the plain code stands behind the graph's if a
 * packet can be left to it.
 */
static bool emit_decided(struct compiler *c, struct filter_code *f)
{
    bool ok = true;
    for (int pass = 0; pass < NATIVE_PASSES && ok; pass++) {
        x64_begin(&c->x);
        x64_label plain = x64_label_new(&c->x);
        filter_emit(f, plain);
        if (f->failed) {
            return false;
        }
        if (f->plain_used) {
            x64_place(&c->x, plain);
            plain_emit(c);
        }
        ok = x64_finish(&c->x);
    }
    return ok;
}

bool decided_compile(struct compiler *c)
{
    struct decision *d = decide(c->p);
    if (d == NULL) {
        return false;
    }
    struct filter_code *f = filter_code_create(&c->x, d);
    bool ok = f != NULL && emit_decided(c, f);
    if (f != NULL) {
        filter_code_destroy(f);
    }
    if (!ok) { /* a new start for the passes */
        x64_close(&c->x);
        x64_open(&c->x, c->p->mem);
    }
    decide_free(d);
    return ok;
}
