/* SPDX-License-Identifier: MIT */
/*
 * From a diagram back to a program, which is verified and compiled as any
 * other. So a filter can be asked for what was judged, in a few nanoseconds:
 * the diagram decides, and where it says MAYBE the filter's own program does.
 */
#pragma once

#include "dpf/diagram/cube.h"

#define LOWER_INSNS_MAX 1024u /* that the diagram itself may become */

/*
 * The program of diagram `f`, whose every test is guarded (guard.h).
 *
 * within  packets that it will be asked about, as a cube; NULL: any. What all
 *         of them have is not tested again
 * rest    decides where f says MAYBE; may be NULL if it never does
 *
 * Nodes made on the way stay. Returns 0, or d->err, -DPF_E_TOO_BIG if it were
 * too long, -DPF_E_MEM.
 */
int dd_lower(struct dd *d, uint32_t f, const struct cube *within,
             const struct dpf_mem *mem, const struct dpf_program *rest,
             struct dpf_program **out);
