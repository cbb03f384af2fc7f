/* SPDX-License-Identifier: MIT */
#include "dpf/cli/reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_SECTION 0x0a0d0d0au /* reads the same in either byte order */
#define BLOCK_INTERFACE 1u
#define NANOSECONDS 0xa1b23c4du /* of pcap; pcapng tells per interface */
#define BYTE_ORDER_SWAPPED 0x4d3c2b1au

static uint32_t reader_word(const struct reader *r, unsigned at)
{
    uint32_t v;
    memcpy(&v, r->head + at, sizeof(v));
    return r->swapped ? __builtin_bswap32(v) : v;
}

/*
 * A block's first 12 bytes are here, and no block is shorter. A section tells
 * the byte order of all blocks up to the next section, in which interfaces are
 * numbered anew.
 */
static void begin_block(struct reader *r)
{
    if (reader_word(r, 0) == BLOCK_SECTION) {
        r->swapped = false;
        r->swapped = reader_word(r, 8) == BYTE_ORDER_SWAPPED;
        r->interfaces = 0;
        r->began = true;
    } else if (!r->began) {
        r->other = true; /* the first block is a section's */
    } else if (reader_word(r, 0) == BLOCK_INTERFACE) {
        r->refused = ++r->interfaces > READER_INTERFACES_MAX;
    }
    uint32_t len = reader_word(r, 4);
    r->other = r->other || len < sizeof(r->head); /* libpcap says so, too */
    r->skip = len - (uint32_t)sizeof(r->head);
    r->head_count = 0;
}

/*
 * Follow the blocks that pass by, in pieces of any size: libpcap reads as it
 * likes. Only heads are kept; bodies are skipped.
 */
static void reader_count(struct reader *r, const char *bytes, size_t len)
{
    while (len > 0 && !r->other && !r->refused) {
        size_t n = r->skip ? r->skip : sizeof(r->head) - r->head_count;
        n = n < len ? n : len;
        if (r->skip > 0) {
            r->skip -= (uint32_t)n;
        } else {
            memcpy(r->head + r->head_count, bytes, n);
            r->head_count += (uint32_t)n;
            if (r->head_count == sizeof(r->head)) {
                begin_block(r);
            }
        }
        bytes += n;
        len -= n;
    }
}

/*
 * Read the bytes that were read ahead to know the format, then the file
 * itself.
 */
static ssize_t fetch(struct reader *r, char *bytes, size_t size)
{
    ssize_t n = -1;
    if (r->ahead > 0) {
        size = size < r->ahead ? size : r->ahead;
        memcpy(bytes, (char *)&r->magic + r->known - r->ahead, size);
        r->ahead -= (uint32_t)size;
        return (ssize_t)size;
    }
    do {
        n = read(r->fd, bytes, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

static ssize_t pass(void *cookie, char *bytes, size_t size)
{
    struct reader *r = cookie;
    /*
     * libpcap keeps a record of each interface, and a hostile file can have
     * millions. So it gets an error instead of more of them.
     */
    if (r->refused) {
        errno = EMSGSIZE; /* r->refused tells more */
        return -1;
    }
    ssize_t n = fetch(r, bytes, size);
    if (n > 0) {
        reader_count(r, bytes, (size_t)n);
        r->passed += (uint64_t)n;
    }
    return n;
}

static int reader_end(void *cookie)
{
    return close(((struct reader *)cookie)->fd);
}

FILE *reader_open(struct reader *r, int fd)
{
    uint32_t known = 0;
    ssize_t n = 1;
    *r = (struct reader){.fd = fd};
    /* A pipe may hand out a byte at a time. */
    while (known < sizeof(r->magic) && n > 0) {
        n = fetch(r, (char *)&r->magic + known, sizeof(r->magic) - known);
        known += n > 0 ? (uint32_t)n : 0;
    }
    r->known = r->ahead = known; /* an error comes again */
    return fopencookie(
        r, "rb", (cookie_io_functions_t){.read = pass, .close = reader_end});
}

bool reader_pcapng(const struct reader *r)
{
    return r->magic == BLOCK_SECTION;
}

/*
 * pcapng says it for each interface. libpcap is asked for nanoseconds then, in
 * which both fit.
 */
bool reader_nanoseconds(const struct reader *r)
{
    return reader_pcapng(r) || r->magic == NANOSECONDS ||
           r->magic == __builtin_bswap32(NANOSECONDS);
}

/* Compressed files begin with a mark of their tool, little endian here. */
const char *reader_packed(const struct reader *r)
{
    static const struct {
        uint32_t mask, magic;
        const char *tool;
    } kinds[] = {
        {0xffff, 0x8b1f, "gzip"},        {0xffffff, 0x685a42, "bzip2"},
        {UINT32_MAX, 0x587a37fd, "xz"},  {UINT32_MAX, 0xfd2fb528, "zstd"},
        {UINT32_MAX, 0x184d2204, "lz4"},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if ((r->magic & kinds[i].mask) == kinds[i].magic) {
            return kinds[i].tool;
        }
    }
    return NULL;
}
