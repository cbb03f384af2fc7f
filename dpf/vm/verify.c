/* SPDX-License-Identifier: MIT */
/*
 * The verifier: a forward data-flow pass over the kinds of values.
 *
 * A register or stack slot is a scalar or a pointer into one named region, or
 * cannot be used (never written, or of different kinds on different paths).
 * Ranges and offsets into regions are not tracked: the engines check every
 * access. Only offsets of pointers into the stack and into a predicate's
 * table are followed, while they are constants.
 *
 * The lattice of one value, from below: exact kind and constant offset, kind
 * with any offset, mixed, unwritten. A state at a jump target is a vector of
 * at most 11 + 64 such values plus a written bit per stack byte, so it can
 * rise at most 11 * 3 + 64 * (3 + 8) = 737 times, and a program of n
 * instructions is done after at most 738 n steps. Jump targets are taken
 * lowest first: a program without loops takes one step an instruction.
 *
 * docs/verifier.md has the argument why what passes here is safe.
 */
#include "dpf/vm/verifier.h"

/*
 * A value that arrives by two ways is what both have in common. A stack byte
 * is written only if both ways wrote it.
 */
static struct value join_value(struct value a, struct value b)
{
    struct value out = a;
    out.written = a.written & b.written;
    if (a.kind == b.kind) {
        if (a.off != b.off) {
            out.off = NOTE_OFF_ANY;
        }
        return out;
    }
    out.off = 0;
    out.kind =
        a.kind == K_UNWRITTEN || b.kind == K_UNWRITTEN ? K_UNWRITTEN : K_MIXED;
    return out;
}

static void set_pending(struct verifier *v, uint32_t join)
{
    v->pending[join / 64] |= UINT64_C(1) << (join % 64);
    v->summary[join / 4096] |= UINT64_C(1) << (join / 64 % 64);
}

/* The lowest pending join, removed; or UINT32_MAX. */
static uint32_t take_pending(struct verifier *v)
{
    uint32_t words = (v->join_count + 4095) / 4096;
    for (uint32_t n = 0; n < words; n++) {
        if (v->summary[n] == 0) {
            continue;
        }
        uint32_t word = n * 64 + (uint32_t)__builtin_ctzll(v->summary[n]);
        uint32_t bit = (uint32_t)__builtin_ctzll(v->pending[word]);
        v->pending[word] &= v->pending[word] - 1;
        if (v->pending[word] == 0) {
            v->summary[n] &= v->summary[n] - 1;
        }
        return word * 64 + bit;
    }
    return UINT32_MAX;
}

/* Merge the present state into that at jump target `at`. */
static void flow(struct verifier *v, uint32_t at)
{
    uint32_t join = v->join_of[at], values = BPF_REG_COUNT + v->slots;
    struct value *to = v->joins + (size_t)join * values;
    bool changed = false;
    if ((v->p->notes[at].flags & NOTE_REACHED) == 0) {
        __builtin_memcpy(to, v->now, values * sizeof(*to));
        v->p->notes[at].flags |= NOTE_REACHED;
        set_pending(v, join);
        return;
    }
    for (uint32_t n = 0; n < values; n++) {
        if (__builtin_memcmp(&v->now[n], &to[n], sizeof(*to)) == 0) {
            continue;
        }
        struct value merged = join_value(to[n], v->now[n]);
        if (__builtin_memcmp(&merged, &to[n], sizeof(merged)) != 0) {
            to[n] = merged;
            changed = true;
        }
    }
    if (changed) {
        set_pending(v, join);
    }
}

/*
 * Follow execution from the jump target `at` with the present state until it
 * joins another jump target or ends.
 */
static bool verify_walk(struct verifier *v, uint32_t at)
{
    const struct dpf_program *p = v->p;
    for (;;) {
        const struct dpf_insn *i = &p->insns[at];
        v->at = at;
        program_breathe(v->mem, v->walked++, BREATH_SHORT);
        p->notes[at].flags |= NOTE_REACHED;
        if (i->opcode == (BPF_JMP | BPF_EXIT)) {
            return transfer_exit(v);
        }
        uint32_t next = at + insn_len(i);
        if (insn_is_jump(i)) {
            if (BPF_OP(i->opcode) != BPF_JA && !transfer_compare(v, i)) {
                return false;
            }
            flow(v, (uint32_t)(at + 1 + insn_jump(i)));
            if (BPF_OP(i->opcode) == BPF_JA) {
                return true;
            }
        } else if (!transfer(v, i)) {
            return false;
        }
        if (v->restart) {
            return true;
        }
        if (next >= p->count) {
            return refuse(v, WHY_NO_END, 0);
        }
        if ((p->notes[next].flags & NOTE_TARGET) != 0) {
            flow(v, next);
            return true;
        }
        at = next;
    }
}

/*
 * The registers that a program of each type starts with. With zero_stack its
 * stack counts as written from the start.
 */
static void entry_state(struct verifier *v)
{
    for (uint32_t n = 0; n < BPF_REG_COUNT; n++) {
        v->now[n] = (struct value){.kind = K_UNWRITTEN};
    }
    for (uint32_t n = BPF_REG_COUNT; n < VALUES_MAX; n++) {
        v->now[n] = v->zero_stack ? scalar() : (struct value){.kind = K_SCALAR};
    }
    v->now[BPF_REG_FP] = pointer(K_STACK, 0);
    if (v->p->type == DPF_PREDICATE) {
        v->now[1] = pointer(K_TABLE, 0);
        return;
    }
    v->now[1] = pointer(K_REGION0, 0);
    v->now[2] = scalar();
    if (v->p->type == DPF_UDF) {
        v->now[3] = scalar();
    } else if (v->p->type == DPF_HANDLER) {
        v->now[3] = pointer(1, 0);
    }
}

/* One attempt with a fixed number of slots; v->restart asks for another. */
static bool attempt(struct verifier *v)
{
    uint32_t values = BPF_REG_COUNT + v->slots;
    v->restart = false;
    for (uint32_t n = 0; n < v->p->count; n++) {
        program_breathe(v->mem, n, BREATH_LONG);
        v->p->notes[n].flags &= (uint8_t)~NOTE_REACHED;
        v->p->notes[n].region = REGION_NONE;
    }
    __builtin_memset(v->pending, 0, (v->join_count + 63) / 64 * 8);
    __builtin_memset(v->summary, 0, sizeof(v->summary));
    entry_state(v);
    flow(v, 0);
    for (;;) {
        uint32_t join = take_pending(v);
        if (join == UINT32_MAX) {
            return true;
        }
        const struct value *from = v->joins + (size_t)join * values;
        __builtin_memcpy(v->now, from, values * sizeof(*from));
        if (!verify_walk(v, v->join_at[join])) {
            return false;
        }
        if (v->restart) {
            return true;
        }
    }
}

/* -------------------------------------------------------------- program */

/*
 * Keep the reachable instructions only and aim the jumps anew. `moved_to` is
 * scratch of count + 1 entries.
 */
static void compact(struct dpf_program *p, uint32_t *moved_to)
{
    uint32_t kept = 0;
    for (uint32_t n = 0; n < p->count; n++) {
        program_breathe(p->mem, n, BREATH_LONG);
        bool second = (p->notes[n].flags & NOTE_SECOND) != 0;
        bool keep = (p->notes[second ? n - 1 : n].flags & NOTE_REACHED) != 0;
        moved_to[n] = kept;
        kept += keep;
    }
    moved_to[p->count] = kept;
    if (kept == p->count) {
        return;
    }
    for (uint32_t n = 0; n < p->count; n++) {
        program_breathe(p->mem, n, BREATH_LONG);
        if (moved_to[n] == moved_to[n + 1]) {
            continue;
        }
        struct dpf_insn i = p->insns[n];
        if ((p->notes[n].flags & NOTE_SECOND) == 0 && insn_is_jump(&i)) {
            int64_t to = moved_to[n + 1 + insn_jump(&i)];
            int64_t distance = to - (int64_t)(moved_to[n] + 1);
            if (i.opcode == (BPF_JMP32 | BPF_JA)) {
                i.imm = (int32_t)distance;
            } else {
                i.off = (int16_t)distance;
            }
        }
        p->insns[moved_to[n]] = i;
        p->notes[moved_to[n]] = p->notes[n];
    }
    p->count = kept;
}

/*
 * Set has_loop, has_call and the jump targets from the instructions that can
 * be reached.
 */
static void summarise(struct dpf_program *p)
{
    p->has_loop = false;
    p->has_call = false;
    for (uint32_t n = 0; n < p->count; n++) {
        program_breathe(p->mem, n, BREATH_LONG);
        p->notes[n].flags &= NOTE_SECOND;
    }
    for (uint32_t n = 0; n < p->count; n += insn_len(&p->insns[n])) {
        const struct dpf_insn *i = &p->insns[n];
        program_breathe(p->mem, n, BREATH_LONG);
        p->has_call |= i->opcode == (BPF_JMP | BPF_CALL);
        if (insn_is_jump(i)) {
            uint32_t to = (uint32_t)(n + 1 + insn_jump(i));
            p->has_loop |= to <= n;
            p->notes[to].flags |= NOTE_TARGET;
        }
    }
}

/* Number the jump targets; instruction 0 counts as one. */
static void number_joins(struct verifier *v)
{
    v->join_count = 0;
    v->p->notes[0].flags |= NOTE_TARGET;
    for (uint32_t n = 0; n < v->p->count; n++) {
        program_breathe(v->mem, n, BREATH_LONG);
        if ((v->p->notes[n].flags & NOTE_TARGET) != 0) {
            v->join_of[n] = (uint16_t)v->join_count;
            v->join_at[v->join_count++] = n;
        }
    }
}

/* Attempts until the tracked part of the stack suffices: at most five. */
static int attempts(struct verifier *v)
{
    bool ok;
    do {
        size_t bytes = (size_t)v->join_count * (BPF_REG_COUNT + v->slots) *
                       sizeof(struct value);
        v->joins = v->mem->alloc(v->mem->ctx, bytes);
        if (v->joins == NULL) {
            return -DPF_E_MEM;
        }
        ok = attempt(v);
        v->mem->free(v->mem->ctx, v->joins, bytes);
    } while (ok && v->restart);
    return ok ? 0 : -DPF_E_VERIFY;
}

static int verify_analyse(struct verifier *v)
{
    struct dpf_program *p = v->p;
    /* One scratch block: pending, join_at (later moved_to), join_of. */
    size_t words = (p->count + 63) / 64;
    size_t bytes = words * 8 + (size_t)(p->count + 1) * (4 + 2);
    uint8_t *scratch = v->mem->alloc(v->mem->ctx, bytes);
    if (scratch == NULL) {
        return -DPF_E_MEM;
    }
    v->pending = (uint64_t *)(void *)scratch;
    v->join_at = (uint32_t *)(void *)(scratch + words * 8);
    v->join_of = (uint16_t *)(void *)(v->join_at + p->count + 1);
    number_joins(v);
    int err = attempts(v);
    if (err == 0) {
        compact(p, v->join_at);
        summarise(p);
        p->zero_stack = v->zero_stack;
        p->stack = v->zero_stack ? BPF_STACK_SIZE : v->deepest * 8;
    }
    v->mem->free(v->mem->ctx, scratch, bytes);
    return err;
}

int verify(const struct dpf_mem *mem, struct dpf_program *out,
           struct dpf_error *err)
{
    struct verifier v = {.mem = mem, .p = out, .err = err};
    if (out->count == 0) {
        refuse(&v, WHY_EMPTY, 0);
        return -DPF_E_VERIFY;
    }
    __builtin_memset(out->notes, 0, out->count * sizeof(out->notes[0]));
    if (!decode_check(&v)) {
        return -DPF_E_VERIFY;
    }
    v.flowing = true;
    return verify_analyse(&v);
}
