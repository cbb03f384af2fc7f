/* SPDX-License-Identifier: MIT */
/*
 * Random programs and packets without an end: libpcap's interpreter, our
 * interpreter and native code must give one answer for every pair.
 *
 *   expressions  random pcap-filter text, libpcap's plain and optimised code
 *   classic      random classic BPF that libpcap's checker accepts
 *   bytecode     random RFC 9669 programs that the verifier accepts
 *
 * Packets end at an unmapped page. usage: random [PAIRS [SEED]]; PAIRS 0 runs
 * until it is stopped. The seed is printed; a failure prints the program and
 * the packet.
 */
#include "dpf/host.h"
#include "dpf/host/mem.h"
#include "dpf/vm/isa.h"
#include "tests/diff/packets.h"

#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifdef NDEBUG
#error "tests need assert"
#endif

#define PACKETS 256u /* per program */
#define FUEL 300u    /* more than any chain of headers in such a packet */

static struct dpf_mem mem;
static uint8_t *guard; /* the first byte that is not there */

struct tally {
    uint64_t pairs, programs, refused, accepted;
};

static void make_guard(void)
{
    uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + 4096, 4096, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    guard = p + 4096;
}

static void fail(const char *what, const char *text, const struct dpf_code *c,
                 const uint8_t *packet, size_t len, const uint64_t answer[3])
{
    printf("not ok - %s disagree: libpcap %llu, interpreter %llu, native "
           "%llu\n# %s\n",
           what, (unsigned long long)answer[0], (unsigned long long)answer[1],
           (unsigned long long)answer[2], text);
    dpf_dump_insns(stdout, c->insns, c->count);
    printf("# packet of %zu bytes:", len);
    for (size_t i = 0; i < len; i++) {
        printf(" %02x", packet[i]);
    }
    printf("\n");
    exit(1);
}

/* Run one program on many packets. `classic` may be NULL. */
static void judge(struct rng *r, struct tally *t, const char *what,
                  const char *text, const struct dpf_code *c,
                  const struct dpf_cbpf *classic)
{
    struct dpf_program *p = NULL;
    struct dpf_error err;
    int result = dpf_program_create(&mem, DPF_FILTER | DPF_COMPILE, c->insns,
                                    c->count, &p, &err);
    if (result != 0) {
        t->refused++;
        if (classic != NULL) { /* what libpcap accepts must verify */
            printf("not ok - refused: %s\n# %s\n", err.text, text);
            dpf_dump_insns(stdout, c->insns, c->count);
            exit(1);
        }
        return;
    }
    t->programs++;
    uint8_t packet[PACKET_MAX];
    for (unsigned i = 0; i < PACKETS; i++) {
        size_t len = random_packet(r, packet);
        uint8_t *at = memcpy(guard - len, packet, len);
        struct dpf_run run = {
            .regions = {{at, (uint32_t)len}}, .region_count = 1, .fuel = FUEL};
        uint64_t answer[3];
        answer[1] = dpf_program_interp(p, &run).r0;
        run.fuel = FUEL;
        answer[2] = dpf_program_run(p, &run).r0;
        answer[0] =
            classic != NULL
                ? bpf_filter((const struct bpf_insn *)(const void *)classic, at,
                             (unsigned)len, (unsigned)len)
                : answer[1];
        t->accepted += answer[1] != 0;
        if (answer[0] != answer[1] || answer[1] != answer[2]) {
            fail(what, text, c, packet, len, answer);
        }
    }
    t->pairs += PACKETS;
    dpf_program_destroy(p);
}

static void one_expression(struct rng *r, struct tally *t)
{
    char text[2048];
    random_expression(r, text, sizeof(text));
    for (unsigned flags = 0; flags < 2; flags++) {
        size_t count;
        struct dpf_error err;
        struct dpf_cbpf *classic;
        if (dpf_expr_cbpf(text, DLT_EN10MB, flags, &classic, &count, &err)) {
            t->refused++; /* "rejects all packets" and their like */
            return;
        }
        struct dpf_code code;
        if (dpf_from_cbpf(classic, count, &code, &err) != 0) {
            printf("not ok - refused: %s\n# %s\n", err.text, text);
            exit(1);
        }
        judge(r, t, flags ? "expression (plain)" : "expression", text, &code,
              classic);
        dpf_code_finish(&code);
        free(classic);
    }
}

/* ------------------------------------------------------------ classic BPF */

static struct dpf_cbpf random_classic(struct rng *r, uint32_t left)
{
    static const uint8_t codes[] = {
        0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x81, 0xb1, 0x00, 0x01,
        0x60, 0x61, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34,
        0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x94,
        0x9c, 0xa4, 0xac, 0x07, 0x87, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d,
        0x45, 0x4d, 0x05, 0x15, 0x25, 0x45, 0x28, 0x30, 0x48, 0x50};
    struct dpf_cbpf i = {.code = codes[rng_below(r, sizeof(codes))]};
    uint64_t v = rng_next(r);
    i.k = v & 7 ? (uint32_t)(v >> 8) % 80 : (uint32_t)(v >> 32);
    i.k = (v & 0x3f) == 7 ? UINT32_MAX - (i.k & 3) : i.k;
    switch (i.code & 7) {
    case BPF_JMP:
        i.jt = (uint8_t)rng_below(r, left < 8 ? left : 8);
        i.jf = (uint8_t)rng_below(r, left < 8 ? left : 8);
        i.k = i.code == 0x05 ? i.jt : i.k;
        break;
    case BPF_ALU:
        i.k = i.code == 0x64 || i.code == 0x74 ? i.k & 31 : i.k;
        i.k = i.code == 0x34 || i.code == 0x94 ? i.k | 1 : i.k;
        break;
    case BPF_ST:
    case BPF_STX:
        i.k &= 3;
        break;
    default:
        i.k = i.code == 0x60 || i.code == 0x61 ? i.k & 3 : i.k;
        /* Linux's metadata offsets are refused, tested elsewhere */
        i.k = (i.code & 0xe7) == 0x20 ? i.k & 0x7fffffff : i.k;
    }
    return i;
}

static void one_classic(struct rng *r, struct tally *t)
{
    uint32_t n = 0, body = 2 + rng_below(r, 40);
    struct dpf_cbpf p[64];
    for (; n < 4; n++) { /* scratch that is read was written */
        p[n] = (struct dpf_cbpf){.code = BPF_ST, .k = n};
    }
    for (uint32_t i = 0; i < body; i++) {
        p[n++] = random_classic(r, body - i);
    }
    p[n++] = (struct dpf_cbpf){.code = rng_below(r, 2) ? 0x16 : 0x06, .k = 7};
    p[n++] = (struct dpf_cbpf){.code = 0x16};
    if (!bpf_validate((struct bpf_insn *)(void *)p, (int)n)) {
        t->refused++;
        return;
    }
    struct dpf_error err;
    struct dpf_code code;
    if (dpf_from_cbpf(p, n, &code, &err) != 0) {
        printf("not ok - refused: %s\n", err.text);
        exit(1);
    }
    judge(r, t, "classic", "random classic BPF", &code, p);
    dpf_code_finish(&code);
}

/* --------------------------------------------------------------- bytecode */

static struct dpf_insn random_alu(struct rng *r, uint8_t dst, uint8_t src)
{
    static const uint8_t ops[] = {BPF_ADD, BPF_SUB, BPF_MUL,  BPF_DIV, BPF_OR,
                                  BPF_AND, BPF_LSH, BPF_RSH,  BPF_NEG, BPF_MOD,
                                  BPF_XOR, BPF_MOV, BPF_ARSH, BPF_END};
    struct dpf_insn i = {0};
    uint8_t op = ops[rng_below(r, sizeof(ops))];
    bool x = rng_below(r, 2), wide = rng_below(r, 2);
    uint64_t v = rng_next(r);
    i.opcode = (uint8_t)(op | (wide ? BPF_ALU64 : BPF_ALU));
    i.regs = dst;
    if (op == BPF_END) {
        i.opcode |= wide || !x ? 0 : BPF_X;
        i.imm = 16 << rng_below(r, 3);
        return i;
    }
    if (op == BPF_NEG) {
        return i;
    }
    if (x) {
        i.opcode |= BPF_X;
        i.regs = (uint8_t)(dst | src << 4);
        static const int16_t extend[] = {0, 0, 8, 16, 32};
        if (op == BPF_MOV) {
            i.off = extend[rng_below(r, wide ? 5 : 4)];
        }
    } else {
        i.imm = (int32_t)(v & 3 ? (v >> 8) % 40 : v >> 32);
    }
    if (op == BPF_DIV || op == BPF_MOD) {
        i.off = (int16_t)rng_below(r, 2);
    }
    return i;
}

static struct dpf_insn random_jump(struct rng *r, uint8_t dst, uint8_t src,
                                   uint32_t left)
{
    static const uint8_t ops[] = {BPF_JEQ, BPF_JGT,  BPF_JGE,  BPF_JSET,
                                  BPF_JNE, BPF_JSGT, BPF_JSGE, BPF_JLT,
                                  BPF_JLE, BPF_JSLT, BPF_JSLE};
    struct dpf_insn i = {0};
    bool x = rng_below(r, 2);
    i.opcode =
        (uint8_t)(ops[rng_below(r, sizeof(ops))] |
                  (rng_below(r, 2) ? BPF_JMP : BPF_JMP32) | (x ? BPF_X : 0));
    i.regs = (uint8_t)(dst | (x ? src << 4 : 0));
    i.imm =
        x ? 0 : (int32_t)(rng_below(r, 4) ? rng_below(r, 256) : rng_next(r));
    i.off = (int16_t)rng_below(r, left < 10 ? left : 10);
    if (rng_below(r, 24) == 0) {
        i.off = (int16_t)(-1 - (int)rng_below(r, 6)); /* a loop, on fuel */
    }
    return i;
}

static struct dpf_insn random_memory(struct rng *r, uint8_t dst)
{
    static const uint8_t sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    uint8_t size = sizes[rng_below(r, 4)];
    struct dpf_insn i = {0};
    switch (rng_below(r, 4)) {
    case 0: /* to the stack */
        i.opcode = (uint8_t)(BPF_STX | BPF_MEM | size);
        i.regs = (uint8_t)(BPF_REG_FP | dst << 4);
        i.off = (int16_t)(-8 - 8 * (int)rng_below(r, 3));
        return i;
    case 1: /* from the stack; r9 - 8 .. are written first */
        i.opcode = (uint8_t)(BPF_LDX | BPF_MEM | size);
        i.regs = (uint8_t)(dst | BPF_REG_FP << 4);
        i.off = (int16_t)(-8 - 8 * (int)rng_below(r, 3));
        return i;
    default: /* from the packet: r1 constant, r5 computed */
        i.opcode =
            (uint8_t)(BPF_LDX | size |
                      (size != BPF_DW && rng_below(r, 4) == 0 ? BPF_MEMSX
                                                              : BPF_MEM));
        i.regs = (uint8_t)(dst | (rng_below(r, 2) ? 1 : 5) << 4);
        int distance = (int)rng_below(r, rng_below(r, 8) ? 40 : 300);
        i.off = (int16_t)(rng_below(r, 20) ? distance : -distance);
        return i;
    }
}

static void one_bytecode(struct rng *r, struct tally *t)
{
    static const uint8_t regs[] = {0, 3, 4, 6, 7, 8, 9}; /* scalars */
    struct dpf_insn p[128];
    struct dpf_code code = {.insns = p};
    size_t n = 0;
    for (size_t k = 0; k < sizeof(regs); k++) {
        p[n++] = (struct dpf_insn){.opcode = BPF_ALU64 | BPF_MOV,
                                   .regs = regs[k],
                                   .imm = (int32_t)rng_next(r)};
    }
    for (int k = 0; k < 3; k++) {
        p[n++] = (struct dpf_insn){.opcode = BPF_STX | BPF_MEM | BPF_DW,
                                   .regs = BPF_REG_FP | 2 << 4,
                                   .off = (int16_t)(-8 - 8 * k)};
    }
    p[n++] = (struct dpf_insn){.opcode = BPF_ALU64 | BPF_MOV | BPF_X,
                               .regs = 5 | 1 << 4};
    p[n++] = (struct dpf_insn){.opcode = BPF_ALU64 | BPF_AND,
                               .regs = 3,
                               .imm = (int32_t)rng_below(r, 64)};
    p[n++] = (struct dpf_insn){.opcode = BPF_ALU64 | BPF_ADD | BPF_X,
                               .regs = 5 | 3 << 4};
    uint32_t body = 3 + rng_below(r, 60);
    for (uint32_t i = 0; i < body; i++) {
        uint8_t dst = regs[rng_below(r, sizeof(regs))];
        uint8_t src = rng_below(r, 8) ? regs[rng_below(r, sizeof(regs))] : 2;
        switch (rng_below(r, 8)) {
        case 0:
        case 1:
            p[n++] = random_jump(r, dst, src, body - i);
            break;
        case 2:
        case 3:
        case 4:
            p[n++] = random_memory(r, dst);
            break;
        default:
            p[n++] = random_alu(r, dst, src);
        }
    }
    p[n++] = (struct dpf_insn){.opcode = BPF_JMP | BPF_EXIT};
    code.count = n;
    judge(r, t, "bytecode", "random bytecode", &code, NULL);
}

int main(int argc, char **argv)
{
    uint64_t pairs = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
    uint64_t seed =
        argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
    struct rng r = {seed * 2 + 1};
    struct tally tally[3] = {0};
    static const char *const names[] = {"expressions", "classic", "bytecode"};
    uint64_t done = 0;
    if (dpf_host_mem_init(&mem) != 0) {
        return 2;
    }
    make_guard();
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("# seed %llu\n", (unsigned long long)seed);
    for (uint64_t round = 0; pairs == 0 || done < pairs; round++) {
        one_expression(&r, &tally[0]);
        for (int k = 0; k < 4; k++) {
            one_classic(&r, &tally[1]);
            one_bytecode(&r, &tally[2]);
        }
        done = tally[0].pairs + tally[1].pairs + tally[2].pairs;
        if (pairs == 0 && round % 100000 == 0) {
            printf("# %llu pairs\n", (unsigned long long)done);
        }
    }
    for (int k = 0; k < 3; k++) {
        printf("ok %d - %s: %llu pairs, %llu programs, %llu refused, %.1f%% "
               "accepted\n",
               k + 1, names[k], (unsigned long long)tally[k].pairs,
               (unsigned long long)tally[k].programs,
               (unsigned long long)tally[k].refused,
               100.0 * (double)tally[k].accepted /
                   (double)(tally[k].pairs + !tally[k].pairs));
    }
    printf("1..3\n");
    dpf_host_mem_finish(&mem);
    return 0;
}
