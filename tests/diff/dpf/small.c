/* SPDX-License-Identifier: MIT */
#include "tests/diff/dpf/small.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool small_wide;
struct small_packet small_packets[SMALL_PACKETS];
uint32_t small_count;
static uint8_t small_bytes[SMALL_PACKETS][SMALL_BYTES];
static uint8_t wide_bytes[WIDE_PACKETS][WIDE_BYTES];

void small_packets_make(void)
{
    for (uint32_t len = 0; len <= SMALL_BYTES; len++) {
        for (uint32_t x = 0; x < 1u << (2 * len); x++) {
            uint8_t *bytes = small_bytes[small_count];
            for (uint32_t i = 0; i < len; i++) {
                bytes[i] = (uint8_t)(x >> (2 * i) & 3);
            }
            small_packets[small_count++] = (struct small_packet){bytes, len};
        }
    }
    assert(small_count == SMALL_PACKETS);
}

static const char *const tests[] = {
    "==", "!=", ">", "<", ">=", "<=", "s>", "s<", "s>=", "s<="};
#define TESTS (sizeof(tests) / sizeof(tests[0]))
#define NOT_EQUAL 1u
#define LESS 3u
#define SIGNED 6u /* the first of these */

#define PICK(r, a) ((a)[rng_below((r), sizeof(a) / sizeof((a)[0]))])

static uint8_t some_byte(struct rng *r)
{
    static const uint8_t edges[] = {0,  1,  2,    4,   6,   8,
                                    17, 64, 0x45, 127, 128, 255};
    if (!small_wide) {
        return (uint8_t)rng_below(r, rng_below(r, 8) ? SMALL_VALUES : 7);
    }
    return rng_below(r, 4) ? PICK(r, edges) : (uint8_t)rng_next(r);
}

/* A constant that a number of `width` bytes may well have. */
static uint64_t constant(struct rng *r, uint32_t width)
{
    uint64_t k = 0;
    for (uint32_t i = 0; i < width; i++) {
        k = k << 8 | some_byte(r);
    }
    return k;
}

static int8_t some_offset(struct rng *r)
{
    return (int8_t)rng_below(r, small_wide ? 60 : SMALL_BYTES);
}

static int8_t some_move(struct rng *r)
{
    return small_wide ? (int8_t)((int)rng_below(r, 41) - 20)
                      : (int8_t)((int)rng_below(r, 7) - 3);
}

static uint64_t some_length(struct rng *r)
{
    return rng_below(r, small_wide ? WIDE_BYTES : SMALL_BYTES + 2);
}

static uint8_t some_mask(struct rng *r)
{
    static const uint8_t masks[] = {1, 3, 7, 15, 63, 240, 255, 255};
    return small_wide ? PICK(r, masks) : (uint8_t)(1 + rng_below(r, 3));
}

static uint8_t some_kind(struct rng *r)
{
    static const uint8_t kinds[] = {
        SMALL_LEN,  SMALL_TEST, SMALL_TEST, SMALL_TEST,
        SMALL_BITS, SMALL_BASE, SMALL_BASE, SMALL_MORE,
    };
    return rng_below(r, small_wide ? 4 : 24)
               ? PICK(r, kinds)
               : (uint8_t)(SMALL_PRODUCT +
                           rng_below(r, SMALL_KINDS - SMALL_PRODUCT));
}

static void random_step(struct rng *r, uint32_t bases, struct small_step *s)
{
    static const uint8_t widths[] = {1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 4, 8};
    *s = (struct small_step){
        .kind = some_kind(r),
        .width = PICK(r, widths),
        .at = (uint8_t)rng_below(r, bases + 1),
        .from = (uint8_t)(rng_below(r, 2) ? rng_below(r, bases + 1) : 0),
        .base = (uint8_t)(1 + rng_below(r, bases < 3 ? bases + 1 : 3)),
        .op = (uint8_t)rng_below(r, rng_below(r, 6) ? SIGNED : TESTS),
        .mask = some_mask(r),
        .shift =
            (uint8_t)(rng_below(r, 3) ? 0
                                      : 1 + rng_below(r, small_wide * 2 + 1)),
        .other = (uint8_t)some_offset(r),
        .skip = (uint8_t)(rng_below(r, 3) ? 0 : 1 + rng_below(r, 3)),
        .swap = rng_below(r, 2),
        .add_first = rng_below(r, 3) == 0,
        .off = some_offset(r),
    };
    if (s->kind == SMALL_LADDER && rng_below(r, 2)) {
        s->width = 8;
    }
    s->k = s->kind == SMALL_LEN ? some_length(r) : constant(r, s->width);
    if (s->at && rng_below(r, 4) == 0) {
        s->off = (int8_t)(s->off - (int)rng_below(r, small_wide ? 80 : 8));
    }
    if (rng_below(r, 4) == 0) {
        s->by = some_move(r);
    }
    if ((s->kind == SMALL_BASE || s->kind == SMALL_MORE) && s->width > 2) {
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
        s->kind == SMALL_LEN || s->kind == SMALL_BASE ? s->kind : SMALL_TEST;
    s->op = s->kind == SMALL_LEN ? LESS : NOT_EQUAL;
    s->skip = 0;
}

/*
 * A number decides where another byte lies, which is tested. Before it, short
 * packets leave (`skip` says where to); or its byte itself lies where another
 * number says, and it is counted from the packet's start again (`restart`).
 */
static void make_based(struct rng *r, struct small *s, bool restart,
                       uint8_t skip)
{
    for (uint32_t i = 0; i < s->steps; i++) {
        struct small_step *t = &s->step[i];
        random_step(r, i < 2 ? 0 : i - 1, t);
        t->kind = i == 0 || i == s->steps - 1 ? SMALL_TEST : SMALL_BASE;
        t->width = 1;
        t->k = constant(r, 1);
        if (i == 1 && !restart) {
            t->kind = SMALL_LEN;
            t->op = LESS;
            t->skip = skip;
            t->k = 1 + some_length(r);
        } else if (t->kind == SMALL_BASE) {
            t->base = (uint8_t)(i - (restart ? 0 : 1));
            t->at = (uint8_t)(t->base - 1);
            t->from = 0;
        } else {
            t->op = NOT_EQUAL;
            t->skip = 0;
            t->at = i == 0 ? 0 : (uint8_t)(s->steps - 2 - !restart);
        }
    }
}

void small_make(struct rng *r, struct small *s)
{
    uint32_t style = rng_below(r, 6);
    *s = (struct small){.steps = 1 + rng_below(r, 5), .verdict = 1};
    struct small like;
    if (style >= 4) {
        s->steps = 4;
        make_based(r, s, style == 4, (uint8_t)(rng_below(r, 4) != 0));
        if (rng_below(r, 2)) {
            like = *s;
            small_vary(r, &like, s);
        }
        return;
    }
    for (uint32_t i = 0; i < s->steps; i++) {
        random_step(r, bases_before(s, i), &s->step[i]);
        if (style == 3) {
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
        t->off = some_offset(r);
        return;
    case 1:
        t->k = t->kind == SMALL_LEN ? some_length(r) : constant(r, t->width);
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
        t->by = some_move(r);
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
        if (t->kind >= SMALL_PRODUCT || t->op >= SIGNED || t->off < 0 ||
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

/* Where test number n of step i leads; `skip` as in small_step. */
static void name_target(const struct small *s, uint32_t i, uint32_t skip,
                        char to[16])
{
    strcpy(to, skip == 1 ? "yes" : "out");
    if (skip > 1 && i + skip <= s->steps) {
        snprintf(to, 16, "s%u", i + skip);
    }
}

/* Test `reg` against k; a wide constant goes through a register. */
static void say_compare(struct out *o, const char *reg, uint32_t op, uint64_t k,
                        const char *to)
{
    if (reg[0] == 'w') {
        k = (uint64_t)(int64_t)(int32_t)k;
    }
    if (k == (uint64_t)(int64_t)(int32_t)k) {
        say(o, "if %s %s %d goto %s\n", reg, tests[op], (int)k, to);
        return;
    }
    say(o, "r5 = 0x%" PRIx64 " ll\n", k);
    say(o, "if %s %s r5 goto %s\n", reg, tests[op], to);
}

static void say_test(struct out *o, const struct small *s, uint32_t i,
                     const char *reg)
{
    char to[16];
    name_target(s, i, s->step[i].skip, to);
    say_compare(o, reg, s->step[i].op, s->step[i].k, to);
}

/* Rungs lead out, to the end and on in turn. */
static void say_ladder(struct out *o, const struct small *s, uint32_t i,
                       bool table)
{
    const struct small_step *t = &s->step[i];
    uint64_t by = (uint64_t)t->other << (8 * (t->width - 1u)) | t->mask;
    say_load(o, t);
    char to[16];
    for (uint32_t n = 0; n < 2u + t->mask % 5u; n++) {
        name_target(s, i, (t->skip + n) % 3, to);
        if (table) {
            say_compare(o, "r3", 0, t->k + n * (1u + t->shift), to);
        } else {
            say_compare(o, "r3", 2 + (t->op + n) % 2, t->k + n * by, to);
        }
    }
    if (table) {
        say(o, "goto out\n");
    }
}

/* What is done to the number before it is tested. */
static void say_change(struct out *o, const struct small_step *t)
{
    static const char *const how[] = {
        "r3 += %d\n",  "r3 -= %d\n",   "r3 *= %d\n",  "r3 /= %d\n",
        "r3 %%= %d\n", "r3 ^= %d\n",   "r3 |= %d\n",  "r3 >>= %d\n",
        "r3 <<= %d\n", "r3 s>>= %d\n", "w3 += %d\n",  "w3 -= %d\n",
        "w3 *= %d\n",  "w3 >>= %d\n",  "w3 <<= %d\n", "r3 &= -%d\n",
    };
    uint32_t n = (uint32_t)(t->other + t->mask) % 16, k = 1u + t->mask % 31u;

    say(o, how[n], (int)k);
}

static void say_loop(struct out *o, const struct small_step *t, uint32_t i)
{
    const char *reg = reg_of(t->base);
    say(o, "r9 = 3\nl%u:\n", i);
    say(o, "r3 = *(u8 *)(%s + %d)\n", reg, t->off < 0 ? 0 : t->off);
    say(o, "r3 &= %u\n%s += r3\n", t->mask, reg);
    say(o, "r9 += -1\nif r9 != 0 goto l%u\n", i);
}

static void say_unlike(struct out *o, const struct small *s, uint32_t i)
{
    const struct small_step *t = &s->step[i];
    if (t->kind == SMALL_SIGN && t->width < 8) {
        say(o, "r3 = *(s%u *)(%s %c %d)\n", 8u * t->width, reg_of(t->at),
            t->off < 0 ? '-' : '+', t->off < 0 ? -t->off : t->off);
    } else {
        say_load(o, t);
    }
    switch (t->kind) {
    case SMALL_PRODUCT:
        say(o, "r4 = *(u8 *)(r1 + %u)\nr3 *= r4\n", t->other);
        break;
    case SMALL_CHANGE:
        say_change(o, t);
        break;
    case SMALL_PAIR:
        say(o, "r3 &= 255\nr3 <<= 8\n");
        say(o, "r4 = *(u8 *)(r1 + %u)\nr3 |= r4\n", t->other);
        break;
    case SMALL_STACK:
        say(o, "*(u64 *)(r10 - 8) = r3\nr3 = *(u32 *)(r10 - %u)\n",
            t->shift ? 4u : 8u);
        break;
    default:
        break;
    }
    say_test(o, s, i, t->kind == SMALL_HALF ? "w3" : "r3");
}

static void say_base(struct out *o, const struct small_step *t)
{
    const char *base = reg_of(t->base);
    say_load(o, t);
    if (t->mask != (small_wide ? 255 : 3) || t->width > 1) {
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
    case SMALL_BASE:
    case SMALL_MORE:
        say_base(o, t);
        return;
    case SMALL_LADDER:
    case SMALL_TABLE:
        say_ladder(o, s, i, t->kind == SMALL_TABLE);
        return;
    case SMALL_LOOP:
        say_loop(o, t, i);
        return;
    default:
        say_unlike(o, s, i);
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

/* ---------------------------------------------------------------- packets */

static uint64_t number_at(const struct small_step *t, const uint8_t *p)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < t->width; i++) {
        v |= (uint64_t)p[i] << 8 * (t->swap ? t->width - 1 - i : i);
    }
    return v;
}

/* Write what the step may well ask for where it looks, and follow it. */
static void aim_step(struct rng *r, const struct small_step *t,
                     uint64_t base[4], uint8_t *p, uint64_t *end)
{
    uint64_t at = base[t->at] + (uint64_t)(int64_t)t->off;
    uint64_t k = t->k + (rng_below(r, 3) ? 0 : rng_below(r, 3) - 1);
    if (t->kind == SMALL_LEN || at > WIDE_BYTES - 8) {
        return;
    }
    *end = at + t->width;
    if (t->kind == SMALL_BASE || t->kind == SMALL_MORE) {
        k = rng_below(r, 24);
    }
    for (uint32_t i = 0; i < t->width && rng_below(r, 16); i++) {
        p[at + i] = (uint8_t)(k >> 8 * (t->swap ? t->width - 1 - i : i));
    }
    if (t->kind == SMALL_BASE || t->kind == SMALL_MORE) {
        uint32_t from = t->kind == SMALL_BASE ? t->from : t->base;
        uint64_t v = number_at(t, &p[at]) & t->mask;
        base[t->base] = base[from] + (v << t->shift) + (uint64_t)(int64_t)t->by;
    }
}

static uint32_t aim(struct rng *r, const struct small *s, uint8_t *p)
{
    uint64_t base[4] = {0}, end = 0, len = 0;
    for (uint32_t i = 0; i < WIDE_BYTES; i++) {
        p[i] = some_byte(r);
    }
    for (uint32_t i = 0; i < s->steps; i++) {
        uint64_t last = end;
        aim_step(r, &s->step[i], base, p, &last);
        end = rng_below(r, 4) || last > end ? last : end;
        if (s->step[i].kind == SMALL_LEN && rng_below(r, 2)) {
            len = s->step[i].k;
        }
    }
    len = rng_below(r, 3) ? end > len ? end : len : len;
    len += rng_below(r, 3);
    if (rng_below(r, 4) == 0) {
        len = rng_below(r, WIDE_BYTES + 1);
    }
    len = len ? len - 1 : 0;
    return len < WIDE_BYTES ? (uint32_t)len : WIDE_BYTES;
}

void small_packets_aim(struct rng *r, const struct small *const *filters,
                       uint32_t count)
{
    for (small_count = 0; small_count < WIDE_PACKETS; small_count++) {
        uint8_t *p = wide_bytes[small_count];
        const struct small *s = filters[rng_below(r, count)];
        small_packets[small_count] = (struct small_packet){p, aim(r, s, p)};
        if (small_count && rng_below(r, 4) == 0) { /* nearly the one before */
            memcpy(p, p - WIDE_BYTES, WIDE_BYTES);
            p[rng_below(r, 64)] ^= (uint8_t)(1u << rng_below(r, 8));
        }
    }
}
