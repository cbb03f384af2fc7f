/* SPDX-License-Identifier: MIT */
/*
 * Nodes of class trees: which bytes become rows, and the bits of rows.
 *
 * Rows are taken one after the other. Each time the byte comes next that
 * leaves the fewest items to be asked, for packets of which one half is made
 * by the items themselves, one quarter is TCP over IPv4, and one quarter is
 * made at random. The first say how well a byte tells items apart, the others
 * how well it keeps strangers away: most packets that a machine receives are
 * strangers to most of its filters, and of that one kind.
 */
#include "dpf/tree/classnode.h"

#define ONE 65536u     /* a probability of 1 */
#define GAIN (ONE / 3) /* items that a row must save */

/* Work, in units, for each kid: to collect its keys; to weigh a byte of it. */
#define KEYS_WORK 8u
#define WEIGH_WORK 2u

static bool is_narrow(const struct outline_row *r)
{
    return r != NULL && outline_size(r) <= CT_NARROW;
}

void ct_keys(struct ct_work *w, uint32_t list, bool leaf)
{
    uint32_t n = 0;
    uint32_t k;
    for (uint32_t i = 0; i < w->count[list]; i++) {
        const struct outline *o = ct_outline(w->kids[list], i, leaf);
        for (uint32_t r = 0; r < o->count; r++) {
            for (k = 0; k < n && w->keys[k] != o->rows[r].key; k++) {
            }
            if (k < n) {
                w->uses[k] += is_narrow(&o->rows[r]) ? 2 : 1;
            } else if (n < 2 * OUTLINE_ROWS_MAX) {
                w->keys[n] = o->rows[r].key;
                w->uses[n++] = is_narrow(&o->rows[r]) ? 2 : 1;
            }
        }
    }
    w->key_count = n;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t key = w->keys[i], uses = w->uses[i];
        for (k = i; k > 0 && w->uses[k - 1] < uses; k--) {
            w->keys[k] = w->keys[k - 1];
            w->uses[k] = w->uses[k - 1];
        }
        w->keys[k] = key;
        w->uses[k] = uses;
    }
}

/* The values of a narrow row, to out[]. Returns how many. */
static uint32_t values(const struct outline_row *r, uint8_t out[CT_NARROW])
{
    uint32_t n = 0, rest = (uint8_t)~r->mask, x = 0;
    if (r->hi - r->lo < (int)CT_NARROW) {
        for (x = r->lo; x <= r->hi; x++) {
            out[n] = (uint8_t)x;
            n += outline_has(r, x) ? 1 : 0;
        }
        return n;
    }
    do { /* all numbers of the bits that the mask lacks */
        out[n] = (uint8_t)(r->value | x);
        n += outline_has(r, r->value | x) ? 1 : 0;
        x = (x - rest) & rest;
    } while (x != 0);
    return n;
}

/* Bytes of TCP over IPv4 (RFC 791 s3.1), by their offsets. */
static const struct {
    uint8_t offset, value;
} tcp[] = {{12, 0x08}, {13, 0x00}, {14, 0x45}, {15, 0}, {20, 0x40}, {23, 6}};

/* How often each value of a byte comes. Returns what all others are, by 256. */
static uint32_t weigh(struct ct_work *w, uint32_t list, bool leaf, uint32_t key)
{
    uint32_t n = w->count[list], each = ONE / 2 / n, even = ONE / 2;
    __builtin_memset(w->weight, 0, sizeof(w->weight));
    for (uint32_t i = 0; i < sizeof(tcp) / sizeof(tcp[0]); i++) {
        if (key == dd_var_byte(0, tcp[i].offset)) {
            w->weight[tcp[i].value] = ONE / 4;
            even -= ONE / 4;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct outline_row *r =
            outline_row(ct_outline(w->kids[list], i, leaf), key);

        if (!is_narrow(r)) {
            even += each;
            continue;
        }
        uint32_t part = each / outline_size(r);
        uint8_t at[CT_NARROW];
        uint32_t count = values(r, at);
        for (uint32_t k = 0; k < count; k++) {
            w->weight[at[k]] += part;
        }
    }
    return even / 256;
}

/* The chance that each kid survives a row of `key`, to pass[]. */
static void survive(struct ct_work *w, uint32_t list, bool leaf, uint32_t key,
                    uint32_t *pass)
{
    uint32_t even = weigh(w, list, leaf, key);
    for (uint32_t i = 0; i < w->count[list]; i++) {
        const struct outline_row *r =
            outline_row(ct_outline(w->kids[list], i, leaf), key);

        pass[i] = r != NULL ? outline_size(r) * even : ONE;
        if (r != NULL && !is_narrow(r)) {
            pass[i] = outline_size(r) * (ONE / 256);
            continue;
        }
        uint8_t at[CT_NARROW];
        uint32_t count = r != NULL ? values(r, at) : 0;
        for (uint32_t k = 0; k < count; k++) {
            pass[i] += w->weight[at[k]];
        }
        pass[i] = pass[i] < ONE ? pass[i] : ONE;
    }
}

/* How many of the kids that are alive survive. */
static uint32_t survivors(const struct ct_work *w, uint32_t count,
                          const uint32_t *pass)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (uint32_t)((uint64_t)w->alive[i] * pass[i] / ONE);
    }
    return sum;
}

/* Choose the rows of a node: their keys. Returns how many. */
static uint32_t choose(struct heap *h, struct ct_work *w, uint32_t list,
                       bool leaf, uint32_t *keys)
{
    uint32_t n = w->count[list], have = n * ONE, rows = 0;
    (void)heap_work(h, KEYS_WORK * n); /* no limit, but a breath */
    ct_keys(w, list, leaf);
    uint32_t bytes = w->key_count < CT_SAMPLED ? w->key_count : CT_SAMPLED;
    for (uint32_t q = 0; q < bytes; q++) {
        (void)heap_work(h, WEIGH_WORK * n);
        survive(w, list, leaf, w->keys[q], w->pass[q]);
    }
    for (uint32_t i = 0; i < n; i++) {
        w->alive[i] = ONE;
    }
    while (rows < CT_ROWS) {
        uint32_t best = bytes, least = have;
        for (uint32_t q = 0; q < bytes; q++) {
            uint32_t left = survivors(w, n, w->pass[q]);
            if (left < least) {
                least = left;
                best = q;
            }
        }
        if (best == bytes || have - least < GAIN) {
            break;
        }
        for (uint32_t i = 0; i < n; i++) {
            w->alive[i] =
                (uint32_t)((uint64_t)w->alive[i] * w->pass[best][i] / ONE);
            w->pass[best][i] = ONE; /* it is taken */
        }
        keys[rows++] = w->keys[best];
        have = least;
    }
    return rows;
}

/* Readers load a word meanwhile, for other bits. */
static void put_bits(uint64_t *word, uint64_t clear, uint64_t set)
{
    __atomic_store_n(word, (*word & ~clear) | set, __ATOMIC_RELAXED);
}

void ct_fill(struct ct_node *n, uint32_t i, const struct outline *o, bool fresh)
{
    uint64_t bit = UINT64_C(1) << i;
    for (uint32_t k = 0; k < n->rows; k++) {
        const struct outline_row *r = outline_row(o, n->key[k]);
        uint64_t *word = n->row[k].word;
        for (uint32_t x = 0; (fresh || r == NULL) && x <= OUTLINE_MISSING;
             x++) {
            put_bits(&word[x], bit, r == NULL ? bit : 0);
        }
        for (uint32_t x = r != NULL ? r->lo : 256; r != NULL && x <= r->hi;
             x++) {
            put_bits(&word[x], 0, outline_has(r, x) ? bit : 0);
        }
    }
}

/* All rows of a node that no reader knows. */
static void fill_rows(struct heap *h, struct ct_node *n)
{
    for (uint32_t k = 0; k < n->rows; k++) {
        uint64_t *word = n->row[k].word, any = 0;
        uint32_t set = 0;
        for (uint32_t i = 0; i < n->count; i++) {
            any |=
                outline_row(ct_outline(n->kid, i, n->leaf), n->key[k]) != NULL
                    ? 0
                    : UINT64_C(1) << i;
        }
        for (uint32_t x = 0; x <= OUTLINE_MISSING; x++) {
            word[x] = any;
        }
        for (uint32_t i = 0; i < n->count; i++) {
            const struct outline_row *r =
                outline_row(ct_outline(n->kid, i, n->leaf), n->key[k]);

            for (uint32_t x = r != NULL ? r->lo : 256; r != NULL && x <= r->hi;
                 x++) {
                word[x] |= outline_has(r, x) ? UINT64_C(1) << i : 0;
                set++;
            }
        }
        (void)heap_work(h, n->count + (set + OUTLINE_MISSING) / 8);
    }
}

static void destroy(struct heap *h, struct retired *r)
{
    heap_free(h, r, ((struct ct_node *)(void *)r)->bytes);
}

struct ct_node *ct_make(struct heap *h, struct ct_work *w, uint32_t list,
                        bool leaf)
{
    uint32_t count = w->count[list];
    uint32_t keys[CT_ROWS];
    uint32_t rows = choose(h, w, list, leaf, keys);
    size_t bytes = sizeof(struct ct_node) + rows * sizeof(struct ct_row);
    struct ct_node *n = heap_alloc(h, bytes);
    if (n == NULL) {
        return NULL;
    }
    __builtin_memset(n, 0, bytes);
    n->retired.destroy = destroy;
    n->bytes = (uint32_t)bytes;
    n->rows = rows;
    n->leaf = leaf;
    n->count = count;
    n->used = count < CT_ITEMS ? (UINT64_C(1) << count) - 1 : UINT64_MAX;
    __builtin_memcpy(n->key, keys, rows * sizeof(*keys));
    for (uint32_t i = 0; i < count; i++) {
        const struct outline *o = ct_outline(w->kids[list], i, leaf);
        n->kid[i] = w->kids[list][i];
        if (i == 0) {
            n->hull = *o;
        } else {
            outline_widen(&n->hull, o);
        }
    }
    fill_rows(h, n);
    return n;
}

void ct_adopt(struct ct_node *n)
{
    for (uint64_t left = n->used; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        if (n->leaf) {
            struct ct_item *item = n->kid[i];
            item->leaf = n;
            item->slot = i;
        } else {
            struct ct_node *kid = n->kid[i];
            kid->parent = n;
            kid->at = i;
        }
    }
}
