/* SPDX-License-Identifier: MIT */
/*
 * DHCP client (RFC 2131; options of RFC 2132). A state machine driven by one
 * timer and by messages to port 68. What a server says is checked before it is
 * kept: an answer must carry our transaction and hardware address, and an
 * address, mask and lease that can be used.
 */
#include "libos/libos/dhcp.h"

#include "libos/net/stack.h"

#define SERVER_PORT 67u
#define CLIENT_PORT 68u

/* Message layout (RFC 2131 figure 1). */
#define M_OP 0
#define M_HTYPE 1
#define M_HLEN 2
#define M_XID 4
#define M_SECS 8
#define M_CIADDR 12
#define M_YIADDR 16
#define M_CHADDR 28
#define M_SNAME 44
#define M_FILE 108
#define M_MAGIC 236
#define M_OPTIONS 240
#define M_SIZE 300 /* some servers drop what is shorter than BOOTP */
#define MAGIC 0x63825363u

/* Message types (RFC 2132 s9.6). */
#define DISCOVER 1u
#define OFFER 2u
#define REQUEST 3u
#define DECLINE 4u
#define ACK 5u
#define NAK 6u
#define RELEASE 7u

#define O_PAD 0u
#define O_MASK 1u
#define O_ROUTER 3u
#define O_DNS 6u
#define O_ADDRESS 50u
#define O_LEASE 51u
#define O_OVERLOAD 52u
#define O_TYPE 53u
#define O_SERVER 54u
#define O_LIST 55u
#define O_MAX_SIZE 57u
#define O_RENEW 58u
#define O_REBIND 59u
#define O_CLIENT 61u
#define O_END 255u

#define TRIES_MAX 5u    /* of a request, before beginning anew */
#define LEASE_MIN_S 8u  /* or renewing it would be all we do */
#define RENEW_MIN_S 60u /* between two tries, s4.4.5 */

/* ------------------------------------------------------------------- sending
 */

static uint8_t *put_option(uint8_t *p, uint8_t kind, const void *value,
                           uint8_t len)
{
    *p++ = kind;
    *p++ = len;
    __builtin_memcpy(p, value, len);
    return p + len;
}

static uint8_t *put_addr(uint8_t *p, uint8_t kind, const struct net_addr *a)
{
    return put_option(p, kind, &a->word[3], 4);
}

static uint8_t *put_body(const struct dhcp_client *c, uint8_t *p, uint32_t type)
{
    static const uint8_t wanted[] = {O_MASK,   O_ROUTER, O_DNS,   O_LEASE,
                                     O_SERVER, O_RENEW,  O_REBIND};
    static const uint8_t max_size[] = {1500 >> 8, 1500 & 0xff};
    uint8_t id[7] = {1}; /* hardware type, then the address */
    __builtin_memcpy(id + 1, c->stack->mac, 6);
    p = put_option(p, O_TYPE, &(uint8_t){(uint8_t)type}, 1);
    p = put_option(p, O_CLIENT, id, sizeof id);
    if (type == DISCOVER || type == REQUEST) {
        p = put_option(p, O_MAX_SIZE, max_size, sizeof max_size);
        p = put_option(p, O_LIST, wanted, sizeof wanted);
    }
    if (type == DECLINE || (type == REQUEST && c->state == DHCP_REQUESTING)) {
        p = put_addr(p, O_ADDRESS, &c->got.addr);
        p = put_addr(p, O_SERVER, &c->got.server);
    }
    if (type == RELEASE) {
        p = put_addr(p, O_SERVER, &c->lease.server);
    }
    return p;
}

/* Table 5 of RFC 2131: which fields go with which message. */
static void send(struct dhcp_client *c, uint32_t type)
{
    struct net_stack *s = c->stack;
    struct net_endpoint to = {net_v4(255, 255, 255, 255), SERVER_PORT};
    uint64_t secs = (s->now_ns - c->began_ns) / NS_PER_S;
    bool chosen = type == REQUEST && c->state == DHCP_REQUESTING;
    bool has_addr = type == RELEASE || c->state == DHCP_RENEWING ||
                    c->state == DHCP_REBINDING;
    uint8_t m[M_SIZE] = {1, 1, 6};
    put_be32(m + M_XID, c->xid);
    if (!chosen) {
        c->secs = (uint16_t)(secs > 0xffff ? 0xffff : secs);
    }
    if (type == DISCOVER || type == REQUEST) {
        put16(m + M_SECS, c->secs); /* s3.1 step 3: of the discovery */
    }
    if (has_addr) {
        put_be32(m + M_CIADDR, c->lease.addr.word[3]);
    }
    __builtin_memcpy(m + M_CHADDR, s->mac, 6);
    put32(m + M_MAGIC, MAGIC);
    *put_body(c, m + M_OPTIONS, type) = O_END;
    if (type == RELEASE || c->state == DHCP_RENEWING) {
        to.addr = c->lease.server;
    }
    (void)udp_send_copy(&c->udp, &to, m, sizeof m);
}

/* ------------------------------------------------------------------ the clock
 */

/* s4.1: 4, 8, ... 64 seconds, each up to a second more or less. */
static uint64_t retry_ns(struct dhcp_client *c)
{
    uint32_t shift = c->tries < 4 ? c->tries : 4;
    return (4 * NS_PER_S << shift) - NS_PER_S +
           net_random(c->stack) % (2 * NS_PER_S);
}

static void set_timer(struct dhcp_client *c, uint64_t at_ns)
{
    net_timer_start(c->stack, &c->timer, at_ns);
}

static void discover(struct dhcp_client *c)
{
    send(c, DISCOVER);
    set_timer(c, c->stack->now_ns + retry_ns(c));
    c->tries++;
}

/* Begin a new exchange after `delay_ns`. */
static void begin(struct dhcp_client *c, uint64_t delay_ns)
{
    c->state = DHCP_SELECTING;
    c->tries = 0;
    c->xid = (uint32_t)net_random(c->stack);
    c->began_ns = c->stack->now_ns + delay_ns;
    if (delay_ns) {
        set_timer(c, c->began_ns);
    } else {
        discover(c);
    }
}

static void tell(struct dhcp_client *c)
{
    if (c->changed != NULL) {
        c->changed(c);
    }
}

static void lose(struct dhcp_client *c, uint64_t delay_ns)
{
    bool had = c->state == DHCP_RENEWING || c->state == DHCP_REBINDING;
    if (had) {
        (void)net_set_v4(c->stack, net_v4(0, 0, 0, 0), 32,
                         (struct net_addr){0});
        c->lease = (struct dhcp_lease){0};
    }
    begin(c, delay_ns);
    if (had) {
        tell(c);
    }
}

static void request(struct dhcp_client *c)
{
    if (c->tries >= TRIES_MAX) {
        begin(c, 0);
        return;
    }
    if (c->tries == 0) {
        c->asked_ns = c->stack->now_ns;
    }
    send(c, REQUEST);
    set_timer(c, c->stack->now_ns + retry_ns(c));
    c->tries++;
}

static uint64_t lease_end(const struct dhcp_client *c, uint32_t seconds)
{
    return c->bound_ns + seconds * NS_PER_S;
}

/* s4.4.5: ask at half of the time that is left, but not all the time. */
static void renew(struct dhcp_client *c)
{
    uint64_t now = c->stack->now_ns;
    uint64_t end = lease_end(c, c->state == DHCP_RENEWING ? c->lease.rebind_s
                                                          : c->lease.lease_s);
    if (now >= end && c->state == DHCP_REBINDING) {
        lose(c, 0);
        return;
    }
    if (now >= end) {
        c->state = DHCP_REBINDING;
        c->tries = 0;
        end = lease_end(c, c->lease.lease_s);
    }
    if (c->tries == 0) {
        c->xid = (uint32_t)net_random(c->stack);
        c->began_ns = now;
    }
    c->asked_ns = now;
    c->tries++;
    send(c, REQUEST);
    uint64_t wait = end > now ? (end - now) / 2 : 0;
    wait = wait < RENEW_MIN_S * NS_PER_S ? RENEW_MIN_S * NS_PER_S : wait;
    set_timer(c, now + wait < end ? now + wait : end);
}

static void bind(struct dhcp_client *c)
{
    struct dhcp_lease had = c->lease;
    c->lease = c->got;
    c->bound_ns = c->asked_ns;
    c->state = DHCP_BOUND;
    c->tries = 0;
    if (!net_addr_eq(&had.addr, &c->lease.addr) ||
        !net_addr_eq(&had.gateway, &c->lease.gateway) ||
        had.prefix != c->lease.prefix) {
        (void)net_set_v4(c->stack, c->lease.addr, c->lease.prefix,
                         c->lease.gateway);
    }
    if (c->lease.lease_s == UINT32_MAX) {
        net_timer_stop(c->stack, &c->timer);
    } else {
        /* s4.4.5: up to a sixteenth earlier, so that not all ask at once. */
        uint64_t spread = c->lease.renew_s * NS_PER_S / 16 + 1;

        set_timer(c, lease_end(c, c->lease.renew_s) -
                         net_random(c->stack) % spread);
    }
    tell(c);
}

static void checked(struct dhcp_client *c)
{
    struct net_stack *s = c->stack;
    bool conflict = s->probe_conflict;
    arp_probe(s, 0);
    if (conflict) {
        send(c, DECLINE);
        begin(c, 10 * NS_PER_S); /* s3.1 step 5 */
    } else {
        bind(c);
    }
}

static void fire(struct net_timer *t, struct net_stack *s)
{
    struct dhcp_client *c =
        (void *)((uint8_t *)t - offsetof(struct dhcp_client, timer));

    (void)s;
    switch (c->state) {
    case DHCP_SELECTING:
        discover(c);
        break;
    case DHCP_REQUESTING:
        request(c);
        break;
    case DHCP_CHECK:
        checked(c);
        break;
    case DHCP_BOUND:
        c->state = DHCP_RENEWING;
        renew(c);
        break;
    case DHCP_RENEWING:
    case DHCP_REBINDING:
        renew(c);
        break;
    case DHCP_STOPPED:
        break;
    }
}

/* ----------------------------------------------------------------- receiving
 */

struct answer {
    uint8_t type, overload;
    uint32_t mask; /* network order */
    bool has_lease;
    struct dhcp_lease lease;
};

static void first_addr(struct net_addr *a, const uint8_t *p, uint32_t len)
{
    if (len >= 4) {
        *a = addr_of_v4(get_be32(p));
    }
}

static void option(struct answer *a, uint32_t kind, const uint8_t *p,
                   uint32_t len)
{
    struct dhcp_lease *l = &a->lease;
    if (kind == O_TYPE && len == 1) {
        a->type = p[0];
    } else if (kind == O_OVERLOAD && len == 1) {
        a->overload = p[0];
    } else if (kind == O_MASK && len == 4) {
        a->mask = get_be32(p);
    } else if (kind == O_ROUTER) {
        first_addr(&l->gateway, p, len);
    } else if (kind == O_DNS) {
        first_addr(&l->dns, p, len);
    } else if (kind == O_SERVER && len == 4) {
        first_addr(&l->server, p, len);
    } else if (kind == O_LEASE && len == 4) {
        l->lease_s = get32(p);
        a->has_lease = true;
    } else if (kind == O_RENEW && len == 4) {
        l->renew_s = get32(p);
    } else if (kind == O_REBIND && len == 4) {
        l->rebind_s = get32(p);
    }
}

static void options(struct answer *a, const uint8_t *p, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && p[at] != O_END) {
        if (p[at] == O_PAD) {
            at++;
            continue;
        }
        if (at + 1 >= len || p[at + 1] > len - at - 2) {
            return;
        }
        option(a, p[at], p + at + 2, p[at + 1]);
        at += 2u + p[at + 1];
    }
}

/* The mask as a prefix; the class's when there is none (RFC 1122 s3.3.6 era
   servers); -1: its bits have gaps. */
static int prefix_of(uint32_t mask, uint32_t addr)
{
    uint32_t host = ~to_be32(mask), first = addr & 0xff;
    if (!mask) {
        return first < 128 ? 8 : first < 192 ? 16 : 24;
    }
    return host & (host + 1) ? -1 : host ? __builtin_clz(host) : 32;
}

/* Whether `ip` can be a station's in a network of this prefix: neither the
   network's own nor its broadcast address (RFC 1122 s3.2.1.3), which one of
   two stations does not have (RFC 3021). */
static bool is_station(uint32_t ip, uint32_t prefix)
{
    uint32_t host = prefix < 31 ? 0xffffffffu >> prefix : 0;
    uint32_t part = to_be32(ip) & host, first = ip & 0xff;
    return first != 0 && first != 127 && first < 0xe0 &&
           (!host || (part != 0 && part != host));
}

/* Whether an offer or acknowledgement can be lived with; fills what servers
   leave out. */
static bool complete(struct answer *a)
{
    struct dhcp_lease *l = &a->lease;
    uint32_t ip = l->addr.word[3];
    int prefix = prefix_of(a->mask, ip);
    if (prefix < 1 || !is_station(ip, (uint32_t)prefix) || !a->has_lease ||
        !l->server.word[3] || l->lease_s < LEASE_MIN_S) {
        return false;
    }
    l->prefix = (uint32_t)prefix;
    if (l->gateway.word[3] == ip ||
        !is_station(l->gateway.word[3], l->prefix)) {
        l->gateway = (struct net_addr){0};
    }
    /* s4.4.5: T1 is half, T2 seven eighths, unless told sensibly. */
    if (!l->rebind_s || l->rebind_s >= l->lease_s) {
        l->rebind_s = l->lease_s - l->lease_s / 8;
    }
    if (!l->renew_s || l->renew_s >= l->rebind_s) {
        l->renew_s =
            l->lease_s / 2 < l->rebind_s ? l->lease_s / 2 : l->rebind_s / 2;
    }
    return true;
}

static bool parse(const struct dhcp_client *c, const uint8_t *m, uint32_t len,
                  struct answer *a)
{
    if (len < M_OPTIONS || m[M_OP] != 2 || m[M_HTYPE] != 1 || m[M_HLEN] != 6 ||
        get_be32(m + M_XID) != c->xid || get32(m + M_MAGIC) != MAGIC ||
        !mac_eq(m + M_CHADDR, c->stack->mac)) {
        return false;
    }
    *a = (struct answer){0};
    a->lease.addr = addr_of_v4(get_be32(m + M_YIADDR));
    options(a, m + M_OPTIONS, len - M_OPTIONS);
    if (a->overload & 1) {
        options(a, m + M_FILE, M_MAGIC - M_FILE);
    }
    if (a->overload & 2) {
        options(a, m + M_SNAME, M_FILE - M_SNAME);
    }
    return true;
}

static void take_ack(struct dhcp_client *c, const struct answer *a)
{
    bool check = c->state == DHCP_REQUESTING && c->check_ms;
    c->got = a->lease;
    if (!check) {
        bind(c);
        return;
    }
    c->state = DHCP_CHECK;
    arp_probe(c->stack, c->got.addr.word[3]);
    set_timer(c, c->stack->now_ns + c->check_ms * NS_PER_MS);
}

static void received(struct udp_port *p, const struct net_endpoint *from,
                     const struct net_addr *to, const void *data, uint32_t len)
{
    struct dhcp_client *c =
        (void *)((uint8_t *)p - offsetof(struct dhcp_client, udp));
    bool asking = c->state == DHCP_REQUESTING || c->state == DHCP_RENEWING ||
                  c->state == DHCP_REBINDING;

    (void)to;
    struct answer a;
    if (from->port != SERVER_PORT || !parse(c, data, len, &a)) {
        return;
    }
    if (a.type == OFFER && c->state == DHCP_SELECTING && complete(&a)) {
        c->got = a.lease;
        c->state = DHCP_REQUESTING;
        c->tries = 0;
        request(c);
    } else if (a.type == ACK && asking && complete(&a)) {
        take_ack(c, &a);
    } else if (a.type == NAK && asking) {
        lose(c, NS_PER_S); /* at once would let a bad server spin us */
    }
}

int dhcp_start(struct net_stack *s, struct dhcp_client *c)
{
    c->stack = s;
    c->udp = (struct udp_port){.received = received, .port = CLIENT_PORT};
    c->timer = (struct net_timer){.fire = fire};
    c->lease = c->got = (struct dhcp_lease){0};
    int r = udp_bind(s, &c->udp);
    if (r) {
        return r;
    }
    begin(c, 0);
    return 0;
}

void dhcp_stop(struct dhcp_client *c)
{
    if (c->state == DHCP_STOPPED) {
        return;
    }
    if (c->lease.addr.word[3]) {
        c->xid = (uint32_t)net_random(c->stack);
        send(c, RELEASE);
        (void)net_set_v4(c->stack, net_v4(0, 0, 0, 0), 32,
                         (struct net_addr){0});
    }
    net_timer_stop(c->stack, &c->timer);
    udp_unbind(&c->udp);
    c->lease = (struct dhcp_lease){0};
    c->state = DHCP_STOPPED;
}
