/* SPDX-License-Identifier: MIT */
/*
 * What an environment is told when it starts. Whoever makes an environment
 * (init) fills the first SLOT_FREE slots of its capability list and writes
 * this struct to the scratch area of its u-area; start-up copies it out.
 * The kernel knows nothing of it.
 */
#pragma once

#include <stdint.h>

#define START_MAGIC 0x50415653u /* "SVAP" */
#define START_VERSION 1u
#define START_ARGS_MAX 512u
#define START_NAME_MAX 16u

/* Slots of the capability list, as the maker fills them; may be empty. */
enum start_slot {
    SLOT_SELF,    /* the environment and all that it allocates: CAP_ALL */
    SLOT_CONSOLE, /* CAP_WRITE */
    SLOT_NET_IN,  /* over region net_in */
    SLOT_NET_OUT, /* over region net_out */
    SLOT_NET_ALL, /* over the shared region net_shared */
    SLOT_DISK,    /* over disk_range */
    SLOT_FREE,    /* the first that is the program's own */
};

#define START_NO_RESOURCE UINT32_MAX /* net_device, disk: none given */

struct start_info {
    uint32_t magic, version;
    char name[START_NAME_MAX]; /* zero-terminated */

    uint32_t net_device;
    uint32_t net_in;     /* region of packet space that is this one's */
    uint32_t net_out;    /* region of outgoing frames */
    uint32_t net_shared; /* region of ARP and ICMP errors for the host */
    uint8_t addr[4], gateway[4]; /* IPv4; addr zero: none yet */
    uint32_t prefix;             /* bits */
    uint32_t port;               /* the one that this environment serves */

    uint32_t disk;
    uint32_t disk_range;
    uint64_t disk_blocks; /* in the range */

    uint64_t frames;           /* quota */
    char args[START_ARGS_MAX]; /* words "key=value", zero-terminated */
};
_Static_assert(sizeof(struct start_info) <= 1024, "fits the scratch area");

/* start.c: the copy of what the maker wrote, for as long as the environment
 * lives. */
const struct start_info *start_told(void);
