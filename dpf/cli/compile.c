/* SPDX-License-Identifier: MIT */
/*
 * dpf compile: a filter in any form becomes verified bytecode in any form.
 */
#include "dpf/cli/cli.h"
#include "dpf/cli/output.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_FORMAT = OPT_VERB, OPT_NAME, OPT_UNVERIFIED };

static void print_hex(FILE *f, const struct dpf_insn *insns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *b = (const uint8_t *)&insns[i];
        for (size_t k = 0; k < sizeof(*insns); k++) {
            fprintf(f, "%02x%c", b[k], k == sizeof(*insns) - 1 ? '\n' : ' ');
        }
    }
}

/* An array that a C program includes; comments show the instructions. */
static void print_c(FILE *f, const struct filter *one, const char *name,
                    const struct dpf_insn *insns, size_t count)
{
    /*
     * An expression could end the comment that it stands in, and its rest
     * would be compiled.
     */
    bool plain = one->expr && strpbrk(one->text, "*/\n\\") == NULL;
    fprintf(f, "/* Made by dpf compile%s%s. */\n", plain ? ": " : "",
            plain ? one->text : "");
    fprintf(f, "static const struct dpf_insn %s[%zu] = {\n", name, count);
    char text[128];
    for (size_t i = 0; i < count;) {
        size_t n =
            dpf_insn_text(insns + i, count - i, NULL, text, sizeof(text));
        for (size_t k = 0; k < n; k++, i++) {
            fprintf(f, "    {0x%02x, 0x%02x, %d, (int32_t)0x%08" PRIx32 "},",
                    insns[i].opcode, insns[i].regs, insns[i].off,
                    (uint32_t)insns[i].imm);
            if (k == 0) {
                fprintf(f, " /* %s */\n", text);
            } else {
                fputc(10, f);
            }
        }
    }
    fprintf(f, "};\n");
}

/* The name is written into C, so it must not be able to be anything else. */
static bool is_identifier(const char *s)
{
    for (size_t i = 0; s[i] != '\0'; i++) {
        if (!isalpha((unsigned char)s[i]) && s[i] != '_' &&
            !(i > 0 && isdigit((unsigned char)s[i]))) {
            return false;
        }
    }
    return *s != '\0';
}

enum form { FORM_ASM, FORM_HEX, FORM_RAW, FORM_C, FORM_NONE };

static enum form form_named(const char *name)
{
    static const char *const names[] = {"asm", "hex", "raw", "c"};
    int form = FORM_ASM;
    while (form < FORM_NONE && strcmp(name, names[form]) != 0) {
        form++;
    }
    if (form == FORM_NONE) {
        cli_say("--format: '%s' is none of asm, hex, raw, c", name);
    }
    return (enum form)form;
}

/*
 * The verified program has no unreachable code; what the front end made is
 * printed only by --unverified.
 */
static void compile_print(FILE *f, enum form form, const char *name,
                          const struct filter *one)
{
    size_t count = one->code.count;
    const struct dpf_insn *insns = one->program != NULL
                                       ? dpf_program_insns(one->program, &count)
                                       : one->code.insns;
    if (form == FORM_ASM) {
        dpf_dump_insns(f, insns, count);
    } else if (form == FORM_HEX) {
        print_hex(f, insns, count);
    } else if (form == FORM_RAW) {
        fwrite(insns, sizeof(*insns), count, f);
    } else {
        print_c(f, one, name, insns, count);
    }
}

static int compile_write_out(const char *path, enum form form, const char *name,
                             const struct filter *one)
{
    int status = CLI_OK;
    struct output o;
    if (!output_open(&o, path)) {
        return CLI_USAGE;
    }
    compile_print(o.file, form, name, one);
    bool good = !ferror(o.file);
    /*
     * Only fclose says that the last bytes could not be written. Standard
     * output is flushed by main.
     */
    if (o.file != stdout && (fclose(o.file) != 0 || !good)) {
        status = cli_usage("%s: %s", path, strerror(errno));
    }
    return output_finish(&o, status);
}

static int compile_run(int argc, char **argv)
{
    static const struct option longs[] = {
        FILTER_LONG_OPTIONS,
        {"format", required_argument, NULL, OPT_FORMAT},
        {"name", required_argument, NULL, OPT_NAME},
        {"unverified", no_argument, NULL, OPT_UNVERIFIED},
        {NULL, 0, NULL, 0}};
    struct filter_options o = FILTER_OPTIONS_INIT;
    struct filters f = {0};
    const char *name = "filter", *path = NULL;
    enum form form = FORM_ASM;
    bool verify = true;
    int c;
    while ((c = getopt_long(argc, argv, "o:", longs, NULL)) != -1) {
        if (filter_option(&o, c, optarg)) {
            continue;
        }
        switch (c) {
        case 'o':
            path = optarg;
            break;
        case OPT_FORMAT:
            form = form_named(optarg);
            if (form == FORM_NONE) {
                return CLI_USAGE;
            }
            break;
        case OPT_NAME:
            name = optarg;
            break;
        case OPT_UNVERIFIED:
            verify = false;
            break;
        case OPT_HELP:
            return cli_help(&verb_compile);
        default:
            return CLI_USAGE;
        }
    }
    if (!is_identifier(name)) {
        return cli_usage("--name: '%s' is no name in C", name);
    }
    int status = o.status;
    if (status == CLI_OK && path != NULL &&
        !filters_apart(&o, argc - optind, argv + optind, path)) {
        status = CLI_USAGE;
    }
    status =
        status ? status
               : filters_read(&f, &o, DLT_EN10MB, argc - optind, argv + optind);
    if (status == CLI_OK && f.count != 1) {
        status = cli_usage("one filter at a time; quote an expression of "
                           "several words");
    }
    if (status == CLI_OK && verify) {
        status = filters_verify(&f, &o, 0);
    }
    if (status == CLI_OK) {
        status = compile_write_out(path, form, name, &f.all[0]);
    }
    filters_finish(&f);
    return status;
}

const struct verb verb_compile = {
    "compile", "Turn a filter into verified bytecode", "[OPTION...] FILTER",
    "  -o FILE         write there, not to standard output\n"
    "  --format FORM   asm (default), hex, raw, or c: an array of struct\n"
    "                  dpf_insn to include in a program\n"
    "  --name NAME     the array's name (filter)\n"
    "  --unverified    what the front end made, unchecked\n\n",
    compile_run};
