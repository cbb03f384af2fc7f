/* SPDX-License-Identifier: MIT */
/*
 * Give every extent its blocks and every path its slot in the index. The seed
 * and the size of the index are the first in a fixed order under which no
 * block of it overflows and no two paths share a hash: deterministic.
 */
#include <stdlib.h>
#include <string.h>

#include "cheetah/mksite/mksite.h"

#define SEEDS 16
#define FILL_PERCENT 60 /* of the slots, before a block may overflow */

static bool layout_insert(struct layout *l, const struct doc *d)
{
    uint64_t h[2];
    site_hash(d->path, strlen(d->path), l->super.seed, h);
    uint32_t block = site_index_block(&l->super, h[0]) - l->super.index_block;
    struct site_entry *slot = l->index + (size_t)block * SITE_SLOTS;
    for (uint32_t i = 0; i < SITE_SLOTS; i++) {
        struct site_entry *e = &slot[(h[0] + i) % SITE_SLOTS];
        /*
         * Two paths with one hash: the server compares 128 bits and keeps no
         * paths, so another seed must tell them apart.
         */
        if (e->hash == h[0]) {
            return false;
        }
        if (e->hash == 0) {
            const struct doc *body = d->alias != NULL ? d->alias : d;
            e->hash = h[0];
            e->check = h[1];
            for (int k = 0; k < SITE_ENCODINGS; k++) {
                e->block[k] = body->rep[k].block;
            }
            return true;
        }
    }
    return false;
}

/*
 * Put all paths in under the present seed and size. The last call fills in the
 * blocks of the extents, which are not known before.
 */
static bool try_index(struct site *s, struct layout *l)
{
    size_t bytes = (size_t)l->super.index_blocks * SITE_BLOCK;
    l->index = must_alloc(l->index, bytes);
    memset(l->index, 0, bytes);
    for (size_t i = 0; i < s->count; i++) {
        if (!layout_insert(l, &s->docs[i])) {
            return false;
        }
    }
    return true;
}

/* Blocks that the index wants at least. */
static uint32_t index_size(size_t paths)
{
    size_t per_block = SITE_SLOTS * FILL_PERCENT / 100;
    return (uint32_t)((paths + per_block - 1) / per_block);
}

/*
 * Choose seed and size. Where extents lie does not matter yet: only whether
 * all paths find a slot.
 */
static void size_index(struct site *s, struct layout *l)
{
    l->super.index_block = 1;
    l->super.index_blocks = index_size(s->count);
    for (int tries = 0; tries < 64; tries++) {
        for (l->super.seed = 1; l->super.seed <= SEEDS; l->super.seed++) {
            if (try_index(s, l)) {
                return;
            }
        }
        /*
         * A tenth more room, if no seed did: blocks overflow by chance, and a
         * tree of hostile names is possible.
         */
        l->super.index_blocks += 1 + l->super.index_blocks / 10;
    }
    die(NULL, "no hash seed separates the %zu paths of this site", s->count);
}

/*
 * The texts are made once more than they are written, since their length
 * decides where the body begins.
 */
static uint64_t extent_blocks(const struct place *p)
{
    static uint8_t scratch[SITE_BLOCK];
    texts_write(p->doc, p->encoding, scratch);
    struct site_record r;
    memcpy(&r, scratch, sizeof(r));
    return (r.body_off + r.body_len + SITE_BLOCK - 1) / SITE_BLOCK;
}

/*
 * Extents one behind the other, in the order of groups, and the manifest
 * behind the last.
 */
static void place_extents(struct place *order, size_t count, struct layout *l)
{
    uint64_t next = l->super.index_block + l->super.index_blocks;
    for (size_t i = 0; i < count; i++) {
        struct rep *r = &order[i].doc->rep[order[i].encoding];
        uint64_t blocks = extent_blocks(&order[i]);
        /*
         * Block numbers have 32 bits; half of them keeps every sum of two in
         * range.
         */
        if (next + blocks > UINT32_MAX / 2) {
            die(order[i].doc->path,
                "the image would pass %u blocks here; serve a smaller tree",
                UINT32_MAX / 2);
        }
        r->block = (uint32_t)next;
        r->blocks = (uint32_t)blocks;
        next += blocks;
    }
    l->super.manifest_block = (uint32_t)next;
}

/* For each page: how many blocks right behind it belong to its group. */
static void measure_groups(struct place *order, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct doc *page = order[i].doc;
        struct rep *r = &page->rep[order[i].encoding];
        if (page->refs_count == 0) {
            continue;
        }
        for (size_t k = i + 1; k < count; k++) {
            const struct place *p = &order[k];
            if (p->encoding != order[i].encoding || p->doc->refs_count != 0) {
                break;
            }
            bool embeds = false;
            for (size_t n = 0; n < page->refs_count && !embeds; n++) {
                embeds = strcmp(page->refs[n], p->doc->path) == 0;
            }
            if (!embeds) {
                break;
            }
            r->group += p->doc->rep[p->encoding].blocks;
        }
    }
}

void layout(struct site *s, struct place *order, size_t count, struct layout *l)
{
    memset(l, 0, sizeof(*l));
    memcpy(l->super.magic, SITE_MAGIC, sizeof(l->super.magic));
    l->super.version = SITE_VERSION;
    l->super.block_size = SITE_BLOCK;
    l->super.granule = SITE_GRANULE;
    l->super.paths = (uint32_t)s->count;
    l->super.extents = (uint32_t)count;
    size_index(s, l);
    place_extents(order, count, l);
    measure_groups(order, count);
    if (!try_index(s, l)) {
        die(NULL, "internal error: the index changed its mind");
    }
}
