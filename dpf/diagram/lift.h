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

#include "dpf/diagram/cube.h"

/*
 * The diagram of `count` verified instructions; DD_MAYBE where the program
 * must be run to know. If `cube` is not NULL and the program is a conjunction
 * of equalities, the cube that space_settle and cube_split would make of the
 * diagram may come instead, in half the time.
 *
 * Returns 0 and the root in *out, 1 and the cube in *cube, or -DPF_E_MEM. A
 * program that would grow the diagram beyond d->edge_limit is read less far
 * instead; so is one that takes more than half of the fuel to read. Of one
 * that takes more than all of it, *out is DD_MAYBE.
 */
int dd_lift(struct dd *d, const struct dpf_insn *insns, size_t count,
            struct cube *cube, uint32_t *out);
