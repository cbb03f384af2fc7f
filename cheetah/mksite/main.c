/* SPDX-License-Identifier: MIT */
/* mksite: lay a directory out as a site image; check or list one. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"

static const char USAGE[] =
    "usage: mksite [-aqs] [-c none|fast|best] [-j N] DIR SITE.IMG\n"
    "       mksite --check SITE.IMG\n"
    "       mksite --list SITE.IMG\n"
    "\n"
    "Lay DIR out as preformatted HTTP responses in SITE.IMG, the disk that\n"
    "Cheetah serves; or verify every byte of such an image; or say what it\n"
    "holds.\n"
    "\n"
    "Names that begin with a dot (but /.well-known), private keys, and links\n"
    "to files outside DIR are left out, which is said in a line each.\n"
    "\n"
    "  -a, --all             publish them too\n"
    "  -c, --compress HOW    precompressed copies of text: none, fast\n"
    "                        (gzip 6, brotli 5; the default), best\n"
    "                        (gzip 9, brotli 11: slow)\n"
    "  -s, --skip-unreadable leave unreadable files out instead of failing\n"
    "  -j, --jobs N          worker threads (default: one a processor)\n"
    "  -q, --quiet           no progress and no summary\n"
    "  -h, --help            this text\n";

enum { OPT_CHECK = 256, OPT_LIST };

static const struct option LONG[] = {
    {"all", no_argument, NULL, 'a'},
    {"compress", required_argument, NULL, 'c'},
    {"skip-unreadable", no_argument, NULL, 's'},
    {"jobs", required_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"check", no_argument, NULL, OPT_CHECK},
    {"list", no_argument, NULL, OPT_LIST},
    {NULL, 0, NULL, 0},
};

static _Noreturn void bad_usage(const char *what)
{
    if (what != NULL) {
        fprintf(stderr, "mksite: %s\n", what);
    }
    fputs(USAGE, stderr);
    exit(2);
}

static enum compress compress_of(const char *s)
{
    static const char *const name[] = {"none", "fast", "best"};
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(s, name[i]) == 0) {
            return (enum compress)i;
        }
    }
    bad_usage("--compress wants none, fast or best");
}

/*
 * Each worker keeps a body of up to 16 MiB and its copies in memory, so their
 * number is bounded.
 */
static unsigned jobs_of(const char *s)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(s, &end, 10);
    if (errno != 0 || *end != 0 || end == s || n < 1 || n > 64) {
        bad_usage("--jobs wants a number from 1 to 64");
    }
    return (unsigned)n;
}

static void open_spill(struct site *s, const char *out)
{
    /* Beside the image: that file system must have the room anyway. */
    char *name = must_printf("%s.spill-XXXXXX", out);
    s->spill = mkstemp(name);
    if (s->spill < 0) {
        die(out, "cannot write beside it: %s", strerror(errno));
    }
    /* Without a name it is gone however this run ends. */
    unlink(name);
    free(name);
}

static void site_free(struct site *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct doc *d = &s->docs[i];
        for (size_t k = 0; k < d->refs_count; k++) {
            free(d->refs[k]);
        }
        free(d->refs);
        free(d->path);
        free(d->source);
        free(d->text);
        free(d->location);
    }
    free(s->docs);
    close(s->spill);
}

/*
 * From a directory to an image, in passes over all documents: walk, read,
 * order, lay out, write. Nothing is written before everything could be read.
 */
static int mksite_make(const char *dir, const char *out,
                       const struct options *o)
{
    struct site s = {0};
    if (!tree_walk(&s, dir, o) && !o->skip_unreadable) {
        say_error(dir,
                  "%llu unreadable; nothing was written. Change their "
                  "modes, or use --skip-unreadable to leave them out",
                  (unsigned long long)s.skipped);
        return 1;
    }
    open_spill(&s, out);
    analyse(&s, o);
    size_t count;
    struct place *order = group_order(&s, &count);
    struct layout l;
    layout(&s, order, count, &l);
    image_write(&s, order, count, &l, out, o);
    if (!o->quiet) {
        uint64_t left_out = s.skipped + s.oddities + s.hidden;
        printf("%s: %zu paths, %zu extents, %.1f MB, %" PRIu64 " left out\n",
               out, s.count, count, (double)l.super.blocks * SITE_BLOCK / 1e6,
               left_out);
    }
    free(order);
    free(l.index);
    site_free(&s);
    return 0;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.compress = COMPRESS_FAST,
                        .jobs = cpus < 1    ? 1
                                : cpus > 64 ? 64
                                            : (unsigned)cpus};
    int mode = 0;
    int c;
    while ((c = getopt_long(argc, argv, "ac:sj:qh", LONG, NULL)) != -1) {
        switch (c) {
        case 'a':
            o.all = true;
            break;
        case 'c':
            o.compress = compress_of(optarg);
            break;
        case 's':
            o.skip_unreadable = true;
            break;
        case 'j':
            o.jobs = jobs_of(optarg);
            break;
        case 'q':
            o.quiet = true;
            break;
        case 'h':
            fputs(USAGE, stdout);
            return 0;
        case OPT_CHECK:
        case OPT_LIST:
            mode = c;
            break;
        default:
            bad_usage(NULL);
        }
    }
    if (argc - optind != (mode == 0 ? 2 : 1)) {
        bad_usage("wrong number of arguments");
    }
    return mode == OPT_CHECK  ? image_check(argv[optind], &o)
           : mode == OPT_LIST ? image_list(argv[optind])
                              : mksite_make(argv[optind], argv[optind + 1], &o);
}
