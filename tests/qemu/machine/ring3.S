/* SPDX-License-Identifier: MIT */
    .section .rodata.ring3, "a"
    .global ring3_code, ring3_code_end
ring3_code:
    mov $0x1111, %edi
    mov $0x2222, %esi
    mov $0x1515, %r15d
    mov $0xbbbb, %ebx
    push %rbx
    mov $0x1000, %eax
    std
    stc
    syscall
    cld
    mov %rax, %rdi
    syscall

    mov $0xcccc, %ecx
    mov $0x1b1b, %r11d
1:  jmp 1b
    mov %rcx, %rdi
    mov %r11, %rsi
    syscall

    lea 2f(%rip), %rbp
    mov $0x123456789, %rax
    mov (%rax), %rax
2:  lea 3f(%rip), %rbp
    mov $0x7fbfdfeff000, %rax /* the top table, seen through itself */
    movq $0, (%rax)
3:  mov $0x7fbfdfeff000, %rax
    mov (%rax), %rdi
    syscall
    lea 4f(%rip), %rbp
    hlt
4:  lea 5f(%rip), %rbp
    mov $0xffff800000000000, %rax
    mov (%rax), %rax
5:  int3
    lea 6f(%rip), %rbp
    int $0x80
6:  ud2
ring3_code_end:

/* Leave the kernel's stack as a function would, to come back here. */
    .text
    .global ring3_enter, ring3_leave
ring3_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, ring3_rsp(%rip)
    /* Traps start at the top of the stack, which is ours: save what is there. */
    mov %gs:8, %rcx
    sub %rsp, %rcx
    lea ring3_kept(%rip), %rax
    mov %rdi, %rdx
    mov %rsp, %rsi
    mov %rax, %rdi
    rep movsb
    mov %rdx, %rdi
    jmp arch_resume
ring3_leave:
    mov ring3_rsp(%rip), %rsp
    mov %gs:8, %rcx
    sub %rsp, %rcx
    lea ring3_kept(%rip), %rsi
    mov %rsp, %rdi
    cld
    rep movsb
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

    .section .bss.ring3, "aw", @nobits
    .balign 16
ring3_rsp:
    .skip 16
ring3_kept:
    .skip 8192
