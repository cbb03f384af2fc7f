/* SPDX-License-Identifier: MIT */
/*
 * Other processors: woken one after the other into trampoline.S, which brings
 * them to ap_start on their own stacks. Until released they halt; the only
 * interrupt that concerns them is a request to forget translations.
 * Source: SDM 3A s9.4 (INIT and start-up messages).
 */
#include "src/x86_64/smp.h"
#include "src/lib/log.h"
#include "src/lib/string.h"
#include "src/x86_64/apic.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/timer.h"
#include "src/x86_64/trap.h"

#define START_WAIT_US 200000u
#define START_AGAIN_US 2000u

/* trampoline.S */
extern const char trampoline[], trampoline_end[];
extern uint64_t ap_stack;
extern struct core *ap_cpu;
/* boot.S: seven pages, which allow everything */
extern char early_pml4[];
#define EARLY_BYTES (7u * 4096u)

static unsigned online = 1;
static bool released, stopping;

_Noreturn void ap_start(struct core *cpu);

void ap_start(struct core *cpu)
{
    cpu_init(cpu);
    cpu->root = mmu_root();
    apic_enable();
    apic_timer_enable();
    cpu->idle = true;
    __atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&released, __ATOMIC_ACQUIRE)) {
        sti_hlt_cli();
    }
    cpu->idle = false;
    kern_start(cpu->index);
}

static bool start_one(struct core *cpu)
{
    ap_stack = cpu->stack_top;
    __atomic_store_n(&ap_cpu, cpu, __ATOMIC_RELEASE);
    apic_send(cpu->apic_id, APIC_INIT);
    timer_wait_us(10);
    apic_send(cpu->apic_id, APIC_STARTUP | TRAMPOLINE_PADDR >> 12);
    for (unsigned waited = 0; waited < START_WAIT_US; waited += 10) {
        if (__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE)) {
            return true;
        }
        if (waited == START_AGAIN_US) {
            apic_send(cpu->apic_id, APIC_STARTUP | TRAMPOLINE_PADDR >> 12);
        }
        timer_wait_us(10);
    }
    return false;
}

void smp_start(void)
{
    memcpy((void *)(ARCH_DIRECT_MAP + TRAMPOLINE_PADDR), trampoline,
           (size_t)(trampoline_end - trampoline));
    for (unsigned i = 1; i < cpus_known(); i++) {
        struct core *cpu = cpu_get(i);
        if (!mmu_stacks(cpu)) {
            log_line("processors: no memory for more than %u", i);
            break;
        }
        if (!start_one(cpu)) {
            /*
             * It may come late and run on, so no processor after it is
             * started.
             */
            log_line("processors: APIC id %u does not start; going on with %u",
                     cpu->apic_id, i);
            break;
        }
        online++;
    }
    if (online == cpus_known()) {
        memset(early_pml4, 0, EARLY_BYTES);
    }
    log_line("processors: %u", online);
}

void smp_release(void)
{
    __atomic_store_n(&released, true, __ATOMIC_RELEASE);
    for (unsigned i = 1; i < online; i++) {
        apic_send(cpu_get(i)->apic_id, APIC_FIXED | VECTOR_FLUSH);
    }
}

unsigned arch_cpu_count(void)
{
    return online;
}

unsigned arch_cpu_id(unsigned cpu)
{
    return cpu_get(cpu)->apic_id;
}

void arch_cpu_kick(unsigned cpu)
{
    apic_send(cpu_get(cpu)->apic_id, APIC_FIXED | ARCH_VECTOR_KICK);
}

void arch_idle(void)
{
    struct core *self = cpu_self();
    self->idle = true;
    sti_hlt_cli();
    self->idle = false;
}

void arch_breathe(void)
{
    struct core *self = cpu_self();
    self->idle = true;
    sti_pause_cli();
    self->idle = false;
}

bool smp_stopping(void)
{
    return __atomic_load_n(&stopping, __ATOMIC_ACQUIRE);
}

void smp_stop_others(void)
{
    static unsigned owner = ARCH_CPUS_MAX;
    if (__atomic_exchange_n(&stopping, true, __ATOMIC_SEQ_CST)) {
        /* Twice on one processor: the report itself failed; go on. */
        while (__atomic_load_n(&owner, __ATOMIC_ACQUIRE) != arch_cpu()) {
            hlt();
        }
        return;
    }
    __atomic_store_n(&owner, arch_cpu(), __ATOMIC_RELEASE);
    for (unsigned i = 0; i < online; i++) {
        if (i != arch_cpu()) {
            apic_send(cpu_get(i)->apic_id, APIC_NMI);
        }
    }
}
