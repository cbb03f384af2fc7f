/* SPDX-License-Identifier: MIT */
/*
 * What the fixed tables say of the power button and of switching off, in
 * tables that are right, cut short and damaged.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "src/x86_64/handover.h"
#include "tests/unit/machine/phys.h"
#include <check.h>

#define DSDT (PHYS_BASE + 0x400u)

static uint8_t fadt[148];
static struct acpi_power power;

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* A definition block of `len` bytes of code. */
static void block(const void *code, size_t len)
{
    uint8_t *p = phys + (DSDT - PHYS_BASE), sum = 0;
    memset(p, 0, 36);
    memcpy(p, "DSDT", 4);
    put32(p + 4, (uint32_t)(36 + len));
    memcpy(p + 36, code, len);
    for (size_t i = 0; i < 36 + len; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    p[9] = (uint8_t)-sum;
}

/* As QEMU makes it. */
static void setup(void)
{
    memset(phys, 0, sizeof(phys));
    memset(fadt, 0, sizeof(fadt));
    put32(fadt + 40, DSDT);
    fadt[46] = 9;
    put32(fadt + 48, 0xb2);
    fadt[52] = 2;
    put32(fadt + 56, 0x600);
    put32(fadt + 64, 0x604);
    fadt[88] = 4;
    fadt[89] = 2;
    block("\x10\x0f\\\0\x08_S5_\x12\x06\x04\x0a\x05\x01\0\0", 18);
}

static void read_all(uint32_t len)
{
    acpi_power_read(phys_at, fadt, len, &power);
    phys_forget();
}

START_TEST(reads_what_qemu_says)
{
    read_all(sizeof(fadt));
    ck_assert(power.has_button && power.has_off);
    ck_assert_uint_eq(power.event_port[0], 0x600);
    ck_assert_uint_eq(power.event_port[1], 0);
    ck_assert_uint_eq(power.control_port[0], 0x604);
    ck_assert_uint_eq(power.event_len, 4);
    ck_assert_uint_eq(power.command_port, 0xb2);
    ck_assert_uint_eq(power.enable, 2);
    ck_assert_uint_eq(power.line, 9);
    ck_assert_uint_eq(power.sleep_type[0], 5);
    ck_assert_uint_eq(power.sleep_type[1], 1);
    read_all(116); /* the first revision has all of it */
    ck_assert(power.has_button && power.has_off);
    read_all(115);
    ck_assert(!power.has_button && !power.has_off);
}
END_TEST

START_TEST(believes_no_more_than_is_there)
{
    put32(fadt + 112, 1u << 4); /* the button is a device of its own */
    read_all(sizeof(fadt));
    ck_assert(!power.has_button && power.has_off);
    put32(fadt + 112, 1u << 20); /* no fixed hardware */
    read_all(sizeof(fadt));
    ck_assert(!power.has_button && !power.has_off);
    setup();
    put32(fadt + 56, 0x10600); /* no port */
    fadt[88] = 4;
    read_all(sizeof(fadt));
    ck_assert(!power.has_button);
    setup();
    fadt[88] = 2; /* no room for two registers */
    read_all(sizeof(fadt));
    ck_assert(!power.has_button);
    setup();
    phys[0x400 + 40] ^= 1; /* a wrong sum */
    read_all(sizeof(fadt));
    ck_assert(power.has_button && !power.has_off);
    setup();
    put32(fadt + 40, 0xfffffff0); /* nowhere */
    read_all(sizeof(fadt));
    ck_assert(!power.has_off);
}
END_TEST

START_TEST(finds_the_object_by_its_encoding)
{
    static const struct {
        const char *code;
        size_t len;
        bool found;
    } t[] = {
        {"xx\x08_S5_\x12\x06\x02\x0a\x05\x0a\x03", 14, true},
        {"xx\x08\\_S5_\x12\x06\x02\x0a\x05\x0a\x03", 15, true},
        {"xx\x08_S5_\x12\x46\x00\x02\x0a\x05\x0a\x03", 15, true},
        {"xx\x08_S5_\x12\x02\x02\x00\x00", 12, true},
        {"xxx_S5_\x12\x06\x02\x0a\x05\x0a\x03", 14, false},    /* no name */
        {"xx\x08_S5_\x11\x06\x02\x0a\x05\x0a\x03", 14, false}, /* a buffer */
        {"xx\x08_S5_\x12\x06\x01\x0a\x05\x0a\x03", 14, false}, /* one only */
        {"xx\x08_S5_\x12\x06\x02\x0a\x08\x0a\x03", 14, false}, /* 4 bits */
        {"xx\x08_S5_\x12\x06\x02\x0a\x05\x0a", 13, false},     /* cut */
        {"xx\x08_S5_\x12\x06\x02\x0a\x05", 12, false},
        {"xx\x08_S5_\x12\x06\x02\x0a", 11, false},
        {"xx\x08_S5_\x12\xff", 9, false},
        {"xx\x08_S5_\x12", 8, false},
        {"xx\x08_S5_", 7, false},
        {"_S5_", 4, false},
        {"", 0, false},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        block(t[i].code, t[i].len);
        read_all(sizeof(fadt));
        ck_assert_msg(power.has_off == t[i].found, "case %zu", i);
    }
}
END_TEST

START_TEST(damage_stays_inside)
{
    srand(1);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t code[64];
        size_t len = (size_t)rand() % sizeof(code);
        setup();
        memcpy(code, phys + 0x400 + 36, sizeof(code));
        for (unsigned i = 0; i < 3; i++) {
            code[(size_t)rand() % 24] = (uint8_t)rand();
        }
        block(code, len);
        if (round % 2 == 0) {
            fadt[(size_t)rand() % sizeof(fadt)] = (uint8_t)rand();
        }
        read_all(round % 3 != 0 ? sizeof(fadt)
                                : (uint32_t)rand() % sizeof(fadt));
        ck_assert_uint_le(power.sleep_type[0], 7);
        ck_assert_uint_le(power.sleep_type[1], 7);
    }
}
END_TEST

START_TEST(routes_to_the_closest_controller)
{
    static struct acpi_facts f;
    f = (struct acpi_facts){.power = {.line = 9}};
    acpi_power_route(&f);
    ck_assert_uint_eq(f.power.controller, 0);
    f.io_apics = 2;
    f.io_apic[0] = (struct acpi_io_apic){0xfec00000, 0};
    f.io_apic[1] = (struct acpi_io_apic){0xfec10000, 24};
    acpi_power_route(&f);
    ck_assert_uint_eq(f.power.controller, 0xfec00000);
    ck_assert_uint_eq(f.power.pin, 9);
    ck_assert(!f.power.edge && !f.power.high);
    f.power = (struct acpi_power){.line = 9};
    f.isa[9] = (struct acpi_line){30, 5, true}; /* high, edge */
    acpi_power_route(&f);
    ck_assert_uint_eq(f.power.controller, 0xfec10000);
    ck_assert_uint_eq(f.power.pin, 6);
    ck_assert(f.power.edge && f.power.high);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("power");
    TCase *t = tcase_create("power");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, reads_what_qemu_says);
    tcase_add_test(t, believes_no_more_than_is_there);
    tcase_add_test(t, finds_the_object_by_its_encoding);
    tcase_add_test(t, damage_stays_inside);
    tcase_add_test(t, routes_to_the_closest_controller);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
