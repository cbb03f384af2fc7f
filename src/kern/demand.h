/* SPDX-License-Identifier: MIT */
/*
 * A system call first checks all that it demands and only then changes
 * anything. The checks are a list, one a line, in the order in which they are
 * refused; these are its two forms. After the first change to shared state
 * neither may stand: there nothing can fail any more.
 */
#pragma once

#include "src/abi/err.h"

/* Leave with an error of abi/err.h if the condition holds. */
#define REFUSE_IF(condition, error)                                            \
    do {                                                                       \
        if (condition) {                                                       \
            return -(error);                                                   \
        }                                                                      \
    } while (0)

/* Leave with what a check returned if that is an error. */
#define TRY(check)                                                             \
    do {                                                                       \
        int checked = (check);                                                 \
        if (checked < 0) {                                                     \
            return checked;                                                    \
        }                                                                      \
    } while (0)
