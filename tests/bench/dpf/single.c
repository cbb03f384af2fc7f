/* SPDX-License-Identifier: MIT */
/*
 * bench_single [--rounds N] [CAPTURE...]
 *
 * Single filters: our native code beside what clang -O2 makes of C written
 * from the same bytecode, and libpcap's interpreter, in one run. Answers are
 * compared before anything is timed; rounds are interleaved; the median and
 * the quartiles are printed. The captures' Ethernet packets are the "real"
 * traffic.
 */
#ifdef NDEBUG
#error "a benchmark that does not check measures nothing"
#endif

#include "tests/bench/dpf/single.h"

#include "dpf/host.h"
#include "dpf/host/mem.h"
#include <dlfcn.h>
#include <math.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPRS_MAX 16
#define ROUNDS_MAX 1001
#define PACKETS 8192u /* a power of two */

typedef uint64_t compiled(const uint8_t *packet, uint64_t len);

struct subject {
    struct dpf_program *p;
    compiled *ours, *clang;
    struct bpf_program classic;
};

static struct subject subjects[EXPRS_MAX];
static uint32_t rounds = 61;

static void die(const char *what)
{
    fprintf(stderr, "bench_single: %s\n", what);
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Compile everything: our way, and through clang into one shared object. */
static void prepare(const struct dpf_mem *mem)
{
    char dir[] = "/tmp/bench-single-XXXXXX", path[128], command[512], name[16];
    if (mkdtemp(dir) == NULL) {
        die("no temporary folder");
    }
    snprintf(path, sizeof(path), "%s/f.c", dir);
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        die("cannot write the C source");
    }
    fprintf(f, "#include <stdint.h>\n#include <string.h>\n");
    for (size_t n = 0; n < bench_expression_count; n++) {
        struct dpf_code code;
        struct dpf_error err;
        struct subject *s = &subjects[n];
        size_t size;
        if (dpf_from_expr(bench_expressions[n].text, DLT_EN10MB, 0, &code,
                          &err) != 0 ||
            dpf_program_create(mem, DPF_FILTER, code.insns, code.count,
                               DPF_COMPILE, &s->p, &err) != 0) {
            die(err.text);
        }
        dpf_code_finish(&code);
        const void *native = dpf_program_code(s->p, &size);
        memcpy(&s->ours, &native, sizeof(native));
        snprintf(name, sizeof(name), "f%zu", n);
        write_c(f, name, s->p);
        pcap_t *dead = pcap_open_dead(DLT_EN10MB, 262144);
        if (pcap_compile(dead, &s->classic, bench_expressions[n].text, 1,
                         PCAP_NETMASK_UNKNOWN) != 0) {
            die("libpcap does not compile it");
        }
        pcap_close(dead);
    }
    fclose(f);
    snprintf(command, sizeof(command),
             "clang -O2 -shared -fPIC -w -o %s/f.so %s/f.c", dir, dir);
    if (system(command) != 0) {
        die("clang failed");
    }
    snprintf(path, sizeof(path), "%s/f.so", dir);
    void *so = dlopen(path, RTLD_NOW);
    if (so == NULL) {
        die(dlerror());
    }
    for (size_t n = 0; n < bench_expression_count; n++) {
        snprintf(name, sizeof(name), "f%zu", n);
        void *at = dlsym(so, name);
        memcpy(&subjects[n].clang, &at, sizeof(at));
    }
    snprintf(command, sizeof(command), "rm -r %s", dir);
    if (getenv("KEEP") == NULL && system(command) != 0) {
        die("cannot remove the temporary folder");
    }
}

static void check(const struct subject *s, const struct traffic *t,
                  const char *name)
{
    uint32_t accepted = 0;
    for (uint32_t n = 0; n < t->count; n++) {
        const uint8_t *p = t->bytes + (size_t)n * TRAFFIC_SLOT;
        int want = pcap_offline_filter(
            &s->classic,
            &(struct pcap_pkthdr){.caplen = t->len[n], .len = t->len[n]}, p);
        uint64_t a = s->ours(p, t->len[n]), b = s->clang(p, t->len[n]);
        if ((a != 0) != (want != 0) || (b != 0) != (want != 0)) {
            fprintf(stderr, "%s, packet %u: %d %d %d\n", name, n, want != 0,
                    a != 0, b != 0);
            die("answers differ");
        }
        accepted += want != 0;
    }
    printf("%-14s %-6s %5.1f%%", name, t->name,
           100.0 * accepted / (double)t->count);
}

static volatile uint64_t sink;

/*
 * The packets in an order that differs from round to round, for a predictor
 * learns even thousands of branches that come again in the same order: `step`
 * is odd and the count a power of two, or step is 1.
 */
static double time_native(compiled *f, const struct traffic *t, uint32_t step)
{
    uint64_t sum = 0;
    uint32_t at = 0;
    double start = now_ns();
    for (uint32_t n = 0; n < t->count; n++) {
        sum += f(t->bytes + (size_t)at * TRAFFIC_SLOT, t->len[at]);
        at += step;
        at = at < t->count ? at : at & (PACKETS - 1);
    }
    sink = sum;
    return (now_ns() - start) / t->count;
}

static double time_libpcap(const struct subject *s, const struct traffic *t)
{
    uint64_t sum = 0;
    double start = now_ns();
    for (uint32_t n = 0; n < t->count; n++) {
        sum +=
            bpf_filter(s->classic.bf_insns, t->bytes + (size_t)n * TRAFFIC_SLOT,
                       t->len[n], t->len[n]);
    }
    sink = sum;
    return (now_ns() - start) / t->count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Ratio of our median to clang's. */
static double compare(const struct subject *s, const struct traffic *t)
{
    static double ns[3][ROUNDS_MAX];
    for (uint32_t n = 0; n < rounds; n++) {
        uint32_t step = t->ordered ? 1 : (n * 2654435761u >> 16 & 2047) * 2 + 1;
        ns[0][n] = time_native(s->ours, t, step);
        ns[1][n] = time_native(s->clang, t, step);
        ns[2][n] = n % 8 == 0 ? time_libpcap(s, t) : ns[2][n - 1];
    }
    for (int k = 0; k < 3; k++) {
        qsort(ns[k], rounds, sizeof(double), by_value);
    }
    double ours = ns[0][rounds / 2], clang = ns[1][rounds / 2];
    printf("  %6.2f [%5.2f %5.2f]  %6.2f [%5.2f %5.2f]  %6.2f   %.3f\n", ours,
           ns[0][rounds / 4], ns[0][rounds * 3 / 4], clang, ns[1][rounds / 4],
           ns[1][rounds * 3 / 4], ns[2][rounds / 2], ours / clang);
    return ours / clang;
}

static void bench(const struct traffic *t)
{
    double log_sum = 0;
    for (size_t n = 0; n < bench_expression_count; n++) {
        check(&subjects[n], t, bench_expressions[n].name);
        log_sum += log(compare(&subjects[n], t));
    }
    printf("%s: geometric mean of ours / clang %.3f\n\n", t->name,
           exp(log_sum / (double)bench_expression_count));
}

int main(int argc, char **argv)
{
    struct dpf_mem mem;
    struct traffic t;
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "--rounds") == 0) {
        rounds = (uint32_t)strtoul(argv[2], NULL, 0);
        rounds = rounds < 1 || rounds > ROUNDS_MAX ? 61 : rounds;
        at = 3;
    }
    if (dpf_host_mem_init(&mem) != 0 || mem.code_alloc == NULL) {
        die("no executable memory");
    }
    prepare(&mem);
    printf("ns per packet: median [quartiles]; accepted share\n"
           "%-14s %-6s %6s  %-22s %-22s %s  ours/clang\n",
           "expression", "on", "", "ours", "clang -O2", "libpcap");
    traffic_mixed(&t, PACKETS);
    bench(&t);
    traffic_free(&t);
    traffic_hot(&t, PACKETS);
    bench(&t);
    traffic_free(&t);
    if (traffic_real(&t, PACKETS, argv + at, argc - at)) {
        bench(&t);
    }
    traffic_free(&t);
    return 0;
}
