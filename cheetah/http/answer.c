/* SPDX-License-Identifier: MIT */
/*
 * What to answer about a representation: preconditions, then ranges, in the
 * order of RFC 9110 section 13.2.2.
 */
#include "cheetah/http/http.h"

static bool tags_match(const struct http_request *r, const struct http_tags *t,
                       uint64_t etag, bool strong)
{
    for (unsigned i = 0; i < t->count; i++) {
        bool weak = (t->weak >> i & 1) != 0;
        if (t->tag[i] == etag && !(strong && weak)) {
            return true;
        }
    }
    return t->any ||
           (t->more &&
            http_head_lists(r, t == &r->if_match ? "if-match" : "if-none-match",
                            etag, strong));
}

/* 0 to go on, or 304 or 412. */
static uint16_t precondition(const struct http_request *r, uint64_t etag,
                             int64_t mtime)
{
    if (r->if_match.present) {
        if (!tags_match(r, &r->if_match, etag, true)) {
            return 412;
        }
    } else if (r->if_unmodified_since != HTTP_NO_DATE &&
               mtime > r->if_unmodified_since) {
        return 412;
    }
    if (r->if_none_match.present) {
        return tags_match(r, &r->if_none_match, etag, false) ? 304 : 0;
    }
    return r->if_modified_since != HTTP_NO_DATE && mtime <= r->if_modified_since
               ? 304
               : 0;
}

/* Whether a Range field is to be looked at (RFC 9110 section 13.1.5). */
static bool if_range_holds(const struct http_request *r, uint64_t etag,
                           int64_t mtime)
{
    return !r->if_range || (r->if_range_is_tag ? r->if_range_tag == etag
                                               : r->if_range_date == mtime);
}

/* Clip to the body; false if nothing of it is left. */
static bool resolve(const struct http_range *in, uint64_t len,
                    struct http_range *out)
{
    if (in->first == HTTP_SUFFIX) {
        out->first = in->last < len ? len - in->last : 0;
        out->last = len - 1;
        return in->last != 0;
    }
    out->first = in->first;
    out->last = in->last < len ? in->last : len - 1;
    return in->first < len;
}

static void pick_ranges(const struct http_request *r, uint64_t len,
                        struct http_answer *a)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < r->ranges; i++) {
        struct http_range *out = &a->range[a->ranges];
        if (resolve(&r->range[i], len, out)) {
            total += out->last - out->first + 1;
            a->ranges++;
        }
    }
    if (a->ranges == 0) {
        a->status = 416;
    } else if (total <= len) {
        a->status = 206;
    } else {
        /* Overlapping ranges cost more than the whole: send that. */
        a->ranges = 0;
    }
}

struct http_answer http_evaluate(const struct http_request *r, uint64_t etag,
                                 int64_t mtime, uint64_t body_len)
{
    struct http_answer a = {.status = precondition(r, etag, mtime)};
    if (a.status != 0) {
        return a;
    }
    a.status = 200;
    /* An empty body has no range to speak of; send it whole. */
    if (r->method == HTTP_GET && r->ranges != 0 && body_len != 0 &&
        if_range_holds(r, etag, mtime)) {
        pick_ranges(r, body_len, &a);
    }
    return a;
}

const char *http_reason(unsigned status)
{
    switch (status) {
    case 200:
        return "200 OK";
    case 204:
        return "204 No Content";
    case 206:
        return "206 Partial Content";
    case 301:
        return "301 Moved Permanently";
    case 304:
        return "304 Not Modified";
    case 400:
        return "400 Bad Request";
    case 404:
        return "404 Not Found";
    case 405:
        return "405 Method Not Allowed";
    case 406:
        return "406 Not Acceptable";
    case 408:
        return "408 Request Timeout";
    case 412:
        return "412 Precondition Failed";
    case 413:
        return "413 Content Too Large";
    case 414:
        return "414 URI Too Long";
    case 416:
        return "416 Range Not Satisfiable";
    case 417:
        return "417 Expectation Failed";
    case 421:
        return "421 Misdirected Request";
    case 431:
        return "431 Request Header Fields Too Large";
    case 500:
        return "500 Internal Server Error";
    case 501:
        return "501 Not Implemented";
    case 503:
        return "503 Service Unavailable";
    case 505:
        return "505 HTTP Version Not Supported";
    default:
        return NULL;
    }
}
