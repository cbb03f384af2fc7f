/* SPDX-License-Identifier: MIT */
/*
 * dpf dump: what a filter became.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>

/*
 * The front end's program, a line of the source before the instructions that
 * came from it.
 */
static void dump_source(const struct filter *one)
{
    const struct dpf_line *last = NULL;
    char text[128];
    for (size_t i = 0; i < one->code.count;) {
        const struct dpf_line *at =
            one->code.lines != NULL ? &one->code.lines[i] : NULL;
        if (at != NULL && at->line != 0 &&
            (last == NULL || at->line != last->line)) {
            printf("; %s:%u\n", at->file != NULL ? at->file : one->text,
                   at->line);
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

/* Bind all filters, each the owner of its packets. One inside another is no
   conflict: the narrower one owns what both accept. */
static int dump_bind_all(struct dpf_set *s, const struct filters *f)
{
    struct dpf_error err = {0};
    for (size_t i = 0; i < f->count; i++) {
        int result = dpf_set_insert(s, (uint32_t)i, 0, f->all[i].program,
                                    DPF_REFINE, &err);
        if (result == -DPF_E_CONFLICT) {
            cli_say("filters %s and %s could claim one packet; 'dpf conflicts' "
                    "shows it",
                    f->all[err.other].name, f->all[i].name);
            return CLI_NO;
        }
        if (result != 0) {
            cli_say("filter %s cannot be merged: %s", f->all[i].name,
                    err.text[0] ? err.text : dpf_strerror(result));
            return CLI_NO;
        }
    }
    return CLI_OK;
}

/*
 * Dump the merged lookup, which finds a packet's owner among all the filters.
 */
static int dump_merged(const struct filters *f)
{
    struct dpf_set *s = NULL;
    size_t size = 0;
    if (dpf_set_create(cli_mem(), &s) != 0) {
        return cli_usage("out of memory");
    }
    int status = dump_bind_all(s, f);
    const void *code = dpf_set_code(s, &size);
    if (status == CLI_OK && code == NULL) {
        cli_say("these filters have no native code together; they are looked "
                "up without");
        status = CLI_NO;
    }
    if (status == CLI_OK) {
        printf("; %zu filters, %zu bytes\n", f->count, size);
        status = dpf_dump_native(stdout, code, size) ? CLI_USAGE : CLI_OK;
    }
    dpf_set_destroy(s);
    return status;
}

enum what { BYTECODE, SOURCE, NATIVE, DIAGRAM, MERGED };

static int dump_one(const struct filter *one, enum what what)
{
    size_t count;
    switch (what) {
    case SOURCE:
        dump_source(one);
        return CLI_OK;
    case DIAGRAM:
        return dump_diagram(one);
    case NATIVE:
        return dump_native(one);
    default:
        dpf_dump_insns(stdout, dpf_program_insns(one->program, &count), count);
        return CLI_OK;
    }
}

static int dump(const struct filters *f, enum what what)
{
    int status = CLI_OK;
    if (what == MERGED) {
        return dump_merged(f);
    }
    for (size_t i = 0; i < f->count && status == CLI_OK; i++) {
        if (f->count > 1) {
            printf("; %s: %s\n", f->all[i].name, f->all[i].text);
        }
        status = dump_one(&f->all[i], what);
    }
    return status;
}

static int dump_run(int argc, char **argv)
{
    enum { OPT_WHAT = OPT_VERB };
    static const struct option longs[] = {
        FILTER_LONG_OPTIONS,
        {"source", no_argument, NULL, OPT_WHAT + SOURCE},
        {"diagram", no_argument, NULL, OPT_WHAT + DIAGRAM},
        {"native", no_argument, NULL, OPT_WHAT + NATIVE},
        {"merged", no_argument, NULL, OPT_WHAT + MERGED},
        {NULL, 0, NULL, 0}};
    struct filter_options o = FILTER_OPTIONS_INIT;
    struct filters f = {0};
    enum what what = BYTECODE;
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (filter_option(&o, c, optarg)) {
            continue;
        }
        if (c < OPT_WHAT) {
            return c == OPT_HELP ? cli_help(&verb_dump) : CLI_USAGE;
        }
        /* --merged is native, too: the two together are no contradiction. */
        enum what next = (enum what)(c - OPT_WHAT);
        enum what both = what > next ? what : next;
        if (what != BYTECODE && what != next &&
            (both != MERGED || (what != NATIVE && next != NATIVE))) {
            return cli_usage("pass one of --source, --diagram, --native, "
                             "--merged");
        }
        what = both;
    }
    int status = o.status;
    if (status == CLI_OK && (what == DIAGRAM || what == MERGED) &&
        !filters_judge(&o)) {
        status = CLI_USAGE;
    }
    status =
        status ? status
               : filters_read(&f, &o, DLT_EN10MB, argc - optind, argv + optind);
    if (status == CLI_OK && what != SOURCE) {
        status = filters_verify(&f, &o, what == NATIVE ? DPF_COMPILE : 0);
    }
    status = status ? status : dump(&f, what);
    filters_finish(&f);
    return status;
}

const struct verb verb_dump = {
    "dump", "Show the bytecode and the native code of filters",
    "[OPTION...] FILTER...",
    "  --diagram       the decision diagram, node by node\n"
    "  --native        x86-64 code, disassembled by Capstone\n"
    "  --merged        the same of one lookup for all filters, each the owner\n"
    "                  of its packets\n"
    "  --source        as the front end made it, numbered, with the lines it\n"
    "                  came from; nothing is verified\n\n",
    dump_run};
