/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer over captures, pcap and pcapng, as the dpf tool reads them: every
 * packet is given to a filter in a buffer of just its length.
 */
#include "dpf/cli/cli.h"
#include "dpf/host/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What main.c offers to capture.c; a damaged capture is no news here. */
void cli_say(const char *format, ...)
{
    (void)format;
}

int cli_usage(const char *format, ...)
{
    (void)format;
    return CLI_USAGE;
}

static struct dpf_program *make_filter(void)
{
    static struct dpf_mem mem;
    struct dpf_program *p = NULL;
    struct dpf_code code = {0};
    if (dpf_host_mem_init(&mem) != 0 ||
        dpf_from_expr("ip6 or tcp port 80", DLT_EN10MB, 0, &code, NULL) != 0 ||
        dpf_program_create(&mem, DPF_FILTER | DPF_COMPILE, code.insns,
                           code.count, &p, NULL) != 0) {
        abort();
    }
    dpf_code_finish(&code);
    return p;
}

static void visit(const struct dpf_program *filter, const uint8_t *data,
                  size_t len)
{
    uint8_t *copy = malloc(len + !len);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, len);
    struct dpf_run r = {.regions = {{copy, (uint32_t)len}}, .region_count = 1};
    if (dpf_program_interp(filter, &r).r0 !=
        dpf_filter_run(filter, copy, len)) {
        abort();
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dpf_program *filter;
    filter = filter != NULL ? filter : make_filter();
    int fd = memfd_create("capture", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct capture c;
    const uint8_t *packet;
    struct pcap_pkthdr *header;
    if (capture_open(&c, path, true)) {
        while (capture_next(&c, &header, &packet) == 1) {
            visit(filter, packet, header->caplen);
        }
        capture_close(&c);
    }
    close(fd);
    return 0;
}
