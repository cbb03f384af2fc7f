/* SPDX-License-Identifier: MIT */
/*
 * The peers from DPDK, in a module of their own so that the tool does not
 * depend on it: dpf/bench/dpdk_module.c, built when Debian's libdpdk-dev is
 * there, found beside the tool or in its library folder.
 */
#pragma once

#include "dpf/bench/bench.h"

/* A TCP connection as it lies in a packet, from the source address on. */
struct connection {
    uint8_t source[4], dest[4];
    uint8_t source_port[2], dest_port[2];
};
_Static_assert(sizeof(struct connection) == 12, "as in the packet");

#define NO_OWNER UINT32_MAX

struct dpdk {
    /* rte_bpf: classic BPF converted, checked and compiled; NULL if refused */
    void *(*bpf_make)(const struct bpf_insn *insns, uint32_t count);
    void (*bpf_free)(void *bpf);
    engine_fn *bpf_loop;
    answer_fn *bpf_answer;
    /* rte_hash: keys are connections, looked up 32 at a time */
    void *(*hash_make)(const struct connection *c, uint32_t count);
    void (*hash_free)(void *hash);
    engine_fn *hash_loop;
    answer_fn *hash_answer;
    /* rte_acl: one rule each, classified 32 at a time */
    void *(*acl_make)(const struct connection *c, uint32_t count);
    void (*acl_free)(void *acl);
    engine_fn *acl_loop;
    answer_fn *acl_answer;
};

/* The module, loaded once; NULL and *why. */
const struct dpdk *dpdk_open(const char **why);
