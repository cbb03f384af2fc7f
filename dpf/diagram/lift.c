/* SPDX-License-Identifier: MIT */
/*
 * The symbolic run. A state is an instruction and what the live registers
 * and stack cells hold, as numbers of interned values; equal states have
 * equal diagrams, so each is explored once. The exploration keeps its own
 * stack, as deep as a path has branches.
 *
 * Forgetting a value is always sound: it becomes unknown, and what depends
 * on it becomes DD_MAYBE.
 */
#include "dpf/diagram/lift.h"

#include "dpf/diagram/value.h"
#include "dpf/vm/program.h"

#define CELLS 32u    /* 4-byte stack cells followed, below the frame pointer */
#define REGS 0x3ffu  /* of what is live: the registers but r10 */
#define CELL_BIT 16u /* and the first cell */
#define STATES_MAX 16384u
#define STEPS_MAX (1u << 20)
#define TESTS_MAX 256u /* of a conjunction */
#define HEADS_FIRST 64u
#define NO_STATE UINT32_MAX
#define UNSEEN (DD_TERM | 4u)
#define BUSY (DD_TERM | 5u)
#define IS (DD_TERM | 6u) /* of a conjunction: the test is in walk.is */

enum { ID_UNKNOWN, ID_CONT, ID_FP, ID_FIRST };

struct state {
    uint32_t pc;
    uint16_t reg[10];
    uint16_t cell[CELLS];
};

/*
 * What a state leads to, for packets of at least `need` bytes; shorter ones
 * are rejected. Kept apart, since most runs read at constant offsets: the
 * length is tested once, not in the diagram of each state on the way.
 */
struct result {
    uint32_t f; /* diagram */
    uint32_t need;
};

/* A state that was reached, and a value that is held: chained by hash. */
struct seen {
    struct state state;
    struct result result;
    uint32_t hash, chain;
};

struct held {
    struct val val;
    uint32_t hash, chain;
};

/* The first of each chain; as many chains as there are entries, or half. */
struct heads {
    uint32_t *first;
    uint32_t cap; /* a power of two */
};

/* A state being explored: a run of instructions that ends in a branch. */
struct frame {
    uint32_t state;
    uint32_t cond;    /* diagram, VAL_OPAQUE or IS */
    uint32_t guard;   /* packets on which no access of the run fails */
    uint32_t need;    /* bytes that the run reads from the packet's start */
    bool may_stop;    /* an access was not understood */
    uint8_t done;     /* successors whose result is known */
    uint32_t next[2]; /* taken, not taken */
    struct result result[2];
};

struct walk {
    struct dd *d;
    const struct dpf_insn *insns;
    uint32_t count;
    uint32_t states_max, steps;
    uint64_t *live; /* per instruction: REGS, and cells from CELL_BIT on */
    struct held *vals;
    uint32_t val_count, val_cap;
    struct seen *states;
    uint32_t state_count, state_cap;
    struct frame *frames;
    uint32_t frame_cap;
    int err;
    bool as_cube;      /* make no diagrams of equalities */
    struct cube *cube; /* what accesses ask of bases goes here, or NULL */
    struct val is;     /* the last one: this value is is_k */
    uint64_t is_k;
    struct state now;              /* the run in progress */
    struct heads heads, val_heads; /* of states, of values */
    uint32_t first_heads[2][HEADS_FIRST];
    uint64_t soft; /* work done when reading ends, so that some is left */
};

/* ---------------------------------------------------------------- liveness */

static uint64_t cell_mask(int off, uint32_t size, bool whole)
{
    uint64_t m = 0;
    for (uint32_t c = 0; c < CELLS; c++) {
        int lo = (int)(4 * c) - (int)(4 * CELLS);
        bool in = whole ? lo >= off && lo + 4 <= off + (int)size
                        : lo < off + (int)size && lo + 4 > off;
        m |= in ? UINT64_C(1) << (CELL_BIT + c) : 0;
    }
    return m;
}

/*
 * What an instruction reads and what it surely overwrites: registers but r10,
 * cells of the stack.
 */
static void uses(const struct dpf_insn *in, uint64_t *gen, uint64_t *kill)
{
    uint32_t cls = BPF_CLASS(in->opcode);
    bool load = cls == BPF_LDX && DPF_INSN_SRC(in) == BPF_REG_FP;
    bool store =
        (cls == BPF_ST || cls == BPF_STX) && DPF_INSN_DST(in) == BPF_REG_FP;

    uint32_t writes;
    *gen = insn_regs(in, &writes) & REGS;
    *kill = writes;
    if (load || store) {
        uint64_t cells = cell_mask(in->off, insn_width(in), store);
        *gen |= load ? cells : 0;
        *kill |= store ? cells : 0;
    }
}

static uint32_t target(const struct dpf_insn *insns, uint32_t pc)
{
    return (uint32_t)(pc + 1 + insn_jump(&insns[pc]));
}

/* Does the stack's address go anywhere but into direct accesses? */
static bool stack_escapes(const struct walk *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        const struct dpf_insn *in = &w->insns[i];
        uint32_t cls = BPF_CLASS(in->opcode);
        bool reads_src = (cls == BPF_ALU || cls == BPF_ALU64)
                             ? BPF_SRC(in->opcode) == BPF_X
                             : cls == BPF_STX;
        if (reads_src && DPF_INSN_SRC(in) == BPF_REG_FP &&
            BPF_OP(in->opcode) != BPF_END) {
            return true;
        }
        i += insn_len(in) - 1;
    }
    return false;
}

static void find_live(struct walk *w)
{
    uint64_t always = stack_escapes(w) ? UINT64_MAX << CELL_BIT : 0;
    bool again = true, back = false;
    __builtin_memset(w->live, 0, w->count * sizeof(*w->live));
    /* A second pass is for what a jump back could not see. */
    for (int pass = 0; again && pass < 16 && dd_work(w->d, w->count); pass++) {
        again = back = false;
        for (uint32_t i = w->count; i-- > 0;) {
            const struct dpf_insn *in = &w->insns[i];
            uint64_t out = 0;
            uint32_t next = i + insn_len(in);
            heap_pass(w->d->heap, 2);
            if (in->opcode == 0) {
                continue; /* the second half of a wide constant */
            }
            uint64_t gen, kill;
            uses(in, &gen, &kill);
            if (insn_is_jump(in) && target(w->insns, i) < w->count) {
                out |= w->live[target(w->insns, i)];
                back = back || target(w->insns, i) <= i;
            }
            if (in->opcode != (BPF_JMP | BPF_EXIT) &&
                !(insn_is_jump(in) && BPF_OP(in->opcode) == BPF_JA) &&
                next < w->count) {
                out |= w->live[next];
            }
            uint64_t live = gen | (out & ~kill) | always;
            again = again || (back && live != w->live[i]);
            w->live[i] = live;
        }
    }
}

/* ------------------------------------------------------- values and states */

static uint32_t hash_words(const void *p, uint32_t bytes)
{
    uint64_t h = bytes;
    uint64_t x;
    for (uint32_t i = 0; i + 8 <= bytes; i += 8) {
        __builtin_memcpy(&x, (const uint8_t *)p + i, 8);
        h = (h ^ x) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

static void heads_free(const struct walk *w, const struct heads *h)
{
    if (h->cap > HEADS_FIRST) { /* else they are in the walk */
        heap_free(w->d->heap, h->first, h->cap * sizeof(*h->first));
    }
}

/* Make room for one more entry beside `used`: those there are chained anew. */
static bool heads_grow(struct walk *w, struct heads *h, uint32_t used,
                       void *entries, size_t size, size_t hash_at)
{
    uint32_t cap = h->cap * 2;
    if (used < h->cap) {
        return true;
    }
    uint32_t *first;
    first = heap_alloc(w->d->heap, cap * sizeof(*first));
    if (first == NULL) {
        w->err = -DPF_E_MEM;
        return false;
    }
    heads_free(w, h);
    *h = (struct heads){first, cap};
    __builtin_memset(first, 0xff, cap * sizeof(*first));
    for (uint32_t i = 0; i < used; i++) {
        /* The hash, and behind it the chain. */
        uint32_t *at =
            (uint32_t *)(void *)((uint8_t *)entries + i * size + hash_at);

        at[1] = first[at[0] & (cap - 1)];
        first[at[0] & (cap - 1)] = i;
    }
    return true;
}

static uint16_t intern(struct walk *w, const struct val *v)
{
    if (v->kind == VAL_UNKNOWN) {
        return ID_UNKNOWN;
    }
    if (!heads_grow(w, &w->val_heads, w->val_count, w->vals, sizeof(*w->vals),
                    offsetof(struct held, hash))) {
        return ID_UNKNOWN;
    }
    /* The bits that it does not have are 0. */
    uint32_t hash = hash_words(v, (uint32_t)offsetof(struct val, bits) +
                                      v->count * sizeof(v->bits[0]));
    uint32_t *head = &w->val_heads.first[hash & (w->val_heads.cap - 1)];
    for (uint32_t i = *head; i != NO_STATE && dd_work(w->d, 1);
         i = w->vals[i].chain) {
        if (w->vals[i].hash == hash &&
            !__builtin_memcmp(&w->vals[i].val, v, sizeof(*v))) {
            return (uint16_t)i;
        }
    }
    if (w->val_count == UINT16_MAX) {
        return ID_UNKNOWN;
    }
    if (w->val_count == w->val_cap &&
        heap_grow(w->d->heap, (void **)&w->vals, &w->val_cap, sizeof(*w->vals),
                  w->val_count, w->val_count + 1)) {
        w->err = -DPF_E_MEM;
        return ID_UNKNOWN;
    }
    w->vals[w->val_count] = (struct held){*v, hash, *head};
    *head = w->val_count;
    return (uint16_t)w->val_count++;
}

/* Is the rest of the fuel for making diagrams of what was read? */
static bool is_tired(const struct walk *w)
{
    return w->soft != 0 && w->d->heap->work > w->soft;
}

/* The number of state `now` at `pc`, with what is dead there forgotten. */
static uint32_t state_at(struct walk *w, uint32_t pc)
{
    if (pc >= w->count || !dd_work(w->d, 2) ||
        !heads_grow(w, &w->heads, w->state_count, w->states, sizeof(*w->states),
                    offsetof(struct seen, hash))) {
        return NO_STATE;
    }
    uint64_t live = w->live[pc];
    struct state s;
    __builtin_memset(&s, 0, sizeof(s)); /* all are ID_UNKNOWN */
    s.pc = pc;
    for (uint64_t left = live & REGS; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        s.reg[i] = w->now.reg[i];
    }
    for (uint64_t left = live >> CELL_BIT; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        s.cell[i] = w->now.cell[i];
    }
    uint32_t hash =
        hash_words(&s, live >> CELL_BIT != 0 ? (uint32_t)sizeof(s)
                                             : offsetof(struct state, cell));
    uint32_t *head = &w->heads.first[hash & (w->heads.cap - 1)];
    for (uint32_t i = *head; i != NO_STATE && dd_work(w->d, 1);
         i = w->states[i].chain) {
        if (w->states[i].hash == hash &&
            !__builtin_memcmp(&w->states[i].state, &s, sizeof(s))) {
            return i;
        }
    }
    if (w->state_count == w->states_max || is_tired(w)) {
        w->d->half_read = true;
        return NO_STATE;
    }
    if (w->state_count == w->state_cap &&
        heap_grow(w->d->heap, (void **)&w->states, &w->state_cap,
                  sizeof(*w->states), w->state_count, w->state_count + 1)) {
        w->err = -DPF_E_MEM;
        return NO_STATE;
    }
    w->states[w->state_count] = (struct seen){s, {UNSEEN, 0}, hash, *head};
    *head = w->state_count;
    return w->state_count++;
}

static uint16_t reg_id(const struct walk *w, uint32_t r)
{
    return r == BPF_REG_FP ? ID_FP : w->now.reg[r];
}

static const struct val *reg_val(const struct walk *w, uint32_t r)
{
    return &w->vals[reg_id(w, r)].val;
}

/* --------------------------------------------------------------- one block */

static void forget_cells(struct walk *w)
{
    __builtin_memset(w->now.cell, 0, sizeof(w->now.cell));
}

/* The cell at frame pointer + k, or CELLS if it is not followed. */
static uint32_t cell_of(int64_t k)
{
    int64_t at = k + 4 * CELLS;
    return at >= 0 && at < 4 * CELLS && at % 4 == 0 ? (uint32_t)at / 4 : CELLS;
}

static uint16_t cell_load(const struct walk *w, int64_t k, uint32_t size)
{
    uint32_t c = cell_of(k);
    bool paired = c + 1 < CELLS && w->now.cell[c + 1] == ID_CONT;
    if (c == CELLS || size < 4 || (size == 8) != paired ||
        w->now.cell[c] == ID_CONT) {
        return ID_UNKNOWN;
    }
    return w->now.cell[c];
}

static void cell_store(struct walk *w, int64_t k, uint32_t size,
                       const struct val *v)
{
    uint32_t c = cell_of(k);
    struct val low = *v;
    if (c == CELLS || size < 4 || (size == 8 && c + 1 == CELLS)) {
        int64_t at = k + 4 * CELLS;
        if (at + (int64_t)size > 0) {
            forget_cells(w);
        }
        return;
    }
    if (c + 1 < CELLS && w->now.cell[c + 1] == ID_CONT) {
        w->now.cell[c + 1] = ID_UNKNOWN;
    }
    if (w->now.cell[c] == ID_CONT) {
        w->now.cell[c - 1] = ID_UNKNOWN;
    }
    if (size == 8) {
        if (c + 2 < CELLS && w->now.cell[c + 2] == ID_CONT) {
            w->now.cell[c + 2] = ID_UNKNOWN;
        }
        w->now.cell[c + 1] = ID_CONT;
    } else {
        val_truncate(&low);
    }
    w->now.cell[c] = intern(w, &low);
}

/* A load; false if it certainly stops the program. */
static bool load(struct walk *w, struct frame *fr, const struct dpf_insn *in)
{
    const struct val *p = reg_val(w, DPF_INSN_SRC(in));
    uint32_t size = insn_width(in);
    uint16_t *dst = &w->now.reg[DPF_INSN_DST(in)];
    struct dd_pos pos = val_pos(p);
    pos.k += (uint64_t)(int64_t)in->off;
    if (p->kind == VAL_STACK && BPF_MODE(in->opcode) == BPF_MEM) {
        *dst = cell_load(w, (int64_t)pos.k, size);
        return true;
    }
    if (p->kind == VAL_PACKET && pos.base == 0 && (int64_t)pos.k < 0) {
        return false;
    }
    struct dd_at at;
    if (p->kind != VAL_PACKET || !dd_at_make(pos, size, &at)) {
        fr->may_stop = true;
        *dst = ID_UNKNOWN;
        return true;
    }
    uint32_t end = at.off + size;
    fr->need = end > fr->need ? end : fr->need;
    if (at.base != 0 && w->cube != NULL) {
        fr->guard =
            val_base_in(w->d, at.base, end, w->cube) ? fr->guard : DD_NO;
    } else if (at.base != 0) {
        fr->guard = dd_and(w->d, fr->guard, val_base_ge(w->d, at.base, end));
    }
    struct val v;
    val_load(&v, at, size);
    if (BPF_MODE(in->opcode) != BPF_MEM) {
        __builtin_memset(&v, 0, sizeof(v)); /* sign-extending */
    }
    *dst = intern(w, &v);
    return true;
}

static void store(struct walk *w, struct frame *fr, const struct dpf_insn *in)
{
    const struct val *p = reg_val(w, DPF_INSN_DST(in));
    if (p->kind != VAL_STACK) {
        fr->may_stop = true;
        forget_cells(w);
        return;
    }
    struct val v;
    if (BPF_CLASS(in->opcode) == BPF_STX) {
        v = *reg_val(w, DPF_INSN_SRC(in));
    } else {
        val_const(&v, (uint64_t)(int64_t)in->imm);
    }
    cell_store(w, (int64_t)p->k + in->off, insn_width(in), &v);
}

static void operand(const struct walk *w, const struct dpf_insn *in,
                    struct val *v)
{
    if (BPF_SRC(in->opcode) == BPF_X) {
        *v = *reg_val(w, DPF_INSN_SRC(in));
    } else {
        val_const(v, (uint64_t)(int64_t)in->imm);
    }
}

static void alu(struct walk *w, const struct dpf_insn *in)
{
    uint16_t *dst = &w->now.reg[DPF_INSN_DST(in)];
    if (in->opcode == (BPF_ALU64 | BPF_MOV | BPF_X) && in->off == 0) {
        *dst = reg_id(w, DPF_INSN_SRC(in));
        return;
    }
    struct val a = *reg_val(w, DPF_INSN_DST(in));
    struct val b;
    if (BPF_OP(in->opcode) == BPF_END) {
        val_end(in, &a);
    } else {
        operand(w, in, &b);
        val_alu(w->d, in, &a, &b);
    }
    *dst = intern(w, &a);
}

/* What exit with the current r0 means. */
static uint32_t verdict(struct walk *w)
{
    static const struct dpf_insn nonzero = {BPF_JMP | BPF_JGT | BPF_K, 0, 0, 0};
    struct val zero;
    val_const(&zero, 0);
    uint32_t r = val_test(w->d, &nonzero, reg_val(w, 0), &zero);
    return r == VAL_OPAQUE ? DD_MAYBE : r;
}

/*
 * Take the conditional jump at pc. Returns where to go on if that is known;
 * otherwise UINT32_MAX, with the frame's successors set.
 */
static uint32_t branch(struct walk *w, struct frame *fr, uint32_t pc)
{
    struct dpf_insn in = w->insns[pc];
    uint32_t to[2] = {target(w->insns, pc), pc + 1};
    struct val a = *reg_val(w, DPF_INSN_DST(&in));
    uint8_t op = BPF_OP(in.opcode);
    /* Of a value, all others are as many nodes again: ask for the value. */
    bool no = op == BPF_JNE || op == BPF_JSET;

    struct val b;
    operand(w, &in, &b);
    if (op == BPF_JSET) { /* a & b != 0; the class of the same width */
        in.off = 0;
        in.opcode ^= BPF_JSET ^ BPF_AND ^ BPF_JMP ^ BPF_ALU64;
        val_alu(w->d, &in, &a, &b);
        val_const(&b, 0);
        in.opcode ^= BPF_AND ^ BPF_JEQ ^ BPF_JMP ^ BPF_ALU64;
    } else if (no) {
        in.opcode ^= BPF_JNE ^ BPF_JEQ;
    }
    if (BPF_CLASS(in.opcode) == BPF_JMP32) {
        val_truncate(&a);
        val_truncate(&b);
    }
    if (w->as_cube && a.kind == VAL_BITS && b.kind == VAL_CONST) {
        fr->cond = BPF_OP(in.opcode) == BPF_JEQ && !a.k ? IS : VAL_OPAQUE;
        w->is = a;
        w->is_k = b.k;
    } else {
        fr->cond = val_test(w->d, &in, &a, &b);
    }
    if (fr->cond == DD_YES || fr->cond == DD_NO) {
        return to[(fr->cond == DD_NO) != no];
    }
    fr->next[no] = state_at(w, to[0]);
    fr->next[!no] = state_at(w, to[1]);
    return UINT32_MAX;
}

/*
 * Run from the frame's state to the next branch, or to the end. Returns
 * UNSEEN and sets the successors, or the result.
 */
static uint32_t run_block(struct walk *w, struct frame *fr)
{
    uint32_t pc = w->states[fr->state].state.pc;
    w->now = w->states[fr->state].state;
    while (pc < w->count && w->steps++ < STEPS_MAX && !w->err &&
           dd_work(w->d, 2) && !is_tired(w)) {
        const struct dpf_insn *in = &w->insns[pc];
        struct val v;
        switch (BPF_CLASS(in->opcode)) {
        case BPF_ALU:
        case BPF_ALU64:
            alu(w, in);
            break;
        case BPF_LD:
            val_const(&v, insn_wide_imm(in));
            w->now.reg[DPF_INSN_DST(in)] = intern(w, &v);
            pc++;
            break;
        case BPF_LDX:
            if (!load(w, fr, in)) {
                return DD_NO;
            }
            break;
        case BPF_ST:
        case BPF_STX:
            store(w, fr, in);
            break;
        default:
            if (BPF_OP(in->opcode) == BPF_EXIT) {
                return verdict(w);
            }
            if (!insn_is_jump(in)) {
                return DD_MAYBE; /* a call */
            }
            pc = BPF_OP(in->opcode) == BPF_JA ? target(w->insns, pc)
                                              : branch(w, fr, pc);
            if (pc == UINT32_MAX) {
                return UNSEEN;
            }
            continue;
        }
        pc++;
    }
    return DD_MAYBE;
}

/* ------------------------------------------------------------- exploration */

static void frame_init(struct frame *fr, uint32_t state)
{
    *fr = (struct frame){
        .state = state, .guard = DD_YES, .next = {NO_STATE, NO_STATE}};
}

static bool enter(struct walk *w, uint32_t depth, uint32_t state)
{
    if (heap_grow(w->d->heap, (void **)&w->frames, &w->frame_cap,
                  sizeof(*w->frames), depth, depth + 1)) {
        w->err = -DPF_E_MEM;
        return false;
    }
    frame_init(&w->frames[depth], state);
    w->states[state].result.f = BUSY;
    return true;
}

/* The diagram of a result. */
static uint32_t settled(struct dd *d, const struct result *r)
{
    return r->need ? dd_and(d, val_len_ge(d, 0, r->need), r->f) : r->f;
}

/* The frame's result if all it depends on is known, else UNSEEN. */
static struct result combine(struct walk *w, struct frame *fr)
{
    struct result *a = &fr->result[0], *b = &fr->result[1];
    struct result r;
    while (fr->done < 2) {
        uint32_t s = fr->next[fr->done];
        r = s == NO_STATE ? (struct result){DD_MAYBE, 0} : w->states[s].result;
        if (r.f == UNSEEN) {
            return r;
        }
        /* Back at a state that is still being explored: a loop. How often
         * it turns is not followed. */
        if (r.f == BUSY) {
            r.f = DD_MAYBE;
        }
        fr->result[fr->done++] = r;
    }
    /* What is rejected is so at every length. */
    r.need = a->f == DD_NO ? b->need : a->need;
    if (a->f != DD_NO && b->f != DD_NO && a->need != b->need) {
        a->f = settled(w->d, a);
        b->f = settled(w->d, b);
        r.need = 0;
    }
    r.f = fr->cond == VAL_OPAQUE ? dd_apply(w->d, DD_JOIN, a->f, b->f, 0)
                                 : dd_ite(w->d, fr->cond, a->f, b->f);
    return r;
}

static uint32_t explore(struct walk *w, uint32_t root)
{
    uint32_t depth = 0;
    if (root == NO_STATE || !enter(w, depth++, root)) {
        return DD_MAYBE;
    }
    while (depth && !w->err && !w->d->err) {
        struct frame *fr = &w->frames[depth - 1];
        struct result r = {UNSEEN, 0};
        if (!fr->done && fr->next[0] == NO_STATE && fr->next[1] == NO_STATE) {
            r.f = run_block(w, fr);
        }
        if (r.f == UNSEEN) {
            r = combine(w, fr);
        }
        if (r.f == UNSEEN) {
            enter(w, depth++, fr->next[fr->done]);
            continue;
        }
        if (fr->may_stop) {
            r.f = dd_apply(w->d, DD_JOIN, r.f, DD_NO, 0);
        }
        r.f = dd_and(w->d, fr->guard, r.f);
        r.need = fr->need > r.need ? fr->need : r.need;
        w->states[fr->state].result = r;
        depth--;
    }
    return settled(w->d, &w->states[root].result);
}

/*
 * Is it a conjunction: tests of which each rejects at once if it fails? Then
 * what dd_lift, space_settle and cube_split would make of it, in c. Returns
 * false if it is read as none, which says nothing about the filter.
 */
static bool conjunction(struct walk *w, uint32_t state, struct cube *c)
{
    uint32_t reject = NO_STATE;
    c->count = c->len_count = 0;
    struct frame fr;
    for (uint32_t n = 0; n < TESTS_MAX && state != NO_STATE; n++) {
        frame_init(&fr, state);
        w->cube = c;
        uint32_t r = run_block(w, &fr);
        w->cube = NULL;
        if (fr.may_stop || fr.guard != DD_YES ||
            (fr.need && !cube_add_len(c, 0, fr.need))) {
            return false;
        }
        if (r != UNSEEN) {
            /*
             * Where the first base lies may not be asked for: else it settles.
             * Base 0 comes before it, since what decides it was read there.
             */
            uint32_t first = c->len_count > 1 ? c->lens[1].base : 0;
            return r == DD_YES &&
                   !(first &&
                     cube_byte_of(c, w->d->bases[first].terms[0].var) != NULL);
        }
        if (fr.cond != IS || !val_is(&w->is, w->is_k, c)) {
            return false;
        }
        state = fr.next[0];
        if (fr.next[1] != reject) {
            reject = fr.next[1];
            frame_init(&fr, reject);
            if (reject == NO_STATE || run_block(w, &fr) != DD_NO) {
                return false;
            }
        }
    }
    return false;
}

static int begin(struct walk *w)
{
    __builtin_memset(w->first_heads, 0xff, sizeof(w->first_heads));
    w->heads = (struct heads){w->first_heads[0], HEADS_FIRST};
    w->val_heads = (struct heads){w->first_heads[1], HEADS_FIRST};
    w->live = heap_alloc(w->d->heap, w->count * sizeof(*w->live));
    if (w->live == NULL || heap_grow(w->d->heap, (void **)&w->vals, &w->val_cap,
                                     sizeof(*w->vals), 0, 64)) {
        return -DPF_E_MEM;
    }
    find_live(w);
    __builtin_memset(w->vals, 0, ID_FIRST * sizeof(*w->vals));
    w->vals[ID_CONT].val.kind = VAL_CONT;
    w->vals[ID_FP].val.kind = VAL_STACK;
    w->val_count = ID_FIRST;
    struct val v;
    __builtin_memset(&v, 0, sizeof(v));
    v.kind = VAL_PACKET;
    w->now.reg[1] = intern(w, &v);
    v.kind = VAL_LEN;
    v.width = 64;
    w->now.reg[2] = intern(w, &v);
    return w->err;
}

static void end(struct walk *w)
{
    struct heap *h = w->d->heap;
    heap_free(h, w->live, w->count * sizeof(*w->live));
    heap_free(h, w->vals, w->val_cap * sizeof(*w->vals));
    heap_free(h, w->states, w->state_cap * sizeof(*w->states));
    heap_free(h, w->frames, w->frame_cap * sizeof(*w->frames));
    heads_free(w, &w->heads);
    heads_free(w, &w->val_heads);
}

static int lift_bounded(struct dd *d, const struct dpf_insn *insns,
                        size_t count, uint32_t states_max, struct cube *cube,
                        uint32_t *out)
{
    struct walk *w = heap_alloc(d->heap, sizeof(*w));
    if (w == NULL) {
        return -DPF_E_MEM;
    }
    __builtin_memset(w, 0, sizeof(*w));
    w->d = d;
    w->insns = insns;
    w->count = (uint32_t)count;
    w->states_max = states_max;
    if (d->heap->limit > d->heap->work) {
        w->soft = d->heap->work + (d->heap->limit - d->heap->work) / 2;
    }
    int r = begin(w);
    if (!r) {
        uint32_t root = state_at(w, 0);
        w->as_cube = cube != NULL;
        r = cube != NULL && conjunction(w, root, cube);
        w->as_cube = false;
        if (!r) {
            *out = explore(w, root);
        }
        if (w->err || d->err) {
            r = w->err ? w->err : d->err;
        }
    }
    end(w);
    heap_free(d->heap, w, sizeof(*w));
    return r;
}

int dd_lift(struct dd *d, const struct dpf_insn *insns, size_t count,
            struct cube *cube, uint32_t *out)
{
    struct dd_mark m = dd_mark(d);
    int r = -DPF_E_TOO_BIG;

    /* Too big: read less far, so that more is left to the program itself. */
    for (uint32_t n = STATES_MAX; r == -DPF_E_TOO_BIG && n; n /= 32) {
        dd_release(d, m);
        r = lift_bounded(d, insns, count, n, cube, out);
    }
    if (r == -DPF_E_TOO_BIG || r == -DPF_E_FUEL) {
        dd_release(d, m);
        d->half_read = true;
        *out = DD_MAYBE;
        r = 0;
    }
    return r;
}
