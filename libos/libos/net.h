/* SPDX-License-Identifier: MIT */
/*
 * A network stack as an object: one interface, its addresses, and the
 * protocols above it. An environment makes as many as it likes; they share
 * nothing. The stack allocates nothing, reads no clock and starts no thread:
 * its user gives memory, time and frames, and takes frames.
 *
 * One turn of the user's loop:
 *
 *     net_tick(stack, now);                   time, once per batch
 *     while (a frame is in the receive ring)
 *         net_input(stack, frame, len, flags);
 *     net_flush(stack);                       everything is sent here
 *     sleep until net_deadline(stack), a frame, or a transmit completion
 *
 * Input only notes what has to be said; net_flush says it. So the ACK of a
 * request rides on the response that the user made meanwhile, many ACKs
 * become one, and a batch of frames costs one call to the kernel.
 *
 * Errors: 0 or a count on success, -NET_E_* on failure; a failed call changes
 * nothing. Nothing here may be entered by two processors at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libos/libos/netstat.h"

enum {
    NET_E_AGAIN = 1, /* no room now; try at the next net_flush */
    NET_E_MEM,       /* the memory that was given is used up */
    NET_E_USED,      /* the port, address or connection is taken */
    NET_E_RANGE,     /* a number outside what the text allows */
    NET_E_ROUTE,     /* no address of ours, or no next hop */
    NET_E_STATE,     /* not in this state of the object */
    NET_E_SIZE,      /* larger than the link takes */
};

/*
 * An IPv6 address, or an IPv4 one mapped into it, ::ffff:a.b.c.d
 * (RFC 4291 s2.5.5.2). Bytes in network order. All zero: none, or any.
 */
struct net_addr {
    union {
        uint8_t byte[16];
        uint32_t word[4];
        uint64_t half[2];
    };
};

struct net_endpoint {
    struct net_addr addr;
    uint16_t port; /* in the host's byte order, as everywhere in this API */
};

static inline struct net_addr net_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct net_addr){
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}}};
}

static inline bool net_addr_eq(const struct net_addr *a,
                               const struct net_addr *b)
{
    return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

/* ---------------------------------------------------------------- transmit */

/* A run of bytes, in place. */
struct net_piece {
    uint64_t paddr; /* what the device reads; the stack never looks at it */
    const void *va; /* the same bytes for software sums; may be NULL when the
                       link sums (NET_CAP_CSUM) or the user knows the sum */
    uint32_t len;
    bool copy; /* the link may copy them instead: va is set, and they are
                  few and stand still like the rest */
};

/*
 * Keeps bytes in place while frames refer to them. The stack counts a frame
 * in when it makes it; the link counts it out with net_pin_done when the
 * device has read it, or the stack itself when it drops the frame. Whoever
 * owns the bytes may change them only while in_flight is 0 (and, for TCP,
 * what has been acknowledged). May be shared by any number of frames.
 */
struct net_pin {
    uint32_t in_flight;              /* frames */
    void (*idle)(struct net_pin *p); /* in_flight fell to 0; may be NULL */
};

static inline void net_pin_done(struct net_pin *p)
{
    if (p && --p->in_flight == 0 && p->idle) {
        p->idle(p);
    }
}

#define NET_HDR_MAX 128 /* bytes of header in a frame, link header included */
#define NET_PIECES_MAX 7

enum net_gso { NET_GSO_NONE, NET_GSO_TCP4, NET_GSO_TCP6 };

/*
 * A frame to send: header bytes, then the pieces. Everything here is valid
 * during transmit only; the link copies the header and the piece list. With
 * csum_start > 0 the device sums from there to the end and puts the result at
 * csum_start + csum_offset, which holds the pseudo header's sum; the meaning
 * of these fields is that of virtio 1.x s5.1.6.2.
 */
struct net_frame {
    const uint8_t *hdr;
    uint16_t hdr_len;
    uint16_t csum_start;  /* 0: nothing to sum */
    uint16_t csum_offset; /* from csum_start */
    uint16_t gso_size;    /* payload bytes per packet when gso is set */
    uint8_t gso;          /* enum net_gso */
    uint8_t count;        /* pieces */
    uint32_t body_len;    /* bytes in all pieces */
    struct net_pin *pin;  /* tell it when the device is done; may be NULL */
    struct net_piece piece[NET_PIECES_MAX];
};

#define NET_CAP_CSUM 0x1u /* the device finishes TCP and UDP checksums */
#define NET_CAP_TSO4 0x2u /* and cuts TCP over IPv4; needs NET_CAP_CSUM */
#define NET_CAP_TSO6 0x4u

/*
 * The way out. Embedded in the object of whoever drives the ring.
 *
 * transmit  take the frame: 0, or -NET_E_AGAIN when there is no room
 * flush     the batch is complete: tell the kernel; may be NULL
 */
struct net_link {
    int (*transmit)(struct net_link *l, const struct net_frame *f);
    void (*flush)(struct net_link *l);
    uint32_t caps;    /* NET_CAP_* */
    uint32_t gso_max; /* largest body with gso, bytes */
    uint16_t mtu;     /* bytes after the Ethernet header, 576 to 9000 */
    uint8_t mac[6];
};

/* ------------------------------------------------------------------- stack */

#define NET_QUIET_ARP 0x1u  /* another stack answers ARP for this address */
#define NET_QUIET_ICMP 0x2u /* and echo requests; no ICMP errors are sent */
#define NET_NO_COOKIES 0x4u /* drop SYNs beyond the backlog instead */
#define NET_QUIET_TCP                                                          \
    0x8u /* send no RST for segments of no connection                          \
             (RFC 9293 s3.10.7.1): another stack receives                      \
             the same segments */

/*
 * What net_init is told. Counts are limits: memory for them is taken once.
 */
struct net_config {
    struct net_link *link;  /* outlives the stack */
    uint8_t entropy[32];    /* unguessable; secrets grow from it */
    uint64_t now_ns;        /* any monotonic clock, as in net_tick */
    uint32_t flags;         /* NET_QUIET_* ... */
    uint32_t conns;         /* connections to make lookup fast for */
    uint32_t half_open;     /* handshakes remembered before cookies begin */
    uint32_t time_wait;     /* TIME_WAIT records; the oldest makes room */
    uint32_t neighbours;    /* stations on the link to remember */
    uint32_t syn_acks;      /* SYN-ACKs a second that nothing answers; 0: the
                               default, 1,000 */
    uint16_t port_lo;       /* first and last port for connections we open; */
    uint16_t port_hi;       /* 0, 0: the range of RFC 6335 s6 */
    uint32_t ooo_bufs_conn; /* packet buffers one connection may hold for
                               data beyond a gap; all of them hold three
                               quarters of the pool at most; 0: none */
};

struct net_stack;

/* How much memory net_init needs for this configuration, in bytes. */
size_t net_size(const struct net_config *cfg);

/*
 * Make a stack in `mem`, which holds net_size(cfg) bytes aligned to 64.
 * Returns it, or NULL when a field of cfg is out of range. There is no
 * address yet: set one, or start DHCP.
 */
struct net_stack *net_init(void *mem, const struct net_config *cfg);

/*
 * Give packet memory: `len` bytes at `va`, physically contiguous from `paddr`,
 * both aligned to 2048. The stack keeps frames of its own in it (echo
 * replies, DHCP, udp_send_copy) and TCP data beyond a gap. May be called
 * again for more.
 */
void net_pool_add(struct net_stack *s, void *va, uint64_t paddr, size_t len);

/*
 * Use this address and announce it. prefix in bits; gateway all zero: none.
 * Returns 0 or -NET_E_RANGE.
 */
int net_set_v4(struct net_stack *s, struct net_addr addr, uint32_t prefix,
               struct net_addr gateway);

/*
 * A port that another stack serves on our address. What comes here by accident
 * is not answered, since a reset or an ICMP error would end what the other has;
 * except a SYN in a header without options: who binds a port gets that, so the
 * port is not bound yet, and it is refused like any other.
 */
struct net_away {
    uint8_t proto; /* of IPv4: 6 or 17 */
    uint16_t port;
    /* ---- private ---- */
    struct net_away *next;
};

/* The user owns the memory from add to remove. */
void net_away_add(struct net_stack *s, struct net_away *a);
void net_away_remove(struct net_stack *s, struct net_away *a);

/* Our address; all zero when there is none. */
struct net_addr net_addr_of(const struct net_stack *s);

#define NET_RX_SUM_OK                                                          \
    0x1u /* the device or a trusted peer vouches for the                       \
            TCP or UDP checksum (virtio DATA_VALID) */

/*
 * A frame has arrived, from its Ethernet header on, without FCS. The bytes
 * are read during the call only, and may be anything.
 */
void net_input(struct net_stack *s, const void *frame, size_t len,
               uint32_t flags);

/* It is `now_ns`: never less than before. Runs the timers that are due. */
void net_tick(struct net_stack *s, uint64_t now_ns);

/* Send what is due, tell users of connections that ended, flush the link. */
void net_flush(struct net_stack *s);

/* When net_tick and net_flush want to be called next; UINT64_MAX: never. */
uint64_t net_deadline(const struct net_stack *s);

/* Output waits for room in the link: flush after the next completion. */
bool net_blocked(const struct net_stack *s);

const struct net_stats *net_stats(const struct net_stack *s);
