/* SPDX-License-Identifier: MIT */
/*
 * dpf bench demux: whose packet is it, among N TCP connections; then the same
 * number of filters of ten shapes. Packets of 64 bytes, one in ten without an
 * owner, in an order that cannot be learnt.
 */
#include "dpf/bench/filters.h"
#include "dpf/bench/hand.h"

#include <stdlib.h>
#include <string.h>

#define PACKETS 8192u
#define SLOT 64u
#define IN_TURN_MAX 1000u /* filters that are run one after the other */

/* ---------------------------------------------------------------- filters */

enum { SHAPES = 10 };

static void bench_demux_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void bench_demux_put32(uint8_t *p, uint32_t v)
{
    bench_demux_put16(p, v >> 16);
    bench_demux_put16(p + 2, v);
}

/* Filter i of a shape; addresses differ from shape to shape. */
void bench_expression(uint32_t shape, uint32_t i, char *out, size_t size)
{
    uint32_t a = i >> 8, b = i & 255, port = 1024 + i % 60000;
    static const char *const forms[SHAPES] = {
        "ip and tcp and src host 10.1.%u.%u and dst host 192.168.0.1 and src "
        "port %u and dst port 80",
        "ip6 and tcp and src host 2001:db8:1::%x:%x and dst host "
        "2001:db8::1 and src port %u and dst port 80",
        "vlan 5 and ip and tcp and src host 10.2.%u.%u and dst host "
        "192.168.0.1 and src port %u and dst port 80",
        "ip and udp and src host 10.3.%u.%u and dst host 192.168.0.2 and src "
        "port %u and dst port 53",
        "ip and tcp and dst host 10.4.%u.%u and dst port 8080",
        "ip and udp and dst host 10.5.%u.%u and dst port 53",
        "ip and tcp and dst host 10.6.%u.%u and dst portrange 2000-2999",
        "icmp and src host 10.7.%u.%u",
        "ip6 and udp and dst host 2001:db8:8::%x:%x and dst port 53",
        "arp and arp[24:2] = 0x0a09 and arp[26] = %u and arp[27] = %u",
    };
    snprintf(out, size, forms[shape], a, b, port);
}

/*
 * Shape 1 is a TCP connection by its source, shape 8 a UDP service by its
 * destination; their addresses differ in where the number stands.
 */
static void ip6_packet(uint8_t *p, uint32_t shape, uint32_t i)
{
    bench_demux_put16(p + 12, 0x86dd);
    p[14] = 0x60;
    p[20] = shape == 1 ? 6 : 17;
    bench_demux_put32(p + (shape == 1 ? 22 : 38), 0x20010db8);
    bench_demux_put32(p + (shape == 1 ? 38 : 22), 0x20010db8);
    bench_demux_put16(p + (shape == 1 ? 26 : 42), shape == 1 ? 1 : 8);
    bench_demux_put16(p + (shape == 1 ? 34 : 50), i >> 8);
    bench_demux_put16(p + (shape == 1 ? 36 : 52), i & 255);
    if (shape == 1) {
        p[53] = 1;
    } else {
        p[37] = 9;
    }
    bench_demux_put16(p + 54, shape == 1 ? 1024 + i % 60000 : 7);
    bench_demux_put16(p + 56, shape == 1 ? 80 : 53);
}

/* A packet that filter i of the shape accepts, and no other filter. */
static void packet(uint8_t *p, uint32_t shape, uint32_t i)
{
    static const uint8_t proto[SHAPES] = {6, 0, 6, 17, 6, 17, 6, 1, 0, 0};
    uint8_t *ip = p + (shape == 2 ? 18 : 14);
    if (shape == 1 || shape == 8) {
        ip6_packet(p, shape, i);
        return;
    }
    if (shape == 9) {
        bench_demux_put16(p + 12, 0x0806);
        bench_demux_put32(p + 38, 0x0a090000 | i);
        return;
    }
    bench_demux_put16(p + 12, shape == 2 ? 0x8100 : 0x0800);
    if (shape == 2) {
        bench_demux_put16(p + 14, 5);
        bench_demux_put16(p + 16, 0x0800);
    }
    bool by_source = shape <= 3 || shape == 7;
    ip[0] = 0x45;
    ip[9] = proto[shape];
    bench_demux_put32(ip + (by_source ? 12 : 16),
                      0x0a000000 | (shape + (shape < 1)) << 16);
    /*
     * 10.SHAPE.HIGH.LOW as in bench_expression, in whose text shape 0 has a 1.
     */
    uint32_t own = 0x0a000000u | (shape == 0 ? 1u : shape) << 16 | i;
    bench_demux_put32(ip + (by_source ? 12 : 16), own);
    bench_demux_put32(ip + (by_source ? 16 : 12),
                      shape == 3 ? 0xc0a80002 : 0xc0a80001);
    bench_demux_put16(ip + 20, 1024 + i % 60000);
    bench_demux_put16(ip + 22, shape == 3 || shape == 5 ? 53
                               : shape == 4             ? 8080
                               : shape == 6             ? 2000 + i % 1000
                                                        : 80);
}

/* Filter number n of a mix of `shapes`. */
static void which(uint32_t n, uint32_t shapes, uint32_t *shape, uint32_t *i)
{
    *shape = n % shapes;
    *i = n / shapes;
}

/* Packets of random owners; one in ten has none, as on a real network. */
static bool make_traffic(struct traffic *t, uint32_t n, uint32_t shapes)
{
    if (!traffic_make(t, PACKETS, SLOT)) {
        return false;
    }
    for (uint32_t k = 0; k < t->count; k++) {
        uint32_t owner = bench_random(n);
        bool nobody = bench_random(10) == 0;
        uint32_t shape, i;
        which(owner, shapes, &shape, &i);
        /* without an owner: the same with a number that no filter has */
        packet(t->bytes + (size_t)k * SLOT, shape,
               nobody ? 20000 + bench_random(20000) : i);
        t->len[k] = SLOT;
        t->want[k] = nobody ? DPF_NO_OWNER : owner;
    }
    return traffic_shuffle(t);
}

struct dpf_program *bench_filter(uint32_t number, uint32_t shapes)
{
    struct dpf_error err = {0};
    struct dpf_program *p = NULL;
    uint32_t shape, i;
    which(number, shapes, &shape, &i);
    char text[256];
    bench_expression(shape, i, text, sizeof(text));
    struct dpf_code code;
    if (dpf_from_expr(text, DLT_EN10MB, 0, &code, &err) != 0 ||
        dpf_program_create(cli_mem(), DPF_FILTER, code.insns, code.count, &p,
                           &err) != 0) {
        cli_say("%s: %s", text, err.text);
        return NULL;
    }
    dpf_code_finish(&code);
    return p;
}

/* ------------------------------------------------------------------ pavise */

/* As the kernel asks; no filter here is shared or a tap. */
static void no_copies(void *ctx, uint32_t id)
{
    (void)ctx;
    (void)id;
}

static uint64_t loop_set(void *ctx, const struct traffic *t)
{
    const struct dpf_set *s = ctx;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += dpf_set_match(s, traffic_at(t, i), traffic_len(t, i), no_copies,
                             NULL);
    }
    return sum;
}

static uint32_t answer_set(void *ctx, const uint8_t *p, uint32_t len)
{
    return dpf_set_match(ctx, p, len, no_copies, NULL);
}

struct dpf_set *bench_set(uint32_t n, uint32_t shapes)
{
    struct dpf_set *s = NULL;
    struct dpf_error err = {0};
    int result = dpf_set_create(cli_mem(), &s);
    for (uint32_t i = 0; i < n && result == 0; i++) {
        struct dpf_program *p = bench_filter(i, shapes);
        result = p != NULL ? dpf_set_insert(s, i, 0, p, 0, &err) : -DPF_E_INVAL;
        dpf_program_destroy(p);
        /* No lookup is under way: what older versions used can go at once. */
        dpf_set_reclaim(s, dpf_set_version(s));
    }
    if (result != 0) {
        cli_say("a set of %u filters: %s", n, err.text);
        dpf_set_destroy(s);
        return NULL;
    }
    return s;
}

/* ----------------------------------------------------------------- in turn */

/*
 * The kernel's code, or libpcap's interpreter, filter after filter: how systems
 * without a merged lookup find a packet's owner. The time grows with the number
 * of filters, so that above IN_TURN_MAX there is nothing more to learn.
 */
struct turn {
    struct jit_code *jit;
    struct bpf_program *classic;
    uint32_t n;
};

static uint32_t answer_jits(void *ctx, const uint8_t *p, uint32_t len)
{
    const struct turn *t = ctx;
    struct jit_context c = {.data = p, .data_end = p + len};
    for (uint32_t i = 0; i < t->n; i++) {
        if ((uint32_t)t->jit[i].run(&c) != 0) {
            return i;
        }
    }
    return DPF_NO_OWNER;
}

static uint64_t loop_jits(void *ctx, const struct traffic *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += answer_jits(ctx, traffic_at(t, i), traffic_len(t, i));
    }
    return sum;
}

static uint32_t answer_pcaps(void *ctx, const uint8_t *p, uint32_t len)
{
    const struct turn *t = ctx;
    for (uint32_t i = 0; i < t->n; i++) {
        if (bpf_filter(t->classic[i].bf_insns, p, len, len) != 0) {
            return i;
        }
    }
    return DPF_NO_OWNER;
}

static uint64_t loop_pcaps(void *ctx, const struct traffic *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += answer_pcaps(ctx, traffic_at(t, i), traffic_len(t, i));
    }
    return sum;
}

/*
 * False: there is no code of the kernel's; libpcap's programs are there all
 * the same.
 */
static bool make_turn(struct bench *b, struct turn *t, uint32_t n,
                      uint32_t shapes)
{
    pcap_t *dead = pcap_open_dead(DLT_EN10MB, 65535);
    bool jit = true;
    *t = (struct turn){.n = n};
    t->jit = calloc(n, sizeof(*t->jit));
    t->classic = calloc(n, sizeof(*t->classic));
    for (uint32_t k = 0; t->jit != NULL && t->classic != NULL && k < n; k++) {
        const char *why = NULL;
        struct dpf_program *p = bench_filter(k, shapes);
        size_t count;
        uint32_t shape, i;
        which(k, shapes, &shape, &i);
        char text[256];
        bench_expression(shape, i, text, sizeof(text));
        pcap_compile(dead, &t->classic[k], text, 1, PCAP_NETMASK_UNKNOWN);
        const struct dpf_insn *insns =
            p != NULL ? dpf_program_insns(p, &count) : NULL;
        if (jit && (p == NULL || !jit_make(&t->jit[k], insns, count, &why))) {
            bench_skip(b, "linux-jit", why != NULL ? why : "no program");
            jit = false;
        }
        dpf_program_destroy(p);
    }
    pcap_close(dead);
    return jit;
}

static void drop_turn(struct turn *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        jit_finish(&t->jit[i]);
        pcap_freecode(&t->classic[i]);
    }
    free(t->jit);
    free(t->classic);
}

/* ----------------------------------------------------------------- contest */

struct connection *bench_connections(uint32_t n)
{
    struct connection *c = calloc(n, sizeof(*c));
    for (uint32_t i = 0; c != NULL && i < n; i++) {
        uint8_t p[SLOT] = {0};
        packet(p, 0, i);
        memcpy(&c[i], p + 26, sizeof(*c));
    }
    return c;
}

struct peers {
    struct connection *c;
    struct hand *hand;
    const struct dpdk *dpdk;
    void *hash, *acl;
};

/*
 * Peers that know TCP connections and nothing else. They are given the keys,
 * where ours must find them in the programs.
 */
static void add_peers(struct bench *b, struct contest *c, struct peers *p,
                      uint32_t n)
{
    const char *why = NULL;
    *p = (struct peers){.c = bench_connections(n), .dpdk = dpdk_open(&why)};
    p->hand = hand_make(p->c, n);
    if (p->hand != NULL) {
        contest_add(c, "hand", hand_loop, hand_answer, p->hand);
    }
    if (p->dpdk == NULL) {
        bench_skip(b, "rte_hash and rte_acl", why);
        return;
    }
    p->hash = p->dpdk->hash_make(p->c, n);
    p->acl = p->dpdk->acl_make(p->c, n);
    if (p->hash != NULL) {
        contest_add(c, "rte_hash", p->dpdk->hash_loop, p->dpdk->hash_answer,
                    p->hash);
    }
    if (p->acl != NULL) {
        contest_add(c, "rte_acl", p->dpdk->acl_loop, p->dpdk->acl_answer,
                    p->acl);
    }
}

static void drop_peers(struct peers *p)
{
    hand_free(p->hand);
    if (p->hash != NULL) {
        p->dpdk->hash_free(p->hash);
    }
    if (p->acl != NULL) {
        p->dpdk->acl_free(p->acl);
    }
    free(p->c);
}

/*
 * One table: n filters of one shape, where the peers that know connections
 * take part, or of ten.
 */
static int bench_demux_one(struct bench *b, uint32_t n, uint32_t shapes)
{
    struct contest c = {.workload = shapes == 1 ? "demux/connections"
                                                : "demux/ten shapes",
                        .n = n};
    struct turn turn = {0};
    struct peers peers = {0};
    struct dpf_set *set = bench_set(n, shapes);
    struct traffic t;
    if (set == NULL || !make_traffic(&t, n, shapes)) {
        dpf_set_destroy(set);
        return CLI_USAGE;
    }
    contest_add(&c, "pavise", loop_set, answer_set, set);
    if (shapes == 1) {
        add_peers(b, &c, &peers, n);
    }
    if (n <= IN_TURN_MAX) {
        if (make_turn(b, &turn, n, shapes)) {
            contest_add(&c, "linux-jit", loop_jits, answer_jits, &turn);
        }
        contest_add(&c, "libpcap", loop_pcaps, answer_pcaps, &turn);
    }
    contest_run(b, &c, &t);
    drop_turn(&turn);
    drop_peers(&peers);
    traffic_finish(&t);
    dpf_set_destroy(set);
    return CLI_OK;
}

int bench_demux(struct bench *b)
{
    int status = CLI_OK;
    for (uint32_t shapes = 1; shapes <= SHAPES; shapes += SHAPES - 1) {
        for (uint32_t n = 10; n <= 10000 && status == CLI_OK; n *= 10) {
            status = bench_demux_one(b, n, shapes);
        }
    }
    return status;
}
