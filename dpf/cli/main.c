/* SPDX-License-Identifier: MIT */
/*
 * dpf: the packet filter compiler on the host. One verb per file; this one
 * finds the verb and holds what all of them say.
 */
#include "dpf/cli/cli.h"
#include "dpf/host/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct verb *const verbs[] = {
    &verb_compile, &verb_verify, &verb_dump, &verb_explain,
    &verb_graph,   &verb_run,    &verb_diff, &verb_conflicts,
    &verb_bench,   &verb_plugin, NULL,
};

static void cli_print_usage(const char *format, va_list ap)
{
    fputs("dpf: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

void cli_say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    cli_print_usage(format, ap);
    va_end(ap);
}

int cli_usage(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    cli_print_usage(format, ap);
    va_end(ap);
    return CLI_USAGE;
}

int cli_help(const struct verb *v)
{
    printf("usage: dpf %s %s\n%s.\n\n%s", v->name, v->arguments, v->summary,
           v->help);
    if (strstr(v->arguments, "FILTER") != NULL) {
        fputs(filter_help, stdout);
    }
    return cli_flush(CLI_OK);
}

/*
 * A full disk is seen here at the latest. Each verb's result passes through
 * it, so that no output is lost with status 0.
 */
int cli_flush(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return cli_usage("standard output: %s", strerror(errno));
    }
    return status;
}

bool cli_number(const char *what, const char *text, uint64_t lo, uint64_t hi,
                uint64_t *out)
{
    /* strtoull takes "-1" for a large number; so a minus is refused. */
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || v < lo ||
        v > hi) {
        cli_say("%s: '%s' is not a number from %llu to %llu", what, text,
                (unsigned long long)lo, (unsigned long long)hi);
        return false;
    }
    *out = v;
    return true;
}

/* Made at the first use: a verb that only reads needs no memory for code. */
const struct dpf_mem *cli_mem(void)
{
    static struct dpf_mem mem;
    static bool made;
    if (!made && dpf_host_mem_init(&mem) != 0) {
        cli_say("out of memory");
        exit(CLI_USAGE);
    }
    made = true;
    return &mem;
}

static int overview(FILE *to, int status)
{
    fputs("usage: dpf VERB [ARGUMENT...]\n\n"
          "Compile, check and run packet filters. The verbs:\n\n",
          to);
    for (size_t i = 0; verbs[i] != NULL; i++) {
        fprintf(to, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    fputs("\n'dpf VERB --help' tells more; dpf(1) tells all.\n", to);
    return to == stdout ? cli_flush(status) : status;
}

/* NULL, and a message: there is no such verb. */
static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; verbs[i] != NULL; i++) {
        if (strcmp(name, verbs[i]->name) == 0) {
            return verbs[i];
        }
    }
    cli_say("'%s' is no verb; 'dpf --help' lists them", name);
    return NULL;
}

static bool wants_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ||
           strcmp(word, "help") == 0;
}

/*
 * A standard stream that is closed is opened so that its use fails: else the
 * first file of ours would take its number, and printed text would go there.
 */
static bool fill_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static char name[] = "dpf";
    if (!fill_streams()) {
        return CLI_USAGE;
    }
    signal(SIGPIPE, SIG_DFL); /* a closed pipe ends the tool quietly */
    if (argc < 2) {
        return overview(stderr, CLI_USAGE);
    }
    if (wants_help(argv[1]) && argc == 2) {
        return overview(stdout, CLI_OK);
    }
    const struct verb *v = find_verb(argv[wants_help(argv[1]) ? 2 : 1]);
    if (v == NULL) {
        return CLI_USAGE;
    }
    if (wants_help(argv[1])) { /* "dpf help run" */
        return cli_help(v);
    }
    argv[1] = name; /* what getopt calls us in its messages */
    return cli_flush(v->run(argc - 1, argv + 1));
}
