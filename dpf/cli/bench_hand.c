/* SPDX-License-Identifier: MIT */
/*
 * A bucket is one cache line of four entries; all four are compared and the
 * answer is selected by masks. The check of the packet's shape is folded into
 * the same selection. The table grows until no bucket overflows.
 */
#include "dpf/cli/bench_hand.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 4u
#define HEADERS 54u

struct bucket {
    uint64_t hosts[WAYS];
    uint32_t ports[WAYS];
    uint32_t owner[WAYS];
};
_Static_assert(sizeof(struct bucket) == 64, "one cache line");

struct hand {
    struct bucket *buckets;
    unsigned shift; /* 64 - log2 of their number */
};

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t spread(uint64_t hosts, uint32_t ports)
{
    uint64_t h = (hosts ^ (uint64_t)ports << 17) * 0x9e3779b97f4a7c15u;
    return (h ^ ports) * 0xd6e8feb86659fd93u;
}

static __attribute__((noinline)) uint32_t find(const struct hand *h,
                                               const uint8_t *p, uint32_t len)
{
    if (__builtin_expect(len < HEADERS, 0)) {
        return NO_OWNER;
    }
    uint64_t hosts = load64(p + 26);
    uint32_t ports = load32(p + 34);
    /* type 0800, version and length 45; no fragment, protocol 6 */
    uint64_t wrong = ((load64(p + 12) & 0xffffff) ^ 0x450008) |
                     ((load32(p + 20) & 0xff00ff1f) ^ 0x06000000);
    const struct bucket *b = &h->buckets[spread(hosts, ports) >> h->shift];
    uint32_t owner = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t differs =
            (b->hosts[i] ^ hosts) | (b->ports[i] ^ ports) | wrong;
        owner |= differs == 0 ? b->owner[i] + 1 : 0;
    }
    return owner - 1; /* nobody: 0 - 1 */
}

static bool fill(struct hand *h, const struct connection *c, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hosts = load64(c[i].source);
        uint32_t ports = load32(c[i].source_port);
        struct bucket *b = &h->buckets[spread(hosts, ports) >> h->shift];
        unsigned way = 0;
        while (way < WAYS && b->owner[way] != NO_OWNER) {
            way++;
        }
        if (way == WAYS) {
            return false;
        }
        b->hosts[way] = hosts;
        b->ports[way] = ports;
        b->owner[way] = i;
    }
    return true;
}

struct hand *hand_make(const struct connection *c, uint32_t count)
{
    struct hand *h = calloc(1, sizeof(*h));
    unsigned bits = 2;
    while ((1u << bits) < count / 2) {
        bits++;
    }
    for (; h != NULL && bits < 24; bits++) {
        size_t size = sizeof(struct bucket) << bits;
        h->buckets = aligned_alloc(64, size);
        h->shift = 64 - bits;
        if (h->buckets == NULL) {
            break;
        }
        memset(h->buckets, 0, size);
        for (size_t i = 0; i < (size_t)1 << bits; i++) {
            memset(h->buckets[i].owner, 0xff, sizeof(h->buckets[i].owner));
        }
        if (fill(h, c, count)) {
            return h;
        }
        free(h->buckets);
    }
    free(h);
    return NULL;
}

void hand_free(struct hand *h)
{
    if (h != NULL) {
        free(h->buckets);
        free(h);
    }
}

uint64_t hand_loop(void *ctx, const struct traffic *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->visits; i++) {
        sum += find(ctx, traffic_at(t, i), traffic_len(t, i));
    }
    return sum;
}

uint32_t hand_answer(void *ctx, const uint8_t *packet, uint32_t len)
{
    return find(ctx, packet, len);
}
