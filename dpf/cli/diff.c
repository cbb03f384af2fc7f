/* SPDX-License-Identifier: MIT */
/*
 * dpf diff: every engine on the same packets, at every length they could
 * have been cut to, each ending where memory ends. Prints the first
 * disagreement.
 *
 * For an expression the oracle is libpcap's interpreter (bpf_filter), on the
 * code before its optimiser and again on the code after it; the two are not
 * compared with each other, since libpcap's optimiser drops loads that would
 * have ended the program. For any other filter the oracle is our interpreter.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_MAX 262144u

/* One program with what judges it. */
struct subject {
    const struct filter *from;
    const char *variant; /* "plain", "optimised" or "" */
    struct dpf_cbpf *classic;
    struct dpf_code code;
    struct dpf_program *program;
    int merged; /* number in the merged set, or -1 */
};

#define MERGED_NONE 2u /* the merged set has no answer */

struct diff {
    struct filter_options options;
    struct filters filters;
    struct subject *subjects;
    size_t count, skipped;
    struct filters merging; /* plain programs, one per filter */
    struct merged merged;
    int dlt;           /* that the subjects were made for */
    bool skip;         /* expressions this link type does not have */
    uint32_t snap_max; /* every length up to here, and the whole */
    struct guard guard;
    uint64_t packets, pairs;
};

/*
 * Make a program of the filter, in one of the two ways in which libpcap
 * compiles an expression.
 */
static int add_subject(struct diff *d, const struct filter *f, unsigned flags,
                       const char *variant)
{
    struct dpf_error err = {0};
    size_t count = 0;
    int result = 0;
    struct subject *bigger =
        realloc(d->subjects, (d->count + 1) * sizeof(*bigger));
    if (bigger == NULL) {
        return cli_usage("out of memory");
    }
    d->subjects = bigger;
    struct subject *s = &bigger[d->count];
    *s = (struct subject){.from = f, .variant = variant, .merged = -1};
    if (f->expr) {
        result =
            dpf_expr_cbpf(f->text, d->dlt, flags, &s->classic, &count, &err);
        if (!result) {
            result = dpf_from_cbpf(s->classic, count, &s->code, &err);
        }
    }
    const struct dpf_code *code = f->expr ? &s->code : &f->code;
    if (!result) {
        result =
            dpf_program_create(cli_mem(), d->options.type | DPF_COMPILE,
                               code->insns, code->count, &s->program, &err);
    }
    if (result) {
        cli_say("%s (%s): %s", f->text, variant, err.text);
        return CLI_NO;
    }
    d->count++;
    return CLI_OK;
}

static void drop_subjects(struct diff *d)
{
    merged_finish(&d->merged);
    free(d->merging.all); /* its programs are the subjects' */
    d->merging = (struct filters){0};
    for (size_t i = 0; i < d->count; i++) {
        free(d->subjects[i].classic);
        dpf_code_finish(&d->subjects[i].code);
        dpf_program_destroy(d->subjects[i].program);
    }
    free(d->subjects);
    d->subjects = NULL;
    d->count = 0;
}

/* One decision of all filters, from the plain variant of each. */
static int make_merged(struct diff *d)
{
    d->merging.all = calloc(d->count + 1, sizeof(*d->merging.all));
    if (d->merging.all == NULL) {
        return cli_usage("out of memory");
    }
    for (size_t i = 0; i < d->count; i++) {
        struct subject *s = &d->subjects[i];
        if (strcmp(s->variant, "optimised") != 0) {
            s->merged = (int)d->merging.count;
            d->merging.all[d->merging.count] = *s->from;
            d->merging.all[d->merging.count++].program = s->program;
        }
    }
    return merged_make(&d->merged, &d->merging);
}

static int make_subjects(struct diff *d)
{
    int status = CLI_OK;
    for (size_t i = 0; i < d->filters.count && status == CLI_OK; i++) {
        const struct filter *f = &d->filters.all[i];
        unsigned order = d->options.swapped ? DPF_EXPR_SWAPPED : 0;
        status =
            add_subject(d, f, DPF_EXPR_PLAIN | order, f->expr ? "plain" : "");
        if (status == CLI_OK && f->expr) {
            status = add_subject(d, f, order, "optimised");
        }
    }
    return status ? status : make_merged(d);
}

/* ------------------------------------------------------------- comparison */

/*
 * Everything that is needed to see the disagreement again: filter, packet, and
 * the answer of each engine.
 */
static int disagree(const struct diff *d, const struct subject *s,
                    const uint8_t *packet, uint32_t len,
                    const uint64_t answer[4])
{
    printf("filter   %s%s%s\n", s->from->text, *s->variant ? ", " : "",
           s->variant);
    printf("packet   number %llu, cut to %u bytes\n",
           (unsigned long long)d->packets, len);
    if (s->classic != NULL) {
        printf("libpcap  %llu\n", (unsigned long long)answer[0]);
    }
    printf("interp   %llu\n", (unsigned long long)answer[1]);
    printf("native   %llu\n", (unsigned long long)answer[2]);
    if (answer[3] != MERGED_NONE) {
        printf("merged   %s\n", answer[3] ? "accepts" : "rejects");
    }
    for (uint32_t i = 0; i < len; i++) {
        printf("%s%02x",
               i % 16 ? " "
               : i    ? "\n         "
                      : "bytes    ",
               packet[i]);
    }
    printf("\n");
    return CLI_NO;
}

/* `hit`: does the merged set accept? MERGED_NONE if it was not asked. */
static int diff_compare(struct diff *d, const struct subject *s,
                        const uint8_t *packet, uint32_t len, uint64_t hit)
{
    struct dpf_run r = {.regions = {{(void *)(uintptr_t)packet, len}},
                        .region_count = 1};
    uint64_t answer[4];
    answer[1] = dpf_program_interp(s->program, &r).r0;
    answer[2] = dpf_filter_run(s->program, packet, len);
    /*
     * bpf_filter is given the length of the cut packet as that of the whole,
     * for our programs know no other length.
     */
    answer[0] = s->classic != NULL
                    ? bpf_filter((const struct bpf_insn *)(void *)s->classic,
                                 packet, len, len)
                    : answer[1];
    d->pairs++;
    answer[3] = hit;
    return answer[0] == answer[1] && answer[1] == answer[2] &&
                   (hit == MERGED_NONE || (hit != 0) == (answer[0] != 0))
               ? CLI_OK
               : disagree(d, s, packet, len, answer);
}

static int one_packet(struct diff *d, const uint8_t *data, uint32_t len)
{
    int status = CLI_OK;
    len = len < PACKET_MAX ? len : PACKET_MAX;
    d->packets++;
    /*
     * At every length: compilers make their mistakes at the end of a packet.
     */
    for (uint32_t cut = 0; cut <= len && status == CLI_OK; cut++) {
        if (cut > d->snap_max) {
            cut = len;
        }
        const uint8_t *packet = guard_place(&d->guard, data, cut);
        const uint8_t *hit =
            d->merged.set_count ? merged_run(&d->merged, packet, cut) : NULL;
        for (size_t i = 0; i < d->count && status == CLI_OK; i++) {
            const struct subject *s = &d->subjects[i];
            status = diff_compare(d, s, packet, cut,
                                  hit != NULL && s->merged >= 0 ? hit[s->merged]
                                                                : MERGED_NONE);
        }
    }
    return status;
}

/*
 * Compare on all packets of one capture. With --skip a file that is no capture
 * is passed over, since a folder of captures may hold damaged ones on purpose.
 */
static int diff_one_capture(struct diff *d, const char *path, int argc,
                            char **argv)
{
    int status = CLI_OK, more = 0;
    struct capture c;
    if (!capture_open(&c, path, d->skip)) {
        return d->skip ? CLI_OK : CLI_USAGE;
    }
    int dlt = d->options.dlt >= 0 ? d->options.dlt : c.dlt;
    /*
     * Expressions mean other offsets on another link type, so they are
     * compiled anew.
     */
    if (d->dlt != dlt || d->options.swapped != c.swapped ||
        d->subjects == NULL) {
        drop_subjects(d);
        filters_finish(&d->filters);
        d->dlt = dlt;
        d->options.swapped = c.swapped;
        status = filters_read_some(&d->filters, &d->options, dlt, argc, argv,
                                   d->skip ? &d->skipped : NULL);
        status = status ? status : make_subjects(d);
    }
    const uint8_t *data;
    struct pcap_pkthdr *header;
    while (status == CLI_OK && (more = capture_next(&c, &header, &data)) == 1) {
        status = one_packet(d, data, header->caplen);
    }
    if (status == CLI_NO) {
        cli_say("%s: the engines disagree", path);
    }
    capture_close(&c);
    return status ? status : more < 0 && !d->skip ? CLI_USAGE : CLI_OK;
}

static int diff_run(int argc, char **argv)
{
    enum { OPT_SNAP = OPT_VERB, OPT_SKIP };
    static const struct option longs[] = {
        FILTER_LONG_OPTIONS,
        {"snap", required_argument, NULL, OPT_SNAP},
        {"skip", no_argument, NULL, OPT_SKIP},
        {NULL, 0, NULL, 0}};
    struct diff d = {.options = FILTER_OPTIONS_INIT, .snap_max = PACKET_MAX};
    struct paths captures = {0};
    uint64_t v = 0;
    int status = CLI_OK;
    int c;
    while ((c = getopt_long(argc, argv, "r:", longs, NULL)) != -1) {
        if (filter_option(&d.options, c, optarg)) {
            continue;
        }
        switch (c) {
        case 'r':
            status = paths_add(&captures, optarg);
            break;
        case OPT_SNAP:
            status = cli_number("--snap", optarg, 0, PACKET_MAX, &v)
                         ? CLI_OK
                         : CLI_USAGE;
            d.snap_max = (uint32_t)v;
            break;
        case OPT_SKIP:
            d.skip = true;
            break;
        case OPT_HELP:
            return cli_help(&verb_diff);
        default:
            status = CLI_USAGE;
        }
        if (status != CLI_OK) {
            goto out;
        }
    }
    status = d.options.status;
    if (status == CLI_OK && !filters_judge(&d.options)) {
        status = CLI_USAGE;
    }
    if (status == CLI_OK && captures.count == 0) {
        status = paths_add(&captures, "-");
    }
    if (status == CLI_OK && !guard_open(&d.guard, PACKET_MAX)) {
        status = CLI_USAGE;
    }
    for (size_t i = 0; i < captures.count && status == CLI_OK; i++) {
        status =
            diff_one_capture(&d, captures.all[i], argc - optind, argv + optind);
    }
    if (status == CLI_OK) {
        printf("%zu filters, %llu packets of %zu captures, %llu comparisons: "
               "all agree (merged into %zu sets)\n",
               d.filters.count, (unsigned long long)d.packets, captures.count,
               (unsigned long long)d.pairs, d.merged.set_count);
    }
out:
    drop_subjects(&d);
    filters_finish(&d.filters);
    guard_close(&d.guard);
    paths_finish(&captures);
    return status;
}

const struct verb verb_diff = {
    "diff", "Compare every engine and libpcap on the same packets",
    "[OPTION...] [-r CAPTURE]... FILTER...",
    "Exit status 1 at the first disagreement, which is printed.\n\n"
    "  -r CAPTURE      a pcap or pcapng file, or a folder of them\n"
    "  --snap N        cut packets to every length up to N, and take them\n"
    "                  whole (default: every length)\n"
    "  --skip          pass over expressions that a capture's link type does\n"
    "                  not have, and files that are no captures\n\n",
    diff_run};
