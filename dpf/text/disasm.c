/* SPDX-License-Identifier: MIT */
/*
 * Native code as text, by Capstone: an eye that is independent of our own
 * encoder. Bytes that it cannot read are printed as bytes.
 */
#include "dpf/host.h"

#include <capstone/capstone.h>

/*
 * The bytes, in a column that holds eleven; longer instructions push the text.
 */
static void print_bytes(FILE *f, const uint8_t *code, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "%02x", code[i]);
    }
    fprintf(f, "%*s", n < 11 ? (int)(2 * (11 - n)) : 1, "");
}

int dpf_dump_native(FILE *f, const void *code, size_t size)
{
    const uint8_t *p = code;
    size_t left = size;
    uint64_t address = 0;
    csh handle;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) {
        return -DPF_E_MEM;
    }
    cs_insn *insn = cs_malloc(handle);
    while (insn != NULL && left > 0) {
        size_t at = (size_t)address;
        if (cs_disasm_iter(handle, &p, &left, &address, insn)) {
            fprintf(f, "%5zx: ", at);
            print_bytes(f, insn->bytes, insn->size);
            fprintf(f, "%s %s\n", insn->mnemonic, insn->op_str);
        } else {
            fprintf(f, "%5zx: ", at);
            print_bytes(f, p, 1);
            fprintf(f, "(data)\n");
            p++;
            left--;
            address++;
        }
    }
    int result = insn == NULL ? -DPF_E_MEM : 0;
    cs_free(insn, 1);
    cs_close(&handle);
    return result;
}
