/* SPDX-License-Identifier: MIT */
/* The access log: its format, what clients put into it, a slow console. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/server/log.h"

#ifdef NDEBUG
#error "tests need assert"
#endif

#define T 1785039465 /* Sun, 26 Jul 2026 04:17:45 GMT */

static struct access_log l;
static char text[4096], shown[1 << 20];
static size_t shown_len;

static void show(const char *line, size_t len)
{
    ck_assert_uint_lt(shown_len + len, sizeof(shown));
    ck_assert_int_eq(line[len - 1], '\n');
    memcpy(shown + shown_len, line, len);
    shown_len += len;
    shown[shown_len] = 0;
}

static void begin(uint32_t room)
{
    shown_len = 0;
    shown[0] = 0;
    log_init(&l, text, room, show);
}

static void add(const char *request, size_t len, unsigned status)
{
    struct log_entry e = {.peer = net_v4(10, 0, 2, 2),
                          .unix = T,
                          .request = request,
                          .len = len,
                          .status = status,
                          .bytes = 4097};
    log_add(&l, &e);
}

START_TEST(common_log_format)
{
    begin(4096);
    add("GET /a HTTP/1.1", 15, 200);
    ck_assert(!log_turn(&l, 0, true));
    ck_assert_str_eq(shown, "10.0.2.2 - - [26/Jul/2026:04:17:45 +0000] "
                            "\"GET /a HTTP/1.1\" 200 4097\n");
    begin(4096);
    add("", 0, 408);
    log_turn(&l, 0, true);
    ck_assert_ptr_nonnull(strstr(shown, "] \"-\" 408 4097\n"));
}
END_TEST

START_TEST(ipv6_peer)
{
    struct log_entry e = {.unix = T, .request = "x", .len = 1, .status = 200};
    e.peer.byte[0] = 0xfe;
    e.peer.byte[1] = 0x80;
    e.peer.byte[15] = 1;
    begin(4096);
    log_add(&l, &e);
    log_turn(&l, 0, true);
    ck_assert_int_eq(strncmp(shown, "fe80:0:0:0:0:0:0:1 - - [", 24), 0);
}
END_TEST

/* No client can forge a line, or move the terminal of who reads them. */
START_TEST(escapes)
{
    begin(4096);
    add("GET /\"\\\n\x1b\xc3\xbc X", 13, 400);
    log_turn(&l, 0, true);
    ck_assert_ptr_nonnull(
        strstr(shown, "\"GET /\\\"\\\\\\x0a\\x1b\\xc3\\xbc X\" 400"));
}
END_TEST

START_TEST(long_requests_are_cut)
{
    char request[8000];
    memset(request, 0xff, sizeof(request));
    begin(4096);
    add(request, sizeof(request), 414);
    log_turn(&l, 0, true);
    ck_assert_ptr_nonnull(strstr(shown, "\\xff...\" 414"));
    ck_assert_uint_lt(shown_len, LOG_LINE_MAX);
}
END_TEST

START_TEST(lost_lines_are_counted_and_told)
{
    begin(1000);
    for (int i = 0; i < 100; i++) {
        add("GET /a HTTP/1.1", 15, 200);
    }
    ck_assert_uint_gt(l.lost, 80);
    while (log_turn(&l, 0, true)) {
    }
    char want[80];
    snprintf(want, sizeof(want), "cheetah: %u lines of the access log",
             (unsigned)l.lost);
    ck_assert_ptr_nonnull(strstr(shown, want));
    size_t before = shown_len;
    ck_assert(!log_turn(&l, 0, true));
    ck_assert_uint_eq(shown_len, before);
}
END_TEST

START_TEST(busy_servers_write_little)
{
    begin(4096);
    for (int i = 0; i < 10; i++) {
        add("GET /a HTTP/1.1", 15, 200);
    }
    for (uint64_t ns = 1; ns < 3ull * LOG_BUSY_NS; ns += 1000) {
        ck_assert(log_turn(&l, ns, false));
    }
    size_t lines = 0;
    for (size_t i = 0; i < shown_len; i++) {
        lines += shown[i] == '\n';
    }
    ck_assert_uint_eq(lines, 3);
}
END_TEST

/* Every line comes out once and whole, in order, whatever the room. */
START_TEST(wraps)
{
    for (uint32_t room = LOG_LINE_MAX; room < LOG_LINE_MAX + 130; room += 13) {
        unsigned put = 0, seen = 0;
        begin(room);
        srand(room);
        for (int i = 0; i < 600; i++) {
            char request[100];
            int n =
                snprintf(request, sizeof(request), "%06u%.*s", put, rand() % 90,
                         "..............................."
                         "..............................."
                         "...............................");
            uint64_t lost = l.lost;
            add(request, (size_t)n, 200);
            put += l.lost == lost;
            for (int k = rand() % 3; k > 0 && l.head != l.tail; k--) {
                shown_len = 0;
                log_turn(&l, 0, true);
                const char *quote = strchr(shown, '"');
                ck_assert_ptr_nonnull(quote);
                ck_assert_uint_eq((unsigned)atoi(quote + 1), seen);
                seen++;
            }
        }
        ck_assert_uint_gt(seen, 300);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_add_test(t, common_log_format);
    tcase_add_test(t, ipv6_peer);
    tcase_add_test(t, escapes);
    tcase_add_test(t, long_requests_are_cut);
    tcase_add_test(t, lost_lines_are_counted_and_told);
    tcase_add_test(t, busy_servers_write_little);
    tcase_add_test(t, wraps);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
