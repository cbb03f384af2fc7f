/* SPDX-License-Identifier: MIT */
/*
 * The glue between packet rings and a network stack: one receive ring, one
 * transmit ring, one stack.
 */
#include "libos/libos/env.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"

static struct netif *netif_of(struct net_link *l)
{
    return (struct netif *)l; /* link is the first member */
}

static int link_transmit(struct net_link *l, const struct net_frame *f)
{
    struct netif *n = netif_of(l);
    if (tx_ring_put(&n->tx, f) == 0) {
        return 0;
    }
    /* Full: the kernel may not know yet what it could send. */
    tx_ring_kick(&n->tx);
    (void)tx_ring_reap(&n->tx);
    return tx_ring_put(&n->tx, f);
}

static void link_flush(struct net_link *l)
{
    tx_ring_kick(&netif_of(l)->tx);
}

static void link_init(struct net_link *l, const struct sysinfo_net *dev)
{
    l->transmit = link_transmit;
    l->flush = link_flush;
    l->mtu = dev->mtu;
    l->caps = (dev->features & SYSINFO_NET_CSUM ? NET_CAP_CSUM : 0) |
              (dev->features & SYSINFO_NET_TSO4 ? NET_CAP_TSO4 : 0) |
              (dev->features & SYSINFO_NET_TSO6 ? NET_CAP_TSO6 : 0);
    l->gso_max = NET_TX_BYTES_MAX - NET_HDR_MAX;
    memcpy(l->mac, dev->mac, sizeof(l->mac));
}

static int stack_open(struct netif *n, const struct netif_config *cfg)
{
    struct net_config *c = cfg->stack;
    int err = env_entropy(c->entropy, sizeof(c->entropy));
    if (err) {
        return err;
    }
    c->link = &n->link;
    c->now_ns = time_ns();
    n->stack_bytes = net_size(c);
    n->stack_mem = mem_alloc(n->stack_bytes);
    if (n->stack_mem == NULL) {
        return -E_MEM;
    }
    n->stack = net_init(n->stack_mem, c);
    if (n->stack == NULL) {
        return -E_INVAL;
    }
    err = mem_run_alloc(&n->pool, cfg->pool_bytes, 0);
    if (err == 0) {
        net_pool_add(n->stack, n->pool.va, n->pool.paddr, n->pool.bytes);
    }
    return err;
}

int netif_open(struct netif *n, const struct netif_config *cfg)
{
    const struct sysinfo *s = env_sysinfo();
    *n = (struct netif){0};
    if (cfg->device >= s->nets) {
        return -E_RANGE;
    }
    link_init(&n->link, &s->net[cfg->device]);
    int err = rx_ring_open(&n->rx, cfg->device, cfg->in_slot, cfg->in_region,
                           cfg->rx_slots);
    if (err == 0) {
        err = tx_ring_open(&n->tx, cfg->device, cfg->out_slot, cfg->out_region,
                           cfg->tx_slots);
    }
    if (err == 0) {
        err = stack_open(n, cfg);
    }
    if (err) {
        netif_close(n);
    }
    return err;
}

void netif_close(struct netif *n)
{
    tx_ring_close(&n->tx);
    rx_ring_close(&n->rx);
    mem_run_free(&n->pool);
    mem_free(n->stack_mem, n->stack_bytes);
    *n = (struct netif){0};
}

uint64_t netif_events(const struct netif *n)
{
    return 1ull << n->rx.event | 1ull << n->tx.event;
}

uint32_t netif_turn(struct netif *n, uint32_t budget)
{
    uint32_t taken = 0;
    net_tick(n->stack, time_ns());
    (void)tx_ring_reap(&n->tx);
    struct rx_packet p;
    while (taken < budget && rx_ring_peek(&n->rx, &p)) {
        net_input(n->stack, p.data, p.len,
                  p.flags & NET_RX_CSUM_OK ? NET_RX_SUM_OK : 0);
        rx_ring_next(&n->rx);
        taken++;
    }
    net_flush(n->stack);
    return taken;
}

uint64_t netif_wait(struct netif *n, uint64_t more_events, uint64_t deadline_ns)
{
    uint64_t stack_ns = net_deadline(n->stack);
    uint64_t mask = more_events | 1ull << n->rx.event;

    /* Completions wake us only when output waits for them. */
    if (net_blocked(n->stack)) {
        mask |= 1ull << n->tx.event;
    }
    return env_wait(mask, stack_ns < deadline_ns ? stack_ns : deadline_ns);
}
