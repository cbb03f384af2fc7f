/* SPDX-License-Identifier: MIT */
/*
 * The power button of the fixed hardware. Its interrupt is the one of this
 * kernel that is no message: a level on a pin of an I/O APIC, which stays until
 * the status is taken back. What raises it without a cause that is known here
 * is shut up for good after a while.
 * Source: ACPI 6.4 s4.8.2.3, s4.8.3.1, s4.8.3.2, s16.1.5; Intel 82093AA data
 * sheet.
 */
#include "src/x86_64/power.h"
#include "src/abi/pte.h"
#include "src/lib/log.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/timer.h"

#define STATUS_BUTTON (1u << 8) /* the same bit of the enable register */
#define CONTROL_OURS (1u << 0)  /* SCI_EN: the firmware has let go */
#define CONTROL_TYPE 10u        /* 3 bits from here */
#define CONTROL_TYPE_MASK (7u << CONTROL_TYPE)
#define CONTROL_SLEEP (1u << 13)
#define ENABLE_WAIT_US 100000u
#define STRAYS_MAX 1000u

enum { IO_SELECT = 0, IO_WINDOW = 4 }; /* in words of 32 bits */
enum { IO_VERSION = 1, IO_PINS = 16 };
#define PIN_MASKED (1u << 16)
#define PIN_LEVEL (1u << 15)
#define PIN_LOW (1u << 13)

static struct acpi_power power;
static volatile uint32_t *io_apic;
static uint32_t strays;

static uint32_t io_get(uint32_t reg)
{
    io_apic[IO_SELECT] = reg;
    return io_apic[IO_WINDOW];
}

static void io_set(uint32_t reg, uint32_t value)
{
    io_apic[IO_SELECT] = reg;
    io_apic[IO_WINDOW] = value;
}

/* From the firmware's interrupts to ours. */
static bool take_over(void)
{
    uint16_t control = power.control_port[0];
    if (control == 0 || (inw(control) & CONTROL_OURS) != 0) {
        return true;
    }
    if (power.command_port == 0 || power.enable == 0) {
        return false;
    }
    outb(power.command_port, power.enable);
    for (uint32_t us = 0; us < ENABLE_WAIT_US; us += 100) {
        if ((inw(control) & CONTROL_OURS) != 0) {
            return true;
        }
        timer_wait_us(100);
    }
    return false;
}

static bool route(void)
{
    uint32_t apic_id = cpu_get(0)->apic_id;
    if (power.controller == 0 || power.controller % PAGE_SIZE != 0 ||
        apic_id > 255) {
        return false;
    }
    io_apic = arch_device_map(power.controller, PAGE_SIZE);
    if (io_apic == NULL || power.pin > (io_get(IO_VERSION) >> 16 & 0xff)) {
        return false;
    }
    io_set(IO_PINS + 2 * power.pin + 1, apic_id << 24);
    io_set(IO_PINS + 2 * power.pin, ARCH_VECTOR_POWER |
                                        (power.edge ? 0 : PIN_LEVEL) |
                                        (power.high ? 0 : PIN_LOW));
    return true;
}

void power_init(const struct acpi_power *p)
{
    power = *p;
    bool button = power.has_button && take_over() && route();
    if (button) {
        uint16_t half = power.event_len / 2;
        for (unsigned i = 0; i < 2; i++) {
            uint16_t port = power.event_port[i];
            if (port != 0) {
                outw(port, STATUS_BUTTON); /* forget an old press */
                outw((uint16_t)(port + half), i == 0 ? STATUS_BUTTON : 0);
            }
        }
    }
    log_line("power: %s, %s",
             button ? "the ACPI button ends the machine"
                    : "no ACPI button is usable",
             power.has_off ? "which can switch itself off"
                           : "which cannot switch itself off");
}

bool power_pressed(void)
{
    uint16_t port = power.event_port[0];
    if ((inw(port) & STATUS_BUTTON) != 0) {
        outw(port, STATUS_BUTTON);
        return true;
    }
    strays++;
    if (strays == STRAYS_MAX) {
        io_set(IO_PINS + 2 * power.pin, PIN_MASKED);
        log_line("power: interrupt %u has no cause; the button is off",
                 power.line);
    }
    return false;
}

void power_off(void)
{
    if (!power.has_off) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        uint16_t port = power.control_port[i];
        if (port != 0) {
            uint32_t v = inw(port) & ~(CONTROL_TYPE_MASK | CONTROL_SLEEP);
            v |= (uint32_t)power.sleep_type[i] << CONTROL_TYPE;
            outw(port, (uint16_t)(v | CONTROL_SLEEP));
        }
    }
}
