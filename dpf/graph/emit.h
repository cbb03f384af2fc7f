/* SPDX-License-Identifier: MIT */
/*
 * Native code from a decision graph.
 */
#pragma once

#include "dpf/graph/decide.h"
#include "dpf/x86_64/encode.h"

#define TABLES_MAX 32u

/* A perfect hash of one C_MEMBER's constants, emitted behind the code. */
struct member_table {
    uint32_t multiplier;   /* odd: a product names its constant uniquely */
    uint8_t shift;         /* 32 - log2(entries) */
    uint16_t first, count; /* constants in decision.set */
    x64_label label;
};

struct filter_code {
    struct x64 *x;
    struct decision *d;
    struct member_table table[TABLES_MAX];
    uint32_t table_count;
    bool failed;     /* out of registers or tables: use the plain code */
    bool plain_used; /* some packet may be sent the plain way */
    size_t bytes;    /* of this allocation */
    struct arrival *arrival; /* per node, in this allocation */
};

/* Room for emitting the code of d; NULL if there is no memory. */
struct filter_code *filter_code_create(struct x64 *x, struct decision *d);
void filter_code_destroy(struct filter_code *c);

/*
 * One pass (dpf/x86_64/encode.h) of code that takes packet and length in rdi
 * and rsi and returns in rax. It jumps to `plain`, with rdi and rsi as they
 * came, for packets that it leaves to the plain code. Sets c->failed if it
 * cannot.
 */
void filter_emit(struct filter_code *c, x64_label plain);
