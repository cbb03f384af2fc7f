/* SPDX-License-Identifier: MIT */
/*
 * Downloaded code: loaded, charged for, and mapped.
 *
 * Write xor execute: code_mem passes on arch_code_*, which maps a run for
 * execution, and for writing through a window of its own.
 */
#include "src/kern/code.h"
#include "src/abi/pte.h"
#include "src/kern/cpu.h"
#include "src/kern/demand.h"
#include "src/kern/env.h"
#include "src/kern/kheap.h"
#include "src/kern/secret.h"
#include "src/kern/span.h"
#include "src/lib/string.h"

#define TRAP 0xcc /* int3 */
/* Bytes that the least of things is charged for: its part in tables that many
   share, and that grow when somebody else comes. */
#define COST_LEAST 1024u

/* --------------------------------------------------------- dpf's memory */

static void *mem_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return kheap_alloc(size);
}

static void mem_free(void *ctx, void *p, size_t size)
{
    (void)ctx;
    kheap_free(p, size);
}

static uint64_t mem_random(void *ctx)
{
    (void)ctx;
    return secret_word();
}

static void *mem_code_alloc(void *ctx, size_t size)
{
    (void)ctx;
    uint64_t frames = page_frames(size);
    uint64_t f = page_kalloc(frames);
    if (f == FRAME_NONE) {
        return NULL;
    }
    __builtin_memset(arch_frame_ptr(f), TRAP, frames * PAGE_SIZE);
    void *rx = arch_code_map(f, frames);
    if (rx == NULL) {
        page_kfree(f, frames);
    } else {
        kheap_count(frames * PAGE_SIZE);
    }
    return rx;
}

static void mem_code_free(void *ctx, void *rx, size_t size)
{
    (void)ctx;
    uint64_t frames = page_frames(size);
    page_kfree(arch_code_unmap(rx, frames), frames);
    kheap_count(-frames * PAGE_SIZE);
}

static void *mem_code_open(void *ctx, void *rx, size_t size)
{
    (void)ctx;
    return arch_code_open(rx, size);
}

static void mem_code_seal(void *ctx, void *rx, void *rw, size_t size)
{
    (void)ctx;
    arch_code_seal(rx, rw, size);
}

/*
 * Long work holds bind_lock at most, so interrupts may come in: they find no
 * frame to change, and take locks that come later. Who said so by code_lend
 * leaves bind_lock to others meanwhile. Not before the machine is up.
 */
static void mem_breathe(void *ctx) UNCHECKED
{
    (void)ctx;
    struct cpu *c = cpu_this();
    if (c->info->online == 0) {
        return;
    }
    if (c->lends) {
        bind_release();
    }
    span_breathe(c);
    if (c->lends) {
        bind_acquire();
    }
}

void code_lend(bool lends)
{
    cpu_this()->lends = lends;
}

const struct dpf_mem code_mem = {
    .alloc = mem_alloc,
    .free = mem_free,
    .code_alloc = mem_code_alloc,
    .code_free = mem_code_free,
    .code_open = mem_code_open,
    .code_seal = mem_code_seal,
    .random = mem_random,
    .engine = &dpf_engine_native,
    .breathe = mem_breathe,
};

/* ---------------------------------------------------------------- loading */

uint64_t code_cost(uint32_t count)
{
    /* Kept instructions, native code, the node of a diagram or two. */
    return COST_LEAST + (uint64_t)count * 64;
}

int code_charge(struct env *e, uint64_t before, uint32_t *charged)
{
    uint64_t change = kheap_bytes() - before;
    uint64_t taken = (int64_t)change > 0 ? change : 0;
    taken = taken > COST_LEAST ? taken : COST_LEAST;
    if (taken > *charged) {
        TRY(env_charge_bytes(e, taken - *charged));
    } else {
        env_refund_bytes(e, *charged - taken);
    }
    *charged = (uint32_t)taken;
    return 0;
}

int code_error(int dpf)
{
    switch (-dpf) {
    case 0:
        return 0;
    case DPF_E_MEM:
        return -E_MEM;
    case DPF_E_VERIFY:
        return -E_VERIFY;
    case DPF_E_TOO_BIG:
        return -E_LIMIT;
    case DPF_E_STEPS:
        return -E_QUOTA;
    case DPF_E_FUEL:
        return -E_FUEL;
    case DPF_E_REGION:
        return -E_REGION;
    case DPF_E_CONFLICT:
        return -E_CONFLICT;
    case DPF_E_NOT_FOUND:
        return -E_NONE;
    case DPF_E_BUSY:
        return -E_BUSY;
    default:
        return -E_INVAL;
    }
}

/* A filter runs for every packet, with interrupts off and on nobody's account,
   so it may go through its instructions once. */
static int refuse_loop(struct dpf_error *err)
{
    if (err != NULL) {
        *err = (struct dpf_error){.code = -DPF_E_VERIFY};
        str_copy(err->text, sizeof(err->text),
                 "a filter runs for every packet and may not jump back");
    }
    return -E_VERIFY;
}

int code_load(const struct env *e, enum dpf_type type, uaddr insns,
              uint32_t count, struct dpf_program **out, struct dpf_error *err)
{
    REFUSE_IF(count == 0 || count > CODE_INSNS_MAX, E_INVAL);
    size_t size = count * sizeof(struct dpf_insn);
    struct dpf_insn *copy = kheap_alloc(size);
    REFUSE_IF(copy == NULL, E_MEM);
    struct dpf_program *made = NULL;
    int r = copy_in(e, copy, insns, size);
    if (r == 0) {
        r = code_error(dpf_program_create(&code_mem, type | DPF_COMPILE, copy,
                                          count, &made, err));
    }
    if (r == 0 && type == DPF_FILTER && dpf_program_loops(made)) {
        dpf_program_destroy(made);
        r = refuse_loop(err);
    }
    if (r == 0) {
        *out = made;
    }
    kheap_free(copy, size);
    return r;
}
