/* SPDX-License-Identifier: MIT */
/*
 * The network inside the kernel: net.c (devices, polling, receive),
 * net_send.c (transmit), net_ring.c (rings), net_space.c (packet space).
 *
 * Locks. A queue pair's lock covers the driver, its transmit entries and the
 * transmit rings that use it. A receive ring is filled by any queue and has a
 * lock of its own. Regions and bindings change under bind_lock; lookups take
 * none: what they may see is taken apart after net_quiesce.
 */
#pragma once

#include "dpf/dpf.h"
#include "src/abi/net.h"
#include "src/kern/cpu.h"
#include "src/kern/env.h"
#include "src/kern/netdev.h"
#include "src/kern/page.h"
#include "src/kern/service.h"
#include "src/kern/slots.h"

#define NET_DEVICES_MAX SYSINFO_NETS_MAX
#define NET_REGIONS_MAX 256u
#define NET_BINDINGS_MAX 16384u
#define NET_FILTERS_MAX 1024u /* programs that bindings were made of */
#define NET_CHUNK 128u        /* bindings in one frame */
#define NET_DIRECTIONS 2u     /* in, out */

enum net_ring_kind { NET_RING_NONE, NET_RING_RX, NET_RING_TX };

struct net_ring {
    struct lock lock;        /* receive; transmit has its queue's */
    enum net_ring_kind kind; /* changes under bind_lock and the ring's lock */
    uint32_t generation;     /* grows when the ring is freed */
    uint32_t event;          /* bit of uarea.pending */
    struct env *env;
    struct net_ring_head *head; /* in the environment's frames, pinned */
    void *slots;                /* struct net_rx_slot[] or net_tx_slot[] */
    uint8_t *buffers;           /* receive: NET_RX_BUFFER bytes a slot */
    uint64_t next;              /* slots used since creation */
    uint64_t done, dropped;     /* what head shows */
    uint32_t bindings;          /* receive: the first; NET_BINDINGS_MAX ends */
    uint32_t mask;              /* slots - 1 */
    uint32_t queue;             /* transmit: fixed at creation */
    uint32_t region;            /* transmit */
    uint32_t in_flight;         /* transmit: frames the device has */
    uint64_t under_way[SLOTS_WORDS(NET_RING_SLOTS_MAX)]; /* see slots.h */
    /* Transmit: the programs of its region and of all around it; a frame
       leaves if each of them accepts it. */
    const struct dpf_program *filter[NET_OUT_DEPTH_MAX];
    uint32_t filters;
    uint32_t weight;         /* of a frame, see net_send.c */
    struct page_pass pieces; /* over the ring; transmit: and its pieces */
    uint64_t frames;         /* of head and what follows */
    struct cap by;           /* what was presented for the region */
    bool broken;             /* receive: bindings go, and none are made */
};

/* A frame that the device has: its header and what is pinned for it. */
struct net_sent {
    uint8_t headroom[NETDEV_HEADROOM]; /* the driver's */
    uint8_t header[NET_TX_HEADER_MAX]; /* what was checked is what is sent */
    struct page_piece piece[NET_TX_PIECES_MAX];
    uint8_t pieces, ring;
    uint16_t next_free;
    uint32_t generation; /* the ring's when it was sent */
    uint32_t slot;
};
_Static_assert(__builtin_offsetof(struct net_sent, header) == NETDEV_HEADROOM,
               "in front of it");

struct net_queue {
    struct lock lock;
    struct net_sent *sent; /* entries, by token */
    uint32_t free_sent;    /* first free entry; `depth`: none */
    uint32_t depth;
    struct net *net;
    struct service service;   /* of transmit rings; touched: of all rings */
    uint64_t now;             /* tsc of this poll */
    struct sysinfo_net count; /* its counters since the last flush */
};

struct net_region {
    bool used, shared; /* each binder gets a copy */
    uint32_t guard;
    uint32_t owner; /* index of an environment; 0 nobody */
    uint16_t parent;
    uint8_t depth;               /* regions from the whole space to it */
    uint32_t rings;              /* transmit rings on it */
    uint32_t inside;             /* regions and bindings in it */
    uint64_t bytes;              /* charged to the owner */
    struct dpf_program *program; /* outgoing only */
    struct cap by;               /* what was presented for the parent */
    bool broken;                 /* what is inside goes, and none is made */
};

struct net_binding {
    uint8_t used, ring;
    uint16_t region;
    uint16_t filter;         /* of net.filter_uses */
    uint16_t rights;         /* presented for the region, with the name `by` */
    uint32_t by;             /* a guard, held */
    uint32_t bytes;          /* charged to the ring's environment */
    uint32_t steps;          /* the same, of SHARE_NET_STEPS */
    uint32_t next, previous; /* of its ring; next: also of the free ones */
};

struct net {
    struct netdev *dev;
    struct sysinfo_net *info;
    struct dpf_set *set[NET_DIRECTIONS]; /* in, out (regions only) */
    struct net_ring ring[NET_RINGS_MAX];
    struct net_region region[NET_DIRECTIONS][NET_REGIONS_MAX];
    struct net_binding *chunk[NET_BINDINGS_MAX / NET_CHUNK];
    uint32_t bindings_made, free_binding; /* NET_BINDINGS_MAX ends the list */
    uint32_t steps;     /* of all bindings: what a packet may cost */
    uint32_t unchecked; /* packets but one between two looks at the clock */
    /* Bindings of one program: that of net_bind and its copies. 0: free. */
    uint16_t filter_uses[NET_FILTERS_MAX];
    struct net_queue queue[]; /* dev->queues */
};

/* The device; NULL if there is none. */
struct net *net_at(uint32_t device);
struct net_binding *net_binding_at(const struct net *n, uint32_t id);

enum net_poll_kind {
    NET_POLL_CALL,      /* ring 3 called: stay in polling */
    NET_POLL_INTERRUPT, /* ring 3 was interrupted and goes on */
    NET_POLL_IDLE,      /* nobody runs: back to interrupts if all is quiet */
};
/* Serve what this processor polls (cpu.net_polling is not 0). */
void net_poll(struct cpu *c, enum net_poll_kind kind);
/*
 * Wait until every lookup that began before has ended. Called with nothing
 * but bind_lock held.
 */
void net_quiesce(void) REQUIRES(bind_lock);

/* Signal the owners of q->touched, and add q->count to the exposed ones. */
void net_queue_flush(struct net *n, struct net_queue *q);
/* Serve blocked transmit rings: service_resume of service.h. */
void net_send_resume(struct net_queue *q);

/*
 * Remove at most `limit` bindings of a ring; true if it has more. One version
 * of the set is published, with the last.
 */
bool net_unbind_ring(struct net *n, uint32_t ring, uint32_t limit)
    REQUIRES(bind_lock);
/* Remove what a ring has bound. False: the turn ended first. */
bool net_ring_empty(struct net *n, uint32_t id, struct turn *t)
    REQUIRES(bind_lock);
/* Take a ring away: its bindings, or its region, and its frames' pins. */
void net_ring_remove(struct net *n, uint32_t ring) REQUIRES(bind_lock);
/* A transmit ring begins or ceases to use a region. */
struct net_region *net_region_get(struct net *n, unsigned direction,
                                  uint32_t region) REQUIRES(bind_lock);
/* List in `r` the programs that frames of outgoing region `region` must pass.
 */
void net_region_filters(const struct net *n, uint32_t region,
                        struct net_ring *r) REQUIRES(bind_lock);
/* Free what `e` holds: rings, bindings, regions. False: the turn ended first.
 */
bool net_env_end(struct env *e, struct turn *t) REQUIRES(bind_lock);
bool net_space_env_end(struct net *n, struct env *e, struct turn *t)
    REQUIRES(bind_lock);
/*
 * Packet space is in the middle of a change whose call lets others have
 * bind_lock (code_lend): only that call may touch regions, bindings, or rings
 * that are taken away. Others come again: a call in another turn, the end of an
 * environment too.
 */
bool net_space_changes(void) REQUIRES(bind_lock);
/* The same asked by the kernel's own work, which comes again at the end of a
   slice: until then no call begins such a change. */
bool net_space_awaited(void) REQUIRES(bind_lock);
/* Make region 0 of both directions. 0 or -E_MEM. */
int net_space_init(struct net *n);

/* ------------------------------------------------- what loses its authority */

#define NET_REVOKE_DEVICE                                                      \
    (2 + NET_RINGS_MAX + NET_BINDINGS_MAX) /* regions are one */
#define NET_REVOKE_STEPS (NET_DEVICES_MAX * NET_REVOKE_DEVICE)
/*
 * Break rings, bindings and regions that rest on a revoked name. `at` counts
 * what was looked at, in this turn and before. False: the turn ended first.
 */
bool net_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
    REQUIRES(bind_lock);
/* Its parts in packet space: see net_space.c. */
void net_regions_break(struct net *n, const struct revocation *r)
    REQUIRES(bind_lock);
uint32_t net_bindings_break(struct net *n, const struct revocation *r,
                            uint32_t id, struct turn *t) REQUIRES(bind_lock);
bool net_regions_drop(struct net *n, struct turn *t) REQUIRES(bind_lock);
