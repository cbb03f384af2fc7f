/* SPDX-License-Identifier: MIT */
/*
 * 16550 at 0x3f8. A line stays in one piece when several processors speak,
 * unless one of them holds the line for too long: reports of a dying kernel
 * must get out. No wait is unbounded.
 * Source: PC16550D data sheet.
 */
#include "src/x86_64/uart.h"
#include "src/arch.h"
#include "src/x86_64/insn.h"

#define PORT 0x3f8
#define FIFO 16u
#define WAIT_MAX 10000u /* polls until the port counts as stuck */

enum { DATA, IER, FCR, LCR, MCR, LSR, MSR, SCRATCH };
#define LSR_EMPTY 0x20u
#define LSR_IDLE 0x40u

static bool present, held, stuck;
static unsigned room; /* in the queue, as far as is known */

void uart_init(void)
{
    outb(PORT + SCRATCH, 0x5a);
    if (inb(PORT + SCRATCH) != 0x5a) {
        return;
    }
    outb(PORT + IER, 0);
    outb(PORT + LCR, 0x80); /* divisor: 115200 */
    outb(PORT + DATA, 1);
    outb(PORT + IER, 0);
    outb(PORT + LCR, 3);
    outb(PORT + FCR, 7); /* queues on and empty */
    outb(PORT + MCR, 3);
    present = true;
}

/* Is there room for `n` bytes, at most FIFO? */
static bool has_room(unsigned n)
{
    if (room < n && (inb(PORT + LSR) & LSR_EMPTY) != 0) {
        room = FIFO;
        stuck = false;
    }
    return room >= n;
}

static void put_now(char c)
{
    room--;
    outb(PORT + DATA, (uint8_t)c);
}

/* A port that was stuck once is not waited for again until it moves. */
static void put(char c)
{
    for (unsigned i = 0; !has_room(1); i++) {
        if (stuck || i == WAIT_MAX) {
            stuck = true;
            return; /* this character is lost */
        }
    }
    put_now(c);
}

size_t arch_console_put(const char *text, size_t len)
{
    size_t n = 0;
    if (!present) {
        return len;
    }
    if (__atomic_exchange_n(&held, true, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    for (; n < len && has_room(text[n] == '\n' ? 2 : 1); n++) {
        if (text[n] == '\n') {
            put_now('\r');
        }
        put_now(text[n]);
    }
    __atomic_store_n(&held, false, __ATOMIC_RELEASE);
    return n;
}

void arch_console_write(const char *text, size_t len)
{
    bool mine = false;
    if (!present) {
        return;
    }
    for (unsigned i = 0; i < WAIT_MAX && !mine; i++) {
        cpu_relax();
        mine = !__atomic_exchange_n(&held, true, __ATOMIC_ACQUIRE);
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            put('\r');
        }
        put(text[i]);
    }
    if (mine) {
        __atomic_store_n(&held, false, __ATOMIC_RELEASE);
    }
}

void uart_drain(void)
{
    unsigned left = present ? WAIT_MAX : 0;
    for (; left > 0 && (inb(PORT + LSR) & LSR_IDLE) == 0; left--) {
        cpu_relax();
    }
}
