/* SPDX-License-Identifier: MIT */
/* Filters that try to take packets which belong to somebody else. */
#pragma once

#include "dpf/dpf.h"
#include <stdbool.h>

struct filter {
    struct dpf_insn insn[64];
    uint32_t count;
};

struct attempt {
    const char *name;
    void (*write)(struct filter *f);
    bool opaque; /* in part: no packet may be known that it accepts */
};

/* IPv4 without options, TCP, no later fragment, to this port. */
void filter_victim(struct filter *f, uint16_t port);
/* Later fragments whose bytes look like the victim's. */
void filter_later_fragments(struct filter *f);

extern const struct attempt attempts[];
extern const unsigned attempt_count;
