/* SPDX-License-Identifier: MIT */
#include "tests/diff/dpf/small.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct small_packet small_packets[SMALL_PACKETS];

void small_packets_make(void)
{
    uint32_t n = 0;

    for (uint32_t len = 0; len <= SMALL_BYTES; len++) {
        for (uint32_t x = 0; x < 1u << (2 * len); x++) {
            for (uint32_t i = 0; i < len; i++) {
                small_packets[n].bytes[i] = (uint8_t)(x >> (2 * i) & 3);
            }
            small_packets[n++].len = len;
        }
    }
    assert(n == SMALL_PACKETS);
}

static const char *const tests[] = {
    "==", "!=", ">", "<", ">=", "<=", "s>", "s<", "s>=", "s<="};
#define TESTS (sizeof(tests) / sizeof(tests[0]))
#define NOT_EQUAL 1u
#define LESS 3u
#define SIGNED 6u /* the first of these */

/* A constant that a number of `width` bytes may well have. */
static uint64_t constant(struct rng *r, uint32_t width)
{
    uint64_t k = 0;

    for (uint32_t i = 0; i < width; i++) {
        k = k << 8 | rng_below(r, rng_below(r, 8) ? SMALL_VALUES : 7);
    }
    return k;
}

static void random_step(struct rng *r, uint32_t bases, struct small_step *s)
{
    static const uint8_t kinds[] = {
        SMALL_LEN,  SMALL_TEST, SMALL_TEST, SMALL_TEST,
        SMALL_BITS, SMALL_BASE, SMALL_BASE, SMALL_MORE,
    };
    static const uint8_t widths[] = {1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 4, 8};

    *s = (struct small_step){
        .kind = rng_below(r, 24) ? kinds[rng_below(r, sizeof(kinds))]
                                 : SMALL_PRODUCT,
        .width = widths[rng_below(r, sizeof(widths))],
        .at = (uint8_t)rng_below(r, bases + 1),
        .from = (uint8_t)(rng_below(r, 2) ? rng_below(r, bases + 1) : 0),
        .base = (uint8_t)(1 + rng_below(r, bases < 3 ? bases + 1 : 3)),
        .op = (uint8_t)rng_below(r, rng_below(r, 6) ? SIGNED : TESTS),
        .mask = (uint8_t)(1 + rng_below(r, 3)),
        .shift = (uint8_t)(rng_below(r, 3) == 0),
        .other = (uint8_t)rng_below(r, SMALL_BYTES),
        .skip = (uint8_t)(rng_below(r, 3) ? 0 : 1 + rng_below(r, 3)),
        .swap = rng_below(r, 2),
        .add_first = rng_below(r, 3) == 0,
        .off = (int8_t)rng_below(r, SMALL_BYTES),
    };
    s->k = s->kind == SMALL_LEN ? rng_below(r, SMALL_BYTES + 2)
                                : constant(r, s->width);
    if (s->at && rng_below(r, 4) == 0) {
        s->off = (int8_t)(s->off - (int)rng_below(r, 8));
    }
    if (rng_below(r, 4) == 0) {
        s->by = (int8_t)((int)rng_below(r, 7) - 3);
    }
    if (s->kind >= SMALL_BASE && s->width > 2) {
        s->width = 1;
    }
}

/* Registers that steps before this one point past a number. */
static uint32_t bases_before(const struct small *s, uint32_t n)
{
    uint32_t bases = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (s->step[i].kind == SMALL_BASE && s->step[i].base > bases) {
            bases = s->step[i].base;
        }
    }
    return bases;
}

/* What libraries bind: a conjunction of equalities, which becomes a key. */
static void make_equal(struct small_step *s)
{
    s->kind =
        s->kind == SMALL_LEN || s->kind >= SMALL_BASE ? s->kind : SMALL_TEST;
    s->op = s->kind == SMALL_LEN ? LESS : NOT_EQUAL;
    s->skip = 0;
}

void small_make(struct rng *r, struct small *s)
{
    bool equal = rng_below(r, 3) == 0;

    *s = (struct small){.steps = 1 + rng_below(r, 5)};
    for (uint32_t i = 0; i < s->steps; i++) {
        random_step(r, bases_before(s, i), &s->step[i]);
        if (equal) {
            make_equal(&s->step[i]);
        }
    }
    s->verdict = (uint8_t)(rng_below(r, 16) ? rng_below(r, 4) != 0 : 2);
}

static void change_step(struct rng *r, struct small *s, uint32_t i)
{
    struct small_step *t = &s->step[i];

    switch (rng_below(r, 6)) {
    case 0:
        t->off = (int8_t)rng_below(r, SMALL_BYTES);
        return;
    case 1:
        t->k = t->kind == SMALL_LEN ? rng_below(r, SMALL_BYTES + 2)
                                    : constant(r, t->width);
        return;
    case 2:
        t->op = (uint8_t)rng_below(r, TESTS);
        return;
    case 3:
        t->at = (uint8_t)rng_below(r, bases_before(s, i) + 1);
        t->from = (uint8_t)rng_below(r, bases_before(s, i) + 1);
        return;
    case 4:
        t->skip = (uint8_t)rng_below(r, 3);
        t->by = (int8_t)((int)rng_below(r, 7) - 3);
        return;
    default:
        random_step(r, bases_before(s, i), t);
    }
}

void small_vary(struct rng *r, const struct small *like, struct small *s)
{
    uint32_t changes = 1 + rng_below(r, 2);

    *s = *like;
    while (changes--) {
        uint32_t i = rng_below(r, s->steps), kind = rng_below(r, 4);

        if (kind == 0 && s->steps < SMALL_STEPS) { /* one more */
            i = rng_below(r, s->steps + 1);
            memmove(&s->step[i + 1], &s->step[i],
                    (s->steps - i) * sizeof(s->step[0]));
            s->steps++;
            random_step(r, bases_before(s, i), &s->step[i]);
        } else if (kind == 1 && s->steps > 1) { /* one less */
            s->steps--;
            memmove(&s->step[i], &s->step[i + 1],
                    (s->steps - i) * sizeof(s->step[0]));
        } else {
            change_step(r, s, i);
        }
    }
}

bool small_opaque(const struct small *s)
{
    for (uint32_t i = 0; i < s->steps; i++) {
        const struct small_step *t = &s->step[i];

        if (t->kind == SMALL_PRODUCT || t->op >= SIGNED || t->off < 0 ||
            t->by < 0) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------- text */

struct out {
    char *p, *end;
};

static __attribute__((format(printf, 2, 3))) void say(struct out *o,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    o->p += vsnprintf(o->p, (size_t)(o->end - o->p), format, args);
    va_end(args);
    assert(o->p < o->end);
}

static const char *reg_of(uint32_t base)
{
    static const char *const regs[] = {"r1", "r6", "r7", "r8"};

    return regs[base];
}

static void say_load(struct out *o, const struct small_step *t)
{
    say(o, "r3 = *(u%u *)(%s %c %d)\n", 8u * t->width, reg_of(t->at),
        t->off < 0 ? '-' : '+', t->off < 0 ? -t->off : t->off);
    if (t->swap && t->width > 1) {
        say(o, "r3 = be%u r3\n", 8u * t->width);
    }
}

/* A wide constant goes through a register. */
static void say_test(struct out *o, const struct small *s, uint32_t i,
                     const char *reg)
{
    const struct small_step *t = &s->step[i];
    char to[16] = "out";

    if (t->skip == 1) {
        strcpy(to, "yes");
    } else if (t->skip > 1 && i + t->skip <= s->steps) {
        snprintf(to, sizeof(to), "s%u", i + t->skip);
    }
    if (t->k > INT32_MAX) {
        say(o, "r5 = 0x%" PRIx64 " ll\n", t->k);
        say(o, "if %s %s r5 goto %s\n", reg, tests[t->op], to);
    } else {
        say(o, "if %s %s %d goto %s\n", reg, tests[t->op], (int)t->k, to);
    }
}

static void say_base(struct out *o, const struct small_step *t)
{
    const char *base = reg_of(t->base);

    say_load(o, t);
    if (t->mask != 3 || t->width > 1) {
        say(o, "r3 &= %u\n", t->mask);
    }
    if (t->shift) {
        say(o, "r3 <<= %u\n", t->shift);
    }
    if (t->kind == SMALL_MORE) {
        say(o, "%s += r3\n", base);
    } else if (t->add_first) {
        say(o, "r3 += %s\n%s = r3\n", reg_of(t->from), base);
    } else {
        say(o, "%s = %s\n%s += r3\n", base, reg_of(t->from), base);
    }
    if (t->by) {
        say(o, "%s += %d\n", base, t->by);
    }
}

static void say_step(struct out *o, const struct small *s, uint32_t i)
{
    const struct small_step *t = &s->step[i];

    say(o, "s%u:\n", i);
    switch (t->kind) {
    case SMALL_LEN:
        say_test(o, s, i, "r2");
        return;
    case SMALL_TEST:
        say_load(o, t);
        say_test(o, s, i, "r3");
        return;
    case SMALL_BITS:
        say_load(o, t);
        say(o, "r3 &= %u\n", t->mask);
        say_test(o, s, i, "r3");
        return;
    case SMALL_PRODUCT:
        say_load(o, t);
        say(o, "r4 = *(u8 *)(r1 + %u)\nr3 *= r4\n", t->other);
        say_test(o, s, i, "r3");
        return;
    default:
        say_base(o, t);
    }
}

void small_text(const struct small *s, char *out)
{
    struct out o = {out, out + SMALL_TEXT};

    say(&o, "r6 = r1\nr7 = r1\nr8 = r1\n");
    for (uint32_t i = 0; i < s->steps; i++) {
        say_step(&o, s, i);
    }
    say(&o, "s%u:\n", s->steps);
    say(&o, s->verdict == 2 ? "r0 = *(u8 *)(r6 + 0)\n" : "r0 = %u\n",
        s->verdict);
    say(&o, "exit\nyes:\nr0 = 1\nexit\nout:\nr0 = 0\nexit\n");
}
