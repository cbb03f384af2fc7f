/* SPDX-License-Identifier: MIT */
/*
 * Where another processor wakes: 16-bit mode, a page of low memory to which
 * smp.c copied [trampoline, trampoline_end). It goes up to 64 bits through the
 * early tables of boot.S and takes the stack and the struct cpu that smp.c
 * left for it. Source: SDM 3A s9.8.5, s9.4.4.
 */
#include "src/x86_64/asm.h"

#define KERNEL_BASE 0xffffffff80000000
#define PHYS(x) ((x) - KERNEL_BASE)
#define HERE(x) (TRAMPOLINE_PADDR + (x) - trampoline)

    .section .rodata.trampoline, "a"
    .balign 16
    .global trampoline, trampoline_end
    .code16
trampoline:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl HERE(gdt_ptr)
    mov %cr4, %eax
    or $(1 << 5), %eax /* PAE */
    mov %eax, %cr4
    mov $PHYS(early_pml4), %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx /* EFER: LME, NXE */
    rdmsr
    or $0x900, %eax
    wrmsr
    mov %cr0, %eax
    and $0x9fffffff, %eax /* caches on */
    or $0x80010001, %eax  /* PG, WP, PE */
    mov %eax, %cr0
    ljmpl $0x08, $HERE(long_mode)

    .code64
long_mode:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $ap_high, %rax
    jmp *%rax

gdt_ptr:
    .short 3 * 8 - 1
    .long boot_gdt
trampoline_end:

    .text
ap_high:
    mov $PHYS(kernel_top_table), %rax /* the early tables lack its stack */
    mov %rax, %cr3
    mov ap_stack(%rip), %rsp
    mov ap_cpu(%rip), %rdi
    xor %ebp, %ebp
    call ap_start
    ud2

    .section .data.trampoline, "aw"
    .balign 8
    .global ap_stack, ap_cpu
ap_stack:
    .quad 0
ap_cpu:
    .quad 0
