/* SPDX-License-Identifier: MIT */
/*
 * PCI through configuration mechanism 1. A device may say anything: lists of
 * capabilities are walked a bounded number of steps, lengths are checked
 * against the BAR before anything is mapped.
 * Source: PCI 3.0 s6.1, s6.2.5, s6.7, s6.8.2.
 */
#include "src/dev/pci.h"
#include "src/abi/err.h"
#include "src/arch.h"
#include "src/lib/format.h"
#include "src/lib/log.h"

enum {
    PCI_ID = 0x00,
    PCI_COMMAND = 0x04,
    PCI_HEADER = 0x0c,
    PCI_CLASS = 0x08,
    PCI_BAR0 = 0x10,
    PCI_BUSES = 0x18,
    PCI_CAPABILITIES = 0x34,
};
#define COMMAND_MEMORY 2u
#define COMMAND_MASTER 4u
#define COMMAND_NO_INTX 0x400u
#define STATUS_CAPABILITIES (1u << 20)
#define HEADER_MULTI 0x800000u
#define CLASS_BRIDGE 0x0604u
#define CAP_STEPS_MAX 48u
#define BUS_DEPTH_MAX 8u

#define CAP_MSIX 0x11
#define MSIX_ENABLE 0x80000000u
#define MSIX_MASK_ALL 0x40000000u
#define MSIX_ENTRY_WORDS 4u

uint32_t pci_read32(const struct pci_device *dev, uint32_t offset)
{
    return arch_pci_read(dev->bdf, offset);
}

uint8_t pci_read8(const struct pci_device *dev, uint32_t offset)
{
    return (uint8_t)(arch_pci_read(dev->bdf, offset & ~3u) >> (offset & 3) * 8);
}

void pci_name(struct pci_device *dev, const char *kind)
{
    format(dev->name, sizeof(dev->name), "%s %02x:%02x.%x", kind, dev->bdf >> 8,
           dev->bdf >> 3 & 31, dev->bdf & 7);
}

static void scan_bus(unsigned bus, unsigned depth, pci_found *found);

static void scan_function(uint32_t bdf, unsigned depth, pci_found *found)
{
    uint32_t id = arch_pci_read(bdf, PCI_ID);
    struct pci_device dev = {
        .bdf = bdf,
        .vendor = (uint16_t)id,
        .device = (uint16_t)(id >> 16),
    };
    if (dev.vendor == 0xffff) {
        return;
    }
    if (arch_pci_read(bdf, PCI_CLASS) >> 16 == CLASS_BRIDGE) {
        unsigned bus = arch_pci_read(bdf, PCI_BUSES) >> 8 & 0xff;
        /* Numbers grow downwards: a bridge that points back would loop. */
        if (bus > bdf >> 8 && depth < BUS_DEPTH_MAX) {
            scan_bus(bus, depth + 1, found);
        }
        return;
    }
    found(&dev);
}

static void scan_bus(unsigned bus, unsigned depth, pci_found *found)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        uint32_t bdf = bus << 8 | slot << 3;
        if ((uint16_t)arch_pci_read(bdf, PCI_ID) == 0xffff) {
            continue;
        }
        /* A device with one function may answer for all eight numbers. */
        bool multi = (arch_pci_read(bdf, PCI_HEADER) & HEADER_MULTI) != 0;
        for (unsigned f = 0; f < (multi ? 8 : 1); f++) {
            scan_function(bdf | f, depth, found);
        }
    }
}

void pci_scan(pci_found *found)
{
    scan_bus(0, 0, found);
}

uint8_t pci_capability(const struct pci_device *dev, uint8_t id, uint8_t from)
{
    if ((pci_read32(dev, PCI_COMMAND) & STATUS_CAPABILITIES) == 0) {
        return 0;
    }
    uint8_t at = pci_read8(dev, from == 0 ? PCI_CAPABILITIES : from + 1u);
    for (unsigned i = 0; i < CAP_STEPS_MAX && at >= 0x40; i++) {
        at &= 0xfc;
        if (pci_read8(dev, at) == id) {
            return at;
        }
        at = pci_read8(dev, at + 1u);
    }
    return 0;
}

static void set_command(const struct pci_device *dev, uint32_t set,
                        uint32_t clear)
{
    /* The upper half is the status, whose bits are cleared by writing ones. */
    uint32_t command = pci_read32(dev, PCI_COMMAND) & 0xffff;
    arch_pci_write(dev->bdf, PCI_COMMAND, (command & ~clear) | set);
}

void pci_enable(const struct pci_device *dev)
{
    set_command(dev, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX, 0);
}

void pci_disable(const struct pci_device *dev)
{
    set_command(dev, 0, COMMAND_MASTER);
}

/* Which bits of a register of a BAR stay zero of all ones written. */
static uint32_t bar_mask(const struct pci_device *dev, uint32_t at)
{
    uint32_t was = pci_read32(dev, at);
    arch_pci_write(dev->bdf, at, UINT32_MAX);
    uint32_t mask = pci_read32(dev, at);
    arch_pci_write(dev->bdf, at, was);
    return mask;
}

/* Ask a BAR where and how long it is. It must not be decoded meanwhile. */
static void size_bar(struct pci_device *dev, unsigned bar, bool wide)
{
    uint32_t at = PCI_BAR0 + bar * 4;
    uint32_t command = pci_read32(dev, PCI_COMMAND) & COMMAND_MEMORY;
    set_command(dev, 0, COMMAND_MEMORY);
    uint64_t paddr = pci_read32(dev, at) & ~15u;
    uint64_t mask = UINT64_MAX << 32 | (bar_mask(dev, at) & ~15u);
    if (wide) {
        paddr |= (uint64_t)pci_read32(dev, at + 4) << 32;
        mask &= (uint64_t)bar_mask(dev, at + 4) << 32 | UINT32_MAX;
    }
    set_command(dev, command, 0);
    dev->bar[bar].paddr = paddr;
    dev->bar[bar].size = ~mask + 1;
}

bool pci_bar(struct pci_device *dev, unsigned bar, uint64_t *paddr,
             uint64_t *size)
{
    if (bar >= PCI_BARS) {
        return false;
    }
    uint32_t low = pci_read32(dev, PCI_BAR0 + bar * 4);
    bool wide = (low & 6) == 4; /* the next register is the upper half */
    if ((low & 1) != 0 || (wide && bar + 1 >= PCI_BARS)) {
        return false;
    }
    if (dev->bar[bar].size == 0) {
        size_bar(dev, bar, wide);
    }
    *paddr = dev->bar[bar].paddr;
    *size = dev->bar[bar].size;
    return *paddr != 0 && *size != 0;
}

bool pci_msix_init(struct pci_device *dev)
{
    uint8_t cap = pci_capability(dev, CAP_MSIX, 0);
    if (cap == 0) {
        log_line("%s: no MSI-X interrupts; with QEMU do not set vectors=0",
                 dev->name);
        return false;
    }
    uint32_t control = pci_read32(dev, cap);
    uint32_t table = pci_read32(dev, cap + 4u);
    uint32_t offset = table & ~7u;
    dev->msix_count = (uint16_t)((control >> 16 & 0x7ff) + 1);
    uint64_t bytes = dev->msix_count * MSIX_ENTRY_WORDS * 4ull;
    uint64_t paddr, size;
    if (!pci_bar(dev, table & 7, &paddr, &size) || offset > size ||
        bytes > size - offset) {
        log_line("%s: its MSI-X table lies outside its memory", dev->name);
        return false;
    }
    dev->msix = arch_device_map(paddr + offset, bytes);
    if (dev->msix == NULL) {
        return false;
    }
    /*
     * Firmware may have left entries unmasked, whose vectors belong to other
     * handlers now.
     */
    for (unsigned i = 0; i < dev->msix_count; i++) {
        dev->msix[i * MSIX_ENTRY_WORDS + 3] = 1; /* masked */
    }
    arch_pci_write(dev->bdf, cap, (control | MSIX_ENABLE) & ~MSIX_MASK_ALL);
    return true;
}

int pci_msix_bind(struct pci_device *dev, unsigned index, unsigned cpu,
                  irq_handler *handler, void *arg)
{
    if (index >= dev->msix_count) {
        return -E_LIMIT;
    }
    uint64_t address;
    uint32_t data;
    int vector = irq_alloc(cpu, handler, arg, &address, &data);
    if (vector < 0) {
        return vector;
    }
    volatile uint32_t *entry = dev->msix + index * MSIX_ENTRY_WORDS;
    /* Unmasked last: the device must not signal by half an address. */
    entry[0] = (uint32_t)address;
    entry[1] = (uint32_t)(address >> 32);
    entry[2] = data;
    entry[3] = 0;
    return 0;
}
