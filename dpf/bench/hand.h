/* SPDX-License-Identifier: MIT */
/*
 * The peer "hand": what an expert writes in C for one job only, the owner of
 * a TCP connection over IPv4. No branch depends on the packet but its two
 * checks of length.
 */
#pragma once

#include "dpf/bench/dpdk.h"

struct hand;
struct hand *hand_make(const struct connection *c, uint32_t count);
void hand_free(struct hand *h);
engine_fn hand_loop;
answer_fn hand_answer;
