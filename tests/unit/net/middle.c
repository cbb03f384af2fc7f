/* SPDX-License-Identifier: MIT */
#include "tests/unit/net/middle.h"

#include <string.h>

#include "libos/tcp/tcp_impl.h"

#define IP_AT ETH_LEN
#define FRAME_MAX 4000u
#define KEPT 64u
#define LATER_NS (5 * NS_PER_S)

/* A TCP segment with options and data apart from its headers. */
struct segment {
    uint8_t eth[ETH_LEN], ip[IP_LEN], tcp[TCP_MAX_LEN];
    uint32_t tcp_len, len;
    uint8_t data[FRAME_MAX];
};

/* Frames of before, to one host each. */
struct kept {
    struct fake_host *to;
    uint32_t len;
    uint8_t bytes[2000];
};

static const struct middle *how;
static struct kept kept[KEPT];
static uint32_t kept_next;
static uint32_t due;      /* forgeries */
static uint32_t stripped; /* bit k: option k is taken out of SYNs */

static bool split(struct segment *s, const uint8_t *f, uint32_t len)
{
    if (len < ETH_LEN + IP_LEN + TCP_LEN ||
        get16(f + ETH_TYPE) != ETHERTYPE_IP || f[IP_AT] != 0x45 ||
        f[IP_AT + IP_PROTO] != IPPROTO_TCP) {
        return false;
    }
    uint32_t total = get16(f + IP_AT + IP_TOTAL);
    memcpy(s->eth, f, ETH_LEN);
    memcpy(s->ip, f + IP_AT, IP_LEN);
    s->tcp_len = (uint32_t)(f[IP_AT + IP_LEN + TCP_OFF] >> 4) * 4;
    memcpy(s->tcp, f + IP_AT + IP_LEN, s->tcp_len);
    s->len = total - IP_LEN - s->tcp_len;
    memcpy(s->data, f + IP_AT + IP_LEN + s->tcp_len, s->len);
    return true;
}

/* The frame, with right sums and `opts` bytes of IP options. */
static uint32_t join(struct fake_net *n, const struct segment *s, uint8_t *f,
                     uint32_t opts)
{
    uint8_t *ip = f + IP_AT, *tcp = ip + IP_LEN + opts;
    uint32_t l4 = s->tcp_len + s->len, len = ETH_LEN + IP_LEN + opts + l4;
    memcpy(f, s->eth, ETH_LEN);
    memcpy(ip, s->ip, IP_LEN);
    ip[IP_VIHL] = (uint8_t)(0x40 | (IP_LEN + opts) / 4);
    put16(ip + IP_TOTAL, (uint16_t)(IP_LEN + opts + l4));
    put_be16(ip + IP_SUM, 0);
    memset(ip + IP_LEN, 1, opts); /* no operation */
    if (opts >= 8 && fake_chance(n, 500)) {
        memcpy(ip + IP_LEN, "\7\7\4\0\0\0", 7); /* record route */
    }
    put_be16(ip + IP_SUM, (uint16_t)~net_sum(ip, IP_LEN + opts));
    memcpy(tcp, s->tcp, s->tcp_len);
    memcpy(tcp + s->tcp_len, s->data, s->len);
    put_be16(tcp + TCP_SUM, 0);
    put_be16(tcp + TCP_SUM,
             (uint16_t)~net_sum_add(net_sum(tcp, l4),
                                    ip_pseudo_sum(get_be32(ip + IP_SRC),
                                                  get_be32(ip + IP_DST),
                                                  IPPROTO_TCP, l4)));
    return len;
}

/* ------------------------------------------------------------------- the box
 */

static void send(struct fake_net *n, struct fake_host *to,
                 const struct segment *s, uint64_t spread_ns)
{
    uint8_t f[FRAME_MAX + 200];
    uint32_t opts =
        fake_chance(n, how->options) ? 4 + 4 * fake_below(n, 10) : 0;
    uint32_t len = join(n, s, f, opts);

    for (uint32_t more = fake_chance(n, how->trailer) ? fake_below(n, 50) : 0;
         more; more--) {
        f[len++] = (uint8_t)fake_random(n);
    }
    fake_deliver(n, to, f, len,
                 n->delay_ns + (spread_ns ? fake_random(n) % spread_ns : 0));
}

/* Bytes [from, from + len) of `s` as a segment of their own. */
static struct segment part(const struct segment *s, uint32_t from, uint32_t len)
{
    struct segment p = *s;
    put32(p.tcp + TCP_SEQ, get32(s->tcp + TCP_SEQ) + from);
    memmove(p.data, s->data + from, len);
    p.len = len;
    if (from + len < s->len) {
        p.tcp[TCP_FLAGS] &= (uint8_t) ~(TH_FIN | TH_PSH);
    }
    return p;
}

static void recut(struct fake_net *n, struct fake_host *to,
                  const struct segment *s)
{
    uint64_t spread = fake_chance(n, 500) ? 2 * NS_PER_MS : 0;
    for (uint32_t at = 0; at < s->len;) {
        uint32_t end = at + 1 + fake_below(n, s->len - at);
        uint32_t from = fake_chance(n, 300) ? fake_below(n, at + 1) : at;
        struct segment p = part(s, from, end - from);
        send(n, to, &p, spread);
        at = end;
    }
}

/* The last segment to `to` that ends where `s` begins, with it. */
static void prepend(const struct fake_host *to, struct segment *s)
{
    static struct segment old;
    uint32_t seq = get32(s->tcp + TCP_SEQ);
    for (uint32_t i = 0; i < KEPT; i++) {
        const struct kept *k = &kept[i];
        if (k->to == to && split(&old, k->bytes, k->len) && old.len &&
            !(old.tcp[TCP_FLAGS] & (TH_SYN | TH_URG)) &&
            get_be32(old.tcp) == get_be32(s->tcp) &&
            get32(old.tcp + TCP_SEQ) + old.len == seq &&
            old.len + s->len < FRAME_MAX - 200) {
            memmove(s->data + old.len, s->data, s->len);
            memcpy(s->data, old.data, old.len);
            s->len += old.len;
            put32(s->tcp + TCP_SEQ, seq - old.len);
            return;
        }
    }
}

/* Blank options of a SYN, the same ones in each of a network. */
static void strip(struct segment *s)
{
    uint32_t at = TCP_LEN;
    while (at < s->tcp_len && s->tcp[at] != 0) {
        uint32_t kind = s->tcp[at], len = kind == 1 ? 1 : s->tcp[at + 1];
        if (stripped >> kind & 1) {
            memset(s->tcp + at, 1, len);
        }
        at += len;
    }
}

static void keep(struct fake_host *to, const uint8_t *f, uint32_t len)
{
    struct kept *k = &kept[kept_next++ % KEPT];
    if (len <= sizeof k->bytes) {
        k->to = to;
        k->len = len;
        memcpy(k->bytes, f, len);
    }
}

/* -------------------------------------------------------------- the attacker
 */

/* Far from [at, at + size], on either side. */
static uint32_t beside(struct fake_net *n, uint32_t at, uint32_t size)
{
    uint32_t far = 1 + (uint32_t)fake_random(n) % (1u << fake_below(n, 31));
    return fake_chance(n, 500) ? at - far : at + size + far;
}

/* Numbers near those of a connection, of which one at least is wrong enough
   that nothing may come of it. */
static void forge_numbers(struct fake_net *n, struct segment *s,
                          const struct tcp_conn *c)
{
    uint32_t window = c->rcv_adv - c->rcv_nxt, kind = fake_below(n, 6);
    uint32_t seq = c->rcv_nxt + (window ? fake_below(n, window) : 0);
    uint32_t ack = c->snd_una, flags = TH_ACK;
    s->len = fake_below(n, 100);
    if (kind == 0) { /* RFC 5961 section 3: in the window, not exact */
        flags = TH_RST | (fake_chance(n, 500) ? TH_ACK : 0);
        s->len = 0;
        seq = window > 1 ? c->rcv_nxt + 1 + fake_below(n, window - 1)
                         : beside(n, c->rcv_nxt, window);
    } else if (kind == 1) { /* section 4: anywhere */
        flags = TH_SYN | (fake_chance(n, 500) ? TH_ACK : 0);
        seq = fake_chance(n, 500) ? seq : (uint32_t)fake_random(n);
    } else if (kind == 2) { /* section 5: acknowledges too much or too little */
        ack = beside(n, c->snd_una - c->max_wnd,
                     c->max_wnd + (c->snd_max - c->snd_una));
    } else if (kind == 3) { /* beyond the window, or long ago */
        seq = beside(n, c->rcv_nxt - s->len - 1, s->len + 1 + window);
        flags |= fake_chance(n, 300) ? TH_FIN : 0;
    } else if (kind == 4) { /* no ACK */
        flags = fake_chance(n, 500) ? TH_FIN : 0;
    } else { /* RFC 7323: of no time, or of the past */
        if (!(c->flags & CF_TS)) {
            s->tcp[TCP_FLAGS] = 0;
            return;
        }
        if (fake_chance(n, 500)) {
            put32(s->tcp + TCP_LEN, 0x0101080a);
            put32(s->tcp + TCP_LEN + 4, beside(n, c->ts_recent, 1u << 31));
            s->tcp_len += 12;
        }
    }
    put32(s->tcp + TCP_SEQ, seq);
    put32(s->tcp + TCP_ACK, ack);
    s->tcp[TCP_FLAGS] = (uint8_t)flags;
    if (kind < 5 && c->flags & CF_TS && fake_chance(n, 500)) {
        put32(s->tcp + TCP_LEN, 0x0101080a);
        put32(s->tcp + TCP_LEN + 4, c->ts_recent + fake_below(n, 10));
        put32(s->tcp + TCP_LEN + 8, (uint32_t)fake_random(n));
        s->tcp_len += 12;
    }
    s->tcp[TCP_OFF] = (uint8_t)(s->tcp_len / 4 << 4);
}

/* Turn the frame, which is right, into one that must be dropped unread. */
static uint32_t spoil(struct fake_net *n, uint8_t *f, uint32_t len)
{
    uint8_t *ip = f + IP_AT;
    switch (fake_below(n, 7)) {
    case 0:
        f[ETH_LEN + fake_below(n, len - ETH_LEN)] ^= 0x10;
        return len;
    case 1:
        return ETH_LEN + fake_below(n, len - ETH_LEN);
    case 2: /* a fragment */
        put16(ip + IP_FRAG, fake_chance(n, 500) ? 0x2000 : 0x0008);
        break;
    case 3:
        f[ETH_DST + 5] ^= 0x80;
        return len;
    case 4: /* to everybody */
        memset(f, 0xff, 6);
        return len;
    case 5:
        put32(ip + IP_SRC, 0x7f000001);
        break;
    default:
        put16(f + ETH_TYPE, 0x8100);
        return len;
    }
    put_be16(ip + IP_SUM, 0);
    put_be16(ip + IP_SUM, (uint16_t)~net_sum(ip, IP_LEN));
    return len;
}

/* RFC 5927: about nothing in flight, or nothing that may end a connection. */
static void forge_icmp(struct fake_net *n, struct fake_host *to,
                       const struct tcp_conn *c)
{
    uint8_t f[ETH_LEN + 2 * IP_LEN + ICMP_LEN + 8] = {0}, *ip = f + IP_AT;
    uint8_t *icmp = ip + IP_LEN, *quote = icmp + ICMP_LEN, *l4 = quote + IP_LEN;
    uint32_t seq = c->snd_una, flight = c->snd_max - c->snd_una;
    static const uint8_t soft[] = {0, 1, 2, 3, 5, 13, 4};
    uint8_t code = soft[fake_below(n, sizeof soft)];
    if (code == ICMP_CODE_TOO_BIG || c->state < TCP_ESTABLISHED) {
        seq = beside(n, c->snd_una, flight);
    }
    memcpy(f + ETH_DST, to->link.mac, 6);
    put16(f + ETH_TYPE, ETHERTYPE_IP);
    ip[IP_VIHL] = quote[IP_VIHL] = 0x45;
    ip[IP_TTL] = 64;
    ip[IP_PROTO] = IPPROTO_ICMP;
    put16(ip + IP_TOTAL, sizeof f - ETH_LEN);
    put_be32(ip + IP_SRC, net_v4(10, 0, 0, 99).word[3]);
    put_be32(ip + IP_DST, c->local.word[3]);
    put_be16(ip + IP_SUM, (uint16_t)~net_sum(ip, IP_LEN));
    quote[IP_PROTO] = IPPROTO_TCP;
    put16(quote + IP_TOTAL, 1500);
    put_be32(quote + IP_SRC, c->local.word[3]);
    put_be32(quote + IP_DST, c->remote.word[3]);
    put16(l4 + TCP_SPORT, c->local_port);
    put16(l4 + TCP_DPORT, c->remote_port);
    put32(l4 + TCP_SEQ, seq);
    icmp[ICMP_TYPE] = fake_chance(n, 800) ? ICMP_UNREACHABLE : 4;
    icmp[ICMP_CODE] = code;
    put16(icmp + ICMP_MTU, (uint16_t)fake_below(n, 1500));
    put_be16(icmp + ICMP_SUM, (uint16_t)~net_sum(icmp, sizeof f - 34));
    fake_deliver(n, to, f, sizeof f, fake_random(n) % NS_PER_MS);
}

static void forge(struct fake_net *n, struct fake_host *to)
{
    static struct segment s;
    uint8_t f[FRAME_MAX];
    const struct tcp_conn *c = how->victim(to);
    if (c == NULL || c->flags & CF_DEAD || c->state < TCP_ESTABLISHED) {
        return;
    }
    if (fake_chance(n, 150)) {
        forge_icmp(n, to, c);
        return;
    }
    bool sound = fake_chance(n, 700);
    memset(&s, 0, sizeof s);
    memcpy(s.eth + ETH_DST, to->link.mac, 6);
    memcpy(s.eth + ETH_SRC, "\2\0\0\0\0\77", 6);
    put16(s.eth + ETH_TYPE, ETHERTYPE_IP);
    s.ip[IP_TTL] = 64;
    s.ip[IP_PROTO] = IPPROTO_TCP;
    put_be32(s.ip + IP_SRC, c->remote.word[3]);
    put_be32(s.ip + IP_DST, c->local.word[3]);
    s.tcp_len = TCP_LEN;
    put16(s.tcp + TCP_SPORT, c->remote_port);
    put16(s.tcp + TCP_DPORT, c->local_port);
    put16(s.tcp + TCP_WND, (uint16_t)fake_random(n));
    if (sound) {
        forge_numbers(n, &s, c);
    } else { /* right in all but what spoil does */
        put32(s.tcp + TCP_SEQ, c->rcv_nxt);
        put32(s.tcp + TCP_ACK, c->snd_max);
        s.tcp[TCP_FLAGS] = fake_chance(n, 500) ? TH_RST : TH_ACK;
        s.tcp[TCP_OFF] = 0x50;
        s.len = fake_below(n, 50);
    }
    memset(s.data, 'X', s.len);
    uint32_t len = join(n, &s, f, 0);
    net_input(to->stack, f, sound ? len : spoil(n, f, len), 0);
}

/* ------------------------------------------------------------------ together
 */

static void middle(struct fake_net *n, struct fake_host *to,
                   const uint8_t *frame, uint32_t len)
{
    static struct segment s;
    if (!split(&s, frame, len)) {
        fake_deliver(n, to, frame, len, n->delay_ns);
        return;
    }
    if (fake_chance(n, how->replay)) {
        const struct kept *k = &kept[fake_below(n, KEPT)];
        if (k->to != NULL) {
            fake_deliver(n, k->to, k->bytes, k->len,
                         fake_random(n) % (LATER_NS >> fake_below(n, 20)));
        }
    }
    if (s.tcp[TCP_FLAGS] & TH_SYN) {
        strip(&s);
    }
    if (s.len && !(s.tcp[TCP_FLAGS] & (TH_SYN | TH_URG))) {
        if (fake_chance(n, how->longer)) {
            prepend(to, &s);
        }
        if (fake_chance(n, how->recut)) {
            recut(n, to, &s);
        } else {
            send(n, to, &s, 0);
        }
    } else {
        send(n, to, &s, 0);
    }
    keep(to, frame, len);
    due += fake_chance(n, how->forge);
}

/* A stack that is sending cannot take a frame, and later the numbers may have
   become right: so forgeries arrive between two events, at once. */
static void between(struct fake_net *n)
{
    for (; due; due--) {
        forge(n, n->host[fake_below(n, 2)]);
    }
}

void middle_start(struct fake_net *n, const struct middle *m)
{
    how = m;
    memset(kept, 0, sizeof kept);
    kept_next = 0;
    stripped = due = 0;
    for (uint32_t kind = 2; kind <= 8; kind++) {
        stripped |= (uint32_t)fake_chance(n, m->strip) << kind;
    }
    n->middle = middle;
    n->between = between;
}
