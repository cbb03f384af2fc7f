/* SPDX-License-Identifier: MIT */
/*
 * What a newer version no longer uses waits here until no lookup can.
 */
#pragma once

#include "dpf/diagram/heap.h"

/* First member of everything that can wait. */
struct retired {
    struct retired *next;
    uint64_t version; /* the first that does without it */
    void (*destroy)(struct heap *h, struct retired *r);
};
