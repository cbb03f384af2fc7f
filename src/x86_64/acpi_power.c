/* SPDX-License-Identifier: MIT */
/*
 * How the machine is switched off, and where its power button is: the fixed
 * hardware of the FADT, and of the definition block (DSDT) one object, _S5,
 * which says what to write there. Its bytecode is not run: the object is a
 * package of constants in every firmware that means it to be found by a loader,
 * and is searched for by its encoding. A wrong find is a value of three bits,
 * written only to end the machine.
 * Source: ACPI 6.4 s4.8.3 (registers), s5.2.9 (FADT), s7.4.2 (_S5), s20.2
 * (encoding), table 5.26 (flags of an interrupt).
 */
#include "src/lib/string.h"
#include "src/x86_64/handover.h"

#define HEADER 36u

enum {
    FADT_DSDT = 40,
    FADT_LINE = 46,
    FADT_COMMAND = 48,
    FADT_ENABLE = 52,
    FADT_EVENT = 56,
    FADT_CONTROL = 64,
    FADT_EVENT_LEN = 88,
    FADT_FLAGS = 112,
    FADT_LEN = 116, /* of the first revision, which has all of these */
    FADT_X_DSDT = 140,
    FADT_X_LEN = 148,
};
#define FLAG_BUTTON_IS_DEVICE (1u << 4) /* no fixed one */
#define FLAG_REDUCED (1u << 20)         /* no fixed hardware at all */

enum {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_PACKAGE = 0x12,
};
#define SLEEP_TYPE_MAX 7u

/* A port from a field of 32 bits; 0 if it is none. */
static uint16_t port(const uint8_t *p)
{
    uint32_t v = load_u32(p);
    return v <= UINT16_MAX ? (uint16_t)v : 0;
}

/* The constant at *at, which moves on; UINT32_MAX if it is no sleep type. */
static uint32_t constant(const uint8_t *p, uint32_t len, uint32_t *at)
{
    uint32_t v = UINT32_MAX;
    if (*at < len && p[*at] <= AML_ONE) {
        v = p[*at];
        *at += 1;
    } else if (*at + 1 < len && p[*at] == AML_BYTE) {
        v = p[*at + 1];
        *at += 2;
    }
    return v <= SLEEP_TYPE_MAX ? v : UINT32_MAX;
}

/* Is there a package of two constants at least at `at`? */
static bool package(const uint8_t *p, uint32_t len, uint32_t at,
                    uint8_t type[2])
{
    if (at + 2 > len || p[at] != AML_PACKAGE) {
        return false;
    }
    at += 2 + (p[at + 1] >> 6); /* its length has 1 to 4 bytes */
    if (at >= len || p[at] < 2) {
        return false;
    }
    at++;
    uint32_t a = constant(p, len, &at), b = constant(p, len, &at);
    if (a == UINT32_MAX || b == UINT32_MAX) {
        return false;
    }
    type[0] = (uint8_t)a;
    type[1] = (uint8_t)b;
    return true;
}

/* Name (_S5, Package () {a, b, ...}), or the same under the root. */
static bool find_off(const uint8_t *p, uint32_t len, uint8_t type[2])
{
    for (uint32_t at = HEADER + 2; at + 4 <= len; at++) {
        bool named = p[at - 1] == AML_NAME ||
                     (p[at - 1] == '\\' && p[at - 2] == AML_NAME);
        if (named && memcmp(p + at, "_S5_", 4) == 0 &&
            package(p, len, at + 4, type)) {
            return true;
        }
    }
    return false;
}

static void read_dsdt(phys_read *read, const uint8_t *fadt, uint32_t len,
                      struct acpi_power *out)
{
    uint64_t paddr = len >= FADT_X_LEN ? load_u64(fadt + FADT_X_DSDT) : 0;
    paddr = paddr != 0 ? paddr : load_u32(fadt + FADT_DSDT);
    uint32_t dsdt_len;
    const uint8_t *dsdt = acpi_table(read, paddr, &dsdt_len);
    out->has_off = dsdt != NULL && memcmp(dsdt, "DSDT", 4) == 0 &&
                   find_off(dsdt, dsdt_len, out->sleep_type);
}

void acpi_power_read(phys_read *read, const uint8_t *fadt, uint32_t len,
                     struct acpi_power *out)
{
    memset(out, 0, sizeof(*out));
    uint32_t flags = len >= FADT_LEN ? load_u32(fadt + FADT_FLAGS) : 0;
    if (len < FADT_LEN || (flags & FLAG_REDUCED) != 0) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        out->event_port[i] = port(fadt + FADT_EVENT + 4 * i);
        out->control_port[i] = port(fadt + FADT_CONTROL + 4 * i);
    }
    out->event_len = fadt[FADT_EVENT_LEN];
    out->has_button = (flags & FLAG_BUTTON_IS_DEVICE) == 0 &&
                      out->event_port[0] != 0 && out->event_len >= 4;
    out->command_port = port(fadt + FADT_COMMAND);
    out->enable = fadt[FADT_ENABLE];
    out->line = (uint32_t)(fadt[FADT_LINE] | fadt[FADT_LINE + 1] << 8);
    if (out->control_port[0] != 0) {
        read_dsdt(read, fadt, len, out);
    }
}

void acpi_power_route(struct acpi_facts *f)
{
    struct acpi_power *p = &f->power;
    const struct acpi_line *moved =
        p->line < ACPI_ISA_LINES ? &f->isa[p->line] : NULL;
    if (moved != NULL && moved->moved) {
        p->high = (moved->flags & 3) == 1;
        p->edge = (moved->flags >> 2 & 3) == 1;
        p->line = moved->line;
    }
    for (uint32_t i = 0; i < f->io_apics; i++) {
        const struct acpi_io_apic *c = &f->io_apic[i];
        /* The one that begins closest below the line. */
        if (c->first <= p->line && c->paddr != 0 &&
            (p->controller == 0 || p->line - c->first < p->pin)) {
            p->controller = c->paddr;
            p->pin = p->line - c->first;
        }
    }
}
