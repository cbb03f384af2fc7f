/* SPDX-License-Identifier: MIT */
/*
 * dpf bench install: from bytecode to a live binding, from an installed
 * filter with other constants, and back; memory per binding; and a set of
 * hosts from text to native code.
 */
#include "dpf/bench/dpdk.h"
#include "dpf/bench/filters.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLES 301u
#define HOSTS 1000u

struct samples {
    double us[SAMPLES];
    unsigned count;
};

static void sample(struct samples *s, double start)
{
    if (s->count < SAMPLES) {
        s->us[s->count++] = (bench_now() - start) * 1e6;
    }
}

static void bench_install_report(struct bench *b, const char *workload,
                                 const char *engine, uint32_t n,
                                 struct samples *s, double bytes)
{
    if (s->count == 0) {
        return;
    }
    qsort(s->us, s->count, sizeof(*s->us), bench_compare);
    double us[3] = {s->us[0], s->us[s->count / 2], s->us[s->count * 3 / 4]};
    bench_row(b, workload, engine, n, us, bytes);
}

static double set_code_bytes(const struct dpf_set *s)
{
    struct dpf_set_stats stats;
    dpf_set_stats(s, &stats);
    return (double)stats.code_bytes;
}

static double set_bytes(const struct dpf_set *s)
{
    struct dpf_set_stats stats;
    dpf_set_stats(s, &stats);
    return (double)(stats.bytes + stats.code_bytes);
}

/* Constants that make filter 0 the connection with source number i. */
static size_t constants(struct dpf_set *s, struct dpf_const *out, uint32_t i)
{
    struct dpf_field f[16];
    int n = dpf_set_fields(s, 0, f, 16);
    size_t used = 0;
    for (uint32_t k = 0; n > 0 && k < (uint32_t)n && k < 16; k++) {
        uint64_t v = f[k].value;
        for (uint32_t byte = 0; byte < f[k].width && f[k].base == 0; byte++) {
            uint32_t shift = 8 * (f[k].width - 1 - byte);
            uint32_t at = f[k].offset + byte;
            if (at == 28 || at == 29) { /* of the source address */
                uint64_t own = at == 28 ? i >> 8 & 255 : i & 255;
                v = (v & ~(UINT64_C(255) << shift)) | own << shift;
            }
        }
        if (v != f[k].value) {
            out[used++] = (struct dpf_const){k, v};
        }
    }
    return used;
}

/*
 * A set of n filters, and one more that comes and goes: from bytecode, and as
 * a copy of an installed one with other constants.
 */
static int bench_install_one(struct bench *b, uint32_t n)
{
    static struct samples insert, like, removal;
    struct dpf_error err = {0};
    struct dpf_set *empty = bench_set(1, 1), *s = bench_set(n, 1);
    if (s == NULL || empty == NULL) {
        dpf_set_destroy(s);
        dpf_set_destroy(empty);
        return CLI_USAGE;
    }
    /*
     * The memory of one more binding: without what an empty set has, or the
     * first filter brings.
     */
    double bytes = (set_bytes(s) - set_bytes(empty)) / (n > 1 ? n - 1 : 1);
    insert.count = like.count = removal.count = 0;
    struct dpf_const c[16];
    for (uint32_t k = 0; k < SAMPLES; k++) {
        struct dpf_program *p = NULL;
        /*
         * A connection that is not in the set yet; another each time, so that
         * no table slot is warm from the last.
         */
        char text[256];
        bench_expression(0, 20000 + k, text, sizeof(text));
        struct dpf_code code;
        if (dpf_from_expr(text, DLT_EN10MB, 0, &code, &err) != 0) {
            break;
        }
        /*
         * From bytecode on, which the kernel is given and verifies; compiling
         * text is its client's work.
         */
        double start = bench_now();
        int r = dpf_program_create(cli_mem(), DPF_FILTER, code.insns,
                                   code.count, &p, &err);
        r = r ? r : dpf_set_insert(s, n + 1, 0, p, 0, &err);
        if (r == 0) {
            sample(&insert, start);
        }
        dpf_program_destroy(p);
        dpf_code_finish(&code);
        start = bench_now();
        if (dpf_set_remove(s, n + 1) == 0) {
            sample(&removal, start);
        }
        size_t used = constants(s, c, 20000 + k);
        start = bench_now();
        if (used > 0 && dpf_set_insert_like(s, n + 1, 0, c, used, &err) == 0) {
            sample(&like, start);
            dpf_set_remove(s, n + 1);
        }
        dpf_set_reclaim(s, dpf_set_version(s));
    }
    bench_install_report(b, "install/bytecode", "pavise", n, &insert, bytes);
    bench_install_report(b, "install/like", "pavise", n, &like, bytes);
    bench_install_report(b, "install/remove", "pavise", n, &removal, bytes);
    /* all of it: it grows with shapes, not with filters */
    bench_row(b, "install/code in total", "pavise", n, (double[3]){0},
              set_code_bytes(s));
    dpf_set_destroy(s);
    dpf_set_destroy(empty);
    return CLI_OK;
}

/* ------------------------------------------------------------------ peers */

/*
 * The same step in Linux: the kernel verifies and compiles the program. That
 * binds it to nothing yet.
 */
static void linux_load(struct bench *b, const struct dpf_program *p)
{
    static struct samples s;
    const char *why = NULL;
    size_t count;
    const struct dpf_insn *insns = dpf_program_insns(p, &count);
    s.count = 0;
    for (unsigned k = 0; k < 101; k++) {
        double start = bench_now();
        int fd = jit_load(insns, count, &why);
        if (fd < 0) {
            bench_skip(b, "linux-jit", why);
            return;
        }
        sample(&s, start);
        close(fd);
    }
    bench_install_report(b, "install/bytecode", "linux-jit", 1, &s, 0);
}

/* The step before: from text to bytecode, with libpcap's optimiser. */
static void libpcap_compile(struct bench *b, const char *text)
{
    static struct samples s;
    pcap_t *dead = pcap_open_dead(DLT_EN10MB, 65535);
    s.count = 0;
    for (unsigned k = 0; k < 101; k++) {
        double start = bench_now();
        struct bpf_program p;
        if (pcap_compile(dead, &p, text, 1, PCAP_NETMASK_UNKNOWN) == 0) {
            sample(&s, start);
            pcap_freecode(&p);
        }
    }
    pcap_close(dead);
    bench_install_report(b, "install/text", "libpcap", 1, &s, 0);
}

static void dpdk_load(struct bench *b, const char *text)
{
    static struct samples s;
    const char *why = NULL;
    const struct dpdk *d = dpdk_open(&why);
    pcap_t *dead = pcap_open_dead(DLT_EN10MB, 65535);
    s.count = 0;
    struct bpf_program p;
    if (d == NULL) {
        bench_skip(b, "rte_bpf and rte_acl", why);
    } else if (pcap_compile(dead, &p, text, 1, PCAP_NETMASK_UNKNOWN) == 0) {
        for (unsigned k = 0; k < 101; k++) {
            double start = bench_now();
            void *bpf = d->bpf_make(p.bf_insns, p.bf_len);
            if (bpf == NULL) {
                break;
            }
            sample(&s, start);
            d->bpf_free(bpf);
        }
        pcap_freecode(&p);
        bench_install_report(b, "install/bytecode", "rte_bpf", 1, &s, 0);
    }
    pcap_close(dead);
    /*
     * rte_acl cannot add a rule to a table that is in use: one more rule means
     * all of them anew.
     */
    for (uint32_t n = 100; d != NULL && n <= 10000; n *= 10) {
        struct connection *c = bench_connections(n);
        s.count = 0;
        for (unsigned k = 0; k < 5; k++) {
            double start = bench_now();
            void *acl = d->acl_make(c, n);
            if (acl != NULL) {
                sample(&s, start);
                d->acl_free(acl);
            }
        }
        free(c);
        bench_install_report(b, "install/rebuild", "rte_acl", n, &s, 0);
    }
}

/* A set of hosts, from text to native code. */
static void hosts(struct bench *b)
{
    static struct samples s;
    char *text = malloc(HOSTS * 20 + 64), *p = text;
    p += sprintf(p, "eq [12:2] 0x800\nin [26:4] {\n");
    for (unsigned i = 0; text != NULL && i < HOSTS; i++) {
        p += sprintf(p, "10.%u.%u.%u\n", bench_random(256), bench_random(256),
                     bench_random(256));
    }
    p += sprintf(p, "}\n");
    s.count = 0;
    for (unsigned k = 0; k < 21; k++) {
        struct dpf_program *program = NULL;
        double start = bench_now();
        struct dpf_error err;
        struct dpf_code code;
        if (dpf_from_atoms(text, (size_t)(p - text), &code, &err) == 0 &&
            dpf_program_create(cli_mem(), DPF_FILTER | DPF_COMPILE, code.insns,
                               code.count, &program, &err) == 0) {
            sample(&s, start);
        }
        dpf_program_destroy(program);
        dpf_code_finish(&code);
    }
    free(text);
    bench_install_report(b, "install/hosts from text", "pavise", HOSTS, &s, 0);
}

int bench_install(struct bench *b)
{
    int status = CLI_OK;
    char text[256];
    bench_expression(0, 7, text, sizeof(text));
    struct dpf_program *p = bench_filter(0, 1);
    for (uint32_t n = 10; n <= 10000 && status == CLI_OK; n *= 10) {
        status = bench_install_one(b, n);
    }
    if (p != NULL) {
        linux_load(b, p);
    }
    dpf_program_destroy(p);
    libpcap_compile(b, text);
    dpdk_load(b, text);
    hosts(b);
    return status;
}
