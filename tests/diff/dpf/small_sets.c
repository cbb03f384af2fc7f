/* SPDX-License-Identifier: MIT */
/*
 * Sets of filters in a small world, where every packet there is goes through
 * every engine. The oracle knows nothing of diagrams: it is the interpreter's
 * answer of each filter to each packet, and the rules of dpf.h. Of each set:
 *
 *   owner    accepts the packet, and lies in its region
 *   lost     a packet that an exclusive binding accepts has an owner
 *   theft    of two that accept one packet, the owner lies inside the other,
 *            which allows that (DPF_REFINE); nowhere is it the other way round
 *   region   what is bound in a region takes no packet that the region has not
 *   copies   exactly the shared bindings and taps that accept
 *   order    other orders of binding are refused where this one is, and give
 *            the same owners
 *   witness  is accepted by whom the refusal names
 *   engines  the plain lookup, merged native code of both engines, and single
 *            programs of both give one answer; packets end at an unmapped page
 *
 * usage: small_sets SCENARIOS [SEED [WHICH]]
 *
 * 0 scenarios: until it is stopped. WHICH "keep" goes on after a failure and
 * counts them by kind; "harmless" is for a lift that errs in the filters of odd
 * ids only (dpf_mutant is 1 while they are bound): these may lose their own
 * packets and be refused, but take nothing that others were to have.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "tests/diff/dpf/small.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FILTERS 4u /* of a scenario; ids 0 to 3 are their bindings' */
#define LIKES 2u   /* bindings made from others; ids 4 and 5 */
#define IDS (FILTERS + LIKES)
#define REGION FILTERS /* programs of regions come behind those of filters */
#define PROGRAMS (FILTERS + 2u)
#define ENGINES 3u
#define ENDLESS_S 60u /* seconds that no scenario takes */
#define WORDS ((SMALL_PACKETS + 63u) / 64u)

/* Read by sources with a deliberate mistake in them. */
extern int dpf_mutant;
int dpf_mutant;

/* A set of packets of the small world. */
struct packets {
    uint64_t word[WORDS];
};

struct one {
    struct small filter;
    struct dpf_program *program[ENGINES];
    struct packets says; /* the interpreter */
    uint32_t flags;
    uint32_t region; /* bound in, or the region's parent */
    uint32_t fields;
    struct dpf_const field[4]; /* a like: constants that differ */
    uint32_t like;
    bool bound, exact;
};

static struct dpf_mem mem[ENGINES];
static struct rng rng;
static struct one all[IDS + 2];
static struct dpf_set *set[ENGINES];
static struct packets owned[IDS + 1], copied[IDS];
static bool keep, harmless;
static uint32_t engines;  /* of this scenario: the last is rarely another */
static bool failed;       /* this scenario */
static bool shared[3];    /* regions by id */
static uint8_t *unmapped; /* the first byte that is not there */
static uint64_t scenario;
static unsigned long binds, refusals, empty, large, likes, failures;

/* ------------------------------------------------------------------ reports */

static struct {
    const char *what;
    unsigned long count;
} kinds[32];

static void count_kind(const char *what)
{
    uint32_t i = 0;

    while (i < 31 && kinds[i].what != NULL && strcmp(kinds[i].what, what)) {
        i++;
    }
    kinds[i].what = what;
    kinds[i].count++;
}

static void show(uint32_t i)
{
    char text[SMALL_TEXT];
    const struct one *o = &all[i];

    if (i >= IDS || o->like == IDS) {
        small_text(&o->filter, text);
        printf("# %u%s%s%s%s in region %u:\n%s", i,
               i >= IDS ? " (a region)" : "", o->bound ? "" : " (not bound)",
               o->flags & DPF_REFINE ? " (refine)" : "",
               o->flags & DPF_TAP ? " (tap)" : "", o->region, text);
        return;
    }
    printf("# %u like %u:", i, o->like);
    for (uint32_t k = 0; k < o->fields; k++) {
        printf(" field %u = %llx", o->field[k].index,
               (unsigned long long)o->field[k].value);
    }
    printf("\n");
}

/* `packet` SMALL_PACKETS: none shows it. */
static void fail(const char *what, uint32_t a, uint32_t b, uint32_t packet)
{
    failed = true;
    failures++;
    count_kind(what);
    if (keep && failures > 20) {
        return;
    }
    printf("%s %s: scenario %llu, %u and %u", keep ? "#" : "not ok 1 -", what,
           (unsigned long long)scenario, a, b);
    if (packet < SMALL_PACKETS) {
        const struct small_packet *p = &small_packets[packet];

        printf(", packet of %u bytes", p->len);
        for (uint32_t i = 0; i < p->len; i++) {
            printf(" %02x", p->bytes[i]);
        }
    }
    printf("\n");
    for (uint32_t i = 0; i < IDS + 2; i++) {
        if (i == a || i == b || all[i].bound) {
            show(i);
        }
    }
    if (!keep) {
        exit(1);
    }
}

static void crashed(int number)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "not ok 1 - %s: scenario %llu\n",
                     number == SIGALRM ? "endless" : "crash",
                     (unsigned long long)scenario);

    (void)!write(1, text, (size_t)n);
    _exit(1);
}

/* ------------------------------------------------------------------ packets */

static void put(struct packets *p, uint32_t i)
{
    p->word[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool has(const struct packets *p, uint32_t i)
{
    return p->word[i / 64] >> (i % 64) & 1;
}

/* The first packet of a that b has, or has not; SMALL_PACKETS if none. */
static uint32_t first(const struct packets *a, const struct packets *b,
                      bool in_b)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t w = a->word[i] & (in_b ? b->word[i] : ~b->word[i]);

        if (w) {
            return 64 * i + (uint32_t)__builtin_ctzll(w);
        }
    }
    return SMALL_PACKETS;
}

static const uint8_t *place(const struct small_packet *p)
{
    return memcpy(unmapped - p->len, p->bytes, p->len);
}

static bool interp(const struct dpf_program *p, const void *packet, size_t len)
{
    struct dpf_run run = {.region_count = 1};

    run.regions[0].base = (void *)(uintptr_t)packet;
    run.regions[0].len = (uint32_t)len;
    return dpf_program_interp(p, &run).r0 != 0;
}

/* ----------------------------------------------------------------- scenario */

static struct dpf_program *make(uint32_t engine, const char *text)
{
    struct dpf_program *p = NULL;
    struct dpf_code code;
    struct dpf_error err;

    if (dpf_from_asm(text, strlen(text), &code, &err) ||
        dpf_program_create(&mem[engine], DPF_FILTER | DPF_COMPILE, code.insns,
                           code.count, &p, &err)) {
        printf("not ok 1 - refused: %s\n%s", err.text, text);
        exit(1);
    }
    dpf_code_finish(&code);
    return p;
}

static void make_one(uint32_t i)
{
    struct one *o = &all[i];
    char text[SMALL_TEXT];

    small_text(&o->filter, text);
    memset(&o->says, 0, sizeof(o->says));
    o->bound = false;
    o->like = IDS;
    o->exact = !small_opaque(&o->filter);
    for (uint32_t e = 0; e < engines; e++) {
        o->program[e] = make(e, text);
    }
    for (uint32_t k = 0; k < SMALL_PACKETS; k++) {
        const uint8_t *at = place(&small_packets[k]);
        uint32_t len = small_packets[k].len;
        bool yes = interp(o->program[0], at, len);

        if (yes) {
            put(&o->says, k);
        }
        for (uint32_t e = 0; e < engines; e++) {
            if ((dpf_filter_run(o->program[e], at, len) != 0) != yes) {
                fail("a program's engines differ", i, i, k);
            }
        }
    }
}

static void make_filters(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i && rng_below(&rng, 4)) {
            small_vary(&rng, &all[rng_below(&rng, i)].filter, &all[i].filter);
        } else {
            small_make(&rng, &all[i].filter);
        }
        all[i].flags = rng_below(&rng, 4)   ? 0
                       : rng_below(&rng, 3) ? DPF_REFINE
                                            : DPF_TAP;
        all[i].region = rng_below(&rng, 3) ? 0 : 1 + rng_below(&rng, 2);
        make_one(i);
    }
}

/* ------------------------------------------------------------------- checks */

static bool is_copy(uint32_t i)
{
    return (all[i].flags & DPF_TAP) || shared[all[i].region];
}

static bool attacks(uint32_t i)
{
    return harmless && i < IDS && (i & 1);
}

/* Who gets copies of packet k: a bit for each id. */
struct who {
    uint32_t ids, k;
};

static void note_copy(void *ctx, uint32_t id)
{
    struct who *w = ctx;

    if (id >= IDS || w->ids >> id & 1) {
        fail("a copy to the unbound, or twice", id, id, w->k);
    } else {
        w->ids |= 1u << id;
    }
}

/* Who gets each packet; all engines' sets must agree. */
static void look(void)
{
    memset(owned, 0, sizeof(owned));
    memset(copied, 0, sizeof(copied));
    for (uint32_t k = 0; k < SMALL_PACKETS; k++) {
        const uint8_t *at = place(&small_packets[k]);
        uint32_t len = small_packets[k].len, got[ENGINES], who[ENGINES] = {0};

        for (uint32_t e = 0; e < engines; e++) {
            struct who w = {0, k};

            got[e] = dpf_set_match(set[e], at, len, note_copy, &w);
            who[e] = w.ids;
            if (got[e] != got[0] || who[e] != who[0]) {
                fail("lookups differ", got[0], got[e], k);
            }
        }
        put(&owned[got[0] < IDS ? got[0] : IDS], k);
        for (uint32_t i = 0; i < IDS; i++) {
            if (who[0] >> i & 1) {
                put(&copied[i], k);
            }
        }
    }
}

static void check_region(uint32_t i, const struct packets *gets)
{
    for (uint32_t r = all[i].region; r; r = all[IDS - 1 + r].region) {
        uint32_t k = first(gets, &all[IDS - 1 + r].says, false);

        if (k < SMALL_PACKETS) {
            fail("packets from outside its region", i, IDS - 1 + r, k);
        }
    }
}

/* Binding i against what g owns of its packets. */
static void check_taken(uint32_t i, uint32_t g)
{
    uint32_t k = first(&owned[g], &all[i].says, true);

    if (k == SMALL_PACKETS || attacks(i)) {
        return;
    }
    if (!(all[i].flags & DPF_REFINE)) {
        fail("theft", g, i, k);
        return;
    }
    if (attacks(g)) {
        return;
    }
    if (first(&owned[i], &all[g].says, true) < SMALL_PACKETS) {
        fail("each owns packets of the other", g, i, k);
    }
    if (all[i].exact &&
        first(&all[g].says, &all[i].says, false) < SMALL_PACKETS) {
        fail("the owner is not inside", g, i, k);
    }
}

static void check_exclusive(uint32_t i)
{
    uint32_t k = first(&owned[i], &all[i].says, false);

    if (k < SMALL_PACKETS && !attacks(i)) {
        fail("the owner does not accept", i, i, k);
    }
    k = first(&all[i].says, &owned[IDS], true);
    if (k < SMALL_PACKETS && !attacks(i)) {
        fail("lost", i, i, k);
    }
    for (uint32_t g = 0; g < IDS; g++) {
        if (g != i && all[g].bound && !is_copy(g)) {
            check_taken(i, g);
        }
    }
    check_region(i, &owned[i]);
}

static void check(void)
{
    static const struct packets none;

    look();
    for (uint32_t i = 0; i < IDS; i++) {
        if (!all[i].bound || is_copy(i)) {
            uint32_t k = first(&owned[i], &none, false);

            if (k < SMALL_PACKETS) {
                fail("owned by what owns nothing", i, i, k);
            }
        }
        if (!all[i].bound) {
            continue;
        }
        if (!is_copy(i)) {
            check_exclusive(i);
        } else if (!attacks(i) &&
                   memcmp(&copied[i], &all[i].says, sizeof(copied[i]))) {
            uint32_t k = first(&copied[i], &all[i].says, false);

            k = k < SMALL_PACKETS ? k : first(&all[i].says, &copied[i], false);
            fail("copies differ", i, i, k);
        }
        check_region(i, &copied[i]);
    }
}

static void check_witness(uint32_t i, int r, const struct dpf_error *err)
{
    const struct one *o = &all[i];
    const struct dpf_program *p = all[o->like < IDS ? o->like : i].program[0];

    if (err->witness_len == 0 || o->like < IDS || harmless) {
        return;
    }
    if (!interp(p, err->witness, err->witness_len)) {
        fail("false witness", i, i, SMALL_PACKETS);
    }
    if (r == -DPF_E_REGION && o->region && all[IDS - 1 + o->region].exact &&
        interp(all[IDS - 1 + o->region].program[0], err->witness,
               err->witness_len)) {
        fail("a witness that is inside", i, IDS - 1 + o->region, SMALL_PACKETS);
    }
    if (r == -DPF_E_CONFLICT && all[err->other].like == IDS &&
        !interp(all[err->other].program[0], err->witness, err->witness_len)) {
        fail("false witness", i, err->other, SMALL_PACKETS);
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

/* Was it refused for what it takes to decide? */
static bool is_large(int r)
{
    return r == -DPF_E_TOO_BIG || r == -DPF_E_FUEL;
}

static void bind(uint32_t i)
{
    struct dpf_error err[ENGINES];
    int r[ENGINES];

    for (uint32_t e = 0; e < engines; e++) {
        r[e] = insert_into(set[e], e, i, &err[e]);
        if (r[e] != r[0]) {
            fail("refused by one engine", i, i, SMALL_PACKETS);
        }
    }
    large += is_large(r[0]);
    if (r[0] == -DPF_E_CONFLICT || r[0] == -DPF_E_REGION) {
        refusals++;
        if (r[0] == -DPF_E_CONFLICT &&
            (err[0].other >= IDS || !all[err[0].other].bound)) {
            fail("in conflict with the unbound", i, err[0].other,
                 SMALL_PACKETS);
            return;
        }
        empty +=
            r[0] == -DPF_E_CONFLICT &&
            first(&all[i].says, &all[err[0].other].says, true) == SMALL_PACKETS;
        check_witness(i, r[0], &err[0]);
        return;
    }
    if (r[0] && !is_large(r[0])) {
        fail(err[0].text[0] ? strdup(err[0].text) : "insert", i, i,
             SMALL_PACKETS);
    }
    if (r[0] == 0) {
        all[i].bound = true;
        binds++;
        check();
    }
}

static void unbind(uint32_t i)
{
    for (uint32_t e = 0; e < engines; e++) {
        if (dpf_set_remove(set[e], i)) {
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
        struct one *o = &all[IDS - 1 + n];
        int r = 0;

        small_vary(&rng, &all[rng_below(&rng, 2)].filter, &o->filter);
        o->region = n == 2 ? rng_below(&rng, 2) : 0;
        o->flags = rng_below(&rng, 4) ? 0 : DPF_SHARED;
        make_one(IDS - 1 + n);
        shared[n] = o->flags || (o->region && shared[o->region]);
        for (uint32_t e = 0; e < engines && !r; e++) {
            r = dpf_set_region_insert(set[e], n, o->region, o->program[e],
                                      o->flags, &err);
        }
        if (r) {
            return false;
        }
        o->bound = true;
        check_region(IDS - 1 + n, &o->says);
    }
    return true;
}

/* The packets that `o` accepts: those that its model does with the model's
   constants in them, if they have its own. */
static bool like_says(const struct one *o, const struct dpf_field *f,
                      const struct small_packet *p)
{
    struct small_packet q = *p;

    for (uint32_t k = 0; k < o->fields; k++) {
        const struct dpf_field *x = &f[o->field[k].index];

        for (uint32_t i = 0; i < x->width; i++) {
            uint32_t at = x->offset + i, by = 8 * (x->width - 1 - i);
            uint8_t mask = (uint8_t)(x->mask >> by);
            uint8_t mine = (uint8_t)(o->field[k].value >> by);

            if (at >= q.len || (q.bytes[at] & mask) != mine) {
                return false;
            }
            q.bytes[at] =
                (uint8_t)((q.bytes[at] & ~mask) | (x->value >> by & 0xff));
        }
    }
    return interp(all[o->like].program[0], place(&q), q.len);
}

/* Bind i with other constants than those of binding `like`. */
static void bind_like(uint32_t i, uint32_t like)
{
    struct one *o = &all[i];
    struct dpf_field f[16];
    int n = dpf_set_fields(set[0], like, f, 16);

    if (n <= 0 || n > 16 || all[like].like < IDS || harmless) {
        return;
    }
    *o = (struct one){.flags = all[like].flags,
                      .region = all[like].region,
                      .exact = all[like].exact,
                      .like = like};
    for (int k = 0; k < n && o->fields < 4; k++) {
        if (f[k].base == 0 && rng_below(&rng, 2)) {
            uint64_t value = rng_next(&rng) & 0x03030303 & f[k].mask;

            o->field[o->fields++] = (struct dpf_const){(uint32_t)k, value};
        }
    }
    for (uint32_t k = 0; k < SMALL_PACKETS; k++) {
        if (like_says(o, f, &small_packets[k])) {
            put(&o->says, k);
        }
    }
    likes++;
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

/* One scenario in four has a bound on what each call may do; what is refused
   for that may depend on the order. */
static bool is_bounded(void)
{
    return scenario % 4 == 0;
}

static void bound_work(struct dpf_set *s)
{
    dpf_set_work(s, is_bounded() ? DPF_WORK_DEFAULT : 0);
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
        struct one *o = &all[IDS - 1 + n];

        if (o->bound && dpf_set_region_insert(s, n, o->region, o->program[1],
                                              o->flags, &err)) {
            fail("a region is refused now", IDS - 1 + n, IDS - 1 + n,
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

        if (r && !is_large(r) && !is_bounded()) {
            fail("another order is refused", order[i],
                 r == -DPF_E_CONFLICT ? err.other : order[i], SMALL_PACKETS);
        }
        if (r) {
            dpf_set_destroy(s);
            return;
        }
    }
    for (uint32_t k = 0; n > 0 && k < SMALL_PACKETS; k++) {
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
    if (!is_bounded() && ((got[0] == 0 && got[1] == -DPF_E_CONFLICT) ||
                          (got[1] == 0 && got[0] == -DPF_E_CONFLICT))) {
        fail("order decides who is refused", a, b, SMALL_PACKETS);
    }
}

static void run_scenario(uint64_t number)
{
    uint32_t count = 2 + rng_below(&rng, FILTERS - 1), order[FILTERS];

    scenario = number;
    engines = rng_below(&rng, 4) ? ENGINES - 1 : ENGINES;
    failed = false;
    memset(shared, 0, sizeof(shared));
    memset(all, 0, sizeof(all));
    new_sets();
    make_filters(count);
    if (rng_below(&rng, 2) || !make_regions()) {
        for (uint32_t i = 0; i < count; i++) {
            all[i].region =
                all[IDS - 1 + all[i].region].bound ? all[i].region : 0;
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
        check_pair(0, 1);
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

static void start(void)
{
    uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + 4096, 4096, PROT_NONE)) {
        perror("mmap");
        exit(2);
    }
    unmapped = p + 4096;
    for (uint32_t e = 0; e < ENGINES; e++) {
        if (dpf_host_mem_init(&mem[e]) || mem[e].code_alloc == NULL) {
            exit(2);
        }
    }
    /* Merged code, the plain lookup, merged code and plain programs. */
    dpf_mem_finish(&mem[1]);
    mem[1].code_alloc = NULL;
    mem[1].code_free = NULL;
    mem[1].code_open = NULL;
    mem[1].code_seal = NULL;
    mem[2].engine = &dpf_engine_native;
    small_packets_make();
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    keep = argc > 3 && strstr(argv[3], "keep") != NULL;
    harmless = argc > 3 && strstr(argv[3], "harmless") != NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("TAP version 13\n1..1\n# seed %llu\n", (unsigned long long)seed);
    start();
    signal(SIGSEGV, crashed);
    signal(SIGABRT, crashed);
    signal(SIGALRM, crashed);
    for (uint64_t i = 0; count == 0 || i < count; i++) {
        rng.state = (seed + i) * 0x9e3779b97f4a7c15u | 1;
        alarm(ENDLESS_S);
        run_scenario(seed + i);
    }
    for (uint32_t i = 0; i < 32 && kinds[i].what != NULL; i++) {
        printf("# %lu %s\n", kinds[i].count, kinds[i].what);
    }
    printf("# %lu bound, %lu of them like others; %lu refused, %lu without a "
           "common packet here; %lu too large\n",
           binds, likes, refusals, empty, large);
    printf("%s 1 - sets in a small world\n", failures ? "not ok" : "ok");
    return failures != 0;
}
