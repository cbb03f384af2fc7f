/* SPDX-License-Identifier: MIT */
/*
 * Messages of mksite: errors, warnings and progress, all on standard error.
 * Names come from the file system and may hold any byte, so they are printed
 * with control and non-ASCII bytes escaped: a file name cannot drive the
 * user's terminal.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"

#define WARNINGS_SHOWN 20

static void put_name(const char *s)
{
    for (; *s != 0; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c >= 0x7f) {
            fprintf(stderr, "\\x%02x", c);
        } else {
            fputc(c, stderr);
        }
    }
}

static void say_line(const char *kind, const char *path, const char *fmt,
                     va_list args)
{
    fprintf(stderr, "mksite: %s", kind);
    if (path != NULL) {
        put_name(path);
        fputs(": ", stderr);
    }
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

void say_error(const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say_line("", path, fmt, args);
    va_end(args);
}

void say_warning(const char *path, const char *fmt, ...)
{
    static unsigned shown;
    shown++;
    if (shown <= WARNINGS_SHOWN) {
        va_list args;
        va_start(args, fmt);
        say_line("warning: ", path, fmt, args);
        va_end(args);
    } else if (shown == WARNINGS_SHOWN + 1) {
        fputs("mksite: warning: more of the same is not shown\n", stderr);
    }
}

void say_hidden(const char *what, uint64_t count, const char *list, bool more)
{
    fprintf(stderr, "mksite: left out: %llu %s (", (unsigned long long)count,
            what);
    put_name(list);
    fprintf(stderr, "%s); --all publishes them\n", more ? ", ..." : "");
}

void die(const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say_line("", path, fmt, args);
    va_end(args);
    exit(1);
}

/*
 * A run of mksite either makes a whole image or none: without memory it ends,
 * and image.c removes the partial file.
 */
void *must_alloc(void *p, size_t n)
{
    p = realloc(p, n != 0 ? n : 1);
    if (p == NULL) {
        die(NULL, "out of memory (%zu bytes)", n);
    }
    return p;
}

char *must_printf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *s = NULL;
    int n = vasprintf(&s, fmt, args);
    va_end(args);
    if (n < 0) {
        die(NULL, "out of memory");
    }
    return s;
}

static bool progress_shown;

void progress(const struct options *o, const char *what, uint64_t done,
              uint64_t all)
{
    static struct timespec last;
    if (o->quiet || !isatty(STDERR_FILENO)) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = (now.tv_sec - last.tv_sec) * 1000 +
              (now.tv_nsec - last.tv_nsec) / 1000000;
    /* Five times a second, or the terminal would take longer than the work. */
    if (ms < 200) {
        return;
    }
    last = now;
    uint64_t percent = all != 0 ? done * 100 / all : 100;
    fprintf(stderr, "\rmksite: %s %llu%% \b", what,
            (unsigned long long)percent);
    progress_shown = true;
}

void progress_end(const struct options *o)
{
    if (!o->quiet && progress_shown) {
        fputs("\r\033[K", stderr);
    }
}
