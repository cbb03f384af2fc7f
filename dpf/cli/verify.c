/* SPDX-License-Identifier: MIT */
/*
 * dpf verify: may these programs run? Exit status 1 if one may not, 3 if all
 * may here and the kernel refuses one.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>

static int verify_run(int argc, char **argv)
{
    static const struct option longs[] = {FILTER_LONG_OPTIONS,
                                          {NULL, 0, NULL, 0}};
    struct filter_options o = FILTER_OPTIONS_INIT;
    struct filters f = {0};
    bool quiet = false;
    int c;
    while ((c = getopt_long(argc, argv, "q", longs, NULL)) != -1) {
        if (filter_option(&o, c, optarg)) {
            continue;
        }
        switch (c) {
        case 'q':
            quiet = true;
            break;
        case OPT_HELP:
            return cli_help(&verb_verify);
        default:
            return CLI_USAGE;
        }
    }
    int status = o.status ? o.status
                          : filters_read(&f, &o, DLT_EN10MB, argc - optind,
                                         argv + optind);
    if (status == CLI_OK) {
        status = filters_verify(&f, &o, 0);
    }
    for (size_t i = 0; i < f.count && !quiet; i++) {
        size_t kept = 0;
        if (f.all[i].program != NULL) {
            dpf_program_insns(f.all[i].program, &kept);
            printf("%s: verified, %zu instructions of %zu kept\n",
                   f.all[i].text, kept, f.all[i].code.count);
        }
    }
    if (status == CLI_OK) {
        /*
         * The kernel's refusals go to standard error, behind what was
         * verified.
         */
        fflush(stdout);
        status = filters_kernel(&f, &o);
    }
    filters_finish(&f);
    return status;
}

const struct verb verb_verify = {
    "verify", "Check that programs keep the rules", "[OPTION...] FILTER...",
    "  -q              print refusals only\n\n"
    "Exit status: 0 verified, 1 refused, 3 verified but refused by the "
    "kernel,\n"
    "which takes no filter that jumps back and no program of more than 4096\n"
    "instructions.\n\n",
    verify_run};
