/* SPDX-License-Identifier: MIT */
/*
 * Write the image, front to back, into OUT.partial; rename it when whole. So a
 * reader never sees half an image, and an interrupted run leaves the old one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"
#include "cheetah/site/sha256.h"

#define CHUNK (1u << 20)

static char *partial; /* the file to remove on any early exit */

struct image {
    int fd;
    uint8_t *chunk;
    const struct options *o;
};

static void remove_partial(void)
{
    if (partial != NULL) {
        unlink(partial);
    }
}

static void write_at(const struct image *im, const void *data, size_t len,
                     uint64_t at)
{
    for (const char *p = data; len != 0;) {
        ssize_t n = pwrite(im->fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            die(partial, "cannot write: %s", strerror(errno));
        }
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
}

/*
 * All pieces but the last are a multiple of SITE_GRANULE long, so that sums
 * stand at the same places however a body is read.
 */
void sums_add(struct sums *s, const uint8_t *data, size_t len)
{
    while (len != 0) {
        size_t n = len < SITE_GRANULE ? len : SITE_GRANULE;
        s->prefix[s->count] = site_sum(data, n, s->prefix[s->count - 1]);
        s->count++;
        data += n;
        len -= n;
    }
}

/* Read `len` bytes of a body at `at`, from wherever it is kept. */
static void body_read(const struct site *s, const struct place *p, int fd,
                      uint8_t *buf, size_t len, uint64_t at)
{
    const struct doc *d = p->doc;
    if (p->encoding == SITE_IDENTITY && d->source == NULL) {
        memcpy(buf, d->text + at, len);
        /* In order: a file is read from its beginning to its end. */
    } else if (p->encoding == SITE_IDENTITY) {
        source_read(d, fd, buf, len);
    } else {
        off_t off = d->rep[p->encoding].spill + (off_t)at;
        for (size_t got = 0; got < len;) {
            ssize_t n = pread(s->spill, buf + got, len - got, off + (off_t)got);
            if (n <= 0) {
                die(NULL, "temporary file: %s", strerror(errno));
            }
            got += (size_t)n;
        }
    }
}

/*
 * Write a body, and then the head in front of it, which has the sums of the
 * body. The record and the texts are made anew instead of kept: a site may
 * have millions.
 */
static void write_extent(const struct image *im, const struct site *s,
                         const struct place *p)
{
    struct rep *r = &p->doc->rep[p->encoding];
    uint8_t first[SITE_BLOCK];
    texts_write(p->doc, p->encoding, first);
    struct site_record rec;
    memcpy(&rec, first, sizeof(rec));
    uint8_t *meta = must_alloc(NULL, rec.body_off);
    memset(meta, 0, rec.body_off);
    memcpy(meta, first, rec.body_off < SITE_BLOCK ? rec.body_off : SITE_BLOCK);
    struct sums sums = {.prefix = (uint16_t *)(void *)(meta + rec.sums_off),
                        .count = 1};
    uint64_t start = (uint64_t)r->block * SITE_BLOCK;
    bool from_file = p->encoding == SITE_IDENTITY && p->doc->source != NULL;
    int fd = from_file ? source_open(p->doc) : -1;
    for (uint64_t at = 0; at < r->len;) {
        size_t n = r->len - at < CHUNK ? (size_t)(r->len - at) : CHUNK;
        body_read(s, p, fd, im->chunk, n, at);
        sums_add(&sums, im->chunk, n);
        write_at(im, im->chunk, n, start + rec.body_off + at);
        at += n;
    }
    if (fd >= 0) {
        close(fd);
    }
    sha256_of(meta, rec.body_off, r->meta_sha256);
    write_at(im, meta, rec.body_off, start);
    free(meta);
}

static void image_put_hex(FILE *f, const uint8_t sha256[32])
{
    for (int i = 0; i < 32; i++) {
        fprintf(f, "%02x", sha256[i]);
    }
    fputc(' ', f);
}

/* One line for each extent, in path order. */
static char *manifest(const struct site *s, size_t *len)
{
    static const char *const name[SITE_ENCODINGS] = {"br", "gzip", "identity"};
    char *text = NULL;
    FILE *f = open_memstream(&text, len);
    if (f == NULL) {
        die(NULL, "out of memory");
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct doc *d = &s->docs[i];
        char *path = path_escape(d->path);
        if (d->alias != NULL) {
            char *to = path_escape(d->alias->path);
            fprintf(f, "alias %s %s\n", to, path);
            free(to);
        }
        for (int e = 0; e < SITE_ENCODINGS; e++) {
            const struct rep *r = &d->rep[e];
            if (r->present) {
                image_put_hex(f, r->sha256);
                image_put_hex(f, r->meta_sha256);
                fprintf(f, "%u %s %u %u %llu %s\n", d->status, name[e],
                        r->block, r->blocks, (unsigned long long)r->len, path);
            }
        }
        free(path);
    }
    if (fclose(f) != 0) {
        die(NULL, "out of memory");
    }
    return text;
}

/*
 * The manifest, the index and, as the last, the superblock that names both
 * with their digests: an image without it is none.
 */
static void write_ends(const struct image *im, const struct site *s,
                       struct layout *l)
{
    struct site_super *super = &l->super;
    size_t len;
    char *text = manifest(s, &len);
    size_t index_len = (size_t)super->index_blocks * SITE_BLOCK;
    uint64_t blocks = (len + SITE_BLOCK - 1) / SITE_BLOCK;
    super->manifest_len = len;
    super->manifest_blocks = (uint32_t)blocks;
    super->blocks = super->manifest_block + (uint32_t)blocks;
    sha256_of(text, len, super->manifest_sha256);
    sha256_of(l->index, index_len, super->index_sha256);
    write_at(im, text, len, (uint64_t)super->manifest_block * SITE_BLOCK);
    write_at(im, l->index, index_len, SITE_BLOCK);
    free(text);
    if (ftruncate(im->fd, (off_t)super->blocks * SITE_BLOCK) != 0) {
        die(partial, "%s", strerror(errno));
    }
    uint8_t block[SITE_BLOCK] = {0};
    memcpy(block, super, sizeof(*super));
    /* The superblock's own digest is of the block with that field zero. */
    sha256_of(block, sizeof(block), super->sha256);
    memcpy(block, super, sizeof(*super));
    write_at(im, block, sizeof(block), 0);
}

void image_write(struct site *s, const struct place *order, size_t count,
                 struct layout *l, const char *out, const struct options *o)
{
    struct image im = {.o = o, .chunk = must_alloc(NULL, CHUNK)};
    partial = must_printf("%s.partial", out);
    im.fd = open(partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (im.fd < 0) {
        die(partial, "%s", strerror(errno));
    }
    atexit(remove_partial);
    for (size_t i = 0; i < count; i++) {
        write_extent(&im, s, &order[i]);
        progress(o, "writing", i, count);
    }
    write_ends(&im, s, l);
    progress_end(o);
    /* Some file systems report a full disk only when the file is closed. */
    if (close(im.fd) != 0 || rename(partial, out) != 0) {
        die(out, "%s", strerror(errno));
    }
    free(partial);
    partial = NULL;
    free(im.chunk);
}
