/* SPDX-License-Identifier: MIT */
/*
 * A lifted filter is read a second time, in another way: packets made from
 * its diagram are given to its program. What the lift took for granted is
 * checked here, so that neither it nor its values need be trusted (docs/
 * verifier.md): a diagram that is not guarded, or differs from the program on
 * a packet, is not used.
 */
#pragma once

#include "dpf/diagram/cube.h"

#define CONFIRM_MAX 192u /* packets for one filter */

/*
 * Confirm what dd_lift returned, which is `lifted`, *cube and *f, of `filter`.
 * If that does not hold, *f becomes DD_MAYBE and *misread true. Returns as
 * dd_lift. Without fuel fewer packets are tried; without even that for the
 * guards, *f becomes DD_MAYBE.
 */
int dd_confirm(struct dd *d, const struct dpf_program *filter, int lifted,
               struct cube *cube, uint32_t *f, bool *misread);

/* Lift and confirm; as dd_lift. */
int dd_read(struct dd *d, const struct dpf_program *filter, struct cube *cube,
            uint32_t *f, bool *misread);
