/* SPDX-License-Identifier: MIT */
/*
 * The filter builder. A test is a load into r0 and a jump that leaves the
 * alternative; the jump's target is filled in when the alternative ends. Loads
 * are little endian, so constants are swapped here instead of in the packet's
 * path. Offsets: Ethernet II, RFC 791 s3.1, RFC 826.
 *
 * What arrives has its ports behind a header whose length it says itself (RFC
 * 1122 s3.2.1.8: options that we do not know are passed over). The kernel's
 * demultiplexer takes the length for five words and checks that, so that the
 * usual packet costs no more than at fixed offsets.
 */
#include "libos/libos/filter.h"

enum {
    OP_LDXB = 0x71,
    OP_LDXH = 0x69,
    OP_LDXW = 0x61,
    OP_JNE32 = 0x56,  /* BPF_JMP32 | BPF_JNE | BPF_K */
    OP_JSET32 = 0x46, /* BPF_JMP32 | BPF_JSET | BPF_K */
    OP_AND32 = 0x54,  /* BPF_ALU32 | BPF_AND | BPF_K */
    OP_LSH32 = 0x64,  /* BPF_ALU32 | BPF_LSH | BPF_K */
    OP_MOV_X = 0xbf,  /* BPF_ALU64 | BPF_MOV | BPF_X */
    OP_ADD_X = 0x0f,  /* BPF_ALU64 | BPF_ADD | BPF_X */
    OP_MOV = 0xb7,    /* BPF_ALU64 | BPF_MOV | BPF_K */
    OP_EXIT = 0x95,
};

enum {
    ETH_SOURCE = 6,
    ETH_TYPE = 12,
    IP_VERSION = 14,
    IP_FRAGMENT = 20,
    IP_PROTOCOL = 23,
    IP_SOURCE = 26,
    IP_TARGET = 30,
    L4_SOURCE = 34,
    L4_TARGET_IN = 2, /* in the header behind IPv4's */
    ICMP_TYPE_IN = 0,
    ARP_SENDER_MAC = 22,
    ARP_SENDER_IP = 28,
};

#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define ETHERNET 14
#define NO_OPTIONS 0x45u
#define IP_WORDS 0x0fu
#define FRAGMENT_OFFSET 0x1fffu
#define LATER INT16_MIN /* jump to the end of the alternative */

static void emit(struct filter *f, unsigned op, unsigned regs, int16_t off,
                 uint32_t imm)
{
    if (f->count < FILTER_INSNS_MAX) {
        f->insn[f->count++] = (struct dpf_insn){
            .opcode = (uint8_t)op,
            .regs = (uint8_t)regs,
            .off = off,
            .imm = (int32_t)imm,
        };
    } else {
        f->count = FILTER_INSNS_MAX + 1;
    }
}

static uint32_t network(uint64_t value, unsigned bytes)
{
    return bytes == 1   ? (uint32_t)value & 0xff
           : bytes == 2 ? __builtin_bswap16((uint16_t)value)
                        : __builtin_bswap32((uint32_t)value);
}

static void load(struct filter *f, int16_t offset, unsigned bytes)
{
    emit(f,
         bytes == 1   ? OP_LDXB
         : bytes == 2 ? OP_LDXH
                      : OP_LDXW,
         0x10, offset, 0);
}

void filter_begin(struct filter *f)
{
    f->count = 0;
    f->opened = 0;
}

void filter_match(struct filter *f, int16_t offset, unsigned bytes,
                  uint64_t value)
{
    if (bytes == 6) {
        filter_match(f, offset, 4, value >> 16);
        filter_match(f, (int16_t)(offset + 4), 2, value & 0xffff);
        return;
    }
    load(f, offset, bytes);
    emit(f, OP_JNE32, 0, LATER, network(value, bytes));
}

void filter_clear(struct filter *f, int16_t offset, unsigned bytes,
                  uint32_t mask)
{
    load(f, offset, bytes);
    emit(f, OP_JSET32, 0, LATER, network(mask, bytes));
}

void filter_or(struct filter *f)
{
    emit(f, OP_MOV, 0, 0, 1);
    emit(f, OP_EXIT, 0, 0, 0);
    if (f->count > FILTER_INSNS_MAX) {
        return;
    }
    for (uint32_t i = f->opened; i < f->count; i++) {
        if (f->insn[i].off == LATER) {
            f->insn[i].off = (int16_t)(f->count - i - 1);
        }
    }
    f->opened = f->count;
}

int filter_end(struct filter *f)
{
    filter_or(f);
    emit(f, OP_MOV, 0, 0, 0);
    emit(f, OP_EXIT, 0, 0, 0);
    return f->count > FILTER_INSNS_MAX ? -1 : 0;
}

static uint64_t number(const uint8_t *bytes, unsigned count)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < count; i++) {
        v = v << 8 | bytes[i];
    }
    return v;
}

/* The same as filter_match, counted from the end of the IPv4 header. */
static void match_behind(struct filter *f, int16_t offset, unsigned bytes,
                         uint64_t value)
{
    emit(f, OP_LDXB, 0x13, IP_VERSION, 0);
    emit(f, OP_AND32, 3, 0, IP_WORDS);
    emit(f, OP_LSH32, 3, 0, 2);
    emit(f, OP_MOV_X, 0x14, 0, 0);
    emit(f, OP_ADD_X, 0x34, 0, 0);
    emit(f, bytes == 1 ? OP_LDXB : OP_LDXH, 0x40, (int16_t)(ETHERNET + offset),
         0);
    emit(f, OP_JNE32, 0, LATER, network(value, bytes));
}

static void ipv4(struct filter *f, unsigned protocol)
{
    filter_match(f, ETH_TYPE, 2, TYPE_IPV4);
    filter_clear(f, IP_FRAGMENT, 2, FRAGMENT_OFFSET);
    filter_match(f, IP_PROTOCOL, 1, protocol);
}

void filter_v4_to(struct filter *f, const uint8_t addr[4], unsigned protocol,
                  unsigned port)
{
    ipv4(f, protocol);
    if (addr) {
        filter_match(f, IP_TARGET, 4, number(addr, 4));
    }
    if (port) {
        match_behind(f, L4_TARGET_IN, 2, port);
    }
}

void filter_v4_from(struct filter *f, const uint8_t mac[6],
                    const uint8_t addr[4], unsigned protocol, unsigned port)
{
    filter_match(f, ETH_SOURCE, 6, number(mac, 6));
    ipv4(f, protocol);
    filter_match(f, IP_VERSION, 1, NO_OPTIONS);
    if (addr) {
        filter_match(f, IP_SOURCE, 4, number(addr, 4));
    }
    if (port) {
        filter_match(f, L4_SOURCE, 2, port);
    }
}

void filter_icmp_errors(struct filter *f, const uint8_t addr[4])
{
    static const uint8_t types[] = {3, 4, 11, 12}; /* RFC 792 */
    for (unsigned i = 0; i < sizeof(types); i++) {
        if (i > 0) {
            filter_or(f);
        }
        filter_v4_to(f, addr, FILTER_ICMP, 0);
        match_behind(f, ICMP_TYPE_IN, 1, types[i]);
    }
}

void filter_arp(struct filter *f)
{
    filter_match(f, ETH_TYPE, 2, TYPE_ARP);
}

void filter_arp_from(struct filter *f, const uint8_t mac[6],
                     const uint8_t addr[4])
{
    filter_match(f, ETH_SOURCE, 6, number(mac, 6));
    filter_arp(f);
    filter_match(f, ARP_SENDER_MAC, 6, number(mac, 6));
    filter_match(f, ARP_SENDER_IP, 4, number(addr, 4));
}
