/* SPDX-License-Identifier: MIT */
/*
 * A child that takes all it can of every table of the kernel, and what it
 * shares with the parent that watches it.
 */
#pragma once

#include "libos/libos/start.h"

/* Slots of the child, granted by its parent: the last of them says "begin". */
enum {
    HOARD_NET = SLOT_FREE, /* over HOARD_REGION */
    HOARD_DISK,            /* over HOARD_RANGE */
    HOARD_WORK,            /* its own */
    HOARD_BEGIN
};

#define HOARD_REGION 1u /* in both directions: UDP */
#define HOARD_RANGE 1u

/* Takes until every kind is refused for want of a share, then waits. Ends
   with a status only if something else is refused. */
int hoard(void);
