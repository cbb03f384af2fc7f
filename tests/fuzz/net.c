/* SPDX-License-Identifier: MIT */
/*
 * Hostile frames for a whole stack. The input is a program of small commands:
 * a raw frame; a TCP segment near the state of a live connection, so that the
 * fuzzer need not guess sequence numbers; time that passes; what a user does.
 * After each command the connection's invariants are checked, and what is
 * delivered must be what the segments carried: byte i of the peer's stream is
 * always the same function of i.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/libos/dhcp.h"
#include "libos/tcp/tcp_impl.h"

#define CONNS 3
#define STREAM 4096u
#define POOL (16u * 2048u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct user {
    struct tcp_conn c;
    uint64_t got;
    bool used, stingy, absent;
};

static struct user users[CONNS];
static struct net_stack *stack;
static uint64_t now_ns;
static uint8_t stream[STREAM * 2], theirs[STREAM * 2];
static struct net_pin pin;

/* The input, read as a queue. */
struct tape {
    const uint8_t *p;
    size_t left;
};

static uint32_t next8(struct tape *t)
{
    if (!t->left) {
        return 0;
    }
    t->left--;
    return *t->p++;
}

static uint32_t next16(struct tape *t)
{
    uint32_t hi = next8(t) << 8;
    return hi | next8(t);
}

/* Mostly small numbers on both sides of zero, sometimes anything. */
static uint32_t near(struct tape *t)
{
    uint32_t v = next8(t);
    if (v < 224) {
        return v - 112;
    }
    return next16(t) << (v & 15);
}

#define need(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%d: %s\n", __LINE__, #cond);                      \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* ------------------------------------------------------------------ the user
 */

static struct tcp_conn *user_accept(struct tcp_listener *l,
                                    const struct net_endpoint *peer)
{
    (void)l;
    (void)peer;
    for (int i = 0; i < CONNS; i++) {
        if (!users[i].used) {
            users[i] = (struct user){.used = true};
            return &users[i].c;
        }
    }
    return NULL;
}

static uint32_t user_gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                            struct tcp_gather *g)
{
    const struct user *u = (const struct user *)(void *)c;
    uint32_t at = (uint32_t)(offset % STREAM);
    need(len > 0 && offset + len <= c->limit && offset >= c->una_off);
    len = len < STREAM ? len : STREAM;
    g->piece[0] =
        (struct net_piece){.paddr = 0, .va = stream + at, .len = len / 2};
    g->piece[1] = (struct net_piece){
        .paddr = 0, .va = stream + at + len / 2, .len = len - len / 2};
    g->count = 2;
    g->pin = &pin;
    return u->absent ? 0 : len;
}

static uint32_t user_received(struct tcp_conn *c, const void *data,
                              uint32_t len)
{
    struct user *u = (struct user *)(void *)c;
    const uint8_t *d = data;
    need(len > 0);
    for (uint32_t i = 0; i < len; i++) {
        need(d[i] == theirs[(u->got + i) % STREAM]);
    }
    len = u->stingy ? len / 2 : len;
    u->got += len;
    if (u->got % 7 == 3) {
        tcp_send_limit(c, c->limit + 100);
    }
    return len;
}

static void user_finished(struct tcp_conn *c)
{
    if (((struct user *)(void *)c)->got % 2) {
        tcp_finish(c);
    }
}

static void user_closed(struct tcp_conn *c, enum tcp_reason why)
{
    (void)why;
    need(((struct user *)(void *)c)->used);
    memset(c, 0xa5, sizeof(struct user));
    ((struct user *)(void *)c)->used = false;
}

static const struct tcp_ops ops = {
    .accept = user_accept,
    .gather = user_gather,
    .received = user_received,
    .finished = user_finished,
    .closed = user_closed,
};

static void udp_echo(struct udp_port *p, const struct net_endpoint *from,
                     const struct net_addr *to, const void *data, uint32_t len)
{
    (void)to;
    (void)udp_send_copy(p, from, data, len);
}

/* ------------------------------------------------------------------ the link
 */

static int transmit(struct net_link *l, const struct net_frame *f)
{
    uint32_t len = 0;
    (void)l;
    need(f->hdr_len >= 14 && f->hdr_len <= NET_HDR_MAX);
    need(f->count <= NET_PIECES_MAX);
    for (int i = 0; i < f->count; i++) {
        len += f->piece[i].len;
    }
    need(len == f->body_len && f->hdr_len + len <= 1514);
    net_pin_done(f->pin);
    return 0;
}

static struct net_link fuzz_link = {
    .transmit = transmit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};

/* ---------------------------------------------------------------- invariants
 */

static void conn_ok(const struct tcp_conn *c)
{
    uint32_t at = c->snd_una, bufs = 0;
    const struct net_buf *prev = NULL;
    if (c->flags & CF_DEAD || c->state < TCP_ESTABLISHED) {
        return;
    }
    need(seq_leq(c->snd_una, c->snd_nxt) && seq_leq(c->snd_nxt, c->snd_max));
    need(seq_leq(c->rcv_nxt, c->rcv_adv));
    need(c->mss > 0 && c->cwnd > 0 && c->sack_count <= TCP_SACK_MAX);
    need(c->una_off <= c->limit + 1);
    for (uint32_t i = 0; i < c->sack_count; i++) {
        need(seq_leq(at, c->sack[i].begin));
        need(seq_lt(c->sack[i].begin, c->sack[i].end));
        at = c->sack[i].end;
    }
    need(seq_leq(at, c->snd_max));
    for (const struct net_buf *b = c->ooo; b != NULL; prev = b, b = b->next) {
        need(b->len > 0 && b->len <= BUF_DATA);
        need(!prev || seq_leq(prev->seq + prev->len, b->seq));
        bufs++;
    }
    need(bufs == c->ooo_count && bufs <= c->stack->ooo_bufs_conn);
    /* What is queued is armed by the flush. */
    need(c->flags & CF_QUEUED || !c->t_rexmit ||
         (c->timer.at_ns && c->timer.at_ns <= c->t_rexmit));
    (void)tcp_pipe(c);
}

/* ------------------------------------------------------------------ commands
 */

static uint32_t ip_header(uint8_t *f, uint32_t proto, uint32_t len)
{
    memset(f, 0, 34);
    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\0", 14);
    f[14] = 0x45;
    put16(f + 16, (uint16_t)(20 + len));
    f[22] = 64;
    f[23] = (uint8_t)proto;
    put_be32(f + 26, net_v4(10, 0, 0, 2).word[3]);
    put_be32(f + 30, net_v4(10, 0, 0, 1).word[3]);
    put_be16(f + 24, (uint16_t)~net_sum(f + 14, 20));
    return 34 + len;
}

/* TCP options as the tape has them, the common ones well-formed. */
static uint32_t put_options(struct tape *t, uint8_t *o,
                            const struct tcp_conn *c)
{
    uint32_t how = next8(t), at = 0;
    if (how & 1 && c != NULL) {
        put32(o, 0x0101080a);
        put32(o + 4, c->ts_recent + (how & 8 ? near(t) : 0));
        put32(o + 8, c->stack->now_ms + c->ts_offset);
        at = 12;
    }
    if (how & 2 && c != NULL) {
        put32(o + at, 0x01010512);
        put32(o + at + 4, c->snd_una + near(t) * 100);
        put32(o + at + 8, c->snd_una + near(t) * 100);
        put32(o + at + 12, c->snd_una + near(t) * 100);
        put32(o + at + 16, c->snd_nxt + near(t));
        at += 20;
    }
    if (how & 4) {
        put32(o + at, 0x02040000 | next16(t));
        at += 4;
    }
    while (how & 16 && at < 40) {
        o[at++] = (uint8_t)next8(t);
    }
    return at;
}

static void segment(struct tape *t, struct user *u)
{
    uint8_t f[2000] = {0}, *tcp = f + 34;
    struct tcp_conn *c =
        u != NULL && u->used && !(u->c.flags & CF_DEAD) ? &u->c : NULL;
    uint32_t flags = next8(t);
    uint32_t seq = (c != NULL ? c->rcv_nxt : 0) + near(t);
    put16(tcp, c != NULL ? c->remote_port : (uint16_t)(1000 + next8(t) % 4));
    put16(tcp + 2, c != NULL ? c->local_port : 80);
    put32(tcp + 4, seq);
    put32(tcp + 8,
          c != NULL ? c->snd_una + near(t) * (flags & 0x80 ? 1 : 500) : 0);
    tcp[13] = (uint8_t)flags;
    put16(tcp + 14, (uint16_t)next16(t));
    put16(tcp + 18, (uint16_t)next8(t));
    uint32_t opt = put_options(t, tcp + 20, c) & ~3u;
    tcp[12] = (uint8_t)((20 + opt) / 4 << 4);
    uint32_t len = next8(t) * (flags & 0x40 ? 5 : 1);
    /* The peer's stream: what lies at an offset never changes. */
    uint32_t off = c != NULL ? seq - c->irs - 1 : 0;
    for (uint32_t i = 0; i < len; i++) {
        tcp[20 + opt + i] = theirs[(off + i) % STREAM];
    }
    /* Their stream is one only within 2^31 of its start. */
    if (c != NULL && u->got > (1u << 30)) {
        return;
    }
    len = ip_header(f, IPPROTO_TCP, 20 + opt + len);
    net_input(stack, f, len, NET_RX_SUM_OK);
}

/* A whole handshake from port `from`, with options as the tape has them. */
static void handshake(struct tape *t, uint16_t from)
{
    uint8_t f[100] = {0}, *tcp = f + 34;
    uint32_t how = next8(t), isn = next16(t), opt = 0;
    const struct tcp_half *h = NULL;
    put16(tcp, from);
    put16(tcp + 2, 80);
    put32(tcp + 4, isn);
    tcp[13] = TH_SYN;
    put16(tcp + 14, (uint16_t)next16(t));
    if (how & 1) {
        put32(tcp + 20, 0x020405b4);
        put32(tcp + 24, 0x01030307);
        opt = 8;
    }
    if (how & 2) {
        put32(tcp + 20 + opt, 0x01010402);
        opt += 4;
    }
    if (how & 4) {
        put32(tcp + 20 + opt, 0x0101080a);
        put32(tcp + 24 + opt, 1);
        opt += 12;
    }
    tcp[12] = (uint8_t)((20 + opt) / 4 << 4);
    net_input(stack, f, ip_header(f, IPPROTO_TCP, 20 + opt), NET_RX_SUM_OK);
    for (uint32_t i = 0; i <= stack->tcp.half_mask && h == NULL; i++) {
        h = stack->tcp.half[i];
        h = h != NULL && h->key.remote_port == from ? h : NULL;
    }
    if (h == NULL) {
        return;
    }
    if (how & 4) {
        memmove(tcp + 20, tcp + 20 + opt - 12, 12);
    }
    tcp[12] = how & 4 ? 0x80 : 0x50;
    tcp[13] = TH_ACK;
    put32(tcp + 4, isn + 1);
    put32(tcp + 8, h->iss + 1);
    net_input(stack, f, ip_header(f, IPPROTO_TCP, how & 4 ? 32 : 20),
              NET_RX_SUM_OK);
}

static void raw_frame(struct tape *t, uint32_t how)
{
    uint32_t n = next8(t) * 4, at = 0;

    /* On the heap, exactly as long as it is, so that reading over its end
       shows. */
    uint8_t *f = malloc(n + 34);
    need(f != NULL);
    memset(f, 0, n + 34);
    if (how & 1) {
        ip_header(f, how & 2 ? IPPROTO_UDP : IPPROTO_ICMP, n);
        at = 34;
    }
    while (at < n + 34 && t->left) {
        f[at++] = (uint8_t)next8(t);
    }
    if (how & 4) {
        memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\6", 14);
    }
    net_input(stack, f, at, how & 8 ? NET_RX_SUM_OK : 0);
    free(f);
}

static void user_act(struct tape *t, struct user *u)
{
    uint32_t what = next8(t);
    if (!u->used) {
        struct net_endpoint to = {net_v4(10, 0, 0, 2), 1234};
        if (what == 200) {
            *u = (struct user){.used = true};
            u->used = tcp_connect(stack, &u->c, &ops, &to, 0) == 0;
        }
        return;
    }
    switch (what % 9) {
    case 0:
        tcp_send_limit(&u->c, u->c.limit + next16(t));
        break;
    case 1:
        tcp_finish(&u->c);
        break;
    case 2:
        tcp_abort(&u->c);
        break;
    case 3:
        tcp_receive_window(&u->c, next16(t));
        break;
    case 4:
        tcp_cork(&u->c, what & 16);
        break;
    case 5:
        u->stingy = what & 16;
        break;
    case 6:
        u->absent = what & 16;
        tcp_ready(&u->c);
        break;
    case 7:
        tcp_send_urgent(&u->c, u->c.una_off + next8(t));
        break;
    default:
        tcp_set_options(&u->c, (uint16_t)(what >> 4));
        break;
    }
}

static void command(struct tape *t)
{
    uint32_t c = next8(t);
    struct user *u = &users[c / 8 % CONNS];
    switch (c % 8) {
    case 0:
        raw_frame(t, next8(t));
        break;
    case 1:
    case 2:
    case 3:
        segment(t, u);
        break;
    case 4:
        if (c & 8) {
            handshake(t, (uint16_t)(1000 + c / 16));
        } else {
            segment(t, NULL);
        }
        break;
    case 5:
        user_act(t, u);
        break;
    case 6:
        now_ns += (uint64_t)next8(t) * next8(t) * 1000000;
        net_tick(stack, now_ns);
        break;
    default:
        net_flush(stack);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t mem[200000];
    static _Alignas(2048) uint8_t pool[POOL];
    static struct dhcp_client dhcp;
    struct tape t = {data, size};
    struct net_config cfg = {.link = &fuzz_link,
                             .now_ns = 5000000000,
                             .conns = 16,
                             .half_open = 2,
                             .time_wait = 2,
                             .neighbours = 4,
                             .ooo_bufs_conn = 4};
    struct tcp_listener l = {.ops = &ops, .port = 80, .window = 5000};
    struct udp_port echo = {.received = udp_echo, .port = 7};

    for (uint32_t i = 0; i < STREAM * 2; i++) {
        stream[i] = (uint8_t)(i % STREAM);
        theirs[i] = (uint8_t)((i % STREAM) * 7 + (i % STREAM >> 8));
    }
    memset(users, 0, sizeof users);
    now_ns = cfg.now_ns;
    need(net_size(&cfg) <= sizeof mem);
    stack = net_init(mem, &cfg);
    net_pool_add(stack, pool, 0, sizeof pool);
    if (next8(&t) & 1) {
        dhcp = (struct dhcp_client){.check_ms = 100};
        need(dhcp_start(stack, &dhcp) == 0);
    } else {
        need(net_set_v4(stack, net_v4(10, 0, 0, 1), 24, net_v4(10, 0, 0, 2)) ==
             0);
    }
    need(tcp_listen(stack, &l) == 0 && udp_bind(stack, &echo) == 0);
    handshake(&t, 999);
    while (t.left) {
        command(&t);
        uint32_t held = 0;
        for (int i = 0; i < CONNS; i++) {
            if (users[i].used) {
                conn_ok(&users[i].c);
                held += users[i].c.ooo_count;
            }
        }
        need(held == stack->ooo_bufs);
    }
    net_flush(stack);
    return 0;
}
