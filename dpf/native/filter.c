/* SPDX-License-Identifier: MIT */
/*
 * Native code from a decision graph.
 *
 *   rdi packet, rsi its length, both kept; values in rax rcx rdx r8-r11
 *
 * Nothing is saved or spilled: a value that lost its register is computed
 * again, which for a field is one load. A node reached from one place starts
 * with the registers as they were there.
 *
 * A condition without branches is computed as a number that is zero when it
 * holds: x ^ k for equality, a | b for "and", and the product of two such
 * numbers, made 0 or 1, for "or". Sets of constants become one multiplication
 * and one compare with a table whose entries are the products, so that a
 * table shows no constant that a program's author chose.
 *
 * Offsets that vary are clamped before use by compare and conditional move;
 * only the jump that follows decides, so a mispredicted jump reads inside the
 * packet all the same.
 */
#include "dpf/native/filter.h"

#define REGS 7u
/*
 * Nesting of conditions in units of some 150 bytes of stack, so that all of
 * the compiler stays within what a kernel's stack has to spare.
 */
#define NEST_MAX 24u
#define RSI_SLOT REGS /* the length's own register, never given away */

static const uint8_t reg_of[REGS + 1] = {RAX, RCX, RDX, R8, R9, R10, R11, RSI};

/* What holds on every way into a node. */
struct arrival {
    x64_label label;
    uint32_t known; /* the packet is at least this long */
    uint8_t vars;   /* varying offsets that were checked */
    bool seen;
    expr_id held[REGS]; /* meaningful with one predecessor */
};

struct emitter {
    struct filter_code *c;
    struct x64 *x;
    struct decision *d;
    struct expr_graph *g;
    expr_id held[REGS + 1]; /* value in each register, or EXPR_NONE */
    uint8_t pins[REGS + 1]; /* users at this moment */
    uint32_t next;          /* register to evict next */
    uint32_t nest;          /* see NEST_MAX */
    x64_label plain;
    bool zero_used, zero_placed;
    bool last_product; /* zero_when ended in a product: flags are unset */
};

static void fail(struct emitter *e)
{
    e->c->failed = true;
}

/* ------------------------------------------------------------ registers */

/* A register for a new value, pinned. */
static uint32_t take(struct emitter *e)
{
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t n = 0; n < REGS; n++) {
            uint32_t r = (e->next + n) % REGS;
            bool free = pass == 1 || e->held[r] == EXPR_NONE;
            if (e->pins[r] == 0 && free) {
                e->next = r + (pass == 1);
                e->pins[r] = 1;
                e->held[r] = EXPR_NONE;
                return r;
            }
        }
    }
    fail(e);
    return 0;
}

static void drop(struct emitter *e, uint32_t r)
{
    if (r != RSI_SLOT && e->pins[r] > 0) {
        e->pins[r]--;
    }
}

static uint32_t find_held(const struct emitter *e, expr_id v)
{
    for (uint32_t r = 0; r <= REGS; r++) {
        if (e->held[r] == v) {
            return r;
        }
    }
    return UINT32_MAX;
}

static uint32_t compute(struct emitter *e, expr_id v);

/* A register that holds v, pinned, only to be read. */
static uint32_t value(struct emitter *e, expr_id v)
{
    uint32_t r = find_held(e, v);
    if (r == UINT32_MAX) {
        r = compute(e, v);
        e->held[r] = v;
        return r;
    }
    if (r != RSI_SLOT) {
        e->pins[r]++;
    }
    return r;
}

/* A register that holds v, pinned, and may be changed. */
static uint32_t own(struct emitter *e, expr_id v)
{
    uint32_t r = find_held(e, v);
    if (r == UINT32_MAX && e->g->e[v].uses > 1) {
        r = value(e, v); /* keep one for later */
        drop(e, r);
    } else if (r == UINT32_MAX) {
        return compute(e, v);
    }
    if (r != RSI_SLOT && e->pins[r] == 0 && e->g->e[v].uses <= 1) {
        e->held[r] = EXPR_NONE;
        e->pins[r] = 1;
        return r;
    }
    bool pinned = r != RSI_SLOT;
    e->pins[r] = (uint8_t)(e->pins[r] + pinned);
    uint32_t to = take(e);
    drop(e, r);
    x64_mov_rr(e->x, 8, reg_of[to], reg_of[r]);
    return to;
}

/* ---------------------------------------------------------- expressions */

static uint32_t compute_load(struct emitter *e, const struct expr *v)
{
    struct x64_mem m = x64_at(RDI, (int32_t)v->k);
    if (v->a != EXPR_NONE) {
        uint32_t base = value(e, v->a);
        m = x64_index(RDI, reg_of[base], 1, (int32_t)v->k);
        drop(e, base);
    }
    uint32_t r = take(e);
    if (v->op == E_LOAD) {
        x64_load(e->x, v->width, reg_of[r], m);
    } else {
        x64_load_signed(e->x, v->width, reg_of[r], m);
    }
    return r;
}

/* Leaves the flags of comparing the offset with the largest allowed. */
static uint32_t compute_clamp(struct emitter *e, const struct expr *v)
{
    uint32_t r = own(e, v->a), limit = take(e);
    x64_lea(e->x, 8, reg_of[limit], x64_at(RSI, -(int32_t)v->k));
    x64_alu_rr(e->x, X_CMP, 8, reg_of[r], reg_of[limit]);
    x64_cmov_rr(e->x, CC_G, 8, reg_of[r], reg_of[limit]);
    drop(e, limit);
    return r;
}

static enum x64_alu alu_of(uint8_t op)
{
    switch (op) {
    case E_ADD:
        return X_ADD;
    case E_SUB:
        return X_SUB;
    case E_AND:
        return X_AND;
    case E_OR:
        return X_OR;
    default: /* E_XOR */
        return X_XOR;
    }
}

/* r op= the constant k. */
static void alu_const(struct emitter *e, enum x64_alu op, uint32_t width,
                      uint32_t r, uint64_t k)
{
    int64_t imm = width == 4 ? (int32_t)k : (int64_t)k;
    if (imm == (int32_t)imm && x64_harmless(imm)) {
        x64_alu_ri(e->x, op, width, reg_of[r], (int32_t)imm);
        return;
    }
    if (op == X_XOR && width == 4) { /* the key cancels out */
        x64_alu_ri(e->x, op, 4, reg_of[r], (int32_t)((uint32_t)k ^ e->x->key));
        x64_alu_ri(e->x, op, 4, reg_of[r], (int32_t)e->x->key);
        return;
    }
    uint32_t t = take(e);
    x64_mov_chosen(e->x, reg_of[t], k);
    x64_alu_rr(e->x, op, width, reg_of[r], reg_of[t]);
    drop(e, t);
}

static uint32_t compute_binary(struct emitter *e, const struct expr *v)
{
    uint32_t r = own(e, v->a);
    if (v->b == EXPR_NONE) {
        if (v->op == E_MUL) {
            uint32_t t = take(e);
            x64_mov_chosen(e->x, reg_of[t], v->k);
            x64_imul_rr(e->x, v->width, reg_of[r], reg_of[t]);
            drop(e, t);
        } else {
            alu_const(e, alu_of(v->op), v->width, r, v->k);
        }
        return r;
    }
    uint32_t s = value(e, v->b);
    if (v->op == E_MUL) {
        x64_imul_rr(e->x, v->width, reg_of[r], reg_of[s]);
    } else {
        x64_alu_rr(e->x, alu_of(v->op), v->width, reg_of[r], reg_of[s]);
    }
    drop(e, s);
    return r;
}

static uint32_t compute_unary(struct emitter *e, const struct expr *v)
{
    uint32_t r = own(e, v->a);
    enum x64_reg m = reg_of[r];
    switch (v->op) {
    case E_LSH:
        x64_shift_i(e->x, X_SHL, v->width, m, (uint8_t)v->k);
        break;
    case E_RSH:
        x64_shift_i(e->x, X_SHR, v->width, m, (uint8_t)v->k);
        break;
    case E_ARSH:
        x64_shift_i(e->x, X_SAR, v->width, m, (uint8_t)v->k);
        break;
    case E_NEG:
        x64_unary(e->x, X_NEG, v->width, m);
        break;
    case E_SWAP:
        x64_bswap(e->x, v->width, m); /* two bytes: the rest is zero */
        break;
    case E_ZEXT:
        x64_mov_rr(e->x, 4, m, m);
        break;
    default: /* E_SEXT */
        x64_sign_extend(e->x, v->width, (uint32_t)v->k, m, m);
        break;
    }
    return r;
}

/* A pinned register with a fresh v in it. Depth: EXPR_DEPTH. */
static uint32_t compute(struct emitter *e, expr_id id)
{
    const struct expr *v = &e->g->e[id];
    uint32_t r;
    if (e->c->failed) {
        return 0;
    }
    switch (v->op) {
    case E_CONST:
        r = take(e);
        x64_mov_chosen(e->x, reg_of[r], v->k);
        return r;
    case E_LOAD:
    case E_LOAD_SIGNED:
        return compute_load(e, v);
    case E_CLAMP:
        return compute_clamp(e, v);
    case E_ADD:
    case E_SUB:
    case E_MUL:
    case E_AND:
    case E_OR:
    case E_XOR:
        return compute_binary(e, v);
    default:
        return compute_unary(e, v);
    }
}

/* ------------------------------------------------------------- members */

/* Do the constants of t fall into different entries? */
static bool spreads(const struct decision *d, const struct member_table *t)
{
    uint64_t used[1u << 10 >> 6] = {0};
    for (uint32_t n = 0; n < t->count; n++) {
        uint32_t at = d->set[t->first + n] * t->multiplier >> t->shift;
        if ((used[at / 64] >> (at % 64) & 1) != 0) {
            return false;
        }
        used[at / 64] |= UINT64_C(1) << (at % 64);
    }
    return true;
}

/* A multiplier without collisions, in the smallest table that has one. */
static bool find_multiplier(struct emitter *e, struct member_table *t)
{
    uint32_t seed = e->x->key;
    for (uint32_t bits = 3; bits <= 10; bits++) {
        t->shift = (uint8_t)(32 - bits);
        if (1u << bits < t->count) {
            continue;
        }
        for (uint32_t tries = 0; tries < 40; tries++) {
            seed = seed * UINT32_C(1664525) + UINT32_C(1013904223);
            t->multiplier = seed | UINT32_C(0x80000001);
            if (spreads(e->d, t)) {
                return true;
            }
        }
    }
    return false;
}

static bool same_set(const struct decision *d, const struct member_table *t,
                     const struct cond *c)
{
    return t->count == c->count &&
           __builtin_memcmp(d->set + t->first, d->set + c->first,
                            c->count * sizeof(d->set[0])) == 0;
}

/* The table of c; found in the first pass, found again in the others. */
static struct member_table *table_for(struct emitter *e, const struct cond *c)
{
    struct filter_code *f = e->c;
    uint32_t n = 0;
    while (n < f->table_count && !same_set(e->d, &f->table[n], c)) {
        n++;
    }
    struct member_table *t = &f->table[n];
    if (n == TABLES_MAX) {
        fail(e);
        return NULL;
    }
    if (n == f->table_count) {
        *t = (struct member_table){.first = c->first, .count = c->count};
        if (!find_multiplier(e, t)) {
            fail(e);
            return NULL;
        }
        f->table_count++;
        t->label = UINT32_MAX;
    }
    if (t->label == UINT32_MAX) {
        t->label = x64_label_new(e->x);
    }
    return t;
}

/* Two constants: the product of the differences is zero. */
static uint32_t member_of_two(struct emitter *e, const struct cond *c)
{
    uint32_t a = own(e, c->a);
    uint32_t v = value(e, c->a), b = take(e);
    x64_mov_rr(e->x, 8, reg_of[b], reg_of[v]);
    drop(e, v);
    alu_const(e, X_XOR, 4, a, e->d->set[c->first]);
    alu_const(e, X_XOR, 4, b, e->d->set[c->first + 1]);
    x64_imul_rr(e->x, 8, reg_of[a], reg_of[b]);
    e->last_product = true;
    drop(e, b);
    return a;
}

/* Flags: E when the value is in the set. */
static void flags_member(struct emitter *e, const struct cond *c)
{
    const struct member_table *t = table_for(e, c);
    if (t == NULL) {
        return;
    }
    uint32_t v = value(e, c->a), product = take(e), at = take(e);
    uint32_t table = take(e);
    x64_imul_rri(e->x, 4, reg_of[product], reg_of[v], (int32_t)t->multiplier);
    drop(e, v);
    x64_lea_label(e->x, reg_of[table], t->label);
    x64_mov_rr(e->x, 4, reg_of[at], reg_of[product]);
    x64_shift_i(e->x, X_SHR, 4, reg_of[at], t->shift);
    x64_alu_rm(e->x, X_CMP, 4, reg_of[product],
               x64_index(reg_of[table], reg_of[at], 4, 0));
    drop(e, table);
    drop(e, at);
    drop(e, product);
}

static void put_table(struct emitter *e, const struct member_table *t)
{
    x64_place(e->x, t->label);
    for (uint32_t at = 0; at < 1u << (32 - t->shift); at++) {
        /* A product that belongs elsewhere matches nothing that comes here. */
        uint32_t entry = (at ^ 1) << t->shift;
        for (uint32_t n = 0; n < t->count; n++) {
            uint32_t product = e->d->set[t->first + n] * t->multiplier;
            entry = product >> t->shift == at ? product : entry;
        }
        x64_data(e->x, entry);
    }
}

/* ----------------------------------------------------------- conditions */

static uint32_t zero_when(struct emitter *e, cond_id id);
static uint32_t zero_cmp(struct emitter *e, const struct cond *c);

/* Flags for c; returns the code that is set when it holds. */
static enum x64_cc flags_cmp(struct emitter *e, const struct cond *c)
{
    const struct expr *a = &e->g->e[c->a];
    bool k_ok =
        x64_harmless((int64_t)c->k) && (c->width == 4 || c->k <= INT32_MAX);
    bool memory = a->op == E_LOAD && find_held(e, c->a) == UINT32_MAX &&
                  a->uses <= 1 && a->a == EXPR_NONE && c->b == EXPR_NONE;
    struct x64_mem m = x64_at(RDI, (int32_t)a->k);
    if (memory && a->width == 1 && c->k <= 0xff) {
        if (c->kind == C_TEST) {
            x64_test_mi(e->x, 1, m, (int32_t)c->k);
        } else {
            x64_alu_mi(e->x, X_CMP, 1, m, (int8_t)c->k);
        }
        return c->cc;
    }
    uint32_t r = value(e, c->a);
    if (c->b != EXPR_NONE) {
        uint32_t s = value(e, c->b);
        if (c->kind == C_TEST) {
            x64_test_rr(e->x, c->width, reg_of[r], reg_of[s]);
        } else {
            x64_alu_rr(e->x, X_CMP, c->width, reg_of[r], reg_of[s]);
        }
        drop(e, s);
    } else if (c->kind == C_CMP && c->k == 0 &&
               (c->cc == CC_E || c->cc == CC_NE)) {
        x64_test_rr(e->x, c->width, reg_of[r], reg_of[r]);
    } else if (c->kind == C_TEST && k_ok) {
        x64_test_ri(e->x, c->width, reg_of[r], (int32_t)c->k);
    } else if (c->kind == C_TEST) {
        uint32_t t = take(e);
        x64_mov_chosen(e->x, reg_of[t], c->k);
        x64_test_rr(e->x, c->width, reg_of[r], reg_of[t]);
        drop(e, t);
    } else {
        alu_const(e, X_CMP, c->width, r, c->k);
    }
    drop(e, r);
    return c->cc;
}

/* Signed 8-bit immediates order bytes wrongly: keep to registers there. */
static bool byte_order_ok(const struct cond *c)
{
    return c->kind == C_TEST || c->cc == CC_E || c->cc == CC_NE ||
           c->cc == CC_B || c->cc == CC_AE || c->cc == CC_A || c->cc == CC_BE;
}

static enum x64_cc flags_when(struct emitter *e, cond_id id)
{
    const struct cond c = e->d->conds[id];
    if (c.kind == C_CMP && (c.cc == CC_E || c.cc == CC_NE) && c.width == 4 &&
        c.b == EXPR_NONE && !x64_harmless((int64_t)c.k)) {
        drop(e, zero_cmp(e, &c)); /* hiding it is cheaper this way */
        return c.cc;
    }
    if (c.kind == C_CMP || c.kind == C_TEST) {
        if (!byte_order_ok(&c)) {
            drop(e, value(e, c.a)); /* signed: never against memory */
        }
        return flags_cmp(e, &c);
    }
    if (c.kind == C_MEMBER && c.count > 2) {
        flags_member(e, &c);
        return c.cc;
    }
    bool negate = c.kind == C_OR || (c.kind == C_MEMBER && c.cc == CC_NE);
    cond_id zero = negate ? cond_not(e->d, id) : id;
    if (zero == COND_NONE) {
        fail(e);
        return CC_E;
    }
    uint32_t r = zero_when(e, zero);
    if (e->last_product) { /* else the last operation was "or" or "and" */
        x64_test_rr(e->x, 8, reg_of[r], reg_of[r]);
    }
    drop(e, r);
    return negate ? CC_NE : CC_E;
}

/* A register with 1 when c holds, else 0. */
static uint32_t truth(struct emitter *e, cond_id id, bool negated)
{
    e->nest += 2;
    enum x64_cc cc = flags_when(e, id) ^ (negated ? 1 : 0);
    e->nest -= 2;
    uint32_t r = take(e);
    x64_mov_ri(e->x, reg_of[r], 0); /* keeps the flags */
    x64_setcc(e->x, cc, reg_of[r]);
    return r;
}

static uint32_t zero_cmp(struct emitter *e, const struct cond *c)
{
    uint32_t r = own(e, c->a);
    enum x64_alu op = c->kind == C_TEST ? X_AND : X_XOR;
    if (c->b != EXPR_NONE) {
        uint32_t s = value(e, c->b);
        x64_alu_rr(e->x, op, c->width, reg_of[r], reg_of[s]);
        drop(e, s);
    } else if (c->k != 0 || c->kind == C_TEST) {
        alu_const(e, op, c->width, r, c->k);
    } else if (c->width == 4 && e->g->e[c->a].max > UINT32_MAX) {
        x64_mov_rr(e->x, 4, reg_of[r], reg_of[r]);
    }
    return r;
}

/* Is zero_when(c) a number below 2^32? */
static bool zero_is_short(const struct cond *c)
{
    return c->kind == C_CMP && c->cc == CC_E && c->width == 4;
}

/* "or" of two such: their product, which 64 bits hold. */
static uint32_t zero_product(struct emitter *e, const struct cond *c)
{
    const struct cond x = e->d->conds[c->a], y = e->d->conds[c->b];
    uint32_t a = zero_cmp(e, &x), b = zero_cmp(e, &y);
    x64_imul_rr(e->x, 8, reg_of[a], reg_of[b]);
    e->last_product = true;
    drop(e, b);
    return a;
}

/* zero_when, one level down. */
static uint32_t zero_nested(struct emitter *e, cond_id id)
{
    const struct cond c = e->d->conds[id];
    if (c.kind == C_OR && zero_is_short(&e->d->conds[c.a]) &&
        zero_is_short(&e->d->conds[c.b])) {
        return zero_product(e, &c);
    }
    if (c.kind == C_AND || c.kind == C_OR) {
        /* The dearer side first: what it needs is free again for the other */
        bool both = c.kind == C_AND;
        bool swap = e->d->conds[c.a].cost < e->d->conds[c.b].cost;
        cond_id first = swap ? c.b : c.a, second = swap ? c.a : c.b;
        uint32_t a = both ? zero_when(e, first) : truth(e, first, true);
        uint32_t b = both ? zero_when(e, second) : truth(e, second, true);
        x64_alu_rr(e->x, both ? X_OR : X_AND, 8, reg_of[a], reg_of[b]);
        e->last_product = false;
        drop(e, b);
        return a;
    }
    if (c.cc == CC_E && c.kind == C_MEMBER && c.count == 2) {
        return member_of_two(e, &c);
    }
    if (c.cc == CC_E && c.kind != C_MEMBER) {
        return zero_cmp(e, &c);
    }
    return truth(e, id, true);
}

/* A register that is zero exactly when c holds; pinned. */
static uint32_t zero_when(struct emitter *e, cond_id id)
{
    if (e->nest >= NEST_MAX) {
        fail(e);
    }
    if (e->c->failed) {
        return 0;
    }
    e->nest++;
    uint32_t r = zero_nested(e, id);
    e->nest--;
    return r;
}

/* ---------------------------------------------------------------- nodes */

static struct arrival *at_node(struct emitter *e, node_id n)
{
    return &e->c->arrival[n];
}

/* Tell node `to` what is known on the way from here. */
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
        uint32_t held = find_held(e, e->d->var[v].clamped);
        if (held != UINT32_MAX) {
            e->held[held] = EXPR_NONE; /* its flags are wanted */
        }
        drop(e, value(e, e->d->var[v].clamped));
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
    uint32_t r = value(e, n->result);
    if (r != 0) {
        x64_mov_rr(e->x, 8, RAX, reg_of[r]);
    }
    x64_ret(e->x);
    drop(e, r);
}

static void emit_decision(struct emitter *e, const struct node *n, node_id next,
                          uint32_t known, uint8_t vars)
{
    uint64_t yes, no;
    struct x64 *x = e->x;
    enum x64_cc cc = flags_when(e, n->cond);
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
            put_table(&e, &c->table[n]);
        }
    }
    d->cond_count = conds;
    c->failed = c->failed || d->g.failed;
}
