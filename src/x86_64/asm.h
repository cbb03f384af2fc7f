/* SPDX-License-Identifier: MIT */
/*
 * Numbers that assembly shares with C. cpu.c asserts the offsets.
 */
#pragma once

/* struct core */
#define CPU_STACK 8
#define CPU_USER_RSP 16
#define CPU_KERNEL_CR3 24
#define CPU_USER_CR3 32
#define CPU_ENTRY_STACK 40

/* struct frame of abi/uarea.h */
#define FRAME_RAX 112
#define FRAME_ADDRESS 120
#define FRAME_VECTOR 128
#define FRAME_RIP 144
#define FRAME_CS 152
#define FRAME_RFLAGS 160
#define FRAME_RSP 168
#define FRAME_SS 176

/* Selectors: sysret wants user data, then user code, from one base. */
#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_BASE 0x18
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS 0x30
#define GDT_WORDS 8

#define STUB_SIZE 9

#define MSR_GS_BASE 0xc0000101

#define VECTOR_SYSCALL 0x100

/* Where other processors wake: a page of low memory. */
#define TRAMPOLINE_PADDR 0x8000
