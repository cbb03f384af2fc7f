/* SPDX-License-Identifier: MIT */
/*
 * Why the kernel refused a filter, for people. It gives a packet that the
 * filter accepts and the region does not. What the region is, it does not say;
 * but the same filter with one more test can be tried, and fits or does not.
 */
#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/sys/sys.h"

#define LINE 384u
#define TEST_INSNS 8u

enum {
    OP_LDXB = 0x71,
    OP_LDXH = 0x69,
    OP_AND32 = 0x54,
    OP_JEQ32 = 0x16,
    OP_JGE = 0x35,
    OP_MOV = 0xb7,
    OP_EXIT = 0x95,
};

/* A test that filters forget. */
struct forgotten {
    uint8_t offset, bytes;
    uint16_t mask, value; /* as the bytes lie in the packet, big-endian */
    const char *is, *add;
};

static const struct forgotten tests[] = {
    {12, 2, 0xffff, 0x0800, "is not IPv4", "ether[12:2] = 0x0800"},
    {14, 1, 0xff, 0x45, "has IP options, or is not version 4", "ip[0] = 0x45"},
    {20, 2, 0x1fff, 0, "is a later fragment", "ip[6:2] & 0x1fff = 0"},
    {23, 1, 0xff, 6, "is not TCP", "ip[9] = 6"},
    {23, 1, 0xff, 17, "is not UDP", "ip[9] = 17"},
};
#define TESTS (sizeof(tests) / sizeof(tests[0]))

static uint32_t value_in(const struct net_refusal *why,
                         const struct forgotten *t)
{
    const uint8_t *p = why->witness + t->offset;
    return t->bytes == 1 ? p[0] : (uint32_t)p[0] << 8 | p[1];
}

static bool lacks(const struct net_refusal *why, const struct forgotten *t)
{
    uint32_t len =
        why->witness_len < NET_WITNESS_MAX ? why->witness_len : NET_WITNESS_MAX;
    return len >= (uint32_t)t->offset + t->bytes &&
           (value_in(why, t) & t->mask) != t->value;
}

/* `f` behind the test; false if there is no room. */
static bool add_test(struct filter *to, const struct filter *f,
                     const struct forgotten *t)
{
    uint32_t mask = t->mask, value = t->value;
    if (t->bytes == 2) { /* loads are little-endian */
        mask = __builtin_bswap16(t->mask);
        value = __builtin_bswap16(t->value);
    }
    const struct dpf_insn test[TEST_INSNS] = {
        {OP_JGE, 2, 2, t->offset + t->bytes}, /* long enough */
        {OP_MOV, 0, 0, 0},
        {OP_EXIT, 0, 0, 0},
        {t->bytes == 1 ? OP_LDXB : OP_LDXH, 0x13, t->offset, 0},
        {OP_AND32, 3, 0, (int32_t)mask},
        {OP_JEQ32, 3, 2, (int32_t)value},
        {OP_MOV, 0, 0, 0},
        {OP_EXIT, 0, 0, 0},
    };
    if (f->count > FILTER_INSNS_MAX - TEST_INSNS) {
        return false;
    }
    memcpy(to->insn, test, sizeof(test));
    memcpy(to->insn + TEST_INSNS, f->insn, f->count * sizeof(f->insn[0]));
    to->count = f->count + TEST_INSNS;
    return true;
}

void net_refusal_say(const char *who, const char *what, int err,
                     const struct net_refusal *why)
{
    static char line[LINE];
    console_printf("%s: the filter for %s was refused: %s%s%s\n", who, what,
                   env_strerror(err), why->text[0] != 0 ? ": " : "", why->text);
    uint32_t len =
        why->witness_len < NET_WITNESS_MAX ? why->witness_len : NET_WITNESS_MAX;
    if ((err == -E_REGION || err == -E_CONFLICT) && len > 0) {
        (void)dpf_packet_text(line, sizeof(line), why->witness, len);
        console_printf("%s: it accepts %s\n", who, line);
    }
}

/* Which test makes it fit? */
static void try_tests(struct rx_ring *r, uint32_t k, uint32_t region,
                      uint32_t flags, const struct filter *f, const char *who,
                      const struct net_refusal *why)
{
    static struct filter with;
    for (unsigned i = 0; i < TESTS; i++) {
        if (!lacks(why, &tests[i]) || !add_test(&with, f, &tests[i])) {
            continue;
        }
        int id = rx_ring_bind(r, k, region, flags, &with, NULL);
        if (id >= 0) {
            (void)sys_net_unbind(r->device, (uint32_t)id);
            console_printf("%s: this packet %s; the region wants none such: "
                           "add %s\n",
                           who, tests[i].is, tests[i].add);
            return;
        }
    }
}

int rx_ring_bind_said(struct rx_ring *r, uint32_t k, uint32_t region,
                      uint32_t flags, const struct filter *filter,
                      const char *who, const char *what)
{
    static struct net_refusal why;
    memset(&why, 0, sizeof(why));
    int id = filter->count > FILTER_INSNS_MAX
                 ? -E_LIMIT
                 : rx_ring_bind(r, k, region, flags, filter, &why);
    if (id < 0) {
        net_refusal_say(who, what, id, &why);
    }
    if (id == -E_REGION) {
        try_tests(r, k, region, flags, filter, who, &why);
    }
    return id;
}
