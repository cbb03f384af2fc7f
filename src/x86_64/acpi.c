/* SPDX-License-Identifier: MIT */
/*
 * The tables of the firmware that matter: which processors and interrupt
 * controllers there are, where the power-management timer is, and how the
 * machine is switched off (acpi_power.c). Source: ACPI 6.4 s5.2.5 (RSDP),
 * s5.2.6 (header), s5.2.9 (FADT), s5.2.12 (MADT).
 */
#include "src/lib/string.h"
#include "src/x86_64/handover.h"

#define TABLE_MAX (1u << 20)
#define HEADER 36u /* bytes of a table's header */

enum {
    RSDP_OLD_LEN = 20,
    RSDP_NEW_LEN = 36,
    RSDP_REVISION = 15,
    RSDP_RSDT = 16,
    RSDP_XSDT = 24,
    FADT_PM_TIMER = 76,
    FADT_PM_TIMER_LEN = 91,
    MADT_ENTRIES = 44,
    MADT_APIC = 0,
    MADT_IO_APIC = 1,
    MADT_MOVED = 2, /* an interrupt of the old bus has another number */
    MADT_X2APIC = 9,
};
#define MADT_ENABLED 1u

static bool sums_to_zero(const uint8_t *p, uint32_t len)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    return sum == 0;
}

static bool is_rsdp(const uint8_t *p)
{
    return p != NULL && memcmp(p, "RSD PTR ", 8) == 0 &&
           sums_to_zero(p, RSDP_OLD_LEN);
}

static uint64_t find_from(phys_read *read, uint64_t at, uint64_t bytes)
{
    for (uint64_t end = at + bytes; at < end; at += 16) {
        if (is_rsdp(read(at, RSDP_OLD_LEN))) {
            return at;
        }
    }
    return 0;
}

uint64_t acpi_find(phys_read *read)
{
    const uint8_t *segment = read(0x40e, 2); /* of the extended BIOS area */
    uint64_t ebda =
        segment == NULL ? 0 : (uint64_t)(segment[0] | segment[1] << 8) << 4;
    uint64_t rsdp = ebda == 0 ? 0 : find_from(read, ebda, 1024);
    return rsdp != 0 ? rsdp : find_from(read, 0xe0000, 0x20000);
}

const uint8_t *acpi_table(phys_read *read, uint64_t paddr, uint32_t *len)
{
    const uint8_t *p = read(paddr, HEADER);
    *len = p == NULL ? 0 : load_u32(p + 4);
    if (*len < HEADER || *len > TABLE_MAX) {
        return NULL;
    }
    p = read(paddr, *len);
    return p != NULL && sums_to_zero(p, *len) ? p : NULL;
}

static void add_cpu(struct acpi_facts *out, uint32_t apic_id, uint32_t flags)
{
    if ((flags & MADT_ENABLED) == 0) {
        return;
    }
    for (uint32_t i = 0; i < out->cpus; i++) {
        if (out->apic_id[i] == apic_id) {
            return;
        }
    }
    if (out->cpus == ARCH_CPUS_MAX) {
        out->ignored++;
    } else {
        out->apic_id[out->cpus++] = apic_id;
    }
}

static void add_io_apic(struct acpi_facts *out, const uint8_t *p)
{
    if (out->io_apics < ACPI_IO_APICS) {
        out->io_apic[out->io_apics++] =
            (struct acpi_io_apic){load_u32(p + 4), load_u32(p + 8)};
    }
}

static void add_moved(struct acpi_facts *out, const uint8_t *p)
{
    if (p[3] < ACPI_ISA_LINES) {
        out->isa[p[3]] = (struct acpi_line){load_u32(p + 4),
                                            (uint16_t)(p[8] | p[9] << 8), true};
    }
}

static void madt(const uint8_t *p, uint32_t len, struct acpi_facts *out)
{
    for (uint32_t at = MADT_ENTRIES, size; at < len && len - at >= 2;
         at += size) {
        size = p[at + 1];
        if (size < 2 || size > len - at) {
            return;
        }
        if (p[at] == MADT_APIC && size >= 8) {
            add_cpu(out, p[at + 3], load_u32(p + at + 4));
        } else if (p[at] == MADT_IO_APIC && size >= 12) {
            add_io_apic(out, p + at);
        } else if (p[at] == MADT_MOVED && size >= 10) {
            add_moved(out, p + at);
        } else if (p[at] == MADT_X2APIC && size >= 16) {
            add_cpu(out, load_u32(p + at + 4), load_u32(p + at + 8));
        }
    }
}

static void table(phys_read *read, const uint8_t *p, uint32_t len,
                  struct acpi_facts *out)
{
    if (memcmp(p, "APIC", 4) == 0) {
        madt(p, len, out);
    } else if (memcmp(p, "FACP", 4) == 0) {
        if (len > FADT_PM_TIMER_LEN && p[FADT_PM_TIMER_LEN] == 4) {
            out->pm_port = (uint16_t)load_u32(p + FADT_PM_TIMER);
        }
        acpi_power_read(read, p, len, &out->power);
    }
}

const char *acpi_parse(phys_read *read, uint64_t rsdp, struct acpi_facts *out)
{
    const uint8_t *p = read(rsdp, RSDP_OLD_LEN);
    memset(out, 0, sizeof(*out));
    WRONG_IF(!is_rsdp(p), "no ACPI root pointer");
    uint64_t root_paddr = load_u32(p + RSDP_RSDT);
    uint32_t len, width = 4;
    if (p[RSDP_REVISION] >= 2) {
        p = read(rsdp, RSDP_NEW_LEN);
        if (p != NULL && load_u64(p + RSDP_XSDT) != 0) {
            root_paddr = load_u64(p + RSDP_XSDT);
            width = 8;
        }
    }
    const uint8_t *root = acpi_table(read, root_paddr, &len);
    WRONG_IF(root == NULL, "the ACPI root table is damaged or above 4 GiB");
    for (uint32_t at = HEADER; len - at >= width; at += width) {
        uint64_t paddr = width == 8 ? load_u64(root + at) : load_u32(root + at);
        uint32_t table_len;
        const uint8_t *t = acpi_table(read, paddr, &table_len);
        if (t != NULL) {
            table(read, t, table_len, out);
        }
    }
    acpi_power_route(out);
    return out->cpus == 0 ? "ACPI names no processor" : NULL;
}
