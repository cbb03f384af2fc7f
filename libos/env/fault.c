/* SPDX-License-Identifier: MIT */
/*
 * Exceptions and foreign system calls, from the u-area to C handlers. What
 * nobody handles ends the environment with one line that says why.
 */
#include "libos/env/upcall.h"
#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/start.h"
#include "libos/sys/sys.h"

#define STACK_BYTES 16384u
#define VECTOR_PAGE_FAULT 14u

_Static_assert(__builtin_offsetof(struct uarea, slice_mask) == 48, "upcall.S");
_Static_assert(__builtin_offsetof(struct uarea, fault_active) == 56,
               "upcall.S");
_Static_assert(__builtin_offsetof(struct uarea, slice) == 128, "upcall.S");
_Static_assert(__builtin_offsetof(struct uarea, fault) == 312, "upcall.S");

static uint8_t fault_stack[STACK_BYTES] __attribute__((aligned(16)));
static uint8_t slice_stack[STACK_BYTES] __attribute__((aligned(16)));
static env_fault_fn *fault_handler;
static env_fault_fn *foreign_handler;

void upcall_init(void)
{
    struct uarea *u = env_uarea();
    u->stack_top = (uint64_t)(slice_stack + STACK_BYTES);
    u->fault_stack_top = (uint64_t)(fault_stack + STACK_BYTES);
    u->entry[ENV_FAULT] = (uint64_t)upcall_fault;
    u->entry[ENV_FOREIGN] = (uint64_t)upcall_foreign;
}

void env_on_fault(env_fault_fn *handler)
{
    fault_handler = handler;
}

void env_on_foreign(env_fault_fn *handler)
{
    foreign_handler = handler;
}

static const char *vector_name(uint64_t vector)
{
    static const char *const names[] = {
        [0] = "division error",      [1] = "debug exception",
        [3] = "breakpoint",          [4] = "overflow",
        [5] = "bound exceeded",      [6] = "invalid instruction",
        [7] = "no coprocessor",      [11] = "segment not present",
        [12] = "stack fault",        [13] = "protection fault",
        [14] = "page fault",         [16] = "x87 error",
        [17] = "misaligned access",  [19] = "SIMD error",
        [21] = "control protection",
    };

    if (vector < sizeof(names) / sizeof(names[0]) && names[vector] != NULL) {
        return names[vector];
    }
    return "exception";
}

static _Noreturn void fault_end(const struct frame *f)
{
    const char *name = start_told()->name;
    if (f->vector == VECTOR_PAGE_FAULT) {
        console_printf("%s: page fault at 0x%lx, %s 0x%lx; it ends\n", name,
                       f->rip, f->error & 2 ? "writing" : "reading",
                       f->address);
    } else if (f->vector == FRAME_FOREIGN) {
        console_printf("%s: system call %lu at 0x%lx is nobody's; it ends\n",
                       name, f->rax, f->rip);
    } else {
        console_printf("%s: %s (%lu) at 0x%lx; it ends\n", name,
                       vector_name(f->vector), f->vector, f->rip);
    }
    env_exit(ENV_FAULT_STATUS + (uint32_t)(f->vector & 0x7f));
}

void fault_upcall(struct frame *f)
{
    if (fault_handler == NULL || !fault_handler(f)) {
        fault_end(f);
    }
    slice_settle();
}

void foreign_upcall(struct frame *f)
{
    if (foreign_handler == NULL || !foreign_handler(f)) {
        fault_end(f);
    }
    slice_settle();
}
