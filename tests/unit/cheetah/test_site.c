/* SPDX-License-Identifier: MIT */
/* The pure side of the site image: superblock, probe, record bounds, sums. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/site/sha256.h"
#include "cheetah/site/site.h"

#ifdef NDEBUG
#error "tests need assert"
#endif

static uint8_t block[SITE_BLOCK];

static void seal(struct site_super *s)
{
    memset(block, 0, sizeof(block));
    memset(s->sha256, 0, sizeof(s->sha256));
    memcpy(block, s, sizeof(*s));
    sha256_of(block, sizeof(block), s->sha256);
    memcpy(block, s, sizeof(*s));
}

static struct site_super good_super(void)
{
    struct site_super s = {.version = SITE_VERSION,
                           .block_size = SITE_BLOCK,
                           .granule = SITE_GRANULE,
                           .blocks = 100,
                           .seed = 1,
                           .index_block = 1,
                           .index_blocks = 4,
                           .manifest_block = 98,
                           .manifest_blocks = 2,
                           .manifest_len = 5000,
                           .paths = 10,
                           .extents = 12};
    memcpy(s.magic, SITE_MAGIC, sizeof(s.magic));
    seal(&s);
    return s;
}

START_TEST(super_is_judged)
{
    struct site_super s = good_super();
    struct site_super out;
    ck_assert_int_eq(site_super_read(block, 100, &out), SITE_OK);
    ck_assert_uint_eq(out.index_blocks, 4);
    ck_assert_int_eq(site_super_read(block, 99, &out), SITE_E_SIZE);
    s.magic[0] ^= 1;
    seal(&s);
    ck_assert_int_eq(site_super_read(block, 100, &out), SITE_E_MAGIC);
    s = good_super();
    s.version++;
    seal(&s);
    ck_assert_int_eq(site_super_read(block, 100, &out), SITE_E_VERSION);
}
END_TEST

/* Every single flipped bit of block 0 is noticed. */
START_TEST(super_bit_flips)
{
    good_super();
    struct site_super out;
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] ^= (uint8_t)(1u << i % 8);
        ck_assert_int_ne(site_super_read(block, 100, &out), SITE_OK);
        block[i] ^= (uint8_t)(1u << i % 8);
    }
}
END_TEST

START_TEST(super_shapes)
{
#define REFUSED(change)                                                        \
    s = good_super();                                                          \
    change;                                                                    \
    seal(&s);                                                                  \
    ck_assert_int_eq(site_super_read(block, 1000, &out), SITE_E_SHAPE)
    struct site_super s, out;
    REFUSED(s.block_size = 512);
    REFUSED(s.granule = 100);
    REFUSED(s.index_block = 0);
    REFUSED(s.index_blocks = 0);
    REFUSED(s.index_blocks = UINT32_MAX);
    REFUSED(s.manifest_block = 3);
    REFUSED(s.manifest_blocks = UINT32_MAX);
    REFUSED(s.manifest_len = 8193);
    REFUSED(s.paths = 4 * SITE_SLOTS + 1);
    REFUSED(s.blocks = 101);
#undef REFUSED
}
END_TEST

START_TEST(probe)
{
    struct site_entry slot[SITE_SLOTS] = {0};
    uint64_t h[2] = {SITE_SLOTS - 1, 77};
    ck_assert_ptr_null(site_find(slot, h));
    /* Probing wraps within the block and ends at a free slot. */
    slot[SITE_SLOTS - 1] = (struct site_entry){.hash = 5, .check = 1};
    slot[0] = (struct site_entry){.hash = h[0], .check = 77};
    ck_assert_ptr_eq(site_find(slot, h), &slot[0]);
    slot[0].check = 78;
    ck_assert_ptr_null(site_find(slot, h));
    /* A full block without the path ends, too. */
    for (uint32_t i = 0; i < SITE_SLOTS; i++) {
        slot[i].hash = 1000 + i;
    }
    ck_assert_ptr_null(site_find(slot, h));
}
END_TEST

START_TEST(hash_spreads)
{
    struct site_super s = good_super();
    unsigned in_block[4] = {0};
    for (int i = 0; i < 4000; i++) {
        char path[32];
        int n = snprintf(path, sizeof(path), "/doc/file-%d.html", i);
        uint64_t h[2];
        site_hash(path, (size_t)n, 1, h);
        uint64_t g[2];
        site_hash(path, (size_t)n, 2, g);
        ck_assert_uint_ne(h[0], g[0]);
        uint32_t b = site_index_block(&s, h[0]);
        ck_assert(b >= 1 && b < 5);
        in_block[b - 1]++;
    }
    for (int i = 0; i < 4; i++) {
        ck_assert(in_block[i] > 850 && in_block[i] < 1150);
    }
}
END_TEST

static struct site_record good_record(void)
{
    struct site_text t = {.off = 412, .len = 100, .lead = 54};
    return (struct site_record){.magic = SITE_RECORD_MAGIC,
                                .status = 200,
                                .encoding = SITE_IDENTITY,
                                .body_len = 5000,
                                .blocks = 2,
                                .body_off = 512,
                                .sums_off = 300,
                                .full = t,
                                .part = t,
                                .same = t,
                                .type_off = 422,
                                .type_len = 10};
}

START_TEST(record_bounds)
{
    struct site_super s = good_super();
    struct site_record r = good_record();
    ck_assert(site_record_ok(&r, &s, 5));
    ck_assert(site_record_ok(&r, &s, 96));
    ck_assert(!site_record_ok(&r, &s, 97)); /* runs into the manifest */
    ck_assert(!site_record_ok(&r, &s, 4));  /* inside the index */
    ck_assert(!site_record_ok(&r, &s, UINT32_MAX));
#define REFUSED(change)                                                        \
    r = good_record();                                                         \
    change;                                                                    \
    ck_assert(!site_record_ok(&r, &s, 5))
    REFUSED(r.magic++);
    REFUSED(r.status = 404);
    REFUSED(r.encoding = SITE_ENCODINGS);
    REFUSED(r.body_len = 8192 - 512 + 1);
    REFUSED(r.body_len = UINT64_MAX);
    REFUSED(r.mtime = INT64_MIN); /* HTTP_NO_DATE */
    REFUSED(r.mtime = INT64_MAX);
    REFUSED(r.blocks = 0);
    REFUSED(r.blocks = UINT32_MAX);
    REFUSED(r.body_off = 511);
    REFUSED(r.body_off = 16384);
    REFUSED(r.sums_off = 301);
    REFUSED(r.sums_off = 510);
    REFUSED(r.full.off = 20);
    REFUSED(r.full.len = 101);
    REFUSED(r.part.lead = 101);
    REFUSED(r.same.off = UINT16_MAX);
    REFUSED(r.type_off = 411);
    REFUSED(r.type_len = 91);
    REFUSED(r.type_len = UINT16_MAX);
#undef REFUSED
}
END_TEST

static uint16_t plain_sum(const uint8_t *p, size_t len)
{
    uint32_t s = 0;
    for (size_t i = 0; i < len; i++) {
        s += (uint32_t)p[i] << (i % 2 != 0 ? 8 : 0);
    }
    while (s > 0xffff) {
        s = (s & 0xffff) + (s >> 16);
    }
    return (uint16_t)s;
}

START_TEST(sums)
{
    static uint8_t data[4100];
    unsigned seed = 42;
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)rand_r(&seed);
    }
    for (size_t len = 0; len < 70; len++) {
        ck_assert_uint_eq(site_sum(data, len, 0), plain_sum(data, len));
        ck_assert_uint_eq(site_sum(data + 1, len, 0), plain_sum(data + 1, len));
    }
    memset(data, 0xff, sizeof(data));
    ck_assert_uint_eq(site_sum(data, sizeof(data), 0xffff), 0xffff);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)rand_r(&seed);
    }
    for (size_t lo = 0; lo <= 4096; lo += 512) {
        for (size_t hi = lo; hi <= 4096; hi += 512) {
            uint16_t d =
                site_sum_between(site_sum(data, lo, 0), site_sum(data, hi, 0));
            uint16_t want = site_sum(data + lo, hi - lo, 0);
            ck_assert_uint_eq(d % 0xffff, want % 0xffff);
        }
    }
}
END_TEST

START_TEST(sha256_vectors)
{
    static const struct {
        const char *text, *hex;
    } v[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb924"
             "27ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223"
                "b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        uint8_t d[32];
        sha256_of(v[i].text, strlen(v[i].text), d);
        char hex[65];
        for (int k = 0; k < 32; k++) {
            snprintf(hex + 2 * k, 3, "%02x", d[k]);
        }
        ck_assert_str_eq(hex, v[i].hex);
    }
    /* Any way of cutting the input gives the same digest. */
    static uint8_t data[300];
    uint8_t want[32], have[32];
    for (size_t n = 0; n <= sizeof(data); n += 7) {
        sha256_of(data, n, want);
        for (size_t cut = 0; cut <= n; cut += 13) {
            struct sha256 s;
            sha256_init(&s);
            sha256_add(&s, data, cut);
            sha256_add(&s, data + cut, n - cut);
            sha256_finish(&s, have);
            ck_assert_mem_eq(want, have, 32);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("site");
    TCase *t = tcase_create("image");
    tcase_add_test(t, super_is_judged);
    tcase_add_test(t, super_bit_flips);
    tcase_add_test(t, super_shapes);
    tcase_add_test(t, probe);
    tcase_add_test(t, hash_spreads);
    tcase_add_test(t, record_bounds);
    tcase_add_test(t, sums);
    tcase_add_test(t, sha256_vectors);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
