/* SPDX-License-Identifier: MIT */
/*
 * The exposed state: the kernel keeps these tables where environments read
 * them, so that there is no second copy.
 */
#pragma once

#include "src/abi/sysinfo.h"
#include "src/kern/lock.h"

/* Make the exposed pages. 0 or -E_MEM. Before any environment is made. */
int sysinfo_init(const struct boot_info *info) REQUIRES(bind_lock);

struct sysinfo *sysinfo(void);
struct sysinfo_env *sysinfo_env(uint32_t index);
/* The SHARE_KINDS counts of one environment. */
struct share_count *sysinfo_shares(uint32_t index);
struct sysinfo_cpu *sysinfo_cpu(unsigned cpu);
struct sysinfo_span *sysinfo_span(unsigned cpu);
/* The ids of the owners of a processor's slices. */
uint32_t *sysinfo_vector(unsigned cpu);
