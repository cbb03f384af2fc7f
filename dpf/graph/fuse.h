/* SPDX-License-Identifier: MIT */
/*
 * Making a decision graph smaller (decide.h tells what is allowed and why).
 */
#pragma once

#include "dpf/graph/decide.h"

/* Fuse nodes, put the rest in order, fill in `need`, `guard`, `preds`. */
void fuse(struct decision *d);
