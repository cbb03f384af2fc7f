/* SPDX-License-Identifier: MIT */
/*
 * What loaders and firmware say, true and false. Every table is also cut at
 * every length and damaged at random: a parser must answer, in bounds.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "src/x86_64/handover.h"
#include "tests/unit/machine/phys.h"
#include <assert.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB 0x100000ull
#define INFO (PHYS_BASE + 0x100)

static struct handover h;
static struct boot_info info;
static const struct boot_range kernel = {MIB, MIB + 0x45678};

static uint64_t seed = 1;

static uint32_t random32(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33);
}

static void setup(void)
{
    memset(phys, 0, sizeof(phys));
    memset(&h, 0, sizeof(h));
    memset(&info, 0, sizeof(info));
}

static void put(uint64_t *at, const void *data, size_t len)
{
    memcpy(phys + (*at - PHYS_BASE), data, len);
    *at += len;
}

static void put32(uint64_t *at, uint32_t v)
{
    put(at, &v, sizeof(v));
}

static void put64(uint64_t *at, uint64_t v)
{
    put(at, &v, sizeof(v));
}

/* ---------------------------------------------------------------- multiboot2
 */

static void put_text_tag(uint64_t *at, uint32_t type, const char *text,
                         const uint32_t *before, unsigned words)
{
    size_t len = strlen(text) + 1;
    put32(at, type);
    put32(at, (uint32_t)(8 + words * 4 + len));
    for (unsigned i = 0; i < words; i++) {
        put32(at, before[i]);
    }
    put(at, text, len);
    *at = (*at + 7) & ~7ull;
}

/* Two RAM ranges, one hole, two modules, a command line. Returns the size. */
static uint32_t make_multiboot2(void)
{
    uint64_t at = INFO + 8, start = INFO;
    const uint32_t module0[] = {0x400000, 0x401234};
    const uint32_t module1[] = {0x500000, 0x500001};
    put_text_tag(&at, 1, "ip=dhcp log=2", NULL, 0);
    put_text_tag(&at, 3, "/boot/init.elf a=b", module0, 2);
    put_text_tag(&at, 3, "", module1, 2);
    put32(&at, 6);
    put32(&at, 16 + 3 * 24);
    put32(&at, 24);
    put32(&at, 0);
    put64(&at, 0);
    put64(&at, 0x9fc00);
    put64(&at, 1);
    put64(&at, MIB);
    put64(&at, 15 * MIB);
    put64(&at, 1);
    put64(&at, 8 * MIB);
    put64(&at, 0x1001);
    put64(&at, 2);
    put32(&at, 15);
    put32(&at, 8 + 36);
    at += 36 + 4;
    put32(&at, 0);
    put32(&at, 8);
    put32(&start, (uint32_t)(at - INFO));
    return (uint32_t)(at - INFO);
}

START_TEST(test_multiboot2)
{
    make_multiboot2();
    ck_assert_ptr_null(multiboot2_parse(phys_at, INFO, &h));
    ck_assert_str_eq(h.cmdline, "ip=dhcp log=2");
    ck_assert_uint_eq(h.modules, 2);
    ck_assert_str_eq(h.module[0].name, "init.elf");
    ck_assert_uint_eq(h.module[0].at.end, 0x401234);
    ck_assert_str_eq(h.module[1].name, "");
    ck_assert_uint_eq(h.rams, 2);
    ck_assert_uint_eq(h.holes, 1);
    ck_assert_uint_ne(h.rsdp, 0);
    ck_assert_ptr_null(handover_layout(&h, &kernel, &info));
    /* kernel; module; module; hole of one byte more than a page */
    ck_assert_uint_eq(info.rams, 4);
    ck_assert_uint_eq(info.ram[0].start, MIB + 0x46000);
    ck_assert_uint_eq(info.ram[0].end, 4 * MIB);
    ck_assert_uint_eq(info.ram[1].start, 4 * MIB + 0x2000);
    ck_assert_uint_eq(info.ram[2].end, 8 * MIB);
    ck_assert_uint_eq(info.ram[3].start, 8 * MIB + 0x2000);
    ck_assert_uint_eq(info.top, 16 * MIB);
    handover_modules_free(&h, &info);
    ck_assert_uint_eq(info.rams, 2);
    phys_forget();
}
END_TEST

START_TEST(test_multiboot2_cut)
{
    uint32_t size = make_multiboot2();
    for (uint32_t n = 0; n < size; n++) {
        uint64_t at = INFO;
        put32(&at, n);
        ck_assert_ptr_nonnull(multiboot2_parse(phys_at, INFO, &h));
        phys_forget();
    }
    ck_assert_ptr_nonnull(multiboot2_parse(phys_at, INFO + 4, &h));
    ck_assert_ptr_nonnull(multiboot2_parse(phys_at, 0, &h));
    ck_assert_ptr_nonnull(multiboot2_parse(phys_at, UINT64_MAX - 7, &h));
    phys_forget();
}
END_TEST

/* The info may be anything; what is accepted must lay out sanely or not. */
static void layout_is_sane(void)
{
    if (handover_layout(&h, &kernel, &info) != NULL) {
        return;
    }
    for (uint32_t i = 0; i < info.rams; i++) {
        assert(info.ram[i].start >= MIB);
        assert(info.ram[i].start < info.ram[i].end);
        assert(info.ram[i].end <= info.top);
        assert(((info.ram[i].start | info.ram[i].end) & 4095) == 0);
        assert(i == 0 || info.ram[i - 1].end < info.ram[i].start);
        assert(info.ram[i].end <= kernel.start ||
               info.ram[i].start >= kernel.end);
    }
}

START_TEST(test_multiboot2_damaged)
{
    for (unsigned round = 0; round < 5000; round++) {
        setup();
        uint32_t size = make_multiboot2();
        for (unsigned i = random32() % 4 + 1; i > 0; i--) {
            phys[0x100 + random32() % size] = (uint8_t)random32();
        }
        if (multiboot2_parse(phys_at, INFO, &h) == NULL) {
            layout_is_sane();
        }
        phys_forget();
    }
}
END_TEST

/* ----------------------------------------------------------------------- PVH
 */

static void make_pvh(void)
{
    uint64_t at = INFO;
    put32(&at, MAGIC_PVH);
    put32(&at, 1); /* version */
    put32(&at, 0);
    put32(&at, 1); /* modules */
    put64(&at, INFO + 0x100);
    put64(&at, INFO + 0x200);
    put64(&at, 0x1234);
    put64(&at, INFO + 0x300);
    put32(&at, 2);
    put32(&at, 0);
    at = INFO + 0x100;
    put64(&at, 0x300000);
    put64(&at, 0x2000);
    put64(&at, 0);
    put64(&at, 0);
    at = INFO + 0x200;
    put(&at, "cpus=1", 7);
    at = INFO + 0x300;
    put64(&at, MIB);
    put64(&at, 63 * MIB);
    put64(&at, 1);
    put64(&at, 0xfffc0000);
    put64(&at, 0x40000);
    put64(&at, 2);
}

START_TEST(test_pvh)
{
    make_pvh();
    ck_assert_ptr_null(pvh_parse(phys_at, INFO, &h));
    ck_assert_str_eq(h.cmdline, "cpus=1");
    ck_assert_uint_eq(h.rsdp, 0x1234);
    ck_assert_uint_eq(h.modules, 1);
    ck_assert_ptr_null(handover_layout(&h, &kernel, &info));
    ck_assert_uint_eq(info.rams, 2);
    ck_assert_uint_eq(info.top, 64 * MIB);
    phys_forget();
}
END_TEST

START_TEST(test_pvh_lies)
{
    make_pvh();
    phys[0x100] ^= 1;
    ck_assert_str_eq(pvh_parse(phys_at, INFO, &h),
                     "the start information has a wrong magic number");
    make_pvh();
    phys[0x104] = 0; /* version 0 has no memory map */
    ck_assert_ptr_nonnull(
        strstr(pvh_parse(phys_at, INFO, &h), "no memory map"));
    make_pvh();
    uint64_t at = INFO + 24;
    put64(&at, PHYS_BASE + PHYS_SIZE - 3); /* no end in sight */
    memset(phys + PHYS_SIZE - 3, 'x', 3);
    ck_assert_ptr_nonnull(pvh_parse(phys_at, INFO, &h));
    phys_forget();
    for (unsigned round = 0; round < 5000; round++) {
        setup();
        make_pvh();
        for (unsigned i = random32() % 4 + 1; i > 0; i--) {
            unsigned where = random32() % 120;
            phys[0x100 + (where < 56    ? where
                          : where < 88  ? where - 56 + 0x100
                          : where < 112 ? where - 88 + 0x300
                                        : where)] = (uint8_t)random32();
        }
        if (pvh_parse(phys_at, INFO, &h) == NULL) {
            layout_is_sane();
        }
        phys_forget();
    }
}
END_TEST

/* -------------------------------------------------------------------- layout
 */

START_TEST(test_layout_refuses)
{
    handover_memory(&h, 0, 64 * MIB, true);
    ck_assert(handover_module(&h, (struct boot_range){MIB, MIB + 1}, "m", 1));
    ck_assert_ptr_nonnull(handover_layout(&h, &kernel, &info));
    h.module[0].at = (struct boot_range){64 * MIB, 65 * MIB};
    ck_assert_ptr_nonnull(handover_layout(&h, &kernel, &info));
    h.module[0].at = (struct boot_range){8 * MIB, 9 * MIB};
    ck_assert_ptr_null(handover_layout(&h, &kernel, &info));
    ck_assert(
        handover_module(&h, (struct boot_range){9 * MIB - 1, 10 * MIB}, "", 0));
    ck_assert_ptr_nonnull(handover_layout(&h, &kernel, &info));
    ck_assert(!handover_module(&h, (struct boot_range){9, 9}, "", 0));
    ck_assert(!handover_module(&h, (struct boot_range){9, 8}, "", 0));
    h.modules = 0;
    handover_memory(&h, 0, UINT64_MAX, false);
    ck_assert_ptr_nonnull(handover_layout(&h, &kernel, &info));
}
END_TEST

START_TEST(test_usable)
{
    const struct boot_range page = {0x8000, 0x9000};
    ck_assert(!handover_usable(&h, page));
    handover_memory(&h, 0x1000, 0x9ec00, true);
    ck_assert(handover_usable(&h, page));
    ck_assert(!handover_usable(&h, (struct boot_range){0, 0x9000}));
    ck_assert(!handover_usable(&h, (struct boot_range){0x9f000, 0xa0000}));
    handover_memory(&h, 0x8fff, 1, false); /* its last byte is reserved */
    ck_assert(!handover_usable(&h, page));
    ck_assert(handover_usable(&h, (struct boot_range){0x7000, 0x8000}));
    ck_assert(handover_usable(&h, (struct boot_range){0x9000, 0xa000}));
}
END_TEST

START_TEST(test_layout_many)
{
    /* More ranges than fit: the least memory is forgotten, nothing invented */
    for (unsigned i = 0; i < BOOT_RAM_MAX; i++) {
        handover_memory(&h, (16 + 4 * i) * MIB, 4 * MIB, true);
        handover_memory(&h, (17 + 4 * i) * MIB, MIB + 4096 * i, false);
    }
    ck_assert_ptr_null(handover_layout(&h, &kernel, &info));
    ck_assert_uint_le(info.rams, BOOT_RAM_MAX);
    layout_is_sane();
    for (uint32_t i = 0; i < info.rams; i++) {
        for (uint32_t j = 0; j < h.holes; j++) {
            ck_assert(info.ram[i].end <= h.hole[j].start ||
                      info.ram[i].start >= h.hole[j].end);
        }
    }
}
END_TEST

START_TEST(test_layout_too_many)
{
    for (unsigned i = 0; i < HANDOVER_RANGES + 10; i++) {
        handover_memory(&h, (16 + 2 * i) * MIB, MIB, true);
    }
    ck_assert_ptr_null(handover_layout(&h, &kernel, &info));
    for (unsigned i = 0; i < HANDOVER_RANGES; i++) {
        handover_memory(&h, (16 + 2 * i) * MIB, 4096, false);
    }
    ck_assert_ptr_null(handover_layout(&h, &kernel, &info));
    layout_is_sane();
    handover_memory(&h, 40 * MIB, MIB, false); /* nobody may forget this one */
    ck_assert_ptr_nonnull(handover_layout(&h, &kernel, &info));
}
END_TEST

START_TEST(test_ranges_against_bitmap)
{
    for (unsigned round = 0; round < 500; round++) {
        uint32_t n = 0;
        bool want[100] = {false};
        struct boot_range r[BOOT_RAM_MAX];
        for (unsigned step = 0; step < 40; step++) {
            uint64_t a = random32() % 100, b = a + random32() % (101 - a);
            bool add = random32() % 2;
            (add ? ranges_add : ranges_remove)(r, &n,
                                               (struct boot_range){a, b});
            for (uint64_t i = a; i < b; i++) {
                want[i] = add;
            }
        }
        for (uint64_t i = 0; i < 100; i++) {
            bool have = false;
            for (uint32_t j = 0; j < n; j++) {
                have = have || (i >= r[j].start && i < r[j].end);
                assert(j == 0 || r[j - 1].end < r[j].start);
            }
            assert(have == want[i]);
        }
    }
}
END_TEST

/* --------------------------------------------------------------------- ustar
 */

static size_t put_member(uint8_t *to, const char *name, const char *data,
                         char type)
{
    size_t len = strlen(data);
    unsigned sum = 0;
    memset(to, 0, 1024);
    memcpy(to, name, strlen(name));
    snprintf((char *)to + 124, 12, "%011zo", len);
    to[156] = (uint8_t)type;
    memcpy(to + 257, "ustar\00000", 8);
    memset(to + 148, ' ', 8);
    for (unsigned i = 0; i < 512; i++) {
        sum += to[i];
    }
    snprintf((char *)to + 148, 8, "%06o", sum);
    memcpy(to + 512, data, len);
    return len == 0 ? 512 : 1024;
}

START_TEST(test_ustar)
{
    uint8_t *archive = calloc(1, 8192);
    uint64_t at = 0;
    size_t len = 0;
    len += put_member(archive + len, "dir/", "", '5');
    len += put_member(archive + len, "dir/first.elf", "one", '0');
    len += put_member(archive + len, "second", "twotwo", 0);
    ck_assert(ustar_is(archive, len));
    ck_assert(!ustar_is(archive, 511));
    struct ustar_member m;
    ck_assert_int_eq(ustar_next(archive, len + 1024, &at, &m), 1);
    ck_assert_str_eq(m.name, "first.elf");
    ck_assert_uint_eq(m.bytes, 3);
    ck_assert_mem_eq(m.data, "one", 3);
    ck_assert_int_eq(ustar_next(archive, len + 1024, &at, &m), 1);
    ck_assert_str_eq(m.name, "second");
    ck_assert_int_eq(ustar_next(archive, len + 1024, &at, &m), 0);
    /* cut anywhere: the end, or damage, but never beyond */
    for (size_t n = 0; n < len; n++) {
        uint8_t *cut = malloc(n + !n);
        memcpy(cut, archive, n);
        at = 0;
        while (ustar_next(cut, n, &at, &m) > 0) {
            ck_assert(m.data + m.bytes <= cut + n);
        }
        free(cut);
    }
    for (unsigned i = 0; i < 512; i++) {
        archive[512 + i] ^= 0x11;
        at = 0;
        int r = ustar_next(archive, len, &at, &m);

        ck_assert(r == -1 || i == 155); /* after the sum's end: free */
        archive[512 + i] ^= 0x11;
    }
    free(archive);
}
END_TEST

/* ---------------------------------------------------------------------- ACPI
 */

static void seal(uint64_t start, size_t len, size_t sum_at)
{
    uint8_t *p = phys + (start - PHYS_BASE), sum = 0;
    p[sum_at] = 0;
    for (size_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    p[sum_at] = (uint8_t)-sum;
}

static void make_acpi(unsigned cpus)
{
    uint64_t rsdp = PHYS_BASE, rsdt = PHYS_BASE + 0x100,
             madt = PHYS_BASE + 0x1000, fadt = PHYS_BASE + 0x300, at;
    at = rsdp;
    put(&at, "RSD PTR ", 8);
    at = rsdp + 16;
    put32(&at, (uint32_t)rsdt);
    seal(rsdp, 20, 8);
    at = rsdt;
    put(&at, "RSDT", 4);
    put32(&at, 36 + 12);
    at = rsdt + 36;
    put32(&at, 0xdeadbeef); /* a table nobody can read */
    put32(&at, (uint32_t)madt);
    put32(&at, (uint32_t)fadt);
    seal(rsdt, 48, 9);
    at = fadt;
    put(&at, "FACP", 4);
    put32(&at, 244);
    phys[0x300 + 91] = 4;
    at = fadt + 76;
    put32(&at, 0x608);
    seal(fadt, 244, 9);
    at = madt;
    put(&at, "APIC", 4);
    put32(&at, 44 + 8 * (cpus + 1) + 16);
    at = madt + 44;
    for (unsigned i = 0; i <= cpus; i++) {
        put(&at, (uint8_t[]){0, 8, (uint8_t)i, (uint8_t)i}, 4);
        put32(&at, i < cpus); /* the last is disabled */
    }
    put(&at, (uint8_t[]){9, 16, 0, 0}, 4);
    put32(&at, 1000);
    put32(&at, 1);
    put32(&at, 0);
    seal(madt, 44 + 8 * (cpus + 1) + 16, 9);
}

START_TEST(test_acpi)
{
    make_acpi(3);
    struct acpi_facts facts;
    ck_assert_ptr_null(acpi_parse(phys_at, PHYS_BASE, &facts));
    ck_assert_uint_eq(facts.cpus, 4);
    ck_assert_uint_eq(facts.apic_id[3], 1000);
    ck_assert_uint_eq(facts.pm_port, 0x608);
    phys_forget();
    setup();
    make_acpi(100);
    ck_assert_ptr_null(acpi_parse(phys_at, PHYS_BASE, &facts));
    ck_assert_uint_eq(facts.cpus, ARCH_CPUS_MAX);
    ck_assert_uint_eq(facts.ignored, 37);
    phys_forget();
    ck_assert_ptr_nonnull(acpi_parse(phys_at, 0, &facts));
    ck_assert_ptr_nonnull(acpi_parse(phys_at, PHYS_BASE + 16, &facts));
    for (unsigned round = 0; round < 5000; round++) {
        setup();
        make_acpi(3);
        for (unsigned i = random32() % 3 + 1; i > 0; i--) {
            phys[random32() % 0x1080] = (uint8_t)random32();
        }
        /* sums made right again, so that the damage is looked at */
        seal(PHYS_BASE, 20, 8);
        seal(PHYS_BASE + 0x1000, 44 + 8 * 4 + 16, 9);
        (void)acpi_parse(phys_at, PHYS_BASE, &facts);
        assert(facts.cpus <= ARCH_CPUS_MAX);
        phys_forget();
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("handover");
    TCase *t = tcase_create("handover");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_multiboot2);
    tcase_add_test(t, test_multiboot2_cut);
    tcase_add_test(t, test_multiboot2_damaged);
    tcase_add_test(t, test_pvh);
    tcase_add_test(t, test_pvh_lies);
    tcase_add_test(t, test_layout_refuses);
    tcase_add_test(t, test_usable);
    tcase_add_test(t, test_layout_many);
    tcase_add_test(t, test_layout_too_many);
    tcase_add_test(t, test_ranges_against_bitmap);
    tcase_add_test(t, test_ustar);
    tcase_add_test(t, test_acpi);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
