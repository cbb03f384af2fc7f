/* SPDX-License-Identifier: MIT */
/*
 * Below the encodings: bytes, labels and the distances between them.
 */
#pragma once

#include "dpf/x86_64/encode.h"

/* One byte; the low `bytes` bytes of imm. */
void x64_put(struct x64 *x, uint32_t byte);
void x64_put_imm(struct x64 *x, uint64_t imm, uint32_t bytes);

/* Will a jump from here to l fit one byte? */
bool x64_is_near(const struct x64 *x, x64_label l);
/* Its displacement, of 1 or 4 bytes, to be filled in when l is known. */
void x64_put_jump(struct x64 *x, x64_label l, uint32_t size);
