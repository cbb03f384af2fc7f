/* SPDX-License-Identifier: MIT */
/*
 * The serial line, guarded by the name of one component "console"; and
 * the machine's power button.
 */
#pragma once

#include "src/kern/lock.h"

int console_init(void) REQUIRES(bind_lock);
/* A whole text at once; the sink of log.h once processors are started. */
void console_write(const char *text, size_t len) EXCLUDES(console_lock);
/*
 * The button was pressed: environments see it in sysinfo, and whoever manages
 * the machine ends it; pressed again, the machine ends at once. From an
 * interrupt; takes no lock.
 */
void power_button(void);
