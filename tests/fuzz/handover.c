/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer over what a loader and firmware leave in memory: the input is the
 * memory; its first byte chooses the table.
 */
#include "src/x86_64/handover.h"
#include "tests/unit/machine/phys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct boot_range kernel = {0x100000, 0x180000};
    static struct handover h;
    static struct boot_info info;
    static struct acpi_facts facts;
    struct ustar_member member;
    const char *wrong = "";
    uint64_t at = 0;

    if (size < 1 || size > PHYS_SIZE) {
        return 0;
    }
    memset(phys, 0, sizeof(phys));
    memcpy(phys, data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        wrong = multiboot2_parse(phys_at, PHYS_BASE, &h);
        break;
    case 1:
        wrong = pvh_parse(phys_at, PHYS_BASE, &h);
        break;
    case 2:
        (void)acpi_parse(phys_at, PHYS_BASE, &facts);
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
