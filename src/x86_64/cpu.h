/* SPDX-License-Identifier: MIT */
/*
 * One processor: what the kernel keeps for it, and its control registers.
 */
#pragma once

#include "src/arch.h"
#include "src/x86_64/asm.h"
#include <stdbool.h>
#include <stdint.h>

/* SDM 3A s8.7. */
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7]; /* ist[n] is stack n + 1 of a gate */
    uint64_t reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));

/*
 * STACK_ENTRY is where interrupts from ring 3 arrive, and leave, while the
 * tables of ring 3 are without the kernel (leak.h); a few words are on it.
 */
enum cpu_stack {
    STACK_KERNEL,
    STACK_NMI,
    STACK_DOUBLE,
    STACK_CHECK,
    STACK_ENTRY,
    STACKS
};

struct core {
    struct core *self;
    uint64_t stack_top; /* where entry.S goes; see asm.h */
    uint64_t user_rsp;  /* for some instructions, in entry.S */
    uint64_t kernel_cr3, user_cr3, entry_stack; /* if leak.kpti */
    uint32_t index;
    uint32_t apic_id;
    uint64_t root;    /* physical: the addressing context that is loaded */
    uint64_t trained; /* the last of ring 3: it has trained the predictors */
    uint32_t flush;   /* another processor wants translations forgotten */
    bool online;
    bool idle; /* interrupts from ring 0 are expected: arch_idle, _breathe */
    struct tss tss;
    uint64_t gdt[GDT_WORDS];
};

/*
 * Features of the processor model; all processors are taken to have the same.
 */
struct cpu_features {
    bool smep, smap, umip, x2apic, tsc_deadline, rdrand, rdseed, page_1g;
    bool emulated; /* by QEMU: nothing is speculated */
};

extern struct cpu_features cpu_has;

/* By index. */
struct core *cpu_get(unsigned index);
/* The running processor's own. */
struct core *cpu_self(void);
unsigned cpus_known(void);
/* A processor found in the firmware's table; false if there are too many. */
bool cpu_add(uint32_t apic_id);

/* Fill cpu_has, and say in one line what there is. */
void cpu_detect(void);
/* Load descriptor tables and control registers; stacks as cpu_stacks says. */
void cpu_init(struct core *cpu);
void cpu_stacks(struct core *cpu, const uint64_t top[STACKS]);
