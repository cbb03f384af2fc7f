/* SPDX-License-Identifier: MIT */
/*
 * Reading a site image. Every function here is pure and takes hostile bytes:
 * a lying image costs at most a refusal. Shared by the server and mksite.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cheetah/site/format.h"

enum site_error {
    SITE_OK,
    SITE_E_MAGIC,   /* not a site image */
    SITE_E_VERSION, /* made for another version of this format */
    SITE_E_DIGEST,  /* the superblock's digest is wrong */
    SITE_E_SHAPE,   /* a number contradicts another */
    SITE_E_SIZE,    /* the disk is shorter than the image */
};

/* An explanation of `e` for a person. */
const char *site_error_text(enum site_error e);

/*
 * Judge block 0.
 *
 * block   SITE_BLOCK bytes
 * blocks  blocks that the medium holds
 * out     the superblock, set only when it is good
 */
enum site_error site_super_read(const void *block, uint64_t blocks,
                                struct site_super *out);

/*
 * Hash a decoded path: lane 0 chooses the slot and is never 0, lane 1 says
 * whether the slot is really this path's. mksite refuses a seed under which
 * two of its paths share lane 0.
 */
void site_hash(const void *path, size_t len, uint64_t seed, uint64_t out[2]);

/* The one block of the index that decides about `hash`. */
uint32_t site_index_block(const struct site_super *s, uint64_t hash);

/* Find a path's entry in its block of the index; NULL if the site lacks it. */
const struct site_entry *site_find(const void *block, const uint64_t hash[2]);

/*
 * Whether the record at the start of block `first` keeps its promises about
 * sizes: texts inside the block, body and sums inside the extent, the extent
 * inside the image. After this its offsets may be followed.
 */
bool site_record_ok(const struct site_record *r, const struct site_super *s,
                    uint32_t first);

/* Prefix sums in an extent with `body_len` bytes of body. */
static inline uint64_t site_sums_count(uint64_t body_len)
{
    return (body_len + SITE_GRANULE - 1) / SITE_GRANULE + 1;
}

/*
 * Internet checksum arithmetic (RFC 1071) on 16-bit words as the machine
 * loads them, folded, not inverted. An odd last byte is padded with zero.
 */
uint16_t site_sum(const void *data, size_t len, uint16_t start);

/* The sum of what lies between two even offsets, from their prefix sums. */
static inline uint16_t site_sum_between(uint16_t lo, uint16_t hi)
{
    uint32_t v = (uint32_t)hi + (uint16_t)~lo;
    return (uint16_t)(v + (v >> 16));
}
