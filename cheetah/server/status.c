/* SPDX-License-Identifier: MIT */
/*
 * The pages below /.pavise/: a page that plots, for people, and the counters
 * that it asks for, for programs. Each is made in one borrowed frame.
 */
#include "cheetah/server/server.h"
#include "cheetah/server/status_text.h"

_Static_assert(sizeof(STATUS_HTML) <= CACHE_BLOCK, "fits a frame");
_Static_assert(sizeof(STATUS_JS) <= CACHE_BLOCK, "fits a frame");

struct counter {
    const char *name, *text;
    size_t offset;
};

#define SERVER_ROW(n, t) {#n, t, __builtin_offsetof(struct server_stats, n)},
static const struct counter SERVER[] = {SERVER_STATS(SERVER_ROW)};
#define CACHE_ROW(n, t) {#n, t, __builtin_offsetof(struct cache_stats, n)},
static const struct counter CACHE[] = {CACHE_STATS(CACHE_ROW)};
#define NET_ROW(n, t) {#n, t, __builtin_offsetof(struct net_stats, n)},
static const struct counter NET[] = {NET_STATS(NET_ROW)};
#define LINK_ROW(n, t) {#n, t, __builtin_offsetof(struct link_stats, n)},
static const struct counter LINK[] = {LINK_STATS(LINK_ROW)};
#define MACHINE_ROW(n, t) {#n, t, __builtin_offsetof(struct machine_stats, n)},
static const struct counter MACHINE[] = {MACHINE_STATS(MACHINE_ROW)};

/* A set of counters and where they live. */
struct set {
    const char *name;
    const struct counter *counter;
    size_t count;
    const void *base;
};

static uint64_t value(const struct set *s, size_t i)
{
    uint64_t v;
    __builtin_memcpy(&v, (const char *)s->base + s->counter[i].offset, 8);
    return v;
}

static void json_set(struct out *o, const struct set *s)
{
    put_text(o, ",\n\"");
    put_text(o, s->name);
    put_text(o, "\":{");
    for (size_t i = 0; i < s->count; i++) {
        put_text(o, i != 0 ? ",\"" : "\"");
        put_text(o, s->counter[i].name);
        put_text(o, "\":");
        put_number(o, value(s, i));
    }
    put_text(o, "}");
}

static void json(struct server *s, struct out *o)
{
    const struct set set[] = {
        {"server", SERVER, sizeof(SERVER) / sizeof(SERVER[0]), &s->stats},
        {"cache", CACHE, sizeof(CACHE) / sizeof(CACHE[0]), &s->cache->stats},
        {"net", NET, sizeof(NET) / sizeof(NET[0]), net_stats(s->stack)},
        {"link", LINK, sizeof(LINK) / sizeof(LINK[0]), &s->link},
        {"machine", MACHINE, sizeof(MACHINE) / sizeof(MACHINE[0]), &s->machine},
    };
    if (s->observe != NULL) {
        s->observe(s);
    }
    put_text(o, "{\"version\":1,\"unix_time\":");
    put_number(o, (uint64_t)s->now_unix);
    put_text(o, ",\"uptime_ms\":");
    put_number(o, s->now_ns / 1000000);
    put_text(o, ",\"connections\":");
    put_number(o, s->live);
    put_text(o, ",\"cache_frames\":");
    put_number(o, s->cache->frames);
    put_text(o, ",\"site_blocks\":");
    put_number(o, s->site.blocks);
    for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
        json_set(o, &set[i]);
    }
    put_text(o, "}\n");
}

/* What there is; one that does not lie here is made on request. */
static const struct page {
    const char *path, *type;
    const uint8_t *text;
    size_t len;
} PAGES[] = {
    {"/.pavise/", "text/html; charset=utf-8", STATUS_HTML, sizeof(STATUS_HTML)},
    {"/.pavise/status", "text/html; charset=utf-8", STATUS_HTML,
     sizeof(STATUS_HTML)},
    {"/.pavise/status.js", "text/javascript; charset=utf-8", STATUS_JS,
     sizeof(STATUS_JS)},
    {"/.pavise/counters", "application/json", NULL, 0},
};

static const struct page *page_at(const uint8_t *path, size_t len)
{
    /* Nearly every path ends the search here. */
    if (len < 9 || __builtin_memcmp(path, "/.pavise/", 9) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(PAGES) / sizeof(PAGES[0]); i++) {
        if (len == __builtin_strlen(PAGES[i].path) &&
            __builtin_memcmp(path, PAGES[i].path, len) == 0) {
            return &PAGES[i];
        }
    }
    return NULL;
}

bool status_page(struct conn *c, const uint8_t *path, size_t len)
{
    struct server *s = c->server;
    const struct page *p = page_at(path, len);
    if (p == NULL) {
        return false;
    }
    struct cache_block *frame = cache_frame_take(s->cache);
    if (frame == NULL) {
        response_error(c, 503);
        return true;
    }
    char *start = (char *)frame->va;
    struct out o = {start, start + CACHE_BLOCK};
    if (p->text != NULL) {
        __builtin_memcpy(start, p->text, p->len);
        o.p += p->len;
    } else {
        json(s, &o);
    }
    struct response *r = response_begin(c, 200);
    r->page[0] = frame;
    response_page(c, r, p->type, (uint16_t)(o.p - start));
    return true;
}
