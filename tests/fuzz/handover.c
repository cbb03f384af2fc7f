/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer over what a loader and firmware leave in memory: the input is the
 * memory; its first byte chooses the table.
 */
#include "src/x86_64/handover.h"
#include "tests/unit/machine/phys.h"

#define FADT 148u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * A fixed table, and behind it a definition block whose length and sum are made
 * right, so that its code is looked at.
 */
static void power(size_t size)
{
    static struct acpi_power out;
    uint8_t *dsdt = phys + FADT, sum = 0;
    uint32_t at = PHYS_BASE + FADT, len = (uint32_t)size;
    if (size < FADT + 36) {
        return;
    }
    len -= FADT;
    memcpy(phys + 40, &at, sizeof(at));
    memset(phys + 140, 0, 8);
    memcpy(dsdt, "DSDT", 4);
    memcpy(dsdt + 4, &len, sizeof(len));
    for (uint32_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + dsdt[i]);
    }
    dsdt[9] = (uint8_t)(dsdt[9] - sum);
    acpi_power_read(phys_at, phys, FADT, &out);
    if (out.sleep_type[0] > 7 || out.sleep_type[1] > 7) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct boot_range kernel = {0x100000, 0x180000};
    static struct handover h;
    static struct boot_info info;
    static struct acpi_facts facts;
    const char *wrong = "";
    uint64_t at = 0;
    if (size < 1 || size > PHYS_SIZE) {
        return 0;
    }
    memset(phys, 0, sizeof(phys));
    memcpy(phys, data + 1, size - 1);
    struct ustar_member member;
    switch (data[0] % 5) {
    case 0:
        wrong = multiboot2_parse(phys_at, PHYS_BASE, &h);
        break;
    case 1:
        wrong = pvh_parse(phys_at, PHYS_BASE, &h);
        break;
    case 2:
        (void)acpi_parse(phys_at, PHYS_BASE, &facts);
        break;
    case 3:
        power(size - 1);
        break;
    default:
        while (ustar_next(data + 1, size - 1, &at, &member) > 0) {
            if (member.data + member.bytes > data + size) {
                abort();
            }
        }
    }
    if (wrong == NULL && handover_layout(&h, &kernel, &info) == NULL) {
        handover_modules_free(&h, &info);
    }
    phys_forget();
    return 0;
}
