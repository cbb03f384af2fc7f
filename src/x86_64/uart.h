/* SPDX-License-Identifier: MIT */
/*
 * The first serial port: text out, polled.
 */
#pragma once

/* Set it to 115200 8N1; without one, text goes nowhere. */
void uart_init(void);
/* Wait, but not for long, until the last character is out. */
void uart_drain(void);
