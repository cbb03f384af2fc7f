/* SPDX-License-Identifier: MIT */
/*
 * Bytecode as bytes: hexadecimal text, or as it lies in memory (RFC 9669 s3).
 */
#include "dpf/front/code.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int dpf_from_raw(const void *bytes, size_t len, struct dpf_code *out,
                 struct dpf_error *err)
{
    struct dpf_code made = {.count = len / sizeof(struct dpf_insn)};
    if (len == 0 || len % sizeof(struct dpf_insn) != 0) {
        return front_fail(err, -DPF_E_SYNTAX, len,
                          "%zu bytes are not a number of 8-byte instructions",
                          len);
    }
    if (made.count > DPF_INSNS_MAX) {
        return front_fail(err, -DPF_E_TOO_BIG, 0,
                          "%zu instructions; a program has at most %u",
                          made.count, DPF_INSNS_MAX);
    }
    made.insns = malloc(len);
    if (made.insns == NULL) {
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    memcpy(made.insns, bytes, len);
    *out = made;
    return 0;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int dpf_hex_bytes(const char *text, size_t len, uint8_t *out, size_t *count,
                  struct dpf_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        /* Blanks and colons may stand between bytes, not inside one. */
        if (isspace((unsigned char)text[i]) || text[i] == ':') {
            i++;
        } else if (i + 1 < len && nibble(text[i]) >= 0 &&
                   nibble(text[i + 1]) >= 0) {
            out[n++] = (uint8_t)(nibble(text[i]) << 4 | nibble(text[i + 1]));
            i += 2;
        } else {
            return front_fail(err, -DPF_E_SYNTAX, i,
                              "expected two hexadecimal digits here");
        }
    }
    *count = n;
    return 0;
}

int dpf_from_hex(const char *text, size_t len, struct dpf_code *out,
                 struct dpf_error *err)
{
    uint8_t *bytes = malloc(len / 2 + 1);
    size_t n = 0;
    if (bytes == NULL) {
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    int result = dpf_hex_bytes(text, len, bytes, &n, err);
    result = result ? result : dpf_from_raw(bytes, n, out, err);
    free(bytes);
    return result;
}
