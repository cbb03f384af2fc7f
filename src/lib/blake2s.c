/* SPDX-License-Identifier: MIT */
/*
 * RFC 7693 in its own order: s2.6 (initial values), s2.7 (schedule), s3.1
 * (mixing), s3.2 (compression), s3.3 (padding). Little-endian machines only.
 */
#include "src/lib/blake2s.h"

#include "src/lib/string.h"

static const uint32_t initial[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint8_t schedule[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static void blake2s_mix(uint32_t *v, unsigned column, unsigned shift,
                        uint32_t x, uint32_t y)
{
    unsigned i = column, j = 4 + (column + shift) % 4,
             k = 8 + (column + 2 * shift) % 4,
             l = 12 + (column + 3 * shift) % 4;
    v[i] += v[j] + x;
    v[l] = rotate(v[l] ^ v[i], 16);
    v[k] += v[l];
    v[j] = rotate(v[j] ^ v[k], 12);
    v[i] += v[j] + y;
    v[l] = rotate(v[l] ^ v[i], 8);
    v[k] += v[l];
    v[j] = rotate(v[j] ^ v[k], 7);
}

static void blake2s_compress(struct blake2s *s, uint32_t last)
{
    s->bytes += s->used;
    uint32_t m[16];
    memcpy(m, s->block, sizeof(m));
    uint32_t v[16];
    memcpy(v, s->h, sizeof(s->h));
    memcpy(v + 8, initial, sizeof(initial));
    v[12] ^= (uint32_t)s->bytes;
    v[13] ^= (uint32_t)(s->bytes >> 32);
    v[14] ^= last;
    for (unsigned round = 0; round < 10; round++) {
        const uint8_t *p = schedule[round];
        for (unsigned i = 0; i < 8; i++) { /* columns, then diagonals */
            blake2s_mix(v, i % 4, i / 4, m[p[2 * i]], m[p[2 * i + 1]]);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        s->h[i] ^= v[i] ^ v[i + 8];
    }
    s->used = 0;
}

void blake2s_init(struct blake2s *s, const uint8_t *key)
{
    memset(s, 0, sizeof(*s));
    memcpy(s->h, initial, sizeof(s->h));
    s->h[0] ^=
        0x01010000 ^ (key != NULL ? BLAKE2S_BYTES << 8 : 0) ^ BLAKE2S_BYTES;
    if (key != NULL) {
        memcpy(s->block, key, BLAKE2S_BYTES);
        s->used = BLAKE2S_BLOCK;
    }
}

void blake2s_add(struct blake2s *s, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (; len > 0; len--) {
        if (s->used == BLAKE2S_BLOCK) { /* the last one waits for finish */
            blake2s_compress(s, 0);
        }
        s->block[s->used++] = *p++;
    }
}

void blake2s_finish(struct blake2s *s, uint8_t out[BLAKE2S_BYTES])
{
    memset(s->block + s->used, 0, BLAKE2S_BLOCK - s->used);
    blake2s_compress(s, UINT32_MAX);
    memcpy(out, s->h, BLAKE2S_BYTES);
    memset(s, 0, sizeof(*s));
}
