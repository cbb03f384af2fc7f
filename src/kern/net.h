/* SPDX-License-Identifier: MIT */
#pragma once
#include "src/kern/netdev.h"
#include "src/kern/quantum.h"
void net_poll(struct cpu *c);
