/* SPDX-License-Identifier: MIT */
/*
 * Interrupt vectors handed to drivers. Message-signalled only.
 */
#pragma once

#include <stdint.h>

typedef void irq_handler(void *arg);

/*
 * Reserve a vector on `cpu` and say what the device must write to raise it.
 * The handler runs on that processor, interrupts off.
 * Returns the vector, or -E_LIMIT.
 */
int irq_alloc(unsigned cpu, irq_handler *handler, void *arg, uint64_t *address,
              uint32_t *data);
/* Called by kern_trap. */
void irq_dispatch(uint32_t vector);
