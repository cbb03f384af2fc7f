/* SPDX-License-Identifier: MIT */
/*
 * The DHCP client against a server written here, which can be silent, refuse,
 * offer what is taken or talk nonsense.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libos/libos/dhcp.h"
#include "libos/net/stack.h"
#include "tests/unit/net/fakenet.h"

#define S 1000000000ull

static struct fake_net net;
static struct fake_host a, b; /* client, server 10.0.0.2 */
static struct udp_port server_port;
static struct dhcp_client client;
static struct {
    uint32_t seen[8]; /* messages by type */
    uint32_t silent;  /* answer nothing this often */
    uint32_t naks;    /* refuse requests this often */
    uint32_t lease_s;
    struct net_addr offer, mask, router;
    uint8_t last[300];
    uint32_t changes;
    uint16_t secs[8]; /* of the last message of each type */
    bool garble, offers_only;
} server;

static uint8_t *opt32(uint8_t *p, uint8_t kind, uint32_t be)
{
    p[0] = kind;
    p[1] = 4;
    put_be32(p + 2, be);
    return p + 6;
}

static void answer(const uint8_t *q, uint8_t type)
{
    struct net_endpoint to = {net_v4(255, 255, 255, 255), 68};
    uint8_t m[400] = {2, 1, 6};
    uint8_t *p = m + 240;
    memcpy(m + 4, q + 4, 4);
    memcpy(m + 28, q + 28, 6);
    put32(m + 236, 0x63825363);
    if (type != 6) {
        put_be32(m + 16, server.offer.word[3]);
    }
    *p++ = 53;
    *p++ = 1;
    *p++ = type;
    p = opt32(p, 54, net_v4(10, 0, 0, 2).word[3]);
    if (type != 6) {
        p = opt32(p, 1, server.mask.word[3]);
        p = opt32(p, 3, server.router.word[3]);
        p = opt32(p, 6, net_v4(10, 0, 0, 3).word[3]);
        p = opt32(p, 51, to_be32(server.lease_s));
    }
    *p = 255;
    if (server.garble) {
        for (int i = 0; i < 3; i++) {
            m[fake_below(&net, 300)] = (uint8_t)fake_random(&net);
        }
    }
    ck_assert_int_eq(udp_send_copy(&server_port, &to, m, 300), 0);
}

static void serve(struct udp_port *p, const struct net_endpoint *from,
                  const struct net_addr *to, const void *data, uint32_t len)
{
    const uint8_t *m = data;
    (void)p;
    (void)to;
    ck_assert_uint_eq(from->port, 68);
    ck_assert_uint_ge(len, 300);
    ck_assert_uint_eq(m[240], 53);
    memcpy(server.last, m, 300);
    server.seen[m[242]]++;
    server.secs[m[242]] = get16(m + 8);
    if (server.silent) {
        server.silent--;
        return;
    }
    if (m[242] == 1) {
        answer(m, 2);
    } else if (m[242] == 3 && !server.offers_only) {
        bool nak = server.naks != 0;
        server.naks -= nak;
        answer(m, nak ? 6 : 5);
    } else if (m[242] == 4) {
        server.offer = net_v4(10, 0, 0, 77);
    }
}

static void changed(struct dhcp_client *c)
{
    (void)c;
    server.changes++;
}

static void setup(void)
{
    fake_net_init(&net, 11);
    fake_host_init(&net, &a, 0, NULL);
    fake_host_init(&net, &b, 0, NULL);
    ck_assert_int_eq(
        net_set_v4(a.stack, net_v4(0, 0, 0, 0), 32, (struct net_addr){0}), 0);
    memset(&server, 0, sizeof server);
    server.lease_s = 3600;
    server.offer = net_v4(10, 0, 0, 50);
    server.mask = net_v4(255, 255, 255, 0);
    server.router = net_v4(10, 0, 0, 2);
    server_port = (struct udp_port){.received = serve, .port = 67};
    ck_assert_int_eq(udp_bind(b.stack, &server_port), 0);
    client = (struct dhcp_client){.changed = changed, .check_ms = 200};
}

static void teardown(void)
{
    fake_net_finish(&net);
    fake_host_finish(&a);
    fake_host_finish(&b);
}

static void run(uint64_t ns)
{
    fake_run(&net, net.now_ns + ns, NULL, NULL);
}

static bool has(struct net_addr want)
{
    struct net_addr got = net_addr_of(a.stack);
    return net_addr_eq(&got, &want);
}

START_TEST(address_is_obtained_and_given_back)
{
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    ck_assert_int_eq(dhcp_start(a.stack, &(struct dhcp_client){0}),
                     -NET_E_USED);
    run(S);
    ck_assert_int_eq(client.state, DHCP_BOUND);
    ck_assert(has(net_v4(10, 0, 0, 50)));
    ck_assert_uint_eq(client.lease.prefix, 24);
    ck_assert_uint_eq(client.lease.renew_s, 1800);
    ck_assert_uint_eq(client.lease.rebind_s, 3150);
    ck_assert_uint_eq(client.lease.dns.byte[15], 3);
    ck_assert_uint_eq(server.changes, 1);
    ck_assert_uint_eq(server.seen[1], 1);
    ck_assert_uint_eq(server.seen[3], 1);
    run(10 * S); /* renewing would need the server's station: learn it */
    dhcp_stop(&client);
    run(S);
    ck_assert(has((struct net_addr){0}));
    ck_assert_int_eq(client.state, DHCP_STOPPED);
}
END_TEST

START_TEST(silence_backs_off)
{
    server.silent = 4;
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(2 * S);
    ck_assert_uint_eq(server.seen[1], 1);
    run(4 * S); /* 4 s +- 1 */
    ck_assert_uint_eq(server.seen[1], 2);
    run(9 * S); /* 8 s */
    ck_assert_uint_eq(server.seen[1], 3);
    run(90 * S);
    ck_assert_uint_eq(server.seen[1], 5);
    ck_assert(has(net_v4(10, 0, 0, 50)));
}
END_TEST

/* RFC 2131 s3.1 step 3: relays choose by it, so a request says the seconds
   of the discovery that was answered. */
START_TEST(requests_repeat_the_seconds)
{
    server.silent = 1;
    server.offers_only = true;
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(20 * S);
    ck_assert_uint_eq(server.seen[1], 2);
    ck_assert_uint_ge(server.seen[3], 2);
    ck_assert_uint_ge(server.secs[1], 3);
    ck_assert_uint_eq(server.secs[3], server.secs[1]);
}
END_TEST

START_TEST(refusal_begins_anew)
{
    server.naks = 2;
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(5 * S);
    ck_assert_uint_eq(server.seen[1], 3);
    ck_assert(has(net_v4(10, 0, 0, 50)));
}
END_TEST

START_TEST(taken_address_is_declined)
{
    server.offer = net_v4(10, 0, 0, 2); /* the server's own */
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(S);
    ck_assert_uint_eq(server.seen[4], 1);
    ck_assert(has((struct net_addr){0}));
    run(15 * S);
    ck_assert(has(net_v4(10, 0, 0, 77)));
}
END_TEST

START_TEST(lease_is_renewed_rebound_and_lost)
{
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(S);
    run(1800 * S);
    ck_assert_uint_eq(server.seen[3], 2);
    ck_assert_uint_eq(get_be32(server.last + 12),
                      net_v4(10, 0, 0, 50).word[3]); /* ciaddr */
    ck_assert_uint_eq(server.changes, 2);
    ck_assert_int_eq(client.state, DHCP_BOUND);
    server.silent = UINT32_MAX;
    run(1810 * S);
    ck_assert_int_eq(client.state, DHCP_RENEWING);
    run(1350 * S);
    ck_assert_int_eq(client.state, DHCP_REBINDING);
    ck_assert(has(net_v4(10, 0, 0, 50)));
    run(500 * S);
    ck_assert_int_eq(client.state, DHCP_SELECTING);
    ck_assert(has((struct net_addr){0}));
    ck_assert_uint_eq(server.changes, 3);
    server.silent = 0;
    run(200 * S);
    ck_assert(has(net_v4(10, 0, 0, 50)));
}
END_TEST

/* s4.4.5: clients that were started together ask apart. */
START_TEST(renewals_are_spread)
{
    uint64_t at[2];
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
        run(S);
        at[i] = client.timer.at_ns - client.bound_ns;
        ck_assert_uint_le(at[i], 1800 * S);
        ck_assert_uint_ge(at[i], 1600 * S);
        dhcp_stop(&client);
    }
    ck_assert_uint_ne(at[0], at[1]);
}
END_TEST

START_TEST(renewal_may_change_the_network)
{
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(S);
    ck_assert_uint_eq(a.stack->gateway, net_v4(10, 0, 0, 2).word[3]);
    server.router = net_v4(10, 0, 0, 9);
    run(1800 * S);
    ck_assert_uint_eq(client.lease.gateway.byte[15], 9);
    ck_assert_uint_eq(a.stack->gateway, net_v4(10, 0, 0, 9).word[3]);
}
END_TEST

/* s4.4.5: when it ends, the address is somebody else's, however short. */
START_TEST(no_lease_is_overdrawn)
{
    server.lease_s = 20;
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    run(S);
    ck_assert(has(net_v4(10, 0, 0, 50)));
    run(60 * S); /* renewed in time */
    ck_assert(has(net_v4(10, 0, 0, 50)));
    server.silent = UINT32_MAX;
    run(20 * S);
    ck_assert(has((struct net_addr){0}));
    ck_assert_int_eq(client.state, DHCP_SELECTING);
}
END_TEST

START_TEST(no_host_has_such_an_address)
{
    const struct net_addr bad[] = {
        net_v4(10, 0, 0, 255),     net_v4(10, 0, 0, 0),  net_v4(0, 0, 0, 5),
        net_v4(127, 0, 0, 1),      net_v4(224, 0, 0, 1), net_v4(240, 0, 0, 1),
        net_v4(255, 255, 255, 255)};
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        server.offer = bad[i];
        run(100 * S);
        ck_assert_int_eq(client.state, DHCP_SELECTING);
        ck_assert(has((struct net_addr){0}));
    }
    ck_assert_uint_eq(server.seen[3], 0);
    /* In a network of two both are hosts (RFC 3021). */
    server.mask = net_v4(255, 255, 255, 254);
    server.offer = net_v4(10, 0, 0, 255);
    run(100 * S);
    ck_assert(has(net_v4(10, 0, 0, 255)));
}
END_TEST

/* A router that cannot be one is left out; the link is there all the same. */
START_TEST(no_router_has_such_an_address)
{
    const struct net_addr bad[] = {net_v4(10, 0, 0, 50), net_v4(10, 0, 0, 255),
                                   net_v4(127, 0, 0, 1), net_v4(224, 0, 0, 1),
                                   net_v4(255, 255, 255, 255)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        server.router = bad[i];
        ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
        run(10 * S);
        ck_assert(has(net_v4(10, 0, 0, 50)));
        ck_assert_uint_eq(client.lease.gateway.word[3], 0);
        dhcp_stop(&client);
    }
}
END_TEST

START_TEST(nonsense_is_survived)
{
    server.garble = true;
    ck_assert_int_eq(dhcp_start(a.stack, &client), 0);
    for (int i = 0; i < 300; i++) {
        server.lease_s = fake_below(&net, 200);
        run(100 * S);
    }
    server.garble = false;
    server.lease_s = 3600;
    run(4000 * S);
    ck_assert(has(net_v4(10, 0, 0, 50)));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("net_dhcp");
    TCase *c = tcase_create("client");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, address_is_obtained_and_given_back);
    tcase_add_test(c, silence_backs_off);
    tcase_add_test(c, requests_repeat_the_seconds);
    tcase_add_test(c, renewals_are_spread);
    tcase_add_test(c, renewal_may_change_the_network);
    tcase_add_test(c, no_lease_is_overdrawn);
    tcase_add_test(c, refusal_begins_anew);
    tcase_add_test(c, taken_address_is_declined);
    tcase_add_test(c, lease_is_renewed_rebound_and_lost);
    tcase_add_test(c, no_host_has_such_an_address);
    tcase_add_test(c, no_router_has_such_an_address);
    tcase_add_test(c, nonsense_is_survived);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
