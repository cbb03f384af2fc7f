/* SPDX-License-Identifier: MIT */
/*
 * One program in both engines on one input: the packet ends where mapped
 * memory ends, callee-saved registers are watched, written regions are
 * compared.
 */
#pragma once

#include "dpf/dpf.h"

#define ARENA_SIZE 4096u /* bytes of each region at most */

/* Call once. */
void compare_init(void);

/*
 * Run `p` on `bytes`, split over its type's regions. False, after printing
 * what differed, when the engines disagree.
 */
bool compare_run(const struct dpf_program *p, const uint8_t *bytes,
                 uint32_t len, uint32_t fuel);
