/* SPDX-License-Identifier: MIT */
/*
 * Sets of filters, timed: lookups beside a hand-written hash on the same
 * packets in the same run, and what binding costs.
 *
 * usage: bench_sets [ROUNDS]
 *
 * Every answer is checked before anything is timed. Engines take turns round
 * by round; medians are printed, in cycles of the time-stamp counter, less
 * the cost of the same loop around an empty call.
 */
#ifdef NDEBUG
#error "benchmarks check their answers"
#endif

#include "dpf/dpf.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define SLOT 64u /* bytes of a packet */
#define PACKETS 4096u
#define VISITS 32768u /* lookups in one round, in random order */
#define ROUNDS_MAX 101u
#define SHAPES 10u

struct packet {
    uint8_t bytes[SLOT];
};

static struct dpf_mem mem;
static struct packet *packets;
static uint32_t want[PACKETS];
static uint32_t order[VISITS];
static unsigned rounds = 21;
static volatile uint64_t sink;

static uint32_t below(uint32_t n)
{
    static uint64_t s = 88172645463325252u;

    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return (uint32_t)((s >> 32) * n >> 32);
}

static void check(bool ok, const char *what)
{
    if (!ok) {
        printf("bench_sets: %s\n", what);
        exit(1);
    }
}

/* ------------------------------------------------------------- connections */

struct connection {
    uint8_t addresses[8]; /* source, destination */
    uint8_t ports[4];
};

/* The n-th connection of the shape: all different. */
static struct connection connection(uint32_t n)
{
    uint32_t h = n * 2654435761u;

    return (struct connection){
        {10, (uint8_t)(h >> 24), (uint8_t)(n >> 8), (uint8_t)n, 192, 168, 0, 1},
        {(uint8_t)(4 + (h >> 12 & 63)), (uint8_t)(h >> 4), 0, 80}};
}

static void frame4(uint8_t *p, uint8_t proto, const struct connection *c)
{
    memset(p, 0, SLOT);
    p[12] = 8;
    p[14] = 0x45;
    p[17] = 50;
    p[23] = proto;
    memcpy(p + 26, c->addresses, 8);
    memcpy(p + 34, c->ports, 4);
}

static struct dpf_program *program(const char *expr)
{
    struct dpf_program *p;
    struct dpf_code code;
    struct dpf_error err;

    check(!dpf_from_expr(expr, 1, 0, &code, &err), expr);
    check(!dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, 0, &p,
                              &err),
          expr);
    dpf_code_finish(&code);
    return p;
}

static void connection_text(char *out, size_t n, const char *prefix,
                            const char *l4, const struct connection *c)
{
    snprintf(out, n,
             "%sip and %s and src host %u.%u.%u.%u and dst host "
             "%u.%u.%u.%u and %s src port %u and dst port %u",
             prefix, l4, c->addresses[0], c->addresses[1], c->addresses[2],
             c->addresses[3], c->addresses[4], c->addresses[5], c->addresses[6],
             c->addresses[7], l4, c->ports[0] << 8 | c->ports[1],
             c->ports[2] << 8 | c->ports[3]);
}

/* ---------------------------------------------------------------- the hand */

/* What a careful person writes for exactly this job: no branch but the two
 * checks, one bucket of four entries, at most half full. */
struct hand {
    struct {
        uint64_t addresses;
        uint32_t ports, id;
    } * slots;
    uint64_t mask; /* buckets - 1 */
};

static uint64_t hand_hash(uint64_t a, uint32_t b)
{
    unsigned __int128 m = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) *
                          (b ^ 0xd6e8feb86659fd93u);

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static bool hand_add(struct hand *h, const struct connection *c, uint32_t id)
{
    uint64_t a, bucket;
    uint32_t b;

    memcpy(&a, c->addresses, 8);
    memcpy(&b, c->ports, 4);
    bucket = (hand_hash(a, b) & h->mask) * 4;
    for (int w = 0; w < 4; w++) {
        if (h->slots[bucket + (uint64_t)w].id == DPF_NO_OWNER) {
            h->slots[bucket + (uint64_t)w].addresses = a;
            h->slots[bucket + (uint64_t)w].ports = b;
            h->slots[bucket + (uint64_t)w].id = id;
            return true;
        }
    }
    return false;
}

static void hand_make(struct hand *h, uint32_t n)
{
    bool ok;

    for (h->mask = n / 2 | 7;; h->mask = h->mask * 2 + 1) {
        h->mask |= h->mask >> 1;
        h->mask |= h->mask >> 2;
        h->mask |= h->mask >> 4;
        h->mask |= h->mask >> 8;
        h->mask |= h->mask >> 16;
        h->slots = aligned_alloc(64, (h->mask + 1) * 64);
        check(h->slots != NULL, "out of memory");
        memset(h->slots, 0xff, (h->mask + 1) * 64);
        ok = true;
        for (uint32_t i = 0; i < n && ok; i++) {
            struct connection c = connection(i);

            ok = hand_add(h, &c, i);
        }
        if (ok) {
            return; /* no bucket overflows: it needs no second probe */
        }
        free(h->slots);
    }
}

static __attribute__((noinline)) uint32_t
hand_match(const struct hand *h, const uint8_t *p, size_t len)
{
    uint64_t type, frag, a, bucket;
    uint32_t b, id = DPF_NO_OWNER, at, bad;

    if (len < 34) {
        return DPF_NO_OWNER;
    }
    at = 14 + 4u * (p[14] & 15);
    if (at + 4 > len) {
        return DPF_NO_OWNER;
    }
    memcpy(&type, p + 12, 8);
    memcpy(&frag, p + 16, 8);
    bad = ((type & 0xffff) ^ 0x0008) != 0;
    bad |= ((frag & 0xff00ff1f00000000u) ^ 0x0600000000000000u) != 0;
    memcpy(&a, p + 26, 8);
    memcpy(&b, p + at, 4);
    bucket = (hand_hash(a, b) & h->mask) * 4;
    for (int w = 0; w < 4; w++) {
        uint64_t diff = (h->slots[bucket + (uint64_t)w].addresses ^ a) |
                        (h->slots[bucket + (uint64_t)w].ports ^ b);
        uint32_t found = h->slots[bucket + (uint64_t)w].id;

        __asm__("test %1, %1\n\tcmove %2, %0"
                : "+r"(id)
                : "r"(diff), "r"(found)
                : "cc");
    }
    return bad ? DPF_NO_OWNER : id;
}

static __attribute__((noinline)) uint32_t nothing(const void *ctx,
                                                  const uint8_t *p, size_t len)
{
    (void)ctx;
    (void)len;
    return p[0];
}

/* ------------------------------------------------------------------ timing */

typedef uint32_t match_fn(const void *ctx, const uint8_t *p, size_t len);

static uint32_t set_match(const void *ctx, const uint8_t *p, size_t len)
{
    return dpf_set_match(ctx, p, len, NULL, 0, NULL);
}

static uint32_t hand_call(const void *ctx, const uint8_t *p, size_t len)
{
    return hand_match(ctx, p, len);
}

/* One loop per engine, so that each call is direct. */
#define LOOP(name, call)                                                       \
    static __attribute__((noinline)) double name(const void *ctx)              \
    {                                                                          \
        uint64_t sum = 0, start = __rdtsc();                                   \
        for (uint32_t i = 0; i < VISITS; i++) {                                \
            sum += call(ctx, packets[order[i]].bytes, SLOT);                   \
        }                                                                      \
        start = __rdtsc() - start;                                             \
        sink += sum;                                                           \
        return (double)start / VISITS;                                         \
    }
LOOP(loop_set, set_match)
LOOP(loop_hand, hand_match)
LOOP(loop_empty, nothing)

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v)
{
    qsort(v, rounds, sizeof(*v), by_value);
    return v[rounds / 2];
}

static void check_answers(match_fn *match, const void *ctx, const char *who)
{
    for (uint32_t i = 0; i < PACKETS; i++) {
        check(match(ctx, packets[i].bytes, SLOT) == want[i], who);
    }
}

/* Time the set, and the hand if there is one; returns the set's cycles. */
static double contest(const char *what, uint32_t n, const struct dpf_set *s,
                      const struct hand *h)
{
    static double set[ROUNDS_MAX], hand[ROUNDS_MAX], empty[ROUNDS_MAX];
    double none, a, b = 0;

    check_answers(set_match, s, "the set answers wrongly");
    if (h) {
        check_answers(hand_call, h, "the hand answers wrongly");
    }
    for (unsigned r = 0; r < rounds; r++) {
        empty[r] = loop_empty(NULL);
        set[r] = loop_set(s);
        hand[r] = h ? loop_hand(h) : 0;
    }
    none = median(empty);
    a = median(set) - none;
    b = h ? median(hand) - none : 0;
    printf("%-16s %6u  pavise %6.1f cycles (min %5.1f, q75 %5.1f)", what, n, a,
           set[0] - none, set[rounds * 3 / 4] - none);
    if (h) {
        printf("  hand %6.1f  ratio %.2f", b, a / b);
    }
    printf("  empty %.1f\n", none);
    return a;
}

static void shuffle(void)
{
    for (uint32_t i = 0; i < VISITS; i++) {
        order[i] = below(PACKETS);
    }
}

/* ------------------------------------------------------------- one shape */

static uint64_t number(const uint8_t b[4])
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++) {
        v = v << 8 | b[i];
    }
    return v;
}

static void patch(struct dpf_const *k, const struct connection *c)
{
    /* Fields: ethertype, fragment, protocol, source, destination, ports. */
    k[0] = (struct dpf_const){3, number(c->addresses)};
    k[1] = (struct dpf_const){4, number(c->addresses + 4)};
    k[2] = (struct dpf_const){5, number(c->ports)};
}

static struct dpf_set *connections(uint32_t n, uint64_t *bytes)
{
    struct connection c = connection(0);
    struct dpf_set_stats before, after;
    struct dpf_program *p;
    struct dpf_error err;
    struct dpf_set *s;
    char text[256];

    check(!dpf_set_create(&mem, &s), "create");
    dpf_set_stats(s, &before);
    connection_text(text, sizeof(text), "", "tcp", &c);
    p = program(text);
    check(!dpf_set_insert(s, 0, 0, p, 0, &err), err.text);
    dpf_program_destroy(p);
    for (uint32_t i = 1; i < n; i++) {
        struct dpf_const k[3];

        c = connection(i);
        patch(k, &c);
        check(!dpf_set_insert_like(s, i, 0, k, 3, &err), err.text);
        if (i % 64 == 0) {
            dpf_set_reclaim(s, dpf_set_version(s));
        }
    }
    dpf_set_reclaim(s, dpf_set_version(s));
    dpf_set_stats(s, &after);
    *bytes = after.bytes - before.bytes;
    return s;
}

static void make_connections(uint32_t n)
{
    for (uint32_t i = 0; i < PACKETS; i++) {
        uint32_t k = below(10) ? below(n) : n + below(n);
        struct connection c = connection(k);

        frame4(packets[i].bytes, 6, &c);
        want[i] = k < n ? k : DPF_NO_OWNER;
    }
    shuffle();
}

/* ------------------------------------------------------------ ten shapes */

static const char *const shape_text[SHAPES] = {
    "ip and tcp and src host 10.%u.%u.1 and dst host 192.168.0.1 and tcp src "
    "port %u and dst port 80",
    "ip and udp and src host 10.%u.%u.1 and dst host 192.168.0.1 and udp src "
    "port %u and dst port 53 and ip[0] = 0x45",
    "ip6 and tcp and src host 2001:db8::%x:%x and dst host 2001:db8::1 and "
    "tcp src port %u and dst port 80",
    "ip6 and udp and src host 2001:db8::%x:%x and udp src port %u",
    "vlan 5 and ip and tcp and src host 10.%u.%u.1 and dst host 192.168.0.1 "
    "and tcp src port %u and dst port 80",
    "vlan 6 and ip and udp and src host 10.%u.%u.1 and udp dst port %u",
    "ip and tcp and dst host 172.16.%u.%u and tcp dst port %u",
    "ip and icmp and dst host 172.17.%u.%u and icmp[4:2] = %u",
    "ip and udp and dst host 172.18.%u.%u and udp dst portrange %u-65535",
    "arp and ether[28:4] = 0x0a%02x%02x01 and ether[20:2] < %u",
};

/* A packet that the k-th filter of shape `s` accepts. */
static void shape_packet(uint8_t *p, uint32_t s, uint32_t k)
{
    uint8_t hi = (uint8_t)(k >> 8), lo = (uint8_t)k;
    uint32_t port = 1024 + k % 30000, vlan = s == 4 || s == 5 ? 4 : 0;
    uint32_t l4 = s == 2 || s == 3 ? 54 : 34 + vlan;

    memset(p, 0, SLOT);
    p[12] = 8;
    if (vlan) {
        p[12] = 0x81;
        p[15] = (uint8_t)(s + 1);
        p[16] = 8;
    }
    if (s == 2 || s == 3) {
        static const uint8_t prefix[4] = {0x20, 1, 0x0d, 0xb8};

        p[12] = 0x86;
        p[13] = 0xdd;
        p[14] = 0x60;
        p[20] = s == 2 ? 6 : 17;
        memcpy(p + 22, prefix, 4);
        p[35] = hi;
        p[37] = lo;
        memcpy(p + 38, prefix, 4);
        p[53] = 1;
    } else if (s == 9) {
        p[13] = 6;
        p[28] = 10;
        p[29] = hi;
        p[30] = lo;
        p[31] = 1;
        return;
    } else {
        static const uint8_t proto[SHAPES] = {6, 17, 0, 0, 6, 17, 6, 1, 17, 0};
        uint8_t *ip = p + 14 + vlan;

        ip[0] = 0x45;
        ip[9] = proto[s];
        ip[12] = 10;
        ip[13] = hi;
        ip[14] = lo;
        ip[15] = 1;
        ip[16] = 192;
        ip[17] = 168;
        ip[19] = 1;
        if (s >= 6) {
            ip[16] = 172;
            ip[17] = (uint8_t)(10 + s);
            ip[18] = hi;
            ip[19] = lo;
        }
    }
    p[l4] = (uint8_t)(port >> 8);
    p[l4 + 1] = (uint8_t)port;
    p[l4 + 3] = s == 1 ? 53 : 80;
    if (s >= 5) {
        p[l4 + 2] = (uint8_t)(port >> 8);
        p[l4 + 3] = (uint8_t)port;
    }
    if (s == 7) {
        p[l4 + 4] = (uint8_t)(port >> 8);
        p[l4 + 5] = (uint8_t)port;
    }
}

static struct dpf_set *ten_shapes(uint32_t n)
{
    struct dpf_error err;
    struct dpf_set *s;
    char text[256];

    check(!dpf_set_create(&mem, &s), "create");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = i / SHAPES, shape = i % SHAPES;
        struct dpf_program *p;

        /* The format is one of ours, with three numbers each. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof(text), shape_text[shape], k >> 8, k & 255,
                 1024 + k % 30000);
#pragma clang diagnostic pop
        p = program(text);
        if (dpf_set_insert(s, i, 0, p, 0, &err)) {
            printf("%s: %s (%u)\n", text, err.text, err.other);
            exit(1);
        }
        dpf_program_destroy(p);
        dpf_set_reclaim(s, dpf_set_version(s));
    }
    return s;
}

static void make_ten(uint32_t n)
{
    for (uint32_t i = 0; i < PACKETS; i++) {
        uint32_t k = below(n);
        bool known = below(10) != 0;

        shape_packet(packets[i].bytes, k % SHAPES,
                     known ? k / SHAPES : k / SHAPES + n);
        want[i] = known ? k : DPF_NO_OWNER;
    }
    shuffle();
}

/* ----------------------------------------------------------------- install */

static void install(uint32_t n)
{
    static double verify[ROUNDS_MAX], insert[ROUNDS_MAX], like[ROUNDS_MAX],
        gone[ROUNDS_MAX];
    struct dpf_set_stats st;
    uint64_t bytes, t[5];
    struct dpf_set *s = connections(n, &bytes);
    struct dpf_error err;
    double ghz;
    uint64_t t0 = __rdtsc();
    struct timespec a, b;

    clock_gettime(CLOCK_MONOTONIC, &a);
    do {
        clock_gettime(CLOCK_MONOTONIC, &b);
    } while ((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec <
             20000000);
    ghz = (double)(__rdtsc() - t0) / 20e6;
    for (unsigned r = 0; r < rounds; r++) {
        struct connection c = connection(n + r), d = connection(n + 5000 + r);
        struct dpf_const k[3];
        struct dpf_code code;
        struct dpf_program *p;
        char text[256];

        connection_text(text, sizeof(text), "", "tcp", &c);
        check(!dpf_from_expr(text, 1, 0, &code, &err), text);
        patch(k, &d);
        t[0] = __rdtsc();
        check(!dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, 0,
                                  &p, &err),
              text);
        t[1] = __rdtsc();
        check(!dpf_set_insert(s, n + 1, 0, p, 0, &err), err.text);
        t[2] = __rdtsc();
        check(!dpf_set_insert_like(s, n + 2, 0, k, 3, &err), err.text);
        t[3] = __rdtsc();
        check(!dpf_set_remove(s, n + 1), "remove");
        t[4] = __rdtsc();
        check(!dpf_set_remove(s, n + 2), "remove");
        dpf_set_reclaim(s, dpf_set_version(s));
        dpf_program_destroy(p);
        dpf_code_finish(&code);
        verify[r] = (double)(t[1] - t[0]);
        insert[r] = (double)(t[2] - t[1]);
        like[r] = (double)(t[3] - t[2]);
        gone[r] = (double)(t[4] - t[3]);
    }
    dpf_set_stats(s, &st);
    printf("install at %6u: verify %.2f us, insert %.2f us, like %.3f us, "
           "remove %.3f us; %.1f bytes each, code %lu\n",
           n, median(verify) / ghz / 1e3, median(insert) / ghz / 1e3,
           median(like) / ghz / 1e3, median(gone) / ghz / 1e3,
           (double)bytes / n, (unsigned long)st.code_bytes);
    dpf_set_destroy(s);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {10, 100, 1000, 10000};

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1) {
        rounds = (unsigned)atoi(argv[1]);
        check(rounds >= 3 && rounds <= ROUNDS_MAX, "rounds: 3 to 101");
    }
    check(!dpf_host_mem_init(&mem), "memory");
    packets = aligned_alloc(4096, PACKETS * sizeof(*packets));
    check(packets != NULL, "memory");
    for (size_t i = 0; i < 4; i++) {
        uint32_t n = sizes[i];
        struct hand h;
        uint64_t bytes;
        struct dpf_set *s = connections(n, &bytes);

        hand_make(&h, n);
        make_connections(n);
        contest("connections", n, s, &h);
        free(h.slots);
        dpf_set_destroy(s);
    }
    for (size_t i = 0; i < 4; i++) {
        struct dpf_set *s = ten_shapes(sizes[i]);

        make_ten(sizes[i]);
        contest("ten shapes", sizes[i], s, NULL);
        dpf_set_destroy(s);
    }
    for (size_t i = 0; i < 4; i++) {
        install(sizes[i]);
    }
    free(packets);
    dpf_host_mem_finish(&mem);
    return 0;
}
