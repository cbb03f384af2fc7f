/* SPDX-License-Identifier: MIT */
/*
 * dpf plugin: what the public BPF conformance suite (bpf_conformance) runs.
 * The program stands in hexadecimal on standard input, memory in the first
 * argument; r0 goes to standard output in hexadecimal.
 *
 * The suite passes all its plug-in options as one word, an empty one if it
 * was given none; so a word of options is cut at blanks, and an empty one is
 * no error.
 *
 * Source: README and libbpf_plugin of github.com/Alan-Jowett/bpf_conformance.
 */
#include "dpf/cli/cli.h"

#include <stdlib.h>
#include <string.h>

struct job {
    const char *memory;  /* hexadecimal; NULL until it is seen */
    const char *program; /* the same; NULL: on standard input */
    bool interp;
    bool elf; /* the program is a whole object */
};

/* A job's bytes: what a run may touch. */
struct bytes {
    uint8_t *at;
    size_t len;
};

static bool decode(const char *where, const char *text, size_t len,
                   struct bytes *out)
{
    struct dpf_error err = {0};
    /* Never empty, so that no memory at all still has an address. */
    out->at = calloc(len / 2 + 1, 1);
    if (out->at == NULL) {
        cli_say("out of memory");
        return false;
    }
    if (dpf_hex_bytes(text, len, out->at, &out->len, &err) != 0) {
        cli_say("%s:1:%u: %s", where, err.position + 1, err.text);
        return false;
    }
    return true;
}

static int plugin_execute(const struct dpf_program *p, bool interp,
                          const struct bytes *memory)
{
    struct dpf_run r = {.regions = {{memory->at, (uint32_t)memory->len}},
                        .region_count = 1};
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

/*
 * A program that is refused is an answer, status 1; bytes that are no program
 * are a mistake of the caller, status 2.
 */
static int compile_and_execute(const struct job *j, const struct bytes *image,
                               const struct bytes *memory)
{
    struct dpf_code code = {0};
    struct dpf_program *p = NULL;
    struct dpf_error err = {0};
    int status = CLI_NO;
    if ((j->elf ? dpf_from_object(image->at, image->len, NULL, &code, &err)
                : dpf_from_raw(image->at, image->len, &code, &err)) != 0) {
        cli_say("program: byte %u: %s", err.position, err.text);
        status = CLI_USAGE;
    } else if (dpf_program_create(cli_mem(),
                                  DPF_RAW | (j->interp ? 0 : DPF_COMPILE),
                                  code.insns, code.count, &p, &err) != 0) {
        cli_say("program: %s", err.text);
    } else {
        status = plugin_execute(p, j->interp, memory);
    }
    dpf_program_destroy(p);
    dpf_code_finish(&code);
    return status;
}

static int run_job(const struct job *j)
{
    char *text = NULL;
    size_t size = j->program != NULL ? strlen(j->program) : 0;
    const char *memory_text = j->memory != NULL ? j->memory : "";
    struct bytes memory = {0}, image = {0};
    int status = CLI_USAGE;
    if (decode("memory", memory_text, strlen(memory_text), &memory) &&
        (j->program != NULL || cli_read("-", &text, &size)) &&
        decode("program", j->program != NULL ? j->program : text, size,
               &image)) {
        status = compile_and_execute(j, &image, &memory);
    }
    free(text);
    free(memory.at);
    free(image.at);
    return status;
}

static bool is_engine(struct job *j, const char *name)
{
    j->interp = strcmp(name, "interp") == 0;
    if (!j->interp && strcmp(name, "native") != 0) {
        cli_say("--engine: '%s' is none of interp, native", name);
        return false;
    }
    return true;
}

/* Take words[0]; words[1] is there, NULL at the end. 0: not understood. */
static size_t plugin_take(struct job *j, char **words)
{
    const char *word = words[0], *value = words[1] != NULL ? words[1] : "";
    if (strcmp(word, "--engine") == 0) {
        return is_engine(j, value) ? 1 + (words[1] != NULL) : 0;
    }
    if (strncmp(word, "--engine=", 9) == 0) {
        return is_engine(j, word + 9);
    }
    if (strcmp(word, "--program") == 0 && words[1] != NULL) {
        j->program = value;
        return 2;
    }
    if (strcmp(word, "--elf") == 0) {
        j->elf = true;
    } else if (word[0] != '-' && j->memory == NULL) {
        j->memory = word;
    } else if (word[0] != '\0' && strcmp(word, "--debug") != 0) {
        cli_say("'%s' is not understood; see dpf plugin --help", word);
        return 0;
    }
    return 1;
}

/* The arguments as words, NULL at the end; those of options cut at blanks. */
static char **words_of(int argc, char **argv)
{
    size_t room = 1, n = 0;
    for (int i = 1; i < argc; i++) {
        room += strlen(argv[i]) / 2 + 1;
    }
    char **words = calloc(room, sizeof(*words));
    for (int i = 1; i < argc && words != NULL; i++) {
        char *rest = argv[i];
        if (*rest != '-') {
            words[n++] = rest;
            continue;
        }
        char *word;
        while ((word = strsep(&rest, " ")) != NULL) {
            if (*word != '\0') {
                words[n++] = word;
            }
        }
    }
    return words;
}

static int plugin_run(int argc, char **argv)
{
    struct job j = {0};
    char **words = words_of(argc, argv);
    int status = CLI_OK;
    if (words == NULL) {
        return cli_usage("out of memory");
    }
    for (size_t i = 0; status == CLI_OK && words[i] != NULL;) {
        if (strcmp(words[i], "--help") == 0) {
            free(words);
            return cli_help(&verb_plugin);
        }
        size_t taken = plugin_take(&j, words + i);
        i += taken;
        status = taken == 0 ? CLI_USAGE : CLI_OK;
    }
    status = status ? status : run_job(&j);
    free(words);
    return status;
}

const struct verb verb_plugin = {
    "plugin", "Run one program for the BPF conformance suite",
    "[MEMORY] [--engine interp|native] [--elf] [--program HEX]",
    "MEMORY and the program on standard input are bytes in hexadecimal; r0\n"
    "is printed in hexadecimal. The program is of type raw: r1 points to the\n"
    "memory, which it may change, and r2 is its length.\n\n"
    "  --engine NAME   native (default) or interp\n"
    "  --elf           the program's bytes are an object of clang\n"
    "  --program HEX   the program, instead of standard input\n"
    "  --debug         what the suite's own plug-ins have: tell why a program\n"
    "                  is refused; always done\n\n"
    "The suite runs a file and passes all its options as one word, which is\n"
    "understood; so two lines are enough for the file ./plugin:\n\n"
    "  #!/bin/sh\n"
    "  exec dpf plugin \"$@\"\n\n"
    "  bpf_conformance_runner --test_file_directory tests \\\n"
    "    --plugin_path ./plugin --plugin_options '--engine interp'\n",
    plugin_run};
