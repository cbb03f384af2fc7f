/* SPDX-License-Identifier: MIT */
/*
 * Sets of filters through the public calls: who gets a packet, who is
 * refused, and that packets cannot be stolen however a filter is written.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/dpf.h"
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct dpf_mem mem;
static struct dpf_set *set;
static struct dpf_error err;

static void setup(void)
{
    ck_assert_int_eq(dpf_host_mem_init(&mem), 0);
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
}

static void teardown(void)
{
    dpf_set_destroy(set);
    dpf_host_mem_finish(&mem);
}

static struct dpf_program *make(const char *expr)
{
    struct dpf_code code;
    int rc = dpf_from_expr(expr, 1, 0, &code, &err);
    ck_assert_msg(rc == 0, "%s: %s", expr, err.text);
    struct dpf_program *p;
    rc = dpf_program_create(&mem, DPF_FILTER, code.insns, code.count, &p, &err);
    ck_assert_msg(rc == 0, "%s: %s", expr, err.text);
    dpf_code_finish(&code);
    return p;
}

static int bind_in(uint32_t id, uint32_t region, const char *expr,
                   uint32_t flags)
{
    struct dpf_program *p = make(expr);
    int rc = dpf_set_insert(set, id, region, p, flags, &err);

    /* A witness is a packet that the new filter really accepts. */
    if (rc && err.witness_len) {
        ck_assert(dpf_filter_run(p, err.witness, err.witness_len));
    }
    dpf_program_destroy(p);
    return rc;
}

static int bind(uint32_t id, const char *expr, uint32_t flags)
{
    return bind_in(id, 0, expr, flags);
}

static int region(uint32_t id, uint32_t parent, const char *expr,
                  uint32_t flags)
{
    struct dpf_program *p = make(expr);
    int rc = dpf_set_region_insert(set, id, parent, p, flags, &err);
    dpf_program_destroy(p);
    return rc;
}

/* An Ethernet frame with IPv4 and ports; ihl in words. */
static size_t frame(uint8_t *p, uint8_t proto, uint32_t dst, uint16_t dport,
                    uint8_t ihl)
{
    size_t l4 = 14 + 4u * ihl;
    memset(p, 0, 128);
    p[12] = 8;
    p[14] = (uint8_t)(0x40 | ihl);
    p[23] = proto;
    p[26] = 10;
    p[29] = 9;
    for (int i = 0; i < 4; i++) {
        p[30 + i] = (uint8_t)(dst >> (24 - 8 * i));
    }
    p[l4] = 0x30;
    p[l4 + 2] = (uint8_t)(dport >> 8);
    p[l4 + 3] = (uint8_t)dport;
    return 64 + 4u * ihl;
}

static uint32_t owner(uint8_t proto, uint32_t dst, uint16_t dport)
{
    uint8_t p[128];
    size_t len = frame(p, proto, dst, dport, 5);
    return dpf_set_match(set, p, len, NULL, NULL);
}

#define HOST 0x0a000001u

START_TEST(test_owner)
{
    ck_assert_int_eq(bind(7, "ip and tcp dst port 80", 0), 0);
    ck_assert_int_eq(bind(8, "ip and tcp dst port 81", 0), 0);
    ck_assert_int_eq(bind(9, "udp dst portrange 100-200", 0), 0);
    ck_assert_uint_eq(owner(6, HOST, 80), 7);
    ck_assert_uint_eq(owner(6, HOST, 81), 8);
    ck_assert_uint_eq(owner(6, HOST, 82), DPF_NO_OWNER);
    ck_assert_uint_eq(owner(17, HOST, 150), 9);
    ck_assert_uint_eq(owner(17, HOST, 201), DPF_NO_OWNER);
    ck_assert_int_eq(dpf_set_remove(set, 7), 0);
    ck_assert_uint_eq(owner(6, HOST, 80), DPF_NO_OWNER);
    ck_assert_int_eq(dpf_set_remove(set, 7), -DPF_E_NOT_FOUND);
}
END_TEST

/* Ways to take packets of "tcp dst port 80 and dst host 10.0.0.1". */
static const char *const steals[] = {
    "dst host 10.0.0.1 and tcp dst port 80", /* order */
    "ip[19] = 1 and ip[16:2] = 0x0a00 and ip[18] = 0 and tcp[2:2] = 80",
    "tcp[3] = 80 and tcp[2] = 0 and ip dst host 10.0.0.1", /* widths */
    "ip[16:4] & 0xffffff00 = 0x0a000000 and tcp",          /* partial masks */
    "tcp[2:2] & 0xfff0 = 0x50",
    "tcp[3] & 1 = 0",
    ("ip[0] = 0x45 and ip proto 6 and ip[6:2] & 0x1fff = 0 and "
     "ether[36:2] = 80"),                            /* no variable base */
    "ether[30:4] = 0x0a000001",                      /* a prefix of it */
    "ip[6:2] & 0x1fff = 0 and ip dst host 10.0.0.1", /* first fragments */
    "ip dst host 10.0.0.1 and ip[2:2] = ip[4:2]",    /* opaque behind */
    "len > 0",
    "tcp portrange 79-90",
    "not udp",
};

START_TEST(test_steal)
{
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80 and dst host 10.0.0.1", 0),
                     0);
    ck_assert_int_eq(bind(2, steals[_i], 0), -DPF_E_CONFLICT);
    ck_assert_uint_eq(err.other, 1);
    ck_assert_uint_eq(owner(6, HOST, 80), 1);
    /* The other way round it is refused as well. */
    ck_assert_int_eq(dpf_set_remove(set, 1), 0);
    ck_assert_int_eq(bind(2, steals[_i], 0), 0);
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80 and dst host 10.0.0.1", 0),
                     -DPF_E_CONFLICT);
    ck_assert_uint_eq(err.other, 2);
}
END_TEST

START_TEST(test_witness)
{
    ck_assert_int_eq(bind(1, "tcp dst port 80", 0), 0);
    ck_assert_int_eq(bind(2, "dst host 10.0.0.1", 0), -DPF_E_CONFLICT);
    ck_assert_uint_gt(err.witness_len, 0);
    ck_assert_uint_eq(
        dpf_set_match(set, err.witness, err.witness_len, NULL, NULL), 1);
    ck_assert(strstr(err.text, "binding 1") != NULL);
}
END_TEST

/* Header lengths make one byte of two: no conflict where none is. */
START_TEST(test_alias)
{
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80", 0), 0);
    ck_assert_int_eq(bind(2,
                          "ip[0] & 0xf = 5 and ip[9] = 6 and "
                          "ip[6:2] & 0x1fff = 0 and ether[36:2] = 81",
                          0),
                     0);
    ck_assert_uint_eq(owner(6, HOST, 80), 1);
    ck_assert_uint_eq(owner(6, HOST, 81), 2);
    ck_assert_int_eq(bind(3,
                          "ip[0] & 0xf = 6 and ip[9] = 6 and "
                          "ip[6:2] & 0x1fff = 0 and ether[40:2] = 80",
                          0),
                     -DPF_E_CONFLICT);
}
END_TEST

START_TEST(test_refine)
{
    ck_assert_int_eq(bind(1, "tcp dst port 80", DPF_REFINE), 0);
    ck_assert_int_eq(bind(2, "tcp dst port 80 and dst host 10.0.0.1", 0), 0);
    ck_assert_int_eq(
        bind(3, "tcp dst port 80 and dst host 10.0.0.2", DPF_REFINE), 0);
    ck_assert_int_eq(bind(4,
                          "tcp dst port 80 and dst host 10.0.0.2 and "
                          "src host 10.0.0.9",
                          0),
                     0);
    ck_assert_uint_eq(owner(6, HOST, 80), 2);
    ck_assert_uint_eq(owner(6, HOST + 1, 80), 4);
    ck_assert_uint_eq(owner(6, HOST + 2, 80), 1);
    uint8_t p[128];
    size_t len = frame(p, 6, HOST + 1, 80, 5);
    p[29] = 8;
    ck_assert_uint_eq(dpf_set_match(set, p, len, NULL, NULL), 3);
    /* Equal is not strictly inside; overlapping is not inside. */
    ck_assert_int_eq(bind(5, "tcp dst port 80", 0), -DPF_E_CONFLICT);
    ck_assert_int_eq(bind(5, "tcp dst portrange 80-81", 0), -DPF_E_CONFLICT);
    /* One that allows refinement may be put around what exists. */
    ck_assert_int_eq(bind(6, "tcp", DPF_REFINE), 0);
    ck_assert_uint_eq(owner(6, HOST, 80), 2);
    ck_assert_uint_eq(owner(6, HOST, 99), 6);
    ck_assert_int_eq(dpf_set_remove(set, 2), 0);
    ck_assert_uint_eq(owner(6, HOST, 80), 1);
    ck_assert_int_eq(dpf_set_remove(set, 1), 0);
    ck_assert_uint_eq(owner(6, HOST, 80), 6);
}
END_TEST

/*
 * One that is several cubes, each of them strictly inside its twin: neither is
 * strictly inside the other, whichever came first. Around both a third may be.
 */
START_TEST(test_refine_twins)
{
    for (uint32_t flags = 0; flags < 4; flags++) {
        uint32_t first = flags & 1 ? DPF_REFINE : 0;
        uint32_t second = flags & 2 ? DPF_REFINE : 0;
        ck_assert_int_eq(bind(1, "vlan", first), 0);
        ck_assert_int_eq(bind(2, "vlan", second), -DPF_E_CONFLICT);
        ck_assert_int_eq(bind(2, "tcp or vlan", DPF_REFINE), 0);
        ck_assert_int_eq(dpf_set_remove(set, 1), 0);
        ck_assert_int_eq(bind(1, "vlan", first), 0);
        ck_assert_int_eq(dpf_set_remove(set, 1), 0);
        ck_assert_int_eq(dpf_set_remove(set, 2), 0);
    }
}
END_TEST

/* Of two cubes one lies inside another filter: the whole does not. */
START_TEST(test_refine_half)
{
    static const char *const expr[2] = {
        "ip and udp dst port 53",
        "(ip and udp dst port 53 and dst host 10.0.0.1) or "
        "(ip and tcp dst port 80 and dst host 10.0.0.2)"};
    uint32_t first = (uint32_t)_i;

    ck_assert_int_eq(bind(first, expr[first], first ? 0 : DPF_REFINE), 0);
    ck_assert_int_eq(bind(!first, expr[!first], first ? DPF_REFINE : 0),
                     -DPF_E_CONFLICT);
}
END_TEST

/* Ranges inside one another whose hulls are one cube: only depth tells. */
START_TEST(test_refine_ranges)
{
    static const char *const expr[3] = {
        "dst host 10.0.0.1 and tcp dst portrange 77-81",
        "dst host 10.0.0.1 and tcp dst portrange 78-80",
        "dst host 10.0.0.1 and tcp dst portrange 79-80"};
    static const uint8_t order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                        {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    for (int i = 0; i < 3; i++) {
        uint32_t id = order[_i][i];
        ck_assert_int_eq(bind(id, expr[id], DPF_REFINE), 0);
    }
    ck_assert_uint_eq(owner(6, HOST, 79), 2);
    ck_assert_uint_eq(owner(6, HOST, 80), 2);
    ck_assert_uint_eq(owner(6, HOST, 78), 1);
    ck_assert_uint_eq(owner(6, HOST, 77), 0);
    ck_assert_uint_eq(owner(6, HOST, 81), 0);
    ck_assert_uint_eq(owner(6, HOST, 76), DPF_NO_OWNER);
    ck_assert_int_eq(dpf_set_remove(set, 1), 0);
    ck_assert_uint_eq(owner(6, HOST, 78), 0);
    ck_assert_uint_eq(owner(6, HOST, 79), 2);
}
END_TEST

/*
 * A table may have to grow while a range is put in, because it hashes badly:
 * then the others are found again. Small ones do so now and then.
 */
START_TEST(test_ranges_grow)
{
    char expr[80];
    for (uint32_t times = 0; times < 100; times++) {
        for (uint32_t i = 0; i < 40; i++) {
            snprintf(expr, sizeof(expr),
                     "dst host 10.0.0.%u and tcp dst portrange 79-81", i);
            ck_assert_int_eq(bind(i, expr, 0), 0);
        }
        for (uint32_t i = 0; i < 40; i++) {
            ck_assert_uint_eq(owner(6, 0x0a000000u + i, 79 + i % 3), i);
            ck_assert_uint_eq(owner(6, 0x0a000000u + i, 82), DPF_NO_OWNER);
        }
        for (uint32_t i = 0; i < 40; i++) {
            ck_assert_int_eq(dpf_set_remove(set, i), 0);
        }
        dpf_set_reclaim(set, dpf_set_version(set));
    }
}
END_TEST

START_TEST(test_region)
{
    struct dpf_program *p = make("udp");
    ck_assert_int_eq(region(1, 0, "dst host 10.0.0.1 and ip", 0), 0);
    ck_assert_int_eq(bind_in(10, 1, "tcp dst port 80", 0), -DPF_E_REGION);
    ck_assert_uint_gt(err.witness_len, 0);
    ck_assert_int_eq(bind_in(10, 1, "tcp dst port 80 and dst host 10.0.0.1", 0),
                     0);
    /* Opaque: what it may accept is all that counts. */
    ck_assert_int_eq(bind_in(11, 1, "ip[12:4] = ip[16:4]", 0), -DPF_E_REGION);
    ck_assert_int_eq(bind_in(11, 1,
                             "udp and dst host 10.0.0.1 and "
                             "ip[2:2] = ip[4:2]",
                             0),
                     0);
    ck_assert_int_eq(region(2, 1, "dst host 10.0.0.2 and ip", 0),
                     -DPF_E_REGION);
    ck_assert_int_eq(region(2, 1, "dst host 10.0.0.1 and icmp", 0), 0);
    ck_assert_int_eq(region(2, 1, "dst host 10.0.0.1 and icmp", 0),
                     -DPF_E_EXISTS);
    ck_assert_int_eq(region(3, 9, "ip", 0), -DPF_E_NOT_FOUND);
    ck_assert_int_eq(dpf_set_region_remove(set, 1), -DPF_E_BUSY);
    ck_assert_int_eq(dpf_set_region_remove(set, 2), 0);
    ck_assert_int_eq(dpf_set_region_remove(set, 1), -DPF_E_BUSY);
    ck_assert_int_eq(dpf_set_remove(set, 10), 0);
    ck_assert_int_eq(dpf_set_remove(set, 11), 0);
    ck_assert_int_eq(dpf_set_region_remove(set, 1), 0);
    ck_assert_int_eq(dpf_set_region_remove(set, 1), -DPF_E_NOT_FOUND);
    ck_assert_int_eq(dpf_set_insert(set, 5, 0, p, 1u << 7, &err), -DPF_E_INVAL);
    ck_assert_int_eq(dpf_set_insert(set, DPF_NO_OWNER, 0, p, 0, &err),
                     -DPF_E_INVAL);
    ck_assert_int_eq(dpf_set_insert(set, 5, 77, p, 0, &err), -DPF_E_NOT_FOUND);
    ck_assert_int_eq(dpf_set_insert(set, 5, 0, p, 0, &err), 0);
    ck_assert_int_eq(dpf_set_insert(set, 5, 0, p, 0, &err), -DPF_E_EXISTS);
    dpf_program_destroy(p);
}
END_TEST

/* Who gets copies: how many, and the sum of their ids. */
struct copies {
    uint32_t n, sum;
};

static void note(void *ctx, uint32_t id)
{
    struct copies *got = ctx;
    got->n++;
    got->sum += id;
}

START_TEST(test_copies)
{
    uint8_t arp[64] = {[12] = 8, [13] = 6};
    struct copies got = {0};
    ck_assert_int_eq(region(1, 0, "arp", DPF_SHARED), 0);
    ck_assert_int_eq(bind_in(10, 1, "arp", 0), 0);
    ck_assert_int_eq(bind_in(11, 1, "arp", 0), 0);
    ck_assert_int_eq(bind(12, "ip or arp", DPF_TAP), 0);
    ck_assert_int_eq(bind(13, "ip and tcp dst port 80", 0), 0);
    ck_assert_uint_eq(dpf_set_match(set, arp, 64, note, &got), DPF_NO_OWNER);
    ck_assert_uint_eq(got.n, 3);
    ck_assert_uint_eq(got.sum, 33);
    /* However many there are, each gets its copy. */
    for (uint32_t id = 100; id < 200; id++) {
        ck_assert_int_eq(bind_in(id, 1, "arp", 0), 0);
    }
    got = (struct copies){0};
    ck_assert_uint_eq(dpf_set_match(set, arp, 64, note, &got), DPF_NO_OWNER);
    ck_assert_uint_eq(got.n, 103);
    ck_assert_uint_eq(got.sum, 33 + 100 * 100 + 99 * 100 / 2);
    {
        uint8_t p[128];
        size_t len = frame(p, 6, HOST, 80, 5);

        got = (struct copies){0};
        ck_assert_uint_eq(dpf_set_match(set, p, len, note, &got), 13);
        ck_assert_uint_eq(got.n, 1);
        ck_assert_uint_eq(got.sum, 12);
    }
}
END_TEST

START_TEST(test_opaque)
{
    uint8_t p[128];
    size_t len = frame(p, 17, HOST, 53, 5);
    ck_assert_int_eq(bind(1, "udp and dst host 10.0.0.1", DPF_REFINE), 0);
    ck_assert_int_eq(bind(2,
                          "udp and dst host 10.0.0.1 and ip[2:2] = ip[4:2]"
                          " and dst port 53",
                          0),
                     0);
    ck_assert_uint_eq(dpf_set_match(set, p, len, NULL, NULL), 2);
    p[17] = 1; /* the lengths differ: not 2's, so the one around it has it */
    ck_assert_uint_eq(dpf_set_match(set, p, len, NULL, NULL), 1);
    ck_assert_int_eq(bind(3,
                          "udp and dst host 10.0.0.1 and dst port 53 and "
                          "ip[8] = ip[9]",
                          0),
                     -DPF_E_CONFLICT);
}
END_TEST

/*
 * What may be accepted can count from fewer bases than what is: they stay
 * defined when another filter comes, although there are many.
 */
START_TEST(test_bases_kept)
{
    uint8_t p[75] = {[12] = 0x86, [13] = 0xdd, [55] = 22, [70] = 95};
    ck_assert_int_eq(bind(1,
                          "not (not (len % 3 = 1) and (ether proto 0x8100 or "
                          "ip6 protochain 17))",
                          DPF_REFINE),
                     0);
    /* The chain of headers leads out of the packet. */
    ck_assert_uint_eq(dpf_set_match(set, p, sizeof(p), NULL, NULL),
                      DPF_NO_OWNER);
    ck_assert_int_eq(bind(2, "tcp dst port 79", DPF_REFINE), 0);
    ck_assert_uint_eq(dpf_set_match(set, p, sizeof(p), NULL, NULL),
                      DPF_NO_OWNER);
}
END_TEST

/* Reading defines bases, whose slots judging needs afterwards. */
START_TEST(test_bases_freed)
{
    static const char *const expr[2] = {
        "", "ah and ip6 protochain 17 and tcp src and dst port 53 and "
            "(arp[4:1] - 7) <= 43 and not (src and dst net 255.192.0.0/10 and "
            "ether proto 0x8100)"};

    for (uint32_t i = 0; i < 2; i++) {
        uint32_t id = i ^ (uint32_t)_i;
        ck_assert_int_eq(bind(id, expr[id], id == 0 ? DPF_REFINE : 0), 0);
    }
}
END_TEST

/* Others' bases cannot be so many that IPv4 can no longer be read. */
START_TEST(test_bases_reserved)
{
    char expr[80];
    for (uint32_t i = 0; i < 70; i++) {
        snprintf(expr, sizeof(expr), "ether[4 * (ether[%u] & 0xf)] = 7",
                 20 + i);
        ck_assert_int_eq(bind(100 + i, expr, DPF_TAP), 0);
    }
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80", 0), 0);
    ck_assert_int_eq(bind(2, "ip and tcp dst port 81", 0), 0);
    ck_assert_int_eq(bind(3, "vlan and ip and tcp dst port 80", 0), 0);
    ck_assert_int_eq(bind(4, "vlan and ip and tcp dst port 81", 0), 0);
    ck_assert_uint_eq(owner(6, HOST, 80), 1);
    ck_assert_uint_eq(owner(6, HOST, 81), 2);
}
END_TEST

START_TEST(test_like)
{
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80 and dst host 10.0.0.1", 0),
                     0);
    struct dpf_field f[8];
    int n = dpf_set_fields(set, 1, f, 8);
    /* ethertype, fragment offset, protocol, address, port */
    ck_assert_int_eq(n, 5);
    ck_assert_uint_eq(f[3].offset, 30);
    ck_assert_uint_eq(f[3].value, HOST);
    ck_assert_uint_eq(f[3].mask, UINT32_MAX);
    ck_assert_uint_eq(f[4].width, 2);
    ck_assert_uint_eq(f[4].value, 80);
    struct dpf_const k[2];
    for (uint32_t i = 2; i < 300; i++) {
        k[0] = (struct dpf_const){3, HOST + i % 7};
        k[1] = (struct dpf_const){4, 80 + i};
        ck_assert_int_eq(dpf_set_insert_like(set, i, 1, k, 2, &err), 0);
    }
    for (uint32_t i = 2; i < 300; i++) {
        ck_assert_uint_eq(owner(6, HOST + i % 7, (uint16_t)(80 + i)), i);
    }
    ck_assert_uint_eq(owner(6, HOST, 80), 1);
    ck_assert_int_eq(dpf_set_insert_like(set, 300, 1, k, 2, &err),
                     -DPF_E_CONFLICT);
    ck_assert_uint_eq(err.other, 299);
    k[0].index = 5;
    ck_assert_int_eq(dpf_set_insert_like(set, 300, 1, k, 1, &err),
                     -DPF_E_INVAL);
    k[0] = (struct dpf_const){1, 0x2000}; /* outside the fragment mask */
    ck_assert_int_eq(dpf_set_insert_like(set, 300, 1, k, 1, &err),
                     -DPF_E_INVAL);
    ck_assert_int_eq(dpf_set_insert_like(set, 300, 999, k, 0, &err),
                     -DPF_E_NOT_FOUND);
}
END_TEST

/* A key freed is not used again before a quiescent point, then it is. */
START_TEST(test_churn)
{
    struct dpf_const k = {4, 0};
    struct dpf_set_stats before;
    dpf_set_stats(set, &before);
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80 and dst host 10.0.0.1", 0),
                     0);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 2; i < 200; i++) {
            k.value = 1000 + i;
            ck_assert_int_eq(dpf_set_insert_like(set, i, 1, &k, 1, &err), 0);
        }
        for (uint32_t i = 2; i < 200; i++) {
            ck_assert_uint_eq(owner(6, HOST, (uint16_t)(1000 + i)), i);
            ck_assert_int_eq(dpf_set_remove(set, i), 0);
            ck_assert_uint_eq(owner(6, HOST, (uint16_t)(1000 + i)),
                              DPF_NO_OWNER);
        }
        dpf_set_reclaim(set, dpf_set_version(set));
    }
    ck_assert_int_eq(dpf_set_remove(set, 1), 0);
    dpf_set_reclaim(set, dpf_set_version(set));
    struct dpf_set_stats after;
    dpf_set_stats(set, &after);
    ck_assert_uint_eq(before.bytes, after.bytes);
    ck_assert_uint_eq(after.code_bytes, 0);
}
END_TEST

/* Short packets and odd ones never reach beyond their end. */
START_TEST(test_short)
{
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80", 0), 0);
    ck_assert_int_eq(bind(2, "ip and tcp dst port 81", 0), 0);
    ck_assert_int_eq(bind(3, "ip6 and udp dst port 81", 0), 0);
    uint8_t p[128];
    for (uint8_t ihl = 0; ihl < 16; ihl++) {
        size_t full = frame(p, 6, HOST, 80, ihl);
        for (size_t len = 0; len <= full; len++) {
            uint8_t *tight = malloc(len ? len : 1);
            bool there = len >= 14 + 4u * ihl + 4 && len >= 24;
            memcpy(tight, p, len);
            /* With a short header the ports lie in the addresses. */
            if (ihl >= 5) {
                ck_assert_uint_eq(dpf_set_match(set, tight, len, NULL, NULL),
                                  there ? 1 : DPF_NO_OWNER);
            } else {
                (void)dpf_set_match(set, tight, len, NULL, NULL);
            }
            free(tight);
        }
    }
}
END_TEST

/*
 * Filters of many shapes: with one header length and any, base-relative
 * constants and none, ranges and programs that decide, keys of no byte and of
 * many; of the same tests with other protocols, more than are kept apart.
 */
static const char *const mixed[] = {
    "ip and tcp and src host 10.1.0.1 and dst host 10.0.0.1 and src port 7 "
    "and dst port 80",
    "ip and tcp and src host 10.1.3.2 and dst host 10.0.0.1 and src port 9 "
    "and dst port 80",
    "ip and udp and src host 10.1.3.2 and dst host 10.0.0.1 and src port 9 "
    "and dst port 80",
    "ip proto 132 and src host 10.1.3.2 and dst host 10.0.9.1 and src port 9 "
    "and dst port 80",
    "ip and tcp and dst host 10.0.0.2 and dst port 80",
    "ip and tcp and dst host 10.7.1.2 and dst port 80",
    "ip and tcp and dst host 10.0.0.3 and dst portrange 79-81",
    "ip and tcp and dst host 10.0.7.3 and dst portrange 79-81",
    "ip and udp and dst host 10.0.0.4 and ip[2:2] = ip[4:2]",
    "vlan 5 and ip and tcp and dst host 10.0.0.1 and dst port 80",
    "vlan 6 and ip and tcp and dst host 10.0.0.9 and dst port 80",
    "icmp and src host 10.1.0.1",
    "icmp and src host 10.1.0.2",
    "arp",
    "ip6 and tcp and dst host 2001:db8::1 and dst port 80",
    "ip6 and tcp and dst host 2001:db8::2:1 and dst port 80",
    "ip6 and tcp and dst host fe80:1:2:3:4:5:6:7 and dst port 80",
    "ip proto 50 and ether[50] = 3",
};
#define MIXED (sizeof(mixed) / sizeof(mixed[0]))

/* Something that filter f accepts, or nearly. */
static size_t near(uint8_t *p, uint32_t f, uint8_t ihl, uint32_t variant)
{
    static const uint8_t proto[MIXED] = {6, 6, 17, 132, 6, 6, 6, 6, 17,
                                         6, 6, 1,  1,   0, 6, 6, 6, 50};
    static const uint32_t dst[MIXED] = {
        0x0a000001, 0x0a000001, 0x0a000001, 0x0a000901, 0x0a000002, 0x0a070102,
        0x0a000003, 0x0a000703, 0x0a000004, 0x0a000001, 0x0a000009, 0x0a000001};
    size_t len = frame(p, proto[f], dst[f], 80, ihl), l4 = 14 + 4u * ihl;
    p[l4] = 0;
    p[l4 + 1] = f == 0 ? 7 : 9;
    p[27] = 1;
    p[28] = f && f < 4 ? 3 : 0;
    p[29] = f == 0 || f == 11 ? 1 : 2;
    if (f == 17) {
        p[50] = 3;
    } else if (f == 9 || f == 10) {
        memmove(p + 16, p + 12, 108);
        memcpy(p + 12, (uint8_t[]){0x81, 0, 0, (uint8_t)(f - 4)}, 4);
        len += 4;
    } else if (f == 13) {
        p[13] = 6;
    } else if (f >= 14) {
        static const uint8_t to[3][16] = {
            {0x20, 1, 0xd, 0xb8, [15] = 1},
            {0x20, 1, 0xd, 0xb8, [13] = 2, [15] = 1},
            {0xfe, 0x80, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7}};
        memcpy(p + 12, (uint8_t[]){0x86, 0xdd, 0x60}, 3);
        p[20] = 6;
        memcpy(p + 38, to[f - 14], 16);
        memcpy(p + 54, (uint8_t[]){0, 9, 0, 80}, 4);
    }
    if (variant) { /* one bit of the first 64 bytes is another */
        p[variant / 8 % 64] ^= (uint8_t)(1u << variant % 8);
    }
    return len;
}

/* All of them at once, on packets of each length that end at a wall. */
START_TEST(test_mixed)
{
    const size_t page = 4096;
    uint8_t *room = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t found = 0, n = 0;
    ck_assert_ptr_ne(room, MAP_FAILED);
    ck_assert_int_eq(mprotect(room + page, page, PROT_NONE), 0);
    struct dpf_program *each[MIXED];
    for (uint32_t k = 0; k < MIXED; k++) {
        uint32_t f = _i ? (uint32_t)MIXED - 1 - k : k;
        each[f] = make(mixed[f]);
        ck_assert_msg(bind(f, mixed[f], 0) == 0, "%s: %s", mixed[f], err.text);
    }
    for (uint32_t f = 0; f < MIXED; f++) {
        for (uint32_t v = 0; v < 512 + 16 * 130; v++) {
            /* First each bit; then each header length at each length. */
            bool bits = v < 512;
            uint8_t p[192];
            size_t full =
                near(p, f, bits ? 5 : (uint8_t)((v - 512) / 130), bits ? v : 0);
            size_t len = bits ? full : (v - 512) % 130;
            uint32_t want = DPF_NO_OWNER;
            uint8_t *at = room + page - (len < full ? len : full);

            len = len < full ? len : full;
            memcpy(at, p, len);
            for (uint32_t i = 0; i < MIXED; i++) {
                want = dpf_filter_run(each[i], at, len) ? i : want;
            }
            uint32_t got = dpf_set_match(set, at, len, NULL, NULL);
            ck_assert_msg(got == want, "%s, variant %u: %u, not %u", mixed[f],
                          v, got, want);
            found += want == f;
            n++;
        }
        ck_assert_msg(found > 100 * (f + 1), "%s: hit %u of %u", mixed[f],
                      found, n);
    }
    for (uint32_t f = 0; f < MIXED; f++) {
        dpf_program_destroy(each[f]);
    }
    munmap(room, 2 * page);
}
END_TEST

static int countdown;
static void *(*real_alloc)(void *ctx, size_t size);

static bool none_left;

static void *failing_alloc(void *ctx, size_t size)
{
    if (none_left) {
        return NULL;
    }
    return countdown >= 0 && countdown-- == 0 ? NULL : real_alloc(ctx, size);
}

/* Each allocation of each kind of change fails once; nothing changes then. */
START_TEST(test_memory)
{
    static const char *const change[] = {
        "ip and tcp dst port 80 and dst host 10.0.0.7", /* known shape */
        "ip and udp dst port 80 and dst host 10.0.0.1", /* wider key */
        "ip6 and tcp dst port 80 and dst host ::1",     /* new shape */
        "tcp dst portrange 100-200",                    /* diagram */
        "udp and ip[2:2] = ip[4:2] and dst port 9",     /* opaque */
        "tcp dst port 99 or udp dst port 99",           /* cubes */
    };
    struct dpf_program *p = make(change[_i]);
    int rc = -DPF_E_MEM;

    dpf_set_destroy(set);
    real_alloc = mem.alloc;
    mem.alloc = failing_alloc;
    countdown = -1;
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
    ck_assert_int_eq(bind(1, "ip and tcp dst port 80 and dst host 10.0.0.1", 0),
                     0);
    ck_assert_int_eq(bind(2, "ip and tcp dst port 80 and dst host 10.0.0.2", 0),
                     0);
    ck_assert_int_eq(bind(3, "udp dst portrange 300-400", 0), 0);
    for (int n = 0; rc == -DPF_E_MEM; n++) {
        ck_assert_int_lt(n, 1000);
        countdown = n;
        rc = dpf_set_insert(set, 9, 0, p, 0, &err);
        countdown = -1;
        struct dpf_set_stats s;
        dpf_set_stats(set, &s);
        ck_assert_uint_eq(s.bindings, rc ? 3 : 4);
        ck_assert_uint_eq(owner(6, HOST, 80), 1);
        ck_assert_uint_eq(owner(6, HOST + 1, 80), 2);
        ck_assert_uint_eq(owner(17, HOST, 301), 3);
    }
    ck_assert_int_eq(rc, 0);
    /* Removal needs none; what is left behind goes when there is some. */
    for (int n = 0; n < 40; n++) {
        countdown = n;
        ck_assert_int_eq(dpf_set_remove(set, 9), 0);
        countdown = -1;
        struct dpf_set_stats s;
        dpf_set_stats(set, &s);
        ck_assert_uint_eq(s.bindings, 3);
        ck_assert_uint_eq(owner(6, HOST, 80), 1);
        ck_assert_uint_eq(owner(17, HOST, 301), 3);
        ck_assert_int_eq(dpf_set_insert(set, 9, 0, p, 0, &err), 0);
    }
    dpf_program_destroy(p);
    dpf_set_destroy(set);
    set = NULL;
}
END_TEST

/* Bind a shape of its own for each k: another byte of the packet. */
static void bind_shape(uint32_t id)
{
    char expr[64];
    snprintf(expr, sizeof(expr), "ether[%u] = 7 and ether[12:2] = %u", 100 + id,
             0x9000 + id);
    ck_assert_int_eq(bind(id, expr, 0), 0);
}

/*
 * Many bindings go without any memory, and with one publication: shapes of
 * their own, ranges that are kept as diagrams, opaque filters, copies.
 */
START_TEST(test_drop_many)
{
    uint8_t p[128];
    size_t len = frame(p, 17, HOST, 53, 5);
    struct copies got = {0};
    dpf_set_destroy(set);
    real_alloc = mem.alloc;
    mem.alloc = failing_alloc;
    countdown = -1;
    ck_assert_int_eq(dpf_set_create(&mem, &set), 0);
    struct dpf_set_stats before;
    dpf_set_stats(set, &before);
    for (uint32_t id = 1; id <= 40; id++) {
        bind_shape(id);
    }
    ck_assert_int_eq(bind(50, "udp", DPF_REFINE), 0);
    ck_assert_int_eq(bind(51, "udp dst portrange 50-60", DPF_REFINE), 0);
    ck_assert_int_eq(bind(52, "udp dst portrange 50-60 and ip[8] != 9", 0), 0);
    ck_assert_int_eq(bind(53, "udp and dst port 99 and ip[2:2] = ip[4:2]", 0),
                     0);
    ck_assert_int_eq(bind(54, "udp and (len < 900 or ip[1] > 3)", DPF_TAP), 0);
    ck_assert_int_eq(bind(55, "udp", DPF_TAP), 0);
    ck_assert_uint_eq(dpf_set_match(set, p, len, note, &got), 52);
    ck_assert_uint_eq(got.n, 2);
    struct dpf_set_stats full;
    dpf_set_stats(set, &full);

    none_left = true;
    ck_assert_int_eq(dpf_set_drop(set, 52), 0);
    ck_assert_int_eq(dpf_set_drop(set, 52), -DPF_E_NOT_FOUND);
    ck_assert_uint_eq(dpf_set_match(set, p, len, note, &got), 51);
    ck_assert_int_eq(dpf_set_drop(set, 51), 0);
    ck_assert_int_eq(dpf_set_drop(set, 55), 0);
    got = (struct copies){0};
    ck_assert_uint_eq(dpf_set_match(set, p, len, note, &got), 50);
    ck_assert_uint_eq(got.n, 1);
    ck_assert_uint_eq(got.sum, 54);
    for (uint32_t id = 1; id <= 54; id++) {
        int r = dpf_set_drop(set, id);
        ck_assert_int_eq(r, id <= 40 || id == 50 || id > 52 ? 0
                                                            : -DPF_E_NOT_FOUND);
    }
    got = (struct copies){0};
    ck_assert_uint_eq(dpf_set_match(set, p, len, note, &got), DPF_NO_OWNER);
    ck_assert_uint_eq(got.n, 0);
    ck_assert_int_eq(dpf_set_tidy(set), -DPF_E_MEM);
    none_left = false;

    ck_assert_int_eq(dpf_set_tidy(set), 0);
    dpf_set_reclaim(set, dpf_set_version(set));
    struct dpf_set_stats after;
    dpf_set_stats(set, &after);
    ck_assert_uint_le(after.compiles, full.compiles + 1);
    ck_assert_uint_eq(after.bytes, before.bytes);
    ck_assert_uint_eq(after.code_bytes, 0);
    dpf_set_destroy(set);
    set = NULL;
}
END_TEST

/* A program that must be kept is no longer than the set allows. */
START_TEST(test_steps)
{
    ck_assert_int_eq(dpf_set_steps(set, 1), -DPF_E_NOT_FOUND);
    ck_assert_int_eq(bind(1, "udp and ip[2:2] = ip[4:2] and dst port 9", 0), 0);
    int steps = dpf_set_steps(set, 1);
    ck_assert_int_gt(steps, 10);
    dpf_set_steps_max(set, 10); /* less than the filter's own program has */
    ck_assert_int_eq(bind(2, "udp and ip[2:2] = ip[4:2] and dst port 8", 0),
                     -DPF_E_STEPS);
    ck_assert_uint_ne(err.text[0], 0);
    ck_assert_uint_eq(owner(17, HOST, 8), DPF_NO_OWNER);
    /* What its diagram decides is as long as it likes. */
    ck_assert_int_eq(bind(3, "udp dst portrange 100-200 or dst port 300", 0),
                     0);
    ck_assert_int_eq(bind(4, "tcp dst port 80", 0), 0);
    ck_assert_int_eq(dpf_set_steps(set, 3), 0);
    ck_assert_int_eq(dpf_set_steps(set, 4), 0);
    dpf_set_steps_max(set, (uint32_t)steps);
    ck_assert_int_eq(bind(2, "udp and ip[2:2] = ip[4:2] and dst port 8", 0), 0);
}
END_TEST

/* What was dropped is in nobody's way before the image is without it. */
START_TEST(test_drop_then_bind)
{
    uint8_t p[128];
    size_t len = frame(p, 17, HOST, 53, 5);
    for (uint32_t round = 0; round < 4; round++) {
        ck_assert_int_eq(bind(1, "udp dst portrange 50-60", DPF_REFINE), 0);
        ck_assert_int_eq(bind(2, "udp dst portrange 52-54", 0), 0);
        ck_assert_uint_eq(owner(17, HOST, 53), 2);
        ck_assert_int_eq(dpf_set_drop(set, 1), 0);
        ck_assert_int_eq(bind(1, "udp dst portrange 40-60", DPF_REFINE), 0);
        ck_assert_uint_eq(owner(17, HOST, 53), 2);
        ck_assert_uint_eq(owner(17, HOST, 55), 1);
        ck_assert_int_eq(dpf_set_drop(set, 2), 0);
        ck_assert_int_eq(bind(2, "udp dst portrange 53-54 and ip[8] < 200", 0),
                         0);
        ck_assert_uint_eq(dpf_set_match(set, p, len, NULL, NULL), 2);
        ck_assert_int_eq(dpf_set_drop(set, 1), 0);
        ck_assert_int_eq(dpf_set_drop(set, 2), 0);
        ck_assert_uint_eq(owner(17, HOST, 53), DPF_NO_OWNER);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("set");
    TCase *c = tcase_create("set");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_owner);
    tcase_add_loop_test(c, test_steal, 0, sizeof(steals) / sizeof(steals[0]));
    tcase_add_test(c, test_witness);
    tcase_add_test(c, test_alias);
    tcase_add_test(c, test_refine);
    tcase_add_test(c, test_refine_twins);
    tcase_add_loop_test(c, test_refine_half, 0, 2);
    tcase_add_loop_test(c, test_refine_ranges, 0, 6);
    tcase_add_test(c, test_ranges_grow);
    tcase_add_test(c, test_region);
    tcase_add_test(c, test_copies);
    tcase_add_test(c, test_opaque);
    tcase_add_test(c, test_bases_kept);
    tcase_add_loop_test(c, test_bases_freed, 0, 2);
    tcase_add_test(c, test_bases_reserved);
    tcase_add_test(c, test_like);
    tcase_add_test(c, test_churn);
    tcase_add_test(c, test_short);
    tcase_add_loop_test(c, test_mixed, 0, 2);
    tcase_add_loop_test(c, test_memory, 0, 6);
    tcase_add_test(c, test_steps);
    tcase_add_test(c, test_drop_many);
    tcase_add_test(c, test_drop_then_bind);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
