/* SPDX-License-Identifier: MIT */
/*
 * Where the kernel enters an environment. Registers are zero except rsp, so
 * nothing needs saving but the floating-point state: the interrupted general
 * registers lie in the u-area. Each entry copies them to its own stack, calls
 * C, and resumes with iretq in ring 3; the kernel takes no part.
 *
 * The kernel has set fault_active or slice_mask, which keeps every other
 * upcall of the same kind, and slice upcalls during a fault, away until the
 * frame has been copied, handled and left; each is cleared last of all. So
 * one stack for faults and one for slices are enough.
 *
 * Source: Engler95 s5.3 (exceptions), s5.1.1 (prologue, epilogue).
 */
        .set    UAREA, 0x7f0000000000
        .set    SLICE_MASK, 48
        .set    FAULT_ACTIVE, 56
        .set    SLICE, 128
        .set    FAULT, 312
        .set    FRAME_WORDS, 23
        .set    FRAME_ROOM, 192         /* 23 words, rounded to 16 bytes */
        .set    FPU_ROOM, 512

/* Copy a frame of the u-area to the stack, save the floating-point registers. */
.macro ENTER offset
        cld
        movabsq $UAREA + \offset, %rsi
        subq    $FRAME_ROOM, %rsp
        movq    %rsp, %rdi
        movl    $FRAME_WORDS, %ecx
        rep movsq
        movq    %rsp, %rdi
        subq    $FPU_ROOM, %rsp
        fxsave64 (%rsp)
        xorl    %ebp, %ebp
.endm

/* Undo ENTER, clear a word of the u-area, and resume the frame. */
.macro LEAVE word
        fxrstor64 (%rsp)
        addq    $FPU_ROOM, %rsp
        movabsq $UAREA, %rax
        movl    $0, \word(%rax)
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rbp
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rbx
        popq    %rax
        addq    $24, %rsp               /* address, vector, error */
        iretq
.endm

        .section .text.upcall, "ax", @progbits

        .globl  upcall_fault
        .type   upcall_fault, @function
upcall_fault:
        ENTER   FAULT
        callq   fault_upcall
        LEAVE   FAULT_ACTIVE
        .size   upcall_fault, . - upcall_fault

        .globl  upcall_foreign
        .type   upcall_foreign, @function
upcall_foreign:
        ENTER   FAULT
        callq   foreign_upcall
        LEAVE   FAULT_ACTIVE
        .size   upcall_foreign, . - upcall_foreign

        .globl  upcall_prologue
        .type   upcall_prologue, @function
upcall_prologue:
        ENTER   SLICE
        callq   slice_begin
        LEAVE   SLICE_MASK
        .size   upcall_prologue, . - upcall_prologue

        .globl  upcall_epilogue
        .type   upcall_epilogue, @function
upcall_epilogue:
        ENTER   SLICE
        callq   slice_end               /* yields; returns in a later slice */
        LEAVE   SLICE_MASK
        .size   upcall_epilogue, . - upcall_epilogue

        .section .note.GNU-stack, "", @progbits
