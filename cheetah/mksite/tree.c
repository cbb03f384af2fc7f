/* SPDX-License-Identifier: MIT */
/*
 * Walk a directory into documents.
 *
 * Symbolic links: to a readable regular file they are followed inside the tree,
 * and with --all wherever they point; to a directory only when it lies inside
 * the tree, is not one of its own ancestors, and fewer than LINKS_MAX such
 * links were followed on the way. So the walk ends whatever the links say.
 * Devices, sockets and pipes are never opened.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"
#include "cheetah/site/date.h"

#define LINKS_MAX 4
#define RESERVED ".pavise" /* see cheetah/server/status.c */
#define DOCS_MAX 16000000u

/* One directory on the way down. */
struct dir {
    const struct dir *up;
    char *source; /* file system path */
    char *path;   /* site path, ends in '/' */
    dev_t dev;
    ino_t ino;
    unsigned links; /* symbolic links to directories followed so far */
    int64_t mtime;  /* of the last entry that came, went or was renamed */
};

struct walk {
    struct site *site;
    const struct options *o;
    char *root; /* real path, for "inside the tree" */
    time_t now;
};

struct doc *site_add(struct site *s, char *path)
{
    if (s->count == DOCS_MAX) {
        die(path, "more than %u paths; the walk stops here", DOCS_MAX);
    }
    if (s->count == s->room) {
        s->room = s->room != 0 ? s->room * 2 : 1024;
        s->docs = must_alloc(s->docs, s->room * sizeof(*s->docs));
    }
    struct doc *d = &s->docs[s->count++];
    memset(d, 0, sizeof(*d));
    d->path = path;
    d->status = 200;
    return d;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct doc *)a)->path, ((const struct doc *)b)->path);
}

const struct doc *site_lookup(const struct site *s, const char *path)
{
    struct doc key = {.path = (char *)(uintptr_t)path};
    return bsearch(&key, s->docs, s->count, sizeof(*s->docs), by_path);
}

static int64_t file_time(const struct walk *w, const struct stat *st)
{
    /* Last-Modified may not lie in the future (RFC 9110 section 8.8.2.1). */
    time_t t = st->st_mtim.tv_sec;
    return t < DATE_FIRST ? DATE_FIRST : t > w->now ? w->now : t;
}

/*
 * Permissions are in the way: the run fails in the end, unless the user wants
 * to go on without.
 */
static void unreadable(struct walk *w, const char *source)
{
    say_warning(source, "%s", strerror(errno));
    w->site->skipped++;
}

/* Never served by any means: a warning is enough. */
static void odd(struct walk *w, const char *source, const char *why)
{
    say_warning(source, "%s; left out", why);
    w->site->oddities++;
}

/* Does it lie in the tree, however it is reached? */
static bool tree_inside(const struct walk *w, const char *source)
{
    char *real = realpath(source, NULL);
    size_t n = strlen(w->root);
    bool yes = real != NULL && strncmp(real, w->root, n) == 0 &&
               (real[n] == '/' || real[n] == 0 || n == 1);
    free(real);
    return yes;
}

/* Is the entry left out by its name or contents? */
static bool hidden(const struct walk *w, const struct dir *d, const char *name,
                   const char *source, const struct stat *own)
{
    if (w->o->all) {
        return false;
    }
    enum hide_kind kind;
    struct stat st;
    if (hide_is_dot(d->path, name)) {
        kind = HIDE_DOT;
    } else if (stat(source, &st) != 0 || !S_ISREG(st.st_mode)) {
        return false;
    } else if (S_ISLNK(own->st_mode) && !tree_inside(w, source)) {
        kind = HIDE_LINK;
    } else if (hide_is_key(name, source, (uint64_t)st.st_size)) {
        kind = HIDE_KEY;
    } else {
        return false;
    }
    hide_note(kind, source);
    return true;
}

/* A regular file, with the time by which a later change is noticed. */
static bool tree_add_file(struct walk *w, const struct dir *in,
                          const char *name, char *source, const struct stat *st)
{
    /*
     * Asked now, so that a run fails before minutes of compression and not
     * after. Opening would do the same but touch the file.
     */
    if (faccessat(AT_FDCWD, source, R_OK, AT_EACCESS) != 0) {
        unreadable(w, source);
        return false;
    }
    if ((uint64_t)st->st_size > SITE_BODY_MAX) {
        die(source, "%lld bytes; the format allows %llu in one file",
            (long long)st->st_size, (unsigned long long)SITE_BODY_MAX);
    }
    struct doc *d = site_add(w->site, must_printf("%s%s", in->path, name));
    d->source = strdup(source);
    d->len = (uint64_t)st->st_size;
    d->mtime = file_time(w, st);
    d->mtime_ns = st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    return true;
}

/* Whether a directory reached through a link may be walked. */
static bool link_allowed(struct walk *w, const struct dir *in,
                         const char *source, const struct stat *st)
{
    /* By device and inode, since paths through links have many names. */
    for (const struct dir *d = in; d != NULL; d = d->up) {
        if (d->dev == st->st_dev && d->ino == st->st_ino) {
            odd(w, source, "link to a directory that contains it");
            return false;
        }
    }
    if (in->links == LINKS_MAX) {
        odd(w, source, "too many links to directories on the way");
        return false;
    }
    if (!tree_inside(w, source)) {
        odd(w, source, "link to a directory outside the tree");
        return false;
    }
    return true;
}

static void walk_dir(struct walk *w, const struct dir *d);

/* A subdirectory: a redirection from its name, then its entries. */
static void add_dir(struct walk *w, const struct dir *in, const char *name,
                    char *source, const struct stat *st, bool link)
{
    struct dir d = {.up = in,
                    .source = source,
                    .path = must_printf("%s%s/", in->path, name),
                    .dev = st->st_dev,
                    .ino = st->st_ino,
                    .links = in->links + link,
                    .mtime = file_time(w, st)};
    struct doc *r = site_add(w->site, must_printf("%s%s", in->path, name));
    char *target = path_escape(d.path);
    r->status = 301;
    r->text = must_printf("<!DOCTYPE html>\n<title>Moved</title>\n"
                          "<p>This directory is <a href=\"%s\">here</a>.\n",
                          target);
    r->location = target;
    r->len = strlen(r->text);
    r->mtime = d.mtime;
    r->type = "text/html";
    r->utf8 = true;
    walk_dir(w, &d);
    free(d.path);
}

/* Whether permissions are in the way; errno says how. A file's own are looked
   at later. *nowhere: it is a link to nothing. */
static bool cannot_read(const char *source, struct stat *own, struct stat *st,
                        bool *nowhere)
{
    *nowhere = false;
    if (lstat(source, own) != 0) {
        return true;
    }
    if (stat(source, st) != 0) {
        *nowhere = errno == ENOENT || errno == ELOOP;
        return !*nowhere;
    }
    return S_ISDIR(st->st_mode) && access(source, R_OK | X_OK) != 0;
}

/* One entry. Returns whether it can be served, with its kind in *st. */
static bool add_entry(struct walk *w, const struct dir *d, const char *name,
                      struct stat *st)
{
    /* Before anything is allocated for it: a limit of the format. */
    if (strlen(d->path) + strlen(name) + 1 > SITE_PATH_MAX) {
        die(d->path, "a path of more than %u bytes lies below this",
            SITE_PATH_MAX);
    }
    bool ok = false;
    char *source = must_printf("%s/%s", d->source, name);
    struct stat own;
    if (lstat(source, &own) == 0 && hidden(w, d, name, source, &own)) {
        free(source);
        return false;
    }
    bool nowhere;
    if (cannot_read(source, &own, st, &nowhere)) {
        unreadable(w, source);
    } else if (nowhere) {
        odd(w, source, "link that leads nowhere");
    } else if (S_ISREG(st->st_mode)) {
        ok = tree_add_file(w, d, name, source, st);
    } else if (!S_ISDIR(st->st_mode)) {
        odd(w, source, "neither a file nor a directory");
    } else if (strcmp(d->path, "/") == 0 && strcmp(name, RESERVED) == 0) {
        odd(w, source, "the server has pages of its own under this name");
    } else if (!S_ISLNK(own.st_mode) || link_allowed(w, d, source, st)) {
        add_dir(w, d, name, source, st, S_ISLNK(own.st_mode));
        ok = true;
    }
    free(source);
    return ok;
}

static int skip_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

/* By bytes: the order must not depend on the user's language. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/*
 * A directory: its entries in order, then a page for the directory itself. That
 * is its index.html, or a listing, which is made on the way and thrown away
 * when an index.html turns up.
 */
static void walk_dir(struct walk *w, const struct dir *d)
{
    struct dirent **list;
    int n = scandir(d->source, &list, skip_dots, by_name);
    if (n < 0) {
        unreadable(w, d->source);
        return;
    }
    struct listing *l = listing_start(d->path);
    bool has_index = false;
    /*
     * A listing shows the times of its entries, so it is as new as the newest.
     */
    int64_t newest = d->mtime;
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        struct stat st;
        if (add_entry(w, d, name, &st)) {
            bool dir = S_ISDIR(st.st_mode);
            int64_t t = file_time(w, &st);
            newest = t > newest ? t : newest;
            has_index |= !dir && strcmp(name, "index.html") == 0;
            listing_add(l, name, dir, (uint64_t)st.st_size, t);
        }
        free(list[i]);
    }
    free(list);
    char *text = listing_finish(l);
    struct doc *page = site_add(w->site, strdup(d->path));
    if (has_index) {
        /* Resolved to index.html's document once all are sorted. */
        free(text);
        page->location = must_printf("%sindex.html", d->path);
        return;
    }
    page->text = text;
    page->len = strlen(text);
    page->mtime = newest;
    page->type = "text/html";
    page->utf8 = true;
}

/*
 * Sort all documents by path, and let each directory's page stand for its
 * index.html: only now do documents keep their places.
 */
static void resolve_aliases(struct site *s)
{
    qsort(s->docs, s->count, sizeof(*s->docs), by_path);
    for (size_t i = 0; i < s->count; i++) {
        struct doc *d = &s->docs[i];
        if (d->status == 200 && d->location != NULL) {
            d->alias = &s->docs[site_lookup(s, d->location) - s->docs];
            free(d->location);
            d->location = NULL;
        }
    }
}

bool tree_walk(struct site *s, const char *root, const struct options *o)
{
    struct walk w = {.site = s, .o = o, .now = time(NULL)};
    struct stat st;
    if (stat(root, &st) != 0) {
        die(root, "%s", strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) {
        die(root, "not a directory; give the directory to be served");
    }
    w.root = realpath(root, NULL);
    if (w.root == NULL || access(root, R_OK | X_OK) != 0) {
        die(root, "%s", strerror(errno));
    }
    char top[] = "/";
    struct dir d = {.source = w.root,
                    .path = top,
                    .dev = st.st_dev,
                    .ino = st.st_ino,
                    .mtime = file_time(&w, &st)};
    walk_dir(&w, &d);
    s->hidden = hide_report(w.root);
    free(w.root);
    resolve_aliases(s);
    return s->skipped == 0;
}
