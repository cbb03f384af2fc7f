/* SPDX-License-Identifier: MIT */
/*
 * Raw timing jitter. A read of a port leaves the virtual machine, or crosses
 * the slow bus of a real one; how long that takes depends on the host's
 * scheduler, its caches and the clocks of two chips. What that is worth is
 * kern/entropy.c's business.
 */
#include "src/arch.h"
#include "src/x86_64/insn.h"

#define PIT_COUNTER                                                            \
    0x40         /* of the clock chip; a read changes nothing of ours          \
                  */
#define WALK 64u /* lines of the cache */

uint64_t arch_jitter(void)
{
    static volatile uint8_t memory[WALK * 64];
    static uint32_t at;
    uint64_t before = rdtsc();
    uint8_t clock = inb(PIT_COUNTER);
    /* Where, depends on the clock and on all walks before. */
    at = (at * 5 + clock + 1) % WALK;
    memory[at * 64] = (uint8_t)(memory[at * 64] + clock);
    return rdtsc() - before;
}
