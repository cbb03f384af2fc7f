/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer on the verifier and both engines. Input: program type, fuel,
 * count of instructions, instructions, then the memory the program runs on.
 * What the verifier accepts must give one answer in both engines, on regions
 * that end at unmapped pages; the interpreter runs under the sanitizers.
 */
#include "dpf/host/mem.h"
#include "tests/diff/dpf/compare.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD 4u

/* Bring what a mutation breaks first back into range. */
static void mend(struct dpf_insn *i, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        i[n].regs =
            (uint8_t)((i[n].regs & 0x0f) % 11 | (i[n].regs >> 4) % 11 << 4);
        bool jump = (i[n].opcode & 6) == 4 && (i[n].opcode & 1) != 0;
        if (jump && i[n].off > (int)count) {
            i[n].off = (int16_t)((size_t)i[n].off % (count - n));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dpf_mem mem;
    static struct dpf_insn code[128];
    struct dpf_program *p = NULL;
    if (mem.alloc == NULL) {
        compare_init();
        if (dpf_host_mem_init(&mem) != 0 || mem.code_alloc == NULL) {
            abort();
        }
    }
    if (size < HEAD) {
        return 0;
    }
    size_t count = data[2] % 128u;
    size_t bytes = count * sizeof(code[0]);
    if (size < HEAD + bytes) {
        return 0;
    }
    memcpy(code, data + HEAD, bytes);
    if ((data[3] & 1) != 0) {
        mend(code, count);
    }
    size_t left = size - HEAD - bytes;
    left = left < 256 ? left : 256;
    struct dpf_error err;
    if (dpf_program_create(&mem, (enum dpf_type)(data[0] % 5) | DPF_COMPILE,
                           code, count, &p, &err) != 0) {
        /* A refusal always says why. */
        if (err.code == 0 || err.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    for (size_t len = left;; len = len * 3 / 4) {
        if (!compare_run(p, data + size - left, (uint32_t)len,
                         1 + data[1] % 64u)) {
            abort();
        }
        if (len == 0) {
            break;
        }
    }
    dpf_program_destroy(p);
    return 0;
}
