/* SPDX-License-Identifier: MIT */
/*
 * The start information of "qemu -kernel" and of Xen.
 * Source: Xen public/arch-x86/hvm/start_info.h.
 */
#include "src/lib/string.h"
#include "src/x86_64/handover.h"

#define E820_RAM 1u
#define MEMORY_ENTRIES_MAX 1024u

struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, cmdline, rsdp;
    uint64_t memory_map; /* from version 1 on */
    uint32_t memory_entries, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "start_info.h");

struct start_module {
    uint64_t paddr, bytes, cmdline, reserved;
};

struct start_memory {
    uint64_t paddr, bytes;
    uint32_t type, reserved;
};

/* The longest readable start of a string, byte by byte: it may end a page. */
static const char *copy_text(phys_read *read, uint64_t paddr, char *to,
                             size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const char *c = read(paddr + i, 1);
        WRONG_IF(c == NULL, "a command line is not at a readable address");
        to[i] = *c;
        if (*c == 0) {
            return NULL;
        }
    }
    return "the command line is longer than 1023 bytes";
}

static const char *modules(phys_read *read, const struct start_info *s,
                           struct handover *out)
{
    uint32_t n = s->modules;
    WRONG_IF(n > BOOT_MODULES_MAX, "too many boot modules");
    const struct start_module *list = read(s->module_list, n * sizeof(*list));
    WRONG_IF(n > 0 && list == NULL,
             "the list of modules is not at a readable address");
    for (uint32_t i = 0; i < n; i++) {
        char name[256] = "";
        struct start_module m;
        memcpy(&m, list + i, sizeof(m));
        if (m.cmdline != 0 &&
            copy_text(read, m.cmdline, name, sizeof(name)) != NULL) {
            name[0] = 0;
        }
        struct boot_range at = {m.paddr, m.paddr + m.bytes};
        WRONG_IF(at.end < at.start ||
                     !handover_module(out, at, name, sizeof(name)),
                 "a module is empty or wraps around");
    }
    return NULL;
}

static const char *memory(phys_read *read, const struct start_info *s,
                          struct handover *out)
{
    WRONG_IF(s->version < 1 || s->memory_entries == 0,
             "the start information has no memory map; use QEMU 4 or later");
    WRONG_IF(s->memory_entries > MEMORY_ENTRIES_MAX,
             "the memory map has an impossible size");
    const struct start_memory *list =
        read(s->memory_map, s->memory_entries * sizeof(*list));
    WRONG_IF(list == NULL, "the memory map is not at a readable address");
    for (uint32_t i = 0; i < s->memory_entries; i++) {
        struct start_memory m;
        memcpy(&m, list + i, sizeof(m));
        handover_memory(out, m.paddr, m.bytes, m.type == E820_RAM);
    }
    return NULL;
}

const char *pvh_parse(phys_read *read, uint64_t start_info,
                      struct handover *out)
{
    const void *p = read(start_info, sizeof(struct start_info));
    memset(out, 0, sizeof(*out));
    WRONG_IF(p == NULL, "the start information is not at a readable address");
    struct start_info s;
    memcpy(&s, p, sizeof(s));
    WRONG_IF(s.magic != MAGIC_PVH,
             "the start information has a wrong magic number");
    out->rsdp = s.rsdp;
    const char *wrong = memory(read, &s, out);
    WRONG_IF(wrong != NULL, wrong);
    wrong = modules(read, &s, out);
    WRONG_IF(wrong != NULL || s.cmdline == 0, wrong);
    return copy_text(read, s.cmdline, out->cmdline, sizeof(out->cmdline));
}
