/* SPDX-License-Identifier: MIT */
/* Page-table bindings: rights, batches, refusals, and the exposed tables. */
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "src/abi/page.h"
#include "tests/qemu/env/families.h"

#define VA 0x0000200000000000ull
#define PAGE_FAULT 14

static int64_t bind(uint64_t va, uint64_t frame, uint32_t count, uint32_t prot)
{
    const struct page_binding b = {va, frame, count, prot};
    return sys_page_bind(0, 0, ROOT, &b, 1);
}

static void poke(void *p)
{
    *(volatile uint64_t *)p = 42;
}

static void peek(void *p)
{
    (void)*(volatile uint64_t *)p;
}

static void jump(void *p)
{
    ((void (*)(void))p)();
}

/* Entries of the upper half of our top table, and the one of all memory. */
static void kernel_in_our_tables(void)
{
    const volatile uint64_t *top =
        (const void *)(UPT_VA | (uint64_t)UPT_SLOT << 30 |
                       (uint64_t)UPT_SLOT << 21 | (uint64_t)UPT_SLOT << 12);
    char word[8];
    bool without =
        text_option(env_sysinfo()->cmdline, "kpti", word, sizeof(word)) &&
        strcmp(word, "on") == 0;
    unsigned n = 0;

    for (unsigned i = 256; i < 512; i++) {
        n += (top[i] & PTE_P) != 0;
    }
    tap_ok(n == (without ? 2 : 3) && ((top[256] & PTE_P) == 0) == without,
           "our tables have %s kernel", without ? "no" : "the");
}

static void rights(uint64_t frame)
{
    IS(bind(0, frame, 1, PAGE_R), -E_RANGE); /* where null pointers point */
    IS(bind(UADDR_BOTTOM - PAGE_SIZE, frame, 1, PAGE_R), -E_RANGE);
    IS(bind(VA, frame, 1, PAGE_R | PAGE_W), 1);
    OK(trap_run(poke, (void *)VA) == -1);
    OK(*(volatile uint64_t *)VA == 42);
    *(volatile uint8_t *)VA = 0xc3; /* ret */
    tap_ok(trap_run(jump, (void *)VA) == PAGE_FAULT,
           "a writable page does not run");
    IS(bind(VA, frame, 1, PAGE_R), 1);
    tap_ok(trap_run(poke, (void *)VA) == PAGE_FAULT,
           "a read-only page is not written");
    OK(trap_frame.address == VA);
    OK(trap_frame.error & 2);
    IS(bind(VA, frame, 1, PAGE_R | PAGE_X), 1);
    tap_ok(trap_run(jump, (void *)VA) == -1, "an executable page runs");
    tap_ok(trap_run(poke, (void *)VA) == PAGE_FAULT,
           "an executable page is not written");
    IS(bind(VA, 0, 1, 0), 1);
    tap_ok(trap_run(peek, (void *)VA) == PAGE_FAULT,
           "an unbound page is not read");
}

static void refusals(uint64_t frame)
{
    IS(bind(VA, frame, 1, PAGE_R | PAGE_W | PAGE_X), -E_INVAL);
    IS(bind(VA, frame, 1, 1u << 20), -E_INVAL);
    IS(bind(UADDR_TOP, frame, 1, PAGE_R), -E_RANGE);
    IS(bind(UADDR_TOP - PAGE_SIZE, frame, 2, PAGE_R), -E_RANGE);
    IS(bind(UPT_VA, frame, 1, PAGE_R | PAGE_W), -E_RANGE);
    IS(bind(0xffff800000000000ull, frame, 1, PAGE_R), -E_RANGE);
    OK(bind(VA + 1, frame, 1, PAGE_R) < 0);
    OK(bind(VA, frame, 0, PAGE_R) < 0);
    OK(bind(VA, UINT64_MAX / 2, 1, PAGE_R) < 0);
    OK(bind(VA, 1ull << 50, 1, PAGE_R) < 0);
    OK(bind(VA, frame, 512, PAGE_R | PAGE_2M) < 0 || frame % 512 == 0);
    IS(sys_page_bind(0, 0, ROOT, (const struct page_binding *)8, 1), -E_FAULT);
    OK(sys_page_bind(0, 0, ROOT, (const struct page_binding *)VA,
                     PAGE_BATCH_MAX + 1) < 0);
    IS(sys_page_bind(0, 0, CAP_SLOTS - 1, (const struct page_binding *)8, 1),
       -E_CAP);
    tap_ok(trap_run(peek, (void *)VA) == PAGE_FAULT,
           "refused calls bound nothing");
}

static void batch(uint64_t frame)
{
    const struct page_binding b[] = {
        {VA, frame, 1, PAGE_R},
        {VA + PAGE_SIZE, frame, 1, PAGE_R | PAGE_W},
        {UADDR_TOP, frame, 1, PAGE_R},
    };
    IS(sys_page_bind(0, 0, ROOT, b, 3), 2);
    poke((void *)(VA + PAGE_SIZE));
    tap_ok(*(volatile uint64_t *)VA == 42, "one frame, two addresses");
    OK(mem_paddr((void *)VA) == frame * PAGE_SIZE);
    OK(mem_paddr((void *)(VA + 2 * PAGE_SIZE)) == 0);
    IS(bind(VA, 0, 2, 0), 1);
    OK(mem_paddr((void *)VA) == 0);
}

void family_bindings(void)
{
    int64_t frame = sys_page_alloc(ROOT, PAGE_ANY, 1);
    OK(frame > 0);
    kernel_in_our_tables();
    rights((uint64_t)frame);
    refusals((uint64_t)frame);
    batch((uint64_t)frame);
    tap_ok(trap_run(poke, (void *)SYSINFO_VA) == PAGE_FAULT,
           "the exposed state is read-only");
    tap_ok(trap_run(poke, (void *)UPT_VA) == PAGE_FAULT,
           "the page tables are read-only");
    tap_ok(trap_run(peek, (void *)0xffff800000000000ull) == PAGE_FAULT,
           "the kernel's half is out of reach");
    IS(sys_page_free(ROOT, (uint64_t)frame, 1), 0);
}
