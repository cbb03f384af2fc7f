/* SPDX-License-Identifier: MIT */
/*
 * Packet space: can a packet be in this set, and which one is?
 *
 * A diagram treats a byte counted from a header's end and a byte counted from
 * the packet's start as two, though they are one byte when the header has
 * that length. So a diagram that is not NO may still be empty. Here every
 * length is tried: with it known, all bytes count from the packet's start
 * and any path is a packet.
 */
#pragma once

#include "dpf/diagram/diagram.h"

struct witness {
    uint32_t len; /* 0 if none shorter than DPF_WITNESS_MAX was found */
    uint8_t packet[DPF_WITNESS_MAX];
};

/*
 * Does any packet reach YES in the two-valued diagram `f`? Nodes made on the
 * way are forgotten.
 *
 * Returns 1 (with a witness), 0 if certainly none does, or -DPF_E_TOO_BIG,
 * -DPF_E_MEM if that could not be found out.
 */
int space_find(struct dd *d, uint32_t f, struct witness *out);

/*
 * `f` with the bases that it pins to one place counted from there: so that
 * "the header is 20 bytes long and byte 2 after it is 80" and "... and byte
 * 36 is 80" are one diagram. May return f unchanged.
 */
uint32_t space_settle(struct dd *d, uint32_t f);
