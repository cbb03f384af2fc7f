/* SPDX-License-Identifier: MIT */
/*
 * The services over UDP. An answer is never longer than the question, and
 * none goes to a port that would answer it: two such services would otherwise
 * talk to each other for ever (RFC 862 and CERT CA-1996-01).
 */
#include "libos/libos/udp.h"
#include "libos/libos/env.h"
#include "libos/libos/text.h"
#include "programs/netsvc/service.h"

#define DATAGRAM_MAX 1472u /* 1500 - 20 - 8 */

static bool may_answer(const struct net_endpoint *from)
{
    return from->port != PORT_ECHO && from->port != PORT_DISCARD &&
           from->port != PORT_ZERO;
}

static void echo(struct udp_port *p, const struct net_endpoint *from,
                 const struct net_addr *to, const void *data, uint32_t len)
{
    (void)to;
    if (may_answer(from)) {
        (void)udp_send_copy(p, from, data, len);
    }
}

static void discard(struct udp_port *p, const struct net_endpoint *from,
                    const struct net_addr *to, const void *data, uint32_t len)
{
    (void)p;
    (void)from;
    (void)to;
    (void)data;
    (void)len;
}

static void zero(struct udp_port *p, const struct net_endpoint *from,
                 const struct net_addr *to, const void *data, uint32_t len)
{
    static const uint8_t zeros[DATAGRAM_MAX];
    (void)to;
    (void)data;
    if (may_answer(from)) {
        (void)udp_send_copy(p, from, zeros,
                            len < DATAGRAM_MAX ? len : DATAGRAM_MAX);
    }
}

static struct udp_port ports[] = {
    {.received = echo, .port = PORT_ECHO},
    {.received = discard, .port = PORT_DISCARD},
    {.received = zero, .port = PORT_ZERO},
};

int service_udp_open(struct net_stack *s)
{
    for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        if (udp_bind(s, &ports[i]) != 0) {
            return -E_BUSY;
        }
    }
    return 0;
}
