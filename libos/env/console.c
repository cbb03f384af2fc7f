/* SPDX-License-Identifier: MIT */
/*
 * The serial line: one call a line, cut to what the call takes.
 */
#include "libos/libos/console.h"
#include "libos/libos/start.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"

#define CONSOLE_CALL_MAX 1024u
#define CONSOLE_LINE 512u
#define TRIES 100u

/*
 * A line that nobody reads takes nothing: it is given TRIES milliseconds to go
 * on, once; after that what does not fit is lost until the line moves again.
 */
void console_write(const char *text, size_t len)
{
    static unsigned tried;

    while (len > 0) {
        uint32_t part =
            len < CONSOLE_CALL_MAX ? (uint32_t)len : CONSOLE_CALL_MAX;
        int64_t n =
            sys_console_write(SLOT_CONSOLE, (const uint8_t *)text, part);

        if (n < 0 || (n == 0 && tried >= TRIES)) {
            return;
        }
        if (n == 0) {
            tried++;
            (void)sys_event_wait(0, time_tsc_of_ns(time_ns() + TIME_MS), 0);
            continue;
        }
        tried = 0;
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
