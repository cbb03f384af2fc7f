/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 requests as an origin server of static content needs them
 * (RFC 9110, 9112). Pure functions over bytes that a stranger sent: no memory
 * is taken, nothing is kept but the request itself, which points to its path,
 * query and fields in those bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cheetah/site/format.h"

#define HTTP_HEAD_MAX 8192u   /* bytes of a request head; beyond it 431 */
#define HTTP_TARGET_MAX 8000u /* bytes of a request target; beyond it 414 */
#define HTTP_FIELDS_MAX 100u  /* field lines; beyond it 431 */
#define HTTP_BODY_MAX                                                          \
    65536u                 /* a request body we read past; beyond it 413,      \
                              or what is wrong anyway, and the end */
#define HTTP_RANGES_MAX 8u /* more are ignored, as RFC 9110 s14.2 allows */
#define HTTP_TAGS_MAX 8u   /* entity tags of a list that are kept in place */

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_OPTIONS, HTTP_OTHER };

/* Entity tags of If-Match and If-None-Match; tags we never make are dropped. */
struct http_tags {
    bool present;
    bool any;  /* "*" */
    bool more; /* the list goes on: it is read in the head again */
    uint8_t count;
    uint8_t weak; /* bit i: tag[i] has W/ */
    uint64_t tag[HTTP_TAGS_MAX];
};

/* Inclusive bytes; first == HTTP_SUFFIX: the last `last` bytes. */
struct http_range {
    uint64_t first, last;
};
#define HTTP_SUFFIX UINT64_MAX
#define HTTP_TO_END UINT64_MAX /* as `last`: no upper end was given */

#define HTTP_NO_DATE INT64_MIN

struct http_request {
    uint8_t method; /* enum http_method */
    bool http10;
    bool keep_alive; /* what the client wants, after version and Connection */
    bool star;       /* OPTIONS * */
    bool expect;     /* waits for 100 (Continue) */
    bool chunked;    /* a chunked body follows the head */
    uint16_t refuse; /* not 0: a sound request, to be answered by this error */
    uint16_t path_len;
    uint16_t query_len;  /* with its '?'; 0: none */
    uint16_t fields_len; /* of all field lines */
    const uint8_t *path; /* as sent, without query; lies in the parsed bytes */
    const uint8_t *query;
    const uint8_t *fields;
    uint64_t body_len;           /* of the request, follows its head */
    int64_t if_modified_since;   /* seconds, or HTTP_NO_DATE */
    int64_t if_unmodified_since; /* the same */
    int64_t if_range_date;       /* the same */
    uint64_t if_range_tag;
    bool if_range; /* present */
    bool if_range_is_tag;
    bool negotiate;                   /* Accept-Encoding is present */
    uint16_t quality[SITE_ENCODINGS]; /* 0 to 1000 */
    uint8_t ranges;
    struct http_range range[HTTP_RANGES_MAX]; /* so many are set */
    struct http_tags if_match, if_none_match;
};

/*
 * Read one request head.
 *
 * buf, len  what has arrived, from the head's first byte on
 * now       seconds since 1970, for two-digit years
 * out       complete when the result is positive; when negative, its method
 *           is right if it could be read, else HTTP_GET
 *
 * Returns the head's length in bytes, 0 if more bytes are needed, or minus the
 * status of an error after which the connection cannot be used further.
 * The answer for a prefix of the bytes is 0 or the same.
 */
int http_parse(const uint8_t *buf, size_t len, int64_t now,
               struct http_request *out);

/*
 * Turn a request path into the form under which the index knows it: percent
 * escapes decoded, empty and dot segments removed.
 *
 * out  SITE_PATH_MAX bytes; may not overlap `path`
 *
 * Returns the length, -400 for a broken escape, or -404 for what no file can
 * be called.
 */
int http_path(const uint8_t *path, size_t len, uint8_t *out);

/* Whether http_path would give back the path as it is. */
bool http_path_plain(const uint8_t *path, size_t len);

/*
 * The representation to send of those that exist.
 *
 * block  of a site_entry: 0 where there is none
 *
 * Returns an enum site_encoding, or -406 if the client refuses all.
 */
int http_choose(const struct http_request *r,
                const uint32_t block[SITE_ENCODINGS]);

/* Where we are in a chunked request body. */
struct http_chunks {
    uint8_t place;  /* 0: in none */
    uint32_t left;  /* bytes of this chunk's data to come */
    uint32_t data;  /* bytes of data so far, at most HTTP_BODY_MAX */
    uint32_t extra; /* other bytes so far, at most HTTP_HEAD_MAX */
};

void http_chunks_begin(struct http_chunks *k);

/*
 * Read past as much of a body as lies in [p, p + len). Returns the bytes done
 * with (all of them unless k->place became 0), -400, or -413 or -431 for one
 * that is too long: the connection cannot be used further.
 */
int http_chunks_skip(struct http_chunks *k, const uint8_t *p, size_t len);

/* What to answer about a representation. */
struct http_answer {
    uint16_t status;                          /* 200, 206, 304, 412 or 416 */
    uint8_t ranges;                           /* of 206: from 1 on */
    struct http_range range[HTTP_RANGES_MAX]; /* inclusive, inside the body */
};

/*
 * Evaluate preconditions and ranges in the order of RFC 9110 section 13.2.2.
 * The parsed bytes must still be there if http_tags_more(r).
 *
 * etag, mtime, body_len  of the representation
 */
struct http_answer http_evaluate(const struct http_request *r, uint64_t etag,
                                 int64_t mtime, uint64_t body_len);

static inline bool http_tags_more(const struct http_request *r)
{
    return r->if_match.more || r->if_none_match.more;
}

/* The status line's tail, "404 Not Found"; NULL for a status we never send. */
const char *http_reason(unsigned status);

/* fields.c: read one field's value into the request. */
void http_read_tags(struct http_tags *t, const uint8_t *v, size_t len);
/* Whether a field of this name, in lower case, lists the tag. strong: W/ does
   not count. */
bool http_head_lists(const struct http_request *r, const char *name,
                     uint64_t etag, bool strong);
void http_read_range(struct http_request *r, const uint8_t *v, size_t len);
void http_read_if_range(struct http_request *r, const uint8_t *v, size_t len,
                        int64_t now);
void http_read_encodings(struct http_request *r, const uint8_t *v, size_t len);
/* Seconds since 1970, or HTTP_NO_DATE if it is none. */
int64_t http_read_date(const uint8_t *v, size_t len, int64_t now);

/* Compare without regard to ASCII case; `lower` is in lower case. */
bool http_same(const uint8_t *s, size_t len, const char *lower);

/* Whether a token may hold this byte (RFC 9110 section 5.6.2). */
bool http_tchar(uint8_t c);

/* literal.c: whether [p, end) may stand in brackets for a host. Its percent
   escapes are sound. */
bool http_ip_literal(const uint8_t *p, const uint8_t *end);

static inline bool http_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit; -1 if it is none. */
static inline int http_hex(uint8_t c)
{
    return http_digit(c)                        ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* The next element of a comma-separated list, trimmed; false at the end. */
bool http_list_next(const uint8_t **p, const uint8_t *end, const uint8_t **item,
                    size_t *len);
