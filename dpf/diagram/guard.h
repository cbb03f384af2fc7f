/* SPDX-License-Identifier: MIT */
/*
 * Guards: what everything behind the lift takes for granted of a diagram, so
 * that lookups read a packet without a check of their own. It is checked of
 * each diagram that the lift made, and of each cube that becomes a shape.
 *
 * A byte is tested only where its base's length is known to reach it. A base
 * is counted from only where, in the same way, all bytes are there that
 * decide where it lies.
 */
#pragma once

#include "dpf/diagram/cube.h"

/*
 * Is `f` made as diagram.h says, and guarded? In time proportional to its
 * edges and bases. False, too, if d->err is set.
 */
bool dd_is_guarded(struct dd *d, uint32_t f);

/* The same of a cube. */
bool cube_is_guarded(const struct dd_base *bases, const struct cube *c);
