/* SPDX-License-Identifier: MIT */
/*
 * The network in memory. Failures of the stack under test abort with a line
 * that says what it did wrong.
 */
#include "tests/unit/net/fakenet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/libos/csum.h"

#define POOL_BYTES (64u * 2048u)

#define must(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);         \
            abort();                                                           \
        }                                                                      \
    } while (0)

uint64_t fake_random(struct fake_net *n)
{
    uint64_t z = n->seed += 0x9e3779b97f4a7c15; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint32_t fake_below(struct fake_net *n, uint32_t limit)
{
    return (uint32_t)(fake_random(n) >> 32) % limit;
}

bool fake_chance(struct fake_net *n, uint32_t of_1000)
{
    return fake_below(n, 1000) < of_1000;
}

void fake_net_init(struct fake_net *n, uint64_t seed)
{
    *n = (struct fake_net){
        .now_ns = 1000000000, .seed = seed, .delay_ns = 100000};
}

static void enqueue(struct fake_net *n, struct fake_frame *f)
{
    struct fake_frame **p = &n->queue;
    f->order = n->order++;
    while (*p != NULL && (*p)->at_ns <= f->at_ns) {
        p = &(*p)->next;
    }
    f->next = *p;
    *p = f;
}

static struct fake_frame *frame_new(const uint8_t *bytes, uint32_t len)
{
    struct fake_frame *f = malloc(sizeof *f + len);
    must(f);
    memset(f, 0, sizeof *f);
    f->len = len;
    memcpy(f->bytes, bytes, len);
    return f;
}

void fake_deliver(struct fake_net *n, struct fake_host *to,
                  const uint8_t *frame, uint32_t len, uint64_t after_ns)
{
    struct fake_frame *f = frame_new(frame, len);
    f->to = to;
    f->at_ns = n->now_ns + after_ns;
    enqueue(n, f);
}

/* One frame, as it is on the wire, to the other host. */
static void send_wire(struct fake_host *h, const uint8_t *bytes, uint32_t len)
{
    struct fake_net *n = h->net;
    int side = h == n->host[1];
    struct fake_host *to = n->host[!side];
    uint64_t start = n->now_ns;
    n->frames++;
    if (h->tap != NULL) {
        h->tap(h, bytes, len);
    }
    if (n->ns_per_byte) {
        start = n->wire_free_ns[side] > start ? n->wire_free_ns[side] : start;
        n->wire_free_ns[side] = start + len * n->ns_per_byte;
    }
    if (to == NULL || to->stack == NULL) {
        return;
    }
    if (fake_chance(n, n->loss)) {
        n->lost++;
        return;
    }
    if (n->middle != NULL) {
        n->middle(n, to, bytes, len);
        return;
    }
    for (int copies = fake_chance(n, n->repeat) ? 2 : 1; copies; copies--) {
        struct fake_frame *f = frame_new(bytes, len);
        if (fake_chance(n, n->corrupt)) {
            f->bytes[14 + fake_below(n, len - 14)] ^=
                (uint8_t)(1u << fake_below(n, 8));
        }
        f->to = to;
        f->at_ns = start + n->delay_ns;
        if (n->jitter_ns) {
            f->at_ns += fake_random(n) % n->jitter_ns;
        }
        enqueue(n, f);
    }
}

static void finish_sum(uint8_t *bytes, uint32_t len, uint32_t start,
                       uint32_t offset)
{
    uint16_t sum = (uint16_t)~net_sum(bytes + start, len - start);
    must(start + offset + 2 <= len);
    put_be16(bytes + start + offset, sum ? sum : 0xffff);
}

/* Cut a large segment as a device does. */
static void send_cut(struct fake_host *h, const struct net_frame *f,
                     const uint8_t *bytes, uint32_t len)
{
    static uint8_t one[FAKE_FRAME_MAX];
    uint32_t at = 0, body = len - f->hdr_len, id = get16(bytes + 18);
    must(h->link.caps & NET_CAP_TSO4 && f->gso == NET_GSO_TCP4);
    must(f->gso_size && f->csum_start == 34 && f->csum_offset == 16);
    while (at < body) {
        uint32_t n = body - at < f->gso_size ? body - at : f->gso_size;
        uint8_t *tcp = one + 34;
        bool last = at + n == body;
        memcpy(one, bytes, f->hdr_len);
        memcpy(one + f->hdr_len, bytes + f->hdr_len + at, n);
        put16(one + 16, (uint16_t)(f->hdr_len - 14 + n));
        put16(one + 18, (uint16_t)id++);
        put16(one + 24, 0);
        put_be16(one + 24, (uint16_t)~net_sum(one + 14, 20));
        put32(tcp + 4, get32(tcp + 4) + at);
        if (!last) {
            tcp[13] &= (uint8_t) ~(TH_FIN | TH_PSH);
        }
        /* The pseudo header's length changes with the cut. */
        put_be16(tcp + 16,
                 net_sum_fold((uint64_t)get_be32(one + 26) +
                              get_be32(one + 30) + to_be16(IPPROTO_TCP) +
                              to_be16((uint16_t)(f->hdr_len - 34 + n))));
        finish_sum(one, f->hdr_len + n, 34, 16);
        must(f->hdr_len + n <= h->link.mtu + 14u);
        send_wire(h, one, f->hdr_len + n);
        at += n;
    }
}

static uint32_t flatten(const struct net_frame *f, uint8_t *bytes)
{
    uint32_t len = f->hdr_len;
    must(f->hdr_len >= 14 && f->hdr_len <= NET_HDR_MAX);
    must(f->count <= NET_PIECES_MAX);
    memcpy(bytes, f->hdr, f->hdr_len);
    for (uint32_t i = 0; i < f->count; i++) {
        must(len + f->piece[i].len <= FAKE_FRAME_MAX);
        must(f->piece[i].paddr == (uint64_t)(uintptr_t)f->piece[i].va);
        if (f->piece[i].len) {
            memcpy(bytes + len, f->piece[i].va, f->piece[i].len);
        }
        len += f->piece[i].len;
    }
    must(len == f->hdr_len + f->body_len);
    return len;
}

static int transmit(struct net_link *l, const struct net_frame *f)
{
    static uint8_t bytes[FAKE_FRAME_MAX];
    struct fake_host *h = (struct fake_host *)(void *)l;
    struct fake_net *n = h->net;
    if (h->room && h->used >= h->room) {
        return -NET_E_AGAIN;
    }
    uint32_t len = flatten(f, bytes);
    struct fake_frame *done = frame_new(bytes, len);
    done->from = h;
    done->frame = *f;
    done->frame.hdr = done->bytes;
    done->at_ns = n->now_ns + 20000;
    h->used++;
    enqueue(n, done);
    if (f->gso) {
        send_cut(h, f, bytes, len);
        return 0;
    }
    must(len <= l->mtu + 14u);
    if (f->csum_start) {
        must(l->caps & NET_CAP_CSUM);
        finish_sum(bytes, len, f->csum_start, f->csum_offset);
    }
    send_wire(h, bytes, len);
    return 0;
}

static void complete(struct fake_frame *f)
{
    static uint8_t bytes[FAKE_FRAME_MAX];
    must(flatten(&f->frame, bytes) == f->len);
    if (f->frame.pin != NULL) {
        /* Whoever pinned them promised not to change them. */
        must(memcmp(bytes, f->bytes, f->len) == 0);
    }
    f->from->used--;
    net_pin_done(f->frame.pin);
}

void fake_host_init(struct fake_net *n, struct fake_host *h, uint32_t caps,
                    const struct net_config *given)
{
    struct net_config cfg = {.conns = 64,
                             .half_open = 16,
                             .time_wait = 16,
                             .neighbours = 8,
                             .ooo_bufs_conn = 32};
    int side = n->host[0] != NULL;
    if (given != NULL) {
        cfg = *given;
    }
    *h = (struct fake_host){.net = n};
    h->link = (struct net_link){.transmit = transmit,
                                .caps = caps,
                                .gso_max = 60000,
                                .mtu = 1500,
                                .mac = {2, 0, 0, 0, 0, (uint8_t)(side + 1)}};
    cfg.link = &h->link;
    cfg.now_ns = n->now_ns;
    for (uint32_t i = 0; i < sizeof cfg.entropy; i++) {
        cfg.entropy[i] = (uint8_t)fake_random(n);
    }
    h->mem = aligned_alloc(64, (net_size(&cfg) + 63) & ~63ull);
    h->pool = aligned_alloc(2048, POOL_BYTES);
    must(h->mem && h->pool);
    h->stack = net_init(h->mem, &cfg);
    must(h->stack);
    net_pool_add(h->stack, h->pool, (uint64_t)(uintptr_t)h->pool, POOL_BYTES);
    n->host[side] = h;
    must(net_set_v4(h->stack, fake_addr(n, h), 24, (struct net_addr){0}) == 0);
}

struct net_addr fake_addr(const struct fake_net *n, const struct fake_host *h)
{
    return net_v4(10, 0, 0, h == n->host[0] ? 1 : 2);
}

void fake_host_finish(struct fake_host *h)
{
    free(h->mem);
    free(h->pool);
}

void fake_net_finish(struct fake_net *n)
{
    struct fake_frame *f;
    while ((f = n->queue) != NULL) {
        n->queue = f->next;
        free(f);
    }
}

static uint64_t next_event(const struct fake_net *n)
{
    uint64_t at = n->queue != NULL ? n->queue->at_ns : UINT64_MAX;
    for (int i = 0; i < 2; i++) {
        if (n->host[i] != NULL && n->host[i]->stack != NULL) {
            uint64_t d = net_deadline(n->host[i]->stack);
            at = d < at ? d : at;
        }
    }
    return at;
}

static void one_event(struct fake_net *n)
{
    struct fake_frame *f = n->queue;
    if (n->between != NULL) {
        n->between(n);
    }
    for (int i = 0; i < 2; i++) {
        if (n->host[i] != NULL && n->host[i]->stack != NULL) {
            net_tick(n->host[i]->stack, n->now_ns);
        }
    }
    if (f != NULL && f->at_ns <= n->now_ns) {
        n->queue = f->next;
        if (f->to != NULL) {
            net_input(f->to->stack, f->bytes, f->len, 0);
        } else {
            complete(f);
        }
        free(f);
    }
    /* Flush not after each frame but in batches of any size. */
    for (int i = 0; i < 2; i++) {
        if (n->host[i] != NULL && n->host[i]->stack != NULL &&
            (n->queue == NULL || n->queue->at_ns > n->now_ns ||
             fake_chance(n, 500))) {
            net_flush(n->host[i]->stack);
        }
    }
}

void fake_run(struct fake_net *n, uint64_t until_ns, bool (*stop)(void *),
              void *ctx)
{
    for (int i = 0; i < 2; i++) {
        if (n->host[i] != NULL && n->host[i]->stack != NULL) {
            net_tick(n->host[i]->stack, n->now_ns);
            net_flush(n->host[i]->stack);
        }
    }
    while (!(stop != NULL && stop(ctx))) {
        uint64_t at = next_event(n);
        if (at > until_ns) {
            n->now_ns = until_ns;
            break;
        }
        n->now_ns = at > n->now_ns ? at : n->now_ns;
        one_event(n);
    }
}
