/* SPDX-License-Identifier: MIT */
/*
 * Packet rings and the interface on top of them, against a fake kernel: full
 * rings, many times round, refusals, a kernel that lies, every failing step
 * of opening.
 */
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "tests/unit/libos/fake_kernel.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

#define SLOTS 8u

static struct rx_ring rx;
static struct tx_ring tx;
static unsigned idle_calls;

static void setup(void)
{
    fk_reset();
    idle_calls = 0;
    ck_assert_int_eq(rx_ring_open(&rx, 3, 1, 4, SLOTS), 0);
    ck_assert_int_eq(tx_ring_open(&tx, 3, 1, 2, SLOTS), 0);
}

static void teardown(void)
{
    rx_ring_close(&rx);
    tx_ring_close(&tx);
    ck_assert_uint_eq(fk.live, 0);
    ck_assert_uint_eq(fk.events, 0);
    ck_assert_uint_eq(fk.rings, 0);
}

/* ----------------------------------------------------------------- receive */

START_TEST(what_the_kernel_is_told)
{
    ck_assert_uint_eq(fk.rx.device, 3);
    ck_assert_uint_eq(fk.rx.slots, SLOTS);
    ck_assert_uint_eq(fk.rx.event, (uint32_t)rx.event);
    ck_assert_uint_eq(fk.rx.frame * PAGE_SIZE, rx.run.paddr);
    ck_assert_uint_eq(fk.rx.frames * PAGE_SIZE, rx.run.bytes);
    ck_assert_uint_ge(rx.run.bytes, SLOTS * NET_RX_BUFFER);
    ck_assert_uint_eq(fk.tx.region, 2);
    ck_assert_int_ne(rx.event, tx.event);
    struct filter f = {.count = 0};
    ck_assert_int_eq(rx_ring_bind(&rx, 1, 2, 0, &f, NULL), 11);
}
END_TEST

START_TEST(packets_come_in_order_and_once)
{
    uint8_t put = 0, got = 0;
    srand(1);
    struct rx_packet p;
    for (int round = 0; round < 1000; round++) {
        for (int n = rand() % 12; n > 0 && fk_deliver(60u + put, put); n--) {
            put++;
        }
        for (int n = rand() % 12; n > 0 && rx_ring_peek(&rx, &p); n--) {
            ck_assert(p.len == 60u + got && p.binding == got);
            ck_assert(p.data[0] == got && p.data[p.len - 1] == got);
            ck_assert(rx_ring_peek(&rx, &p) && p.binding == got);
            rx_ring_next(&rx);
            got++;
        }
    }
    while (rx_ring_peek(&rx, &p)) {
        rx_ring_next(&rx);
        got++;
    }
    ck_assert_uint_eq(got, put);
    ck_assert_uint_gt(rx.head->dropped, 0);
    ck_assert_uint_gt(rx.next, 1000);
}
END_TEST

START_TEST(a_later_slot_waits_for_an_earlier)
{
    rx.slot[1].owner = NET_OWNER_ENV;
    struct rx_packet p;
    ck_assert(!rx_ring_peek(&rx, &p));
}
END_TEST

/* Whatever a slot says, a packet ends inside its buffer. */
START_TEST(lengths_are_clipped_to_the_buffer)
{
    static const uint32_t lies[] = {NET_RX_BUFFER + 1, 65536, UINT32_MAX};
    struct rx_packet p;
    for (int i = 0; i < 3; i++) {
        ck_assert(fk_deliver(lies[i], 1));
        ck_assert(rx_ring_peek(&rx, &p));
        ck_assert_uint_eq(p.len, NET_RX_BUFFER);
        rx_ring_next(&rx);
    }
}
END_TEST

/* ---------------------------------------------------------------- transmit */

struct counted {
    struct net_pin pin; /* first */
    unsigned idle;
};

static void idle(struct net_pin *p)
{
    ((struct counted *)(void *)p)->idle++;
    idle_calls++;
}

static const uint8_t header[NET_HDR_MAX] = {1, 2, 3};

static int put(struct counted *c, uint8_t mark)
{
    uint8_t hdr[64] = {mark};
    struct net_frame f = {.hdr = hdr, .hdr_len = 54, .pin = &c->pin};
    f.count = 1;
    f.piece[0] = (struct net_piece){.paddr = 4096u * mark, .len = 1460};
    int r = tx_ring_put(&tx, &f);
    if (r == 0) {
        c->pin = (struct net_pin){c->pin.in_flight + 1, idle};
    }
    return r;
}

START_TEST(a_full_ring_takes_no_more)
{
    static struct counted c[SLOTS + 1];
    memset(c, 0, sizeof(c));
    for (uint8_t i = 0; i < SLOTS; i++) {
        ck_assert_int_eq(put(&c[i], i), 0);
    }
    ck_assert_int_eq(put(&c[SLOTS], 99), -NET_E_AGAIN);
    tx_ring_kick(&tx);
    tx_ring_kick(&tx);
    ck_assert_uint_eq(fk.sends, 1);
    ck_assert_uint_eq(tx_ring_reap(&tx), 0);
    /* One comes back: one more fits, and nothing under way was touched. */
    ck_assert_uint_eq(fk_transmitted(1, NET_OWNER_ENV), 1);
    ck_assert_int_eq(put(&c[SLOTS], 99), 0);
    ck_assert_uint_eq(c[0].idle, 1);
    ck_assert_uint_eq(fk_tx_slot(0)->header[0], 99);
    ck_assert_uint_eq(fk_tx_slot(1)->header[0], 1);
    ck_assert_int_eq(put(&c[0], 1), -NET_E_AGAIN);
    fk_transmitted(SLOTS, NET_OWNER_ENV);
    ck_assert_uint_eq(tx_ring_reap(&tx), SLOTS);
    ck_assert_uint_eq(idle_calls, SLOTS + 1);
}
END_TEST

START_TEST(pins_are_told_once_and_in_order)
{
    static struct counted c[256];
    unsigned puts = 0, refused = 0;
    memset(c, 0, sizeof(c));
    srand(2);
    for (int round = 0; round < 500; round++) {
        while (rand() % 4 != 0 && put(&c[puts % 256], (uint8_t)puts) == 0) {
            puts++;
        }
        uint32_t owner = rand() % 5 == 0 ? NET_OWNER_REFUSED : NET_OWNER_ENV;
        uint32_t n = fk_transmitted((uint32_t)rand() % SLOTS, owner);
        refused += owner == NET_OWNER_REFUSED ? n : 0;
        tx_ring_reap(&tx);
        /* What the device has not read stays pinned. */
        for (uint32_t k = fk.tx_next; k != puts; k++) {
            ck_assert(c[k % 256].pin.in_flight == 1);
        }
        ck_assert(idle_calls == fk.tx_next);
    }
    ck_assert_uint_eq(tx.refused, refused);
    ck_assert_uint_gt(refused, 0);
    fk_transmitted(SLOTS, NET_OWNER_ENV);
    tx_ring_reap(&tx);
    ck_assert_uint_eq(idle_calls, puts);
    ck_assert_uint_gt(puts, 500);
}
END_TEST

/* Closing a ring with frames under way: nothing is read in place any more. */
START_TEST(closing_tells_every_pin)
{
    static struct counted c[3];
    memset(c, 0, sizeof(c));
    for (uint8_t i = 0; i < 3; i++) {
        put(&c[i], i);
    }
    tx_ring_close(&tx);
    ck_assert_uint_eq(idle_calls, 3);
    ck_assert_int_eq(tx_ring_open(&tx, 3, 1, 2, SLOTS), 0);
}
END_TEST

START_TEST(few_bytes_travel_beside_the_header)
{
    uint8_t small[NET_TX_HEADER_MAX];
    memset(small, 0x55, sizeof(small));
    for (uint32_t len = 70; len <= 80; len++) {
        for (int gso = 0; gso < 2; gso++) {
            struct net_frame f = {.hdr = header, .hdr_len = 54, .count = 2};
            f.gso = gso != 0 ? NET_GSO_TCP4 : NET_GSO_NONE;
            f.piece[0] = (struct net_piece){
                .paddr = 4096, .va = small, .len = len, .copy = true};
            f.piece[1] = (struct net_piece){.paddr = 8192, .len = 1000};
            const struct net_tx_slot *s = fk_tx_slot(tx.next);
            ck_assert_int_eq(tx_ring_put(&tx, &f), 0);
            bool beside = gso == 0 && 54 + len <= NET_TX_HEADER_MAX;
            ck_assert_uint_eq(s->header_len, beside ? 54 + len : 54);
            ck_assert_uint_eq(s->pieces, beside ? 1 : 2);
            ck_assert_uint_eq(s->piece[0].paddr, beside ? 8192 : 4096);
            ck_assert_uint_eq(s->piece[0].reserved, 0);
            ck_assert_uint_eq(s->flags, gso != 0 ? NET_TX_TSO4 : 0);
            if (beside) {
                ck_assert_int_eq(memcmp(s->header + 54, small, len), 0);
            }
            fk_transmitted(1, NET_OWNER_ENV);
            tx_ring_reap(&tx);
        }
    }
}
END_TEST

/* ----------------------------------------------------------------- opening */

START_TEST(a_failed_opening_leaves_nothing)
{
    fk_reset();
    fk.fail_rx = -E_LIMIT;
    struct rx_ring r;
    ck_assert_int_eq(rx_ring_open(&r, 0, 1, 4, SLOTS), -E_LIMIT);
    fk.fail_tx = -E_CAP;
    struct tx_ring t;
    ck_assert_int_eq(tx_ring_open(&t, 0, 1, 2, SLOTS), -E_CAP);
    fk.fail_rx = fk.fail_tx = 0;
    fk.allocs_left = 0;
    ck_assert_int_eq(rx_ring_open(&r, 0, 1, 4, SLOTS), -E_MEM);
    for (int n = 0; n < 2; n++) {
        fk.allocs_left = n;
        ck_assert_int_eq(tx_ring_open(&t, 0, 1, 2, SLOTS), -E_MEM);
    }
    fk.events = UINT64_MAX;
    ck_assert_int_eq(rx_ring_open(&r, 0, 1, 4, SLOTS), -E_LIMIT);
    ck_assert_int_eq(tx_ring_open(&t, 0, 1, 2, SLOTS), -E_LIMIT);
    ck_assert_uint_eq(fk.live, 0);
    ck_assert_uint_eq(fk.events, UINT64_MAX);
    ck_assert_uint_eq(fk.rings, 0);
    /* And a ring that never opened closes. */
    rx_ring_close(&r);
    tx_ring_close(&t);
}
END_TEST

/* --------------------------------------------------------------- interface */

static struct netif nif;
static struct net_config stack_config;

static bool show_sysinfo(void)
{
    static struct sysinfo *s;
    if (s == NULL) {
        s = mmap((void *)SYSINFO_VA, sizeof(*s), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    }
    if (s != (void *)SYSINFO_VA) {
        return false;
    }
    memset(s, 0, sizeof(*s));
    s->nets = 1;
    s->net[0].mtu = 1500;
    memcpy(s->net[0].mac, "\x52\x54\0\x12\x34\x56", 6);
    return true;
}

static int open_netif(uint32_t device)
{
    stack_config = (struct net_config){
        .conns = 4, .half_open = 4, .time_wait = 4, .neighbours = 4};
    struct netif_config cfg = {.device = device,
                               .rx_slots = SLOTS,
                               .tx_slots = SLOTS,
                               .pool_bytes = 1u << 16,
                               .stack = &stack_config};
    return netif_open(&nif, &cfg);
}

START_TEST(an_interface_opens_whole_or_not)
{
    ck_assert_msg(show_sysinfo(), "the page of struct sysinfo is taken");
    fk_reset();
    ck_assert_int_eq(open_netif(1), -E_RANGE);
    int n = 0;
    for (;; n++) {
        fk.allocs_left = n;
        int err = open_netif(0);
        if (err == 0) {
            break;
        }
        ck_assert_int_eq(err, -E_MEM);
        ck_assert_uint_eq(fk.live, 0);
        ck_assert_uint_eq(fk.events, 0);
        ck_assert_uint_eq(fk.rings, 0);
    }
    ck_assert_int_eq(n, 5);
    netif_close(&nif);
    fk.allocs_left = -1;
    fk.fail_entropy = -E_AGAIN;
    ck_assert_int_eq(open_netif(0), -E_AGAIN);
    ck_assert_uint_eq(fk.live, 0);
    ck_assert_uint_eq(fk.rings, 0);
}
END_TEST

START_TEST(an_interface_drains_in_turns)
{
    ck_assert(show_sysinfo());
    fk_reset();
    ck_assert_int_eq(open_netif(0), 0);
    for (uint8_t i = 0; i < 7; i++) {
        ck_assert(fk_deliver(60, i));
    }
    ck_assert_uint_eq(netif_turn(&nif, 5), 5);
    ck_assert_uint_eq(netif_turn(&nif, 5), 2);
    ck_assert_uint_eq(netif_turn(&nif, 5), 0);
    ck_assert_uint_eq(net_stats(nif.stack)->rx_frames, 7);
    /* Completions wake nobody who does not wait for them. */
    uint64_t events = netif_wait(&nif, 1ull << 40, UINT64_MAX);
    ck_assert_uint_eq(events, 1ull << 40 | 1ull << nif.rx.event);
    ck_assert_uint_eq(netif_events(&nif),
                      1ull << nif.rx.event | 1ull << nif.tx.event);
    netif_close(&nif);
    ck_assert_uint_eq(fk.live, 0);
}
END_TEST

/* A full ring: the kernel is told what it could send, and asked again. */
START_TEST(a_full_interface_kicks_and_tries_again)
{
    ck_assert(show_sysinfo());
    fk_reset();
    ck_assert_int_eq(open_netif(0), 0);
    struct net_frame f = {.hdr = header, .hdr_len = 54};
    for (unsigned i = 0; i < SLOTS; i++) {
        ck_assert_int_eq(nif.link.transmit(&nif.link, &f), 0);
    }
    ck_assert_uint_eq(fk.sends, 0);
    ck_assert_int_eq(nif.link.transmit(&nif.link, &f), -NET_E_AGAIN);
    ck_assert_uint_eq(fk.sends, 1);
    fk_transmitted(SLOTS, NET_OWNER_ENV);
    fk.complete_on_send = true;
    for (unsigned i = 0; i < 5 * SLOTS; i++) {
        ck_assert_int_eq(nif.link.transmit(&nif.link, &f), 0);
    }
    netif_close(&nif);
    ck_assert_uint_eq(fk.live, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ring");
    TCase *t = tcase_create("ring"), *o = tcase_create("open");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_the_kernel_is_told);
    tcase_add_test(t, packets_come_in_order_and_once);
    tcase_add_test(t, a_later_slot_waits_for_an_earlier);
    tcase_add_test(t, lengths_are_clipped_to_the_buffer);
    tcase_add_test(t, a_full_ring_takes_no_more);
    tcase_add_test(t, pins_are_told_once_and_in_order);
    tcase_add_test(t, closing_tells_every_pin);
    tcase_add_test(t, few_bytes_travel_beside_the_header);
    suite_add_tcase(s, t);
    tcase_add_test(o, a_failed_opening_leaves_nothing);
    tcase_add_test(o, an_interface_opens_whole_or_not);
    tcase_add_test(o, an_interface_drains_in_turns);
    tcase_add_test(o, a_full_interface_kicks_and_tries_again);
    suite_add_tcase(s, o);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
