/* SPDX-License-Identifier: MIT */
/*
 * The site image: a directory laid out as preformatted HTTP responses.
 *
 *   block 0          superblock
 *   index            site_entry slots; the hash of a path chooses one block,
 *                    and that block alone decides
 *   extents          one per representation (a document in one encoding):
 *                      record | texts | prefix sums | pad | full | body
 *                    The record and the texts lie in the extent's first
 *                    block, so that one read answers GET of a small document,
 *                    HEAD and 304. The body starts on a granule; the head of
 *                    200 ends there if it can, so that one piece holds both.
 *   manifest         text, one line for each representation
 *
 * All numbers are little endian. Reserved fields and padding are zero. The
 * same tree gives the same bytes. docs/site-format.md is the full description;
 * the reading side (cheetah/site/site.h) trusts nothing here.
 */
#pragma once

#include <stdint.h>

#define SITE_MAGIC "PAVSITE\n"
#define SITE_VERSION 2u
#define SITE_BLOCK 4096u
#define SITE_GRANULE 512u
#define SITE_RECORD_MAGIC 0x64636572u /* "recd" */

#define SITE_PATH_MAX 1024u         /* decoded bytes, leading '/' too */
#define SITE_BODY_MAX (64ull << 30) /* bytes of one body */
#define SITE_TEXTS_MAX 3840u        /* record and texts, in one block */
#define SITE_SLOTS 128u             /* site_entry slots in a block */

/* Representations of one document; the order is that of preference. */
enum site_encoding {
    SITE_BR,
    SITE_GZIP,
    SITE_IDENTITY,
    SITE_ENCODINGS,
};

/* Block 0; the rest of the block is zero. */
struct site_super {
    uint8_t magic[8];     /* SITE_MAGIC */
    uint32_t version;     /* SITE_VERSION */
    uint32_t block_size;  /* SITE_BLOCK */
    uint32_t granule;     /* SITE_GRANULE */
    uint32_t blocks;      /* of the whole image, this one too */
    uint64_t seed;        /* of site_hash */
    uint32_t index_block; /* first block of the index */
    uint32_t index_blocks;
    uint32_t manifest_block; /* first block of the manifest */
    uint32_t manifest_blocks;
    uint64_t manifest_len; /* bytes */
    uint32_t paths;        /* entries in the index */
    uint32_t extents;      /* lines of the manifest */
    uint8_t index_sha256[32];
    uint8_t manifest_sha256[32];
    uint8_t reserved[352];
    uint8_t sha256[32]; /* of block 0 with this field zero */
};
_Static_assert(sizeof(struct site_super) == 512, "superblock layout");

/* One path. hash == 0 marks a free slot, which also ends a probe. */
struct site_entry {
    uint64_t hash;                  /* first lane of site_hash; never 0 */
    uint64_t check;                 /* second lane: which path this really is */
    uint32_t block[SITE_ENCODINGS]; /* first block of the extent; 0: none */
    uint32_t reserved;
};
_Static_assert(sizeof(struct site_entry) == 32, "entry layout");
_Static_assert(sizeof(struct site_entry) * SITE_SLOTS == SITE_BLOCK, "slots");

/*
 * A complete response head, from the status line to the empty line. A server
 * sends its own status line and Date instead
 * of the first `lead` bytes, and the tail from the block.
 */
struct site_text {
    uint16_t off;  /* from the start of the extent */
    uint16_t len;  /* bytes; the text ends inside the first block */
    uint16_t lead; /* bytes of status line and Date line, both CRLFs too */
    uint16_t sum;  /* ones' complement sum of the tail, see site_sum */
};

/* The start of an extent. */
struct site_record {
    uint32_t magic;        /* SITE_RECORD_MAGIC */
    uint16_t status;       /* 200, or 301 for a directory without its slash */
    uint8_t encoding;      /* enum site_encoding */
    uint8_t flags;         /* zero */
    uint64_t body_len;     /* bytes */
    uint64_t etag;         /* first 8 bytes of body_sha256, as a number */
    int64_t mtime;         /* seconds since 1970, in the years 1 to 9999 */
    uint32_t blocks;       /* of this extent */
    uint32_t body_off;     /* bytes from the extent's start; granule-aligned */
    uint32_t sums_off;     /* bytes from the extent's start; even */
    uint32_t group;        /* blocks after this extent that its page embeds */
    struct site_text full; /* 200 (or 301), and HEAD */
    struct site_text part; /* 206, less Content-Range and Content-Length */
    struct site_text same; /* 304 */
    uint16_t type_off;     /* the value of Content-Type, within `full` */
    uint16_t type_len;
    uint32_t reserved;
    uint8_t body_sha256[32];
};
_Static_assert(sizeof(struct site_record) == 112, "record layout");
