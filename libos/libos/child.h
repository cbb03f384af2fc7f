/* SPDX-License-Identifier: MIT */
/*
 * Making other environments: what a parent does with page_bind, cap_grant and
 * quantum_alloc so that an ELF image runs. The kernel knows no images.
 *
 *     child_create(&c, name, slot, quota, shares)   an empty environment
 *     child_load(&c, image, bytes, &start)          its memory and what it is
 * told child_grant(&c, from, to)                     its authority
 *     child_run(&c, cpu, slices)                    its time
 */
#pragma once

#include "libos/libos/start.h"
#include "src/abi/share.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sysinfo_env;

struct child {
    char name[START_NAME_MAX];
    uint32_t env;  /* id; 0: none */
    uint32_t slot; /* of our list: the name that guards it, CAP_ALL */
};

/*
 * Make an environment. `slot` holds the capability whose name becomes its
 * guard, and that of its memory; it is granted to the child as SLOT_SELF.
 *
 * quota   frames, out of ours
 * shares  entries of the kernel's tables, out of ours
 *
 * Returns 0 or -E_*.
 */
int child_create(struct child *c, const char *name, uint32_t slot,
                 uint64_t quota, const uint32_t shares[SHARE_KINDS]);

/*
 * Bind an ELF image (x86-64, static, pages not both writable and executable)
 * into it, and write `start` to its u-area with name and version filled in.
 *
 * image  may be anything: every field is checked. Not kept
 *
 * Returns 0, -E_INVAL with a reason in *why, or another -E_*.
 */
int child_load(struct child *c, const void *image, size_t bytes,
               struct start_info *start, const char **why);

/* Copy our capability in slot `from` to its slot `to`. */
int child_grant(const struct child *c, uint32_t from, uint32_t to);

/* Give it `slices` slices of `cpu`. Returns how many it got, or -E_*. */
int child_run(const struct child *c, uint32_t cpu, uint32_t slices);

/* What the kernel exposes about it: NULL when its slot was used again. */
const struct sysinfo_env *child_info(const struct child *c);

/* True once it has ended. */
bool child_ended(const struct child *c);
/* How it ended, as one line without a name. */
void child_end_text(const struct child *c, char *text, size_t size);

/* End it. No effect when it has ended. */
void child_destroy(struct child *c);
