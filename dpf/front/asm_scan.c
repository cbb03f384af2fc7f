/* SPDX-License-Identifier: MIT */
/*
 * The assembler's words: names, numbers, registers and labels.
 *
 * Protects: reading stays inside the text.
 */
#include "dpf/front/asm.h"

#include <stdlib.h>
#include <string.h>

void asm_fail(struct scan *s, const char *at, const char *why)
{
    if (!s->result) {
        s->result = front_fail(s->err, -DPF_E_SYNTAX, (size_t)(at - s->text),
                               "%s", why);
    }
}

/* ---------------------------------------------------------------- scanning */

bool asm_is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '.';
}

void asm_blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r')) {
        s->p++;
    }
}

bool asm_at_end(struct scan *s)
{
    asm_blanks(s);
    return s->p == s->end || *s->p == '\n' || *s->p == ';' || *s->p == '#' ||
           (*s->p == '/' && s->end - s->p > 1 && s->p[1] == '/');
}

bool asm_eat(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    asm_blanks(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0 ||
        /*
         * A word must not be the beginning of a longer one: "goto" is not
         * taken from "gotol". Operators have no such neighbours.
         */
        (asm_is_name(word[n - 1]) && (size_t)(s->end - s->p) > n &&
         asm_is_name(s->p[n]))) {
        return false;
    }
    s->p += n;
    return true;
}

void asm_expect(struct scan *s, const char *word)
{
    char why[64];
    if (!asm_eat(s, word)) {
        snprintf(why, sizeof(why), "expected '%s' here", word);
        asm_fail(s, s->p, why);
    }
}

static int scan_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

bool asm_unsigned_number(struct scan *s, uint64_t *out)
{
    int base = 10;
    asm_blanks(s);
    const char *start = s->p;
    if (s->end - s->p > 2 && s->p[0] == '0' &&
        (s->p[1] == 'x' || s->p[1] == 'X') && scan_digit(s->p[2]) < 16) {
        base = 16;
        s->p += 2;
    }
    const char *first = s->p;
    uint64_t v = 0;
    for (; s->p < s->end && scan_digit(*s->p) < base; s->p++) {
        /* v * base + digit does not fit; asked without computing it. */
        if (v > (UINT64_MAX - (uint64_t)scan_digit(*s->p)) / (uint64_t)base) {
            asm_fail(s, start, "the number does not fit 64 bits");
            return false;
        }
        v = v * (uint64_t)base + (uint64_t)scan_digit(*s->p);
    }
    *out = v;
    /*
     * "12ab" is no number followed by a word: nothing is taken, and the
     * caller's message names the place.
     */
    if (s->p == first || (s->p < s->end && asm_is_name(*s->p))) {
        s->p = start;
        return false;
    }
    return true;
}

int64_t asm_number(struct scan *s, int64_t lo, int64_t hi, const char *what)
{
    uint64_t v = 0;
    asm_blanks(s);
    const char *start = s->p;
    bool minus = asm_eat(s, "-");
    if (!minus) {
        asm_eat(s, "+");
    }
    char why[160];
    if (!asm_unsigned_number(s, &v)) {
        snprintf(why, sizeof(why), "expected %s here", what);
        asm_fail(s, start, why);
        return 0;
    }
    if (v > INT64_MAX || (minus ? -(int64_t)v < lo : (int64_t)v > hi)) {
        snprintf(why, sizeof(why), "%s must lie in %lld .. %lld%s", what,
                 (long long)lo, (long long)hi,
                 strstr(what, "constant") != NULL
                     ? "; a wider constant is loaded by 'rN = VALUE ll'"
                 : strstr(what, "distance") != NULL
                     ? "; a label may be farther away"
                     : "");
        asm_fail(s, start, why);
        return 0;
    }
    return minus ? -(int64_t)v : (int64_t)v;
}

bool asm_reg(struct scan *s, int *number_out, bool *wide)
{
    asm_blanks(s);
    const char *p = s->p;
    if (s->end - p < 2 || (*p != 'r' && *p != 'w') || scan_digit(p[1]) > 9) {
        return false;
    }
    int n = scan_digit(p[1]);
    p += 2;
    if (p < s->end && scan_digit(*p) <= 9) {
        n = n * 10 + scan_digit(*p++);
    }
    if (p < s->end && asm_is_name(*p)) {
        return false;
    }
    if (n >= BPF_REG_COUNT) {
        asm_fail(s, s->p, "registers are r0 to r10");
        return false;
    }
    *wide = *s->p == 'r';
    *number_out = n;
    s->p = p;
    return true;
}

int asm_need_reg(struct scan *s, bool wide)
{
    int n = 0;
    bool is_wide = wide;
    asm_blanks(s);
    const char *start = s->p;
    if (!asm_reg(s, &n, &is_wide)) {
        asm_fail(s, start, "expected a register here");
    } else if (is_wide != wide) {
        asm_fail(s, start,
                 wide ? "expected a 64-bit register (rN) here"
                      : "expected a 32-bit register (wN) here");
    }
    return n;
}

/* ------------------------------------------------------------------ labels */

/*
 * The place of a name in the table, or the free one where it belongs. At most
 * half of the table is used, so a search ends.
 */
static size_t scan_slot_of(const struct scan *s, const char *text, size_t len)
{
    size_t h = 5381;
    for (size_t i = 0; i < len; i++) {
        h = h * 33 + (unsigned char)text[i];
    }
    h &= s->name_room - 1;
    while (
        s->names[h].text != NULL &&
        (s->names[h].len != len || memcmp(s->names[h].text, text, len) != 0)) {
        h = (h + 1) & (s->name_room - 1);
    }
    return h;
}

/*
 * Twice the table, with all names put in anew: their places depend on its
 * size.
 */
static bool names_grow(struct scan *s)
{
    struct name *old = s->names;
    size_t old_room = s->name_room, room = old_room ? old_room * 2 : 64;
    struct name *names = calloc(room, sizeof(*names));
    if (names == NULL) {
        s->code.err = -DPF_E_MEM;
        return false;
    }
    s->names = names;
    s->name_room = room;
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].text != NULL) {
            names[scan_slot_of(s, old[i].text, old[i].len)] = old[i];
        }
    }
    free(old);
    return true;
}

/* The label of a name, made at its first mention. */
uint32_t asm_label_named(struct scan *s, const char *text, size_t len)
{
    if ((s->name_count + 1) * 2 > s->name_room && !names_grow(s)) {
        return 0;
    }
    struct name *n = &s->names[scan_slot_of(s, text, len)];
    if (n->text == NULL) {
        *n = (struct name){text, len, code_label(&s->code),
                           (size_t)(text - s->text)};
        s->name_count++;
    }
    return n->label;
}
