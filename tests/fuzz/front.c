/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer over one front end, which --parser=NAME chooses. What is accepted
 * is verified; what the verifier accepts runs in both engines, which must
 * agree, on memory that the sanitizer guards; assembler text of it reads
 * back. So this also attacks the verifier with programs that parse.
 */
#include "dpf/host.h"
#include "dpf/host/mem.h"

#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static struct dpf_mem mem;

static int parse_object(const char *text, size_t size, struct dpf_code *code,
                        struct dpf_error *err)
{
    return dpf_from_object(text, size, NULL, code, err);
}

static int parse_raw(const char *text, size_t size, struct dpf_code *code,
                     struct dpf_error *err)
{
    return dpf_from_raw(text, size, code, err);
}

/* No names of hosts: libpcap would ask the network for them. */
static int parse_expr(const char *text, size_t size, struct dpf_code *code,
                      struct dpf_error *err)
{
    static const char *const words[] = {
        "ip",   "ip6",  "tcp",  "udp",  "icmp",  "arp",     "vlan",
        "host", "net",  "port", "src",  "dst",   "and",     "or",
        "not",  "less", "len",  "mpls", "ether", "greater", "portrange"};
    char *copy = strndup(text, size), *next = copy;
    bool known = memchr(text, 0, size) == NULL && size < 1024;
    while (known && *(next += strcspn(next, LETTERS)) != '\0') {
        size_t n = strspn(next, LETTERS "0123456789_-.");
        bool found = false;
        for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
            found |= strlen(words[i]) == n && !memcmp(words[i], next, n);
        }
        known = found || strspn(next, "0123456789abcdefABCDEFx") >= n;
        next += n;
    }
    int result = known ? dpf_from_expr(copy, 1, 0, code, err) : -DPF_E_SYNTAX;
    free(copy);
    return result;
}

static int (*parse)(const char *text, size_t size, struct dpf_code *code,
                    struct dpf_error *err);

/* libFuzzer passes over options that begin with two dashes. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct {
        const char *name;
        int (*parse)(const char *, size_t, struct dpf_code *,
                     struct dpf_error *);
    } parsers[] = {
        {"asm", dpf_from_asm}, {"atoms", dpf_from_atoms},
        {"ddd", dpf_from_ddd}, {"expr", parse_expr},
        {"hex", dpf_from_hex}, {"object", parse_object},
        {"raw", parse_raw},
    };
    for (int i = 1; i < *argc; i++) {
        for (size_t k = 0; k < sizeof(parsers) / sizeof(*parsers); k++) {
            if (strncmp((*argv)[i], "--parser=", 9) == 0 &&
                strcmp((*argv)[i] + 9, parsers[k].name) == 0) {
                parse = parsers[k].parse;
            }
        }
    }
    if (parse == NULL || dpf_host_mem_init(&mem) != 0) {
        fprintf(stderr, "fuzz_front: pass --parser=asm, atoms, ddd, expr, "
                        "hex, object or raw\n");
        exit(2);
    }
    return 0;
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
    struct dpf_error err = {0};
    if (parse((const char *)data, size, &code, &err) != 0) {
        /* A refusal says why, about a place in the input; parse_expr's own
         * says nothing. */
        if (err.position > size + 1) {
            abort();
        }
        return 0;
    }
    if (code.count < 2000) {
        read_back(&code);
    }
    if (dpf_program_create(&mem, DPF_FILTER | DPF_COMPILE, code.insns,
                           code.count, &p, &err) == 0) {
        run(p, data, size);
        dpf_program_destroy(p);
    }
    dpf_code_finish(&code);
    return 0;
}
