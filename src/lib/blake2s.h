/* SPDX-License-Identifier: MIT */
/*
 * BLAKE2s with 32 bytes of output, keyed or not. Source: RFC 7693.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BLAKE2S_BYTES 32u
#define BLAKE2S_BLOCK 64u

struct blake2s {
    uint32_t h[8];
    uint64_t bytes; /* hashed so far, without what waits in `block` */
    uint32_t used;  /* bytes of `block` */
    uint8_t block[BLAKE2S_BLOCK];
};

/* key  of BLAKE2S_BYTES bytes, or NULL */
void blake2s_init(struct blake2s *s, const uint8_t *key);
void blake2s_add(struct blake2s *s, const void *data, size_t len);
void blake2s_finish(struct blake2s *s, uint8_t out[BLAKE2S_BYTES]);
