/* SPDX-License-Identifier: MIT */
/*
 * The slots of a request ring that the kernel has taken and not given back.
 *
 * The owner word of a slot cannot say that: from the moment when the
 * environment hands the slot over until the kernel gives it back it has one
 * value, and ring 3 can write it. A ring of which every slot is under way
 * looks like one that is full of new requests. So the kernel takes a slot
 * only if it is not in this set, which lies in its own memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SLOTS_WORDS(slots) ((slots) / 64u)

static inline bool slots_have(const uint64_t *set, uint32_t slot)
{
    return (set[slot / 64] >> slot % 64 & 1) != 0;
}

static inline void slots_add(uint64_t *set, uint32_t slot)
{
    set[slot / 64] |= 1ull << slot % 64;
}

static inline void slots_drop(uint64_t *set, uint32_t slot)
{
    set[slot / 64] &= ~(1ull << slot % 64);
}
