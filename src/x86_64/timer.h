/* SPDX-License-Identifier: MIT */
/*
 * How fast the timestamp counter and the local APIC's timer run.
 */
#pragma once

#include <stdint.h>

/*
 * Find both rates: from CPUID if it tells, else against a clock of known rate
 * in TIMER_MEASURE_US.
 *
 * pm_port   I/O port of the ACPI power-management timer, 0: none
 */
void timer_init(uint16_t pm_port);
/* Busy-wait; for device start-up only. */
void timer_wait_us(uint64_t us);
