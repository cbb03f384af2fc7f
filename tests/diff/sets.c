/* SPDX-License-Identifier: MIT */
/*
 * Merged sets against the interpreter. Random filters over small pools are
 * bound and unbound; after every change random packets go through the set
 * and through every filter by itself. Checked:
 *
 *   lift      where the diagram says yes or no, the interpreter says it too
 *   owner     the one exclusive acceptor that lies inside all others, as far
 *             as these could be read
 *   copies    exactly the shared bindings and taps that accept
 *   refusal   a witness is accepted by both filters
 *   pairs     of two filters, the second is refused in both orders or none
 *   history   other orders of binding give the same owners: all orders of a
 *             few filters, random ones of many
 *   memory    nothing is left when all are gone
 *
 * usage: diff_sets ROUNDS [SEED [small]]
 *
 * Small rounds have fewer filters and packets, so that there can be many.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/diagram/lift.h"
#include "dpf/diagram/lower.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "dpf/set/set.h"
#include "tests/diff/packets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILTERS 48
#define PACKETS 600
#define PERMUTED 4u /* so many filters are bound in all orders */

struct one {
    char text[1024];
    struct dpf_program *program;
    uint8_t says[PACKETS]; /* the interpreter's answers */
    uint32_t flags;
    bool bound;
    bool read; /* whole: the diagram says yes or no to every packet */
};

static struct dpf_mem mem;
static struct rng rng;
static struct one all[FILTERS];
static uint8_t packet[PACKETS][PACKET_MAX];
static size_t packet_len[PACKETS];
static uint32_t filters = FILTERS, packets = PACKETS;
static uint32_t image_max = IMAGE_SHAPES_MAX; /* shapes beside the tree */
static unsigned long checks, conflicts, binds, large, lowered;

static void die(const char *what, uint32_t a, uint32_t b)
{
    printf("not ok 1 - %s\n# %u: %s\n# %u: %s\n", what, a,
           a < FILTERS ? all[a].text : "", b, b < FILTERS ? all[b].text : "");
    exit(1);
}

static bool interp(const struct dpf_program *p, const void *data, size_t len)
{
    struct dpf_run run = {0};
    uint8_t copy[PACKET_MAX];
    memcpy(copy, data, len);
    run.regions[0].base = copy;
    run.regions[0].len = (uint32_t)len;
    run.region_count = 1;
    return dpf_program_interp(p, &run).r0 != 0;
}

static struct dpf_program *compile(const char *text)
{
    struct dpf_program *p = NULL;
    struct dpf_error err;
    struct dpf_code code;
    if (dpf_from_expr(text, 1, 0, &code, &err)) {
        return NULL;
    }
    if (dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p,
                           &err)) {
        printf("not ok 1 - verify %s: %s\n", text, err.text);
        exit(1);
    }
    dpf_code_finish(&code);
    return p;
}

static void check_lift(uint32_t f)
{
    struct heap heap = {.mem = &mem};
    uint32_t root = DD_NO;
    size_t count;
    const struct dpf_insn *insns = dpf_program_insns(all[f].program, &count);
    struct dd d;
    if (dd_init(&d, &heap) || dd_lift(&d, insns, count, NULL, &root)) {
        die("lift fails", f, f);
    }
    root = space_settle(&d, root);
    uint32_t ignored;
    struct cube cube;
    if (dd_lift(&d, insns, count, &cube, &ignored) == 1 &&
        cube_diagram(&d, &cube) != root) {
        die("its cube is another filter", f, f);
    }
    all[f].read =
        dd_apply(&d, DD_MAY, root, 0, 0) == dd_apply(&d, DD_MUST, root, 0, 0);
    struct base_map map;
    struct kept *kept = kept_make(&d, root, &map);
    struct dpf_program *low = NULL;
    int made = kept != NULL
                   ? dd_lower(&d, root, NULL, &mem, all[f].program, &low)
                   : -DPF_E_MEM;
    if (made && made != -DPF_E_TOO_BIG) {
        die("cannot keep", f, f);
    }
    lowered += low != NULL;
    for (uint32_t i = 0; i < packets; i++) {
        uint32_t t = dd_eval(&d, root, packet[i], packet_len[i]);
        if (kept_walk(kept, packet[i], packet_len[i]) != t) {
            die("kept differs", f, i);
        }
        if (low != NULL &&
            (dpf_filter_run(low, packet[i], packet_len[i]) != 0) !=
                (t == DD_YES || (t == DD_MAYBE && all[f].says[i]))) {
            die("lowered, it differs", f, i);
        }
        if (t != DD_MAYBE && (t == DD_YES) != all[f].says[i]) {
            die("lift differs", f, i);
        }
    }
    /* In another diagram, whose bases are numbered as they come. */
    dd_release(&d, (struct dd_mark){0, 0});
    dd_bases_keep(&d, 0);
    root = kept_load(&d, kept);
    for (uint32_t i = 0; i < packets; i++) {
        if (dd_eval(&d, root, packet[i], packet_len[i]) !=
            kept_walk(kept, packet[i], packet_len[i])) {
            die("loaded, it differs", f, i);
        }
    }
    dpf_program_destroy(low);
    kept_free(&heap, kept);
    dd_finish(&d);
    if (heap.bytes) {
        die("lift leaks", f, f);
    }
}

/* A twin of one of the first f filters, with other flags perhaps; or one
   inside it, around it, or beside it. */
static void relative(struct one *o, uint32_t f)
{
    static const char *const how[] = {"(%s) and (%s)", "(%s) or (%s)",
                                      "(%s) and not (%s)"};
    const char *a = f ? all[rng_below(&rng, f)].text : "ip";
    const char *b = f ? all[rng_below(&rng, f)].text : "tcp";
    unsigned k = rng_below(&rng, 6);

    if (k >= 3) {
        snprintf(o->text, sizeof(o->text), "%s", a);
    } else if (strlen(a) + strlen(b) < 400) {
        snprintf(o->text, sizeof(o->text), how[k], a, b);
    }
}

/* Simple filters bind in numbers; libpcap's grammar makes the others. */
static void make_filter(uint32_t f)
{
    static const char *const hosts[] = {"10.0.0.1", "10.0.0.2", "192.168.0.1"};
    struct one *o = &all[f];
    size_t n = sizeof(o->text);

    do {
        unsigned h = rng_below(&rng, 3), p = 78 + rng_below(&rng, 6);
        const char *l4 = rng_below(&rng, 2) ? "tcp" : "udp";
        o->text[0] = 0;
        switch (rng_below(&rng, 11)) {
        case 10:
            relative(o, f);
            break;
        case 0:
            snprintf(o->text, n, "%s dst port %u", l4, p);
            break;
        case 1:
            snprintf(o->text, n, "ip and %s dst port %u", l4, p);
            break;
        case 2:
            snprintf(o->text, n, "dst host %s and %s dst port %u", hosts[h], l4,
                     p);
            break;
        case 3:
        case 4:
            snprintf(o->text, n,
                     "src host %s and dst host %s and %s src port %u and dst "
                     "port %u",
                     hosts[rng_below(&rng, 3)], hosts[h], l4,
                     78 + rng_below(&rng, 6), p);
            break;
        case 5:
            snprintf(o->text, n, "%s dst portrange %u-%u and dst host %s", l4,
                     p, p + rng_below(&rng, 3), hosts[h]);
            break;
        case 6:
            snprintf(o->text, n,
                     "ip[0] = 0x45 and ip[6:2] & 0x1fff = 0 and "
                     "ip[9] = %u and ether[36:2] = %u",
                     strcmp(l4, "tcp") ? 17 : 6, p);
            break;
        case 7:
            snprintf(o->text, n, "vlan %u and %s dst port %u",
                     rng_below(&rng, 3), l4, p);
            break;
        default:
            random_expression(&rng, o->text, n);
        }
        o->program = compile(o->text);
    } while (o->program == NULL);
    o->flags = rng_below(&rng, 3)   ? 0
               : rng_below(&rng, 3) ? DPF_REFINE
                                    : DPF_TAP;
    o->bound = false;
    for (uint32_t i = 0; i < packets; i++) {
        o->says[i] = interp(o->program, packet[i], packet_len[i]);
    }
}

static void make_packets(void)
{
    for (uint32_t i = 0; i < packets; i++) {
        uint8_t *p = packet[i];
        packet_len[i] = random_packet(&rng, p);
        if (rng_below(&rng, 4) == 0 && packet_len[i] >= 42) {
            /* The ports and addresses of make_filter, more often. */
            static const uint8_t ip[3][4] = {
                {10, 0, 0, 1}, {10, 0, 0, 2}, {192, 168, 0, 1}};

            memset(p + 12, 0, 30);
            p[12] = 8;
            p[14] = (uint8_t)(0x45 + (rng_below(&rng, 8) == 0));
            p[23] = rng_below(&rng, 2) ? 6 : 17;
            memcpy(p + 26, ip[rng_below(&rng, 3)], 4);
            memcpy(p + 30, ip[rng_below(&rng, 3)], 4);
            p[35] = (uint8_t)(78 + rng_below(&rng, 6));
            p[37] = (uint8_t)(78 + rng_below(&rng, 6));
        }
    }
}

static void count_copy(void *ctx, uint32_t id)
{
    uint32_t *copied = ctx;
    copied[id]++;
}

static void check_packet(struct dpf_set *s, uint32_t i)
{
    uint32_t got, copied[FILTERS] = {0};
    got = dpf_set_match(s, packet[i], packet_len[i], count_copy, copied);
    checks++;
    if (got != DPF_NO_OWNER &&
        (got >= FILTERS || !all[got].bound || all[got].flags & DPF_TAP ||
         !all[got].says[i])) {
        die("owner does not accept", got, i);
    }
    for (uint32_t f = 0; f < filters; f++) {
        if (!all[f].bound) {
            if (copied[f]) {
                die("copy to the unbound", f, i);
            }
        } else if (all[f].flags & DPF_TAP) {
            if (copied[f] != (uint32_t)all[f].says[i]) {
                die("copy differs", f, i);
            }
        } else if (all[f].says[i] && f != got) {
            if (got == DPF_NO_OWNER) {
                die("acceptor not found", f, i);
            }
            if (!(all[f].flags & DPF_REFINE)) {
                die("stolen", f, got);
            }
            /* What could not be read is judged as if it said yes. */
            for (uint32_t k = 0; k < packets; k++) {
                if (all[f].read && all[got].says[k] && !all[f].says[k]) {
                    die("owner is not inside", got, f);
                }
            }
        }
    }
}

static int insert(struct dpf_set *s, uint32_t f, struct dpf_error *err)
{
    return dpf_set_insert(s, f, 0, all[f].program, all[f].flags, err);
}

/* Not decided: that may depend on what else is there, and on the order, but
   must be rare. */
static bool is_large(int r)
{
    bool open = r == -DPF_E_TOO_BIG || r == -DPF_E_FUEL;

    large += open;
    return open;
}

static bool bind(struct dpf_set *s, uint32_t f)
{
    struct dpf_error err = {0};
    int r = insert(s, f, &err);
    if (r == 0) {
        all[f].bound = true;
        binds++;
    } else if (r == -DPF_E_CONFLICT) {
        conflicts++;
        if (err.other >= FILTERS || !all[err.other].bound) {
            die("conflict with nobody", f, err.other);
        }
        if (err.witness_len &&
            (!interp(all[f].program, err.witness, err.witness_len) ||
             !interp(all[err.other].program, err.witness, err.witness_len))) {
            die("false witness", f, err.other);
        }
    } else if (!is_large(r)) {
        printf("# %d %s\n", r, err.text);
        die("insert", f, f);
    }
    return r == 0;
}

static struct dpf_set *empty_set(void)
{
    struct dpf_set *s;
    if (dpf_set_create(&mem, &s)) {
        die("create", 0, 0);
    }
    dpf_set_work(s, 0); /* refused or not, whatever the order */
    s->image_max = image_max;
    return s;
}

/* The bindings of s, made in this order, own the same packets. */
static void check_order(const struct dpf_set *s, const uint32_t *order,
                        uint32_t n)
{
    struct dpf_set *t = empty_set();
    struct dpf_error err;
    for (uint32_t i = 0; i < n; i++) {
        int r = insert(t, order[i], &err);
        if (is_large(r)) {
            dpf_set_destroy(t);
            return;
        }
        if (r) {
            printf("# %s; witness of %u bytes\n", err.text, err.witness_len);
            die("another order is refused", order[i], err.other);
        }
    }
    for (uint32_t i = 0; i < packets; i++) {
        uint32_t a = dpf_set_match(s, packet[i], packet_len[i], NULL, NULL);
        uint32_t b = dpf_set_match(t, packet[i], packet_len[i], NULL, NULL);
        if (a != b) {
            die("history decides", a, b);
        }
    }
    dpf_set_destroy(t);
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

/* All orders of order[k..n) behind the first k, which stay. */
static void check_permutations(const struct dpf_set *s, uint32_t *order,
                               uint32_t k, uint32_t n)
{
    if (k == n) {
        check_order(s, order, n);
        return;
    }
    for (uint32_t i = k; i < n; i++) {
        swap(&order[k], &order[i]);
        check_permutations(s, order, k + 1, n);
        swap(&order[k], &order[i]);
    }
}

static void check_history(const struct dpf_set *s)
{
    uint32_t n = 0;
    struct dpf_set *few = empty_set();
    uint32_t order[FILTERS];
    for (uint32_t f = 0; f < filters; f++) {
        if (all[f].bound) {
            order[n++] = f;
        }
    }
    for (int times = 0; times < 3; times++) {
        for (uint32_t i = n; i > 1; i--) {
            swap(&order[i - 1], &order[rng_below(&rng, i)]);
        }
        check_order(s, order, n);
    }
    n = n < PERMUTED ? n : PERMUTED;
    struct dpf_error err;
    for (uint32_t i = 0; i < n; i++) {
        int r = insert(few, order[i], &err);
        if (is_large(r)) {
            n = i;
        } else if (r) {
            die("a subset is refused", order[i], err.other);
        }
    }
    check_permutations(few, order, 0, n);
    dpf_set_destroy(few);
}

/* What is refused after another is refused before it too. */
static void check_pair(uint32_t f, uint32_t g)
{
    const uint32_t first[2] = {f, g};
    int got[2];
    for (int i = 0; i < 2; i++) {
        struct dpf_set *s = empty_set();
        struct dpf_error err;
        got[i] = insert(s, first[i], &err);
        if (got[i] && !is_large(got[i])) {
            die("refused alone", first[i], g);
        }
        if (got[i] == 0) {
            got[i] = insert(s, first[1 - i], &err);
        }
        dpf_set_destroy(s);
    }
    if (!is_large(got[0]) && !is_large(got[1]) && got[0] != got[1]) {
        die("order decides who is refused", f, g);
    }
}

static void one_round(void)
{
    make_packets();
    for (uint32_t f = 0; f < filters; f++) {
        make_filter(f);
        check_lift(f);
    }
    struct dpf_set *s = empty_set();
    struct dpf_set_stats before;
    dpf_set_stats(s, &before);
    for (int step = 0; step < 3 * (int)filters; step++) {
        uint32_t f = rng_below(&rng, filters);
        if (!all[f].bound) {
            (void)bind(s, f);
        } else if (rng_below(&rng, 3) == 0) {
            if (rng_below(&rng, 2) ? dpf_set_drop(s, f)
                                   : dpf_set_remove(s, f)) {
                die("remove", f, f);
            }
            all[f].bound = false;
        }
        if (rng_below(&rng, 4) == 0) {
            dpf_set_reclaim(s, dpf_set_version(s));
        }
        for (int k = 0; k < 40; k++) {
            check_packet(s, rng_below(&rng, packets));
        }
    }
    for (uint32_t i = 0; i < packets; i++) {
        check_packet(s, i);
    }
    check_history(s);
    for (uint32_t f = 0; f < filters; f++) {
        check_pair(f, (f + 1 + rng_below(&rng, filters - 1)) % filters);
    }
    for (uint32_t f = 0; f < filters; f++) {
        if (all[f].bound && dpf_set_drop(s, f)) {
            die("remove", f, f);
        }
        dpf_program_destroy(all[f].program);
    }
    if (dpf_set_tidy(s)) {
        die("tidy", 0, 0);
    }
    dpf_set_reclaim(s, dpf_set_version(s));
    struct dpf_set_stats after;
    dpf_set_stats(s, &after);
    if (after.bytes != before.bytes || after.code_bytes) {
        printf("# %lu bytes, then %lu\n", (unsigned long)before.bytes,
               (unsigned long)after.bytes);
        die("memory not returned", 0, 0);
    }
    dpf_set_destroy(s);
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 20;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (argc > 3 && strcmp(argv[3], "small") == 0) {
        filters = 12;
        packets = 120;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("TAP version 13\n1..1\n# seed %lu\n", (unsigned long)seed);
    if (dpf_host_mem_init(&mem)) {
        return 1;
    }
    for (unsigned long i = 0; i < rounds; i++) {
        rng.state = (seed + i) * 0x9e3779b97f4a7c15u | 1;
        printf("# round %lu\n", i);
        /* Every third round shapes hang in the class tree, or come and go. */
        image_max = i % 3 == 2 ? (uint32_t)(i / 3 % 4) : IMAGE_SHAPES_MAX;
        one_round();
    }
    dpf_host_mem_finish(&mem);
    printf(
        "# %lu binds, %lu conflicts, %lu too large, %lu lookups, %lu lowered\n",
        binds, conflicts, large, checks, lowered);
    if (large > 50 + binds / 500) {
        printf("not ok 1 - too many are refused for their size\n");
        return 1;
    }
    printf("ok 1 - sets\n");
    return 0;
}
