/* SPDX-License-Identifier: MIT */
/*
 * Document grouping: the order of extents on disk. Pages come in path order;
 * each page is followed by the documents that it embeds, unless an earlier
 * page claimed them. Within a group the encodings lie apart (all br, then all
 * gzip, then all identity), so that the extents that one client will ask for
 * are contiguous. Source: Kaashoek97 (Cheetah).
 */
#include <stdlib.h>
#include <string.h>

#include "cheetah/mksite/mksite.h"

struct order {
    struct place *place;
    size_t count;
};

/* The members' extents, one encoding after the other. */
static void place_group(struct order *o, struct doc **member, size_t n)
{
    for (enum site_encoding e = SITE_BR; e < SITE_ENCODINGS; e++) {
        for (size_t i = 0; i < n; i++) {
            if (member[i]->rep[e].present) {
                o->place[o->count++] = (struct place){member[i], e};
            }
        }
    }
}

/* Collect a page and the unplaced documents that it embeds. */
static size_t group_collect(struct site *s, struct doc *page,
                            struct doc **member)
{
    size_t n = 0;
    member[n++] = page;
    page->placed = true;
    for (size_t i = 0; i < page->refs_count; i++) {
        const struct doc *found = site_lookup(s, page->refs[i]);
        /* Pages name files that are not there, and directories. */
        if (found == NULL || found->alias != NULL || found->status != 200) {
            continue;
        }
        struct doc *d = &s->docs[found - s->docs];
        /* A page leads its own group; frames are not worth one's end. */
        if (!d->placed && d->refs_count == 0) {
            d->placed = true;
            member[n++] = d;
        }
    }
    return n;
}

struct place *group_order(struct site *s, size_t *count)
{
    struct order o = {
        .place = must_alloc(NULL, s->count * SITE_ENCODINGS * sizeof(*o.place)),
    };
    struct doc **member = must_alloc(NULL, s->count * sizeof(struct doc *));
    /* A document is a member once. Pages first, then whatever no page claimed.
     */
    for (int pages = 1; pages >= 0; pages--) {
        for (size_t i = 0; i < s->count; i++) {
            struct doc *d = &s->docs[i];
            if (d->placed || d->alias != NULL ||
                (pages && d->refs_count == 0)) {
                continue;
            }
            place_group(&o, member, group_collect(s, d, member));
        }
    }
    free(member);
    *count = o.count;
    return o.place;
}
