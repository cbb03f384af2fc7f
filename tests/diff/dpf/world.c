/* SPDX-License-Identifier: MIT */
#include "tests/diff/dpf/world.h"

#include "dpf/host.h"
#include "dpf/host/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define ENDLESS_S 60 /* seconds of a processor that no scenario takes */
#define PAGE 4096u

struct dpf_mem mem[ENGINES];
uint64_t scenario;
static uint8_t *unmapped; /* the first byte that is not there */

void world_start(void)
{
    uint8_t *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + PAGE, PAGE, PROT_NONE)) {
        perror("mmap");
        exit(2);
    }
    unmapped = p + PAGE;
    for (uint32_t e = 0; e < ENGINES; e++) {
        if (dpf_host_mem_init(&mem[e]) || mem[e].code_alloc == NULL) {
            exit(2);
        }
    }
    dpf_mem_finish(&mem[1]);
    mem[1].code_alloc = NULL;
    mem[1].code_free = NULL;
    mem[1].code_open = NULL;
    mem[1].code_seal = NULL;
    mem[2].engine = &dpf_engine_native;
}

static void crashed(int number)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "not ok 1 - %s: scenario %llu\n",
                     number == SIGPROF ? "endless" : "crash",
                     (unsigned long long)scenario);

    (void)!write(1, text, (size_t)n);
    _exit(1);
}

void world_guard(void)
{
    signal(SIGSEGV, crashed);
    signal(SIGABRT, crashed);
    signal(SIGPROF, crashed);
}

void world_time(void)
{
    const struct itimerval endless = {.it_value.tv_sec = ENDLESS_S};

    setitimer(ITIMER_PROF, &endless, NULL);
}

const uint8_t *world_place(const void *packet, size_t len)
{
    return memcpy(unmapped - len, packet, len);
}

bool world_interp(const struct dpf_program *p, const void *packet, size_t len)
{
    struct dpf_run run = {.region_count = 1};

    run.regions[0].base = (void *)(uintptr_t)packet;
    run.regions[0].len = (uint32_t)len;
    return dpf_program_interp(p, &run).r0 != 0;
}

struct dpf_program *world_program(uint32_t engine, const char *text)
{
    struct dpf_program *p = NULL;
    struct dpf_code code;
    struct dpf_error err;

    if (dpf_from_asm(text, strlen(text), &code, &err) ||
        dpf_program_create(&mem[engine], DPF_FILTER | DPF_COMPILE, code.insns,
                           code.count, &p, &err)) {
        printf("not ok 1 - refused: %s\n%s", err.text, text);
        exit(1);
    }
    dpf_code_finish(&code);
    return p;
}

bool world_like(const struct dpf_program *model, const struct dpf_field *f,
                const struct dpf_const *consts, uint32_t n,
                const uint8_t *packet, size_t len)
{
    uint8_t q[PAGE];

    memcpy(q, packet, len);
    for (uint32_t k = 0; k < n; k++) {
        const struct dpf_field *x = &f[consts[k].index];

        for (uint32_t i = 0; i < x->width; i++) {
            uint32_t at = x->offset + i, by = 8 * (x->width - 1 - i);
            uint8_t mask = (uint8_t)(x->mask >> by);
            uint8_t mine = (uint8_t)(consts[k].value >> by);

            if (at >= len || (q[at] & mask) != mine) {
                return false;
            }
            q[at] = (uint8_t)((q[at] & ~mask) | (x->value >> by & 0xff));
        }
    }
    return world_interp(model, world_place(q, len), len);
}
