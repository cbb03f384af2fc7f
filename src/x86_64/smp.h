/* SPDX-License-Identifier: MIT */
/*
 * Starting all processors, and stopping all but one.
 */
#pragma once

#include <stdbool.h>

/*
 * Start every processor the firmware named; those that answer are online and
 * wait. arch_cpu_count is final afterwards, and indices are dense.
 */
void smp_start(void);
/* Let them go to kern_start. */
void smp_release(void);
/* For good, before a report; if another processor was first, this one stops. */
void smp_stop_others(void);
bool smp_stopping(void);
