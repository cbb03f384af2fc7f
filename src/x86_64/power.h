/* SPDX-License-Identifier: MIT */
/*
 * The power button, and the way to switch the machine off.
 */
#pragma once

#include "src/x86_64/handover.h"

/*
 * Take the fixed hardware over from the firmware, and let its button raise
 * ARCH_VECTOR_POWER on the first processor. On that processor, at boot, when
 * devices can be mapped. Says what there is.
 */
void power_init(const struct acpi_power *p);

/*
 * ARCH_VECTOR_POWER was raised: was it the button? Takes back what the
 * hardware says, so that the interrupt ends.
 */
bool power_pressed(void);

/* Switch the machine off. Returns if it cannot be. */
void power_off(void);
