/* SPDX-License-Identifier: MIT */
/*
 * Downloaded code, for every program type: loading, and the memory that dpf
 * and its programs live in.
 */
#pragma once

#include "dpf/dpf.h"
#include "src/kern/aspace.h"
#include "src/kern/lock.h"

#define CODE_INSNS_MAX DPF_KERNEL_INSNS_MAX /* of one program */

/* What dpf gets its memory from. */
extern const struct dpf_mem code_mem;

/* Bytes that a program of `count` instructions may cost: charged at first. */
uint64_t code_cost(uint32_t count);
/*
 * It is made: charge for what was taken.
 *
 * before   kheap_bytes() when it was begun
 * charged  by code_cost so far; changed to what was taken
 *
 * 0 or -E_QUOTA; then nothing changed.
 */
int code_charge(struct env *e, uint64_t before, uint32_t *charged)
    REQUIRES(bind_lock);

/*
 * Copy, verify and compile a program of `e`; a filter with a loop is refused.
 *
 * insns  address of struct dpf_insn[count]
 * err    why it was refused, or NULL
 *
 * Returns 0, -E_INVAL (no instructions or too many), -E_FAULT, -E_VERIFY,
 * -E_MEM.
 */
int code_load(const struct env *e, enum dpf_type type, uaddr insns,
              uint32_t count, struct dpf_program **out, struct dpf_error *err)
    REQUIRES(bind_lock);

/*
 * From now on, or no more, dpf lets other processors have bind_lock for a
 * moment now and then, while it works for this one. The caller has made sure
 * that what it changes is left alone (net_space_changes), or is its own, and
 * afterwards believes nothing that others may have changed.
 */
void code_lend(bool lends) REQUIRES(bind_lock);

/* The error of a system call for one of dpf's. */
int code_error(int dpf);
