/* SPDX-License-Identifier: MIT */
/*
 * dpf dump: what a filter became.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>

static void dump_source(const struct filter *one)
{
    const struct dpf_line *last = NULL;
    char text[128];
    for (size_t i = 0; i < one->code.count;) {
        const struct dpf_line *at =
            one->code.lines ? &one->code.lines[i] : NULL;
        if (at != NULL && at->line != 0 &&
            (last == NULL || at->line != last->line)) {
            printf("; %s:%u\n", at->file ? at->file : one->text, at->line);
            last = at;
        }
        size_t n = dpf_insn_text(one->code.insns + i, one->code.count - i, NULL,
                                 text, sizeof(text));
        printf("%4zu: %s\n", i, text);
        i += n;
    }
}

static int dump_diagram(const struct filter *one)
{
    struct dpf_atlas *a = NULL;
    int result = dpf_atlas_create(cli_mem(), &a);
    result = result ? result : dpf_atlas_add(a, one->name, one->program);
    result = result ? result : dpf_atlas_print(a, stdout, 0);
    dpf_atlas_destroy(a);
    return result ? cli_usage("%s", dpf_strerror(result)) : CLI_OK;
}

static int dump_native(const struct filter *one)
{
    size_t size = 0;
    const void *code = dpf_program_code(one->program, &size);
    if (code == NULL) {
        return cli_usage("this system gives no memory to run code from");
    }
    printf("; %zu bytes\n", size);
    return dpf_dump_native(stdout, code, size) == 0 ? CLI_OK : CLI_USAGE;
}

static int run(int argc, char **argv)
{
    enum { OPT_SOURCE = OPT_VERB, OPT_NATIVE, OPT_DIAGRAM };
    static const struct option longs[] = {
        FILTER_LONG_OPTIONS,
        {"source", no_argument, NULL, OPT_SOURCE},
        {"diagram", no_argument, NULL, OPT_DIAGRAM},
        {"native", no_argument, NULL, OPT_NATIVE},
        {NULL, 0, NULL, 0}};
    struct filter_options o = FILTER_OPTIONS_INIT;
    struct filters f = {0};
    bool source = false, native = false, diagram = false;
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (filter_option(&o, c, optarg)) {
            continue;
        }
        switch (c) {
        case OPT_SOURCE:
            source = true;
            break;
        case OPT_DIAGRAM:
            diagram = true;
            break;
        case OPT_NATIVE:
            native = true;
            break;
        case OPT_HELP:
            return cli_help(&verb_dump);
        default:
            return CLI_USAGE;
        }
    }
    int status = o.status ? o.status
                          : filters_read(&f, &o, DLT_EN10MB, argc - optind,
                                         argv + optind);
    if (status == CLI_OK && !source) {
        status = filters_verify(&f, &o, native ? DPF_COMPILE : 0);
    }
    for (size_t i = 0; i < f.count && status == CLI_OK; i++) {
        if (f.count > 1) {
            printf("; %s: %s\n", f.all[i].name, f.all[i].text);
        }
        if (source) {
            dump_source(&f.all[i]);
        } else if (diagram) {
            status = dump_diagram(&f.all[i]);
        } else if (native) {
            status = dump_native(&f.all[i]);
        } else {
            size_t count;
            const struct dpf_insn *insns =
                dpf_program_insns(f.all[i].program, &count);
            dpf_dump_insns(stdout, insns, count);
        }
    }
    filters_finish(&f);
    return status;
}

const struct verb verb_dump = {
    "dump", "Show the bytecode and the native code of filters",
    "[OPTION...] FILTER...",
    "  --diagram       the decision diagram, node by node\n"
    "  --native        x86-64 code, disassembled by Capstone\n"
    "  --source        as the front end made it, numbered, with the lines it\n"
    "                  came from; nothing is verified\n\n",
    run};
