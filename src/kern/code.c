/* SPDX-License-Identifier: MIT */
/*
 * Downloaded code, and the heap it lives in.
 *
 * Heap: sizes up to half a frame come from frames cut into equal cells, a
 * power of two each; larger ones are runs of frames. A cell's frame starts
 * with its struct slab; a slab with no cell in use goes back to page_kfree,
 * so removing programs returns their memory.
 *
 * Every cell and frame is counted. Whoever makes something in the heap is first
 * charged for what it may cost, so that a poor caller causes no work, and then
 * for what was taken for it.
 *
 * Write xor execute: code_mem passes on arch_code_*, which maps a run for
 * execution, and for writing through a window of its own.
 */
#include "src/kern/code.h"
#include "src/abi/pte.h"
#include "src/kern/demand.h"
#include "src/kern/env.h"
#include "src/kern/quantum.h"
#include "src/kern/secret.h"
#include "src/kern/span.h"
#include "src/lib/string.h"

#define CELL_MIN 32u
#define CLASSES 7u /* 32 ... 2048 bytes */
#define TRAP 0xcc  /* int3 */
/* Bytes that the least of things is charged for: its part in tables that many
   share, and that grow when somebody else comes. */
#define COST_LEAST 1024u

struct cell {
    struct cell *next;
};

struct slab {
    struct slab *next, *previous; /* those of its class with a free cell */
    struct cell *free;
    uint32_t used, class;
} __attribute__((aligned(32)));

struct lock heap_lock;
static _Atomic uint64_t in_use; /* see code_bytes */
static struct slab *partial[CLASSES] GUARDED_BY(heap_lock);

/* The class whose cells hold `size` bytes; CLASSES: none. */
static uint32_t class_of(size_t size)
{
    uint32_t class = 0;
    while (class < CLASSES && size > CELL_MIN << class) {
        class ++;
    }
    return class;
}

static void unlink(struct slab *s) REQUIRES(heap_lock)
{
    if (s->previous != NULL) {
        s->previous->next = s->next;
    } else {
        partial[s->class] = s->next;
    }
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
}

static void link(struct slab *s) REQUIRES(heap_lock)
{
    s->previous = NULL;
    s->next = partial[s->class];
    if (s->next != NULL) {
        s->next->previous = s;
    }
    partial[s->class] = s;
}

/* Where the first cell of a slab lies. */
static uint32_t first_cell(uint32_t class)
{
    uint32_t size = CELL_MIN << class;
    return size > sizeof(struct slab) ? size : (uint32_t)sizeof(struct slab);
}

static struct slab *slab_make(uint32_t class) REQUIRES(heap_lock)
{
    struct slab *s = page_kalloc_bytes(PAGE_SIZE);
    if (s == NULL) {
        return NULL;
    }
    s->class = class;
    uint32_t size = CELL_MIN << class;
    for (uint32_t at = first_cell(class); at + size <= PAGE_SIZE; at += size) {
        struct cell *c = (struct cell *)((uint8_t *)s + at);
        c->next = s->free;
        s->free = c;
    }
    link(s);
    return s;
}

uint64_t code_bytes(void)
{
    return atomic_load_explicit(&in_use, memory_order_relaxed);
}

static void count(uint64_t bytes)
{
    atomic_fetch_add_explicit(&in_use, bytes, memory_order_relaxed);
}

/* What an allocation takes of the frames that hold it. */
static uint64_t cost(size_t size)
{
    uint32_t class = class_of(size);
    if (class == CLASSES) {
        return page_up(size);
    }
    uint32_t cells = (PAGE_SIZE - first_cell(class)) / (CELL_MIN << class);
    return PAGE_SIZE / cells;
}

static void *large_alloc(size_t size)
{
    void *p = page_kalloc_bytes(size);
    count(p != NULL ? cost(size) : 0);
    return p;
}

void *code_alloc(size_t size)
{
    uint32_t class = class_of(size);
    if (class == CLASSES) {
        return large_alloc(size);
    }
    lock_acquire(&heap_lock);
    struct slab *s = partial[class] != NULL ? partial[class] : slab_make(class);
    struct cell *c = NULL;
    if (s != NULL) {
        c = s->free;
        s->free = c->next;
        s->used++;
        if (s->free == NULL) {
            unlink(s);
        }
        count(cost(size));
    }
    lock_release(&heap_lock);
    return c;
}

void code_free(void *p, size_t size)
{
    if (p == NULL) {
        return;
    }
    count(-cost(size));
    uint32_t class = class_of(size);
    if (class == CLASSES) {
        page_kfree(arch_ptr_paddr(p) / PAGE_SIZE, page_frames(size));
        return;
    }
    lock_acquire(&heap_lock);
    struct slab *s =
        (struct slab *)((uintptr_t)p & ~(uintptr_t)(PAGE_SIZE - 1));
    struct cell *c = p;
    assert(s->class == class && s->used > 0);
    if (s->free == NULL) {
        link(s);
    }
    c->next = s->free;
    s->free = c;
    s->used--;
    if (s->used == 0) {
        unlink(s);
        page_kfree(arch_ptr_paddr(s) / PAGE_SIZE, 1);
    }
    lock_release(&heap_lock);
}

/* --------------------------------------------------------- dpf's memory */

static void *mem_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return code_alloc(size);
}

static void mem_free(void *ctx, void *p, size_t size)
{
    (void)ctx;
    code_free(p, size);
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
        count(frames * PAGE_SIZE);
    }
    return rx;
}

static void mem_code_free(void *ctx, void *rx, size_t size)
{
    (void)ctx;
    uint64_t frames = page_frames(size);
    page_kfree(arch_code_unmap(rx, frames), frames);
    count(-frames * PAGE_SIZE);
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
 * frame to change, and take locks that come later. Not before the machine is
 * up.
 */
static void mem_breathe(void *ctx)
{
    (void)ctx;
    struct cpu *c = cpu_this();
    if (c->info->online != 0) {
        span_breathe(c);
    }
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
    uint64_t now = code_bytes();
    uint64_t taken = now > before ? now - before : 0;
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
    struct dpf_insn *copy = code_alloc(size);
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
    code_free(copy, size);
    return r;
}
