/* SPDX-License-Identifier: MIT */
/* Machine code that came from elsewhere, made to stay inside itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Make each jump out of `code` return instead. False if the code calls what
 * lies outside, or cannot be read.
 */
bool bench_patch(uint8_t *code, size_t size);
