/* SPDX-License-Identifier: MIT */
/*
 * The boot information of a multiboot2 loader (GRUB): a list of tags.
 * Source: Multiboot2 specification version 2.0, s3.6.
 */
#include "src/lib/string.h"
#include "src/x86_64/handover.h"

#define INFO_MAX (1u << 20) /* no loader has more to say */

enum {
    TAG_END = 0,
    TAG_CMDLINE = 1,
    TAG_MODULE = 3,
    TAG_MEMORY_MAP = 6,
    TAG_RSDP_OLD = 14,
    TAG_RSDP_NEW = 15,
};
#define MEMORY_AVAILABLE 1u

struct tag {
    uint32_t type, size; /* size without padding to eight bytes */
};

/* Body: entry size, version, then entries of base, length, type. */
static const char *memory_map(struct handover *h, const uint8_t *body,
                              uint32_t len)
{
    WRONG_IF(len < 8, "the memory map is cut short");
    uint32_t entry = load_u32(body);
    WRONG_IF(entry < 24 || entry % 8 != 0,
             "the memory map has entries of an impossible size");
    for (uint32_t at = 8; len - at >= entry; at += entry) {
        const uint8_t *e = body + at;
        handover_memory(h, load_u64(e), load_u64(e + 8),
                        load_u32(e + 16) == MEMORY_AVAILABLE);
    }
    return NULL;
}

/* Body: start, end, then the command line of the module. */
static const char *module(struct handover *h, const uint8_t *body, uint32_t len)
{
    WRONG_IF(len < 8, "a module's tag is cut short");
    struct boot_range at = {load_u32(body), load_u32(body + 4)};
    WRONG_IF(!handover_module(h, at, (const char *)body + 8, len - 8),
             "a module is empty, ends before it starts, or is one too many");
    return NULL;
}

static const char *one_tag(struct handover *h, const struct tag *t,
                           const uint8_t *body, uint64_t body_paddr)
{
    uint32_t len = t->size - (uint32_t)sizeof(*t);
    switch (t->type) {
    case TAG_CMDLINE:
        len = (uint32_t)str_len_max((const char *)body, len);
        WRONG_IF(len >= sizeof(h->cmdline),
                 "the command line is longer than 1023 bytes");
        memcpy(h->cmdline, body, len);
        return NULL;
    case TAG_MODULE:
        return module(h, body, len);
    case TAG_MEMORY_MAP:
        return memory_map(h, body, len);
    case TAG_RSDP_OLD:
    case TAG_RSDP_NEW:
        /* The tag holds a copy; the newer one wins. */
        if (h->rsdp == 0 || t->type == TAG_RSDP_NEW) {
            h->rsdp = body_paddr;
        }
        return NULL;
    default:
        return NULL;
    }
}

const char *multiboot2_parse(phys_read *read, uint64_t info,
                             struct handover *out)
{
    const uint8_t *p = read(info, 8);
    memset(out, 0, sizeof(*out));
    WRONG_IF(p == NULL || info % 8 != 0,
             "the boot information is not at a readable address");
    uint32_t total = load_u32(p), at = 8;
    WRONG_IF(total < 16 || total > INFO_MAX,
             "the boot information has an impossible size");
    p = read(info, total);
    WRONG_IF(p == NULL, "the boot information reaches beyond memory");
    while (total - at >= sizeof(struct tag)) {
        struct tag t = {load_u32(p + at), load_u32(p + at + 4)};
        if (t.type == TAG_END) {
            return NULL;
        }
        WRONG_IF(t.size < sizeof(t) || t.size > total - at,
                 "a tag of the boot information is cut short");
        const char *wrong =
            one_tag(out, &t, p + at + sizeof(t), info + at + sizeof(t));
        WRONG_IF(wrong != NULL, wrong);
        if (((t.size + 7u) & ~7u) > total - at) {
            break;
        }
        at += (t.size + 7u) & ~7u;
    }
    return "the boot information has no end tag";
}
