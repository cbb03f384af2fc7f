/* SPDX-License-Identifier: MIT */
/*
 * dpf conflicts: which filters could both claim a packet, and which packet
 * shows it. Exit status 1 if any do.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>
#include <stdlib.h>

static void print_packet(const struct dpf_error *w)
{
    for (uint32_t i = 0; i < w->witness_len; i++) {
        printf("%02x", w->witness[i]);
    }
    char text[512];
    (void)dpf_packet_text(text, sizeof(text), w->witness, w->witness_len);
    printf(" (%s)", text);
}

/*
 * Do both filters accept the packet? Where a part of one can only be run, the
 * packet was found for the rest.
 */
static bool shown(const struct filters *f, size_t i, size_t k,
                  const struct dpf_error *w)
{
    return dpf_filter_run(f->all[i].program, w->witness, w->witness_len) != 0 &&
           dpf_filter_run(f->all[k].program, w->witness, w->witness_len) != 0;
}

/* One pair; true if they meet. */
static bool pair(struct dpf_atlas *a, const struct filters *f, size_t i,
                 size_t k)
{
    struct dpf_error w = {0};
    int meet = dpf_atlas_overlap(a, i, k, &w);
    if (meet == 0) {
        return false;
    }
    /*
     * A program cannot be read whole: then the diagrams meet in a packet that
     * the programs may refuse, and only a run can tell.
     */
    bool show = meet == 1 && shown(f, i, k, &w);
    bool inside = dpf_atlas_outside(a, i, k, NULL) == 0;
    bool around = dpf_atlas_outside(a, k, i, NULL) == 0;
    const char *how = !show              ? "may overlap"
                      : inside && around ? "accept the same packets"
                      : inside           ? "overlap, the first inside the other"
                      : around ? "overlap, the second inside the other"
                               : "overlap";
    printf("%s and %s %s%s", f->all[i].name, f->all[k].name, how,
           dpf_atlas_opaque(a, i) || dpf_atlas_opaque(a, k)
               ? " (as far as they can be read)"
               : "");
    if (show && w.witness_len > 0) {
        printf(": ");
        print_packet(&w);
    }
    printf("\n");
    return true;
}

/*
 * Every pair that could meet; how many do, or -DPF_E_*. Two filters of one
 * group accept no common packet: a set proved it when they were put in. So the
 * square of thousands of filters shrinks to the pairs that are worth a look.
 */
static int64_t pairs(const struct filters *f, const uint8_t *group)
{
    struct dpf_atlas *a = NULL;
    int64_t found = 0;
    bool one = true; /* a group for all: there is nothing to ask */
    for (size_t i = 0; i < f->count; i++) {
        one = one && group[i] == 1;
    }
    if (one) {
        return 0;
    }
    int result = dpf_atlas_create(cli_mem(), &a);
    for (size_t i = 0; i < f->count && result == 0; i++) {
        result = dpf_atlas_add(a, f->all[i].name, f->all[i].program);
    }
    for (size_t i = 0; i < f->count && result == 0; i++) {
        for (size_t k = i + 1; k < f->count; k++) {
            if (group[i] == 0 || group[i] != group[k]) {
                found += pair(a, f, i, k);
            }
        }
    }
    dpf_atlas_destroy(a);
    return result ? result : found;
}

static int64_t conflicts(const struct filters *f)
{
    uint8_t *group = malloc(f->count + 1);
    int64_t found = group != NULL ? filters_group(f, group) : -DPF_E_MEM;
    found = found ? found : pairs(f, group);
    free(group);
    return found;
}

static int conflicts_run(int argc, char **argv)
{
    static const struct option longs[] = {FILTER_LONG_OPTIONS,
                                          {NULL, 0, NULL, 0}};
    struct filter_options o = FILTER_OPTIONS_INIT;
    struct filters f = {0};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (filter_option(&o, c, optarg)) {
            continue;
        }
        return c == OPT_HELP ? cli_help(&verb_conflicts) : CLI_USAGE;
    }
    int status = o.status ? o.status : filters_judge(&o) ? CLI_OK : CLI_USAGE;
    status =
        status ? status
               : filters_read(&f, &o, DLT_EN10MB, argc - optind, argv + optind);
    status = status ? status : filters_verify(&f, &o, 0);
    if (status == CLI_OK) {
        int64_t found = conflicts(&f);
        status = found < 0   ? cli_usage("%s", dpf_strerror((int)found))
                 : found > 0 ? CLI_NO
                             : CLI_OK;
        if (found == 0) {
            printf("no two of %zu filters accept the same packet\n", f.count);
        }
    }
    filters_finish(&f);
    return status;
}

const struct verb verb_conflicts = {
    "conflicts", "Find filters that could claim the same packet",
    "[OPTION...] FILTER...",
    "Each pair that overlaps is printed with a packet, in hexadecimal and "
    "words, that\n"
    "both accept; of a pair that may overlap none was found. Exit status 1 if\n"
    "there is a pair of either kind.\n\n",
    conflicts_run};
