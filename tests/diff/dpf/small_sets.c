/* SPDX-License-Identifier: MIT */
/*
 * One scenario: regions, bindings in a random order, orders of the same
 * bindings, removals, bindings like others.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "tests/diff/dpf/small_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read by sources with a deliberate mistake in them. */
extern int dpf_mutant;
int dpf_mutant;

static struct rng rng;

/* Filters, and those of the regions if there are to be any; their packets. */
static void make_filters(uint32_t count, bool regions)
{
    const struct small *aim[IDS + 2];

    for (uint32_t i = 0; i < count; i++) {
        if (i && rng_below(&rng, 4)) {
            small_vary(&rng, &all[rng_below(&rng, i)].filter, &all[i].filter);
        } else {
            small_make(&rng, &all[i].filter);
        }
        all[i].flags = rng_below(&rng, 4)   ? 0
                       : rng_below(&rng, 3) ? DPF_REFINE
                                            : DPF_TAP;
        all[i].region =
            !regions || rng_below(&rng, 3) ? 0 : 1 + rng_below(&rng, 2);
        aim[i] = &all[i].filter;
    }
    for (uint32_t n = 0; n < 2; n++) {
        small_vary(&rng, &all[rng_below(&rng, 2)].filter, &all[IDS + n].filter);
        aim[count + n] = &all[IDS + n].filter;
    }
    if (small_wide) {
        small_packets_aim(&rng, aim, count + 2);
    }
    for (uint32_t i = 0; i < count; i++) {
        make_one(i);
    }
}

/* -------------------------------------------------------------------- steps */

static int insert_into(struct dpf_set *s, uint32_t engine, uint32_t i,
                       struct dpf_error *err)
{
    const struct one *o = &all[i];
    int r;

    memset(err, 0, sizeof(*err));
    dpf_mutant = attacks(i);
    if (o->like < IDS) {
        r = dpf_set_insert_like(s, i, o->like, o->field, o->fields, err);
    } else {
        r = dpf_set_insert(s, i, o->region, o->program[engine], o->flags, err);
    }
    dpf_mutant = 0;
    return r;
}

/* Not decided within a bound, which may depend on what else is there. */
static bool gave_up(int r)
{
    return r == -DPF_E_TOO_BIG || r == -DPF_E_STEPS || r == -DPF_E_FUEL;
}

/*
 * One scenario in four, and all of a wide world, has a bound on what each call
 * may do: what is refused for that may depend on the order.
 */
static bool is_bounded(void)
{
    return small_wide || scenario % 4 == 0;
}

static void bound_work(struct dpf_set *s)
{
    dpf_set_work(s, is_bounded() ? DPF_WORK_DEFAULT : 0);
}

static void bind(uint32_t i)
{
    struct dpf_error err[ENGINES];
    int r[ENGINES];
    bool gave = false;

    for (uint32_t e = 0; e < engines; e++) {
        r[e] = insert_into(set[e], e, i, &err[e]);
        tally.large += gave_up(r[e]);
        gave = gave || gave_up(r[e]);
    }
    for (uint32_t e = 0; e < engines; e++) {
        /* A conflict may be one that was not decided. */
        gave = gave || ((is_bounded() || harmless) && r[e] != r[0]);
    }
    for (uint32_t e = 0; e < engines; e++) {
        if (gave ? r[e] == 0 && dpf_set_remove(set[e], i) : r[e] != r[0]) {
            fail("refused by one engine", i, i, SMALL_PACKETS);
        }
    }
    if (gave) {
        return;
    }
    if (r[0] == -DPF_E_CONFLICT || r[0] == -DPF_E_REGION) {
        tally.refusals++;
        if (r[0] == -DPF_E_CONFLICT &&
            (err[0].other >= IDS || !all[err[0].other].bound)) {
            fail("in conflict with the unbound", i, err[0].other,
                 SMALL_PACKETS);
            return;
        }
        tally.empty +=
            r[0] == -DPF_E_CONFLICT &&
            first(&all[i].says, &all[err[0].other].says, true) == SMALL_PACKETS;
        check_witness(i, r[0], &err[0]);
        return;
    }
    if (r[0]) {
        fail(err[0].text[0] ? strdup(err[0].text) : "insert", i, i,
             SMALL_PACKETS);
    }
    all[i].bound = true;
    tally.binds++;
    check();
}

static void unbind(uint32_t i)
{
    for (uint32_t e = 0; e < engines; e++) {
        bool tidy = rng_below(&rng, 2);

        if (tidy ? dpf_set_remove(set[e], i) : dpf_set_drop(set[e], i)) {
            fail("remove", i, i, SMALL_PACKETS);
        }
        if (rng_below(&rng, 2)) {
            dpf_set_reclaim(set[e], dpf_set_version(set[e]));
        }
    }
    all[i].bound = false;
    check();
}

/* Regions 1 and 2, perhaps one in the other; false: not both are there. */
static bool make_regions(void)
{
    struct dpf_error err;

    for (uint32_t n = 1; n <= 2; n++) {
        struct one *o = &all[REGION(n)];
        int r = 0;

        o->region = n == 2 ? rng_below(&rng, 2) : 0;
        o->flags = rng_below(&rng, 4) ? 0 : DPF_SHARED;
        make_one(REGION(n));
        shared[n] = o->flags || (o->region && shared[o->region]);
        for (uint32_t e = 0; e < engines && !r; e++) {
            r = dpf_set_region_insert(set[e], n, o->region, o->program[e],
                                      o->flags, &err);
        }
        if (r) {
            return false;
        }
        o->bound = true;
        check_region(REGION(n), &o->says);
    }
    return true;
}

/*
 * The fields of binding `like`, or 0 if it is not to be a model: where one may
 * be the same byte as another, by a computed base, world_like would change
 * both.
 */
static int fields_of(uint32_t like, struct dpf_field f[16])
{
    int n = dpf_set_fields(set[0], like, f, 16);

    for (int k = 0; k < n && k < 16; k++) {
        n = f[k].base ? 0 : n;
    }
    return n > 16 || all[like].like < IDS || harmless ? 0 : n;
}

/* Bind i with other constants than those of binding `like`. */
static void bind_like(uint32_t i, uint32_t like)
{
    struct one *o = &all[i];
    struct dpf_field f[16];
    int n = fields_of(like, f);

    if (n <= 0) {
        return;
    }
    *o = (struct one){.flags = all[like].flags,
                      .region = all[like].region,
                      .exact = all[like].exact,
                      .like = like};
    for (int k = 0; k < n && o->fields < 4; k++) {
        if (rng_below(&rng, 2)) {
            uint64_t value = rng_next(&rng) &
                             (small_wide ? 0x47474747 : 0x03030303) & f[k].mask;

            o->field[o->fields++] = (struct dpf_const){(uint32_t)k, value};
        }
    }
    for (uint32_t k = 0; k < small_count; k++) {
        const struct small_packet *p = &small_packets[k];
        struct dpf_program *model = all[like].program[0];

        if (world_like(model, f, o->field, o->fields, p->bytes, p->len)) {
            put(&o->says, k);
        }
    }
    tally.likes++;
    bind(i);
}

/* ------------------------------------------------------------------- orders */

static void shuffle(uint32_t *a, uint32_t n)
{
    for (; n > 1; n--) {
        uint32_t k = rng_below(&rng, n), t = a[n - 1];

        a[n - 1] = a[k];
        a[k] = t;
    }
}

static void new_sets(void)
{
    for (uint32_t e = 0; e < engines; e++) {
        if (dpf_set_create(&mem[e], &set[e])) {
            printf("not ok 1 - no memory\n");
            exit(1);
        }
        bound_work(set[e]);
    }
}

static void end_sets(void)
{
    for (uint32_t e = 0; e < engines; e++) {
        dpf_set_destroy(set[e]);
    }
}

static struct dpf_set *other_set(void)
{
    struct dpf_error err;
    struct dpf_set *s;

    if (dpf_set_create(&mem[1], &s)) {
        printf("not ok 1 - no memory\n");
        exit(1);
    }
    bound_work(s);
    for (uint32_t n = 1; n <= 2; n++) {
        struct one *o = &all[REGION(n)];

        if (o->bound && dpf_set_region_insert(s, n, o->region, o->program[1],
                                              o->flags, &err)) {
            fail("a region is refused now", REGION(n), REGION(n),
                 SMALL_PACKETS);
        }
    }
    return s;
}

/* What is bound now, bound in another order, owns the same packets. */
static void check_order(void)
{
    struct dpf_set *s = other_set();
    uint32_t order[IDS], n = 0;
    struct dpf_error err;

    for (uint32_t i = 0; i < IDS; i++) {
        if (all[i].bound && all[i].like == IDS) {
            order[n++] = i;
        }
    }
    shuffle(order, n);
    for (uint32_t i = 0; i < n; i++) {
        int r = insert_into(s, 1, order[i], &err);

        if (r && !gave_up(r) && !is_bounded()) {
            fail("another order is refused", order[i],
                 r == -DPF_E_CONFLICT ? err.other : order[i], SMALL_PACKETS);
        }
        if (r) {
            dpf_set_destroy(s);
            return;
        }
    }
    for (uint32_t k = 0; n > 0 && k < small_count; k++) {
        uint32_t got = dpf_set_match(s, place(&small_packets[k]),
                                     small_packets[k].len, NULL, NULL);

        if (!has(&owned[got < IDS ? got : IDS], k)) {
            fail("the order decides who owns", got, got, k);
            break;
        }
    }
    dpf_set_destroy(s);
}

/* Two filters are refused in both orders, or in none. */
static void check_pair(uint32_t a, uint32_t b)
{
    int got[2];
    struct dpf_error err;

    for (uint32_t i = 0; i < 2; i++) {
        struct dpf_set *s = other_set();

        got[i] = insert_into(s, 1, i ? b : a, &err);
        got[i] = got[i] ? 1 : insert_into(s, 1, i ? a : b, &err);
        dpf_set_destroy(s);
    }
    if ((got[0] == 0 && got[1] == -DPF_E_CONFLICT) ||
        (got[1] == 0 && got[0] == -DPF_E_CONFLICT)) {
        fail("order decides who is refused", a, b, SMALL_PACKETS);
    }
}

void run_scenario(struct rng *r)
{
    uint32_t count = 2 + rng_below(r, FILTERS - 1), order[FILTERS];
    bool regions = rng_below(r, 2);

    rng = *r;
    engines = rng_below(&rng, 4) ? ENGINES - 1 : ENGINES;
    failed = false;
    memset(shared, 0, sizeof(shared));
    memset(all, 0, sizeof(all));
    new_sets();
    make_filters(count, regions);
    if (regions && !make_regions()) {
        for (uint32_t i = 0; i < count; i++) {
            all[i].region =
                all[REGION(all[i].region)].bound ? all[i].region : 0;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    shuffle(order, count);
    for (uint32_t i = 0; i < count && !failed; i++) {
        bind(order[i]);
    }
    if (!failed && !harmless && rng_below(&rng, 4) == 0) {
        check_order();
        if (!is_bounded()) {
            check_pair(0, 1);
        }
    }
    for (uint32_t step = 0; step < count && !failed; step++) {
        uint32_t i = rng_below(&rng, count), like = FILTERS + step % LIKES;

        if (rng_below(&rng, 3) == 0 && all[i].bound && !all[like].bound) {
            bind_like(like, i);
        } else if (all[i].bound) {
            unbind(i);
        } else {
            bind(i);
        }
    }
    end_sets();
    for (uint32_t i = 0; i < IDS + 2; i++) {
        for (uint32_t e = 0; e < ENGINES; e++) {
            dpf_program_destroy(all[i].program[e]);
        }
    }
}
