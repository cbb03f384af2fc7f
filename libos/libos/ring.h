/* SPDX-License-Identifier: MIT */
/*
 * Packet rings (src/abi/net.h): the link under a network stack. A ring is
 * used by one thread of control at a time.
 */
#pragma once

#include "libos/libos/mem.h"
#include "libos/libos/net.h"
#include "src/abi/net.h"
#include <stdbool.h>
#include <stdint.h>

struct filter;

/* ----------------------------------------------------------------- receive */

struct rx_ring {
    struct mem_run run;
    struct net_ring_head *head; /* in run, like the next two */
    struct net_rx_slot *slot;
    uint8_t *buffer;
    uint32_t slots, next; /* next: index of the oldest packet */
    uint32_t device, id;
    int event; /* bit that says: packets came */
};

/* A received frame; valid until rx_ring_next. */
struct rx_packet {
    const uint8_t *data;
    uint32_t len;
    uint32_t flags; /* NET_RX_* of src/abi/net.h */
    uint32_t binding;
    uint64_t tsc;
};

/*
 * k       slot: capability over `region`, an incoming one
 * slots   a power of two
 *
 * Returns 0 or -E_*.
 */
int rx_ring_open(struct rx_ring *r, uint32_t device, uint32_t k,
                 uint32_t region, uint32_t slots);
void rx_ring_close(struct rx_ring *r);

/* The oldest packet; false if there is none. Hand it back with rx_ring_next. */
bool rx_ring_peek(struct rx_ring *r, struct rx_packet *p);
void rx_ring_next(struct rx_ring *r);

/*
 * Bind a filter (filter.h) to the ring.
 *
 * k, region  slot and region of packet space that the filter lies in
 * flags      NET_REFINE | NET_TAP
 * why        filled on refusal; may be NULL
 *
 * Returns the binding's id or -E_*.
 */
int rx_ring_bind(struct rx_ring *r, uint32_t k, uint32_t region, uint32_t flags,
                 const struct filter *filter, struct net_refusal *why);

/*
 * The same. A refusal is said on the console in the name of `who`, with the
 * packet that shows it in words and, if there is one, the test that the filter
 * lacks: found by trying, so that it is true of the region as it is.
 *
 * what  the filter is for, for people
 */
int rx_ring_bind_said(struct rx_ring *r, uint32_t k, uint32_t region,
                      uint32_t flags, const struct filter *filter,
                      const char *who, const char *what);
/* Say why a region or a filter was refused, and show the packet. */
void net_refusal_say(const char *who, const char *what, int err,
                     const struct net_refusal *why);

/* ---------------------------------------------------------------- transmit */

struct tx_ring {
    struct mem_run run;
    struct net_ring_head *head; /* in run, like slot */
    struct net_tx_slot *slot;
    struct net_pin **pin; /* of the frame in each slot */
    uint32_t slots, next, tail;
    uint32_t device, id;
    int event;        /* bit that says: slots came back */
    uint64_t untold;  /* frames put since tx_ring_kick */
    uint64_t refused; /* frames the kernel did not let out */
};

/* k: slot with CAP_WRITE over the outgoing region. */
int tx_ring_open(struct tx_ring *r, uint32_t device, uint32_t k,
                 uint32_t region, uint32_t slots);
void tx_ring_close(struct tx_ring *r);

/*
 * Put a frame: header copied, pieces read in place until its pin is told.
 * Returns 0, or -NET_E_AGAIN when no slot is free.
 */
int tx_ring_put(struct tx_ring *r, const struct net_frame *f);
/* Tell the kernel what was put since the last call. */
void tx_ring_kick(struct tx_ring *r);
/* Take back slots that the device is done with; tells their pins. */
uint32_t tx_ring_reap(struct tx_ring *r);

/* --------------------------------------------------------------- interface */

/*
 * Both rings and a stack on top: what most environments want. The stack is
 * the user's to set up beyond the address.
 */
struct netif {
    struct net_link link; /* first: the stack's way out */
    struct rx_ring rx;
    struct tx_ring tx;
    struct net_stack *stack;
    void *stack_mem;
    size_t stack_bytes;
    struct mem_run pool;
};

struct netif_config {
    uint32_t device;
    uint32_t in_slot, in_region;   /* capability and region to receive under */
    uint32_t out_slot, out_region; /* the same for what is sent */
    uint32_t rx_slots, tx_slots;   /* powers of two */
    uint32_t pool_bytes;           /* packet memory of the stack */
    struct net_config *stack;      /* link, entropy and now_ns are filled in */
};

/* Returns 0 or -E_*; on error nothing is left behind. */
int netif_open(struct netif *n, const struct netif_config *cfg);
void netif_close(struct netif *n);

/* Event bits of both rings, for env_wait. */
uint64_t netif_events(const struct netif *n);

/*
 * One turn: time, completions, at most `budget` frames, flush. Returns the
 * frames taken; as many as budget means there may be more.
 */
uint32_t netif_turn(struct netif *n, uint32_t budget);

/* Sleep until there is something to do for the stack, or `deadline_ns`. */
uint64_t netif_wait(struct netif *n, uint64_t more_events,
                    uint64_t deadline_ns);
