/* SPDX-License-Identifier: MIT */
/*
 * UDP (RFC 768; RFC 1122 s4.1). A datagram travels whole: one that does not
 * fit the link is refused, one that comes in fragments is dropped.
 */
#pragma once

#include "libos/libos/net.h"

/*
 * A port we receive on. The user owns the memory, from udp_bind to
 * udp_unbind; the first two fields are its to set.
 *
 * received  a datagram for this port; `data` is valid during the call only.
 *           Broadcasts arrive too (`to` tells), multicasts do not
 */
struct udp_port {
    void (*received)(struct udp_port *p, const struct net_endpoint *from,
                     const struct net_addr *to, const void *data, uint32_t len);
    uint16_t port;
    struct net_stack *stack; /* private from here on */
    struct udp_port *next;
};

/* Returns 0, -NET_E_RANGE (port 0) or -NET_E_USED. */
int udp_bind(struct net_stack *s, struct udp_port *p);
void udp_unbind(struct udp_port *p);

/*
 * Send `count` pieces as one datagram. `pin` is counted as net.h says.
 *
 * Returns 0, or -NET_E_ROUTE (no address or next hop), -NET_E_SIZE (more than
 * the link's MTU or NET_PIECES_MAX), -NET_E_AGAIN (no room in the link). 0
 * does not mean that it arrives.
 */
int udp_send(struct udp_port *p, const struct net_endpoint *to,
             const struct net_piece *pieces, uint32_t count,
             struct net_pin *pin);

/* The same for bytes that the device cannot read, copied into the pool. Also
   returns -NET_E_MEM. */
int udp_send_copy(struct udp_port *p, const struct net_endpoint *to,
                  const void *data, uint32_t len);
