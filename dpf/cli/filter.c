/* SPDX-License-Identifier: MIT */
/*
 * The filters that a verb's words name: expressions, or files of any kind
 * that a front end reads. Messages have the form
 * "dpf: FILE:LINE:COLUMN: reason; hint".
 */
#include "dpf/cli/cli.h"
#include "dpf/cli/output.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Limits on compiling a C source: by including the right files, a short one
 * can ask the compiler for any amount of work.
 */
#define SOURCE_MAX (1u << 20)         /* bytes */
#define CLANG_MEMORY_MAX (4ull << 30) /* bytes of address space */
#define CLANG_SECONDS_MAX 10u         /* of processor time */

const char filter_help[] =
    "A FILTER is a pcap-filter expression, or @FILE (@- is standard input).\n"
    "A file's name tells what it holds:\n"
    "  .c object source   .o BPF object      .s .asm assembler\n"
    "  .atoms DPF atoms   .ddd tcpdump -ddd  .hex .raw bytecode\n"
    "  anything else      an expression\n\n"
    "  --from KIND     expr, ddd, c, object, atoms, asm, hex or raw\n"
    "  --list FILE     more filters: one expression a line, '#' comments,\n"
    "                  'NAME: ' may stand in front\n"
    "  --dlt TYPE      link type of expressions, by name or number (EN10MB)\n"
    "  --plain         keep libpcap's optimiser out\n"
    "  --section NAME  the program's section in an object\n"
    "  --type TYPE     filter, predicate, udf, handler or raw\n";

static const char *const type_names[] = {"filter", "predicate", "udf",
                                         "handler", "raw"};

bool filter_option(struct filter_options *o, int option, const char *arg)
{
    uint64_t v = 0;
    switch (option) {
    case OPT_FROM:
        o->from = arg;
        return true;
    case OPT_SECTION:
        o->section = arg;
        return true;
    case OPT_LIST:
        o->list = arg;
        return true;
    case OPT_PLAIN:
        o->plain = true;
        return true;
    case OPT_DLT:
        o->dlt = pcap_datalink_name_to_val(arg);
        if (o->dlt < 0 && cli_number("--dlt", arg, 0, 65535, &v)) {
            o->dlt = (int)v;
        }
        o->status = o->dlt < 0 ? CLI_USAGE : o->status;
        return true;
    case OPT_TYPE:
        for (size_t i = 0; i < sizeof(type_names) / sizeof(*type_names); i++) {
            if (strcmp(arg, type_names[i]) == 0) {
                o->type = (enum dpf_type)i;
                return true;
            }
        }
        o->status = cli_usage("--type: '%s' is none of filter, predicate, "
                              "udf, handler, raw",
                              arg);
        return true;
    default:
        return false;
    }
}

unsigned filter_expr_flags(const struct filter_options *o)
{
    return (o->plain ? DPF_EXPR_PLAIN : 0u) |
           (o->swapped ? DPF_EXPR_SWAPPED : 0u);
}

/* ----------------------------------------------------------------- reading */

bool cli_read(const char *path, char **out, size_t *len)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *text = NULL;
    size_t used = 0, room = 0, n = 1;
    if (f == NULL) {
        cli_say("%s: %s", path, strerror(errno));
        return false;
    }
    errno = 0;
    while (n > 0) {
        if (room - used < 2) {
            room = room ? room * 2 : 65536;
            /*
             * Read until it ends, with a limit: a device or a pipe has no size
             * to ask for.
             */
            char *bigger = used > CLI_FILE_MAX ? NULL : realloc(text, room);
            if (bigger == NULL) {
                cli_say("%s: longer than %u MiB", path, CLI_FILE_MAX >> 20);
                goto fail;
            }
            text = bigger;
        }
        n = fread(text + used, 1, room - used - 1, f);
        used += n;
    }
    if (ferror(f)) {
        cli_say("%s: %s", path, strerror(errno));
        goto fail;
    }
    if (f != stdin) {
        fclose(f);
    }
    text[used] = '\0';
    *out = text;
    *len = used;
    return true;
fail:
    if (f != stdin) {
        fclose(f);
    }
    free(text);
    return false;
}

/* Say what a front end found wrong at a byte of the input. */
static int source_report(const char *file, const char *text, size_t len,
                         const struct dpf_error *err)
{
    size_t line = 1, column = 1;
    size_t at = err->position < len ? err->position : len;
    /*
     * Front ends report bytes; lines and columns are counted only for a
     * message.
     */
    for (size_t i = 0; text != NULL && i < at; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    if (text == NULL) {
        cli_say("%s: %s", file, err->text);
    } else {
        cli_say("%s:%zu:%zu: %s", file, line, column, err->text);
    }
    return CLI_USAGE;
}

/* --from, else what the ending of the name says, else an expression. */
static const char *source_kind_of(const struct filter_options *o,
                                  const char *path)
{
    static const char *const kinds[][2] = {
        {".c", "c"},         {".o", "object"}, {".s", "asm"},   {".asm", "asm"},
        {".atoms", "atoms"}, {".ddd", "ddd"},  {".hex", "hex"}, {".raw", "raw"},
    };
    const char *dot = strrchr(path, '.');
    if (o->from != NULL) {
        return o->from;
    }
    for (size_t i = 0; dot != NULL && i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (strcmp(dot, kinds[i][0]) == 0) {
            return kinds[i][1];
        }
    }
    return "expr";
}

/*
 * Choose clang's input. A regular file is opened by clang itself, since it may
 * include its neighbours: *in stays NULL. A pipe or a device is read here and
 * becomes clang's standard input. False: a message said why.
 */
static bool open_source(const char *path, FILE **in)
{
    char *text = NULL;
    size_t len = 0;
    bool good = true;
    struct stat st;
    if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        len = (size_t)st.st_size;
    } else if (!cli_read(path, &text, &len)) {
        return false;
    }
    if (len > SOURCE_MAX) {
        cli_say("%s: longer than %u MiB; this is no filter in C", path,
                SOURCE_MAX >> 20);
        good = false;
    } else if (text != NULL) {
        *in = tmpfile();
        good = *in != NULL && fwrite(text, 1, len, *in) == len &&
               fseek(*in, 0, SEEK_SET) == 0;
        if (!good) {
            cli_say("%s: no temporary file: %s", path, strerror(errno));
        }
    }
    free(text);
    if (!good && *in != NULL) {
        fclose(*in);
    }
    return good;
}

/* In the child; does not return. */
static void become_clang(const char *path, FILE *in, const char *object)
{
    struct rlimit memory = {CLANG_MEMORY_MAX, CLANG_MEMORY_MAX};
    struct rlimit seconds = {CLANG_SECONDS_MAX, CLANG_SECONDS_MAX};
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CPU, &seconds);
    char *name = in != NULL ? "-" : NULL;
    /* A name that begins with '-' is no option. */
    if (in == NULL &&
        asprintf(&name, "%s%s", *path == '-' ? "./" : "", path) < 0) {
        _exit(127);
    }
    if (in == NULL || dup2(fileno(in), STDIN_FILENO) >= 0) {
        /*
         * v3 is the version whose instructions the verifier knows, 32-bit
         * jumps among them; -g brings the lines for messages.
         */
        execlp(DPF_CLANG, DPF_CLANG, "-O2", "-g", "-target", "bpf", "-mcpu=v3",
               "-Wall", "-x", "c", "-c", name, "-o", object, (char *)NULL);
    }
    _exit(127);
}

/* Run clang on a C source; the object's path is in `object`. */
static bool source_run_clang(const char *path, FILE *in, char *object)
{
    int fd = mkstemp(object), status = 0;
    if (fd < 0) {
        cli_say("%s: %s", object, strerror(errno));
        return false;
    }
    close(fd);
    /*
     * In a child, so that limits on memory and time are the compiler's alone,
     * and no shell reads the name of the file.
     */
    pid_t pid = fork();
    if (pid == 0) {
        become_clang(path, in, object);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        cli_say("%s: clang could not be run", path);
        return false;
    }
    /* Ended by a signal: one of the limits was reached. */
    if (!WIFEXITED(status)) {
        cli_say("%s: clang was stopped; the source asks for more than %u "
                "seconds or %llu GiB",
                path, CLANG_SECONDS_MAX, CLANG_MEMORY_MAX >> 30);
        return false;
    }
    if (WEXITSTATUS(status) == 127) {
        cli_say("%s: clang is not installed; install it, or pass an object",
                path);
    } else if (WEXITSTATUS(status) != 0) {
        cli_say("%s: clang refuses it; see above", path);
    }
    return WEXITSTATUS(status) == 0;
}

static int from_c(const struct filter_options *o, const char *path,
                  struct dpf_code *out)
{
    char object[] = "/tmp/dpf-XXXXXX", *bytes = NULL;
    struct dpf_error err = {0};
    size_t len = 0;
    FILE *in = NULL;
    int result = CLI_USAGE;
    if (!open_source(path, &in)) {
        return result;
    }
    if (source_run_clang(path, in, object) && cli_read(object, &bytes, &len)) {
        result = dpf_from_object(bytes, len, o->section, out, &err);
        if (result != 0) {
            result = source_report(path, NULL, 0, &err);
        }
    }
    free(bytes);
    if (in != NULL) {
        fclose(in);
    }
    unlink(object);
    return result;
}

/* A filter's text, and its origin for messages. */
struct input {
    const char *kind, *file, *text;
    size_t len;
};

/* One file, whose kind is not C. */
static int source_from_text(const struct filter_options *o, int dlt,
                            const struct input *in, struct dpf_code *out)
{
    const char *kind = in->kind, *text = in->text;
    size_t len = in->len;
    struct dpf_error err = {0};
    bool binary = false;
    /* libpcap would stop at the NUL and compile half of the file. */
    int result;
    if (strcmp(kind, "expr") == 0 && strlen(text) != len) {
        result = -DPF_E_SYNTAX;
        err.position = (uint32_t)strlen(text);
        snprintf(err.text, sizeof(err.text), "a NUL byte; this is no text");
    } else if (strcmp(kind, "expr") == 0) {
        result = dpf_from_expr(text, dlt, filter_expr_flags(o), out, &err);
    } else if (strcmp(kind, "ddd") == 0) {
        result = dpf_from_ddd(text, len, out, &err);
    } else if (strcmp(kind, "atoms") == 0) {
        result = dpf_from_atoms(text, len, out, &err);
    } else if (strcmp(kind, "asm") == 0) {
        result = dpf_from_asm(text, len, out, &err);
    } else if (strcmp(kind, "hex") == 0) {
        result = dpf_from_hex(text, len, out, &err);
    } else if (strcmp(kind, "raw") == 0) {
        binary = true;
        result = dpf_from_raw(text, len, out, &err);
    } else if (strcmp(kind, "object") == 0) {
        binary = true;
        result = dpf_from_object(text, len, o->section, out, &err);
    } else {
        return cli_usage("--from: '%s' is none of expr, ddd, c, object, atoms, "
                         "asm, hex, raw",
                         kind);
    }
    return result ? source_report(in->file, binary ? NULL : text, len, &err)
                  : CLI_OK;
}

static int read_one(const struct filter_options *o, int dlt, struct filter *f)
{
    char *text = NULL;
    size_t len = 0;
    if (f->expr) {
        struct input in = {"expr", "expression", f->text, strlen(f->text)};
        return source_from_text(o, dlt, &in, &f->code);
    }
    if (*f->text == '\0') {
        return cli_usage("'@' without a file's name; '@-' is standard input");
    }
    const char *kind = source_kind_of(o, f->text);
    if (strcmp(kind, "c") == 0) {
        return from_c(o, f->text, &f->code);
    }
    if (!cli_read(f->text, &text, &len)) {
        return CLI_USAGE;
    }
    struct input in = {kind, f->text, text, len};
    int status = source_from_text(o, dlt, &in, &f->code);
    free(text);
    return status;
}

/* ------------------------------------------------------------------- lists */

/* Add a filter by name, or by its number if it has none. */
static struct filter *source_add(struct filters *f, const char *name,
                                 size_t name_len, const char *text, bool expr)
{
    struct filter *bigger = NULL;
    if (f->count == CLI_FILTERS_MAX) {
        cli_say("more than %u filters; this is no list of them",
                CLI_FILTERS_MAX);
        return NULL;
    }
    bigger = realloc(f->all, (f->count + 1) * sizeof(*f->all));
    if (bigger == NULL) {
        cli_say("out of memory");
        return NULL;
    }
    f->all = bigger;
    char number[24];
    if (name == NULL) {
        name_len =
            (size_t)snprintf(number, sizeof(number), "%zu", f->count + 1);
        name = number;
    }
    struct filter *added = &f->all[f->count++];
    *added = (struct filter){
        .name = strndup(name, name_len), .text = strdup(text), .expr = expr};
    return added;
}

/* The length of NAME in "NAME: expression"; 0 if there is none. The blank tells
   a name from "ether[0:2]" and from an address with colons. */
static size_t name_length(const char *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) ||
           (n > 0 && strchr("_-.", s[n]) != NULL && s[n] != '\0')) {
        n++;
    }
    return n > 0 && s[n] == ':' && isspace((unsigned char)s[n + 1]) ? n : 0;
}

static void drop_last(struct filters *f)
{
    struct filter *last = &f->all[--f->count];
    dpf_code_finish(&last->code);
    free(last->name);
    free(last->text);
}

/* --list: an expression a line. With `skipped`, those that libpcap refuses for
   this link type are counted and left out. */
static int read_list(struct filters *f, const struct filter_options *o, int dlt,
                     size_t *skipped)
{
    char *text = NULL;
    size_t len = 0, number = 0;
    int status = CLI_OK;
    if (!cli_read(o->list, &text, &len)) {
        return CLI_USAGE;
    }
    char *rest = text;
    if (strlen(text) != len) {
        struct dpf_error err = {.position = (uint32_t)strlen(text),
                                .text = "a NUL byte; this is no text"};
        status = source_report(o->list, text, len, &err);
    }
    char *line, where[4096];
    while (status == CLI_OK && (line = strsep(&rest, "\n")) != NULL) {
        struct dpf_error err = {0};
        char *start = line + strspn(line, " \t\r");
        number++;
        if (*start == '\0' || *start == '#') {
            continue;
        }
        size_t name = name_length(start);
        char *expr = start + (name ? name + 1 : 0);
        struct filter *one =
            source_add(f, name ? start : NULL, name, expr, true);
        if (one == NULL) {
            status = CLI_USAGE;
        } else if (dpf_from_expr(expr, dlt, filter_expr_flags(o), &one->code,
                                 &err) == 0) {
            continue;
        } else if (skipped != NULL) {
            drop_last(f);
            ++*skipped;
        } else {
            snprintf(where, sizeof(where), "%s:%zu:%zu", o->list, number,
                     (size_t)(expr - line) + err.position + 1);
            cli_say("%s: %s", where, err.text);
            status = CLI_USAGE;
        }
    }
    free(text);
    return status;
}

/* The filter behind "NAME: ". */
static char *word_body(char *word)
{
    size_t name = name_length(word);
    word += name ? name + 1 : 0;
    return word + strspn(word, " ");
}

bool filters_apart(const struct filter_options *o, int argc, char **argv,
                   const char *path)
{
    bool apart = o->list == NULL || output_apart(path, o->list);
    for (int i = 0; i < argc && apart; i++) {
        const char *body = word_body(argv[i]);
        apart = *body != '@' || output_apart(path, body + 1);
    }
    return apart;
}

int filters_read(struct filters *f, const struct filter_options *o, int dlt,
                 int argc, char **argv)
{
    return filters_read_some(f, o, dlt, argc, argv, NULL);
}

int filters_read_some(struct filters *f, const struct filter_options *o,
                      int dlt, int argc, char **argv, size_t *skipped)
{
    int status = CLI_OK;
    *f = (struct filters){0};
    dlt = o->dlt >= 0 ? o->dlt : dlt;
    for (int i = 0; i < argc && status == CLI_OK; i++) {
        size_t name = name_length(argv[i]);
        const char *word = word_body(argv[i]);
        bool file = *word == '@';
        struct filter *one =
            source_add(f, name ? argv[i] : NULL, name, word + file, !file);
        status = one != NULL ? read_one(o, dlt, one) : CLI_USAGE;
    }
    if (status == CLI_OK && o->list != NULL) {
        status = read_list(f, o, dlt, skipped);
    }
    if (status == CLI_OK && f->count == 0) {
        status = cli_usage("no filter given; pass an expression, @FILE or "
                           "--list FILE");
    }
    if (status != CLI_OK) {
        filters_finish(f);
    }
    return status;
}

/*
 * Say why a program was refused, at the line of the source that the
 * instruction came from if that is known.
 */
static int refused(const struct filter *f, const struct dpf_error *err)
{
    const struct dpf_line *at =
        f->code.lines != NULL && err->insn < f->code.count
            ? &f->code.lines[err->insn]
            : NULL;
    const char *file = f->expr ? "expression" : f->text;
    if (at != NULL && at->line != 0) {
        cli_say("%s:%u:%u: %s", at->file != NULL ? at->file : file, at->line,
                at->column ? at->column : 1, err->text);
    } else {
        cli_say("%s: %s", file, err->text);
    }
    return CLI_NO;
}

int filters_verify(struct filters *f, const struct filter_options *o,
                   uint32_t flags)
{
    /* All are verified, so that one run shows every mistake. */
    int status = CLI_OK;
    for (size_t i = 0; i < f->count; i++) {
        struct dpf_error err = {0};
        struct filter *one = &f->all[i];
        if (dpf_program_create(cli_mem(), o->type | flags, one->code.insns,
                               one->code.count, &one->program, &err) != 0) {
            status = refused(one, &err);
        }
    }
    return status;
}

/* The first jump backwards, as written. */
static uint32_t backwards(const struct dpf_code *code)
{
    for (size_t i = 0; i < code->count; i++) {
        const struct dpf_insn *n = &code->insns[i];
        uint8_t class = n->opcode & 7, op = n->opcode & 0xf0;
        bool jumps = (class == 5 || class == 6) && op != 0x80 && op != 0x90;
        /* The 32-bit form of goto has its distance in imm. */
        if (jumps && (n->off < 0 || (n->opcode == 0x06 && n->imm < 0))) {
            return (uint32_t)i;
        }
    }
    return 0;
}

int filters_kernel(const struct filters *f, const struct filter_options *o)
{
    int status = CLI_OK;
    for (size_t i = 0; i < f->count; i++) {
        const struct filter *one = &f->all[i];
        struct dpf_error err = {0};
        if (one->program == NULL) {
            continue;
        }
        if (o->type == DPF_FILTER && dpf_program_loops(one->program)) {
            err.insn = backwards(&one->code);
            snprintf(err.text, sizeof(err.text),
                     "verified, but refused by the kernel: a filter runs for "
                     "every packet and may not jump back");
        } else if (one->code.count > DPF_KERNEL_INSNS_MAX) {
            snprintf(err.text, sizeof(err.text),
                     "verified, but refused by the kernel: more than %u "
                     "instructions",
                     DPF_KERNEL_INSNS_MAX);
        } else {
            continue;
        }
        (void)refused(one, &err);
        status = CLI_HOST_ONLY;
    }
    return status;
}

bool filters_judge(const struct filter_options *o)
{
    /* The others have state to write, helpers to call, or no packet at all. */
    if (o->type == DPF_FILTER) {
        return true;
    }
    cli_say("--type %s: only filters judge a packet; 'dpf verify' checks "
            "programs of every type, 'dpf plugin' runs a raw one",
            type_names[o->type]);
    return false;
}

void filters_finish(struct filters *f)
{
    for (size_t i = 0; i < f->count; i++) {
        dpf_program_destroy(f->all[i].program);
        dpf_code_finish(&f->all[i].code);
        free(f->all[i].name);
        free(f->all[i].text);
    }
    free(f->all);
    *f = (struct filters){0};
}
