/* SPDX-License-Identifier: MIT */
/*
 * A second environment beside the web server: the small services on a stack
 * and filters of its own. It shares the device with others and trusts nobody.
 *
 * Arguments: conns=N, TCP connections at a time (64).
 */
#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "programs/netsvc/service.h"

#define TURN_BUDGET 64u
#define CONNS 64u

static const uint16_t ports[] = {PORT_ECHO, PORT_DISCARD, PORT_ZERO};

static struct netif nif;

static bool bind(uint32_t slot, uint32_t region, const struct filter *f,
                 const char *what)
{
    return rx_ring_bind_said(&nif.rx, slot, region, 0, f, "netsvc", what) >= 0;
}

static bool bind_all(const struct start_info *start)
{
    static struct filter f;
    for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        filter_begin(&f);
        filter_v4_to(&f, start->addr, FILTER_TCP, ports[i]);
        (void)filter_end(&f);
        if (!bind(SLOT_NET_IN, start->net_in, &f, "a TCP port")) {
            return false;
        }
        filter_begin(&f);
        filter_v4_to(&f, start->addr, FILTER_UDP, ports[i]);
        (void)filter_end(&f);
        if (!bind(SLOT_NET_IN, start->net_in, &f, "a UDP port")) {
            return false;
        }
    }
    filter_begin(&f);
    filter_arp(&f);
    (void)filter_end(&f);
    if (!bind(SLOT_NET_ALL, start->net_shared, &f, "ARP")) {
        return false;
    }
    filter_begin(&f);
    filter_icmp_errors(&f, start->addr);
    (void)filter_end(&f);
    return bind(SLOT_NET_ALL, start->net_shared, &f, "ICMP errors");
}

static int open_stack(const struct start_info *start, uint32_t conns)
{
    struct net_config stack = {
        .flags = NET_QUIET_ARP | NET_QUIET_ICMP,
        .conns = conns,
        .half_open = conns,
        .time_wait = 4 * conns,
        .neighbours = 64,
        .ooo_bufs_conn = 8,
    };
    const struct netif_config cfg = {
        .device = start->net_device,
        .in_slot = SLOT_NET_IN,
        .in_region = start->net_in,
        .out_slot = SLOT_NET_OUT,
        .out_region = start->net_out,
        .rx_slots = 256,
        .tx_slots = 256,
        .pool_bytes = 512u << 10,
        .stack = &stack,
    };
    const uint8_t *a = start->addr, *g = start->gateway;
    struct net_addr gateway = {0};
    int err = netif_open(&nif, &cfg);
    if (err) {
        return err;
    }
    if (g[0] | g[1] | g[2] | g[3]) {
        gateway = net_v4(g[0], g[1], g[2], g[3]);
    }
    if (net_set_v4(nif.stack, net_v4(a[0], a[1], a[2], a[3]), start->prefix,
                   gateway) != 0) {
        return -E_INVAL;
    }
    return 0;
}

int env_main(const struct start_info *start)
{
    uint32_t conns = (uint32_t)text_option_number(start->args, "conns", CONNS);
    if (start->net_device == START_NO_RESOURCE) {
        console_printf("netsvc: no network was given\n");
        return 1;
    }
    int err = open_stack(start, conns);
    if (err == 0) {
        err = service_tcp_open(nif.stack, conns);
    }
    if (err == 0) {
        err = service_udp_open(nif.stack);
    }
    if (err || !bind_all(start)) {
        console_printf("netsvc: cannot start: %s\n", env_strerror(err));
        return 1;
    }
    console_printf("netsvc: echo 7, discard 9, zero 19\n");
    for (;;) {
        if (netif_turn(&nif, TURN_BUDGET) < TURN_BUDGET) {
            (void)netif_wait(&nif, 0, UINT64_MAX);
        }
    }
}
