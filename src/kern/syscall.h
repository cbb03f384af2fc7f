/* SPDX-License-Identifier: MIT */
/*
 * From a number to a handler; generated from abi/syscall.tab.
 */
#pragma once

#include "src/kern/lock.h"
#include <stdint.h>

struct env;

/* The result for rax. A number that is not ours: -E_NOSYS. */
int64_t syscall_dispatch(struct env *e, uint64_t number, const uint64_t a[6])
    EXCLUDES(bind_lock);
