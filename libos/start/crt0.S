/* SPDX-License-Identifier: MIT */
/*
 * The first instructions of an environment. The kernel (or whoever made the
 * environment) entered here as a prologue upcall with all registers zero;
 * nothing is assumed about the stack.
 *
 * While entry[ENV_PROLOGUE] still leads here, the end of a slice would start
 * the environment again from the top. That is harmless until the store below,
 * and impossible after it.
 */
        .set    UAREA, 0x7f0000000000
        .set    UAREA_PROLOGUE, 8
        .set    UAREA_SLICE_MASK, 48

        .section .text._start, "ax", @progbits
        .globl  _start
        .type   _start, @function
_start:
        movabsq $UAREA, %rax
        movq    $0, UAREA_PROLOGUE(%rax)
        movl    $0, UAREA_SLICE_MASK(%rax)
        leaq    start_boot_stack_top(%rip), %rsp
        xorl    %ebp, %ebp
        callq   start_prepare           /* returns the top of the real stack */
        movq    %rax, %rsp
        xorl    %ebp, %ebp
        callq   start_main
        ud2
        .size   _start, . - _start

        /* Enough for start_prepare and what it calls. */
        .section .bss.start_boot_stack, "aw", @nobits
        .balign 16
        .skip   8192
start_boot_stack_top:

        .section .note.GNU-stack, "", @progbits
