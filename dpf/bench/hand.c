/* SPDX-License-Identifier: MIT */
/*
 * A bucket is one cache line of four entries; all four are compared, and the
 * answer is selected by conditional moves, written out because clang makes
 * branches of them. The table grows until no bucket overflows, so that there
 * is never a second probe. Like the filters, it follows the IP header's
 * length to the ports.
 */
#include "dpf/bench/hand.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 4u
#define ETHERNET 14u

struct entry {
    uint64_t hosts;
    uint32_t ports, owner; /* NO_OWNER: free */
};
struct bucket {
    struct entry ways[WAYS];
};
_Static_assert(sizeof(struct bucket) == 64, "one cache line");

struct hand {
    struct bucket *buckets;
    uint64_t mask; /* buckets - 1 */
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

/* One multiplication, both halves of which are used. */
static inline uint64_t hand_spread(uint64_t hosts, uint32_t ports)
{
    unsigned __int128 m = (unsigned __int128)(hosts ^ 0x9e3779b97f4a7c15u) *
                          (ports ^ 0xd6e8feb86659fd93u);
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static __attribute__((noinline)) uint32_t find(const struct hand *h,
                                               const uint8_t *p, uint32_t len)
{
    if (__builtin_expect(len < ETHERNET + 20, 0)) {
        return NO_OWNER;
    }
    uint32_t at = ETHERNET + 4u * (p[ETHERNET] & 15);
    if (__builtin_expect(at + 4 > len, 0)) {
        return NO_OWNER;
    }
    uint64_t hosts = load64(p + 26);
    uint32_t ports = load32(p + at);
    /* Ethernet type 0800; no fragment, protocol 6. Without a branch: a wrong
       packet costs as much as a right one, but is never mispredicted. */
    uint32_t wrong = ((load32(p + 12) & 0xffff) ^ 0x0008) |
                     ((load32(p + 20) & 0xff00ff1f) ^ 0x06000000);
    const struct bucket *b = &h->buckets[hand_spread(hosts, ports) & h->mask];
    uint32_t owner = NO_OWNER;
    for (unsigned i = 0; i < WAYS; i++) {
        const struct entry *e = &b->ways[i];
        uint64_t differs = (e->hosts ^ hosts) | (e->ports ^ ports);
        __asm__("test %1, %1\n\tcmove %2, %0"
                : "+r"(owner)
                : "r"(differs), "r"(e->owner)
                : "cc");
    }
    return wrong ? NO_OWNER : owner;
}

/* False if a bucket overflows at this size. */
static bool hand_fill(struct hand *h, const struct connection *c,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hosts = load64(c[i].source);
        uint32_t ports = load32(c[i].source_port);
        struct entry *e = h->buckets[hand_spread(hosts, ports) & h->mask].ways;
        unsigned way = 0;
        while (way < WAYS && e[way].owner != NO_OWNER) {
            way++;
        }
        if (way == WAYS) {
            return false;
        }
        e[way] = (struct entry){hosts, ports, i};
    }
    return true;
}

struct hand *hand_make(const struct connection *c, uint32_t count)
{
    struct hand *h = calloc(1, sizeof(*h));
    unsigned bits = 3;
    while ((1u << bits) < count / 2) {
        bits++;
    }
    for (; h != NULL && bits < 24; bits++) {
        size_t size = sizeof(struct bucket) << bits;
        h->buckets = aligned_alloc(64, size);
        h->mask = ((uint64_t)1 << bits) - 1;
        if (h->buckets == NULL) {
            break;
        }
        memset(h->buckets, 0xff, size); /* NO_OWNER everywhere */
        if (hand_fill(h, c, count)) {
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
