/* SPDX-License-Identifier: MIT */
/*
 * From bytecode to a graph of decisions: follow the paths with symbolic
 * registers. fuse.c makes it smaller.
 *
 * The state at a jump target is the vector of live registers and stack words;
 * equal vectors at one instruction are one node. Bounded: a few states per
 * target and twice as many nodes as instructions, else the filter is left to
 * the plain compiler.
 */
#include "dpf/graph/decide.h"

#include "dpf/graph/fuse.h"
#include "dpf/jit/plain.h"

#define INSNS_MAX 1500u
#define WORDS 32u /* stack words below r10 that are followed */
#define SLOTS (BPF_REG_COUNT + WORDS)
#define STATES_MAX 6u /* different states at one instruction */

struct state {
    expr_id v[SLOTS]; /* registers, then stack words from r10 down */
};

struct walker {
    struct decision *d;
    const struct dpf_program *p;
    uint64_t *live;      /* per instruction: bit per slot */
    node_id *at;         /* per instruction: newest node there */
    node_id *older;      /* per node: the next at the same instruction */
    struct state *state; /* per node: on entry */
};

/* ------------------------------------------------------------- liveness */

/* Stack word of the access, or WORDS if it is not one that is followed. */
static uint32_t stack_word(const struct dpf_program *p, uint32_t pc)
{
    int off = p->notes[pc].stack_off;
    uint32_t size = insn_width(&p->insns[pc]);
    if (off == NOTE_OFF_ANY || size < 4 || off % (int)size != 0) {
        return WORDS;
    }
    uint32_t word = (uint32_t)(-off) / 4 - 1;
    return word < WORDS ? word : WORDS;
}

#define BIT(n) (UINT64_C(1) << (n))

/* Registers, and behind them words of the stack; pointers are known. */
static uint64_t reads_writes(const struct dpf_program *p, uint32_t pc,
                             uint64_t *writes)
{
    const struct dpf_insn *i = &p->insns[pc];
    uint32_t class = BPF_CLASS(i->opcode), set;
    uint64_t reads = insn_regs(i, &set);
    *writes = set;
    if (class == BPF_ST || class == BPF_STX) {
        reads &= class == BPF_STX ? BIT(DPF_INSN_SRC(i)) : 0;
    }
    if (p->notes[pc].region == REGION_STACK) {
        uint64_t word = BIT(BPF_REG_COUNT + stack_word(p, pc));
        if (class == BPF_LDX) {
            return word;
        }
        *writes = word;
    }
    return reads;
}

/* One pass backwards suffices: jumps go forward only. */
static void decide_find_live(struct walker *w)
{
    const struct dpf_program *p = w->p;
    for (uint32_t n = p->count; n-- > 0;) {
        const struct dpf_insn *i = &p->insns[n];
        uint64_t writes, out = 0;
        if ((p->notes[n].flags & NOTE_SECOND) != 0) {
            w->live[n] = w->live[n + 1];
            continue;
        }
        uint64_t reads = reads_writes(p, n, &writes);
        bool jump = insn_is_jump(i), always = BPF_OP(i->opcode) == BPF_JA;
        if (jump) {
            out = w->live[n + 1 + insn_jump(i)];
        }
        if (i->opcode != (BPF_JMP | BPF_EXIT) && !(jump && always)) {
            out |= w->live[n + insn_len(i)];
        }
        w->live[n] = (out & ~writes) | reads;
    }
}

/* --------------------------------------------------------------- nodes */

static node_id node_new(struct decision *d, uint32_t pc)
{
    if (d->node_count == d->node_cap) {
        d->g.failed = true;
        return 0;
    }
    d->nodes[d->node_count] = (struct node){.pc = pc,
                                            .cond = COND_NONE,
                                            .yes = NODE_NONE,
                                            .no = NODE_NONE,
                                            .result = EXPR_NONE};
    return (node_id)d->node_count++;
}

/* The leaf with result v. Leaves come first in no order: pc is the end. */
static node_id leaf(struct walker *w, expr_id v)
{
    struct decision *d = w->d;
    for (uint32_t n = 0; n < d->node_count; n++) {
        if (d->nodes[n].result == v) {
            return (node_id)n;
        }
    }
    node_id n = node_new(d, w->p->count);
    d->nodes[n].result = v;
    return n;
}

/* The node for instruction pc with the live part of s. */
static node_id node_at(struct walker *w, uint32_t pc, const struct state *s)
{
    uint32_t states = 0;
    uint64_t live = w->live[pc];
    for (node_id n = w->at[pc]; n != NODE_NONE; n = w->older[n]) {
        bool same = true;
        for (uint64_t bits = live; bits != 0 && same; bits &= bits - 1) {
            uint32_t slot = (uint32_t)__builtin_ctzll(bits);
            same = w->state[n].v[slot] == s->v[slot];
        }
        if (same) {
            return n;
        }
        states++;
    }
    if (states == STATES_MAX) {
        w->d->g.failed = true;
        return 0;
    }
    node_id n = node_new(w->d, pc);
    if (!w->d->g.failed) {
        w->older[n] = w->at[pc];
        w->at[pc] = n;
        w->state[n] = *s;
    }
    return n;
}

/* ------------------------------------------------------------ following */

/* Number of the varying offset `offset`, of which bytes up to reach are read */
static uint32_t var_number(struct decision *d, expr_id offset, uint32_t reach)
{
    uint32_t n = 0;
    while (n < d->var_count && d->var[n].offset != offset) {
        n++;
    }
    if (n == VARS_MAX) {
        d->g.failed = true;
        return 0;
    }
    if (n == d->var_count) {
        d->var_count++;
        d->var[n].offset = offset;
        d->var[n].reach = 0;
        /* k is filled in when every reach is known */
        d->var[n].clamped = expr_clamp(&d->g, offset, 0);
    }
    if (reach > d->var[n].reach) {
        d->var[n].reach = reach;
    }
    return n;
}

/* A load from the packet. False: surely outside, the filter answers 0. */
static bool follow_packet(struct walker *w, struct node *node, uint32_t pc,
                          struct state *s)
{
    struct decision *d = w->d;
    const struct dpf_insn *i = &w->p->insns[pc];
    uint32_t off;
    expr_id base;
    if (!expr_address(&d->g, s->v[DPF_INSN_SRC(i)], i->off, &base, &off)) {
        return false;
    }
    uint32_t end = off + insn_width(i);
    node->bound = end > node->bound ? end : node->bound;
    if (base != EXPR_NONE) {
        uint32_t n = var_number(d, base, end);
        node->vars |= (uint8_t)(1u << n);
        base = d->var[n].clamped;
    }
    s->v[DPF_INSN_DST(i)] = expr_load(&d->g, i, base, off);
    return true;
}

/* Loads and stores of the stack words that are followed. */
static void follow_stack(struct walker *w, uint32_t pc, struct state *s)
{
    struct decision *d = w->d;
    const struct dpf_insn *i = &w->p->insns[pc];
    expr_id *slot = &s->v[BPF_REG_COUNT + stack_word(w->p, pc)];
    struct dpf_insn whole = {.opcode = BPF_MOV | BPF_X | BPF_ALU64};
    if (BPF_CLASS(i->opcode) == BPF_LDX) {
        s->v[DPF_INSN_DST(i)] = *slot;
        return;
    }
    if (insn_width(i) == 4) {
        whole.opcode = BPF_MOV | BPF_X | BPF_ALU;
    }
    expr_id v = BPF_CLASS(i->opcode) == BPF_STX
                    ? s->v[DPF_INSN_SRC(i)]
                    : expr_const(&d->g, (uint64_t)(int64_t)i->imm);
    *slot = expr_alu(&d->g, &whole, v, v);
}

/* One instruction that is no jump and no exit. False: answers 0. */
static bool follow_one(struct walker *w, struct node *node, uint32_t pc,
                       struct state *s)
{
    struct decision *d = w->d;
    const struct dpf_insn *i = &w->p->insns[pc];
    uint32_t dst = DPF_INSN_DST(i);
    switch (BPF_CLASS(i->opcode)) {
    case BPF_LD:
        s->v[dst] = expr_const(&d->g, insn_wide_imm(i));
        return true;
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
        if (w->p->notes[pc].region == REGION_STACK) {
            follow_stack(w, pc, s);
            return true;
        }
        return follow_packet(w, node, pc, s);
    default: {
        expr_id b = BPF_SRC(i->opcode) == BPF_X && BPF_OP(i->opcode) != BPF_END
                        ? s->v[DPF_INSN_SRC(i)]
                        : expr_const(&d->g, (uint64_t)(int64_t)i->imm);
        s->v[dst] = expr_alu(&d->g, i, s->v[dst], b);
        return true;
    }
    }
}

/* Swaps meet the constant: swap(x) == k is x == swap(k). */
static void unswap(struct decision *d, struct cond *c)
{
    const struct expr *a = &d->g.e[c->a];
    bool order = c->kind == C_CMP && c->cc != CC_E && c->cc != CC_NE;
    if (a->op != E_SWAP || c->b != EXPR_NONE || order) {
        return;
    }
    uint64_t limit = d->g.e[c->a].max;
    if (c->k > limit) {
        if (c->kind != C_TEST) {
            return; /* never equal: the swap does no harm */
        }
        c->k &= limit;
    }
    c->k = expr_swap_const(c->k, a->width);
    c->a = a->a;
}

/* The condition of jump `i`, whose operands are not both constant. */
static cond_id decide_condition(struct decision *d, const struct dpf_insn *i,
                                expr_id a, expr_id b)
{
    struct cond c = {.kind = BPF_OP(i->opcode) == BPF_JSET ? C_TEST : C_CMP,
                     .cc = (uint8_t)plain_condition(BPF_OP(i->opcode)),
                     .width = BPF_CLASS(i->opcode) == BPF_JMP ? 8 : 4,
                     .a = a,
                     .b = b};
    const struct expr *ea = &d->g.e[a], *eb = &d->g.e[b];
    uint32_t cost = ea->cost + eb->cost + 1u;
    c.cost = (uint8_t)(cost < 255 ? cost : 255);
    bool sign = c.cc == CC_G || c.cc == CC_GE || c.cc == CC_L || c.cc == CC_LE;
    if (!sign && ea->max <= UINT32_MAX && eb->max <= UINT32_MAX) {
        c.width = 4;
    }
    if (eb->op == E_CONST) {
        c.b = EXPR_NONE;
        c.k = c.width == 4 ? (uint32_t)eb->k : eb->k;
        /* With 4 bytes the upper half of an operand does not count. */
        if (c.width == 8 || ea->max <= UINT32_MAX) {
            unswap(d, &c);
        }
    }
    return cond_new(d, c);
}

static void follow_jump(struct walker *w, node_id n, uint32_t pc,
                        const struct state *s)
{
    struct decision *d = w->d;
    const struct dpf_insn *i = &w->p->insns[pc];
    uint32_t taken = (uint32_t)(pc + 1 + insn_jump(i));
    expr_id a = s->v[DPF_INSN_DST(i)];
    expr_id b = BPF_SRC(i->opcode) == BPF_X
                    ? s->v[DPF_INSN_SRC(i)]
                    : expr_const(&d->g, (uint64_t)(int64_t)i->imm);
    if (BPF_OP(i->opcode) == BPF_JA) {
        d->nodes[n].yes = node_at(w, taken, s);
        return;
    }
    if (d->g.failed) {
        return;
    }
    if (expr_is_const(&d->g, a) && expr_is_const(&d->g, b)) {
        bool yes = insn_test(i, d->g.e[a].k, d->g.e[b].k);
        d->nodes[n].yes = node_at(w, yes ? taken : pc + 1, s);
        return;
    }
    cond_id c = decide_condition(d, i, a, b);
    d->g.failed |= c == COND_NONE;
    node_id yes = node_at(w, taken, s), no = node_at(w, pc + 1, s);
    d->nodes[n].cond = yes == no ? COND_NONE : c;
    d->nodes[n].yes = yes;
    d->nodes[n].no = no;
}

/* From the start of node n to its jump, its result, or another target. */
static void decide_follow(struct walker *w, node_id n)
{
    struct decision *d = w->d;
    struct state s = w->state[n];
    uint32_t pc = d->nodes[n].pc;
    for (;;) {
        const struct dpf_insn *i = &w->p->insns[pc];
        if (d->g.failed) {
            return;
        }
        if (i->opcode == (BPF_JMP | BPF_EXIT)) {
            d->nodes[n].yes = leaf(w, s.v[0]);
            return;
        }
        if (insn_is_jump(i)) {
            follow_jump(w, n, pc, &s);
            return;
        }
        if (!follow_one(w, &d->nodes[n], pc, &s)) {
            d->nodes[n].yes = d->zero;
            return;
        }
        pc += insn_len(i);
        if ((w->p->notes[pc].flags & NOTE_TARGET) != 0) {
            d->nodes[n].yes = node_at(w, pc, &s);
            return;
        }
    }
}

/* ---------------------------------------------------------------- whole */

/*
 * Is the stack used in a way that is followed: words or double words only,
 * and each 8 bytes always in one of the two ways?
 */
static bool stack_is_plain(const struct dpf_program *p)
{
    uint8_t width[WORDS / 2] = {0};
    for (uint32_t n = 0; n < p->count; n += insn_len(&p->insns[n])) {
        const struct dpf_insn *i = &p->insns[n];
        if (p->notes[n].region != REGION_STACK) {
            continue;
        }
        uint32_t word = stack_word(p, n), size = insn_width(i);
        if (word == WORDS || BPF_MODE(i->opcode) == BPF_MEMSX) {
            return false;
        }
        if (width[word / 2] != 0 && width[word / 2] != size) {
            return false;
        }
        width[word / 2] = (uint8_t)size;
    }
    return true;
}

/* Fixed-size arrays, cut from one allocation. */
static void *decide_cut(uint8_t **at, size_t bytes)
{
    void *p = *at;
    *at += (bytes + 15) & ~(size_t)15;
    return p;
}

struct sizes {
    uint32_t nodes, conds, exprs;
};

static struct sizes sizes_for(const struct dpf_program *p)
{
    uint32_t nodes = p->count * 2 + 16, exprs = p->count * 4 + 64;
    return (struct sizes){.nodes = nodes < NODE_NONE ? nodes : NODE_NONE - 1,
                          .conds = nodes * 4,
                          .exprs = exprs < EXPR_MAX ? exprs : EXPR_MAX};
}

/* The decision and everything it and the walk need, in one piece. */
static struct decision *allocate(const struct dpf_program *p, struct walker *w)
{
    struct sizes s = sizes_for(p);
    size_t keep = sizeof(struct decision) + s.nodes * sizeof(struct node) +
                  s.conds * sizeof(struct cond) +
                  s.exprs * sizeof(struct expr) + s.conds * sizeof(uint32_t) +
                  s.nodes * sizeof(node_id);
    size_t walk = p->count * (sizeof(uint64_t) + sizeof(node_id)) +
                  s.nodes * (sizeof(node_id) + sizeof(struct state));
    size_t bytes = keep + walk + 16 * 16;
    uint8_t *at = p->mem->alloc(p->mem->ctx, bytes);
    if (at == NULL) {
        return NULL;
    }
    struct decision *d = decide_cut(&at, sizeof(*d));
    *d = (struct decision){.p = p, .bytes = bytes};
    __builtin_memset(d->g.chain, 0xff, sizeof(d->g.chain));
    d->nodes = decide_cut(&at, s.nodes * sizeof(struct node));
    d->conds = decide_cut(&at, s.conds * sizeof(struct cond));
    d->g.e = decide_cut(&at, s.exprs * sizeof(struct expr));
    d->set = decide_cut(&at, s.conds * sizeof(uint32_t));
    d->order = decide_cut(&at, s.nodes * sizeof(node_id));
    d->node_cap = s.nodes;
    d->cond_cap = d->set_cap = s.conds;
    d->g.cap = s.exprs;
    w->live = decide_cut(&at, p->count * sizeof(uint64_t));
    w->at = decide_cut(&at, p->count * sizeof(node_id));
    w->older = decide_cut(&at, s.nodes * sizeof(node_id));
    w->state = decide_cut(&at, s.nodes * sizeof(struct state));
    return d;
}

void decide_free(struct decision *d)
{
    d->p->mem->free(d->p->mem->ctx, d, d->bytes);
}

/* Follow every path; then the reaches are known and the clamps get them. */
static void decide_explore(struct walker *w)
{
    struct decision *d = w->d;
    struct state s;
    for (uint32_t n = 0; n < SLOTS; n++) {
        s.v[n] = EXPR_NONE;
    }
    d->zero = leaf(w, expr_const(&d->g, 0));
    s.v[1] = expr_const(&d->g, 0);
    s.v[2] = expr_len(&d->g);
    s.v[BPF_REG_FP] = expr_const(&d->g, BPF_STACK_SIZE);
    node_at(w, 0, &s);
    for (uint32_t n = 0; n < d->node_count && !d->g.failed; n++) {
        if (d->nodes[n].result == EXPR_NONE) {
            decide_follow(w, (node_id)n);
        }
    }
    for (uint32_t n = 0; n < d->var_count; n++) {
        d->g.e[d->var[n].clamped].k = d->var[n].reach;
    }
}

struct decision *decide(const struct dpf_program *p)
{
    struct walker w = {.p = p};
    if (p->type != DPF_FILTER || p->has_loop || p->has_call || p->zero_stack ||
        p->count > INSNS_MAX || !stack_is_plain(p)) {
        return NULL;
    }
    w.d = allocate(p, &w);
    if (w.d == NULL) {
        return NULL;
    }
    for (uint32_t n = 0; n < p->count; n++) {
        w.at[n] = NODE_NONE;
    }
    decide_find_live(&w);
    decide_explore(&w);
    if (!w.d->g.failed) {
        fuse(w.d);
    }
    if (w.d->g.failed) {
        decide_free(w.d);
        return NULL;
    }
    return w.d;
}
