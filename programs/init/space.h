/* SPDX-License-Identifier: MIT */
/*
 * How init divides packet space: what each environment may receive and what
 * it may say. Region ids are the kernel's; names of guards are "NAME/in" and
 * "NAME/out" for one environment's own part and "host/" for the shared one.
 */
#pragma once

#include "libos/libos/filter.h"
#include "programs/init/config.h"

/* The host as others see it: one station, one address. */
struct host {
    uint32_t device;
    uint8_t mac[6];
    uint8_t addr[4], gateway[4];
    uint32_t prefix;
};

/*
 * Carve the region of ARP and ICMP errors, which every environment may bind;
 * `slot` receives a capability for it. Returns the region or -E_*.
 */
int space_shared(const struct host *h, uint32_t slot);

/*
 * Carve what `p` may receive and what it may send: slots in and in + 1 receive
 * the capabilities. Returns 0 or -E_*; the regions in ids[0] and ids[1].
 */
int space_program(const struct host *h, const struct program *p, uint32_t in,
                  uint32_t ids[2]);

/* The filters of init itself. */
int space_host_filter(const struct host *h, struct filter *f);
int space_arp_filter(struct filter *f);
int space_dhcp_filter(struct filter *f, bool broadcast_only);
