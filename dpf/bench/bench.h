/* SPDX-License-Identifier: MIT */
/*
 * Measuring. A contest is a set of engines that do the same work; each is
 * checked against known answers before anything is timed, then all are timed
 * in turns, round by round, and medians are reported. The cost of an empty
 * call in the same loop is taken off.
 */
#pragma once

#include "dpf/cli/cli.h"

#define BENCH_ENGINES 16

/* Packets in slots of one size, and the right answer for each. */
struct traffic {
    uint8_t *bytes;
    uint32_t slot; /* bytes */
    uint32_t count;
    uint16_t *len;
    uint32_t *want; /* owner, or 1 and 0 for a single filter */
    /*
     * The packets in the order of one pass: `visits` random picks, more than a
     * branch predictor can learn.
     */
    uint32_t *order;
    uint32_t visits;
};

static inline uint32_t traffic_len(const struct traffic *t, uint32_t visit)
{
    return t->len[t->order[visit]];
}

static inline const uint8_t *traffic_at(const struct traffic *t, uint32_t visit)
{
    return t->bytes + (size_t)t->order[visit] * t->slot;
}

/* Classify the packets of one pass, one after the other; a sum of answers. */
typedef uint64_t engine_fn(void *ctx, const struct traffic *t);
/* The answer for one packet, to be checked. */
typedef uint32_t answer_fn(void *ctx, const uint8_t *packet, uint32_t len);

struct engine {
    const char *name;
    engine_fn *loop;
    answer_fn *answer;
    void *ctx;
    uint32_t share; /* time one visit in `share`; 0 and 1: all */
    /* results */
    bool correct;
    double ns, ns_min, ns_q75, cycles;
};

struct contest {
    const char *workload;
    uint32_t n; /* filters */
    struct engine engines[BENCH_ENGINES];
    size_t count;
};

/* How long and how to print. */
struct bench {
    bool json, first;
    unsigned rounds;
    double round_seconds; /* per engine and round */
    double tsc_ghz, empty_ns;
    struct traffic real; /* from captures; count 0 = none */
};

void contest_add(struct contest *c, const char *name, engine_fn *loop,
                 answer_fn *answer, void *ctx);
/* Check, time and print. False if no engine was correct. */
bool contest_run(struct bench *b, struct contest *c, const struct traffic *t);
/* Say once why a peer is not in the table. */
void bench_skip(struct bench *b, const char *engine, const char *why);

/* A row of another shape: microseconds and bytes (install). */
void bench_row(struct bench *b, const char *workload, const char *engine,
               uint32_t n, double us[3], double bytes);

double bench_now(void);                          /* seconds */
int bench_compare(const void *a, const void *b); /* doubles, for qsort */

bool traffic_make(struct traffic *t, uint32_t count, uint32_t slot);
void traffic_finish(struct traffic *t);
/* Choose the order; call when `count` is final. */
bool traffic_shuffle(struct traffic *t);
uint32_t bench_random(uint32_t n); /* 0 .. n - 1, the same every time */

int bench_single(struct bench *b);
int bench_demux(struct bench *b);
int bench_install(struct bench *b);

/* ------------------------------------------------------------------ peers */

typedef uint64_t native_fn(const uint8_t *packet, uint64_t len);

/* C made from bytecode, compiled by clang -O2; NULL and *why if it cannot. */
struct clang_code {
    void *library;
    native_fn *run;
};
bool clang_make(struct clang_code *c, const struct dpf_insn *insns,
                size_t count, const char **why);
void clang_finish(struct clang_code *c);

/*
 * The machine code that the running kernel's JIT makes of bytecode, called
 * from here.
 */
struct jit_context {
    const uint8_t *data, *data_end; /* struct xdp_buff begins so */
    uint64_t rest[16];
};
typedef uint64_t jit_fn(struct jit_context *c);
struct jit_code {
    jit_fn *run;
};
bool jit_make(struct jit_code *c, const struct dpf_insn *insns, size_t count,
              const char **why);
void jit_finish(struct jit_code *c);
/* Loading alone, as an installation does it; an fd, or -1 and *why. */
int jit_load(const struct dpf_insn *insns, size_t count, const char **why);
