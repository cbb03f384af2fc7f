/* SPDX-License-Identifier: MIT */
/*
 * Shapes: which bytes are the key, and how it is loaded. No load reaches
 * beyond the length that the shape demands.
 */
#include "dpf/set/shape.h"

bool shape_same(const struct cube *a, const struct cube *b)
{
    if (a->len_count != b->len_count || a->count != b->count ||
        __builtin_memcmp(a->lens, b->lens, a->len_count * sizeof(a->lens[0])) !=
            0) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->bytes[i].var != b->bytes[i].var ||
            a->bytes[i].mask != b->bytes[i].mask) {
            return false;
        }
    }
    return true;
}

/*
 * The words of a key while they are chosen. They stand apart from their shape:
 * a shape holds a cube, too big to lie on the kernel's stack beside another.
 */
struct key_words {
    uint32_t count;
    struct shape_word at[TABLE_WORDS_MAX];
};

static bool add_word(struct key_words *k, const struct cube *c, uint32_t var,
                     uint32_t last)
{
    uint32_t base = dd_var_base(var), off = dd_var_off(var);
    uint32_t width = last - var < 4 ? 4 : 8;
    uint32_t len = cube_len(c, base);
    if (k->count == TABLE_WORDS_MAX || len < width) {
        return false;
    }
    off = off < len - width ? off : len - width;
    k->at[k->count++] = (struct shape_word){base, off, width, 0};
    return true;
}

/* Of the run of such bytes that begins at i and fits a word of eight, the last
   one; *next is the byte behind it. */
static uint32_t run_last(const struct cube *c, uint32_t i, bool all,
                         uint32_t *next)
{
    uint32_t first = c->bytes[i].var, last = first;
    *next = i + 1;
    for (uint32_t k = *next; k < c->count && c->bytes[k].var < first + 8; k++) {
        if (all || c->bytes[k].varies) {
            last = c->bytes[k].var;
            *next = k + 1;
        }
    }
    return last;
}

/* Cover the bytes of `c` that vary, or all, with words, wide ones first. */
static bool make_words(struct key_words *k, const struct cube *c, bool all)
{
    k->count = 0;
    for (uint32_t want = 8; want >= 4; want -= 4) {
        for (uint32_t i = 0, next; i < c->count; i = next) {
            uint32_t first = c->bytes[i].var;
            next = i + 1;
            if (!all && !c->bytes[i].varies) {
                continue;
            }
            uint32_t last = run_last(c, i, all, &next);
            if ((last - first < 4 ? 4 : 8) == want &&
                !add_word(k, c, first, last)) {
                return false;
            }
        }
    }
    return true;
}

/*
 * Make a key that fits of one word of eight and one of four. The one of
 * eight lies in base 0 if it can.
 */
static void pad_words(struct key_words *k, const struct cube *c)
{
    struct shape_word to[2] = {{0, SHAPE_NOWHERE, 8, 0},
                               {0, SHAPE_NOWHERE, 4, 0}};
    uint32_t least = cube_len(c, 0);
    for (uint32_t i = 0; i < k->count; i++) {
        struct shape_word w = k->at[i];
        bool widen = w.width == 4 && w.base == 0 && least >= 8 &&
                     to[0].off == SHAPE_NOWHERE;
        uint32_t at = w.width == 8 || widen ? 0 : 1;
        if (to[at].off != SHAPE_NOWHERE) {
            return; /* it does not fit */
        }
        if (widen) {
            w.width = 8;
            w.off = w.off < least - 8 ? w.off : least - 8;
        }
        to[at] = w;
    }
    __builtin_memcpy(k->at, to, sizeof(to));
    k->count = 2;
}

static bool words_are_narrow(const struct shape_word *words, uint32_t count)
{
    return count == 2 && words[0].width == 8 && words[1].width == 4;
}

bool shape_is_narrow(const struct shape *s)
{
    return words_are_narrow(s->words, s->word_count);
}

bool shape_stays_narrow(const struct cube *c)
{
    struct key_words k;
    if (!make_words(&k, c, false)) {
        return false;
    }
    pad_words(&k, c);
    return words_are_narrow(k.at, k.count);
}

bool shape_fits(const struct cube *c)
{
    struct key_words k; /* all bytes vary: the most words it may ever need */
    return make_words(&k, c, true);
}

/*
 * Mark constants too, those at the end first, as long as the key stays narrow:
 * addresses and ports rather than protocols. What is compared as part of the
 * key is no check besides, and with few checks a lookup shares its code.
 */
static void mark_constants(struct cube *c)
{
    for (uint32_t i = c->count; i-- > 0;) {
        c->bytes[i].varies ^= 2; /* wanted in the key, whether it varies */
        if (!shape_stays_narrow(c)) {
            c->bytes[i].varies ^= 2;
        }
    }
}

/*
 * Where each byte of the cube is in the key; and which bits of the words are
 * compared, for they load constants besides.
 */
static void set_places(struct shape *s)
{
    for (uint32_t i = 0; i < s->cube.count; i++) {
        struct cube_byte *b = &s->cube.bytes[i];
        uint32_t at = 0;
        b->place = SHAPE_NO_PLACE;
        for (uint32_t w = 0; w < s->word_count; w++) {
            struct shape_word *word = &s->words[w];
            bool here =
                word->off != SHAPE_NOWHERE && word->base == dd_var_base(b->var);
            uint32_t n = here ? dd_var_off(b->var) - word->off : UINT32_MAX;

            if (n < word->width && b->place == SHAPE_NO_PLACE) {
                b->place = (uint8_t)(at + n);
                word->mask |= (uint64_t)b->mask << 8 * n;
            }
            at += word->width;
        }
    }
}

static void destroy(struct heap *h, struct retired *r)
{
    heap_free(h, (uint8_t *)r - offsetof(struct shape, retired),
              sizeof(struct shape));
}

struct shape *shape_create(struct heap *h, const struct cube *c,
                           const struct dd_base *bases, uint32_t base_count,
                           int *err)
{
    struct shape *s = heap_alloc(h, sizeof(*s));
    uint32_t n8 = 0;
    *err = -DPF_E_MEM;
    if (s == NULL) {
        return NULL;
    }
    __builtin_memset(s, 0, sizeof(*s));
    s->retired.destroy = destroy;
    s->hung.is_shape = true;
    s->cube = *c;
    s->base_count = base_count;
    __builtin_memcpy(s->bases, bases, base_count * sizeof(*bases));
    s->rank = s->rank_high = cube_rank(c);
    mark_constants(&s->cube);
    struct key_words k;
    if (!make_words(&k, &s->cube, false)) {
        *err = -DPF_E_TOO_BIG;
        goto fail;
    }
    s->cube = *c; /* without the marks */
    pad_words(&k, c);
    __builtin_memcpy(s->words, k.at, k.count * sizeof(k.at[0]));
    s->word_count = k.count;
    set_places(s);
    while (n8 < s->word_count && s->words[n8].width == 8) {
        n8++;
    }
    s->table = table_create(h, n8, s->word_count - n8, 4);
    if (s->table == NULL) {
        goto fail;
    }
    *err = 0;
    return s;
fail:
    heap_free(h, s, sizeof(*s));
    return NULL;
}

void shape_destroy(struct heap *h, struct shape *s)
{
    if (s != NULL) {
        table_destroy(h, s->table);
        heap_free(h, s, sizeof(*s));
    }
}

const struct cube *shape_view(const struct shape *s, struct dd *d,
                              const struct cube *c, struct cube *room)
{
    uint32_t last = cube_last_base(c);
    if (d->alike == s && last <= d->alike_last) {
        return c;
    }
    const struct cube *seen =
        cube_seen(c, d->bases, s->bases, s->base_count, room);
    if (seen == c) {
        d->alike = s;
        d->alike_last = last;
    }
    return seen;
}

const struct cube *shape_unview(const struct shape *s, const struct dd *d,
                                const struct cube *c, struct cube *room)
{
    return d->alike == s && cube_last_base(c) <= d->alike_last
               ? c
               : cube_seen(c, s->bases, d->bases, d->base_end, room);
}

void shape_differs(const struct shape *s, const struct cube *c,
                   struct cube *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct cube_byte *b = &s->cube.bytes[i];
        if (!b->varies && b->value != c->bytes[i].value) {
            if (!out->count) {
                *out = s->cube;
            }
            out->bytes[i].varies = 1;
        }
    }
}

void shape_key(const struct shape *s, const struct cube *c, uint8_t *key)
{
    __builtin_memset(key, 0, TABLE_KEY_MAX);
    for (uint32_t i = 0; i < s->cube.count; i++) {
        uint8_t at = s->cube.bytes[i].place;
        if (at != SHAPE_NO_PLACE) {
            key[at] = c->bytes[i].value;
        }
    }
}

int shape_project(const struct shape *s, const struct cube *c, uint8_t *key,
                  uint8_t *mask)
{
    const struct cube_byte *x = c->bytes, *end = x + c->count;
    const struct cube_byte *b = s->cube.bytes, *last = b + s->cube.count;
    int result = 1;
    __builtin_memset(key, 0, TABLE_KEY_MAX);
    __builtin_memset(mask, 0, TABLE_KEY_MAX);
    for (; b < last; b++) {
        uint32_t both = 0, value = 0;
        while (x < end && x->var < b->var) {
            x++;
        }
        if (x < end && x->var == b->var) {
            both = x->mask & b->mask;
            value = x->value & both;
        }
        if (b->varies) {
            result = both == b->mask ? result : 2;
        } else if ((b->value & both) != value) {
            return 0;
        } else {
            both = b->mask;
            value = b->value;
        }
        if (b->place != SHAPE_NO_PLACE) {
            key[b->place] = (uint8_t)value;
            mask[b->place] = (uint8_t)both;
        }
    }
    return result;
}

void shape_cube(const struct shape *s, const uint8_t *key, struct cube *out)
{
    *out = s->cube;
    for (uint32_t i = 0; i < out->count; i++) {
        struct cube_byte *b = &out->bytes[i];
        if (b->varies) {
            b->varies = 0;
            b->value = key[b->place];
        }
    }
}

uint32_t shape_match(const struct shape *s, const uint8_t *packet, size_t len)
{
    const struct dd_base *bases = s->bases;
    const struct table *t = __atomic_load_n(&s->table, __ATOMIC_ACQUIRE);
    size_t at = 0;
    uint32_t base = 0, n = 0;
    for (uint32_t i = 0; i < s->cube.len_count; i++) {
        size_t from = dd_base_at(bases, s->cube.lens[i].base, packet, len);
        if (from > len || len - from < s->cube.lens[i].min) {
            return DPF_NO_OWNER;
        }
    }
    for (uint32_t i = 0; i < s->cube.count; i++) {
        const struct cube_byte *b = &s->cube.bytes[i];
        if (dd_var_base(b->var) != base) {
            base = dd_var_base(b->var);
            at = dd_base_at(bases, base, packet, len);
        }
        if (!b->varies &&
            (packet[at + dd_var_off(b->var)] & b->mask) != b->value) {
            return DPF_NO_OWNER;
        }
    }
    uint8_t key[TABLE_KEY_MAX];
    for (uint32_t i = 0; i < s->word_count; i++) {
        const struct shape_word *w = &s->words[i];
        uint64_t v = 0;
        if (w->off != SHAPE_NOWHERE) {
            at = dd_base_at(bases, w->base, packet, len);
            __builtin_memcpy(&v, packet + at + w->off, w->width);
            v &= w->mask;
        }
        __builtin_memcpy(key + n, &v, w->width);
        n += w->width;
    }
    return table_match(t, key);
}
