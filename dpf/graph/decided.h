/* SPDX-License-Identifier: MIT */
/*
 * Filters compiled as graphs of decisions; compile_graph of an engine.
 */
#pragma once

#include <stdbool.h>

struct compiler; /* dpf/jit/plain.h */

/* Make the code of c->p in c->x, a new encoder. False: there is none, and c->x
 * is as new again. */
bool decided_compile(struct compiler *c);
