/* SPDX-License-Identifier: MIT */
/*
 * Assertions about dpf's own state, in the builds that tests link
 * (DPF_CHECKED). No packet and no program can make one fail; where one could,
 * the code has a check that is always there instead.
 */
#pragma once

#include <stdbool.h>

#ifdef DPF_CHECKED
#define dpf_assert(x) ((x) ? (void)0 : __builtin_trap())
#else
#define dpf_assert(x) ((void)(false && (x)))
#endif
