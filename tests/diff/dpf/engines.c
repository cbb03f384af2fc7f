/* SPDX-License-Identifier: MIT */
/*
 * engines [--seed S] [--pairs N]
 *
 * The interpreter against native code over random programs that verify and
 * random inputs of every length. Speaks TAP; prints the seed, and on a
 * difference the program.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "dpf/host/mem.h"
#include "tests/diff/dpf/compare.h"
#include "tests/unit/dpf/asm.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t state;

/* xorshift64* */
static uint64_t next_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

static uint32_t below(uint32_t n)
{
    return (uint32_t)(next_random() >> 32) % n;
}

/* Constants that meet: of bytes, of headers, and of edges. */
static int32_t some_imm(void)
{
    static const int32_t edges[] = {0,
                                    1,
                                    -1,
                                    2,
                                    0x800,
                                    6,
                                    17,
                                    80,
                                    0x86dd,
                                    0x7fffffff,
                                    (int32_t)0x80000000,
                                    0xff,
                                    0x1fff,
                                    31,
                                    32,
                                    63,
                                    64,
                                    0xffff,
                                    0x3fff};
    switch (below(4)) {
    case 0:
        return (int32_t)next_random();
    case 1:
        return (int32_t)below(4);
    default:
        return edges[below(COUNT(edges))];
    }
}

#define CODE_MAX 120
#define MEMBER_ACCEPT 1000 /* stands for a jump to where packets are taken */

struct program {
    struct dpf_insn code[CODE_MAX + 8];
    uint32_t count;
    enum dpf_type type;
};

static void add(struct program *p, struct dpf_insn i)
{
    p->code[p->count++] = i;
}

/* r0, r2-r5, r8, r9 are scalars; r1 and r6 point to region 0, r7 to a region
 * that can be written or to the stack. */
static uint32_t scalar_reg(void)
{
    static const uint8_t regs[] = {0, 2, 3, 4, 5, 8, 9};
    return regs[below(COUNT(regs))];
}

static uint32_t size_bits(void)
{
    static const uint8_t sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    return sizes[below(4)];
}

static void add_alu(struct program *p)
{
    static const uint8_t ops[] = {BPF_ADD, BPF_SUB, BPF_MUL,  BPF_DIV, BPF_OR,
                                  BPF_AND, BPF_LSH, BPF_RSH,  BPF_MOD, BPF_XOR,
                                  BPF_MOV, BPF_MOV, BPF_ARSH, BPF_AND, BPF_RSH};
    uint32_t class = below(2) ? BPF_ALU64 : BPF_ALU, op = ops[below(15)];
    uint32_t d = scalar_reg(), s = scalar_reg();
    int16_t off = 0;
    if (below(10) == 0) {
        add(p, INSN(class | BPF_NEG, d, 0, 0, 0));
        return;
    }
    if (below(5) == 0) {
        uint32_t x = class == BPF_ALU && below(2) ? BPF_X : 0;
        add(p, INSN(class | BPF_END | x, d, 0, 0, 16 << below(3)));
        return;
    }
    if ((op == BPF_DIV || op == BPF_MOD) && below(2)) {
        off = 1;
    }
    if (below(2)) {
        if (op == BPF_MOV && below(2)) {
            off = (int16_t)(8 << below(class == BPF_ALU64 ? 3 : 2));
        }
        add(p, INSN(class | op | BPF_X, d, s, off, 0));
    } else {
        int32_t imm = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH
                          ? (int32_t)below(70)
                          : some_imm();
        add(p, INSN(class | op, d, 0, off, imm));
    }
}

static void add_load(struct program *p)
{
    uint32_t d = scalar_reg(), mode = BPF_MEM, size = size_bits();
    uint32_t base = below(3) == 0 ? (below(2) ? 7 : 6) : 1;
    if (below(5) == 0 && size != BPF_DW) {
        mode = BPF_MEMSX;
    }
    add(p, INSN(BPF_LDX | mode | size, d, base, below(40), 0));
    if (size != BPF_B && below(2)) {
        add(p, TO_BE(d, size == BPF_H ? 16 : size == BPF_W ? 32 : 64));
    }
}

static void add_store(struct program *p)
{
    uint32_t size = size_bits(), width = 1u << (size == BPF_B   ? 0
                                                : size == BPF_H ? 1
                                                : size == BPF_W ? 2
                                                                : 3);
    if (below(2)) {
        uint32_t at = 1 + below(8);
        add(p, STORE(size, 10, -(int)(at * width), scalar_reg()));
        if (below(2)) {
            add(p, LOAD(size, scalar_reg(), 10, -(int)(at * width)));
        }
    } else if (p->type == DPF_HANDLER || p->type == DPF_RAW) {
        if (below(2)) {
            add(p, STORE(size, 7, below(16), scalar_reg()));
        } else {
            add(p, STORE_K(size, 7, below(16), some_imm()));
        }
    }
}

static void add_pointer(struct program *p)
{
    uint32_t r = below(2) ? 6 : 7, s = scalar_reg();
    if (below(2)) { /* as an IP header length is used */
        add(p, LOAD(BPF_B, s, 1, 14));
        add(p, ALU64_K(BPF_AND, s, 15));
        add(p, ALU64_K(BPF_LSH, s, 2));
        add(p, MOV_X(6, 1));
        add(p, ALU64_X(BPF_ADD, 6, s));
    } else if (below(3) == 0) {
        add(p, ALU64_X(below(2) ? BPF_ADD : BPF_SUB, r, s));
    } else {
        add(p, ALU64_K(BPF_ADD, r, (int32_t)below(16) - 8));
    }
}

static void add_jump(struct program *p)
{
    static const uint8_t ops[] = {BPF_JEQ,  BPF_JNE, BPF_JEQ,  BPF_JNE,
                                  BPF_JGT,  BPF_JGE, BPF_JSET, BPF_JSGT,
                                  BPF_JSGE, BPF_JLT, BPF_JLE,  BPF_JSLT,
                                  BPF_JSLE, BPF_JEQ, BPF_JSET};
    uint32_t class = below(2) ? BPF_JMP : BPF_JMP32, op = ops[below(15)];
    int off = (int)below(12);
    if (below(12) == 0) {
        off = -(int)below(p->count + 1);
    }
    if (below(12) == 0) {
        add(p, below(2) ? GOTO(off) : GOTO_FAR(off));
    } else if (below(4) == 0) {
        add(p, INSN(class | op | BPF_X, scalar_reg(), scalar_reg(), off, 0));
    } else if (below(20) == 0) {
        add(p, JUMP_X(BPF_JGT, 6, 1, off));
    } else {
        add(p, INSN(class | op, scalar_reg(), 0, off, some_imm()));
    }
}

static void add_call(struct program *p)
{
    if (p->type == DPF_UDF) {
        add(p, MOV_X(6, 1));
        add(p, MOV_X(1, scalar_reg()));
        add(p, CALL(DPF_HELPER_EMIT));
        add(p, MOV_X(1, 6));
    } else {
        add(p, MOV_X(6, 1));
        add(p, MOV_K(2, (int32_t)below(12)));
        add(p, CALL(DPF_HELPER_REPLY));
        add(p, MOV_X(1, 6));
    }
    for (uint32_t r = 2; r <= 5; r++) {
        add(p, MOV_X(r, 0));
    }
}

static void add_something(struct program *p)
{
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
        add_load(p);
        break;
    case 3:
    case 4:
    case 5:
        add_jump(p);
        break;
    case 6:
        add_store(p);
        break;
    case 7:
        add_pointer(p);
        break;
    case 8:
        if (p->type == DPF_UDF || p->type == DPF_HANDLER) {
            add_call(p);
            break;
        }
        if (below(4) == 0) {
            add(p, MOV_K(0, below(3) == 0 ? 0 : some_imm()));
            add(p, EXIT());
            break;
        }
        __attribute__((fallthrough));
    default:
        add_alu(p);
        break;
    }
}

static void generate(struct program *p)
{
    uint32_t want = 8 + below(CODE_MAX - 40);
    p->count = 0;
    p->type = (enum dpf_type)(below(2) ? DPF_FILTER : below(5));
    bool state_region = p->type == DPF_HANDLER;
    if (p->type == DPF_PREDICATE) {
        add(p, MOV_X(9, 1));
        add(p, LOAD(BPF_DW, 1, 9, 0));
        add(p, LOAD(BPF_DW, 7, 9, 8 * (int)below(5)));
        add(p, MOV_K(2, 5));
    } else if (state_region) {
        add(p, MOV_X(7, 3));
    } else if (p->type == DPF_RAW) {
        add(p, MOV_X(7, 1));
    } else {
        add(p, MOV_X(7, 10));
        add(p, STORE_K(BPF_DW, 10, -8, some_imm()));
        add(p, ALU64_K(BPF_ADD, 7, -(int32_t)below(40)));
    }
    add(p, MOV_X(6, 1));
    static const uint8_t init[] = {0, 3, 4, 5, 8, 9};
    for (size_t n = 0; n < COUNT(init); n++) {
        add(p, MOV_K(init[n], some_imm()));
    }
    while (p->count < want) {
        add_something(p);
    }
    for (int n = 0; n < 13; n++) { /* landing ground for forward jumps */
        add_alu(p);
    }
    add(p, EXIT());
}

/* Arithmetic as filters have it: what the decision graph can express. */
static void add_mild_alu(struct program *p, uint32_t d, uint32_t s)
{
    static const uint8_t ops[] = {BPF_ADD, BPF_SUB,  BPF_AND, BPF_OR,
                                  BPF_XOR, BPF_MUL,  BPF_LSH, BPF_RSH,
                                  BPF_MOV, BPF_ARSH, BPF_NEG};
    uint32_t class = below(3) ? BPF_ALU : BPF_ALU64, op = ops[below(11)];
    bool shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
    if (op == BPF_NEG) {
        add(p, INSN(class | op, d, 0, 0, 0));
    } else if (below(3) == 0) {
        add(p, INSN(BPF_ALU64 | BPF_END, d, 0, 0, 16 << below(3)));
    } else if (!shift && below(3) == 0) {
        int16_t off = op == BPF_MOV && below(2) ? 8 : 0;
        add(p, INSN(class | op | BPF_X, d, s, off, 0));
    } else {
        add(p,
            INSN(class | op, d, 0, 0, shift ? (int32_t)below(40) : some_imm()));
    }
}

/* A field read byte by byte, as clang reads what may be unaligned. */
static void add_bytes(struct program *p, uint32_t base)
{
    uint32_t bytes = below(2) ? 2 : 4, off = below(30), big = below(2);
    uint32_t class = below(2) ? BPF_ALU : BPF_ALU64;
    for (uint32_t n = 0; n < bytes; n++) {
        uint32_t at = big ? bytes - 1 - n : n;
        /* now and then not quite */
        add(p, LOAD(BPF_B, n == 0 ? 0 : 4, base, off + at + !below(40)));
        if (n != 0) {
            add(p, INSN(class | BPF_LSH, 4, 0, 0, 8 * (int)n + !below(60)));
            add(p, INSN(class | BPF_OR | BPF_X, 0, 4, 0, 0));
        }
    }
}

/* Two swapped halves of a big-endian word, now and then of other widths. */
static void add_halves(struct program *p, uint32_t base)
{
    uint32_t off = below(30);
    add(p, LOAD(BPF_H, 0, base, off));
    add(p, TO_BE(0, below(10) ? 16 : 32));
    add(p, LOAD(BPF_H, 4, base, off + 2));
    add(p, TO_BE(4, below(10) ? 16 : 32));
    add(p, ALU64_K(BPF_LSH, 0, 16));
    add(p, ALU64_X(below(2) ? BPF_OR : BPF_ADD, 0, 4));
}

/* Is the field in r0 one of a few constants? Then accept (or go on). */
static void add_members(struct program *p)
{
    static const int32_t ports[] = {0,      80,     443,    0x45,  6, 17,
                                    0x0600, 0x0606, 1,      2,     8, 0x86,
                                    0x8686, 0xffff, 0x1100, 0x0101};
    uint32_t count = 2 + below(14), first = below(16);
    bool accept = below(2) == 0;
    for (uint32_t n = 0; n < count; n++) {
        int over = accept ? MEMBER_ACCEPT : (int)(count - n - 1);
        add(p, JUMP32_K(BPF_JEQ, 0, ports[(first + n * 3) % 16], over));
    }
}

/*
 * A filter as compilers of filters write them: loads at constant offsets,
 * byte swaps, comparisons with constants, few results.
 */
static void generate_filter(struct program *p)
{
    uint32_t tests = 1 + below(12);
    p->count = 0;
    p->type = DPF_FILTER;
    add(p, MOV_X(6, 1));
    add(p, MOV_K(7, 0));
    for (uint32_t n = 0; n < tests; n++) {
        static const uint8_t offsets[] = {12, 14, 20, 23, 26, 30, 36};
        uint32_t size = below(3) == 0 ? BPF_W : below(2) ? BPF_H : BPF_B;
        uint32_t base = n > 2 && below(2) ? 8 : 6;
        if (base == 8) {
            add(p, LOAD(BPF_B, 3, 6, 14));
            add(p, ALU32_K(BPF_AND, 3, 15));
            add(p, ALU32_K(BPF_LSH, 3, 2));
            add(p, MOV_X(8, 6));
            add(p, ALU64_X(BPF_ADD, 8, 3));
        }
        add(p, LOAD(size, 0, base, offsets[below(7)]));
        if (size != BPF_B) {
            add(p, TO_BE(0, size == BPF_H ? 16 : 32));
        }
        if (below(4) == 0) {
            add(p, ALU32_K(BPF_AND, 0, below(2) ? 0xf0 : 0x1fff));
        }
        if (below(6) == 0) {
            add(p, STORE(BPF_W, 10, -4, 0));
            add_mild_alu(p, 0, 0);
            add_mild_alu(p, 0, 0);
            add(p, LOAD(BPF_W, 4, 10, -4));
            add_mild_alu(p, 0, 4);
        }
        if (below(5) == 0) {
            if (below(3)) {
                add_bytes(p, base);
            } else {
                add_halves(p, base);
            }
        }
        if (below(4) == 0) {
            add_members(p);
        }
        uint32_t more = 1 + (below(4) == 0 ? below(8) : 0);
        for (uint32_t m = 0; m < more; m++) {
            static const uint8_t ops[] = {BPF_JEQ, BPF_JEQ, BPF_JEQ, BPF_JNE,
                                          BPF_JGT, BPF_JGE, BPF_JSET};
            int far = (int)((tests - n - 1) * 12 + (more - m) + below(2) * 4);
            bool leave = below(2) == 0;
            add(p, INSN((below(2) ? BPF_JMP : BPF_JMP32) | ops[below(7)], 0, 0,
                        leave ? far : (int)below(3), some_imm()));
            if (p->count > CODE_MAX - 20) {
                break;
            }
        }
        if (p->count > CODE_MAX - 60) {
            break;
        }
    }
    add(p, MOV_K(0, 0x40000));
    add(p, EXIT());
    uint32_t zero = p->count;
    add(p, MOV_K(0, 0));
    add(p, EXIT());
    for (uint32_t n = 0; n < zero; n++) { /* clip what jumps too far */
        struct dpf_insn *i = &p->code[n];
        uint32_t class = BPF_CLASS(i->opcode);
        if ((class == BPF_JMP || class == BPF_JMP32) &&
            i->opcode != (BPF_JMP | BPF_EXIT) &&
            n + 1 + (uint32_t)i->off >= zero - 2) {
            bool take = i->off == MEMBER_ACCEPT || below(8) == 0;
            i->off = (int16_t)((take ? zero - 2 : zero) - n - 1);
        }
    }
}

static void fill(uint8_t *bytes, uint32_t len)
{
    static const uint8_t likely[] = {0,    1,    2,  6,    8,    17,  0x45,
                                     0x46, 0x4f, 80, 0xff, 0x86, 0xdd};
    for (uint32_t n = 0; n < len; n++) {
        bytes[n] = below(3) == 0 ? (uint8_t)next_random()
                                 : likely[below(COUNT(likely))];
    }
}

/* Programs whose code is more than the plain one: it does not save first. */
static uint64_t decided;

static void count_decided(const struct dpf_program *p)
{
    size_t size;
    const uint8_t *code = dpf_program_code(p, &size);
    decided += code[0] != 0x53; /* push rbx */
}

static void print_program(const struct program *p)
{
    for (uint32_t n = 0; n < p->count; n++) {
        uint64_t raw;
        memcpy(&raw, &p->code[n], 8);
        printf("# %3u: op %02x dst %d src %d off %d imm %#x\n", n,
               p->code[n].opcode, DPF_INSN_DST(&p->code[n]),
               DPF_INSN_SRC(&p->code[n]), p->code[n].off,
               (unsigned)p->code[n].imm);
    }
}

/* All inputs of one program; pairs compared, or -1. */
static int one_program(const struct dpf_mem *mem)
{
    static struct program text;
    struct dpf_program *p = NULL;
    int pairs = 0;
    if (below(2)) {
        generate_filter(&text);
    } else {
        generate(&text);
    }
    assert(text.count <= COUNT(text.code));
    struct dpf_error err;
    if (dpf_program_create(mem, text.type | DPF_COMPILE, text.code, text.count,
                           &p, &err) != 0) {
        return 0;
    }
    count_decided(p);
    uint32_t longest = 40 + below(60);
    uint8_t bytes[128];
    for (uint32_t round = 0; round < 4; round++) {
        fill(bytes, sizeof(bytes));
        for (uint32_t len = 0; len <= longest; len += 1 + below(3)) {
            uint32_t fuel = 1 + below(40);
            if (!compare_run(p, bytes, len, fuel)) {
                print_program(&text);
                pairs = -1;
                goto out;
            }
            pairs++;
        }
    }
out:
    dpf_program_destroy(p);
    return pairs;
}

int main(int argc, char **argv)
{
    uint64_t seed = (uint64_t)time(NULL), want = 200000;
    for (int n = 1; n + 1 < argc; n += 2) {
        if (strcmp(argv[n], "--seed") == 0) {
            seed = strtoull(argv[n + 1], NULL, 0);
        } else if (strcmp(argv[n], "--pairs") == 0) {
            want = strtoull(argv[n + 1], NULL, 0);
        }
    }
    struct dpf_mem mem;
    if (dpf_host_mem_init(&mem) != 0 || mem.code_alloc == NULL) {
        printf("1..0 # SKIP no executable memory\n");
        return 0;
    }
    struct dpf_mem plain = mem; /* as the kernel compiles filters */
    plain.engine = &dpf_engine_native;
    compare_init();
    printf("1..1\n# seed %" PRIu64 "\n", seed);
    fflush(stdout);
    uint64_t pairs = 0, programs = 0, refused = 0;
    bool ok = true;
    while (pairs < want) {
        state = (seed + programs) * UINT64_C(0x9e3779b97f4a7c15) | 1;
        int n = one_program(below(4) == 0 ? &plain : &mem);
        if (n < 0) {
            printf("# program: --seed %" PRIu64 "\n", seed + programs);
            ok = false;
            break;
        }
        programs++;
        refused += n == 0;
        pairs += (uint64_t)n;
    }
    printf("# %" PRIu64 " pairs, %" PRIu64 " programs, %" PRIu64
           " refused, %" PRIu64 " decided on a graph\n",
           pairs, programs, refused, decided);
    ok = ok && refused < programs / 2 && decided > programs / 4;
    printf("%s 1 - interpreter and native code agree\n", ok ? "ok" : "not ok");
    dpf_host_mem_finish(&mem);
    return ok ? 0 : 1;
}
