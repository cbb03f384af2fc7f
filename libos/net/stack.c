/* SPDX-License-Identifier: MIT */
/*
 * A stack as a whole: its memory, its packet buffers, the way in from the
 * link and the way out to it.
 */
#include "libos/net/stack.h"

#define ALIGN 64u

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* The neighbour table: a power of two, half empty when full. */
static uint32_t hop_count(const struct net_config *cfg)
{
    uint32_t n = 16;
    while (n < cfg->neighbours * 2) {
        n *= 2;
    }
    return n;
}

static size_t hops_size(const struct net_config *cfg)
{
    return aligned(hop_count(cfg) * sizeof(struct neighbour));
}

static size_t held_size(void)
{
    return aligned(HELD_MAX * sizeof(struct held_frame));
}

size_t net_size(const struct net_config *cfg)
{
    return aligned(sizeof(struct net_stack)) + hops_size(cfg) + held_size() +
           aligned(tcp_tables_size(cfg));
}

#define CONFIG_MAX (1u << 22) /* so that no size overflows */

static bool config_ok(const struct net_config *cfg)
{
    const struct net_link *l = cfg->link;
    return l != NULL && l->transmit != NULL && l->mtu >= 576 &&
           l->mtu <= 9000 && cfg->conns <= CONFIG_MAX &&
           cfg->half_open <= CONFIG_MAX && cfg->time_wait <= CONFIG_MAX &&
           cfg->neighbours <= CONFIG_MAX && cfg->syn_acks <= NS_PER_S / 4 &&
           cfg->port_lo <= cfg->port_hi && !(cfg->port_hi && !cfg->port_lo) &&
           !(l->caps & (NET_CAP_TSO4 | NET_CAP_TSO6) &&
             !(l->caps & NET_CAP_CSUM));
}

static void seed(struct net_stack *s, const uint8_t *entropy)
{
    uint64_t k[4];
    __builtin_memcpy(k, entropy, sizeof k);
    s->random_key = (struct siphash_key){{k[0], k[1]}};
    /* Independent of random_key, so that numbers drawn from the one say
       nothing of the other. */
    s->tcp.secret = (struct siphash_key){{k[2], k[3]}};
    s->tcp.hash_key[0] = net_random(s);
    s->tcp.hash_key[1] = net_random(s) | 1;
    s->ip_id = (uint16_t)net_random(s);
}

struct net_stack *net_init(void *mem, const struct net_config *cfg)
{
    struct net_stack *s = mem;
    uint8_t *at = mem;
    if (!config_ok(cfg)) {
        return NULL;
    }
    __builtin_memset(mem, 0, net_size(cfg));
    s->link = cfg->link;
    s->now_ns = cfg->now_ns ? cfg->now_ns : 1;
    s->now_ms = (uint32_t)(s->now_ns / NS_PER_MS);
    s->flags = cfg->flags;
    s->mtu = cfg->link->mtu;
    s->port_lo = cfg->port_lo ? cfg->port_lo : 49152;
    s->port_hi = cfg->port_lo ? cfg->port_hi : 65535;
    s->ooo_bufs_conn = cfg->ooo_bufs_conn;
    __builtin_memcpy(s->mac, cfg->link->mac, sizeof s->mac);
    s->icmp_errors = (struct limiter){.burst = 10, .period_ns = NS_PER_S / 10};
    seed(s, cfg->entropy);
    wheel_init(&s->wheel, s->now_ns);
    at += aligned(sizeof *s);
    s->hops = (struct neighbour *)(void *)at;
    s->hop_mask = hop_count(cfg) - 1;
    at += hops_size(cfg);
    s->held = (struct held_frame *)(void *)at;
    at += held_size();
    arp_init(s);
    tcp_tables_init(s, at, cfg);
    return s;
}

uint64_t net_random(struct net_stack *s)
{
    uint64_t n = s->random_count++;
    return siphash(&s->random_key, &n, 1);
}

bool limiter_take(struct limiter *l, uint64_t now_ns)
{
    if (now_ns >= l->next_ns) {
        uint64_t since = now_ns - l->next_ns;
        uint64_t n = since / l->period_ns + 1;
        l->tokens =
            n >= l->burst - l->tokens ? l->burst : l->tokens + (uint32_t)n;
        l->next_ns = now_ns - since % l->period_ns + l->period_ns;
    }
    if (!l->tokens) {
        return false;
    }
    l->tokens--;
    return true;
}

/* -------------------------------------------------------------------- pool */

static void buf_idle(struct net_pin *p)
{
    buf_free((struct net_buf *)(void *)((uint8_t *)p -
                                        offsetof(struct net_buf, pin)));
}

void net_pool_add(struct net_stack *s, void *va, uint64_t paddr, size_t len)
{
    for (size_t at = 0; at + BUF_SIZE <= len; at += BUF_SIZE) {
        struct net_buf *b = (void *)((uint8_t *)va + at);
        *b = (struct net_buf){
            .next = s->bufs,
            .pin = {.idle = buf_idle},
            .stack = s,
            .paddr = paddr + at + offsetof(struct net_buf, data),
        };
        s->bufs = b;
        s->buf_count++;
    }
}

struct net_buf *buf_alloc(struct net_stack *s)
{
    struct net_buf *b = s->bufs;
    if (b == NULL) {
        s->stats.buf_empty++;
        return NULL;
    }
    s->bufs = b->next;
    b->next = NULL;
    return b;
}

void buf_free(struct net_buf *b)
{
    b->next = b->stack->bufs;
    b->stack->bufs = b;
}

/* ----------------------------------------------------------------- in, out */

void net_input(struct net_stack *s, const void *frame, size_t len,
               uint32_t flags)
{
    const uint8_t *p = frame;
    bool broadcast = false;
    s->stats.rx_frames++;
    if (len < ETH_LEN) {
        s->stats.rx_short++;
        return;
    }
    if (unlikely(!mac_eq(p + ETH_DST, s->mac))) {
        broadcast = get_be32(p) == 0xffffffff && get_be16(p + 4) == 0xffff;
        if (!broadcast) {
            s->stats.rx_not_ours++;
            return;
        }
    }
    uint16_t type = get16(p + ETH_TYPE);
    if (likely(type == ETHERTYPE_IP)) {
        ip_input(s, p + ETH_LEN, len - ETH_LEN, flags, broadcast);
    } else if (type == ETHERTYPE_ARP) {
        arp_input(s, p + ETH_LEN, len - ETH_LEN);
    } else {
        s->stats.rx_not_ours++;
    }
}

int frame_send(struct net_stack *s, const struct net_frame *f)
{
    if (f->pin != NULL) {
        f->pin->in_flight++;
    }
    int r = s->link->transmit(s->link, f);
    if (unlikely(r)) {
        net_pin_done(f->pin);
        s->stats.tx_busy++;
        s->blocked = true;
        return r;
    }
    s->stats.tx_frames++;
    s->flush_link = true;
    return 0;
}

void net_tick(struct net_stack *s, uint64_t now_ns)
{
    if (now_ns > s->now_ns) {
        s->now_ns = now_ns;
        s->now_ms = (uint32_t)(now_ns / NS_PER_MS);
    }
    wheel_run(s, s->now_ns);
}

void net_flush(struct net_stack *s)
{
    s->blocked = false;
    tcp_flush(s);
    if (s->flush_link) {
        s->flush_link = false;
        if (s->link->flush != NULL) {
            s->link->flush(s->link);
        }
    }
}

uint64_t net_deadline(const struct net_stack *s)
{
    /* What the link had no room for waits for a completion, not for time. */
    if (s->tcp.out_first != NULL && !s->blocked) {
        return s->now_ns;
    }
    return wheel_deadline(&s->wheel);
}

bool net_blocked(const struct net_stack *s)
{
    return s->blocked;
}

int net_set_v4(struct net_stack *s, struct net_addr addr, uint32_t prefix,
               struct net_addr gateway)
{
    uint32_t ip = addr.word[3];
    if (!addr_is_v4(&addr) || prefix > 32 || ip_is_multicast(ip) ||
        (gateway.half[1] && !addr_is_v4(&gateway))) {
        return -NET_E_RANGE;
    }
    uint32_t host = prefix == 32 ? 0 : 0xffffffffu >> prefix;
    s->ip = ip;
    s->mask = to_be32(~host);
    /* A /31 has no broadcast address (RFC 3021). */
    s->broadcast = prefix < 31 ? ip | to_be32(host) : 0;
    s->gateway = gateway.word[3];
    arp_clear(s);
    if (ip) {
        arp_announce(s);
    }
    return 0;
}

struct net_addr net_addr_of(const struct net_stack *s)
{
    return s->ip ? addr_of_v4(s->ip) : (struct net_addr){0};
}

void net_away_add(struct net_stack *s, struct net_away *a)
{
    a->next = s->away;
    s->away = a;
}

void net_away_remove(struct net_stack *s, struct net_away *a)
{
    struct net_away **p = &s->away;
    while (*p != NULL && *p != a) {
        p = &(*p)->next;
    }
    if (*p != NULL) {
        *p = a->next;
    }
}

bool net_is_away(struct net_stack *s, uint32_t proto, uint16_t port)
{
    const struct net_away *a = s->away;
    while (a != NULL && (a->proto != proto || a->port != port)) {
        a = a->next;
    }
    s->stats.rx_away += a != NULL;
    return a != NULL;
}

const struct net_stats *net_stats(const struct net_stack *s)
{
    return &s->stats;
}
