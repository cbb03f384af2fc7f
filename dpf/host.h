/* SPDX-License-Identifier: MIT */
/*
 * DPF on the host: what turns text, objects and expressions into bytecode,
 * and bytecode, diagrams and native code back into text. The kernel has none
 * of this; it sees bytecode only.
 *
 * Everything here uses malloc and stdio. Every input is hostile: a reader
 * touches nothing outside the bytes it was given, takes time and memory in
 * proportion to them, and on failure returns -DPF_E_* with err->position (a
 * byte offset into the input) and err->text ("reason; hint").
 */
#pragma once

#include "dpf/dpf.h"

#include <stdio.h>

/* Where one instruction came from. */
struct dpf_line {
    const char *file; /* NULL: the input itself */
    uint32_t line;    /* from 1; 0 = not known */
    uint32_t column;  /* from 1; 0 = not known */
};

/* Bytecode as a front end made it: not verified, owned by the caller. */
struct dpf_code {
    struct dpf_insn *insns;
    size_t count;
    struct dpf_line *lines; /* count of them, or NULL */
    char *names;            /* what lines[].file point into, or NULL */
};
void dpf_code_finish(struct dpf_code *c);

/* One instruction of classic BPF, laid out as libpcap's struct bpf_insn. */
struct dpf_cbpf {
    uint16_t code;
    uint8_t jt, jf;
    uint32_t k;
};

#define DPF_CBPF_MAX 65536u /* instructions of classic BPF accepted */

/*
 * Translate classic BPF. Answers are those of libpcap's own interpreter,
 * with r2 as the wire length: a load outside the packet and a division by
 * zero end with 0; A, X and scratch memory start as 0; a shift by 32 or more
 * gives 0. Linux's metadata loads (negative offsets) are refused.
 *
 * Returns 0, -DPF_E_SYNTAX (err->insn says where), -DPF_E_MEM.
 * Source: libpcap 1.10 bpf_filter.c, pcap-filter(7).
 */
int dpf_from_cbpf(const struct dpf_cbpf *prog, size_t count,
                  struct dpf_code *out, struct dpf_error *err);

/*
 * The output of `tcpdump -ddd`: a count, then "code jt jf k" in decimal, one
 * instruction a line. Returns as dpf_from_cbpf.
 */
int dpf_from_ddd(const char *text, size_t len, struct dpf_code *out,
                 struct dpf_error *err);

/* How dpf_from_expr asks libpcap. */
enum {
    DPF_EXPR_PLAIN = 1u << 0, /* unoptimised code */
    /* for captures of machines of the other byte order: the loopback links
       of BSD keep theirs */
    DPF_EXPR_SWAPPED = 1u << 1,
};

/*
 * A pcap-filter(7) expression for link type `dlt` (DLT_EN10MB = 1), through
 * libpcap. The position of a syntax error is the first word that cannot
 * continue what stands before it.
 */
int dpf_from_expr(const char *expr, int dlt, unsigned flags,
                  struct dpf_code *out, struct dpf_error *err);

/* The same as classic BPF, malloc'ed, as libpcap made it. */
int dpf_expr_cbpf(const char *expr, int dlt, unsigned flags,
                  struct dpf_cbpf **out, size_t *count, struct dpf_error *err);

/* Assembler text in the syntax that dpf_dump_insns prints (dpf.7). */
int dpf_from_asm(const char *text, size_t len, struct dpf_code *out,
                 struct dpf_error *err);

/* DPF atoms with sets and ranges (dpf.7). */
int dpf_from_atoms(const char *text, size_t len, struct dpf_code *out,
                   struct dpf_error *err);

/*
 * Bytes in hexadecimal, with white space or colons between them.
 *
 * out     room for len / 2 bytes
 * *count  how many there are
 *
 * Returns 0 or -DPF_E_SYNTAX.
 */
int dpf_hex_bytes(const char *text, size_t len, uint8_t *out, size_t *count,
                  struct dpf_error *err);

/* The same, eight bytes an instruction. */
int dpf_from_hex(const char *text, size_t len, struct dpf_code *out,
                 struct dpf_error *err);

/* Instructions as they lie in memory. */
int dpf_from_raw(const void *bytes, size_t len, struct dpf_code *out,
                 struct dpf_error *err);

/*
 * A relocatable ELF object of clang -target bpf. `section` names the program
 * (NULL: the only section with code). Relocations are refused: a filter has
 * no data, no maps and no functions beside itself. Line information
 * (.BTF.ext) gives out->lines.
 */
int dpf_from_object(const void *bytes, size_t len, const char *section,
                    struct dpf_code *out, struct dpf_error *err);

/*
 * One instruction as text without a newline; `target` is what a jump's label
 * reads. An instruction without an exact syntax reads as ".quad 0x...", so
 * that dpf_from_asm gives back the same bits for any instruction.
 *
 * Returns the number of 8-byte instructions consumed (2 for a wide load).
 */
size_t dpf_insn_text(const struct dpf_insn *insns, size_t left,
                     const char *target, char *out, size_t size);

/* A program in assembler text. */
void dpf_dump_insns(FILE *f, const struct dpf_insn *insns, size_t count);

/*
 * Native code in assembler text, with offsets from its start.
 * Returns 0 or -DPF_E_MEM.
 */
int dpf_dump_native(FILE *f, const void *code, size_t size);

enum {
    DPF_SYMBOLS_PERF = 1u << 0, /* a line in /tmp/perf-PID.map */
    DPF_SYMBOLS_GDB = 1u << 1,  /* an object that GDB reads */
};

/*
 * Tell perf, GDB or both that `size` bytes of native code at `code` are
 * called `name`. The code must stay until the process ends.
 * Returns 0, -DPF_E_MEM, or -DPF_E_INVAL when the map cannot be written.
 */
int dpf_symbols_add(unsigned to, const char *name, const void *code,
                    size_t size);

/* ---------------------------------------------------------------- diagrams */

/*
 * An atlas holds filters as decision diagrams, for questions and pictures.
 * Filters are numbered from 0 in the order of dpf_atlas_add; programs are
 * borrowed. A part of a filter that cannot be read as tests counts as "may
 * accept". One thread at a time.
 */
struct dpf_atlas;

int dpf_atlas_create(const struct dpf_mem *mem, struct dpf_atlas **out);
void dpf_atlas_destroy(struct dpf_atlas *a);
/* Returns 0 or -DPF_E_MEM. */
int dpf_atlas_add(struct dpf_atlas *a, const char *name,
                  const struct dpf_program *filter);

/*
 * Can a packet be accepted by both filters (overlap), or by filter i and not
 * by k (outside)? 1 with a packet in err->witness, 0 if certainly not,
 * -DPF_E_TOO_BIG or -DPF_E_MEM if that could not be found out.
 */
int dpf_atlas_overlap(struct dpf_atlas *a, size_t i, size_t k,
                      struct dpf_error *err);
int dpf_atlas_outside(struct dpf_atlas *a, size_t i, size_t k,
                      struct dpf_error *err);
/* Has filter i a part that can only be run? */
bool dpf_atlas_opaque(struct dpf_atlas *a, size_t i);

/* Print the tests that decide about one packet; returns the answer. */
bool dpf_atlas_explain(struct dpf_atlas *a, FILE *out, size_t i,
                       const void *packet, size_t len);
/* Print filter i's diagram, node by node. 0 or -DPF_E_MEM. */
int dpf_atlas_print(struct dpf_atlas *a, FILE *out, size_t i);
/*
 * Draw all filters as one decision in Graphviz's language. Long lists of
 * alternatives are cut to a box that counts them.
 * Returns 0, -DPF_E_MEM, -DPF_E_TOO_BIG.
 */
int dpf_atlas_dot(struct dpf_atlas *a, FILE *out);
