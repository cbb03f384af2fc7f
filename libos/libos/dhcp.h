/* SPDX-License-Identifier: MIT */
/*
 * DHCP client for IPv4 (RFC 2131, 2132): obtains, checks, renews and gives up
 * an address for a stack. Needs two buffers of the stack's pool.
 */
#pragma once

#include "libos/libos/net.h"
#include "libos/libos/timer.h"
#include "libos/libos/udp.h"

/* What a lease says. */
struct dhcp_lease {
    struct net_addr addr, gateway, dns, server;
    uint32_t prefix;  /* bits */
    uint32_t lease_s; /* seconds; UINT32_MAX: for ever */
    uint32_t renew_s, rebind_s;
};

/* RFC 2131 figure 5. CHECK: the offered address is being probed by ARP. */
enum dhcp_state {
    DHCP_STOPPED,
    DHCP_SELECTING,
    DHCP_REQUESTING,
    DHCP_CHECK,
    DHCP_BOUND,
    DHCP_RENEWING,
    DHCP_REBINDING,
};

/*
 * A client. The user owns the memory while the client is started and sets
 * the first two fields.
 *
 * changed   the lease was obtained or renewed (state DHCP_BOUND: `lease` is in
 *           force and the stack uses the address) or lost (any other state);
 *           may be NULL
 * check_ms  how long to listen for another user of an offered address before
 *           taking it (RFC 2131 s4.4.1, RFC 5227); 0: take it at once
 */
struct dhcp_client {
    void (*changed)(struct dhcp_client *c);
    uint32_t check_ms;
    struct dhcp_lease lease;
    enum dhcp_state state;
    struct net_stack *stack; /* private from here on */
    struct udp_port udp;
    struct net_timer timer;
    uint64_t began_ns;     /* when this exchange began, for `secs` */
    uint64_t asked_ns;     /* when the request under way was sent first */
    uint64_t bound_ns;     /* asked_ns of the request that gave the lease */
    uint32_t xid;          /* of the exchange under way */
    uint32_t tries;        /* of the message under way */
    uint16_t secs;         /* said by the last discovery or renewal */
    struct dhcp_lease got; /* offered, not yet in force */
};

/* Begin. Returns 0 or -NET_E_USED (something is bound to port 68). */
int dhcp_start(struct net_stack *s, struct dhcp_client *c);

/* Give the lease back (DHCPRELEASE) and stop; the stack loses the address. */
void dhcp_stop(struct dhcp_client *c);
