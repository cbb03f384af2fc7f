/* SPDX-License-Identifier: MIT */
/*
 * Devices on the PCI bus: finding them, their registers, their interrupts.
 * Message-signalled interrupts (MSI-X) only.
 */
#pragma once

#include "src/kern/irq.h"
#include <stdbool.h>
#include <stdint.h>

#define PCI_BARS 6u

struct pci_device {
    uint32_t bdf; /* bus << 8 | device << 3 | function */
    uint16_t vendor, device;
    volatile uint32_t *msix; /* table, four words a vector; NULL: none */
    uint16_t msix_count;
    struct {
        uint64_t paddr, size; /* size 0: not asked yet */
    } bar[PCI_BARS];
    char name[24]; /* "virtio-net 00:03.0", for messages */
};

/* Call `found` for every function of every bus that bridges lead to. */
typedef void pci_found(struct pci_device *dev);
void pci_scan(pci_found *found);

void pci_name(struct pci_device *dev, const char *kind);
uint8_t pci_read8(const struct pci_device *dev, uint32_t offset);
uint32_t pci_read32(const struct pci_device *dev, uint32_t offset);

/* Offset of the next capability `id` after `from` (0: the first); 0: none. */
uint8_t pci_capability(const struct pci_device *dev, uint8_t id, uint8_t from);

/* Where a memory BAR is and how long; false if it is none or unassigned. */
bool pci_bar(struct pci_device *dev, unsigned bar, uint64_t *paddr,
             uint64_t *size);
/* Let the device read and write memory. */
void pci_enable(const struct pci_device *dev);
void pci_disable(const struct pci_device *dev);

/* Map the table of MSI-X and switch it on, all vectors masked. */
bool pci_msix_init(struct pci_device *dev);
/*
 * Raise `handler` on `cpu` when the device signals entry `index`.
 * Returns 0, or -E_LIMIT.
 */
int pci_msix_bind(struct pci_device *dev, unsigned index, unsigned cpu,
                  irq_handler *handler, void *arg);
