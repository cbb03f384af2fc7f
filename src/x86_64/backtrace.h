/* SPDX-License-Identifier: MIT */
/*
 * Call chains with names. The table of names is made from the linked kernel
 * by scripts/symtab and linked in by a second pass.
 */
#pragma once

#include <stdint.h>

/* Print the chain that was executing at rip with this frame pointer. */
void backtrace_from(uint64_t rip, uint64_t rbp);
