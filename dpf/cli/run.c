/* SPDX-License-Identifier: MIT */
/*
 * dpf run: filters over captures. One filter counts or selects packets;
 * several show who gets what, since bindings share one decision.
 */
#include "dpf/cli/cli.h"
#include "dpf/cli/output.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define SNAPLEN 262144 /* no packet of a usual link is longer */

enum engine { ENGINE_MERGED, ENGINE_NATIVE, ENGINE_INTERP };

struct job {
    struct filters filters;
    struct filter_options options;
    enum engine engine;
    bool each;         /* print a line per packet */
    bool symbols;      /* name the code for perf and GDB */
    int dlt;           /* of the first capture */
    const char *write; /* accepted packets go there */
    struct output output;
    pcap_dumper_t *dumper;
    bool several_captures;
    bool nanoseconds; /* the dumper wants them */
    struct merged merged;
    uint64_t *accepted; /* per filter */
    uint64_t packets, unclaimed, several;
};

static bool run_accepts(const struct job *j, const struct filter *f,
                        const uint8_t *data, size_t len)
{
    if (j->engine == ENGINE_INTERP) {
        struct dpf_run r = {
            .regions = {{(void *)(uintptr_t)data, (uint32_t)len}},
            .region_count = 1};
        return dpf_program_interp(f->program, &r).r0 != 0;
    }
    return dpf_filter_run(f->program, data, len) != 0;
}

static void write_packet(struct job *j, const struct capture *c,
                         const struct pcap_pkthdr *h, const uint8_t *data)
{
    struct pcap_pkthdr out = *h;
    /*
     * The header of the output says nanoseconds for all packets, and this
     * capture counts microseconds.
     */
    if (j->nanoseconds && !c->nanoseconds) {
        out.ts.tv_usec *= 1000;
    }
    pcap_dump((uint8_t *)j->dumper, &out, data);
}

/*
 * One packet: count the filters that accept it, and write it once if one does.
 */
static void run_take(struct job *j, const struct capture *c,
                     const struct pcap_pkthdr *h, const uint8_t *data)
{
    unsigned hits = 0;
    const uint8_t *hit =
        j->merged.set_count ? merged_run(&j->merged, data, h->caplen) : NULL;
    j->packets++;
    if (j->each) {
        printf("%llu:", (unsigned long long)j->packets);
    }
    for (size_t i = 0; i < j->filters.count; i++) {
        if (hit != NULL ? hit[i]
                        : run_accepts(j, &j->filters.all[i], data, h->caplen)) {
            j->accepted[i]++;
            hits++;
            if (j->each) {
                printf(" %s", j->filters.all[i].name);
            }
        }
    }
    if (j->each) {
        printf(hits ? "\n" : " -\n");
    }
    j->unclaimed += hits == 0;
    j->several += hits > 1;
    if (hits > 0 && j->dumper != NULL) {
        write_packet(j, c, h, data);
    }
}

/*
 * Names for perf and GDB. A failure is said and no more: the filters run all
 * the same.
 */
static void name_code(const struct job *j)
{
    for (size_t i = 0; i < j->merged.set_count; i++) {
        size_t size = 0;
        const void *code = dpf_set_code(j->merged.sets[i], &size);
        if (code != NULL && dpf_symbols_add(DPF_SYMBOLS_PERF | DPF_SYMBOLS_GDB,
                                            "merged", code, size) != 0) {
            cli_say("the merged code could not be named");
        }
    }
    for (size_t i = 0; i < j->filters.count; i++) {
        size_t size = 0;
        const void *code = dpf_program_code(j->filters.all[i].program, &size);
        if (code != NULL &&
            dpf_symbols_add(DPF_SYMBOLS_PERF | DPF_SYMBOLS_GDB,
                            j->filters.all[i].name, code, size) != 0) {
            cli_say("filter %s: its code could not be named",
                    j->filters.all[i].name);
        }
    }
}

/*
 * The output's header is that of its one input capture. If there are several,
 * others may have longer packets and finer times than the first, and readers
 * cut packets to the length that the file states.
 */
static int open_dump(struct job *j, const struct capture *c)
{
    int status = CLI_OK, snap = pcap_snapshot(c->pcap);
    pcap_t *p = c->pcap;
    if (!output_open(&j->output, j->write)) {
        return CLI_USAGE;
    }
    j->nanoseconds = j->several_captures || c->nanoseconds;
    if (j->several_captures) {
        p = pcap_open_dead_with_tstamp_precision(
            c->dlt, snap > SNAPLEN ? snap : SNAPLEN,
            PCAP_TSTAMP_PRECISION_NANO);
    }
    j->dumper = p != NULL ? pcap_dump_fopen(p, j->output.file) : NULL;
    if (j->dumper == NULL) {
        if (j->output.file != stdout) {
            fclose(j->output.file);
        }
        status = cli_usage("%s: %s", j->write,
                           p != NULL ? pcap_geterr(p) : "out of memory");
    }
    if (p != NULL && p != c->pcap) {
        pcap_close(p);
    }
    return status;
}

/* The link type decides how expressions are compiled: open first. */
static int run_prepare(struct job *j, struct capture *c, int argc, char **argv)
{
    j->options.swapped = c->swapped;
    int status = filters_read(&j->filters, &j->options, c->dlt, argc, argv);
    if (status == CLI_OK) {
        status = filters_verify(&j->filters, &j->options,
                                j->engine == ENGINE_INTERP ? 0 : DPF_COMPILE);
    }
    if (status == CLI_OK && j->engine == ENGINE_MERGED &&
        j->filters.count > 1) {
        status = merged_make(&j->merged, &j->filters);
    }
    if (status == CLI_OK && j->symbols) {
        name_code(j);
    }
    if (status == CLI_OK && j->write != NULL) {
        status = open_dump(j, c);
    }
    j->accepted = calloc(j->filters.count + 1, sizeof(*j->accepted));
    return status == CLI_OK && j->accepted == NULL ? cli_usage("out of memory")
                                                   : status;
}

static const char *dlt_name(int dlt)
{
    const char *name = pcap_datalink_val_to_name(dlt);
    return name != NULL ? name : "of no name";
}

/* Link types whose headers are in the byte order of the capturing machine. */
static bool keeps_order(const struct job *j)
{
    int dlt = j->options.dlt >= 0 ? j->options.dlt : j->dlt;
    return dlt == DLT_NULL || dlt == DLT_ENC;
}

static int run_one_capture(struct job *j, const char *path, int argc,
                           char **argv)
{
    int status = CLI_OK, more = 0;
    struct capture c;
    if (!capture_open(&c, path, false)) {
        return CLI_USAGE;
    }
    if (j->accepted == NULL) {
        j->dlt = c.dlt;
        status = run_prepare(j, &c, argc, argv);
    } else if (c.dlt != j->dlt) {
        /* One -w file has one link type, and so have compiled expressions. */
        status = cli_usage("%s: link type %s, but the captures before it have "
                           "%s; run them apart",
                           path, dlt_name(c.dlt), dlt_name(j->dlt));
    } else if (c.swapped != j->options.swapped && keeps_order(j)) {
        status = cli_usage("%s: link type %s in another byte order than in the "
                           "captures before it; run them apart",
                           path, dlt_name(c.dlt));
    }
    const uint8_t *data;
    struct pcap_pkthdr *header;
    while (status == CLI_OK && (more = capture_next(&c, &header, &data)) == 1) {
        run_take(j, &c, header, data);
        if (ferror(stdout) ||
            (j->dumper != NULL && ferror(pcap_dump_file(j->dumper)))) {
            status = cli_usage("cannot write: %s", strerror(errno));
        }
    }
    capture_close(&c);
    return status ? status : more < 0 ? CLI_USAGE : CLI_OK;
}

static void summary(const struct job *j, FILE *f)
{
    size_t width = 4;
    for (size_t i = 0; i < j->filters.count; i++) {
        size_t n = strlen(j->filters.all[i].name);
        width = n > width ? n : width;
    }
    if (j->filters.count == 1) {
        fprintf(f, "%llu of %llu packets accepted\n",
                (unsigned long long)j->accepted[0],
                (unsigned long long)j->packets);
        return;
    }
    for (size_t i = 0; i < j->filters.count; i++) {
        fprintf(f, "%*s %10llu  %s\n", (int)width, j->filters.all[i].name,
                (unsigned long long)j->accepted[i], j->filters.all[i].text);
    }
    fprintf(f, "%*s %10llu  accepted by none\n", (int)width, "-",
            (unsigned long long)j->unclaimed);
    fprintf(f, "%*s %10llu  accepted by several\n", (int)width, "-",
            (unsigned long long)j->several);
    fprintf(f, "%*s %10llu  packets\n", (int)width, "=",
            (unsigned long long)j->packets);
}

/*
 * Flush first, then rename, then report: a summary must not say what a full
 * disk has lost. With the packets on standard output it goes to standard
 * error.
 */
static int run_finish(struct job *j, int status)
{
    bool to_stdout = j->write != NULL && strcmp(j->write, "-") == 0;
    if (j->dumper != NULL) {
        if (pcap_dump_flush(j->dumper) != 0 && status == CLI_OK) {
            status = cli_usage("%s: %s", j->write, strerror(errno));
        }
        if (!to_stdout) {
            pcap_dump_close(j->dumper);
        }
    }
    status = output_finish(&j->output, status);
    if (status == CLI_OK) {
        summary(j, to_stdout ? stderr : stdout);
        status = j->unclaimed == j->packets ? CLI_NO : CLI_OK;
    }
    free(j->accepted);
    merged_finish(&j->merged);
    filters_finish(&j->filters);
    return status;
}

static int run_command(int argc, char **argv)
{
    enum { OPT_ENGINE = OPT_VERB, OPT_EACH, OPT_SYMBOLS };
    static const struct option longs[] = {
        FILTER_LONG_OPTIONS,
        {"engine", required_argument, NULL, OPT_ENGINE},
        {"each", no_argument, NULL, OPT_EACH},
        {"symbols", no_argument, NULL, OPT_SYMBOLS},
        {NULL, 0, NULL, 0}};
    struct job j = {.options = FILTER_OPTIONS_INIT};
    struct paths captures = {0};
    int status = CLI_OK;
    int c;
    while ((c = getopt_long(argc, argv, "r:w:", longs, NULL)) != -1) {
        if (filter_option(&j.options, c, optarg)) {
            continue;
        }
        switch (c) {
        case 'r':
            if (paths_add(&captures, optarg) != CLI_OK) {
                paths_finish(&captures);
                return CLI_USAGE;
            }
            break;
        case 'w':
            j.write = optarg;
            break;
        case OPT_SYMBOLS:
            j.symbols = true;
            break;
        case OPT_EACH:
            j.each = true;
            break;
        case OPT_ENGINE:
            if (strcmp(optarg, "interp") != 0 &&
                strcmp(optarg, "native") != 0 &&
                strcmp(optarg, "merged") != 0) {
                return cli_usage("--engine: '%s' is none of merged, native, "
                                 "interp",
                                 optarg);
            }
            j.engine = *optarg == 'i'   ? ENGINE_INTERP
                       : *optarg == 'n' ? ENGINE_NATIVE
                                        : ENGINE_MERGED;
            break;
        case OPT_HELP:
            return cli_help(&verb_run);
        default:
            return CLI_USAGE;
        }
    }
    status = j.options.status;
    if (status == CLI_OK && !filters_judge(&j.options)) {
        status = CLI_USAGE;
    }
    if (status == CLI_OK && j.each && j.write != NULL &&
        !strcmp(j.write, "-")) {
        status = cli_usage("--each prints where -w - writes; write to a file");
    }
    if (status == CLI_OK && captures.count == 0) {
        status = paths_add(&captures, "-");
    }
    for (size_t i = 0;
         j.write != NULL && i < captures.count && status == CLI_OK; i++) {
        status = output_apart(j.write, captures.all[i]) ? CLI_OK : CLI_USAGE;
    }
    if (status == CLI_OK && j.write != NULL &&
        !filters_apart(&j.options, argc - optind, argv + optind, j.write)) {
        status = CLI_USAGE;
    }
    j.several_captures = captures.count > 1;
    for (size_t i = 0; i < captures.count && status == CLI_OK; i++) {
        status =
            run_one_capture(&j, captures.all[i], argc - optind, argv + optind);
    }
    paths_finish(&captures);
    return run_finish(&j, status);
}

const struct verb verb_run = {
    "run", "Run filters over captures: counts, or who gets what",
    "[OPTION...] [-r CAPTURE]... FILTER...",
    "Exit status 1 if no packet was accepted.\n\n"
    "  -r CAPTURE      pcap or pcapng; - (default) is standard input\n"
    "  -w FILE         write the accepted packets as pcap; - is standard\n"
    "                  output, and the counts go to standard error\n"
    "  --each          a line per packet: its number, the filters' names\n"
    "  --symbols       name the native code for perf and GDB\n"
    "  --engine NAME   merged (default): one decision for all filters; native\n"
    "                  or interp: one after the other\n\n",
    run_command};
