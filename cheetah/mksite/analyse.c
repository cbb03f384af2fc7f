/* SPDX-License-Identifier: MIT */
/*
 * Read every document once: its digest, its type, its encoded copies, what it
 * embeds. Workers take documents in any order; each result depends on one
 * document alone, so the image does not depend on their number. Encoded bodies
 * wait in an unlinked spill file: memory stays bounded by workers, not by the
 * site.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"
#include "cheetah/mksite/utf8.h"
#include "cheetah/site/sha256.h"

#define CHUNK (1u << 20)
#define ENCODE_MIN 1024u       /* smaller bodies fit one segment anyway */
#define ENCODE_MAX (16u << 20) /* larger ones would make a build slow */

struct work {
    struct site *site;
    const struct options *o;
    pthread_mutex_t lock; /* of site->spill_end */
    atomic_size_t next, done;
};

int source_open(const struct doc *d)
{
    /*
     * The walk saw a regular file here. If it became a pipe or a terminal
     * meanwhile, opening it must neither wait nor take it over.
     */
    int fd = open(d->source, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        die(d->source, "%s", strerror(errno));
    }
    /*
     * Each file is read twice, here for its digest and later for its body.
     * Both must see the same bytes, or the image would contradict itself.
     */
    int64_t ns = st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->len ||
        ns != d->mtime_ns) {
        die(d->source, "changed while the image was made; run mksite again");
    }
    return fd;
}

void source_read(const struct doc *d, int fd, void *buf, size_t len)
{
    for (char *p = buf; len != 0;) {
        ssize_t n = read(fd, p, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            die(d->source, "%s", strerror(errno));
        }
        if (n == 0) {
            die(d->source, "became shorter while the image was made");
        }
        p += n;
        len -= (size_t)n;
    }
}

/*
 * Reserve room under the lock, then write without it: workers write side by
 * side. The order in the file depends on chance, and nothing depends on it.
 */
static void spill_write(struct work *w, struct rep *r, const uint8_t *data,
                        size_t len)
{
    pthread_mutex_lock(&w->lock);
    r->spill = w->site->spill_end;
    w->site->spill_end += (off_t)len;
    pthread_mutex_unlock(&w->lock);
    for (size_t at = 0; at < len;) {
        ssize_t n =
            pwrite(w->site->spill, data + at, len - at, r->spill + (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            die(NULL, "temporary file: %s", strerror(errno));
        }
        at += (size_t)n;
    }
}

/* A copy in each encoding that is worth its place on the disk. */
static void encode_all(struct work *w, struct doc *d, const uint8_t *body)
{
    for (enum site_encoding e = SITE_BR; e < SITE_IDENTITY; e++) {
        size_t len;
        uint8_t *out = encode(e, w->o->compress, body, (size_t)d->len, &len);
        if (out == NULL) {
            continue;
        }
        struct rep *r = &d->rep[e];
        r->present = true;
        r->len = len;
        sha256_of(out, len, r->sha256);
        spill_write(w, r, out, len);
        free(out);
    }
}

/* The type, once every byte was seen. */
static void set_type(struct doc *d, const struct utf8 *u)
{
    d->utf8 = utf8_is_text(u);
    d->type = mime_by_name(d->path);
    if (d->type == NULL) {
        d->type = d->utf8 ? "text/plain" : "application/octet-stream";
    }
}

static void analyse_one(struct work *w, struct doc *d, uint8_t *chunk)
{
    struct utf8 u = {0};
    struct rep *r = &d->rep[SITE_IDENTITY];
    /*
     * A body that may be compressed or searched is read whole; a larger one
     * passes through the worker's chunk.
     */
    bool whole = d->len <= ENCODE_MAX;
    uint8_t *body = (uint8_t *)d->text;
    int fd = -1;
    if (d->source != NULL) {
        fd = source_open(d);
        body = whole ? must_alloc(NULL, (size_t)d->len) : chunk;
    }
    struct sha256 h;
    sha256_init(&h);
    for (uint64_t at = 0; at < d->len;) {
        size_t n = d->len - at < CHUNK ? (size_t)(d->len - at) : CHUNK;
        uint8_t *p = whole ? body + at : chunk;
        if (fd >= 0) {
            source_read(d, fd, p, n);
        }
        sha256_add(&h, p, n);
        utf8_add(&u, p, n);
        at += n;
    }
    sha256_finish(&h, r->sha256);
    r->present = true;
    r->len = d->len;
    if (fd >= 0) {
        close(fd);
        set_type(d, &u);
    }
    if (whole && w->o->compress != COMPRESS_NONE && d->len >= ENCODE_MIN &&
        mime_is_compressible(d->type)) {
        encode_all(w, d, body);
    }
    if (whole && strcmp(d->type, "text/html") == 0 && d->status == 200) {
        refs_find(d, (const char *)body, (size_t)d->len);
    }
    if (fd >= 0 && whole) {
        free(body);
    }
}

static void *worker(void *arg)
{
    struct work *w = arg;
    uint8_t *chunk = must_alloc(NULL, CHUNK);
    for (;;) {
        size_t i = atomic_fetch_add(&w->next, 1);
        if (i >= w->site->count) {
            break;
        }
        /* An alias has the extents of its document. */
        if (w->site->docs[i].alias == NULL) {
            analyse_one(w, &w->site->docs[i], chunk);
        }
        atomic_fetch_add(&w->done, 1);
    }
    free(chunk);
    return NULL;
}

void analyse(struct site *s, const struct options *o)
{
    struct work w = {.site = s, .o = o};
    pthread_t *threads = must_alloc(NULL, o->jobs * sizeof(*threads));
    pthread_mutex_init(&w.lock, NULL);
    for (unsigned i = 0; i < o->jobs; i++) {
        int r = pthread_create(&threads[i], NULL, worker, &w);
        if (r != 0) {
            die(NULL, "cannot start a worker: %s", strerror(r));
        }
    }
    while (atomic_load(&w.done) < s->count) {
        progress(o, "reading and compressing", atomic_load(&w.done), s->count);
        /* The main thread only shows progress. */
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    for (unsigned i = 0; i < o->jobs; i++) {
        pthread_join(threads[i], NULL);
    }
    progress_end(o);
    pthread_mutex_destroy(&w.lock);
    free(threads);
}
