/* SPDX-License-Identifier: MIT */
/*
 * All ways into and out of the kernel.
 *
 * Invariants. In ring 3 the GS base is the environment's (always 0) and the
 * kernel's is swapped away; in ring 0 it is the other way round. Interrupts
 * are off from the first instruction to the last. What an environment may set
 * and C code must not see - direction flag, AC (which would open SMAP) - is
 * cleared on entry: by FMASK for syscall, by hand otherwise. After the
 * conditional swapgs an lfence stops the wrong guess.
 *
 * Vectors that can strike between syscall and swapgs, or on a bad stack (NMI,
 * double fault, machine check), have stacks of their own and never return.
 * Source: SDM 3A s6.14; SDM 2B SYSCALL, SYSRET; CVE-2012-0217; CVE-2019-1125.
 */
#include "src/x86_64/asm.h"

/* The lower part of struct frame, from `address` down, and back. */
    .macro SAVE
    push $0 /* address */
    .irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    push %\r
    .endr
    .endm

    .macro RESTORE
    .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    pop %\r
    .endr
    .endm

    .text
    .global entry_syscall
entry_syscall:
    swapgs
    mov %rsp, %gs:CPU_USER_RSP
    mov %gs:CPU_STACK, %rsp
    push $SEL_USER_DATA
    push %gs:CPU_USER_RSP
    push %r11 /* rflags */
    push $SEL_USER_CODE
    push %rcx /* rip */
    push $0
    push $VECTOR_SYSCALL
    SAVE
    mov $VECTOR_SYSCALL, %edi
    mov %rsp, %rsi
    xor %ebp, %ebp
    sub $8, %rsp
    call kern_trap
    jmp entry_return

/* Stack: vector (low byte counts), error code, what the processor pushed. */
entry_trap:
    cld
    testb $3, 24(%rsp)
    jz 1f
    swapgs
1:  lfence
    cmpb $0, cpu_has_smap(%rip)
    je 2f
    clac
2:  SAVE
    movzbl FRAME_VECTOR(%rsp), %eax
    mov %rax, FRAME_VECTOR(%rsp)
    mov %rsp, %rdi
    testb $3, FRAME_CS(%rsp)
    jz 3f
    xor %ebp, %ebp
3:  sub $8, %rsp
    call trap_interrupt

/*
 * Resume the frame in rax. The plain way out of a system call is sysret, when
 * nothing about it can go wrong: on Intel a non-canonical rip would fault in
 * ring 0 on the environment's stack. All else takes iret.
 */
    .global entry_return
entry_return:
    mov %rax, %rsp
    cmpq $VECTOR_SYSCALL, FRAME_VECTOR(%rsp)
    jne 1f
    mov FRAME_RIP(%rsp), %rdx
    shr $47, %rdx
    jnz 1f
    testl $0x10100, FRAME_RFLAGS(%rsp) /* RF, TF */
    jnz 1f
    cmpq $SEL_USER_CODE, FRAME_CS(%rsp)
    jne 1f
    RESTORE
    mov FRAME_RIP - FRAME_ADDRESS(%rsp), %rcx
    mov FRAME_RFLAGS - FRAME_ADDRESS(%rsp), %r11
    mov FRAME_RSP - FRAME_ADDRESS(%rsp), %rsp
    swapgs
    sysretq

1:  RESTORE
    add $24, %rsp
    testb $3, 8(%rsp)
    jz 2f
    swapgs
2:  iretq

/*
 * NMI, double fault, machine check: whose GS base it is cannot be told from
 * the selectors, only from the base itself. Kernel addresses are negative.
 */
entry_fatal:
    cld
    SAVE
    movzbl FRAME_VECTOR(%rsp), %eax
    mov %rax, FRAME_VECTOR(%rsp)
    mov $MSR_GS_BASE, %ecx
    rdmsr
    test %edx, %edx
    js 1f
    swapgs
1:  lfence
    mov %rsp, %rdi
    sub $8, %rsp
    call trap_fatal
    ud2

/* One stub a vector, STUB_SIZE bytes each. imm8 is the vector's low byte. */
    .macro STUB vector, target
    .if \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21 || \vector == 29 || \vector == 30
    .byte 0x66, 0x90 /* the processor pushed an error code */
    .else
    .byte 0x6a, 0 /* push $0 */
    .endif
    .byte 0x6a, \vector /* push $imm8 */
    .byte 0xe9          /* jmp rel32 */
    .long \target - . - 4
    .endm

    .balign 16
    .global entry_stubs
entry_stubs:
    .set v, 0
    .rept 256
    .if v == 2 || v == 8 || v == 18
    STUB v, entry_fatal
    .else
    STUB v, entry_trap
    .endif
    .set v, v + 1
    .endr

/* The first way into ring 3 of a processor that is in kern_start. */
    .global arch_resume
arch_resume:
    mov %rdi, %rax
    jmp entry_return

/*
 * Run `rdi`(`rsi`) on the stack whose top is rdx; never comes back.
 */
    .global entry_switch_stack
entry_switch_stack:
    mov %rdx, %rsp
    xor %ebp, %ebp
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax
    ud2
