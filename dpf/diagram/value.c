/* SPDX-License-Identifier: MIT */
/*
 * Symbolic values: loads, masks, shifts and swaps only move bits about, so a
 * value is a list of where its bits come from; a sum with a constant is kept
 * beside it. Tests of such values become diagrams over the bytes.
 */
#include "dpf/diagram/value.h"

#include "dpf/vm/program.h"

#define LOW32 UINT64_C(0xffffffff)

static inline uint64_t ones_below(uint32_t n)
{
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

static void unknown(struct val *v)
{
    __builtin_memset(v, 0, sizeof(*v));
}

static void swap(struct val *a, struct val *b)
{
    struct val t = *a;
    *a = *b;
    *b = t;
}

void val_const(struct val *v, uint64_t k)
{
    unknown(v);
    v->kind = VAL_CONST;
    v->k = k;
}

/* Append bits above those present, joined with a neighbour of one byte. */
static bool append(struct val *v, struct dd_bits b)
{
    struct dd_bits *last = v->count ? &v->bits[v->count - 1] : NULL;
    if (last != NULL && last->var == b.var && last->dst + last->len == b.dst &&
        last->src + last->len == b.src && last->inverted == b.inverted) {
        last->len = (uint8_t)(last->len + b.len);
        return true;
    }
    if (v->count == VAL_BITS_MAX) {
        return false;
    }
    v->bits[v->count++] = b;
    return true;
}

void val_load(struct val *v, struct dd_at at, uint32_t size)
{
    unknown(v);
    v->kind = VAL_BITS;
    v->width = 64;
    for (uint32_t i = 0; i < size; i++) {
        append(v, (struct dd_bits){dd_var_byte(at.base, at.off + i),
                                   (uint8_t)(8 * i), 0, 8, 0});
    }
}

static uint64_t bits_max(const struct val *v)
{
    uint64_t m = v->ones;
    for (uint32_t i = 0; i < v->count; i++) {
        m |= ones_below(v->bits[i].len) << v->bits[i].dst;
    }
    return m;
}

/*
 * Append those bits of `b` that `mask` has, moved up by `by`, inverted where
 * `flip` has ones.
 */
static bool append_masked(struct val *v, struct dd_bits b, uint64_t mask,
                          uint64_t flip, uint32_t by)
{
    uint64_t all = ones_below(b.len), left = mask >> b.dst & all;
    if (left == all && flip == 0) { /* mostly */
        b.dst = (uint8_t)(b.dst + by);
        left = append(v, b) ? 0 : left;
        if (left) {
            unknown(v);
        }
        return left == 0;
    }
    while (left) { /* its lowest run of ones, inverted all or none */
        uint32_t at = (uint32_t)__builtin_ctzll(left);
        uint64_t turn = flip >> b.dst >> at, ones = left >> at;
        uint32_t n =
            (uint32_t)__builtin_ctzll(~(ones & (turn ^ ((turn & 1) - 1))));

        if (!append(v, (struct dd_bits){b.var, (uint8_t)(b.dst + at + by),
                                        (uint8_t)(b.src + at), (uint8_t)n,
                                        b.inverted ^ (turn & 1)})) {
            unknown(v);
            return false;
        }
        left &= ~(ones_below(n) << at);
    }
    return true;
}

/* Bits of v under `mask`, inverted by `flip`; without bits, a constant. */
static void select_bits(struct val *v, uint64_t mask, uint64_t flip)
{
    struct val in = *v;
    if (v->count && !flip && !(bits_max(v) & ~mask)) {
        return;
    }
    v->count = 0;
    v->ones = (v->ones ^ flip) & mask;
    __builtin_memset(v->bits, 0, sizeof(v->bits));
    for (uint32_t i = 0; i < in.count; i++) {
        v->ones &= ~(ones_below(in.bits[i].len) << in.bits[i].dst);
        if (!append_masked(v, in.bits[i], mask, flip, 0)) {
            return;
        }
    }
    if (!v->count && !v->k) {
        val_const(v, v->ones);
    }
}

void val_truncate(struct val *v)
{
    switch (v->kind) {
    case VAL_CONST:
        v->k &= LOW32;
        break;
    case VAL_BITS:
        if (v->k) {
            v->k &= LOW32;
            v->width = v->k ? 32 : 64;
        }
        select_bits(v, LOW32, 0);
        break;
    case VAL_LEN:
        v->k &= LOW32;
        v->width = v->k ? 32 : 64;
        break;
    case VAL_SUM:
        if (v->k >= 1u << 30) {
            unknown(v);
        }
        break;
    default:
        unknown(v);
    }
}

/* Is the sum with k below 2^width for every packet? */
static bool no_wrap(const struct val *v)
{
    uint64_t max = v->kind == VAL_LEN ? LOW32 : bits_max(v);
    return v->k <= ones_below(v->width) - (max & ones_below(v->width));
}

/* v as base + constant. */
static bool to_sum(struct dd *d, struct val *v)
{
    uint64_t k = v->k;
    if (v->kind == VAL_SUM) {
        return true;
    }
    if (v->kind == VAL_CONST) {
        unknown(v);
        v->kind = VAL_SUM;
        v->k = k;
        return true;
    }
    if (v->kind != VAL_BITS ||
        !(no_wrap(v) || (v->width == 64 && -v->k <= DD_OFF_MAX))) {
        return false;
    }
    k += v->ones;
    uint32_t base = dd_base_of(d, v->bits, v->count);
    if (!base) {
        return false;
    }
    unknown(v);
    v->kind = VAL_SUM;
    v->base = base;
    v->k = k;
    return true;
}

static void add_sums(struct dd *d, struct val *a, const struct val *b)
{
    struct val x = *b;
    uint8_t kind = a->kind;
    if (kind == VAL_PACKET) {
        a->kind = VAL_SUM;
    }
    if (!to_sum(d, a) || !to_sum(d, &x)) {
        unknown(a);
        return;
    }
    struct dd_pos sum = val_pos(a);
    if (!dd_pos_add(d, &sum, val_pos(&x))) {
        unknown(a);
        return;
    }
    a->base = sum.base;
    a->k = sum.k;
    a->kind = kind == VAL_PACKET ? VAL_PACKET : VAL_SUM;
}

/* a + k at 64 bits (at 32 the caller truncates). */
static void add_const(struct val *a, uint64_t k)
{
    if (k == 0) {
        return;
    }
    switch (a->kind) {
    case VAL_CONST:
    case VAL_SUM:
    case VAL_PACKET:
    case VAL_STACK:
        a->k += k;
        return;
    case VAL_BITS:
    case VAL_LEN:
        if (a->k && a->width == 32) {
            /* Modulo 2^32 already: only a sum that stays there is 64-bit. */
            a->k += k;
            if (!no_wrap(a)) {
                unknown(a);
                return;
            }
        } else {
            a->k += k;
        }
        a->width = 64;
        return;
    default:
        unknown(a);
    }
}

/* Where 32-bit arithmetic follows, sums may wrap at 32 bits freely. */
static void add_const32(struct val *a, uint64_t k)
{
    if ((a->kind == VAL_BITS || a->kind == VAL_LEN)) {
        val_truncate(a);
        a->k = (a->k + k) & LOW32;
        a->width = a->k ? 32 : 64;
        return;
    }
    add_const(a, k);
}

static void shift_left(struct val *v, uint32_t n, uint32_t width)
{
    uint64_t k = v->k << n;
    if (v->k && v->width < width) {
        if (!no_wrap(v)) {
            unknown(v);
            return;
        }
    }
    v->k = 0;
    select_bits(v, ones_below(width - n), 0);
    if (v->kind == VAL_CONST) { /* no bits were left */
        val_const(v, (v->k << n) + k);
        return;
    }
    v->ones <<= n;
    for (uint32_t i = 0; i < v->count; i++) {
        v->bits[i].dst = (uint8_t)(v->bits[i].dst + n);
    }
    v->k = width == 32 ? k & LOW32 : k;
    v->width = v->k ? (uint8_t)width : 64;
}

static void shift_right(struct val *v, uint32_t n)
{
    if (v->k) {
        unknown(v);
        return;
    }
    select_bits(v, ~ones_below(n), 0);
    if (v->kind == VAL_CONST) {
        v->k >>= n;
        return;
    }
    v->ones >>= n;
    for (uint32_t i = 0; i < v->count; i++) {
        v->bits[i].dst = (uint8_t)(v->bits[i].dst - n);
    }
}

static void or_bits(struct val *a, const struct val *b)
{
    uint32_t i = 0, j = 0;
    if (a->kind != VAL_BITS || b->kind != VAL_BITS || a->k || b->k ||
        (bits_max(a) & bits_max(b))) {
        unknown(a);
        return;
    }
    struct val out;
    unknown(&out);
    out.kind = VAL_BITS;
    out.width = 64;
    out.ones = a->ones | b->ones;
    while (i < a->count || j < b->count) {
        bool first =
            j == b->count || (i < a->count && a->bits[i].dst < b->bits[j].dst);

        if (!append(&out, first ? a->bits[i++] : b->bits[j++])) {
            unknown(a);
            return;
        }
    }
    *a = out;
}

/* The same of a value that may be a sum. */
static void mask_bits(struct val *v, uint64_t mask, uint64_t flip)
{
    if (v->k) {
        unknown(v);
    } else {
        select_bits(v, mask, flip);
    }
}

static bool power_of_two(uint64_t k, uint32_t *log)
{
    if (!k || (k & (k - 1))) {
        return false;
    }
    *log = (uint32_t)__builtin_ctzll(k);
    return true;
}

static void bits_op(uint8_t op, uint32_t width, struct val *a, uint64_t k)
{
    uint32_t log = 0;
    switch (op) {
    case BPF_AND:
        mask_bits(a, k, 0);
        return;
    case BPF_OR:
        mask_bits(a, ~k, 0);
        if (a->kind == VAL_BITS) {
            a->ones |= k;
        } else if (a->kind == VAL_CONST) {
            a->k |= k;
        }
        return;
    case BPF_XOR:
        mask_bits(a, UINT64_MAX, k);
        return;
    case BPF_LSH:
        shift_left(a, (uint32_t)k & (width - 1), width);
        return;
    case BPF_RSH:
        shift_right(a, (uint32_t)k & (width - 1));
        return;
    default:
        break;
    }
    bool power = power_of_two(k, &log);
    if (power && op == BPF_MUL) {
        shift_left(a, log, width);
    } else if (power && op == BPF_DIV) {
        shift_right(a, log);
    } else if (power && op == BPF_MOD) {
        mask_bits(a, k - 1, 0);
    } else {
        unknown(a);
    }
}

static void alu_sub(struct val *a, const struct val *b)
{
    /* The distance of two packet pointers is a number again. */
    if (a->kind == VAL_PACKET && b->kind == VAL_PACKET && b->base == 0) {
        a->kind = VAL_SUM;
        a->k -= b->k;
        return;
    }
    unknown(a);
}

void val_alu(struct dd *d, const struct dpf_insn *in, struct val *a,
             const struct val *b)
{
    uint8_t op = BPF_OP(in->opcode);
    uint32_t width = BPF_CLASS(in->opcode) == BPF_ALU64 ? 64 : 32;
    struct val x = *b;
    if (in->off && (a->kind != VAL_CONST || x.kind != VAL_CONST)) {
        unknown(a); /* signed division, sign-extending moves */
        return;
    }
    if (width == 32) {
        val_truncate(&x);
        if (op != BPF_MOV) {
            val_truncate(a);
        }
    }
    if (op == BPF_MOV && !in->off) {
        *a = x;
        return;
    }
    if ((a->kind == VAL_CONST && x.kind != VAL_CONST &&
         (op == BPF_ADD || op == BPF_AND || op == BPF_OR || op == BPF_XOR ||
          op == BPF_MUL)) ||
        (op == BPF_ADD && x.kind == VAL_PACKET)) {
        swap(a, &x);
    }
    if (a->kind == VAL_CONST && x.kind == VAL_CONST) {
        a->k = insn_alu(in, a->k, x.k);
    } else if (x.kind == VAL_CONST && (op == BPF_ADD || op == BPF_SUB)) {
        uint64_t k = op == BPF_ADD ? x.k : -x.k;
        if (width == 32) {
            add_const32(a, k);
        } else {
            add_const(a, k);
        }
    } else if (x.kind == VAL_CONST && a->kind == VAL_BITS) {
        bits_op(op, width, a, x.k);
    } else if (op == BPF_ADD && a->kind != VAL_LEN && x.kind != VAL_LEN &&
               a->kind != VAL_STACK) {
        add_sums(d, a, &x);
    } else if (op == BPF_OR) {
        or_bits(a, &x);
    } else if (op == BPF_SUB) {
        alu_sub(a, &x);
    } else {
        unknown(a);
    }
    if (width == 32) {
        val_truncate(a);
    }
}

void val_end(const struct dpf_insn *in, struct val *a)
{
    uint32_t bytes = (uint32_t)in->imm / 8;
    bool swap =
        BPF_CLASS(in->opcode) == BPF_ALU64 || BPF_SRC(in->opcode) == BPF_X;

    if (a->kind == VAL_CONST) {
        a->k &= ones_below(bytes * 8);
        if (swap) {
            a->k = __builtin_bswap64(a->k) >> (64 - bytes * 8);
        }
        return;
    }
    if (a->kind != VAL_BITS || a->k) {
        unknown(a);
        return;
    }
    select_bits(a, ones_below(bytes * 8), 0);
    if (!swap || a->kind != VAL_BITS) {
        if (swap && a->kind == VAL_CONST) {
            a->k = __builtin_bswap64(a->k) >> (64 - bytes * 8);
        }
        return;
    }
    struct val from = *a;
    a->count = 0;
    __builtin_memset(a->bits, 0, sizeof(a->bits));
    a->ones = __builtin_bswap64(from.ones) >> (64 - bytes * 8);
    for (uint32_t i = bytes; i-- > 0;) {
        for (uint32_t j = 0; j < from.count; j++) {
            uint32_t end = from.bits[j].dst + from.bits[j].len;
            if (end <= 8 * i || from.bits[j].dst >= 8 * i + 8) {
                continue; /* none of this byte: mostly */
            }
            if (!append_masked(a, from.bits[j], UINT64_C(0xff) << (8 * i), 0,
                               8 * (bytes - 1) - 16 * i)) {
                return;
            }
        }
    }
}

/* ------------------------------------------------------------------ tests */

/*
 * The base before `base` in the chain of headers that leads there, or 0. The
 * field that decides base may lie behind another one, which may lie behind
 * base: then bytes in base say nothing of bytes there.
 */
static uint32_t base_below(const struct dd *d, uint32_t base)
{
    const struct dd_base *b = &d->bases[base];
    uint32_t below = dd_var_base(b->terms[b->count - 1].var);
    return dd_base_within(d, below, base) ? below : 0;
}

uint32_t val_base_ge(struct dd *d, uint32_t base, uint32_t n)
{
    uint32_t r = DD_YES;
    for (; base != 0; base = base_below(d, base)) {
        r = dd_and(
            d, dd_range(d, dd_var_len(base), n, DD_LEN_MAX, DD_YES, DD_NO), r);
    }
    return r;
}

bool val_base_in(const struct dd *d, uint32_t base, uint32_t n, struct cube *c)
{
    for (; base != 0; base = base_below(d, base)) {
        if (!cube_add_len(c, base, n)) {
            return false;
        }
    }
    return true;
}

uint32_t val_len_ge(struct dd *d, uint32_t base, uint32_t n)
{
    return dd_range(d, dd_var_len(0), n, DD_LEN_MAX, val_base_ge(d, base, n),
                    DD_NO);
}

/* Packets whose bits `b` are above `k`, or equal to it and in `r`. */
static uint32_t above(struct dd *d, const struct dd_bits *b, uint32_t k,
                      uint32_t r)
{
    static const uint32_t equal[3] = {DD_NO, DD_YES, DD_NO};
    uint32_t out[3] = {DD_NO, r, DD_YES};
    if (dd_var(d, r) <= b->var) { /* r does not come behind */
        out[1] = DD_NO;
        r = dd_and(d, dd_compare(d, b, k, equal), r);
        return dd_ite(d, r, DD_YES, dd_compare(d, b, k, out));
    }
    return dd_compare(d, b, k, out);
}

/* Packets with bits of v (without its sum) >= k. */
static uint32_t bits_ge(struct dd *d, const struct val *v, uint64_t k)
{
    uint32_t r = DD_YES, at = 0;
    for (uint32_t i = 0; i <= v->count; i++) {
        uint32_t end = i < v->count ? v->bits[i].dst : 64;
        uint64_t gap = ones_below(end) & ~ones_below(at);
        uint64_t have = v->ones & gap, want = k & gap;
        if (have != want) {
            r = have > want ? DD_YES : DD_NO;
        }
        if (i < v->count) {
            const struct dd_bits *b = &v->bits[i];
            r = above(d, b, (uint32_t)(k >> b->dst & ones_below(b->len)), r);
            at = b->dst + b->len;
        }
    }
    return r;
}

bool val_is(const struct val *v, uint64_t k, struct cube *c)
{
    if ((k & ~(bits_max(v) & ~v->ones)) != v->ones) {
        return false;
    }
    for (uint32_t i = 0; i < v->count; i++) {
        const struct dd_bits *b = &v->bits[i];
        uint32_t mask = (uint32_t)ones_below(b->len);
        uint32_t want = (uint32_t)(k >> b->dst) & mask;
        want ^= b->inverted ? mask : 0;
        if (!cube_add(c, (struct cube_byte){b->var, (uint8_t)(mask << b->src),
                                            (uint8_t)(want << b->src), 0, 0})) {
            return false;
        }
    }
    return true;
}

/* Packets whose value without its sum lies in [lo, hi]. */
static uint32_t plain_range(struct dd *d, const struct val *v, uint64_t lo,
                            uint64_t hi)
{
    if (v->kind == VAL_LEN) {
        if (lo > DD_LEN_MAX) {
            return DD_NO;
        }
        return dd_range(d, dd_var_len(0), (uint32_t)lo,
                        hi > DD_LEN_MAX ? DD_LEN_MAX : (uint32_t)hi, DD_YES,
                        DD_NO);
    }
    if (lo == hi) {
        struct cube c;
        c.count = c.len_count = 0;
        return val_is(v, lo, &c) ? cube_diagram(d, &c) : DD_NO;
    }
    uint32_t r = lo ? bits_ge(d, v, lo) : DD_YES;
    if (hi < bits_max(v)) {
        r = dd_ite(d, bits_ge(d, v, hi + 1), DD_NO, r);
    }
    return r;
}

static uint32_t in_range(struct dd *d, const struct val *v, uint64_t lo,
                         uint64_t hi)
{
    uint64_t max = ones_below(v->k ? v->width : 64);
    hi = hi < max ? hi : max;
    if (lo > hi) {
        return DD_NO;
    }
    if (lo == 0 && hi == max) {
        return DD_YES;
    }
    lo = (lo - v->k) & max;
    hi = (hi - v->k) & max;
    if (lo <= hi) {
        return plain_range(d, v, lo, hi);
    }
    return dd_ite(d, plain_range(d, v, 0, hi), DD_YES,
                  plain_range(d, v, lo, max));
}

/* Jumps as on two exchanged operands, and as of numbers without a sign. */
static const struct {
    uint8_t mirrored, unsign;
} jumps[16] = {
    [BPF_JEQ >> 4] = {BPF_JEQ, BPF_JEQ},
    [BPF_JNE >> 4] = {BPF_JNE, BPF_JNE},
    [BPF_JSET >> 4] = {BPF_JSET, BPF_JSET},
    [BPF_JGT >> 4] = {BPF_JLT, BPF_JGT},
    [BPF_JGE >> 4] = {BPF_JLE, BPF_JGE},
    [BPF_JLT >> 4] = {BPF_JGT, BPF_JLT},
    [BPF_JLE >> 4] = {BPF_JGE, BPF_JLE},
    [BPF_JSGT >> 4] = {BPF_JSLT, BPF_JGT},
    [BPF_JSGE >> 4] = {BPF_JSLE, BPF_JGE},
    [BPF_JSLT >> 4] = {BPF_JSGT, BPF_JLT},
    [BPF_JSLE >> 4] = {BPF_JSGE, BPF_JLE},
};

static uint32_t test_const(struct dd *d, uint8_t op, uint32_t width,
                           const struct val *v, uint64_t k)
{
    uint64_t max = ones_below(width), sign = max / 2 + 1;
    uint64_t lo = k, hi = k;
    uint8_t plain = jumps[op >> 4].unsign;
    if (plain != op) { /* signed: only of what is never negative */
        if (v->kind != VAL_BITS || !no_wrap(v) || bits_max(v) + v->k >= sign) {
            return VAL_OPAQUE;
        }
        if (k & sign) {
            return plain == BPF_JGT || plain == BPF_JGE ? DD_YES : DD_NO;
        }
    }
    switch (plain) {
    case BPF_JEQ:
        break;
    case BPF_JGT:
        if (lo++ == max) {
            return DD_NO;
        }
        hi = max;
        break;
    case BPF_JGE:
        hi = max;
        break;
    case BPF_JLT:
        if (!hi--) {
            return DD_NO;
        }
        lo = 0;
        break;
    case BPF_JLE:
        lo = 0;
        break;
    default:
        return VAL_OPAQUE;
    }
    return in_range(d, v, lo, hi);
}

/* The length against a header's end: how much is there from a base on. */
static uint32_t test_len(struct dd *d, uint8_t op, const struct val *a,
                         const struct val *b)
{
    struct val x = *b;

    /* Of sums modulo 2^32, only those that no length wraps: none with k. */
    if (a->k >= 1u << 16 || !no_wrap(a) || !to_sum(d, &x) || !x.base ||
        x.k >= 1u << 16) {
        return VAL_OPAQUE;
    }
    uint64_t n = x.k - a->k + (op == BPF_JGT || op == BPF_JLE ? 1 : 0);
    if (n == 0 || n > DD_OFF_MAX) {
        return VAL_OPAQUE;
    }
    switch (op) {
    case BPF_JGE:
    case BPF_JGT:
        return val_len_ge(d, x.base, (uint32_t)n);
    case BPF_JLT:
    case BPF_JLE:
        return dd_not(d, val_len_ge(d, x.base, (uint32_t)n));
    default:
        return VAL_OPAQUE;
    }
}

uint32_t val_test(struct dd *d, const struct dpf_insn *in, const struct val *a,
                  const struct val *b)
{
    uint8_t op = BPF_OP(in->opcode);
    uint32_t width = BPF_CLASS(in->opcode) == BPF_JMP ? 64 : 32;
    struct val x = *a, y = *b;
    if (x.kind != VAL_UNKNOWN && !__builtin_memcmp(&x, &y, sizeof(x))) {
        /* A value against itself: equal, whatever it is. */
        return insn_test(in, x.k, x.k) ? DD_YES : DD_NO;
    }
    if (x.kind == VAL_CONST || (y.kind == VAL_LEN && x.kind != VAL_LEN)) {
        if (y.kind == VAL_CONST) {
            return insn_test(in, x.k, y.k) ? DD_YES : DD_NO;
        }
        op = jumps[op >> 4].mirrored;
        swap(&x, &y);
    }
    if (y.kind == VAL_CONST && (x.kind == VAL_BITS || x.kind == VAL_LEN)) {
        return test_const(d, op, width, &x, y.k);
    }
    if (x.kind == VAL_LEN) {
        return test_len(d, op, &x, &y);
    }
    return VAL_OPAQUE;
}
