/* SPDX-License-Identifier: MIT */
/*
 * Unpredictable bytes: from the processor's generator, else from a device, else
 * from timing jitter, so that a virtual machine with neither still has a
 * network. The log says which.
 *
 * The quality of jitter. A sample is how long a read of a device took; the host
 * decides, and so do the caches. Of SEED_SAMPLES samples at least 256 bits of
 * entropy are asked, 1/16 bit of each; the tests below refuse a source that
 * has less than 1/4 bit in the low byte of each, in the sense that they look
 * for: values that stay, or that return too often (SP 800-90B s4.4, false
 * alarm 2^-30). They cannot tell a source that is regular in another way from
 * one that is not, and a host that means to know our secrets reads our memory
 * anyway. An emulator whose clock counts instructions (-icount) is regular:
 * machines that matter have a virtio-rng.
 *
 * The samples are hashed to a key; each answer is a hash under it, after which
 * the key is replaced by another hash, so that what was given out cannot be
 * computed from what is in memory later. Each call adds samples.
 */
#include "src/kern/entropy.h"
#include "src/kern/aspace.h"
#include "src/kern/demand.h"
#include "src/kern/lock.h"
#include "src/kern/sysproto.h"
#include "src/lib/blake2s.h"
#include "src/lib/log.h"

#define ENTROPY_MAX 256u
#define SEED_SAMPLES 4096u
#define CALL_SAMPLES 8u
#define SAME_MAX 121u       /* 1 + 30 bits / (1/4 bit) in a row */
#define WINDOW 512u         /* of the second test: */
#define SAME_IN_WINDOW 480u /* of a value that has p = 2^-1/4 */

static struct rngdev *device; /* set at boot */

/* Leaf: nothing is taken by who holds it. */
static struct lock jitter_lock;
static struct {
    bool usable;
    uint8_t key[BLAKE2S_BYTES];
    uint8_t last, first; /* sample before; first of the window */
    uint32_t same;       /* samples in a row like `last` */
    uint32_t seen, like_first;
} jitter GUARDED_BY(jitter_lock);

void entropy_attach(struct rngdev *dev)
{
    if (device == NULL) {
        device = dev;
    }
}

/* May the source be believed after this sample? */
static bool healthy(uint8_t sample) REQUIRES(jitter_lock)
{
    jitter.same = sample == jitter.last ? jitter.same + 1 : 1;
    jitter.last = sample;
    if (jitter.seen == 0) {
        jitter.first = sample;
        jitter.like_first = 0;
    }
    jitter.like_first += sample == jitter.first;
    bool good = jitter.same < SAME_MAX && jitter.like_first < SAME_IN_WINDOW;
    jitter.seen = (jitter.seen + 1) % WINDOW;
    return good;
}

/* A new key of the old one and `count` samples. */
static bool gather(uint32_t count) REQUIRES(jitter_lock)
{
    bool good = true;
    struct blake2s s;
    blake2s_init(&s, jitter.key);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t sample = arch_jitter();
        good = healthy((uint8_t)sample) && good;
        blake2s_add(&s, &sample, sizeof(sample));
    }
    blake2s_finish(&s, jitter.key);
    return good;
}

static void derive(uint8_t use, uint8_t out[BLAKE2S_BYTES])
    REQUIRES(jitter_lock)
{
    struct blake2s s;
    blake2s_init(&s, jitter.key);
    blake2s_add(&s, &use, sizeof(use));
    blake2s_finish(&s, out);
}

/* Fill `len` bytes, a multiple of BLAKE2S_BYTES, from jitter. */
static bool from_jitter(uint8_t *out, uint32_t len)
{
    lock_acquire(&jitter_lock);
    bool regular = jitter.usable && !gather(CALL_SAMPLES);
    jitter.usable = jitter.usable && !regular;
    bool good = jitter.usable;
    for (uint32_t i = 0; good && i < len; i += BLAKE2S_BYTES) {
        derive(1, out + i);
        derive(2, jitter.key);
    }
    lock_release(&jitter_lock);
    if (regular) {
        log_line("entropy: the timing jitter has become regular; no more is "
                 "given out");
    }
    return good;
}

void entropy_start(void)
{
    uint64_t began = arch_tsc();
    uint64_t word;
    if (arch_entropy(&word)) {
        log_line("entropy: from the processor");
        return;
    }
    if (device != NULL) {
        log_line("entropy: from a virtio-rng");
        return;
    }
    lock_acquire(&jitter_lock);
    bool good = gather(SEED_SAMPLES);
    jitter.usable = good;
    lock_release(&jitter_lock);
    uint64_t us = (arch_tsc() - began) * 1000 / arch_tsc_khz();
    log_line(good ? "entropy: from timing jitter, %u samples in %lu us: there "
                    "is neither RDRAND nor a virtio-rng, which would be better"
                  : "entropy: none: there is neither RDRAND nor a virtio-rng, "
                    "and timing is regular (%u samples, %lu us); give the "
                    "machine a virtio-rng-pci",
             SEED_SAMPLES, us);
}

/* Processor or device. */
static bool from_hardware(uint64_t *word)
{
    return arch_entropy(word) || (device != NULL && device->read(device, word));
}

bool entropy_word(uint64_t *out)
{
    uint64_t word[BLAKE2S_BYTES / sizeof(uint64_t)];
    bool good =
        from_hardware(word) || from_jitter((uint8_t *)word, sizeof(word));
    if (good) {
        *out = word[0];
    }
    return good;
}

int64_t sys_entropy_read(struct env *e, uaddr bytes, uint32_t len)
{
    REFUSE_IF(len > ENTROPY_MAX, E_INVAL);
    bool good = true;
    uint64_t word[ENTROPY_MAX / sizeof(uint64_t)];
    for (uint32_t i = 0; good && i * sizeof(word[0]) < len; i++) {
        good = from_hardware(&word[i]);
    }
    if (!good) {
        good = from_jitter((uint8_t *)word,
                           (len + BLAKE2S_BYTES - 1) & ~(BLAKE2S_BYTES - 1));
    }
    REFUSE_IF(!good, E_AGAIN);
    TRY(copy_out(e, bytes, word, len));
    return len;
}
