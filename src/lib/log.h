/* SPDX-License-Identifier: MIT */
/*
 * One line of text for the person at the serial line. Any room of the kernel
 * may say something; boot code sets where it goes.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

typedef void log_sink(const char *text, size_t len);

/*
 * Where lines go from now on: straight to the line at first, into the
 * console's ring when environments run, straight again when the machine ends.
 */
void log_to(log_sink *sink);

/* Write one line; the newline is added, and the line is cut at 255 bytes. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_line_list(const char *fmt, va_list args)
    __attribute__((format(printf, 1, 0)));
