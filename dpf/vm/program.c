/* SPDX-License-Identifier: MIT */
/*
 * The life of a program: copied, verified, perhaps compiled, run, freed. One
 * allocation holds the object, its instructions and their notes.
 */
#include "dpf/vm/program.h"

#include "dpf/vm/engine.h"
#include "dpf/vm/text.h"

/* Of every type but filter. The result comes back in rax and edx. */
typedef struct dpf_result native_general(struct dpf_run *run, uint64_t fuel);

static int program_fail(struct dpf_error *err, int code, const char *text)
{
    err->code = code;
    struct text t;
    text_init(&t, err->text, sizeof(err->text));
    text_str(&t, text);
    return code;
}

static struct dpf_program *program_alloc(const struct dpf_mem *mem,
                                         uint32_t count)
{
    size_t bytes =
        sizeof(struct dpf_program) +
        (size_t)count * (sizeof(struct dpf_insn) + sizeof(struct insn_note));
    struct dpf_program *p = mem->alloc(mem->ctx, bytes);
    if (p == NULL) {
        return NULL;
    }
    *p = (struct dpf_program){.mem = mem, .bytes = bytes, .count = count};
    p->insns = (struct dpf_insn *)(void *)(p + 1);
    p->notes = (struct insn_note *)(void *)(p->insns + count);
    return p;
}

int dpf_program_create(const struct dpf_mem *mem, uint32_t type,
                       const struct dpf_insn *insns, size_t count,
                       struct dpf_program **out, struct dpf_error *err)
{
    struct dpf_error ignored;
    err = err != NULL ? err : &ignored;
    *err = (struct dpf_error){0};
    if ((type & ~DPF_COMPILE) > DPF_RAW) {
        return program_fail(err, -DPF_E_INVAL, "unknown program type or flag");
    }
    if (count > DPF_INSNS_MAX) {
        return program_fail(err, -DPF_E_TOO_BIG,
                            "a program has at most 65536 instructions");
    }
    struct dpf_program *p = program_alloc(mem, (uint32_t)count);
    if (p == NULL) {
        return program_fail(err, -DPF_E_MEM, "no memory for the program");
    }
    p->type = (uint8_t)type;
    if (count != 0) {
        __builtin_memcpy(p->insns, insns, count * sizeof(*insns));
    }
    int rc = verify(mem, p, err);
    bool interp = mem->engine->interpret != NULL;
    if (rc == 0 && ((type & DPF_COMPILE) != 0 || !interp)) {
        rc = mem->engine->compile(p);
    }
    if (rc != 0) {
        if (rc == -DPF_E_MEM) {
            program_fail(err, rc, "no memory to verify or compile the program");
        }
        dpf_program_destroy(p);
        return rc;
    }
    *out = p;
    return 0;
}

void dpf_program_destroy(struct dpf_program *p)
{
    if (p == NULL) {
        return;
    }
    p->mem->engine->discard(p);
    p->mem->free(p->mem->ctx, p, p->bytes);
}

enum dpf_type dpf_program_type(const struct dpf_program *p)
{
    return (enum dpf_type)p->type;
}

bool dpf_program_loops(const struct dpf_program *p)
{
    return p->has_loop;
}

const struct dpf_insn *dpf_program_insns(const struct dpf_program *p,
                                         size_t *count)
{
    *count = p->count;
    return p->insns;
}

const void *dpf_program_code(const struct dpf_program *p, size_t *size)
{
    *size = p->code_bytes;
    return p->code;
}

static uint32_t fuel_of(const struct dpf_run *run)
{
    return run->fuel != 0 ? run->fuel : DPF_FUEL_DEFAULT;
}

struct dpf_result dpf_program_run(const struct dpf_program *p,
                                  struct dpf_run *run)
{
    if (p->code == NULL) {
        return p->mem->engine->interpret(p, run);
    }
    if (p->type != DPF_FILTER) {
        /* Native code does not look at the count: unbound means empty. */
        for (uint32_t n = run->region_count; n < DPF_REGIONS_MAX; n++) {
            run->regions[n] = (struct dpf_region){0};
        }
        return ((native_general *)p->code)(run, fuel_of(run));
    }
    const struct dpf_region *packet = &run->regions[0];
    bool none = run->region_count == 0;
    return (struct dpf_result){
        .r0 = ((dpf_filter_code *)p->code)(
            none ? NULL : packet->base, none ? 0 : packet->len, fuel_of(run)),
        .end = DPF_END_EXIT,
    };
}

uint64_t dpf_filter_run(const struct dpf_program *p, const void *packet,
                        size_t len)
{
    len = len < UINT32_MAX ? len : UINT32_MAX;
    if (p->code != NULL) {
        return ((dpf_filter_code *)p->code)(packet, len, DPF_FUEL_DEFAULT);
    }
    struct dpf_run run = {
        /* A filter cannot store: the verifier refuses it. */
        .regions = {{.base = (void *)(uintptr_t)packet, .len = (uint32_t)len}},
        .region_count = 1,
    };
    return p->mem->engine->interpret(p, &run).r0;
}
