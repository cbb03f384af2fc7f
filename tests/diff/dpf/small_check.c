/* SPDX-License-Identifier: MIT */
/*
 * The model: who gets which packet, by the interpreter's answers and the rules
 * of dpf.h.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "tests/diff/dpf/small_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dpf_set *set[ENGINES];
struct one all[IDS + 2];
struct packets owned[IDS + 1];
struct tally tally;
bool keep, harmless, failed;
bool shared[3];
uint32_t engines;
static struct packets copied[IDS];

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
void fail(const char *what, uint32_t a, uint32_t b, uint32_t packet)
{
    failed = true;
    tally.failures++;
    count_kind(what);
    if (keep && tally.failures > 20) {
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

void show_failures(void)
{
    for (uint32_t i = 0; i < 32 && kinds[i].what != NULL; i++) {
        printf("# %lu %s\n", kinds[i].count, kinds[i].what);
    }
}

/* ------------------------------------------------------------------ packets */

void put(struct packets *p, uint32_t i)
{
    p->word[i / 64] |= UINT64_C(1) << (i % 64);
}

bool has(const struct packets *p, uint32_t i)
{
    return p->word[i / 64] >> (i % 64) & 1;
}

/* The first packet of a that b has, or has not; SMALL_PACKETS if none. */
uint32_t first(const struct packets *a, const struct packets *b, bool in_b)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t w = a->word[i] & (in_b ? b->word[i] : ~b->word[i]);

        if (w) {
            return 64 * i + (uint32_t)__builtin_ctzll(w);
        }
    }
    return SMALL_PACKETS;
}

const uint8_t *place(const struct small_packet *p)
{
    return world_place(p->bytes, p->len);
}

/* ----------------------------------------------------------------- scenario */

void make_one(uint32_t i)
{
    struct one *o = &all[i];
    char text[SMALL_TEXT];

    small_text(&o->filter, text);
    memset(&o->says, 0, sizeof(o->says));
    o->bound = false;
    o->like = IDS;
    o->exact = !small_wide && scenario % 4 != 0 && !small_opaque(&o->filter);
    tally.programs++;
    for (uint32_t e = 0; e < engines; e++) {
        o->program[e] = world_program(e, text);
    }
    for (uint32_t k = 0; k < small_count; k++) {
        const uint8_t *at = place(&small_packets[k]);
        uint32_t len = small_packets[k].len;
        bool yes = world_interp(o->program[0], at, len);

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

/* ------------------------------------------------------------------- checks */

static bool is_copy(uint32_t i)
{
    return (all[i].flags & DPF_TAP) || shared[all[i].region];
}

bool attacks(uint32_t i)
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
    tally.packets += small_count;
    for (uint32_t k = 0; k < small_count; k++) {
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

void check_region(uint32_t i, const struct packets *gets)
{
    for (uint32_t r = all[i].region; r; r = all[REGION(r)].region) {
        uint32_t k = first(gets, &all[REGION(r)].says, false);

        if (k < SMALL_PACKETS) {
            fail("packets from outside its region", i, REGION(r), k);
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

void check(void)
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

void check_witness(uint32_t i, int r, const struct dpf_error *err)
{
    const struct one *o = &all[i];
    const struct dpf_program *p = all[o->like < IDS ? o->like : i].program[0];

    if (err->witness_len == 0 || o->like < IDS || harmless) {
        return;
    }
    if (!world_interp(p, err->witness, err->witness_len)) {
        fail("false witness", i, i, SMALL_PACKETS);
    }
    if (r == -DPF_E_REGION && o->region && all[REGION(o->region)].exact &&
        world_interp(all[REGION(o->region)].program[0], err->witness,
                     err->witness_len)) {
        fail("a witness that is inside", i, REGION(o->region), SMALL_PACKETS);
    }
    if (r == -DPF_E_CONFLICT && all[err->other].like == IDS &&
        !world_interp(all[err->other].program[0], err->witness,
                      err->witness_len)) {
        fail("false witness", i, err->other, SMALL_PACKETS);
    }
}
