/* SPDX-License-Identifier: MIT */
/*
 * Shares: how many entries of each of the kernel's tables an environment may
 * hold. The first environment begins with all that the tables have;
 * env_create gives a part of the maker's share to the new environment, and
 * what it was given returns to the maker at its end. So whatever one
 * environment does, the entries of the others are there when they want them.
 *
 * A share is good on every device: each device's table has room for all.
 */
#pragma once

#include <stdint.h>

enum share {
    SHARE_ENVS,         /* environments that it made and that live */
    SHARE_NAMES,        /* names of guards that it was the first to use */
    SHARE_SLICES,       /* slices of vectors that it owns */
    SHARE_NET_RINGS,    /* receive and transmit rings */
    SHARE_NET_REGIONS,  /* regions of packet space that it carved */
    SHARE_NET_BINDINGS, /* filters bound to its rings */
    SHARE_NET_FILTERS,  /* programs among them; their copies count with them */
    SHARE_NET_STEPS,    /* what its bindings may cost a packet (net.h) */
    SHARE_DISK_RANGES,  /* ranges that it carved */
    SHARE_DISK_RINGS,
    SHARE_KINDS
};

/* One line of the exposed table; `used` is at most `limit`. */
struct share_count {
    uint32_t used, limit;
};
_Static_assert(sizeof(struct share_count) == 8, "abi");
