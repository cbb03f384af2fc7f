/* SPDX-License-Identifier: MIT */
/*
 * Reading a site image: superblock, index probe, record bounds, checksum
 * arithmetic. Invariant: no offset from the image is followed before it was
 * compared with the size of what holds it. Source: docs/site-format.md.
 */
#include "cheetah/site/site.h"

#include "cheetah/site/date.h"
#include "cheetah/site/sha256.h"

const char *site_error_text(enum site_error e)
{
    switch (e) {
    case SITE_OK:
        return "good";
    case SITE_E_MAGIC:
        return "not a site image (wrong magic); make one with mksite";
    case SITE_E_VERSION:
        return "made for another version of the format; run mksite again";
    case SITE_E_DIGEST:
        return "damaged: the superblock's SHA-256 does not match";
    case SITE_E_SHAPE:
        return "damaged: sizes in the superblock contradict each other";
    case SITE_E_SIZE:
        return "truncated: the disk is shorter than the image";
    }
    return "unknown error";
}

/* Index and manifest lie inside the image, the manifest at its end. */
static bool super_shape_ok(const struct site_super *s)
{
    uint64_t index_end = (uint64_t)s->index_block + s->index_blocks;
    uint64_t end = (uint64_t)s->manifest_block + s->manifest_blocks;
    return s->block_size == SITE_BLOCK && s->granule == SITE_GRANULE &&
           s->index_block == 1 && s->index_blocks != 0 &&
           index_end <= s->manifest_block && end == s->blocks &&
           s->manifest_len <= (uint64_t)s->manifest_blocks * SITE_BLOCK &&
           s->paths <= (uint64_t)s->index_blocks * SITE_SLOTS;
}

enum site_error site_super_read(const void *block, uint64_t blocks,
                                struct site_super *out)
{
    struct site_super s;
    __builtin_memcpy(&s, block, sizeof(s));
    if (__builtin_memcmp(s.magic, SITE_MAGIC, sizeof(s.magic)) != 0) {
        return SITE_E_MAGIC;
    }
    if (s.version != SITE_VERSION) {
        return SITE_E_VERSION;
    }
    uint8_t want[32];
    __builtin_memcpy(want, s.sha256, sizeof(want));
    __builtin_memset(s.sha256, 0, sizeof(s.sha256));
    struct sha256 h;
    sha256_init(&h);
    sha256_add(&h, &s, sizeof(s));
    sha256_add(&h, (const uint8_t *)block + sizeof(s), SITE_BLOCK - sizeof(s));
    uint8_t have[32];
    sha256_finish(&h, have);
    if (__builtin_memcmp(want, have, sizeof(want)) != 0) {
        return SITE_E_DIGEST;
    }
    __builtin_memcpy(s.sha256, want, sizeof(want));
    if (!super_shape_ok(&s)) {
        return SITE_E_SHAPE;
    }
    if (s.blocks > blocks) {
        return SITE_E_SIZE;
    }
    *out = s;
    return SITE_OK;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* The last 1 to 7 bytes as a word, little endian. */
static uint64_t last_word(const uint8_t *p, size_t n)
{
    uint32_t four = 0;
    uint16_t two = 0;
    unsigned at = 0;
    uint64_t w = 0;
    if ((n & 4) != 0) {
        __builtin_memcpy(&four, p, 4);
        w = four;
        at = 4;
    }
    if ((n & 2) != 0) {
        __builtin_memcpy(&two, p + at, 2);
        w |= (uint64_t)two << 8 * at;
        at += 2;
    }
    return (n & 1) != 0 ? w | (uint64_t)p[at] << 8 * at : w;
}

void site_hash(const void *path, size_t len, uint64_t seed, uint64_t out[2])
{
    const uint8_t *p = path;
    uint64_t a = seed ^ 0x9e3779b97f4a7c15u * len;
    uint64_t b = ~seed + len;
    while (len != 0) {
        uint64_t w = 0;
        size_t n = len < 8 ? len : 8;
        if (n == 8) {
            __builtin_memcpy(&w, p, 8);
        } else {
            w = last_word(p, n);
        }
        a = (a ^ w) * 0x9fb21c651e98df25u;
        a ^= a >> 29;
        b = (b + w) * 0xd6e8feb86659fd93u;
        b ^= b >> 32;
        p += n;
        len -= n;
    }
    out[0] = mix(a);
    out[0] += out[0] == 0;
    out[1] = mix(b);
}

uint32_t site_index_block(const struct site_super *s, uint64_t hash)
{
    uint64_t scaled = (hash >> 32) * s->index_blocks >> 32;
    return s->index_block + (uint32_t)scaled;
}

const struct site_entry *site_find(const void *block, const uint64_t hash[2])
{
    const struct site_entry *slot = block;
    for (uint32_t i = 0; i < SITE_SLOTS; i++) {
        const struct site_entry *e = &slot[(hash[0] + i) % SITE_SLOTS];
        if (e->hash == hash[0]) {
            return e->check == hash[1] ? e : NULL;
        }
        if (e->hash == 0) {
            return NULL;
        }
    }
    return NULL;
}

static bool text_ok(const struct site_text *t, uint32_t end)
{
    return t->off >= sizeof(struct site_record) && t->lead <= t->len &&
           (uint32_t)t->off + t->len <= end;
}

bool site_record_ok(const struct site_record *r, const struct site_super *s,
                    uint32_t first)
{
    if (r->magic != SITE_RECORD_MAGIC || r->encoding >= SITE_ENCODINGS ||
        (r->status != 200 && r->status != 301) || r->body_len > SITE_BODY_MAX ||
        r->mtime < DATE_FIRST || r->mtime > DATE_LAST) {
        return false;
    }
    uint32_t index_end = s->index_block + s->index_blocks;
    if (first < index_end || first >= s->manifest_block || r->blocks == 0 ||
        r->blocks > s->manifest_block - first) {
        return false;
    }
    uint64_t extent = (uint64_t)r->blocks * SITE_BLOCK;
    uint64_t sums_end = r->sums_off + 2 * site_sums_count(r->body_len);
    uint32_t texts = r->body_off < SITE_BLOCK ? r->body_off : SITE_BLOCK;
    return r->sums_off % 2 == 0 && r->body_off % SITE_GRANULE == 0 &&
           sums_end <= r->body_off && r->body_off <= extent &&
           r->body_len <= extent - r->body_off && text_ok(&r->full, texts) &&
           text_ok(&r->part, texts) && text_ok(&r->same, texts) &&
           r->type_off >= r->full.off &&
           (uint32_t)r->type_off + r->type_len <=
               (uint32_t)r->full.off + r->full.len;
}

uint16_t site_sum(const void *data, size_t len, uint16_t start)
{
    const uint8_t *p = data;
    uint64_t sum = start;
    /* 2^32 such words fit before the sum could wrap. */
    for (; len >= 4; p += 4, len -= 4) {
        uint32_t w;
        __builtin_memcpy(&w, p, 4);
        sum += w;
    }
    if (len >= 2) {
        uint16_t w;
        __builtin_memcpy(&w, p, 2);
        sum += w;
        p += 2;
        len -= 2;
    }
    if (len != 0) {
        sum += *p;
    }
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)(sum + (sum >> 16));
}
