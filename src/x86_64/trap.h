/* SPDX-License-Identifier: MIT */
/*
 * Interrupt gates, and what happens behind them.
 */
#pragma once

#include "src/arch.h"

/* Vectors of the machine's own, not handed to portable code. */
#define VECTOR_FLUSH 0xe2u
#define VECTOR_SPURIOUS 0xffu

/* Build the gate table, once; load it on this processor. */
void trap_init(void);
void trap_load(void);

/* Called by entry.S with interrupts off, like kern_trap; they return the frame
 * to resume. */
struct frame *trap_interrupt(struct frame *f);
_Noreturn void trap_fatal(struct frame *f);
/* An NMI that returns, or the end of the machine. It takes no lock. */
void trap_nmi(struct frame *f);
/* How many came from outside and were no error. */
uint32_t trap_nmi_count(void);
