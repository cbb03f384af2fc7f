/* SPDX-License-Identifier: MIT */
/*
 * Crowds: many filters in one set, in regions within regions, bound and
 * unbound in any order, one by one and in bulk, with memory and without, so
 * that tables grow, keys widen, shapes spread into class trees and come back,
 * and class trees have many leaves and chains. After every few changes packets
 * made for the filters go through all engines. The oracle is the interpreter's
 * answer of each filter to each packet, and the rules of dpf.h:
 *
 *   owner    accepts the packet; if an exclusive binding accepts it, one has it
 *   theft    of two that accept one packet, the other allows it (DPF_REFINE),
 *            and never has a packet of the first; if both are read whole the
 *            owner lies inside it
 *   copies   exactly the shared bindings and taps that accept
 *   region   what is bound in a region accepts nothing that the region does not
 *   order    the same bindings in another order have the same owners
 *   engines  all give one answer, and take and refuse the same filters
 *   memory   a change that finds none changes nothing; unbinding needs none
 *   old      a version that a lookup still reads has owners that accept
 *   proofs   none is refuted by a packet, no filter is read otherwise than it
 *            runs
 *
 * usage: diff_crowd SCENARIOS [SEED [harmless]]
 *
 * 0 scenarios: until it is stopped. "harmless" as for small_sets.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "tests/diff/dpf/crowd.h"
#include "dpf/set/set.h"
#include "tests/diff/dpf/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS 512u /* ids of filters, and behind them those of likes */
#define LIKES 64u
#define IDS (MEMBERS + LIKES)
#define AREAS 8u /* regions, by id; 0 is every packet */
#define PACKETS 192u
#define ID_WORDS (IDS / 64u)
#define PACKET_WORDS (PACKETS / 64u)
#define NONE UINT32_MAX

struct member {
    struct crowd_filter filter;
    struct dpf_program *program[ENGINES];
    uint64_t says[PACKET_WORDS];
    uint32_t flags, area;
    uint32_t like, fields; /* NONE, or a binding with other constants */
    struct dpf_const field[4];
    bool bound, whole; /* read whole: no program is asked */
};

/* Read by sources with a deliberate mistake in them. */
extern int dpf_mutant;
int dpf_mutant;

static struct rng rng;
static struct dpf_set *set[ENGINES];
static uint32_t engines, members;
static uint32_t taps; /* of six */
static bool alike;    /* most filters differ in what no byte tells apart */
static bool bounded, harmless;
static struct member all[IDS];
static struct member area[AREAS];
static uint8_t packet[PACKETS][CROWD_BYTES];
static size_t packet_len[PACKETS];
static uint64_t accept[PACKETS][ID_WORDS]; /* who accepts it */
static uint64_t owning[ID_WORDS], copying[ID_WORDS];
static uint64_t over[IDS][ID_WORDS]; /* [a]: those whose packets a has */
static void *(*real_alloc)(void *ctx, size_t size);
static uint32_t allocs_left = NONE;
static struct {
    unsigned long programs, packets, binds, likes, refused, large, starved;
} tally;

/* ------------------------------------------------------------------ reports */

static void show(uint32_t i)
{
    char text[CROWD_TEXT];

    if (i >= IDS) {
        return;
    }
    crowd_text(&all[all[i].like == NONE ? i : all[i].like].filter, text);
    printf("# %u%s%s in region %u%s%s:\n%s", i,
           all[i].bound ? "" : " (not bound)",
           all[i].like == NONE ? "" : " like", all[i].area,
           all[i].flags & DPF_REFINE ? " (refine)" : "",
           all[i].flags & DPF_TAP ? " (tap)" : "", text);
}

static void fail(const char *what, uint32_t a, uint32_t b, uint32_t k)
{
    printf("not ok 1 - %s: scenario %llu, %d and %d", what,
           (unsigned long long)scenario, (int)a, (int)b);
    for (size_t i = 0; k < PACKETS && i < packet_len[k]; i++) {
        printf(i ? " %02x" : ", packet %02x", packet[k][i]);
    }
    printf("\n");
    show(a);
    if (b != a) {
        show(b);
    }
    exit(1);
}

/* ------------------------------------------------------------------- memory */

static void *few_alloc(void *ctx, size_t size)
{
    if (allocs_left == 0) {
        return NULL;
    }
    allocs_left -= allocs_left != NONE;
    return real_alloc(ctx, size);
}

/* --------------------------------------------------------------------- bits */

static bool has(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static void put(uint64_t *bits, uint32_t i, bool yes)
{
    uint64_t bit = UINT64_C(1) << (i % 64);

    bits[i / 64] = yes ? bits[i / 64] | bit : bits[i / 64] & ~bit;
}

/* Is each packet that a accepts accepted by b? */
static bool is_inside(const struct member *a, const struct member *b)
{
    uint64_t outside = 0;

    for (uint32_t i = 0; i < PACKET_WORDS; i++) {
        outside |= a->says[i] & ~b->says[i];
    }
    return outside == 0;
}

/* ------------------------------------------------------------------ filters */

static void make_program(struct member *m)
{
    char text[CROWD_TEXT];

    crowd_text(&m->filter, text);
    for (uint32_t e = 0; e < engines; e++) {
        m->program[e] = world_program(e, text);
    }
    m->like = NONE;
    tally.programs++;
}

static void ask(struct member *m)
{
    for (uint32_t k = 0; k < PACKETS; k++) {
        const uint8_t *at = world_place(packet[k], packet_len[k]);
        bool yes = world_interp(m->program[0], at, packet_len[k]);

        put(m->says, k, yes);
        for (uint32_t e = 0; e < engines; e++) {
            if ((dpf_filter_run(m->program[e], at, packet_len[k]) != 0) !=
                yes) {
                fail("a program's engines differ", (uint32_t)(m - all), e, k);
            }
        }
    }
}

/* Regions lie in one another, mostly one in the last. */
static void make_areas(uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct member *m = &area[i];

        m->area = rng_below(&rng, 3) ? i - 1 : rng_below(&rng, i);
        m->flags = rng_below(&rng, 4) ? 0 : DPF_SHARED;
        if (m->area) {
            crowd_narrow(&rng, &area[m->area].filter, &m->filter);
        } else {
            crowd_make(&rng, &m->filter);
            m->filter.tests &= (1u << CROWD_PROTOCOL) | (1u << CROWD_SOURCE) |
                               (1u << CROWD_TAG);
        }
        make_program(m);
    }
}

static void make_member(uint32_t i, uint32_t areas)
{
    struct member *m = &all[i];

    m->area = rng_below(&rng, 2) ? rng_below(&rng, areas) : 0;
    m->flags = rng_below(&rng, 6) < taps ? DPF_TAP
               : rng_below(&rng, 2)      ? 0
                                         : DPF_REFINE;
    if (alike && i && rng_below(&rng, 8)) {
        crowd_alike(&rng, &all[0].filter, &m->filter);
    } else if (m->area && rng_below(&rng, 8)) {
        crowd_narrow(&rng, &area[m->area].filter, &m->filter);
    } else if (i && rng_below(&rng, 3) == 0) {
        crowd_vary(&rng, &all[rng_below(&rng, i)].filter, &m->filter);
    } else if (i && rng_below(&rng, 4) == 0) {
        crowd_narrow(&rng, &all[rng_below(&rng, i)].filter, &m->filter);
    } else {
        crowd_make(&rng, &m->filter);
    }
    make_program(m);
}

static void make_all(uint32_t areas)
{
    make_areas(areas);
    for (uint32_t i = 0; i < members; i++) {
        make_member(i, areas);
    }
    for (uint32_t k = 0; k < PACKETS; k++) {
        const struct member *m = rng_below(&rng, 8) || areas < 2
                                     ? &all[rng_below(&rng, members)]
                                     : &area[1 + rng_below(&rng, areas - 1)];

        packet_len[k] = crowd_packet(&rng, &m->filter, packet[k]);
    }
    for (uint32_t i = 1; i < areas; i++) {
        ask(&area[i]);
    }
    for (uint32_t i = 0; i < members; i++) {
        ask(&all[i]);
    }
}

/* ------------------------------------------------------------------- checks */

/* Is it one of those that a mistaken lift read? */
static bool attacks(uint32_t i)
{
    return harmless && i < MEMBERS && (i & 1);
}

static bool is_copy(uint32_t i)
{
    bool yes = all[i].flags & DPF_TAP;

    for (uint32_t a = all[i].area; a; a = area[a].area) {
        yes = yes || area[a].flags & DPF_SHARED;
    }
    return yes;
}

struct copies {
    uint64_t ids[ID_WORDS];
    uint32_t k;
};

static void note_copy(void *ctx, uint32_t id)
{
    struct copies *c = ctx;

    if (id >= IDS || has(c->ids, id) || !has(copying, id)) {
        fail("a copy to the unbound, or twice", id, NONE, c->k);
    }
    put(c->ids, id, true);
}

/* `g` has the packet that `a` accepts, too. */
static void check_taken(uint32_t g, uint32_t a, uint32_t k)
{
    if (!(all[a].flags & DPF_REFINE)) {
        fail("theft", g, a, k);
    }
    if (attacks(g)) {
        return;
    }
    if (has(over[a], g)) {
        fail("each owns packets of the other", g, a, k);
    }
    if (!has(over[g], a) && all[g].whole && all[a].whole &&
        !is_inside(&all[g], &all[a])) {
        fail("the owner is not inside", g, a, k);
    }
    put(over[g], a, true);
}

static void check_owner(uint32_t g, uint32_t k)
{
    if (g != DPF_NO_OWNER && (g >= IDS || !has(owning, g))) {
        fail("owned by what owns nothing", g, NONE, k);
    }
    if (g != DPF_NO_OWNER && !attacks(g) && !has(accept[k], g)) {
        fail("the owner does not accept", g, NONE, k);
    }
    for (uint32_t w = 0; w < ID_WORDS; w++) {
        for (uint64_t m = accept[k][w] & owning[w]; m; m &= m - 1) {
            uint32_t a = 64 * w + (uint32_t)__builtin_ctzll(m);

            if (a == g || attacks(a)) {
                continue;
            }
            if (g == DPF_NO_OWNER) {
                fail("lost", a, NONE, k);
            }
            check_taken(g, a, k);
        }
    }
}

static void check_region(uint32_t i, uint32_t k)
{
    for (uint32_t a = i < IDS ? all[i].area : 0; a; a = area[a].area) {
        if (!has(area[a].says, k)) {
            fail("a packet from outside its region", i, NONE, k);
        }
    }
}

static void check_copies(const struct copies *c, uint32_t k)
{
    for (uint32_t i = 0; i < IDS; i++) {
        bool want = has(copying, i) && has(accept[k], i);

        if (has(c->ids, i) != want && !attacks(i)) {
            fail(want ? "a copy is missing" : "a copy of what it refuses", i,
                 NONE, k);
        }
        if (has(c->ids, i)) {
            check_region(i, k);
        }
    }
}

static void check(void)
{
    for (uint32_t k = 0; k < PACKETS; k++) {
        const uint8_t *at = world_place(packet[k], packet_len[k]);
        struct copies c[ENGINES] = {{{0}, k}, {{0}, k}, {{0}, k}};
        uint32_t got[ENGINES];

        for (uint32_t e = 0; e < engines; e++) {
            got[e] = dpf_set_match(set[e], at, packet_len[k], note_copy, &c[e]);
            if (got[e] != got[0] ||
                memcmp(c[e].ids, c[0].ids, sizeof(c[0].ids))) {
                fail("lookups differ", got[0], got[e], k);
            }
        }
        check_owner(got[0], k);
        check_region(got[0], k);
        check_copies(&c[0], k);
    }
    tally.packets += PACKETS;
}

/* ------------------------------------------------------------------ changes */

static void note_bound(uint32_t i, bool bound)
{
    struct member *m = &all[i];

    m->bound = bound;
    put(owning, i, bound && !is_copy(i));
    put(copying, i, bound && is_copy(i));
    m->whole = bound && !bounded && dpf_set_steps(set[0], i) == 0;
    for (uint32_t k = 0; k < PACKETS; k++) {
        put(accept[k], i, bound && has(m->says, k));
    }
    memset(over[i], 0, sizeof(over[i]));
    for (uint32_t a = 0; a < IDS; a++) {
        put(over[a], i, false);
    }
}

static bool gave_up(int r)
{
    return r == -DPF_E_TOO_BIG || r == -DPF_E_STEPS || r == -DPF_E_FUEL;
}

static int insert_into(struct dpf_set *s, uint32_t e, uint32_t i,
                       struct dpf_error *err)
{
    const struct member *m = &all[i];
    int r;

    dpf_mutant = attacks(i);
    r = m->like == NONE
            ? dpf_set_insert(s, i, m->area, m->program[e], m->flags, err)
            : dpf_set_insert_like(s, i, m->like, m->field, m->fields, err);
    dpf_mutant = 0;
    return r;
}

static void check_refusal(uint32_t i, int r, const struct dpf_error *err)
{
    const struct dpf_program *p = all[i].program[0];
    const struct member *o = &all[err->other < IDS ? err->other : i];

    if (err->text[0] == 0 || err->code != r) {
        fail("refused without a word", i, NONE, NONE);
    }
    if (r == -DPF_E_CONFLICT &&
        (err->other >= IDS || !has(owning, err->other))) {
        fail("in conflict with the unbound", i, err->other, NONE);
    }
    if (err->witness_len == 0 || all[i].like != NONE || harmless) {
        return;
    }
    if (!world_interp(p, err->witness, err->witness_len) ||
        (r == -DPF_E_CONFLICT && o->like == NONE &&
         !world_interp(o->program[0], err->witness, err->witness_len))) {
        fail("false witness", i, err->other, NONE);
    }
}

static void add_copy(void *ctx, uint32_t id)
{
    uint64_t *sum = ctx;

    *sum += (id + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The owners of some packets, and who gets copies, as one number. */
static uint64_t answers(uint32_t e)
{
    uint64_t sum = 0;

    for (uint32_t k = 0; k < PACKETS; k += 1 + members / 64) {
        const uint8_t *at = world_place(packet[k], packet_len[k]);
        uint32_t id = dpf_set_match(set[e], at, packet_len[k], add_copy, &sum);

        sum = (sum ^ id) * UINT64_C(0xd6e8feb86659fd93);
    }
    return sum;
}

/* Bind without memory for all of it; then with it. */
static int insert_starved(uint32_t e, uint32_t i, struct dpf_error *err)
{
    uint64_t before;
    int r;

    if (rng_below(&rng, 8)) {
        return insert_into(set[e], e, i, err);
    }
    before = answers(e);
    allocs_left = rng_below(&rng, 40);
    r = insert_into(set[e], e, i, err);
    allocs_left = NONE;
    if (r == -DPF_E_MEM) {
        tally.starved++;
        if (answers(e) != before) {
            fail("without memory something changed", i, e, NONE);
        }
        r = insert_into(set[e], e, i, err);
    }
    return r;
}

static void bind(uint32_t i)
{
    struct dpf_error err[ENGINES] = {0};
    int r[ENGINES];
    bool gave = false;

    for (uint32_t e = 0; e < engines; e++) {
        r[e] = insert_starved(e, i, &err[e]);
        gave = gave || gave_up(r[e]) || ((bounded || harmless) && r[e] != r[0]);
    }
    for (uint32_t e = 0; e < engines; e++) {
        if (gave ? r[e] == 0 && dpf_set_remove(set[e], i) : r[e] != r[0]) {
            printf("# %d %d: %s %s\n", r[0], r[e], err[0].text, err[e].text);
            fail("refused by one engine", i, e, NONE);
        }
    }
    tally.large += gave;
    if (gave) {
        return;
    }
    if (r[0] == 0) {
        tally.binds++;
        tally.likes += all[i].like != NONE;
        note_bound(i, true);
    } else if (r[0] == -DPF_E_CONFLICT || r[0] == -DPF_E_REGION) {
        tally.refused++;
        check_refusal(i, r[0], &err[0]);
    } else {
        printf("# %d %s\n", r[0], err[0].text);
        fail("insert", i, NONE, NONE);
    }
}

/* Make binding i one like another, with other constants. */
static void bind_like(uint32_t i)
{
    struct member *m = &all[i];
    uint32_t like = rng_below(&rng, members);
    struct dpf_field f[16];
    int n = all[like].bound && !attacks(like)
                ? dpf_set_fields(set[0], like, f, 16)
                : 0;

    for (int k = 0; k < n && k < 16; k++) {
        n = f[k].base ? 0 : n; /* see small_sets.c */
    }
    if (n <= 0 || n > 16) {
        return;
    }
    *m = (struct member){
        .flags = all[like].flags, .area = all[like].area, .like = like};
    for (int k = 0; k < n && m->fields < 4; k++) {
        if (rng_below(&rng, 3) == 0) {
            m->field[m->fields++] = (struct dpf_const){
                (uint32_t)k, (f[k].value ^ rng_below(&rng, 16)) & f[k].mask};
        }
    }
    for (uint32_t k = 0; k < PACKETS; k++) {
        put(m->says, k,
            world_like(all[like].program[0], f, m->field, m->fields, packet[k],
                       packet_len[k]));
    }
    bind(i);
}

static void unbind(uint32_t i, bool tidy)
{
    for (uint32_t e = 0; e < engines; e++) {
        allocs_left = rng_below(&rng, 4) ? NONE : rng_below(&rng, 6);
        if (tidy ? dpf_set_remove(set[e], i) : dpf_set_drop(set[e], i)) {
            fail("remove", i, NONE, NONE);
        }
        allocs_left = NONE;
    }
    note_bound(i, false);
}

/* Make the region, if that in which it is to lie is there. */
static void make_region(uint32_t a)
{
    struct dpf_error err;
    int r = 0;

    if (area[a].bound || (area[a].area && !area[area[a].area].bound)) {
        return;
    }
    for (uint32_t e = 0; e < engines && r == 0; e++) {
        r = dpf_set_region_insert(set[e], a, area[a].area, area[a].program[e],
                                  area[a].flags, &err);
        if (e && r && !bounded) {
            fail("a region is refused by one engine", a, NONE, NONE);
        }
    }
    for (uint32_t e = 0; r && e < engines; e++) {
        (void)dpf_set_region_remove(set[e], a);
    }
    area[a].bound = r == 0;
}

static bool lies_in(uint32_t a, uint32_t in)
{
    while (a && a != in) {
        a = area[a].area;
    }
    return a == in;
}

/* All that is bound in a region goes, and it, and those in it. */
static void break_region(uint32_t a, uint32_t areas)
{
    for (uint32_t i = 0; i < IDS; i++) {
        if (all[i].bound && lies_in(all[i].area, a)) {
            unbind(i, false);
        }
    }
    for (uint32_t in = areas; in-- > a;) {
        for (uint32_t e = 0; area[in].bound && lies_in(in, a) && e < engines;
             e++) {
            if (dpf_set_region_remove(set[e], in)) {
                fail("a region stays", in, NONE, NONE);
            }
        }
        area[in].bound = area[in].bound && !lies_in(in, a);
    }
    for (uint32_t e = 0; e < engines; e++) {
        if (dpf_set_tidy(set[e])) {
            fail("tidy", a, NONE, NONE);
        }
    }
}

/* ----------------------------------------------------------------- versions */

/* A lookup that began a while ago. */
static struct old {
    const struct image *image;
    uint64_t version;
} old[ENGINES];

static void hold(uint32_t e)
{
    old[e] = (struct old){set[e]->image, dpf_set_version(set[e])};
}

static void check_old(uint32_t e)
{
    for (uint32_t n = 0; n < 16; n++) {
        uint32_t k = rng_below(&rng, PACKETS), id;
        const struct image *im = old[e].image;

        id =
            im->owner(world_place(packet[k], packet_len[k]), packet_len[k], im);
        if (id != DPF_NO_OWNER &&
            (id >= IDS || (all[id].like == NONE && id < MEMBERS &&
                           !attacks(id) && !has(all[id].says, k)))) {
            fail("an old version's owner does not accept", id, NONE, k);
        }
    }
}

static void pass_time(void)
{
    for (uint32_t e = 0; e < engines; e++) {
        switch (rng_below(&rng, 4)) {
        case 0:
            hold(e);
            break;
        case 1:
            check_old(e);
            dpf_set_reclaim(set[e], old[e].version);
            break;
        case 2:
            dpf_set_reclaim(set[e], dpf_set_version(set[e]));
            hold(e);
            break;
        default:
            (void)dpf_set_tidy(set[e]);
        }
    }
}

/* ----------------------------------------------------------------- scenario */

static void new_set(uint32_t e, struct dpf_set **s)
{
    static const uint32_t image[] = {
        0, 1, 2, 5, IMAGE_SHAPES_MAX, IMAGE_SHAPES_MAX};

    if (dpf_set_create(&mem[e], s)) {
        fail("no memory", NONE, NONE, NONE);
    }
    (*s)->image_max = image[rng_below(&rng, 6)];
    dpf_set_work(*s, bounded ? DPF_WORK_DEFAULT : 0);
}

/* What is bound, bound in another order, has the same owners. */
static void check_order(uint32_t areas)
{
    uint32_t order[MEMBERS], n = 0, e = rng_below(&rng, engines);
    struct dpf_error err;
    struct dpf_set *s;

    new_set(e, &s);
    for (uint32_t a = 1; a < areas; a++) {
        if (area[a].bound &&
            dpf_set_region_insert(s, a, area[a].area, area[a].program[e],
                                  area[a].flags, &err)) {
            fail("a region is refused now", a, NONE, NONE);
        }
    }
    for (uint32_t i = 0; i < members; i++) {
        uint32_t k = rng_below(&rng, n + 1);

        if (all[i].bound) {
            order[n++] = order[k];
            order[k] = i;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        int r = insert_into(s, e, order[i], &err);

        if (r && !gave_up(r)) {
            printf("# %s\n", err.text);
            fail("another order is refused", order[i], err.other, NONE);
        }
        if (r) {
            dpf_set_destroy(s);
            return;
        }
    }
    for (uint32_t k = 0; k < PACKETS; k++) {
        const uint8_t *at = world_place(packet[k], packet_len[k]);
        uint32_t a = dpf_set_match(set[0], at, packet_len[k], NULL, NULL);
        uint32_t b = dpf_set_match(s, at, packet_len[k], NULL, NULL);

        if (a != b) {
            fail("the order decides who owns", a, b, k);
        }
    }
    dpf_set_destroy(s);
}

static void step(uint32_t areas)
{
    uint32_t i = rng_below(&rng, members);
    uint32_t like = MEMBERS + rng_below(&rng, LIKES);

    switch (rng_below(&rng, 24)) {
    case 0:
        pass_time();
        return;
    case 1:
    case 2:
        if (all[like].bound) {
            unbind(like, rng_below(&rng, 2));
        } else {
            bind_like(like);
        }
        return;
    case 3:
        if (areas > 1 && rng_below(&rng, 4) == 0) {
            break_region(1 + rng_below(&rng, areas - 1), areas);
        }
        return;
    case 4:
    case 5:
    case 6:
    case 7:
        if (all[i].bound) {
            unbind(i, rng_below(&rng, 2));
        }
        return;
    default:
        for (uint32_t a = 1; a < areas; a++) {
            make_region(a);
        }
        if (!all[i].bound && (!all[i].area || area[all[i].area].bound)) {
            bind(i);
        }
    }
}

/* Nothing is left behind; and nothing was refuted. */
static void end(uint32_t areas, const struct dpf_set_stats *empty)
{
    for (uint32_t i = 0; i < IDS; i++) {
        if (all[i].bound) {
            unbind(i, false);
        }
    }
    break_region(0, areas);
    for (uint32_t e = 0; e < engines; e++) {
        struct dpf_set_stats st;

        dpf_set_reclaim(set[e], dpf_set_version(set[e]));
        dpf_set_stats(set[e], &st);
        if (st.bytes != empty[e].bytes || st.code_bytes) {
            fail("memory is not returned", e, NONE, NONE);
        }
        if (st.doubted || (st.misread && !harmless)) {
            fail("a proof is refuted, or a filter misread", e, NONE, NONE);
        }
        dpf_set_destroy(set[e]);
    }
    for (uint32_t i = 0; i < members + areas; i++) {
        struct member *m = i < members ? &all[i] : &area[i - members];

        for (uint32_t e = 0; e < engines; e++) {
            dpf_program_destroy(m->program[e]);
        }
    }
}

static void run_scenario(void)
{
    static const uint32_t sizes[] = {6, 12, 40, 40, 120, 400};
    uint32_t areas = rng_below(&rng, 2) ? 1 : 2 + rng_below(&rng, AREAS - 1);
    struct dpf_set_stats empty[ENGINES];

    members = sizes[rng_below(&rng, 6)];
    engines = rng_below(&rng, 4) ? ENGINES - 1 : ENGINES;
    taps = (uint32_t[]){0, 1, 1, 5}[rng_below(&rng, 4)];
    crowd_pool = members / 10 + 1;
    alike = rng_below(&rng, 6) == 0;
    bounded = rng_below(&rng, 2);
    memset(all, 0, sizeof(all));
    memset(area, 0, sizeof(area));
    memset(owning, 0, sizeof(owning));
    memset(copying, 0, sizeof(copying));
    memset(accept, 0, sizeof(accept));
    memset(over, 0, sizeof(over));
    make_all(areas);
    for (uint32_t i = 0; i < LIKES; i++) {
        all[MEMBERS + i].like = 0;
    }
    for (uint32_t e = 0; e < engines; e++) {
        new_set(e, &set[e]);
        dpf_set_stats(set[e], &empty[e]);
        hold(e);
    }
    for (uint32_t n = 0; n < 4 * members + 20; n++) {
        step(areas);
        if (rng_below(&rng, 1 + members / 16) == 0) {
            check();
        }
    }
    check();
    if (!bounded && !harmless) {
        check_order(areas);
    }
    end(areas, empty);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    harmless = argc > 3 && strcmp(argv[3], "harmless") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("TAP version 13\n1..1\n# seed %llu\n", (unsigned long long)seed);
    world_start();
    world_guard();
    real_alloc = mem[0].alloc;
    for (uint32_t e = 0; e < ENGINES; e++) {
        mem[e].alloc = few_alloc;
    }
    for (uint64_t i = 0; count == 0 || i < count; i++) {
        scenario = seed + i;
        rng.state = scenario * 0x9e3779b97f4a7c15u | 1;
        world_time();
        run_scenario();
    }
    printf("# %lu programs, %lu packets through the sets\n", tally.programs,
           tally.packets);
    printf("# %lu bound, %lu of them like others; %lu refused; %lu not "
           "decided; %lu without memory\n",
           tally.binds, tally.likes, tally.refused, tally.large, tally.starved);
    printf("ok 1 - sets of crowds\n");
    return 0;
}
