/* SPDX-License-Identifier: MIT */
/* Requests: what is read from good ones, and how bad ones are refused. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/http/http.h"

#ifdef NDEBUG
#error "tests need assert"
#endif

#define NOW 1700000000
#define H "Host: x\r\n"
#define TAG_A "\"0123456789abcdef\""
#define TAG_A_VALUE 0x0123456789abcdefu
#define MTIME 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */

/* Parse from memory that ends where the bytes end, so ASan sees overreads. */
static int parse_n(const char *s, size_t len, struct http_request *r)
{
    uint8_t *copy = malloc(len != 0 ? len : 1);
    memcpy(copy, s, len);
    int n = http_parse(copy, len, NOW, r);
    free(copy);
    return n;
}

static int parse(const char *s, struct http_request *r)
{
    size_t len = strlen(s);
    int n = parse_n(s, len, r);
    /* A prefix gives 0 or the final answer. */
    struct http_request part;
    for (size_t cut = 0; cut < len; cut++) {
        int k = parse_n(s, cut, &part);
        ck_assert_msg(k == 0 || k == n, "%zu bytes of '%s': %d, not %d", cut, s,
                      k, n);
        ck_assert(k <= 0 || (size_t)k <= cut);
    }
    return n;
}

static const struct {
    const char *text;
    int status; /* 0: accepted; negative: refused; positive: r.refuse */
} TABLE[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", 0},
    {"\r\nGET / HTTP/1.1\r\n" H "\r\n", 0},
    {"\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", -400},
    {"GET / HTTP/1.0\r\n\r\n", 0},
    {"GET / HTTP/1.9\r\n" H "\r\n", 0},
    {"GET / HTTP/1.1\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H H "\r\n", -400},
    {"GET / HTTP/1.0\r\n" H H "\r\n", -400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a]\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: []:80\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: u@b\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: %zz\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a%:80\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: a%2Fb%c3:80\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: [fe80::1%zz]\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n", -400},
    {"GET / HTTP/2.0\r\n" H "\r\n", -505},
    {"GET / HTTP/0.9\r\n" H "\r\n", -505},
    {"GET / HTTP/1.10\r\n" H "\r\n", -400},
    {"GET / http/1.1\r\n" H "\r\n", -400},
    {"GET / HTTP/1.1 \r\n" H "\r\n", -400},
    {"GET /\r\n", -400},
    {"GET  / HTTP/1.1\r\n" H "\r\n", -400},
    {"GET /a b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET /#f HTTP/1.1\r\n" H "\r\n", -400},
    {"GET /\x01 HTTP/1.1\r\n" H "\r\n", -400},
    {"GET /\x7f HTTP/1.1\r\n" H "\r\n", -400},
    {"GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 0},
    {"GET x HTTP/1.1\r\n" H "\r\n", -400},
    {"GET * HTTP/1.1\r\n" H "\r\n", -400},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 0},
    {"OPTIONS /x HTTP/1.1\r\n" H "\r\n", 0},
    {"GET http://a/b HTTP/1.1\r\n" H "\r\n", 0},
    {"GET HTTP://a:80?q HTTP/1.1\r\n" H "\r\n", 0},
    {"GET http:///b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET http://u@a/b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET http://:80/b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET http://a%4/b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET http://%41/b HTTP/1.1\r\n" H "\r\n", 0},
    {"GET https://a/b HTTP/1.1\r\n" H "\r\n", 421},
    {"HEAD HTTPS://[::1]:443?q HTTP/1.1\r\n" H "\r\n", 421},
    {"OPTIONS https://a HTTP/1.1\r\n" H "\r\n", 421},
    {"GET https://a/b HTTP/1.1\r\n\r\n", -400},
    {"GET https:///b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET https://u@a/b HTTP/1.1\r\n" H "\r\n", -400},
    {"POST https://a/b HTTP/1.1\r\n" H "\r\n", 405},
    {"BREW https://a/b HTTP/1.1\r\n" H "\r\n", 501},
    {"GET ftp://a/b HTTP/1.1\r\n" H "\r\n", -400},
    {"GET http://a/b HTTP/1.1\r\n\r\n", -400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n", 405},
    {"CONNECT a:80 HTTP/1.1\r\n" H "\r\n", 405},
    {"TRACE / HTTP/1.1\r\n" H "\r\n", 405},
    {"BREW / HTTP/1.1\r\n" H "\r\n", 501},
    {"get / HTTP/1.1\r\n" H "\r\n", 501},
    {"G@T / HTTP/1.1\r\n" H "\r\n", -400},
    {" GET / HTTP/1.1\r\n" H "\r\n", -400},
    {"AVERYLONGMETHODNAMETHATNOBODYUSES / HTTP/1.1\r\n" H "\r\n", -501},
    /* Smuggling. */
    {"GET / HTTP/1.1\n" H "\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "\n", -400},
    {"GET / HTTP/1.1\r\nHost: x\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n Host: x\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H ": x\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "A\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "A: \x01\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "A: \xff\t\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "A:\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Content-Length: \r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5x\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
     -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 18446744073709551621\r\n\r\n",
     -413},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n",
     -413},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 18446744073709551621x\r\n\r\n",
     -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 0000000000000000000005\r\n\r\n",
     0},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 65537\r\n\r\n", -413},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 65537\r\n\r\n", 405},
    {"BREW / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n",
     501},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 65537x\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n",
     -501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
     "Transfer-Encoding: chunked\r\n\r\n",
     -501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", -501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n"
     "Transfer-Encoding: Chunked ,\r\n\r\n",
     -501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
     "Transfer-Encoding: identity\r\n\r\n",
     -400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", -400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
     "Content-Length: 5\r\n\r\n",
     -400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\n"
     "Transfer-Encoding: identity\r\n\r\n",
     -400},
    {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", -400},
    {"GET / HTTP/1.1\r\n" H "Expect: 100-Continue\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Expect: miracles\r\n\r\n", 417},
    {"GET / HTTP/1.1\r\n" H "Expect:\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Expect: ,100-continue ,\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Expect: 100-continue, miracles\r\n\r\n", 417},
};

START_TEST(table)
{
    for (size_t i = 0; i < sizeof(TABLE) / sizeof(TABLE[0]); i++) {
        struct http_request r;
        const char *s = TABLE[i].text;
        int want = TABLE[i].status, n = parse(s, &r);
        if (want < 0) {
            ck_assert_msg(n == want, "'%s': %d, not %d", s, n, want);
            continue;
        }
        ck_assert_msg(n == (int)strlen(s), "'%s': %d", s, n);
        ck_assert_msg(r.refuse == want, "'%s': refuses with %d", s, r.refuse);
    }
}
END_TEST

static const struct {
    const char *text;
    int used; /* bytes of a whole body, or an error; 0: more is to come */
} CHUNKS[] = {
    {"0\r\n\r\nGET", 5},
    {"5\r\nhello\r\n0\r\n\r\n", 15},
    {"5;a=b; c=\"d\"\r\nhello\r\n000\r\n\r\n", 28},
    {"5 ;a\r\nhello\r\n0\r\n\r\n", 18},
    {"A\r\n0123456789\r\n0\r\nTrailer: x\r\nB: y\r\n\r\nGET", 38},
    {"5\r\nhello\r\n0\r\n", 0},
    {"5\r\nhel", 0},
    {"\r\n", -400},
    {"g\r\n", -400},
    {"-1\r\n", -400},
    {"0x5\r\nhello\r\n", -400},
    {"5 \r\nhello\r\n", -400},
    {" 5\r\nhello\r\n", -400},
    {"5\nhello\r\n", -400},
    {"5\rhello\r\n", -400},
    {"5;a\001\r\nhello\r\n", -400},
    {"5\r\nhello0\r\n\r\n", -400},
    {"5\r\nhello\n0\r\n\r\n", -400},
    {"0\r\nA: b\n\r\n", -400},
    {"0\r\n\rx", -400},
    {"0\r\nA:\r\n\r\n", 9},
    {"0\r\nA: b\r\n c\r\n\r\n", -400},
    {"0\r\n A: b\r\n\r\n", -400},
    {"0\r\n: b\r\n\r\n", -400},
    {"0\r\nA : b\r\n\r\n", -400},
    {"0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", -400},
    {"10001\r\n", -413},
    {"ffffffffffffffff5\r\nhello\r\n", -413},
};

START_TEST(chunked_bodies)
{
    for (size_t i = 0; i < sizeof(CHUNKS) / sizeof(CHUNKS[0]); i++) {
        const uint8_t *text = (const uint8_t *)CHUNKS[i].text;
        int len = (int)strlen(CHUNKS[i].text), want = CHUNKS[i].used;
        /* Whole, byte by byte, and in two pieces: all the same. */
        for (int cut = -1; cut < len; cut++) {
            int at = 0, r = 0;
            struct http_chunks k;
            http_chunks_begin(&k);
            while (at < len && k.place != 0 && r >= 0) {
                int n = cut < 0 ? 1 : at == 0 && cut != 0 ? cut : len - at;
                r = http_chunks_skip(&k, text + at, (size_t)n);
                at += r;
            }
            r = r < 0 ? r : k.place != 0 ? 0 : at;
            ck_assert_msg(r == want, "'%s' cut at %d: %d, not %d", text, cut, r,
                          want);
        }
    }
}
END_TEST

/* Neither data nor what surrounds it goes on for ever. */
START_TEST(chunked_bodies_end)
{
    static const struct {
        const char *first, *more;
        int want;
    } endless[] = {
        {"", "1\r\nx\r\n", -431},  {"", "1000\r\n", -413},
        {"0;", "extension", -431}, {"0\r\n", "Trailer: x\r\n", -431},
        {"", "00000000", -431},
    };
    static uint8_t data[0x1002];
    memset(data, 'x', 0x1000);
    memcpy(data + 0x1000, "\r\n", 2);
    for (size_t i = 0; i < sizeof(endless) / sizeof(endless[0]); i++) {
        struct http_chunks k;
        http_chunks_begin(&k);
        int r = http_chunks_skip(&k, (const uint8_t *)endless[i].first,
                                 strlen(endless[i].first));
        for (int n = 0; n < 10000 && r >= 0; n++) {
            r = http_chunks_skip(&k, (const uint8_t *)endless[i].more,
                                 strlen(endless[i].more));
            if (r >= 0 && endless[i].want == -413) {
                r = http_chunks_skip(&k, data, sizeof(data));
            }
        }
        ck_assert_int_eq(r, endless[i].want);
    }
}
END_TEST

START_TEST(pipelined)
{
    const char *two =
        "GET /a HTTP/1.1\r\n" H "\r\nGET /b HTTP/1.1\r\n" H "\r\n";
    struct http_request r;
    int n = http_parse((const uint8_t *)two, strlen(two), NOW, &r);
    ck_assert_int_eq(n, (int)strlen(two) / 2);
    ck_assert(r.path_len == 2 && memcmp(r.path, "/a", 2) == 0);
}
END_TEST

static void path_is(const char *target, const char *want)
{
    char text[256];
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" H "\r\n", target);
    struct http_request r;
    ck_assert_int_gt(http_parse((uint8_t *)text, strlen(text), NOW, &r), 0);
    uint8_t out[SITE_PATH_MAX];
    int n = http_path(r.path, r.path_len, out);
    if (http_path_plain(r.path, r.path_len)) {
        ck_assert_int_eq(n, r.path_len);
        ck_assert_int_eq(memcmp(out, r.path, r.path_len), 0);
    }
    ck_assert_msg(n == (int)strlen(want) &&
                      memcmp(out, want, strlen(want)) == 0,
                  "%s: '%.*s', not '%s'", target, n, out, want);
}

START_TEST(paths)
{
    path_is("/", "/");
    path_is("/a/b.html?q=/../x", "/a/b.html");
    path_is("http://h:80", "/");
    path_is("http://h?x", "/");
    path_is("http://h/a?x", "/a");
    path_is("/a%20b%3f", "/a b?");
    path_is("/%41%5a%7e", "/AZ~");
    path_is("/a/./b/../c", "/a/c");
    path_is("/a/.", "/a/");
    path_is("/a/..", "/");
    path_is("/..", "/");
    path_is("/../../etc/passwd", "/etc/passwd");
    path_is("/%2e%2e/%2E/x", "/x");
    path_is("/a//b///c/", "/a/b/c/");
    path_is("//", "/");
    path_is("/...", "/...");
    path_is("/a/..b/.c/d..", "/a/..b/.c/d..");
    path_is("/%ff%fe", "/\xff\xfe");
    path_is("/a/b/../../../c", "/c");
    path_is("/%2525", "/%25");
}
END_TEST

START_TEST(queries)
{
    static const struct {
        const char *target, *want;
    } q[] = {{"/", ""},
             {"/a?", "?"},
             {"/a?b=/c?d", "?b=/c?d"},
             {"http://h?x", "?x"},
             {"http://h/a", ""},
             {"http://h/?x", "?x"}};
    for (size_t i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" H "\r\n",
                 q[i].target);
        struct http_request r;
        ck_assert_int_gt(http_parse((uint8_t *)text, strlen(text), NOW, &r), 0);
        ck_assert_uint_eq(r.query_len, strlen(q[i].want));
        ck_assert_int_eq(memcmp(r.query, q[i].want, r.query_len), 0);
    }
}
END_TEST

START_TEST(bad_paths)
{
    static const struct {
        const char *path;
        int want;
    } bad[] = {
        {"/%", -400},     {"/%4", -400},   {"/%zz", -400}, {"/%4x", -400},
        {"/a%2fb", -404}, {"/a%00", -404}, {"", -400},     {"x", -400},
    };
    uint8_t out[SITE_PATH_MAX];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(
            http_path((const uint8_t *)bad[i].path, strlen(bad[i].path), out),
            bad[i].want);
    }
    static uint8_t deep[3 * SITE_PATH_MAX];
    memset(deep, 'a', sizeof(deep));
    deep[0] = '/';
    ck_assert_int_eq(http_path(deep, SITE_PATH_MAX, out), SITE_PATH_MAX);
    ck_assert_int_eq(http_path(deep, SITE_PATH_MAX + 1, out), -404);
}
END_TEST

static bool literal(const char *s)
{
    const uint8_t *p = (const uint8_t *)s;
    return http_ip_literal(p, p + strlen(s));
}

/* Addresses against the C library's reading, then what it does not know. */
START_TEST(ip_literals)
{
    static const char *const parts[] = {"0",
                                        "1",
                                        "12",
                                        "00ab",
                                        "FFFF",
                                        "12345",
                                        "g",
                                        ":",
                                        ":",
                                        ":",
                                        "::",
                                        ".",
                                        "1.",
                                        "255",
                                        "256",
                                        "01",
                                        "::ffff:",
                                        "1.2.3.4",
                                        "1:2:3:4:5:6:7:",
                                        ":8"};
    unsigned long good = 0;
    srand(1);
    for (int i = 0; i < 1000000; i++) {
        char s[200] = "";
        struct in6_addr a;
        for (int n = 1 + rand() % 12; n > 0; n--) {
            strcat(s, parts[(size_t)rand() % (sizeof(parts) / sizeof(*parts))]);
        }
        bool want = inet_pton(AF_INET6, s, &a) == 1;
        if (literal(s) != want) {
            ck_abort_msg("%s is %san address", s, want ? "" : "no ");
        }
        good += want;
    }
    ck_assert_uint_gt(good, 1000);
    ck_assert(literal("fe80::1%25eth0"));
    ck_assert(literal("v1F.a:b"));
    ck_assert(!literal("fe80::1%25"));
    ck_assert(!literal("fe80::1%41eth0"));
    ck_assert(!literal("%25eth0"));
    ck_assert(!literal("v.a"));
    ck_assert(!literal("v1."));
    ck_assert(!literal(""));
}
END_TEST

/* Refused within bounds, whether or not the end ever comes. */
START_TEST(limits)
{
    static char big[20000];
    memset(big, 'a', sizeof(big));
    memcpy(big, "GET /", 5);
    struct http_request r;
    ck_assert_int_eq(parse_n(big, HTTP_TARGET_MAX + 4, &r), 0);
    ck_assert_int_eq(parse_n(big, HTTP_TARGET_MAX + 5, &r), -414);
    ck_assert_int_eq(parse_n(big, sizeof(big), &r), -414);
    /* A request line of 8000 bytes, as RFC 9112 section 3 recommends. */
    strcpy(big + 8000 - strlen(" HTTP/1.1"), " HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(parse_n(big, strlen(big), &r), (int)strlen(big));
    const char *head = "GET / HTTP/1.1\r\n" H "A: ";
    memset(big, 'a', sizeof(big));
    memcpy(big, head, strlen(head));
    ck_assert_int_eq(parse_n(big, HTTP_HEAD_MAX - 1, &r), 0);
    ck_assert_int_eq(parse_n(big, HTTP_HEAD_MAX, &r), -431);
    memcpy(big + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    ck_assert_int_eq(parse_n(big, sizeof(big), &r), HTTP_HEAD_MAX);
    memset(big + HTTP_HEAD_MAX - 4, 'a', 4);
    memcpy(big + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
    ck_assert_int_eq(parse_n(big, sizeof(big), &r), -431);
    char *p = big + sprintf(big, "GET / HTTP/1.1\r\n" H);
    for (unsigned i = 1; i < HTTP_FIELDS_MAX; i++) {
        p += sprintf(p, "A: b\r\n");
    }
    strcpy(p, "\r\n");
    ck_assert_int_gt(parse_n(big, strlen(big), &r), 0);
    strcpy(p, "A: b\r\n\r\n");
    ck_assert_int_eq(parse_n(big, strlen(big), &r), -431);
}
END_TEST

START_TEST(persistence)
{
#define KEEPS(text, want)                                                      \
    ck_assert_int_gt(parse(text, &r), 0);                                      \
    ck_assert_int_eq(r.keep_alive, want)
    struct http_request r;
    KEEPS("GET / HTTP/1.1\r\n" H "\r\n", true);
    KEEPS("GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false);
    KEEPS("GET / HTTP/1.1\r\n" H "Connection: foo, CLOSE ,\r\n\r\n", false);
    KEEPS("GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", true);
    KEEPS("GET / HTTP/1.0\r\n\r\n", false);
    KEEPS("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true);
    KEEPS("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false);
    KEEPS("GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n"
          "Content-Length: 4\r\n\r\n",
          false);
    KEEPS("GET / HTTP/1.1\r\n" H "Expect: miracles\r\n"
          "Content-Length: 4\r\n\r\n",
          false);
    KEEPS("GET / HTTP/1.1\r\n" H "Expect: miracles\r\n\r\n", true);
    KEEPS("POST / HTTP/1.1\r\n" H "Content-Length: 65536\r\n\r\n", true);
    KEEPS("POST / HTTP/1.1\r\n" H "Content-Length: 65537\r\n\r\n", false);
    KEEPS("GET https://a/ HTTP/1.1\r\n" H "\r\n", true);
#undef KEEPS
}
END_TEST

#define OTHER "\"00000000000000ff\""
#define FOUR OTHER "," OTHER ", " OTHER ",,W/" OTHER
#define EIGHT FOUR "," FOUR

static struct http_request get(const char *fields)
{
    static char text[1024]; /* a long list of tags is read in it again */
    struct http_request r;
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" H "%s\r\n", fields);
    ck_assert_msg(http_parse((const uint8_t *)text, strlen(text), NOW, &r) > 0,
                  "%s", fields);
    return r;
}

static void status_is(const char *fields, uint16_t want)
{
    struct http_request r = get(fields);
    struct http_answer a = http_evaluate(&r, TAG_A_VALUE, MTIME, 1000);
    ck_assert_msg(a.status == want, "%s: %d, not %d", fields, a.status, want);
}

START_TEST(preconditions)
{
    static const char same[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    static const char before[] = "Sun, 06 Nov 1994 08:49:36 GMT";
    status_is("", 200);
    status_is("If-None-Match: " TAG_A "\r\n", 304);
    status_is("If-None-Match: W/" TAG_A "\r\n", 304);
    status_is("If-None-Match: \"x\", " TAG_A "\r\n", 304);
    status_is("If-None-Match: \"x\"\r\nIf-None-Match: " TAG_A "\r\n", 304);
    status_is("If-None-Match: " EIGHT ", " TAG_A "\r\n", 304);
    status_is("If-None-Match: " EIGHT ", W/" TAG_A "\r\n", 304);
    status_is("If-Match: " EIGHT ", W/" TAG_A "\r\n", 412);
    status_is("If-Match: " EIGHT "," TAG_A "\r\n", 200);
    status_is("If-Match: " EIGHT ",\"0\"\r\nIF-MATCH:" TAG_A "\r\n", 200);
    status_is("If-Match: " EIGHT ",\"0\"\r\nIf-None-Match: " TAG_A "\r\n", 412);
    status_is("If-Match: " EIGHT "," OTHER "\r\n", 412);
    status_is("If-None-Match: " EIGHT "," OTHER "\r\n", 200);
    status_is("If-None-Match: *\r\n", 304);
    status_is("If-None-Match: \"0123456789ABCDEF\"\r\n", 200);
    status_is("If-None-Match: 0123456789abcdef\r\n", 200);
    status_is("If-None-Match:\r\n", 200);
    status_is("If-Match: " TAG_A "\r\n", 200);
    status_is("If-Match: W/" TAG_A "\r\n", 412);
    status_is("If-Match: \"x\"\r\n", 412);
    status_is("If-Match: *\r\n", 200);
    char f[300];
    snprintf(f, sizeof(f), "If-Modified-Since: %s\r\n", same);
    status_is(f, 304);
    snprintf(f, sizeof(f), "If-Modified-Since: %s\r\n", before);
    status_is(f, 200);
    status_is("If-Modified-Since: yesterday\r\n", 200);
    status_is("If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", 304);
    snprintf(f, sizeof(f), "If-Unmodified-Since: %s\r\n", same);
    status_is(f, 200);
    snprintf(f, sizeof(f), "If-Unmodified-Since: %s\r\n", before);
    status_is(f, 412);
    /* A tag outranks a date; If-Match comes before If-None-Match. */
    snprintf(f, sizeof(f), "If-None-Match: \"x\"\r\nIf-Modified-Since: %s\r\n",
             same);
    status_is(f, 200);
    snprintf(f, sizeof(f), "If-Match: *\r\nIf-Unmodified-Since: %s\r\n",
             before);
    status_is(f, 200);
    status_is("If-Match: \"x\"\r\nIf-None-Match: " TAG_A "\r\n", 412);
    status_is("If-None-Match: " TAG_A "\r\nRange: bytes=0-1\r\n", 304);
    /* If-Range. */
    status_is("Range: bytes=0-1\r\nIf-Range: " TAG_A "\r\n", 206);
    status_is("Range: bytes=0-1\r\nIf-Range: W/" TAG_A "\r\n", 200);
    status_is("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n", 200);
    snprintf(f, sizeof(f), "Range: bytes=0-1\r\nIf-Range: %s\r\n", same);
    status_is(f, 206);
    snprintf(f, sizeof(f), "Range: bytes=0-1\r\nIf-Range: %s\r\n", before);
    status_is(f, 200);
}
END_TEST

/* None of these is a list: given twice, a date is ignored, and If-Range does
   not hold, whichever of the two would. */
START_TEST(given_twice)
{
    static const char same[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    static const char before[] = "Sun, 06 Nov 1994 08:49:36 GMT";
    static const struct {
        const char *name, *value;
        uint16_t once, twice;
    } row[] = {{"If-Modified-Since", same, 304, 206},
               {"If-Unmodified-Since", before, 412, 206},
               {"If-Range", same, 206, 200},
               {"If-Range", TAG_A, 206, 200}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char f[300] = "Range: bytes=0-1\r\n";
        for (unsigned n = 1; n <= 3; n++) {
            size_t len = strlen(f);
            snprintf(f + len, sizeof(f) - len, "%s: %s\r\n", row[i].name,
                     row[i].value);
            status_is(f, n == 1 ? row[i].once : row[i].twice);
        }
    }
    status_is("Range: bytes=0-1\r\nIf-Range: " TAG_A "\r\nIf-Range: x\r\n",
              200);
}
END_TEST

/* Trees with all their times at 0 exist; a date before that is a date. */
START_TEST(before_1970)
{
    static const char then[] = "Wed, 31 Dec 1969 23:59:59 GMT";
    static const struct {
        const char *name;
        uint16_t status;
    } row[] = {{"If-Modified-Since", 206},
               {"If-Unmodified-Since", 412},
               {"If-Range", 200}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char f[100];
        snprintf(f, sizeof(f), "%s: %s\r\nRange: bytes=0-1\r\n", row[i].name,
                 then);
        struct http_request r = get(f);
        ck_assert_int_eq(http_evaluate(&r, TAG_A_VALUE, 0, 1000).status,
                         row[i].status);
    }
}
END_TEST

static void range_is(const char *value, uint16_t status, uint64_t first,
                     uint64_t last)
{
    char f[300];
    snprintf(f, sizeof(f), "Range: %s\r\n", value);
    struct http_request r = get(f);
    struct http_answer a = http_evaluate(&r, 1, 1, 1000);
    ck_assert_msg(a.status == status, "%s: %d", value, a.status);
    if (status == 206) {
        ck_assert_uint_eq(a.ranges, 1);
        ck_assert_uint_eq(a.range[0].first, first);
        ck_assert_uint_eq(a.range[0].last, last);
    }
}

START_TEST(ranges)
{
    range_is("bytes=0-0", 206, 0, 0);
    range_is("bytes=10-", 206, 10, 999);
    range_is("bytes=-10", 206, 990, 999);
    range_is("bytes=-5000", 206, 0, 999);
    range_is("bytes=990-5000", 206, 990, 999);
    range_is("BYTES= 1-2 ,", 206, 1, 2);
    range_is("bytes=0-99999999999999999999999999", 206, 0, 999);
    range_is("bytes=1000-", 416, 0, 0);
    range_is("bytes=99999999999999999999999999-", 416, 0, 0);
    range_is("bytes=-0", 416, 0, 0);
    range_is("bytes=2000-3000, 4000-", 416, 0, 0);
    range_is("bytes=5-6, 4000-", 206, 5, 6);
    range_is("bytes=6-5", 200, 0, 0);
    range_is("bytes=", 200, 0, 0);
    range_is("bytes=x", 200, 0, 0);
    range_is("bytes=-", 200, 0, 0);
    range_is("bytes=1 -2", 200, 0, 0);
    range_is("bytes=1-2-3", 200, 0, 0);
    range_is("lines=1-2", 200, 0, 0);
    range_is("bytes=0-,0-", 200, 0, 0);
    range_is("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8", 200, 0, 0);
    struct http_request r = get("Range: bytes=0-1,5-6,-2\r\n");
    struct http_answer a = http_evaluate(&r, 1, 1, 1000);
    ck_assert_uint_eq(a.status, 206);
    ck_assert_uint_eq(a.ranges, 3);
    ck_assert_uint_eq(a.range[2].first, 998);
    r = get("Range: bytes=0-1\r\nRange: bytes=0-1\r\n");
    ck_assert_uint_eq(http_evaluate(&r, 1, 1, 1000).status, 200);
    r = get("Range: bytes=0-1\r\n");
    ck_assert_uint_eq(http_evaluate(&r, 1, 1, 0).status, 200);
    r.method = HTTP_HEAD;
    ck_assert_uint_eq(http_evaluate(&r, 1, 1, 1000).status, 200);
}
END_TEST

static void encoding_is(const char *fields, int want)
{
    static const uint32_t all[SITE_ENCODINGS] = {7, 8, 9};
    struct http_request r = get(fields);
    int e = http_choose(&r, all);
    ck_assert_msg(e == want, "%s: %d, not %d", fields, e, want);
}

START_TEST(encodings)
{
    encoding_is("", SITE_IDENTITY);
    encoding_is("Accept-Encoding:\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: gzip, deflate, br\r\n", SITE_BR);
    encoding_is("Accept-Encoding: GZIP\r\n", SITE_GZIP);
    encoding_is("Accept-Encoding: x-gzip\r\n", SITE_GZIP);
    encoding_is("Accept-Encoding: gzip;q=1.0, br;q=0.5\r\n", SITE_GZIP);
    encoding_is("Accept-Encoding: gzip ; Q=0.001\r\n", SITE_GZIP);
    encoding_is("Accept-Encoding: gzip;q=0\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: gzip;q=0.0000\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: gzip;q=2, br;q=x\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: *\r\n", SITE_BR);
    encoding_is("Accept-Encoding: *, br;q=0\r\n", SITE_GZIP);
    encoding_is("Accept-Encoding: identity, gzip;q=0.5\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: identity;q=0\r\n", -406);
    encoding_is("Accept-Encoding: *;q=0\r\n", -406);
    encoding_is("Accept-Encoding: *;q=0, identity\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: deflate\r\n", SITE_IDENTITY);
    encoding_is("Accept-Encoding: gzip\r\nAccept-Encoding: br;q=0.9\r\n",
                SITE_GZIP);
    static const uint32_t plain[SITE_ENCODINGS] = {0, 0, 9};
    struct http_request r = get("Accept-Encoding: br, gzip\r\n");
    ck_assert_int_eq(http_choose(&r, plain), SITE_IDENTITY);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *t = tcase_create("request");
    tcase_add_test(t, table);
    tcase_add_test(t, ip_literals);
    tcase_add_test(t, chunked_bodies);
    tcase_add_test(t, chunked_bodies_end);
    tcase_add_test(t, pipelined);
    tcase_add_test(t, paths);
    tcase_add_test(t, queries);
    tcase_add_test(t, bad_paths);
    tcase_add_test(t, limits);
    tcase_add_test(t, persistence);
    tcase_add_test(t, preconditions);
    tcase_add_test(t, given_twice);
    tcase_add_test(t, before_1970);
    tcase_add_test(t, ranges);
    tcase_add_test(t, encodings);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
