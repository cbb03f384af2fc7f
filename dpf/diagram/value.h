/* SPDX-License-Identifier: MIT */
/*
 * What a register can hold while a filter is read symbolically. Arithmetic
 * follows RFC 9669 exactly or yields VAL_UNKNOWN; nothing is approximated.
 */
#pragma once

#include "dpf/diagram/cube.h"
#include "dpf/dpf.h"

#define VAL_BITS_MAX 8u

enum val_kind {
    VAL_UNKNOWN,
    VAL_CONST,  /* k */
    VAL_BITS,   /* ((bits | ones) + k) mod 2^width */
    VAL_LEN,    /* (packet length + k) mod 2^width */
    VAL_SUM,    /* value of base + k, as a signed number */
    VAL_PACKET, /* pointer into the packet, base + k */
    VAL_STACK,  /* frame pointer + k */
    VAL_CONT,   /* on the stack: upper half of the value before */
};

/* All bytes count when two are compared: make them from {0}. */
struct val {
    uint8_t kind;
    uint8_t count; /* of bits */
    uint8_t width; /* 32 or 64; 64 where k is 0 */
    uint8_t zero;
    uint32_t base;
    uint64_t k;
    uint64_t ones;
    struct dd_bits bits[VAL_BITS_MAX]; /* ascending dst, not overlapping */
};

/* Where a value of kind VAL_SUM, VAL_PACKET or VAL_STACK lies. */
static inline struct dd_pos val_pos(const struct val *v)
{
    return (struct dd_pos){v->base, v->k};
}

/* `size` bytes of the packet, as a little-endian machine loads them. */
void val_load(struct val *v, struct dd_at at, uint32_t size);

void val_const(struct val *v, uint64_t k);
void val_truncate(struct val *v);

/* a = a op b, for the ALU instruction `in` of either width (not BPF_END). */
void val_alu(struct dd *d, const struct dpf_insn *in, struct val *a,
             const struct val *b);
/* a = a after the byte swap or truncation `in`. */
void val_end(const struct dpf_insn *in, struct val *a);

#define VAL_OPAQUE (DD_TERM | 3u) /* the test cannot be read */

/*
 * The packets for which the jump `in`, not JNE nor JSET, on (a, b) is taken,
 * or VAL_OPAQUE. For JMP32 both are truncated (val_truncate) already.
 */
uint32_t val_test(struct dd *d, const struct dpf_insn *in, const struct val *a,
                  const struct val *b);

/*
 * Ask cube `c` for packets in which v, of kind VAL_BITS, without its sum is
 * `k`. False if no packet is in both, or if the cube has no room.
 */
bool val_is(const struct val *v, uint64_t k, struct cube *c);

/*
 * The packets with at least `n` >= 1 bytes from `base` on. What lies n bytes
 * into a base lies n bytes into every base within it (dd_base_within): of the
 * chain of headers that leads there, it is said explicitly, so that two ways to
 * write it give one diagram. val_base_ge leaves out base 0, the packet's start.
 */
uint32_t val_base_ge(struct dd *d, uint32_t base, uint32_t n);
uint32_t val_len_ge(struct dd *d, uint32_t base, uint32_t n);
/* Ask cube `c` for what val_base_ge says. False if it has no room. */
bool val_base_in(const struct dd *d, uint32_t base, uint32_t n, struct cube *c);
