/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer over every front end: the first byte chooses it. What is accepted
 * is verified; what the verifier accepts runs in both engines, which must
 * agree, on memory that the sanitizer guards; assembler text of it reads
 * back. So this also attacks the verifier with programs that parse.
 */
#include "dpf/host.h"
#include "dpf/host/mem.h"

#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dpf_mem mem;

static int parse(uint8_t which, const uint8_t *data, size_t size,
                 struct dpf_code *code)
{
    const char *text = (const char *)data;
    struct dpf_error err;
    int result = -1;
    switch (which % 7) {
    case 0:
        return dpf_from_asm(text, size, code, &err);
    case 1:
        return dpf_from_atoms(text, size, code, &err);
    case 2:
        return dpf_from_ddd(text, size, code, &err);
    case 3:
        return dpf_from_hex(text, size, code, &err);
    case 4:
        return dpf_from_raw(data, size, code, &err);
    case 5:
        return dpf_from_object(data, size, NULL, code, &err);
    default:
        if (memchr(data, 0, size) == NULL && size < 4096) {
            /* no names: libpcap would ask the network for them */
            char *copy = strndup(text, size);
            if (strpbrk(copy, "ghijkmqvwxyzGHIJKMQVWXYZ_") == NULL) {
                result = dpf_from_expr(copy, 1, 0, code, &err);
            }
            free(copy);
        }
        return result;
    }
}

static void read_back(const struct dpf_code *code)
{
    struct dpf_code again = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    dpf_dump_insns(f, code->insns, code->count);
    fclose(f);
    if (dpf_from_asm(text, len, &again, NULL) != 0 ||
        again.count != code->count ||
        memcmp(again.insns, code->insns, again.count * 8) != 0) {
        abort();
    }
    dpf_code_finish(&again);
    free(text);
}

static void run(const struct dpf_program *p, const uint8_t *data, size_t size)
{
    uint32_t len = (uint32_t)(size < 1500 ? size : 1500);
    uint8_t *packet = malloc(len + !len);
    memcpy(packet, data + size - len, len);
    struct dpf_run r = {
        .regions = {{packet, len}}, .region_count = 1, .fuel = 1000};
    uint64_t want = dpf_program_interp(p, &r).r0;
    r = (struct dpf_run){
        .regions = {{packet, len}}, .region_count = 1, .fuel = 1000};
    if (dpf_program_run(p, &r).r0 != want) {
        abort();
    }
    free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dpf_code code = {0};
    struct dpf_program *p = NULL;
    struct dpf_error err;
    if (mem.alloc == NULL && dpf_host_mem_init(&mem) != 0) {
        abort();
    }
    if (size < 1 || parse(data[0], data + 1, size - 1, &code) != 0) {
        return 0;
    }
    if (code.count < 2000) {
        read_back(&code);
    }
    if (dpf_program_create(&mem, DPF_FILTER, code.insns, code.count,
                           DPF_COMPILE, &p, &err) == 0) {
        run(p, data + 1, size - 1);
        dpf_program_destroy(p);
    }
    dpf_code_finish(&code);
    return 0;
}
