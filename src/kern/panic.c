/* SPDX-License-Identifier: MIT */
/*
 * The end by our own fault: say why and from where, and stop the machine with
 * a failing status. Takes no lock, since the holder may be the culprit.
 */
#include "src/arch.h"
#include "src/lib/format.h"
#include "src/lib/log.h"

#define PANIC_STATUS 0x7fu

void panic(const char *fmt, ...)
{
    static _Atomic int panicking;
    char line[256];
    if (panicking++ == 0) {
        va_list args;
        va_start(args, fmt);
        format_list(line, sizeof(line), fmt, args);
        va_end(args);
        kern_console_end();
        log_line("panic: %s", line);
        arch_backtrace();
    }
    arch_halt(PANIC_STATUS);
}
