/* SPDX-License-Identifier: MIT */
/*
 * Where sets are tried: memory for each engine, and packets that end where
 * nothing is mapped.
 */
#pragma once

#include "dpf/dpf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Merged code, the plain lookup, merged code and plain programs. */
#define ENGINES 3u

extern struct dpf_mem mem[ENGINES];
extern uint64_t scenario; /* the one that runs */

void world_start(void);
/* Name the scenario if it crashes, or takes a minute of processor. */
void world_guard(void);
/* From now on that minute counts anew. */
void world_time(void);
/* The packet, of at most 4096 bytes, where it ends at an unmapped page. */
const uint8_t *world_place(const void *packet, size_t len);
/* Does the interpreter accept it? */
bool world_interp(const struct dpf_program *p, const void *packet, size_t len);
/* The program of a text; ends the test if it is refused. */
struct dpf_program *world_program(uint32_t engine, const char *text);
/*
 * Does a binding like that of `model`, whose fields `f` are, with `n` other
 * constants, accept the packet? It does if the packet has these, and with the
 * model's in their place the model accepts it.
 */
bool world_like(const struct dpf_program *model, const struct dpf_field *f,
                const struct dpf_const *consts, uint32_t n,
                const uint8_t *packet, size_t len);
