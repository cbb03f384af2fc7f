/* SPDX-License-Identifier: MIT */
/*
 * The cost of a keep-alive request in the network stack. A segment of 120
 * bytes comes in on one of 64 connections and acknowledges the response
 * before; the user answers with 1,224 bytes in two pieces whose sum it knows.
 * Nothing else of a server is in here. Every answer is checked in full in a
 * first round; only then is anything measured.
 *
 * Prints instructions (perf_event_open, where permitted) and nanoseconds per
 * request, for a link without and with checksum offload.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libos/tcp/tcp_impl.h"

#define CONNS 64
#define REQUEST 120u
#define RESPONSE 1224u
#define ROUNDS 2000
#define REPEATS 9

static struct tcp_conn conns[CONNS];
static int accepted;
static uint8_t body[RESPONSE];
static uint16_t body_sum;
static uint8_t frames[CONNS][256];
static uint32_t their_seq[CONNS], our_seq[CONNS];
static bool checking;
static uint32_t answers;
static uint8_t syn_ack[NET_HDR_MAX];
static _Alignas(64) uint8_t mem[1 << 18];
static struct net_stack *stack;
static uint64_t now_ns;

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "net_request: %s\n", what);
        exit(1);
    }
}

static struct tcp_conn *user_accept(struct tcp_listener *l,
                                    const struct net_endpoint *peer)
{
    (void)l;
    (void)peer;
    return &conns[accepted++];
}

static uint32_t user_gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                            struct tcp_gather *g)
{
    (void)c;
    need(offset % RESPONSE == 0 && len == RESPONSE, "not one whole response");
    g->piece[0] = (struct net_piece){.paddr = 0, .va = body, .len = 200};
    g->piece[1] =
        (struct net_piece){.paddr = 0, .va = body + 200, .len = len - 200};
    g->count = 2;
    g->sum = body_sum;
    g->sum_known = true;
    return len;
}

static uint32_t user_received(struct tcp_conn *c, const void *data,
                              uint32_t len)
{
    (void)data;
    tcp_send_limit(c, c->limit + RESPONSE);
    return len;
}

static const struct tcp_ops ops = {
    .accept = user_accept, .gather = user_gather, .received = user_received};

/* The answer is what a client expects, to the last bit of its checksum. */
static void check_answer(const struct net_link *l, const struct net_frame *f)
{
    const uint8_t *tcp = f->hdr + 34;
    uint32_t i = get16(tcp + TCP_DPORT) - 1000u;
    need(i < CONNS && f->hdr_len == 66 && f->body_len == RESPONSE, "shape");
    need(get32(tcp + TCP_SEQ) == our_seq[i], "sequence number");
    need(get32(tcp + TCP_ACK) == their_seq[i], "acknowledgement");
    need(tcp[TCP_FLAGS] == (TH_ACK | TH_PSH), "flags");
    need(net_sum(f->hdr + 14, 20) == 0xffff, "IP checksum");
    uint32_t len = 32 + RESPONSE;
    uint16_t sum = ip_pseudo_sum(get_be32(f->hdr + 26), get_be32(f->hdr + 30),
                                 IPPROTO_TCP, len);
    if (l->caps & NET_CAP_CSUM) {
        need(get_be16(tcp + TCP_SUM) == sum, "pseudo header sum");
    } else {
        sum = net_sum_add(sum, net_sum(tcp, 32));
        need(net_sum_add(sum, net_sum(body, RESPONSE)) == 0xffff, "checksum");
    }
}

static int transmit(struct net_link *l, const struct net_frame *f)
{
    if (checking && f->body_len) {
        check_answer(l, f);
    } else if (!f->body_len) {
        memcpy(syn_ack, f->hdr, f->hdr_len);
    }
    answers += f->body_len != 0;
    return 0;
}

static struct net_link bench_link = {
    .transmit = transmit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};

static uint32_t segment(uint8_t *f, int i, uint32_t flags, uint32_t len)
{
    uint8_t *tcp = f + 34;
    uint32_t opt = flags & TH_SYN ? 16 : 12;
    memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\10\0", 14);
    memset(f + 14, 0, 56);
    f[14] = 0x45;
    put16(f + 16, (uint16_t)(40 + opt + len));
    f[22] = 64;
    f[23] = IPPROTO_TCP;
    put_be32(f + 26, net_v4(10, 0, 0, 2).word[3]);
    put_be32(f + 30, net_v4(10, 0, 0, 1).word[3]);
    put_be16(f + 24, (uint16_t)~net_sum(f + 14, 20));
    put16(tcp, (uint16_t)(1000 + i));
    put16(tcp + 2, 80);
    put32(tcp + 4, their_seq[i]);
    put32(tcp + 8, our_seq[i]);
    tcp[12] = (uint8_t)((20 + opt) / 4 << 4);
    tcp[13] = (uint8_t)flags;
    put16(tcp + 14, 60000);
    put32(tcp + 20, 0x0101080a);
    put32(tcp + 24, 1);
    if (flags & TH_SYN) {
        put32(tcp + 32, 0x020405b4);
    }
    return 54 + opt + len;
}

static void open_all(uint32_t caps)
{
    static struct tcp_listener l;
    struct net_config cfg = {.link = &bench_link,
                             .now_ns = now_ns,
                             .conns = CONNS,
                             .half_open = CONNS,
                             .time_wait = 16,
                             .neighbours = 8};
    uint8_t arp[60] = "\2\0\0\0\0\1\2\0\0\0\0\2\10\6\0\1\10\0\6\4\0\1\2\0\0\0"
                      "\0\2\12\0\0\2\0\0\0\0\0\0\12\0\0\1";
    bench_link.caps = caps;
    accepted = 0;
    need(net_size(&cfg) <= sizeof mem, "memory");
    stack = net_init(mem, &cfg);
    need(stack != NULL, "net_init");
    need(net_set_v4(stack, net_v4(10, 0, 0, 1), 24, (struct net_addr){0}) == 0,
         "address");
    net_input(stack, arp, sizeof arp, 0);
    l = (struct tcp_listener){.ops = &ops, .port = 80, .window = 16384};
    need(tcp_listen(stack, &l) == 0, "tcp_listen");
    for (int i = 0; i < CONNS; i++) {
        their_seq[i] = 100;
        net_input(stack, frames[i], segment(frames[i], i, TH_SYN, 0),
                  NET_RX_SUM_OK);
        their_seq[i]++;
        our_seq[i] = get32(syn_ack + 38) + 1;
        net_input(stack, frames[i], segment(frames[i], i, TH_ACK, 0),
                  NET_RX_SUM_OK);
    }
    net_flush(stack);
}

static int counter = -1;

static uint64_t instructions(void)
{
    uint64_t v = 0;
    if (counter >= 0 && read(counter, &v, sizeof v) != sizeof v) {
        v = 0;
    }
    return v;
}

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One batch: every connection asks and is answered. Only the stack's work is
   counted into *ns and *insns. */
static void batch(uint64_t *ns, uint64_t *insns)
{
    now_ns += 300000;
    for (int i = 0; i < CONNS; i++) {
        segment(frames[i], i, TH_ACK | TH_PSH, REQUEST);
        their_seq[i] += REQUEST;
    }
    uint64_t n = instructions();
    uint64_t t = clock_ns();
    net_tick(stack, now_ns);
    for (int i = 0; i < CONNS; i++) {
        net_input(stack, frames[i], 66 + REQUEST, NET_RX_SUM_OK);
    }
    net_flush(stack);
    *ns += clock_ns() - t;
    *insns += instructions() - n;
    for (int i = 0; i < CONNS; i++) {
        our_seq[i] += RESPONSE;
    }
}

static int smaller(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, uint32_t caps)
{
    double per = (double)ROUNDS * CONNS;
    uint64_t insns = 0, taken = 0;
    open_all(caps);
    checking = true;
    answers = 0;
    batch(&taken, &insns);
    batch(&taken, &insns);
    checking = false;
    need(answers == 2 * CONNS, "every request is answered once");
    double ns[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        taken = insns = 0;
        for (int i = 0; i < ROUNDS; i++) {
            batch(&taken, &insns);
        }
        ns[r] = (double)taken / per;
    }
    need(net_stats(stack)->tcp_fast_path == answers, "all by the fast path");
    qsort(ns, REPEATS, sizeof ns[0], smaller);
    printf("%-18s %8.0f instructions %8.1f ns (%.1f to %.1f)\n", name,
           (double)insns / per, ns[REPEATS / 2], ns[0], ns[REPEATS - 1]);
}

int main(void)
{
    struct perf_event_attr a = {.type = PERF_TYPE_HARDWARE,
                                .size = sizeof a,
                                .config = PERF_COUNT_HW_INSTRUCTIONS,
                                .exclude_kernel = 1,
                                .exclude_hv = 1};
    counter = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
    if (counter < 0) {
        printf("# no instruction counter here: 0 below means not measured\n");
    }
    now_ns = 1000000000;
    for (uint32_t i = 0; i < RESPONSE; i++) {
        body[i] = (uint8_t)(i * 7);
    }
    body_sum = net_sum(body, RESPONSE);
    measure("software checksum", 0);
    measure("checksum offload", NET_CAP_CSUM);
    return 0;
}
