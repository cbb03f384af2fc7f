/* SPDX-License-Identifier: MIT */
/*
 * Each writes a filter of its own kind: r0 = 0, tests that jump to the end
 * when they fail, r0 = 1. Fields stand in the packet in network order; r3 and
 * r4 are scratch.
 */
#include "tests/unit/kern/attempts.h"
#include "tests/unit/dpf/asm.h"
#include <stdlib.h>

enum { ETHERTYPE = 12, VERSION = 14, FRAGMENT = 20, PROTOCOL = 23, PORT = 36 };
#define TO_END 0x7fff /* patched by end() */

static void emit(struct filter *f, struct dpf_insn insn)
{
    if (f->count == COUNT(f->insn)) {
        abort();
    }
    f->insn[f->count++] = insn;
}

static void begin(struct filter *f)
{
    f->count = 0;
    emit(f, MOV_K(0, 0));
}

static void end(struct filter *f)
{
    emit(f, MOV_K(0, 1));
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->insn[i].off == TO_END) {
            f->insn[i].off = (int16_t)(f->count - i - 1);
        }
    }
    emit(f, EXIT());
}

static void load(struct filter *f, unsigned bits, int at)
{
    emit(f, LOAD(bits == 8 ? BPF_B : bits == 16 ? BPF_H : BPF_W, 3, 1, at));
    if (bits > 8) {
        emit(f, TO_BE(3, bits));
    }
}

static void is(struct filter *f, unsigned bits, int at, int value)
{
    load(f, bits, at);
    emit(f, JUMP_K(BPF_JNE, 3, value, TO_END));
}

static void masked(struct filter *f, unsigned bits, int at, int mask, int value)
{
    load(f, bits, at);
    emit(f, ALU64_K(BPF_AND, 3, mask));
    emit(f, JUMP_K(BPF_JNE, 3, value, TO_END));
}

static void tcp(struct filter *f)
{
    is(f, 16, ETHERTYPE, 0x0800);
    is(f, 8, VERSION, 0x45);
    is(f, 8, PROTOCOL, 6);
}

void filter_victim(struct filter *f, uint16_t port)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    is(f, 16, PORT, port);
    end(f);
}

void filter_later_fragments(struct filter *f)
{
    begin(f);
    tcp(f);
    load(f, 16, FRAGMENT);
    emit(f, ALU64_K(BPF_AND, 3, 0x1fff));
    emit(f, JUMP_K(BPF_JEQ, 3, 0, TO_END));
    is(f, 16, PORT, 80);
    end(f);
}

static void the_same(struct filter *f)
{
    filter_victim(f, 80);
}

static void reordered(struct filter *f)
{
    begin(f);
    is(f, 16, PORT, 80);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    is(f, 8, PROTOCOL, 6);
    is(f, 8, VERSION, 0x45);
    is(f, 16, ETHERTYPE, 0x0800);
    end(f);
}

static void split_into_bytes(struct filter *f)
{
    begin(f);
    is(f, 8, ETHERTYPE + 1, 0x00);
    is(f, 8, ETHERTYPE, 0x08);
    is(f, 8, VERSION, 0x45);
    is(f, 8, PROTOCOL, 6);
    masked(f, 8, FRAGMENT, 0x1f, 0);
    is(f, 8, FRAGMENT + 1, 0);
    is(f, 8, PORT + 1, 80);
    is(f, 8, PORT, 0);
    end(f);
}

static void split_into_bits(struct filter *f)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    for (int bit = 0; bit < 8; bit++) {
        masked(f, 8, PORT + 1, 1 << bit, 80 & 1 << bit);
    }
    is(f, 8, PORT, 0);
    end(f);
}

static void joined_with_a_neighbour(struct filter *f)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    masked(f, 32, PORT - 2, 0xffff, 80); /* both ports in one load */
    end(f);
}

static void shifted_out(struct filter *f)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    load(f, 32, PORT);
    emit(f, ALU64_K(BPF_RSH, 3, 16));
    emit(f, JUMP_K(BPF_JNE, 3, 80, TO_END));
    end(f);
}

static void partial_mask(struct filter *f)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    masked(f, 16, PORT, 0xfff0, 80); /* ports 80 to 95 */
    end(f);
}

static void range_around(struct filter *f)
{
    begin(f);
    tcp(f);
    load(f, 16, PORT);
    emit(f, JUMP_K(BPF_JLT, 3, 79, TO_END));
    emit(f, JUMP_K(BPF_JGT, 3, 81, TO_END));
    end(f);
}

static void one_peer_of_it(struct filter *f)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    is(f, 32, 26, 0x0a000002); /* from 10.0.0.2 only */
    is(f, 16, PORT, 80);
    end(f);
}

static void long_frames_of_it(struct filter *f)
{
    begin(f);
    emit(f, JUMP_K(BPF_JLT, 2, 60, TO_END));
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    is(f, 16, PORT, 80);
    end(f);
}

static void by_header_length(struct filter *f)
{
    begin(f);
    is(f, 16, ETHERTYPE, 0x0800);
    is(f, 8, PROTOCOL, 6);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    load(f, 8, VERSION);
    emit(f, ALU64_K(BPF_AND, 3, 15));
    emit(f, ALU64_K(BPF_LSH, 3, 2));
    emit(f, MOV_X(4, 1));
    emit(f, ALU64_X(BPF_ADD, 4, 3));
    emit(f, LOAD(BPF_H, 3, 4, 16));
    emit(f, TO_BE(3, 16));
    emit(f, JUMP_K(BPF_JNE, 3, 80, TO_END));
    end(f);
}

static void fragments_too(struct filter *f)
{
    begin(f);
    tcp(f);
    is(f, 16, PORT, 80);
    end(f);
}

static void first_fragments(struct filter *f)
{
    begin(f);
    tcp(f);
    masked(f, 16, FRAGMENT, 0x3fff, 0x2000); /* more follow */
    is(f, 16, PORT, 80);
    end(f);
}

static void everything(struct filter *f)
{
    begin(f);
    end(f);
}

static void behind_a_comparison(struct filter *f)
{
    begin(f);
    emit(f, LOAD(BPF_B, 3, 1, 22));
    emit(f, LOAD(BPF_B, 4, 1, 40));
    emit(f, JUMP_X(BPF_JNE, 3, 4, TO_END));
    tcp(f);
    masked(f, 16, FRAGMENT, 0x1fff, 0);
    is(f, 16, PORT, 80);
    end(f);
}

static void behind_a_product(struct filter *f)
{
    begin(f);
    emit(f, LOAD(BPF_B, 3, 1, 40));
    emit(f, LOAD(BPF_B, 4, 1, 41));
    emit(f, ALU64_X(BPF_MUL, 3, 4));
    emit(f, JUMP_K(BPF_JNE, 3, 77, TO_END));
    is(f, 16, PORT, 80);
    end(f);
}

const struct attempt attempts[] = {
    {"the same", the_same, false},
    {"reordered", reordered, false},
    {"split into bytes", split_into_bytes, false},
    {"split into bits", split_into_bits, false},
    {"joined with a neighbour", joined_with_a_neighbour, false},
    {"shifted out", shifted_out, false},
    {"a partial mask", partial_mask, false},
    {"a range around", range_around, false},
    {"one peer of it", one_peer_of_it, false},
    {"long frames of it", long_frames_of_it, false},
    {"by header length", by_header_length, false},
    {"fragments too", fragments_too, false},
    {"first fragments", first_fragments, false},
    {"everything", everything, false},
    {"behind a comparison", behind_a_comparison, true},
    {"behind a product", behind_a_product, true},
};
const unsigned attempt_count = COUNT(attempts);
