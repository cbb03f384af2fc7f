/* SPDX-License-Identifier: MIT */
/*
 * All ways into and out of the kernel.
 *
 * Invariants. In ring 3 the GS base is the environment's (always 0) and the
 * kernel's is swapped away; in ring 0 it is the other way round. Interrupts
 * are off from the first instruction to the last. Flags that an environment may
 * set and C code must not see - direction, AC (which would open SMAP) - are
 * cleared on entry: by FMASK for syscall, by hand otherwise. After the
 * conditional swapgs an lfence stops the wrong guess.
 *
 * Two sets of everything: where leak.kpti is off, nothing of it is executed.
 * Where it is on (names end in _kpti), ring 3 runs on tables that have of the
 * kernel this section's text and the data of struct cpu. So the way in loads
 * the kernel's tables before it touches a kernel stack, and interrupts arrive
 * on a small stack that both tables have; the way out leaves from that stack,
 * by iret alone.
 *
 * Vectors that can strike between syscall and swapgs, or on a bad stack, have
 * stacks of their own. Double fault and machine check never return. An NMI
 * does, unless it reports a broken machine: it changes nothing that the code
 * which it interrupts can see.
 * Source: SDM 3A s6.7.1, s6.14; SDM 2B SYSCALL, SYSRET; CVE-2012-0217;
 * CVE-2017-5754; CVE-2019-1125.
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

    .section .text.entry, "ax", @progbits
    .balign 16

/* ------------------------------------------------------------ system calls */

    .macro ENTRY_SYSCALL suffix, kpti
    .global entry_syscall\suffix
entry_syscall\suffix:
    swapgs
    mov %rsp, %gs:CPU_USER_RSP
    .if \kpti
    mov %gs:CPU_KERNEL_CR3, %rsp
    mov %rsp, %cr3
    .endif
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
    jmp entry_return\suffix
    .endm

/* ------------------------------------------------ exceptions and interrupts */

/* Stack: vector (low byte counts), error code, what the processor pushed. */
    .macro ENTRY_TRAP suffix, kpti
entry_trap\suffix:
    cld
    testb $3, 24(%rsp)
    jz 1f
    swapgs
    .if \kpti
    mov %rax, %gs:CPU_USER_RSP
    mov %gs:CPU_KERNEL_CR3, %rax
    mov %rax, %cr3
    mov %rsp, %rax
    mov %gs:CPU_STACK, %rsp
    .irp at, 48, 40, 32, 24, 16, 8, 0
    push \at(%rax)
    .endr
    mov %gs:CPU_USER_RSP, %rax
    .endif
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
    /* Falls into entry_return\suffix, which the macro after it makes. */
    .endm

/*
 * Resume the frame in rax. The plain way out of a system call is sysret, when
 * nothing about it can go wrong: on Intel a non-canonical rip would fault in
 * ring 0 on the environment's stack. All else takes iret.
 */
    .macro ENTRY_RETURN
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
    .endm

/*
 * The same. What iret takes, and rax, are put where ring 3's tables have them
 * too; all else is restored before those are loaded.
 */
    .macro ENTRY_RETURN_KPTI
entry_return_kpti:
    mov %rax, %rsp
    testb $3, FRAME_CS(%rsp)
    jnz 1f
    RESTORE
    add $24, %rsp
    iretq

1:  mov %gs:CPU_ENTRY_STACK, %rsp
    .irp at, FRAME_SS, FRAME_RSP, FRAME_RFLAGS, FRAME_CS, FRAME_RIP, FRAME_RAX
    push \at(%rax)
    .endr
    mov %rax, %rsp
    RESTORE
    mov %gs:CPU_ENTRY_STACK, %rsp
    sub $48, %rsp
    mov %gs:CPU_USER_CR3, %rax
    mov %rax, %cr3
    pop %rax
    swapgs
    iretq
    .endm

/*
 * Double fault, machine check: whose GS base it is cannot be told from the
 * selectors, only from the base itself. Kernel addresses are negative.
 */
    .macro ENTRY_FATAL suffix, kpti
entry_fatal\suffix:
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
    .if \kpti
    mov %gs:CPU_KERNEL_CR3, %rax
    mov %rax, %cr3
    .endif
    mov %rsp, %rdi
    sub $8, %rsp
    call trap_fatal
    ud2
    .endm

/* The same, and back: ebx keeps whether to swap, r12 the tables. */
    .macro ENTRY_NMI suffix, kpti
entry_nmi\suffix:
    cld
    SAVE
    movzbl FRAME_VECTOR(%rsp), %eax
    mov %rax, FRAME_VECTOR(%rsp)
    mov $MSR_GS_BASE, %ecx
    rdmsr
    mov %edx, %ebx
    test %edx, %edx
    js 1f
    swapgs
1:  lfence
    .if \kpti
    mov %cr3, %r12
    mov %gs:CPU_KERNEL_CR3, %rax
    mov %rax, %cr3
    .endif
    mov %rsp, %rdi
    sub $8, %rsp
    call trap_nmi
    add $8, %rsp
    .if \kpti
    mov %r12, %cr3
    .endif
    test %ebx, %ebx
    js 2f
    swapgs
2:  RESTORE
    add $24, %rsp
    iretq
    .endm

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

    .macro STUBS suffix
    .balign 16
    .global entry_stubs\suffix
entry_stubs\suffix:
    .set v, 0
    .rept 256
    .if v == 2
    STUB v, entry_nmi\suffix
    .elseif v == 8 || v == 18
    STUB v, entry_fatal\suffix
    .else
    STUB v, entry_trap\suffix
    .endif
    .set v, v + 1
    .endr
    .endm

    ENTRY_SYSCALL , 0
    ENTRY_TRAP , 0
    ENTRY_RETURN
    ENTRY_FATAL , 0
    ENTRY_NMI , 0
    STUBS

    ENTRY_SYSCALL _kpti, 1
    ENTRY_TRAP _kpti, 1
    ENTRY_RETURN_KPTI
    ENTRY_FATAL _kpti, 1
    ENTRY_NMI _kpti, 1
    STUBS _kpti

/* The first way into ring 3 of a processor that is in kern_start. */
    .global arch_resume
arch_resume:
    mov %rdi, %rax
    cmpb $0, leak(%rip) /* kpti is the first */
    jne entry_return_kpti
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
