/* SPDX-License-Identifier: MIT */
/*
 * From the loader's 32-bit world to 64-bit C. Two doors: a PVH note for QEMU's
 * -kernel, a multiboot2 header for GRUB. Both enter with paging off, flat
 * segments and in ebx the physical address of the loader's tables.
 *
 * The early tables map the first 4 GiB three times: at 0 (to run on), at
 * ARCH_DIRECT_MAP, and its first GiB at KERNEL_BASE. They allow everything and
 * live only until mmu_init; the trampoline of other processors uses them too.
 * Source: Multiboot2 specification s3.1, 3.3; Xen public/arch-x86/hvm/start_info.h;
 * SDM 3A s9.8.5.
 */
#define KERNEL_BASE 0xffffffff80000000
#define PHYS(x) ((x) - KERNEL_BASE)
#define MAGIC_PVH 0x336ec578
#define MB2_MAGIC 0xe85250d6

    .section .multiboot, "a"
    .balign 8
mb2_header:
    .long MB2_MAGIC
    .long 0 /* i386, 32-bit protected mode */
    .long mb2_end - mb2_header
    .long -(MB2_MAGIC + (mb2_end - mb2_header))
    /* entry address, since e_entry is the PVH door */
    .short 3, 0
    .long 12
    .long boot_mb2
    .balign 8
    /* modules on page boundaries */
    .short 6, 0
    .long 8
    .short 0, 0
    .long 8
mb2_end:

    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad boot_pvh

    .section .boot, "awx"
    .code32
    .global boot_pvh
boot_pvh:
    mov $MAGIC_PVH, %edi
    jmp 1f
boot_mb2:
    mov %eax, %edi
1:
    cli
    cld
    mov %ebx, %esi
    mov $PHYS(boot_stack_top), %esp
    rdtsc
    mov %eax, PHYS(boot_tsc)
    mov %edx, PHYS(boot_tsc) + 4

    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    test $(1 << 29), %edx /* long mode */
    jz no_long_mode
    test $(1 << 20), %edx /* NX */
    jz no_nx

    /* Four page directories of 2 MiB pages: 4 GiB. */
    mov $PHYS(early_pd), %ebx
    mov $0x83, %eax /* present, writable, large */
    mov $2048, %ecx
1:  mov %eax, (%ebx)
    movl $0, 4(%ebx)
    add $0x200000, %eax
    add $8, %ebx
    loop 1b
    movl $PHYS(early_pd) + 0x0003, PHYS(early_pdpt)
    movl $PHYS(early_pd) + 0x1003, PHYS(early_pdpt) + 8
    movl $PHYS(early_pd) + 0x2003, PHYS(early_pdpt) + 16
    movl $PHYS(early_pd) + 0x3003, PHYS(early_pdpt) + 24
    movl $PHYS(early_pd) + 0x0003, PHYS(early_pdpt_high) + 510 * 8
    movl $PHYS(early_pdpt) + 3, PHYS(early_pml4)
    movl $PHYS(early_pdpt) + 3, PHYS(early_pml4) + 256 * 8
    movl $PHYS(early_pdpt_high) + 3, PHYS(early_pml4) + 511 * 8

    mov $PHYS(early_pml4), %eax
    mov %eax, %cr3
    mov $(1 << 5), %eax /* PAE, and nothing that a loader left */
    mov %eax, %cr4
    mov $0xc0000080, %ecx /* EFER: LME, NXE */
    rdmsr
    or $0x900, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80010001, %eax /* PG, WP, PE */
    mov %eax, %cr0
    lgdt boot_gdt_ptr
    ljmp $0x08, $boot64

no_long_mode:
    mov $text_no_long_mode, %esi
    jmp boot_refuse
no_nx:
    mov $text_no_nx, %esi
boot_refuse:
    mov $0x3f8, %edx
1:  lodsb
    test %al, %al
    jz 2f
    out %al, %dx
    jmp 1b
2:  mov $0x0f, %al /* isa-debug-exit: failed */
    out %al, $0xf4
3:  hlt
    jmp 3b

text_no_long_mode:
    .asciz "pavise: this processor has no 64-bit mode; with QEMU use qemu-system-x86_64\r\n"
text_no_nx:
    .asciz "pavise: this processor has no NX (execute disable); switch it on in the firmware\r\n"

    .code64
boot64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $boot_stack_top, %rsp
    mov %edi, %edi
    mov %esi, %esi
    xor %ebp, %ebp
    mov $boot_machine, %rax
    call *%rax
    ud2

    .balign 8
    .global boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* 64-bit code */
    .quad 0x00cf93000000ffff /* data */
boot_gdt_ptr:
    .short boot_gdt_ptr - boot_gdt - 1
    .long boot_gdt

    .section .bss.early, "aw", @nobits
    .balign 4096
    .global early_pml4
early_pml4:
    .skip 4096
early_pdpt:
    .skip 4096
early_pdpt_high:
    .skip 4096
early_pd:
    .skip 4 * 4096
    .global boot_stack
boot_stack:
    .skip 16384
boot_stack_top:
    .section .data.boot_tsc, "aw"
    .balign 8
    .global boot_tsc
boot_tsc:
    .quad 0
