/* SPDX-License-Identifier: MIT */
/*
 * For one base after the other, from the terminals up: the length from that
 * base on that a node needs, since something below it is read there. A test
 * of this length meets the need of what each interval leads to, or does not.
 */
#include "dpf/diagram/guard.h"

/* The length of base `b` that base `c` needs to be counted from. */
static uint32_t base_needs(const struct dd_base *bases, uint32_t c, uint32_t b)
{
    uint32_t need = 0;
    for (uint32_t i = 0; i < bases[c].count; i++) {
        uint32_t var = bases[c].terms[i].var;
        if (dd_var_base(var) == b && dd_var_off(var) >= need) {
            need = dd_var_off(var) + 1;
        }
    }
    return need;
}

/* What node i needs of base b; UINT32_MAX if a need below is not met. */
static uint32_t node_needs(const struct dd *d, uint32_t i, uint32_t b,
                           const uint32_t *needs)
{
    const struct dd_node *n = &d->nodes[i];
    uint32_t base = dd_var_base(n->var), need = 0, lo = 0;
    bool met = dd_var_is_len(n->var) && base == b;
    for (uint32_t k = 0; k < n->count; k++) {
        const struct dd_edge *e = &d->edges[n->edges + k];
        uint32_t below = dd_is_term(e->child) ? 0 : needs[e->child];
        if (met && below > lo) {
            return UINT32_MAX;
        }
        need = !met && below > need ? below : need;
        lo = e->hi + 1;
    }
    if (base == b && !met && dd_var_off(n->var) >= need) {
        need = dd_var_off(n->var) + 1;
    }
    if (base && base != b) {
        uint32_t of_base = base_needs(d->bases, base, b);
        need = of_base > need ? of_base : need;
    }
    return need;
}

bool dd_is_guarded(struct dd *d, uint32_t f)
{
    uint64_t used = dd_bases(d, f);
    bool ok = true;
    if (dd_is_term(f)) {
        return !d->err;
    }
    uint32_t edges;
    uint8_t *below = dd_below(d, f, &edges);
    uint32_t *needs;
    needs = heap_alloc(d->heap, (f + 1) * sizeof(*needs));
    if (needs == NULL) {
        d->err = d->err ? d->err : -DPF_E_MEM;
    }
    for (uint32_t i = 0; i <= f && ok && !d->err; i++) {
        heap_pass(d->heap, 1 + below[i] * d->nodes[i].count / 4);
        ok = !below[i] || dd_node_ok(d, i);
    }
    for (uint32_t b = 0; b < DD_BASES_MAX && ok && !d->err; b++) {
        if (!(used >> b & 1) || !dd_work(d, dd_pass(f, edges))) {
            continue;
        }
        for (uint32_t i = 0; i <= f && ok; i++) {
            heap_pass(d->heap, 1 + below[i] * d->nodes[i].count / 4);
            if (below[i]) {
                needs[i] = node_needs(d, i, b, needs);
                ok = needs[i] != UINT32_MAX;
            }
        }
        ok = ok && needs[f] == 0;
    }
    heap_free(d->heap, needs, (f + 1) * sizeof(*needs));
    heap_free(d->heap, below, f + 1);
    return ok && !d->err;
}

/* Are the bytes in cube c that decide where base b lies? */
static bool has_base(const struct dd_base *bases, const struct cube *c,
                     uint32_t b)
{
    for (uint32_t i = 0; i < bases[b].count; i++) {
        uint32_t var = bases[b].terms[i].var;
        if (dd_var_off(var) >= cube_len(c, dd_var_base(var))) {
            return false;
        }
    }
    return b == 0 || bases[b].count;
}

bool cube_is_guarded(const struct dd_base *bases, const struct cube *c)
{
    for (uint32_t i = 0; i < c->len_count; i++) {
        if (!has_base(bases, c, c->lens[i].base)) {
            return false;
        }
    }
    /* A byte's base has a length, so that it was among those. */
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t var = c->bytes[i].var;
        if (dd_var_is_len(var) ||
            dd_var_off(var) >= cube_len(c, dd_var_base(var))) {
            return false;
        }
    }
    return true;
}
