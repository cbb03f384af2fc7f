/* SPDX-License-Identifier: MIT */
/*
 * The serial line: one call a line, cut to what the call takes.
 */
#include "libos/libos/console.h"
#include "libos/libos/start.h"
#include "libos/libos/text.h"
#include "libos/sys/sys.h"

#define CONSOLE_CALL_MAX 1024u
#define CONSOLE_LINE 512u

void console_write(const char *text, size_t len)
{
    while (len > 0) {
        uint32_t part =
            len < CONSOLE_CALL_MAX ? (uint32_t)len : CONSOLE_CALL_MAX;
        int64_t n =
            sys_console_write(SLOT_CONSOLE, (const uint8_t *)text, part);

        if (n <= 0) {
            return;
        }
        text += n;
        len -= (size_t)n;
    }
}

void console_vprintf(const char *fmt, va_list args)
{
    char line[CONSOLE_LINE];
    size_t len = text_vformat(line, sizeof(line), fmt, args);

    console_write(line, len < sizeof(line) ? len : sizeof(line) - 1);
}

void console_printf(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    console_vprintf(fmt, args);
    va_end(args);
}
