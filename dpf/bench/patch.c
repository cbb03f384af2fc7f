/* SPDX-License-Identifier: MIT */
/*
 * Jumps that leave a piece of machine code. In a file of its own: Capstone 5
 * and libpcap both have a bpf_insn.
 */
#include "dpf/bench/patch.h"

#include <capstone/capstone.h>
#include <string.h>

bool bench_patch(uint8_t *code, size_t size)
{
    csh handle;
    const uint8_t *p = code;
    size_t left = size;
    uint64_t address = 0;
    bool good = cs_open(CS_ARCH_X86, CS_MODE_64, &handle) == CS_ERR_OK;
    if (!good) {
        return false;
    }
    cs_insn *insn = cs_malloc(handle);
    while (good && left > 0 &&
           cs_disasm_iter(handle, &p, &left, &address, insn)) {
        uint8_t *at = code + insn->address;
        /*
         * Jumps and calls with 32 bits of distance; shorter ones cannot leave.
         */
        if (at[0] != 0xe9 && at[0] != 0xe8) {
            continue;
        }
        int32_t d;
        memcpy(&d, at + 1, sizeof(d));
        int64_t to = (int64_t)insn->address + 5 + d;
        bool inside = to >= 0 && to < (int64_t)size;
        /*
         * A jump out is the kernel's return thunk, and is made a return. A
         * call out needs the kernel, which is not here.
         */
        good = inside || at[0] == 0xe9;
        if (!inside) {
            memset(at, 0x90, 5);
            at[0] = 0xc3;
        }
    }
    cs_free(insn, 1);
    cs_close(&handle);
    return good;
}
