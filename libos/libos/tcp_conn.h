/* SPDX-License-Identifier: MIT */
/*
 * A connection's state, so that users can embed it. Read `local`, `remote`,
 * `state` and what congestion control needs; the engine alone writes, except
 * cc operations, which write the fields said to be theirs.
 *
 * Sequence numbers are 32 bits and compared modulo 2^32; stream offsets are 64
 * bits, 0 being the first byte after SYN; una_off ties the two together. FIN
 * counts as one byte at the offset where the stream ends.
 */
#pragma once

#include "libos/libos/net.h"
#include "libos/libos/timer.h"

struct net_buf;
struct tcp_conn;
struct tcp_room;
struct tcp_listener;
struct tcp_ops;
struct neighbour;

/* RFC 9293 s3.3.2, except LISTEN, which is a tcp_listener, and TIME_WAIT,
   which is a record of a few words in the stack. */
enum tcp_state {
    TCP_CLOSED,
    TCP_SYN_SENT,
    TCP_SYN_RECEIVED, /* after a simultaneous open only */
    TCP_ESTABLISHED,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_LAST_ACK,
};

/* Options of a connection, masks. */
#define TCP_NAGLE 0x1u     /* RFC 9293 s3.7.4; off by default: cork instead */
#define TCP_KEEPALIVE 0x2u /* probe an idle peer, RFC 9293 s3.8.4 */
#define TCP_LINGER 0x4u    /* keep FIN_WAIT_2 for ever, not for a minute */

#define TCP_SACK_MAX 12 /* ranges the sender remembers as received */
#define TCP_TEMPLATE 66 /* Ethernet 14, IPv4 20, TCP 20, timestamps 12 */

struct tcp_link {
    struct tcp_link *next, *prev;
};

struct tcp_range {
    uint32_t begin, end; /* sequence numbers, end exclusive */
};

/*
 * Congestion control. Loss detection and recovery (RFC 6675, 6582, 6298) are
 * the engine's; this decides how much may be in flight. Called with c->cwnd,
 * c->ssthresh and c->mss in bytes, and c->cc_state as room of its own.
 *
 * start   the handshake is complete, or the connection was idle for longer
 *         than the retransmission timeout: set cwnd; ssthresh at first start
 * acked   `bytes` of new data were acknowledged outside of recovery: may
 *         raise cwnd
 * lost    a loss was found; `timeout`: by the retransmission timer. `flight`
 *         bytes were under way. Sets ssthresh; the engine sets cwnd
 */
struct tcp_cc_ops {
    const char *name;
    void (*start)(struct tcp_conn *c, bool restart);
    void (*acked)(struct tcp_conn *c, uint32_t bytes);
    void (*lost)(struct tcp_conn *c, uint32_t flight, bool timeout);
};

extern const struct tcp_cc_ops tcp_newreno; /* RFC 5681, 3465, 6928 */

struct tcp_conn {
    /* Looked at for every segment. */
    struct tcp_conn *hash_next;
    struct net_addr remote, local;
    uint16_t remote_port, local_port;
    uint8_t state;      /* enum tcp_state */
    uint8_t ca_state;   /* enum ca_state: open, recovery, loss */
    uint16_t options;   /* TCP_NAGLE ... */
    uint32_t flags;     /* CF_* of tcp_impl.h */
    uint32_t rcv_nxt;   /* next byte expected */
    uint32_t rcv_adv;   /* right edge of the window we announced */
    uint32_t rcv_space; /* what the user takes beyond rcv_nxt, bytes */
    uint32_t rcv_most;  /* the largest rcv_space so far */
    uint32_t snd_una, snd_nxt, snd_max; /* max: highest ever sent, plus 1 */
    uint32_t snd_wnd, snd_wl1, snd_wl2; /* RFC 9293 s3.3.1 */
    uint32_t cwnd, ssthresh;            /* bytes; cc's */
    uint16_t mss;                       /* bytes of stream in a full segment */
    uint16_t mss_peer;                  /* what its MSS option allows */
    uint32_t ts_recent, ts_offset;      /* RFC 7323: theirs; added to ours */
    uint32_t last_ack_sent;
    uint64_t una_off;  /* stream offset of snd_una */
    uint64_t limit;    /* bytes of stream that exist */
    uint64_t rcv_off;  /* stream offset of rcv_nxt */
    uint64_t moved_ns; /* last progress: bytes came, or were acknowledged */
    struct net_stack *stack;
    const struct tcp_ops *ops;
    struct tcp_conn *out_next; /* in the list net_flush works through */

    /* Its place, if its listener has a room. */
    struct tcp_room *room;
    struct tcp_link place;
    uint64_t placed_ns; /* moved_ns when it was put in its place */

    /* Timers: deadlines in ns, 0: off. The wheel's entry may be earlier than
       all of them, so that moving one is a store. */
    struct net_timer timer;
    uint64_t t_rexmit, t_delack, t_idle;
    uint64_t heard_ns;   /* last segment from the peer */
    uint64_t sent_ns;    /* last data we sent */
    uint64_t stuck_ns;   /* since when nothing is answered */
    uint64_t timeout_ns; /* give up after this */
    uint64_t rtt_ns;     /* the timed segment left then; 0: none */
    uint32_t rtt_seq;    /* its end */
    uint32_t srtt_us, rttvar_us, rto_us;
    uint16_t backoff;   /* doublings of rto */
    uint16_t probes;    /* keep-alives unanswered */
    uint64_t limit_ns;  /* no challenge ACK before this (RFC 5961 s7) */
    uint64_t ts_age_ns; /* when ts_recent was set */

    /* Loss recovery. */
    uint32_t dup_acks;
    uint32_t recover;    /* RFC 6582: recovery ends when this is acknowledged */
    uint32_t high_rxt;   /* RFC 6675 HighRxt, as an exclusive end */
    uint32_t acked_part; /* bytes counted towards the next cwnd step; cc's */
    uint32_t max_wnd;    /* largest window the peer ever announced */
    uint32_t sack_count;
    struct tcp_range sack[TCP_SACK_MAX]; /* ascending, disjoint */

    /* Receiving beyond a gap. */
    struct net_buf *ooo; /* ascending */
    uint32_t ooo_count;
    uint32_t ooo_recent[4]; /* begins of blocks, latest first (RFC 2018 s4) */
    uint32_t fin_seq;       /* where the peer's FIN is, once seen */
    uint32_t snd_up;        /* end of what is urgent, exclusive */
    uint64_t urgent_off;    /* the same of what is received, as an offset */

    /* Path. */
    uint16_t mtu, mtu_claimed; /* RFC 5927 s7: claimed, not yet believed */
    uint64_t mtu_off;          /* stream offset of what ICMP quoted */
    uint64_t big_off;          /* end of the first full segment of this mtu */
    struct neighbour *hop;
    uint32_t hop_gen;      /* the template holds hop's address of then */
    uint16_t tmpl_ip_sum;  /* sum of the IPv4 header without its length */
    uint16_t tmpl_tcp_sum; /* of the pseudo header without its length */
    uint8_t tmpl_len;
    uint8_t snd_scale, rcv_scale;
    uint8_t reason;  /* enum tcp_reason, once dead */
    uint8_t ack_due; /* full segments received since the last ACK */
    uint32_t iss, irs;
    uint8_t tmpl[TCP_TEMPLATE];
    uint64_t cc_state[4];
    const struct tcp_cc_ops *cc;
};
