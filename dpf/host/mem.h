/* SPDX-License-Identifier: MIT */
/*
 * struct dpf_mem for a host program: malloc, and executable memory that is
 * never writable.
 */
#pragma once

#include "dpf/dpf.h"

/*
 * Fill `mem`, with its code heap started. Where the system gives no
 * executable memory the code members stay NULL and everything interprets.
 * After a fork the code is shared with the parent: the child may run what
 * there is, as long as the parent keeps it, and makes a new dpf_mem to
 * compile more (creating from this one gives -DPF_E_MEM).
 *
 * Returns 0 or -DPF_E_MEM.
 */
int dpf_host_mem_init(struct dpf_mem *mem);

/* Undo it; no object made from `mem` is left. Accepts a zeroed `mem`. */
void dpf_host_mem_finish(struct dpf_mem *mem);
