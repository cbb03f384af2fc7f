/* SPDX-License-Identifier: MIT */
/*
 * Several boot modules in one file: a POSIX ustar archive, which every host
 * can make (tar --format=ustar). Source: POSIX.1-2017, pax, "ustar
 * Interchange Format".
 */
#include "src/lib/string.h"
#include "src/x86_64/handover.h"

#define BLOCK 512u

enum {
    AT_NAME = 0,
    NAME_LEN = 100,
    AT_SIZE = 124,
    SIZE_LEN = 12,
    AT_CHECKSUM = 148,
    CHECKSUM_LEN = 8,
    AT_TYPE = 156,
    AT_MAGIC = 257,
};

static bool octal(const uint8_t *p, unsigned len, uint64_t *out)
{
    unsigned i = 0;
    *out = 0;
    for (; i < len && p[i] == ' '; i++) {
    }
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
        *out = *out << 3 | (uint64_t)(p[i] - '0');
    }
    return i > 0 && (i == len || p[i] == 0 || p[i] == ' ');
}

bool ustar_is(const uint8_t *archive, uint64_t len)
{
    return len >= BLOCK && memcmp(archive + AT_MAGIC, "ustar", 5) == 0;
}

/* Of all bytes, the field itself counted as blanks. */
static bool checksum_right(const uint8_t *block)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        bool own = i >= AT_CHECKSUM && i < AT_CHECKSUM + CHECKSUM_LEN;
        sum += own ? ' ' : block[i];
    }
    uint64_t want;
    return octal(block + AT_CHECKSUM, CHECKSUM_LEN, &want) && want == sum;
}

int ustar_next(const uint8_t *archive, uint64_t len, uint64_t *at,
               struct ustar_member *out)
{
    while (*at <= len && len - *at >= BLOCK) {
        const uint8_t *block = archive + *at;
        uint64_t rest = len - *at - BLOCK;
        if (block[AT_NAME] == 0) {
            return 0; /* the empty blocks at the end */
        }
        uint64_t bytes;
        if (!ustar_is(block, BLOCK) || !checksum_right(block) ||
            !octal(block + AT_SIZE, SIZE_LEN, &bytes) || bytes > rest) {
            return -1;
        }
        out->data = block + BLOCK;
        out->bytes = bytes;
        const char *path = (const char *)block + AT_NAME;
        handover_name(out->name, sizeof(out->name), path,
                      str_len_max(path, NAME_LEN));
        bytes = (bytes + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
        *at += BLOCK + (bytes < rest ? bytes : rest);
        if (block[AT_TYPE] == '0' || block[AT_TYPE] == 0) {
            return 1;
        }
    }
    return 0;
}
