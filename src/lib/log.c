/* SPDX-License-Identifier: MIT */
#include "src/lib/log.h"
#include "src/lib/format.h"

static log_sink *log_out;

void log_to(log_sink *sink)
{
    log_out = sink;
}

void log_line_list(const char *fmt, va_list args)
{
    char line[256];
    size_t n = format_list(line, sizeof(line), fmt, args);
    n = n < sizeof(line) ? n : sizeof(line) - 1;
    line[n++] = '\n';
    if (log_out != NULL) {
        log_out(line, n);
    }
}

void log_line(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line_list(fmt, args);
    va_end(args);
}
