/* SPDX-License-Identifier: MIT */
/*
 * Virtio entropy device: one buffer that the device fills ahead of need. It
 * raises no interrupts: a read looks whether the buffer is full. Every word is
 * given out once. Source: virtio 1.1 s5.4.
 */
#include "src/arch.h"
#include "src/dev/dev.h"
#include "src/dev/virtio.h"
#include "src/kern/rngdev.h"

#define WORDS 32u

static const struct virtio_feature known[] = {
    VIRTIO_FEATURES,
    {0, NULL, 0},
};

static struct virtio_rng {
    struct virtio v;
    struct rngdev dev;
    struct virtq q;
    uint64_t *word; /* WORDS, written by the device */
    uint32_t left;  /* of them not given out */
    bool busy;      /* a processor is in read */
} rng;

static void virtio_rng_ask(struct virtio_rng *r)
{
    if (virtq_start(&r->q, 1)) {
        virtq_piece(&r->q, arch_ptr_paddr(r->word), WORDS * sizeof(*r->word),
                    true);
        (void)virtq_finish(&r->q);
        virtio_kick(&r->q);
    }
}

static bool virtio_rng_take(struct virtio_rng *r, uint64_t *out)
{
    if (r->left == 0) {
        uint16_t head;
        uint32_t len;
        int n = virtq_take(&r->q, &head, &len);
        /*
         * A longer answer than the buffer would make `left` count words that
         * are not there, and hand out what lies behind it.
         */
        if (n < 0 || (n > 0 && len > WORDS * sizeof(*r->word))) {
            virtio_fail(&r->v, "filled a buffer that it was not given");
        }
        if (n <= 0 || r->v.dead) {
            return false;
        }
        r->left = len / (uint32_t)sizeof(*r->word);
    }
    bool have = r->left > 0; /* a device may answer with nothing */
    if (have) {
        r->left--;
        *out = r->word[r->left];
        /* No word stays readable here after it was given out. */
        r->word[r->left] = 0;
    }
    if (r->left == 0) {
        virtio_rng_ask(r);
    }
    return have;
}

static bool read(struct rngdev *dev, uint64_t *out)
{
    struct virtio_rng *r = dev->driver;
    /*
     * Not a lock: a caller that would wait takes timing jitter or comes again,
     * and the device may take milliseconds to fill the buffer.
     */
    if (__atomic_exchange_n(&r->busy, true, __ATOMIC_ACQUIRE)) {
        return false;
    }
    bool ok = !r->v.dead && virtio_rng_take(r, out);
    __atomic_store_n(&r->busy, false, __ATOMIC_RELEASE);
    return ok;
}

void virtio_rng_found(const struct pci_device *pci)
{
    if (rng.dev.read != NULL) {
        return; /* one is enough */
    }
    if (!virtio_open(&rng.v, pci, "virtio-rng") ||
        !virtio_negotiate(&rng.v, known, 0)) {
        return;
    }
    rng.word = page_kalloc_bytes(WORDS * sizeof(*rng.word));
    if (rng.word == NULL ||
        !virtio_queue(&rng.v, &rng.q, 0, 8, 1, VIRTIO_NO_VECTOR)) {
        virtio_fail(&rng.v, "cannot be started");
        return;
    }
    virtio_run(&rng.v);
    virtio_rng_ask(&rng);
    rng.dev = (struct rngdev){.read = read, .driver = &rng};
    entropy_attach(&rng.dev);
}
