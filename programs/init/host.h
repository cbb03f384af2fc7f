/* SPDX-License-Identifier: MIT */
/*
 * What the host answers when nobody else does: ARP for its address, echo
 * requests, resets for ports that nobody serves; and its lease.
 */
#pragma once

#include "programs/init/config.h"
#include "programs/init/space.h"
#include <stdbool.h>

#define CHILDREN_MAX 8u

/*
 * Open the device and find an address: the static one, or a lease, waiting at
 * most ten seconds for it. False, after saying why, when there is no network
 * to be had.
 */
bool host_open(struct host *h, const struct config *c);

/*
 * Answer from now on. `shared` is the region of ARP, `slot` its capability.
 */
bool host_answer(const struct host *h, uint32_t slot, uint32_t shared);

/* Child `n` has the ports of `p`: leave what is said on them unanswered. Then:
   it has ended. */
void host_away(unsigned n, const struct program *p);
void host_home(unsigned n);

/* One turn of the stack, then sleep until it has work or `deadline_ns`. */
void host_turn(uint64_t deadline_ns);
