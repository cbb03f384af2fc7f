/* SPDX-License-Identifier: MIT */
/*
 * The filters that demux and install measure: connections, and nine other
 * shapes.
 */
#pragma once

#include "dpf/bench/dpdk.h"

/* Filter i of shape 0 to 9, as an expression. */
void bench_expression(uint32_t shape, uint32_t i, char *out, size_t size);
/* Filter `number` of a mix of `shapes`, verified; NULL said why. */
struct dpf_program *bench_filter(uint32_t number, uint32_t shapes);
/* A set of the first n of them; NULL said why. */
struct dpf_set *bench_set(uint32_t n, uint32_t shapes);
/* The keys of the first n filters of shape 0. */
struct connection *bench_connections(uint32_t n);
