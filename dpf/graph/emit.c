/* SPDX-License-Identifier: MIT */
/*
 * Native code from a decision graph.
 *
 *   rdi packet, rsi its length, both kept; values in rax rcx rdx r8-r11
 *
 * A node reached from one place starts with the registers as they were there.
 */
#include "dpf/graph/emit.h"

#include "dpf/graph/emitter.h"

/* Facts that hold on every way into a node. */
struct arrival {
    x64_label label;
    uint32_t known; /* the packet is at least this long */
    uint8_t vars;   /* varying offsets that were checked */
    bool seen;
    expr_id held[REGS]; /* meaningful with one predecessor */
};

/* ---------------------------------------------------------------- nodes */

static struct arrival *at_node(struct emitter *e, node_id n)
{
    return &e->c->arrival[n];
}

/* Hand the facts that hold on the way from here to node `to`. */
static void arrive(struct emitter *e, node_id to, uint32_t known, uint8_t vars)
{
    struct arrival *a = at_node(e, to);
    if (!a->seen) {
        a->seen = true;
        a->known = known;
        a->vars = vars;
        __builtin_memcpy(a->held, e->held, sizeof(a->held));
        return;
    }
    a->known = known < a->known ? known : a->known;
    a->vars &= vars;
    for (uint32_t r = 0; r < REGS; r++) {
        a->held[r] = a->held[r] == e->held[r] ? a->held[r] : EXPR_NONE;
    }
}

static void emit_length(struct emitter *e, uint32_t least, x64_label below)
{
    x64_alu_ri(e->x, X_CMP, 8, RSI, (int32_t)least);
    x64_jcc(e->x, CC_B, below);
}

/* The bounds that node n demands. */
static void emit_demands(struct emitter *e, const struct node *n,
                         uint32_t *known, uint8_t *vars)
{
    if (n->need > *known) {
        e->zero_used = true;
        emit_length(e, n->need, at_node(e, e->d->zero)->label);
        *known = n->need;
    }
    if (n->guard > *known) {
        e->c->plain_used = true;
        emit_length(e, n->guard, e->plain);
        *known = n->guard;
    }
    for (uint32_t v = 0; v < e->d->var_count; v++) {
        if ((n->vars & ~*vars & 1u << v) == 0) {
            continue;
        }
        uint32_t held = emit_held(e, e->d->var[v].clamped);
        if (held != UINT32_MAX) {
            e->held[held] = EXPR_NONE; /* its flags are wanted */
        }
        emit_drop(e, emit_value(e, e->d->var[v].clamped));
        x64_jcc(e->x, CC_G, e->plain);
        e->c->plain_used = true;
        *vars |= (uint8_t)(1u << v);
    }
}

static bool const_leaf(const struct emitter *e, node_id n, uint64_t *k)
{
    expr_id v = e->d->nodes[n].result;
    if (v == EXPR_NONE || !expr_is_const(e->g, v)) {
        return false;
    }
    *k = e->g->e[v].k;
    return *k <= INT32_MAX && x64_harmless((int64_t)*k);
}

static void emit_leaf(struct emitter *e, const struct node *n)
{
    if (expr_is_const(e->g, n->result)) {
        x64_mov_chosen(e->x, RAX, e->g->e[n->result].k);
        x64_ret(e->x);
        return;
    }
    uint32_t r = emit_value(e, n->result);
    if (r != 0) {
        x64_mov_rr(e->x, 8, RAX, emit_reg[r]);
    }
    x64_ret(e->x);
    emit_drop(e, r);
}

static void emit_decision(struct emitter *e, const struct node *n, node_id next,
                          uint32_t known, uint8_t vars)
{
    struct x64 *x = e->x;
    enum x64_cc cc = emit_flags(e, n->cond);
    uint64_t yes, no;
    if (const_leaf(e, n->yes, &yes) && const_leaf(e, n->no, &no)) {
        x64_mov_ri(x, RAX, no);
        x64_mov_ri(x, RCX, yes);
        x64_cmov_rr(x, cc, 4, RAX, RCX);
        x64_ret(x);
        return;
    }
    arrive(e, n->yes, known, vars);
    arrive(e, n->no, known, vars);
    if (n->yes == next) {
        x64_jcc(x, cc ^ 1, at_node(e, n->no)->label);
        return;
    }
    x64_jcc(x, cc, at_node(e, n->yes)->label);
    if (n->no != next) {
        x64_jmp(x, at_node(e, n->no)->label);
    }
}

static void emit_node(struct emitter *e, node_id id, node_id next, bool first)
{
    const struct node *n = &e->d->nodes[id];
    struct arrival *a = at_node(e, id);
    if (!a->seen && !first) {
        return; /* every way here was folded into a conditional move */
    }
    uint32_t known = first ? 0 : a->known;
    uint8_t vars = first ? 0 : a->vars;
    for (uint32_t r = 0; r < REGS; r++) {
        e->held[r] = first ? EXPR_NONE : a->held[r];
        e->pins[r] = 0;
    }
    x64_place(e->x, a->label);
    if (n->result != EXPR_NONE) {
        if (id == e->d->zero) { /* also reached from demands: assume nothing */
            __builtin_memset(e->held, 0xff, REGS * sizeof(e->held[0]));
            e->zero_placed = true;
        }
        emit_leaf(e, n);
        return;
    }
    if (n->need == NEED_NEVER) { /* whatever the packet is */
        x64_mov_ri(e->x, RAX, 0);
        x64_ret(e->x);
        return;
    }
    emit_demands(e, n, &known, &vars);
    if (n->cond == COND_NONE) {
        arrive(e, n->yes, known, vars);
        if (n->yes != next) {
            x64_jmp(e->x, at_node(e, n->yes)->label);
        }
        return;
    }
    emit_decision(e, n, next, known, vars);
}

/* --------------------------------------------------------------- whole */

/* Count the readers of every expression. Operands precede their users. */
static void count_cond(struct decision *d, cond_id id)
{
    const struct cond *c = &d->conds[id];
    if (c->kind == C_AND || c->kind == C_OR) {
        count_cond(d, c->a);
        count_cond(d, c->b);
        return;
    }
    d->g.e[c->a].uses =
        (uint16_t)(d->g.e[c->a].uses + (c->kind == C_MEMBER ? 2 : 1));
    if (c->b != EXPR_NONE) {
        d->g.e[c->b].uses++;
    }
}

static void count_uses(struct decision *d)
{
    struct expr_graph *g = &d->g;
    for (uint32_t n = 0; n < g->count; n++) {
        g->e[n].uses = 0;
    }
    for (uint32_t at = 0; at < d->order_count; at++) {
        const struct node *n = &d->nodes[d->order[at]];
        if (n->cond != COND_NONE) {
            count_cond(d, n->cond);
        }
        if (n->result != EXPR_NONE) {
            g->e[n->result].uses++;
        }
        for (uint32_t v = 0; v < d->var_count; v++) {
            g->e[d->var[v].clamped].uses++;
        }
    }
    for (uint32_t n = g->count; n-- > 0;) {
        if (g->e[n].uses != 0 && g->e[n].a != EXPR_NONE) {
            g->e[g->e[n].a].uses++;
        }
        if (g->e[n].uses != 0 && g->e[n].b != EXPR_NONE) {
            g->e[g->e[n].b].uses++;
        }
    }
}

struct filter_code *filter_code_create(struct x64 *x, struct decision *d)
{
    const struct dpf_mem *mem = d->p->mem;
    struct filter_code *c;
    size_t bytes = sizeof(*c) + d->node_count * sizeof(struct arrival);
    c = mem->alloc(mem->ctx, bytes);
    if (c == NULL) {
        return NULL;
    }
    *c = (struct filter_code){.x = x, .d = d, .bytes = bytes};
    c->arrival = (struct arrival *)(void *)(c + 1);
    return c;
}

void filter_code_destroy(struct filter_code *c)
{
    const struct dpf_mem *mem = c->d->p->mem;
    mem->free(mem->ctx, c, c->bytes);
}

void filter_emit(struct filter_code *c, x64_label plain)
{
    struct decision *d = c->d;
    struct emitter e = {.c = c, .x = c->x, .d = d, .g = &d->g, .plain = plain};
    uint32_t conds = d->cond_count; /* negations made while emitting go */
    count_uses(d);
    for (uint32_t n = 0; n < d->node_count; n++) {
        c->arrival[n].seen = false;
        c->arrival[n].label = x64_label_new(c->x);
    }
    for (uint32_t n = 0; n < c->table_count; n++) {
        c->table[n].label = UINT32_MAX;
    }
    e.held[RSI_SLOT] = expr_len(&d->g);
    for (uint32_t at = 0; at < d->order_count && !c->failed; at++) {
        bool last = at + 1 == d->order_count;
        emit_node(&e, d->order[at], last ? NODE_NONE : d->order[at + 1],
                  at == 0);
    }
    if (e.zero_used && !e.zero_placed) {
        x64_place(c->x, at_node(&e, d->zero)->label);
        x64_mov_ri(c->x, RAX, 0);
        x64_ret(c->x);
    }
    for (uint32_t n = 0; n < c->table_count; n++) {
        if (c->table[n].label != UINT32_MAX && !c->failed) {
            emit_table(&e, &c->table[n]);
        }
    }
    d->cond_count = conds;
    c->failed = c->failed || d->g.failed;
}
