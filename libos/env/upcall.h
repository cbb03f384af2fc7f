/* SPDX-License-Identifier: MIT */
/*
 * Between upcall.S and C: entry points that the kernel calls, and the C
 * functions that they call.
 */
#pragma once

#include "src/abi/uarea.h"

/* Point the u-area at the entries below. */
void upcall_init(void);

/* upcall.S: never called from C. */
void upcall_fault(void);
void upcall_foreign(void);
void upcall_prologue(void);
void upcall_epilogue(void);

/* fault.c: `f` is a copy on the upcall stack; returns to resume it. */
void fault_upcall(struct frame *f);
void foreign_upcall(struct frame *f);

/* slice.c */
void slice_begin(void);
void slice_end(void);
/* Yield if the slice ended while upcalls were masked. */
void slice_settle(void);
