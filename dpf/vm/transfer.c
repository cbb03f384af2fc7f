/* SPDX-License-Identifier: MIT */
/*
 * The effect of each instruction on the kinds of values (docs/verifier.md).
 */
#include "dpf/vm/verifier.h"

/* `value` moved by `delta` bytes. */
static struct value transfer_moved(struct value value, int64_t delta)
{
    bool tracked = value.kind == K_STACK || value.kind == K_TABLE;
    if (tracked && value.off != NOTE_OFF_ANY) {
        int64_t off = value.off + delta;
        bool fits = off > INT16_MIN && off <= INT16_MAX;
        value.off = (int16_t)(fits ? off : NOTE_OFF_ANY);
    }
    return value;
}

/* Register `reg` is about to be read. */
static bool readable(struct verifier *v, uint32_t reg)
{
    if (v->now[reg].kind == K_UNWRITTEN) {
        return refuse(v, WHY_UNWRITTEN, reg);
    }
    if (v->now[reg].kind == K_MIXED) {
        return refuse(v, WHY_MIXED, reg);
    }
    return true;
}

/* So are all that instruction `i`, no call, reads. */
static bool all_readable(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t writes, reads = insn_regs(i, &writes);
    while (reads != 0 && readable(v, (uint32_t)__builtin_ctz(reads))) {
        reads &= reads - 1;
    }
    return reads == 0;
}

static bool scalar_read(struct verifier *v, uint32_t reg, enum why why)
{
    if (!readable(v, reg)) {
        return false;
    }
    return v->now[reg].kind == K_SCALAR ? true : refuse(v, why, reg);
}

/* ----------------------------------------------------------- arithmetic */

/*
 * Pointers move by numbers, and the difference of two into one region is a
 * number. Everything else would turn an address into a number, or be a pointer
 * into no region.
 */
static bool step_add_sub(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    bool add = BPF_OP(i->opcode) == BPF_ADD;
    struct value *d = &v->now[dst];
    if (BPF_SRC(i->opcode) == BPF_K) {
        *d = transfer_moved(*d, add ? i->imm : -(int64_t)i->imm);
        return true;
    }
    struct value b = v->now[src];
    if (is_pointer(*d) && is_pointer(b)) {
        if (add) {
            return refuse(v, WHY_ADD_POINTERS, dst);
        }
        if (d->kind != b.kind) {
            return refuse(v, WHY_SUB_REGIONS, dst);
        }
        *d = scalar();
        return true;
    }
    if (is_pointer(b)) {
        if (!add) {
            return refuse(v, WHY_SUB_POINTER, src);
        }
        *d = b;
    }
    if (d->kind == K_STACK || d->kind == K_TABLE) {
        d->off = NOTE_OFF_ANY;
    }
    return true;
}

static bool step_alu(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    uint32_t op = BPF_OP(i->opcode);
    bool wide = BPF_CLASS(i->opcode) == BPF_ALU64;
    bool x = BPF_SRC(i->opcode) == BPF_X && op != BPF_END;
    if (op == BPF_MOV) {
        if (x && is_pointer(v->now[src]) && (!wide || i->off != 0)) {
            return refuse(v, WHY_HALVED, src);
        }
        v->now[dst] = x ? v->now[src] : scalar();
        return true;
    }
    if (wide && (op == BPF_ADD || op == BPF_SUB)) {
        return step_add_sub(v, i);
    }
    if (is_pointer(v->now[dst])) {
        return refuse(v, WHY_HALVED, dst);
    }
    if (x && is_pointer(v->now[src])) {
        return refuse(v, WHY_HALVED, src);
    }
    v->now[dst] = scalar();
    return true;
}

/* ---------------------------------------------------------------- stack */

/* The stack will be used at computed offsets: it must start as zeros. */
static void want_zero_stack(struct verifier *v)
{
    if (!v->zero_stack) {
        v->zero_stack = true;
        v->restart = true;
    }
}

/* Is the constant access [off, off + size) on the stack, and tracked? */
static bool transfer_stack_at(struct verifier *v, int64_t off, uint32_t size)
{
    if (off < -(int64_t)BPF_STACK_SIZE || off + size > 0) {
        return refuse(v, WHY_STACK, off);
    }
    uint32_t depth = (uint32_t)(-off + 7) / 8;
    if (depth > v->deepest) {
        v->deepest = depth;
    }
    if (depth > v->slots) {
        uint32_t want = (depth + 7) / 8 * 8;
        v->slots = want > v->slots * 2 ? want : v->slots * 2;
        v->slots = v->slots > SLOTS_MAX ? SLOTS_MAX : v->slots;
        v->restart = true;
    }
    return true;
}

static bool load_stack(struct verifier *v, const struct dpf_insn *i,
                       int64_t off)
{
    uint32_t size = insn_width(i), dst = DPF_INSN_DST(i);
    if (!transfer_stack_at(v, off, size) || v->restart) {
        return v->restart;
    }
    const struct value *slot =
        &v->now[BPF_REG_COUNT + (uint32_t)(-1 - off) / 8];
    if (is_pointer(*slot) && size == 8 && off % 8 == 0) {
        v->now[dst] = *slot;
        return true;
    }
    for (uint32_t b = 0; b < size; b++) {
        int64_t at = off + b;
        slot = &v->now[BPF_REG_COUNT + (uint32_t)(-1 - at) / 8];
        if (is_pointer(*slot) || slot->kind == K_MIXED) {
            return refuse(v, WHY_SPILL_PART, 0);
        }
        if ((slot->written >> (at & 7) & 1) == 0) {
            return refuse(v, WHY_STACK_UNWRITTEN, 0);
        }
    }
    v->now[dst] = scalar();
    return true;
}

/* A store at a computed offset may have changed any pointer kept there. */
static void blur_stack(struct verifier *v)
{
    for (uint32_t n = 0; n < v->slots; n++) {
        if (v->now[BPF_REG_COUNT + n].kind == K_STACK ||
            v->now[BPF_REG_COUNT + n].kind == K_TABLE) {
            v->now[BPF_REG_COUNT + n].off = NOTE_OFF_ANY;
        }
    }
}

static bool store_stack(struct verifier *v, int64_t off, uint32_t size,
                        struct value value)
{
    if (!transfer_stack_at(v, off, size) || v->restart) {
        return v->restart;
    }
    /*
     * A pointer is stored whole and aligned (step_store sees to it), so it is
     * the value of one slot.
     */
    if (is_pointer(value)) {
        v->now[BPF_REG_COUNT + (uint32_t)(-1 - off) / 8] = value;
        return true;
    }
    for (uint32_t b = 0; b < size; b++) {
        int64_t at = off + b;
        struct value *slot = &v->now[BPF_REG_COUNT + (uint32_t)(-1 - at) / 8];
        if (slot->kind != K_SCALAR) {
            *slot = (struct value){.kind = K_SCALAR};
        }
        slot->written |= (uint8_t)(1u << (at & 7));
    }
    return true;
}

/* --------------------------------------------------------------- memory */

static bool step_load(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t src = DPF_INSN_SRC(i);
    struct insn_note *note = &v->p->notes[v->at];
    struct value base = v->now[src];
    if (!is_pointer(base)) {
        return refuse(v, WHY_LOAD_SCALAR, src);
    }
    note->region = base.kind;
    note->stack_off = NOTE_OFF_ANY;
    if (base.kind == K_TABLE) {
        int64_t off = transfer_moved(base, i->off).off;
        if (base.off == NOTE_OFF_ANY || insn_width(i) != 8 || off < 0 ||
            off % 8 != 0 || off / 8 >= DPF_REGIONS_MAX) {
            return refuse(v, WHY_TABLE, src);
        }
        note->stack_off = (int16_t)off;
        v->now[DPF_INSN_DST(i)] = pointer((uint32_t)off / 8, 0);
        return true;
    }
    if (base.kind == K_STACK && base.off != NOTE_OFF_ANY) {
        int64_t off = (int64_t)base.off + i->off;
        note->stack_off = (int16_t)off;
        return load_stack(v, i, off);
    }
    if (base.kind == K_STACK) {
        want_zero_stack(v);
    }
    v->now[DPF_INSN_DST(i)] = scalar();
    return true;
}

static bool writable(const struct verifier *v, uint32_t region)
{
    switch (v->p->type) {
    case DPF_HANDLER:
        return region == 1 || region == REGION_STACK;
    case DPF_RAW:
        return true; /* it has no other region */
    default:
        return region == REGION_STACK;
    }
}

static bool step_store(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    uint32_t size = insn_width(i);
    bool x = BPF_CLASS(i->opcode) == BPF_STX;
    struct insn_note *note = &v->p->notes[v->at];
    struct value value = x ? v->now[src] : scalar();
    struct value base = v->now[dst];
    if (!is_pointer(base)) {
        return refuse(v, WHY_STORE_SCALAR, dst);
    }
    if (!writable(v, base.kind)) {
        return refuse(v, WHY_READ_ONLY, dst);
    }
    bool exact = base.kind == K_STACK && base.off != NOTE_OFF_ANY;
    int64_t off = exact ? (int64_t)base.off + i->off : 0;
    /*
     * A pointer may be kept on the stack where we know the place. Anywhere
     * else it could be read back as a number, and leave the program.
     */
    if (is_pointer(value) && (!exact || size != 8 || off % 8 != 0)) {
        return refuse(v, WHY_LEAK, src);
    }
    note->region = base.kind;
    note->stack_off = (int16_t)(exact ? off : NOTE_OFF_ANY);
    if (exact) {
        return store_stack(v, off, size, value);
    }
    if (base.kind == K_STACK) {
        want_zero_stack(v);
        blur_stack(v);
    }
    return true;
}

/* ----------------------------------------------------- control transfer */

static const struct helper_sig helpers[] = {
    {DPF_HELPER_EMIT, DPF_UDF, "emit", "sss"},
    {DPF_HELPER_REPLY, DPF_HANDLER, "reply", "pn"},
    {DPF_HELPER_DELIVER, DPF_HANDLER, "deliver", ""},
    {DPF_HELPER_WAKE, DPF_HANDLER, "wake", "s"},
};

const struct helper_sig *helper_find(uint32_t number, uint8_t type)
{
    for (size_t n = 0; n < sizeof(helpers) / sizeof(helpers[0]); n++) {
        if (helpers[n].number == number && helpers[n].type == type) {
            return &helpers[n];
        }
    }
    return NULL;
}

static bool step_call(struct verifier *v, const struct dpf_insn *i)
{
    const struct helper_sig *sig = helper_find((uint32_t)i->imm, v->p->type);
    if (sig == NULL) {
        return refuse(v, WHY_NO_HELPER, 0);
    }
    struct insn_note *note = &v->p->notes[v->at];
    note->stack_off = NOTE_OFF_ANY;
    for (uint32_t a = 0; sig->args[a] != '\0'; a++) {
        uint32_t reg = a + 1;
        if (!readable(v, reg)) {
            return false;
        }
        uint8_t kind = v->now[reg].kind;
        if (sig->args[a] != 'p') {
            if (!scalar_read(v, reg, WHY_ARG_SCALAR)) {
                return false;
            }
            continue;
        }
        if (kind == K_SCALAR) { /* no type has a table and such a helper */
            return refuse(v, WHY_ARG_POINTER, reg);
        }
        note->region = kind;
        if (kind == K_STACK) {
            want_zero_stack(v);
        }
    }
    v->now[0] = scalar();
    /* A helper is a C function, which keeps none of these. */
    for (uint32_t reg = 1; reg <= 5; reg++) {
        v->now[reg] = (struct value){.kind = K_UNWRITTEN};
    }
    return true;
}

bool transfer_compare(struct verifier *v, const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    bool x = BPF_SRC(i->opcode) == BPF_X;
    if (!all_readable(v, i)) {
        return false;
    }
    struct value a = v->now[dst], b = x ? v->now[src] : scalar();
    if (!is_pointer(a) && !is_pointer(b)) {
        return true;
    }
    if (!is_pointer(a) || !is_pointer(b)) {
        return refuse(v, WHY_COMPARE_SCALAR, is_pointer(a) ? dst : src);
    }
    if (a.kind != b.kind || BPF_CLASS(i->opcode) != BPF_JMP ||
        BPF_OP(i->opcode) == BPF_JSET) {
        return refuse(v, WHY_COMPARE_POINTERS, dst);
    }
    return true;
}

bool transfer(struct verifier *v, const struct dpf_insn *i)
{
    if (BPF_CLASS(i->opcode) == BPF_JMP) {
        return step_call(v, i);
    }
    if (!all_readable(v, i)) {
        return false;
    }
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        v->now[DPF_INSN_DST(i)] = scalar();
        return true;
    case BPF_LDX:
        return step_load(v, i);
    case BPF_ST:
    case BPF_STX:
        return step_store(v, i);
    default:
        return step_alu(v, i);
    }
}

bool transfer_exit(struct verifier *v)
{
    return scalar_read(v, 0, WHY_RETURN);
}
