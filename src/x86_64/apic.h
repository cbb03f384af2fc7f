/* SPDX-License-Identifier: MIT */
/*
 * The local interrupt controller of the running processor: end of interrupt,
 * interrupts to others, its timer. Registers in memory, or MSRs (x2APIC).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Map it and switch the old interrupt controllers off; once. */
void apic_init(void);
/* Enable it on this processor. */
void apic_enable(void);
void apic_end(void);

void apic_send(uint32_t apic_id, uint32_t vector);
void apic_send_nmi(uint32_t apic_id);
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint32_t page);

/* The timer, counting down at its own rate; 0 stops it. */
void apic_timer_mode(bool tsc_deadline);
void apic_timer_set(uint32_t count);
uint32_t apic_timer_left(void);
