/* SPDX-License-Identifier: MIT */
/*
 * Filters of a crowd, and their programs.
 */
#include "tests/diff/dpf/crowd.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define PICK(r, a) ((a)[rng_below((r), sizeof(a) / sizeof((a)[0]))])
#define BIT(field) (1u << (field))

uint32_t crowd_pool = 1;

/* ----------------------------------------------------------------- recipes */

static uint32_t pooled(struct rng *r, uint32_t n)
{
    return rng_below(r, n * crowd_pool);
}

static void random_recipe(struct rng *r, struct recipe *w)
{
    static const uint8_t versions[] = {4, 4, 4, 4, 4, 6, 6, 0};
    static const uint8_t protocols[] = {6, 6, 17, 17, 1};

    *w = (struct recipe){
        .version = PICK(r, versions),
        .tags = (uint8_t)(rng_below(r, 4) ? 0 : 1 + rng_below(r, 2)),
        .vlan = (uint8_t)(1 + rng_below(r, 3)),
        .words = (uint8_t)(rng_below(r, 4) ? 5 : 5 + rng_below(r, 3)),
        .data_words = (uint8_t)(5 + rng_below(r, 3)),
        .chain = (uint8_t)(rng_below(r, 2) ? 0 : rng_below(r, 4)),
        .protocol = PICK(r, protocols),
        .source = (uint8_t)pooled(r, 12),
        .target = (uint8_t)pooled(r, 12),
        .data = (uint8_t)rng_below(r, 4),
        .from = (uint16_t)(1020 + pooled(r, 16)),
        .to = (uint16_t)(78 + pooled(r, 12)),
    };
}

static uint8_t some_how(struct rng *r)
{
    return (uint8_t)(rng_below(r, 2) ? CROWD_EQUAL : rng_below(r, CROWD_HOWS));
}

static void set_test(struct rng *r, struct crowd_filter *f, uint32_t field)
{
    f->tests |= BIT(field);
    f->how[field] = some_how(r);
}

void crowd_make(struct rng *r, struct crowd_filter *f)
{
    /* Connections, listeners, hosts, prefixes, and whatever comes. */
    static const uint32_t kinds[] = {
        BIT(CROWD_PROTOCOL) | BIT(CROWD_SOURCE) | BIT(CROWD_TARGET) |
            BIT(CROWD_FROM) | BIT(CROWD_TO) | BIT(CROWD_WORDS),
        BIT(CROWD_PROTOCOL) | BIT(CROWD_TARGET) | BIT(CROWD_TO) |
            BIT(CROWD_FRAGMENT),
        BIT(CROWD_PROTOCOL) | BIT(CROWD_TO),
        BIT(CROWD_SOURCE),
        BIT(CROWD_TAG) | BIT(CROWD_TARGET),
        BIT(CROWD_PROTOCOL) | BIT(CROWD_DATA) | BIT(CROWD_TO),
        BIT(CROWD_OPTION) | BIT(CROWD_PROTOCOL) | BIT(CROWD_TO),
    };

    *f = (struct crowd_filter){.style = rng_next(r),
                               .odd = (uint8_t)rng_below(r, 5),
                               .either = rng_below(r, 10) == 0};
    random_recipe(r, &f->want);
    f->tests = PICK(r, kinds);
    for (uint32_t i = 0; i < CROWD_FIELDS; i++) {
        f->how[i] = rng_below(r, 3) ? CROWD_EQUAL : some_how(r);
        if (rng_below(r, 12) == 0) {
            f->tests ^= BIT(i);
        }
    }
}

void crowd_vary(struct rng *r, const struct crowd_filter *like,
                struct crowd_filter *f)
{
    uint32_t field = rng_below(r, CROWD_FIELDS);

    *f = *like;
    f->style = rng_next(r);
    switch (rng_below(r, 4)) {
    case 0:
        f->tests &= ~BIT(field);
        return;
    case 1:
        f->how[field] = some_how(r);
        return;
    case 2:
        random_recipe(r, &f->want);
        f->want.version = like->want.version;
        f->want.protocol = like->want.protocol;
        f->want.tags = like->want.tags;
        return;
    default:
        crowd_narrow(r, like, f);
    }
}

void crowd_narrow(struct rng *r, const struct crowd_filter *like,
                  struct crowd_filter *f)
{
    uint32_t field = rng_below(r, CROWD_ODD);

    *f = *like;
    f->style = rng_next(r);
    for (uint32_t i = 0; i < CROWD_ODD && f->tests & BIT(field); i++) {
        field = (field + 1) % CROWD_ODD;
    }
    if (f->tests & BIT(field)) {
        f->how[field] = CROWD_EQUAL;
    } else {
        set_test(r, f, field);
    }
}

void crowd_alike(struct rng *r, const struct crowd_filter *like,
                 struct crowd_filter *f)
{
    *f = *like;
    f->style = rng_next(r);
    f->want.data = (uint8_t)rng_below(r, 4);
    set_test(r, f, CROWD_DATA); /* it lies at no fixed place */
    f->odd = (uint8_t)rng_below(r, 5);
    f->tests ^= rng_below(r, 4) ? 0 : BIT(CROWD_ODD);
}

/* -------------------------------------------------------------------- text */

struct maker {
    char *p, *end;
    struct rng style;
    uint32_t labels;
    const char *fail; /* where a test that fails leads */
    const struct crowd_filter *f;
    const struct recipe *want;
    int l3; /* offset of the network header */
};

static __attribute__((format(printf, 2, 3))) void say(struct maker *m,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    m->p += vsnprintf(m->p, (size_t)(m->end - m->p), format, args);
    va_end(args);
    assert(m->p < m->end);
}

static uint32_t spell(struct maker *m, uint32_t n)
{
    return rng_below(&m->style, n);
}

/* r3 = the big-endian number of 1, 2 or 4 bytes at reg + off. */
static void say_load(struct maker *m, const char *reg, int off, unsigned bytes)
{
    if (bytes == 1) {
        say(m, "r3 = *(u8 *)(%s + %d)\n", reg, off);
    } else if (spell(m, 5)) {
        say(m, "r3 = *(u%u *)(%s + %d)\nr3 = be%u r3\n", 8 * bytes, reg, off,
            8 * bytes);
    } else {
        say(m, "r3 = *(u8 *)(%s + %d)\n", reg, off);
        for (unsigned i = 1; i < bytes; i++) {
            say(m, "r3 <<= 8\nr4 = *(u8 *)(%s + %d)\nr3 |= r4\n", reg,
                off + (int)i);
        }
    }
    if (spell(m, 12) == 0) { /* a variable of the compiler's, spilled */
        say(m, "*(u64 *)(r10 - 16) = r3\nr3 = *(u32 *)(r10 - 16)\n");
    }
}

static void say_equal(struct maker *m, const char *reg, int off, unsigned bytes,
                      uint32_t k)
{
    uint32_t swapped = bytes == 1   ? k
                       : bytes == 2 ? __builtin_bswap16((uint16_t)k)
                                    : __builtin_bswap32(k);

    switch (spell(m, 5)) {
    case 0: /* each byte by itself */
        for (unsigned i = 0; i < bytes; i++) {
            say(m, "r3 = *(u8 *)(%s + %d)\nif r3 != %u goto %s\n", reg,
                off + (int)i, k >> 8 * (bytes - 1 - i) & 0xff, m->fail);
        }
        return;
    case 1: /* in the order of memory */
        say(m, "r3 = *(u%u *)(%s + %d)\nif w3 != 0x%x goto %s\n", 8 * bytes,
            reg, off, swapped, m->fail);
        return;
    case 2:
        say_load(m, reg, off, bytes);
        say(m, "w3 ^= 0x%x\nif r3 != 0 goto %s\n", k, m->fail);
        return;
    case 3:
        say_load(m, reg, off, bytes);
        say(m, "w4 = 0x%x\nif r3 == r4 goto l%u\ngoto %s\nl%u:\n", k, m->labels,
            m->fail, m->labels);
        m->labels++;
        return;
    default:
        say_load(m, reg, off, bytes);
        say(m, "if w3 != 0x%x goto %s\n", k, m->fail);
    }
}

static void say_range(struct maker *m, uint32_t lo, uint32_t hi)
{
    switch (spell(m, 3)) {
    case 0: /* as compilers have it */
        say(m, "w3 -= %u\nif w3 > %u goto %s\n", lo, hi - lo, m->fail);
        return;
    case 1:
        say(m, "if r3 < %u goto %s\nif r3 > %u goto %s\n", lo, m->fail, hi,
            m->fail);
        return;
    default:
        say(m, "if r3 s<= %d goto %s\nif r3 s>= %u goto %s\n", (int)lo - 1,
            m->fail, hi + 1, m->fail);
    }
}

/* Is r3 one of k, k + step, ...? */
static void say_list(struct maker *m, uint32_t k, uint32_t step, uint32_t n)
{
    uint32_t yes = m->labels++;

    for (uint32_t i = 0; i < n; i++) {
        say(m, "if r3 == %u goto l%u\n", k + i * step, yes);
    }
    say(m, "goto %s\nl%u:\n", m->fail, yes);
}

static void say_tree(struct maker *m, uint32_t k, uint32_t n, uint32_t yes)
{
    uint32_t half = n / 2, right = m->labels++;

    if (n == 1) {
        say(m, "if r3 == %u goto l%u\ngoto %s\n", k, yes, m->fail);
        return;
    }
    say(m, "if r3 >= %u goto l%u\n", k + 2 * half, right);
    say_tree(m, k, half, yes);
    say(m, "l%u:\n", right);
    say_tree(m, k + 2 * half, n - half, yes);
}

/* Test a number at reg + off against the recipe's k. */
static void say_test(struct maker *m, uint32_t field, const char *reg, int off,
                     unsigned bytes, uint32_t k)
{
    uint32_t yes;

    if (m->f->how[field] == CROWD_EQUAL) {
        say_equal(m, reg, off, bytes, k);
        return;
    }
    say_load(m, reg, off, bytes);
    switch (m->f->how[field]) {
    case CROWD_PREFIX:
        if (spell(m, 2)) {
            say(m, "r3 >>= 2\nif r3 != %u goto %s\n", k >> 2, m->fail);
        } else {
            say(m, "w3 &= -4\nif w3 != %u goto %s\n", k & ~3u, m->fail);
        }
        return;
    case CROWD_RANGE:
        say_range(m, k - k % 5, k + 3);
        return;
    case CROWD_LIST:
        say_list(m, k, 3, 3);
        return;
    case CROWD_TREE:
        yes = m->labels++;
        say_tree(m, k, 5, yes);
        say(m, "l%u:\n", yes);
        return;
    case CROWD_NOT:
        say(m, "if r3 == %u goto %s\n", k ^ 1, m->fail);
        return;
    default:
        say(m, "r3 &= 5\nif r3 != %u goto %s\n", k & 5, m->fail);
    }
}

static bool tests(const struct maker *m, uint32_t field)
{
    return m->f->tests >> field & 1;
}

/* r7 = where the transport header lies. */
static void say_header_end(struct maker *m)
{
    switch (spell(m, 4)) {
    case 0:
        say(m, "r7 = *(u8 *)(r1 + %d)\nr7 &= 15\nr7 *= 4\nr7 += r6\n", m->l3);
        return;
    case 1:
        say(m, "r3 = *(u8 *)(r6 + 0)\nr3 <<= 2\nr3 &= 60\nr7 = r6\nr7 += r3\n");
        return;
    case 2: /* back and forth: p + length - 20 + 20 */
        say(m, "r7 = r6\nr7 += -20\nr3 = *(u8 *)(r6 + 0)\nr3 &= 15\nr3 <<= 2\n"
               "r7 += r3\nr7 += 20\n");
        return;
    default:
        say(m,
            "r3 = *(u8 *)(r6 + 0)\nr3 &= 15\nr3 <<= 2\nr7 = r1\nr7 += r3\n"
            "r7 += %d\n",
            m->l3);
    }
}

/* Is there a certain option among the first three of the IPv4 header? */
static void say_options(struct maker *m)
{
    uint32_t yes = m->labels++;

    say(m, "r8 = r6\nr8 += 20\n");
    for (int i = 0; i < 3; i++) {
        uint32_t on = m->labels++;

        say(m, "r3 = *(u8 *)(r8 + 0)\nif r3 == 7 goto l%u\n", yes);
        say(m, "r4 = 1\nif r3 == 1 goto l%u\nr4 = *(u8 *)(r8 + 1)\n", on);
        say(m, "l%u:\nr8 += r4\n", on);
    }
    say(m, "goto %s\nl%u:\n", m->fail, yes);
}

/* r7 = behind the extension headers, of which there are three at most. */
static void say_chain(struct maker *m)
{
    uint32_t done = m->labels++, again = m->labels++;
    bool loop = spell(m, 4) == 0;

    say(m, "r7 = r6\nr7 += 40\nr5 = *(u8 *)(r6 + 6)\nr9 = 3\n");
    say(m, "l%u:\n", again);
    for (int i = 0; i < (loop ? 1 : 3); i++) {
        uint32_t on = m->labels++;

        say(m, "if r5 == 0 goto l%u\nif r5 == 43 goto l%u\n", on, on);
        say(m, "if r5 != 60 goto l%u\nl%u:\n", done, on);
        say(m, "r5 = *(u8 *)(r7 + 0)\nr3 = *(u8 *)(r7 + 1)\n");
        say(m, "r3 += 1\nr3 <<= 3\nr7 += r3\n");
    }
    if (loop) {
        say(m, "r9 += -1\nif r9 != 0 goto l%u\n", again);
    }
    say(m, "l%u:\nif r5 != %u goto %s\n", done, m->want->protocol, m->fail);
}

static void say_odd(struct maker *m)
{
    uint32_t again = m->labels++;

    switch (m->f->odd) {
    case 0:
        say(m, "r3 = *(u8 *)(r6 + 1)\nr4 = *(u8 *)(r6 + 5)\nr3 *= r4\n");
        say(m, "r3 &= 6\nif r3 != 0 goto %s\n", m->fail);
        return;
    case 1: /* a sum over the header */
        say(m, "r5 = r6\nr9 = 10\nr4 = 0\nl%u:\n", again);
        say(m, "r3 = *(u16 *)(r5 + 0)\nr4 += r3\nr5 += 2\nr9 += -1\n");
        say(m, "if r9 != 0 goto l%u\nr4 &= 1\n", again);
        say(m, "if r4 != 0 goto %s\n", m->fail);
        return;
    case 2: /* as long as it says */
        say_load(m, "r6", m->want->version == 6 ? 4 : 2, 2);
        say(m, "r4 = r2\nr4 -= %d\nif r3 > r4 goto %s\n", m->l3, m->fail);
        return;
    case 3:
        say_load(m, "r6", 4, 2);
        say(m, "r3 %%= 3\nif r3 == 1 goto %s\n", m->fail);
        return;
    default: /* of two numbers one is the larger */
        say(m, "r3 = *(u8 *)(r6 + 4)\nr4 = *(u8 *)(r6 + 8)\n");
        say(m, "if r3 > r4 goto %s\n", m->fail);
    }
}

static void say_link(struct maker *m)
{
    int at = 12;

    m->l3 = 14 + 4 * m->want->tags;
    if (tests(m, CROWD_LEN)) {
        say(m, "if r2 < %d goto %s\n", m->l3 + (m->f->how[CROWD_LEN] ? 20 : 34),
            m->fail);
    }
    for (int i = 0; i < m->want->tags; i++, at += 4) {
        say_equal(m, "r1", at, 2, 0x8100);
        if (i == 0 && tests(m, CROWD_TAG)) {
            say_load(m, "r1", at + 2, 2);
            say(m, "r3 &= 0xfff\nif r3 != %u goto %s\n", m->want->vlan,
                m->fail);
        }
    }
    say_equal(m, "r1", at, 2,
              m->want->version == 4   ? 0x800
              : m->want->version == 6 ? 0x86dd
                                      : 0x806);
    say(m, "r6 = r1\nr6 += %d\n", m->l3);
}

/* Addresses; and r7 for what lies behind. */
static void say_network(struct maker *m)
{
    static const int sources[] = {15, 0, 23}, targets[] = {19, 0, 39};
    uint32_t v = m->want->version == 6 ? 2 : 0;

    if (tests(m, CROWD_SOURCE)) {
        say_test(m, CROWD_SOURCE, "r6", sources[v], 1, m->want->source);
    }
    if (tests(m, CROWD_TARGET)) {
        say_test(m, CROWD_TARGET, "r6", targets[v] - 3, 4,
                 (v ? 0 : 0x0a000000) | m->want->target);
    }
    if (v) {
        if (tests(m, CROWD_OPTION)) {
            say_chain(m);
            return;
        }
        say(m, "r7 = r6\nr7 += 40\n");
        if (tests(m, CROWD_PROTOCOL)) {
            say_test(m, CROWD_PROTOCOL, "r6", 6, 1, m->want->protocol);
        }
        return;
    }
    if (tests(m, CROWD_PROTOCOL)) {
        say_test(m, CROWD_PROTOCOL, "r6", 9, 1, m->want->protocol);
    }
    if (tests(m, CROWD_FRAGMENT)) {
        say_load(m, "r6", 6, 2);
        say(m, "r3 &= 0x1fff\nif r3 != 0 goto %s\n", m->fail);
    }
    if (tests(m, CROWD_WORDS)) {
        say_equal(m, "r6", 0, 1, 0x40u | m->want->words);
        say(m, "r7 = r6\nr7 += %u\n", 4u * m->want->words);
    } else {
        say_header_end(m);
    }
    if (tests(m, CROWD_OPTION)) {
        say_options(m);
    }
}

static void say_all(struct maker *m)
{
    say_link(m);
    if (m->want->version == 0) {
        if (tests(m, CROWD_TARGET)) {
            say_test(m, CROWD_TARGET, "r6", 24, 4,
                     0x0a000000 | m->want->target);
        }
        return;
    }
    say_network(m);
    if (tests(m, CROWD_FROM)) {
        say_test(m, CROWD_FROM, "r7", 0, 2, m->want->from);
    }
    if (tests(m, CROWD_TO)) {
        say_test(m, CROWD_TO, "r7", 2, 2, m->want->to);
    }
    if (tests(m, CROWD_ODD)) {
        say_odd(m);
    }
    if (tests(m, CROWD_DATA)) {
        say(m, "r3 = *(u8 *)(r7 + 12)\nr3 >>= 4\nr3 <<= 2\nr7 += r3\n");
        say_test(m, CROWD_DATA, "r7", 0, 1, m->want->data);
    }
}

void crowd_text(const struct crowd_filter *f, char *out)
{
    struct recipe other = f->want;
    struct maker m = {.p = out,
                      .end = out + CROWD_TEXT,
                      .style = {f->style | 1},
                      .fail = f->either ? "or" : "out",
                      .f = f,
                      .want = &f->want};

    say_all(&m);
    if (f->either) {
        say(&m, "goto yes\nor:\n");
        other.version = f->want.version == 4 ? 6 : 4;
        m.want = &other;
        m.fail = "out";
        say_all(&m);
        say(&m, "yes:\n");
    }
    say(&m, "r0 = 1\nexit\nout:\nr0 = 0\nexit\n");
}
