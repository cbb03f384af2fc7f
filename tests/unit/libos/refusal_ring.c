/* SPDX-License-Identifier: MIT */
/* Of libos/io/ring.c, the call alone: its rings need a kernel. */
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "libos/sys/sys.h"

int rx_ring_bind(struct rx_ring *r, uint32_t k, uint32_t region, uint32_t flags,
                 const struct filter *filter, struct net_refusal *why)
{
    const struct net_bind_args args = {
        .device = r->device,
        .region = region,
        .ring = r->id,
        .flags = flags,
        .insns = (uint64_t)filter->insn,
        .count = filter->count,
        .refusal = (uint64_t)why,
    };
    return (int)sys_net_bind(k, &args);
}
