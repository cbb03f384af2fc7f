/* SPDX-License-Identifier: MIT */
/*
 * dpf plugin: what the public BPF conformance suite (bpf_conformance) runs.
 * The program stands in hexadecimal on standard input, memory in the first
 * argument; r0 goes to standard output in hexadecimal.
 *
 * Source: README of github.com/Alan-Jowett/bpf_conformance.
 */
#include "dpf/cli/cli.h"

#include <stdlib.h>
#include <string.h>

static int nibble(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Hexadecimal bytes, in place; false at anything else. */
static bool decode(char *text, uint8_t *out, uint32_t *len)
{
    uint32_t n = 0;
    for (char *p = text; *p != '\0';) {
        if (*p == ' ' || *p == '\n' || *p == '\t') {
            p++;
        } else if (nibble(p[0]) >= 0 && nibble(p[1]) >= 0) {
            out[n++] = (uint8_t)(nibble(p[0]) << 4 | nibble(p[1]));
            p += 2;
        } else {
            cli_say("argument:1:%zu: expected two hexadecimal digits",
                    (size_t)(p - text) + 1);
            return false;
        }
    }
    *len = n;
    return true;
}

static int execute(const struct dpf_program *p, bool interp, void *memory,
                   uint32_t len)
{
    struct dpf_run r = {.regions = {{memory, len}}, .region_count = 1};
    struct dpf_result result =
        interp ? dpf_program_interp(p, &r) : dpf_program_run(p, &r);
    if (result.end != DPF_END_EXIT) {
        cli_say("the program was stopped: %s",
                result.end == DPF_END_FUEL ? "it ran out of fuel"
                                           : "an access outside its memory");
        return CLI_NO;
    }
    printf("%llx\n", (unsigned long long)result.r0);
    return CLI_OK;
}

static int load(const char *memory_text, bool interp)
{
    char *text = NULL, *argument = strdup(memory_text);
    uint8_t *memory = calloc(strlen(memory_text) / 2 + 1, 1);
    struct dpf_code code = {0};
    struct dpf_program *p = NULL;
    struct dpf_error err = {0};
    uint32_t len = 0;
    size_t size = 0;
    int status = CLI_USAGE;
    if (argument == NULL || memory == NULL) {
        cli_say("out of memory");
    } else if (decode(argument, memory, &len) && cli_read("-", &text, &size)) {
        if (dpf_from_hex(text, size, &code, &err) != 0) {
            cli_say("standard input: byte %u: %s", err.position, err.text);
        } else if (dpf_program_create(cli_mem(), DPF_RAW, code.insns,
                                      code.count, interp ? 0 : DPF_COMPILE, &p,
                                      &err) != 0) {
            cli_say("standard input: %s", err.text);
            status = CLI_NO;
        } else {
            status = execute(p, interp, memory, len);
        }
    }
    dpf_program_destroy(p);
    dpf_code_finish(&code);
    free(text);
    free(argument);
    free(memory);
    return status;
}

/* The suite puts the memory before the options, a person may put it after. */
static int run(int argc, char **argv)
{
    const char *memory = "";
    bool interp = false, seen = false;
    for (int i = 1; i < argc; i++) {
        const char *engine = NULL;
        if (strcmp(argv[i], "--help") == 0) {
            return cli_help(&verb_plugin);
        } else if (strcmp(argv[i], "--engine") == 0 && i + 1 < argc) {
            engine = argv[++i];
        } else if (strncmp(argv[i], "--engine=", 9) == 0) {
            engine = argv[i] + 9;
        } else if (argv[i][0] == '-' || seen) {
            return cli_usage("'%s' is not understood; see dpf plugin --help",
                             argv[i]);
        } else {
            memory = argv[i];
            seen = true;
        }
        if (engine != NULL) {
            interp = strcmp(engine, "interp") == 0;
            if (!interp && strcmp(engine, "native") != 0) {
                return cli_usage("--engine: '%s' is none of interp, native",
                                 engine);
            }
        }
    }
    return load(memory, interp);
}

const struct verb verb_plugin = {
    "plugin", "Run one program for the BPF conformance suite",
    "[--engine interp|native] [MEMORY]",
    "MEMORY and the program on standard input are bytes in hexadecimal; r0\n"
    "is printed in hexadecimal. The program is of type raw: r1 points to the\n"
    "memory, which it may change, and r2 is its length.\n"
    "For example: bpf_conformance_runner --plugin_path dpf\n"
    "--plugin_options 'plugin' or a two-line script.\n",
    run};
