/* SPDX-License-Identifier: MIT */
/*
 * The kernel's address space as it is: every entry of the upper half is read,
 * and what must not be together is not.
 */
#include "src/x86_64/insn.h"
#include "src/x86_64/leak.h"
#include "src/x86_64/trap.h"
#include "tests/qemu/machine/machine.h"

extern const char kernel_text[], kernel_text_end[], kernel_rodata[],
    kernel_rodata_end[], kernel_end[];

static unsigned pages, bad;

static void visit(uint64_t entry, bool writable, bool executable,
                  unsigned level)
{
    const uint64_t *t = arch_frame_ptr((entry & PTE_FRAME) >> PAGE_SHIFT);
    for (unsigned i = 0; i < 512; i++) {
        bool w = writable && (t[i] & PTE_W) != 0;
        bool x = executable && (t[i] & PTE_NX) == 0;
        if ((t[i] & PTE_P) == 0) {
            continue;
        }
        if (level > 0 && (t[i] & PTE_PS) == 0) {
            visit(t[i], w, x, level - 1);
        } else {
            pages++;
            bad += (w && x) || (t[i] & PTE_U) != 0;
        }
    }
}

/* Every page of [start, end) has these bits of PTE_W | PTE_NX. */
static bool range_is(uint64_t start, uint64_t end, uint64_t bits)
{
    for (uint64_t va = start; va < end; va += PAGE_SIZE) {
        uint64_t e = mmu_entry(va);
        if (e == 0 || (e & (PTE_W | PTE_NX)) != bits) {
            return false;
        }
    }
    return true;
}

static uint64_t alias(const char *p)
{
    return (uint64_t)p - KERNEL_BASE + ARCH_DIRECT_MAP;
}

/* How many of the pages in [start, end) ring 3's tables have. */
static unsigned shown(uint64_t start, uint64_t end)
{
    unsigned n = 0;
    for (uint64_t va = start; va < end; va += PAGE_SIZE) {
        uint64_t e = mmu_context_entry(va);
        n += e != 0;
        bad += e != 0 && ((e & (PTE_U | PTE_G)) != 0 ||
                          (e & PTE_FRAME) != (mmu_entry(va) & PTE_FRAME));
    }
    return n;
}

static void check_contexts(void)
{
    extern const char entry_text[], entry_text_end[], entry_data[],
        entry_data_end[];
    const struct core *cpu = cpu_self();
    uint64_t text = (uint64_t)entry_text, data = (uint64_t)entry_data;
    uint64_t text_end = (uint64_t)entry_text_end;
    uint64_t data_end = (uint64_t)entry_data_end;
    uint64_t stack = cpu->stack_top - STACK_PAGES * PAGE_SIZE;

    if (!leak.kpti) {
        check(mmu_context_entry(ARCH_DIRECT_MAP) == mmu_entry(ARCH_DIRECT_MAP),
              "ring 3's tables have the kernel, closed to it");
        return;
    }
    bad = 0;
    check(shown(text, text_end) == (text_end - text) / PAGE_SIZE &&
              shown(data, data_end) == (data_end - data) / PAGE_SIZE &&
              shown(cpu->entry_stack - PAGE_SIZE, cpu->entry_stack) == 1,
          "ring 3's tables have the way in");
    check(shown((uint64_t)kernel_text, text) +
                  shown(text_end, (uint64_t)kernel_rodata_end) +
                  shown((uint64_t)kernel_rodata_end, data) +
                  shown(data_end, (uint64_t)kernel_end) +
                  shown(stack, cpu->stack_top) ==
              0,
          "and no other text, constants, data or stack");
    check(mmu_context_entry(ARCH_DIRECT_MAP) == 0 &&
              mmu_context_entry(ARCH_DIRECT_MAP + (1 << 21)) == 0 &&
              mmu_context_entry(DEVICE_BASE) == 0 &&
              mmu_context_entry(CODE_BASE) == 0,
          "nor memory, devices or filters");
    check(bad == 0 && (read_cr4() & CR4_PGE) == 0, "nothing is global");
}

static void check_code(void)
{
    /* mov $1234, %eax; ret */
    static const uint8_t code[] = {0xb8, 0xd2, 0x04, 0, 0, 0xc3};
    uint64_t frame = page_kalloc(2);
    uint8_t *direct = arch_frame_ptr(frame);
    uint8_t *rx = arch_code_map(frame, 2);

    check(rx != NULL && (mmu_entry((uint64_t)rx) & (PTE_W | PTE_NX)) == 0,
          "code memory runs and is read-only");
    check((mmu_entry((uint64_t)direct) & PTE_W) == 0 &&
              (mmu_entry((uint64_t)direct + 4096) & PTE_W) == 0 &&
              (mmu_entry((uint64_t)direct + 8192) & PTE_W) != 0,
          "its frames, and no others, are read-only in the direct map");
    if (rx == NULL) {
        return;
    }
    uint8_t *rw = arch_code_open(rx + 4090, sizeof(code));
    __builtin_memcpy(rw, code, sizeof(code));
    arch_code_seal(rx + 4090, rw, sizeof(code));
    check(((int (*)(void))(uintptr_t)(rx + 4090))() == 1234,
          "code written through the window runs");
    check(mmu_entry((uint64_t)rw) == 0 && mmu_entry((uint64_t)rw + 6) == 0,
          "the window is closed");
    arch_code_unmap(rx, 2);
    check(mmu_entry((uint64_t)rx) == 0 &&
              (mmu_entry((uint64_t)direct) & PTE_W) != 0,
          "unmapped code is memory again");
}

void check_protection(void)
{
    const struct core *cpu = cpu_self();
    visit(mmu_root(), true, true, 3);
    log_line("# %u kernel mappings", pages);
    check(pages > 0 && bad == 0,
          "no mapping is writable and executable, or open to ring 3");
    check(range_is((uint64_t)kernel_text, (uint64_t)kernel_text_end, 0),
          "text is RX");
    check(
        range_is((uint64_t)kernel_rodata, (uint64_t)kernel_rodata_end, PTE_NX),
        "constants are R");
    check(range_is((uint64_t)kernel_rodata_end, (uint64_t)kernel_end,
                   PTE_W | PTE_NX),
          "data is RW");
    check(range_is(alias(kernel_text), alias(kernel_text_end), PTE_NX) &&
              range_is(alias(kernel_rodata), alias(kernel_rodata_end), PTE_NX),
          "text and constants are read-only in the direct map");
    check(mmu_entry(0) == 0 && mmu_entry(0x100000) == 0,
          "the lower half is empty");
    check(mmu_is_guard(cpu->stack_top - STACK_PAGES * PAGE_SIZE - 1) &&
              mmu_is_guard(cpu->stack_top),
          "guard pages around the kernel stack");
    check((read_cr4() & CR4_SMEP) != 0 == cpu_has.smep &&
              (read_cr4() & CR4_SMAP) != 0 == cpu_has.smap &&
              (read_cr4() & CR4_UMIP) != 0 == cpu_has.umip,
          "SMEP, SMAP and UMIP are on where present");
    check_contexts();
    check_code();
}
