/* SPDX-License-Identifier: MIT */
/*
 * The first environment: the only program image that the kernel reads.
 */
#pragma once

#include "src/kern/env.h"

/*
 * Make the first environment from boot module 0: all modules' frames and all
 * memory in its quota, the root capability in slot 0, slice 0 of processor 0.
 * 0, -E_NONE (no module), -E_INVAL (not a static ELF64 program of ours), or
 * what making it returned.
 */
int elf_first(const struct boot_info *info) REQUIRES(bind_lock);

/*
 * Bind copies of the image's segments in `e` and set its entry.
 *
 * image  `size` bytes, which may lie in every respect
 *
 * 0, -E_INVAL, -E_RANGE, -E_QUOTA, -E_MEM; on error some may be bound.
 */
int elf_load(struct env *e, const void *image, size_t size) REQUIRES(bind_lock);
