/* SPDX-License-Identifier: MIT */
/*
 * The engines that dpf.h offers: which code makes native code.
 */
#include "dpf/vm/engine.h"

#include "dpf/demux/demux.h"
#include "dpf/graph/decided.h"
#include "dpf/jit/native.h"
#include "dpf/vm/program.h"

const struct dpf_engine dpf_engine_full = {
    .compile = native_compile,
    .discard = native_discard,
    .compile_graph = decided_compile,
    .interpret = dpf_program_interp,
    .compile_lookup = demux_compile,
    .discard_lookup = demux_discard,
};

const struct dpf_engine dpf_engine_native = {
    .compile = native_compile,
    .discard = native_discard,
    .compile_lookup = demux_compile,
    .discard_lookup = demux_discard,
};
