/* SPDX-License-Identifier: MIT */
/*
 * Into ring 3 and back, in every way there is: system call, timer, page
 * fault, privileged instruction. The program below loops over the ways; the
 * kernel's side judges each frame and ends it after the last.
 */
#include "src/lib/string.h"
#include "src/x86_64/trap.h"
#include "tests/qemu/machine/machine.h"

#define CODE_VA 0x400000ull
#define STACK_VA 0x600000ull
#define STACK_TOP (STACK_VA + PAGE_SIZE)

extern const char ring3_code[], ring3_code_end[];
extern uint64_t ring3_save[8];
void ring3_leave(void);
void ring3_enter(const struct frame *f);

static uint64_t root;
static unsigned step;

static void map(uint64_t va, uint64_t frame, uint64_t flags)
{
    uint64_t *t = arch_frame_ptr(root);
    for (unsigned level = 3; level > 0; level--) {
        uint64_t *e = &t[va >> (12 + 9 * level) & 511];
        if (*e == 0) {
            *e = page_kalloc(1) << PAGE_SHIFT | PTE_P | PTE_W | PTE_U;
        }
        t = arch_frame_ptr((*e & PTE_FRAME) >> PAGE_SHIFT);
    }
    t[va >> 12 & 511] = frame << PAGE_SHIFT | PTE_P | PTE_U | flags;
}

/* What each entry from ring 3 must look like; in order. */
static const struct {
    uint32_t vector;
    const char *what;
} expected[] = {
    {ARCH_VECTOR_SYSCALL, "a system call keeps rdi, rsi and rip"},
    {ARCH_VECTOR_SYSCALL, "its result comes back in rax, by sysret"},
    {ARCH_VECTOR_TIMER, "the timer and NMIs interrupt a loop"},
    {ARCH_VECTOR_SYSCALL, "after it all registers are as they were"},
    {14, "a page fault tells its address"},
    {14, "the exposed page tables cannot be written"},
    {ARCH_VECTOR_SYSCALL, "and can be read"},
    {13, "hlt is refused"},
    {14, "kernel memory cannot be read"},
    {3, "int3 is a breakpoint"},
    {13, "int 0x80 is refused"},
    {6, "an invalid opcode"},
};
#define STEPS (sizeof(expected) / sizeof(expected[0]))

static bool frame_ok(const struct frame *f)
{
    const uint64_t *top = arch_frame_ptr(root);
    switch (step) {
    case 0:
        return f->rdi == 0x1111 && f->rsi == 0x2222 && f->rax == 0x1000 &&
               f->rip > CODE_VA && f->rip < CODE_VA + PAGE_SIZE &&
               f->rsp == STACK_TOP - 8 && (f->rflags & 1) != 0;
    case 1:
        return f->rdi == 0x7777 && f->r15 == 0x1515 && f->rbx == 0xbbbb;
    case 2:
        return f->rcx == 0xcccc && f->r11 == 0x1b1b;
    case 3:
        return f->rdi == 0xcccc && f->rsi == 0x1b1b && f->rax == 0xaaaa;
    case 4:
        return f->address == 0x123456789 && (f->error & 7) == 4;
    case 5:
        return f->address == 0x7fbfdfeff000 && (f->error & 7) == 7;
    case 6:
        return (f->rdi & PTE_FRAME) == (top[0] & PTE_FRAME);
    case 8:
        return f->address == ARCH_DIRECT_MAP;
    default:
        return true;
    }
}

/* While it loops, another processor sends NMIs: are some still to come? */
static bool nmis_left(uint32_t want)
{
    static uint32_t first = UINT32_MAX;
    uint32_t seen = trap_nmi_count();
    first = seen < first ? seen : first;
    if (seen - first < want && !nmi_wanted) {
        nmi_wanted = true;
        arch_cpu_kick(1);
    }
    return seen - first < want;
}

struct frame *ring3_trap(uint32_t vector, struct frame *f)
{
    bool fault = vector < 32 && vector != 3;
    if (vector >= ARCH_VECTOR_MSI_FIRST && vector <= ARCH_VECTOR_KICK &&
        vector != ARCH_VECTOR_TIMER) {
        return f;
    }
    if (vector == ARCH_VECTOR_TIMER && step != 2) {
        return f;
    }
    if (vector == ARCH_VECTOR_TIMER &&
        (f->r11 != 0x1b1b || nmis_left(arch_cpu_count() > 1 ? 3 : 0))) {
        arch_timer_arm(arch_tsc() + arch_tsc_khz()); /* not in the loop yet */
        return f;
    }
    check(vector == expected[step].vector && frame_ok(f), expected[step].what);
    if (vector != expected[step].vector) {
        log_line("# vector %u at %lx, step %u", vector, f->rip, step);
        ring3_leave();
    }
    f->rax = 0x7777;
    if (step == 1) {
        arch_timer_arm(arch_tsc() + arch_tsc_khz());
    }
    if (step == 2) {
        f->rax = 0xaaaa;
        f->rip += 2; /* out of the loop: jmp to itself */
    }
    if (fault) {
        f->rip = f->rbp; /* the program says where to go on */
    }
    if (++step == STEPS) {
        ring3_leave();
    }
    return f;
}

void check_ring3(void)
{
    uint64_t code = page_kalloc(1), stack = page_kalloc(1);
    root = page_kalloc(1);
    arch_aspace_init(root);
    memcpy(arch_frame_ptr(code), ring3_code,
           (size_t)(ring3_code_end - ring3_code));
    map(CODE_VA, code, 0);
    map(STACK_VA, stack, PTE_W | PTE_NX);
    arch_aspace_load(root);
    struct frame f;
    arch_frame_init(&f, CODE_VA, STACK_TOP);
    check(arch_frame_sanitize(&f), "a plain frame is good");
    f.rip = 0x800000000000;
    check(!arch_frame_sanitize(&f), "a frame above the lower half is not");
    f.rip = CODE_VA;
    f.rflags |= 0x3000 | 0x4000; /* IOPL, NT */
    f.cs = 8;
    (void)arch_frame_sanitize(&f);
    check(f.cs == 0x2b && (f.rflags & 0x7000) == 0,
          "a sanitized frame has ring 3's selectors and flags");
    ring3_enter(&f);
    check(step == STEPS, "all ways into the kernel were tried");
    arch_tlb_flush(root, CODE_VA, 1);
    arch_aspace_load(0);
}
