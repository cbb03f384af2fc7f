/* SPDX-License-Identifier: MIT */
/*
 * What a driver of an entropy device must offer. It serves where the
 * processor has no generator of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rngdev {
    /* Any processor, any time: false if it has nothing yet. Never waits. */
    bool (*read)(struct rngdev *dev, uint64_t *out);
    void *driver;
};

/* A driver found a device, at boot. The first one is used. */
void entropy_attach(struct rngdev *dev);
