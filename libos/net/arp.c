/* SPDX-License-Identifier: MIT */
/*
 * ARP (RFC 826; RFC 1122 s2.3.2; RFC 5227): who is where on the link.
 *
 * An entry is made when we want to send to a station or when one asks for us,
 * never because of what a third party says. It is confirmed once a minute
 * while in use and forgotten otherwise. Frames that wait for an address are
 * few: HELD_PER_HOP each, HELD_MAX in all, the latest.
 */
#include "libos/net/stack.h"

#define PROBE_WINDOW 8u /* entries an address may be found in */
#define TRIES 3u
#define RETRY_NS NS_PER_S /* RFC 1122 s2.3.2.1: at most one per second */
#define FRESH_NS (60 * NS_PER_S)
#define DEFEND_NS (10 * NS_PER_S) /* RFC 5227 s2.4 */

static const uint8_t broadcast_mac[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void hop_fire(struct net_timer *t, struct net_stack *s);

void arp_init(struct net_stack *s)
{
    for (uint32_t i = 0; i <= s->hop_mask; i++) {
        s->hops[i].stack = s;
        s->hops[i].timer.fire = hop_fire;
        s->hops[i].gen = 1;
    }
}

struct arp_say {
    uint32_t op;
    uint32_t spa, tpa; /* network order */
    const uint8_t *to; /* link destination and, in a reply, tha */
};

static void say(struct net_stack *s, const struct arp_say *m)
{
    uint8_t hdr[ETH_LEN + ARP_LEN] = {0};
    uint8_t *a = hdr + ETH_LEN;
    struct net_frame f = {.hdr = hdr, .hdr_len = sizeof hdr};

    __builtin_memcpy(hdr + ETH_DST, m->to, 6);
    __builtin_memcpy(hdr + ETH_SRC, s->mac, 6);
    put16(hdr + ETH_TYPE, ETHERTYPE_ARP);
    put16(a + ARP_HTYPE, 1);
    put16(a + ARP_PTYPE, ETHERTYPE_IP);
    a[ARP_HLEN] = 6;
    a[ARP_PLEN] = 4;
    put16(a + ARP_OP, (uint16_t)m->op);
    __builtin_memcpy(a + ARP_SHA, s->mac, 6);
    put_be32(a + ARP_SPA, m->spa);
    if (m->op == ARP_REPLY) {
        __builtin_memcpy(a + ARP_THA, m->to, 6);
    }
    put_be32(a + ARP_TPA, m->tpa);
    if (frame_send(s, &f) == 0) {
        if (m->op == ARP_REPLY) {
            s->stats.arp_replies++;
        } else {
            s->stats.arp_requests++;
        }
    }
}

void arp_announce(struct net_stack *s)
{
    if (!(s->flags & NET_QUIET_ARP)) {
        say(s, &(struct arp_say){ARP_REQUEST, s->ip, s->ip, broadcast_mac});
    }
}

void arp_probe(struct net_stack *s, uint32_t ip)
{
    if (s->probe_ip != ip) {
        s->probe_ip = ip;
        s->probe_conflict = false;
    }
    if (ip) {
        say(s, &(struct arp_say){ARP_REQUEST, 0, ip, broadcast_mac});
    }
}

/* -------------------------------------------------------------- held frames */

static void held_drop(struct net_stack *s, struct held_frame *h)
{
    h->hop->held--;
    h->hop = NULL;
    net_pin_done(h->frame.pin);
    s->stats.arp_dropped++;
}

/* The frame of `hop` (NULL: of anybody) that has waited longest. */
static struct held_frame *held_oldest(struct net_stack *s,
                                      const struct neighbour *hop)
{
    struct held_frame *best = NULL;

    for (uint32_t i = 0; i < HELD_MAX; i++) {
        struct held_frame *h = &s->held[i];

        if (h->hop && (!hop || h->hop == hop) &&
            (!best || (int32_t)(h->order - best->order) < 0)) {
            best = h;
        }
    }
    return best;
}

static struct held_frame *held_slot(struct net_stack *s, struct neighbour *hop)
{
    struct held_frame *h;

    if (hop->held >= HELD_PER_HOP) {
        h = held_oldest(s, hop);
        held_drop(s, h);
        return h;
    }
    for (uint32_t i = 0; i < HELD_MAX; i++) {
        if (!s->held[i].hop) {
            return &s->held[i];
        }
    }
    h = held_oldest(s, NULL);
    held_drop(s, h);
    return h;
}

static void hold(struct net_stack *s, struct neighbour *hop,
                 const struct net_frame *f)
{
    struct held_frame *h = held_slot(s, hop);

    if (f->pin) {
        f->pin->in_flight++;
    }
    h->hop = hop;
    hop->held++;
    h->order = s->held_order++;
    h->frame = *f;
    __builtin_memcpy(h->hdr, f->hdr, f->hdr_len);
    h->frame.hdr = h->hdr;
}

static void held_release(struct net_stack *s, struct neighbour *hop)
{
    struct held_frame *h;

    while (hop->held && (h = held_oldest(s, hop)) != NULL) {
        h->hop = NULL;
        hop->held--;
        __builtin_memcpy(h->hdr + ETH_DST, hop->mac, 6);
        (void)frame_send(s, &h->frame);
        net_pin_done(h->frame.pin);
    }
}

static void held_drop_all(struct net_stack *s, struct neighbour *hop)
{
    struct held_frame *h;

    while (hop->held && (h = held_oldest(s, hop)) != NULL) {
        held_drop(s, h);
    }
}

/* ----------------------------------------------------------------- stations */

static void hop_free(struct neighbour *hop)
{
    held_drop_all(hop->stack, hop);
    net_timer_stop(hop->stack, &hop->timer);
    hop->state = HOP_FREE;
    hop->ip = 0;
    hop->gen++;
}

static void hop_ask(struct neighbour *hop)
{
    struct net_stack *s = hop->stack;
    const uint8_t *to = hop->state == HOP_PROBED ? hop->mac : broadcast_mac;

    hop->tries++;
    say(s, &(struct arp_say){ARP_REQUEST, s->ip, hop->ip, to});
    net_timer_start(s, &hop->timer, s->now_ns + RETRY_NS);
}

static void hop_fire(struct net_timer *t, struct net_stack *s)
{
    struct neighbour *hop =
        (void *)((uint8_t *)t - offsetof(struct neighbour, timer));

    (void)s;
    if (hop->state == HOP_USABLE && hop->used) {
        hop->state = HOP_PROBED;
        hop->tries = 0;
    }
    if (hop->state == HOP_USABLE || hop->tries >= TRIES) {
        hop_free(hop);
    } else {
        hop_ask(hop);
    }
}

static void hop_confirm(struct neighbour *hop, const uint8_t *mac)
{
    struct net_stack *s = hop->stack;

    if (hop->state == HOP_ASKED || !mac_eq(hop->mac, mac)) {
        __builtin_memcpy(hop->mac, mac, 6);
        hop->gen++;
    }
    hop->state = HOP_USABLE;
    hop->tries = 0;
    hop->used = 0;
    hop->seen_ns = s->now_ns;
    net_timer_start(s, &hop->timer, s->now_ns + FRESH_NS);
    held_release(s, hop);
}

static uint32_t hop_index(const struct net_stack *s, uint32_t ip)
{
    uint64_t h = (ip ^ s->tcp.hash_key[0]) * 0x9e3779b97f4a7c15;

    return (uint32_t)(h >> 32);
}

static struct neighbour *hop_find(struct net_stack *s, uint32_t ip)
{
    uint32_t at = hop_index(s, ip);

    for (uint32_t i = 0; i < PROBE_WINDOW; i++) {
        struct neighbour *hop = &s->hops[(at + i) & s->hop_mask];

        if (hop->state != HOP_FREE && hop->ip == ip) {
            return hop;
        }
    }
    return NULL;
}

/* What an entry is worth: nothing, a question, an answer, an answer in use. */
static unsigned worth(const struct neighbour *hop)
{
    return hop->state == HOP_FREE    ? 0
           : hop->state == HOP_ASKED ? 1
                                     : 2 + hop->used;
}

/* Whether `a` should make room before `b`: what is worth less, of equals that
   which was asked for or confirmed longest ago. */
static bool less_worth(const struct neighbour *a, const struct neighbour *b)
{
    return worth(a) != worth(b) ? worth(a) < worth(b) : a->seen_ns < b->seen_ns;
}

/*
 * An entry for an address that has none. Strangers can make us ask for as many
 * addresses as they invent: so a question makes room for another one before any
 * answer does, and for the answer of a station that asks for us. One that is
 * real is answered long before its turn comes. The way to the gateway stays.
 */
static struct neighbour *hop_make(struct net_stack *s, uint32_t ip)
{
    uint32_t at = hop_index(s, ip);
    struct neighbour *best = NULL;

    for (uint32_t i = 0; i < PROBE_WINDOW; i++) {
        struct neighbour *hop = &s->hops[(at + i) & s->hop_mask];
        bool gateway = hop->state != HOP_FREE && hop->ip == s->gateway;

        if (!gateway && (!best || less_worth(hop, best))) {
            best = hop;
        }
    }
    hop_free(best);
    best->ip = ip;
    best->state = HOP_ASKED;
    best->tries = 0;
    best->used = 0;
    best->seen_ns = s->now_ns;
    return best;
}

void arp_clear(struct net_stack *s)
{
    for (uint32_t i = 0; i <= s->hop_mask; i++) {
        if (s->hops[i].state != HOP_FREE) {
            hop_free(&s->hops[i]);
        }
    }
}

struct neighbour *arp_route(struct net_stack *s, uint32_t dst)
{
    uint32_t next = (dst ^ s->ip) & s->mask ? s->gateway : dst;
    struct neighbour *hop;

    if (!s->ip || !next || next == s->ip) {
        s->stats.tx_no_route++;
        return NULL;
    }
    hop = hop_find(s, next);
    if (!hop) {
        hop = hop_make(s, next);
        hop_ask(hop);
    }
    return hop;
}

int arp_send(struct net_stack *s, struct neighbour *hop, struct net_frame *f,
             uint8_t *hdr)
{
    __builtin_memcpy(hdr + ETH_SRC, s->mac, 6);
    put16(hdr + ETH_TYPE, ETHERTYPE_IP);
    hop->used = 1;
    if (hop->state == HOP_ASKED) {
        hold(s, hop, f);
        return 0;
    }
    __builtin_memcpy(hdr + ETH_DST, hop->mac, 6);
    return frame_send(s, f);
}

/* -------------------------------------------------------------------- input */

/* Somebody else uses `ip`, which is ours or about to be. */
static void conflict(struct net_stack *s, uint32_t ip)
{
    if (ip == s->probe_ip) {
        s->probe_conflict = true;
    }
    if (ip != s->ip) {
        return;
    }
    s->stats.arp_conflicts++;
    if (s->now_ns - s->defended_ns >= DEFEND_NS || !s->defended_ns) {
        s->defended_ns = s->now_ns;
        arp_announce(s);
    }
}

static bool arp_ok(const uint8_t *p, size_t len)
{
    return len >= ARP_LEN && get16(p + ARP_HTYPE) == 1 &&
           get16(p + ARP_PTYPE) == ETHERTYPE_IP && p[ARP_HLEN] == 6 &&
           p[ARP_PLEN] == 4 && !(p[ARP_SHA] & 1);
}

void arp_input(struct net_stack *s, const uint8_t *p, size_t len)
{
    uint32_t op, spa, tpa;
    struct neighbour *hop;

    if (!arp_ok(p, len)) {
        s->stats.rx_short++;
        return;
    }
    op = get16(p + ARP_OP);
    spa = get_be32(p + ARP_SPA);
    tpa = get_be32(p + ARP_TPA);
    if (mac_eq(p + ARP_SHA, s->mac)) {
        return; /* our own words, or those of a stack beside us */
    }
    if ((spa && (spa == s->ip || spa == s->probe_ip)) ||
        (!spa && tpa && tpa == s->probe_ip)) {
        conflict(s, spa ? spa : tpa);
        return;
    }
    if (!s->ip) {
        return;
    }
    hop = spa ? hop_find(s, spa) : NULL;
    if (!hop && tpa == s->ip && op == ARP_REQUEST && spa &&
        !((spa ^ s->ip) & s->mask) && spa != s->broadcast &&
        !ip_is_multicast(spa)) {
        hop = hop_make(s, spa);
    }
    if (hop) {
        hop_confirm(hop, p + ARP_SHA);
    }
    if (op == ARP_REQUEST && tpa == s->ip && !(s->flags & NET_QUIET_ARP)) {
        say(s, &(struct arp_say){ARP_REPLY, s->ip, spa, p + ARP_SHA});
    }
}
