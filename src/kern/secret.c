/* SPDX-License-Identifier: MIT */
/*
 * Numbers that ring 3 cannot predict. One key is gathered at boot; a number is
 * the keyed hash of a counter and the time, so that whoever sees some of them
 * learns nothing about the others.
 * Source: Aumasson12.
 */
#include "src/kern/secret.h"
#include "src/arch.h"
#include "src/kern/entropy.h"
#include <stdatomic.h>

#define WORDS_MAX 3u /* of one hash */
#define SAMPLES 256u /* of the time, where there is no better source */

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t secret_key[2]; /* written at boot only */
static _Atomic uint64_t counter;

static uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(struct state *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

static uint64_t hash(const uint64_t key[2], const uint64_t *words,
                     uint32_t count, uint32_t len)
{
    struct state s = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                      key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    for (uint32_t i = 0; i < count; i++) {
        absorb(&s, words[i]);
    }
    absorb(&s, (uint64_t)len << 56);
    s.v2 ^= 0xff;
    for (unsigned i = 0; i < 4; i++) {
        sip_round(&s);
    }
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t secret_hash(const uint64_t key[2], const uint8_t *bytes, uint32_t len)
{
    uint64_t words[WORDS_MAX] = {0};
    assert(len <= sizeof(words));
    __builtin_memcpy(words, bytes, len);
    return hash(key, words, WORDS_MAX, len);
}

void secret_init(void)
{
    uint64_t seed[2] = {arch_tsc(), arch_boot_unix()};
    /* How long reading the time takes differs from read to read. */
    for (unsigned i = 0; i < SAMPLES; i++) {
        seed[i % 2] = hash(seed, (uint64_t[1]){arch_tsc()}, 1, 8);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t word = 0;
        (void)entropy_word(&word); /* a machine may have no generator */
        secret_key[i] = seed[i] ^ word;
    }
}

uint64_t secret_word(void)
{
    uint64_t words[2] = {atomic_fetch_add(&counter, 1), arch_tsc()};
    return hash(secret_key, words, 2, sizeof(words));
}
