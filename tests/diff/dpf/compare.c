/* SPDX-License-Identifier: MIT */
/*
 * The comparison behind the differential test and the fuzzer.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "tests/diff/dpf/compare.h"

#include "dpf/vm/program.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Two arenas per region, each followed by an inaccessible page. */
static uint8_t *arena[2][DPF_REGIONS_MAX];

/*
 * rax:rdx = function(a, b, c) with marked callee-saved registers; *kept is 0
 * when one of them came back different.
 */
struct dpf_result call_watched(const void *function, const void *a, uint64_t b,
                               uint64_t c, uint64_t *kept);
__asm__(".text\n"
        ".globl call_watched\n"
        "call_watched:\n"
        "  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n"
        "  push %r15\n push %r8\n"
        "  mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n"
        "  movabs $0x1111111111111111, %rbx\n"
        "  lea 1(%rbx), %rbp\n lea 2(%rbx), %r12\n lea 3(%rbx), %r13\n"
        "  lea 4(%rbx), %r14\n lea 5(%rbx), %r15\n"
        "  call *%rax\n"
        "  lea 5(%rbx), %rcx\n xor %r15, %rcx\n"
        "  lea 4(%rbx), %rsi\n xor %r14, %rsi\n or %rsi, %rcx\n"
        "  lea 3(%rbx), %rsi\n xor %r13, %rsi\n or %rsi, %rcx\n"
        "  lea 2(%rbx), %rsi\n xor %r12, %rsi\n or %rsi, %rcx\n"
        "  lea 1(%rbx), %rsi\n xor %rbp, %rsi\n or %rsi, %rcx\n"
        "  movabs $0x1111111111111111, %rsi\n xor %rbx, %rsi\n"
        "  or %rsi, %rcx\n"
        "  pop %r8\n mov %rcx, (%r8)\n"
        "  pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "  ret\n");

void compare_init(void)
{
    for (int side = 0; side < 2; side++) {
        for (uint32_t n = 0; n < DPF_REGIONS_MAX; n++) {
            uint8_t *at = mmap(NULL, ARENA_SIZE + 4096, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            assert(at != MAP_FAILED);
            assert(mprotect(at + ARENA_SIZE, 4096, PROT_NONE) == 0);
            arena[side][n] = at;
        }
    }
}

/* What a helper saw, folded into one number. */
static uint64_t heard;

static uint64_t listen(struct dpf_run *run, uint32_t number,
                       const uint64_t args[5])
{
    uint64_t sum = number;
    (void)run;
    for (int n = number == DPF_HELPER_REPLY ? 1 : 0; n < 5; n++) {
        sum = sum * 31 + args[n];
    }
    if (number == DPF_HELPER_REPLY) {
        const uint8_t *bytes = (const uint8_t *)(uintptr_t)args[0];
        for (uint64_t n = 0; n < args[1]; n++) {
            sum = sum * 31 + bytes[n];
        }
    }
    heard = heard * 1000003 + sum;
    return sum >> 3;
}

/* Lay `bytes` out as regions that end at the guard pages. */
static struct dpf_run lay_out(int side, enum dpf_type type,
                              const uint8_t *bytes, uint32_t len)
{
    struct dpf_run run = {.helper = listen, .arg = len * UINT64_C(0x10001)};
    uint32_t count = type == DPF_PREDICATE ? 4 : type == DPF_HANDLER ? 2 : 1;
    uint32_t done = 0;
    for (uint32_t n = 0; n < count; n++) {
        uint32_t part = n + 1 == count ? len - done : len / count;
        uint8_t *at = arena[side][n] + ARENA_SIZE - part;
        if (part != 0) {
            memcpy(at, bytes + done, part);
        }
        run.regions[n] = (struct dpf_region){at, part};
        done += part;
    }
    run.region_count = count;
    return run;
}

bool compare_run(const struct dpf_program *p, const uint8_t *bytes,
                 uint32_t len, uint32_t fuel)
{
    enum dpf_type type = dpf_program_type(p);
    struct dpf_run a = lay_out(0, type, bytes, len);
    struct dpf_run b = lay_out(1, type, bytes, len);
    size_t size;
    const void *code = dpf_program_code(p, &size);
    uint64_t damage = 0;
    a.fuel = fuel;
    heard = 0;
    struct dpf_result want = dpf_program_interp(p, &a);
    uint64_t heard_first = heard;
    heard = 0;
    bool loose = type == DPF_FILTER;
    struct dpf_result got;
    if (type == DPF_FILTER) {
        got = call_watched(code, b.regions[0].base, len, fuel, &damage);
    } else {
        got = call_watched(code, &b, fuel, 0, &damage);
    }
    bool same = want.r0 == got.r0 && heard == heard_first && damage == 0 &&
                (loose || want.end == got.end);
    for (uint32_t n = 0; n < a.region_count && same; n++) {
        assert(a.regions[n].base != NULL && b.regions[n].base != NULL);
        same =
            a.regions[n].len == 0 ||
            memcmp(a.regions[n].base, b.regions[n].base, a.regions[n].len) == 0;
    }
    if (!same) {
        printf("# type %d, %u bytes, fuel %u: interpreter %#" PRIx64
               " end %d, native %#" PRIx64 " end %d, registers %s\n",
               (int)type, len, fuel, want.r0, (int)want.end, got.r0,
               (int)got.end, damage == 0 ? "kept" : "damaged");
    }
    return same;
}
