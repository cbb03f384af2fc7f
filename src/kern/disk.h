/* SPDX-License-Identifier: MIT */
/*
 * Disks: ranges of blocks by capability, request rings. One lock a disk
 * covers the driver, its requests and the rings.
 */
#pragma once

#include "src/abi/disk.h"
#include "src/kern/blkdev.h"
#include "src/kern/env.h"

#define DISK_RANGES_MAX 64u
#define DISK_RINGS_MAX 64u

/*
 * Begin requests that an interrupt or a call left behind because it had begun
 * enough: a bounded number again. False if there was none. The scheduler calls
 * it before each slice and does not go idle until it says false.
 */
bool disk_turn(void);

struct turn;
/* Free what `e` holds: rings, ranges. False: the turn ended first. */
bool disk_env_end(struct env *e, struct turn *t) REQUIRES(bind_lock);

#define DISK_REVOKE_STEPS                                                      \
    (SYSINFO_DISKS_MAX * (DISK_RINGS_MAX + DISK_RANGES_MAX))
/*
 * Break rings and ranges that rest on a revoked name. `at` counts what was
 * looked at, in this turn and before. False: the turn ended first.
 */
bool disk_revoke(const struct revocation *r, uint32_t *at, struct turn *t)
    REQUIRES(bind_lock);
