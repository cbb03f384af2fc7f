/* SPDX-License-Identifier: MIT */
/*
 * The services of netsvc over the fake network, with room for one connection.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libos/libos/mem.h"
#include "libos/libos/tcp.h"
#include "programs/netsvc/service.h"
#include "tests/unit/net/fakenet.h"

#define S 1000000000ull

/* ------------------------------------------------ what netsvc asks of libos */

static void *taken[80];
static uint32_t taken_count;

void *mem_alloc(size_t bytes)
{
    void *p = calloc(1, bytes);
    ck_assert(p && taken_count < 80);
    taken[taken_count++] = p;
    return p;
}

int mem_run_alloc(struct mem_run *run, uint64_t bytes, uint32_t flags)
{
    (void)flags;
    run->va = mem_alloc(bytes);
    run->paddr = (uint64_t)(uintptr_t)run->va;
    run->bytes = bytes;
    return 0;
}

/* --------------------------------------------------------------- its client */

static struct fake_net net;
static struct fake_host server, client;
static struct tcp_conn conn;
static uint32_t echoed;

static uint32_t gather(struct tcp_conn *c, uint64_t offset, uint32_t len,
                       struct tcp_gather *g)
{
    static const uint8_t word[] = "hello";
    const uint8_t *p = word + offset;
    (void)c;
    g->piece[0] = (struct net_piece){
        .paddr = (uint64_t)(uintptr_t)p, .va = p, .len = len};
    g->count = 1;
    return len;
}

static uint32_t received(struct tcp_conn *c, const void *data, uint32_t len)
{
    (void)c;
    (void)data;
    echoed += len;
    return len;
}

static const struct tcp_ops ops = {.gather = gather, .received = received};

static void say_hello(void)
{
    struct net_endpoint to = {fake_addr(&net, &server), PORT_ECHO};
    echoed = 0;
    ck_assert_int_eq(tcp_connect(client.stack, &conn, &ops, &to, 0), 0);
    tcp_send_limit(&conn, 5);
    fake_run(&net, net.now_ns + 10 * S, NULL, NULL);
}

static void hang_up(void)
{
    tcp_abort(&conn);
    fake_run(&net, net.now_ns + S / 2, NULL, NULL);
}

/* `n` connections to a service that say nothing and read little. */
static struct tcp_conn idle[64];

static uint32_t read_little(struct tcp_conn *c, const void *data, uint32_t len)
{
    (void)data;
    tcp_receive_window(c, 0);
    return len;
}

static const struct tcp_ops idle_ops = {.gather = gather,
                                        .received = read_little};

static void keep_idle(uint32_t n, uint16_t port)
{
    struct net_endpoint to = {fake_addr(&net, &server), port};
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_int_eq(tcp_connect(client.stack, &idle[i], &idle_ops, &to, 0),
                         0);
    }
    fake_run(&net, net.now_ns + 12 * S, NULL, NULL);
}

static uint32_t open_now(uint32_t n)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < n; i++) {
        open += idle[i].state == TCP_ESTABLISHED;
    }
    return open;
}

static void setup_with(uint32_t conns)
{
    fake_net_init(&net, 5);
    fake_host_init(&net, &server, 0, NULL);
    fake_host_init(&net, &client, 0, NULL);
    ck_assert_int_eq(service_tcp_open(server.stack, conns), 0);
}

static void setup(void)
{
    setup_with(1);
}

static void setup_many(void)
{
    setup_with(64);
}

static void teardown(void)
{
    fake_net_finish(&net);
    fake_host_finish(&server);
    fake_host_finish(&client);
    while (taken_count) {
        free(taken[--taken_count]);
    }
}

/* RFC 1122 s4.2.3.6: a server would wait for ever for a client that vanished,
   and its memory with it. */
START_TEST(clients_that_vanish_are_forgotten)
{
    say_hello();
    ck_assert_uint_eq(echoed, 5);
    fake_host_finish(&client);
    client.stack = NULL;
    fake_run(&net, net.now_ns + 10800 * S, NULL, NULL);
    fake_host_init(&net, &client, 0, NULL);
    say_hello();
    ck_assert_uint_eq(echoed, 5);
}
END_TEST

/* Strangers who do nothing hold every place, of any of the services: the one
   who did nothing for longest goes, and only when it is needed. */
START_TEST(idle_strangers_shut_nobody_out)
{
    static const uint16_t port[] = {PORT_ECHO, PORT_DISCARD, PORT_ZERO};
    say_hello(); /* they know each other's station */
    hang_up();
    keep_idle(64, port[_i]);
    ck_assert_uint_eq(open_now(64), 64);
    for (int i = 0; i < 3; i++) {
        uint64_t began = net.now_ns;
        say_hello();
        hang_up();
        ck_assert_uint_eq(echoed, 5);
        ck_assert_uint_lt(net.now_ns - began, 11 * S);
    }
    ck_assert(idle[0].state != TCP_ESTABLISHED);
    ck_assert_uint_ge(open_now(64), 50);
    fake_run(&net, net.now_ns + 400 * S, NULL, NULL);
    ck_assert_uint_ge(net_stats(server.stack)->tcp_idle, 50);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("netsvc");
    TCase *c = tcase_create("services");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, clients_that_vanish_are_forgotten);
    suite_add_tcase(s, c);
    TCase *many = tcase_create("crowds");
    tcase_add_checked_fixture(many, setup_many, teardown);
    tcase_add_loop_test(many, idle_strangers_shut_nobody_out, 0, 3);
    suite_add_tcase(s, many);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
