/* SPDX-License-Identifier: MIT */
/*
 * dpf bench single: one filter, three kinds of traffic. "mixed": packets of
 * many kinds in random order, so that no branch can be learnt; "hot": one
 * packet that is accepted, again and again; "real": packets of captures.
 */
#include "dpf/bench/bench.h"
#include "dpf/bench/dpdk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *expr;
} filters[] = {
    {"ip", "ip"},
    {"tcp port 80", "tcp port 80"},
    {"host and port", "host 10.0.0.1 and tcp port 80"},
    {"http data", "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - "
                  "((tcp[12]&0xf0)>>2)) != 0)"},
    {"ten ports", "tcp dst port 80 or 81 or 82 or 83 or 84 or 85 or 86 or 87 "
                  "or 88 or 89"},
    {"ip6 tcp", "ip6 and tcp port 80"},
    {"vlan", "vlan 100 and ip and tcp port 80"},
};
#define FLOOR_NS 0.25 /* less is noise, and would rule a geometric mean */
#define FILTERS (sizeof(filters) / sizeof(*filters))

/* ---------------------------------------------------------------- engines */

/* As its peers are called: the code itself. */
static uint64_t loop_pavise(void *ctx, const struct traffic *t)
{
    dpf_filter_code *run = *(dpf_filter_code **)ctx;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += run(traffic_at(t, i), traffic_len(t, i), DPF_FUEL_DEFAULT);
    }
    return sum;
}

static uint32_t answer_pavise(void *ctx, const uint8_t *p, uint32_t len)
{
    return (*(dpf_filter_code **)ctx)(p, len, DPF_FUEL_DEFAULT) != 0;
}

static uint64_t loop_clang(void *ctx, const struct traffic *t)
{
    native_fn *run = ((struct clang_code *)ctx)->run;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += run(traffic_at(t, i), traffic_len(t, i));
    }
    return sum;
}

static uint32_t answer_clang(void *ctx, const uint8_t *p, uint32_t len)
{
    return ((struct clang_code *)ctx)->run(p, len) != 0;
}

static uint64_t loop_jit(void *ctx, const struct traffic *t)
{
    jit_fn *run = ((struct jit_code *)ctx)->run;
    struct jit_context c = {0};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        c.data = traffic_at(t, i);
        c.data_end = c.data + traffic_len(t, i);
        sum += run(&c);
    }
    return sum;
}

static uint32_t answer_jit(void *ctx, const uint8_t *p, uint32_t len)
{
    struct jit_context c = {.data = p, .data_end = p + len};
    return (uint32_t)((struct jit_code *)ctx)->run(&c) != 0;
}

static uint64_t loop_libpcap(void *ctx, const struct traffic *t)
{
    const struct bpf_program *p = ctx;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += bpf_filter(p->bf_insns, traffic_at(t, i), traffic_len(t, i),
                          traffic_len(t, i));
    }
    return sum;
}

static uint32_t answer_libpcap(void *ctx, const uint8_t *p, uint32_t len)
{
    const struct bpf_program *prog = ctx;
    return bpf_filter(prog->bf_insns, p, len, len) != 0;
}

/* ---------------------------------------------------------------- traffic */

static void bench_single_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/*
 * Ports that the filters ask for, and others: a filter that always said no
 * would be fast, too.
 */
static uint32_t tcp_at(uint8_t *p)
{
    bench_single_put16(p, 1024 + bench_random(60000));
    bench_single_put16(p + 2, bench_random(3) ? 78 + bench_random(14)
                                              : bench_random(65536));
    if (bench_random(4) == 0) { /* the answer's direction */
        uint8_t a[2] = {p[0], p[1]};
        memcpy(p, p + 2, 2);
        memcpy(p + 2, a, 2);
    }
    p[12] = 0x50;
    return 20 + bench_random(20);
}

static uint32_t ip_at(uint8_t *p)
{
    uint32_t proto = bench_random(4);
    p[0] = 0x45;
    /* One in ten is a fragment, which filters by port must look at. */
    p[6] = bench_random(10) ? 0x40 : 0x20;
    p[9] = proto < 3 ? 6 : 17;
    p[12] = 10;
    p[15] = (uint8_t)bench_random(3);
    p[16] = 10;
    p[19] = (uint8_t)bench_random(3);
    uint32_t data = tcp_at(p + 20);
    bench_single_put16(p + 2, bench_random(2) ? 20 + data : 40);
    return 20 + data;
}

static uint32_t mixed_packet(uint8_t *p)
{
    switch (bench_random(6)) {
    case 0: /* IPv6 */
        bench_single_put16(p + 12, 0x86dd);
        p[14] = 0x60;
        p[20] = bench_random(3) ? 6 : 17;
        return 54 + tcp_at(p + 54);
    case 1: /* VLAN */
        bench_single_put16(p + 12, 0x8100);
        bench_single_put16(p + 14, 99 + bench_random(3));
        bench_single_put16(p + 16, 0x0800);
        return 18 + ip_at(p + 18);
    case 2: /* ARP, or something else */
        bench_single_put16(p + 12, bench_random(2) ? 0x0806 : 0x88cc);
        return 60;
    default:
        bench_single_put16(p + 12, 0x0800);
        return 14 + ip_at(p + 14);
    }
}

static bool make_mixed(struct traffic *t)
{
    if (!traffic_make(t, 2048, 128)) {
        return false;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t n = mixed_packet(t->bytes + (size_t)i * t->slot);
        t->len[i] = (uint16_t)(n < 60 ? 60 : n);
    }
    return traffic_shuffle(t);
}

/* The first packet that is accepted, everywhere: all branches are predicted,
   and what remains is the length of the code. */
static bool make_hot(struct traffic *hot, const struct traffic *mixed)
{
    uint32_t from = 0;
    while (from < mixed->count && !mixed->want[from]) {
        from++;
    }
    if (from == mixed->count || !traffic_make(hot, 256, mixed->slot)) {
        return false;
    }
    for (uint32_t i = 0; i < hot->count; i++) {
        memcpy(hot->bytes + (size_t)i * hot->slot,
               mixed->bytes + (size_t)from * mixed->slot, mixed->slot);
        hot->len[i] = mixed->len[from];
        hot->want[i] = 1;
    }
    return traffic_shuffle(hot);
}

/*
 * The right answers are those of libpcap's interpreter on code that no
 * optimiser has touched.
 */
static void bench_single_expect(struct traffic *t,
                                const struct bpf_program *plain)
{
    for (uint32_t i = 0; i < t->count; i++) {
        t->want[i] = answer_libpcap((void *)(uintptr_t)plain,
                                    t->bytes + (size_t)i * t->slot, t->len[i]);
    }
}

/* ----------------------------------------------------------------- contest */

struct all {
    struct dpf_program *pavise;
    dpf_filter_code *code; /* its */
    struct clang_code clang;
    struct jit_code jit;
    struct bpf_program classic, plain;
    const struct dpdk *dpdk;
    void *rte;
};

/*
 * One expression for every engine. clang and the kernel's JIT are given our
 * bytecode, so that they differ in nothing but the compiler.
 */
static bool make_all(struct bench *b, struct all *a, const char *expr)
{
    struct dpf_code code;
    struct dpf_error err;
    const char *why = NULL;
    *a = (struct all){0};
    pcap_t *p = pcap_open_dead(DLT_EN10MB, 65535);
    bool good =
        pcap_compile(p, &a->classic, expr, 1, PCAP_NETMASK_UNKNOWN) == 0 &&
        pcap_compile(p, &a->plain, expr, 0, PCAP_NETMASK_UNKNOWN) == 0 &&
        dpf_from_expr(expr, DLT_EN10MB, 0, &code, &err) == 0;
    pcap_close(p);
    if (!good ||
        dpf_program_create(cli_mem(), DPF_FILTER | DPF_COMPILE, code.insns,
                           code.count, &a->pavise, &err) != 0) {
        return false;
    }
    dpf_code_finish(&code);
    size_t count;
    a->code = (dpf_filter_code *)dpf_program_code(a->pavise, &count);
    if (a->code == NULL) {
        bench_skip(b, "pavise", "there is no native code on this machine");
    }
    const struct dpf_insn *insns = dpf_program_insns(a->pavise, &count);
    if (!clang_make(&a->clang, insns, count, &why)) {
        bench_skip(b, "clang", why);
    }
    if (!jit_make(&a->jit, insns, count, &why)) {
        bench_skip(b, "linux-jit", why);
    }
    a->dpdk = dpdk_open(&why);
    if (a->dpdk != NULL) {
        a->rte = a->dpdk->bpf_make(a->classic.bf_insns, a->classic.bf_len);
        why = "rte_bpf refuses the program";
    }
    if (a->rte == NULL) {
        bench_skip(b, "rte_bpf", why);
    }
    return true;
}

static void drop_all(struct all *a)
{
    dpf_program_destroy(a->pavise);
    clang_finish(&a->clang);
    jit_finish(&a->jit);
    pcap_freecode(&a->classic);
    pcap_freecode(&a->plain);
    if (a->rte != NULL) {
        a->dpdk->bpf_free(a->rte);
    }
}

struct means {
    double log_sum[BENCH_ENGINES];
    const char *name[BENCH_ENGINES];
    unsigned count[BENCH_ENGINES];
};

/*
 * One row of every engine that there is; ours is the first, to which the
 * others are compared.
 */
static void bench_single_one(struct bench *b, struct all *a, const char *name,
                             const char *kind, const struct traffic *t,
                             struct means *m)
{
    char workload[64];
    struct contest c = {.workload = workload, .n = 1};
    snprintf(workload, sizeof(workload), "single/%s/%s", name, kind);
    if (a->code != NULL) {
        contest_add(&c, "pavise", loop_pavise, answer_pavise, &a->code);
    }
    if (a->clang.run != NULL) {
        contest_add(&c, "clang", loop_clang, answer_clang, &a->clang);
    }
    if (a->jit.run != NULL) {
        contest_add(&c, "linux-jit", loop_jit, answer_jit, &a->jit);
    }
    if (a->rte != NULL) {
        contest_add(&c, "rte_bpf", a->dpdk->bpf_loop, a->dpdk->bpf_answer,
                    a->rte);
    }
    contest_add(&c, "libpcap", loop_libpcap, answer_libpcap, &a->classic);
    contest_run(b, &c, t);
    for (size_t i = 0; i < c.count; i++) {
        /* By name, since an engine may be missing in some workloads. */
        for (size_t k = 0; k < BENCH_ENGINES && c.engines[i].correct; k++) {
            if (m->name[k] == NULL || !strcmp(m->name[k], c.engines[i].name)) {
                m->name[k] = c.engines[i].name;
                m->log_sum[k] += log(
                    c.engines[i].ns > FLOOR_NS ? c.engines[i].ns : FLOOR_NS);
                m->count[k]++;
                break;
            }
        }
    }
}

/* Geometric means; only engines that ran everything can be compared. */
static void print_means(const struct bench *b, const struct means *m)
{
    double first = 0;
    for (size_t k = 0; k < BENCH_ENGINES && m->name[k] != NULL && !b->json;
         k++) {
        double mean = exp(m->log_sum[k] / m->count[k]);
        first = k == 0 ? mean : first;
        if (k == 0) {
            printf("\ngeometric mean of all\n");
        }
        printf("%-12s %10.2f ns %8.2f of first  (%u workloads)\n", m->name[k],
               mean, mean / first, m->count[k]);
    }
}

int bench_single(struct bench *b)
{
    struct means means = {0};
    struct traffic mixed;
    if (!make_mixed(&mixed)) {
        return CLI_USAGE;
    }
    if (b->real.count == 0) {
        cli_say("no captures given with -r: real traffic is not measured");
    }
    struct traffic hot;
    for (size_t i = 0; i < FILTERS; i++) {
        struct all a;
        if (!make_all(b, &a, filters[i].expr)) {
            return cli_usage("%s cannot be compiled", filters[i].expr);
        }
        bench_single_expect(&mixed, &a.plain);
        bench_single_one(b, &a, filters[i].name, "mixed", &mixed, &means);
        if (make_hot(&hot, &mixed)) {
            bench_single_one(b, &a, filters[i].name, "hot", &hot, &means);
            traffic_finish(&hot);
        }
        if (b->real.count > 0) {
            bench_single_expect(&b->real, &a.plain);
            bench_single_one(b, &a, filters[i].name, "real", &b->real, &means);
        }
        drop_all(&a);
    }
    print_means(b, &means);
    traffic_finish(&mixed);
    return CLI_OK;
}
