/* SPDX-License-Identifier: MIT */
/*
 * Patterns: see the header. No load reaches beyond the length that the
 * pattern asks for.
 */
#include "dpf/diagram/pattern.h"

#define WORD 8u

static bool add_lengths(const struct dd *d, const struct cube *c,
                        struct pattern *p)
{
    for (uint32_t i = 0; i < c->len_count; i++) {
        uint32_t place = outline_place_of(d->bases, c->lens[i].base);
        if (place == OUTLINE_PLACES) {
            return false;
        }
        p->least[place] = c->lens[i].min;
    }
    return true;
}

/* The word that has the byte, a new one perhaps; PATTERN_WORDS_MAX if none. */
static uint32_t word_for(struct pattern *p, uint32_t place, uint32_t off)
{
    uint32_t n = 0, last = p->least[place] - WORD;
    while (n < p->words &&
           (p->word[n].place != place || off - p->word[n].off >= WORD)) {
        n++;
    }
    if (n == p->words && n < PATTERN_WORDS_MAX) {
        p->word[n].place = place;
        p->word[n].off = off < last ? off : last;
        p->word[n].mask = p->word[n].value = 0;
        p->words++;
    }
    return n;
}

static bool add_byte(const struct dd *d, const struct cube_byte *b,
                     struct pattern *p)
{
    uint32_t place = outline_place_of(d->bases, dd_var_base(b->var));
    uint32_t off = dd_var_off(b->var);
    if (place == OUTLINE_PLACES || p->least[place] < WORD ||
        off >= p->least[place]) {
        return false;
    }
    uint32_t n = word_for(p, place, off);
    if (n == PATTERN_WORDS_MAX) {
        return false;
    }
    uint32_t shift = 8 * (off - p->word[n].off);
    p->word[n].mask |= (uint64_t)b->mask << shift;
    p->word[n].value |= (uint64_t)b->value << shift;
    return true;
}

static bool add_range(const struct dd *d, const struct span *s,
                      struct pattern *p)
{
    uint32_t place = outline_place_of(d->bases, dd_var_base(s->var));
    uint32_t off = dd_var_off(s->var);
    if (place == OUTLINE_PLACES || off + s->bytes > p->least[place]) {
        return false;
    }
    p->range[p->ranges].place = place;
    p->range[p->ranges].off = off;
    p->range[p->ranges].bytes = s->bytes;
    p->range[p->ranges].lo = s->lo;
    p->range[p->ranges++].hi = s->hi;
    return true;
}

bool pattern_read(struct dd *d, uint32_t f, struct cube *scratch,
                  struct pattern *out)
{
    __builtin_memset(out, 0, sizeof(*out));
    uint32_t n;
    struct span spans[PATTERN_RANGES_MAX];
    if (!spans_read(d, f, scratch, spans, PATTERN_RANGES_MAX, &n) ||
        !add_lengths(d, scratch, out)) {
        return false;
    }
    for (uint32_t i = 0; i < scratch->count; i++) {
        if (!add_byte(d, &scratch->bytes[i], out)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!add_range(d, &spans[i], out)) {
            return false;
        }
    }
    return true;
}

bool pattern_holds(const struct pattern *p, const struct outline_view *v)
{
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < OUTLINE_PLACES; i++) {
        if (p->least[i] != 0 &&
            (v->at[i] > v->len || v->len - v->at[i] < p->least[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < p->words; i++) {
        uint64_t x;
        __builtin_memcpy(
            &x, v->packet + v->at[p->word[i].place] + p->word[i].off, WORD);
        wrong |= (x & p->word[i].mask) ^ p->word[i].value;
    }
    for (uint32_t i = 0; wrong == 0 && i < p->ranges; i++) {
        const uint8_t *at =
            v->packet + v->at[p->range[i].place] + p->range[i].off;
        uint32_t x = 0;

        for (uint32_t k = 0; k < p->range[i].bytes; k++) {
            x = x << 8 | at[k];
        }
        wrong = x - p->range[i].lo > p->range[i].hi - p->range[i].lo;
    }
    return wrong == 0;
}
