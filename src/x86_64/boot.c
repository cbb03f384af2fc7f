/* SPDX-License-Identifier: MIT */
/*
 * From the loader to kern_main: read what the loader left, lay out memory,
 * build the final address space, start the processors. Until mmu_init the
 * early tables of boot.S map the first 4 GiB, so loader's and firmware's
 * tables must lie there; they are copied before any memory is given away.
 */
#include "src/abi/pte.h"
#include "src/lib/log.h"
#include "src/lib/string.h"
#include "src/x86_64/apic.h"
#include "src/x86_64/asm.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/handover.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/leak.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/power.h"
#include "src/x86_64/smp.h"
#include "src/x86_64/timer.h"
#include "src/x86_64/trap.h"
#include "src/x86_64/uart.h"

#define EARLY_TOP (1ull << 32)

extern const char kernel_image[], kernel_end[];
extern char boot_stack[];
#define BOOT_STACK_SIZE 16384u

static struct handover handover;
static struct boot_info info;
static uint16_t pm_port;
static struct acpi_power power;

_Noreturn void boot_machine(uint32_t magic, uint64_t loader_info);
_Noreturn void entry_switch_stack(void (*run)(void *), void *arg,
                                  uint64_t stack_top);

static const void *early_read(uint64_t paddr, uint64_t len)
{
    if (paddr >= EARLY_TOP || len > EARLY_TOP - paddr) {
        return NULL;
    }
    return (const void *)(ARCH_DIRECT_MAP + paddr);
}

static _Noreturn void refuse(const char *what, const char *why)
{
    log_line("boot: %s: %s", what, why);
    arch_halt(1);
}

/* Zeroed frames from the end of the largest range the early tables map. */
static uint64_t boot_alloc(uint64_t count)
{
    uint64_t bytes = count << PAGE_SHIFT, size = 0;
    const struct boot_range *best = NULL;
    for (uint32_t i = 0; i < info.rams; i++) {
        const struct boot_range *r = &info.ram[i];
        if (r->end <= EARLY_TOP && r->end - r->start > size) {
            best = r;
            size = r->end - r->start;
        }
    }
    if (best == NULL || size < bytes) {
        return FRAME_NONE;
    }
    uint64_t at = best->end - bytes;
    ranges_remove(info.ram, &info.rams, (struct boot_range){at, best->end});
    memset(arch_frame_ptr(at >> PAGE_SHIFT), 0, bytes);
    return at >> PAGE_SHIFT;
}

static void read_handover(uint32_t magic, uint64_t loader_info)
{
    struct boot_range kernel = {(uint64_t)kernel_image - KERNEL_BASE,
                                (uint64_t)kernel_end - KERNEL_BASE};
    const char *wrong = "neither multiboot2 nor PVH";
    if (magic == MAGIC_PVH) {
        wrong = pvh_parse(early_read, loader_info, &handover);
    } else if (magic == MAGIC_MULTIBOOT2) {
        wrong = multiboot2_parse(early_read, loader_info, &handover);
    }
    if (wrong == NULL) {
        wrong = handover_layout(&handover, &kernel, &info);
    }
    if (wrong != NULL) {
        refuse(magic == MAGIC_PVH ? "PVH" : "multiboot2", wrong);
    }
}

static uint32_t own_apic_id(void)
{
    bool wide = cpuid(0, 0).a >= 11 && cpuid(11, 0).b != 0;
    return wide ? cpuid(11, 0).d : cpuid(1, 0).b >> 24;
}

static void read_firmware(void)
{
    static struct acpi_facts facts;
    uint64_t rsdp = handover.rsdp != 0 ? handover.rsdp : acpi_find(early_read);
    const char *wrong = acpi_parse(early_read, rsdp, &facts);
    if (wrong != NULL) {
        log_line("firmware: %s; going on with one processor", wrong);
    }
    pm_port = facts.pm_port;
    power = facts.power;
    for (uint32_t i = 0; i < facts.cpus; i++) {
        if (facts.apic_id[i] != cpu_get(0)->apic_id &&
            !cpu_add(facts.apic_id[i])) {
            facts.ignored++;
        }
    }
    if (facts.ignored > 0) {
        log_line("processors: %u more than the %u this kernel is built for",
                 facts.ignored, ARCH_CPUS_MAX);
    }
}

/* A module on pages of its own, zeros after its end. */
static void copy_module(const void *data, uint64_t bytes, const char *name)
{
    if (info.modules == BOOT_MODULES_MAX || bytes == 0) {
        refuse(name, bytes == 0 ? "an empty boot module"
                                : "more boot modules than 16");
    }
    uint64_t frame = boot_alloc(page_frames(bytes));
    if (frame == FRAME_NONE) {
        refuse(name, "no memory for this boot module");
    }
    memcpy(arch_frame_ptr(frame), data, bytes);
    struct boot_module *m = &info.module[info.modules++];
    m->at.start = frame << PAGE_SHIFT;
    m->at.end = m->at.start + bytes;
    str_copy(m->name, sizeof(m->name), name);
}

static void unpack(const uint8_t *archive, uint64_t len)
{
    uint64_t at = 0;
    int more;
    struct ustar_member member;
    while ((more = ustar_next(archive, len, &at, &member)) > 0) {
        copy_module(member.data, member.bytes, member.name);
    }
    if (more < 0) {
        refuse("boot modules", "the archive is damaged; make it with "
                               "tar --format=ustar");
    }
}

/* Archives become their members; every module starts on a page. */
static void place_modules(void)
{
    for (uint32_t i = 0; i < handover.modules; i++) {
        struct boot_range at = handover.module[i].at;
        uint64_t len = at.end - at.start;
        const uint8_t *data = early_read(at.start, len);
        if (data == NULL) {
            refuse(handover.module[i].name, "this boot module is above 4 GiB");
        }
        if (ustar_is(data, len)) {
            unpack(data, len);
        } else {
            copy_module(data, len, handover.module[i].name);
        }
    }
    handover_modules_free(&handover, &info);
}

static void report(void)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < info.rams; i++) {
        bytes += info.ram[i].end - info.ram[i].start;
    }
    log_line("memory: %lu MiB free in %u ranges, top %lu MiB", bytes >> 20,
             info.rams, info.top >> 20);
    for (uint32_t i = 0; i < info.modules; i++) {
        const struct boot_module *m = &info.module[i];
        log_line("module: %s, %lu bytes", m->name, m->at.end - m->at.start);
    }
}

/* They wake in a page of low memory, which must be there to be written. */
static void start_others(void)
{
    const struct boot_range page = {TRAMPOLINE_PADDR,
                                    TRAMPOLINE_PADDR + PAGE_SIZE};
    if (handover_usable(&handover, page)) {
        smp_start();
    } else {
        log_line("processors: 1; others would wake at %x, which the loader "
                 "does not call free memory",
                 TRAMPOLINE_PADDR);
    }
}

/* On the boot processor's own stack, in the final address space. */
static void machine_start(void *unused)
{
    (void)unused;
    apic_init();
    apic_enable();
    timer_init(pm_port);
    apic_timer_enable();
    power_init(&power);
    start_others();
    report();
    mmu_frames_from(page_kalloc);
    kern_main(&info);
}

void boot_machine(uint32_t magic, uint64_t loader_info)
{
    struct core *cpu = cpu_get(0);
    uint64_t top = (uint64_t)boot_stack + BOOT_STACK_SIZE;
    const uint64_t early[STACKS] = {top, top - 4096, top - 8192, top - 12288,
                                    top};
    uart_init();
    log_to(arch_console_write);
    log_line("Pavise");
    cpu_detect();
    (void)cpu_add(own_apic_id());
    trap_init();
    cpu_stacks(cpu, early);
    cpu_init(cpu);
    read_handover(magic, loader_info);
    read_firmware();
    place_modules();
    leak_init(info.cmdline);
    mmu_frames_from(boot_alloc);
    mmu_init(handover.ram, handover.rams);
    cpu->root = mmu_root();
    cpu->online = true;
    if (!mmu_stacks(cpu)) {
        refuse("memory", "none for the first stacks");
    }
    trap_init(); /* again, since leak_init and with the final stacks */
    cpu_init(cpu);
    entry_switch_stack(machine_start, NULL, cpu->stack_top);
}
