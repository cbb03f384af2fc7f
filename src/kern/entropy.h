/* SPDX-License-Identifier: MIT */
/*
 * Unpredictable bytes.
 */
#pragma once

#include "src/kern/rngdev.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Choose the source and say which: after the devices were probed, before the
 * first environment. Takes milliseconds if timing jitter is all there is.
 */
void entropy_start(void);

/* 64 bits of the best source that there is by now; false: none now. */
bool entropy_word(uint64_t *out);
