/* SPDX-License-Identifier: MIT */
/*
 * Finding devices and handing them to their drivers.
 */
#pragma once

#include "src/dev/pci.h"

/* Attach every device that has a driver. A line of the log names each. */
void dev_probe(void);

/*
 * Drivers. Each writes one line: the device that it found, or the feature that
 * the device lacks.
 */
void virtio_net_found(const struct pci_device *pci);
void virtio_blk_found(const struct pci_device *pci);
void virtio_rng_found(const struct pci_device *pci);
