/* SPDX-License-Identifier: MIT */
/*
 * TCP (RFC 9293) as a protocol state machine without buffer policy.
 *
 * The engine keeps no bytes to send: a stream is numbered from 0, the user
 * says how much of it exists (tcp_send_limit), and whenever the engine sends
 * or sends again it asks where those bytes are (ops->gather). It keeps no
 * bytes received either, except behind a gap, in the stack's bounded pool.
 *
 * Connections live in the user's memory and are lent to the engine from
 * ops->accept or tcp_connect until ops->closed. Any call below may be made
 * from any callback. Nothing is sent, and closed is not called, before the
 * next net_flush; so what a callback queues travels with the ACK it owes, and
 * the FIN of tcp_finish with the last bytes.
 */
#pragma once

#include "libos/libos/net.h"
#include "libos/libos/tcp_conn.h"

/*
 * What gather found. Pieces must together hold exactly the number of bytes it
 * returns.
 *
 * sum        with sum_known, the partial sum (csum.h) of exactly those bytes.
 *            Worth giving when need_sum is set: otherwise the engine reads
 *            every byte through va, or the device sums
 * pin        kept in place while the device reads; may be NULL
 */
struct tcp_gather {
    struct net_piece piece[NET_PIECES_MAX];
    uint32_t count;
    struct net_pin *pin;
    uint16_t sum;
    bool sum_known; /* false when gather is called */
    bool need_sum;  /* told by the engine: the link does not sum */
};

enum tcp_reason {
    TCP_DONE,        /* both ends finished; TIME_WAIT is kept elsewhere */
    TCP_ABORTED,     /* tcp_abort */
    TCP_RESET,       /* by the peer */
    TCP_REFUSED,     /* our SYN was answered by a reset */
    TCP_TIMEOUT,     /* no answer to data, probes or keep-alives */
    TCP_UNREACHABLE, /* no route, or ICMP said so before it was open */
    TCP_CROWDED,     /* its place was needed: see struct tcp_room */
};

/*
 * What the user does. Optional members may be NULL.
 *
 * accept       a handshake on listener `l` is complete: return memory for the
 *              connection, or NULL to let the peer try again. `peer` is a
 *              copy. The engine overwrites all of it
 * established  it is open; `c` came from accept or tcp_connect
 * gather       fill `g` with bytes [offset, offset + len) of the stream, at
 *              least one and at most len; all of them were announced and none
 *              acknowledged. Returns their number. Fewer make shorter
 *              segments. 0: not at hand (on disk); call tcp_ready later.
 *              May call nothing here but tcp_abort
 * received     `len` bytes in order; valid during the call. Returns how many
 *              it took: the rest is forgotten and the peer sends it again,
 *              so announce no window (tcp_receive_window) that you will not
 *              take
 * finished     the peer will send no more; optional
 * acked        everything below `upto` has arrived: never asked for again;
 *              optional
 * urgent       the peer marked bytes up to `upto` (an offset in what is
 *              received) as urgent; they are delivered in line; optional
 * closed       the engine forgets `c`: its memory is the user's. Frames that
 *              still read from pieces are told by their pin
 */
struct tcp_ops {
    struct tcp_conn *(*accept)(struct tcp_listener *l,
                               const struct net_endpoint *peer);
    void (*established)(struct tcp_conn *c);
    uint32_t (*gather)(struct tcp_conn *c, uint64_t offset, uint32_t len,
                       struct tcp_gather *g);
    uint32_t (*received)(struct tcp_conn *c, const void *data, uint32_t len);
    void (*finished)(struct tcp_conn *c);
    void (*acked)(struct tcp_conn *c, uint64_t upto);
    void (*urgent)(struct tcp_conn *c, uint64_t upto);
    void (*closed)(struct tcp_conn *c, enum tcp_reason why);
};

/*
 * Places for connections that listeners share, and who may keep one. A service
 * without this has a shut door as soon as as many strangers as it has memory
 * for do nothing.
 *
 * Progress is that bytes came in order or were acknowledged. Who made none for
 * idle_ns is reset. When places run out, a newcomer takes that of who made none
 * for longest, if that is long enough: among those that have acknowledged
 * something and owe nothing, else among all. If nobody gives way, SYNs are
 * dropped, so that their senders come back.
 *
 * Zeroed, and set above the line, before the first tcp_listen; lives as long as
 * connections of its listeners.
 */
struct tcp_room {
    uint32_t max;       /* connections at a time; 0: as accept decides */
    uint64_t idle_ns;   /* limit of all; 0: none. TCP_TIMEOUT */
    uint64_t served_ns; /* before who has acknowledged all gives way */
    uint64_t fresh_ns;  /* and who has acknowledged nothing yet */
    uint64_t stall_ns;  /* and who was sent what it does not acknowledge */
    /* ---- private ---- */
    uint32_t count;
    uint64_t full_until_ns;
    struct tcp_link fresh, served;
};

/*
 * A port that accepts. The user owns the memory from tcp_listen to
 * tcp_unlisten and sets the fields above the line.
 */
struct tcp_listener {
    const struct tcp_ops *ops;
    const struct tcp_cc_ops *cc; /* NULL: NewReno */
    uint16_t port;
    uint16_t options;      /* TCP_NAGLE ... for its connections */
    uint32_t window;       /* receive window they begin with, bytes */
    uint32_t half_open;    /* handshakes under way before cookies; 0: no limit
                              but the stack's */
    struct tcp_room *room; /* NULL: no limits */
    /* ---- private ---- */
    uint32_t half_count;
    struct net_stack *stack;
    struct tcp_listener *next;
};

/* Returns 0, -NET_E_RANGE (port 0, no ops, window above 2^30 - 2^14) or
   -NET_E_USED. */
int tcp_listen(struct net_stack *s, struct tcp_listener *l);

/* Connections that were accepted go on; handshakes under way are forgotten. */
void tcp_unlisten(struct tcp_listener *l);

/*
 * Open a connection from `port` (0: any free one) to `to`. Set up with
 * NewReno, no options and a window of 64 KiB; change with the calls below, the
 * window before the next flush if it is to be larger.
 * Returns 0, -NET_E_ROUTE, -NET_E_USED or -NET_E_RANGE.
 */
int tcp_connect(struct net_stack *s, struct tcp_conn *c,
                const struct tcp_ops *ops, const struct net_endpoint *to,
                uint16_t port);

/* The stream has bytes up to offset `upto`; never less than before. It may
   lie far beyond what could be gathered now. No effect after tcp_finish. */
void tcp_send_limit(struct tcp_conn *c, uint64_t upto);

/* Nothing follows the limit: FIN rides on the last bytes. Receiving goes on. */
void tcp_finish(struct tcp_conn *c);

/* Hold back less than a full segment until uncorked, finished, or more comes:
   for a user who is about to append. */
void tcp_cork(struct tcp_conn *c, bool on);

/* Bytes that gather returned 0 for may be asked for again. */
void tcp_ready(struct tcp_conn *c);

/* Mark bytes up to offset `upto` urgent (RFC 9293 s3.8.5; new users should
   not). */
void tcp_send_urgent(struct tcp_conn *c, uint64_t upto);

/* From now on the user takes up to `bytes` beyond what was delivered. In
   received: beyond what that call returns. What was promised stays. */
void tcp_receive_window(struct tcp_conn *c, uint32_t bytes);

/* End it with a reset. closed(TCP_ABORTED) follows at the next flush. */
void tcp_abort(struct tcp_conn *c);

/* The user is at work on what the peer sent: the wait is not the peer's, and
   its room counts none. Ending it is progress. */
void tcp_hold(struct tcp_conn *c, bool on);

/* TCP_NAGLE ..., see tcp_conn.h. */
void tcp_set_options(struct tcp_conn *c, uint16_t options);

/* Give up after `ns` without an answer to data or probes; 0: the default,
   RFC 9293 s3.8.3's at least 100 s. */
void tcp_set_timeout(struct tcp_conn *c, uint64_t ns);

/* Take another congestion control; at any time. */
void tcp_set_cc(struct tcp_conn *c, const struct tcp_cc_ops *cc);

/* Bytes of stream that are announced and not yet acknowledged. */
uint64_t tcp_unacked(const struct tcp_conn *c);
