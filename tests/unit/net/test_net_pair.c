/* SPDX-License-Identifier: MIT */
/*
 * Two stacks against each other: whatever the link does, every byte arrives,
 * once, in order, and both users are told the end. The user side is as varied
 * as the interface allows: short gathers, gathers that have nothing at hand,
 * sums known or not, windows that open and close, readers that take part.
 *
 * NET_SEED=n repeats one run; NET_ROUNDS=n sets how many are tried.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libos/libos/csum.h"
#include "libos/libos/tcp.h"
#include "tests/unit/net/fakenet.h"
#include "tests/unit/net/middle.h"

/* ck_assert writes to a pipe even when all is well. */
#define need(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            ck_abort_msg("%s", #cond);                                         \
        }                                                                      \
    } while (0)

#define PERIOD 65521u
#define PATTERN (PERIOD * 3)

static uint8_t pattern[2][PATTERN];

struct end {
    struct tcp_conn c;
    struct net_pin pin;
    struct fake_net *n;
    int side;
    uint64_t total; /* bytes it will send */
    uint64_t announced;
    uint64_t acked, got;
    uint32_t window;
    bool open, finish_early, told_finish, peer_finished, closed, waiting;
    enum tcp_reason why;
};

static struct end ends[2];
static struct fake_net net;
static struct fake_host host[2];

static struct end *end_of(struct tcp_conn *c)
{
    return (struct end *)(void *)c;
}

/* Announce some more of the stream, and its end when that is reached. */
static void produce(struct end *e)
{
    uint64_t more = 1 + fake_below(e->n, 40000);
    if (e->announced < e->total) {
        e->announced =
            e->announced + more > e->total ? e->total : e->announced + more;
        tcp_send_limit(&e->c, e->announced);
    }
    if (e->announced == e->total && !e->told_finish) {
        if (e->finish_early || fake_chance(e->n, 500)) {
            e->told_finish = true;
            tcp_finish(&e->c);
        }
    }
}

static void established(struct tcp_conn *c)
{
    struct end *e = end_of(c);
    need(!e->open);
    e->open = true;
    tcp_set_options(c, fake_chance(e->n, 500) ? TCP_NAGLE : 0);
    produce(e);
}

static uint32_t gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                       struct tcp_gather *g)
{
    struct end *e = end_of(c);
    uint32_t at = (uint32_t)(offset % PERIOD), n = 0;
    need(len > 0);
    need(offset + len <= e->announced);
    need(offset >= e->acked);
    if (fake_chance(e->n, 30)) {
        e->waiting = true;
        return 0;
    }
    uint32_t max = fake_chance(e->n, 100) ? 1 + fake_below(e->n, len) : len;
    g->count = 0;
    while (n < max && g->count < NET_PIECES_MAX) {
        uint32_t k = g->count == NET_PIECES_MAX - 1 || fake_chance(e->n, 700)
                         ? max - n
                         : 1 + fake_below(e->n, max - n);
        const uint8_t *p = &pattern[e->side][at + n];
        g->piece[g->count++] = (struct net_piece){
            .paddr = (uint64_t)(uintptr_t)p, .va = p, .len = k};
        n += k;
    }
    g->pin = &e->pin;
    if (fake_chance(e->n, 500)) {
        g->sum = net_sum(&pattern[e->side][at], n);
        g->sum_known = true;
    }
    return n;
}

static void take_window(struct end *e)
{
    uint32_t w = fake_chance(e->n, 150) ? fake_below(e->n, 3000)
                                        : 20000 + fake_below(e->n, 60000);
    e->window = fake_chance(e->n, 50) ? 0 : w;
    tcp_receive_window(&e->c, e->window);
}

static uint32_t received(struct tcp_conn *c, const void *data, uint32_t len)
{
    struct end *e = end_of(c);
    uint32_t at = (uint32_t)(e->got % PERIOD), take = len;
    need(len > 0);
    need(!e->peer_finished);
    need(memcmp(data, &pattern[!e->side][at], len) == 0);
    if (fake_chance(e->n, 10)) {
        take = fake_below(e->n, len + 1);
    }
    e->got += take;
    if (fake_chance(e->n, 100)) {
        take_window(e);
    }
    if (fake_chance(e->n, 200)) {
        produce(e);
    }
    return take;
}

static void finished(struct tcp_conn *c)
{
    struct end *e = end_of(c);
    need(!e->peer_finished);
    need(e->got == ends[!e->side].total);
    e->peer_finished = true;
    if (e->announced == e->total && !e->told_finish) {
        e->told_finish = true;
        tcp_finish(c);
    }
}

static void acked(struct tcp_conn *c, uint64_t upto)
{
    struct end *e = end_of(c);
    need(upto > e->acked);
    need(upto <= e->announced);
    e->acked = upto;
    produce(e);
}

static void closed(struct tcp_conn *c, enum tcp_reason why)
{
    struct end *e = end_of(c);
    need(!e->closed);
    e->closed = true;
    e->why = why;
    memset(c, 0xa5, sizeof *c); /* nobody looks at it again */
}

static struct tcp_conn *accept_conn(struct tcp_listener *l,
                                    const struct net_endpoint *peer)
{
    (void)l;
    (void)peer;
    if (ends[1].open || ends[1].closed || fake_chance(&net, 200)) {
        return NULL;
    }
    return &ends[1].c;
}

static const struct tcp_ops ops = {
    .accept = accept_conn,
    .established = established,
    .gather = gather,
    .received = received,
    .finished = finished,
    .acked = acked,
    .closed = closed,
};

static void ticker(struct net_timer *t, struct net_stack *s);

struct life {
    struct net_timer timer;
    int side;
};

static struct life life[2];

/* What a user does from outside of callbacks. */
static void ticker(struct net_timer *t, struct net_stack *s)
{
    struct end *e = &ends[((struct life *)(void *)t)->side];
    if (e->closed) {
        return;
    }
    if (e->open) {
        produce(e);
        if (e->waiting) {
            e->waiting = false;
            tcp_ready(&e->c);
        }
        if (e->window < 3000) {
            take_window(e);
        }
        tcp_cork(&e->c, fake_chance(e->n, 200));
    }
    net_timer_start(s, t, e->n->now_ns + 1 + fake_random(e->n) % 30000000);
}

static bool both_closed(void *ctx)
{
    (void)ctx;
    return ends[0].closed && ends[1].closed;
}

struct weather {
    uint32_t loss, repeat, corrupt;
    uint64_t jitter_ns, ns_per_byte;
    const struct middle *middle; /* NULL: nobody is between them */
};

static void one_run(uint64_t seed, const struct weather *w, uint32_t caps,
                    uint64_t bytes)
{
    struct tcp_listener l = {.ops = &ops, .port = 80, .window = 30000};
    struct net_config cfg = {.conns = 16,
                             .half_open = 4,
                             .time_wait = 4,
                             .neighbours = 8,
                             .ooo_bufs_conn = 24};
    fprintf(stderr,
            "# NET_SEED=%llu loss %u repeat %u corrupt %u jitter %llu "
            "caps %u\n",
            (unsigned long long)seed, w->loss, w->repeat, w->corrupt,
            (unsigned long long)w->jitter_ns, caps);
    memset(ends, 0, sizeof ends);
    memset(life, 0, sizeof life);
    fake_net_init(&net, seed);
    if (fake_chance(&net, 300)) {
        cfg.half_open = 0; /* cookies only */
    }
    fake_host_init(&net, &host[0], caps, NULL);
    fake_host_init(&net, &host[1], caps, &cfg);
    host[0].room = 2 + fake_below(&net, 60);
    net.loss = w->loss;
    net.repeat = w->repeat;
    net.corrupt = w->corrupt;
    net.jitter_ns = w->jitter_ns;
    net.ns_per_byte = w->ns_per_byte;
    if (w->middle != NULL) {
        middle_start(&net, w->middle);
    }
    for (int i = 0; i < 2; i++) {
        ends[i].n = &net;
        ends[i].side = i;
        ends[i].total = fake_chance(&net, 100) ? 0 : fake_random(&net) % bytes;
        ends[i].window = 30000;
        ends[i].finish_early = fake_chance(&net, 700);
        life[i].side = i;
        life[i].timer.fire = ticker;
        net_timer_start(host[i].stack, &life[i].timer, net.now_ns + 1);
    }
    ck_assert_int_eq(tcp_listen(host[1].stack, &l), 0);
    struct net_endpoint to =
        (struct net_endpoint){fake_addr(&net, &host[1]), 80};
    ck_assert_int_eq(tcp_connect(host[0].stack, &ends[0].c, &ops, &to, 0), 0);
    tcp_set_timeout(&ends[0].c, 3600ull * 1000000000);
    fake_run(&net, net.now_ns + 7200ull * 1000000000, both_closed, NULL);
    for (int i = 0; i < 2; i++) {
        const struct net_stats *s = net_stats(host[i].stack);
        ck_assert(ends[i].closed);
        ck_assert_int_eq(ends[i].why, TCP_DONE);
        ck_assert_uint_eq(ends[i].acked, ends[i].total);
        ck_assert_uint_eq(ends[i].got, ends[!i].total);
        ck_assert_uint_eq(s->tcp_bytes_in, ends[!i].total);
    }
    /* Every pin comes home. */
    fake_run(&net, net.now_ns + 1000000000, NULL, NULL);
    ck_assert_uint_eq(ends[0].pin.in_flight, 0);
    ck_assert_uint_eq(ends[1].pin.in_flight, 0);
    fake_net_finish(&net);
    fake_host_finish(&host[0]);
    fake_host_finish(&host[1]);
}

static const struct tcp_conn *victim(const struct fake_host *h)
{
    const struct end *e = &ends[h == &host[1]];
    return e->open && !e->closed ? &e->c : NULL;
}

static const struct middle box = {.recut = 300,
                                  .longer = 200,
                                  .options = 300,
                                  .trailer = 300,
                                  .replay = 100,
                                  .strip = 300};
static const struct middle attacker = {
    .forge = 400, .victim = victim, .strip = 300};
static const struct middle both = {.recut = 200,
                                   .longer = 100,
                                   .options = 100,
                                   .trailer = 100,
                                   .replay = 100,
                                   .forge = 300,
                                   .strip = 300,
                                   .victim = victim};

static const struct weather fine = {0};
static const struct weather rain = {
    .loss = 20, .repeat = 5, .ns_per_byte = 800};
static const struct weather wind = {
    .loss = 10, .repeat = 20, .jitter_ns = 900000};
static const struct weather storm = {.loss = 150,
                                     .repeat = 50,
                                     .corrupt = 20,
                                     .jitter_ns = 3000000,
                                     .ns_per_byte = 8000};
static const struct weather boxed = {.loss = 2, .middle = &box};
static const struct weather attacked = {.loss = 2, .middle = &attacker};
static const struct weather worst = {.loss = 30, .middle = &both};

static uint32_t rounds(uint32_t normal)
{
    const char *e = getenv("NET_ROUNDS");
    return e != NULL ? (uint32_t)atoi(e) : normal;
}

static uint64_t seed_of(uint32_t round)
{
    const char *e = getenv("NET_SEED");
    return e != NULL ? strtoull(e, NULL, 10) : round + 1;
}

static void many(const struct weather *w, uint32_t n, uint64_t bytes)
{
    static const uint32_t caps[] = {0, NET_CAP_CSUM,
                                    NET_CAP_CSUM | NET_CAP_TSO4};
    n = getenv("NET_SEED") != NULL ? 1 : rounds(n);
    for (uint32_t i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++) {
            one_run(seed_of(i), w, caps[k], bytes);
        }
    }
}

START_TEST(fine_weather)
{
    many(&fine, 4, 600000);
}
END_TEST

START_TEST(rain_loses)
{
    many(&rain, 4, 400000);
}
END_TEST

START_TEST(wind_reorders)
{
    many(&wind, 4, 400000);
}
END_TEST

START_TEST(storm_does_everything)
{
    many(&storm, 3, 60000);
}
END_TEST

START_TEST(a_box_recuts_and_repeats)
{
    many(&boxed, 6, 300000);
}
END_TEST

START_TEST(a_blind_attacker_harms_nobody)
{
    many(&attacked, 6, 300000);
}
END_TEST

START_TEST(a_box_and_an_attacker)
{
    many(&worst, 6, 100000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("net_pair");
    TCase *c = tcase_create("weather");
    for (uint32_t i = 0; i < PATTERN; i++) {
        uint32_t x = i % PERIOD;
        pattern[0][i] = (uint8_t)(x * 31 + (x >> 8) * 7);
        pattern[1][i] = (uint8_t)(x * 17 + (x >> 7) * 11 + 5);
    }
    tcase_set_timeout(c, 600);
    tcase_add_test(c, fine_weather);
    tcase_add_test(c, rain_loses);
    tcase_add_test(c, wind_reorders);
    tcase_add_test(c, storm_does_everything);
    tcase_add_test(c, a_box_recuts_and_repeats);
    tcase_add_test(c, a_blind_attacker_harms_nobody);
    tcase_add_test(c, a_box_and_an_attacker);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
