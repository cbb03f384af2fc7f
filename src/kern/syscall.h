/* SPDX-License-Identifier: MIT */
/*
 * From a number to a handler; generated from abi/syscall.tab.
 */
#pragma once

#include "src/kern/lock.h"
#include <stdint.h>

struct env;
struct turn;

/*
 * Make the call whose number is `number`.
 *
 * t  a turn that has just begun; its `done` is not 0 when ring 3 says that
 *    the call goes on
 *
 * Returns the result for rax, or TURN_AGAIN. A number that is not ours, or a
 * call that never takes turns and is said to go on: -E_NOSYS.
 */
int64_t syscall_dispatch(struct env *e, uint32_t number, const uint64_t a[6],
                         struct turn *t) EXCLUDES(bind_lock);
