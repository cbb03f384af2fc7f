/* SPDX-License-Identifier: MIT */
/* Physical frames by number: allocation, quota, reuse, refusals. */
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "src/abi/page.h"
#include "tests/qemu/env/families.h"

static bool all_zero(const struct mem_run *run)
{
    const uint64_t *w = run->va;
    for (uint64_t i = 0; i < run->bytes / 8; i++) {
        if (w[i]) {
            return false;
        }
    }
    return true;
}

static void numbers(void)
{
    uint64_t before = mem_frames_left();
    int64_t f = sys_page_alloc(ROOT, PAGE_ANY, 4);
    OK(f > 0);
    OK(mem_frames_left() == before - 4);
    IS(sys_page_alloc(ROOT, (uint64_t)f + 1, 1), -E_BUSY);
    IS(sys_page_free(ROOT, (uint64_t)f + 1, 1), 0);
    IS(sys_page_alloc(ROOT, (uint64_t)f + 1, 1), f + 1);
    IS(sys_page_free(ROOT, (uint64_t)f, 4), 0);
    OK(sys_page_free(ROOT, (uint64_t)f, 4) < 0);
    OK(mem_frames_left() == before);
}

static void refusals(void)
{
    uint64_t before = mem_frames_left();
    OK(sys_page_alloc(ROOT, PAGE_ANY, 0) < 0);
    OK(sys_page_alloc(ROOT, PAGE_ANY, PAGE_RUN_MAX + 1) < 0);
    OK(sys_page_alloc(ROOT, env_sysinfo()->frames + (1ull << 40), 1) < 0);
    OK(sys_page_alloc(ROOT, UINT64_MAX - 1, 2) < 0);
    OK(sys_page_alloc(ROOT, 0, 1) < 0);
    OK(sys_page_free(ROOT, UINT64_MAX, 1) < 0);
    OK(sys_page_free(ROOT, 1, UINT32_MAX) < 0);
    tap_ok(mem_frames_left() == before, "refused calls left no trace");
}

static void reuse(void)
{
    struct mem_run run;
    IS(mem_run_alloc(&run, 16 * PAGE_SIZE, 0), 0);
    tap_ok(all_zero(&run), "fresh frames are zero");
    memset(run.va, 0xa5, run.bytes);
    uint64_t frame = run.paddr / PAGE_SIZE;
    mem_run_free(&run);
    IS(sys_page_alloc(ROOT, frame, 16), (int64_t)frame);
    IS(mem_run_bind(&run, ROOT, frame, 16, true), 0);
    tap_ok(all_zero(&run), "frames are zero when allocated again");
    mem_run_unbind(&run);
    IS(sys_page_free(ROOT, frame, 16), 0);
}

static void held_by_binding(void)
{
    struct mem_run run;
    IS(mem_run_alloc(&run, PAGE_SIZE, 0), 0);
    uint64_t frame = run.paddr / PAGE_SIZE;
    IS(sys_page_free(ROOT, frame, 1), 0);
    tap_ok(sys_page_alloc(ROOT, frame, 1) == -E_BUSY,
           "a bound frame is not given away");
    *(volatile uint64_t *)run.va = 1;
    mem_run_unbind(&run);
    tap_ok(sys_page_alloc(ROOT, frame, 1) == (int64_t)frame,
           "with its last binding it is free");
    IS(sys_page_free(ROOT, frame, 1), 0);
}

static void large(void)
{
    struct mem_run run;
    IS(mem_run_alloc(&run, 4u << 20, MEM_LARGE), 0);
    OK(run.paddr % (2u << 20) == 0);
    OK(mem_paddr((uint8_t *)run.va + (3u << 20) + 5) ==
       run.paddr + (3u << 20) + 5);
    memset(run.va, 1, run.bytes);
    mem_run_free(&run);
}

static void heap(void)
{
    enum { N = 100 };
    static uint8_t *p[N];
    bool good = true;

    for (unsigned i = 0; i < N; i++) {
        p[i] = mem_alloc(i * 97 + 1);
        good = good && p[i] != NULL && ((uint64_t)p[i] & 63) == 0 &&
               p[i][i * 97] == 0;
        if (p[i] != NULL) {
            memset(p[i], (int)i, i * 97 + 1);
        }
    }
    for (unsigned i = 0; i < N; i++) {
        good = good && p[i] != NULL && p[i][0] == (uint8_t)i &&
               p[i][i * 97] == (uint8_t)i;
        mem_free(p[i], i * 97 + 1);
    }
    tap_ok(good, "a hundred heap blocks keep their bytes");
}

/* The kernel makes tables of its own later; no quota can take their frames. */
static void left_to_the_kernel(void)
{
    const struct sysinfo *s = env_sysinfo();
    tap_ok(s->frames_free >= mem_frames_left() + s->frames / 512,
           "frames for the kernel's tables are in no quota");
}

void family_frames(void)
{
    left_to_the_kernel();
    numbers();
    refusals();
    reuse();
    held_by_binding();
    large();
    heap();
    IS(sys_cap_mint(ROOT, FREE_SLOT, (const uint8_t *)"q/", 2, CAP_ALL), 0);
    struct child c;
    IS(child_start(&c, "quota", FREE_SLOT, 512), 0);
    OK(child_wait(&c, 5000));
    tap_ok(child_info(&c)->end_detail == 0, "a child stops at its quota");
}
