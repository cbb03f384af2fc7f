/* SPDX-License-Identifier: MIT */
/*
 * How long the kernel keeps interrupts out, and others from bind_lock. Each
 * processor keeps the longest stretch of each kind of entry in the exposed
 * state (struct sysinfo_span), so that the bound on every call can be read off
 * a running machine.
 */
#pragma once

#include "src/kern/cpu.h"
#include "src/kern/lock.h"

/* Interrupts are off from now on; `row` is one of SPAN_*. */
void span_begin(struct cpu *c, uint32_t row);
/* They come in from now on, or ring 3 is entered. */
void span_end(struct cpu *c);
/* The row of a system call. */
uint32_t span_call(uint32_t number);
/* Let pending interrupts in (arch_breathe); the row stays. */
void span_breathe(struct cpu *c);
/* The same if this stretch is long already, before other work is added. */
void span_pause(struct cpu *c);

/* Take and give back bind_lock, measured. */
void bind_acquire(void) ACQUIRES(bind_lock);
void bind_release(void) RELEASES(bind_lock);
