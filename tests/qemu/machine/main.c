/* SPDX-License-Identifier: MIT */
/*
 * A kernel without the portable half: the machine's own checks, as TAP. The
 * command line picks the test: none for all that must work, else a way to die
 * that must be reported well.
 */
#include "src/dev/dev.h"
#include "src/lib/format.h"
#include "src/lib/string.h"
#include "src/x86_64/apic.h"
#include "src/x86_64/smp.h"
#include "src/x86_64/trap.h"
#include "tests/qemu/machine/machine.h"

/* Is `b` the first word of `a`? */
static bool str_equal(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return *b == 0 && (*a == 0 || *a == ' ');
}

static unsigned tests_done, tests_failed;
static const struct boot_info *boot;
static uint64_t kalloc_next, kalloc_end;

void check(bool ok, const char *what)
{
    tests_done++;
    tests_failed += !ok;
    log_line("%s %u - %s", ok ? "ok" : "not ok", tests_done, what);
}

uint64_t page_kalloc(uint64_t count)
{
    uint64_t at = kalloc_next;
    if (count > kalloc_end - at) {
        return FRAME_NONE;
    }
    kalloc_next += count;
    memset(arch_frame_ptr(at), 0, count * PAGE_SIZE);
    return at;
}

void *page_kalloc_bytes(uint64_t bytes)
{
    uint64_t frame = page_kalloc(page_frames(bytes));
    return frame == FRAME_NONE ? NULL : arch_frame_ptr(frame);
}

void page_kfree(uint64_t frame, uint64_t count)
{
    (void)frame;
    (void)count;
}

void panic(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line_list(fmt, args);
    va_end(args);
    arch_backtrace();
    arch_halt(1);
}

static void take_memory(void)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < boot->rams; i++) {
        const struct boot_range *r = &boot->ram[i];
        if (r->end - r->start > best) {
            best = r->end - r->start;
            kalloc_next = r->start / PAGE_SIZE;
            kalloc_end = r->end / PAGE_SIZE;
        }
    }
}

static void check_boot_info(void)
{
    bool sorted = boot->rams > 0, modules = true;
    for (uint32_t i = 0; i < boot->rams; i++) {
        const struct boot_range *r = &boot->ram[i];
        sorted = sorted && r->start < r->end && r->start % PAGE_SIZE == 0 &&
                 r->end % PAGE_SIZE == 0 && r->end <= boot->top &&
                 (i == 0 || r[-1].end < r->start);
    }
    check(sorted, "free memory is sorted and disjoint");
    for (uint32_t i = 0; i < boot->modules; i++) {
        const struct boot_module *m = &boot->module[i];
        const char *text = arch_frame_ptr(m->at.start / PAGE_SIZE);
        uint64_t len = m->at.end - m->at.start;

        /* Each test module begins with its own name. */
        char want[64];
        format(want, sizeof(want), "module %s\n", m->name);
        modules = modules && m->at.start % PAGE_SIZE == 0 &&
                  len >= str_len(want) &&
                  memcmp(text, want, str_len(want)) == 0 &&
                  (len % PAGE_SIZE == 0 || text[len] == 0);
        for (uint32_t j = 0; j < boot->rams; j++) {
            modules = modules && (m->at.end <= boot->ram[j].start ||
                                  m->at.start >= boot->ram[j].end);
        }
    }
    check(modules, "modules are whole, on pages, outside free memory");
    check(boot->modules == 3, "three modules");
}

/* ------------------------------------------------- ways to end in a report */

/* Each call keeps its memory, so that the stack grows. */
static __attribute__((noinline)) uint64_t overflow(uint64_t depth)
{
    volatile uint64_t keep[64];
    keep[depth % 64] = depth;
    return depth == 0 ? 0 : overflow(depth - 1) + keep[depth % 64];
}

static void die(const char *how)
{
    extern const char kernel_text[], kernel_rodata[];
    if (str_equal(how, "die=overflow")) {
        log_line("%lu", overflow(1000000));
    } else if (str_equal(how, "die=null")) {
        *(volatile int *)(uintptr_t)8 = 1;
    } else if (str_equal(how, "die=text")) {
        *(volatile char *)(uintptr_t)kernel_text = 1;
    } else if (str_equal(how, "die=rodata")) {
        uint64_t paddr = (uint64_t)kernel_rodata - KERNEL_BASE;
        *(volatile char *)arch_frame_ptr(paddr / PAGE_SIZE) = 1;
    } else if (str_equal(how, "die=execute")) {
        ((void (*)(void))arch_frame_ptr(page_kalloc(1)))();
    } else if (str_equal(how, "die=panic")) {
        panic("as the test asked");
    }
    log_line("# still alive");
    arch_halt(2);
}

/* -------------------------------------------------------------- interrupts */

static volatile unsigned ticks, kicks[ARCH_CPUS_MAX];
volatile bool nmi_wanted;

struct frame *kern_trap(uint32_t vector, struct frame *f)
{
    if (vector == ARCH_VECTOR_TIMER) {
        ticks++;
    } else if (vector == ARCH_VECTOR_KICK) {
        kicks[arch_cpu()]++;
        if (nmi_wanted && arch_cpu() != 0) {
            nmi_wanted = false;
            apic_send(cpu_get(0)->apic_id, APIC_NMI);
        }
    } else if (vector >= ARCH_VECTOR_MSI_FIRST &&
               vector <= ARCH_VECTOR_MSI_LAST) {
        irq_dispatch(vector);
    }
    return f == NULL ? NULL : ring3_trap(vector, f);
}

void kern_console_end(void)
{
}

void kern_start(unsigned cpu)
{
    (void)cpu;
    for (;;) {
        arch_idle();
    }
}

static void check_timer(void)
{
    uint64_t start = arch_tsc(), ms = arch_tsc_khz();
    unsigned before = ticks;
    arch_timer_arm(start + 3 * ms);
    while (ticks == before) {
        arch_idle();
    }
    check(arch_tsc() - start >= 3 * ms, "the timer is not early");
    check(arch_tsc() - start < 100 * ms, "the timer is not very late");
    log_line("# timer: asked for 3000 us, took %lu us",
             (arch_tsc() - start) * 1000 / ms);
    check(arch_boot_unix() > 1600000000, "the clock chip knows the year");
}

static void check_kicks(void)
{
    bool all = true;
    for (unsigned i = 1; i < arch_cpu_count(); i++) {
        uint64_t end = arch_tsc() + 1000 * arch_tsc_khz();
        arch_cpu_kick(i);
        while (kicks[i] == 0 && arch_tsc() < end) {
            arch_pause();
        }
        all = all && kicks[i] > 0;
    }
    check(all, "every processor answers a kick");
    mmu_flush_kernel();
    check(true, "every processor forgets translations");
}

/* To oneself: it has come when the next instruction is done, or the one after
   a few. */
static void check_nmi(void)
{
    uint32_t before = trap_nmi_count();
    uint64_t end = arch_tsc() + 1000 * arch_tsc_khz();
    apic_send(cpu_self()->apic_id, APIC_NMI);
    while (trap_nmi_count() == before && arch_tsc() < end) {
        arch_pause();
    }
    check(trap_nmi_count() == before + 1,
          "an NMI from outside is counted, and the kernel goes on");
}

void kern_main(const struct boot_info *info)
{
    boot = info;
    take_memory();
    smp_release();
    if (info->cmdline[0] == 'd') {
        die(info->cmdline);
    }
    log_line("# boot took %lu us",
             (arch_tsc() - arch_boot_tsc()) * 1000 / arch_tsc_khz());
    check_boot_info();
    check_protection();
    check_timer();
    check_kicks();
    check_nmi();
    check_ring3();
    dev_probe();
    check_devices();
    log_line("1..%u", tests_done);
    log_line("# took %lu us in all",
             (arch_tsc() - arch_boot_tsc()) * 1000 / arch_tsc_khz());
    arch_halt(tests_failed == 0 ? 0 : 1);
}
