/* SPDX-License-Identifier: MIT */
/*
 * Descriptor tables, system-call registers and protection bits of one
 * processor. Source: SDM 3A s2.5, s3.4, s5.8.8.
 */
#include "src/x86_64/cpu.h"
#include "src/lib/log.h"
#include "src/lib/string.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/leak.h"
#include "src/x86_64/mmu.h"
#include "src/x86_64/trap.h"

_Static_assert(offsetof(struct core, stack_top) == CPU_STACK, "asm.h");
_Static_assert(offsetof(struct core, user_rsp) == CPU_USER_RSP, "asm.h");
_Static_assert(offsetof(struct core, kernel_cr3) == CPU_KERNEL_CR3, "asm.h");
_Static_assert(offsetof(struct core, user_cr3) == CPU_USER_CR3, "asm.h");
_Static_assert(offsetof(struct core, entry_stack) == CPU_ENTRY_STACK, "asm.h");
_Static_assert(offsetof(struct frame, rax) == FRAME_RAX, "asm.h");
_Static_assert(offsetof(struct frame, ss) == FRAME_SS, "asm.h");
_Static_assert(offsetof(struct frame, address) == FRAME_ADDRESS, "asm.h");
_Static_assert(offsetof(struct frame, vector) == FRAME_VECTOR, "asm.h");
_Static_assert(offsetof(struct frame, rip) == FRAME_RIP, "asm.h");
_Static_assert(offsetof(struct frame, cs) == FRAME_CS, "asm.h");
_Static_assert(offsetof(struct frame, rflags) == FRAME_RFLAGS, "asm.h");
_Static_assert(offsetof(struct frame, rsp) == FRAME_RSP, "asm.h");
_Static_assert(ARCH_VECTOR_SYSCALL == VECTOR_SYSCALL, "asm.h");

/* The flags that ring 3 may set: CF PF AF ZF SF TF DF OF AC ID. */
#define RFLAGS_USER 0x240dd5ull

struct cpu_features cpu_has;
bool cpu_has_smap; /* for entry.S */

/* The tables of ring 3 map it, so nothing else may lie in its pages. */
static struct core cpus[ARCH_CPUS_MAX] ENTRY_DATA;
static unsigned cpus_found;

void entry_syscall(void);
void entry_syscall_kpti(void);

struct core *cpu_get(unsigned index)
{
    return &cpus[index];
}

unsigned cpus_known(void)
{
    return cpus_found;
}

struct core *cpu_self(void)
{
    return *(struct core *__attribute__((address_space(256))) *)0;
}

bool cpu_add(uint32_t apic_id)
{
    if (cpus_found == ARCH_CPUS_MAX) {
        return false;
    }
    cpus[cpus_found].index = cpus_found;
    cpus[cpus_found].apic_id = apic_id;
    cpus_found++;
    return true;
}

unsigned arch_cpu(void)
{
    return cpu_self()->index;
}

static bool is_emulated(void)
{
    struct cpuid h = cpuid(0x40000000, 0); /* "TCGTCGTCGTCG" */
    return (cpuid(1, 0).c >> 31 & 1) != 0 && h.b == 0x54474354 &&
           h.c == 0x43544743 && h.d == 0x47435447;
}

void cpu_detect(void)
{
    uint32_t max = cpuid(0, 0).a;
    struct cpuid one = cpuid(1, 0);
    struct cpuid seven = max >= 7 ? cpuid(7, 0) : (struct cpuid){0};
    bool emulated = is_emulated();
    cpu_has = (struct cpu_features){
        .emulated = emulated,
        .smep = seven.b >> 7 & 1,
        /* QEMU's emulator reads the frame of an iretq in ring 3 with the
           kernel's rights (seen with 7.2), so SMAP would forbid environments
           to resume by themselves. */
        .smap = (seven.b >> 20 & 1) != 0 && !emulated,
        .umip = seven.c >> 2 & 1,
        .rdseed = seven.b >> 18 & 1,
        .rdrand = one.c >> 30 & 1,
        .x2apic = one.c >> 21 & 1,
        .tsc_deadline = one.c >> 24 & 1,
        .page_1g = cpuid(0x80000001, 0).d >> 26 & 1,
    };
    cpu_has_smap = cpu_has.smap;
    log_line("processor: NX%s%s%s%s%s%s", cpu_has.smep ? " SMEP" : "",
             cpu_has.smap ? " SMAP" : "", cpu_has.umip ? " UMIP" : "",
             cpu_has.x2apic ? " x2APIC" : "",
             cpu_has.tsc_deadline ? " TSC-deadline" : "",
             cpu_has.rdrand ? " RDRAND" : "");
}

void cpu_stacks(struct core *cpu, const uint64_t top[STACKS])
{
    cpu->stack_top = top[STACK_KERNEL];
    cpu->entry_stack = top[STACK_ENTRY];
    cpu->tss.rsp[0] = top[leak.kpti ? STACK_ENTRY : STACK_KERNEL];
    for (unsigned i = STACK_NMI; i <= STACK_CHECK; i++) {
        cpu->tss.ist[i - 1] = top[i];
    }
}

static void descriptors_init(struct core *cpu)
{
    uint64_t tss = (uint64_t)&cpu->tss;
    struct table_ptr gdt = {sizeof(cpu->gdt) - 1, (uint64_t)cpu->gdt};
    cpu->tss.io_map = sizeof(cpu->tss); /* beyond the limit: no ports */
    cpu->gdt[SEL_KERNEL_CODE / 8] = 0x00af9b000000ffff;
    cpu->gdt[SEL_KERNEL_DATA / 8] = 0x00cf93000000ffff;
    cpu->gdt[SEL_USER_DATA / 8] = 0x00cff3000000ffff;
    cpu->gdt[SEL_USER_CODE / 8] = 0x00affb000000ffff;
    cpu->gdt[SEL_TSS / 8] = (sizeof(cpu->tss) - 1) | (tss & 0xffffff) << 16 |
                            0x89ull << 40 | (tss >> 24 & 0xff) << 56;
    cpu->gdt[SEL_TSS / 8 + 1] = tss >> 32;
    lgdt(&gdt);
    load_kernel_selectors(SEL_KERNEL_CODE, SEL_KERNEL_DATA);
    ltr(SEL_TSS);
    /* After reset the local table is usable and lies at address 0, which is
       ring 3's to bind. */
    lldt(0);
}

void cpu_init(struct core *cpu)
{
    uint64_t cr4 = read_cr4() | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu->self = cpu;
    cpu->kernel_cr3 = mmu_root();
    descriptors_init(cpu);
    wrmsr(MSR_GS_BASE, (uint64_t)cpu);
    wrmsr(MSR_KERNEL_GS_BASE, 0);
    trap_load();

    /* With global entries ring 3 would find the kernel's translations. */
    cr4 = leak.kpti ? cr4 & ~CR4_PGE : cr4 | CR4_PGE;
    cr4 |= cpu_has.smep ? CR4_SMEP : 0;
    cr4 |= cpu_has.smap ? CR4_SMAP : 0;
    cr4 |= cpu_has.umip ? CR4_UMIP : 0;
    write_cr4(cr4);
    write_cr0((read_cr0() | CR0_MP | CR0_NE) & ~(CR0_EM | CR0_TS | CR0_AM));
    wrmsr(MSR_SYSENTER_CS, 0); /* sysenter is no way in */
    clear_breakpoints();

    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    wrmsr(MSR_STAR,
          (uint64_t)SEL_USER_BASE << 48 | (uint64_t)SEL_KERNEL_CODE << 32);
    wrmsr(MSR_LSTAR,
          (uint64_t)(leak.kpti ? entry_syscall_kpti : entry_syscall));
    wrmsr(MSR_FMASK, RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL |
                         RFLAGS_NT | RFLAGS_AC);
    leak_cpu_init();
}

void arch_frame_init(struct frame *f, uint64_t rip, uint64_t rsp)
{
    *f = (struct frame){
        .rip = rip,
        .rsp = rsp,
        .cs = SEL_USER_CODE,
        .ss = SEL_USER_DATA,
        .rflags = RFLAGS_IF | 2,
    };
}

bool arch_frame_sanitize(struct frame *f)
{
    f->cs = SEL_USER_CODE;
    f->ss = SEL_USER_DATA;
    f->rflags = (f->rflags & RFLAGS_USER) | RFLAGS_IF | 2;
    return f->rip >> 47 == 0; /* the lower half only */
}

void arch_fpu_init(void *area)
{
    uint8_t *a = area;
    memset(area, 0, ARCH_FPU_SIZE);
    a[0] = 0x7f; /* control word 0x037f: exceptions masked */
    a[1] = 0x03;
    a[24] = 0x80; /* mxcsr 0x1f80 */
    a[25] = 0x1f;
}

void arch_fpu_save(void *area)
{
    fxsave(area);
}

/*
 * A reserved bit of mxcsr would make fxrstor fault in ring 0, so `area` must
 * come from arch_fpu_init or arch_fpu_save.
 */
void arch_fpu_load(const void *area)
{
    fxrstor(area);
}

bool arch_entropy(uint64_t *out)
{
    for (unsigned tries = 0; tries < 16; tries++) {
        if ((cpu_has.rdseed && rdseed(out)) ||
            (cpu_has.rdrand && rdrand(out))) {
            return true;
        }
        cpu_relax();
    }
    return false;
}

uint64_t arch_tsc(void)
{
    return rdtsc();
}
