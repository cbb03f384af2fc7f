/* SPDX-License-Identifier: MIT */
/*
 * What a response consists of. Its lead is written once, here; everything else
 * is a description of bytes that lie elsewhere. A response that is asked for
 * again, by retransmission, is described by the same spans and so gives the
 * same bytes.
 */
#include "cheetah/server/server.h"

void put_text(struct out *o, const char *s)
{
    for (; *s != 0 && o->p < o->end; s++) {
        *o->p++ = *s;
    }
}

void put_number(struct out *o, uint64_t n)
{
    char digit[21], *d = digit + sizeof(digit) - 1;
    *d = 0;
    do {
        *--d = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    put_text(o, d);
}

static void put_hex(struct out *o, uint64_t n)
{
    char digit[17];
    for (int i = 15; i >= 0; i--, n >>= 4) {
        digit[i] = "0123456789abcdef"[n & 15];
    }
    digit[16] = 0;
    put_text(o, digit);
}

static void put_bytes(struct out *o, const void *s, size_t len)
{
    size_t room = (size_t)(o->end - o->p);
    len = len < room ? len : room;
    __builtin_memcpy(o->p, s, len);
    o->p += len;
}

/* ------------------------------------------------------------------- spans */

bool response_span(const struct response *r, unsigned k, struct span *out)
{
    *out = (struct span){0};
    if (k == 0) {
        out->kind = SPAN_LEAD;
        out->len = r->lead_len;
        return true;
    }
    if (k == 1) {
        out->kind = SPAN_TAIL;
        out->len = r->tail_len;
        return true;
    }
    if (r->page_len != 0) {
        out->kind = SPAN_PAGE;
        out->len = r->page_len;
        return k == 2;
    }
    unsigned part = r->parts > 1 ? (k - 2) / 2 : k - 2;
    if (r->parts > 1 && k % 2 == 0 && part <= r->parts) {
        out->kind = SPAN_PAGE;
        out->from = (uint64_t)part * PART_STRIDE;
        out->len = r->part_len[part];
        return true;
    }
    if (part >= r->parts) {
        return false;
    }
    out->kind = SPAN_BODY;
    out->from = r->range[part].first;
    out->len = r->range[part].last - r->range[part].first + 1;
    return true;
}

/* ------------------------------------------------------------------ writing */

static struct out lead_of(struct response *r)
{
    return (struct out){r->lead + r->lead_len, r->lead + LEAD_MAX};
}

static void lead_done(struct conn *c, struct response *r, struct out *o)
{
    uint16_t len = (uint16_t)(o->p - r->lead);
    c->server->stats.head_bytes_written += (uint64_t)(len - r->lead_len);
    r->lead_len = len;
}

static void put_start(struct out *o, const struct server *s, unsigned status)
{
    put_text(o, "HTTP/1.1 ");
    put_text(o, http_reason(status));
    put_text(o, "\r\nDate: ");
    put_bytes(o, s->date, DATE_LEN);
    put_text(o, "\r\n");
}

/* Once a second: what most answers begin with. */
static void new_second(struct server *s)
{
    struct out o = {s->lead, s->lead + LEAD_200};
    s->date_unix = s->now_unix;
    date_format(s->now_unix, s->date);
    put_start(&o, s, 200);
}

struct response *response_begin(struct conn *c, unsigned status)
{
    struct server *s = c->server;
    struct response *r = &c->response[(c->first + c->count) % RESPONSES];
    if (s->date_unix != s->now_unix) {
        new_second(s);
    }
    __builtin_memset(r, 0, __builtin_offsetof(struct response, range));
    r->live = true;
    __builtin_memset(r->page, 0, sizeof(r->page));
    struct out o = lead_of(r);
    if (status == 200) {
        put_bytes(&o, s->lead, LEAD_200);
    } else {
        put_start(&o, s, status);
    }
    if (!c->req.keep_alive) {
        put_text(&o, "Connection: close\r\n");
    } else if (c->req.http10) {
        put_text(&o, "Connection: keep-alive\r\n");
    }
    lead_done(c, r, &o);
    return r;
}

/* What a prepared head would say too. */
static void put_server(struct conn *c, struct out *o)
{
    put_text(o, "Server: Cheetah\r\n");
    if (c->vary) {
        put_text(o, "Vary: Accept-Encoding\r\n");
    }
}

void response_error(struct conn *c, unsigned status)
{
    const char *reason = http_reason(status);
    struct response *r = response_begin(c, status);
    struct out o = lead_of(r);
    put_server(c, &o);
    if (status == 204 || status == 405) {
        put_text(&o, "Allow: GET, HEAD, OPTIONS\r\n");
    }
    if (status != 204) {
        put_text(&o, "Content-Type: text/plain\r\nContent-Length: ");
        put_number(&o, __builtin_strlen(reason) + 1);
        put_text(&o, "\r\n");
    }
    put_text(&o, "\r\n");
    if (status != 204 && c->req.method != HTTP_HEAD) {
        put_text(&o, reason);
        put_text(&o, "\n");
        r->text_len = (uint16_t)(__builtin_strlen(reason) + 1);
    }
    lead_done(c, r, &o);
    conn_answered(c, r, status);
}

void response_page(struct conn *c, struct response *r, const char *type,
                   uint16_t len)
{
    struct out o = lead_of(r);
    put_text(&o, "Server: Cheetah\r\nCache-Control: no-store\r\n"
                 "Content-Type: ");
    put_text(&o, type);
    put_text(&o, "\r\nContent-Length: ");
    put_number(&o, len);
    put_text(&o, "\r\n\r\n");
    lead_done(c, r, &o);
    r->page_len = c->req.method == HTTP_GET ? len : 0;
    conn_answered(c, r, 200);
}

static void use_tail(struct response *r, const struct site_text *t)
{
    r->tail_off = (uint16_t)(t->off + t->lead);
    r->tail_len = (uint16_t)(t->len - t->lead);
    r->tail_sum = t->sum;
}

static void put_range(struct out *o, const struct http_range *g, uint64_t len)
{
    put_text(o, "Content-Range: bytes ");
    put_number(o, g->first);
    put_text(o, "-");
    put_number(o, g->last);
    put_text(o, "/");
    put_number(o, len);
    put_text(o, "\r\n");
}

static void put_length(struct out *o, uint64_t len)
{
    put_text(o, "Content-Length: ");
    put_number(o, len);
    put_text(o, "\r\n");
}

static void one_range(struct conn *c, struct response *r,
                      const struct site_record *rec)
{
    struct out o = lead_of(r);
    put_range(&o, &r->range[0], rec->body_len);
    put_length(&o, r->range[0].last - r->range[0].first + 1);
    lead_done(c, r, &o);
    use_tail(r, &rec->part);
}

/* The text before each part, and the one after the last. */
static uint64_t write_parts(struct response *r, const struct site_record *rec)
{
    const char *type = (const char *)rec + rec->type_off;
    uint64_t total = 0;
    for (unsigned i = 0; i <= r->parts; i++) {
        char *start = (char *)r->page[0]->va + (size_t)i * PART_STRIDE;
        struct out o = {start, start + PART_STRIDE};
        put_text(&o, "\r\n--pavise-");
        put_hex(&o, rec->etag);
        if (i == r->parts) {
            put_text(&o, "--\r\n");
        } else {
            put_text(&o, "\r\nContent-Type: ");
            put_bytes(&o, type, rec->type_len < 100 ? rec->type_len : 100);
            put_text(&o, "\r\n");
            put_range(&o, &r->range[i], rec->body_len);
            put_text(&o, "\r\n");
            total += r->range[i].last - r->range[i].first + 1;
        }
        r->part_len[i] = (uint16_t)(o.p - start);
        total += r->part_len[i];
    }
    return total;
}

/* multipart/byteranges, RFC 9110 section 14.6. */
static void many_ranges(struct conn *c, struct response *r,
                        const struct site_record *rec)
{
    static const char *const name[] = {"br", "gzip"};
    uint64_t len = write_parts(r, rec);
    struct out o = lead_of(r);
    put_text(&o, "Content-Type: multipart/byteranges; boundary=pavise-");
    put_hex(&o, rec->etag);
    put_text(&o, "\r\n");
    put_length(&o, len);
    if (rec->encoding < SITE_IDENTITY) {
        put_text(&o, "Content-Encoding: ");
        put_text(&o, name[rec->encoding]);
        put_text(&o, "\r\n");
    }
    lead_done(c, r, &o);
    use_tail(r, &rec->same);
}

static void unsatisfiable(struct conn *c, const struct site_record *rec)
{
    struct response *r = response_begin(c, 416);
    struct out o = lead_of(r);
    put_server(c, &o);
    put_text(&o, "Content-Range: bytes */");
    put_number(&o, rec->body_len);
    put_text(&o, "\r\nContent-Length: 0\r\n\r\n");
    lead_done(c, r, &o);
    conn_answered(c, r, 416);
}

/* ------------------------------------------------------------------- pages */

static void pages_return(struct cache *cache,
                         struct cache_block *page[PAGE_FRAMES])
{
    for (size_t i = 0; i < PAGE_FRAMES; i++) {
        if (page[i] != NULL) {
            cache_frame_return(cache, page[i]);
            page[i] = NULL;
        }
    }
}

/* The value of Location in the prepared head of a redirection; NULL: none. */
static const char *location_of(const struct site_record *rec, size_t *len)
{
    static const char name[] = "\r\nLocation: ";
    const size_t n = sizeof(name) - 1;
    const char *p = (const char *)rec + rec->full.off;
    const char *end = p + rec->full.len;
    for (; (size_t)(end - p) > n; p++) {
        if (__builtin_memcmp(p, name, n) == 0) {
            const char *value = p += n;
            while (p < end && *p != '\r') {
                p++;
            }
            *len = (size_t)(p - value);
            return value;
        }
    }
    return NULL;
}

/* Frames for `len` bytes: all of them, or none and false. */
static bool pages_take(struct cache *cache,
                       struct cache_block *page[PAGE_FRAMES], size_t len)
{
    for (size_t i = 0; i * CACHE_BLOCK < len; i++) {
        page[i] = i < PAGE_FRAMES ? cache_frame_take(cache) : NULL;
        if (page[i] == NULL) {
            pages_return(cache, page);
            return false;
        }
    }
    return true;
}

static void pages_put(struct cache_block *const page[PAGE_FRAMES], size_t at,
                      const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len != 0) {
        size_t off = at % CACHE_BLOCK, n = CACHE_BLOCK - off;
        n = n < len ? n : len;
        __builtin_memcpy((char *)page[at / CACHE_BLOCK]->va + off, p, n);
        at += n;
        p += n;
        len -= n;
    }
}

#define REDIRECT_FIRST "Server: Cheetah\r\nLocation: "
#define REDIRECT_LAST "\r\nContent-Length: 0\r\n\r\n"
_Static_assert(sizeof(REDIRECT_FIRST) + SITE_TEXTS_MAX + HTTP_TARGET_MAX +
                       sizeof(REDIRECT_LAST) <=
                   PAGE_FRAMES * CACHE_BLOCK,
               "every target that was taken can be repeated");

/* A redirection with the query of the request: what the prepared head
   lacks. */
static void redirect(struct conn *c, const struct site_record *rec,
                     struct cache_block *head)
{
    struct cache *cache = c->server->cache;
    struct cache_block *page[PAGE_FRAMES] = {NULL};
    size_t where_len = 0, len = 0;
    const char *where = location_of(rec, &where_len);
    const struct {
        const void *text;
        size_t len;
    } part[] = {
        {REDIRECT_FIRST, sizeof(REDIRECT_FIRST) - 1},
        {where, where_len},
        {c->head_len != 0 ? c->req.query : c->query, c->req.query_len},
        {REDIRECT_LAST, sizeof(REDIRECT_LAST) - 1},
    };
    for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
        len += part[i].len;
    }
    /* The record must not move while frames are found. */
    cache_hold(head);
    bool room = pages_take(cache, page, len);
    cache_release(cache, head);
    if (!room) {
        response_error(c, 503);
        return;
    }
    struct response *r = response_begin(c, 301);
    r->page_len = r->page_head = (uint16_t)len;
    __builtin_memcpy(r->page, page, sizeof(page));
    for (size_t i = 0, at = 0; i < sizeof(part) / sizeof(part[0]); i++) {
        pages_put(page, at, part[i].text, part[i].len);
        at += part[i].len;
    }
    conn_answered(c, r, 301);
}

static void from_extent(struct conn *c, struct response *r,
                        const struct site_record *rec, struct cache_block *head)
{
    r->extent = c->extent;
    r->body_off = rec->body_off;
    r->sums_off = rec->sums_off;
    r->body_len = rec->body_len;
    r->holds_head = true;
    cache_hold(head);
    link_append(&c->server->holders, &c->holder);
}

void response_site(struct conn *c, struct cache_block *head)
{
    struct cache *cache = c->server->cache;
    const struct site_record *rec = (const void *)head->va;
    struct http_answer a = {.status = rec->status};
    if (rec->status == 301 && c->req.query_len != 0) {
        redirect(c, rec, head);
        return;
    }
    if (rec->status == 200) {
        a = http_evaluate(&c->req, rec->etag, rec->mtime, rec->body_len);
    }
    if (a.status == 412) {
        response_error(c, 412);
        return;
    }
    if (a.status == 416) {
        unsatisfiable(c, rec);
        return;
    }
    struct cache_block *page = NULL;
    if (a.ranges > 1) {
        /* The record must not move while a frame is found for the parts. */
        cache_hold(head);
        page = cache_frame_take(cache);
        cache_release(cache, head);
    }
    if (a.ranges > 1 && page == NULL) {
        a = (struct http_answer){.status = 200};
    }
    struct response *r = response_begin(c, a.status);
    r->page[0] = page;
    r->parts = a.ranges;
    for (unsigned i = 0; i < a.ranges; i++) {
        r->range[i] = a.range[i];
    }
    from_extent(c, r, rec, head);
    if (a.status == 304) {
        use_tail(r, &rec->same);
    } else if (a.ranges > 1) {
        many_ranges(c, r, rec);
    } else if (a.ranges == 1) {
        one_range(c, r, rec);
    } else {
        use_tail(r, &rec->full);
        r->parts = c->req.method == HTTP_GET && rec->body_len != 0;
        r->range[0] = (struct http_range){0, rec->body_len - 1};
    }
    conn_answered(c, r, a.status);
}

/* ------------------------------------------------------------------- holds */

void response_hold(struct conn *c, struct response *r, uint32_t k,
                   struct cache_block *b)
{
    /* Parts jump about; what they need again is read again. */
    if (r->parts > 1) {
        return;
    }
    if (r->hold_lo == r->hold_hi && k >= r->hold_hi) {
        r->hold_lo = r->hold_hi = k;
    }
    if (k == r->hold_hi) {
        cache_hold(b);
        r->hold_hi++;
        link_append(&c->server->holders, &c->holder);
    }
}

static void release_to(struct conn *c, struct response *r, uint32_t k)
{
    struct cache *cache = c->server->cache;
    while (r->hold_lo < r->hold_hi && r->hold_lo < k) {
        /* A held block is at hand: nothing that is held is evicted. */
        struct cache_block *b = cache_peek(cache, r->extent + r->hold_lo);
        r->hold_lo++;
        cache_release(cache, b);
    }
}

void response_drop(struct conn *c, struct response *r)
{
    release_to(c, r, UINT32_MAX);
    if (r->holds_head) {
        r->holds_head = false;
        cache_release(c->server->cache,
                      cache_peek(c->server->cache, r->extent));
    }
}

void response_acked(struct conn *c, struct response *r, uint64_t upto)
{
    if (upto >= r->end) {
        response_drop(c, r);
        r->live = false;
        response_idle(c, r);
        return;
    }
    uint64_t head = r->start + r->lead_len + r->tail_len;
    if (upto < head) {
        return;
    }
    if (r->holds_head) {
        r->holds_head = false;
        cache_release(c->server->cache,
                      cache_peek(c->server->cache, r->extent));
    }
    if (r->parts == 1) {
        uint64_t at = r->body_off + r->range[0].first + (upto - head);
        release_to(c, r, (uint32_t)(at / SITE_BLOCK));
    }
}

void response_idle(struct conn *c, struct response *r)
{
    if (!r->live && r->flights == 0) {
        pages_return(c->server->cache, r->page);
    }
}
