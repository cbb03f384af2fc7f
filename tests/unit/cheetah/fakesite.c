/* SPDX-License-Identifier: MIT */
#include "tests/unit/cheetah/fakesite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MS 1000000ull
#define EPOCH 1700000000

#define must(x)                                                                \
    do {                                                                       \
        if (!(x)) {                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);            \
            abort();                                                           \
        }                                                                      \
    } while (0)

const struct file FILES[] = {
    {"/index.html", 3000, true},    {"/small", 10, true},
    {"/empty", 0, false},           {"/one", 1, false},
    {"/s511", 511, false},          {"/s512", 512, false},
    {"/s513", 513, false},          {"/s4095", 4095, false},
    {"/s4096", 4096, false},        {"/s4097", 4097, false},
    {"/s65537", 65537, false},      {"/odd name?#", 5000, false},
    {"/dir/inner.txt", 2000, true}, {"/text.txt", 200001, true},
    {"/big.bin", 1500001, false},   {"/sums.bin", 2600000, false},
};
const size_t FILES_COUNT = sizeof(FILES) / sizeof(FILES[0]);

static uint8_t *image;
static size_t image_len;

void file_fill(const struct file *f, uint8_t *out)
{
    static const char words[] = "the quick brown fox jumps over lazy dogs\n";
    uint64_t x = f->len * 2654435761u + 1;
    for (size_t i = 0; i < f->len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        out[i] = f->text ? (uint8_t)words[(i + i / 97) % (sizeof(words) - 1)]
                         : (uint8_t)(x >> 56);
    }
}

static void write_file(const char *dir, const struct file *f)
{
    uint8_t *data = malloc(f->len + 1);
    char path[4096];
    snprintf(path, sizeof(path), "%s%s", dir, f->path);
    FILE *out = fopen(path, "wb");
    must(out != NULL);
    file_fill(f, data);
    must(fwrite(data, 1, f->len, out) == f->len);
    must(fclose(out) == 0);
    free(data);
}

void fake_image_make(void)
{
    char dir[] = "/tmp/fakesite-XXXXXX";
    const char *mksite = getenv("MKSITE");
    must(mksite != NULL && mkdtemp(dir) != NULL);
    char sub[64];
    snprintf(sub, sizeof(sub), "%s/t", dir);
    char img[64];
    snprintf(img, sizeof(img), "%s/s.img", dir);
    char cmd[512];
    snprintf(cmd, sizeof(cmd), "%s/t/dir", dir);
    must(mkdir(sub, 0700) == 0 && mkdir(cmd, 0700) == 0);
    for (size_t i = 0; i < FILES_COUNT; i++) {
        write_file(sub, &FILES[i]);
    }
    snprintf(cmd, sizeof(cmd), "'%s' -q '%s' '%s'", mksite, sub, img);
    must(system(cmd) == 0);
    FILE *f = fopen(img, "rb");
    must(f != NULL && fseek(f, 0, SEEK_END) == 0);
    image_len = (size_t)ftell(f);
    rewind(f);
    image = malloc(image_len);
    must(fread(image, 1, image_len, f) == image_len);
    fclose(f);
    snprintf(cmd, sizeof(cmd), "rm -r '%s'", dir);
    must(system(cmd) == 0);
}

/* ---------------------------------------------------------------------- disk
 */

static int disk_read(struct cache_disk *d, uint32_t block, uint32_t count,
                     const uint64_t *paddr, uint64_t cookie)
{
    struct fake_site *s =
        (void *)((char *)d - __builtin_offsetof(struct fake_site, disk));
    if (s->reads == sizeof(s->pending) / sizeof(s->pending[0])) {
        return -1;
    }
    must(count >= 1 && count <= CACHE_READ_MAX);
    unsigned i = s->reads++;
    s->pending[i].at_ns = s->net.now_ns + fake_below(&s->net, 3000000);
    s->pending[i].cookie = cookie;
    s->pending[i].block = block;
    s->pending[i].count = count;
    memcpy(s->pending[i].paddr, paddr, count * sizeof(*paddr));
    return 0;
}

static void disk_turn(struct fake_site *s)
{
    for (unsigned i = 0; i < s->reads; i++) {
        if (s->pending[i].at_ns > s->net.now_ns) {
            continue;
        }
        uint64_t cookie = s->pending[i].cookie;
        bool fail = fake_below(&s->net, 100) < s->fail_percent;
        for (uint32_t k = 0; k < s->pending[i].count && !fail; k++) {
            size_t at = ((size_t)s->pending[i].block + k) * SITE_BLOCK;
            uint8_t *to = (uint8_t *)(uintptr_t)s->pending[i].paddr[k];
            fail = at + SITE_BLOCK > s->image_len;
            if (!fail) {
                memcpy(to, s->image + at, SITE_BLOCK);
            }
        }
        s->pending[i] = s->pending[--s->reads];
        cache_done(&s->cache, cookie, fail ? -1 : 0);
        i = UINT32_MAX;
    }
}

/* ---------------------------------------------------------------------- site
 */

void fake_site_init(struct fake_site *s, const struct fake_site_options *o)
{
    struct net_config cfg = {.conns = 64,
                             .half_open = 64,
                             .time_wait = 64,
                             .neighbours = 8,
                             .ooo_bufs_conn = 32};
    memset(s, 0, sizeof(*s));
    fake_net_init(&s->net, o->seed);
    s->net.delay_ns = 200000;
    s->net.jitter_ns = o->loss != 0 ? 3000000 : 0;
    s->net.loss = o->loss;
    fake_host_init(&s->net, &s->host[0], o->caps, &cfg);
    fake_host_init(&s->net, &s->host[1], NET_CAP_CSUM, &cfg);
    s->image = malloc(image_len);
    s->image_len = image_len;
    memcpy(s->image, image, image_len);
    s->tables = aligned_alloc(64, (cache_size(o->frames) + 63) & ~63ull);
    memset(s->tables, 0, cache_size(o->frames));
    s->frames = aligned_alloc(SITE_BLOCK, (size_t)o->frames * SITE_BLOCK);
    memset(s->frames, 0xaa, (size_t)o->frames * SITE_BLOCK);
    s->disk.read = disk_read;
    cache_init(&s->cache, s->tables, o->frames, &s->disk);
    cache_add(&s->cache, s->frames, (uint64_t)(uintptr_t)s->frames, o->frames);
    struct site_super super;
    must(site_super_read(s->image, image_len / SITE_BLOCK, &super) == SITE_OK);
    s->conn_count = o->conns;
    s->flight_count = 300;
    s->conns = calloc(o->conns, sizeof(struct conn));
    s->flights = calloc(s->flight_count, sizeof(struct flight));
    s->carries = malloc(8 * (size_t)CARRY_MAX);
    server_init(&s->server, &s->cache, s->host[0].stack, &super,
                &(struct server_memory){.flights = s->flights,
                                        .flight_count = s->flight_count,
                                        .carries = s->carries,
                                        .carry_count = 8});
    server_add_conns(&s->server, s->conns, (uint64_t)(uintptr_t)s->conns,
                     o->conns);
    must(server_listen(&s->server, 80, o->conns) == 0);
}

struct stopper {
    struct fake_site *s;
    bool (*stop)(void *);
    void *ctx;
};

/* Between two events: what main.c does in a turn. */
static bool turn(void *ctx)
{
    struct stopper *k = ctx;
    struct fake_site *s = k->s;
    s->server.now_ns = s->net.now_ns;
    s->server.now_unix = EPOCH + (int64_t)(s->net.now_ns / 1000000000);
    net_tick(s->host[0].stack, s->net.now_ns);
    net_tick(s->host[1].stack, s->net.now_ns);
    disk_turn(s);
    server_turn(&s->server);
    net_flush(s->host[0].stack);
    net_flush(s->host[1].stack);
    cache_kick(&s->cache);
    return k->stop != NULL && k->stop(k->ctx);
}

bool fake_site_run(struct fake_site *s, uint64_t ns, bool (*stop)(void *),
                   void *ctx)
{
    struct stopper k = {s, stop, ctx};
    uint64_t end = s->net.now_ns + ns;
    while (s->net.now_ns < end) {
        /* Small steps while the disk or the server has something to do. */
        bool busy = s->reads != 0 || server_busy(&s->server);
        uint64_t step = s->net.now_ns + (busy ? MS / 2 : 20 * MS);
        fake_run(&s->net, step < end ? step : end, turn, &k);
        if (turn(&k)) {
            return true;
        }
    }
    return false;
}

void fake_site_finish(struct fake_site *s)
{
    /* Let go of everything: lingering connections, frames under way. */
    fake_site_run(s, 200000 * MS, NULL, NULL);
    must(s->server.live == 0);
    must(s->cache.lent == 0);
    must(cache_ok(&s->cache));
    for (uint32_t i = 0; i < s->cache.frames; i++) {
        must(s->cache.entry[i].pins == 0 && s->cache.entry[i].holds == 0);
    }
    unsigned flights = 0, carries = 0;
    for (struct flight *f = s->server.free_flights; f != NULL; f = f->next) {
        flights++;
    }
    must(flights == s->flight_count);
    for (uint8_t *p = s->server.free_carries; p != NULL; carries++) {
        memcpy(&p, p, sizeof(void *));
    }
    must(carries == 8);
    must(s->server.stats.body_bytes_copied == 0);
    tcp_unlisten(&s->server.listener);
    fake_host_finish(&s->host[0]);
    fake_host_finish(&s->host[1]);
    fake_net_finish(&s->net);
    free(s->image);
    free(s->tables);
    free(s->frames);
    free(s->conns);
    free(s->flights);
    free(s->carries);
}

/* -------------------------------------------------------------------- client
 */

static struct client *client_of(struct tcp_conn *c)
{
    return (struct client *)(void *)c;
}

static void say_more(struct client *k)
{
    size_t n = k->chunk != 0 ? k->chunk : k->request_len;
    k->said = k->request_len - k->said < n ? k->request_len : k->said + n;
    tcp_send_limit(&k->c, k->said);
    if (k->said == k->request_len && k->finish) {
        tcp_finish(&k->c);
    }
}

static void k_established(struct tcp_conn *c)
{
    client_of(c)->open = true;
    if (client_of(c)->request_len != 0) {
        say_more(client_of(c));
    }
}

static uint32_t k_gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                         struct tcp_gather *g)
{
    const char *p = client_of(c)->request + offset;
    g->count = 1;
    g->piece[0] = (struct net_piece){
        .paddr = (uint64_t)(uintptr_t)p, .va = p, .len = len};
    return len;
}

static uint32_t k_received(struct tcp_conn *c, const void *data, uint32_t len)
{
    struct client *k = client_of(c);
    if (k->len + len > k->room) {
        k->room = 2 * (k->len + len);
        k->got = realloc(k->got, k->room);
        must(k->got != NULL);
    }
    memcpy(k->got + k->len, data, len);
    k->len += len;
    tcp_receive_window(c, k->window != 0 ? k->window : 65536);
    return len;
}

static void k_acked(struct tcp_conn *c, uint64_t upto)
{
    struct client *k = client_of(c);
    if (upto == k->said && k->said < k->request_len) {
        say_more(k);
    }
}

static void k_finished(struct tcp_conn *c)
{
    client_of(c)->peer_finished = true;
    tcp_finish(c);
}

static void k_closed(struct tcp_conn *c, enum tcp_reason why)
{
    client_of(c)->closed = true;
    client_of(c)->why = why;
}

static const struct tcp_ops CLIENT_OPS = {
    .established = k_established,
    .gather = k_gather,
    .received = k_received,
    .acked = k_acked,
    .finished = k_finished,
    .closed = k_closed,
};

void client_start(struct fake_site *s, struct client *k, const char *request)
{
    struct net_endpoint to = {fake_addr(&s->net, &s->host[0]), 80};
    k->request = request;
    if (k->request_len == 0) {
        k->request_len = strlen(request);
    }
    must(tcp_connect(s->host[1].stack, &k->c, &CLIENT_OPS, &to, 0) == 0);
    if (k->window != 0) {
        tcp_receive_window(&k->c, k->window);
    }
}

void client_free(struct client *k)
{
    free(k->got);
    memset(k, 0, sizeof(*k));
}

static bool is_closed(void *ctx)
{
    return ((struct client *)ctx)->closed;
}

bool client_run(struct fake_site *s, struct client *k, uint64_t ns)
{
    return fake_site_run(s, ns, is_closed, k);
}

/* ------------------------------------------------------------------- answers
 */

const char *answer_field(const struct answer *a, const char *name)
{
    static char value[4][512];
    static unsigned turn_of;
    char *out = value[turn_of++ % 4];
    size_t n = strlen(name);
    for (const char *p = a->head; p < a->head + a->head_len;) {
        const char *end =
            memmem(p, (size_t)(a->head + a->head_len - p), "\r\n", 2);
        must(end != NULL);
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            snprintf(out, 512, "%.*s", (int)(end - p - (long)n - 2), p + n + 2);
            return out;
        }
        p = end + 2;
    }
    return NULL;
}

bool answer_read(const struct client *k, size_t *at, bool head_only,
                 struct answer *out)
{
    if (*at >= k->len) {
        return false;
    }
    const char *p = (const char *)k->got + *at;
    size_t left = k->len - *at;
    const char *end = memmem(p, left, "\r\n\r\n", 4);
    if (end == NULL || left < 13 || strncmp(p, "HTTP/1.1 ", 9) != 0) {
        return false;
    }
    *out = (struct answer){.status = atoi(p + 9), .head = p};
    out->head_len = (size_t)(end - p) + 4;
    out->body = (const uint8_t *)end + 4;
    const char *len = answer_field(out, "Content-Length");
    bool none = head_only || out->status == 304 || out->status == 204;
    must(none || len != NULL);
    out->body_len = none ? 0 : strtoull(len, NULL, 10);
    *at += out->head_len + out->body_len;
    return *at <= k->len;
}
