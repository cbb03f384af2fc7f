/* SPDX-License-Identifier: MIT */
/*
 * A peer written by hand, for tests of the rules of the TCP specifications
 * one by one: a segment is injected, the answer is compared. It can do what no
 * TCP does. The stack is 10.0.0.1, the peer 10.0.0.2.
 */
#pragma once

#include <check.h>

#include "libos/tcp/tcp_impl.h"
#include "tests/unit/net/fakenet.h"

#define S 1000000000ull
#define MS 1000000ull
#define OUTS_MAX 2048 /* segments between two looks */
#define PEER_ISN 1000u
#define PORT 80u
#define PEER_PORT 5555u

#define A TH_ACK
#define AP (TH_ACK | TH_PSH)
#define AF (TH_ACK | TH_FIN)

/* A segment that the stack sent. */
struct out {
    uint32_t seq, ack, wnd, len, flags, up;
    uint32_t mss, tsval, tsecr, sacks;
    int scale;   /* -1: not offered */
    uint16_t id; /* of IPv4, whose don't-fragment is df */
    bool sack_ok, has_ts, icmp, df;
    struct tcp_range sack[4];
    uint8_t data[2000];
};

/* A segment for it. */
struct in {
    uint32_t seq, ack, flags, wnd, up;
    const void *data;
    uint32_t len;
    bool ts;
    uint32_t tsval, tsecr;
    uint32_t mss;
    bool sack_ok, scale_ok;
    uint32_t scale, sacks;
    struct tcp_range sack[3];
    uint16_t port, from;
    uint32_t ip; /* of the sender; 0: the peer's */
    bool cut;    /* an MSS option that runs over the header's end */
};

/* The one connection and what its callbacks were told. */
struct user {
    struct tcp_conn c;
    uint64_t got, acked, urgent;
    uint8_t data[10000];
    uint32_t take; /* at most so much per call */
    bool accept, open, finished, closed, not_at_hand;
    int why;
};

extern struct fake_net net;
extern struct fake_host host; /* 10.0.0.1; the peer is 10.0.0.2 */
extern uint8_t last_to[6];    /* station the last segment went to */
extern struct out outs[OUTS_MAX];
extern uint32_t out_count, out_next;
extern uint8_t stream[300000];
extern bool endless; /* of the stream, over and over */
extern struct tcp_listener listener;
extern uint32_t iss; /* of the stack */
extern const struct net_stats *stats;
extern struct user u;
extern const struct tcp_ops ops;

/* Let time pass; the peer answers ARP. */
void run(uint64_t ns);
void learn_peer(void);

/* The next segment sent; there must be one. Or none. */
struct out *sent(void);
void sent_nothing(void);
void forget(void);

void inject(struct in m);

/* A stack that listens on PORT; setup and teardown are the fixture. */
void setup_with(uint32_t half_open, uint32_t flags);
void setup(void);
void teardown(void);

/* A handshake from the peer; afterwards iss + 1 is the first byte of ours and
   PEER_ISN + 1 of theirs. */
void open_with(struct in syn);
void open_plain(void);
void open_sack(void);

/* The other way: the stack calls the peer, whose answer is the test's. */
void call(void);

/* Inject a segment, expect one; numbers count from those first bytes. */
void say(uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len);
void is(uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len);

/* Run what `add` adds; what main returns. */
int peer_tests(const char *name, void (*add)(TCase *c));
