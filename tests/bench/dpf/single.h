/* SPDX-License-Identifier: MIT */
/*
 * What bench_single measures on: the expressions, the traffic, and the C that
 * a program's bytecode reads as.
 */
#pragma once

#include "dpf/dpf.h"
#include <stdio.h>

struct expression {
    const char *name;
    const char *text;
};

extern const struct expression bench_expressions[];
extern const size_t bench_expression_count;

#define TRAFFIC_SLOT 256u /* bytes reserved for a packet */

struct traffic {
    const char *name;
    uint8_t *bytes; /* count slots of TRAFFIC_SLOT */
    uint16_t *len;
    uint32_t count;
    bool ordered; /* keep the order in every round */
};

/* Seeded; the same on every machine. */
void traffic_mixed(struct traffic *t, uint32_t count);
/* One packet, over and over: TCP over IPv4 with data, to port 80. */
void traffic_hot(struct traffic *t, uint32_t count);
/* The Ethernet packets of capture files, cut to TRAFFIC_SLOT bytes. */
bool traffic_real(struct traffic *t, uint32_t count, char **paths, int n);
void traffic_free(struct traffic *t);

/* The verified program as a C function `name`, every access checked. */
void write_c(FILE *f, const char *name, const struct dpf_program *p);
