/* SPDX-License-Identifier: MIT */
/*
 * Time: a vector of slices per processor, swept round robin. Slice `slice` of
 * processor `cpu` belongs to one environment or is free. An environment may own
 * many slices, on one processor or on several, and runs on one processor at a
 * time.
 * Source: Engler95 s5.1.1.
 */
#pragma once

#define QUANTUM_SLOTS 64u       /* slices in one processor's vector */
#define QUANTUM_US 1000u        /* length of a slice */
#define QUANTUM_GRACE_US 100u   /* until the kernel looks at an epilogue */
#define QUANTUM_OVERRUN_MAX 8u  /* slices of debt at which it is destroyed */
#define QUANTUM_ANY 0xffffffffu /* quantum_alloc: any free slice */
