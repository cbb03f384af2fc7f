/* SPDX-License-Identifier: MIT */
/*
 * The PC around the processors: configuration space of PCI through ports,
 * message-signalled interrupts, the clock chip, the way out.
 * Source: PCI 3.0 s3.2.2.3.2; SDM 3A s11.11; MC146818 data sheet; QEMU
 * docs/specs (isa-debug-exit).
 */
#include "src/abi/err.h"
#include "src/arch.h"
#include "src/lib/log.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/power.h"
#include "src/x86_64/smp.h"
#include "src/x86_64/spin.h"
#include "src/x86_64/uart.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define MSI_ADDRESS 0xfee00000u
#define DEBUG_EXIT 0xf4
#define DEBUG_EXIT_OK 0x10u /* QEMU's status is 2n + 1: 33 */

static struct spin pci_lock;

static void pci_select(uint32_t bdf, uint32_t offset)
{
    outl(PCI_ADDRESS, 0x80000000u | (bdf & 0xffff) << 8 | (offset & 0xfc));
}

uint32_t arch_pci_read(uint32_t bdf, uint32_t offset)
{
    spin_lock(&pci_lock);
    pci_select(bdf, offset);
    uint32_t v = inl(PCI_DATA);
    spin_unlock(&pci_lock);
    return v;
}

void arch_pci_write(uint32_t bdf, uint32_t offset, uint32_t value)
{
    spin_lock(&pci_lock);
    pci_select(bdf, offset);
    outl(PCI_DATA, value);
    spin_unlock(&pci_lock);
}

/* A vector number is used on one processor only: kern/irq.c looks up by it.
   Only the first processor asks, at boot. */
int arch_msi_alloc(unsigned cpu, uint64_t *address, uint32_t *data)
{
    static uint32_t next = ARCH_VECTOR_MSI_FIRST;
    uint32_t apic_id = cpu_get(cpu)->apic_id;
    /* Larger ids would need interrupt remapping. */
    if (apic_id > 255 || next > ARCH_VECTOR_MSI_LAST) {
        return -E_LIMIT;
    }
    *address = MSI_ADDRESS | apic_id << 12;
    *data = next;
    return (int)next++;
}

static uint32_t rtc(uint8_t reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

struct rtc_time {
    uint32_t part[6]; /* second, minute, hour, day, month, year */
};

static struct rtc_time rtc_read(void)
{
    static const uint8_t reg[6] = {0, 2, 4, 7, 8, 9};
    /* An update takes 2 ms at most; a dead chip must not hold us. */
    for (unsigned i = 0; i < 10000 && (rtc(0x0a) & 0x80) != 0; i++) {
    }
    struct rtc_time t;
    for (unsigned i = 0; i < 6; i++) {
        t.part[i] = rtc(reg[i]);
    }
    return t;
}

/* Days from 1970 to a date of the Gregorian calendar, year from 2000 on. */
static uint64_t days(uint32_t year, uint32_t month, uint32_t day)
{
    static const uint16_t before[12] = {0,   31,  59,  90,  120, 151,
                                        181, 212, 243, 273, 304, 334};
    uint32_t y = year - 1;
    uint64_t leap_days = y / 4 - y / 100 + y / 400 - 477; /* to 1969 */
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return (uint64_t)(year - 1970) * 365 + leap_days + before[month - 1] +
           (leap && month > 2) + day - 1;
}

uint64_t arch_boot_unix(void)
{
    struct rtc_time again = rtc_read();
    uint32_t mode = rtc(0x0b);
    struct rtc_time t;
    do {
        t = again;
        again = rtc_read();
    } while (__builtin_memcmp(&t, &again, sizeof(t)) != 0);
    bool pm = (t.part[2] & 0x80) != 0;
    t.part[2] &= 0x7f;
    for (unsigned i = 0; i < 6 && (mode & 4) == 0; i++) { /* decimal digits */
        t.part[i] = (t.part[i] >> 4) * 10 + (t.part[i] & 15);
    }
    if ((mode & 2) == 0) { /* twelve hours */
        t.part[2] = t.part[2] % 12 + (pm ? 12 : 0);
    }
    if (t.part[4] < 1 || t.part[4] > 12) {
        return 0;
    }
    return days(2000 + t.part[5], t.part[4], t.part[3]) * 86400 +
           t.part[2] * 3600 + t.part[1] * 60 + t.part[0] -
           (arch_tsc() - arch_boot_tsc()) / (arch_tsc_khz() * 1000);
}

_Noreturn void arch_halt(uint32_t status)
{
    if (arch_cpu_count() > 1) {
        smp_stop_others();
    }
    kern_console_end();
    uart_drain();
    if (status != 0 && (status & 0x0f) == 0) {
        status = 0x0f; /* a failure stays one */
    }
    outb(DEBUG_EXIT, status == 0 ? DEBUG_EXIT_OK : status & 0x0f);
    /* Still here. What failed stays on the screen. */
    if (status == 0) {
        power_off();
    }
    log_line(status == 0 ? "halted; the machine can be switched off"
                         : "halted with status %u; what failed is above",
             status);
    for (;;) {
        hlt();
    }
}
