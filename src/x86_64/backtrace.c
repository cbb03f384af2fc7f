/* SPDX-License-Identifier: MIT */
/*
 * The chain of frame pointers. Every step is checked against the page tables
 * first, since the broken thing may be the stack itself.
 */
#include "src/x86_64/backtrace.h"
#include "src/arch.h"
#include "src/lib/log.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/smp.h"

#define DEPTH_MAX 32u

/* scripts/symtab: sorted; offsets from kernel_text and into the names. */
struct symbol {
    uint32_t at, name;
};
extern const struct symbol symbol_table[];
extern const uint32_t symbol_count;
extern const char symbol_names[];
extern const char kernel_text[], kernel_text_end[];

static void print_place(uint64_t rip)
{
    uint32_t offset = (uint32_t)(rip - (uint64_t)kernel_text);
    uint32_t lo = 0, hi = symbol_count;
    if (rip < (uint64_t)kernel_text || rip >= (uint64_t)kernel_text_end) {
        log_line("  %016lx outside the kernel's text", rip);
        return;
    }
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (symbol_table[mid].at <= offset) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    if (symbol_count == 0 || symbol_table[lo].at > offset) {
        log_line("  %016lx", rip);
    } else {
        log_line("  %016lx %s+0x%x", rip, symbol_names + symbol_table[lo].name,
                 offset - symbol_table[lo].at);
    }
}

void backtrace_from(uint64_t rip, uint64_t rbp)
{
    log_line("called from:");
    print_place(rip);
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        const uint64_t *frame = (const uint64_t *)rbp;
        if (rbp % 8 != 0 || rbp < ARCH_DIRECT_MAP || mmu_entry(rbp) == 0 ||
            mmu_entry(rbp + 8) == 0 || frame[1] == 0) {
            return;
        }
        print_place(frame[1] - 1); /* the call, not what follows it */
        if (frame[0] <= rbp) {
            return;
        }
        rbp = frame[0];
    }
}

void arch_backtrace(void)
{
    const uint64_t *frame = __builtin_frame_address(0);
    if (arch_cpu_count() > 1) {
        smp_stop_others();
    }
    backtrace_from(frame[1] - 1, frame[0]);
}
