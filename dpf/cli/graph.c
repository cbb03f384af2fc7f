/* SPDX-License-Identifier: MIT */
/*
 * dpf graph: one filter, or many as one decision, for Graphviz.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>

static int graph_run(int argc, char **argv)
{
    static const struct option longs[] = {FILTER_LONG_OPTIONS,
                                          {NULL, 0, NULL, 0}};
    struct filter_options o = FILTER_OPTIONS_INIT;
    struct filters f = {0};
    struct dpf_atlas *a = NULL;
    int result = 0;
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (filter_option(&o, c, optarg)) {
            continue;
        }
        return c == OPT_HELP ? cli_help(&verb_graph) : CLI_USAGE;
    }
    int status = o.status ? o.status : filters_judge(&o) ? CLI_OK : CLI_USAGE;
    status =
        status ? status
               : filters_read(&f, &o, DLT_EN10MB, argc - optind, argv + optind);
    status = status ? status : filters_verify(&f, &o, 0);
    if (status == CLI_OK) {
        result = dpf_atlas_create(cli_mem(), &a);
        for (size_t i = 0; i < f.count && result == 0; i++) {
            result = dpf_atlas_add(a, f.all[i].name, f.all[i].program);
        }
        result = result ? result : dpf_atlas_dot(a, stdout);
        if (result != 0) {
            status = cli_usage("the filters cannot be drawn together: %s",
                               dpf_strerror(result));
        }
    }
    dpf_atlas_destroy(a);
    filters_finish(&f);
    return status;
}

const struct verb verb_graph = {
    "graph", "Draw one filter, or many as one decision, for Graphviz",
    "[OPTION...] FILTER...",
    "For example: dpf graph 'tcp port 80' | dot -Tsvg > filter.svg\n\n",
    graph_run};
