/* SPDX-License-Identifier: MIT */
/*
 * The local interrupt controller of the running processor: end of interrupt,
 * interrupts to others, its timer. Registers in memory, or MSRs (x2APIC).
 */
#pragma once

#include <stdint.h>

/* Map it and switch the old interrupt controllers off; once. */
void apic_init(void);
/* Enable it on this processor. */
void apic_enable(void);
void apic_end(void);

/* Commands to another processor. */
#define APIC_FIXED 0x4000u /* | vector */
#define APIC_NMI 0x4400u
#define APIC_INIT 0x4500u
#define APIC_STARTUP 0x4600u /* | page of low memory where it wakes */
void apic_send(uint32_t apic_id, uint32_t command);

/* This processor's timer, counting down at its own rate; 0 stops it. */
void apic_timer_enable(void);
void apic_timer_set(uint32_t count);
uint32_t apic_timer_left(void);
