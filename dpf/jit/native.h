/* SPDX-License-Identifier: MIT */
/*
 * Native code of one program: made, kept in the code heap, freed. compile and
 * discard of an engine (dpf/vm/engine.h).
 */
#pragma once

#include "dpf/dpf.h"

#define NATIVE_PASSES 3 /* each knows the distances of the one before */

int native_compile(struct dpf_program *p);
void native_discard(struct dpf_program *p);
