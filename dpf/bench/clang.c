/* SPDX-License-Identifier: MIT */
/*
 * The peer "clang": bytecode written out as C and compiled with -O2. This is
 * what a compiler of great effort makes of the same program.
 *
 * Pointers are offsets into the packet, as in the interpreter; an access
 * outside ends the function with 0.
 */
#include "dpf/vm/isa.h" /* before libpcap's names for the same numbers */

#include "dpf/bench/bench.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A load outside the packet returns 0 from the function, as it ends a program.
 * Registers are variables, which clang puts where it likes.
 */
static const char head[] =
    "#include <stdint.h>\n#include <string.h>\n"
    "#define LD(type, at) ({ uint64_t a_ = (at); type v_; \\\n"
    "    if (a_ > n || n - a_ < sizeof(v_)) return 0; \\\n"
    "    memcpy(&v_, p + a_, sizeof(v_)); v_; })\n"
    "#define be16 __builtin_bswap16\n#define be32 __builtin_bswap32\n"
    "#define be64 __builtin_bswap64\n"
    "uint64_t dpf_run(const uint8_t *p, uint64_t n);\n"
    "uint64_t dpf_run(const uint8_t *p, uint64_t n)\n{\n"
    "    uint64_t r0 = 0, r1 = 0, r2 = n, r3 = 0, r4 = 0, r5 = 0, r6 = 0,\n"
    "             r7 = 0, r8 = 0, r9 = 0;\n"
    "    uint8_t stack[512]; (void)stack;\n"
    "    (void)r3; (void)r4; (void)r5; (void)r6; (void)r7; (void)r8; (void)r9;"
    "\n";

/*
 * False for an instruction that no filter of the tables has: then this peer is
 * left out, rather than compared on another program.
 */
static bool write_alu(FILE *f, const struct dpf_insn *i)
{
    static const char *const op[16] = {"+",  "-",  "*",  NULL, "|", "&", "<<",
                                       ">>", NULL, NULL, "^",  "",  NULL};
    bool wide = BPF_CLASS(i->opcode) == BPF_ALU64;
    int d = DPF_INSN_DST(i), s = DPF_INSN_SRC(i);
    const char *type = wide ? "uint64_t" : "uint32_t";
    if (BPF_OP(i->opcode) == BPF_END && !wide && BPF_SRC(i->opcode)) {
        fprintf(f, "    r%d = be%d((uint%d_t)r%d);\n", d, i->imm, i->imm, d);
        return true;
    }
    if (i->off != 0 || op[BPF_OP(i->opcode) >> 4] == NULL) {
        return false;
    }
    char src[48];
    if (BPF_SRC(i->opcode)) {
        snprintf(src, sizeof(src), "(%s)r%d", type, s);
    } else {
        snprintf(src, sizeof(src), "(%s)(int64_t)%d", type, i->imm);
    }
    if (BPF_OP(i->opcode) == BPF_MOV) {
        fprintf(f, "    r%d = %s;\n", d, src);
        /* C leaves a shift by the width or more undefined; BPF masks the count.
         */
    } else if (BPF_OP(i->opcode) == BPF_LSH || BPF_OP(i->opcode) == BPF_RSH) {
        fprintf(f, "    r%d = (%s)((%s)r%d %s (%s & %d));\n", d, type, type, d,
                op[BPF_OP(i->opcode) >> 4], src, wide ? 63 : 31);
    } else {
        fprintf(f, "    r%d = (%s)((%s)r%d %s %s);\n", d, type, type, d,
                op[BPF_OP(i->opcode) >> 4], src);
    }
    return true;
}

static bool write_jump(FILE *f, const struct dpf_insn *i, size_t at)
{
    static const char *const op[16] = {NULL, "==", ">",  ">=", "&",
                                       "!=", ">",  ">=", NULL, NULL,
                                       "<",  "<=", "<",  "<="};
    int code = BPF_OP(i->opcode);
    bool wide = BPF_CLASS(i->opcode) == BPF_JMP;
    bool sign = code == BPF_JSGT || code == BPF_JSGE || code == BPF_JSLT ||
                code == BPF_JSLE;
    const char *type = wide ? (sign ? "int64_t" : "uint64_t")
                            : (sign ? "int32_t" : "uint32_t");
    size_t to = at + 1 + (size_t)(int64_t)i->off;
    if (i->opcode == (BPF_JMP | BPF_EXIT)) {
        fprintf(f, "    return r0;\n");
    } else if (i->opcode == (BPF_JMP | BPF_JA)) {
        fprintf(f, "    goto L%zu;\n", to);
    } else if (op[code >> 4] == NULL) {
        return false;
    } else if (BPF_SRC(i->opcode)) {
        fprintf(f, "    if ((%s)r%d %s (%s)r%d) goto L%zu;\n", type,
                DPF_INSN_DST(i), op[code >> 4], type, DPF_INSN_SRC(i), to);
    } else {
        fprintf(f, "    if ((%s)r%d %s (%s)(int64_t)%d) goto L%zu;\n", type,
                DPF_INSN_DST(i), op[code >> 4], type, i->imm, to);
    }
    return true;
}

/*
 * The stack is an array of the function, and only r10 points to it; every
 * other pointer is an offset into the packet.
 */
static bool write_memory(FILE *f, const struct dpf_insn *i)
{
    static const int bits[4] = {32, 16, 8, 64};
    int width = bits[BPF_SIZE(i->opcode) >> 3];
    int d = DPF_INSN_DST(i), s = DPF_INSN_SRC(i);
    if (BPF_MODE(i->opcode) != BPF_MEM) {
        return false;
    }
    if (BPF_CLASS(i->opcode) == BPF_LDX && s == BPF_REG_FP) {
        fprintf(f,
                "    { uint%d_t v_; memcpy(&v_, stack + %d, sizeof(v_)); "
                "r%d = v_; }\n",
                width, 512 + i->off, d);
    } else if (BPF_CLASS(i->opcode) == BPF_LDX) {
        fprintf(f, "    r%d = LD(uint%d_t, r%d + (uint64_t)(int64_t)%d);\n", d,
                width, s, i->off);
    } else if (BPF_CLASS(i->opcode) == BPF_STX && d == BPF_REG_FP) {
        fprintf(f,
                "    { uint%d_t v_ = (uint%d_t)r%d; memcpy(stack + %d, &v_, "
                "sizeof(v_)); }\n",
                width, width, s, 512 + i->off);
    } else {
        return false;
    }
    return true;
}

static bool write_c(FILE *f, const struct dpf_insn *insns, size_t count)
{
    bool good = true;
    fputs(head, f);
    for (size_t i = 0; i < count && good; i++) {
        /* A label for each instruction, since any may be the goal of a jump. */
        fprintf(f, "L%zu: __attribute__((unused));\n", i);
        switch (BPF_CLASS(insns[i].opcode)) {
        case BPF_ALU:
        case BPF_ALU64:
            good = write_alu(f, &insns[i]);
            break;
        case BPF_JMP:
        case BPF_JMP32:
            good = write_jump(f, &insns[i], i);
            break;
        case BPF_LD:
            good = insns[i].opcode == (BPF_LD | BPF_IMM | BPF_DW);
            fprintf(f, "    r%d = 0x%" PRIx64 "u;\n", DPF_INSN_DST(&insns[i]),
                    (uint64_t)(uint32_t)insns[i + 1].imm << 32 |
                        (uint32_t)insns[i].imm);
            i++;
            break;
        default:
            good = write_memory(f, &insns[i]);
        }
    }
    fputs("}\n", f);
    return good;
}

/* Without a shell: no name is read as anything but a name. */
static bool bench_clang_run(const char *source, const char *library)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execlp(DPF_CLANG, DPF_CLANG, "-O2", "-w", "-shared", "-fPIC", "-x", "c",
               source, "-o", library, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/*
 * Through a shared library, so that the code is called as the others' is: by a
 * pointer, from the same loop.
 */
bool clang_make(struct clang_code *c, const struct dpf_insn *insns,
                size_t count, const char **why)
{
    char source[] = "/tmp/dpf-c-XXXXXX";
    int fd = mkstemp(source);
    *c = (struct clang_code){0};
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (f == NULL) {
        *why = "no temporary file";
        return false;
    }
    char library[64];
    snprintf(library, sizeof(library), "%s.so", source);
    bool good = write_c(f, insns, count);
    good = fclose(f) == 0 && good;
    *why = "the program has an instruction that is not written as C";
    if (good) {
        good = bench_clang_run(source, library);
        *why = "clang is not there or refuses";
    }
    if (good) {
        c->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        void *symbol = c->library != NULL ? dlsym(c->library, "dpf_run") : NULL;
        /* ISO C has no conversion from an object's pointer to a function's. */
        memcpy(&c->run, &symbol, sizeof(symbol));
        good = c->run != NULL;
        *why = "its library cannot be loaded";
    }
    unlink(source);
    unlink(library);
    return good;
}

void clang_finish(struct clang_code *c)
{
    if (c->library != NULL) {
        dlclose(c->library);
    }
    *c = (struct clang_code){0};
}
