/* SPDX-License-Identifier: MIT */
/*
 * Instructions that C has no words for. Nothing else in the kernel uses
 * inline assembly. Source: SDM volume 2; register numbers SDM 4 s2.1.
 */
#pragma once

#include <stdint.h>

#define MSR_APIC_BASE 0x1bu
#define MSR_SPEC_CTRL 0x48u
#define MSR_PRED_CMD 0x49u
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_SYSENTER_CS 0x174u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC 0x800u /* + register offset / 16 */
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FMASK 0xc0000084u
#define MSR_KERNEL_GS_BASE 0xc0000102u

#define EFER_SCE (1ull << 0)
#define EFER_AIBRSE (1ull << 21)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_NE (1ull << 5)
#define CR0_AM (1ull << 18)
#define CR4_MCE (1ull << 6)
#define CR4_PGE (1ull << 7)
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP (1ull << 11)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)

#define RFLAGS_TF (1ull << 8)
#define RFLAGS_IF (1ull << 9)
#define RFLAGS_DF (1ull << 10)
#define RFLAGS_IOPL (3ull << 12)
#define RFLAGS_NT (1ull << 14)
#define RFLAGS_AC (1ull << 18)

#define PORT_ACCESS(in, out, type)                                             \
    static inline type in(uint16_t port)                                       \
    {                                                                          \
        type v;                                                                \
        __asm__ volatile(#in " %1, %0" : "=a"(v) : "Nd"(port));                \
        return v;                                                              \
    }                                                                          \
    static inline void out(uint16_t port, type v)                              \
    {                                                                          \
        __asm__ volatile(#out " %0, %1" : : "a"(v), "Nd"(port));               \
    }
PORT_ACCESS(inb, outb, uint8_t)
PORT_ACCESS(inw, outw, uint16_t)
PORT_ACCESS(inl, outl, uint32_t)

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
                     : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

struct cpuid {
    uint32_t a, b, c, d;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
                     : "a"(leaf), "c"(sub));
    return r;
}

#define CONTROL_REGISTER(name)                                                 \
    static inline uint64_t read_##name(void)                                   \
    {                                                                          \
        uint64_t v;                                                            \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(v) : : "memory");        \
        return v;                                                              \
    }                                                                          \
    static inline void write_##name(uint64_t v)                                \
    {                                                                          \
        __asm__ volatile("mov %0, %%" #name : : "r"(v) : "memory");            \
    }
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)

/* None of those that a loader or debugger may have left. */
static inline void clear_breakpoints(void)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"(0ull));
}

static inline void invlpg(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

#define INSTRUCTIONS(name, text)                                               \
    static inline void name(void)                                              \
    {                                                                          \
        __asm__ volatile(text : : : "memory");                                 \
    }
INSTRUCTIONS(cpu_relax, "pause")
INSTRUCTIONS(hlt, "hlt")
/*
 * Other processors see the stores before this before later instructions begin.
 */
INSTRUCTIONS(store_fence, "mfence; lfence")
/* Wait for an interrupt; none is lost, since sti takes effect after hlt. */
INSTRUCTIONS(sti_hlt_cli, "sti; hlt; cli")
/* Take the interrupts that are pending: after the pause. */
INSTRUCTIONS(sti_pause_cli, "sti; pause; cli")

struct table_ptr {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static inline void lgdt(const struct table_ptr *p)
{
    __asm__ volatile("lgdt %0" : : "m"(*p));
}

static inline void lidt(const struct table_ptr *p)
{
    __asm__ volatile("lidt %0" : : "m"(*p));
}

static inline void ltr(uint16_t selector)
{
    __asm__ volatile("ltr %0" : : "r"(selector));
}

static inline void lldt(uint16_t selector)
{
    __asm__ volatile("lldt %0" : : "r"(selector));
}

static inline void load_kernel_selectors(uint64_t code, uint32_t data)
{
    __asm__ volatile("push %0\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "mov %1, %%ss\n\t"
                     "mov %2, %%ds\n\t"
                     "mov %2, %%es\n\t"
                     "mov %2, %%fs\n\t"
                     "mov %2, %%gs"
                     :
                     : "r"(code), "r"(data), "r"(0)
                     : "rax", "memory");
}

/* Null data selectors. What gs is loaded with is ring 3's: the kernel's base
   of gs is put aside meanwhile. */
static inline void clear_selectors(void)
{
    __asm__ volatile("mov %0, %%ds\n\t"
                     "mov %0, %%es\n\t"
                     "mov %0, %%fs\n\t"
                     "swapgs\n\t"
                     "mov %0, %%gs\n\t"
                     "swapgs"
                     :
                     : "r"(0)
                     : "memory");
}

static inline void fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* One of the hardware's generators; false if it had nothing. */
#define GENERATOR(name)                                                        \
    static inline int name(uint64_t *v)                                        \
    {                                                                          \
        uint8_t ok;                                                            \
        __asm__ volatile(#name " %0; setc %1" : "=r"(*v), "=qm"(ok) : : "cc"); \
        return ok;                                                             \
    }
GENERATOR(rdrand)
GENERATOR(rdseed)
