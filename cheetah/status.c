/* SPDX-License-Identifier: MIT */
/*
 * The pages below /.pavise/: "status" for people, "counters" for programs.
 * Made on request, from counters alone, into one borrowed frame.
 */
#include "cheetah/server.h"

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

static void html_set(struct out *o, const struct set *s)
{
    put_text(o, "<h2>");
    put_text(o, s->name);
    put_text(o, "</h2>\n<table>\n");
    for (size_t i = 0; i < s->count; i++) {
        put_text(o, "<tr><td>");
        put_text(o, s->counter[i].text);
        put_text(o, "<td>");
        put_number(o, value(s, i));
        put_text(o, "\n");
    }
    put_text(o, "</table>\n");
}

static void json(struct server *s, struct out *o, const struct set *set)
{
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
    for (int i = 0; i < 3; i++) {
        json_set(o, &set[i]);
    }
    put_text(o, "}\n");
}

static void html(struct server *s, struct out *o, const struct set *set)
{
    put_text(o, "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n"
                "<meta http-equiv=refresh content=2>\n<title>Pavise</title>\n"
                "<style>body{font-family:sans-serif;margin:2em}"
                "td+td{text-align:right;padding-left:2em}</style>\n"
                "<h1>Cheetah on Pavise</h1>\n<p>");
    put_number(o, s->live);
    put_text(o, " connections, ");
    put_number(o, s->cache->frames);
    put_text(o, " cache frames for a site of ");
    put_number(o, s->site.blocks);
    put_text(o, " blocks. <a href=counters>All counters as JSON</a>\n");
    html_set(o, &set[0]);
    html_set(o, &set[1]);
}

static bool is(const uint8_t *path, size_t len, const char *want)
{
    return len == __builtin_strlen(want) &&
           __builtin_memcmp(path, want, len) == 0;
}

bool status_page(struct conn *c, const uint8_t *path, size_t len)
{
    struct server *s = c->server;
    bool people = is(path, len, "/.pavise/status");
    if (!people && !is(path, len, "/.pavise/counters")) {
        return false;
    }
    struct cache_block *page = cache_frame_take(s->cache);
    if (page == NULL) {
        response_error(c, 503);
        return true;
    }
    const struct set set[3] = {
        {"server", SERVER, sizeof(SERVER) / sizeof(SERVER[0]), &s->stats},
        {"cache", CACHE, sizeof(CACHE) / sizeof(CACHE[0]), &s->cache->stats},
        {"net", NET, sizeof(NET) / sizeof(NET[0]), net_stats(s->stack)},
    };
    char *start = (char *)page->va;
    struct out o = {start, start + CACHE_BLOCK};
    (people ? html : json)(s, &o, set);
    struct response *r = response_begin(c, 200);
    r->page = page;
    response_page(c, r,
                  people ? "text/html; charset=utf-8" : "application/json",
                  (uint16_t)(o.p - start));
    return true;
}
