/* SPDX-License-Identifier: MIT */
/*
 * The inside of a stack: what the protocols share. One file per protocol;
 * each keeps its part of struct net_stack and touches no other's.
 *
 *     net_input -> eth -> arp | ip -> icmp | udp | tcp
 *     tcp, udp, icmp -> ip_send -> arp_send -> frame_send -> link
 */
#pragma once

#include "libos/libos/csum.h"
#include "libos/libos/tcp.h"
#include "libos/libos/timer.h"
#include "libos/libos/udp.h"
#include "libos/net/siphash.h"
#include "libos/net/wire.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* ------------------------------------------------------------------- timer */

#define WHEEL_SHIFT 20 /* a tick is 2^20 ns */
#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 64u

/*
 * Level 0 has a slot per tick, each level above one per 64 slots below. A
 * timer sits on the lowest level whose span reaches it and moves down when
 * the level below wraps.
 */
struct wheel {
    uint64_t tick;               /* the next to be run */
    uint64_t used[WHEEL_LEVELS]; /* bit per slot that is not empty */
    struct net_timer *slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_run(struct net_stack *s, uint64_t now_ns);
uint64_t wheel_deadline(const struct wheel *w);

/* -------------------------------------------------------------------- pool */

#define BUF_SIZE 2048u

/* A packet buffer: what it is used for decides which fields mean anything.
   Lies at the start of 2048 bytes; data follows. */
struct net_buf {
    struct net_buf *next;
    struct net_pin pin; /* frees the buffer when the device is done */
    struct net_stack *stack;
    uint64_t paddr; /* of data */
    uint32_t seq;   /* TCP beyond a gap: sequence number of data[0] */
    uint32_t len;
    uint32_t begin; /* TCP: first byte of data that is still wanted */
    uint32_t pad;
    uint8_t data[];
};

#define BUF_DATA (BUF_SIZE - (uint32_t)sizeof(struct net_buf))

struct net_buf *buf_alloc(struct net_stack *s);
void buf_free(struct net_buf *b);

/* --------------------------------------------------------------------- arp */

enum neighbour_state {
    HOP_FREE,
    HOP_ASKED,  /* a request is out; frames may be held */
    HOP_USABLE, /* mac is known */
    HOP_PROBED, /* mac is known and being confirmed */
};

/* A station on the link. Connections point here: entries never move, and
   `gen` changes whenever `mac` or `ip` does. */
struct neighbour {
    uint32_t ip; /* network order */
    uint32_t gen;
    uint8_t mac[6];
    uint8_t state; /* enum neighbour_state */
    uint8_t tries; /* requests sent in this state */
    uint8_t used;  /* since it was last confirmed */
    uint8_t held;  /* frames waiting for it */
    uint64_t seen_ns;
    struct net_timer timer;
    struct net_stack *stack;
};

#define HELD_MAX 16u /* frames waiting for addresses, in all */
#define HELD_PER_HOP                                                           \
    4u /* and for one station (RFC 1122 s2.3.2.2: at least 1) */

struct held_frame {
    struct neighbour *hop; /* NULL: free */
    uint32_t order;
    struct net_frame frame;
    uint8_t hdr[NET_HDR_MAX];
};

/* -------------------------------------------------------------------- stack */

struct tcp_half;
struct tcp_wait;

/* Rate limit: `tokens` refill by one each `period_ns`, up to `burst`. */
struct limiter {
    uint64_t next_ns;
    uint32_t tokens, burst;
    uint64_t period_ns;
};

#define TCP_KNOWN 1024u /* a power of two */

struct tcp_tables {
    struct tcp_conn **conn;
    struct tcp_half **half;
    struct tcp_wait **wait;
    uint32_t conn_mask, half_mask, wait_mask;
    struct tcp_half *half_free;
    struct tcp_wait *wait_free;
    struct tcp_wait *wait_first, **wait_last; /* oldest first */
    struct tcp_listener *listeners;
    struct tcp_conn *out_first, **out_last; /* work for net_flush */
    struct net_timer wait_timer;
    uint64_t cookies_until_ns; /* cookies we sent may come back till then */
    uint64_t hash_key[2];      /* of the tables */
    struct siphash_key secret; /* of ISNs, cookies, timestamp offsets */
    struct limiter resets;
    struct limiter syn_acks;       /* a handshake that completes gives back */
    struct limiter syn_acks_known; /* the same, for peers that once did */
    uint32_t known[TCP_KNOWN];     /* hashes of such peers; 0: none */
};

struct net_stack {
    struct net_link *link;
    uint64_t now_ns;
    uint32_t now_ms; /* the timestamp clock (RFC 7323 s5.4) */
    uint32_t flags;
    uint32_t ip;        /* ours, network order; 0: none */
    uint32_t mask;      /* network order */
    uint32_t broadcast; /* directed broadcast of our network; 0: none */
    uint32_t gateway;   /* 0: none */
    uint16_t mtu;
    uint16_t port_lo, port_hi;
    uint16_t ip_id;
    uint8_t mac[6];
    bool blocked;    /* the link had no room during the last flush */
    bool flush_link; /* frames were given to it since its flush */

    struct neighbour *hops;
    uint32_t hop_mask;
    uint32_t held_order;
    uint32_t probe_ip;    /* address being checked for other users */
    bool probe_conflict;  /* somebody has it */
    uint64_t defended_ns; /* when we last announced against a conflict */
    struct held_frame *held;

    struct udp_port *udp;
    struct net_away *away; /* ports of other stacks */
    struct net_buf *bufs;
    uint32_t buf_count; /* of the pool, free or not */
    uint32_t ooo_bufs;  /* of them, those with TCP data beyond gaps */
    uint32_t ooo_bufs_conn;
    struct limiter icmp_errors;
    uint64_t random_count;
    struct siphash_key random_key;

    struct tcp_tables tcp;
    struct net_stats stats;
    struct wheel wheel;
};

/* A received IPv4 packet that passed the checks of ip.c. */
struct ip_packet {
    const uint8_t *hdr; /* IPv4 header */
    const uint8_t *l4;
    uint32_t len; /* bytes at l4 */
    uint32_t src, dst;
    uint8_t proto;
    bool sum_ok;    /* L4 checksum vouched for */
    bool broadcast; /* by its link or IP destination */
};

/* Whether the port is one that another stack serves; counts it. */
bool net_is_away(struct net_stack *s, uint32_t proto, uint16_t port);

/* Unpredictable bits. */
uint64_t net_random(struct net_stack *s);
bool limiter_take(struct limiter *l, uint64_t now_ns);

/* True for the IPv4-mapped form. */
static inline bool addr_is_v4(const struct net_addr *a)
{
    return a->half[0] == 0 && a->word[2] == 0xffff0000;
}

static inline struct net_addr addr_of_v4(uint32_t be)
{
    return (struct net_addr){.word = {0, 0, 0xffff0000, be}};
}

static inline bool ip_is_multicast(uint32_t be)
{
    return (be & 0xf0) == 0xe0;
}

/* Give the frame to the link; counts it and its pin. 0 or -NET_E_AGAIN. */
int frame_send(struct net_stack *s, const struct net_frame *f);

void arp_input(struct net_stack *s, const uint8_t *p, size_t len);
void arp_init(struct net_stack *s);
void arp_announce(struct net_stack *s);

/* Ask who has `ip` before it is ours; s->probe_conflict tells whether somebody
   answered since. 0 ends it. */
void arp_probe(struct net_stack *s, uint32_t ip);

/* Forget who is where: our network changed. */
void arp_clear(struct net_stack *s);

/* The station that leads to `dst`, resolving it if need be; NULL: no route. Not
   for broadcasts. */
struct neighbour *arp_route(struct net_stack *s, uint32_t dst);

/* Send to the station `hop`: fills the Ethernet header at hdr[0..13], or holds
   the frame until the address is known. `hdr` is f->hdr, writable. */
int arp_send(struct net_stack *s, struct neighbour *hop, struct net_frame *f,
             uint8_t *hdr);

void ip_input(struct net_stack *s, const uint8_t *p, size_t len, uint32_t flags,
              bool link_broadcast);

/*
 * Complete and send a frame whose L4 header is in place at hdr[34..] and
 * whose hdr_len and body_len are set: fills IPv4 and Ethernet. src 0: our
 * address. 0, -NET_E_ROUTE or -NET_E_AGAIN.
 */
int ip_send(struct net_stack *s, struct net_frame *f, uint8_t *hdr,
            uint32_t dst, uint32_t proto);

/* The sum over the pseudo header; `len` is that of L4 header and data. */
uint16_t ip_pseudo_sum(uint32_t src, uint32_t dst, uint32_t proto,
                       uint32_t len);

void icmp_input(struct net_stack *s, const struct ip_packet *p);
void icmp_unreachable(struct net_stack *s, const struct ip_packet *p,
                      uint32_t code);

void udp_input(struct net_stack *s, const struct ip_packet *p);

/* tcp */
size_t tcp_tables_size(const struct net_config *cfg);
void tcp_tables_init(struct net_stack *s, void *mem,
                     const struct net_config *cfg);
void tcp_input(struct net_stack *s, const struct ip_packet *p);
void tcp_flush(struct net_stack *s);

/* ICMP quotes a segment of ours, with at least 8 bytes of its TCP header. */
void tcp_icmp(struct net_stack *s, uint32_t code, uint32_t mtu, uint32_t remote,
              const uint8_t *l4);
