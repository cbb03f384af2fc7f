/* SPDX-License-Identifier: MIT */
/*
 * The host's own stack. Its binding is "everything for our address", with
 * permission for others to bind strictly inside: so it gets exactly the
 * packets that no environment asked for. Of those, what was meant for a port
 * that a child has is none of its business: see struct net_away.
 */
#include "programs/init/host.h"
#include "libos/libos/console.h"
#include "libos/libos/dhcp.h"
#include "libos/libos/env.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"

#define DHCP_PATIENCE (10 * TIME_S)
#define TURN_BUDGET 64u

static struct netif nif;
static struct dhcp_client dhcp;
static struct filter filter; /* too large for stack frames */

static bool fail(const char *what, int err)
{
    console_printf("init: %s: %s\n", what, env_strerror(err));
    return false;
}

static int open_stack(uint32_t device)
{
    struct net_config stack = {
        .conns = 16,
        .half_open = 16,
        .time_wait = 16,
        .neighbours = 64,
    };
    const struct netif_config cfg = {
        .device = device,
        .in_slot = SLOT_SELF,
        .in_region = NET_REGION_ALL,
        .out_slot = SLOT_SELF,
        .out_region = NET_REGION_ALL,
        .rx_slots = 128,
        .tx_slots = 64,
        .pool_bytes = 128u << 10,
        .stack = &stack,
    };
    return netif_open(&nif, &cfg);
}

static int bind(uint32_t slot, uint32_t region, uint32_t flags,
                const struct filter *f, const char *what)
{
    return rx_ring_bind_said(&nif.rx, slot, region, flags, f, "init", what);
}

static void lease_changed(struct dhcp_client *c)
{
    if (c->state == DHCP_BOUND) {
        const uint8_t *a = c->lease.addr.byte + 12;
        console_printf("init: leased %u.%u.%u.%u/%u for %u s\n", a[0], a[1],
                       a[2], a[3], c->lease.prefix, c->lease.lease_s);
    } else {
        console_printf("init: the lease is lost\n");
    }
}

/* Ask, and take part in the exchange until there is a lease. */
static bool lease(struct host *h)
{
    uint64_t patience = time_ns() + DHCP_PATIENCE;
    (void)space_dhcp_filter(&filter, false);
    int id = bind(SLOT_SELF, NET_REGION_ALL, 0, &filter, "DHCP");
    if (id < 0) {
        return false;
    }
    dhcp.changed = lease_changed;
    if (dhcp_start(nif.stack, &dhcp) != 0) {
        return fail("DHCP", -E_INVAL);
    }
    while (dhcp.state != DHCP_BOUND && time_ns() < patience) {
        /* Not host_turn: after the lease there is nothing to wait for. */
        if (netif_turn(&nif, TURN_BUDGET) < TURN_BUDGET &&
            dhcp.state != DHCP_BOUND) {
            (void)netif_wait(&nif, 0, patience);
        }
    }
    (void)sys_net_unbind(h->device, (uint32_t)id);
    if (dhcp.state != DHCP_BOUND) {
        console_printf("init: no DHCP server answered within 10 s; give an "
                       "address with ip=ADDRESS/LEN gw=ADDRESS\n");
        return false;
    }
    memcpy(h->addr, dhcp.lease.addr.byte + 12, 4);
    memcpy(h->gateway, dhcp.lease.gateway.byte + 12, 4);
    h->prefix = dhcp.lease.prefix;
    (void)space_dhcp_filter(&filter, true);
    return bind(SLOT_SELF, NET_REGION_ALL, 0, &filter, "DHCP broadcasts") >= 0;
}

static bool use_static(struct host *h, const struct config *c)
{
    const uint8_t *a = c->addr, *g = c->gateway;
    struct net_addr gateway = {0};
    if (g[0] | g[1] | g[2] | g[3]) {
        gateway = net_v4(g[0], g[1], g[2], g[3]);
    }
    if (net_set_v4(nif.stack, net_v4(a[0], a[1], a[2], a[3]), c->prefix,
                   gateway) != 0) {
        console_printf("init: ip=%u.%u.%u.%u/%u is not an address for a "
                       "station\n",
                       a[0], a[1], a[2], a[3], c->prefix);
        return false;
    }
    memcpy(h->addr, a, 4);
    memcpy(h->gateway, g, 4);
    h->prefix = c->prefix;
    return true;
}

bool host_open(struct host *h, const struct config *c)
{
    const struct sysinfo *s = env_sysinfo();
    *h = (struct host){0};
    if (!c->dhcp && c->prefix == 0) {
        return false; /* nobody asked for a network */
    }
    if (s->nets == 0) {
        console_printf("init: there is no network device; give the machine a "
                       "virtio-net-pci\n");
        return false;
    }
    memcpy(h->mac, s->net[h->device].mac, sizeof(h->mac));
    int err = open_stack(h->device);
    if (err) {
        return fail("cannot open the network device", err);
    }
    return c->dhcp ? lease(h) : use_static(h, c);
}

bool host_answer(const struct host *h, uint32_t slot, uint32_t shared)
{
    (void)space_arp_filter(&filter);
    if (bind(slot, shared, 0, &filter, "ARP") < 0) {
        return false;
    }
    (void)space_host_filter(h, &filter);
    return bind(SLOT_SELF, NET_REGION_ALL, NET_REFINE, &filter, "the host") >=
           0;
}

/* Ports of each child, TCP's and UDP's; port 0 is none. */
static struct net_away away[CHILDREN_MAX][2 * CONFIG_PORTS_MAX];

void host_away(unsigned n, const struct program *p)
{
    for (unsigned i = 0; nif.stack != NULL && i < 2 * CONFIG_PORTS_MAX; i++) {
        bool udp = i >= CONFIG_PORTS_MAX;
        away[n][i] = (struct net_away){
            .proto = udp ? FILTER_UDP : FILTER_TCP,
            .port = udp ? p->udp[i - CONFIG_PORTS_MAX] : p->tcp[i],
        };
        if (away[n][i].port) {
            net_away_add(nif.stack, &away[n][i]);
        }
    }
}

void host_home(unsigned n)
{
    for (unsigned i = 0; nif.stack != NULL && i < 2 * CONFIG_PORTS_MAX; i++) {
        net_away_remove(nif.stack, &away[n][i]);
    }
}

void host_turn(uint64_t deadline_ns)
{
    if (nif.stack == NULL) {
        (void)env_wait(0, deadline_ns);
        return;
    }
    if (netif_turn(&nif, TURN_BUDGET) < TURN_BUDGET) {
        (void)netif_wait(&nif, 0, deadline_ns);
    }
}
