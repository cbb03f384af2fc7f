/* SPDX-License-Identifier: MIT */
/*
 * Between decode.c and verify.c: how a refusal is worded.
 */
#pragma once

#include "dpf/vm/program.h"
#include "dpf/vm/text.h"

/* A refusal under construction. */
struct refusal {
    struct dpf_error *err; /* never NULL */
    struct text text;
};

/*
 * Begin a refusal: fills err's code, insn and rule and starts its text with
 * the instruction's number. The caller appends the reason to r->text.
 */
void refuse(struct refusal *r, uint32_t insn, const char *rule);

/*
 * Check everything that needs no data flow: known opcodes, reserved fields
 * zero, registers in range, jumps that land on instructions. Sets the
 * NOTE_TARGET and NOTE_SECOND flags of p->notes, p->has_loop and p->has_call.
 *
 * Returns 0 or -DPF_E_VERIFY with the refusal written.
 */
int decode_check(struct dpf_program *p, struct refusal *r);
