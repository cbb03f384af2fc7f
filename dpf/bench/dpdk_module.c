/* SPDX-License-Identifier: MIT */
/*
 * rte_bpf, rte_hash and rte_acl of DPDK, used as their documentation asks.
 * No huge pages, no devices, no privilege.
 *
 * Source: DPDK 22.11 API documentation and programmer's guide.
 */
#include "dpf/bench/dpdk.h"

#include <rte_acl.h>
#include <rte_bpf.h>
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_jhash.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#define BURST 32u
#define HEADERS 54u  /* Ethernet, IPv4, TCP */
#define ADDRESSES 26 /* where the connection lies in such a packet */
#define PROTOCOL 23

const struct dpdk *dpdk_module(void);

/* ---------------------------------------------------------------- rte_bpf */

struct bpf {
    struct rte_bpf *bpf;
    struct rte_bpf_jit jit;
    struct rte_mbuf mbuf;
};

static void *bpf_make(const struct bpf_insn *insns, uint32_t count)
{
    struct bpf *b = aligned_alloc(64, (sizeof(*b) + 63) & ~63ul);
    /* rte_bpf_convert turns classic BPF into BPF that reads an mbuf. */
    struct bpf_program prog = {count, (struct bpf_insn *)(uintptr_t)insns};
    struct rte_bpf_prm *prm = b ? rte_bpf_convert(&prog) : NULL;
    if (prm == NULL) {
        free(b);
        return NULL;
    }
    memset(b, 0, sizeof(*b));
    b->bpf = rte_bpf_load(prm);
    rte_free(prm);
    if (b->bpf == NULL || rte_bpf_get_jit(b->bpf, &b->jit) != 0 ||
        b->jit.func == NULL) {
        free(b);
        return NULL;
    }
    b->mbuf.nb_segs = 1;
    return b;
}

static void bpf_free(void *bpf)
{
    struct bpf *b = bpf;
    rte_bpf_destroy(b->bpf);
    free(b);
}

/*
 * One mbuf is pointed at each packet in turn, as a driver's ring would have
 * them: filling in three fields is part of its price.
 */
static uint64_t bpf_one(struct bpf *b, const uint8_t *packet, uint32_t len)
{
    b->mbuf.buf_addr = (void *)(uintptr_t)packet;
    b->mbuf.data_len = (uint16_t)len;
    b->mbuf.pkt_len = len;
    return b->jit.func(&b->mbuf);
}

static uint64_t bpf_loop(void *ctx, const struct traffic *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += bpf_one(ctx, traffic_at(t, i), traffic_len(t, i));
    }
    return sum;
}

static uint32_t bpf_answer(void *ctx, const uint8_t *packet, uint32_t len)
{
    return (uint32_t)bpf_one(ctx, packet, len) != 0;
}

/* --------------------------------------------------------------- rte_hash */

/*
 * The conditions that a key does not hold: IPv4 with a header of five words,
 * TCP, and no fragment. A lookup by address and port alone would accept more
 * than the filters do.
 */
static bool shape(const uint8_t *p, uint32_t len)
{
    return len >= HEADERS && p[12] == 0x08 && p[13] == 0x00 && p[14] == 0x45 &&
           p[PROTOCOL] == 6 && (p[20] & 0x1f) == 0 && p[21] == 0;
}

static void *hash_make(const struct connection *c, uint32_t count)
{
    static unsigned made;
    char name[32];
    snprintf(name, sizeof(name), "dpf%u", made++);
    struct rte_hash_parameters parameters = {
        .name = name,
        .entries = count < 64 ? 64 : count * 2,
        .key_len = sizeof(*c),
        .hash_func = rte_jhash,
        /* Readers without a lock beside a writer, as our sets have them. */
        .extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF};
    struct rte_hash *h = rte_hash_create(&parameters);
    for (uint32_t i = 0; h != NULL && i < count; i++) {
        rte_hash_add_key_data(h, &c[i], (void *)(uintptr_t)i);
    }
    return h;
}

static void hash_free(void *hash)
{
    rte_hash_free(hash);
}

static void hash_burst(const struct rte_hash *h, const uint8_t *const *packet,
                       const uint32_t *len, uint32_t n, uint32_t *owner)
{
    const void *keys[BURST];
    void *data[BURST];
    uint64_t hits = 0;
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = packet[i] + ADDRESSES;
    }
    rte_hash_lookup_bulk_data(h, keys, n, &hits, data);
    for (uint32_t i = 0; i < n; i++) {
        owner[i] = (hits >> i & 1) && shape(packet[i], len[i])
                       ? (uint32_t)(uintptr_t)data[i]
                       : NO_OWNER;
    }
}

/* Both are made for bursts, and are measured in bursts. */
typedef void burst_fn(void *ctx, const uint8_t *const *packet,
                      const uint32_t *len, uint32_t n, uint32_t *owner);

static uint64_t bursts(burst_fn *burst, void *ctx, const struct traffic *t)
{
    const uint8_t *packet[BURST];
    uint32_t len[BURST], owner[BURST];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i += BURST) {
        uint32_t n = t->visits - i < BURST ? t->visits - i : BURST;
        for (uint32_t k = 0; k < n; k++) {
            packet[k] = traffic_at(t, i + k);
            len[k] = traffic_len(t, i + k);
        }
        burst(ctx, packet, len, n, owner);
        for (uint32_t k = 0; k < n; k++) {
            sum += owner[k];
        }
    }
    return sum;
}

static void hash_any(void *ctx, const uint8_t *const *packet,
                     const uint32_t *len, uint32_t n, uint32_t *owner)
{
    hash_burst(ctx, packet, len, n, owner);
}

static uint64_t hash_loop(void *ctx, const struct traffic *t)
{
    return bursts(hash_any, ctx, t);
}

static uint32_t hash_answer(void *ctx, const uint8_t *packet, uint32_t len)
{
    uint32_t owner;
    hash_burst(ctx, &packet, &len, 1, &owner);
    return owner;
}

/* ---------------------------------------------------------------- rte_acl */

enum { ACL_PROTOCOL, ACL_SOURCE, ACL_DEST, ACL_SPORT, ACL_DPORT, ACL_FIELDS };

RTE_ACL_RULE_DEF(acl_rule, ACL_FIELDS);

static const struct rte_acl_field_def acl_fields[ACL_FIELDS] = {
    {RTE_ACL_FIELD_TYPE_BITMASK, 1, ACL_PROTOCOL, 0, 0},
    {RTE_ACL_FIELD_TYPE_MASK, 4, ACL_SOURCE, 1, ADDRESSES - PROTOCOL},
    {RTE_ACL_FIELD_TYPE_MASK, 4, ACL_DEST, 2, ADDRESSES - PROTOCOL + 4},
    {RTE_ACL_FIELD_TYPE_RANGE, 2, ACL_SPORT, 3, ADDRESSES - PROTOCOL + 8},
    {RTE_ACL_FIELD_TYPE_RANGE, 2, ACL_DPORT, 3, ADDRESSES - PROTOCOL + 10},
};

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void acl_fill(struct acl_rule *r, const struct connection *c, uint32_t i)
{
    memset(r, 0, sizeof(*r));
    /* 0 means that no rule matched. */
    r->data.userdata = i + 1;
    r->data.category_mask = 1;
    r->data.priority = 1;
    r->field[ACL_PROTOCOL].value.u8 = 6;
    r->field[ACL_PROTOCOL].mask_range.u8 = 0xff;
    r->field[ACL_SOURCE].value.u32 = get32(c->source);
    r->field[ACL_SOURCE].mask_range.u32 = 32;
    r->field[ACL_DEST].value.u32 = get32(c->dest);
    r->field[ACL_DEST].mask_range.u32 = 32;
    r->field[ACL_SPORT].value.u16 = get16(c->source_port);
    r->field[ACL_SPORT].mask_range.u16 = get16(c->source_port);
    r->field[ACL_DPORT].value.u16 = get16(c->dest_port);
    r->field[ACL_DPORT].mask_range.u16 = get16(c->dest_port);
}

static void *acl_make(const struct connection *c, uint32_t count)
{
    static unsigned made;
    char name[32];
    struct acl_rule rule;
    struct rte_acl_config config = {.num_categories = 1,
                                    .num_fields = ACL_FIELDS};
    snprintf(name, sizeof(name), "dpf%u", made++);
    struct rte_acl_param parameters = {.name = name,
                                       .rule_size = RTE_ACL_RULE_SZ(ACL_FIELDS),
                                       .max_rule_num = count};
    struct rte_acl_ctx *a = rte_acl_create(&parameters);
    for (uint32_t i = 0; a != NULL && i < count; i++) {
        acl_fill(&rule, &c[i], i);
        rte_acl_add_rules(a, (const struct rte_acl_rule *)&rule, 1);
    }
    memcpy(config.defs, acl_fields, sizeof(acl_fields));
    if (a != NULL && rte_acl_build(a, &config) != 0) {
        rte_acl_free(a);
        a = NULL;
    }
    return a;
}

static void acl_free(void *acl)
{
    rte_acl_free(acl);
}

static void acl_burst(void *ctx, const uint8_t *const *packet,
                      const uint32_t *len, uint32_t n, uint32_t *owner)
{
    const uint8_t *data[BURST];
    for (uint32_t i = 0; i < n; i++) {
        /*
         * The first field must be one byte (programmer's guide): so data begin
         * at the protocol, and offsets count from there.
         */
        data[i] = packet[i] + PROTOCOL;
    }
    rte_acl_classify(ctx, data, owner, n, 1);
    for (uint32_t i = 0; i < n; i++) {
        owner[i] =
            owner[i] && shape(packet[i], len[i]) ? owner[i] - 1 : NO_OWNER;
    }
}

static uint64_t acl_loop(void *ctx, const struct traffic *t)
{
    return bursts(acl_burst, ctx, t);
}

static uint32_t acl_answer(void *ctx, const uint8_t *packet, uint32_t len)
{
    uint32_t owner;
    acl_burst(ctx, &packet, &len, 1, &owner);
    return owner;
}

const struct dpdk *dpdk_module(void)
{
    static const struct dpdk module = {
        bpf_make,  bpf_free,    bpf_loop, bpf_answer, hash_make, hash_free,
        hash_loop, hash_answer, acl_make, acl_free,   acl_loop,  acl_answer};
    /*
     * Memory without huge pages, no devices, one core: nothing that needs a
     * right.
     */
    static char *argv[] = {"dpf",         "--no-huge",   "--no-pci",
                           "-m",          "1024",        "--no-telemetry",
                           "--no-shconf", "--log-level", "1",
                           "-l",          "0",           NULL};
    int argc = (int)(sizeof(argv) / sizeof(*argv)) - 1;
    return rte_eal_init(argc, argv) >= 0 ? &module : NULL;
}
