/* SPDX-License-Identifier: MIT */
/*
 * Time. A measured rate must not depend on this machine being undisturbed: a
 * virtual processor may stand still for milliseconds between two
 * instructions. So each end of the measurement is the tightest of several
 * samples (counter before, clock, counter after).
 * Source: SDM 3B s17.17; ACPI 6.4 s4.8.3.3; Intel 8254 data sheet; MC146818
 * data sheet; CPUID leaf 0x40000010 as KVM and VMware give it.
 */
#include "src/x86_64/timer.h"
#include "src/arch.h"
#include "src/lib/log.h"
#include "src/x86_64/apic.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"

#define TIMER_MEASURE_US 5000u
#define SAMPLES 8u
#define PM_HZ 3579545u
#define PM_MASK 0xffffffu
#define PIT_HZ 1193182u
#define PIT_MASK 0xffffu

struct clock {
    uint32_t (*read)(void);
    uint32_t mask, hz;
};

struct sample {
    uint64_t tsc;
    uint32_t clock, apic;
};

extern uint64_t boot_tsc;

static uint64_t tsc_khz, apic_khz;
static uint16_t pm_timer_port;

static uint32_t read_pm(void)
{
    return inl(pm_timer_port) & PM_MASK;
}

/* Counter 2 counts down; the others belong to the old world. */
static uint32_t read_pit(void)
{
    outb(0x43, 0x80); /* latch */
    uint32_t lo = inb(0x42);
    return ~(lo | (uint32_t)inb(0x42) << 8) & PIT_MASK;
}

static void start_pit(void)
{
    outb(0x61, (inb(0x61) & 0xfc) | 1); /* gate on, speaker off */
    outb(0x43, 0xb4);                   /* counter 2, rate generator */
    outb(0x42, 0);
    outb(0x42, 0);
}

static struct sample take(const struct clock *clock)
{
    struct sample best = {0};
    uint64_t tightest = UINT64_MAX;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t before = rdtsc();
        uint32_t c = clock->read();
        uint32_t a = apic_timer_left();
        uint64_t after = rdtsc();
        if (after - before < tightest) {
            tightest = after - before;
            best = (struct sample){before + (after - before) / 2, c, a};
        }
    }
    return best;
}

static void measure(const struct clock *clock)
{
    uint32_t want =
        (uint32_t)((uint64_t)clock->hz * TIMER_MEASURE_US / 1000000);
    apic_timer_set(UINT32_MAX);
    const struct sample a = take(clock);
    /* A second or so: the clock is dead. */
    uint64_t give_up = rdtsc() + (1ull << 32);
    while (((clock->read() - a.clock) & clock->mask) < want &&
           rdtsc() < give_up) {
        cpu_relax();
    }
    const struct sample b = take(clock);
    apic_timer_set(0);
    uint64_t ticks = (b.clock - a.clock) & clock->mask;
    if (ticks < want) {
        panic("no clock to measure the timestamp counter with");
    }
    tsc_khz = (b.tsc - a.tsc) * clock->hz / ticks / 1000;
    apic_khz = (uint64_t)(a.apic - b.apic) * clock->hz / ticks / 1000;
}

/* Rates that CPUID states; zero where it does not. */
static void ask_cpuid(void)
{
    if (cpuid(0, 0).a >= 0x15) {
        struct cpuid r = cpuid(0x15, 0);
        if (r.a != 0 && r.b != 0 && r.c != 0) {
            tsc_khz = (uint64_t)r.c * r.b / r.a / 1000;
            apic_khz = r.c / 1000;
        }
    }
    if ((cpuid(1, 0).c >> 31 & 1) != 0 &&
        cpuid(0x40000000, 0).a >= 0x40000010) {
        struct cpuid r = cpuid(0x40000010, 0);
        if (r.a != 0 && r.b != 0) {
            tsc_khz = r.a;
            apic_khz = r.b;
        }
    }
}

void timer_init(uint16_t pm_port)
{
    const char *from = "CPUID";
    ask_cpuid();
    if (tsc_khz == 0) {
        static const struct clock pm = {read_pm, PM_MASK, PM_HZ},
                                  pit = {read_pit, PIT_MASK, PIT_HZ};
        pm_timer_port = pm_port;
        if (pm_port == 0) {
            start_pit();
        }
        measure(pm_port != 0 ? &pm : &pit);
        from = pm_port != 0 ? "ACPI timer" : "PIT";
    }
    log_line("time: TSC %lu.%03lu MHz by %s", tsc_khz / 1000, tsc_khz % 1000,
             from);
}

void timer_wait_us(uint64_t us)
{
    uint64_t end = rdtsc() + us * tsc_khz / 1000;
    while (rdtsc() < end) {
        arch_pause();
    }
}

void arch_timer_arm(uint64_t tsc)
{
    if (cpu_has.tsc_deadline) {
        wrmsr(MSR_TSC_DEADLINE, tsc == 0 ? 1 : tsc);
        return;
    }
    uint64_t now = rdtsc();
    uint64_t left = tsc > now ? tsc - now : 0;
    /*
     * A deadline beyond a minute rings early: the kernel compares the time and
     * arms the timer again.
     */
    uint64_t most = tsc_khz * 60000;
    uint64_t count = (left < most ? left : most) * apic_khz / tsc_khz + 1;
    apic_timer_set(count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
}

uint64_t arch_tsc_khz(void)
{
    return tsc_khz;
}

uint64_t arch_boot_tsc(void)
{
    return boot_tsc;
}
