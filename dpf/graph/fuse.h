/* SPDX-License-Identifier: MIT */
/*
 * Making a decision graph smaller (decide.h lists the allowed steps and the
 * reasons).
 */
#pragma once

#include "dpf/graph/decide.h"

/* Fuse nodes, put the rest in order, fill in `need`, `guard`, `preds`. */
void fuse(struct decision *d);
