/* SPDX-License-Identifier: MIT */
/*
 * A filter's bytecode as C, one statement an instruction, for clang to
 * optimise: what a compiler makes of the same program.
 */
#include "tests/bench/dpf/single.h"

#include "dpf/vm/program.h"
#include <inttypes.h>

static const char *unsigned_type(uint32_t size)
{
    return size == 1   ? "uint8_t"
           : size == 2 ? "uint16_t"
           : size == 4 ? "uint32_t"
                       : "uint64_t";
}

static void write_memory(FILE *f, const struct dpf_program *p, uint32_t pc)
{
    const struct dpf_insn *i = &p->insns[pc];
    uint32_t size = insn_width(i), d = DPF_INSN_DST(i), s = DPF_INSN_SRC(i);
    const char *type = unsigned_type(size);
    if (p->notes[pc].region == REGION_STACK) {
        const char *at = "(stack + 512 + (%d))";
        fprintf(f, "{ %s v; uint8_t *at = ", type);
        fprintf(f, at, p->notes[pc].stack_off);
        if (BPF_CLASS(i->opcode) == BPF_LDX) {
            fprintf(f, "; memcpy(&v, at, %u); r%u = v; }\n", size, d);
        } else if (BPF_CLASS(i->opcode) == BPF_STX) {
            fprintf(f, "; v = (%s)r%u; memcpy(at, &v, %u); }\n", type, s, size);
        } else {
            fprintf(f, "; v = (%s)%d; memcpy(at, &v, %u); }\n", type, i->imm,
                    size);
        }
        return;
    }
    fprintf(f,
            "{ %s v; uint64_t at = r%u + (uint64_t)%d;"
            " if (at > UINT64_MAX - %u || at + %u > len) return 0;"
            " memcpy(&v, packet + at, %u); r%u = v; }\n",
            type, s, i->off, size, size, size, d);
}

static void write_alu(FILE *f, const struct dpf_insn *i)
{
    static const char *const ops[] = {"+",  "-",  "*",  "/", "|", "&",
                                      "<<", ">>", NULL, "%", "^"};
    uint32_t d = DPF_INSN_DST(i), op = BPF_OP(i->opcode);
    const char *type =
        BPF_CLASS(i->opcode) == BPF_ALU64 ? "uint64_t" : "uint32_t";
    char operand[64];
    if (BPF_SRC(i->opcode) == BPF_X) {
        snprintf(operand, sizeof(operand), "(%s)r%d", type, DPF_INSN_SRC(i));
    } else {
        snprintf(operand, sizeof(operand), "(%s)%d", type, i->imm);
    }
    if (op == BPF_END) {
        fprintf(f, "r%u = __builtin_bswap%d((uint%d_t)r%u);\n", d, i->imm,
                i->imm, d);
    } else if (op == BPF_MOV) {
        fprintf(f, "r%u = %s;\n", d, operand);
    } else if (op == BPF_NEG) {
        fprintf(f, "r%u = (%s)-r%u;\n", d, type, d);
    } else {
        fprintf(f, "r%u = (%s)((%s)r%u %s %s);\n", d, type, type, d,
                ops[op >> 4], operand);
    }
}

static void write_jump(FILE *f, const struct dpf_insn *i, uint32_t to)
{
    static const char *const ops[] = {NULL, "==", ">",   ">=", "&",
                                      "!=", "s>", "s>=", NULL, NULL,
                                      "<",  "<=", "s<",  "s<="};
    const char *op = ops[BPF_OP(i->opcode) >> 4];
    const char *type =
        BPF_CLASS(i->opcode) == BPF_JMP ? "uint64_t" : "uint32_t";
    if (op == NULL) {
        fprintf(f, "goto L%u;\n", to);
        return;
    }
    if (op[0] == 's') {
        type = BPF_CLASS(i->opcode) == BPF_JMP ? "int64_t" : "int32_t";
        op++;
    }
    fprintf(f, "if ((%s)r%d %s ", type, DPF_INSN_DST(i), op);
    if (BPF_SRC(i->opcode) == BPF_X) {
        fprintf(f, "(%s)r%d) goto L%u;\n", type, DPF_INSN_SRC(i), to);
    } else {
        fprintf(f, "(%s)%d) goto L%u;\n", type, i->imm, to);
    }
}

void write_c(FILE *f, const char *name, const struct dpf_program *p)
{
    fprintf(f,
            "uint64_t %s(const uint8_t *packet, uint64_t len);\n"
            "uint64_t %s(const uint8_t *packet, uint64_t len)\n{\n"
            "uint64_t r0 = 0, r1 = 0, r2 = len, r3 = 0, r4 = 0, r5 = 0,"
            " r6 = 0, r7 = 0, r8 = 0, r9 = 0, r10 = 512;\n"
            "uint8_t stack[512];\n"
            "(void)r3; (void)r4; (void)r5; (void)r6; (void)r7; (void)r8;"
            " (void)r9; (void)r10; (void)stack; (void)r1; (void)r2;\n",
            name, name);
    for (uint32_t n = 0; n < p->count; n += insn_len(&p->insns[n])) {
        const struct dpf_insn *i = &p->insns[n];
        fprintf(f, "L%u: ", n);
        switch (BPF_CLASS(i->opcode)) {
        case BPF_LD:
            fprintf(f, "r%d = UINT64_C(%" PRIu64 ");\n", DPF_INSN_DST(i),
                    insn_wide_imm(i));
            break;
        case BPF_LDX:
        case BPF_ST:
        case BPF_STX:
            write_memory(f, p, n);
            break;
        case BPF_ALU:
        case BPF_ALU64:
            write_alu(f, i);
            break;
        default:
            if (BPF_OP(i->opcode) == BPF_EXIT) {
                fprintf(f, "return r0;\n");
            } else {
                write_jump(f, i, (uint32_t)(n + 1 + insn_jump(i)));
            }
        }
    }
    fprintf(f, "}\n");
}
