/* SPDX-License-Identifier: MIT */
/*
 * The serial line, guarded by the name of one component "console"; entropy.
 */
#pragma once

#include "src/kern/lock.h"

int console_init(void) REQUIRES(bind_lock);
/* A whole text at once; the sink of log.h once processors are started. */
void console_write(const char *text, size_t len) EXCLUDES(console_lock);
/* 64 bits of the processor's or a device's generator; false: none now. */
bool entropy_word(uint64_t *out);
