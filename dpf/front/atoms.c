/* SPDX-License-Identifier: MIT */
/*
 * DPF atoms: the declarative text form, after the original's EQ, SHIFT and
 * SHIFTI, with sets and ranges.
 *
 *     eq [12:2] 0x800          # the two bytes at 12 are 0x800
 *     eq [14:1] & 0xf0 0x40    # masked
 *     shifti 14                # what follows counts from 14 on
 *     in [12:4] { 10.0.0.0/8, 192.0.2.1 - 192.0.2.9, 198.51.100.7 }
 *     shift [0:1] & 0x0f << 2  # ... and then from the end of the IP header
 *     eq [2:2] 80
 *     or                       # another alternative; counts from 0 again
 *     eq [12:2] 0x806
 *
 * A set is sorted, joined and searched by halves, so that text of n items
 * costs n log n to read and log n tests to decide. Protects: an alternative
 * that would read past the packet fails by itself and the next is tried; only
 * the last may stop the program, which is the same answer.
 *
 * Registers: r1 packet, r2 length, r4 base once a shift was data-dependent,
 * r5 its distance from the packet, r0 the field, r3 wide constants.
 *
 * Source: Engler96 s3.
 */
#include "dpf/front/code.h"

#include <stdlib.h>
#include <string.h>

#define LEAF 3u /* ranges tested one after the other at a search's end */

struct range {
    uint64_t lo, hi;
};

struct field {
    uint32_t offset;
    int width; /* bytes: 1, 2, 4, 6, 8 */
    uint64_t mask;
    const char *at; /* in the text */
};

struct atoms {
    const char *text, *p, *end;
    const char *last_or; /* the last "or", or NULL */
    struct code code;
    struct dpf_error *err;
    int result;
    uint32_t line;     /* of p, from 1 */
    struct range *set; /* items of the set being read */
    size_t count, room;
    /* of the alternative being read */
    uint32_t next; /* label: this alternative failed */
    uint32_t base; /* constant part of the base */
    bool moved;    /* r4 is the base's other part */
    bool last;     /* no alternative follows */
    size_t atoms;  /* how many so far */
};

static void atoms_fail(struct atoms *a, const char *at, const char *why)
{
    if (!a->result) {
        a->result = front_fail(a->err, -DPF_E_SYNTAX, (size_t)(at - a->text),
                               "%s", why);
    }
}

/* ---------------------------------------------------------------- scanning */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '.' || c == ':';
}

/*
 * Pass over blanks, ends of lines and comments. Lines are counted here alone,
 * since nothing else passes over their ends.
 */
static void blanks(struct atoms *a)
{
    while (a->p < a->end) {
        if (*a->p == '\n') {
            a->line++;
        } else if (*a->p == '#') {
            while (a->p < a->end && *a->p != '\n') {
                a->p++;
            }
            continue;
        } else if (*a->p != ' ' && *a->p != '\t' && *a->p != '\r') {
            return;
        }
        a->p++;
    }
}

/*
 * Take `word`, unless it is the beginning of a longer one: "shift" is not
 * taken from "shifti".
 */
static bool eat(struct atoms *a, const char *word)
{
    size_t n = strlen(word);
    blanks(a);
    if ((size_t)(a->end - a->p) < n || memcmp(a->p, word, n) != 0 ||
        (is_word(word[n - 1]) && word[n - 1] != ':' &&
         (size_t)(a->end - a->p) > n && is_word(a->p[n]))) {
        return false;
    }
    a->p += n;
    return true;
}

static void atoms_expect(struct atoms *a, const char *word)
{
    char why[64];
    if (!a->result && !eat(a, word)) {
        snprintf(why, sizeof(why), "expected '%s' here", word);
        atoms_fail(a, a->p, why);
    }
}

static int atoms_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

/* Digits of `base` from *p on; false at none, or above `max`. */
static bool digits(const char **p, const char *end, int base, uint64_t max,
                   uint64_t *out)
{
    const char *start = *p;
    uint64_t v = 0;
    for (; *p < end && atoms_digit(**p) < base; (*p)++) {
        uint64_t d = (uint64_t)atoms_digit(**p);
        if (v > (max - d) / (uint64_t)base) {
            return false;
        }
        v = v * (uint64_t)base + d;
    }
    *out = v;
    return *p > start;
}

/* Bytes written as `count` numbers with a separator between them. */
static bool parts(const char *p, const char *end, char separator, int base,
                  int count, uint64_t *out)
{
    uint64_t v = 0;
    uint64_t part;
    for (int i = 0; i < count; i++) {
        if ((i > 0 && (p == end || *p++ != separator)) ||
            !digits(&p, end, base, 255, &part)) {
            return false;
        }
        v = v << 8 | part;
    }
    *out = v;
    return p == end;
}

/*
 * A value: decimal, 0x hexadecimal, dotted quad or colon-separated bytes.
 * `bits` receives the width that its form implies, 0 for a plain number.
 */
static bool atoms_value(struct atoms *a, uint64_t *out, int *bits)
{
    blanks(a);
    const char *start = a->p, *p = start, *end = start;
    while (end < a->end && is_word(*end)) {
        end++;
    }
    *bits = 0;
    /*
     * The form tells the kind. Only an address has a width of its own; a
     * number takes the field's.
     */
    bool good;
    if (end - p > 2 && p[0] == '0' && p[1] == 'x') {
        p += 2;
        good = digits(&p, end, 16, UINT64_MAX, out) && p == end;
    } else if (memchr(p, '.', (size_t)(end - p)) != NULL) {
        *bits = 32;
        good = parts(p, end, '.', 10, 4, out);
    } else if (memchr(p, ':', (size_t)(end - p)) != NULL) {
        *bits = 48;
        good = parts(p, end, ':', 16, 6, out);
    } else {
        good = digits(&p, end, 10, UINT64_MAX, out) && p == end;
    }
    if (!good) {
        atoms_fail(
            a, start,
            end == start
                ? "expected a number or an address here"
                : "not a number (80, 0x50), an IPv4 address (192.0.2.1) or "
                  "an Ethernet address (02:00:00:00:00:01)");
        return false;
    }
    a->p = end;
    return true;
}

static uint64_t atoms_number(struct atoms *a, uint64_t max, const char *what)
{
    uint64_t v = 0;
    blanks(a);
    const char *start = a->p;
    int bits;
    char why[96];
    if (!a->result && atoms_value(a, &v, &bits) && (bits != 0 || v > max)) {
        snprintf(why, sizeof(why), "%s is a number up to %llu", what,
                 (unsigned long long)max);
        atoms_fail(a, start, why);
    }
    return a->result ? 0 : v;
}

static uint64_t width_mask(int width)
{
    return width == 8 ? UINT64_MAX : (UINT64_C(1) << width * 8) - 1;
}

/* "[offset:width] & mask" */
static struct field atoms_field(struct atoms *a)
{
    struct field f = {.width = 1};
    uint64_t offset = 0, width = 1;
    atoms_expect(a, "[");
    blanks(a);
    f.at = a->p;
    const char *p = a->p;
    if (a->result || !digits(&p, a->end, 10, 65535, &offset) || p == a->end ||
        *p++ != ':' || !digits(&p, a->end, 10, 8, &width) ||
        strchr("12468", '0' + (int)width) == NULL) {
        atoms_fail(a, f.at,
                   "expected OFFSET:WIDTH here, in bytes: offset up to "
                   "65535, width 1, 2, 4, 6 or 8");
        return f;
    }
    a->p = p;
    atoms_expect(a, "]");
    f.offset = (uint32_t)offset;
    f.width = (int)width;
    f.mask = width_mask(f.width);
    if (eat(a, "&")) {
        f.mask = atoms_number(a, f.mask, "a mask of this field");
    }
    return f;
}

/* -------------------------------------------------------------- generation */

/* Fail over to the next alternative if the field is not in the packet. */
static void check_length(struct atoms *a, const struct field *f)
{
    uint64_t end = (uint64_t)a->base + f->offset + (uint64_t)f->width;
    /*
     * A load outside the packet ends the program with 0 (DPF's rule). For the
     * last alternative that is the right answer, so it needs no check of its
     * own.
     */
    if (a->last) {
        return;
    }
    if (!a->moved) {
        code_jump_k(&a->code, BPF_JMP | BPF_JLT, 2, (int32_t)end, a->next);
        return;
    }
    code_x(&a->code, BPF_ALU64 | BPF_MOV, 3, 5);
    code_k(&a->code, BPF_ALU64 | BPF_ADD, 3, (int32_t)end);
    code_jump_x(&a->code, BPF_JMP | BPF_JGT, 3, 2, a->next);
}

/* r0 = the field, masked. */
static void atoms_load(struct atoms *a, const struct field *f)
{
    uint64_t at = (uint64_t)a->base + f->offset;
    int base = a->moved ? 4 : 1;
    if (at + 8 > INT32_MAX) {
        atoms_fail(a, f->at, "the offset lies beyond any packet");
        return;
    }
    check_length(a, f);
    /*
     * The offset in a load has 16 bits; farther fields are reached through r3.
     */
    if (at > INT16_MAX - 8) {
        code_x(&a->code, BPF_ALU64 | BPF_MOV, 3, base);
        code_k(&a->code, BPF_ALU64 | BPF_ADD, 3, (int32_t)at);
        base = 3;
        at = 0;
    }
    code_load_be(&a->code, 0, base, (int16_t)at, f->width);
    if (f->mask == width_mask(f->width)) {
        return;
    }
    if (f->width < 8) {
        code_k(&a->code, BPF_ALU | BPF_AND, 0, (int32_t)(uint32_t)f->mask);
    } else {
        code_load64(&a->code, 3, f->mask);
        code_x(&a->code, BPF_ALU64 | BPF_AND, 0, 3);
    }
}

/*
 * Jump to `label` if r0 compares by `op` with `v`. A 64-bit comparison extends
 * the sign of its constant, so larger ones are loaded into r3 first.
 */
static void atoms_compare(struct atoms *a, int op, uint64_t v, int width,
                          uint32_t label)
{
    if (width < 8) {
        code_jump_k(&a->code, BPF_JMP32 | op, 0, (int32_t)(uint32_t)v, label);
    } else if (v <= INT32_MAX) {
        code_jump_k(&a->code, BPF_JMP | op, 0, (int32_t)v, label);
    } else {
        code_load64(&a->code, 3, v);
        code_jump_x(&a->code, BPF_JMP | op, 0, 3, label);
    }
}

static int by_low(const void *x, const void *y)
{
    const struct range *a = x, *b = y;
    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

/* Sort the set and join what overlaps or abuts. */
static void normalise(struct atoms *a)
{
    size_t n = 0;
    qsort(a->set, a->count, sizeof(*a->set), by_low);
    for (size_t i = 0; i < a->count; i++) {
        /*
         * Ranges that abut are joined as well: 0 - 9 and 10 - 19 are one test.
         * The first half of the condition keeps hi + 1 from wrapping.
         */
        if (n > 0 && (a->set[n - 1].hi == UINT64_MAX ||
                      a->set[i].lo <= a->set[n - 1].hi + 1)) {
            if (a->set[i].hi > a->set[n - 1].hi) {
                a->set[n - 1].hi = a->set[i].hi;
            }
        } else {
            a->set[n++] = a->set[i];
        }
    }
    a->count = n;
}

/*
 * Search ranges [from, to): jump to `hit`, or to the alternative's failure.
 * Values below set[from].lo are excluded only if the caller says so by
 * `known`: r0 >= set[from].lo.
 */
static void atoms_search(struct atoms *a, size_t from, size_t to, bool known,
                         int width, uint32_t hit)
{
    if (to - from <= LEAF) {
        for (size_t i = from; i < to; i++) {
            const struct range *r = &a->set[i];
            if (r->lo == r->hi) {
                atoms_compare(a, BPF_JEQ, r->lo, width, hit);
                continue;
            }
            /*
             * Below this range and above the one before it: in no range at
             * all, since they are sorted. The first test is needless where the
             * search came from above.
             */
            if (!(known && i == from) && r->lo > 0) {
                atoms_compare(a, BPF_JLT, r->lo, width, a->next);
            }
            atoms_compare(a, BPF_JLE, r->hi, width, hit);
        }
        code_goto(&a->code, a->next);
        return;
    }
    size_t middle = from + (to - from) / 2;
    uint32_t upper = code_label(&a->code);
    /*
     * Halves of the sorted ranges. Only the upper one knows that r0 is not
     * below its first range.
     */
    atoms_compare(a, BPF_JGE, a->set[middle].lo, width, upper);
    atoms_search(a, from, middle, known, width, hit);
    code_place(&a->code, upper);
    atoms_search(a, middle, to, true, width, hit);
}

/* ------------------------------------------------------------------- atoms */

static bool check_value(struct atoms *a, const struct field *f, uint64_t v,
                        int bits, const char *at)
{
    /*
     * Mistakes that would make a filter never match are refused here, where
     * the text is at hand; the verifier would accept the program.
     */
    if (bits > f->width * 8 || (bits != 0 && bits < f->width * 8)) {
        atoms_fail(a, at, "this address has another width than the field");
    } else if (v & ~width_mask(f->width)) {
        atoms_fail(a, at, "the value does not fit the field");
    } else if (v & ~f->mask) {
        atoms_fail(a, at,
                   "the value has bits that the mask clears; it would never "
                   "match");
    }
    return !a->result;
}

static void eq(struct atoms *a)
{
    struct field f = atoms_field(a);
    uint64_t v = 0;
    int bits = 0;
    blanks(a);
    const char *at = a->p;
    if (a->result || !atoms_value(a, &v, &bits) ||
        !check_value(a, &f, v, bits, at)) {
        return;
    }
    if (f.width == 6) { /* no load has six bytes: the last two, then four */
        struct field low = {f.offset + 4, 2, f.mask & 0xffff, f.at};
        f = (struct field){f.offset, 4, f.mask >> 16, f.at};
        atoms_load(a, &low);
        atoms_compare(a, BPF_JNE, v & 0xffff, 2, a->next);
        v >>= 16;
    }
    atoms_load(a, &f);
    atoms_compare(a, BPF_JNE, v, f.width, a->next);
}

static void set_add(struct atoms *a, struct range r)
{
    if (a->count == a->room) {
        size_t room = a->room ? a->room * 2 : 64;
        struct range *bigger = realloc(a->set, room * sizeof(*bigger));
        if (bigger == NULL) {
            a->code.err = -DPF_E_MEM;
            return;
        }
        a->set = bigger;
        a->room = room;
    }
    a->set[a->count++] = r;
}

/* One value, "low - high", or "address/bits". */
static void item(struct atoms *a, const struct field *f)
{
    struct range r = {0, 0};
    int bits = 0;
    blanks(a);
    const char *at = a->p;
    if (!atoms_value(a, &r.lo, &bits) || !check_value(a, f, r.lo, bits, at)) {
        return;
    }
    r.hi = r.lo;
    if (eat(a, "-")) {
        const char *second = a->p;
        if (!atoms_value(a, &r.hi, &bits) ||
            !check_value(a, f, r.hi, bits, second)) {
            return;
        }
        if (r.hi < r.lo) {
            atoms_fail(a, at, "the range ends before it begins");
        }
    } else if (eat(a, "/")) {
        uint64_t width = (uint64_t)f->width * 8;
        uint64_t prefix = atoms_number(a, width, "a prefix length here");
        uint64_t rest = prefix == width ? 0 : width_mask(f->width) >> prefix;
        if (r.lo & rest) {
            atoms_fail(a, at,
                       "the address has bits beyond its prefix; clear them");
        }
        r.hi = r.lo | rest;
    }
    set_add(a, r);
}

static void in(struct atoms *a)
{
    struct field f = atoms_field(a);
    atoms_expect(a, "{");
    if (!a->result && f.width == 6) {
        atoms_fail(a, f.at,
                   "a set of six-byte fields is not supported; test [N:4] "
                   "and [N+4:2]");
    }
    a->count = 0;
    while (!a->result && !a->code.err && !eat(a, "}")) {
        item(a, &f);
        eat(a, ",");
    }
    if (!a->result && !a->code.err && a->count == 0) {
        atoms_fail(a, f.at, "the set is empty; it would never match");
    }
    if (a->result || a->code.err) {
        return;
    }
    normalise(a);
    atoms_load(a, &f);
    uint32_t hit = code_label(&a->code);
    atoms_search(a, 0, a->count, false, f.width, hit);
    code_place(&a->code, hit);
}

/*
 * Move the base by what a field holds. From then on it is in registers: r4 as
 * a pointer for loads, r5 as a number for checks of the length, since two
 * pointers cannot be compared.
 */
static void atoms_shift(struct atoms *a)
{
    struct field f = atoms_field(a);
    uint64_t count = eat(a, "<<") ? atoms_number(a, 31, "a shift count") : 0;
    if (!a->result && f.width > 4) {
        atoms_fail(a, f.at, "a shift reads 1, 2 or 4 bytes");
    }
    if (a->result) {
        return;
    }
    atoms_load(a, &f);
    if (count) {
        code_k(&a->code, BPF_ALU64 | BPF_LSH, 0, (int32_t)count);
    }
    if (!a->moved) {
        code_x(&a->code, BPF_ALU64 | BPF_MOV, 4, 1);
        code_k(&a->code, BPF_ALU64 | BPF_MOV, 5, 0);
        a->moved = true;
    }
    code_x(&a->code, BPF_ALU64 | BPF_ADD, 4, 0);
    code_x(&a->code, BPF_ALU64 | BPF_ADD, 5, 0);
}

/* A constant shift costs nothing: it is added to the offsets of later atoms. */
static void shifti(struct atoms *a)
{
    blanks(a);
    const char *at = a->p;
    uint64_t sum = a->base + atoms_number(a, INT32_MAX, "a distance in bytes");
    if (sum > INT32_MAX) {
        atoms_fail(a, at, "the base lies beyond any packet");
        return;
    }
    a->base = (uint32_t)sum;
}

/*
 * The last "or" outside comments, after which the last alternative begins. It
 * is found ahead of reading, because loads of the last one need no check of
 * the length.
 */
static const char *find_last_or(const char *p, const char *end)
{
    const char *found = NULL;
    while (p < end) {
        const char *start = p;
        if (*p == '#') {
            while (p < end && *p != '\n') {
                p++;
            }
        } else if (is_word(*p)) {
            while (p < end && is_word(*p)) {
                p++;
            }
            found =
                p - start == 2 && memcmp(start, "or", 2) == 0 ? start : found;
        } else {
            p++;
        }
    }
    return found;
}

static void atoms_begin(struct atoms *a)
{
    a->next = code_label(&a->code);
    a->base = 0;
    a->moved = false;
    a->last = a->last_or == NULL || a->p > a->last_or;
    a->atoms = 0;
}

static void atoms_end(struct atoms *a)
{
    if (a->atoms == 0) {
        atoms_fail(a, a->p, "an alternative needs at least one atom");
    }
    code_return(&a->code, 1);
    code_place(&a->code, a->next);
}

static void atom(struct atoms *a)
{
    const char *at = a->p;
    a->code.here.line = a->line;
    a->atoms++;
    if (eat(a, "eq")) {
        eq(a);
    } else if (eat(a, "in")) {
        in(a);
    } else if (eat(a, "shift")) {
        atoms_shift(a);
    } else if (eat(a, "shifti")) {
        shifti(a);
    } else if (eat(a, "or")) {
        a->atoms--;
        atoms_end(a);
        atoms_begin(a);
    } else {
        atoms_fail(a, at, "expected eq, in, shift, shifti or 'or' here");
    }
}

int dpf_from_atoms(const char *text, size_t len, struct dpf_code *out,
                   struct dpf_error *err)
{
    struct atoms a = {.text = text,
                      .p = text,
                      .end = text + len,
                      .last_or = find_last_or(text, text + len),
                      .err = err};
    a.line = 1;
    atoms_begin(&a);
    blanks(&a);
    while (a.p < a.end && !a.result && !a.code.err) {
        atom(&a);
        blanks(&a);
    }
    atoms_end(&a);
    code_return(&a.code, 0);
    free(a.set);
    if (a.result) {
        code_finish(&a.code);
        return a.result;
    }
    return code_take(&a.code, true, out, err);
}
