/* SPDX-License-Identifier: MIT */
/*
 * A kernel without the portable half: checks of the machine itself, as TAP.
 */
#include "src/arch.h"
#include "src/lib/log.h"

void kern_main(const struct boot_info *info)
{
    (void)info;
    log_line("hello");
    arch_halt(0);
}

struct frame *kern_trap(uint32_t vector, struct frame *f)
{
    (void)vector;
    return f;
}

void kern_start(unsigned cpu)
{
    (void)cpu;
    for (;;) {
        arch_idle();
    }
}

uint64_t page_kalloc(uint64_t count)
{
    (void)count;
    return FRAME_NONE;
}

void page_kfree(uint64_t frame, uint64_t count)
{
    (void)frame;
    (void)count;
}

void panic(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    log_line_list(fmt, args);
    va_end(args);
    arch_backtrace();
    arch_halt(1);
}
