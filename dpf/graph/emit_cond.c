/* SPDX-License-Identifier: MIT */
/*
 * Conditions. One without branches is computed as a number that is zero when
 * it holds: x ^ k for equality, a | b for "and", and the product of two such
 * numbers, made 0 or 1, for "or". Sets of constants become one multiplication
 * and one compare with a table whose entries are the products, so that a
 * table shows no constant that a program's author chose.
 */
#include "dpf/graph/emitter.h"

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
        emit_fail(e);
        return NULL;
    }
    if (n == f->table_count) {
        *t = (struct member_table){.first = c->first, .count = c->count};
        if (!find_multiplier(e, t)) {
            emit_fail(e);
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
    uint32_t a = emit_own(e, c->a);
    uint32_t v = emit_value(e, c->a), b = emit_take(e);
    x64_mov_rr(e->x, 8, emit_reg[b], emit_reg[v]);
    emit_drop(e, v);
    emit_alu_const(e, X_XOR, 4, a, e->d->set[c->first]);
    emit_alu_const(e, X_XOR, 4, b, e->d->set[c->first + 1]);
    x64_imul_rr(e->x, 8, emit_reg[a], emit_reg[b]);
    e->last_product = true;
    emit_drop(e, b);
    return a;
}

/* Flags: E when the value is in the set. */
static void flags_member(struct emitter *e, const struct cond *c)
{
    const struct member_table *t = table_for(e, c);
    if (t == NULL) {
        return;
    }
    uint32_t v = emit_value(e, c->a), product = emit_take(e), at = emit_take(e);
    uint32_t table = emit_take(e);
    x64_imul_rri(e->x, 4, emit_reg[product], emit_reg[v],
                 (int32_t)t->multiplier);
    emit_drop(e, v);
    x64_lea_label(e->x, emit_reg[table], t->label);
    x64_mov_rr(e->x, 4, emit_reg[at], emit_reg[product]);
    x64_shift_i(e->x, X_SHR, 4, emit_reg[at], t->shift);
    x64_alu_rm(e->x, X_CMP, 4, emit_reg[product],
               x64_index(emit_reg[table], emit_reg[at], 4, 0));
    emit_drop(e, table);
    emit_drop(e, at);
    emit_drop(e, product);
}

void emit_table(struct emitter *e, const struct member_table *t)
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
    bool memory = a->op == E_LOAD && emit_held(e, c->a) == UINT32_MAX &&
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
    uint32_t r = emit_value(e, c->a);
    if (c->b != EXPR_NONE) {
        uint32_t s = emit_value(e, c->b);
        if (c->kind == C_TEST) {
            x64_test_rr(e->x, c->width, emit_reg[r], emit_reg[s]);
        } else {
            x64_alu_rr(e->x, X_CMP, c->width, emit_reg[r], emit_reg[s]);
        }
        emit_drop(e, s);
    } else if (c->kind == C_CMP && c->k == 0 &&
               (c->cc == CC_E || c->cc == CC_NE)) {
        x64_test_rr(e->x, c->width, emit_reg[r], emit_reg[r]);
    } else if (c->kind == C_TEST && k_ok) {
        x64_test_ri(e->x, c->width, emit_reg[r], (int32_t)c->k);
    } else if (c->kind == C_TEST) {
        uint32_t t = emit_take(e);
        x64_mov_chosen(e->x, emit_reg[t], c->k);
        x64_test_rr(e->x, c->width, emit_reg[r], emit_reg[t]);
        emit_drop(e, t);
    } else {
        emit_alu_const(e, X_CMP, c->width, r, c->k);
    }
    emit_drop(e, r);
    return c->cc;
}

/* Signed 8-bit immediates order bytes wrongly: keep to registers there. */
static bool byte_order_ok(const struct cond *c)
{
    return c->kind == C_TEST || c->cc == CC_E || c->cc == CC_NE ||
           c->cc == CC_B || c->cc == CC_AE || c->cc == CC_A || c->cc == CC_BE;
}

enum x64_cc emit_flags(struct emitter *e, cond_id id)
{
    const struct cond c = e->d->conds[id];
    if (c.kind == C_CMP && (c.cc == CC_E || c.cc == CC_NE) && c.width == 4 &&
        c.b == EXPR_NONE && !x64_harmless((int64_t)c.k)) {
        emit_drop(e, zero_cmp(e, &c)); /* hiding it is cheaper this way */
        return c.cc;
    }
    if (c.kind == C_CMP || c.kind == C_TEST) {
        if (!byte_order_ok(&c)) {
            emit_drop(e, emit_value(e, c.a)); /* signed: never against memory */
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
        emit_fail(e);
        return CC_E;
    }
    uint32_t r = zero_when(e, zero);
    if (e->last_product) { /* else the last operation was "or" or "and" */
        x64_test_rr(e->x, 8, emit_reg[r], emit_reg[r]);
    }
    emit_drop(e, r);
    return negate ? CC_NE : CC_E;
}

/* A register with 1 when c holds, else 0. */
static uint32_t truth(struct emitter *e, cond_id id, bool negated)
{
    e->nest += 2;
    enum x64_cc cc = emit_flags(e, id) ^ (negated ? 1 : 0);
    e->nest -= 2;
    uint32_t r = emit_take(e);
    x64_mov_ri(e->x, emit_reg[r], 0); /* keeps the flags */
    x64_setcc(e->x, cc, emit_reg[r]);
    return r;
}

static uint32_t zero_cmp(struct emitter *e, const struct cond *c)
{
    uint32_t r = emit_own(e, c->a);
    enum x64_alu op = c->kind == C_TEST ? X_AND : X_XOR;
    if (c->b != EXPR_NONE) {
        uint32_t s = emit_value(e, c->b);
        x64_alu_rr(e->x, op, c->width, emit_reg[r], emit_reg[s]);
        emit_drop(e, s);
    } else if (c->k != 0 || c->kind == C_TEST) {
        emit_alu_const(e, op, c->width, r, c->k);
    } else if (c->width == 4 && e->g->e[c->a].max > UINT32_MAX) {
        x64_mov_rr(e->x, 4, emit_reg[r], emit_reg[r]);
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
    x64_imul_rr(e->x, 8, emit_reg[a], emit_reg[b]);
    e->last_product = true;
    emit_drop(e, b);
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
        /* The dearer side first: its registers are free again for the other */
        bool both = c.kind == C_AND;
        bool swap = e->d->conds[c.a].cost < e->d->conds[c.b].cost;
        cond_id first = swap ? c.b : c.a, second = swap ? c.a : c.b;
        uint32_t a = both ? zero_when(e, first) : truth(e, first, true);
        uint32_t b = both ? zero_when(e, second) : truth(e, second, true);
        x64_alu_rr(e->x, both ? X_OR : X_AND, 8, emit_reg[a], emit_reg[b]);
        e->last_product = false;
        emit_drop(e, b);
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
        emit_fail(e);
    }
    if (e->c->failed) {
        return 0;
    }
    e->nest++;
    uint32_t r = zero_nested(e, id);
    e->nest--;
    return r;
}
