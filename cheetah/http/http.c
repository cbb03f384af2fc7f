/* SPDX-License-Identifier: MIT */
/*
 * The request line, field lines and framing of RFC 9112.
 *
 * Strict where two readers could disagree about where a request ends, since
 * that is what request smuggling lives on: lines end in CRLF alone, no space
 * before a colon, no folded lines, no bare CR, NUL or other control bytes, one
 * Content-Length of digits alone, never together with Transfer-Encoding.
 */
#include "cheetah/http/http.h"

#define TCHAR 1u    /* token, RFC 9110 s5.6.2 */
#define TARGET 2u   /* taken in a target; raw UTF-8 too, which clients send */
#define VALUE 4u    /* field-vchar, SP, HTAB, obs-text */
#define HOST 8u     /* reg-name and IPv4address, RFC 3986 s3.2.2 */
#define PATH 16u    /* of TARGET, all before a query */
#define PLAIN 32u   /* of PATH, all that stands for itself in any place */
#define LITERAL 64u /* IP-literal between its brackets */
#define DIGIT 128u

#define P (TARGET | PATH | VALUE)
#define TV (P | PLAIN)
#define TVH (TV | HOST | LITERAL)
#define TVT (TV | TCHAR)
#define ALL (TVH | TCHAR)

static const uint8_t CLASS[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = ALL,
    ['"'] = TV,
    ['#'] = VALUE | TCHAR,
    ['$'] = ALL,
    ['%'] = P | TCHAR,
    ['&' ... '\''] = ALL,
    ['(' ... ')'] = TVH,
    ['*' ... '+'] = ALL,
    [','] = TVH,
    ['-'] = ALL,
    ['.'] = P | TCHAR | HOST | LITERAL,
    ['/'] = P,
    ['0' ... '9'] = ALL | DIGIT,
    [':'] = TV | LITERAL,
    [';'] = TVH,
    ['<'] = TV,
    ['='] = TVH,
    ['>'] = TV,
    ['?'] = TARGET | VALUE,
    ['@'] = TV,
    ['A' ... 'Z'] = ALL,
    ['['] = TV,
    ['\\'] = TV,
    [']'] = TV,
    ['^'] = TVT,
    ['_'] = ALL,
    ['`'] = TVT,
    ['a' ... 'z'] = ALL,
    ['{'] = TV,
    ['|'] = TVT,
    ['}'] = TV,
    ['~'] = ALL,
    [0x80 ... 0xff] = TV,
};

/* What is being read, and what was seen of fields that frame a message. */
struct parser {
    const uint8_t *p, *end;
    const uint8_t *start;
    int64_t now;
    struct http_request *r;
    unsigned hosts;
    bool have_length, have_encoding;
    bool chunked, chunked_last; /* nothing but that; that as the last coding */
    bool close, keep_alive;     /* tokens of Connection */
    bool bad_expect;
    unsigned range_fields, modified_fields, unmodified_fields;
};

bool http_same(const uint8_t *s, size_t len, const char *lower)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = s[i];
        c |= c >= 'A' && c <= 'Z' ? 0x20 : 0;
        if (lower[i] == 0 || c != (uint8_t)lower[i]) {
            return false;
        }
    }
    return lower[len] == 0;
}

bool http_tchar(uint8_t c)
{
    return (CLASS[c] & TCHAR) != 0;
}

/* Bytes of class `bits` from p on; four at a time, since most of a request is
   read by this. */
static const uint8_t *span(const uint8_t *p, const uint8_t *end, uint8_t bits)
{
    while (end - p >= 4 && (CLASS[p[0]] & CLASS[p[1]] & CLASS[p[2]] &
                            CLASS[p[3]] & bits) != 0) {
        p += 4;
    }
    while (p < end && (CLASS[*p] & bits) != 0) {
        p++;
    }
    return p;
}

/* 1 past a CRLF at p, 0 for want of bytes, -400 for anything else. */
static int crlf(struct parser *s)
{
    if (s->p == s->end) {
        return 0;
    }
    if (*s->p != '\r') {
        return -400;
    }
    if (s->p + 1 == s->end) {
        return 0;
    }
    if (s->p[1] != '\n') {
        return -400;
    }
    s->p += 2;
    return 1;
}

/* Take what most requests have here, if it is here. */
static inline bool begins(struct parser *s, const char *usual, size_t len)
{
    bool yes = s->end - s->p >= (ptrdiff_t)len &&
               __builtin_memcmp(s->p, usual, len) == 0;
    s->p += yes ? len : 0;
    return yes;
}

/* ------------------------------------------------------------ request line */

static int method(struct parser *s)
{
    static const char *const known[] = {"POST",  "PUT",   "DELETE",
                                        "PATCH", "TRACE", "CONNECT"};
    if (begins(s, "GET ", 4)) {
        s->r->method = HTTP_GET;
        return 1;
    }
    const uint8_t *start = s->p, *p = span(s->p, s->end, TCHAR);
    size_t len = (size_t)(p - start);
    if (len > 32) {
        return -501;
    }
    if (p == s->end) {
        return 0;
    }
    if (len == 0 || *p != ' ') {
        return -400;
    }
    s->p = p + 1;
    s->r->method = HTTP_OTHER;
    if (len == 4 && __builtin_memcmp(start, "HEAD", 4) == 0) {
        s->r->method = HTTP_HEAD;
    } else if (len == 7 && __builtin_memcmp(start, "OPTIONS", 7) == 0) {
        s->r->method = HTTP_OPTIONS;
    } else {
        s->r->refuse = 501;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            if (__builtin_strlen(known[i]) == len &&
                __builtin_memcmp(start, known[i], len) == 0) {
                s->r->refuse = 405;
            }
        }
    }
    return 1;
}

/* Like span, and past percent escapes; NULL: one is broken. */
static const uint8_t *escaped(const uint8_t *p, const uint8_t *end,
                              uint8_t bits)
{
    while ((p = span(p, end, bits)) < end && *p == '%') {
        if (end - p < 3 || http_hex(p[1]) < 0 || http_hex(p[2]) < 0) {
            return NULL;
        }
        p += 3;
    }
    return p;
}

/* Past uri-host [ ":" port ] at p (RFC 3986 section 3.2.2): only an IPv6
   address, in brackets, has colons inside. NULL: a bracket is not closed,
   or what is in it is no address, or an escape is none. */
static const uint8_t *authority(const uint8_t *p, const uint8_t *end)
{
    if (p < end && *p == '[') {
        const uint8_t *in = p + 1;
        p = escaped(in, end, LITERAL);
        if (p == NULL || p == end || *p != ']' || !http_ip_literal(in, p)) {
            return NULL;
        }
        p++;
    } else {
        p = escaped(p, end, HOST);
    }
    return p != NULL && p < end && *p == ':' ? span(p + 1, end, DIGIT) : p;
}

/* absolute-form: skip scheme and authority (RFC 9112 section 3.2.2), of which
   the host may not be empty (RFC 9110 section 4.2.1). What is sound but of
   another scheme is not ours to answer: over plain TCP nobody proves to speak
   for https (RFC 9110 section 7.4). */
static bool skip_authority(struct http_request *r, const uint8_t **p,
                           const uint8_t *end)
{
    const uint8_t *host;
    if (end - *p >= 7 && http_same(*p, 7, "http://")) {
        host = *p + 7;
    } else if (end - *p >= 8 && http_same(*p, 8, "https://")) {
        host = *p + 8;
        r->refuse = r->refuse != 0 ? r->refuse : 421;
    } else {
        return false;
    }
    *p = authority(host, end);
    return *p != NULL && *p != host && *host != ':' &&
           (*p == end || **p == '/');
}

/* Reduce the target [t, end), in which a query begins at `query` if not at its
   end, to its path. */
static int target_path(struct parser *s, const uint8_t *t, const uint8_t *query,
                       const uint8_t *end)
{
    static const uint8_t root[] = "/";
    struct http_request *r = s->r;
    if (t == end) {
        return -400;
    }
    if (r->refuse == 405 && *t != '/') {
        r->path = root; /* CONNECT host:port, and the like */
        r->path_len = 1;
        return 1;
    }
    if (*t == '*' && end - t == 1 && r->method == HTTP_OPTIONS) {
        r->star = true;
        return 1;
    }
    if (*t != '/' && !skip_authority(r, &t, query)) {
        return -400;
    }
    r->path = query == t ? root : t;
    r->path_len = (uint16_t)(query == t ? 1 : query - t);
    r->query = query;
    r->query_len = (uint16_t)(end - query);
    return 1;
}

static int target(struct parser *s)
{
    const uint8_t *start = s->p, *query = span(s->p, s->end, PATH);
    const uint8_t *p = span(query, s->end, TARGET);
    if (p - start > (ptrdiff_t)HTTP_TARGET_MAX) {
        return -414;
    }
    if (p == s->end) {
        return 0;
    }
    if (*p != ' ') {
        return -400;
    }
    s->p = p + 1;
    return target_path(s, start, query, p);
}

/* "HTTP/" DIGIT "." DIGIT CRLF */
static int version(struct parser *s)
{
    static const char want[] = "HTTP/";
    if (begins(s, "HTTP/1.1", 8)) {
        return crlf(s);
    }
    const uint8_t *p = s->p;
    for (int i = 0; i < 8; i++) {
        if (p + i == s->end) {
            return 0;
        }
        bool digit = http_digit(p[i]);
        if (i < 5 ? p[i] != (uint8_t)want[i] : i == 6 ? p[i] != '.' : !digit) {
            return -400;
        }
    }
    s->p += 8;
    int r = crlf(s);
    if (r > 0 && p[5] != '1') {
        return -505;
    }
    s->r->http10 = p[7] == '0';
    return r;
}

static int request_line(struct parser *s)
{
    int r = 1;
    /* RFC 9112 section 2.2: an empty line before a request is ignored. */
    for (int i = 0; i < 2 && s->p < s->end && *s->p == '\r' && r > 0; i++) {
        r = crlf(s);
    }
    r = r > 0 ? method(s) : r;
    r = r > 0 ? target(s) : r;
    return r > 0 ? version(s) : r;
}

/* ------------------------------------------------------------- field lines */

static int content_length(struct parser *s, const uint8_t *v, size_t len)
{
    uint64_t n = 0;
    if (s->have_length || len == 0) {
        return -400;
    }
    for (size_t i = 0; i < len; i++) {
        if (!http_digit(v[i])) {
            return -400;
        }
        /* Saturates: RFC 9110 section 8.6 calls every number valid, and judge
           refuses what is too much. */
        n = n > HTTP_BODY_MAX ? n : n * 10 + (uint64_t)(v[i] - '0');
    }
    s->have_length = true;
    s->r->body_len = n;
    return 1;
}

static int host(struct parser *s, const uint8_t *v, size_t len)
{
    return ++s->hosts == 1 && authority(v, v + len) == v + len ? 1 : -400;
}

static void connection(struct parser *s, const uint8_t *v, size_t len)
{
    const uint8_t *end = v + len;
    const uint8_t *item;
    while (http_list_next(&v, end, &item, &len)) {
        s->close |= http_same(item, len, "close");
        s->keep_alive |= http_same(item, len, "keep-alive");
    }
}

static void transfer_encoding(struct parser *s, const uint8_t *v, size_t len)
{
    const uint8_t *end = v + len;
    s->chunked = !s->have_encoding && http_same(v, len, "chunked");
    s->have_encoding = true;
    const uint8_t *item;
    while (http_list_next(&v, end, &item, &len)) {
        s->chunked_last = http_same(item, len, "chunked");
    }
}

/* A list like others (RFC 9110 section 10.1.1), so an empty one asks for
   nothing. */
static void expect(struct parser *s, const uint8_t *v, size_t len)
{
    const uint8_t *end = v + len;
    const uint8_t *item;
    while (http_list_next(&v, end, &item, &len)) {
        bool known = http_same(item, len, "100-continue");
        s->r->expect |= known;
        s->bad_expect |= !known;
    }
}

static void range(struct parser *s, const uint8_t *v, size_t len)
{
    if (++s->range_fields == 1) {
        http_read_range(s->r, v, len);
    } else {
        s->r->ranges = 0; /* not a list field: two make no sense */
    }
}

/* Nor is a date: two are ignored (RFC 9110 sections 13.1.3, 13.1.4). */
static int64_t only_date(const struct parser *s, unsigned *fields,
                         const uint8_t *v, size_t len)
{
    return ++*fields == 1 ? http_read_date(v, len, s->now) : HTTP_NO_DATE;
}

/* Names by length, so that most fields cost one comparison of a number. */
static int field(struct parser *s, const uint8_t *n, size_t n_len,
                 const uint8_t *v, size_t len)
{
    struct http_request *r = s->r;
    switch (n_len) {
    case 4:
        return http_same(n, 4, "host") ? host(s, v, len) : 1;
    case 5:
        if (http_same(n, 5, "range")) {
            range(s, v, len);
        }
        return 1;
    case 6:
        if (http_same(n, 6, "expect")) {
            expect(s, v, len);
        }
        return 1;
    case 8:
        if (http_same(n, 8, "if-match")) {
            http_read_tags(&r->if_match, v, len);
        } else if (http_same(n, 8, "if-range")) {
            http_read_if_range(r, v, len, s->now);
        }
        return 1;
    case 10:
        if (http_same(n, 10, "connection")) {
            connection(s, v, len);
        }
        return 1;
    case 13:
        if (http_same(n, 13, "if-none-match")) {
            http_read_tags(&r->if_none_match, v, len);
        }
        return 1;
    case 14:
        return http_same(n, 14, "content-length") ? content_length(s, v, len)
                                                  : 1;
    case 15:
        if (http_same(n, 15, "accept-encoding")) {
            http_read_encodings(r, v, len);
        }
        return 1;
    case 17:
        if (http_same(n, 17, "if-modified-since")) {
            r->if_modified_since = only_date(s, &s->modified_fields, v, len);
        } else if (http_same(n, 17, "transfer-encoding")) {
            transfer_encoding(s, v, len);
        }
        return 1;
    case 19:
        if (http_same(n, 19, "if-unmodified-since")) {
            r->if_unmodified_since =
                only_date(s, &s->unmodified_fields, v, len);
        }
        return 1;
    default:
        return 1;
    }
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* One line, its CRLF too. */
static int field_line(struct parser *s)
{
    const uint8_t *name = s->p, *colon = span(s->p, s->end, TCHAR);
    if (colon == s->end) {
        return 0;
    }
    /* Also refuses folded lines, and space before the colon. */
    if (colon == name || *colon != ':') {
        return -400;
    }
    const uint8_t *v = colon + 1;
    while (v < s->end && is_space(*v)) {
        v++;
    }
    s->p = span(v, s->end, VALUE);
    const uint8_t *v_end = s->p;
    int r = crlf(s);
    if (r <= 0) {
        return r;
    }
    while (v_end > v && is_space(v_end[-1])) {
        v_end--;
    }
    return field(s, name, (size_t)(colon - name), v, (size_t)(v_end - v));
}

/* ------------------------------------------------------------ whole request */

/* What only the complete head tells (RFC 9112 sections 3.2, 6.3, 9.3). */
static int judge(struct parser *s)
{
    struct http_request *r = s->r;
    if (s->have_encoding && (s->have_length || r->http10 || !s->chunked_last)) {
        return -400;
    }
    if (s->hosts == 0 && !r->http10) {
        return -400;
    }
    if (s->have_encoding && !s->chunked) {
        return -501;
    }
    r->chunked = s->chunked;
    if (r->body_len > HTTP_BODY_MAX && r->refuse == 0) {
        return -413;
    }
    if (s->bad_expect && r->refuse == 0 && !r->http10) {
        r->refuse = 417;
    }
    r->keep_alive = !s->close && (!r->http10 || s->keep_alive);
    /* No 100 is sent, so whether the body comes is the client's choice; and
       one that is too long is not read, whatever the answer. */
    bool body = r->body_len != 0 || r->chunked;
    if ((body && (r->expect || s->bad_expect)) || r->body_len > HTTP_BODY_MAX) {
        r->keep_alive = false;
    }
    return (int)(s->p - s->start);
}

static int more_or_too_long(const struct parser *s)
{
    return s->end - s->start >= (ptrdiff_t)HTTP_HEAD_MAX ? -431 : 0;
}

static void no_tags(struct http_tags *t)
{
    t->present = t->any = t->more = false;
    t->count = t->weak = 0;
}

int http_parse(const uint8_t *buf, size_t len, int64_t now,
               struct http_request *out)
{
    struct parser s = {.p = buf,
                       .start = buf,
                       .end = buf + (len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX),
                       .now = now,
                       .r = out};
    __builtin_memset(out, 0, __builtin_offsetof(struct http_request, range));
    no_tags(&out->if_match);
    no_tags(&out->if_none_match);
    out->if_modified_since = HTTP_NO_DATE;
    out->if_unmodified_since = HTTP_NO_DATE;
    out->if_range_date = HTTP_NO_DATE;
    int r = request_line(&s);
    out->fields = s.p;
    for (unsigned n = 0; r > 0; n++) {
        if (s.p < s.end && *s.p == '\r') {
            out->fields_len = (uint16_t)(s.p - out->fields);
            r = crlf(&s);
            return r > 0 ? judge(&s) : r < 0 ? r : more_or_too_long(&s);
        }
        r = n == HTTP_FIELDS_MAX ? -431 : field_line(&s);
    }
    return r < 0 ? r : more_or_too_long(&s);
}

/* Here for the sake of CLASS: nearly every path ends its reading by this. */
bool http_path_plain(const uint8_t *path, size_t len)
{
    const uint8_t *p = path, *end = path + len;
    if (len == 0 || len > SITE_PATH_MAX || *p != '/') {
        return false;
    }
    while (p < end) {
        bool segment = *p == '/' && p + 1 < end;
        if (*p == '%' || (segment && (p[1] == '/' || p[1] == '.'))) {
            return false;
        }
        p = span(p + 1, end, PLAIN);
    }
    return true;
}
