/* SPDX-License-Identifier: MIT */
/*
 * Nodes become a load and compares each, parents before children, so that all
 * jumps lead forward. A base is a pointer: the packet's, moved by each term.
 *
 * Registers: r1 packet, r2 length, as they came, also for the program that
 * follows; r3 the value that is tested; r4 scratch; r5 the base's pointer, r6
 * and on those of bases that it depends on.
 */
#include "dpf/diagram/lower.h"

#include "dpf/vm/isa.h"

enum { R_PACKET = 1, R_LEN, R_VALUE, R_TEMP, R_BASE };
_Static_assert(R_BASE + DD_DEPTH_MAX <= BPF_REG_FP, "a register for each base");

struct lower {
    const struct dd *d;
    struct dpf_insn *out; /* NULL: instructions are only counted */
    uint32_t count;
    uint32_t *at; /* of each node: its first instruction */
    uint32_t end; /* where YES is; NO and MAYBE follow, two each */
};

static void emit(struct lower *l, uint32_t op, uint32_t dst, uint32_t src,
                 int32_t off, uint32_t imm)
{
    if (l->out != NULL) {
        l->out[l->count] = (struct dpf_insn){
            (uint8_t)op, (uint8_t)(dst | src << 4), (int16_t)off, (int32_t)imm};
    }
    l->count++;
    heap_pass(l->d->heap, 1);
}

static void emit_alu(struct lower *l, uint32_t op, uint32_t dst, uint32_t imm)
{
    emit(l, BPF_ALU64 | BPF_K | op, dst, 0, 0, imm);
}

static void emit_alu_reg(struct lower *l, uint32_t op, uint32_t dst,
                         uint32_t src)
{
    emit(l, BPF_ALU64 | BPF_X | op, dst, src, 0, 0);
}

/* Go to what `f` refers to if r3 compares so with x, or in any case (JA). */
static void emit_goto(struct lower *l, uint32_t op, uint32_t x, uint32_t f)
{
    uint32_t to = dd_is_term(f) ? l->end + 2 * (f == DD_NO      ? 1
                                                : f == DD_MAYBE ? 2
                                                                : 0)
                                : l->at[f];
    bool always = op == BPF_JA;
    emit(l, (always ? BPF_JMP : BPF_JMP32) | BPF_K | op, always ? 0 : R_VALUE,
         0, (int32_t)(to - l->count - 1), always ? 0 : x);
}

/* r3 = the byte `off` bytes from the pointer in `from`. */
static void emit_byte(struct lower *l, uint32_t from, uint32_t off)
{
    if (off > INT16_MAX) {
        emit_alu_reg(l, BPF_MOV, R_TEMP, from);
        emit_alu(l, BPF_ADD, R_TEMP, off);
        from = R_TEMP;
        off = 0;
    }
    emit(l, BPF_LDX | BPF_MEM | BPF_B, R_VALUE, from, (int32_t)off, 0);
}

/* The register that holds where base `b` lies, computed into `reg` or above;
   as deep as bases depend on one another. */
static uint32_t emit_base(struct lower *l, uint32_t b, uint32_t reg)
{
    const struct dd_base *base = &l->d->bases[b];
    if (b == 0) {
        return R_PACKET;
    }
    dpf_assert(reg < BPF_REG_FP);
    emit_alu_reg(l, BPF_MOV, reg, R_PACKET);
    for (uint32_t i = 0; i < base->count; i++) {
        const struct dd_bits *t = &base->terms[i];
        emit_byte(l, emit_base(l, dd_var_base(t->var), reg + 1),
                  dd_var_off(t->var));
        emit_alu(l, BPF_RSH, R_VALUE, t->src);
        emit_alu(l, BPF_AND, R_VALUE, (1u << t->len) - 1u);
        emit_alu(l, BPF_LSH, R_VALUE, t->dst);
        emit_alu_reg(l, BPF_ADD, reg, R_VALUE);
    }
    return reg;
}

/* r3 = the variable. */
static void emit_value(struct lower *l, uint32_t var)
{
    uint32_t base = emit_base(l, dd_var_base(var), R_BASE);
    if (!dd_var_is_len(var)) {
        emit_byte(l, base, dd_var_off(var));
        return;
    }
    emit_alu_reg(l, BPF_MOV, R_VALUE, R_LEN);
    if (base != R_PACKET) {
        /* How much lies behind it: 0 if it is behind the packet's end. */
        emit_alu_reg(l, BPF_SUB, base, R_PACKET);
        emit(l, BPF_JMP | BPF_X | BPF_JGE, R_VALUE, base, 1, 0);
        emit_alu_reg(l, BPF_MOV, R_VALUE, base);
        emit_alu_reg(l, BPF_SUB, R_VALUE, base);
    }
}

/*
 * Go on by the value in r3. Values that lead where the largest one does need
 * no test if all others have one.
 */
static void emit_choice(struct lower *l, const struct dd_edge *e, uint32_t n)
{
    uint32_t other = e[n - 1].child;
    uint32_t lo = 0, open = 0; /* values below are known not to be in r3 */
    for (uint32_t i = 0; i < n; lo = e[i++].hi + 1) {
        if (e[i].child == other) {
            continue;
        }
        if (lo == e[i].hi) {
            emit_goto(l, BPF_JEQ, lo, e[i].child);
            continue;
        }
        if (lo > open) {
            emit_goto(l, BPF_JLT, lo, other);
        }
        emit_goto(l, BPF_JLE, e[i].hi, e[i].child);
        open = e[i].hi + 1;
    }
    emit_goto(l, BPF_JA, 0, other);
}

static void emit_end(struct lower *l)
{
    l->end = l->count;
    for (uint32_t answer = 2; answer-- > 0;) {
        emit_alu(l, BPF_MOV, 0, answer);
        emit(l, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    }
}

static void emit_all(struct lower *l, uint32_t f, const uint8_t *below)
{
    l->count = 0;
    if (dd_is_term(f)) {
        emit_goto(l, BPF_JA, 0, f);
    }
    for (uint32_t i = f + 1; !dd_is_term(f) && i-- > 0;) {
        const struct dd_node *n = &l->d->nodes[i];
        if (below[i]) {
            l->at[i] = l->count;
            emit_value(l, n->var);
            emit_choice(l, &l->d->edges[n->edges], n->count);
        }
    }
    emit_end(l);
}

/* ------------------------------------------------------------- assumptions */

/* Node i for packets of cube c, its children already in now[]. */
static uint32_t assume_one(struct dd *d, uint32_t i, const struct cube *c,
                           const uint32_t *now, struct dd_edge *edges)
{
    uint32_t var = d->nodes[i].var, n = 0, lo = 0;
    const struct cube_byte *b = cube_byte_of(c, var);
    uint32_t min = dd_var_is_len(var) ? cube_len(c, dd_var_base(var)) : 0;
    for (uint32_t k = 0; k < d->nodes[i].count; k++) {
        struct dd_edge e = d->edges[d->nodes[i].edges + k];
        e.child = dd_renumber(e.child, now);
        if (b != NULL && b->mask == 0xff && b->value >= lo &&
            b->value <= e.hi) {
            return e.child;
        }
        if (e.hi >= min) {
            edges[n++] = e;
        }
        lo = e.hi + 1;
    }
    return dd_node(d, var, edges, n);
}

/* `f` without the tests whose outcome is known of packets of cube c. */
static uint32_t assume(struct dd *d, uint32_t f, const struct cube *c)
{
    uint32_t size = f + 1, most = 0, r = DD_NO;
    struct dd_edge *edges = NULL;
    if (dd_is_term(f)) {
        return f;
    }
    uint8_t *below = dd_below(d, f, &most);
    uint32_t *now;
    now = heap_alloc(d->heap, size * sizeof(*now));
    if (below != NULL && now != NULL) {
        edges = heap_alloc(d->heap, most * sizeof(*edges));
    }
    if (edges == NULL) {
        d->err = d->err ? d->err : -DPF_E_MEM;
    }
    for (uint32_t i = 0; i < size && !d->err; i++) {
        heap_pass(d->heap, 1 + below[i] * d->nodes[i].count / 4);
        if (below[i]) {
            r = now[i] = assume_one(d, i, c, now, edges);
        }
    }
    heap_free(d->heap, below, size);
    heap_free(d->heap, now, size * sizeof(*now));
    heap_free(d->heap, edges, most * sizeof(*edges));
    return d->err ? DD_NO : r;
}

/* ------------------------------------------------------------------ program */

/* Two passes: how long it is and where each node is, then the instructions. */
static int lower(struct lower *l, uint32_t f, const uint8_t *below,
                 const struct dpf_mem *mem, const struct dpf_program *rest,
                 struct dpf_program **out)
{
    struct heap *h = l->d->heap;
    const struct dpf_insn *insns = NULL;
    size_t more = 0;
    emit_all(l, f, below);
    if (l->count > LOWER_INSNS_MAX) {
        return -DPF_E_TOO_BIG;
    }
    if (rest != NULL) {
        insns = dpf_program_insns(rest, &more);
    }
    size_t bytes = (l->count + more) * sizeof(*insns);
    l->out = heap_alloc(h, bytes);
    if (l->out == NULL) {
        return -DPF_E_MEM;
    }
    emit_all(l, f, below);
    if (more) {
        __builtin_memcpy(l->out + l->count, insns, more * sizeof(*insns));
    }
    int r = dpf_program_create(mem, DPF_FILTER | DPF_COMPILE, l->out,
                               l->count + more, out, NULL);
    heap_free(h, l->out, bytes);
    return r == -DPF_E_MEM || r == 0 ? r : -DPF_E_TOO_BIG;
}

int dd_lower(struct dd *d, uint32_t f, const struct cube *within,
             const struct dpf_mem *mem, const struct dpf_program *rest,
             struct dpf_program **out)
{
    struct lower l = {.d = d};
    uint8_t *below = NULL;
    f = within != NULL ? assume(d, f, within) : f;
    uint32_t size = dd_is_term(f) ? 0 : f + 1;
    below = size ? dd_below(d, f, NULL) : NULL;
    l.at = heap_alloc(d->heap, (size + 1) * sizeof(*l.at));
    int r = d->err ? d->err : l.at != NULL ? 0 : -DPF_E_MEM;
    if (r == 0) {
        __builtin_memset(l.at, 0, (size + 1) * sizeof(*l.at));
        r = lower(&l, f, below, mem, rest, out);
    }
    heap_free(d->heap, below, size);
    heap_free(d->heap, l.at, (size + 1) * sizeof(*l.at));
    return r;
}
