/* SPDX-License-Identifier: MIT */
/*
 * The end by our own fault: say why and from where, and stop the machine with
 * a failing status. Takes no lock, since the holder may be the culprit.
 */
#include "src/arch.h"
#include "src/lib/format.h"

#define PANIC_STATUS 0x7fu

void panic(const char *fmt, ...)
{
    static _Atomic int panicking;
    char line[256];
    if (panicking++ == 0) {
        va_list args;
        va_start(args, fmt);
        size_t n = format_list(line, sizeof(line), fmt, args);
        va_end(args);
        arch_console_write("panic: ", 7);
        arch_console_write(line, n < sizeof(line) ? n : sizeof(line) - 1);
        arch_console_write("\n", 1);
        arch_backtrace();
    }
    arch_halt(PANIC_STATUS);
}
