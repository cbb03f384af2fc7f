/* SPDX-License-Identifier: MIT */
/*
 * Lift: from a verified filter to a diagram.
 *
 * The program is run symbolically over its control-flow graph. Paths that
 * meet at an instruction with the same live values are followed once, so
 * that the work is bounded by what the program can distinguish and not by
 * the number of its paths. A test that cannot be read joins both branches:
 * packets on which they differ reach DD_MAYBE. So the diagram is exact where
 * it says YES or NO, whatever the program does elsewhere.
 */
#pragma once

#include "dpf/filter/diagram.h"

/*
 * The diagram of `count` verified instructions; DD_MAYBE where the program
 * must be run to know.
 *
 * Returns 0 and the root in *out, or -DPF_E_MEM. A program that would grow
 * the diagram beyond d->edge_limit is read less far instead.
 */
int dd_lift(struct dd *d, const struct dpf_insn *insns, size_t count,
            uint32_t *out);
