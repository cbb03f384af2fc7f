/* SPDX-License-Identifier: MIT */
/*
 * From a request to a response: one probe of the index, the record in the
 * extent's first block, then preconditions. Each step needs one block; if it
 * is on disk the connection waits and the step is taken again from its start,
 * so nothing points into a block across a wait.
 */
#include "cheetah/server/server.h"

/* Blocks to read with a record: a small document whole, or its neighbours,
   which are what its page embeds. */
#define RECORD_AHEAD 3u

static void give_up(struct conn *c, unsigned status)
{
    if (status >= 500) {
        c->req.keep_alive = false;
    }
    response_error(c, status);
}

/* The image contradicts itself: nothing of it may be believed here. */
static void damaged(struct conn *c, uint32_t block)
{
    struct server *s = c->server;
    s->stats.damaged++;
    if (s->damaged != NULL) {
        s->damaged(s, block);
    }
    give_up(c, 500);
}

static bool inside_site(const struct site_super *s, uint32_t block)
{
    return block >= s->index_block + s->index_blocks &&
           block < s->manifest_block;
}

/* Returns false if it must wait. */
static bool probe_index(struct conn *c)
{
    struct server *s = c->server;
    uint32_t block = site_index_block(&s->site, c->hash[0]);
    struct cache_block *b = cache_get(s->cache, block, 0, &c->lookup_wait);
    if (b == NULL) {
        return false;
    }
    cache_use(b);
    const struct site_entry *e = site_find(b->va, c->hash);
    if (e == NULL) {
        give_up(c, 404);
        return true;
    }
    int encoding = http_choose(&c->req, e->block);
    c->vary =
        encoding < 0 || e->block[SITE_BR] != 0 || e->block[SITE_GZIP] != 0;
    if (encoding < 0) {
        give_up(c, (unsigned)-encoding);
        return true;
    }
    c->extent = e->block[encoding];
    if (!inside_site(&s->site, c->extent)) {
        damaged(c, block);
        return true;
    }
    c->phase = PHASE_RECORD;
    return true;
}

static bool read_record(struct conn *c)
{
    struct server *s = c->server;
    /* Not beyond the site: the disk may end there. */
    uint32_t after = s->site.manifest_block - c->extent - 1;
    struct cache_block *b =
        cache_get(s->cache, c->extent,
                  after < RECORD_AHEAD ? after : RECORD_AHEAD, &c->lookup_wait);
    if (b == NULL) {
        return false;
    }
    const struct site_record *rec = (const void *)b->va;
    if (!b->judged && !site_record_ok(rec, &s->site, c->extent)) {
        damaged(c, c->extent);
        return true;
    }
    b->judged = true;
    uint32_t next = c->extent + rec->blocks, group = rec->group;
    response_site(c, b);
    /* The page's images and styles will be asked for next. */
    if (group != 0 && inside_site(&s->site, next)) {
        uint32_t room = s->site.manifest_block - next;
        group = group < CACHE_READ_MAX ? group : CACHE_READ_MAX;
        cache_ahead(s->cache, next, group < room ? group : room);
    }
    return true;
}

void lookup_resume(struct conn *c, int status)
{
    if (status < 0) {
        c->server->stats.disk_errors++;
        give_up(c, 500);
        return;
    }
    if (c->phase == PHASE_INDEX && !probe_index(c)) {
        return;
    }
    if (c->phase == PHASE_RECORD) {
        read_record(c);
    }
}

void lookup_start(struct conn *c)
{
    struct server *s = c->server;
    const struct http_request *r = &c->req;
    c->vary = false;
    if (r->refuse != 0) {
        give_up(c, r->refuse);
        return;
    }
    if (r->method == HTTP_OPTIONS) {
        give_up(c, 204);
        return;
    }
    const uint8_t *path = r->path;
    int n = r->path_len;
    if (!http_path_plain(path, r->path_len)) {
        n = http_path(path, r->path_len, s->path);
        path = s->path;
    }
    if (n < 0) {
        give_up(c, (unsigned)-n);
        return;
    }
    if (status_page(c, path, (size_t)n)) {
        return;
    }
    site_hash(path, (size_t)n, s->site.seed, c->hash);
    /* The bytes of the request are gone when a block had to be waited for. */
    if (c->head_len == 0) {
        __builtin_memcpy(c->query, r->query, r->query_len);
    }
    c->phase = PHASE_INDEX;
    lookup_resume(c, 0);
}
