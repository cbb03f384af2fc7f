/* SPDX-License-Identifier: MIT */
/*
 * Numbers that ring 3 cannot predict: keys of the kernel's hash tables, and
 * what hides the constants of native code.
 */
#pragma once

#include <stdint.h>

/* Gather the key, once devices are found and before anything else runs. */
void secret_init(void);

/*
 * A number that follows from no other one. Any processor, any time. Before
 * secret_init it can be guessed.
 */
uint64_t secret_word(void);

/* The keyed hash of `len` bytes, at most 24: SipHash-2-4 of whole words. */
uint64_t secret_hash(const uint64_t key[2], const uint8_t *bytes, uint32_t len);
