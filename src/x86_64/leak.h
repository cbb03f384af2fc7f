/* SPDX-License-Identifier: MIT */
/*
 * Defences against processors that give secrets away by speculation.
 * docs/security.md lists the assumptions about the hardware.
 *
 * kpti  A processor that reads ahead of its check of rights (Meltdown) must
 *       find no kernel in the tables of ring 3. Ring 3 then runs on the
 *       environment's own tables, whose upper half has the way in and nothing
 *       else; ring 0 runs on the kernel's, whose lower half is empty, since
 *       the kernel reaches environments through the direct map alone.
 * ibpb  Who runs next must not jump where who ran before has taught the
 *       predictors to.
 * ibrs  What ring 3 has taught them must not count in ring 0; a mode that is
 *       switched on once.
 *
 * Source: SDM 3A s4.10; Intel 336996; AMD's IBC paper; APM 2 s3.1.7.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct leak { /* entry.S reads the first */
    bool kpti, ibpb, ibrs, auto_ibrs;
};

/* Decided once, before the final tables are built. */
extern struct leak leak;

/* The linker gives it pages of its own. */
#define ENTRY_DATA __attribute__((section(".bss.entry"), aligned(4096)))

/*
 * Decide by what the processor says and by the boot words kpti= and ibpb=
 * (auto, on, off), and log the decision.
 */
void leak_init(const char *cmdline);
/* Switch on the modes of this processor. */
void leak_cpu_init(void);
/* From now on the processor ignores branch predictions that ring 3 trained. */
void leak_barrier(void);
