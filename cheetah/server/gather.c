/* SPDX-License-Identifier: MIT */
/*
 * Which bytes TCP is to send, where they are, and what they sum to.
 *
 * TCP asks for bytes of the stream by offset, for the first time or again. The
 * answer names them in place: lead and page in the server's memory, tail and
 * body in cached blocks, which a flight keeps there until the device has read
 * them. The partial checksum comes from the image's prefix sums; only the
 * edges of a segment are read by the processor, up to SITE_GRANULE / 2 bytes
 * at each.
 */
#include "cheetah/server/server.h"
#include "libos/libos/csum.h"

#define AHEAD_LOW 8u /* blocks at hand in front of TCP before reading more */

/* One call of gather. */
struct gathering {
    struct conn *c;
    struct tcp_gather *g;
    struct flight *f;
    uint32_t done; /* bytes named so far */
    uint16_t sum;
    bool summed; /* every piece's sum was known */
};

/* ------------------------------------------------------------------- flights
 */

static void flight_free(struct flight *f)
{
    struct server *s = f->server;
    struct conn *c = f->conn;
    uint8_t slots = f->slots;
    f->conn = NULL;
    f->slots = 0;
    while (f->count > 0) {
        cache_unpin(s->cache, f->block[--f->count]);
    }
    f->next = s->free_flights;
    s->free_flights = f;
    if (c == NULL) {
        return;
    }
    for (unsigned i = 0; i < RESPONSES; i++) {
        if ((slots >> i & 1) != 0) {
            c->response[i].flights--;
            response_idle(c, &c->response[i]);
        }
    }
    c->flights--;
    /* A slot may be free for the next answer now, or all of the memory. */
    conn_todo(c);
}

static void flight_idle(struct net_pin *p)
{
    struct flight *f = (struct flight *)(void *)p;
    if (f->server->last_flight == f) {
        f->server->last_flight = NULL;
    }
    flight_free(f);
}

static struct flight *flight_take(struct server *s)
{
    gather_give_back(s);
    s->last_flight = NULL;
    struct flight *f = s->free_flights;
    if (f != NULL) {
        s->free_flights = f->next;
        f->pin = (struct net_pin){.idle = flight_idle};
    }
    return f;
}

static void flight_own(struct flight *f, struct conn *c, struct response *r)
{
    unsigned i = (unsigned)(r - c->response);
    if (f->conn == NULL) {
        f->conn = c;
        c->flights++;
    }
    if ((f->slots >> i & 1) == 0) {
        f->slots |= (uint8_t)(1u << i);
        r->flights++;
    }
}

static void flight_block(struct flight *f, struct cache_block *b)
{
    if (f->count == 0 || f->block[f->count - 1] != b) {
        cache_pin(b);
        f->block[f->count++] = b;
    }
}

/* -------------------------------------------------------------------- pieces
 */

/* Name a piece; false if the list is full. */
static bool add(struct gathering *w, uint64_t paddr, const void *va,
                uint32_t len)
{
    struct tcp_gather *g = w->g;
    if (g->count > 0) {
        struct net_piece *last = &g->piece[g->count - 1];
        if (last->paddr + last->len == paddr &&
            (const uint8_t *)last->va + last->len == va &&
            w->f->count < NET_PIECES_MAX) {
            last->len += len;
            return true;
        }
    }
    if (g->count == NET_PIECES_MAX || w->f->count == NET_PIECES_MAX) {
        return false;
    }
    g->piece[g->count++] =
        (struct net_piece){.paddr = paddr, .va = va, .len = len};
    return true;
}

/* Account for `len` bytes just named whose partial sum is `sum`. */
static void took(struct gathering *w, uint32_t len, uint16_t sum)
{
    if (w->summed) {
        sum = w->done % 2 != 0 ? net_sum_shift(sum) : sum;
        w->sum = net_sum_add(w->sum, sum);
    }
    w->done += len;
}

static uint32_t from_text(struct gathering *w, struct response *r,
                          const struct span *s, uint64_t at, uint32_t len)
{
    uint64_t paddr;
    const uint8_t *va;
    if (s->kind == SPAN_LEAD) {
        va = (const uint8_t *)r->lead + at;
        paddr = w->c->paddr + (uint64_t)(va - (const uint8_t *)w->c);
    } else {
        uint64_t from = s->from + at;
        uint32_t rest = CACHE_BLOCK - (uint32_t)(from % CACHE_BLOCK);
        const struct cache_block *page = r->page[from / CACHE_BLOCK];
        va = page->va + from % CACHE_BLOCK;
        paddr = page->paddr + from % CACHE_BLOCK;
        len = len < rest ? len : rest;
    }
    if (!add(w, paddr, va, len)) {
        return 0;
    }
    w->g->piece[w->g->count - 1].copy = s->kind == SPAN_LEAD;
    flight_own(w->f, w->c, r);
    took(w, len, w->summed ? net_sum(va, len) : 0);
    return len;
}

/*
 * The block `k` of the extent, or NULL and, if this is all that stops us, the
 * connection waits for it.
 */
static struct cache_block *block_of(struct gathering *w, struct response *r,
                                    uint32_t k, uint32_t ahead)
{
    struct cache *cache = w->c->server->cache;
    const struct flight *f = w->f;
    if (f->count > 0 && f->block[f->count - 1]->block == r->extent + k) {
        return f->block[f->count - 1];
    }
    struct cache_block *b = cache_peek(cache, r->extent + k);
    if (b == NULL && w->done == 0) {
        w->c->body_block = k;
        b = cache_get(cache, r->extent + k, ahead, &w->c->body_wait);
    }
    return b;
}

static uint32_t from_tail(struct gathering *w, struct response *r, uint64_t at,
                          uint32_t len)
{
    struct cache_block *b = block_of(w, r, 0, 0);
    if (b == NULL) {
        return 0;
    }
    uint64_t off = r->tail_off + at;
    if (!add(w, b->paddr + off, b->va + off, len)) {
        return 0;
    }
    flight_block(w->f, b);
    uint16_t sum = r->tail_sum;
    if (w->summed && len != r->tail_len) {
        sum = net_sum(b->va + off, len);
    }
    took(w, len, sum);
    return len;
}

/* ---------------------------------------------------------------------- sums
 */

/* Prefix sum of `g` granules; false if its block is not at hand. */
static bool prefix(struct server *s, const struct response *r, uint64_t g,
                   uint16_t *out)
{
    uint64_t off = r->sums_off + 2 * g;
    uint32_t block = r->extent + (uint32_t)(off / SITE_BLOCK);
    const struct cache_block *b = cache_peek(s->cache, block);
    if (b == NULL) {
        /* This segment is summed by the engine; later ones will not be. */
        cache_ahead(s->cache, block, 1);
        return false;
    }
    __builtin_memcpy(out, b->va + off % SITE_BLOCK, 2);
    return true;
}

/*
 * The partial sum of the body's first `x` bytes, from the nearer granule
 * boundary. `at` is where byte x lies or would lie: only bytes of its block
 * are read, since granules do not cross blocks.
 */
static bool sum_upto(struct server *s, const struct response *r, uint64_t x,
                     const uint8_t *at, uint16_t *out)
{
    uint64_t g = (x + SITE_GRANULE / 2) / SITE_GRANULE;
    uint64_t edge = g * SITE_GRANULE;
    uint16_t p;
    if (!prefix(s, r, g, &p)) {
        return false;
    }
    edge = edge < r->body_len ? edge : r->body_len;
    if (edge <= x) {
        size_t n = (size_t)(x - edge);
        *out = net_sum_add(p, net_sum(at - n, n));
        return true;
    }
    uint16_t rest = net_sum(at, (size_t)(edge - x));
    *out = net_sum_sub(p, x % 2 != 0 ? net_sum_shift(rest) : rest);
    return true;
}

/* Bytes [from, from + len) of the body, which begin at `at`. */
static uint16_t body_sum(struct gathering *w, const struct response *r,
                         uint64_t from, uint32_t len, const uint8_t *at)
{
    struct server *s = w->c->server;
    if (!w->summed) {
        return 0;
    }
    uint16_t lo, hi;
    if (!sum_upto(s, r, from, at, &lo) ||
        !sum_upto(s, r, from + len, at + len, &hi)) {
        w->summed = false;
        return 0;
    }
    uint16_t sum = net_sum_sub(hi, lo);
    return from % 2 != 0 ? net_sum_shift(sum) : sum;
}

/* ---------------------------------------------------------------------- body
 */

/* Keep the disk ahead of TCP on a long body. */
static void read_ahead(struct conn *c, struct response *r, uint32_t k)
{
    uint32_t last =
        (uint32_t)((r->body_off + r->range[r->parts - 1].last) / SITE_BLOCK);
    r->ahead = r->ahead > k ? r->ahead : k + 1;
    if (r->ahead <= last && r->ahead < k + AHEAD_LOW) {
        uint32_t n = last - r->ahead + 1;
        n = n < CACHE_READ_MAX ? n : CACHE_READ_MAX;
        cache_ahead(c->server->cache, r->extent + r->ahead, n);
        r->ahead += n;
    }
}

/* As much of [from, from + len) as lies in one block. */
static uint32_t from_body(struct gathering *w, struct response *r,
                          uint64_t from, uint64_t len)
{
    uint64_t off = r->body_off + from;
    uint32_t k = (uint32_t)(off / SITE_BLOCK);
    uint32_t in_block = (uint32_t)(off % SITE_BLOCK);
    uint64_t blocks = (in_block + len - 1) / SITE_BLOCK;
    uint32_t n = SITE_BLOCK - in_block;
    n = n < len ? n : (uint32_t)len;
    struct cache_block *b = block_of(
        w, r, k, blocks < CACHE_READ_MAX ? (uint32_t)blocks : CACHE_READ_MAX);
    if (b == NULL || !add(w, b->paddr + in_block, b->va + in_block, n)) {
        return 0;
    }
    flight_block(w->f, b);
    response_hold(w->c, r, k, b);
    read_ahead(w->c, r, k);
    uint16_t sum = body_sum(w, r, from, n, b->va + in_block);
    took(w, n, sum);
    w->c->server->stats.body_bytes_in_place += n;
    return n;
}

/* ---------------------------------------------------------------------- whole
 */

/* Bytes [at, at + len) of one span; fewer if something stops us. */
static uint32_t from_span(struct gathering *w, struct response *r,
                          const struct span *s, uint64_t at, uint32_t len)
{
    uint32_t got = 0;
    uint32_t n;
    do {
        switch (s->kind) {
        case SPAN_TAIL:
            n = from_tail(w, r, at, len);
            break;
        case SPAN_BODY:
            n = from_body(w, r, s->from + at + got, len - got);
            break;
        default:
            n = from_text(w, r, s, at + got, len - got);
            break;
        }
        got += n;
    } while (n != 0 && got < len);
    return got;
}

/* What one response has of [offset, offset + len). */
static uint32_t from_response(struct gathering *w, struct response *r,
                              uint64_t offset, uint32_t len)
{
    uint64_t at = offset - r->start;
    uint32_t got = 0;
    struct span s;
    for (unsigned k = 0; got < len && response_span(r, k, &s); k++) {
        if (at >= s.len) {
            at -= s.len;
            continue;
        }
        uint64_t rest = s.len - at;
        uint32_t want = rest < len - got ? (uint32_t)rest : len - got;
        uint32_t n = from_span(w, r, &s, at, want);
        got += n;
        if (n < want) {
            break;
        }
        at = 0;
    }
    return got;
}

uint32_t gather(struct tcp_conn *t, uint64_t offset, uint32_t len,
                struct tcp_gather *g)
{
    struct conn *c = conn_of(t);
    struct server *s = c->server;
    g->count = 0;
    if (c->body_wait.waiting) {
        return 0;
    }
    struct gathering w = {.c = c, .g = g, .summed = g->need_sum};
    w.f = flight_take(s);
    if (w.f == NULL) {
        c->resume = true;
        conn_todo(c);
        return 0;
    }
    for (uint32_t i = 0; i < c->count && w.done < len; i++) {
        struct response *r = &c->response[(c->first + i) % RESPONSES];
        uint64_t at = offset + w.done;
        if (at < r->start || at >= r->end) {
            continue;
        }
        uint64_t rest = r->end - at;
        uint32_t left = len - w.done;
        uint32_t want = rest < left ? (uint32_t)rest : left;
        if (from_response(&w, r, at, want) < want) {
            break;
        }
    }
    g->pin = &w.f->pin;
    g->sum = w.sum;
    g->sum_known = w.summed;
    s->last_flight = w.f;
    return w.done;
}

void gather_give_back(struct server *s)
{
    struct flight *last = s->last_flight;
    if (last != NULL && last->pin.in_flight == 0) {
        s->last_flight = NULL;
        flight_free(last);
    }
}

void gather_woken(struct conn *c, int status)
{
    if (status < 0) {
        /* Half an answer is out: all that is left is to say it is broken. */
        c->server->stats.disk_errors++;
        tcp_abort(&c->tcp);
        return;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct response *r = &c->response[(c->first + i) % RESPONSES];
        uint32_t k = c->body_block;
        if (r->extent != 0 && r->extent + k == c->body_wait.block) {
            /* Hold it until TCP asks, or the next reader may evict it. */
            struct cache_block *b =
                cache_peek(c->server->cache, c->body_wait.block);
            if (b != NULL) {
                response_hold(c, r, k, b);
            }
            break;
        }
    }
    tcp_ready(&c->tcp);
}
