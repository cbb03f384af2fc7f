/* SPDX-License-Identifier: MIT */
/*
 * The services over TCP.
 *
 * Echo keeps what it received in a ring of its own until the peer has
 * acknowledged the echo: bytes [acked, received) of the stream, byte n at
 * n modulo ECHO_BYTES, and never promises more window than is free. Zero sends
 * the same zero page for ever, so the device reads it in place.
 */
#include "libos/libos/tcp.h"
#include "libos/libos/env.h"
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "programs/netsvc/service.h"

#define ECHO_BYTES (32u << 10)
#define ZERO_BYTES (64u << 10)
#define ZERO_AHEAD (1ull << 20) /* bytes announced beyond what was acked */
#define WINDOW (64u << 10)
#define SECOND 1000000000ull

struct service_conn {
    struct tcp_conn tcp; /* first */
    struct service_conn *next_free;
    struct mem_run buffer; /* echo only; kept for the next user */
    uint64_t received, acked;
};

static struct service_conn *free_list;
static struct mem_run zeros;
static struct net_pin zeros_pin; /* the page never changes: nobody waits */

static struct service_conn *conn_of(struct tcp_conn *c)
{
    return (struct service_conn *)c;
}

static struct tcp_conn *take(void)
{
    struct service_conn *c = free_list;
    if (c != NULL) {
        free_list = c->next_free;
        c->received = c->acked = 0;
    }
    return c != NULL ? &c->tcp : NULL;
}

static struct tcp_conn *any_accept(struct tcp_listener *l,
                                   const struct net_endpoint *peer)
{
    (void)l;
    (void)peer;
    return take();
}

static void any_closed(struct tcp_conn *c, enum tcp_reason why)
{
    (void)why;
    conn_of(c)->next_free = free_list;
    free_list = conn_of(c);
}

/* -------------------------------------------------------------------- echo */

static struct tcp_conn *echo_accept(struct tcp_listener *l,
                                    const struct net_endpoint *peer)
{
    struct tcp_conn *c = any_accept(l, peer);
    if (c != NULL && !conn_of(c)->buffer.bytes &&
        mem_run_alloc(&conn_of(c)->buffer, ECHO_BYTES, 0) != 0) {
        any_closed(c, TCP_ABORTED);
        return NULL;
    }
    return c;
}

static uint32_t echo_room(const struct service_conn *c)
{
    return ECHO_BYTES - (uint32_t)(c->received - c->acked);
}

static uint32_t echo_received(struct tcp_conn *tcp, const void *data,
                              uint32_t len)
{
    struct service_conn *c = conn_of(tcp);
    uint32_t room = echo_room(c);
    uint32_t at = (uint32_t)(c->received % ECHO_BYTES);
    len = len < room ? len : room;
    uint32_t first = len < ECHO_BYTES - at ? len : ECHO_BYTES - at;
    memcpy((uint8_t *)c->buffer.va + at, data, first);
    memcpy(c->buffer.va, (const uint8_t *)data + first, len - first);
    c->received += len;
    tcp_send_limit(tcp, c->received);
    tcp_receive_window(tcp, echo_room(c));
    return len;
}

static uint32_t echo_gather(struct tcp_conn *tcp, uint64_t offset, uint32_t len,
                            struct tcp_gather *g)
{
    struct service_conn *c = conn_of(tcp);
    uint32_t at = (uint32_t)(offset % ECHO_BYTES);
    uint32_t first = len < ECHO_BYTES - at ? len : ECHO_BYTES - at;
    g->piece[0] = (struct net_piece){
        .paddr = c->buffer.paddr + at,
        .va = (uint8_t *)c->buffer.va + at,
        .len = first,
    };
    g->count = 1;
    if (first < len) {
        g->piece[1] = (struct net_piece){
            .paddr = c->buffer.paddr,
            .va = c->buffer.va,
            .len = len - first,
        };
        g->count = 2;
    }
    return len;
}

static void echo_acked(struct tcp_conn *tcp, uint64_t upto)
{
    struct service_conn *c = conn_of(tcp);

    /* upto counts the FIN too */
    c->acked = upto < c->received ? upto : c->received;
    tcp_receive_window(tcp, echo_room(c));
}

static const struct tcp_ops echo_ops = {
    .accept = echo_accept,
    .gather = echo_gather,
    .received = echo_received,
    .finished = tcp_finish,
    .acked = echo_acked,
    .closed = any_closed,
};

/* ----------------------------------------------------------------- discard */

static uint32_t discard_received(struct tcp_conn *c, const void *data,
                                 uint32_t len)
{
    (void)c;
    (void)data;
    return len;
}

static uint32_t nothing_gather(struct tcp_conn *c, uint64_t offset,
                               uint32_t len, struct tcp_gather *g)
{
    (void)c;
    (void)offset;
    (void)len;
    (void)g;
    return 0;
}

static const struct tcp_ops discard_ops = {
    .accept = any_accept,
    .gather = nothing_gather,
    .received = discard_received,
    .finished = tcp_finish,
    .closed = any_closed,
};

/* -------------------------------------------------------------------- zero */

static void zero_established(struct tcp_conn *c)
{
    tcp_send_limit(c, ZERO_AHEAD);
}

static void zero_acked(struct tcp_conn *c, uint64_t upto)
{
    tcp_send_limit(c, upto + ZERO_AHEAD);
}

static uint32_t zero_gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                            struct tcp_gather *g)
{
    (void)c;
    (void)offset;
    len = len < ZERO_BYTES ? len : ZERO_BYTES;
    g->piece[0] =
        (struct net_piece){.paddr = zeros.paddr, .va = zeros.va, .len = len};
    g->count = 1;
    g->pin = &zeros_pin;
    g->sum = 0;
    g->sum_known = true;
    return len;
}

static const struct tcp_ops zero_ops = {
    .accept = any_accept,
    .established = zero_established,
    .gather = zero_gather,
    .received = discard_received,
    .finished = tcp_finish, /* after what is announced */
    .acked = zero_acked,
    .closed = any_closed,
};

/* All three wait for the client, who may be gone for good, or up to no good:
   their connections share one memory. */
static struct tcp_room room = {
    .idle_ns = 300 * SECOND,
    .served_ns = 2 * SECOND,
    .fresh_ns = 2 * SECOND,
    .stall_ns = 10 * SECOND,
};

static struct tcp_listener listeners[] = {
    {.ops = &echo_ops, .port = PORT_ECHO, .window = ECHO_BYTES, .room = &room},
    {.ops = &discard_ops,
     .port = PORT_DISCARD,
     .window = WINDOW,
     .room = &room},
    {.ops = &zero_ops, .port = PORT_ZERO, .window = WINDOW, .room = &room},
};

int service_tcp_open(struct net_stack *s, uint32_t conns)
{
    struct service_conn *pool = mem_alloc(conns * sizeof(*pool));
    int err = mem_run_alloc(&zeros, ZERO_BYTES, 0);
    if (pool == NULL || err) {
        return pool != NULL ? err : -E_MEM;
    }
    room.max = conns;
    for (uint32_t i = 0; i < conns; i++) {
        any_closed(&pool[i].tcp, TCP_DONE);
    }
    for (unsigned i = 0; i < sizeof(listeners) / sizeof(listeners[0]); i++) {
        if (tcp_listen(s, &listeners[i]) != 0) {
            return -E_BUSY;
        }
    }
    return 0;
}
