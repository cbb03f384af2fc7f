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
#include "dpf/vm/decode.h"

enum kind {
    K_REGION0 = 0, /* K_REGION0 + i: pointer into region i */
    K_STACK = REGION_STACK,
    K_TABLE = REGION_TABLE,
    K_SCALAR = 10,
    K_MIXED,     /* of different kinds on different paths */
    K_UNWRITTEN, /* not written on some path */
};

struct value {
    uint8_t kind;    /* enum kind */
    uint8_t written; /* slots: a bit per byte; a pointer has all */
    int16_t off;     /* K_STACK, K_TABLE: constant offset or NOTE_OFF_ANY */
};

#define SLOTS_MAX (BPF_STACK_SIZE / 8)

struct state {
    struct value reg[BPF_REG_COUNT];
    struct value slot[SLOTS_MAX]; /* slot[0] lies just below r10 */
};

struct verifier {
    const struct dpf_mem *mem;
    struct dpf_program *p;
    struct refusal *r;
    uint16_t *join_of;   /* per instruction that is a jump target: its number */
    uint32_t *join_at;   /* per join: its instruction */
    struct value *joins; /* per join: 11 + slots values */
    uint64_t *pending;   /* bit per join */
    uint64_t summary[DPF_INSNS_MAX / 4096]; /* bit per word of pending */
    uint32_t join_count;
    uint32_t slots;   /* stack slots that are tracked */
    uint32_t deepest; /* slots the program touched */
    uint32_t at;      /* instruction being looked at */
    bool zero_stack;
    bool restart; /* slots or zero_stack changed: begin anew */
};

/* ------------------------------------------------------------- messages */

static void put_kind(struct text *t, const struct verifier *v,
                     struct value value)
{
    static const char *const first[] = {
        [DPF_FILTER] = "packet", [DPF_PREDICATE] = "region 0",
        [DPF_UDF] = "metadata",  [DPF_HANDLER] = "packet",
        [DPF_RAW] = "memory",
    };
    switch (value.kind) {
    case K_SCALAR:
        text_str(t, "scalar");
        return;
    case K_MIXED:
        text_str(t, "scalar or pointer by path");
        return;
    case K_UNWRITTEN:
        text_str(t, "unwritten");
        return;
    case K_STACK:
    case K_TABLE:
        text_str(t, value.kind == K_STACK ? "stack" : "table");
        if (value.off == NOTE_OFF_ANY) {
            text_str(t, "+?");
        } else {
            text_str(t, value.off < 0 ? "" : "+");
            text_dec(t, value.off);
        }
        return;
    case K_REGION0:
        text_str(t, first[v->p->type]);
        return;
    default:
        if (v->p->type == DPF_HANDLER) {
            text_str(t, "state");
            return;
        }
        text_str(t, "region ");
        text_dec(t, value.kind);
        return;
    }
}

/* Close a refusal with what was known: registers that were written. */
static void put_state(struct verifier *v, const struct state *s)
{
    struct text *t = &v->r->text;
    const char *sep = " [";
    for (uint32_t i = 0; i < BPF_REG_COUNT; i++) {
        if (s->reg[i].kind == K_UNWRITTEN) {
            continue;
        }
        text_str(t, sep);
        text_str(t, "r");
        text_dec(t, i);
        text_str(t, " ");
        put_kind(t, v, s->reg[i]);
        sep = ", ";
    }
    text_str(t, "]");
}

static bool no(struct verifier *v, const struct state *s, const char *rule,
               const char *why)
{
    refuse(v->r, v->at, rule);
    text_str(&v->r->text, why);
    put_state(v, s);
    return false;
}

/* A refusal that begins with what register `reg` is. */
static bool no_reg(struct verifier *v, const struct state *s, uint32_t reg,
                   const char *rule, const char *why)
{
    struct text *t = &v->r->text;
    refuse(v->r, v->at, rule);
    text_str(t, "r");
    text_dec(t, reg);
    text_str(t, " is ");
    put_kind(t, v, s->reg[reg]);
    text_str(t, "; ");
    text_str(t, why);
    put_state(v, s);
    return false;
}

/* --------------------------------------------------------------- values */

static bool is_pointer(struct value value)
{
    return value.kind < K_SCALAR;
}

static struct value scalar(void)
{
    return (struct value){.kind = K_SCALAR, .written = 0xff};
}

static struct value pointer(uint32_t region, int16_t off)
{
    return (struct value){.kind = (uint8_t)region, .written = 0xff, .off = off};
}

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

/* `value` moved by `delta` bytes. */
static struct value moved(struct value value, int64_t delta)
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
static bool readable(struct verifier *v, const struct state *s, uint32_t reg)
{
    if (s->reg[reg].kind == K_UNWRITTEN) {
        return no_reg(v, s, reg, "unwritten",
                      "it is read but some path here does not write it");
    }
    if (s->reg[reg].kind == K_MIXED) {
        return no_reg(v, s, reg, "mixed",
                      "it is a pointer on one path and something else on "
                      "another; use two registers");
    }
    return true;
}

static bool scalar_read(struct verifier *v, const struct state *s, uint32_t reg,
                        const char *rule, const char *why)
{
    if (!readable(v, s, reg)) {
        return false;
    }
    return s->reg[reg].kind == K_SCALAR ? true : no_reg(v, s, reg, rule, why);
}

/* ----------------------------------------------------------- arithmetic */

static bool step_add_sub(struct verifier *v, struct state *s,
                         const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    bool add = BPF_OP(i->opcode) == BPF_ADD;
    struct value *d = &s->reg[dst];
    if (BPF_SRC(i->opcode) == BPF_K) {
        *d = moved(*d, add ? i->imm : -(int64_t)i->imm);
        return true;
    }
    struct value b = s->reg[src];
    if (is_pointer(*d) && is_pointer(b)) {
        if (add) {
            return no_reg(v, s, dst, "pointer-arith",
                          "two pointers cannot be added");
        }
        if (d->kind != b.kind) {
            return no_reg(v, s, dst, "pointer-arith",
                          "pointers into different regions cannot be "
                          "subtracted");
        }
        *d = scalar();
        return true;
    }
    if (is_pointer(b)) {
        if (!add) {
            return no_reg(v, s, src, "pointer-arith",
                          "a pointer cannot be subtracted from a scalar");
        }
        *d = b;
    }
    if (d->kind == K_STACK || d->kind == K_TABLE) {
        d->off = NOTE_OFF_ANY;
    }
    return true;
}

static bool step_alu(struct verifier *v, struct state *s,
                     const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    uint32_t op = BPF_OP(i->opcode);
    bool wide = BPF_CLASS(i->opcode) == BPF_ALU64;
    bool x = BPF_SRC(i->opcode) == BPF_X && op != BPF_END;
    static const char halved[] =
        "only 64-bit add, subtract and copy work on pointers; make the "
        "variable a pointer or a 64-bit integer";
    if ((x && !readable(v, s, src)) ||
        (op != BPF_MOV && !readable(v, s, dst))) {
        return false;
    }
    if (op == BPF_MOV) {
        if (x && is_pointer(s->reg[src]) && (!wide || i->off != 0)) {
            return no_reg(v, s, src, "pointer-arith", halved);
        }
        s->reg[dst] = x ? s->reg[src] : scalar();
        return true;
    }
    if (wide && (op == BPF_ADD || op == BPF_SUB)) {
        return step_add_sub(v, s, i);
    }
    if (is_pointer(s->reg[dst])) {
        return no_reg(v, s, dst, "pointer-arith", halved);
    }
    if (x && is_pointer(s->reg[src])) {
        return no_reg(v, s, src, "pointer-arith", halved);
    }
    s->reg[dst] = scalar();
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
static bool stack_at(struct verifier *v, const struct state *s, int64_t off,
                     uint32_t size)
{
    if (off < -(int64_t)BPF_STACK_SIZE || off + size > 0) {
        refuse(v->r, v->at, "stack");
        text_str(&v->r->text, "touches the stack at r10");
        text_str(&v->r->text, off < 0 ? "" : "+");
        text_dec(&v->r->text, off);
        text_str(&v->r->text, "; it is the 512 bytes below r10");
        put_state(v, s);
        return false;
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

static bool load_stack(struct verifier *v, struct state *s,
                       const struct dpf_insn *i, int64_t off)
{
    uint32_t size = insn_width(i), dst = DPF_INSN_DST(i);
    if (!stack_at(v, s, off, size) || v->restart) {
        return v->restart;
    }
    const struct value *slot = &s->slot[(uint32_t)(-1 - off) / 8];
    if (is_pointer(*slot) && size == 8 && off % 8 == 0) {
        s->reg[dst] = *slot;
        return true;
    }
    for (uint32_t b = 0; b < size; b++) {
        int64_t at = off + b;
        slot = &s->slot[(uint32_t)(-1 - at) / 8];
        if (is_pointer(*slot) || slot->kind == K_MIXED) {
            return no(v, s, "stack",
                      "reads part of a pointer kept on the stack; a pointer "
                      "is read back whole");
        }
        if (slot->kind != K_SCALAR || (slot->written >> (at & 7) & 1) == 0) {
            return no(v, s, "unwritten",
                      "reads stack bytes that some path here does not write");
        }
    }
    s->reg[dst] = scalar();
    return true;
}

/* A store at a computed offset may have changed any pointer kept there. */
static void blur_stack(struct verifier *v, struct state *s)
{
    for (uint32_t n = 0; n < v->slots; n++) {
        if (s->slot[n].kind == K_STACK || s->slot[n].kind == K_TABLE) {
            s->slot[n].off = NOTE_OFF_ANY;
        }
    }
}

static bool store_stack(struct verifier *v, struct state *s, int64_t off,
                        uint32_t size, struct value value)
{
    if (!stack_at(v, s, off, size) || v->restart) {
        return v->restart;
    }
    if (is_pointer(value)) {
        s->slot[(uint32_t)(-1 - off) / 8] = value;
        return true;
    }
    for (uint32_t b = 0; b < size; b++) {
        int64_t at = off + b;
        struct value *slot = &s->slot[(uint32_t)(-1 - at) / 8];
        if (slot->kind != K_SCALAR) {
            *slot = (struct value){.kind = K_SCALAR};
        }
        slot->written |= (uint8_t)(1u << (at & 7));
    }
    return true;
}

/* --------------------------------------------------------------- memory */

static bool step_load(struct verifier *v, struct state *s,
                      const struct dpf_insn *i)
{
    uint32_t src = DPF_INSN_SRC(i);
    struct insn_note *note = &v->p->notes[v->at];
    if (!readable(v, s, src)) {
        return false;
    }
    struct value base = s->reg[src];
    if (!is_pointer(base)) {
        return no_reg(v, s, src, "pointer-guess",
                      "a load goes through a pointer, and an integer is none");
    }
    note->region = base.kind;
    note->stack_off = NOTE_OFF_ANY;
    if (base.kind == K_TABLE) {
        int64_t off = moved(base, i->off).off;
        if (base.off == NOTE_OFF_ANY || insn_width(i) != 8 || off < 0 ||
            off % 8 != 0 || off / 8 >= DPF_REGIONS_MAX) {
            return no_reg(v, s, src, "table",
                          "the table is read as 8-byte pointers 0 to 7 at "
                          "constant offsets only");
        }
        note->stack_off = (int16_t)off;
        s->reg[DPF_INSN_DST(i)] = pointer((uint32_t)off / 8, 0);
        return true;
    }
    if (base.kind == K_STACK && base.off != NOTE_OFF_ANY) {
        int64_t off = (int64_t)base.off + i->off;
        note->stack_off = (int16_t)off;
        return load_stack(v, s, i, off);
    }
    if (base.kind == K_STACK) {
        want_zero_stack(v);
    }
    s->reg[DPF_INSN_DST(i)] = scalar();
    return true;
}

static bool writable(const struct verifier *v, uint32_t region)
{
    switch (v->p->type) {
    case DPF_HANDLER:
        return region == 1 || region == REGION_STACK;
    case DPF_RAW:
        return region == 0 || region == REGION_STACK;
    default:
        return region == REGION_STACK;
    }
}

static bool step_store(struct verifier *v, struct state *s,
                       const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    uint32_t size = insn_width(i);
    bool x = BPF_CLASS(i->opcode) == BPF_STX;
    struct insn_note *note = &v->p->notes[v->at];
    struct value value = x ? s->reg[src] : scalar();
    if (!readable(v, s, dst) || (x && !readable(v, s, src))) {
        return false;
    }
    struct value base = s->reg[dst];
    if (!is_pointer(base)) {
        return no_reg(v, s, dst, "pointer-guess",
                      "a store goes through a pointer, and an integer is none");
    }
    if (!writable(v, base.kind)) {
        return no_reg(v, s, dst, "read-only",
                      "this program type may not write there; copy to the "
                      "stack and change the copy");
    }
    bool exact = base.kind == K_STACK && base.off != NOTE_OFF_ANY;
    int64_t off = exact ? (int64_t)base.off + i->off : 0;
    if (is_pointer(value) && (!exact || size != 8 || off % 8 != 0)) {
        return no_reg(v, s, src, "pointer-leak",
                      "a pointer may be kept only on the stack, whole, at a "
                      "constant offset that is a multiple of 8");
    }
    note->region = base.kind;
    note->stack_off = (int16_t)(exact ? off : NOTE_OFF_ANY);
    if (exact) {
        return store_stack(v, s, off, size, value);
    }
    if (base.kind == K_STACK) {
        want_zero_stack(v);
        blur_stack(v, s);
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

static bool step_call(struct verifier *v, struct state *s,
                      const struct dpf_insn *i)
{
    const struct helper_sig *sig = helper_find((uint32_t)i->imm, v->p->type);
    if (sig == NULL) {
        return no(v, s, "call",
                  "this program type has no helper of that number; udf has "
                  "emit (1), handler has reply (2), deliver (3), wake (4)");
    }
    struct insn_note *note = &v->p->notes[v->at];
    note->stack_off = NOTE_OFF_ANY;
    for (uint32_t a = 0; sig->args[a] != '\0'; a++) {
        uint32_t reg = a + 1;
        if (!readable(v, s, reg)) {
            return false;
        }
        uint8_t kind = s->reg[reg].kind;
        if (sig->args[a] != 'p') {
            if (!scalar_read(v, s, reg, "call", "a scalar is expected")) {
                return false;
            }
            continue;
        }
        if (kind == K_SCALAR || kind == K_TABLE) {
            return no_reg(v, s, reg, "call",
                          "the helper wants a pointer to bytes");
        }
        note->region = kind;
        if (kind == K_STACK) {
            want_zero_stack(v);
        }
    }
    s->reg[0] = scalar();
    for (uint32_t reg = 1; reg <= 5; reg++) {
        s->reg[reg] = (struct value){.kind = K_UNWRITTEN};
    }
    return true;
}

static bool step_compare(struct verifier *v, const struct state *s,
                         const struct dpf_insn *i)
{
    uint32_t dst = DPF_INSN_DST(i), src = DPF_INSN_SRC(i);
    bool x = BPF_SRC(i->opcode) == BPF_X;
    if (!readable(v, s, dst) || (x && !readable(v, s, src))) {
        return false;
    }
    struct value a = s->reg[dst], b = x ? s->reg[src] : scalar();
    if (!is_pointer(a) && !is_pointer(b)) {
        return true;
    }
    if (!is_pointer(a) || !is_pointer(b)) {
        return no_reg(v, s, is_pointer(a) ? dst : src, "pointer-compare",
                      "a pointer is never null and its value means nothing; "
                      "remove the test, or compare an offset or r2 instead");
    }
    if (a.kind != b.kind || BPF_CLASS(i->opcode) != BPF_JMP ||
        BPF_OP(i->opcode) == BPF_JSET) {
        return no_reg(v, s, dst, "pointer-compare",
                      "pointers are compared whole and within one region");
    }
    return true;
}

/* One instruction that does not transfer control (a call returns). */
static bool step(struct verifier *v, struct state *s, const struct dpf_insn *i)
{
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        s->reg[DPF_INSN_DST(i)] = scalar();
        return true;
    case BPF_LDX:
        return step_load(v, s, i);
    case BPF_ST:
    case BPF_STX:
        return step_store(v, s, i);
    case BPF_ALU:
    case BPF_ALU64:
        return step_alu(v, s, i);
    default:
        return step_call(v, s, i);
    }
}

/* ---------------------------------------------------------------- joins */

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

/* Merge `s` into the state at jump target `at`. */
static void flow(struct verifier *v, const struct state *s, uint32_t at)
{
    uint32_t join = v->join_of[at], values = BPF_REG_COUNT + v->slots;
    struct value *to = v->joins + (size_t)join * values;
    bool changed = false;
    if ((v->p->notes[at].flags & NOTE_REACHED) == 0) {
        __builtin_memcpy(to, s->reg, sizeof(s->reg));
        __builtin_memcpy(to + BPF_REG_COUNT, s->slot,
                         v->slots * sizeof(s->slot[0]));
        v->p->notes[at].flags |= NOTE_REACHED;
        set_pending(v, join);
        return;
    }
    for (uint32_t n = 0; n < values; n++) {
        struct value from =
            n < BPF_REG_COUNT ? s->reg[n] : s->slot[n - BPF_REG_COUNT];
        struct value merged = join_value(to[n], from);
        if (__builtin_memcmp(&merged, &to[n], sizeof(merged)) != 0) {
            to[n] = merged;
            changed = true;
        }
    }
    if (changed) {
        set_pending(v, join);
    }
}

static bool no_end(struct verifier *v, const struct state *s)
{
    return no(v, s, "end",
              "execution runs off the end of the program; end it with exit");
}

/*
 * Follow execution from the jump target `at` with state `s` until it joins
 * another jump target or ends.
 */
static bool walk(struct verifier *v, struct state *s, uint32_t at)
{
    const struct dpf_program *p = v->p;
    for (;;) {
        const struct dpf_insn *i = &p->insns[at];
        v->at = at;
        p->notes[at].flags |= NOTE_REACHED;
        if (i->opcode == (BPF_JMP | BPF_EXIT)) {
            return scalar_read(v, s, 0, "pointer-return",
                               "the result must be a scalar");
        }
        uint32_t next = at + insn_len(i);
        if (insn_is_jump(i)) {
            if (BPF_OP(i->opcode) != BPF_JA && !step_compare(v, s, i)) {
                return false;
            }
            flow(v, s, (uint32_t)(at + 1 + insn_jump(i)));
            if (BPF_OP(i->opcode) == BPF_JA) {
                return true;
            }
        } else if (!step(v, s, i)) {
            return false;
        }
        if (v->restart) {
            return true;
        }
        if (next >= p->count) {
            return no_end(v, s);
        }
        if ((p->notes[next].flags & NOTE_TARGET) != 0) {
            flow(v, s, next);
            return true;
        }
        at = next;
    }
}

static void entry_state(const struct verifier *v, struct state *s)
{
    for (uint32_t n = 0; n < BPF_REG_COUNT; n++) {
        s->reg[n] = (struct value){.kind = K_UNWRITTEN};
    }
    for (uint32_t n = 0; n < SLOTS_MAX; n++) {
        s->slot[n] =
            v->zero_stack ? scalar() : (struct value){.kind = K_SCALAR};
    }
    s->reg[BPF_REG_FP] = pointer(K_STACK, 0);
    if (v->p->type == DPF_PREDICATE) {
        s->reg[1] = pointer(K_TABLE, 0);
        return;
    }
    s->reg[1] = pointer(K_REGION0, 0);
    s->reg[2] = scalar();
    if (v->p->type == DPF_UDF) {
        s->reg[3] = scalar();
    } else if (v->p->type == DPF_HANDLER) {
        s->reg[3] = pointer(1, 0);
    }
}

/* One attempt with a fixed number of slots; v->restart asks for another. */
static bool attempt(struct verifier *v)
{
    struct state s;
    uint32_t values = BPF_REG_COUNT + v->slots;
    v->restart = false;
    for (uint32_t n = 0; n < v->p->count; n++) {
        v->p->notes[n].flags &= (uint8_t)~NOTE_REACHED;
        v->p->notes[n].region = REGION_NONE;
    }
    __builtin_memset(v->pending, 0, (v->join_count + 63) / 64 * 8);
    __builtin_memset(v->summary, 0, sizeof(v->summary));
    entry_state(v, &s);
    flow(v, &s, 0);
    for (;;) {
        uint32_t join = take_pending(v);
        if (join == UINT32_MAX) {
            return true;
        }
        const struct value *from = v->joins + (size_t)join * values;
        __builtin_memcpy(s.reg, from, sizeof(s.reg));
        __builtin_memcpy(s.slot, from + BPF_REG_COUNT,
                         v->slots * sizeof(s.slot[0]));
        if (!walk(v, &s, v->join_at[join])) {
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
        bool second = (p->notes[n].flags & NOTE_SECOND) != 0;
        bool keep = (p->notes[second ? n - 1 : n].flags & NOTE_REACHED) != 0;
        moved_to[n] = kept;
        kept += keep;
    }
    moved_to[p->count] = kept;
    for (uint32_t n = 0; n < p->count; n++) {
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

/* What is still used decides has_loop, has_call and the jump targets. */
static void summarise(struct dpf_program *p)
{
    p->has_loop = false;
    p->has_call = false;
    for (uint32_t n = 0; n < p->count; n++) {
        p->notes[n].flags &= NOTE_SECOND;
    }
    for (uint32_t n = 0; n < p->count; n += insn_len(&p->insns[n])) {
        const struct dpf_insn *i = &p->insns[n];
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

static int analyse(struct verifier *v)
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
    struct refusal r = {.err = err};
    struct verifier v = {.mem = mem, .p = out, .r = &r};
    if (out->count == 0) {
        refuse(&r, 0, "end");
        text_str(&r.text, "an empty program; it needs at least an exit");
        return -DPF_E_VERIFY;
    }
    __builtin_memset(out->notes, 0, out->count * sizeof(out->notes[0]));
    int rc = decode_check(out, &r);
    return rc != 0 ? rc : analyse(&v);
}
