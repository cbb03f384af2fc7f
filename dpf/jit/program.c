/* SPDX-License-Identifier: MIT */
#include "dpf/jit/native.h"

#include "dpf/jit/plain.h"
#include "dpf/vm/engine.h"
#include "dpf/x86_64/codeheap.h"

/*
 * Each pass emits the same sequence, with shorter jumps where the last one put
 * their labels near enough.
 */
static bool compile_plain(struct compiler *c)
{
    bool ok = true;
    for (int pass = 0; pass < NATIVE_PASSES && ok; pass++) {
        x64_begin(&c->x);
        plain_emit(c);
        ok = x64_finish(&c->x);
    }
    return ok;
}

int native_compile(struct dpf_program *p)
{
    const struct dpf_mem *mem = p->mem;
    struct compiler c = {.p = p};
    /* An embedder may have no memory for code; then the interpreter must do. */
    if (!codeheap_usable(mem)) {
        return mem->engine->interpret != NULL ? 0 : -DPF_E_MEM;
    }
    size_t labels = p->count * sizeof(c.at[0]);
    c.at = mem->alloc(mem->ctx, labels);
    if (c.at == NULL) {
        return -DPF_E_MEM;
    }
    x64_open(&c.x, mem);
    bool (*graph)(struct compiler *) = mem->engine->compile_graph;
    /* The graph compiler takes only programs of some shapes. */
    if ((graph != NULL && graph(&c)) || compile_plain(&c)) {
        p->code = codeheap_put(mem, c.x.buf, c.x.len);
        p->code_bytes = p->code != NULL ? c.x.len : 0;
    }
    x64_close(&c.x);
    mem->free(mem->ctx, c.at, labels);
    return p->code != NULL ? 0 : -DPF_E_MEM;
}

void native_discard(struct dpf_program *p)
{
    codeheap_free(p->mem, p->code, p->code_bytes);
    p->code = NULL;
}
