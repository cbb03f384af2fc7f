/* SPDX-License-Identifier: MIT */
#include "dpf/cli/output.h"
#include "dpf/cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40u /* what Linux itself follows */

/* The partial file, for the handler of signals and for exit(). */
static char *volatile pending;

static void drop_pending(void)
{
    if (pending != NULL) {
        unlink(pending);
    }
}

static void output_end(int number)
{
    drop_pending();
    signal(number, SIG_DFL);
    raise(number); /* so that the parent sees what ended us */
}

/* Once a file is pending. A signal that is ignored (nohup) stays so. */
static void watch_signals(void)
{
    static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,
                                  SIGPIPE, SIGQUIT, SIGXFSZ};
    static bool done;
    struct sigaction now;
    for (size_t i = 0; !done && i < sizeof(numbers) / sizeof(*numbers); i++) {
        if (sigaction(numbers[i], NULL, &now) == 0 &&
            now.sa_handler == SIG_DFL) {
            signal(numbers[i], output_end);
        }
    }
    if (!done) {
        atexit(drop_pending);
    }
    done = true;
}

/* Look at a path; "-" is the descriptor `standard`. */
static bool output_look(const char *path, int standard, struct stat *st)
{
    return (strcmp(path, "-") == 0 ? fstat(standard, st) : stat(path, st)) == 0;
}

/*
 * The same file may have two names, so files are compared by device and inode.
 * Only regular ones count: /dev/null or a terminal may well be both.
 */
bool output_apart(const char *path, const char *input)
{
    struct stat out, in;
    if (!output_look(path, STDOUT_FILENO, &out) ||
        !output_look(input, STDIN_FILENO, &in) || !S_ISREG(out.st_mode) ||
        out.st_dev != in.st_dev || out.st_ino != in.st_ino) {
        return true;
    }
    cli_say("%s: the output is also an input (%s); nothing was written", path,
            input);
    return false;
}

/*
 * The name that `path` leads to, so that a link is not replaced by a file.
 * Not realpath: what the last link names need not exist. NULL and errno.
 */
static char *output_follow(const char *path)
{
    char *at = strdup(path);
    char to[PATH_MAX];
    for (unsigned i = 0; at != NULL; i++) {
        ssize_t n = readlink(at, to, sizeof(to) - 1);
        if (n < 0) {
            return at;
        }
        to[n] = '\0';
        char *slash = strrchr(at, '/'), *next = NULL;
        size_t folder =
            slash != NULL && to[0] != '/' ? (size_t)(slash - at) + 1 : 0;
        if (i == LINKS_MAX) {
            errno = ELOOP;
        } else if ((next = malloc(folder + (size_t)n + 1)) != NULL) {
            memcpy(next, at, folder);
            memcpy(next + folder, to, (size_t)n + 1);
        }
        free(at);
        at = next;
    }
    return NULL;
}

/* Open o->partial beside o->target, readable by whom fopen would let. */
static bool open_partial(struct output *o, const struct stat *old)
{
    mode_t mask = umask(0);
    umask(mask);
    /*
     * mkstemp makes a file for its owner alone, and renaming keeps that: so
     * the rights of the old file, or those of a new one, are given to it.
     */
    mode_t mode = old != NULL ? old->st_mode & 0777 : 0666 & ~mask;
    o->target = output_follow(o->path);
    if (o->target == NULL ||
        asprintf(&o->partial, "%s.partial-XXXXXX", o->target) < 0) {
        o->partial = NULL;
        return false;
    }
    watch_signals();
    int fd = mkstemp(o->partial);
    if (fd < 0) {
        return false;
    }
    pending = o->partial;
    o->file = fchmod(fd, mode) == 0 ? fdopen(fd, "wb") : NULL;
    if (o->file == NULL) {
        close(fd);
    }
    return o->file != NULL;
}

bool output_open(struct output *o, const char *path)
{
    struct stat old;
    *o = (struct output){.path = path};
    if (path == NULL || strcmp(path, "-") == 0) {
        o->file = stdout;
        return true;
    }
    bool is = stat(path, &old) == 0;
    if (is && !S_ISREG(old.st_mode)) {
        o->file = fopen(path, "wb");
        /*
         * Renaming asks for rights on the folder only; an old file that is
         * protected against writing stays so.
         */
    } else if (!is || access(path, W_OK) == 0) {
        open_partial(o, is ? &old : NULL);
    }
    if (o->file == NULL) {
        cli_say("%s: %s", path, strerror(errno));
        output_finish(o, CLI_USAGE);
        return false;
    }
    return true;
}

int output_finish(struct output *o, int status)
{
    if (o->partial != NULL) {
        if (status == CLI_OK && rename(o->partial, o->target) != 0) {
            status = cli_usage("%s: %s", o->path, strerror(errno));
        }
        if (status != CLI_OK) {
            drop_pending();
        }
        pending = NULL;
    }
    free(o->partial);
    free(o->target);
    *o = (struct output){0};
    return status;
}
