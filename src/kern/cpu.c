/* SPDX-License-Identifier: MIT */
#include "src/kern/cpu.h"

struct cpu cpu_table[ARCH_CPUS_MAX];
