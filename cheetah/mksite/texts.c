/* SPDX-License-Identifier: MIT */
/*
 * The preformatted response heads of one representation, and the record in
 * front of them. Every field that does not depend on the request is here; the
 * server adds Date, Connection and, for ranges, Content-Range and the length.
 * Source: RFC 9110 sections 8, 10.2.4, 12.5.5, 14.3, 15.4.5.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/mksite/mksite.h"
#include "cheetah/site/date.h"

static const char *const ENCODING_NAME[SITE_ENCODINGS] = {"br", "gzip", NULL};

/* Where texts are written, behind the record. */
struct page {
    char *at, *start, *end;
};

static void texts_put(struct page *p, const char *name, const char *value)
{
    size_t n = strlen(name) + strlen(value);
    if ((size_t)(p->end - p->at) < n + 3) {
        return; /* the length check in texts_write reports it */
    }
    p->at += sprintf(p->at, "%s%s\r\n", name, value);
}

static void put_date(struct page *p, const char *name, int64_t t)
{
    char date[DATE_LEN + 1] = {0};
    date_format(t, date);
    texts_put(p, name, date);
}

/*
 * Status line and date, which the server writes itself (`lead`), then the
 * first field of the part whose sum is prepared.
 */
static void texts_begin(struct page *p, struct site_text *t, const char *status)
{
    t->off = (uint16_t)(p->at - p->start);
    texts_put(p, "HTTP/1.1 ", status);
    put_date(p, "Date: ", 0);
    t->lead = (uint16_t)(p->at - p->start - t->off);
    texts_put(p, "Server: ", "Cheetah");
}

static void texts_finish(struct page *p, struct site_text *t)
{
    texts_put(p, "", "");
    t->len = (uint16_t)(p->at - p->start - t->off);
    t->sum = site_sum(p->start + t->off + t->lead, (size_t)t->len - t->lead, 0);
}

/* The fields that 200, 206 and 304 share (RFC 9110 section 15.4.5). */
static void validators(struct page *p, const struct doc *d,
                       const struct site_record *r)
{
    char etag[24];
    snprintf(etag, sizeof(etag), "\"%016llx\"", (unsigned long long)r->etag);
    put_date(p, "Last-Modified: ", d->mtime);
    texts_put(p, "ETag: ", etag);
    if (d->rep[SITE_BR].present || d->rep[SITE_GZIP].present) {
        texts_put(p, "Vary: ", "Accept-Encoding");
    }
}

/* The fields about the body. nosniff: the type is the one that is said here. */
static void entity(struct page *p, const struct doc *d, struct site_record *r)
{
    const char *encoding = ENCODING_NAME[r->encoding];
    if (encoding != NULL) {
        texts_put(p, "Content-Encoding: ", encoding);
    }
    texts_put(p, "X-Content-Type-Options: ", "nosniff");
    /* The type is found again for the parts of a multipart answer. */
    r->type_off = (uint16_t)(p->at - p->start + 14); /* past the name */
    texts_put(p, "Content-Type: ", d->type);
    if (d->utf8 && mime_is_text(d->type)) {
        p->at -= 2;
        texts_put(p, "; charset=", "utf-8");
    }
    r->type_len = (uint16_t)(p->at - 2 - p->start - r->type_off);
}

static void put_full(struct page *p, const struct doc *d, struct site_record *r)
{
    char len[24];
    snprintf(len, sizeof(len), "%llu", (unsigned long long)r->body_len);
    texts_begin(p, &r->full,
                d->status == 200 ? "200 OK" : "301 Moved Permanently");
    if (d->location != NULL) {
        texts_put(p, "Location: ", d->location);
    }
    validators(p, d, r);
    texts_put(p, "Accept-Ranges: ", "bytes");
    entity(p, d, r);
    texts_put(p, "Content-Length: ", len);
    texts_finish(p, &r->full);
}

/* The first 8 bytes of the digest: equal bodies have equal tags, whatever their
   dates. */
static uint64_t etag_of(const uint8_t sha256[32])
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | sha256[i];
    }
    return v;
}

/*
 * Where texts and tables lie. `full` ends where the body begins if that is
 * in the first block, so that the device reads both as one piece; prefix sums
 * are in front of it. Else `full` follows the other texts, and the sums it.
 */
static void texts_place(struct page *p, const struct doc *d,
                        struct site_record *r)
{
    char *others_end = p->at;
    uint64_t sums = 2 * site_sums_count(r->body_len);
    put_full(p, d, r);
    uint64_t at = (uint64_t)(p->at - p->start) + 1 + sums; /* 1: to be even */
    uint64_t body = (at + SITE_GRANULE - 1) / SITE_GRANULE * SITE_GRANULE;
    r->body_off = (uint32_t)body;
    if (body >= SITE_BLOCK) {
        r->sums_off = (uint32_t)(p->at - p->start + 1) & ~1u;
        return;
    }
    uint16_t off = (uint16_t)(body - r->full.len);
    memmove(p->start + off, others_end, r->full.len);
    memset(others_end, 0, (size_t)(p->start + off - others_end));
    r->sums_off = (uint32_t)(r->full.off + 1u) & ~1u;
    r->type_off = (uint16_t)(r->type_off + off - r->full.off);
    r->full.off = off;
}

void texts_write(const struct doc *d, enum site_encoding e, uint8_t *out)
{
    const struct rep *rep = &d->rep[e];
    struct site_record r = {
        .magic = SITE_RECORD_MAGIC,
        .status = d->status,
        .encoding = (uint8_t)e,
        .body_len = rep->len,
        .etag = etag_of(rep->sha256),
        .mtime = d->mtime,
        .blocks = rep->blocks,
        .group = rep->group,
    };
    memcpy(r.body_sha256, rep->sha256, sizeof(r.body_sha256));
    memset(out, 0, SITE_BLOCK);
    char *start = (char *)out;
    struct page p = {start + sizeof(r), start, start + SITE_TEXTS_MAX};

    texts_begin(&p, &r.part, "206 Partial Content");
    validators(&p, d, &r);
    entity(&p, d, &r);
    texts_finish(&p, &r.part);
    texts_begin(&p, &r.same, "304 Not Modified");
    validators(&p, d, &r);
    texts_finish(&p, &r.same);
    texts_place(&p, d, &r);
    if (p.end - p.at < 256) {
        die(d->path, "its response head does not fit a block; the path is "
                     "too long");
    }
    memcpy(out, &r, sizeof(r));
}
