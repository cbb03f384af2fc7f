/* SPDX-License-Identifier: MIT */
/*
 * A virtio device on PCI, version 1 (modern) only.
 *
 * Order of start: virtio_open (reset, feature bits read), the driver chooses
 * features, virtio_negotiate, queues, virtio_run. Each step that fails has
 * said why in one line.
 * Source: virtio 1.1 s3.1, s4.1.
 */
#pragma once

#include "src/dev/pci.h"
#include "src/dev/virtq.h"

#define VIRTIO_VENDOR 0x1af4u

#define VIRTIO_INDIRECT (1ull << 28)
#define VIRTIO_EVENT_IDX (1ull << 29)
#define VIRTIO_VERSION_1 (1ull << 32)

struct virtio {
    struct pci_device pci;
    volatile struct virtio_common *common;
    volatile uint8_t *notify, *config;
    uint32_t notify_len, config_len, notify_step;
    uint64_t offered, features;
    bool dead; /* reset for good */
};

struct virtio_feature {
    uint64_t bit;
    const char *name;  /* in messages */
    uint64_t requires; /* others without which it is not accepted */
};

bool virtio_open(struct virtio *v, const struct pci_device *pci,
                 const char *kind);
/*
 * Accept the features of `known` that the device offers, and log them; false
 * if the device lacks one of `needed`.
 *
 * known  what the driver understands; VIRTIO_FEATURES too; a bit of 0 ends it
 */
bool virtio_negotiate(struct virtio *v, const struct virtio_feature *known,
                      uint64_t needed);
/* The features that every driver understands. */
#define VIRTIO_FEATURES                                                        \
    {VIRTIO_INDIRECT, "INDIRECT_DESC", 0}, {VIRTIO_EVENT_IDX, "EVENT_IDX", 0}, \
    {                                                                          \
        VIRTIO_VERSION_1, "VERSION_1", 0                                       \
    }

/*
 * Set up queue `index`, its interrupts through entry `msix` of the table.
 *
 * size_max  a power of two, at most VIRTQ_SIZE_MAX
 * chain     descriptors of the longest chain; refused if the queue is shorter
 */
bool virtio_queue(struct virtio *v, struct virtq *q, uint16_t index,
                  uint16_t size_max, uint16_t chain, uint16_t msix);
#define VIRTIO_NO_VECTOR 0xffffu
void virtio_run(struct virtio *v);

/* Publish and, if the device wants it, notify. */
void virtio_kick(struct virtq *q);
/* The device broke the rules: say so, reset it, never use it again. */
void virtio_fail(struct virtio *v, const char *why);

/* Fields of the device's own configuration; 0 beyond its end. */
uint8_t virtio_config8(const struct virtio *v, uint32_t offset);
uint16_t virtio_config16(const struct virtio *v, uint32_t offset);
uint32_t virtio_config32(const struct virtio *v, uint32_t offset);
uint64_t virtio_config64(const struct virtio *v, uint32_t offset);
