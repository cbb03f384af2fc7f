/* SPDX-License-Identifier: MIT */
/*
 * The serial line, through the capability in SLOT_CONSOLE. Without one these
 * do nothing.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * Write whole lines: other environments' text comes between lines only, if
 * none of these is longer than 1024 bytes. Waits for a line that is slow, for
 * 100 ms in all for one that stands still; then the text is lost.
 */
void console_write(const char *text, size_t len);

/* One line in one call, so that environments do not mix within a line; at
   most 511 bytes. Formats as text.h says. */
void console_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void console_vprintf(const char *fmt, va_list args);
