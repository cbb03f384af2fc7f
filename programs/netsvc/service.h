/* SPDX-License-Identifier: MIT */
/*
 * The services: echo (RFC 862), discard (RFC 863), and a source of zero bytes
 * in the place of the character generator (RFC 864), over TCP and UDP.
 */
#pragma once

#include "libos/libos/net.h"
#include <stdint.h>

#define PORT_ECHO 7u
#define PORT_DISCARD 9u
#define PORT_ZERO 19u

/*
 * Listen on all ports. Memory for `conns` TCP connections is taken here.
 * Returns 0 or -E_*.
 */
int service_tcp_open(struct net_stack *s, uint32_t conns);
int service_udp_open(struct net_stack *s);
