/* SPDX-License-Identifier: MIT */
/*
 * trap_call(fn, arg): call fn(arg) so that trap_return, entered by a fault
 * handler that rewrote rip, comes back here from anywhere inside.
 */
        .text
        .globl  trap_call
trap_call:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        subq    $8, %rsp
        movq    %rsp, trap_stack(%rip)
        movq    %rdi, %rax
        movq    %rsi, %rdi
        callq   *%rax
        .globl  trap_return
trap_return:
        movq    trap_stack(%rip), %rsp
        addq    $8, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        retq

        .bss
        .balign 8
trap_stack:
        .skip   8
        .section .note.GNU-stack, "", @progbits
