/* SPDX-License-Identifier: MIT */
/*
 * A machine for host tests of src/kern: a small physical memory, processors
 * that are the test's own threads, time that the test sets. Environments do
 * not run; the test is their ring 3 and calls the kernel in their name.
 */
#pragma once

#include "src/abi/pte.h"
#include "src/abi/share.h"
#include "src/arch.h"
#include "src/kern/env.h"

#define FAKE_FRAMES 8192ull /* 32 MiB */
#define FAKE_FIRST 16ull    /* frames below are not RAM */

extern _Thread_local unsigned fake_cpu;
extern unsigned fake_cpus;
extern _Atomic uint64_t fake_tsc;
extern uint64_t fake_flushes; /* arch_tlb_flush calls */
extern _Atomic uint64_t fake_kicks[ARCH_CPUS_MAX];
extern uint64_t fake_timer[ARCH_CPUS_MAX];
extern uint64_t fake_entropy;         /* words left before it fails */
extern uint64_t (*fake_jitter)(void); /* NULL: it stands still */
extern char fake_console[4096];
extern size_t fake_console_len;
extern size_t fake_console_room; /* bytes that the line still takes */
extern uint32_t fake_halt_status;
/* Frees of frames are checked against these: what a processor has loaded. */
extern uint64_t fake_root[ARCH_CPUS_MAX];
/* Called instead of ending the run when a processor goes idle. */
extern void (*fake_idle_hook)(void);
/* Called where interrupts are let in while a processor polls. */
extern void (*fake_breathe_hook)(void);
/* Called whenever a processor waits for another one. */
extern void (*fake_pause_hook)(void);
/* Called between two turns of a call (src/kern/turn.h); how many there were. */
extern void (*fake_turn_hook)(void);
extern _Thread_local uint64_t fake_turns;

/* Ends the kernel entry with FAKE_IDLE; from a hook. */
_Noreturn void fake_stop(void);

/* How the last kernel entry ended. */
enum fake_end { FAKE_RESUMED, FAKE_IDLE, FAKE_HALTED };

/* Boot with `cpus` processors: memory, exposed pages, console. */
void fake_boot(unsigned cpus);
/* The first environment, running on processor 0, root capability in slot 0. */
struct env *fake_first(void);

/* Enter the kernel in the name of what this processor runs. */
enum fake_end fake_trap(uint32_t vector);
/* Look for something to run, as a processor that wakes up does. */
enum fake_end fake_run(void);
/* What this processor runs in ring 3, and its registers. */
struct env *fake_current(void);
extern _Thread_local struct frame fake_frame;

/* A system call; its result. The environment may have been left meanwhile. */
int64_t fake_call(uint64_t number, const uint64_t args[6]);
#define CALL(number, ...) fake_call(number, (const uint64_t[6]){__VA_ARGS__})

/* Copy into the current environment's scratch area; where it lies there. */
uint64_t fake_put(const void *data, size_t len);
#define PUT(x) fake_put(&(x), sizeof(x))
/* Up to half of what the current environment may hold of each table: two
   arguments of env_create. */
uint64_t fake_shares(void);
#define SHARES fake_shares(), SHARE_KINDS

/*
 * A digest of all that environments can own: their frames' words, page tables,
 * capabilities, quotas, slices, states.
 * whole  the kernel's own frames too, which its heap may keep for later
 */
uint64_t fake_digest(bool whole);
/*
 * The call is refused with this error and leaves no trace. Twice, since the
 * first may leave the kernel's heap warm.
 */
#define REFUSED(error, number, ...)                                            \
    do {                                                                       \
        uint64_t before_ = fake_digest(false);                                 \
        ck_assert_int_eq(CALL(number, __VA_ARGS__), -(error));                 \
        ck_assert_uint_eq(fake_digest(false), before_);                        \
        before_ = fake_digest(true);                                           \
        ck_assert_int_eq(CALL(number, __VA_ARGS__), -(error));                 \
        ck_assert_uint_eq(fake_digest(true), before_);                         \
    } while (0)

/* Capabilities put straight into a slot. */
void fake_cap(struct env *e, unsigned slot, const char *name, uint32_t rights);
