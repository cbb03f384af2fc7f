/* SPDX-License-Identifier: MIT */
/*
 * The inside of TCP. One file per idea:
 *
 *     tcp_seg.c     a segment arrives: parsed, checked, given to its owner
 *     tcp_listen.c  handshakes of others: half-open records, SYN cookies
 *     tcp_in.c      a segment on a connection (RFC 9293 s3.10.7)
 *     tcp_ack.c     what an acknowledgement says: RTT, SACK, loss, recovery
 *     tcp_rcv.c     data: in order, beyond a gap, FIN, our window
 *     tcp_send.c    what may be sent now
 *     tcp_out.c     how a segment is put together
 *     tcp_timer.c   what happens when nothing happens
 *     tcp_wait.c    TIME_WAIT records
 *     tcp_room.c    places for connections: limits, and who goes
 *     tcp_cc.c      congestion control
 *     tcp.c         the calls of tcp.h, tables, life and death
 *
 * Section numbers without a name are those of RFC 9293.
 */
#pragma once

#include "libos/net/stack.h"

enum ca_state {
    CA_OPEN,
    CA_RECOVERY, /* a loss was found by ACKs; ends when `recover` is acked */
    CA_LOSS,     /* the timer fired: all below `recover` is sent again */
};

/* tcp_conn.flags */
#define CF_QUEUED 0x1u     /* on the list of net_flush */
#define CF_DEAD 0x2u       /* forgotten; ops->closed is due */
#define CF_SEND_RST 0x4u   /* and a reset before it */
#define CF_ACK_NOW 0x8u    /* an ACK must go out with this flush */
#define CF_ACK_LATER 0x10u /* an ACK is owed */
#define CF_FIN 0x20u       /* the stream ends at `limit` */
#define CF_CORK 0x40u
#define CF_TS 0x80u         /* RFC 7323 timestamps agreed */
#define CF_SACK 0x100u      /* RFC 2018 agreed */
#define CF_FIN_SEEN 0x200u  /* fin_seq is valid */
#define CF_FIN_TAKEN 0x400u /* and everything up to it was delivered */
#define CF_REXMIT 0x800u    /* send the segment at snd_una again now */
#define CF_PERSIST 0x1000u  /* t_rexmit paces window probes */
#define CF_PROBE 0x2000u    /* send a window probe now */
#define CF_KEEP 0x4000u     /* send a keep-alive probe now */
#define CF_FULL 0x8000u     /* cwnd was what stopped us last */
#define CF_NO_DATA 0x10000u /* gather returned 0; tcp_ready clears */
#define CF_SYN 0x20000u     /* SYN or SYN-ACK is due */
#define CF_RESCUED 0x40000u /* RFC 6675 RescueRxt was used */
#define CF_NO_DF 0x80000u   /* the path is narrower than we cut */
#define CF_BIG 0x100000u    /* big_seq is valid */
#define CF_URG_OUT 0x200000u
#define CF_DELIVER 0x400000u   /* held data may be delivered */
#define CF_SYN_AGAIN 0x800000u /* our SYN was sent more than once */
#define CF_HOLD 0x1000000u     /* the user is at work on it */

#define TCP_RTO_FIRST_US 1000000u /* RFC 6298 s2.1 */
#define TCP_RTO_LATE_US 3000000u  /* RFC 6298 s5.7 */
/* RFC 6298 s2.4 asks for a second "SHOULD"; every stack in use takes less,
   because clocks are finer than when that was written and ACKs are delayed by
   less. This is above any delayed ACK timer in use. */
#define TCP_RTO_MIN_US 200000u
#define TCP_RTO_MAX_US 60000000u
#define TCP_DELACK_NS (40 * NS_PER_MS)
#define TCP_KEEP_IDLE_NS (7200 * NS_PER_S) /* s3.8.4: at least two hours */
#define TCP_KEEP_GAP_NS (75 * NS_PER_S)
#define TCP_KEEP_PROBES 9u
#define TCP_FIN_WAIT_NS (60 * NS_PER_S)
#define TCP_WAIT_NS (60 * NS_PER_S)         /* 2 MSL with an MSL of 30 s */
#define TCP_TIMEOUT_NS (120 * NS_PER_S)     /* s3.8.3: R2 at least 100 s */
#define TCP_SYN_TIMEOUT_NS (180 * NS_PER_S) /* s3.8.3: at least 3 minutes */
#define TCP_CHALLENGE_NS (NS_PER_S / 4)     /* RFC 5961 s7, per connection */
#define TCP_SYN_ACKS 1000u                  /* a second, net_config.syn_acks */
#define TCP_MSS_DEFAULT 536u                /* s3.7.1 */
#define TCP_MSS_MIN 88u   /* a peer that asks for less costs more than it may */
#define TCP_SCALE_MAX 14u /* RFC 7323 s2.3 */
#define TCP_NO_SCALE 0xffu
#define TCP_WINDOW_MAX (65535u << TCP_SCALE_MAX) /* RFC 7323 s2.3 */
#define TCP_DUP_THRESH 3u
#define TCP_IP_HDR (IP_LEN + TCP_LEN)

struct tcp_key {
    struct net_addr remote, local;
    uint16_t remote_port, local_port;
};

/* A received segment in the host's byte order. */
struct tcp_seg {
    struct tcp_key key;
    uint32_t seq, ack, wnd;
    uint32_t len; /* of data */
    const uint8_t *data;
    uint8_t flags; /* TH_* */
    uint8_t scale; /* TCP_NO_SCALE: not offered */
    uint8_t sack_count;
    bool has_ts, sack_ok;
    uint16_t up;
    uint16_t mss; /* 0: not offered */
    uint32_t tsval, tsecr;
    uint32_t isn_floor; /* with isn_bound: our ISN must lie beyond */
    bool isn_bound;
    struct tcp_range sack[4];
};

/* A handshake under way with a peer that called us. */
struct tcp_half {
    struct tcp_half *next;
    struct tcp_key key;
    struct tcp_listener *l;
    struct net_stack *stack;
    struct net_timer timer;
    uint64_t sent_ns; /* the SYN-ACK; 0: more than once, or a cookie */
    uint32_t iss, irs, ts_recent, ts_offset;
    uint16_t mss;
    uint8_t scale;
    bool has_ts, sack_ok;
    bool waits; /* complete, but there was no place */
    uint8_t tries;
};

/* What is left of a connection that we closed first. */
struct tcp_wait {
    struct tcp_wait *next;             /* in the hash chain, or free */
    struct tcp_wait *later, **earlier; /* by expiry */
    struct tcp_key key;
    uint64_t until_ns;
    uint32_t snd_nxt, rcv_nxt, ts_recent, ts_offset;
    uint16_t wnd; /* as it goes into the header */
    bool has_ts;
};

/* A segment that belongs to no connection. */
struct tcp_say {
    struct tcp_key key;
    uint32_t seq, ack;
    uint32_t flags;
    uint16_t wnd;
    uint16_t mss;  /* 0: none of the SYN's options */
    uint8_t scale; /* TCP_NO_SCALE: not offered */
    bool sack_ok, has_ts;
    uint32_t tsval, tsecr;
};

static inline bool seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool seq_leq(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The stream offset of a sequence number at or after snd_una. */
static inline uint64_t offset_of(const struct tcp_conn *c, uint32_t seq)
{
    return c->una_off + (seq - c->snd_una);
}

/*
 * The sequence number of a segment without data. Normally snd_nxt; but after a
 * probe of a closed window, or when the window shrank, that lies outside the
 * peer's window and the peer would drop what we say.
 */
static inline uint32_t acceptable_seq(const struct tcp_conn *c)
{
    uint32_t edge = c->snd_una + c->snd_wnd;

    return seq_leq(c->snd_nxt, edge) ? c->snd_nxt : edge;
}

static inline bool key_eq(const struct tcp_key *a, const struct tcp_key *b)
{
    return a->remote_port == b->remote_port && a->local_port == b->local_port &&
           net_addr_eq(&a->remote, &b->remote) &&
           net_addr_eq(&a->local, &b->local);
}

/* tcp.c */
uint32_t tcp_hash(const struct net_stack *s, const struct tcp_key *k);
struct tcp_conn *tcp_find(struct net_stack *s, const struct tcp_key *k);
void tcp_conn_init(struct tcp_conn *c, struct net_stack *s,
                   const struct tcp_ops *ops, const struct tcp_key *k);
void tcp_conn_insert(struct tcp_conn *c);
void tcp_queue(struct tcp_conn *c);

/* Take from every list and tell the user at the end of the flush. */
void tcp_kill(struct tcp_conn *c, enum tcp_reason why);

/* Bytes of stream in a segment of this path, after the options we always
   send. */
void tcp_set_mtu(struct tcp_conn *c, uint32_t mtu);

/* The smallest shift by which a window of `bytes` fits in 16 bits. */
uint8_t tcp_scale_for(uint32_t bytes);

/* The initial sequence number of RFC 6528 s3. */
uint32_t tcp_isn(const struct net_stack *s, const struct tcp_key *k);
uint32_t tcp_ts_offset(const struct net_stack *s, const struct tcp_key *k);

/* tcp_listen.c */
void tcp_listen_input(struct net_stack *s, const struct tcp_seg *g);
bool tcp_half_input(struct net_stack *s, const struct tcp_seg *g);
struct tcp_listener *tcp_listener_at(struct net_stack *s, uint16_t port);

/* tcp_in.c */
void tcp_conn_input(struct tcp_conn *c, const struct tcp_seg *g);

/* Header prediction: true when the segment at `h` was all that was expected
   and is done with. */
bool tcp_fast_input(struct tcp_conn *c, const uint8_t *h, uint32_t len);
void tcp_established(struct tcp_conn *c);

/* Send an ACK that was provoked, at a limited rate (RFC 5961 s7). */
void tcp_challenge(struct tcp_conn *c);

/* tcp_ack.c */
void tcp_acked(struct tcp_conn *c, uint32_t ack);
void tcp_dup_ack(struct tcp_conn *c, bool news);
void tcp_recovery_done(struct tcp_conn *c);
bool tcp_sack_input(struct tcp_conn *c, const struct tcp_seg *g);
void tcp_rtt_sample(struct tcp_conn *c, uint64_t rtt_ns);
uint32_t tcp_pipe(const struct tcp_conn *c);
uint32_t tcp_lost_edge(const struct tcp_conn *c);

/* The first byte at or after `seq` that was not selectively acknowledged, and
   where that stretch ends. */
struct tcp_range tcp_hole(const struct tcp_conn *c, uint32_t seq);

/* tcp_rcv.c */
void tcp_data(struct tcp_conn *c, const struct tcp_seg *g);
uint32_t tcp_deliver(struct tcp_conn *c, const uint8_t *data, uint32_t len);
void tcp_deliver_held(struct tcp_conn *c);
void tcp_held_free(struct tcp_conn *c);
void tcp_take_fin(struct tcp_conn *c);
uint16_t tcp_window(struct tcp_conn *c);
uint32_t tcp_put_sack(const struct tcp_conn *c, uint8_t *opt);

/* tcp_send.c */
int tcp_output(struct tcp_conn *c);

/* tcp_out.c */
struct tcp_frame {
    uint32_t seq, flags;
    struct net_frame f;
    uint16_t sum; /* of the pieces, when the link does not sum */
};
int tcp_emit(struct tcp_conn *c, struct tcp_frame *t);
uint32_t tcp_option_space(const struct tcp_conn *c);
void tcp_template(struct tcp_conn *c);
int tcp_say(struct net_stack *s, const struct tcp_say *m);
void tcp_refuse(struct net_stack *s, const struct tcp_seg *g);
int tcp_emit_syn(struct tcp_conn *c);

/* tcp_room.c */
void tcp_room_init(struct tcp_room *r);
void tcp_room_enter(struct tcp_conn *c, struct tcp_room *r);

/* The peer acknowledged the first byte that it was sent. */
void tcp_room_served(struct tcp_conn *c);

/* Nobody will look for it any more; then, its memory is the user's again. */
void tcp_room_leaving(struct tcp_conn *c);
void tcp_room_left(struct tcp_conn *c);

/* End the connection that was longest without progress, if that is long
   enough; false: nobody gives way. */
bool tcp_room_make(struct net_stack *s, struct tcp_room *r);

/* No place, and nobody would give way a moment ago. r may be NULL. */
bool tcp_room_full(const struct net_stack *s, const struct tcp_room *r);

/* A sixteenth of the places or less is left. r may be NULL. */
bool tcp_room_scarce(const struct tcp_room *r);

/* When it has been without progress for too long; 0: never. */
uint64_t tcp_room_limit(const struct tcp_conn *c);

/* tcp_timer.c */
void tcp_arm(struct tcp_conn *c);
void tcp_fire(struct net_timer *t, struct net_stack *s);
void tcp_rexmit_start(struct tcp_conn *c);
uint64_t tcp_rto_ns(const struct tcp_conn *c);

/* Everything in flight is to be sent again. */
void tcp_go_back(struct tcp_conn *c);

/* tcp_wait.c */
void tcp_wait_begin(struct tcp_conn *c);
bool tcp_wait_input(struct net_stack *s, struct tcp_seg *g);
bool tcp_wait_has(struct net_stack *s, const struct tcp_key *k);
void tcp_wait_fire(struct net_timer *t, struct net_stack *s);
