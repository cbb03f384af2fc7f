/* SPDX-License-Identifier: MIT */
/*
 * The serial line, guarded by the name of one component "console"; and
 * the machine's power button.
 */
#pragma once

#include "src/kern/lock.h"
#include <stdbool.h>
#include <stddef.h>

int console_init(void) REQUIRES(bind_lock);
/*
 * One text, in one piece, to be written soon: the sink of log.h once
 * environments run. A text for which there is no room is counted and dropped.
 * Never waits for the line.
 */
void console_write(const char *text, size_t len) EXCLUDES(console_lock);

struct cpu;
/*
 * Hand the line some of what waits, if it takes it now. Called while
 * `c->console`, which says that this processor put text in since all had gone.
 * True if more waits and the line takes it.
 */
bool console_turn(struct cpu *c);
/* When an idle processor has to look again; tsc, UINT64_MAX: never. */
uint64_t console_due(const struct cpu *c);
/*
 * The button was pressed: environments see it in sysinfo, and whoever manages
 * the machine ends it; pressed again, the machine ends at once. From an
 * interrupt; takes no lock.
 */
void power_button(void);
