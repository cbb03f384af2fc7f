/* SPDX-License-Identifier: MIT */
/*
 * Between crt0.S and the rest of start-up.
 */
#pragma once

#include "libos/libos/start.h"

/* Called on the small boot stack; returns the top of the real one. */
uint64_t start_prepare(void);
/* Called on the real stack. */
_Noreturn void start_main(void);
