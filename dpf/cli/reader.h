/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a capture on their way to libpcap, counted. libpcap remembers
 * every interface that a pcapng section describes, 16 bytes and more for each
 * block of 20: a stream of nothing else would take all memory.
 *
 * Source: draft-ietf-opsawg-pcapng, sections 3.1, 4.1, 4.2.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define READER_INTERFACES_MAX 65536u /* of one section */

struct reader {
    int fd;
    uint32_t magic;      /* the first bytes, as this machine reads them; or 0 */
    uint32_t known;      /* how many there are: 4, or all of a short file */
    uint32_t ahead;      /* how many of them libpcap has not yet got */
    uint64_t passed;     /* bytes read so far */
    uint8_t head[12];    /* the block's first bytes, as far as they came */
    uint32_t head_count; /* how many did */
    uint32_t skip;       /* bytes of the block behind them */
    uint32_t interfaces; /* of this section */
    bool began;          /* a section's header was seen */
    bool other;          /* no pcapng, or damaged: nothing is counted */
    bool swapped;        /* the section has the other byte order */
    bool refused;        /* there were too many interfaces */
};

/*
 * A stream of what `fd` has, whose first bytes are known at once; closing it
 * closes `fd`, which has `r` until then. NULL: no memory, and `fd` is still
 * open.
 */
FILE *reader_open(struct reader *r, int fd);
/* By its magic: does the capture keep nanoseconds, or may it (pcapng)? */
bool reader_nanoseconds(const struct reader *r);
bool reader_pcapng(const struct reader *r);
/* The tool that unpacks it, or NULL: it is not compressed. */
const char *reader_packed(const struct reader *r);
