/* SPDX-License-Identifier: MIT */
/*
 * Readers of the tables that a loader left in memory. Everything here is
 * portable and believes nothing: a table may be cut short, overlap itself or
 * point anywhere. Physical memory is reached through a function, so that tests
 * and the fuzzer can hand in any.
 */
#pragma once

#include "src/arch.h"
#include <stdbool.h>
#include <stdint.h>

#define MAGIC_MULTIBOOT2 0x36d76289u
#define MAGIC_PVH 0x336ec578u

/* [paddr, paddr + len), or NULL if that is not all readable. */
typedef const void *phys_read(uint64_t paddr, uint64_t len);

#define HANDOVER_RANGES 256u /* entries of each kind; UEFI names over 100 */

/* As the loader says it: unsorted, perhaps overlapping, module ends odd. */
struct handover {
    struct boot_range ram[HANDOVER_RANGES];
    struct boot_range hole[HANDOVER_RANGES]; /* said not to be usable */
    bool too_many; /* holes: some are not in the list */
    struct boot_module module[BOOT_MODULES_MAX];
    uint32_t rams, holes, modules;
    uint64_t rsdp; /* physical, of the ACPI root pointer; 0: unknown */
    char cmdline[sizeof(((struct boot_info *)0)->cmdline)];
};

/*
 * Parsers return NULL, or a description of the table's mistake. Their checks
 * are a list: this leaves with the words if the condition holds.
 */
#define WRONG_IF(condition, words)                                             \
    do {                                                                       \
        if (condition) {                                                       \
            return words;                                                      \
        }                                                                      \
    } while (0)

const char *multiboot2_parse(phys_read *read, uint64_t info,
                             struct handover *out);
const char *pvh_parse(phys_read *read, uint64_t start_info,
                      struct handover *out);

/*
 * The memory that is free: RAM without holes, without the first MiB, the
 * kernel and the modules, in whole pages. Fills ram, rams, top and cmdline.
 */
const char *handover_layout(const struct handover *h,
                            const struct boot_range *kernel,
                            struct boot_info *out);

/* Does the loader say that all of `at` is memory, and none of it reserved? */
bool handover_usable(const struct handover *h, struct boot_range at);

/* Modules have been copied: where the loader put them is free memory now. */
void handover_modules_free(const struct handover *h, struct boot_info *out);

/* Ranges: sorted, disjoint, not touching; capacity BOOT_RAM_MAX. */
void ranges_add(struct boot_range *r, uint32_t *n, struct boot_range add);
void ranges_remove(struct boot_range *r, uint32_t *n, struct boot_range gone);

/* Add an entry of a memory map; whole pages are decided later. */
void handover_memory(struct handover *h, uint64_t start, uint64_t bytes,
                     bool usable);
/*
 * Add a module; false if there are too many, or it wraps around.
 *
 * path  of path_max bytes at most; zero ends it
 */
bool handover_module(struct handover *h, struct boot_range at, const char *path,
                     size_t path_max);
/* The last component of a path of `len` bytes, cut to fit `to`. */
void handover_name(char *to, size_t size, const char *path, size_t len);

/* A member of a POSIX ustar archive. */
struct ustar_member {
    const uint8_t *data;
    uint64_t bytes;
    char name[sizeof(((struct boot_module *)0)->name)]; /* last word of path */
};

bool ustar_is(const uint8_t *archive, uint64_t len);
/*
 * The next regular file at or after *at, which moves on.
 * Returns 1, 0 at the end, or -1 if the archive is damaged at *at.
 */
int ustar_next(const uint8_t *archive, uint64_t len, uint64_t *at,
               struct ustar_member *out);

/*
 * The registers of the fixed hardware that has the power button, and how the
 * machine is switched off. Blocks have a first and perhaps a second register;
 * a port of 0 says that there is none.
 */
struct acpi_power {
    uint16_t event_port[2]; /* status, then at event_len / 2 what raises it */
    uint16_t control_port[2];
    uint8_t event_len;     /* bytes */
    uint8_t sleep_type[2]; /* of S5, for each control register; 3 bits */
    bool has_off;          /* sleep_type is known */
    bool has_button;       /* the fixed one */
    uint16_t command_port; /* takes `enable`: from firmware's hands to ours */
    uint8_t enable;
    uint32_t line;       /* global number of the interrupt */
    bool edge, high;     /* its kind; else level, active low */
    uint64_t controller; /* physical, of the I/O APIC that has it; 0: none */
    uint32_t pin;        /* there */
};

#define ACPI_IO_APICS 8u
#define ACPI_ISA_LINES 16u

/* The firmware's tables about processors, clocks and power, read. */
struct acpi_facts {
    uint32_t apic_id[ARCH_CPUS_MAX];
    uint32_t cpus;    /* enabled ones */
    uint32_t ignored; /* beyond ARCH_CPUS_MAX */
    uint16_t pm_port; /* power-management timer; 0: none */
    struct acpi_power power;
    struct acpi_io_apic {
        uint32_t paddr, first; /* its first line's global number */
    } io_apic[ACPI_IO_APICS];  /* ascending as listed */
    uint32_t io_apics;
    struct acpi_line {
        uint32_t line;
        uint16_t flags; /* ACPI 6.4 table 5.26 */
        bool moved;
    } isa[ACPI_ISA_LINES];
};

/* Where the root pointer is in a PC's firmware area; 0 if nowhere. */
uint64_t acpi_find(phys_read *read);
const char *acpi_parse(phys_read *read, uint64_t rsdp, struct acpi_facts *out);

/* A whole table with a right sum and its length, or NULL. */
const uint8_t *acpi_table(phys_read *read, uint64_t paddr, uint32_t *len);
/*
 * Read how to switch the machine off, from the fixed table and the definition
 * block that it names.
 */
void acpi_power_read(phys_read *read, const uint8_t *fadt, uint32_t len,
                     struct acpi_power *out);
/* Which pin of which controller the interrupt is, once all tables are read. */
void acpi_power_route(struct acpi_facts *f);
