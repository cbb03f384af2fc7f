/* SPDX-License-Identifier: MIT */
/*
 * The peer "linux-jit": the running kernel's compiler for BPF. Bytecode is
 * given the bounds checks that the kernel's verifier demands and loaded as an
 * XDP program through bpf(2); the machine code is read back and called here,
 * in the same loop as all others. Needs the right to load programs (root) and
 * to read them (kptr_restrict).
 *
 * Machine code that leaves through the kernel's return thunk is patched to
 * return by itself; code that calls the kernel is refused.
 *
 * Source: Linux, bpf(2); include/uapi/linux/bpf.h, whose numbers and layouts
 * are repeated here because its struct bpf_insn collides with libpcap's.
 */
#include "dpf/vm/isa.h" /* before libpcap's names for the same numbers */

#include "dpf/bench/bench.h"
#include "dpf/bench/patch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CMD_PROG_LOAD = 5, CMD_OBJ_GET_INFO = 15, TYPE_XDP = 6 };

struct load_attr {
    uint32_t type, count;
    uint64_t insns, license;
    uint32_t log_level, log_size;
    uint64_t log;
    uint32_t version, flags;
    char name[16];
};

struct info_attr {
    uint32_t fd, len;
    uint64_t info;
};

struct prog_info {
    uint32_t type, id;
    uint8_t tag[8];
    uint32_t jited_len, xlated_len;
    uint64_t jited, xlated;
    uint8_t rest[184];
};

enum { END = 9, TEMP = 8 }; /* registers that a classic filter leaves free */

/*
 * Programs lie side by side, as in the kernel (bpf_prog_pack): a page each
 * would cost instruction cache and translation misses that it does not have.
 */
#define ARENA (16u << 20)

static struct {
    uint8_t *base;
    size_t used, live;
} arena;

/*
 * Room for a program, writable; nothing in the arena can run until arena_seal.
 * Pieces are not freed one by one: the arena is empty again when the last
 * program is finished.
 */
static uint8_t *arena_take(size_t size)
{
    if (arena.base == NULL) {
        void *p = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        arena.base = p == MAP_FAILED ? NULL : p;
    }
    size = (size + 63) & ~(size_t)63;
    if (arena.base == NULL || ARENA - arena.used < size ||
        mprotect(arena.base, ARENA, PROT_READ | PROT_WRITE) != 0) {
        return NULL;
    }
    uint8_t *at = arena.base + arena.used;
    arena.used += size;
    arena.live++;
    return at;
}

/*
 * All is executable and nothing writable. Going on without would run code that
 * anybody can overwrite, or fault in the middle of a table.
 */
static void arena_seal(void)
{
    if (mprotect(arena.base, ARENA, PROT_READ | PROT_EXEC) != 0) {
        perror("dpf: mprotect");
        abort();
    }
}

/*
 * Bytes from r1 on that every path to an instruction has checked: forward, one
 * pass, since filters have no loops. INT32_MAX stands for "not reached yet", so
 * that the least of all ways in remains.
 */
static void checked_ranges(const struct dpf_insn *p, size_t count,
                           int32_t *checked)
{
    for (size_t i = 0; i < count; i++) {
        checked[i] = INT32_MAX;
    }
    checked[0] = 0;
    for (size_t i = 0; i < count; i++) {
        int class = BPF_CLASS(p[i].opcode), after = checked[i];
        static const int size[] = {4, 2, 1, 8};
        if (class == BPF_LDX && DPF_INSN_SRC(&p[i]) == 1) {
            int end = p[i].off + size[BPF_SIZE(p[i].opcode) >> 3];
            after = end > after ? end : after;
        }
        bool jump = (class == BPF_JMP || class == BPF_JMP32) &&
                    BPF_OP(p[i].opcode) != BPF_EXIT;
        bool next = p[i].opcode != (BPF_JMP | BPF_JA) &&
                    p[i].opcode != (BPF_JMP | BPF_EXIT);
        size_t to = i + 1 + (size_t)(int64_t)p[i].off;
        if (next && i + 1 < count && after < checked[i + 1]) {
            checked[i + 1] = after;
        }
        if (jump && to > i && to < count && after < checked[to]) {
            checked[to] = after;
        }
    }
}

struct xdp {
    struct dpf_insn *out;
    size_t n;
};

static void bench_linux_put(struct xdp *x, int opcode, int dst, int src,
                            int off, int32_t imm)
{
    x->out[x->n++] = (struct dpf_insn){
        (uint8_t)opcode, (uint8_t)(dst | src << 4), (int16_t)off, imm};
}

/* Bounds checks before every load that needs one; jumps follow. */
static struct dpf_insn *make_xdp(const struct dpf_insn *p, size_t count,
                                 size_t *out_count)
{
    struct xdp x = {calloc(count * 4 + 16, sizeof(struct dpf_insn)), 0};
    int32_t *checked = calloc(count, sizeof(*checked));
    size_t *place = calloc(count + 1, sizeof(*place));
    static const int size[] = {4, 2, 1, 8};
    if (x.out == NULL || checked == NULL || place == NULL) {
        abort();
    }
    checked_ranges(p, count, checked);
    /*
     * An XDP program is given a context with two pointers, of which the
     * kernel's verifier knows that the second ends what the first begins.
     */
    bench_linux_put(&x, BPF_LDX | BPF_MEM | BPF_W, END, 1, 4, 0);
    bench_linux_put(&x, BPF_LDX | BPF_MEM | BPF_W, 1, 1, 0, 0);
    bench_linux_put(&x, BPF_ALU64 | BPF_MOV | BPF_X, 2, END, 0, 0);
    bench_linux_put(&x, BPF_ALU64 | BPF_SUB | BPF_X, 2, 1, 0, 0);
    for (size_t i = 0; i < count; i++) {
        int src = DPF_INSN_SRC(&p[i]);
        int end = p[i].off + size[BPF_SIZE(p[i].opcode) >> 3];
        place[i] = x.n;
        if (BPF_CLASS(p[i].opcode) == BPF_LDX && src != BPF_REG_FP &&
            (src != 1 || end > checked[i])) {
            bench_linux_put(&x, BPF_ALU64 | BPF_MOV | BPF_X, TEMP, src, 0, 0);
            bench_linux_put(&x, BPF_ALU64 | BPF_ADD, TEMP, 0, 0, end);
            bench_linux_put(&x, BPF_JMP | BPF_JGT | BPF_X, TEMP, END, -1, 0);
        }
        x.out[x.n++] = p[i];
    }
    place[count] = x.n;
    for (size_t i = 0; i < count; i++) { /* jumps, and checks to the end */
        int class = BPF_CLASS(p[i].opcode), op = BPF_OP(p[i].opcode);
        size_t at = place[i + 1] - 1;
        if ((class == BPF_JMP || class == BPF_JMP32) && op != BPF_EXIT) {
            size_t to = place[i + 1 + (size_t)(int64_t)p[i].off];
            x.out[at].off = (int16_t)(to - at - 1);
        }
        /*
         * Three instructions stand before such a load, of which the last jumps
         * to the end, where 0 is returned.
         */
        if (at > place[i]) {
            x.out[at - 1].off = (int16_t)(x.n - at);
        }
    }
    bench_linux_put(&x, BPF_ALU | BPF_MOV, 0, 0, 0, 0);
    bench_linux_put(&x, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    free(checked);
    free(place);
    *out_count = x.n;
    return x.out;
}

int jit_load(const struct dpf_insn *insns, size_t count, const char **why)
{
    size_t n = 0;
    struct dpf_insn *xdp = make_xdp(insns, count, &n);
    struct load_attr a = {.type = TYPE_XDP,
                          .count = (uint32_t)n,
                          .insns = (uintptr_t)xdp,
                          .license = (uintptr_t) "MIT",
                          .name = "dpf_bench"};
    long fd = syscall(SYS_bpf, CMD_PROG_LOAD, &a, sizeof(a));
    *why = fd >= 0           ? NULL
           : errno == EPERM  ? "bpf(2) is not permitted"
           : errno == ENOSYS ? "the kernel has no bpf(2)"
                             : "the kernel's verifier refuses the program";
    free(xdp);
    return (int)fd;
}

bool jit_make(struct jit_code *c, const struct dpf_insn *insns, size_t count,
              const char **why)
{
    static uint8_t image[65536];
    struct prog_info info = {.jited_len = sizeof(image),
                             .jited = (uintptr_t)image};
    *c = (struct jit_code){0};
    int fd = jit_load(insns, count, why);
    if (fd < 0) {
        return false;
    }
    struct info_attr a = {(uint32_t)fd, sizeof(info), (uintptr_t)&info};
    long r = syscall(SYS_bpf, CMD_OBJ_GET_INFO, &a, sizeof(a));
    close(fd);
    /*
     * The kernel shows its code only to root, and leaves the length 0 where it
     * interprets.
     */
    if (r != 0 || info.jited_len == 0 || info.jited == 0 ||
        info.jited_len > sizeof(image)) {
        *why = "the kernel does not show its code (kptr_restrict, no JIT)";
        return false;
    }
    uint8_t *at = arena_take(info.jited_len);
    if (at == NULL) {
        *why = "out of memory";
        return false;
    }
    memcpy(at, image, info.jited_len);
    bool good = bench_patch(at, info.jited_len);
    arena_seal();
    if (!good) {
        *why = "the kernel's code calls the kernel";
        return false;
    }
    memcpy(&c->run, &at, sizeof(at));
    return true;
}

void jit_finish(struct jit_code *c)
{
    arena.live -= c->run != NULL;
    if (arena.live == 0) {
        arena.used = 0;
    }
    *c = (struct jit_code){0};
}
