/* SPDX-License-Identifier: MIT */
/*
 * The services of netsvc over the fake network, with room for one connection.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libos/libos/mem.h"
#include "libos/libos/tcp.h"
#include "netsvc/service.h"
#include "tests/unit/net/fakenet.h"

#define S 1000000000ull

/* ------------------------------------------------ what netsvc asks of libos */

static void *taken[8];
static uint32_t taken_count;

void *mem_alloc(size_t bytes)
{
    void *p = calloc(1, bytes);

    ck_assert(p && taken_count < 8);
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

static void setup(void)
{
    fake_net_init(&net, 5);
    fake_host_init(&net, &server, 0, NULL);
    fake_host_init(&net, &client, 0, NULL);
    ck_assert_int_eq(service_tcp_open(server.stack, 1), 0);
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

int main(void)
{
    Suite *s = suite_create("netsvc");
    TCase *c = tcase_create("services");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, clients_that_vanish_are_forgotten);
    suite_add_tcase(s, c);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
