/* SPDX-License-Identifier: MIT */
/*
 * dpf bench: the tables of docs/bench-dpf.md, measured here and now.
 */
#include "dpf/bench/bench.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define ROUNDS_MAX 101u
#define VISITS 32768u

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Only time that this thread ran: others share the machine. */
static double processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * xorshift64 from a fixed state: each run measures the same packets in the
 * same order, and a result can be measured again.
 */
uint32_t bench_random(uint32_t n)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) * n >> 32);
}

/*
 * Random picks, so that neither the prefetcher nor the branch predictor knows
 * the next packet.
 */
bool traffic_shuffle(struct traffic *t)
{
    free(t->order);
    t->visits = VISITS;
    t->order = calloc(VISITS, sizeof(*t->order));
    for (uint32_t i = 0; t->order != NULL && i < VISITS; i++) {
        t->order[i] = bench_random(t->count);
    }
    return t->order != NULL;
}

bool traffic_make(struct traffic *t, uint32_t count, uint32_t slot)
{
    *t = (struct traffic){.slot = slot, .count = count};
    /* Aligned, so that a packet crosses the same cache lines in every run. */
    t->bytes = aligned_alloc(4096, ((size_t)count * slot + 4095) & ~4095ul);
    t->len = calloc(count, sizeof(*t->len));
    t->want = calloc(count, sizeof(*t->want));
    if (t->bytes == NULL || t->len == NULL || t->want == NULL) {
        traffic_finish(t);
        cli_say("out of memory");
        return false;
    }
    memset(t->bytes, 0, (size_t)count * slot);
    return true;
}

void traffic_finish(struct traffic *t)
{
    free(t->bytes);
    free(t->len);
    free(t->want);
    free(t->order);
    *t = (struct traffic){0};
}

/* ------------------------------------------------------------------ timing */

/* A function without work: its time is that of the loop and the call. */
static __attribute__((noinline)) uint32_t nothing(const uint8_t *p, uint32_t n)
{
    __asm__ volatile("" ::"r"(p), "r"(n));
    return 0;
}

static uint64_t empty_loop(void *ctx, const struct traffic *t)
{
    uint64_t sum = 0;
    (void)ctx;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += nothing(traffic_at(t, i), traffic_len(t, i));
    }
    return sum;
}

/* The sums of answers go here, or a compiler could leave out the work. */
static volatile uint64_t sink;

/* Nanoseconds per packet over `repeat` passes. */
static double time_once(const struct engine *e, const struct traffic *t,
                        uint32_t repeat)
{
    struct traffic part = *t;
    if (e->share > 1) {
        part.visits = t->visits / e->share ? t->visits / e->share : 1;
    }
    double start = processor_time();
    for (uint32_t k = 0; k < repeat; k++) {
        sink += e->loop(e->ctx, &part);
    }
    return (processor_time() - start) * 1e9 / ((double)part.visits * repeat);
}

/* How many passes make a round long enough. */
static uint32_t calibrate(const struct bench *b, struct engine *e,
                          const struct traffic *t)
{
    double ns = time_once(e, t, 1);
    double pass = ns * t->visits / 1e9;
    /*
     * An engine that takes milliseconds a packet would hold up all others for
     * minutes. It is timed on a part of the visits.
     */
    while (pass > 4 * b->round_seconds && e->share < t->visits) {
        e->share = e->share ? e->share * 4 : 4;
        pass /= 4;
    }
    ns = time_once(e, t, 1);
    pass = ns * t->visits / (e->share ? e->share : 1) / 1e9;
    double n = b->round_seconds / (pass > 1e-9 ? pass : 1e-9);
    return n < 1 ? 1 : n > 1e6 ? 1000000 : (uint32_t)n;
}

/*
 * A fast wrong answer is worth nothing: an engine that gives one is named and
 * not timed. A slow engine is checked on a part of the packets.
 */
static void bench_check(struct engine *e, const struct traffic *t)
{
    uint32_t step = e->share > 64 ? t->count / 64 : 1;
    e->correct = true;
    for (uint32_t i = 0; i < t->count && e->correct; i += step) {
        uint32_t got =
            e->answer(e->ctx, t->bytes + (size_t)i * t->slot, t->len[i]);
        if (got != t->want[i]) {
            cli_say("%s answers %u for packet %u, not %u; it is not timed",
                    e->name, got, i, t->want[i]);
            e->correct = false;
        }
    }
}

/*
 * Cycles are those of the time-stamp counter, whose rate is measured here: the
 * processor may run faster or slower than it counts.
 */
static void clock_speed(struct bench *b)
{
    double start = bench_now();
    uint64_t t0 = __rdtsc();
    while (bench_now() - start < 0.02) {
    }
    b->tsc_ghz = (double)(__rdtsc() - t0) / ((bench_now() - start) * 1e9);
}

static void print_text(struct bench *b, const struct contest *c,
                       const struct engine *e)
{
    const struct engine *first = &c->engines[0];
    if (b->first || e == first) {
        printf("\n%s, %u filter%s\n%-12s %10s %10s %10s %8s %8s\n", c->workload,
               c->n, c->n == 1 ? "" : "s", "engine", "ns", "min", "q75",
               "cycles", "of first");
    }
    printf("%-12s %10.2f %10.2f %10.2f %8.1f %8.2f\n", e->name, e->ns,
           e->ns_min, e->ns_q75, e->cycles, e->ns / first->ns);
    b->first = false;
}

static void bench_print(struct bench *b, const struct contest *c,
                        const struct engine *e)
{
    if (!b->json) {
        print_text(b, c, e);
        return;
    }
    printf("%s{\"workload\": \"%s\", \"engine\": \"%s\", \"n\": %u, "
           "\"ns\": %.3f, \"ns_min\": %.3f, \"ns_q75\": %.3f, "
           "\"cycles\": %.2f, \"correct\": %s}",
           b->first ? "[\n " : ",\n ", c->workload, e->name, c->n, e->ns,
           e->ns_min, e->ns_q75, e->cycles, e->correct ? "true" : "false");
    b->first = false;
}

void contest_add(struct contest *c, const char *name, engine_fn *loop,
                 answer_fn *answer, void *ctx)
{
    if (c->count < BENCH_ENGINES) {
        c->engines[c->count++] = (struct engine){
            .name = name, .loop = loop, .answer = answer, .ctx = ctx};
    }
}

/*
 * Noise can make a pass faster than the empty one; no work takes less than no
 * time.
 */
static double bench_above(double ns, double empty)
{
    return ns > empty ? ns - empty : 0;
}

/*
 * All engines in turns, round by round, and the empty loop as one of them: a
 * change of the machine's speed then meets all alike. Shown are medians, with
 * the least and the third quartile beside them.
 */
bool contest_run(struct bench *b, struct contest *c, const struct traffic *t)
{
    static double samples[BENCH_ENGINES + 1][ROUNDS_MAX];
    struct engine empty = {.name = "empty", .loop = empty_loop};
    bool any = false;
    uint32_t repeat[BENCH_ENGINES + 1];
    repeat[c->count] = calibrate(b, &empty, t);
    for (size_t i = 0; i < c->count; i++) {
        repeat[i] = calibrate(b, &c->engines[i], t);
        bench_check(&c->engines[i], t);
        any |= c->engines[i].correct;
    }
    for (unsigned r = 0; r < b->rounds; r++) {
        for (size_t i = 0; i <= c->count; i++) {
            struct engine *e = i < c->count ? &c->engines[i] : &empty;
            if (i == c->count || e->correct) {
                (void)time_once(e, t, 1); /* caches as its own work has them */
                samples[i][r] = time_once(e, t, repeat[i]);
            }
        }
    }
    qsort(samples[c->count], b->rounds, sizeof(double), bench_compare);
    b->empty_ns = samples[c->count][b->rounds / 2];
    for (size_t i = 0; i < c->count; i++) {
        struct engine *e = &c->engines[i];
        if (!e->correct) {
            continue;
        }
        qsort(samples[i], b->rounds, sizeof(double), bench_compare);
        e->ns = bench_above(samples[i][b->rounds / 2], b->empty_ns);
        e->ns_min = bench_above(samples[i][0], b->empty_ns);
        e->ns_q75 = bench_above(samples[i][b->rounds * 3 / 4], b->empty_ns);
        e->cycles = e->ns * b->tsc_ghz;
        bench_print(b, c, e);
    }
    fflush(stdout);
    return any;
}

void bench_row(struct bench *b, const char *workload, const char *engine,
               uint32_t n, double us[3], double bytes)
{
    if (b->json) {
        printf("%s{\"workload\": \"%s\", \"engine\": \"%s\", \"n\": %u, "
               "\"us\": %.4f, \"us_min\": %.4f, \"us_q75\": %.4f, "
               "\"ns\": %.1f, \"ns_min\": %.1f, \"ns_q75\": %.1f, "
               "\"cycles\": %.0f, \"bytes\": %.1f, \"correct\": true}",
               b->first ? "[\n " : ",\n ", workload, engine, n, us[1], us[0],
               us[2], us[1] * 1e3, us[0] * 1e3, us[2] * 1e3,
               us[1] * 1e3 * b->tsc_ghz, bytes);
    } else {
        if (b->first) {
            printf("\n%-28s %-12s %8s %10s %10s %10s %10s\n", "workload",
                   "engine", "filters", "us", "min", "q75", "bytes");
        }
        printf("%-28s %-12s %8u %10.3f %10.3f %10.3f %10.1f\n", workload,
               engine, n, us[1], us[0], us[2], bytes);
    }
    b->first = false;
    fflush(stdout);
}

/* A peer is missing for the same reason in every table; one line is enough. */
void bench_skip(struct bench *b, const char *engine, const char *why)
{
    static char said[1024];
    (void)b;
    char line[128];
    snprintf(line, sizeof(line), "%s: %s", engine, why);
    if (strstr(said, line) == NULL &&
        strlen(said) + strlen(line) + 2 < sizeof(said)) {
        strcat(strcat(said, line), "\n");
        cli_say("%s is not measured: %s", engine, why);
    }
}

/* ----------------------------------------------------------------- the verb */

/* Packets of captures, cut to their slot; at most `room` of them. */
static bool read_real(struct bench *b, const struct paths *captures)
{
    const uint32_t room = 4096, slot = 256;
    if (!traffic_make(&b->real, room, slot)) {
        return false;
    }
    b->real.count = 0;
    const uint8_t *data;
    struct pcap_pkthdr *h;
    for (size_t i = 0; i < captures->count; i++) {
        unsigned taken = 0;
        struct capture c;
        if (!capture_open(&c, captures->all[i], true)) {
            continue;
        }
        /*
         * At most 64 packets of a capture, or one long file would be all of
         * the traffic.
         */
        while (c.dlt == DLT_EN10MB && taken++ < 64 && b->real.count < room &&
               capture_next(&c, &h, &data) == 1) {
            uint32_t n = h->caplen < slot ? h->caplen : slot;
            memcpy(b->real.bytes + (size_t)b->real.count * slot, data, n);
            b->real.len[b->real.count++] = (uint16_t)n;
        }
        capture_close(&c);
    }
    return b->real.count == 0 || traffic_shuffle(&b->real);
}

static int bench_run(int argc, char **argv)
{
    enum { OPT_JSON = OPT_VERB, OPT_ROUNDS };
    static const struct option longs[] = {
        {"json", no_argument, NULL, OPT_JSON},
        {"rounds", required_argument, NULL, OPT_ROUNDS},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0}};
    struct bench b = {.first = true, .rounds = 11, .round_seconds = 0.002};
    struct paths captures = {0};
    uint64_t v = 0;
    int status = CLI_USAGE;
    int c;
    while ((c = getopt_long(argc, argv, "r:", longs, NULL)) != -1) {
        switch (c) {
        case 'r':
            if (paths_add(&captures, optarg) != CLI_OK) {
                return CLI_USAGE;
            }
            break;
        case OPT_JSON:
            b.json = true;
            break;
        case OPT_ROUNDS:
            if (!cli_number("--rounds", optarg, 3, ROUNDS_MAX, &v)) {
                return CLI_USAGE;
            }
            b.rounds = (unsigned)v;
            break;
        case OPT_HELP:
            return cli_help(&verb_bench);
        default:
            return CLI_USAGE;
        }
    }
    const char *what = optind + 1 == argc ? argv[optind] : "";
    clock_speed(&b);
    if (captures.count > 0 && !read_real(&b, &captures)) {
        return CLI_USAGE;
    }
    if (strcmp(what, "single") == 0) {
        status = bench_single(&b);
    } else if (strcmp(what, "demux") == 0) {
        status = bench_demux(&b);
    } else if (strcmp(what, "install") == 0) {
        status = bench_install(&b);
    } else {
        status = cli_usage("say what to measure: single, demux or install");
    }
    if (b.json && !b.first) {
        printf("\n]\n");
    }
    traffic_finish(&b.real);
    paths_finish(&captures);
    return status;
}

const struct verb verb_bench = {
    "bench", "Measure filters beside their peers",
    "[OPTION...] {single | demux | install}",
    "single    one filter over mixed, hot and real packets\n"
    "demux     whose packet is it: 10 to 10,000 connections, and as many\n"
    "          filters of ten shapes\n"
    "install   binding one more filter, memory for each, 1,000 hosts from\n"
    "          text to native code\n\n"
    "Peers that are not there are named and skipped. Answers are checked\n"
    "before anything is timed; the medians of interleaved rounds are shown,\n"
    "without the cost of an empty call. Cycles are those of the time-stamp\n"
    "counter.\n\n"
    "  -r CAPTURE      real packets for single: a capture, or a folder\n"
    "  --json          an array of objects\n"
    "  --rounds N      rounds (11)\n",
    bench_run};
