/* SPDX-License-Identifier: MIT */
#include "src/dev/dev.h"
#include "src/dev/virtio.h"
#include "src/lib/log.h"

/* Device ids: virtio 1 ones, and transitional ones that may be both. */
static const struct {
    uint16_t modern, transitional;
    void (*found)(const struct pci_device *pci);
} drivers[] = {
    {0x1041, 0x1000, virtio_net_found},
    {0x1042, 0x1001, virtio_blk_found},
    {0x1044, 0x1005, virtio_rng_found},
};

static unsigned attached;

/*
 * Each driver says itself why it leaves a device alone; a device without a
 * driver is no mistake, and nothing is said.
 */
static void found(struct pci_device *pci)
{
    for (unsigned i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (pci->vendor == VIRTIO_VENDOR &&
            (pci->device == drivers[i].modern ||
             pci->device == drivers[i].transitional)) {
            attached++;
            drivers[i].found(pci);
        }
    }
}

void dev_probe(void)
{
    pci_scan(found);
    if (attached == 0) {
        log_line("devices: no virtio device; with QEMU add -device "
                 "virtio-net-pci and -device virtio-blk-pci");
    }
}
