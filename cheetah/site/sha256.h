/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4), for the digests of the site image. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t len;    /* bytes taken so far */
    uint8_t buf[64]; /* the unfinished chunk: len % 64 bytes */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);

/* Write the digest; `s` must be initialised again before the next use. */
void sha256_finish(struct sha256 *s, uint8_t out[32]);

/* The digest of one buffer. */
void sha256_of(const void *data, size_t len, uint8_t out[32]);
