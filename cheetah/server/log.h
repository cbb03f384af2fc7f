/* SPDX-License-Identifier: MIT */
/*
 * The access log: a line for each answer, in the Common Log Format
 *
 *   10.0.2.2 - - [25/Nov/2026:04:17:45 +0000] "GET / HTTP/1.1" 200 512
 *
 * Serving never waits for it. A line is put into memory of bounded size; the
 * owner's loop writes lines to the console when there is nothing else to do,
 * and while there is, one every LOG_BUSY_NS. What finds the memory full is
 * lost, and a line says how many were.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libos/libos/net.h"

#define LOG_REQUEST_MAX 120u /* bytes kept of a request line */
#define LOG_BUSY_NS 20000000u
#define LOG_LINE_MAX 700u /* bytes; every byte of a request may be escaped */
#define LOG_DATE_LEN 26u  /* "25/Nov/2026:04:17:45 +0000" */

struct access_log {
    char *text;    /* `room` bytes; lines do not wrap around its end */
    uint32_t room; /* at least LOG_LINE_MAX */
    void (*write)(const char *line, size_t len);
    uint32_t head, tail; /* offsets: where to put, where to take */
    uint32_t wrap;       /* the last line before the end ends here */
    uint64_t lost;       /* lines, since the start */
    uint64_t told;       /* of them, by a line that said so */
    uint64_t busy_ns;    /* not before, while there is something to do */
    int64_t date_unix;   /* what `date` says */
    char date[LOG_DATE_LEN];
};

/* What a line says. */
struct log_entry {
    struct net_addr peer;
    int64_t unix;        /* seconds since 1970 */
    const char *request; /* the request line, as it came */
    size_t len;          /* 0: there was none that could be read */
    unsigned status;
    uint64_t bytes; /* of body */
};

/* text: `room` bytes, at least LOG_LINE_MAX. */
void log_init(struct access_log *l, char *text, uint32_t room,
              void (*write)(const char *line, size_t len));

/* Keep a line, or count it as lost. */
void log_add(struct access_log *l, const struct log_entry *e);

/*
 * Write one line, if its time has come.
 *
 * idle  there is nothing else to do
 *
 * Returns whether lines are left.
 */
bool log_turn(struct access_log *l, uint64_t now_ns, bool idle);
