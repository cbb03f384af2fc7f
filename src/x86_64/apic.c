/* SPDX-License-Identifier: MIT */
/*
 * Local APIC. Interrupts are off whenever the kernel runs, so the two halves
 * of an xAPIC command cannot be torn apart.
 * Source: SDM 3A s11.4 (registers), s11.6 (commands), s11.12 (x2APIC).
 */
#include "src/x86_64/apic.h"
#include "src/abi/pte.h"
#include "src/arch.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/trap.h"

enum {
    APIC_EOI = 0xb0,
    APIC_SPURIOUS = 0xf0,
    APIC_COMMAND = 0x300,
    APIC_COMMAND_HIGH = 0x310,
    APIC_TIMER = 0x320,
    APIC_LINT0 = 0x350,
    APIC_LINT1 = 0x360,
    APIC_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};

#define SPURIOUS_ENABLE 0x100u
#define LVT_MASKED 0x10000u
#define LVT_NMI 0x400u
#define LVT_TSC_DEADLINE 0x40000u
#define DIVIDE_BY_1 0xbu
#define COMMAND_PENDING 0x1000u
#define BASE_ENABLE (1ull << 11)
#define BASE_X2 (1ull << 10)

static volatile uint32_t *registers; /* NULL: x2APIC */

static uint32_t get(unsigned offset)
{
    return registers != NULL ? registers[offset / 4]
                             : (uint32_t)rdmsr(MSR_X2APIC + offset / 16);
}

static void set(unsigned offset, uint32_t v)
{
    if (registers != NULL) {
        registers[offset / 4] = v;
    } else {
        wrmsr(MSR_X2APIC + offset / 16, v);
    }
}

/* The two 8259s: moved off the exceptions' vectors, then masked for good. */
static void pic_off(void)
{
    outb(0x20, 0x11);
    outb(0xa0, 0x11);
    outb(0x21, 0x20);
    outb(0xa1, 0x28);
    outb(0x21, 4);
    outb(0xa1, 2);
    outb(0x21, 1);
    outb(0xa1, 1);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

void apic_init(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);
    pic_off();
    if (!cpu_has.x2apic && (base & BASE_X2) == 0) {
        registers = arch_device_map(base & PTE_FRAME, PAGE_SIZE);
        if (registers == NULL) {
            panic("no room to map the local APIC");
        }
    }
}

void apic_enable(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE) | BASE_ENABLE;
    wrmsr(MSR_APIC_BASE, base);
    if (registers == NULL) {
        wrmsr(MSR_APIC_BASE, base | BASE_X2);
    }
    set(APIC_LINT0, LVT_MASKED);
    set(APIC_LINT1, LVT_NMI);
    set(APIC_ERROR, LVT_MASKED);
    set(APIC_TIMER, LVT_MASKED);
    set(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    set(APIC_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
}

void apic_end(void)
{
    set(APIC_EOI, 0);
}

void apic_send(uint32_t apic_id, uint32_t command)
{
    if (registers == NULL) {
        /* Not a serialising write, so what we stored must be seen first. */
        store_fence();
        wrmsr(MSR_X2APIC + APIC_COMMAND / 16,
              (uint64_t)apic_id << 32 | command);
        return;
    }
    set(APIC_COMMAND_HIGH, apic_id << 24);
    set(APIC_COMMAND, command);
    while ((get(APIC_COMMAND) & COMMAND_PENDING) != 0) {
        cpu_relax();
    }
}

void apic_timer_enable(void)
{
    uint32_t mode = cpu_has.tsc_deadline ? LVT_TSC_DEADLINE : 0;
    set(APIC_TIMER, ARCH_VECTOR_TIMER | mode);
    /* The switch of modes must be seen before the first deadline. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void apic_timer_set(uint32_t count)
{
    set(APIC_TIMER_INITIAL, count);
}

uint32_t apic_timer_left(void)
{
    return get(APIC_TIMER_CURRENT);
}
