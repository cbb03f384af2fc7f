/* SPDX-License-Identifier: MIT */
/*
 * A growing program with labels, which the text front ends write into.
 *
 * Errors are sticky: emitters may be called after a failure and do nothing;
 * code_take reports it once. Jumps name labels, never distances; one that
 * cannot reach its label in 16 bits is widened when the program is taken.
 */
#pragma once

#include "dpf/host.h"
#include "dpf/vm/isa.h"

#define CODE_NO_LABEL UINT32_MAX

struct code {
    struct dpf_insn *insns;
    uint32_t *label_of;  /* per instruction: the label it jumps to */
    struct dpf_line *at; /* per instruction: where it came from */
    size_t count, room;
    uint32_t *labels; /* per label: index of its instruction */
    uint32_t label_count, label_room;
    struct dpf_line here; /* of the instructions emitted next */
    int err;              /* -DPF_E_*, sticky */
};

void code_finish(struct code *c);

void code_emit(struct code *c, struct dpf_insn insn);
/* class|op|K: dst op= imm; and class|op|X: dst op= src */
void code_k(struct code *c, int opcode, int dst, int32_t imm);
void code_x(struct code *c, int opcode, int dst, int src);
/* dst = *(size *)(src + off), and the bytes turned into host order */
void code_load_be(struct code *c, int dst, int src, int16_t off, int width);
void code_load64(struct code *c, int dst, uint64_t value);
/* jumps to a label, compared with a constant or a register */
void code_jump_k(struct code *c, int opcode, int dst, int32_t imm,
                 uint32_t label);
void code_jump_x(struct code *c, int opcode, int dst, int src, uint32_t label);
void code_goto(struct code *c, uint32_t label);
/* r0 = value; exit */
void code_return(struct code *c, uint32_t value);

uint32_t code_label(struct code *c);
/* The label is the place of the next instruction. */
void code_place(struct code *c, uint32_t label);
bool code_placed(const struct code *c, uint32_t label);

/*
 * Resolve the jumps and move the program into `out`; `c` is finished in
 * either case. A label that was used must have been placed.
 */
int code_take(struct code *c, bool lines, struct dpf_code *out,
              struct dpf_error *err);

/* Fill `err` (may be NULL) and return `code`. */
int front_fail(struct dpf_error *err, int code, size_t position,
               const char *format, ...) __attribute__((format(printf, 4, 5)));
