/* SPDX-License-Identifier: MIT */
#pragma once

#include "src/abi/pte.h"
#include "src/arch.h"
#include "src/kern/blkdev.h"
#include "src/kern/irq.h"
#include "src/kern/netdev.h"
#include "src/lib/log.h"
#include "src/x86_64/mmu.h"

void check(bool ok, const char *what);
void check_protection(void);
void check_ring3(void);
/* The next kick makes another processor send an NMI to the first. */
extern volatile bool nmi_wanted;
struct frame *ring3_trap(uint32_t vector, struct frame *f);
void check_devices(void);
