/* SPDX-License-Identifier: MIT */
/*
 * Bases by what they are: each diagram, shape and kept filter numbers its own,
 * and only definitions are compared between them.
 */
#include "dpf/diagram/kept.h"

/*
 * A number that no list has, for base b of another. Variables of it are only
 * compared, with those of the list: they are never equal.
 */
#define FOREIGN(b) (DD_BASES_MAX + (b))

uint32_t base_map_var(const struct base_map *map, uint32_t var)
{
    uint32_t from = dd_var_base(var);
    return var + ((uint32_t)map->to[from] << 17) - (from << 17);
}

static bool is_same(const struct dd_base *a, const struct dd_base *b)
{
    return a->count == b->count &&
           !__builtin_memcmp(a->terms, b->terms,
                             a->count * sizeof(a->terms[0]));
}

/* The terms of `b` with the bases they lie in numbered as in `map`. */
static void move_terms(const struct dd_base *b, const struct base_map *map,
                       struct dd_base *out)
{
    *out = *b;
    for (uint32_t i = 0; i < b->count; i++) {
        out->terms[i].var = base_map_var(map, b->terms[i].var);
    }
}

bool bases_load(struct dd *d, const struct dd_base *list, uint32_t count,
                struct base_map *map)
{
    map->same = true;
    map->to[0] = 0;
    for (uint32_t b = 1; b < count; b++) {
        uint32_t n = b;
        struct dd_base moved;
        if (!map->same || !is_same(&list[b], &d->bases[b])) {
            move_terms(&list[b], map, &moved);
            n = dd_base_of(d, moved.terms, moved.count);
            if (n == 0) {
                return false;
            }
        }
        map->to[b] = (uint8_t)n;
        map->same = map->same && n == b;
    }
    return true;
}

void bases_copy(struct dd *d, const struct dd_base *list, uint32_t count)
{
    for (uint32_t b = 1; b < count; b++) {
        d->bases[b] = list[b];
    }
    d->base_end = count;
}

/* Where `b` is in to[1 .. count), or `foreign`. */
static uint32_t find(const struct dd_base *b, const struct dd_base *to,
                     uint32_t count, uint32_t foreign)
{
    for (uint32_t i = 1; i < count; i++) {
        if (is_same(b, &to[i])) {
            return i;
        }
    }
    return foreign;
}

void bases_match(const struct dd_base *from, uint32_t last,
                 const struct dd_base *to, uint32_t count, struct base_map *map)
{
    map->same = true;
    map->to[0] = 0;
    for (uint32_t b = 1; b <= last; b++) {
        uint32_t n = b;
        struct dd_base moved;
        if (!map->same || b >= count || !is_same(&from[b], &to[b])) {
            move_terms(&from[b], map, &moved);
            n = moved.count != 0 ? find(&moved, to, count, FOREIGN(b))
                                 : FOREIGN(b);
        }
        map->to[b] = (uint8_t)n;
        map->same = map->same && n == b;
    }
}

uint32_t cube_last_base(const struct cube *c)
{
    uint32_t len = c->len_count ? c->lens[c->len_count - 1].base : 0;
    uint32_t byte = c->count ? dd_var_base(c->bytes[c->count - 1].var) : 0;
    return len > byte ? len : byte;
}

void cube_renumber(struct cube *c, const struct base_map *map)
{
    uint32_t i, k;
    for (i = 0; i < c->len_count; i++) {
        struct cube_len l = c->lens[i];
        l.base = map->to[l.base];
        for (k = i; k > 0 && c->lens[k - 1].base > l.base; k--) {
            c->lens[k] = c->lens[k - 1];
        }
        c->lens[k] = l;
    }
    for (i = 0; i < c->count; i++) {
        struct cube_byte b = c->bytes[i];
        b.var = base_map_var(map, b.var);
        for (k = i; k > 0 && c->bytes[k - 1].var > b.var; k--) {
            c->bytes[k] = c->bytes[k - 1];
        }
        c->bytes[k] = b;
    }
}

const struct cube *cube_seen(const struct cube *c, const struct dd_base *from,
                             const struct dd_base *to, uint32_t count,
                             struct cube *room)
{
    struct base_map map;
    bases_match(from, cube_last_base(c), to, count, &map);
    if (map.same) {
        return c;
    }
    *room = *c;
    cube_renumber(room, &map);
    return room;
}

/* Base `b` and those it depends on, as bits. */
static uint64_t closure(const struct dd *d, uint64_t mask)
{
    for (uint32_t b = d->base_end; b-- > 1;) {
        for (uint32_t i = 0; mask >> b & 1 && i < d->bases[b].count; i++) {
            mask |= UINT64_C(1) << dd_var_base(d->bases[b].terms[i].var);
        }
    }
    return mask;
}

uint32_t cube_bases(const struct dd *d, const struct cube *c,
                    struct dd_base *out, uint32_t max, struct base_map *map)
{
    uint64_t mask = 1;
    uint32_t n = 1;
    for (uint32_t i = 0; i < c->len_count; i++) {
        mask |= UINT64_C(1) << c->lens[i].base;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        mask |= UINT64_C(1) << dd_var_base(c->bytes[i].var);
    }
    mask = closure(d, mask);
    map->same = true;
    map->to[0] = 0;
    out[0] = (struct dd_base){0};
    for (uint32_t b = 1; b < d->base_end; b++) {
        if (mask >> b & 1) {
            if (n == max) {
                return 0;
            }
            move_terms(&d->bases[b], map, &out[n]);
            map->to[b] = (uint8_t)n++;
            map->same = map->same && map->to[b] == b;
        }
    }
    return n;
}
