/* SPDX-License-Identifier: MIT */
/*
 * Places for connections: who goes when there are no more.
 *
 * Each connection of a room stands in one of two lists, by whether it was ever
 * sent something that it acknowledged. A list is roughly ordered by the last
 * progress, which is a store per segment: a connection that moved since it was
 * put in its place is put behind the others when a search meets it. A search
 * meets TCP_ROOM_LOOKS connections at most, so that a stranger's handshake
 * costs a bounded amount, and a search that found nobody is not repeated for a
 * while: meanwhile SYNs are dropped, which makes their senders wait.
 *
 * Nobody gives way for a SYN, whose sender may be invented, but for the ACK
 * that completes a handshake.
 */
#include "libos/tcp/tcp_impl.h"

#define TCP_ROOM_LOOKS 16u
#define FULL_NS (100 * NS_PER_MS) /* a search that failed is good for this */

static struct tcp_conn *conn_at(struct tcp_link *l)
{
    return (void *)((uint8_t *)l - offsetof(struct tcp_conn, place));
}

static void link_off(struct tcp_link *l)
{
    l->next->prev = l->prev;
    l->prev->next = l->next;
    l->next = l->prev = l;
}

static void put_last(struct tcp_link *list, struct tcp_conn *c)
{
    struct tcp_link *l = &c->place;
    link_off(l);
    l->prev = list->prev;
    l->next = list;
    list->prev->next = l;
    list->prev = l;
    c->placed_ns = c->moved_ns;
}

void tcp_room_init(struct tcp_room *r)
{
    if (r->fresh.next == NULL) {
        r->fresh.next = r->fresh.prev = &r->fresh;
        r->served.next = r->served.prev = &r->served;
    }
}

void tcp_room_enter(struct tcp_conn *c, struct tcp_room *r)
{
    c->room = r;
    c->place.next = c->place.prev = &c->place;
    r->count++;
    put_last(&r->fresh, c);
}

void tcp_room_served(struct tcp_conn *c)
{
    put_last(&c->room->served, c);
}

void tcp_room_leaving(struct tcp_conn *c)
{
    link_off(&c->place);
}

void tcp_room_left(struct tcp_conn *c)
{
    c->room->count--;
    c->room->full_until_ns = 0;
}

static bool owes(const struct tcp_conn *c)
{
    return c->una_off < c->limit;
}

/* How long it must have been without progress before it gives way. */
static uint64_t patience(const struct tcp_conn *c)
{
    const struct tcp_room *r = c->room;
    return owes(c) ? r->stall_ns : c->una_off == 0 ? r->fresh_ns : r->served_ns;
}

static struct tcp_conn *longest(struct net_stack *s, struct tcp_link *list)
{
    for (uint32_t i = 0; i < TCP_ROOM_LOOKS && list->next != list; i++) {
        struct tcp_conn *c = conn_at(list->next);
        bool busy = c->flags & CF_HOLD || owes(c);
        if (c->moved_ns == c->placed_ns) {
            if (!(c->flags & CF_HOLD) &&
                s->now_ns - c->moved_ns >= patience(c)) {
                return c;
            }
            if (!busy) {
                return NULL; /* and the others are younger */
            }
        }
        put_last(list, c);
    }
    return NULL;
}

bool tcp_room_make(struct net_stack *s, struct tcp_room *r)
{
    struct tcp_conn *c = longest(s, &r->served);
    if (c == NULL) {
        c = longest(s, &r->fresh);
    }
    if (c == NULL) {
        r->full_until_ns = s->now_ns + FULL_NS;
        return false;
    }
    s->stats.tcp_crowded++;
    c->flags |= CF_SEND_RST;
    tcp_kill(c, TCP_CROWDED);
    return true;
}

bool tcp_room_full(const struct net_stack *s, const struct tcp_room *r)
{
    return r != NULL && r->max && r->count >= r->max &&
           s->now_ns < r->full_until_ns;
}

bool tcp_room_scarce(const struct tcp_room *r)
{
    return r != NULL && r->max && r->count + r->max / 16 >= r->max;
}

uint64_t tcp_room_limit(const struct tcp_conn *c)
{
    uint64_t since = c->flags & CF_HOLD ? c->stack->now_ns : c->moved_ns;
    return c->room != NULL && c->room->idle_ns ? since + c->room->idle_ns : 0;
}

void tcp_hold(struct tcp_conn *c, bool on)
{
    if (!!(c->flags & CF_HOLD) != on) {
        c->flags ^= CF_HOLD;
        c->moved_ns = c->stack->now_ns;
    }
}
