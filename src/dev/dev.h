/* SPDX-License-Identifier: MIT */
/*
 * Finding devices and handing them to their drivers.
 */
#pragma once

#include "src/dev/pci.h"

/* Attach every device there is a driver for; says what it found. */
void dev_probe(void);

/* Drivers; each says in one line what it found or what is missing. */
void virtio_net_found(const struct pci_device *pci);
void virtio_blk_found(const struct pci_device *pci);
void virtio_rng_found(const struct pci_device *pci);
