/* SPDX-License-Identifier: MIT */
/*
 * The serial line. The kernel writes the text of one call in one piece or not
 * at all, so a call gets whole lines, as many as fit.
 */
#include "libos/libos/console.h"
#include "libos/libos/start.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"

#define CONSOLE_CALL_MAX 1024u
#define CONSOLE_LINE 512u
#define TRIES 100u

/* Bytes of one call: up to the last end of a line that fits, if there is one.
 */
static uint32_t call_len(const char *text, size_t len)
{
    uint32_t n = CONSOLE_CALL_MAX;
    if (len <= n) {
        return (uint32_t)len;
    }
    while (n > 0 && text[n - 1] != '\n') {
        n--;
    }
    return n > 0 ? n : CONSOLE_CALL_MAX;
}

/*
 * A serial line without a reader takes nothing: it is given TRIES milliseconds
 * to go on, once; after that, texts are lost until it moves again.
 */
void console_write(const char *text, size_t len)
{
    static unsigned tried;
    while (len > 0) {
        int64_t n = sys_console_write(SLOT_CONSOLE, (const uint8_t *)text,
                                      call_len(text, len));
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
