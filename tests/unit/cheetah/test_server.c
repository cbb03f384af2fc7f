/* SPDX-License-Identifier: MIT */
/*
 * The whole server core in one process: real TCP stacks, a site that mksite
 * made, a slow disk, a small cache, bad weather, rude clients.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tests/unit/cheetah/fakesite.h"

#ifdef NDEBUG
#error "tests need assert"
#endif

#define S 1000000000ull
#define HOST_LINE "Host: pavise\r\n"
#define CLOSE "Connection: close\r\n"

/* ck_assert writes a message each time; inner loops cannot afford that. */
#define EXPECT(x)                                                              \
    do {                                                                       \
        if (!(x)) {                                                            \
            ck_abort_msg("%s", #x);                                            \
        }                                                                      \
    } while (0)

static struct fake_site site;

static void escape(const char *path, char *out)
{
    for (; *path != 0; path++) {
        bool plain = strchr(" ?#%", *path) == NULL;
        out += plain ? sprintf(out, "%c", *path)
                     : sprintf(out, "%%%02X", (unsigned char)*path);
    }
    *out = 0;
}

static char *request_for(const struct file *f, const char *fields)
{
    static char text[8][600];
    static unsigned turn;
    char *out = text[turn++ % 8];
    char path[200];
    escape(f->path, path);
    snprintf(out, 600, "GET %s HTTP/1.1\r\n" HOST_LINE "%s\r\n", path, fields);
    return out;
}

static const struct file *file_named(const char *path)
{
    for (size_t i = 0; i < FILES_COUNT; i++) {
        if (strcmp(FILES[i].path, path) == 0) {
            return &FILES[i];
        }
    }
    abort();
}

static bool body_is(const struct answer *a, const struct file *f, size_t from,
                    size_t len)
{
    uint8_t *want = malloc(f->len + 1);
    file_fill(f, want);
    bool same = a->body_len == len && memcmp(a->body, want + from, len) == 0;
    free(want);
    return same;
}

/* One request on one connection; the answer points into `k`. */
static struct answer fetch(struct client *k, const char *request, bool head)
{
    size_t at = 0;
    client_start(&site, k, request);
    EXPECT(client_run(&site, k, 300 * S));
    struct answer a;
    if (!answer_read(k, &at, head, &a) || at != k->len) {
        ck_abort_msg("no whole answer, or more than one, to: %s\n%.*s", request,
                     (int)k->len, (char *)k->got);
    }
    return a;
}

static void set_up(uint32_t caps, uint32_t frames, uint32_t conns)
{
    struct fake_site_options o = {
        .caps = caps, .frames = frames, .conns = conns, .seed = 7};
    fake_site_init(&site, &o);
}

/* ------------------------------------------------------------------ documents
 */

static const uint32_t CAPS[] = {0, NET_CAP_CSUM, NET_CAP_CSUM | NET_CAP_TSO4};

START_TEST(every_file)
{
    set_up(CAPS[_i], 256, 8);
    for (size_t i = 0; i < FILES_COUNT; i++) {
        struct client k = {0};
        struct answer a = fetch(&k, request_for(&FILES[i], CLOSE), false);
        ck_assert_int_eq(a.status, 200);
        ck_assert_msg(body_is(&a, &FILES[i], 0, FILES[i].len), "%s",
                      FILES[i].path);
        ck_assert_str_eq(answer_field(&a, "Connection"), "close");
        ck_assert_str_eq(answer_field(&a, "Server"), "Cheetah");
        ck_assert_ptr_nonnull(answer_field(&a, "ETag"));
        ck_assert_ptr_nonnull(answer_field(&a, "Last-Modified"));
        ck_assert_str_eq(answer_field(&a, "Accept-Ranges"), "bytes");
        client_free(&k);
    }
    if (CAPS[_i] == 0) {
        /* The image's sums serve; bodies are hardly ever summed here. */
        const struct net_stats *n = net_stats(site.host[0].stack);
        ck_assert_uint_lt(n->tcp_bytes_summed, n->tcp_bytes_out / 20);
    }
    ck_assert_uint_gt(site.cache.stats.evictions, 0);
    fake_site_finish(&site);
}
END_TEST

START_TEST(date_is_now)
{
    set_up(NET_CAP_CSUM, 256, 8);
    struct client k = {0};
    fake_site_run(&site, 3661 * S, NULL, NULL);
    struct answer a = fetch(&k, request_for(&FILES[0], CLOSE), false);
    /* 1700000000 + 3661, and a moment for the way. */
    const char *date = answer_field(&a, "Date");
    ck_assert_str_ge(date, "Tue, 14 Nov 2023 23:14:21 GMT");
    ck_assert_str_le(date, "Tue, 14 Nov 2023 23:14:23 GMT");
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(head_and_redirect)
{
    set_up(NET_CAP_CSUM, 256, 8);
    struct client k = {0};
    struct answer a =
        fetch(&k, "HEAD /big.bin HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", true);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(answer_field(&a, "Content-Length"), "1500001");
    client_free(&k);
    a = fetch(&k, "GET /dir HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", false);
    ck_assert_int_eq(a.status, 301);
    ck_assert_str_eq(answer_field(&a, "Location"), "/dir/");
    client_free(&k);
    a = fetch(&k, "GET /dir/ HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", false);
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_nonnull(memmem(a.body, a.body_len, "./inner.txt", 11));
    client_free(&k);
    a = fetch(&k, "GET /x/../%2e/%73mall?q HTTP/1.0\r\n\r\n", false);
    ck_assert_int_eq(a.status, 200);
    ck_assert(body_is(&a, file_named("/small"), 0, 10));
    client_free(&k);
    a = fetch(&k, "OPTIONS * HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", false);
    ck_assert_int_eq(a.status, 204);
    ck_assert_str_eq(answer_field(&a, "Allow"), "GET, HEAD, OPTIONS");
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* RFC 9110 section 15.4: what was asked for is asked for there too, however
   long it is, and what comes behind it on the connection is read. */
START_TEST(redirect_keeps_the_query)
{
    static const size_t len[] = {1,    QUERY_MAX, QUERY_MAX + 1, 1000,
                                 4096, 7000,      7980};
    static char query[8000], text[9000], want[8000];
    const size_t n = sizeof(len) / sizeof(len[0]);
    set_up(NET_CAP_CSUM, 256, 8);
    for (size_t i = 0; i < 2 * n; i++) {
        struct client k = {0};
        size_t at = 0;
        bool head = i % 2 == 1;
        memset(query, 'q', sizeof(query));
        query[0] = '?';
        query[len[i / 2]] = 0;
        snprintf(text, sizeof(text),
                 "%s /x/../dir%s HTTP/1.1\r\n" HOST_LINE "\r\n"
                 "GET /small HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n",
                 head ? "HEAD" : "GET", query);
        snprintf(want, sizeof(want), "/dir/%s", query);
        client_start(&site, &k, text);
        EXPECT(client_run(&site, &k, 100 * S));
        struct answer a;
        EXPECT(answer_read(&k, &at, head, &a));
        ck_assert_int_eq(a.status, 301);
        ck_assert_ptr_nonnull(memmem(a.head, a.head_len, want, strlen(want)));
        ck_assert_str_eq(answer_field(&a, "Content-Length"), "0");
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, 200);
        EXPECT(body_is(&a, file_named("/small"), 0, 10));
        client_free(&k);
    }
    fake_site_finish(&site);
}
END_TEST

START_TEST(encoded)
{
    const struct file *f = file_named("/text.txt");
    set_up(0, 256, 8);
    struct client k = {0};
    struct answer a =
        fetch(&k, request_for(f, CLOSE "Accept-Encoding: gzip\r\n"), false);
    ck_assert_str_eq(answer_field(&a, "Content-Encoding"), "gzip");
    ck_assert_str_eq(answer_field(&a, "Vary"), "Accept-Encoding");
    uint8_t *plain = malloc(f->len + 1), *want = malloc(f->len + 1);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)a.body,
                  .avail_in = (uInt)a.body_len,
                  .next_out = plain,
                  .avail_out = (uInt)f->len + 1};
    ck_assert_int_eq(inflateInit2(&z, 31), Z_OK);
    ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    file_fill(f, want);
    ck_assert_uint_eq(z.total_out, f->len);
    ck_assert_int_eq(memcmp(plain, want, f->len), 0);
    free(plain);
    free(want);
    client_free(&k);
    a = fetch(&k, request_for(f, CLOSE "Accept-Encoding: br, gzip\r\n"), false);
    ck_assert_str_eq(answer_field(&a, "Content-Encoding"), "br");
    client_free(&k);
    a = fetch(&k, request_for(f, CLOSE "Accept-Encoding: *;q=0\r\n"), false);
    ck_assert_int_eq(a.status, 406);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* A cache must not answer others by what one client's Accept-Encoding gave
   (RFC 9110 section 12.5.5). */
START_TEST(what_depends_on_encodings_says_so)
{
    static const struct {
        const char *path, *fields;
        int status;
        bool vary;
    } row[] = {
        {"/text.txt", "", 200, true},
        {"/text.txt", "Range: bytes=0-1\r\n", 206, true},
        {"/text.txt", "If-None-Match: *\r\n", 304, true},
        {"/text.txt", "If-Match: \"x\"\r\n", 412, true},
        {"/text.txt", "Range: bytes=900000-\r\n", 416, true},
        {"/text.txt", "Accept-Encoding: *;q=0\r\n", 406, true},
        {"/big.bin", "Accept-Encoding: identity;q=0\r\n", 406, true},
        {"/big.bin", "If-Match: \"x\"\r\n", 412, false},
        {"/big.bin", "Range: bytes=9000000-\r\n", 416, false},
        {"/big.bin", "If-None-Match: *\r\n", 304, false},
        {"/none", "Accept-Encoding: *;q=0\r\n", 404, false},
    };
    char text[8000] = "";
    set_up(0, 256, 8);
    /* On one connection: nothing is left over from the answer before. */
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        sprintf(text + strlen(text),
                "HEAD /none HTTP/1.1\r\n" HOST_LINE "\r\n"
                "GET %s HTTP/1.1\r\n" HOST_LINE "%s%s\r\n",
                row[i].path, row[i].fields,
                i + 1 == sizeof(row) / sizeof(row[0]) ? CLOSE : "");
    }
    struct client k = {0};
    size_t at = 0;
    client_start(&site, &k, text);
    EXPECT(client_run(&site, &k, 100 * S));
    struct answer a;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        EXPECT(answer_read(&k, &at, true, &a));
        ck_assert_ptr_null(answer_field(&a, "Vary"));
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, row[i].status);
        const char *vary = answer_field(&a, "Vary");
        ck_assert_msg((vary != NULL) == row[i].vary, "%s %s", row[i].path,
                      row[i].fields);
    }
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(conditional)
{
    const struct file *f = file_named("/s4097");
    set_up(0, 256, 8);
    struct client k = {0};
    struct answer a = fetch(&k, request_for(f, CLOSE), false);
    char fields[200];
    snprintf(fields, sizeof(fields), CLOSE "If-None-Match: %s\r\n",
             answer_field(&a, "ETag"));
    char since[200];
    snprintf(since, sizeof(since), CLOSE "If-Modified-Since: %s\r\n",
             answer_field(&a, "Last-Modified"));
    char etag[64];
    snprintf(etag, sizeof(etag), "%s", answer_field(&a, "ETag"));
    client_free(&k);
    a = fetch(&k, request_for(f, fields), false);
    ck_assert_int_eq(a.status, 304);
    ck_assert_str_eq(answer_field(&a, "ETag"), etag);
    ck_assert_ptr_null(answer_field(&a, "Content-Type"));
    client_free(&k);
    a = fetch(&k, request_for(f, since), false);
    ck_assert_int_eq(a.status, 304);
    client_free(&k);
    a = fetch(&k, request_for(f, CLOSE "If-Match: \"x\"\r\n"), false);
    ck_assert_int_eq(a.status, 412);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* RFC 9110 section 13.1.1 and 13.1.2: any tag of the list may be the one, and
   the record that it is compared with may have to come from the disk. */
START_TEST(long_lists_of_tags)
{
    const struct file *f = file_named("/s4097");
    static const unsigned foreign[] = {7, 8, 60, 380};
    static char text[9000];
    set_up(0, 256, 8);
    struct client k = {0};
    struct answer a = fetch(&k, request_for(f, CLOSE), false);
    char etag[64];
    snprintf(etag, sizeof(etag), "%s", answer_field(&a, "ETag"));
    client_free(&k);
    for (unsigned i = 0; i < 16; i++) {
        bool match = i % 2 == 0, ours = i / 2 % 2 == 0;
        size_t at = 0;
        int n = snprintf(text, sizeof(text),
                         "GET %s HTTP/1.1\r\n" HOST_LINE "%s: \"x\"", f->path,
                         match ? "If-Match" : "If-None-Match");
        for (unsigned j = 0; j < foreign[i / 4]; j++) {
            n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"%016x\"", j);
        }
        snprintf(text + n, sizeof(text) - (size_t)n,
                 "\r\n%s: %s\r\n\r\nGET /small HTTP/1.1\r\n" HOST_LINE CLOSE
                 "\r\n",
                 match ? "if-match" : "if-none-match", ours ? etag : "\"y\"");
        /* A server that has read nothing yet. */
        fake_site_finish(&site);
        set_up(0, 256, 8);
        client_start(&site, &k, text);
        EXPECT(client_run(&site, &k, 100 * S));
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, ours == match ? 200 : match ? 412 : 304);
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, 200);
        client_free(&k);
    }
    fake_site_finish(&site);
}
END_TEST

START_TEST(single_ranges)
{
    const struct file *f = file_named("/s65537");
    set_up(CAPS[_i], 128, 8);
    for (int n = 0; n < 25; n++) {
        struct client k = {0};
        size_t first = fake_below(&site.net, (uint32_t)f->len);
        size_t last = first + fake_below(&site.net, (uint32_t)(f->len - first));
        char fields[200];
        snprintf(fields, sizeof(fields), CLOSE "Range: bytes=%zu-%zu\r\n",
                 first, last);
        struct answer a = fetch(&k, request_for(f, fields), false);
        EXPECT(a.status == 206);
        EXPECT(body_is(&a, f, first, last - first + 1));
        char want[100];
        snprintf(want, sizeof(want), "bytes %zu-%zu/%zu", first, last, f->len);
        ck_assert_str_eq(answer_field(&a, "Content-Range"), want);
        client_free(&k);
    }
    struct client k = {0};
    struct answer a =
        fetch(&k, request_for(f, CLOSE "Range: bytes=65537-\r\n"), false);
    ck_assert_int_eq(a.status, 416);
    ck_assert_str_eq(answer_field(&a, "Content-Range"), "bytes */65537");
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(many_ranges)
{
    static const size_t range[3][2] = {{0, 0}, {700, 9000}, {65000, 65536}};
    const struct file *f = file_named("/s65537");
    set_up(CAPS[_i], 128, 8);
    struct client k = {0};
    struct answer a =
        fetch(&k, request_for(f, CLOSE "Range: bytes=0-0, 700-9000, -537\r\n"),
              false);
    ck_assert_int_eq(a.status, 206);
    const char *type = answer_field(&a, "Content-Type");
    ck_assert(strncmp(type, "multipart/byteranges; boundary=", 31) == 0);
    char mark[100];
    snprintf(mark, sizeof(mark), "\r\n--%s", type + 31);
    const uint8_t *p = a.body, *end = a.body + a.body_len;
    uint8_t *want = malloc(f->len);
    file_fill(f, want);
    for (int i = 0; i < 3; i++) {
        size_t len = range[i][1] - range[i][0] + 1;
        ck_assert_int_eq(memcmp(p, mark, strlen(mark)), 0);
        char head[200];
        snprintf(head, sizeof(head), "Content-Range: bytes %zu-%zu/%zu\r\n",
                 range[i][0], range[i][1], f->len);
        const uint8_t *data = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
        ck_assert_ptr_nonnull(
            memmem(p, (size_t)(data + 4 - p), head, strlen(head)));
        ck_assert_int_eq(memcmp(data + 4, want + range[i][0], len), 0);
        p = data + 4 + len;
    }
    free(want);
    strcat(mark, "--\r\n");
    ck_assert_uint_eq((size_t)(end - p), strlen(mark));
    ck_assert_int_eq(memcmp(p, mark, strlen(mark)), 0);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* --------------------------------------------------------------- connections
 */

/* Many requests at once, cut at every possible place by small chunks. */
START_TEST(pipelined)
{
    static char text[60000];
    size_t n = 0;
    char *p = text;
    set_up(CAPS[_i], 256, 8);
    size_t order[100];
    for (int i = 0; i < 100; i++) {
        order[n] = fake_below(&site.net, (uint32_t)FILES_COUNT - 3);
        p += sprintf(p, "%s%s", i % 9 == 0 ? "\r\n" : "",
                     request_for(&FILES[order[n++]], i == 99 ? CLOSE : ""));
    }
    static const size_t chunk[] = {0, 1, 7, 1000};
    for (int c = 0; c < 4; c++) {
        struct client k = {.chunk = chunk[c]};
        size_t at = 0;
        client_start(&site, &k, text);
        EXPECT(client_run(&site, &k, 3000 * S));
        struct answer a;
        for (size_t i = 0; i < n; i++) {
            EXPECT(answer_read(&k, &at, false, &a));
            EXPECT(a.status == 200);
            EXPECT(body_is(&a, &FILES[order[i]], 0, FILES[order[i]].len));
        }
        EXPECT(at == k.len);
        client_free(&k);
    }
    fake_site_finish(&site);
}
END_TEST

/* A sender leaves a window's last part of a segment unused (RFC 9293 section
   3.8.6.2.1): the longest of heads must not need it. */
START_TEST(long_heads_flow)
{
    enum { COUNT = 6 };
    static char text[COUNT * HTTP_HEAD_MAX + 1];
    set_up(NET_CAP_CSUM, 256, 8);
    for (unsigned i = 0; i < COUNT; i++) {
        char *head = text + (size_t)i * HTTP_HEAD_MAX;
        memset(head, 'x', HTTP_HEAD_MAX);
        int n = sprintf(head, "GET /small HTTP/1.1\r\n" HOST_LINE "%sA: ",
                        i + 1 < COUNT ? "" : CLOSE);
        head[n] = 'x';
        memcpy(head + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    }
    struct client k = {0};
    size_t at = 0;
    client_start(&site, &k, text);
    EXPECT(client_run(&site, &k, S / 5));
    struct answer a;
    for (unsigned i = 0; i < COUNT; i++) {
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, 200);
    }
    ck_assert_uint_eq(at, k.len);
    client_free(&k);
    /* What is too long is seen at once, without a line's end. */
    memset(text + 30, 'x', HTTP_HEAD_MAX);
    text[HTTP_HEAD_MAX] = 0;
    client_start(&site, &k, text);
    EXPECT(client_run(&site, &k, S / 5));
    at = 0;
    EXPECT(answer_read(&k, &at, false, &a));
    ck_assert_int_eq(a.status, 431);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(bodies_are_read_past)
{
    set_up(NET_CAP_CSUM, 256, 8);
    static char text[70000];
    char *p = text + sprintf(text, "GET /small HTTP/1.1\r\n" HOST_LINE
                                   "Content-Length: 60000\r\n\r\n");
    memset(p, 'G', 60000);
    sprintf(p + 60000,
            "POST /small HTTP/1.1\r\n" HOST_LINE "Content-Length: 4\r\n\r\nGET "
            "GET /small HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n");
    struct client k = {0};
    size_t at = 0;
    static const int want[] = {200, 405, 200};
    client_start(&site, &k, text);
    EXPECT(client_run(&site, &k, 100 * S));
    struct answer a;
    for (int i = 0; i < 3; i++) {
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, want[i]);
    }
    ck_assert_uint_eq(at, k.len);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(chunked_bodies_are_read_past)
{
    static const char text[] =
        "POST /small HTTP/1.1\r\n" HOST_LINE "Transfer-Encoding: chunked\r\n"
        "\r\n4\r\nGET \r\n12;x=y\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n"
        "Trailer: x\r\n\r\n"
        "GET /small HTTP/1.1\r\n" HOST_LINE "Transfer-Encoding: chunked\r\n"
        "\r\n0\r\n\r\n"
        "GET /small HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n";
    static const int want[] = {405, 200, 200};
    set_up(NET_CAP_CSUM, 256, 8);
    for (size_t chunk = 0; chunk < 8; chunk++) {
        struct client k = {.chunk = chunk};
        size_t at = 0;
        client_start(&site, &k, text);
        EXPECT(client_run(&site, &k, 100 * S));
        struct answer a;
        for (int i = 0; i < 3; i++) {
            EXPECT(answer_read(&k, &at, false, &a));
            ck_assert_int_eq(a.status, want[i]);
        }
        ck_assert_uint_eq(at, k.len);
        client_free(&k);
    }
    fake_site_finish(&site);
}
END_TEST

/* A body that breaks its framing: no byte behind it is taken for a request. */
START_TEST(broken_chunks_end_the_connection)
{
    set_up(NET_CAP_CSUM, 256, 8);
    struct client k = {0};
    struct answer a = fetch(
        &k,
        "POST /small HTTP/1.1\r\n" HOST_LINE "Transfer-Encoding: chunked\r\n"
        "\r\n4\r\nabcdGET /small HTTP/1.1\r\n" HOST_LINE "\r\n",
        false);
    ck_assert_int_eq(a.status, 405);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(errors_close)
{
    static const struct {
        const char *text;
        int status;
    } bad[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"rubbish\r\n\r\n", 400},
        {"GET / HTTP/3.0\r\n" HOST_LINE "\r\n", 505},
        {"GET / HTTP/1.1\r\n" HOST_LINE "Content-Length: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST_LINE
         "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
         501},
        {"GET / HTTP/1.1\r\n" HOST_LINE "Content-Length: 999999\r\n\r\n", 413},
        {"PUT / HTTP/1.1\r\n" HOST_LINE "Content-Length: 999999\r\n\r\n"
         "GET / HTTP/1.1\r\n" HOST_LINE "\r\n",
         405},
        {"GET https://pavise/ HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", 421},
        {"BREW /pot HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", 501},
        {"GET /none HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", 404},
        {"GET /%zz HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", 400},
        {"GET /a%00b HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", 404},
        {"DELETE / HTTP/1.0\r\n\r\n", 405},
    };
    set_up(0, 256, 8);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client k = {0};
        struct answer a = fetch(&k, bad[i].text, false);
        ck_assert_msg(a.status == bad[i].status, "%s: %d", bad[i].text,
                      a.status);
        ck_assert_str_eq(answer_field(&a, "Connection"), "close");
        client_free(&k);
    }
    fake_site_finish(&site);
}
END_TEST

/* No answer to HEAD has content (RFC 9110 section 9.3.2), not even to one that
   could not be read to its end. */
START_TEST(no_content_for_a_broken_head)
{
    static const struct {
        const char *text;
        int status;
    } bad[] = {
        {"HEAD / HTTP/1.1\r\n\r\n", 400},
        {"HEAD x HTTP/1.1\r\n" HOST_LINE "\r\n", 400},
        {"HEAD / HTTP/2.0\r\n" HOST_LINE "\r\n", 505},
        {"HEAD / HTTP/1.1\r\n" HOST_LINE "Content-Length: 99999\r\n\r\n", 413},
        {"HEAD /%zz HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n", 400},
    };
    set_up(0, 256, 8);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client k = {0};
        ck_assert_int_eq(fetch(&k, bad[i].text, true).status, bad[i].status);
        client_free(&k);
    }
    /* The next connection in the same place is none the worse for it. */
    struct client k = {0};
    struct answer a = fetch(&k, "HEADLESS\r\n\r\n", false);
    ck_assert_int_eq(a.status, 400);
    ck_assert_uint_ne(a.body_len, 0);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

static void closes_within(struct client *k, const char *text, uint64_t at_least,
                          uint64_t at_most)
{
    uint64_t start = site.net.now_ns;
    client_start(&site, k, text);
    EXPECT(client_run(&site, k, at_most));
    EXPECT(site.net.now_ns - start >= at_least);
}

START_TEST(time_limits)
{
    size_t at = 0;
    set_up(NET_CAP_CSUM, 256, 8);
    struct client k = {0};
    /* Says nothing: closed without a word. */
    closes_within(&k, "", 14 * S, 17 * S);
    ck_assert_uint_eq(k.len, 0);
    client_free(&k);
    /* Half a request: 408. */
    closes_within(&k, "GET / HTTP/1.1\r\nHost: ", 9 * S, 12 * S);
    struct answer a;
    EXPECT(answer_read(&k, &at, false, &a));
    ck_assert_int_eq(a.status, 408);
    client_free(&k);
    /* A byte at a time, for ever: 408 all the same. */
    static char slow[4000];
    memset(slow, 'a', sizeof(slow) - 1);
    memcpy(slow, "GET /", 5);
    k.chunk = 1;
    closes_within(&k, slow, 1 * S, 12 * S);
    client_free(&k);
    /* Its body never comes: it was answered, and once is enough. */
    static const char *const bodies[] = {
        "Content-Length: 9\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab"};
    for (int i = 0; i < 2; i++) {
        char text[200];
        snprintf(text, sizeof(text), "POST / HTTP/1.1\r\nHost: t\r\n%s",
                 bodies[i]);
        k.chunk = 0;
        closes_within(&k, text, 9 * S, 12 * S);
        at = 0;
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, 405);
        ck_assert_uint_eq(at, k.len);
        client_free(&k);
    }
    /* Keeps quiet after an answer. */
    closes_within(&k, request_for(file_named("/small"), ""), 14 * S, 17 * S);
    at = 0;
    EXPECT(answer_read(&k, &at, false, &a));
    ck_assert_int_eq(a.status, 200);
    ck_assert_uint_eq(at, k.len);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* More halves of requests than there is memory for. */
START_TEST(half_heads_keep_nobody_out)
{
    set_up(NET_CAP_CSUM, 256, 16);
    struct client half[10] = {0}, k = {.chunk = 40};
    for (size_t i = 0; i < 10; i++) {
        client_start(&site, &half[i], "GET / HTTP/1.1\r\nHost: ");
    }
    EXPECT(!client_run(&site, &half[0], 2 * S));
    uint64_t start = site.net.now_ns;
    struct answer a =
        fetch(&k, request_for(file_named("/small"), CLOSE), false);
    ck_assert_int_eq(a.status, 200);
    ck_assert_uint_lt(site.net.now_ns - start, 3 * S);
    client_free(&k);
    /* One has made room for it; the others have their time. */
    unsigned ended = 0;
    for (size_t i = 0; i < 10; i++) {
        ended += half[i].closed || half[i].peer_finished;
    }
    ck_assert_uint_le(ended, 4);
    for (size_t i = 0; i < 10; i++) {
        size_t at = 0;
        EXPECT(client_run(&site, &half[i], 15 * S));
        EXPECT(answer_read(&half[i], &at, false, &a));
        ck_assert_int_eq(a.status, 408);
        client_free(&half[i]);
    }
    fake_site_finish(&site);
}
END_TEST

static uint32_t take_nothing(struct tcp_conn *c, const void *data, uint32_t len)
{
    (void)data;
    tcp_receive_window(c, 0);
    return len;
}

/* A reader that stops reading cannot keep a connection, nor its blocks. */
START_TEST(stalled_reader)
{
    set_up(NET_CAP_CSUM, 64, 8);
    struct client k = {.window = 3000};
    client_start(&site, &k, request_for(file_named("/big.bin"), ""));
    struct tcp_ops ops = *k.c.ops;
    ops.received = take_nothing;
    k.c.ops = &ops;
    EXPECT(client_run(&site, &k, 90 * S));
    ck_assert_int_eq(k.why, TCP_RESET);
    ck_assert_uint_ge(site.server.stats.timeouts, 1);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

START_TEST(half_closed_client_is_answered)
{
    set_up(NET_CAP_CSUM, 256, 8);
    struct client k = {.finish = true};
    size_t at = 0;
    client_start(&site, &k, request_for(file_named("/s65537"), ""));
    EXPECT(client_run(&site, &k, 10 * S));
    struct answer a;
    EXPECT(answer_read(&k, &at, false, &a));
    ck_assert(body_is(&a, file_named("/s65537"), 0, 65537));
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* What is wrong is answered before the end, also when its last bytes came in
   pieces that completed no line. */
START_TEST(half_closed_client_learns_what_is_wrong)
{
    static const size_t chunk[] = {0, 1, 7, 30};
    set_up(NET_CAP_CSUM, 256, 8);
    for (size_t i = 0; i < sizeof(chunk) / sizeof(chunk[0]); i++) {
        struct client k = {.finish = true, .chunk = chunk[i]};
        size_t at = 0;
        client_start(&site, &k,
                     "GET /small HTTP/1.1\r\n" HOST_LINE "\r\n"
                     "amethodofmorethanthirtytwoletters");
        EXPECT(client_run(&site, &k, 10 * S));
        struct answer a;
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, 200);
        EXPECT(answer_read(&k, &at, false, &a));
        ck_assert_int_eq(a.status, 501);
        client_free(&k);
    }
    fake_site_finish(&site);
}
END_TEST

/* More clients than connections: the idle make room, everybody is served. */
START_TEST(exhaustion)
{
    static struct client idle[4], k[6];
    set_up(NET_CAP_CSUM, 256, 4);
    for (int i = 0; i < 4; i++) {
        idle[i] = (struct client){0};
        client_start(&site, &idle[i], "");
    }
    fake_site_run(&site, 1 * S, NULL, NULL);
    ck_assert_uint_eq(site.server.live, 4);
    for (int i = 0; i < 6; i++) {
        k[i] = (struct client){0};
        client_start(&site, &k[i], request_for(file_named("/s4097"), CLOSE));
    }
    for (int i = 0; i < 6; i++) {
        size_t at = 0;
        EXPECT(client_run(&site, &k[i], 60 * S));
        struct answer a;
        EXPECT(answer_read(&k[i], &at, false, &a));
        EXPECT(body_is(&a, file_named("/s4097"), 0, 4097));
        client_free(&k[i]);
    }
    ck_assert_uint_gt(site.server.stats.recycled, 0);
    for (int i = 0; i < 4; i++) {
        EXPECT(client_run(&site, &idle[i], 60 * S));
        client_free(&idle[i]);
    }
    fake_site_finish(&site);
}
END_TEST

/* Sixteen places, eight clients who were answered and stay, and a crowd that
   comes at once: the eight give way, nobody is sent away unanswered. */
START_TEST(a_crowd_is_answered)
{
    static struct client old[8], k[64];
    const char *request = request_for(file_named("/s4097"), "");
    set_up(NET_CAP_CSUM, 256, 16);
    for (int i = 0; i < 8; i++) {
        old[i] = (struct client){0};
        client_start(&site, &old[i], request);
    }
    fake_site_run(&site, 1 * S, NULL, NULL);
    for (int i = 0; i < 64; i++) {
        k[i] = (struct client){0};
        client_start(&site, &k[i], request);
    }
    fake_site_run(&site, 60 * S, NULL, NULL);
    for (int i = 0; i < 64; i++) {
        size_t at = 0;
        struct answer a;
        EXPECT(answer_read(&k[i], &at, false, &a));
        EXPECT(body_is(&a, file_named("/s4097"), 0, 4097));
    }
    for (int i = 0; i < 72; i++) {
        struct client *c = i < 8 ? &old[i] : &k[i - 8];
        EXPECT(client_run(&site, c, 60 * S));
        client_free(c);
    }
    fake_site_finish(&site);
}
END_TEST

/* Nobody of those who are there was answered: who comes waits for them. */
START_TEST(the_unanswered_keep_their_places)
{
    static struct client silent[4], k[4];
    const char *request = request_for(file_named("/s4097"), CLOSE);
    set_up(NET_CAP_CSUM, 256, 4);
    const struct net_stats *n = net_stats(site.host[0].stack);
    for (int i = 0; i < 4; i++) {
        silent[i] = (struct client){0};
        client_start(&site, &silent[i], "");
    }
    fake_site_run(&site, S / 2, NULL, NULL);
    for (int i = 0; i < 4; i++) {
        k[i] = (struct client){0};
        client_start(&site, &k[i], request);
        fake_site_run(&site, S / 20, NULL, NULL);
    }
    fake_site_run(&site, 4 * S, NULL, NULL);
    for (int i = 0; i < 4; i++) {
        ck_assert(silent[i].open && !silent[i].closed && !k[i].closed);
    }
    ck_assert_uint_eq(n->tcp_crowded, 0);
    ck_assert_uint_eq(n->tcp_resets_sent, 0);
    ck_assert_uint_gt(n->tcp_syn_full, 0);
    for (int i = 0; i < 4; i++) {
        size_t at = 0;
        EXPECT(client_run(&site, &k[i], 60 * S));
        struct answer a;
        EXPECT(answer_read(&k[i], &at, false, &a));
        client_free(&k[i]);
    }
    ck_assert_uint_gt(n->tcp_crowded, 0);
    for (int i = 0; i < 4; i++) {
        EXPECT(client_run(&site, &silent[i], 60 * S));
        client_free(&silent[i]);
    }
    fake_site_finish(&site);
}
END_TEST

/* ------------------------------------------------------------------- weather
 */

/* Readers that stalled give way, too, once they did not move for a while. */
START_TEST(slow_readers_make_room)
{
    static struct client slow[4];
    static struct tcp_ops ops;
    set_up(NET_CAP_CSUM, 256, 4);
    for (int i = 0; i < 4; i++) {
        slow[i] = (struct client){.window = 3000};
        client_start(&site, &slow[i], request_for(file_named("/big.bin"), ""));
        ops = *slow[i].c.ops;
        ops.received = take_nothing;
        slow[i].c.ops = &ops;
    }
    fake_site_run(&site, 8 * S, NULL, NULL);
    ck_assert_uint_eq(site.server.live, 4);
    struct client k = {0};
    struct answer a =
        fetch(&k, request_for(file_named("/small"), CLOSE), false);
    ck_assert_int_eq(a.status, 200);
    ck_assert_uint_ge(site.server.stats.recycled, 1);
    client_free(&k);
    for (int i = 0; i < 4; i++) {
        EXPECT(client_run(&site, &slow[i], 100 * S));
        client_free(&slow[i]);
    }
    fake_site_finish(&site);
}
END_TEST

/* Large bodies for many at once through a cache of 64 frames, with loss: what
   is sent again is read again. */
START_TEST(small_cache_bad_weather)
{
    static struct client k[12];
    struct fake_site_options o = {.caps = CAPS[_i],
                                  .frames = 64,
                                  .conns = 16,
                                  .loss = 20,
                                  .seed = 99 + (uint64_t)_i};
    const struct file *f[2] = {file_named("/big.bin"), file_named("/text.txt")};
    fake_site_init(&site, &o);
    for (int i = 0; i < 12; i++) {
        k[i] = (struct client){0};
        client_start(&site, &k[i], request_for(f[i % 2], CLOSE));
    }
    for (int i = 0; i < 12; i++) {
        size_t at = 0;
        EXPECT(client_run(&site, &k[i], 3000 * S));
        struct answer a;
        EXPECT(answer_read(&k[i], &at, false, &a));
        EXPECT(body_is(&a, f[i % 2], 0, f[i % 2]->len));
        EXPECT(at == k[i].len);
        client_free(&k[i]);
    }
    ck_assert_uint_gt(site.cache.stats.evictions, 100);
    ck_assert_uint_gt(net_stats(site.host[0].stack)->tcp_bytes_rexmit, 0);
    fake_site_finish(&site);
}
END_TEST

START_TEST(failing_disk)
{
    set_up(NET_CAP_CSUM, 64, 8);
    site.fail_percent = 30;
    int ok = 0, broken = 0;
    for (int i = 0; i < 60; i++) {
        struct client k = {0};
        size_t at = 0;
        const struct file *f = &FILES[(unsigned)i % FILES_COUNT];
        client_start(&site, &k, request_for(f, CLOSE));
        EXPECT(client_run(&site, &k, 100 * S));
        struct answer a;
        if (k.why == TCP_DONE && answer_read(&k, &at, false, &a)) {
            EXPECT(a.status == 500 || body_is(&a, f, 0, f->len));
            ok += a.status == 200;
            broken += a.status == 500;
        } else {
            EXPECT(k.why == TCP_RESET);
            broken++;
        }
        client_free(&k);
    }
    ck_assert_int_gt(ok, 0);
    ck_assert_int_gt(broken, 0);
    site.fail_percent = 0;
    struct client k = {0};
    struct answer a = fetch(&k, request_for(file_named("/s512"), CLOSE), false);
    ck_assert(body_is(&a, file_named("/s512"), 0, 512));
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

/* A damaged image behind a sound superblock: wrong bytes at worst. */
START_TEST(damaged_image)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fake_site_options o = {
            .caps = CAPS[seed % 3], .frames = 64, .conns = 8, .seed = seed};
        fake_site_init(&site, &o);
        uint32_t index_end = 1 + site.server.site.index_blocks;
        for (int i = 0; i < 400; i++) {
            /* Mostly index and records, where numbers are. */
            size_t at = fake_below(&site.net, 2) != 0
                            ? SITE_BLOCK + fake_below(&site.net, SITE_BLOCK)
                            : (index_end + fake_below(&site.net, 900)) *
                                      (size_t)SITE_BLOCK +
                                  fake_below(&site.net, 112);
            site.image[at % site.image_len] = (uint8_t)fake_random(&site.net);
        }
        for (size_t i = 0; i < FILES_COUNT; i++) {
            struct client k = {0};
            client_start(&site, &k, request_for(&FILES[i], CLOSE));
            EXPECT(client_run(&site, &k, 300 * S));
            client_free(&k);
        }
        fake_site_finish(&site);
    }
}
END_TEST

START_TEST(status_pages)
{
    set_up(NET_CAP_CSUM, 256, 8);
    struct client k = {0};
    struct answer a =
        fetch(&k, request_for(file_named("/small"), CLOSE), false);
    client_free(&k);
    a = fetch(&k, "GET /.pavise/counters HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n",
              false);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(answer_field(&a, "Content-Type"), "application/json");
    ck_assert_uint_eq(a.body[0], '{');
    ck_assert_int_eq(memcmp(a.body + a.body_len - 3, "}}\n", 3), 0);
    ck_assert_ptr_nonnull(memmem(a.body, a.body_len, "\"requests\":1,", 13));
    ck_assert_ptr_nonnull(
        memmem(a.body, a.body_len, "\"body_bytes_copied\":0,", 22));
    ck_assert_ptr_nonnull(
        memmem(a.body, a.body_len, "\"body_bytes_in_place\":10,", 25));
    client_free(&k);
    for (int i = 0; i < 3; i++) {
        static const char *const path[] = {"", "status", "status.js"};
        static const char *const end[] = {"</script>\n", "</script>\n",
                                          "ask();\n"};
        char request[100];
        snprintf(request, sizeof(request),
                 "GET /.pavise/%s HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n",
                 path[i]);
        a = fetch(&k, request, false);
        size_t n = strlen(end[i]);
        ck_assert_int_eq(a.status, 200);
        ck_assert_int_eq(memcmp(a.body + a.body_len - n, end[i], n), 0);
        client_free(&k);
    }
    a = fetch(&k, "GET /.pavise/other HTTP/1.1\r\n" HOST_LINE CLOSE "\r\n",
              false);
    ck_assert_int_eq(a.status, 404);
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

static char logged[2000];

static void keep_log(const char *line, size_t len)
{
    strncat(logged, line, len);
}

START_TEST(access_log_says_what_was_answered)
{
    static const char *const want[] = {
        "\"GET /small HTTP/1.1\" 200 10\n",
        "\"HEAD /small HTTP/1.1\" 200 0\n",
        "\"GET /nowhere HTTP/1.1\" 404 14\n",
        "\"GET /dir?q HTTP/1.1\" 301 0\n",
        "\"-\" 400 16\n",
    };
    static struct access_log log;
    static char text[4096];
    struct client k = {0};
    const char *at = logged;
    set_up(NET_CAP_CSUM, 256, 8);
    log_init(&log, text, sizeof(text), keep_log);
    site.server.log = &log;
    client_start(&site, &k,
                 "GET /small HTTP/1.1\r\n" HOST_LINE "\r\n"
                 "\r\nHEAD /small HTTP/1.1\r\n" HOST_LINE "\r\n"
                 "GET /nowhere HTTP/1.1\r\n" HOST_LINE "\r\n"
                 "GET /dir?q HTTP/1.1\r\n" HOST_LINE "\r\n"
                 "GET / HTTP/1.1\r\n\r\n");
    EXPECT(client_run(&site, &k, 300 * S));
    while (log_turn(&log, 0, true)) {
    }
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        at = strstr(at, want[i]);
        ck_assert_msg(at != NULL, "%s is not in\n%s", want[i], logged);
    }
    client_free(&k);
    fake_site_finish(&site);
}
END_TEST

int main(void)
{
    fake_image_make();
    Suite *s = suite_create("server");
    TCase *t = tcase_create("server");
    tcase_add_loop_test(t, every_file, 0, 3);
    tcase_add_test(t, date_is_now);
    tcase_add_test(t, head_and_redirect);
    tcase_add_test(t, redirect_keeps_the_query);
    tcase_add_test(t, encoded);
    tcase_add_test(t, what_depends_on_encodings_says_so);
    tcase_add_test(t, conditional);
    tcase_add_test(t, long_lists_of_tags);
    tcase_add_loop_test(t, many_ranges, 0, 3);
    tcase_add_test(t, long_heads_flow);
    tcase_add_test(t, bodies_are_read_past);
    tcase_add_test(t, chunked_bodies_are_read_past);
    tcase_add_test(t, broken_chunks_end_the_connection);
    tcase_add_test(t, errors_close);
    tcase_add_test(t, no_content_for_a_broken_head);
    tcase_add_test(t, time_limits);
    tcase_add_test(t, half_heads_keep_nobody_out);
    tcase_add_test(t, half_closed_client_is_answered);
    tcase_add_test(t, half_closed_client_learns_what_is_wrong);
    tcase_add_test(t, status_pages);
    tcase_add_test(t, access_log_says_what_was_answered);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    /* Longer ones: not in the quick suite. */
    t = tcase_create("weather");
    tcase_add_loop_test(t, single_ranges, 0, 3);
    tcase_add_loop_test(t, pipelined, 0, 3);
    tcase_add_test(t, stalled_reader);
    tcase_add_test(t, slow_readers_make_room);
    tcase_add_test(t, exhaustion);
    tcase_add_test(t, a_crowd_is_answered);
    tcase_add_test(t, the_unanswered_keep_their_places);
    tcase_add_loop_test(t, small_cache_bad_weather, 0, 3);
    tcase_add_test(t, failing_disk);
    tcase_add_test(t, damaged_image);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
