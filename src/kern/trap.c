/* SPDX-License-Identifier: MIT */
/*
 * Every entry into the kernel from ring 3, and what interrupts do meanwhile.
 * Nothing here blocks; the way out is quantum_resume.
 */
#include "src/abi/sysno.h"
#include "src/kern/console.h"
#include "src/kern/irq.h"
#include "src/kern/net.h"
#include "src/kern/quantum.h"
#include "src/kern/span.h"
#include "src/kern/syscall.h"
#include "src/kern/turn.h"

#define EXCEPTIONS 32u

/*
 * A call: number in the lower half of rax; rdi, rsi, rdx, r10, r8, r9; result
 * in rax. One that has not finished stands on its instruction again, and the
 * upper half of rax says how far it came (turn.h).
 */
static void call(struct cpu *c, struct env *e, struct frame *f)
{
    c->info->syscalls++;
    if (f->rax < SYS_FIRST) {
        env_fault(e, f, FRAME_FOREIGN);
        return;
    }
    const uint64_t args[6] = {f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9};
    struct turn t = turn_begin((uint32_t)(f->rax >> 32));
    uint32_t number = (uint32_t)f->rax;
    int64_t result = syscall_dispatch(e, number, args, &t);
    if (result == TURN_AGAIN) {
        assert(t.done != 0);
        f->rax = (uint64_t)t.done << 32 | number;
        f->rip -= SYSCALL_BYTES;
        return;
    }
    f->rax = (uint64_t)result;
}

static struct frame *interrupt(struct cpu *c, uint32_t vector, struct frame *f)
{
    c->info->interrupts++;
    if (vector == ARCH_VECTOR_TIMER) {
        if (f != NULL) {
            return quantum_timer(c, f);
        }
        c->timer = 0;
        if (c->current != NULL) {
            /* Within a call that lets interrupts in: again when it is over. */
            quantum_arm(c, arch_tsc() + arch_tsc_khz() / 10);
        }
    } else if (vector == ARCH_VECTOR_POWER) {
        power_button();
    } else if (vector != ARCH_VECTOR_KICK) {
        irq_dispatch(vector);
    }
    return f;
}

/* The row that an entry is measured in. */
static uint32_t row(uint32_t vector, const struct frame *f)
{
    return vector == ARCH_VECTOR_SYSCALL ? span_call((uint32_t)f->rax)
           : vector < EXCEPTIONS         ? SPAN_EXCEPTION
                                         : SPAN_INTERRUPT;
}

struct frame *kern_trap(uint32_t vector, struct frame *f)
{
    struct cpu *c = cpu_this();
    span_begin(c, row(vector, f));
    if (f == NULL) {
        f = interrupt(c, vector, NULL);
        span_end(c);
        return f;
    }
    if (vector == ARCH_VECTOR_SYSCALL) {
        call(c, c->current, f);
    } else if (vector < EXCEPTIONS) {
        c->info->faults++;
        env_fault(c->current, f, vector);
    } else {
        f = interrupt(c, vector, f);
        /* It may strike between a jump to nowhere and the fault of it (AMD
           checks at the fetch), and nowhere cannot be resumed. */
        if (!arch_frame_sanitize(f)) {
            env_fault(c->current, f, ARCH_VECTOR_PROTECTION);
        }
    }
    if (c->console) {
        (void)console_turn(c);
    }
    if (c->net_polling != 0 && c->leave == LEAVE_NOT) {
        net_poll(c, vector == ARCH_VECTOR_SYSCALL ? NET_POLL_CALL
                                                  : NET_POLL_INTERRUPT);
    }
    f = quantum_resume(c, f);
    span_end(c);
    return f;
}
