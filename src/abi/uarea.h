/* SPDX-License-Identifier: MIT */
/*
 * The u-area: one page shared between an environment (which may write all of
 * it) and the kernel (which trusts none of it). The environment's creator can
 * bind the page too: its frame number stands in the exposed environment table.
 *
 * Upcalls. The kernel enters the environment at entry[n] with rsp = stack_top,
 * other general registers zero, and the interrupted state in a frame below.
 * The environment resumes by itself: the five last words of a frame are what
 * iretq pops.
 *
 *   PROLOGUE  a slice begins; `slice` is where the environment was. With no
 *             prologue entry the kernel resumes there directly. A new
 *             environment starts by this upcall.
 *   EPILOGUE  the slice is over; `slice` is the interrupted state. Save what
 *             you need and call quantum_yield. Time beyond the slice, in
 *             ring 3 or in a call, is forfeited from later slices; past a
 *             limit the environment is destroyed. With no epilogue entry the
 *             kernel keeps the state.
 *   FAULT     an exception; `fault` has vector, error code and address. While
 *             fault_active is not 0 another exception destroys the
 *             environment, so the handler copies the frame and clears it.
 *   FOREIGN   a system call below SYS_FIRST; `fault` has the registers, with
 *             vector = FRAME_FOREIGN. Same rule for fault_active. With no
 *             foreign entry the call returns -E_NOSYS.
 *
 * The kernel sets slice_mask to 1 when it makes a PROLOGUE or EPILOGUE upcall,
 * and fault_active to 1 when it makes a FAULT or FOREIGN upcall; the owner
 * clears them, last of all before it resumes. While either is not 0 a slice
 * begins without an upcall (resumed directly), and if there is an epilogue
 * entry, at its end slice_over is set instead of the upcall: the environment
 * is to yield soon.
 *
 * FAULT and FOREIGN enter at fault_stack_top if it is not 0, so that an
 * exception on the upcall stack does not write over it. The first environment
 * starts with all stacks 0: its first instruction must set rsp by itself.
 */
#pragma once

#include <stdint.h>

enum env_entry {
    ENV_PROLOGUE,
    ENV_EPILOGUE,
    ENV_FAULT,
    ENV_FOREIGN,
    ENV_ENTRIES
};

#define FRAME_FOREIGN 0x100u /* vector of a foreign system call */

/* The state of ring 3, in the order in which entry.S saves it. ds, es, fs and
   gs are not part of it: they are 0 when an environment is loaded. */
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t address; /* of a page fault: cr2 */
    uint64_t vector;
    uint64_t error;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct frame) == 23 * 8, "abi");

#define UAREA_VERSION 1u

struct uarea {
    uint32_t version; /* UAREA_VERSION; written by the kernel at creation */
    uint32_t env;     /* own id */
    uint64_t entry[ENV_ENTRIES]; /* 0: none */
    uint64_t stack_top;          /* of the upcall stack */
    uint32_t slice_mask;         /* not 0: in a critical section */
    uint32_t slice_over;         /* set by the kernel; cleared by the owner */
    uint32_t fault_active;
    uint32_t cpu;       /* processor of the current slice */
    uint64_t slice_end; /* tsc at which the current slice ends */
    uint64_t pending;   /* events (event.h); kernel ors, owner clears, both
                           atomically */
    uint64_t tag;       /* what the last wakeup predicate returned */
    uint64_t fault_stack_top;
    uint8_t reserved[32];
    struct frame slice;
    struct frame fault;
    uint8_t scratch[2048]; /* the library's own */
};
_Static_assert(sizeof(struct uarea) <= 4096, "one page");
_Static_assert(__builtin_offsetof(struct uarea, slice) == 128, "abi");
