/* SPDX-License-Identifier: MIT */
/*
 * Site images of any bytes: a superblock (with its digest put right, so that
 * the numbers are reached), a block of the index, a record. What the reading
 * side accepts may be followed: every offset stays inside what holds it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/site/sha256.h"
#include "cheetah/site/site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(const uint8_t **data, size_t *size, void *out, size_t len)
{
    size_t n = *size < len ? *size : len;
    memcpy(out, *data, n);
    *data += n;
    *size -= n;
}

static void check_text(const uint8_t *block, const struct site_text *t)
{
    assert((uint32_t)t->off + t->len <= SITE_BLOCK && t->lead <= t->len);
    (void)site_sum(block + t->off + t->lead, (size_t)t->len - t->lead, 0);
}

static void check_record(const uint8_t *block, const struct site_super *s,
                         uint32_t first)
{
    struct site_record r;
    memcpy(&r, block, sizeof(r));
    if (!site_record_ok(&r, s, first)) {
        return;
    }
    uint64_t extent = (uint64_t)r.blocks * SITE_BLOCK;
    assert((uint64_t)first + r.blocks <= s->manifest_block);
    assert(r.body_off + r.body_len <= extent);
    assert(r.sums_off + 2 * site_sums_count(r.body_len) <= r.body_off);
    check_text(block, &r.full);
    check_text(block, &r.part);
    check_text(block, &r.same);
    assert((uint32_t)r.type_off + r.type_len <= SITE_BLOCK);
}

static void sound(const uint8_t **data, size_t *size, struct site_super *s)
{
    uint8_t n[8] = {0};
    take(data, size, n, sizeof(n));
    s->block_size = SITE_BLOCK;
    s->granule = SITE_GRANULE;
    s->seed = n[1];
    s->index_block = 1;
    s->index_blocks = 1u + n[2];
    s->manifest_block = 1 + s->index_blocks + n[3] + 256u * n[4];
    s->manifest_blocks = n[5];
    s->manifest_len = (uint64_t)n[5] * SITE_BLOCK;
    s->blocks = s->manifest_block + s->manifest_blocks;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *block = calloc(1, SITE_BLOCK);
    struct site_super s = {0}, out;
    if (size != 0 && data[0] % 4 == 0) {
        take(&data, &size, &s, sizeof(s)); /* anything */
    } else {
        sound(&data, &size, &s); /* so that what follows is reached */
    }
    memcpy(s.magic, SITE_MAGIC, sizeof(s.magic));
    s.version = SITE_VERSION;
    memset(s.sha256, 0, sizeof(s.sha256));
    memcpy(block, &s, sizeof(s));
    sha256_of(block, SITE_BLOCK, s.sha256);
    memcpy(block, &s, sizeof(s));
    enum site_error e = site_super_read(block, 1u << 20, &out);
    assert(site_error_text(e) != NULL);
    uint64_t h[2];
    if (e == SITE_OK) {
        site_hash(data, size < 64 ? size : 64, out.seed, h);
        uint32_t b = site_index_block(&out, h[0]);
        assert(b >= out.index_block && b < out.index_block + out.index_blocks);
        memset(block, 0, SITE_BLOCK);
        take(&data, &size, h, sizeof(h));
        memcpy(block, data, size < SITE_BLOCK ? size : SITE_BLOCK);
        const struct site_entry *at = site_find(block, h);
        assert(at == NULL || (at->hash == h[0] && at->check == h[1]));
        check_record(block, &out, (uint32_t)h[0]);
    }
    free(block);
    return 0;
}
